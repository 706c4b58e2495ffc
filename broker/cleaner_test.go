package broker

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/broker/partition"
	"github.com/varvelog/varve/retention"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
	"github.com/varvelog/varve/tiering"
)

// compactingBroker is a broker of which there is nothing but compacted partitions.
func compactingBroker(t *testing.T, disk *vfs.Mem, topics ...string) *Broker {
	t.Helper()
	c := &config.Broker{CleanerEnable: true, CleanerThreads: 1, CleanerDedupeBytes: 1 << 20, CleanerMaxBytesPerSecond: 1e12}
	b := &Broker{Options: Options{Log: zap.NewNop(), Now: time.Now, FS: disk}, replicas: newReplicas(), cleaner: newCleaner(c)}
	b.current.Store(c)
	dir, err := segment.OpenDir(segment.DirOptions{FS: disk, Path: "/data", ClusterID: "c"})
	if err != nil {
		t.Fatal(err)
	}
	b.dirs = append(b.dirs, dir)
	settings := config.Topic{CleanupCompact: true, SegmentBytes: 4000, IndexBytes: 1 << 20, IndexInterval: 4096, FlushMessages: 1 << 40,
		MaxMessageBytes: 1 << 20, MinInsyncReplicas: 1, MaxCompactionLag: 1<<63 - 1, MinCleanableRatio: 0.5, TimestampAfterMaxMs: 1 << 60, TimestampBeforeMaxMs: 1 << 60}
	open := map[tiering.PartitionID]*replica{}
	for i, topic := range topics {
		id := tiering.PartitionID{Topic: segment.TopicID{byte(i + 1)}}
		log, _, err := dir.OpenLog(topic, 0, id.Topic, segment.Options{Config: partition.LogConfig(settings, id), Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		p, err := partition.New(partition.Options{Topic: topic, ID: id, Log: log, Config: settings, Now: time.Now, ProducerExpiry: time.Hour, MaxDecompressed: 1 << 20})
		if err == nil {
			err = p.Lead(t.Context(), 1, tiering.Fence{}, []int32{0})
		}
		if err != nil {
			t.Fatal(err)
		}
		open[id] = &replica{p, dir}
		for n := range 100 {
			x, err := batch.NoProducer.Build(0, 0, []batch.Record{{Timestamp: 1, Key: fmt.Append(nil, n%3), Value: make([]byte, 100)}})
			if err == nil {
				_, err = p.AppendAsLeader(partition.Append{Records: x, Acks: 1, LeaderEpoch: -1})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	b.replicas.publish(open, nil, 1)
	return b
}

// flushing runs the committers while f does.
func (b *Broker) flushing(f func()) {
	b.startCommitters()
	defer b.stopCommitters()
	f()
}

// A log that cannot be compacted is told of, left alone, and stops no other.
func TestUncleanableLogStopsNoOther(t *testing.T) {
	disk := vfs.NewMem()
	b := compactingBroker(t, disk, "good", "bad", "fine")
	f, err := disk.Open(fmt.Sprintf("/data/bad-0/%020d.log", 0), false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{1, 2, 3}, 200); err != nil {
		t.Fatal(err)
	}
	b.flushing(func() { b.compact(t.Context()) })
	s := b.cleaner.snapshot()
	if s.Uncleanable != 1 || s.Failures != 1 || s.Passes != 3 || s.RecordsKept >= s.Records || s.BytesWritten >= s.BytesBefore {
		t.Errorf("%+v", s)
	}
	for topic, want := range map[string]bool{"good": true, "fine": true, "bad": false} {
		if got := b.dirs[0].Cleaned(topic, 0) > 0; got != want {
			t.Errorf("%s was compacted: %v", topic, got)
		}
	}
	b.flushing(func() { b.compact(t.Context()) })
	if again := b.cleaner.snapshot(); again.Passes != 3 || again.Uncleanable != 1 || again.UncleanableBytes == 0 || again.MaxDirtyPercent > 50 {
		t.Errorf("after another look: %+v", again)
	}
	for _, err := range b.cleaner.uncleanable {
		var corrupt *segment.CorruptError
		if !errors.Is(err, retention.ErrUncleanable) || !errors.As(err, &corrupt) {
			t.Errorf("%v", err)
		}
	}
}

func TestNothingIsCompactedWhileTheCleanerIsOff(t *testing.T) {
	for _, off := range []config.Broker{{CleanerEnable: false, CleanerThreads: 1}, {CleanerEnable: true}} {
		b := compactingBroker(t, vfs.NewMem(), "t")
		b.current.Store(&off)
		b.compact(t.Context())
		if s := b.cleaner.snapshot(); s.Passes != 0 {
			t.Errorf("%+v", s)
		}
	}
}

func TestThrottleCountsWhatIsReadAndWritten(t *testing.T) {
	c := newCleaner(&config.Broker{CleanerMaxBytesPerSecond: 1000})
	ctx, cancel := context.WithCancel(t.Context())
	if err := c.throttle(ctx, 500); err != nil { // a second's worth is there at once
		t.Fatal(err)
	}
	cancel()
	if err := c.throttle(ctx, 500); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if err := newCleaner(&config.Broker{CleanerMaxBytesPerSecond: 1e300}).throttle(t.Context(), 1<<40); err != nil {
		t.Error(err)
	}
}

// A round has the settings that it began with, whatever they are altered to meanwhile.
func TestAlteredCleanerSettingsHoldFromTheNextRound(t *testing.T) {
	b := compactingBroker(t, vfs.NewMem(), "first", "second")
	off := *b.config()
	off.CleanerThreads = 0
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var asked atomic.Int32
	b.Now = func() time.Time {
		b.current.Store(&off)
		if asked.Add(1) == 100 { // it would go round for ever
			cancel()
		}
		return time.Now()
	}
	b.flushing(func() { b.compact(ctx) })
	if s := b.cleaner.snapshot(); s.Passes != 1 || s.Failures != 0 || ctx.Err() != nil {
		t.Errorf("%+v, %v", s, ctx.Err())
	}
}

// Who waits under an old rate goes on under a new one.
func TestAlteredRateReachesWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCleaner(&config.Broker{CleanerMaxBytesPerSecond: 1000})
		began, done := time.Now(), make(chan error, 1)
		go func() { done <- c.throttle(t.Context(), 1<<30) }() // two weeks' worth, and it is doubled
		time.Sleep(time.Minute)
		synctest.Wait()
		c.setRate(1 << 30)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took < time.Minute+time.Second || took > time.Minute+3*time.Second {
			t.Errorf("it took %v", took)
		}
		c.setRate(1)
		go func() { done <- c.throttle(t.Context(), 1<<30) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		c.setRate(1e300)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 2*time.Minute+6*time.Second {
			t.Errorf("without a limit: %v", took)
		}
	})
}

// log.cleaner.backoff.ms acts at once, and not after the pause that it was altered in.
func TestAlteredBackoffIsTakenUpAtOnce(t *testing.T) {
	b := compactingBroker(t, vfs.NewMem(), "t")
	late := *b.config()
	late.CleanerBackoff = 1000 * time.Hour
	b.current.Store(&late)
	ctx, cancel := context.WithCancel(t.Context())
	b.flushing(func() {
		ended := make(chan error)
		go func() { ended <- b.keepCompacting(ctx) }()
		soon := late
		soon.CleanerBackoff = 0
		b.current.Store(&soon)
		b.altered.tell()
		deadline := time.After(time.Minute)
		for b.cleaner.snapshot().Passes == 0 {
			select {
			case <-deadline:
				t.Fatal("nothing is compacted")
			case <-time.After(time.Millisecond):
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
