package retention

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
)

const testDir = "/data/t-0"

var epoch0 = time.UnixMilli(1_700_000_000_000)

// world is a log with a naive model of it: every batch, every record.
type world struct {
	t   *testing.T
	r   *rand.Rand
	mem *vfs.Mem
	l   *segment.Log
	now int64 // ms

	batches   []*modelBatch
	open      map[int64]int64 // first offset of each open transaction
	sequences map[int64]int32
	lasts     map[int64]LastRecord
	cleanedTo int64
}

type modelBatch struct {
	base, next int64
	pid        int64
	control    bool
	aborted    bool // of an aborted transaction; known once that has ended
	txn        int64
	horizon    int64
	records    []modelRecord
}

type modelRecord struct {
	offset, timestamp int64
	key, value        string
	noKey, tombstone  bool
}

var testConfig = segment.Config{SegmentBytes: 3000, IndexInterval: 300, IndexBytes: 1 << 20, FlushMessages: 1}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, r: rand.New(rand.NewPCG(seed, 1)), mem: vfs.NewMem(), now: epoch0.UnixMilli(),
		open: map[int64]int64{}, sequences: map[int64]int32{}, lasts: map[int64]LastRecord{}}
	w.l, _ = openLog(t, w.mem, 0, false)
	return w
}

func openLog(t *testing.T, fsys vfs.FS, recovery int64, clean bool) (*segment.Log, segment.Recovered) {
	t.Helper()
	l, r, err := segment.Open(segment.Options{FS: fsys, Dir: testDir, Config: testConfig, Clean: clean, RecoveryPoint: recovery,
		Now: func() time.Time { return epoch0 }, Committer: segment.NewCommitter(fsys, "/data", nil)})
	if err != nil {
		t.Fatal(err)
	}
	return l, r
}

func (w *world) do(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// append appends n random batches and ends transactions now and then.
func (w *world) append(n int) {
	for range n {
		pid := int64(-1)
		switch w.r.IntN(4) {
		case 0:
			pid = 100 + w.r.Int64N(3) // idempotent
		case 1, 2:
			pid = 200 + w.r.Int64N(4) // transactional
		}
		if _, open := w.open[pid]; open && w.r.IntN(3) == 0 {
			w.endTransaction(pid)
		} else {
			w.appendData(pid)
		}
	}
}

func (w *world) appendData(pid int64) {
	o := batch.NoProducer
	o.Codec = batch.Codec(w.r.IntN(5))
	if w.r.IntN(5) == 0 {
		o.LogAppendTime = w.now
	}
	base := w.l.Offsets().End
	m := &modelBatch{base: base, pid: pid, txn: -1}
	if pid >= 0 {
		o.ProducerID, o.ProducerEpoch, o.BaseSequence = pid, 0, w.sequences[pid]
	}
	if pid >= 200 {
		o.Transactional = true
		if _, open := w.open[pid]; !open {
			w.open[pid] = base
		}
		m.txn = w.open[pid]
	}
	var records []batch.Record
	for i := range int64(1 + w.r.IntN(6)) {
		x := modelRecord{offset: base + i, timestamp: w.now + w.r.Int64N(50), key: fmt.Sprint("key-", w.r.IntN(25)), value: strings.Repeat("v", w.r.IntN(60))}
		x.tombstone, x.noKey = w.r.IntN(5) == 0, w.r.IntN(40) == 0
		r := batch.Record{Timestamp: x.timestamp, Key: []byte(x.key), Value: []byte(x.value)}
		if x.noKey {
			r.Key, x.key = nil, ""
		}
		if x.tombstone {
			r.Value, x.value = nil, ""
		}
		if w.r.IntN(8) == 0 {
			r.Headers = []batch.Header{{Key: "h", Value: []byte("x")}}
		}
		if o.LogAppendTime != 0 {
			x.timestamp = o.LogAppendTime
		}
		records, m.records = append(records, r), append(m.records, x)
	}
	b, err := o.Build(base, 0, records)
	w.do(err)
	m.next = b.NextOffset()
	if pid >= 0 {
		w.sequences[pid] = b.LastSequence() + 1
		w.lasts[pid] = LastRecord{Offset: b.LastOffset()}
	}
	w.appendBatch(m, b)
}

func (w *world) endTransaction(pid int64) {
	base := w.l.Offsets().End
	marker := batch.Marker{Commit: w.r.IntN(2) == 0}
	b, err := marker.Build(base, 0, pid, 0, w.now)
	w.do(err)
	w.appendBatch(&modelBatch{base: base, next: base + 1, pid: pid, control: true, txn: w.open[pid]}, b)
	if !marker.Commit {
		for _, m := range w.batches {
			if m.pid == pid && m.txn == w.open[pid] && !m.control {
				m.aborted = true
			}
		}
		stable := base + 1
		for other, first := range w.open {
			if other != pid {
				stable = min(stable, first)
			}
		}
		w.do(w.l.AppendAborted(index.AbortedTxn{ProducerID: pid, FirstOffset: w.open[pid], LastOffset: base, LastStableOffset: stable}))
	}
	delete(w.open, pid)
}

func (w *world) endTransactions() {
	for _, pid := range slices.Sorted(maps.Keys(w.open)) {
		w.endTransaction(pid)
	}
}

func (w *world) appendBatch(m *modelBatch, b batch.Batch) {
	w.batches = append(w.batches, m)
	_, err := w.l.Append([]batch.Batch{b})
	w.do(err)
}

// stable is the last stable offset.
func (w *world) stable() int64 {
	stable := w.l.Offsets().End
	for _, first := range w.open {
		stable = min(stable, first)
	}
	return stable
}

// settle makes everything durable.
func (w *world) settle() {
	w.do(w.mem.SyncAll("/"))
}

func tailOf(l *segment.Log, cleanedTo, stable, now int64) Tail {
	t := Tail{FirstDirty: cleanedTo, Stable: stable, Now: now}
	for _, s := range l.Segments() {
		t.Segments = append(t.Segments, Segment{Base: s.Base, Next: s.Next, Size: s.Size, MaxTimestamp: s.MaxTimestamp, Modified: now, Sealed: s.Sealed})
	}
	return t
}

const testDeleteRetention = 1000

func (w *world) pass() Pass {
	d := Dirtiness(Compaction{}, tailOf(w.l, w.cleanedTo, w.stable(), w.now))
	return Pass{FirstDirty: d.FirstDirty, Bound: d.Bound, Now: w.now, DeleteRetention: testDeleteRetention,
		SegmentBytes: testConfig.SegmentBytes, MaxDecompressed: 1 << 20, Producers: maps.Clone(w.lasts)}
}

// clean compacts log and model, in as many passes as the map wants.
func (w *world) clean(mapBytes int64) (passes int) {
	c := NewCleaner(CleanerOptions{MapBytes: mapBytes, Random: rand.NewChaCha8([32]byte{})})
	for {
		p := w.pass()
		h := hold(w.t, w.l)
		before := h.consume(w.t)
		got, err := c.Clean(context.Background(), w.l, p)
		w.do(err)
		w.cleanedTo = got.CleanedTo
		// Who was in the middle of the old segments sees what was there, and what of it was
		// aborted.
		diff(w.t, "held records", h.consume(w.t).committed, before.committed)
		h.release()
		w.cleanModel(got.CleanedTo, p.Bound)
		w.check()
		if passes++; got.CleanedTo >= p.Bound {
			return passes
		}
		if got.CleanedTo <= p.FirstDirty {
			w.t.Fatalf("a pass from %d has come to %d", p.FirstDirty, got.CleanedTo)
		}
	}
}

// cleanModel is the rule, with no regard to speed: of all that is committed below end
// the last record of each key stays.
func (w *world) cleanModel(end, bound int64) {
	last := map[string]int64{}
	for _, m := range w.batches {
		for _, x := range m.records {
			if !m.aborted && !x.noKey && x.offset < end {
				last[x.key] = x.offset
			}
		}
	}
	// Whole segments are rewritten: the one that holds end, too.
	for _, s := range w.l.Segments() {
		if s.Base < end && s.Next > end {
			bound = min(bound, s.Next)
		}
	}
	if !slices.ContainsFunc(w.l.Segments(), func(s segment.Info) bool { return s.Base < end && s.Next > end }) {
		bound = min(bound, end)
	}
	for _, m := range w.batches {
		if m.next > bound || m.control {
			continue
		}
		tombstone := false
		m.records = slices.DeleteFunc(m.records, func(x modelRecord) bool {
			over := x.tombstone && m.horizon != 0 && m.horizon <= w.now
			gone := m.aborted || x.offset < end && (x.noKey || x.offset < last[x.key] || over)
			tombstone = tombstone || !gone && x.tombstone
			return gone
		})
		if tombstone && m.horizon == 0 && m.next <= end {
			m.horizon = w.now + testDeleteRetention
		}
	}
}

// content is what a log holds.
type content struct {
	records   []modelRecord
	committed []modelRecord   // as a consumer with isolation read_committed sees them
	markers   map[int64]int64 // offset -> delete horizon, 0: none
	lasts     map[int64]int64 // last offset of the last data batch by producer
}

func read(t *testing.T, l *segment.Log) content {
	t.Helper()
	h := hold(t, l)
	defer h.release()
	return h.consume(t)
}

// held is what a reader holds of a log: files that may have been replaced since.
type held struct {
	l       *segment.Log
	records []segment.Records
}

func hold(t *testing.T, l *segment.Log) (h held) {
	t.Helper()
	h.l = l
	o := l.Offsets()
	for at := o.LocalStart; at < o.End; {
		r, err := l.Read(at, o.End, 1<<20, true)
		if err != nil {
			t.Fatal(err)
		}
		h.records = append(h.records, r)
		p, err := r.Bytes()
		if err != nil || len(p) == 0 {
			t.Fatalf("%d bytes to read at %d: %v", len(p), at, err)
		}
		for len(p) > 0 {
			var b batch.Batch
			if b, p, err = batch.Next(p); err != nil {
				t.Fatal(err)
			}
			at = b.NextOffset()
		}
	}
	return h
}

func (h *held) release() {
	for i := range h.records {
		h.records[i].Release()
	}
}

// consume reads what is held, with the aborted transactions of now, as a consumer does.
func (h *held) consume(t *testing.T) content {
	t.Helper()
	c := content{markers: map[int64]int64{}, lasts: map[int64]int64{}}
	o := h.l.Offsets()
	coming, err := h.l.Aborted(o.LocalStart, o.End)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(coming, func(a, b index.AbortedTxn) int { return int(a.FirstOffset - b.FirstOffset) })
	aborted := map[int64]bool{}
	next := o.LocalStart
	for i := range h.records {
		p, err := h.records[i].Bytes()
		if err != nil {
			t.Fatal(err)
		}
		for len(p) > 0 {
			var b batch.Batch
			if b, p, err = batch.Next(p); err != nil || b.CheckCRC() != nil {
				t.Fatal(err, b.CheckCRC())
			}
			if b.BaseOffset() < next {
				t.Fatalf("batch at %d after %d", b.BaseOffset(), next)
			}
			next = b.NextOffset()
			for len(coming) > 0 && coming[0].FirstOffset <= b.LastOffset() {
				aborted[coming[0].ProducerID] = true
				coming = coming[1:]
			}
			if b.Control() {
				c.control(t, b, aborted)
				continue
			}
			if b.ProducerID() >= 0 {
				c.lasts[b.ProducerID()] = b.LastOffset()
			}
			if err := batch.Records(b, 1<<20, func(r *batch.Record) bool {
				x := modelRecord{offset: r.Offset, timestamp: r.Timestamp, key: string(r.Key), value: string(r.Value), noKey: r.Key == nil, tombstone: r.Value == nil}
				c.records = append(c.records, x)
				if !b.Transactional() || !aborted[b.ProducerID()] {
					c.committed = append(c.committed, x)
				}
				return true
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return c
}

func (c *content) control(t *testing.T, b batch.Batch, aborted map[int64]bool) {
	t.Helper()
	if b.Count() == 0 {
		return
	}
	m, err := batch.ReadMarker(b)
	if err != nil {
		t.Fatal(err)
	}
	if !m.Commit {
		delete(aborted, b.ProducerID())
	}
	c.markers[b.BaseOffset()], _ = b.DeleteHorizon()
	if c.markers[b.BaseOffset()] == -1 {
		c.markers[b.BaseOffset()] = 0
	}
}

func (w *world) check() {
	w.t.Helper()
	w.compare(read(w.t, w.l))
}

func (w *world) compare(got content) {
	w.t.Helper()
	var want, committed []modelRecord
	for _, m := range w.batches {
		if m.control {
			continue
		}
		want = append(want, m.records...)
		if !m.aborted {
			committed = append(committed, m.records...)
		}
	}
	diff(w.t, "records", got.records, want)
	diff(w.t, "committed records", got.committed, committed)
	for pid, last := range w.lasts {
		if got.lasts[pid] != last.Offset {
			w.t.Fatalf("the last batch of producer %d ends at %d, want %d", pid, got.lasts[pid], last.Offset)
		}
	}
}

func diff(t *testing.T, what string, got, want []modelRecord) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("%s: %d is %+v, want %+v", what, i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d %s, want %d", len(got), what, len(want))
	}
}

func TestCleanKeepsTheLastRecordOfEachKey(t *testing.T) {
	for seed := range uint64(15) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, seed)
			mapBytes := int64(1 << 20)
			if seed%3 == 0 {
				mapBytes = 16 * 20 // 16 keys of 25
			}
			passes := 0
			for range 5 {
				w.append(60)
				passes += w.clean(mapBytes)
				w.check()
				w.now += w.r.Int64N(2 * testDeleteRetention)
			}
			if seed%3 == 0 && passes < 10 {
				t.Errorf("%d passes with room for 16 keys", passes)
			}
			w.settle()
			l, r := openLog(t, w.mem.Crash(nil), 0, false)
			if len(r.Faults) > 0 {
				t.Errorf("recovery found %v", r.Faults)
			}
			w.compare(read(t, l))
		})
	}
}

func TestCleanForgetsTombstonesAndMarkersAfterDeleteRetentionKIP534(t *testing.T) {
	w := newWorld(t, 7)
	w.append(200)
	w.endTransactions()
	w.do(w.l.Roll())
	w.clean(1 << 20)
	w.check()
	first := read(t, w.l)
	w.now += testDeleteRetention - 1
	w.clean(1 << 20)
	if again := read(t, w.l); len(again.records) != len(first.records) || len(again.markers) != len(first.markers) {
		t.Errorf("something went before its time: %d records of %d, %d markers of %d", len(again.records), len(first.records), len(again.markers), len(first.markers))
	}
	w.now++
	w.lasts = map[int64]LastRecord{} // the producers have expired
	w.clean(1 << 20)
	w.check()
	got := read(t, w.l)
	if len(got.records) == len(first.records) || slices.ContainsFunc(got.records, func(x modelRecord) bool { return x.tombstone }) {
		t.Errorf("%d records of %d are left, tombstones among them", len(got.records), len(first.records))
	}
	// A marker waits until its data has gone in the pass before, and then for as long as
	// a tombstone.
	w.now += 2 * testDeleteRetention
	w.clean(1 << 20)
	w.now += 2 * testDeleteRetention
	w.clean(1 << 20)
	w.check()
	data := map[int64]bool{}
	for _, m := range w.batches {
		if !m.control && len(m.records) > 0 && m.txn >= 0 {
			data[m.pid<<32|m.txn] = true
		}
	}
	for _, m := range w.batches {
		if _, there := read(t, w.l).markers[m.base]; m.control && there != data[m.pid<<32|m.txn] {
			t.Errorf("marker at %d: there %v, data of its transaction %v", m.base, there, data[m.pid<<32|m.txn])
		}
	}
}

func TestCleanAgainWritesNothing(t *testing.T) {
	w := newWorld(t, 3)
	w.append(300)
	w.clean(1 << 20)
	for range 8 { // until neighbours do not fit together any more
		w.clean(1 << 20)
	}
	var writes atomic.Int64
	w.mem.SetFault(func(op vfs.Op, _ string, _ int) error {
		if op.Mutates() {
			writes.Add(1)
		}
		return nil
	})
	c := NewCleaner(CleanerOptions{MapBytes: 1 << 20, Random: rand.NewChaCha8([32]byte{})})
	got, err := c.Clean(context.Background(), w.l, w.pass())
	w.do(err)
	w.mem.SetFault(nil)
	if got.Segments == got.SegmentsNow && writes.Load() > 0 || got.BytesAfter != got.BytesBefore {
		t.Errorf("%d writes, %+v", writes.Load(), got)
	}
}

// TestCleanSurvivesACrashAtEveryStep cuts the power before each operation of a
// compaction that can change what is on disk, by several dice, and opens what is left.
func TestCleanSurvivesACrashAtEveryStep(t *testing.T) {
	for _, delay := range []time.Duration{0, time.Minute} {
		for seed := range uint64(2) {
			w := newWorld(t, seed)
			w.append(90)
			w.endTransactions()
			w.clean(1 << 20) // so that groups of several segments come next
			w.now += 2 * testDeleteRetention
			w.append(90)
			w.endTransactions()
			w.settle()
			config := testConfig
			config.DeleteDelay = delay
			w.l.SetConfig(config)
			before := read(t, w.l)
			p := w.pass()

			var crashes []*vfs.Mem
			steps := 0
			dice := rand.New(rand.NewPCG(seed, 9))
			var one sync.Mutex // a segment is swapped while the next one is made
			w.mem.SetFault(func(op vfs.Op, _ string, _ int) error {
				if op.Mutates() {
					one.Lock()
					defer one.Unlock()
					steps++
					crashes = append(crashes, w.mem.Crash(dice))
				}
				return nil
			})
			w.clean(1 << 20)
			w.mem.SetFault(nil)
			crashes = append(crashes, w.mem.Crash(dice), w.mem.Crash(nil))
			w.check()
			after := read(t, w.l)
			if steps < 30 || len(after.records) == len(before.records) {
				t.Fatalf("%d steps, %d records of %d", steps, len(after.records), len(before.records))
			}
			for i, disk := range crashes {
				recovery := []int64{0, p.Bound, w.l.Offsets().End}[i%3]
				l, r := openLog(t, disk, recovery, false)
				name := fmt.Sprintf("seed %d, delay %v, crash %d, step %d", seed, delay, i, i)
				if len(r.Faults) > 0 {
					t.Fatalf("%s: recovery found %v", name, r.Faults)
				}
				checkLeft(t, name, disk)
				checkBetween(t, name, read(t, l), before, after)
				c := NewCleaner(CleanerOptions{MapBytes: 1 << 20, Random: rand.NewChaCha8([32]byte{})})
				if _, err := c.Clean(context.Background(), l, p); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				w.compare(read(t, l))
			}
		}
	}
}

// checkLeft looks for files of a compaction that nobody will ever remove.
func checkLeft(t *testing.T, name string, disk *vfs.Mem) {
	t.Helper()
	entries, err := disk.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		for _, suffix := range []string{".cleaned", ".swap", ".deleted"} {
			if strings.HasSuffix(e.Name(), suffix) {
				t.Fatalf("%s: %s is left", name, e.Name())
			}
		}
	}
}

// checkBetween wants of a log that was compacted in part: nothing that was not there,
// nothing twice, and everything that a whole compaction leaves.
func checkBetween(t *testing.T, name string, got, before, after content) {
	t.Helper()
	for _, x := range []struct {
		what               string
		got, most, atLeast []modelRecord
	}{{"record", got.records, before.records, after.records}, {"committed record", got.committed, before.committed, after.committed}} {
		offsets := map[int64]modelRecord{}
		for _, r := range x.got {
			if _, twice := offsets[r.offset]; twice {
				t.Fatalf("%s: %s %d is there twice", name, x.what, r.offset)
			}
			offsets[r.offset] = r
		}
		for _, r := range x.atLeast {
			if offsets[r.offset] != r {
				t.Fatalf("%s: %s %d is %+v, want %+v", name, x.what, r.offset, offsets[r.offset], r)
			}
		}
		for _, r := range x.most {
			delete(offsets, r.offset)
		}
		if len(offsets) > 0 {
			t.Fatalf("%s: %v were not there before", name, offsets)
		}
	}
}

func TestCleanThatFailsLeavesTheLogAsItWas(t *testing.T) {
	full := errors.New("no space left on device")
	for _, op := range []vfs.Op{vfs.OpCreate, vfs.OpWrite, vfs.OpSync} {
		w := newWorld(t, 5)
		w.append(90)
		w.settle()
		before := read(t, w.l)
		w.mem.SetFault(func(o vfs.Op, path string, _ int) error {
			if o == op && strings.HasSuffix(path, ".cleaned") {
				return full
			}
			return nil
		})
		c := NewCleaner(CleanerOptions{MapBytes: 1 << 20, Random: rand.NewChaCha8([32]byte{})})
		_, err := c.Clean(context.Background(), w.l, w.pass())
		w.mem.SetFault(nil)
		if !errors.Is(err, full) || errors.Is(err, ErrUncleanable) || w.l.Err() != nil {
			t.Errorf("%s: %v, log %v", op, err, w.l.Err())
		}
		checkLeft(t, string(op), w.mem)
		diff(t, "records", read(t, w.l).records, before.records)
		w.clean(1 << 20)
		w.check()
	}
}

func TestCleanStopsAtACorruptBatch(t *testing.T) {
	w := newWorld(t, 5)
	w.append(90)
	w.settle()
	s := w.l.Segments()[1]
	f, err := w.mem.Open(fmt.Sprintf("%s/%020d.log", testDir, s.Base), false)
	w.do(err)
	_, err = f.WriteAt([]byte{0xff, 0xff}, 100)
	w.do(err)
	c := NewCleaner(CleanerOptions{MapBytes: 1 << 20, Random: rand.NewChaCha8([32]byte{})})
	_, err = c.Clean(context.Background(), w.l, w.pass())
	var corrupt *segment.CorruptError
	if !errors.Is(err, ErrUncleanable) || !errors.As(err, &corrupt) || corrupt.Path != fmt.Sprintf("%s/%020d.log", testDir, s.Base) {
		t.Errorf("%v", err)
	}
	checkLeft(t, "corrupt", w.mem)
}

func TestCleanEndsWithItsContext(t *testing.T) {
	w := newWorld(t, 5)
	w.append(90)
	ctx, cancel := context.WithCancel(context.Background())
	read := 0
	c := NewCleaner(CleanerOptions{MapBytes: 1 << 20, Random: rand.NewChaCha8([32]byte{}), Throttle: func(context.Context, int64) error {
		if read++; read == 3 {
			cancel()
		}
		return nil
	}})
	if _, err := c.Clean(ctx, w.l, w.pass()); !errors.Is(err, context.Canceled) || read > 3 {
		t.Errorf("%v after %d reads", err, read)
	}
	checkLeft(t, "cancelled", w.mem)
	w.clean(1 << 20)
	w.check()
}

// TestCleanLeavesNothingRunning ends passes at each of their reads and changes of the
// disk, and looks for what goes on once they have returned.
func TestCleanLeavesNothingRunning(t *testing.T) {
	w := newWorld(t, 5)
	w.append(90)
	w.endTransactions()
	w.clean(1 << 20) // so that groups of several segments come next
	w.append(60)
	w.endTransactions()
	w.settle()
	mine := errors.New("ends")
	for name, ends := range map[string]func(op vfs.Op, path string) bool{
		"read":   func(op vfs.Op, path string) bool { return op == vfs.OpRead && strings.HasSuffix(path, ".log") },
		"change": func(op vfs.Op, _ string) bool { return op.Mutates() },
	} {
		for step, over := int64(1), false; !over; step++ {
			mem := w.mem.Crash(nil)
			l, _ := openLog(t, mem, w.l.Offsets().End, false)
			var steps, late atomic.Int64
			var ended atomic.Bool
			mem.SetFault(func(op vfs.Op, path string, _ int) error {
				if ended.Load() {
					late.Add(1)
				}
				if ends(op, path) && steps.Add(1) == step {
					return mine
				}
				return nil
			})
			c := NewCleaner(CleanerOptions{MapBytes: 1 << 20, Random: rand.NewChaCha8([32]byte{})})
			got, err := c.Clean(context.Background(), l, w.pass())
			ended.Store(true)
			for range 20 {
				runtime.Gosched()
			}
			if late.Load() > 0 {
				t.Errorf("%s %d: %d operations after the pass", name, step, late.Load())
			}
			over = steps.Load() < step
			if over != (err == nil) || !over && !errors.Is(err, mine) || over != (got.CleanedTo > 0) {
				t.Errorf("%s %d of %d: %v, %+v", name, step, steps.Load(), err, got)
			}
		}
	}
}

func TestCleanGivesWayToARaisedLogStart(t *testing.T) {
	w := newWorld(t, 5)
	w.append(200)
	w.endTransactions()
	w.clean(1 << 20) // so that a group of several segments comes next
	w.append(100)
	raised := false
	c := NewCleaner(CleanerOptions{MapBytes: 1 << 20, Random: rand.NewChaCha8([32]byte{}), Throttle: func(context.Context, int64) error {
		if !raised && slices.ContainsFunc(names(t, w.mem), func(n string) bool { return strings.HasSuffix(n, ".cleaned") }) {
			raised = true
			return w.l.SetLogStart(w.l.Offsets().End)
		}
		return nil
	}})
	if _, err := c.Clean(context.Background(), w.l, w.pass()); !errors.Is(err, segment.ErrChanged) || !raised {
		t.Errorf("%v, raised %v", err, raised)
	}
	checkLeft(t, "raised", w.mem)
}

func names(t *testing.T, m *vfs.Mem) (all []string) {
	entries, err := m.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestSipHash128IsThatOfItsAuthors(t *testing.T) {
	// vectors_sip128 of the reference implementation: key 00 01 .. 0f, input 00 01 ..
	for i, want := range []string{"a3817f04ba25a8e66df67214c7550293", "da87c1d86b99af44347659119b22fc45", "8177228da4a45dc7fca38bdef60affe4"} {
		lo, hi := sipHash128(0x0706050403020100, 0x0f0e0d0c0b0a0908, []byte{0, 1, 2, 3}[:i])
		var got string
		for _, x := range []uint64{lo, hi} {
			for range 8 {
				got += fmt.Sprintf("%02x", byte(x))
				x >>= 8
			}
		}
		if got != want {
			t.Errorf("%d bytes: %s, want %s", i, got, want)
		}
	}
}

func TestKeyMapHoldsWhatItTakes(t *testing.T) {
	for _, bytes := range []int64{16, 64, 16 * 1000, 16 << 17} {
		const base, most = 1000, 200_000
		m := newKeyMap(bytes, base, base+most, [2]uint64{1, 2})
		n := int64(0)
		for n < most && m.put(fmt.Append(nil, "k", n), base+n) {
			n++
		}
		full := !m.settle() || n < most
		if n = min(m.end-base, most); full != (n < most) {
			t.Errorf("%d bytes: full %v with %d keys", bytes, full, n)
		}
		if size := int64(len(m.slots))*slotBytes + int64(len(m.dead))*8; size > max(bytes, 2*slotBytes) {
			t.Errorf("%d bytes for at most %d", size, bytes)
		}
		room := (bytes - bytes/deadShare) / slotBytes
		if n > bytes/slotBytes || n < room*loadPercent/100-1 && n < most {
			t.Errorf("%d bytes hold %d keys", bytes, n)
		}
		for i := range n {
			if o, ok := m.get(fmt.Append(nil, "k", i)); !ok || o != base+i {
				t.Fatalf("key %d: %d, %v", i, o, ok)
			}
		}
		if _, ok := m.get([]byte("other")); ok {
			t.Error("a key that was not put is there")
		}
	}
}

func TestKeyMapEndsAtTheFirstOffsetTooFar(t *testing.T) {
	m := newKeyMap(1<<20, 1000, 1<<40, [2]uint64{1, 2})
	if !m.put([]byte("k0"), 1000) || m.put([]byte("k1"), 1000+math.MaxUint32) || m.end != 1000+math.MaxUint32 {
		t.Errorf("ends at %d", m.end)
	}
	if o, ok := m.get([]byte("k0")); !ok || o != 1000 {
		t.Errorf("what was put before is at %d, %v", o, ok)
	}
}

// TestKeyMapKnowsWhatComesAgain compares with a map of keys, where there are bits for
// all offsets, for some, for none, and where not all keys fit.
func TestKeyMapKnowsWhatComesAgain(t *testing.T) {
	const base, records = 1000, 20_000
	for _, bytes := range []int64{16 * 100, 16 * 500, 16 * 1200, 1 << 20} {
		for _, keys := range []int{50, 900, records} {
			m := newKeyMap(bytes, base, base+records, [2]uint64{3, 4})
			r := rand.New(rand.NewPCG(uint64(bytes), uint64(keys)))
			order := make([]int, records)
			for i := range order {
				order[i] = r.IntN(keys)
			}
			for i, k := range order {
				if !m.put(fmt.Append(nil, k), base+int64(i)) {
					break
				}
			}
			m.settle()
			n := min(m.end-base, records)
			last := map[int]int64{}
			for i := range n {
				last[order[i]] = base + i
			}
			if len(last) != m.used {
				t.Fatalf("%d bytes, %d keys: %d in use, want %d", bytes, keys, m.used, len(last))
			}
			for i := range n {
				if got, want := m.dies(fmt.Append(nil, order[i]), base+i), last[order[i]] > base+i; got != want {
					t.Fatalf("%d bytes, %d keys: offset %d of %d dies: %v, want %v", bytes, keys, base+i, base+n, got, want)
				}
			}
			for k, o := range last { // of the clean head
				if !m.dies(fmt.Append(nil, k), base-1) || o < base {
					t.Fatalf("key %d below %d does not die", k, base)
				}
			}
			if m.dies([]byte("other"), base-1) {
				t.Fatal("a key that does not come again dies")
			}
		}
	}
}
