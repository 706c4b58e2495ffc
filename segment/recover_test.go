package segment

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
)

func writeMem(t testing.TB, fsys vfs.FS, path string, p []byte) {
	t.Helper()
	if err := fsys.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	f, err := fsys.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(p, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRecoverKeepsWholeBatchesOfATornTail cuts the last segment at every byte (R36),
// and puts zeros or garbage behind the cut.
func TestRecoverKeepsWholeBatchesOfATornTail(t *testing.T) {
	mem := vfs.NewMem()
	o := testOptions(mem)
	o.Config.SegmentBytes = 1 << 20
	l, _ := mustOpen(t, o)
	all := appendN(t, l, 12, seeded(5))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	path := "/data/t-0/00000000000000000000.log"
	whole := readMem(t, mem, path)
	for cut := 0; cut <= len(whole); cut++ {
		for kind, tail := range [][]byte{nil, make([]byte, 70), bytes.Repeat([]byte{0xa5}, 70)} {
			for _, clean := range []bool{false, true} {
				if clean && tail != nil {
					continue // a clean stop vouches for bytes of the right length
				}
				m := mem.Crash(nil)
				file := slices.Concat(whole[:cut], tail)
				writeMem(t, m, path, file)
				o := o
				o.FS, o.Clean, o.RecoveryPoint = m, clean, 0
				l, rec := mustOpen(t, o)
				kept, n := 0, 0
				for n < len(all) && bytes.HasPrefix(file[kept:], all[n]) {
					kept += len(all[n])
					n++
				}
				got := readAll(t, l)
				if !bytes.Equal(got, whole[:kept]) || rec.TruncatedBytes != int64(cut-kept+len(tail)) {
					t.Fatalf("cut %d kind %d clean %v: %d bytes, want %d; %+v", cut, kind, clean, len(got), kept, rec)
				}
				more := appendN(t, l, 1, seeded(6))
				if !bytes.Equal(readAll(t, l), append(whole[:kept:kept], join(more)...)) {
					t.Fatalf("cut %d: wrong records after an append", cut)
				}
				l.Close()
			}
		}
	}
}

func TestRecoverFindsEveryFlippedByteAboveTheRecoveryPoint(t *testing.T) {
	mem := vfs.NewMem()
	o := testOptions(mem)
	o.Config.SegmentBytes = 1 << 20
	l, _ := mustOpen(t, o)
	all := appendN(t, l, 8, seeded(5))
	l.Close()
	path := "/data/t-0/00000000000000000000.log"
	whole := readMem(t, mem, path)
	for at := range whole {
		p := bytes.Clone(whole)
		p[at] ^= 0x40
		m := mem.Crash(nil)
		writeMem(t, m, path, p)
		o := o
		o.FS = m
		l, _ := mustOpen(t, o)
		n, position := 0, 0
		for position+len(all[n]) <= at {
			position += len(all[n])
			n++
		}
		// Base offset and leader epoch lie outside the CRC: offsets only have to ascend.
		if in := at - position; in < 8 || in >= 12 && in < 16 {
			l.Close()
			continue
		}
		if got := readAll(t, l); !bytes.Equal(got, whole[:position]) {
			t.Fatalf("flip at %d: %d bytes kept, want %d", at, len(got), position)
		}
		l.Close()
	}
}

// What lies below the recovery point was synced: a start that read the batch before it
// would read a whole large one in each of thousands of logs.
func TestRecoverScansNoBatchBelowTheRecoveryPoint(t *testing.T) {
	mem := vfs.NewMem()
	o := testOptions(mem)
	o.Config.SegmentBytes = 1 << 20
	l, _ := mustOpen(t, o)
	all := appendN(t, l, 40, seeded(5))
	end := l.Offsets().End
	l.Close()
	path := "/data/t-0/00000000000000000000.log"
	whole := readMem(t, mem, path)
	below := int64(0)
	for i, b := range all {
		below += int64(len(b))
		if i < 5 {
			continue // no index entry yet: nothing says where a batch begins
		}
		for _, damaged := range []bool{false, true} {
			p := bytes.Clone(whole)
			if damaged {
				p[below-1] ^= 1 // by other hands: reads are told, and nothing is cut off
			}
			o := o
			o.FS, o.RecoveryPoint = mem.Crash(nil), b.NextOffset()
			writeMem(t, o.FS.(*vfs.Mem), path, p)
			l, r := mustOpen(t, o)
			if want := int64(len(whole)) - below; r.ScannedBytes != want || l.Offsets().End != end {
				t.Errorf("recovery point %d, damaged below %v: %d bytes scanned, want %d; log ends at %d, want %d", o.RecoveryPoint, damaged, r.ScannedBytes, want, l.Offsets().End, end)
			}
			l.Close()
		}
	}
}

func TestLostOrGarbageSideFilesAreMadeAnew(t *testing.T) {
	mem := vfs.NewMem()
	o := testOptions(mem)
	l, _ := mustOpen(t, o)
	all := appendN(t, l, 60, seeded(5))
	end := l.Offsets().End
	l.Close()
	entries, _ := mem.List(o.Dir)
	for _, e := range entries {
		suffix := filepath.Ext(e.Name())
		if suffix == logSuffix {
			continue
		}
		path := filepath.Join(o.Dir, e.Name())
		good := readMem(t, mem, path)
		for kind, p := range [][]byte{nil, {}, {1}, make([]byte, len(good)), bytes.Repeat([]byte{0xff}, 24), append(bytes.Clone(good), make([]byte, 1200)...)} {
			for _, clean := range []bool{true, false} {
				m := mem.Crash(nil)
				if p == nil {
					m.Remove(path)
				} else {
					writeMem(t, m, path, p)
				}
				o := o
				o.FS, o.Clean, o.RecoveryPoint = m, clean, end
				l, _ := mustOpen(t, o)
				for at := int64(0); at < end; at += 3 {
					r, err := l.Read(at, end, 200, true)
					if err != nil || r.Size == 0 {
						t.Fatalf("%s kind %d clean %v: read at %d: %v, %v", e.Name(), kind, clean, at, r, err)
					}
					r.Release()
				}
				if !bytes.Equal(readAll(t, l), join(all)) {
					t.Fatalf("%s kind %d: wrong records", e.Name(), kind)
				}
				if _, _, err := l.FirstAtOrAfter(start.UnixMilli()+100, end); err != nil {
					t.Fatalf("%s kind %d: %v", e.Name(), kind, err)
				}
				l.Close()
			}
		}
	}
}

// TestCrashAtEveryStep runs random operations, cuts the power before each step of the
// file system, reopens, and checks that what is left is a prefix of what was appended
// that holds all that was acknowledged.
func TestCrashAtEveryStep(t *testing.T) {
	seeds := uint64(60)
	if testing.Short() {
		seeds = 6
	}
	crashes := 0
	for seed := range seeds {
		steps := 1 << 30
		for step := 1; step < steps; step += 1 + int(seed%5) {
			last, crashed := crashRun(t, seed, step)
			if !crashed {
				steps = last
			}
			crashes++
		}
	}
	t.Logf("%d crashes", crashes)
}

// crashRun reports how many steps the run has and whether it reached the one asked for.
func crashRun(t *testing.T, seed uint64, step int) (int, bool) {
	r := seeded(seed)
	mem := vfs.NewMem()
	var left *vfs.Mem
	// model is what was appended, by batch; acked and truncating bound what may be left.
	var model []batch.Batch
	var undo []batch.Batch // the model before a truncation under way
	acked, low := int64(0), int64(0)
	type image struct {
		model, undo []batch.Batch
		acked, low  int64
	}
	var at image
	mem.SetFault(func(op vfs.Op, _ string, n int) error {
		if n == step {
			left = mem.Crash(rand.New(rand.NewPCG(seed, uint64(step))))
			at = image{model, undo, acked, low}
		}
		return nil
	})
	open := func(fsys vfs.FS) (*Dir, *Log) {
		d, err := OpenDir(DirOptions{FS: fsys, Path: "/data", ClusterID: "c", NodeID: 1})
		if err != nil {
			t.Fatalf("seed %d step %d: %v", seed, step, err)
		}
		c := testConfig
		c.SegmentBytes = 1500
		l, _, err := d.OpenLog("t", 0, TopicID{1}, Options{Config: c, Now: func() time.Time { return start }})
		if err != nil {
			t.Fatalf("seed %d step %d: %v", seed, step, err)
		}
		return d, l
	}
	d, l := open(mem)
	fail := func(err error) {
		if err != nil {
			t.Fatalf("seed %d step %d: %v", seed, step, err)
		}
	}
	for range 25 {
		if left != nil {
			break
		}
		end := l.Offsets().End
		switch k := r.IntN(20); {
		case k < 10:
			b := makeBatch(t, end, int32(len(model)/10), 1+r.IntN(3), 8+r.IntN(200), start.UnixMilli())
			model = append(model[:len(model):len(model)], b)
			_, err := l.Append([]batch.Batch{b})
			fail(err)
		case k < 14:
			d.Committer().Commit()
			if left == nil {
				acked = l.Offsets().FlushedEnd
			}
		case k < 15:
			fail(l.Roll())
		case k < 16 && len(model) > 0:
			to := model[r.IntN(len(model))].BaseOffset()
			if to < low {
				break
			}
			undo = model
			n := 0
			for n < len(model) && model[n].BaseOffset() < to {
				n++
			}
			acked = min(acked, to)
			model = model[:n:n]
			fail(l.TruncateTo(to))
			if left == nil {
				undo = nil
			}
		case k < 17:
			fail(d.Checkpoint())
		case k < 18:
			if o := l.Offsets(); o.FlushedEnd > low {
				low = o.FlushedEnd - r.Int64N(o.FlushedEnd-low)
				fail(l.SetLogStart(low))
			}
		case k < 19:
			fail(l.WriteSnapshot(end, nil))
		default:
			fail(d.Close())
			acked = end
			d, l = open(mem)
		}
	}
	if left == nil {
		return mem.Ops(), false
	}
	defer func() {
		if t.Failed() {
			t.Logf("seed %d step %d", seed, step)
		}
	}()
	d2, l2 := open(left)
	o := l2.Offsets()
	got := readAll(t, l2)
	ok := o.LocalStart <= max(at.low, 0) && o.End >= at.acked
	match := func(model []batch.Batch) bool {
		var want []byte
		end := int64(0)
		for _, b := range model {
			if b.LastOffset() >= o.LocalStart && b.NextOffset() <= o.End {
				want = append(want, b...)
			}
			if b.NextOffset() <= o.End {
				end = b.NextOffset()
			}
		}
		return bytes.Equal(got, want) && (end == o.End || o.End == 0)
	}
	if !ok || !match(at.model) && (at.undo == nil || !match(at.undo)) {
		t.Fatalf("seed %d step %d: left %+v with %d bytes; acked %d, log start %d, %d batches", seed, step, o, len(got), at.acked, at.low, len(at.model))
	}
	for _, e := range l2.Epochs() {
		if e.Start >= o.End && e.Start != o.LogStart {
			t.Fatalf("seed %d step %d: epoch %+v in a log that ends at %d", seed, step, e, o.End)
		}
	}
	if o.End > o.LocalStart {
		n := 0
		for n < len(at.model) && at.model[n].NextOffset() < o.End {
			n++
		}
		if n < len(at.model) && at.model[n].NextOffset() == o.End && match(at.model) {
			if e := l2.Epochs(); len(e) == 0 || e[len(e)-1].Epoch != at.model[n].LeaderEpoch() {
				t.Fatalf("seed %d step %d: epochs %v, last batch of epoch %d", seed, step, e, at.model[n].LeaderEpoch())
			}
		}
	}
	appendN(t, l2, 1, r)
	if err := d2.Close(); err != nil {
		t.Fatal(err)
	}
	return 0, true
}

// TestManyReadersBesideAppendAndRetention is for the race detector.
func TestManyReadersBesideAppendAndRetention(t *testing.T) {
	fsys := new(vfs.OS)
	d, err := OpenDir(DirOptions{FS: fsys, Path: t.TempDir(), ClusterID: "c"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var run, readers sync.WaitGroup
	run.Go(func() { d.Committer().Run(ctx) })
	l, _, err := d.OpenLog("t", 0, TopicID{1}, Options{Config: testConfig, Now: func() time.Time { return start }})
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	for i := range 3 {
		readers.Go(func() {
			r := seeded(uint64(i))
			for {
				select {
				case <-stop:
					return
				default:
				}
				o := l.Offsets()
				if o.End == o.LocalStart {
					continue
				}
				at := o.LocalStart + r.Int64N(o.End-o.LocalStart)
				rec, err := l.Read(at, o.AckEnd, 2000, true)
				if err != nil {
					continue // expired meanwhile
				}
				p, err := rec.Bytes()
				rec.Release()
				if err != nil {
					t.Error(err)
					return
				}
				for len(p) > 0 {
					var b batch.Batch
					if b, p, err = batch.Next(p); err != nil || b.CheckCRC() != nil || b.LastOffset() < at {
						t.Errorf("batch %v at %d", err, at)
						return
					}
				}
				l.Segments()
				l.FirstAtOrAfter(start.UnixMilli()+at*10, o.End)
				l.MaxTimestamp(o.End)
			}
		})
	}
	r := seeded(9)
	for i := range 1500 {
		end := l.Offsets().End
		round, err := l.Append([]batch.Batch{makeBatch(t, end, 0, 1+r.IntN(3), 100, start.UnixMilli()+end*10)})
		if err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 {
			<-round.Done()
			if round.Err() != nil {
				t.Fatal(round.Err())
			}
		}
		if i%100 == 99 {
			if err := l.SetLogStart(max(0, l.Offsets().FlushedEnd-300)); err != nil {
				t.Fatal(err)
			}
			if err := d.Checkpoint(); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(stop)
	readers.Wait()
	cancel()
	run.Wait()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkGroupCommit(b *testing.B) {
	for _, n := range []int{1, 16, 256} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			fsys := new(vfs.OS)
			d, err := OpenDir(DirOptions{FS: fsys, Path: b.TempDir(), ClusterID: "c"})
			if err != nil {
				b.Fatal(err)
			}
			c := testConfig
			c.SegmentBytes, c.IndexInterval = 1<<30, 4096
			logs := make([]*Log, n)
			batches := make([]batch.Batch, n)
			for i := range logs {
				if logs[i], _, err = d.OpenLog("t", int32(i), TopicID{1}, Options{Config: c, Now: time.Now}); err != nil {
					b.Fatal(err)
				}
				batches[i] = makeBatch(b, 0, 0, 1, 330, 0)
			}
			b.ReportAllocs()
			for b.Loop() {
				var round *Round
				for i, l := range logs {
					batches[i].Assign(l.Offsets().End, 0)
					if round, err = l.Append(batches[i : i+1]); err != nil {
						b.Fatal(err)
					}
				}
				d.Committer().Commit()
				if round.Err() != nil {
					b.Fatal(round.Err())
				}
			}
			b.StopTimer()
			if err := d.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkOpen1000 opens 1,000 logs after a clean stop, and after a kill that lost
// their recovery points.
func BenchmarkOpen1000(b *testing.B) {
	path := b.TempDir()
	open := func() *Dir {
		d, err := OpenDir(DirOptions{FS: new(vfs.OS), Path: path, ClusterID: "c"})
		if err != nil {
			b.Fatal(err)
		}
		for i := range int32(1000) {
			l, _, err := d.OpenLog("t", i, TopicID{1}, Options{Config: testConfig, Now: time.Now})
			if err != nil {
				b.Fatal(err)
			}
			if l.Offsets().End == 0 {
				appendN(b, l, 5, seeded(1))
			}
		}
		return d
	}
	closeDir := func(d *Dir) {
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
	}
	closeDir(open())
	for _, clean := range []bool{true, false} {
		b.Run(fmt.Sprintf("clean=%v", clean), func(b *testing.B) {
			var before, after runtime.MemStats
			for b.Loop() {
				b.StopTimer()
				if !clean {
					os.Remove(filepath.Join(path, cleanName))
					os.Remove(filepath.Join(path, recoveryName))
				}
				runtime.GC()
				runtime.ReadMemStats(&before)
				b.StartTimer()
				d := open()
				b.StopTimer()
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1000, "heap-B/log")
				closeDir(d)
				b.StartTimer()
			}
		})
	}
}

// TestRecoverDropsSegmentsBehindAGap loses the tail of a sealed segment at a batch
// border, where no batch is torn: what follows would not be a prefix.
func TestRecoverDropsSegmentsBehindAGap(t *testing.T) {
	mem := vfs.NewMem()
	o := testOptions(mem)
	l, _ := mustOpen(t, o)
	all := appendN(t, l, 60, seeded(5))
	segments := l.Segments()
	l.Close()
	path := filepath.Join(o.Dir, fileName(segments[1].Base, logSuffix))
	p := readMem(t, mem, path)
	n := 0
	for all[n].BaseOffset() < segments[1].Base {
		n++
	}
	writeMem(t, mem, path, p[:len(all[n])])
	l, rec := mustOpen(t, o)
	if !bytes.Equal(readAll(t, l), join(all[:n+1])) || len(rec.Faults) != 1 {
		t.Fatalf("%+v %+v", l.Offsets(), rec)
	}
	if got := l.Segments(); len(got) != 2 {
		t.Fatalf("%+v", got)
	}
}
