package partition

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
)

func TestAppendRefusesWhatNoClientMaySend(t *testing.T) {
	c := defaults()
	c.MaxMessageBytes = 2000
	h := newHouse(t, c)
	unkeyed, err := batch.Builder{ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1}.Build(0, -1, []batch.Record{{Timestamp: 1}})
	h.must(err)
	control, _ := markerBatch(t, 0, 1, 0, true, 1)
	corrupt := plain(t, 1, 1, 10)
	corrupt[len(corrupt)-1] ^= 1
	elsewhere := plain(t, 1, 1, 10)
	elsewhere.Assign(5, -1)
	old := plain(t, 1, 1, 10)
	old[16] = 1
	for name, c := range map[string]struct {
		records   []byte
		compacted bool
		want      error
	}{
		"a good one":                          {plain(t, 1, 1, 10), false, nil},
		"two batches (B14)":                   {append(plain(t, 1, 1, 10), plain(t, 1, 1, 10)...), false, batch.ErrInvalid},
		"trailing bytes (B13)":                {append(plain(t, 1, 1, 10), 0), false, batch.ErrInvalid},
		"nothing":                             {nil, false, batch.ErrTruncated},
		"cut short (B13)":                     {plain(t, 1, 1, 10)[:50], false, batch.ErrTruncated},
		"magic 1 (B14)":                       {old, false, batch.ErrMagic},
		"control batch (B15)":                 {control, false, batch.ErrInvalid},
		"wrong CRC (B11)":                     {corrupt, false, batch.ErrCorrupt},
		"base offset of its own":              {elsewhere, false, batch.ErrInvalid},
		"larger than max.message.bytes (B22)": {plain(t, 1, 1, 2000), false, ErrMessageTooLarge},
		"no key in a compacted topic (B20)":   {unkeyed, true, batch.ErrInvalid},
		"with a key in a compacted topic":     {plain(t, 1, 1, 10), true, nil},
		"producer id without sequence (B16)":  {sent{id: 4, sequence: -1, n: 1}.batch(t, 0), false, batch.ErrInvalid},
		"producer id without epoch (B16)":     {sent{id: 4, epoch: -1, n: 1}.batch(t, 0), false, batch.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			conf := h.p.Config()
			conf.CleanupCompact = c.compacted
			h.p.SetConfig(conf)
			before := h.p.Offsets().End
			_, err := h.append(bytes.Clone(c.records))
			if !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if after := h.p.Offsets().End; err != nil && after != before {
				t.Errorf("log end went from %d to %d", before, after)
			}
		})
	}
}

func TestAppendAssignsOffsetsAndEpochOnly(t *testing.T) {
	h := newHouse(t, defaults())
	h.produce(plain(t, 3, 1, 10))
	b := plain(t, 2, 1, 10)
	sentBytes := bytes.Clone(b)
	if base := h.produce(b); base != 3 {
		t.Fatalf("base offset %d", base)
	}
	got := h.bytes(spec(3))
	if !bytes.Equal(got[16:], sentBytes[16:]) {
		t.Error("bytes after the leader epoch have changed")
	}
	if s := batch.Batch(got); s.BaseOffset() != 3 || s.LeaderEpoch() != 1 {
		t.Errorf("base offset %d, leader epoch %d", s.BaseOffset(), s.LeaderEpoch())
	}
}

// TestCompressionTypeIsTheTopics: whatever a producer sends is stored as the topic says,
// the same records at the same offsets of the same producer; a second time it is a
// duplicate.
func TestCompressionTypeIsTheTopics(t *testing.T) {
	c := defaults()
	for _, name := range []string{"uncompressed", "gzip", "snappy", "lz4", "zstd", "producer"} {
		c.Compression = name
		h := newHouse(t, c)
		b := sent{id: 1, n: 20}.batch(t, 0)
		want, err := batch.Recompress(bytes.Clone(b), batch.None, batch.UsualLevel, 1<<20)
		h.must(err)
		again := bytes.Clone(b)
		if base := h.produce(b); base != 0 {
			t.Fatalf("%s: base offset %d", name, base)
		}
		got := batch.Batch(h.bytes(spec(0)))
		if codec, ok := batch.CodecOf(name); ok && got.Codec() != codec || !ok && got.Codec() != batch.Batch(again).Codec() || got.CheckCRC() != nil {
			t.Errorf("%s: stored as %s", name, batch.Describe(got))
		}
		plain, err := batch.Recompress(got, batch.None, batch.UsualLevel, 1<<20)
		h.must(err)
		if !bytes.Equal(plain[16:], want[16:]) {
			t.Errorf("%s: other records", name)
		}
		if a, err := h.append(again); err != nil || !a.Duplicate || a.BaseOffset != 0 {
			t.Errorf("%s: sent again: %+v, %v", name, a, err)
		}
	}
}

// TestCompressionLevelIsTheTopics: the level of the topic's codec counts, and no other's.
func TestCompressionLevelIsTheTopics(t *testing.T) {
	c := defaults()
	c.GzipLevel, c.LZ4Level, c.ZstdLevel = 1, 17, 22
	for _, name := range []string{"gzip", "lz4", "zstd"} {
		c.Compression = name
		h := newHouse(t, c)
		b := sent{id: 1, n: 200}.batch(t, 0)
		codec, _ := batch.CodecOf(name)
		want, err := batch.Recompress(bytes.Clone(b), codec, c.CompressionLevel(name), 1<<20)
		h.must(err)
		h.produce(b)
		if got := batch.Batch(h.bytes(spec(0))); !bytes.Equal(got[16:], want[16:]) {
			t.Errorf("%s: stored as %s, want %s", name, batch.Describe(got), batch.Describe(want))
		}
	}
}

// TestWhatIsTooLargeAsTheTopicStoresItIsRefused: max.message.bytes holds for both sizes.
func TestWhatIsTooLargeAsTheTopicStoresItIsRefused(t *testing.T) {
	c := defaults()
	c.MaxMessageBytes, c.Compression = 1000, "uncompressed"
	h := newHouse(t, c)
	b, err := batch.Builder{Codec: batch.Zstd, ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1}.Build(0, -1, []batch.Record{{Timestamp: 1, Value: make([]byte, 2000)}})
	h.must(err)
	if _, err := h.append(b); !errors.Is(err, ErrMessageTooLarge) || h.p.Offsets().End != 0 {
		t.Errorf("%v, log end %d", err, h.p.Offsets().End)
	}
}

// TestAMarkerIsNeverTooLarge: whatever has become of max.message.bytes since it began, a
// transaction ends.
func TestAMarkerIsNeverTooLarge(t *testing.T) {
	c := defaults()
	h := newHouse(t, c)
	h.produce(sent{id: 4, n: 1, txn: true}.batch(t, 0))
	c.MaxMessageBytes = 10
	h.p.SetConfig(c)
	h.marker(4, 0, true)
	if o := h.p.Offsets(); o.LastStable != 2 || o.End != 2 {
		t.Errorf("%+v", o)
	}
}

func TestLogAppendTimeIsTheBrokers(t *testing.T) {
	c := defaults()
	c.LogAppendTime = true
	h := newHouse(t, c)
	b := sent{id: 1, n: 2}.batch(t, 0)
	again := bytes.Clone(b)
	a, err := h.append(b)
	h.must(err)
	h.flush()
	got := batch.Batch(h.bytes(spec(0)))
	if a.LogAppendTime != h.clock.Load() || got.MaxTimestamp() != a.LogAppendTime || !got.LogAppendTime() || got.CheckCRC() != nil {
		t.Errorf("%+v, %s", a, batch.Describe(got))
	}
	h.pass(time.Minute)
	if d, err := h.append(again); err != nil || d.LogAppendTime != a.LogAppendTime || !d.Duplicate {
		t.Errorf("duplicate: %+v, %v", d, err)
	}
}

func TestDuplicateIsAnsweredWithTheFirstOffsetAndNotAppended(t *testing.T) {
	h := newHouse(t, defaults())
	h.produce(plain(t, 3, 1, 1))
	b := sent{id: 1, n: 5}
	if base := h.produce(b.batch(t, 0)); base != 3 {
		t.Fatal(base)
	}
	a, err := h.append(b.batch(t, 0))
	h.must(err)
	if !a.Duplicate || a.BaseOffset != 3 || a.NextOffset != 8 || a.LogAppendTime != -1 {
		t.Errorf("%+v", a)
	}
	h.must(h.p.Wait(t.Context(), a))
	if end := h.p.Offsets().End; end != 8 {
		t.Errorf("log end %d", end)
	}
}

func TestDuplicateWaitsForTheFlushOfTheFirst(t *testing.T) {
	h := newHouse(t, defaults())
	_, err := h.append(sent{id: 1, n: 1}.batch(t, 0))
	h.must(err)
	a, err := h.append(sent{id: 1, n: 1}.batch(t, 0))
	h.must(err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.p.Wait(ctx, a); !errors.Is(err, context.Canceled) {
		t.Errorf("before the flush: %v", err)
	}
	h.flush()
	h.must(h.p.Wait(t.Context(), a))
}

func TestLeaderEpochFencesKIP320(t *testing.T) {
	h := newHouse(t, defaults())
	h.must(h.p.Lead(t.Context(), 5, h.metadata.elect(5), []int32{1}))
	for _, c := range []struct {
		epoch int32
		want  error
	}{{-1, nil}, {5, nil}, {4, ErrFencedEpoch}, {-2, ErrFencedEpoch}, {6, ErrUnknownEpoch}} {
		if _, err := h.p.AppendAsLeader(Append{Records: plain(t, 1, 1, 1), LeaderEpoch: c.epoch}); !errors.Is(err, c.want) {
			t.Errorf("append in epoch %d: %v", c.epoch, err)
		}
		s := spec(0)
		s.CurrentLeaderEpoch = c.epoch
		if _, err := h.read(s); !errors.Is(err, c.want) {
			t.Errorf("read in epoch %d: %v", c.epoch, err)
		}
		if _, err := h.p.ListOffset(t.Context(), Latest, ReadUncommitted, c.epoch); !errors.Is(err, c.want) {
			t.Errorf("list offsets in epoch %d: %v", c.epoch, err)
		}
		if _, _, err := h.p.EpochEnd(t.Context(), c.epoch, 0); !errors.Is(err, c.want) {
			t.Errorf("epoch end in epoch %d: %v", c.epoch, err)
		}
	}
	if err := h.p.Lead(t.Context(), 4, h.metadata.elect(4), []int32{1}); !errors.Is(err, ErrFencedEpoch) {
		t.Errorf("lead an old epoch: %v", err)
	}
	h.p.Resign()
	if _, err := h.append(plain(t, 1, 1, 1)); !errors.Is(err, ErrNotLeader) {
		t.Errorf("append after resign: %v", err)
	}
	if _, err := h.read(spec(0)); !errors.Is(err, ErrNotLeader) {
		t.Errorf("read after resign: %v", err)
	}
	if _, err := h.p.DeleteRecords(t.Context(), -1); !errors.Is(err, ErrNotLeader) {
		t.Errorf("delete records after resign: %v", err)
	}
}

func TestWaitEndsWhenLeadershipIsLost(t *testing.T) {
	h := newHouse(t, defaults())
	h.isr = []int32{1, 2}
	h.lead()
	a, err := h.append(plain(t, 1, 1, 1))
	h.must(err)
	h.flush()
	done := make(chan error, 1)
	go func() { done <- h.p.Wait(context.Background(), a) }()
	h.p.Resign()
	if err := <-done; !errors.Is(err, ErrNotLeader) {
		t.Error(err)
	}
	h.lead()
	if err := h.p.Wait(t.Context(), a); !errors.Is(err, ErrNotLeader) {
		t.Errorf("in the next epoch: %v", err)
	}
}

func TestMinInsyncReplicasGuardsAcksAllOnly(t *testing.T) {
	c := defaults()
	c.MinInsyncReplicas = 2
	h := newHouse(t, c)
	if _, err := h.append(plain(t, 1, 1, 1)); !errors.Is(err, ErrNotEnoughReplicas) {
		t.Errorf("acks -1: %v", err)
	}
	if _, err := h.p.AppendAsLeader(Append{Records: plain(t, 1, 1, 1), Acks: 1, LeaderEpoch: -1}); err != nil {
		t.Errorf("acks 1: %v", err)
	}
	h.p.SetReplicas(1) // there can be no second one
	if _, err := h.append(plain(t, 1, 1, 1)); err != nil {
		t.Errorf("one replica in all: %v", err)
	}
	h.p.SetReplicas(2)
	h.p.SetISR([]int32{1, 2})
	a, err := h.append(plain(t, 1, 1, 1))
	h.must(err)
	h.flush()
	h.p.SetISR([]int32{1})
	if err := h.p.Wait(t.Context(), a); !errors.Is(err, ErrNotEnoughReplicas) {
		t.Errorf("the in-sync replicas shrank after the append: %v", err)
	}
}

func TestHighWatermarkIsTheSmallestAcknowledgedEndOfTheInSyncReplicas(t *testing.T) {
	h := newHouse(t, defaults())
	high := func(want int64, when string) {
		t.Helper()
		if o := h.p.Offsets(); o.HighWatermark != want {
			t.Errorf("%s: high watermark %d, want %d", when, o.HighWatermark, want)
		}
	}
	_, err := h.append(plain(t, 10, 1, 1))
	h.must(err)
	high(0, "not flushed")
	h.flush()
	high(10, "alone")
	h.p.SetISR([]int32{1, 2, 3})
	h.produceOnly(plain(t, 10, 1, 1))
	high(10, "followers unheard of: it does not go back, nor on")
	h.p.SetFollowerEnd(2, 20)
	high(10, "one of two")
	h.p.SetFollowerEnd(3, 15)
	high(15, "the slower one")
	h.p.SetFollowerEnd(3, 12)
	high(15, "a follower that goes back")
	h.p.SetISR([]int32{1, 2})
	high(20, "the slower one out of sync")
}

// produceOnly appends and flushes, without waiting.
func (h *house) produceOnly(b batch.Batch) {
	h.t.Helper()
	_, err := h.append(b)
	h.must(err)
	h.flush()
}

func TestHighWatermarkAfterRestartIsTheRecoveredEnd(t *testing.T) {
	h := newHouse(t, defaults())
	h.produce(plain(t, 10, 1, 1))
	h.restart()
	if o := h.p.Offsets(); o.HighWatermark != 10 || o.LastStable != 10 {
		t.Errorf("%+v", o)
	}
	h.close()
	h.start()
	if o := h.p.Offsets(); o.HighWatermark != 0 || o.Leader {
		t.Errorf("before leading: %+v", o)
	}
}

func TestWaitCommittedHoldsInEveryEpoch(t *testing.T) {
	h := newHouse(t, defaults())
	h.produce(plain(t, 10, 1, 1))
	h.restart() // in another epoch than the first
	h.must(h.p.WaitCommitted(t.Context(), 10))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.p.WaitCommitted(ctx, 11); !errors.Is(err, context.Canceled) {
		t.Errorf("%v for an offset that is not there, want %v", err, context.Canceled)
	}
	h.p.Resign()
	if err := h.p.WaitCommitted(t.Context(), 10); !errors.Is(err, ErrNotLeader) {
		t.Errorf("%v without leadership, want %v", err, ErrNotLeader)
	}
}

func TestFailedAppendLeavesNoTrace(t *testing.T) {
	h := newHouse(t, defaults())
	h.produce(sent{id: 1, n: 1}.batch(t, 0))
	h.disk.SetFault(func(op vfs.Op, _ string, _ int) error {
		if op.Mutates() {
			return syscall.EIO
		}
		return nil
	})
	if _, err := h.append(sent{id: 1, sequence: 1, n: 1, txn: true}.batch(t, 0)); !errors.Is(err, ErrStorage) {
		t.Fatalf("append to a broken disk: %v", err)
	}
	if got := h.p.Producers(); len(got) != 1 || got[0].LastSequence != 0 || got[0].CurrentTxnFirst != -1 {
		t.Errorf("producers: %+v", got)
	}
	if o := h.p.Offsets(); o.LastStable != 1 || o.End != 1 {
		t.Errorf("%+v", o)
	}
	h.disk.SetFault(nil)
	if _, err := h.append(sent{id: 1, n: 1}.batch(t, 0)); !errors.Is(err, ErrStorage) {
		t.Errorf("a failed log stays failed, for duplicates too: %v", err)
	}
	_ = h.p.Close()
	h.stop()
	h.p = nil
}

// A full disk refuses what it has no room for, and nothing else: records that are there
// are read, duplicates are known, and once there is room the producer goes on.
func TestFullDiskIsGotOverWithoutReopening(t *testing.T) {
	h := newHouse(t, defaults())
	h.produce(sent{id: 1, n: 1}.batch(t, 0))
	heal := h.disk.Inject(vfs.Fault{Op: vfs.OpWrite, Err: syscall.ENOSPC})
	for range 2 {
		if _, err := h.append(sent{id: 1, sequence: 1, n: 1, txn: true}.batch(t, 0)); !errors.Is(err, ErrStorage) {
			t.Fatalf("append to a full disk: %v", err)
		}
	}
	if a, err := h.append(sent{id: 1, n: 1}.batch(t, 0)); err != nil || !a.Duplicate {
		t.Errorf("duplicate: %+v, %v", a, err)
	}
	if r, err := h.p.Read(ReadSpec{MaxBytes: 1 << 20, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1}, nil); err != nil || r.Records.Size == 0 {
		t.Errorf("read beside a full disk: %+v, %v", r, err)
	} else {
		r.Records.Release()
	}
	if o := h.p.Offsets(); o.End != 1 || o.LastStable != 1 {
		t.Errorf("%+v", o)
	}
	heal()
	h.produce(sent{id: 1, sequence: 1, n: 1}.batch(t, 0))
	if o := h.p.Offsets(); o.HighWatermark != 2 || o.LastStable != 2 { // the transaction that found no room holds nobody up
		t.Errorf("%+v after there is room", o)
	}
}

func TestTransactionHoldsTheLastStableOffsetAndAbortIsIndexed(t *testing.T) {
	h := newHouse(t, defaults())
	h.produce(plain(t, 2, 1, 1))
	h.produce(sent{id: 7, n: 3, txn: true}.batch(t, 0))
	h.produce(plain(t, 2, 1, 1))
	h.produce(sent{id: 8, n: 3, txn: true}.batch(t, 0))
	stable := func(want int64, when string) {
		t.Helper()
		if o := h.p.Offsets(); o.LastStable != want {
			t.Errorf("%s: last stable offset %d of %+v, want %d", when, o.LastStable, o, want)
		}
	}
	stable(2, "two open transactions")
	h.restart()
	stable(2, "after a restart")
	h.crash(rand.New(rand.NewPCG(1, 1)))
	stable(2, "after a power cut")

	b, _ := markerBatch(t, 0, 7, 0, false, 1)
	a, err := h.p.AppendAsLeader(Append{Records: b, LeaderEpoch: -1, Internal: true})
	h.must(err)
	stable(2, "marker not committed yet")
	h.flush()
	h.must(h.p.Wait(t.Context(), a))
	stable(7, "first aborted")
	h.marker(8, 0, true)
	stable(12, "both ended")

	s := spec(0)
	s.Isolation = ReadCommitted
	check := func(when string) {
		t.Helper()
		r, err := h.read(s)
		h.must(err)
		defer r.Records.Release()
		if len(r.Aborted) != 1 || r.Aborted[0].ProducerID != 7 || r.Aborted[0].FirstOffset != 2 || r.Aborted[0].LastOffset != 10 || r.Aborted[0].LastStableOffset != 7 {
			t.Errorf("%s: aborted %+v", when, r.Aborted)
		}
	}
	check("read committed")
	h.crash(rand.New(rand.NewPCG(2, 2)))
	check("after a power cut")
	if p := h.p.Producers(); len(p) != 2 || p[0].CurrentTxnFirst != -1 || p[0].CoordinatorEpoch != 1 {
		t.Errorf("%+v", p)
	}
	s.Offset = 5
	if r, err := h.read(s); err != nil || len(r.Aborted) != 1 {
		t.Errorf("a transaction whose marker lies above the offset: %+v, %v", r.Aborted, err)
	} else {
		r.Records.Release()
	}
}

func TestProducersSurviveRestartAndPowerCutR12R13(t *testing.T) {
	c := defaults()
	c.SegmentBytes = 600 // several rolls among the batches
	for name, again := range map[string]func(*house){
		"clean restart": (*house).restart,
		"power cut":     func(h *house) { h.crash(rand.New(rand.NewPCG(3, 3))) },
		"both":          func(h *house) { h.restart(); h.crash(rand.New(rand.NewPCG(4, 4))) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, c)
			bases := map[sent]int64{}
			var all []sent
			for i := range 12 {
				for id := range int64(2) {
					b := sent{id: id, sequence: int32(3 * i), n: 3}
					bases[b] = h.produce(freshBatch(h, b))
					all = append(all, b)
				}
			}
			again(h)
			for _, b := range all[len(all)-2*retained:] {
				a, err := h.append(freshBatch(h, b))
				if err != nil || !a.Duplicate || a.BaseOffset != bases[b] {
					t.Errorf("%+v sent again: %+v, %v, first at %d", b, a, err, bases[b])
				}
			}
			if _, err := h.append(freshBatch(h, sent{id: 0, sequence: 37, n: 1})); !errors.Is(err, ErrOutOfOrderSequence) {
				t.Errorf("gap: %v", err)
			}
			if base := h.produce(freshBatch(h, sent{id: 0, sequence: 36, n: 1})); base != 72 {
				t.Errorf("next: %d", base)
			}
		})
	}
}

// freshBatch is a batch whose timestamps are the house's.
func freshBatch(h *house, s sent) batch.Batch {
	records := make([]batch.Record, s.n)
	for i := range records {
		records[i] = batch.Record{Timestamp: h.clock.Load(), Value: []byte("v")}
	}
	b, err := batch.Builder{ProducerID: s.id, ProducerEpoch: s.epoch, BaseSequence: s.sequence, Transactional: s.txn}.Build(0, 0, records)
	h.must(err)
	return b
}

func TestSequenceWrapSurvivesRestart(t *testing.T) {
	h := newHouse(t, defaults())
	last := sent{id: 1, sequence: math.MaxInt32 - 2, n: 5}
	base := h.produce(last.batch(t, 0))
	h.crash(rand.New(rand.NewPCG(5, 5)))
	if a, err := h.append(last.batch(t, 0)); err != nil || !a.Duplicate || a.BaseOffset != base {
		t.Errorf("%+v, %v", a, err)
	}
	h.produce(sent{id: 1, sequence: 2, n: 1}.batch(t, 0))
}

func TestExpiredProducerBeginsAtAnySequence(t *testing.T) {
	h := newHouse(t, defaults())
	h.produce(sent{id: 1, n: 1}.batch(t, 0))
	h.pass(23 * time.Hour)
	h.p.ExpireProducers(h.now())
	if _, err := h.append(sent{id: 1, sequence: 9, n: 1}.batch(t, 0)); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Errorf("before its time: %v", err)
	}
	h.pass(time.Hour)
	h.p.ExpireProducers(h.now())
	if _, err := h.append(sent{id: 1, sequence: 9, n: 1}.batch(t, 0)); err != nil {
		t.Error(err)
	}
}

func TestScanYieldsWholeBatchesBelowTheHighWatermark(t *testing.T) {
	c := defaults()
	c.SegmentBytes = 3000
	h := newHouse(t, c)
	for i := range 20 {
		h.produce(plain(t, 3, int64(i), 300))
	}
	_, err := h.append(plain(t, 3, 1, 300)) // not committed
	h.must(err)
	var bases []int64
	h.must(h.p.Scan(t.Context(), 7, func(b batch.Batch) error {
		bases = append(bases, b.BaseOffset())
		return b.CheckCRC()
	}))
	if len(bases) != 18 || bases[0] != 6 || bases[17] != 57 {
		t.Errorf("%v", bases)
	}
	stop := errors.New("enough")
	if err := h.p.Scan(t.Context(), 0, func(batch.Batch) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
}

func TestClosedPartitionRefuses(t *testing.T) {
	h := newHouse(t, defaults())
	p := h.p
	h.close()
	if _, err := p.AppendAsLeader(Append{Records: plain(t, 1, 1, 1), LeaderEpoch: -1}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	h.must(p.Close())
	h.must(p.Roll(h.now()))
}

func TestAppendsReadsAndHousekeepingTogether(t *testing.T) {
	c := defaults()
	c.SegmentBytes = 16 << 10
	c.RetentionBytes = 128 << 10
	h := newHouse(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	var background, producers sync.WaitGroup
	background.Go(func() { _ = h.dir.Committer().Run(ctx) })
	for range 2 {
		background.Go(func() {
			r := rand.New(rand.NewPCG(6, 6))
			high := int64(0)
			for ctx.Err() == nil {
				o := h.p.Offsets()
				if o.LogStart > o.LocalStart || o.LocalStart > o.End || o.LogStart > o.LastStable || o.LastStable > o.HighWatermark || o.HighWatermark > o.End || o.HighWatermark < high {
					t.Errorf("after high watermark %d: %+v", high, o)
				}
				high = o.HighWatermark
				res, err := h.p.Read(spec(o.LogStart+r.Int64N(o.End-o.LogStart+1)), nil)
				if err != nil && !errors.Is(err, ErrOffsetOutOfRange) {
					t.Error(err)
				}
				res.Records.Release()
			}
		})
	}
	background.Go(func() {
		for ctx.Err() == nil {
			h.pass(time.Second)
			h.must2(h.p.Roll(h.now()), h.p.Retain(ctx, h.now()))
			h.p.ExpireProducers(h.now())
			_ = h.p.Producers()
			_, _ = h.p.Size()
			_, err := h.p.ListOffset(ctx, 500, ReadUncommitted, -1)
			h.must2(err)
		}
	})
	for id := range int64(4) {
		producers.Go(func() {
			for i := range 300 {
				b := sent{id: id, sequence: int32(i), n: 1}.batch(t, 0)
				a, err := h.append(bytes.Clone(b))
				if err != nil {
					t.Error(err)
					return
				}
				if err := h.p.Wait(ctx, a); err != nil {
					t.Error(err)
					return
				}
				if again, err := h.append(b); err != nil || !again.Duplicate || again.BaseOffset != a.BaseOffset {
					t.Errorf("%+v, %v", again, err)
					return
				}
			}
		})
	}
	producers.Wait()
	cancel()
	background.Wait()
	if end := h.p.Offsets().End; end != 1200 {
		t.Errorf("log end %d", end)
	}
}

// must2 reports errors from another goroutine.
func (h *house) must2(errs ...error) {
	if err := errors.Join(errs...); err != nil && !errors.Is(err, context.Canceled) {
		h.t.Error(err)
	}
}

func BenchmarkAppendAsLeader(b *testing.B) {
	for name, idempotent := range map[string]bool{"plain": false, "idempotent": true} {
		b.Run(name, func(b *testing.B) {
			c := defaults()
			c.SegmentBytes = 1 << 30
			c.FlushMessages = math.MaxInt64
			h := newHouse(b, c)
			template := sent{id: 1, n: 16}
			if !idempotent {
				template.id = -1
			}
			records := make([]batch.Record, 16)
			for i := range records {
				records[i] = batch.Record{Timestamp: 1, Key: []byte("key"), Value: make([]byte, 1010)}
			}
			o := batch.Builder{ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1}
			if idempotent {
				o = batch.Builder{ProducerID: 1}
			}
			batches := make([]batch.Batch, 64)
			for i := range batches {
				o.BaseSequence = int32(16 * i)
				if !idempotent {
					o.BaseSequence = -1
				}
				var err error
				batches[i], err = o.Build(0, -1, records)
				h.must(err)
			}
			b.SetBytes(int64(len(batches[0])))
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				s := batches[n%len(batches)]
				s.Assign(0, -1)
				if idempotent && n%len(batches) == 0 {
					h.p.producers[1] = nil
					delete(h.p.producers, 1)
				}
				n++
				if _, err := h.append(s); err != nil {
					b.Fatal(err)
				}
				if n%8192 == 0 { // the disk is memory
					b.StopTimer()
					h.must(h.p.roll(h.p.log.Roll))
					_, err := h.p.DeleteRecords(b.Context(), -1)
					h.must(err)
					b.StartTimer()
				}
			}
		})
	}
}
