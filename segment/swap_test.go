package segment

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
)

// swapped makes a log of at least 4 sealed segments and replaces the second and third by
// their even batches.
func swapped(t *testing.T, l *Log) *Rewrite {
	t.Helper()
	s := l.Segments()
	w, err := l.Rewrite(s[1].Base, s[2].Next)
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	last := batch.Batch(nil)
	if err := w.Batches(context.Background(), new(Reader), func(b batch.Batch) error {
		last = append(last[:0], b...)
		if i++; i%2 == 0 {
			last = last[:0]
			return w.Keep(b)
		}
		return w.Drop()
	}); err != nil {
		t.Fatal(err)
	}
	if len(last) > 0 {
		if err := w.Append(last); err != nil {
			t.Fatal(err)
		}
	}
	w.Abort(index.AbortedTxn{ProducerID: 1, FirstOffset: s[1].Base, LastOffset: s[1].Base + 1, LastStableOffset: s[1].Base + 2})
	return w
}

func TestSwapReplacesSegmentsUnderReadersThatHoldThem(t *testing.T) {
	fsys := vfs.NewMem()
	l, _ := mustOpen(t, testOptions(fsys))
	appendN(t, l, 200, seeded(1))
	s := l.Segments()
	before, size := readAll(t, l), l.Size()
	held, err := l.Read(s[1].Base, s[2].Next, 1<<20, true)
	if err != nil {
		t.Fatal(err)
	}
	old := l.view() // of a reader that has not opened its files yet
	old.segments[2].closeFiles()
	if err := fsys.SyncAll("/data"); err != nil {
		t.Fatal(err)
	}
	w := swapped(t, l)
	if err := w.Swap(); err != nil {
		t.Fatal(err)
	}
	after := readAll(t, l)
	if len(after) >= len(before) || l.Size() != size-int64(len(before)-len(after)) || len(l.Segments()) != len(s)-1 {
		t.Errorf("%d bytes after %d, %d segments after %d", len(after), len(before), len(l.Segments()), len(s))
	}
	p, err := held.Bytes()
	held.Release()
	if err != nil || !strings.Contains(string(before), string(p)) {
		t.Errorf("who held the old files reads %d other bytes, %v", len(p), err)
	}
	if _, err := old.segments[2].file(); !errors.Is(err, errRetired) {
		t.Errorf("who comes to open an old file: %v", err)
	}
	if txns, err := l.Aborted(s[1].Base, s[2].Next); err != nil || len(txns) != 1 {
		t.Errorf("aborted transactions %v, %v", txns, err)
	}
	if _, found, err := l.FirstAtOrAfter(0, l.Offsets().End); err != nil || !found {
		t.Errorf("by timestamp: %v, %v", found, err)
	}
	again, r := mustOpen(t, testOptions(fsys.Crash(seeded(2))))
	if len(r.Faults) > 0 || string(readAll(t, again)) != string(after) {
		t.Errorf("after a crash: %v", r.Faults)
	}
}

// KIP-32's files of Apache Kafka, at the moments where its own protocol can stop.
func TestOpenFinishesSwapsThatKafkaBegan(t *testing.T) {
	const base, first = "00000000000000000000", "00000000000000000005"
	for name, c := range map[string]struct {
		rename map[string]string // of the files of the new segment
		gone   []string          // old files that Kafka has renamed already
		swaps  bool
	}{
		"nothing renamed":         {rename: map[string]string{".log": ".log.cleaned", ".index": ".index.cleaned", ".timeindex": ".timeindex.cleaned"}},
		"the log only":            {rename: map[string]string{".log": ".log.swap", ".index": ".index.cleaned", ".timeindex": ".timeindex.cleaned"}},
		"all renamed":             {rename: map[string]string{".log": ".log.swap", ".index": ".index.swap", ".timeindex": ".timeindex.swap"}, swaps: true},
		"old files partly gone":   {rename: map[string]string{".log": ".log.swap", ".index": ".index.swap", ".timeindex": ".timeindex.swap"}, gone: []string{base + ".log"}, swaps: true},
		"the log is in its place": {rename: map[string]string{".log": ".log", ".index": ".index.swap", ".timeindex": ".timeindex.swap"}, gone: []string{base + ".log", base + ".index", base + ".timeindex", first + ".log", first + ".index", first + ".timeindex"}, swaps: true},
	} {
		t.Run(name, func(t *testing.T) {
			// The new segment, made elsewhere: one batch of what two segments held.
			made := vfs.NewMem()
			l, _ := mustOpen(t, testOptions(made))
			b := makeBatch(t, 0, 0, 10, 8, start.UnixMilli())
			if _, err := l.Append([]batch.Batch{b}); err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			fsys := vfs.NewMem()
			old, _ := mustOpen(t, testOptions(fsys))
			for i := range 2 {
				if _, err := old.Append([]batch.Batch{makeBatch(t, int64(5*i), 0, 5, 100, start.UnixMilli())}); err != nil {
					t.Fatal(err)
				}
				if err := old.Roll(); err != nil {
					t.Fatal(err)
				}
			}
			if err := old.Close(); err != nil {
				t.Fatal(err)
			}
			want := readMem(t, made, "/data/t-0/"+base+".log")
			if !c.swaps {
				want = append(readMem(t, fsys, "/data/t-0/"+base+".log"), readMem(t, fsys, "/data/t-0/"+first+".log")...)
			}
			for _, g := range c.gone {
				if err := fsys.Remove("/data/t-0/" + g); err != nil {
					t.Fatal(err)
				}
			}
			for from, to := range c.rename {
				if err := writeNew(fsys, "/data/t-0/"+base+to, readMem(t, made, "/data/t-0/"+base+from), true); err != nil {
					t.Fatal(err)
				}
			}
			o := testOptions(fsys)
			o.Clean = true
			l, r := mustOpen(t, o)
			if got := readAll(t, l); string(got) != string(want) || l.Offsets().End != 10 {
				t.Errorf("%d bytes, want %d; end %d; %v", len(got), len(want), l.Offsets().End, r.Faults)
			}
			entries, _ := fsys.List("/data/t-0")
			for _, e := range entries {
				if strings.HasSuffix(e.Name(), ".swap") || strings.HasSuffix(e.Name(), ".cleaned") {
					t.Errorf("%s is left", e.Name())
				}
			}
		})
	}
}

func TestOpenRefusesStagedFilesThatAreNone(t *testing.T) {
	for _, name := range []string{"x.log.swap", "00000000000000000001.exe.swap", "1.log.cleaned", ".swap"} {
		fsys := vfs.NewMem()
		if err := fsys.MkdirAll("/data/t-0"); err != nil {
			t.Fatal(err)
		}
		if err := writeNew(fsys, "/data/t-0/"+name, nil, true); err != nil {
			t.Fatal(err)
		}
		var corrupt *CorruptError
		if _, _, err := Open(testOptions(fsys)); !errors.As(err, &corrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRemovedSegmentsStayForTheDeleteDelay(t *testing.T) {
	fsys, now := vfs.NewMem(), start
	d, err := OpenDir(DirOptions{FS: fsys, Path: "/data", ClusterID: "c"})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Config: testConfig, Now: func() time.Time { return now }}
	o.Config.DeleteDelay = time.Minute
	l, _, err := d.OpenLog("t", 0, TopicID{1}, o)
	if err != nil {
		t.Fatal(err)
	}
	appendN(t, l, 100, seeded(1))
	expired := len(l.Segments()) - 1
	held, err := l.Read(0, l.Segments()[1].Base, 1<<20, true)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Release()
	if err := l.SetLogStart(l.Offsets().End); err != nil {
		t.Fatal(err)
	}
	count := func(dir, suffix string) (n int) {
		entries, err := fsys.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), suffix) {
				n++
			}
		}
		return n
	}
	for _, step := range []struct {
		pass time.Duration
		want int
	}{{0, expired}, {time.Minute - 1, expired}, {1, 0}} {
		now = now.Add(step.pass)
		if err := d.RemoveDeleted(now); err != nil {
			t.Fatal(err)
		}
		if n := count("/data/t-0", ".log.deleted"); n != step.want || count("/data/t-0", ".log") != 1 {
			t.Errorf("%v later: %d files wait, want %d", step.pass, n, step.want)
		}
	}
	if p, err := held.Bytes(); err != nil || len(p) == 0 {
		t.Errorf("who held an expired segment reads %d bytes, %v", len(p), err)
	}
	if err := l.Delete(); err != nil {
		t.Fatal(err)
	}
	if n := count("/data", "-delete"); n != 1 {
		t.Errorf("%d deleted logs wait", n)
	}
	again, _, err := d.OpenLog("t", 0, TopicID{2}, o) // its name is free at once
	if err != nil {
		t.Fatal(err)
	}
	appendN(t, again, 10, seeded(1))
	now = now.Add(time.Minute)
	if err := d.RemoveDeleted(now); err != nil {
		t.Fatal(err)
	}
	if n := count("/data", "-delete"); n != 0 || again.Offsets().End == 0 {
		t.Errorf("%d deleted logs are left", n)
	}
}

func TestCleanerOffsetsAreKafkasAndGoWithTheirTopic(t *testing.T) {
	fsys := vfs.NewMem()
	open := func() *Dir {
		d, err := OpenDir(DirOptions{FS: fsys, Path: "/data", ClusterID: "c"})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := open()
	o := Options{Config: testConfig, Now: func() time.Time { return start }}
	_, _, err := d.OpenLog("a-b", 3, TopicID{1}, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.SetCleaned("a-b", 3, 17), d.SetCleaned("t", 0, 5)); err != nil {
		t.Fatal(err)
	}
	if got := string(readMem(t, fsys, "/data/cleaner-offset-checkpoint")); got != "0\n2\na-b 3 17\nt 0 5\n" {
		t.Errorf("%q", got)
	}
	fsys = fsys.Crash(seeded(1))
	d = open()
	if got := d.Cleaned("a-b", 3); got != 17 {
		t.Errorf("after a crash: %d", got)
	}
	l, _, err := d.OpenLog("a-b", 3, TopicID{1}, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Delete(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.OpenLog("a-b", 3, TopicID{2}, o); err != nil {
		t.Fatal(err)
	}
	if got := d.Cleaned("a-b", 3); got != 0 {
		t.Errorf("a new topic of the name begins at %d", got)
	}

}

// TestReadersDuringSwaps reads all the time while segments are replaced again and again.
func TestReadersDuringSwaps(t *testing.T) {
	fsys := vfs.NewMem()
	l, _ := mustOpen(t, testOptions(fsys))
	appendN(t, l, 300, seeded(1))
	done := make(chan error, 3)
	stop := make(chan struct{})
	end := l.Offsets().End
	work := []func() error{
		func() error {
			for at := int64(0); at < end; {
				r, err := l.Read(at, end, 2000, true)
				if err != nil {
					return err
				}
				p, err := r.Bytes()
				r.Release()
				if err != nil {
					return err
				}
				for len(p) > 0 {
					var b batch.Batch
					if b, p, err = batch.Next(p); err != nil {
						return err
					}
					if err := b.CheckCRC(); err != nil {
						return err
					}
					at = b.NextOffset()
				}
			}
			return nil
		},
		func() error { _, err := l.Aborted(0, end); return err },
		func() error {
			_, _, err := l.FirstAtOrAfter(start.UnixMilli()+500, end)
			return err
		},
	}
	for _, do := range work {
		go func() {
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				if err := do(); err != nil {
					done <- err
					return
				}
			}
		}()
	}
	for len(l.Segments()) > 4 {
		if err := swapped(t, l).Swap(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	for range work {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
