package segment

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
)

// openLogT opens a log of a directory with small segments.
func openLogT(t testing.TB, d *Dir, topic string) *Log {
	t.Helper()
	c := testConfig
	c.SegmentBytes = 1500
	l, _, err := d.OpenLog(topic, 0, TopicID{1}, Options{Config: c, Now: func() time.Time { return start }})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func openT(t testing.TB, fsys vfs.FS, path string) *Dir {
	t.Helper()
	d, err := OpenDir(DirOptions{FS: fsys, Path: path, ClusterID: "c", NodeID: 1})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestFullDiskRefusesAndGoesOn fills the disk at every byte of a run of appends that
// roll, checkpoint and index, so that each write of each file is cut short once. The log
// refuses with ErrNoSpace, is read meanwhile, goes on when there is room, and a power
// cut afterwards finds all that was acknowledged.
func TestFullDiskRefusesAndGoesOn(t *testing.T) {
	refused := 0
	for capacity := int64(400); capacity < 9000; capacity += 37 {
		mem := vfs.NewMem()
		if err := mem.Mount("/data", 0); err != nil {
			t.Fatal(err)
		}
		d := openT(t, mem, "/data")
		l := openLogT(t, d, "t")
		if err := mem.Mount("/data", capacity); err != nil {
			t.Fatal(err)
		}
		r := seeded(uint64(capacity))
		var acked []batch.Batch
		full := false
		for i := 0; i < 60; i++ {
			end := l.Offsets().End
			b := makeBatch(t, end, int32(i/20), 1+r.IntN(2), 8+r.IntN(150), start.UnixMilli()+int64(i))
			round, err := l.Append([]batch.Batch{b})
			if err == nil {
				acked = append(acked, b)
				d.Committer().Commit()
				if err = round.Err(); err != nil {
					// In the log, but not acknowledged: a later round will do.
					if l.Offsets().AckEnd > end {
						t.Fatalf("capacity %d: acknowledged without a flush", capacity)
					}
				}
			} else if got := l.Offsets().End; got != end {
				t.Fatalf("capacity %d: end %d after a refused append, want %d", capacity, got, end)
			}
			if err == nil && i%7 == 0 {
				err = d.Checkpoint()
			}
			if err == nil && i%9 == 0 {
				err = l.WriteSnapshot(l.Offsets().End, nil)
			}
			if err == nil {
				continue
			}
			if !errors.Is(err, ErrNoSpace) || errors.Is(err, ErrFailed) || l.Err() != nil {
				t.Fatalf("capacity %d: %v, log %v", capacity, err, l.Err())
			}
			if !bytes.Equal(readAll(t, l), join(acked)) {
				t.Fatalf("capacity %d: wrong records on a full disk", capacity)
			}
			full = true
			if err := mem.Mount("/data", 0); err != nil {
				t.Fatal(err)
			}
			d.FlushDue(start)
			d.Committer().Commit()
			if o := l.Offsets(); o.FlushedEnd != o.End {
				t.Fatalf("capacity %d: %+v once there was room", capacity, o)
			}
		}
		if full {
			refused++
		}
		l = openLogT(t, openT(t, mem.Crash(r), "/data"), "t")
		if !bytes.Equal(readAll(t, l), join(acked)) {
			t.Fatalf("capacity %d: %d bytes left, want %d", capacity, len(readAll(t, l)), size(acked))
		}
	}
	if refused < 100 {
		t.Fatalf("the disk was full in %d runs: the test proves little", refused)
	}
}

// An aborted transaction whose index entry finds no room is known nevertheless, is
// written when there is room, and replayed after a crash: the recovery point waits.
func TestAbortedTransactionOutlivesAFullDisk(t *testing.T) {
	mem := vfs.NewMem()
	d := openT(t, mem, "/data")
	l := openLogT(t, d, "t")
	appendN(t, l, 3, seeded(1))
	d.Committer().Commit()
	heal := mem.Inject(vfs.Fault{Op: vfs.OpWrite, Path: "*" + abortedSuffix, Err: syscall.ENOSPC})
	txn := index.AbortedTxn{ProducerID: 1, FirstOffset: 0, LastOffset: 2, LastStableOffset: 3}
	if err := l.AppendAborted(txn); err != nil {
		t.Fatal(err)
	}
	has := func(l *Log) bool {
		t.Helper()
		got, err := l.Aborted(0, l.Offsets().End)
		if err != nil {
			t.Fatal(err)
		}
		return len(got) == 1 && got[0] == txn
	}
	if !has(l) {
		t.Error("not known while the disk is full")
	}
	if err := d.Checkpoint(); !errors.Is(err, ErrNoSpace) {
		t.Errorf("a checkpoint passes an entry that is not on disk: %v", err)
	}
	heal()
	if err := d.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if l = openLogT(t, openT(t, mem.Crash(seeded(2)), "/data"), "t"); !has(l) {
		t.Error("not known after a crash behind the checkpoint")
	}
}

// TestBrokenDiskTakesItsDirectoryOffline: whatever the operation that fails, all logs of
// the directory refuse from then on, nothing is acknowledged or synced again, and the
// other directory goes on.
func TestBrokenDiskTakesItsDirectoryOffline(t *testing.T) {
	for _, c := range []struct {
		op    vfs.Op
		errno syscall.Errno
	}{
		{vfs.OpWrite, syscall.EIO}, {vfs.OpWrite, syscall.EROFS}, {vfs.OpSync, syscall.EIO},
		{vfs.OpSync, syscall.ENOSPC}, {vfs.OpSyncAll, syscall.EIO}, {vfs.OpSyncDir, syscall.EIO},
	} {
		t.Run(fmt.Sprint(c.op, "-", int(c.errno)), func(t *testing.T) {
			mem := vfs.NewMem()
			bad, good := openT(t, mem, "/bad"), openT(t, mem, "/good")
			logs := []*Log{openLogT(t, bad, "a"), openLogT(t, bad, "b"), openLogT(t, bad, "c"), openLogT(t, bad, "d")}
			idle, fine := openLogT(t, bad, "idle"), openLogT(t, good, "fine")
			mem.Inject(vfs.Fault{Op: c.op, Path: "/bad", Err: c.errno})
			synced := 0
			mem.Inject(vfs.Fault{Op: vfs.OpSync, Path: "/bad", Wait: func() { synced++ }})
			mem.Inject(vfs.Fault{Op: vfs.OpSyncAll, Path: "/bad", Wait: func() { synced++ }})
			if c.op == vfs.OpSync || c.op == vfs.OpSyncDir {
				logs = logs[:1] // one file: fdatasync
			}
			for _, l := range logs {
				if _, err := l.Append([]batch.Batch{makeBatch(t, 0, 0, 1, 8, 0)}); err != nil && c.op != vfs.OpWrite {
					t.Fatal(err)
				}
			}
			bad.Committer().Commit()
			at := synced
			select {
			case <-bad.Offline():
			default:
				t.Fatal("the directory is not offline")
			}
			for _, l := range append(logs, idle) {
				if o := l.Offsets(); o.AckEnd != 0 || o.FlushedEnd != 0 {
					t.Errorf("%+v is acknowledged", o)
				}
				if _, err := l.Append([]batch.Batch{makeBatch(t, 1, 0, 1, 8, 0)}); !errors.Is(err, ErrFailed) || !errors.Is(err, c.errno) {
					t.Errorf("append: %v", err)
				}
				if _, err := l.Read(0, 1, 100, true); !errors.Is(err, ErrFailed) {
					t.Errorf("read: %v", err)
				}
			}
			if _, _, err := bad.OpenLog("new", 0, TopicID{2}, Options{Config: testConfig, Now: time.Now}); !errors.Is(err, ErrFailed) {
				t.Errorf("a new log: %v", err)
			}
			for _, err := range []error{bad.Err(), bad.Checkpoint(), bad.Close()} {
				if !errors.Is(err, ErrFailed) || !errors.Is(err, c.errno) {
					t.Errorf("%v", err)
				}
			}
			if synced != at {
				t.Errorf("%d more syncs after one has failed", synced-at)
			}
			appendN(t, fine, 1, seeded(1))
			good.Committer().Commit()
			if o := fine.Offsets(); o.AckEnd != o.End || good.Err() != nil {
				t.Errorf("the other directory: %+v, %v", o, good.Err())
			}
		})
	}
}

// TestFailedSyncIsNotBelievedAfterARestart (fsyncgate): after a failed sync the system
// takes its pages for written. A process that starts again reads them as if they were on
// the disk, and acknowledges records behind them. A power cut must not tear a hole there.
func TestFailedSyncIsNotBelievedAfterARestart(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpSync, vfs.OpSyncAll} {
		for seed := range uint64(40) {
			mem := vfs.NewMem()
			d := openT(t, mem, "/data")
			l := openLogT(t, d, "t")
			r := seeded(seed)
			appendN(t, l, 3, r)
			d.Committer().Commit()
			others := []*Log{l}
			if op == vfs.OpSyncAll { // more files than are synced one by one
				others = append(others, openLogT(t, d, "u"), openLogT(t, d, "v"), openLogT(t, d, "w"))
			}
			mem.Inject(vfs.Fault{Op: op, Err: syscall.EIO})
			for _, l := range others {
				appendN(t, l, 4, r)
			}
			d.Committer().Commit()

			mem = mem.Crash(nil) // the process ends, the system goes on
			d = openT(t, mem, "/data")
			l = openLogT(t, d, "t")
			appendN(t, l, 2, r)
			d.Committer().Commit()
			acked := l.Offsets().AckEnd
			want := readAll(t, l)

			l = openLogT(t, openT(t, mem.Crash(rand.New(rand.NewPCG(seed, 7))), "/data"), "t")
			if o := l.Offsets(); o.End < acked || !bytes.Equal(readAll(t, l), want) {
				t.Fatalf("%s, seed %d: %d acknowledged, %d left", op, seed, acked, o.End)
			}
		}
	}
}

// A disk that loses what it said was synced cannot be
// outwitted. What is left is a prefix, and whatever a checkpoint knew of is reported.
func TestLyingDiskLosesLoudlyAndLeavesAPrefix(t *testing.T) {
	told := 0
	for seed := range uint64(40) {
		mem := vfs.NewMem()
		r := seeded(seed)
		d := openT(t, mem, "/data")
		l := openLogT(t, d, "t")
		before := appendN(t, l, 5, r)
		d.Committer().Commit()
		heal := mem.Inject(vfs.Fault{Lie: true, Path: "/data/t-0"})
		all := slices.Concat(before, appendN(t, l, 5, r))
		d.Committer().Commit()
		end := l.Offsets().FlushedEnd
		heal()
		// The checkpoint is honest, and what it says is not true.
		mem.Inject(vfs.Fault{Op: vfs.OpSyncAll, Lie: true})
		if err := d.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		d = openT(t, mem.Crash(r), "/data")
		c := testConfig
		c.SegmentBytes = 1500
		l, rec, err := d.OpenLog("t", 0, TopicID{1}, Options{Config: c, Now: func() time.Time { return start }})
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, l); !bytes.HasPrefix(join(all), got) || len(got) < int(size(before)) {
			t.Fatalf("seed %d: %d bytes are no prefix", seed, len(got))
		}
		if l.Offsets().End < end {
			told++
			if len(rec.Faults) == 0 {
				t.Fatalf("seed %d: %d of %d records lost in silence", seed, end-l.Offsets().End, end)
			}
		}
	}
	if told == 0 {
		t.Fatal("the disk lied and nothing was lost: the test proves nothing")
	}
}

// Leader epochs are on disk before what belongs to them is acknowledged, also where
// recovery trusts the batches and does not look into them.
func TestLeaderEpochsAreDurableBeforeTheirRecords(t *testing.T) {
	mem := vfs.NewMem()
	d := openT(t, mem, "/data")
	l := openLogT(t, d, "t")
	appendEpoch := func(epoch int32) {
		t.Helper()
		b := makeBatch(t, l.Offsets().End, epoch, 2, 50, 0)
		if _, err := l.Append([]batch.Batch{b}); err != nil {
			t.Fatal(err)
		}
		d.Committer().Commit()
		if err := l.Roll(); err != nil {
			t.Fatal(err)
		}
	}
	appendEpoch(0)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = openT(t, mem, "/data")
	l = openLogT(t, d, "t")
	for epoch := range int32(4) {
		appendEpoch(epoch + 1)
	}
	if err := d.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	want := l.Epochs()
	for seed := range uint64(10) {
		l := openLogT(t, openT(t, mem.Crash(seeded(seed)), "/data"), "t")
		if got := l.Epochs(); len(got) != 5 || !slices.Equal(got, want) {
			t.Fatalf("seed %d: %v, want %v", seed, got, want)
		}
	}
}
