package broker

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/broker/partition"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
	"github.com/varvelog/varve/tiering"
)

// disks is a broker's house whose two log directories are disks in memory.
type disks struct {
	*vfs.Mem
	metadata string
}

func newDisks(t *testing.T) disks {
	t.Helper()
	d := disks{vfs.NewMem(), t.TempDir()}
	for _, dir := range []string{"/a", "/b"} {
		if err := d.Mount(dir, 0); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func (d disks) open(t *testing.T, dirs string) *Broker {
	t.Helper()
	b, err := d.tryOpen(t, dirs)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (d disks) tryOpen(t *testing.T, dirs string) (*Broker, error) {
	t.Helper()
	c, _, err := config.Load(config.Sources{Sets: []string{"log.dirs=" + dirs, "varve.metadata.dir=" + d.metadata, "varve.bucket=file:" + d.metadata + "/bucket",
		"listeners=PLAINTEXT://127.0.0.1:0", "varve.http.listener=127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	return Open(t.Context(), Options{Config: c, Log: zap.NewNop(), FS: d.Mem})
}

// produce appends one record with acks=all and returns what its producer is told.
func produce(t *testing.T, b *Broker, topic *cluster.Topic, index int32) error {
	t.Helper()
	p, ok := b.replicas.Partition(topic.ID, index)
	if !ok {
		return errDirOffline
	}
	records, err := batch.NoProducer.Build(0, -1, []batch.Record{{Timestamp: time.Now().UnixMilli(), Value: make([]byte, 2000)}})
	if err != nil {
		t.Fatal(err)
	}
	a, err := p.AppendAsLeader(partition.Append{Records: records, Acks: -1, LeaderEpoch: -1})
	if err == nil {
		err = p.Wait(t.Context(), a)
	}
	return err
}

func readable(b *Broker, topic *cluster.Topic, index int32) error {
	p, _ := b.replicas.Partition(topic.ID, index)
	r, err := p.Read(partition.ReadSpec{MaxBytes: 1, OneBatch: true, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1}, nil)
	if err == nil && r.Records.Size == 0 {
		err = errors.New("nothing to read")
	}
	r.Records.Release()
	return err
}

// homeOf returns the directory of a partition.
func homeOf(b *Broker, topic *cluster.Topic, index int32) string {
	if r := b.replicas.all()[tiering.PartitionID{Topic: topic.ID, Partition: index}]; r != nil {
		return r.dir.Path()
	}
	return ""
}

// Partitions that are made at once are spread, too, and stay where they are.
func TestPartitionsAreSpreadOverLogDirs(t *testing.T) {
	d := newDisks(t)
	b := d.open(t, "/a,/b")
	topic := create(t, b, "spread", 9)
	count := map[string]int{}
	lies := map[int32]string{}
	for i := range int32(9) {
		lies[i] = homeOf(b, topic, i)
		count[lies[i]]++
	}
	if min(count["/a"], count["/b"]) != 4 {
		t.Errorf("%v", count)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = d.open(t, "/b,/a")
	for i := range int32(9) {
		if got := homeOf(b, topic, i); got != lies[i] {
			t.Errorf("partition %d lay in %s, lies in %s", i, lies[i], got)
		}
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// A log that is open counts once, also while the one who opens it has not said so.
func TestLogThatIsBeingMadeCountsOnce(t *testing.T) {
	d := newDisks(t)
	b := d.open(t, "/a,/b")
	place := func(n int32) (dir *segment.Dir, made func()) {
		t.Helper()
		dir, made, err := b.place("t", tiering.PartitionID{Partition: n})
		if err != nil {
			t.Fatal(err)
		}
		return dir, made
	}
	makeLog := func(n int32, dir *segment.Dir) {
		t.Helper()
		if _, _, err := dir.OpenLog("t", n, segment.TopicID{}, segment.Options{FS: d.Mem, Now: time.Now}); err != nil {
			t.Fatal(err)
		}
	}
	first, made := place(0)
	makeLog(0, first)
	made()
	second, madeSecond := place(1)
	third, made := place(2)
	makeLog(2, third)
	made()
	makeLog(1, second)
	fourth, _ := place(3)
	madeSecond()
	if first.Path() != "/a" || second.Path() != "/b" || third.Path() != "/a" || fourth.Path() != "/b" {
		t.Errorf("in %s, %s, %s and %s", first.Path(), second.Path(), third.Path(), fourth.Path())
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// R32: partitions of a disk that fails answer KAFKA_STORAGE_ERROR (ErrStorage), all of
// them and for good; those of the other go on, and new ones go there. What was
// acknowledged is there after a restart on a mended disk.
func TestBrokenLogDirStopsNoOther(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpWrite, vfs.OpSync} {
		t.Run(string(op), func(t *testing.T) {
			d := newDisks(t)
			b := d.open(t, "/a,/b")
			topic := create(t, b, "t", 4)
			ran := make(chan error, 1)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			go func() { ran <- b.watchDirs(ctx) }()
			for i := range int32(4) {
				if err := produce(t, b, topic, i); err != nil {
					t.Fatal(err)
				}
			}
			heal := d.Inject(vfs.Fault{Op: op, Path: "/a", Err: syscall.EIO})
			hit := false
			for i := range int32(4) {
				if homeOf(b, topic, i) == "/a" && !hit {
					hit = true
					if err := produce(t, b, topic, i); !errors.Is(err, partition.ErrStorage) {
						t.Errorf("partition %d: %v", i, err)
					}
				}
			}
			heal() // it is not believed to be well again
			for i := range int32(4) {
				broken := homeOf(b, topic, i) == "/a"
				for what, err := range map[string]error{"produce": produce(t, b, topic, i), "read": readable(b, topic, i)} {
					if broken != errors.Is(err, partition.ErrStorage) || !broken && err != nil {
						t.Errorf("%s to partition %d in %s: %v", what, i, homeOf(b, topic, i), err)
					}
				}
			}
			for _, l := range b.LogDirs() {
				if (l.Err != nil) != (l.Path == "/a") || (len(l.Logs) > 0) != (l.Path == "/b") {
					t.Errorf("%s: %v, %d logs", l.Path, l.Err, len(l.Logs))
				}
			}
			if n := b.offlineDirs(); n != 1 {
				t.Errorf("%d directories offline, want 1", n)
			}
			more := create(t, b, "more", 2)
			for i := range int32(2) {
				if got := homeOf(b, more, i); got != "/b" {
					t.Errorf("a new partition in %q", got)
				}
			}
			b.reopen(t.Context())
			select {
			case err := <-ran:
				t.Fatalf("the broker ends with a directory left: %v", err)
			default:
			}
			d.Inject(vfs.Fault{Op: op, Path: "/b", Err: syscall.EIO})
			if err := produce(t, b, more, 0); !errors.Is(err, partition.ErrStorage) {
				t.Errorf("with no directory left: %v", err)
			}
			if err := <-ran; err == nil {
				t.Error("the broker goes on without a directory")
			}
			if err := b.Close(); !errors.Is(err, segment.ErrFailed) {
				t.Errorf("a stop on broken disks is no clean one: %v", err)
			}
			d.Mem = d.Crash(nil)
			b = d.open(t, "/a,/b")
			for i := range int32(4) {
				p, ok := b.replicas.Partition(topic.ID, i)
				if !ok || p.Offsets().HighWatermark < 1 {
					t.Errorf("partition %d lost what was acknowledged", i)
				}
			}
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A broker none of whose directories can be opened says which setting names them.
func TestNoLogDirThatCanBeUsedIsExplained(t *testing.T) {
	d := newDisks(t)
	heal := d.Inject(vfs.Fault{Op: vfs.OpList, Err: syscall.EACCES})
	defer heal()
	_, err := d.tryOpen(t, "/a,/b")
	if err == nil || !strings.Contains(err.Error(), "no directory of log.dirs can be used: ") {
		t.Errorf("start: %v", err)
	}
}

// A directory that cannot be opened at the start is offline, and its partitions are not
// made anew, empty, in another.
func TestLogDirThatCannotBeOpenedKeepsItsPartitions(t *testing.T) {
	d := newDisks(t)
	b := d.open(t, "/a,/b")
	topic := create(t, b, "t", 4)
	for i := range int32(4) {
		if err := produce(t, b, topic, i); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	heal := d.Inject(vfs.Fault{Op: vfs.OpList, Path: "/b", Err: syscall.EIO})
	b = d.open(t, "/a,/b")
	if n := b.offlineDirs(); n != 1 {
		t.Errorf("%d directories offline", n)
	}
	b.reopen(t.Context())
	served := 0
	for i := range int32(4) {
		if produce(t, b, topic, i) == nil {
			served++
		}
	}
	if served != 2 {
		t.Errorf("%d partitions served, want the 2 of the other directory", served)
	}
	if l := b.LogDirs(); len(l) != 2 || l[1].Err == nil || l[1].Path != "/b" {
		t.Errorf("%+v", l)
	}
	if err := produce(t, b, create(t, b, "new", 1), 0); err != nil {
		t.Errorf("a new topic: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	heal()
	b = d.open(t, "/a,/b")
	for i := range int32(4) {
		if err := readable(b, topic, i); err != nil {
			t.Errorf("partition %d: %v", i, err)
		}
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if _, err := d.Stat("/a/t-0"); err == nil {
		if _, err := d.Stat("/b/t-0"); !errors.Is(err, fs.ErrNotExist) {
			t.Error("a partition in both directories")
		}
	}
}

// R31: with one directory full, or all, what has no room is refused with a retriable
// error, everything else goes on, and so does that once there is room, without a restart.
func TestFullLogDirIsGotOverWithoutARestart(t *testing.T) {
	for _, full := range []string{"/a", "/a,/b"} {
		t.Run(strings.ReplaceAll(full, "/", ""), func(t *testing.T) {
			d := newDisks(t)
			b := d.open(t, "/a,/b")
			topic := create(t, b, "t", 4)
			capacity := func(bytes int64) {
				for dir := range strings.SplitSeq(full, ",") {
					if err := d.Mount(dir, bytes); err != nil {
						t.Fatal(err)
					}
				}
			}
			capacity(50_000)
			refused := map[int32]bool{}
			for range 40 {
				for i := range int32(4) {
					err := produce(t, b, topic, i)
					if err != nil && !errors.Is(err, partition.ErrStorage) {
						t.Fatalf("partition %d: %v", i, err)
					}
					refused[i] = refused[i] || err != nil
				}
			}
			b.roll(t.Context())
			b.checkpoint(t.Context())
			b.retain(t.Context())
			for i := range int32(4) {
				if refused[i] != strings.Contains(full, homeOf(b, topic, i)) {
					t.Errorf("partition %d in %s refused: %v", i, homeOf(b, topic, i), refused[i])
				}
				if err := readable(b, topic, i); err != nil {
					t.Errorf("read beside a full disk: %v", err)
				}
			}
			if n := b.offlineDirs(); n != 0 {
				t.Errorf("%d directories offline", n)
			}
			acked := map[int32]int64{}
			capacity(0)
			for i := range int32(4) {
				if err := produce(t, b, topic, i); err != nil {
					t.Errorf("once there is room: %v", err)
				}
				p, _ := b.replicas.Partition(topic.ID, i)
				acked[i] = p.Offsets().HighWatermark
			}
			// The same disk, full at the start: reads are served, and then everything.
			d.Mem = d.Crash(nil)
			_ = b.Close()
			heal := d.Inject(vfs.Fault{Op: vfs.OpWrite, Err: syscall.ENOSPC, Path: "/a"})
			b = d.open(t, "/a,/b")
			heal()
			b.reopen(t.Context())
			for i := range int32(4) {
				p, ok := b.replicas.Partition(topic.ID, i)
				if !ok || p.Offsets().HighWatermark != acked[i] {
					t.Errorf("partition %d after a restart: %v", i, ok)
				}
				if err := produce(t, b, topic, i); err != nil {
					t.Errorf("partition %d after a restart: %v", i, err)
				}
			}
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// R38: a disk that does not answer holds up its own partitions, and no others.
func TestSlowLogDirHoldsUpNoOther(t *testing.T) {
	d := newDisks(t)
	b := d.open(t, "/a,/b")
	topic := create(t, b, "t", 2)
	gate := make(chan struct{})
	heal := d.Inject(vfs.Fault{Op: vfs.OpSync, Path: "/a", Wait: func() { <-gate }})
	slow, quick := int32(0), int32(1)
	if homeOf(b, topic, slow) != "/a" {
		slow, quick = quick, slow
	}
	done := make(chan error, 1)
	go func() { done <- produce(t, b, topic, slow) }()
	for range 20 {
		if err := produce(t, b, topic, quick); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-done:
		t.Errorf("acknowledged before its sync has ended: %v", err)
	default:
	}
	heal()
	close(gate)
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("never acknowledged")
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
