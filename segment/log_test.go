package segment

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
)

// TestReadEqualsNaiveModel reads at every offset with several bounds and sizes and
// compares with cutting the appended batches by hand; then again after reopening.
func TestReadEqualsNaiveModel(t *testing.T) {
	for seed := range uint64(4) {
		mem := vfs.NewMem()
		o := testOptions(mem)
		o.Config.IndexInterval = []int64{0, 200, 1000, 1 << 30}[seed]
		l, _ := mustOpen(t, o)
		r := seeded(seed)
		all := appendN(t, l, 60, r)
		check := func(l *Log) {
			end := l.Offsets().End
			for at := int64(0); at <= end; at++ {
				for _, bi := range []int{0, 20, 59, 60} {
					bound := end
					if bi < 60 {
						bound = all[bi].BaseOffset()
					}
					for _, maxBytes := range []int64{0, 1, 150, 700, 3000, 1 << 30} {
						for _, one := range []bool{false, true} {
							checkRead(t, l, all, at, bound, maxBytes, one)
						}
					}
				}
			}
		}
		check(l)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		for _, clean := range []bool{true, false} {
			o.Clean = clean
			again, rec := mustOpen(t, o)
			if len(rec.Faults) > 0 {
				t.Fatal(rec.Faults)
			}
			check(again)
			if err := again.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func checkRead(t *testing.T, l *Log, all []batch.Batch, at, bound, maxBytes int64, one bool) {
	t.Helper()
	got, err := l.Read(at, bound, maxBytes, one)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Release()
	p, err := got.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	var want []byte
	for _, b := range all {
		if b.LastOffset() < at || b.LastOffset() >= bound {
			continue
		}
		if int64(len(want)+len(b)) > maxBytes && (len(want) > 0 || !one) {
			break
		}
		want = append(want, b...)
	}
	if len(got.Regions) == maxRegions {
		want = want[:min(len(want), len(p))]
	}
	if !bytes.Equal(p, want) {
		t.Fatalf("Read(%d, %d, %d, %v): %d bytes in %d regions, want %d", at, bound, maxBytes, one, len(p), len(got.Regions), len(want))
	}
}

func TestReadOutsideTheLogIsOutOfRange(t *testing.T) {
	l, _ := mustOpen(t, testOptions(vfs.NewMem()))
	appendN(t, l, 60, seeded(1))
	if err := l.SetLogStart(30); err != nil {
		t.Fatal(err)
	}
	end := l.Offsets().End
	for _, at := range []int64{-1, 0, 29, end + 1} {
		if _, err := l.Read(at, end, 100, true); !errors.Is(err, ErrOutOfRange) {
			t.Errorf("at %d: %v", at, err)
		}
	}
	if r, err := l.Read(end, end, 100, true); err != nil || r.Size != 0 {
		t.Errorf("at the end: %v, %v", r, err)
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	o := testOptions(new(vfs.OS))
	o.Dir = filepath.Join(t.TempDir(), "t-0")
	o.Config.SegmentBytes = 1 << 30
	l, _ := mustOpen(t, o)
	defer l.Close()
	one := []batch.Batch{makeBatch(t, 0, 0, 10, 100, 1)}
	two := []batch.Batch{makeBatch(t, 0, 0, 10, 100, 1), makeBatch(t, 0, 0, 10, 100, 1)}
	next := int64(0)
	add := func(batches []batch.Batch) {
		for _, b := range batches {
			b.Assign(next, 0)
			next = b.NextOffset()
		}
		if _, err := l.Append(batches); err != nil {
			t.Fatal(err)
		}
	}
	add(one)
	add(two)
	if n := testing.AllocsPerRun(500, func() { add(one); add(two) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestAppendRefusesBatchesOutOfOrder(t *testing.T) {
	l, _ := mustOpen(t, testOptions(vfs.NewMem()))
	appendN(t, l, 3, seeded(1))
	end := l.Offsets().End
	for _, bs := range [][]batch.Batch{
		{makeBatch(t, end-1, 0, 1, 8, 0)},
		{makeBatch(t, end, 0, 2, 8, 0), makeBatch(t, end+1, 0, 1, 8, 0)},
	} {
		if _, err := l.Append(bs); !errors.Is(err, ErrOutOfOrder) {
			t.Errorf("%v", err)
		}
	}
	if l.Offsets().End != end || l.Err() != nil {
		t.Fatal("the log changed")
	}
}

func TestRollRules(t *testing.T) {
	ms := func(m int64) int64 { return start.UnixMilli() + m }
	for _, c := range []struct {
		name   string
		change func(*Config)
		second func(end int64) batch.Batch
		rolls  bool
	}{
		{"fits", func(*Config) {}, func(e int64) batch.Batch { return makeBatch(t, e, 0, 1, 8, ms(1)) }, false},
		{"size", func(c *Config) { c.SegmentBytes = 200 }, func(e int64) batch.Batch { return makeBatch(t, e, 0, 1, 100, ms(1)) }, true},
		{"age by timestamps", func(c *Config) { c.SegmentAge = time.Second }, func(e int64) batch.Batch { return makeBatch(t, e, 0, 1, 8, ms(1001)) }, true},
		{"age just reached", func(c *Config) { c.SegmentAge = time.Second }, func(e int64) batch.Batch { return makeBatch(t, e, 0, 1, 8, ms(1000)) }, false},
		{"relative offset", func(*Config) {}, func(e int64) batch.Batch { return makeBatch(t, 1<<31, 0, 1, 8, ms(1)) }, true},
		{"index full", func(c *Config) { c.IndexBytes = 20 }, func(e int64) batch.Batch { return makeBatch(t, e, 0, 1, 300, ms(1)) }, true},
	} {
		o := testOptions(vfs.NewMem())
		c.change(&o.Config)
		l, _ := mustOpen(t, o)
		if _, err := l.Append([]batch.Batch{makeBatch(t, 0, 0, 1, 8, ms(0))}); err != nil {
			t.Fatal(err)
		}
		b := c.second(l.Offsets().End)
		if _, err := l.Append([]batch.Batch{b}); err != nil {
			t.Fatal(err)
		}
		if rolled := len(l.Segments()) == 2; rolled != c.rolls {
			t.Errorf("%s: rolled %v", c.name, rolled)
		}
		if o := l.Offsets(); o.End != b.NextOffset() {
			t.Errorf("%s: %+v", c.name, o)
		}
		r, err := l.Read(b.BaseOffset(), b.NextOffset(), 1000, true)
		if p, _ := r.Bytes(); err != nil || !bytes.Equal(p, b) {
			t.Errorf("%s: read %d bytes, %v", c.name, len(p), err)
		}
	}
}

func TestBrokenWriteFailsTheLogAndKeepsWhatWasThere(t *testing.T) {
	mem := vfs.NewMem()
	o := testOptions(mem)
	l, _ := mustOpen(t, o)
	all := appendN(t, l, 5, seeded(1))
	heal := mem.Inject(vfs.Fault{Op: vfs.OpWrite, Err: syscall.EIO}) // half of it is written
	b := makeBatch(t, l.Offsets().End, 0, 3, 100, 0)
	if _, err := l.Append([]batch.Batch{b}); !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	heal()
	if _, err := l.Append([]batch.Batch{b}); !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	if got := readMem(t, mem, "/data/t-0/00000000000000000000.log"); !bytes.Equal(got, join(all)) {
		t.Fatalf("file has %d bytes, want %d", len(got), size(all))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again, rec := mustOpen(t, o)
	if rec.TruncatedBytes != 0 || !bytes.Equal(readAll(t, again), join(all)) {
		t.Fatalf("%+v", rec)
	}
}

func TestFailedSyncFailsEveryLogOfTheRoundForGood(t *testing.T) {
	mem := vfs.NewMem()
	d, err := OpenDir(DirOptions{FS: mem, Path: "/data", ClusterID: "c"})
	if err != nil {
		t.Fatal(err)
	}
	var logs []*Log
	var rounds []*Round
	for i := range int32(4) {
		l, _, err := d.OpenLog("t", i, TopicID{1}, Options{Config: testConfig, Now: func() time.Time { return start }})
		if err != nil {
			t.Fatal(err)
		}
		r, err := l.Append([]batch.Batch{makeBatch(t, 0, 0, 1, 8, 0)})
		if err != nil || r == nil {
			t.Fatal(r, err)
		}
		logs, rounds = append(logs, l), append(rounds, r)
	}
	mem.SetFault(func(op vfs.Op, _ string, _ int) error {
		if op == vfs.OpSync || op == vfs.OpSyncAll {
			return syscall.EIO
		}
		return nil
	})
	d.Committer().Commit()
	mem.SetFault(nil)
	for i, l := range logs {
		<-rounds[i].Done()
		if err := rounds[i].Err(); !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.EIO) {
			t.Errorf("round: %v", err)
		}
		if _, err := l.Append([]batch.Batch{makeBatch(t, 1, 0, 1, 8, 0)}); !errors.Is(err, ErrFailed) {
			t.Errorf("append: %v", err)
		}
		if o := l.Offsets(); o.FlushedEnd != 0 {
			t.Errorf("%+v", o)
		}
	}
	if err := d.Close(); !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	if _, err := mem.Stat("/data/" + cleanName); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("a clean mark beside a failed log")
	}
}

func TestAckEndFollowsFlushMessages(t *testing.T) {
	for _, c := range []struct{ n, acked int64 }{{1, 0}, {2, 1}, {5, 4}, {6, 5}, {1 << 62, 5}} {
		o := testOptions(vfs.NewMem())
		o.Config.FlushMessages = c.n
		l, _ := mustOpen(t, o)
		r, err := l.Append([]batch.Batch{makeBatch(t, 0, 0, 5, 8, 0)})
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Offsets().AckEnd; got != c.acked || (r == nil) != (c.acked == 5) {
			t.Errorf("flush.messages %d: acked %d, round %v", c.n, got, r)
		}
		w := NewWaiter()
		l.Watch(w)
		l.Flush()
		o.Committer.Commit()
		if got := l.Offsets(); got.AckEnd != 5 || got.FlushedEnd != 5 {
			t.Errorf("flushed: %+v", got)
		}
		if c.acked < 5 {
			<-w.C()
		}
	}
}

func TestTimestampLookupsEqualNaiveModel(t *testing.T) {
	mem := vfs.NewMem()
	l, _ := mustOpen(t, testOptions(mem))
	all := appendN(t, l, 80, seeded(3))
	var records []Timestamped
	for _, b := range all {
		if err := batch.Records(b, 1<<20, func(r *batch.Record) bool {
			records = append(records, Timestamped{r.Offset, r.Timestamp, b.LeaderEpoch()})
			return true
		}); err != nil {
			t.Fatal(err)
		}
	}
	check := func(l *Log) {
		local := l.Offsets().LocalStart
		for _, bi := range []int{0, 1, 30, 79} {
			bound := all[bi].NextOffset()
			var best Timestamped
			found := false
			for _, r := range records {
				if r.Offset >= local && r.Offset < bound && (!found || r.Timestamp > best.Timestamp) {
					best, found = r, true
				}
			}
			if got, ok, err := l.MaxTimestamp(bound); err != nil || ok != found || got != best {
				t.Fatalf("MaxTimestamp(%d) = %v, %v, %v; want %v", bound, got, ok, err, best)
			}
			for ts := records[0].Timestamp - 60; ts < records[len(records)-1].Timestamp+60; ts += 7 {
				var want Timestamped
				found := false
				for _, r := range records {
					if r.Offset >= local && r.Offset < bound && r.Timestamp >= ts {
						want, found = r, true
						break
					}
				}
				got, ok, err := l.FirstAtOrAfter(ts, bound)
				if err != nil || ok != found || got != want {
					t.Fatalf("FirstAtOrAfter(%d, %d) = %v, %v, %v; want %v, %v", ts, bound, got, ok, err, want, found)
				}
			}
		}
	}
	check(l)
	if err := l.SetLogStart(all[20].BaseOffset() + 1); err != nil {
		t.Fatal(err)
	}
	check(l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	o := testOptions(mem)
	o.LogStart = all[20].BaseOffset() + 1
	again, _ := mustOpen(t, o)
	check(again)
}

func TestTruncateThenAppendGoesOnWhereItWasCut(t *testing.T) {
	for cut := range 60 {
		mem := vfs.NewMem()
		o := testOptions(mem)
		l, _ := mustOpen(t, o)
		all := appendN(t, l, 60, seeded(9))
		at := all[cut].BaseOffset()
		if err := l.TruncateTo(at); err != nil {
			t.Fatal(err)
		}
		if got := l.Offsets().End; got != at {
			t.Fatalf("cut at %d: end %d", at, got)
		}
		all = append(all[:cut:cut], appendN(t, l, 20, seeded(10))...)
		if !bytes.Equal(readAll(t, l), join(all)) || l.Size() != size(all) {
			t.Fatalf("cut at %d: wrong records", at)
		}
		l.Flush()
		o.Committer.Commit()
		again, rec := mustOpen(t, Options{FS: mem.Crash(seeded(1)), Dir: o.Dir, Config: o.Config, Now: o.Now, Committer: o.Committer})
		if !bytes.Equal(readAll(t, again), join(all)) {
			t.Fatalf("cut at %d: wrong records after a crash: %+v", at, rec)
		}
	}
}

func TestEpochsFollowKIP101(t *testing.T) {
	mem := vfs.NewMem()
	o := testOptions(mem)
	l, _ := mustOpen(t, o)
	add := func(epoch int32, n int) {
		t.Helper()
		if _, err := l.Append([]batch.Batch{makeBatch(t, l.Offsets().End, epoch, n, 8, 0)}); err != nil {
			t.Fatal(err)
		}
	}
	add(1, 10)
	if err := l.AssignEpoch(3); err != nil {
		t.Fatal(err)
	}
	if err := l.AssignEpoch(5); err != nil { // epoch 3 wrote nothing
		t.Fatal(err)
	}
	add(5, 10)
	want := []EpochStart{{1, 0}, {5, 10}}
	if got := l.Epochs(); !reflect.DeepEqual(got, want) {
		t.Fatal(got)
	}
	for _, c := range []struct {
		ask, epoch int32
		end        int64
	}{{0, 0, 0}, {1, 1, 10}, {3, 1, 10}, {5, 5, 20}, {6, -1, -1}, {-1, -1, -1}} {
		if e, end := l.EpochEnd(c.ask); e != c.epoch || end != c.end {
			t.Errorf("EpochEnd(%d) = %d, %d", c.ask, e, end)
		}
	}
	o.Committer.Commit()
	if got := string(readMem(t, mem, "/data/t-0/"+epochsName)); got != "0\n2\n1 0\n5 10\n" {
		t.Fatalf("%q", got)
	}
	if err := l.SetLogStart(4); err != nil {
		t.Fatal(err)
	}
	if got := l.Epochs(); !reflect.DeepEqual(got, []EpochStart{{1, 4}, {5, 10}}) {
		t.Fatal(got)
	}
	if err := l.TruncateTo(10); err != nil {
		t.Fatal(err)
	}
	if got := l.Epochs(); !reflect.DeepEqual(got, []EpochStart{{1, 4}}) {
		t.Fatal(got)
	}
}

func TestAbortedTransactionsSurviveRollAndCrash(t *testing.T) {
	mem := vfs.NewMem()
	o := testOptions(mem)
	l, _ := mustOpen(t, o)
	appendN(t, l, 60, seeded(2))
	end := l.Offsets().End
	txns := []index.AbortedTxn{{ProducerID: 1, FirstOffset: 0, LastOffset: 5, LastStableOffset: 0}, {ProducerID: 2, FirstOffset: 3, LastOffset: end - 1, LastStableOffset: end - 2}}
	for range 2 { // a replay adds them again
		for _, x := range txns {
			if err := l.AppendAborted(x); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(l *Log) {
		t.Helper()
		for _, c := range []struct {
			from, to int64
			want     []index.AbortedTxn
		}{{0, 3, txns[:1]}, {0, 4, txns}, {6, 10, txns[1:]}, {end, end + 1, nil}} {
			if got, err := l.Aborted(c.from, c.to); err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("Aborted(%d, %d) = %v, %v", c.from, c.to, got, err)
			}
		}
	}
	check(l)
	l.Flush()
	o.Committer.Commit()
	o.FS = mem.Crash(seeded(3))
	again, _ := mustOpen(t, o)
	check(again)
	if err := again.TruncateTo(end - 1); err != nil {
		t.Fatal(err)
	}
	if got, err := again.Aborted(0, end); err != nil || !reflect.DeepEqual(got, txns[:1]) {
		t.Fatal(got, err)
	}
}

func TestSnapshotsStayAtSegmentBorders(t *testing.T) {
	mem := vfs.NewMem()
	o := testOptions(mem)
	l, _ := mustOpen(t, o)
	ps := []ProducerState{{ProducerID: 7, ProducerEpoch: 1, LastSequence: 2, LastOffset: 3, OffsetDelta: 4, Timestamp: 5, CoordinatorEpoch: 6, CurrentTxnFirst: -1}}
	snap := func() int64 {
		t.Helper()
		at := l.Offsets().End
		if err := l.WriteSnapshot(at, ps); err != nil {
			t.Fatal(err)
		}
		return at
	}
	appendN(t, l, 5, seeded(1))
	snap()
	appendN(t, l, 5, seeded(1))
	if err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	border := snap()
	appendN(t, l, 5, seeded(1))
	snap()
	appendN(t, l, 1, seeded(1))
	before := snap()
	appendN(t, l, 1, seeded(1))
	last := snap()
	if want := []int64{border, before, last}; !reflect.DeepEqual(l.snapshots, want) {
		t.Fatal(l.snapshots, want)
	}
	s, err := l.Sealed(0)
	if err != nil || !bytes.Equal(s.Snapshot, EncodeSnapshot(ps)) || s.Next != border {
		t.Fatal(s, err)
	}
	s.Release()
	f, _ := mem.Open(filepath.Join(o.Dir, fileName(last, snapshotSuffix)), false)
	f.WriteAt([]byte{9}, 20)
	at, got, found, err := l.LoadSnapshot(last)
	if at != before || !reflect.DeepEqual(got, ps) || !found || err != nil {
		t.Fatal(at, got, found, err)
	}
}

func TestOpenRefusesWhatIsNotALogByPath(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(path string) error
	}{
		{"00000000000000000007.log", func(p string) error { return syscall.Symlink("/etc/passwd", p) }},
		{"00000000000000000007.index", func(p string) error { return syscall.Mkfifo(p, 0o600) }},
		{"00000000000000000007.snapshot", func(p string) error { return syscall.Mkdir(p, 0o700) }},
		{"7.log", func(p string) error { f, err := new(vfs.OS).Create(p); f.Close(); return err }},
		{"-0000000000000000007.log", func(p string) error { f, err := new(vfs.OS).Create(p); f.Close(); return err }},
	} {
		o := testOptions(new(vfs.OS))
		o.Dir = t.TempDir()
		path := filepath.Join(o.Dir, c.name)
		if err := c.make(path); err != nil {
			t.Fatal(err)
		}
		_, _, err := Open(o)
		var corrupt *CorruptError
		if !errors.As(err, &corrupt) || !strings.HasSuffix(corrupt.Path, c.name) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestReadersKeepFilesThatExpire(t *testing.T) {
	for _, fsys := range []vfs.FS{vfs.NewMem(), new(vfs.OS)} {
		o := testOptions(fsys)
		if _, ok := fsys.(*vfs.OS); ok {
			o.Dir = filepath.Join(t.TempDir(), "t-0")
		}
		l, _ := mustOpen(t, o)
		all := appendN(t, l, 60, seeded(1))
		r, err := l.Read(0, l.Offsets().End, 1000, true)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.SetLogStart(l.Offsets().End); err != nil {
			t.Fatal(err)
		}
		if n := len(l.Segments()); n != 1 {
			t.Fatalf("%d segments", n)
		}
		if err := l.Delete(); err != nil {
			t.Fatal(err)
		}
		p, err := r.Bytes()
		if err != nil || !bytes.HasPrefix(join(all), p) || len(p) == 0 {
			t.Fatal(len(p), err)
		}
		r.Release()
		if _, err := l.Read(0, 1, 1, true); !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
	}
}
