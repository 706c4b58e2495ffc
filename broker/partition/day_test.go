package partition

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/retention"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
	"github.com/varvelog/varve/tiering"
)

// day is a partition that lives through a day with all of a broker's housekeeping, at
// the broker's own intervals, in virtual time.
type day struct {
	t   *testing.T
	r   *rand.Rand
	p   *Partition
	dir *segment.Dir

	cleaner *retention.Cleaner
	horizon int64
	passes  int

	written []dayRecord // all that was acknowledged and not aborted, in order
	open    map[int64][]dayRecord
}

type dayRecord struct {
	offset, timestamp, appended int64 // ms
	key, value                  string
	tombstone                   bool
}

const (
	dayKeys            = 150
	dayDeleteRetention = time.Hour
	dayRetention       = 2 * time.Hour
	daySegmentAge      = 10 * time.Minute
	dayRetentionCheck  = 5 * time.Minute
)

// TestADayOfRetentionAndCompaction appends for 24 virtual hours, with transactions and
// clocks that are wrong within what is allowed, while segments roll, expire and are
// compacted, and looks every hour whether everything is there that must be, and nothing
// that must have gone.
func TestADayOfRetentionAndCompaction(t *testing.T) {
	for _, policy := range []string{"delete", "compact", "compact,delete", ""} {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { liveThroughADay(t, policy) })
		})
	}
}

func liveThroughADay(t *testing.T, policy string) {
	c := defaults()
	c.CleanupDelete, c.CleanupCompact = strings.Contains(policy, "delete"), strings.Contains(policy, "compact")
	c.RetentionMs, c.SegmentAge, c.DeleteRetention = dayRetention.Milliseconds(), daySegmentAge, dayDeleteRetention
	c.MaxCompactionLag, c.MinCleanableRatio, c.DeleteDelay = math.MaxInt64, 0.5, time.Minute
	c.TimestampBeforeMaxMs, c.TimestampAfterMaxMs = math.MaxInt64, time.Hour.Milliseconds()
	d := &day{t: t, r: rand.New(rand.NewPCG(7, 7)), open: map[int64][]dayRecord{},
		cleaner: retention.NewCleaner(retention.CleanerOptions{MapBytes: 64 << 10, Random: rand.NewChaCha8([32]byte{})})}
	stop := d.start(c)
	defer stop()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, l := range []struct {
		every time.Duration
		step  func(now time.Time) error
	}{
		{time.Second, d.p.Roll},
		{time.Second, d.dir.RemoveDeleted},
		{time.Minute, func(time.Time) error { return d.dir.Checkpoint() }},
		{dayRetentionCheck, func(now time.Time) error { return d.p.Retain(ctx, now) }},
		{15 * time.Second, func(now time.Time) error { return d.clean(ctx, now) }},
		{10 * time.Minute, func(now time.Time) error { d.p.ExpireProducers(now); return nil }},
	} {
		running.Go(func() { d.loop(ctx, l.every, l.step) })
	}
	for range 24 {
		for range time.Hour / (5 * time.Second) {
			d.append()
			time.Sleep(5 * time.Second)
		}
		d.check(c)
	}
	cancel()
	running.Wait()
	if c.CleanupCompact && d.passes < 10 {
		t.Errorf("%d passes of compaction in a day", d.passes)
	}
}

// loop calls step as broker/run.go does.
func (d *day) loop(ctx context.Context, every time.Duration, step func(time.Time) error) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := step(time.Now()); err != nil && ctx.Err() == nil {
				d.t.Error(err)
			}
		}
	}
}

func (d *day) start(c config.Topic) (stop func()) {
	d.t.Helper()
	disk := vfs.NewMem()
	disk.SetNow(time.Now)
	dir, err := segment.OpenDir(segment.DirOptions{FS: disk, Path: diskPath, NodeID: 1, ClusterID: "c", Now: time.Now})
	if err != nil {
		d.t.Fatal(err)
	}
	id := tiering.PartitionID{Topic: segment.TopicID{1}}
	log, _, err := dir.OpenLog("t", 0, id.Topic, segment.Options{Config: LogConfig(c, id), Now: time.Now})
	if err != nil {
		d.t.Fatal(err)
	}
	d.dir = dir
	if d.p, err = New(Options{Topic: "t", ID: id, NodeID: 1, Log: log, Config: c, Now: time.Now, ProducerExpiry: time.Hour, MaxDecompressed: 1 << 20}); err != nil {
		d.t.Fatal(err)
	}
	if err := d.p.Lead(d.t.Context(), 1, tiering.Fence{}, []int32{1}); err != nil {
		d.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = dir.Committer().Run(ctx) })
	return func() {
		if err := d.p.Close(); err != nil {
			d.t.Error(err)
		}
		if err := dir.Close(); err != nil {
			d.t.Error(err)
		}
		cancel()
		running.Wait()
	}
}

func (d *day) clean(ctx context.Context, now time.Time) error {
	if !d.p.Compacted() {
		return nil
	}
	dirt := d.p.Dirtiness(d.dir.Cleaned("t", 0), d.horizon, now)
	for dirt.Due {
		passed, err := d.p.Compact(ctx, d.cleaner, dirt, now)
		if err != nil {
			return err
		}
		d.passes++
		d.horizon, dirt.FirstDirty = passed.Horizon, passed.CleanedTo
		if err := d.dir.SetCleaned("t", 0, passed.CleanedTo); err != nil || passed.CleanedTo >= dirt.Bound {
			return err
		}
	}
	return nil
}

// append appends a batch of a few records, or ends a transaction.
func (d *day) append() {
	now := time.Now().UnixMilli()
	id := int64(-1)
	if d.r.IntN(3) == 0 {
		id = 10 + d.r.Int64N(3)
	}
	if records, open := d.open[id]; open && d.r.IntN(2) == 0 {
		m := batch.Marker{Commit: d.r.IntN(2) == 0}
		b, err := m.Build(0, 0, id, 0, now)
		if err != nil {
			d.t.Fatal(err)
		}
		d.put(b)
		delete(d.open, id)
		if m.Commit {
			d.written = append(d.written, records...)
		}
		return
	}
	o := batch.NoProducer
	if id >= 0 {
		o.ProducerID, o.ProducerEpoch, o.Transactional = id, 0, true
	}
	var records []batch.Record
	var mine []dayRecord
	for range 1 + d.r.IntN(4) {
		x := dayRecord{timestamp: now, appended: now, key: fmt.Sprint("k", d.r.IntN(dayKeys)), value: strings.Repeat("v", d.r.IntN(80))}
		switch d.r.IntN(20) {
		case 0:
			x.timestamp = now + d.r.Int64N(time.Hour.Milliseconds()) // a clock that is fast
		case 1:
			x.timestamp = d.r.Int64N(now) // one that stands still
		}
		r := batch.Record{Timestamp: x.timestamp, Key: []byte(x.key), Value: []byte(x.value)}
		if x.tombstone = d.r.IntN(8) == 0; x.tombstone {
			r.Value, x.value = nil, ""
		}
		records, mine = append(records, r), append(mine, x)
	}
	b, err := o.Build(0, 0, records)
	if err != nil {
		d.t.Fatal(err)
	}
	base := d.put(b)
	for i := range mine {
		mine[i].offset = base + int64(i)
	}
	if id >= 0 {
		d.open[id] = append(d.open[id], mine...)
	} else {
		d.written = append(d.written, mine...)
	}
}

func (d *day) put(b batch.Batch) int64 {
	a, err := d.p.AppendAsLeader(Append{Records: b, Acks: -1, LeaderEpoch: -1, Internal: true})
	if err == nil {
		err = d.p.Wait(d.t.Context(), a)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return a.BaseOffset
}

// visible reads what a consumer with isolation read_committed sees, by offset.
func (d *day) visible() map[int64]dayRecord {
	d.t.Helper()
	all := map[int64]dayRecord{}
	o := d.p.Offsets()
	aborted := map[int64]bool{}
	for at := o.LogStart; at < o.LastStable; {
		r, err := d.p.Read(ReadSpec{Offset: at, MaxBytes: 1 << 20, OneBatch: true, Isolation: ReadCommitted, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1}, nil)
		if start := d.p.Offsets().LogStart; errors.Is(err, ErrOffsetOutOfRange) && at < start {
			at = start // expired meanwhile
			continue
		}
		if err != nil {
			d.t.Fatal(err)
		}
		p, err := r.Records.Bytes()
		r.Records.Release()
		if err != nil || len(p) == 0 {
			d.t.Fatalf("%d bytes at %d of %+v: %v", len(p), at, o, err)
		}
		for len(p) > 0 {
			var b batch.Batch
			if b, p, err = batch.Next(p); err != nil {
				d.t.Fatal(err)
			}
			at = b.NextOffset()
			for _, a := range r.Aborted {
				if a.FirstOffset <= b.LastOffset() && a.LastOffset >= b.BaseOffset() {
					aborted[a.ProducerID] = true
				}
			}
			if b.Control() {
				delete(aborted, b.ProducerID())
				continue
			}
			if b.Transactional() && aborted[b.ProducerID()] {
				continue
			}
			if err := batch.Records(b, 1<<20, func(r *batch.Record) bool {
				all[r.Offset] = dayRecord{offset: r.Offset, timestamp: r.Timestamp, key: string(r.Key), value: string(r.Value), tombstone: r.Value == nil}
				return true
			}); err != nil {
				d.t.Fatal(err)
			}
		}
	}
	return all
}

func (d *day) check(c config.Topic) {
	d.t.Helper()
	now := time.Now().UnixMilli()
	got, o := d.visible(), d.p.Offsets()
	last := map[string]dayRecord{}
	for _, x := range d.written {
		if old, known := last[x.key]; !known || x.offset > old.offset {
			last[x.key] = x
		}
	}
	// A segment stays until its newest record is past retention; there is one more to be
	// rolled, and the next look at it to be waited for.
	young := now - dayRetention.Milliseconds()
	late := young - (daySegmentAge + dayRetentionCheck + 2*time.Second).Milliseconds()
	stale := 0
	for _, x := range d.written {
		g, there := got[x.offset]
		if there && (g.key != x.key || g.value != x.value || g.timestamp != x.timestamp || g.tombstone != x.tombstone) {
			d.t.Fatalf("offset %d holds %+v, want %+v", x.offset, g, x)
		}
		delete(got, x.offset)
		expired := c.CleanupDelete && x.appended < young
		superseded := c.CleanupCompact && (last[x.key].offset > x.offset || x.tombstone && x.appended < now-dayDeleteRetention.Milliseconds())
		switch {
		case there && c.CleanupDelete && x.appended < late:
			d.t.Fatalf("record %+v is still there at %d", x, now)
		case there && superseded:
			stale++
		case !there && !expired && !superseded && x.offset < o.LastStable:
			d.t.Fatalf("record %+v is lost at %d, log start %d", x, now, o.LogStart)
		}
	}
	if len(got) > 0 {
		d.t.Fatalf("%d records were never committed", len(got))
	}
	// Half of the log may be dirty, and the active segment is never compacted.
	if most := 4*dayKeys + 2*int(daySegmentAge/(5*time.Second))*3; c.CleanupCompact && stale > most {
		d.t.Errorf("%d records that are superseded, of %d written", stale, len(d.written))
	}
}
