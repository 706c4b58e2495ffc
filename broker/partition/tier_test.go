package partition

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/retention"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
	"github.com/varvelog/varve/tiering"
	"github.com/varvelog/varve/tiering/mem"
)

// tiered is a topic that keeps about two segments on disk.
func tiered() config.Topic {
	c := defaults()
	c.RemoteStorage = true
	c.SegmentBytes = 4 << 10
	c.LocalRetentionBytes = 8 << 10
	return c
}

// fill produces n batches of 10 records of about 1 KB, 4 to a segment, and returns the
// bytes of the whole log.
func (h *house) fill(n int) []byte {
	h.t.Helper()
	for i := range n {
		h.produce(plain(h.t, 10, h.clock.Load()+int64(i), 90))
	}
	return h.whole()
}

// whole reads the log from its start to the high watermark.
func (h *house) whole() []byte {
	h.t.Helper()
	var all []byte
	o := h.p.Offsets()
	for offset := o.LogStart; offset < o.HighWatermark; {
		got := h.bytes(spec(offset))
		all = append(all, got...)
		for len(got) > 0 {
			b, rest, err := batch.Next(got)
			h.must(err)
			offset, got = b.NextOffset(), rest
		}
	}
	return all
}

// A log that was compacted, and is not any more, has gaps that the bucket has no room for.
func TestWhatWasCompactedIsNotCopied(t *testing.T) {
	h := newHouse(t, tiered())
	h.fill(20)
	h.must(h.dir.SetCleaned("t", h.id.Partition, 40))
	h.tier()
	if o := h.p.Offsets(); o.TieredEnd > 0 || o.LocalStart != 0 {
		t.Fatalf("copied or trimmed: %+v", o)
	}
	if x := h.p.Explain(h.now()).Segments[0]; x.Copy != tiering.WaitBound || x.Bound != BoundCompaction {
		t.Errorf("explained as %q by %q", x.Copy, x.Bound)
	}
	_, err := h.p.DeleteRecords(h.t.Context(), 40)
	h.must(err)
	before := h.whole()
	h.tier()
	if o := h.p.Offsets(); o.TieredEnd <= 40 || o.LocalStart <= 40 {
		t.Errorf("nothing was copied or trimmed once it was gone: %+v", o)
	}
	if !bytes.Equal(h.whole(), before) {
		t.Error("the bytes have changed")
	}
}

// TestWhatIsInTheBucketIsNotCompacted: a key's older record in the bucket would be read
// again once its tombstone on disk had gone, or the disk itself.
func TestWhatIsInTheBucketIsNotCompacted(t *testing.T) {
	h := newHouse(t, tiered())
	compacted := tiered()
	compacted.CleanupCompact, compacted.RemoteStorage = true, false
	if there, err := h.p.InBucket(t.Context()); there || err != nil || !h.p.CompactedUnder(compacted) {
		t.Errorf("an empty partition: in the bucket %v, %v", there, err)
	}
	h.fill(20)
	if there, err := h.p.InBucket(t.Context()); there || err != nil || !h.p.CompactedUnder(compacted) {
		t.Errorf("before any copy: in the bucket %v, %v", there, err)
	}
	whole := tiered()
	whole.LocalRetentionBytes = -1
	h.p.SetConfig(whole)
	h.must(h.p.roll(h.p.log.Roll))
	h.flush()
	if n, err := h.p.Copy(t.Context()); n == 0 || err != nil {
		t.Fatalf("copied %d, %v", n, err)
	}
	if o := h.p.Offsets(); o.LocalStart != o.LogStart || h.p.CompactedUnder(compacted) {
		t.Errorf("with a copy in the bucket of what is on the disk: %+v, compacted %v", o, h.p.CompactedUnder(compacted))
	}
	h.p.SetConfig(tiered())
	h.tier()
	if there, err := h.p.InBucket(t.Context()); !there || err != nil || h.p.CompactedUnder(compacted) {
		t.Errorf("with a part in the bucket only: in the bucket %v, %v, compacted %v", there, err, h.p.CompactedUnder(compacted))
	}
	_, err := h.p.DeleteRecords(t.Context(), h.p.Offsets().TieredEnd)
	h.must(err)
	if there, err := h.p.InBucket(t.Context()); there || err != nil || !h.p.CompactedUnder(compacted) {
		t.Errorf("once that is deleted: in the bucket %v, %v", there, err)
	}
}

func TestReadAcrossTheSeamEqualsTheLogI30(t *testing.T) {
	h := newHouse(t, tiered())
	before := h.fill(20)
	h.tier()
	o := h.p.Offsets()
	if o.LogStart != 0 || o.LocalStart == 0 || o.LocalStart > o.TieredEnd || o.End != 200 {
		t.Fatalf("nothing was trimmed: %+v", o)
	}
	if !bytes.Equal(h.whole(), before) {
		t.Error("the bytes have changed")
	}
	for offset := range o.End {
		b, _, err := batch.Next(h.bytes(spec(offset)))
		if err != nil || b.BaseOffset() != offset/10*10 {
			t.Errorf("offset %d: %v", offset, err)
		}
	}
}

func TestListOffsetsSpecialTimestampsWithATier(t *testing.T) {
	h := newHouse(t, tiered())
	at := func(ts int64) segment.Timestamped {
		t.Helper()
		got, err := h.p.ListOffset(t.Context(), ts, ReadUncommitted, -1)
		h.must(err)
		return got
	}
	h.produce(plain(t, 10, 1, 90))
	if got := at(LatestTiered); got != notFound {
		t.Errorf("latest tiered of an empty tier: %+v", got)
	}
	if got := at(EarliestPending); got.Offset != 0 {
		t.Errorf("earliest pending of an empty tier: %+v", got)
	}
	h.fill(20)
	h.tier()
	h.lead()
	h.produce(plain(t, 10, 1, 90))
	o := h.p.Offsets()
	for ts, want := range map[int64]segment.Timestamped{
		Earliest:        {Offset: 0, Timestamp: -1, LeaderEpoch: 1},
		Latest:          {Offset: 220, Timestamp: -1, LeaderEpoch: 2},
		EarliestLocal:   {Offset: o.LocalStart, Timestamp: -1, LeaderEpoch: 1},
		LatestTiered:    {Offset: o.TieredEnd - 1, Timestamp: -1, LeaderEpoch: 1},
		EarliestPending: {Offset: o.TieredEnd, Timestamp: -1, LeaderEpoch: h.p.at(o.TieredEnd).LeaderEpoch},
	} {
		if got := at(ts); got != want {
			t.Errorf("timestamp %d: %+v, want %+v", ts, got, want)
		}
	}
}

func TestCopyStopsAtAnOpenTransactionI1(t *testing.T) {
	h := newHouse(t, tiered())
	h.fill(8)
	h.produce(sent{id: 1, n: 1, txn: true}.batch(t, 0))
	h.fill(8)
	h.tier()
	if o := h.p.Offsets(); o.TieredEnd > o.LastStable || o.LastStable != 80 {
		t.Errorf("%+v", o)
	}
	h.marker(1, 0, false)
	h.tier()
	if o := h.p.Offsets(); o.TieredEnd != o.End {
		t.Errorf("%+v", o)
	}
}

func TestAbortedTransactionsAcrossTheSeamI33(t *testing.T) {
	h := newHouse(t, tiered())
	h.produce(sent{id: 1, n: 1, txn: true}.batch(t, 0))
	h.fill(8)
	h.must(h.p.roll(h.p.log.Roll))
	h.marker(1, 0, false) // on disk only, the records in the bucket
	_, err := h.p.Copy(t.Context())
	h.must(err)
	h.fill(8)
	h.must(h.p.Retain(t.Context(), h.now()))
	o := h.p.Offsets()
	if o.LocalStart == 0 || o.TieredEnd > 82 {
		t.Fatalf("%+v", o)
	}
	s := spec(0)
	s.Isolation, s.MaxBytes = ReadCommitted, 1
	for _, when := range []string{"marker on disk", "marker in the bucket"} {
		r, err := h.read(s)
		h.must(err)
		r.Records.Release()
		if len(r.Aborted) != 1 || r.Aborted[0].FirstOffset != 0 || r.Aborted[0].LastOffset != 81 {
			t.Errorf("%s: %+v", when, r.Aborted)
		}
		h.tier()
	}
}

func TestStoreUnreachableStopsNeitherProduceNorTailNorDeletesI20(t *testing.T) {
	h := newHouse(t, tiered())
	h.fill(20)
	h.tier()
	tieredEnd, local := h.p.Offsets().TieredEnd, h.p.Offsets().LocalStart
	down := errors.New("store is down")
	h.bucket.SetHook(func(mem.Op, string) mem.Fault { return mem.Fault{Before: down} })
	defer h.bucket.SetHook(nil)
	h.restart() // the bucket is on the path of neither start nor leadership
	h.fillTail(20)
	h.must(h.p.roll(h.p.log.Roll))
	if _, err := h.p.Copy(t.Context()); !errors.Is(err, ErrRemote) {
		t.Errorf("copy: %v", err)
	}
	if err := h.p.Retain(t.Context(), h.now()); !errors.Is(err, ErrRemote) {
		t.Errorf("retain: %v", err)
	}
	if _, err := h.p.DeleteRecords(t.Context(), 50); !errors.Is(err, ErrRemote) {
		t.Errorf("delete records: %v", err)
	}
	o := h.p.Offsets()
	if o.TieredEnd != tieredEnd || o.LocalStart != local || o.LogStart != 0 {
		t.Errorf("%+v, before: tiered end %d, local start %d", o, tieredEnd, local)
	}
	if got := h.bytes(spec(o.End - 1)); len(got) == 0 {
		t.Error("tail read")
	}
	h.bucket.SetHook(nil)
	h.tier()
	if o := h.p.Offsets(); o.TieredEnd != o.End {
		t.Errorf("after the store is back: %+v", o)
	}
}

// TestStoreUnreachableDoesNotKeepWhatIsNotTiered: a disk would fill for want of a bucket
// that the topic does not use.
func TestStoreUnreachableDoesNotKeepWhatIsNotTiered(t *testing.T) {
	h := newHouse(t, tiered()) // so that there is a bucket
	c := tiered()
	c.RemoteStorage, c.RetentionBytes = false, 8<<10
	h.p.SetConfig(c)
	h.fill(20)
	h.bucket.SetHook(func(mem.Op, string) mem.Fault { return mem.Fault{Before: errors.New("store is down")} })
	defer h.bucket.SetHook(nil)
	if start, err := h.p.DeleteRecords(t.Context(), 50); start != 50 || err != nil {
		t.Errorf("delete records: log start %d, %v", start, err)
	}
	h.must(h.p.Retain(t.Context(), h.now()))
	start := h.p.Offsets().LogStart
	if start <= 50 {
		t.Errorf("nothing expired: log start %d", start)
	}
	h.restart()
	if o := h.p.Offsets(); o.LogStart != start {
		t.Errorf("log start %d after a restart, not %d", o.LogStart, start)
	}
}

func (h *house) fillTail(n int) {
	h.t.Helper()
	for i := range n {
		h.produce(plain(h.t, 10, h.clock.Load()+int64(i), 90))
	}
}

// Who turns tiering off holds the copies until the partition knows.
func TestHeldCopiesWaitAndAskAgainWhetherTheyAreWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, tiered())
		h.fill(20)
		h.must(h.p.roll(h.p.log.Roll))
		h.flush()
		release, err := h.p.HoldCopies(t.Context())
		h.must(err)
		copied := make(chan int)
		go func() {
			n, err := h.p.Copy(t.Context())
			if err != nil {
				t.Error(err)
			}
			copied <- n
		}()
		synctest.Wait() // it stands before the hold
		if there, err := h.p.InBucket(t.Context()); there || err != nil {
			t.Errorf("while copies are held: in the bucket %v, %v", there, err)
		}
		impatient, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := h.p.HoldCopies(impatient); !errors.Is(err, context.Canceled) {
			t.Errorf("a second hold: %v", err)
		}
		off := tiered()
		off.RemoteStorage = false
		h.p.SetConfig(off)
		release()
		if n := <-copied; n != 0 {
			t.Errorf("%d segments were copied of a topic that is not tiered any more", n)
		}
	})
}

// TestTurnedOffTieringWithdrawsFromTheBucket: KIP-950. What is on the disk stays, what was
// in the bucket only goes, and a topic that is tiered again begins anew.
func TestTurnedOffTieringWithdrawsFromTheBucket(t *testing.T) {
	h := newHouse(t, tiered())
	h.fill(20)
	h.tier()
	local := h.p.Offsets().LocalStart
	off := tiered()
	off.RemoteStorage, off.RemoteDeleteOnDisable = false, true
	if local == 0 || local >= h.p.Offsets().TieredEnd {
		t.Fatalf("nothing is in both tiers, or all: %+v", h.p.Offsets())
	}
	plan, err := h.p.Rehearse(t.Context(), off, h.now())
	h.must(err)
	all := h.whole()
	h.p.SetConfig(off)
	h.must(h.p.Retain(t.Context(), h.now()))
	kept := h.whole()
	if !bytes.HasSuffix(all, kept) || len(kept) == 0 || len(kept) == len(all) {
		t.Errorf("%d bytes of %d are left, or they have changed", len(kept), len(all))
	}
	if o := h.p.Offsets(); o.LogStart != local || o.LocalStart != local || o.TieredEnd != local {
		t.Errorf("withdrawn: %+v, not all at %d", o, local)
	}
	rehearsed := int64(0)
	for _, e := range plan.Effects {
		if e.By != "remote.log.delete.on.disable" || e.Action == retention.Expire != (e.Next <= local) {
			t.Errorf("rehearsed: %+v", e)
		}
		if e.Action == retention.Expire {
			rehearsed = e.Next
		}
	}
	if rehearsed != local || plan.Requests.Puts == 0 || plan.Requests.Deletes == 0 {
		t.Errorf("the rehearsal expires up to %d, not %d: %+v", rehearsed, local, plan)
	}
	compacted := off
	compacted.CleanupCompact = true
	if there, err := h.p.InBucket(t.Context()); there || err != nil || !h.p.CompactedUnder(compacted) {
		t.Errorf("in the bucket: %v, %v", there, err)
	}
	h.restart()
	if o := h.p.Offsets(); o.LogStart != local || !bytes.Equal(h.whole(), kept) {
		t.Errorf("after a restart: %+v, or other bytes", o)
	}
	h.p.SetConfig(tiered())
	h.fillTail(20)
	h.tier()
	if o := h.p.Offsets(); o.LogStart != local || o.TieredEnd != o.End || o.LocalStart <= local {
		t.Errorf("tiered again: %+v", o)
	}
	if !bytes.HasPrefix(h.whole(), kept) {
		t.Error("the bytes have changed")
	}
}

// TestCopiesAreDisabled: what is in the bucket is read, nothing comes to it (KIP-950).
func TestCopiesAreDisabled(t *testing.T) {
	h := newHouse(t, tiered())
	h.fill(20)
	h.tier()
	c := tiered()
	c.RemoteCopyDisable, c.LocalRetentionBytes = true, -2
	h.p.SetConfig(c)
	before := h.p.Offsets()
	h.fillTail(20)
	plan, err := h.p.Rehearse(t.Context(), c, h.now())
	h.must(err)
	h.tier()
	o := h.p.Offsets()
	if o.TieredEnd != before.TieredEnd || len(plan.Effects) > 0 {
		t.Errorf("copied: %+v, before %+v; rehearsed: %+v", o, before, plan)
	}
	waits := 0
	for _, s := range h.p.Explain(h.now()).Segments {
		if s.Copy == tiering.WaitBound {
			waits++
			if s.Bound != BoundDisabled {
				t.Errorf("segment %d waits for %q", s.Segment.Base, s.Bound)
			}
		}
	}
	if waits == 0 {
		t.Error("no segment is said to wait")
	}
	if got := h.bytes(spec(0)); len(got) == 0 {
		t.Error("what is in the bucket cannot be read")
	}
	c.RemoteCopyDisable = false
	h.p.SetConfig(c)
	h.tier()
	if o := h.p.Offsets(); o.TieredEnd != o.End {
		t.Errorf("enabled again: %+v", o)
	}
}

func TestFencedLeaderDeletesNothingI5(t *testing.T) {
	c := tiered()
	h := newHouse(t, c)
	h.fill(20)
	h.metadata.elect(99) // somebody else, and we do not know
	h.must(h.p.roll(h.p.log.Roll))
	h.flush()
	if n, err := h.p.Copy(t.Context()); n != 0 || !errors.Is(err, ErrNotLeader) {
		t.Errorf("copy: %d, %v", n, err)
	}
	if _, err := h.p.DeleteRecords(t.Context(), 50); !errors.Is(err, ErrNotLeader) {
		t.Errorf("delete records: %v", err)
	}
	if o := h.p.Offsets(); o.LogStart != 0 || o.LocalStart != 0 {
		t.Errorf("%+v", o)
	}
}

func TestDeletedRecordsDoNotComeBackI29(t *testing.T) {
	h := newHouse(t, tiered())
	h.fill(20)
	h.tier()
	for _, to := range []int64{45, h.p.Offsets().TieredEnd + 5} {
		h.fillTail(1)
		got, err := h.p.DeleteRecords(t.Context(), to)
		if err != nil || got != to {
			t.Fatalf("delete below %d: %d, %v", to, got, err)
		}
		h.crash(rand.New(rand.NewPCG(7, 7))) // the log start on disk was not checkpointed
		if o := h.p.Offsets(); o.LogStart != to || o.LocalStart > max(o.TieredEnd, o.LogStart) {
			t.Errorf("after a power cut: %+v", o)
		}
		if _, err := h.read(spec(to - 1)); !errors.Is(err, ErrOffsetOutOfRange) {
			t.Errorf("read below %d: %v", to, err)
		}
		if b := batch.Batch(h.bytes(spec(to))); b.BaseOffset() != to/10*10 {
			t.Errorf("read at %d begins at %d", to, b.BaseOffset())
		}
	}
	h.fillTail(10)
	h.tier()
	h.whole()
}

func TestReplicaWithoutDiskGoesOnAtTheTieredEndI15a(t *testing.T) {
	h := newHouse(t, tiered())
	h.fill(12)
	h.lead()
	b := sent{id: 5, epoch: 1, n: 3}
	base := h.produce(b.batch(t, 0))
	before := h.fill(12)
	h.tier()
	o := h.p.Offsets()
	if o.TieredEnd != o.End {
		t.Fatalf("%+v", o)
	}
	h.close()
	h.disk = vfs.NewMem()
	h.open()
	n := h.p.Offsets()
	if n.LogStart != 0 || n.LocalStart != o.End || n.End != o.End || n.HighWatermark != o.End || n.TieredEnd != o.End {
		t.Errorf("%+v, before %+v", n, o)
	}
	if !bytes.Equal(h.whole(), before) {
		t.Error("the bytes have changed")
	}
	if a, err := h.append(b.batch(t, 0)); err != nil || !a.Duplicate || a.BaseOffset != base {
		t.Errorf("duplicate of %d (I42): %+v, %v", base, a, err)
	}
	if e, end, err := h.p.EpochEnd(t.Context(), -1, 1); err != nil || e != 1 || end != 120 {
		t.Errorf("epoch 1 ends as %d at %d, %v (I35)", e, end, err)
	}
	if got := h.produce(plain(t, 1, 1, 1)); got != o.End {
		t.Errorf("goes on at %d", got)
	}
	h.restart()
	if r := h.p.Offsets(); r.LogStart != 0 || r.LocalStart != o.End || r.End != o.End+1 {
		t.Errorf("after a restart: %+v", r)
	}
}

func TestCopyCarriesTheProducerSnapshotOfTheBorder(t *testing.T) {
	h := newHouse(t, tiered())
	h.produce(sent{id: 5, n: 3}.batch(t, 0))
	h.fillTail(3)
	h.must(h.p.roll(h.p.log.Roll))
	_, err := h.p.Copy(t.Context())
	h.must(err)
	snapshot, _, err := h.p.remote.Snapshot(t.Context())
	h.must(err)
	states, err := segment.ParseSnapshot(snapshot)
	if err != nil || len(states) != 1 || states[0].ProducerID != 5 || states[0].LastSequence != 2 {
		t.Errorf("%+v, %v", states, err)
	}
}

func TestRetentionExpiresInBothTiersC5(t *testing.T) {
	c := tiered()
	c.RetentionMs = time.Hour.Milliseconds()
	h := newHouse(t, c)
	h.fill(20)
	h.tier()
	h.pass(50 * time.Minute)
	h.fill(8)
	h.tier()
	if o := h.p.Offsets(); o.LogStart != 0 {
		t.Fatalf("expired early: %+v", o)
	}
	h.pass(20 * time.Minute)
	h.must(h.p.Retain(t.Context(), h.now()))
	o := h.p.Offsets()
	if o.LogStart != 200 {
		t.Errorf("%+v", o)
	}
	if _, err := h.read(spec(199)); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Errorf("read of an expired offset: %v", err)
	}
	h.pass(2 * time.Hour)
	h.must(h.p.Retain(t.Context(), h.now()))
	if o := h.p.Offsets(); o.LogStart != o.End || o.End != 280 {
		t.Errorf("all expired, the active segment too: %+v", o)
	}
	objects := len(h.bucket.Snapshot())
	h.pass(time.Hour)
	h.must(h.p.Sweep(t.Context()))
	h.must(h.p.Sweep(t.Context()))
	if after := len(h.bucket.Snapshot()); after >= objects {
		t.Errorf("%d objects, %d after the sweep", objects, after)
	}
}

func TestHousekeepingDoesNothingWhereNotLeading(t *testing.T) {
	h := newHouse(t, tiered())
	h.fill(20)
	h.must(h.p.roll(h.p.log.Roll))
	h.p.Resign()
	n, err := h.p.Copy(t.Context())
	h.must(err)
	h.must(h.p.Retain(t.Context(), h.now()))
	h.must(h.p.Sweep(t.Context()))
	if o := h.p.Offsets(); n != 0 || o.TieredEnd > 0 || o.LocalStart != 0 || len(h.bucket.Snapshot()) != 0 {
		t.Errorf("copied %d, %d objects, %+v", n, len(h.bucket.Snapshot()), o)
	}
}

func TestReadersAndHousekeepingAcrossTheSeam(t *testing.T) {
	h := newHouse(t, tiered())
	ctx, cancel := context.WithCancel(t.Context())
	go func() { _ = h.dir.Committer().Run(ctx) }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 40 {
			a, err := h.append(plain(t, 10, int64(i), 90))
			h.must2(err)
			h.must2(h.p.Wait(ctx, a))
			_, err = h.p.Copy(ctx)
			h.must2(err, h.p.Retain(ctx, h.now()), h.p.Sweep(ctx))
		}
	}()
	r := rand.New(rand.NewPCG(8, 8))
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		o := h.p.Offsets()
		if o.HighWatermark == 0 {
			continue
		}
		offset := r.Int64N(o.HighWatermark)
		s := spec(offset)
		s.Isolation = int8(r.IntN(2))
		if b := batch.Batch(h.bytes(s)); b.BaseOffset() != offset/10*10 {
			t.Fatalf("offset %d: batch at %d", offset, b.BaseOffset())
		}
		ts := r.Int64N(40)
		if got, err := h.p.ListOffset(ctx, ts, ReadUncommitted, -1); err != nil || got.Offset >= 0 && got.Timestamp < ts {
			t.Fatalf("timestamp %d: %+v, %v", ts, got, err)
		}
	}
	cancel()
}

func TestRecoveryWritesTheSnapshotsOfTheBordersItCrosses(t *testing.T) {
	h := newHouse(t, tiered())
	h.produce(sent{id: 5, n: 3}.batch(t, 0))
	h.must(h.p.roll(h.p.log.Roll))
	h.fillTail(1)
	h.crash(rand.New(rand.NewPCG(9, 9))) // without a recovery point no snapshot is trusted
	_, err := h.p.Copy(t.Context())
	h.must(err)
	snapshot, _, err := h.p.remote.Snapshot(t.Context())
	h.must(err)
	states, err := segment.ParseSnapshot(snapshot)
	if err != nil || len(states) != 1 || states[0].LastSequence != 2 {
		t.Errorf("%+v, %v", states, err)
	}
}
