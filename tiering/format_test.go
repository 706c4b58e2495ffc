package tiering

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/tiering/objstore"
)

var testPartition = PartitionID{Topic: segment.TopicID{1, 2, 3}, Partition: 4}

// testLog is a log file's bytes from base on: n batches of two leader epochs.
func testLog(t testing.TB, base int64, n int) (log []byte, next int64) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range n {
		records := make([]batch.Record, 1+r.IntN(3))
		for k := range records {
			records[k] = batch.Record{Timestamp: 1000 + r.Int64N(500), Value: make([]byte, r.IntN(300))}
		}
		b, err := batch.NoProducer.Build(base, int32(2+i*2/n), records)
		if err != nil {
			t.Fatal(err)
		}
		log, base = append(log, b...), b.NextOffset()
	}
	return log, base
}

// testObject is a whole object and its entry.
func testObject(t testing.TB) ([]byte, *tail, entry) {
	t.Helper()
	log, next := testLog(t, 100, 60)
	got, err := scan(context.Background(), "test", bytes.NewReader(log), int64(len(log)), 100, next, 2000)
	if err != nil {
		t.Fatal(err)
	}
	got.partition, got.epoch = testPartition, 3
	got.aborted = []index.AbortedTxn{{ProducerID: 1, FirstOffset: 90, LastOffset: 105, LastStableOffset: 90}}
	got.snapshot = []byte("snapshot")
	id := uuid.UUID{9}
	end := encodeTail(got, id)
	n := entry{base: got.base, next: got.next, size: got.size, objectSize: got.size + int64(len(end)),
		maxTimestamp: got.maxTimestamp, epoch: 3, tailCRC: crc(end), logCRC: got.logCRC, id: id}
	return append(bytes.Clone(log), end...), got, n
}

func TestI12AnObjectReadsBackAsItWasBuilt(t *testing.T) {
	object, built, n := testObject(t)
	read, err := n.openTail(testPartition, "k", object[n.size:])
	if err != nil {
		t.Fatal(err)
	}
	read.memory = 0
	if fmt.Sprintf("%+v", read) != fmt.Sprintf("%+v", built) {
		t.Errorf("got %+v\nwant %+v", read, built)
	}
	if len(built.chunks) < 5 || len(built.offsets) == 0 || len(built.epochs) != 2 {
		t.Errorf("the object is too simple: %d chunks, %d bytes of index, epochs %v", len(built.chunks), len(built.offsets), built.epochs)
	}
	for _, c := range built.chunks {
		if crc(object[c.position:c.end()]) != c.crc || c.size > 2000 {
			t.Errorf("chunk %+v", c)
		}
		if b := batch.Batch(object[c.position:]); b.BaseOffset() != c.base {
			t.Errorf("chunk %+v begins with offset %d", c, b.BaseOffset())
		}
	}
}

func TestEveryBitOfATailIsGuarded(t *testing.T) {
	object, _, n := testObject(t)
	for i := n.size; i < n.objectSize; i++ {
		p := bytes.Clone(object[n.size:])
		p[i-n.size] ^= 1 << (i % 8)
		if _, err := n.openTail(testPartition, "k", p); err == nil {
			t.Fatalf("byte %d of the object", i)
		}
		if _, _, err := decodeTail("k", p, n.size); err == nil {
			t.Fatalf("byte %d of the object, without the manifest's CRC", i)
		}
	}
	wrong := testPartition
	wrong.Partition++
	if _, err := n.openTail(wrong, "k", object[n.size:]); err == nil {
		t.Error("B40: a tail of another partition was taken")
	}
}

func TestScanRefusesWhatIsNotWholeAndContiguous(t *testing.T) {
	log, next := testLog(t, 0, 20)
	first := int(binary.BigEndian.Uint32(log[8:])) + batch.LogOverhead
	second := first + int(binary.BigEndian.Uint32(log[first+8:])) + batch.LogOverhead
	cases := map[string]func() ([]byte, int64){
		"a flipped bit":                   func() ([]byte, int64) { b := bytes.Clone(log); b[first+70] ^= 1; return b, next },
		"a batch twice":                   func() ([]byte, int64) { return append(bytes.Clone(log[:first]), log...), next },
		"a batch missing":                 func() ([]byte, int64) { return append(bytes.Clone(log[:first]), log[second:]...), next },
		"a torn tail":                     func() ([]byte, int64) { return log[:len(log)-5], next },
		"fewer records than the log says": func() ([]byte, int64) { return log, next + 1 },
		"an old magic":                    func() ([]byte, int64) { b := bytes.Clone(log); b[16] = 1; return b, next },
		"a negative length":               func() ([]byte, int64) { b := bytes.Clone(log); b[8] = 0xff; return b, next },
		"nothing":                         func() ([]byte, int64) { return nil, 0 },
		"an epoch that falls": func() ([]byte, int64) {
			b := bytes.Clone(log)
			binary.BigEndian.PutUint32(b[12:], 7)
			return b, next
		},
	}
	for name, broken := range cases {
		t.Run(name, func(t *testing.T) {
			b, next := broken()
			_, err := scan(context.Background(), "segment", bytes.NewReader(b), int64(len(b)), 0, next, 1000)
			var corrupt *CorruptError
			if !errors.As(err, &corrupt) {
				t.Fatalf("I13: %v", err)
			}
		})
	}
}

func TestI15ScanNeedsNoMemoryForTheLog(t *testing.T) {
	log, next := testLog(t, 0, 8000)
	r := bytes.NewReader(log)
	perRun := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := scan(context.Background(), "x", r, int64(len(log)), 0, next, 1<<20); err != nil {
				b.Fatal(err)
			}
		}
	}).AllocedBytesPerOp()
	if perRun > int64(len(log))/10 {
		t.Errorf("I15: %d bytes for a log of %d", perRun, len(log))
	}
}

func TestBodyReadsAcrossTheBorderOfLogAndTail(t *testing.T) {
	log, end := []byte("0123456789"), []byte("abcdef")
	b := &body{log: bytes.NewReader(log), size: int64(len(log)), tail: end}
	whole := append(bytes.Clone(log), end...)
	for from := range whole {
		for size := 1; size <= len(whole)-from+3; size++ {
			p := make([]byte, size)
			n, err := b.ReadAt(p, int64(from))
			want := whole[from:min(from+size, len(whole))]
			if !bytes.Equal(p[:n], want) || (n < size) != errors.Is(err, io.EOF) {
				t.Fatalf("ReadAt(%d, %d) = %q, %v", size, from, p[:n], err)
			}
		}
	}
	var _ objstore.Body = b
}

func testRoot() *root {
	r := &root{partition: testPartition, seq: 7, epoch: 3, incarnation: 1, start: 5, end: 70, created: 99, parent: "p",
		origins: []string{"c/t/00004"}, lineage: []segment.EpochStart{{Epoch: 1, Start: 0}, {Epoch: 3, Start: 20}},
		dead: []dead{{kind: kindRoot, number: 6, epoch: 3, id: uuid.UUID{1}, after: 5, seq: 7}}}
	r.refs = []ref{{kind: kindLeaf, epoch: 1, id: uuid.UUID{2}, base: 0, next: 40, segments: 4, bytes: 400, maxTimestamp: 9, size: 300, crc: 8}}
	for i := range 3 {
		r.entries = append(r.entries, entry{base: 40 + int64(i)*10, next: 50 + int64(i)*10, size: 100, objectSize: 400, maxTimestamp: -1, epoch: 3, id: uuid.UUID{byte(3 + i)}})
	}
	return r
}

func TestRootReadsBackAndEveryBitIsGuarded(t *testing.T) {
	r := testRoot()
	b := encodeRoot(r)
	got, err := decodeRoot("k", testPartition, b)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", r) {
		t.Errorf("got %+v\nwant %+v", got, r)
	}
	for i := range b {
		p := bytes.Clone(b)
		p[i] ^= 0x10
		if _, err := decodeRoot("k", testPartition, p); err == nil {
			t.Fatalf("byte %d", i)
		}
	}
	other := testPartition
	other.Topic[0]++
	if _, err := decodeRoot("k", other, b); err == nil {
		t.Error("B40: a root of another topic was taken")
	}
}

func TestI2ARootThatBreaksARuleIsRefused(t *testing.T) {
	cases := map[string]func(*root){
		"a gap between entries":         func(r *root) { r.entries[1].base++ },
		"entries that overlap":          func(r *root) { r.entries[1].next += 5 },
		"a gap after the leaves":        func(r *root) { r.refs[0].next-- },
		"an end that is not the last":   func(r *root) { r.end++ },
		"a start above the end":         func(r *root) { r.start = 71 },
		"a negative start":              func(r *root) { r.start = -1 },
		"a start below the first entry": func(r *root) { r.refs, r.entries = nil, r.entries[1:] },
		"entries that have expired":     func(r *root) { r.start = 45 },
		"an origin that is not there":   func(r *root) { r.entries[0].origin = 1 },
		"an object without a tail":      func(r *root) { r.entries[0].objectSize = r.entries[0].size },
		"a negative size":               func(r *root) { r.entries[0].size = -1 },
		"no seq":                        func(r *root) { r.seq = 0 },
		"epochs out of order":           func(r *root) { slices.Reverse(r.lineage) },
		"a dead thing of no kind":       func(r *root) { r.dead[0].kind = 9 },
		"a leaf of a gigabyte":          func(r *root) { r.refs[0].size = 1 << 30 },
	}
	for name, breakIt := range cases {
		t.Run(name, func(t *testing.T) {
			r := testRoot()
			breakIt(r)
			if _, err := decodeRoot("k", testPartition, encodeRoot(r)); err == nil {
				t.Error("it was taken")
			}
		})
	}
}

func TestI3ASuccessorGoesForward(t *testing.T) {
	cases := map[string]func(*root){
		"seq":              func(r *root) { r.seq++ },
		"epoch":            func(r *root) { r.epoch = 2 },
		"start":            func(r *root) { r.start = 4 },
		"end":              func(r *root) { r.end = 60 },
		"incarnation":      func(r *root) { r.incarnation = 2 },
		"compaction epoch": func(r *root) { r.compaction = 0 },
	}
	parent := testRoot()
	parent.compaction = 1
	for name, edit := range cases {
		next := testRoot()
		next.seq, next.compaction = 8, 1
		if err := next.checkSuccessor(parent); err != nil {
			t.Fatal(err)
		}
		edit(next)
		if next.checkSuccessor(parent) == nil {
			t.Errorf("I3: %s", name)
		}
	}
}

func TestKeysReadBack(t *testing.T) {
	n := name{12345, 7, uuid.UUID{1, 2}}
	for _, k := range []kind{kindSegment, kindLeaf, kindRoot} {
		key := n.key(partitionPrefix("cluster", testPartition), k)
		if err := objstore.CheckKey(key); err != nil {
			t.Error(err)
		}
		prefix, gotKind, got, err := parseKey(key)
		if err != nil || got != n || gotKind != k || prefix != partitionPrefix("cluster", testPartition) {
			t.Errorf("%s: %v %v %v %v", key, prefix, gotKind, got, err)
		}
		if p, ok := ParsePartition(key); !ok || p != testPartition {
			t.Errorf("%s: partition %v %v", key, p, ok)
		}
	}
	for _, key := range []string{"", "a/b/c/seg/x", "a/b/00001/other/00000000000000000001-0000000001-" + uuid.UUID{}.String(), "a/b/c/d/e/f"} {
		if _, _, _, err := parseKey(key); err == nil {
			t.Errorf("%q was taken", key)
		}
	}
}

func TestNextPicks(t *testing.T) {
	seg := func(base, next int64, sealed bool) segment.Info {
		return segment.Info{Base: base, Next: next, Size: 100, Sealed: sealed}
	}
	log := []segment.Info{seg(10, 20, true), seg(20, 30, true), seg(30, 40, true), seg(40, 45, false)}
	cases := []struct {
		name string
		in   NextInput
		want []Pick
		err  error
	}{
		{"the whole log where there is no root", NextInput{Bound: 100}, []Pick{{10, 10}, {20, 20}, {30, 30}}, nil},
		{"I1 nothing above the bound", NextInput{Bound: 39}, []Pick{{10, 10}, {20, 20}}, nil},
		{"what follows the tiered end", NextInput{Exists: true, End: 20, Bound: 100}, []Pick{{20, 20}, {30, 30}}, nil},
		{"the rest of a segment that straddles it", NextInput{Exists: true, End: 24, Bound: 100}, []Pick{{20, 24}, {30, 30}}, nil},
		{"nothing where all is there", NextInput{Exists: true, End: 40, Bound: 100}, nil, nil},
		{"not what begins above it", NextInput{Exists: true, End: 5, Bound: 100}, nil, ErrGap},
		{"at most so many", NextInput{Bound: 100, MaxSegments: 2}, []Pick{{10, 10}, {20, 20}}, nil},
		{"at most so many bytes", NextInput{Bound: 100, MaxBytes: 250}, []Pick{{10, 10}, {20, 20}}, nil},
		{"at least one", NextInput{Bound: 100, MaxBytes: 1}, []Pick{{10, 10}}, nil},
		{"as many as are copied at once", NextInput{Bound: 100, MaxBytes: 1, MinSegments: 2}, []Pick{{10, 10}, {20, 20}}, nil},
	}
	for _, c := range cases {
		c.in.Segments = log
		if c.in.MaxSegments == 0 {
			c.in.MaxSegments = 10
		}
		if c.in.MaxBytes == 0 {
			c.in.MaxBytes = 1 << 40
		}
		got, err := Next(c.in)
		if !slices.Equal(got, c.want) || !errors.Is(err, c.err) {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
}

// TestATreeOfManySegmentsKeepsItsRootSmall commits 150,000 segments without a bucket, past
// the second level, and expires them again.
func TestATreeOfManySegmentsKeepsItsRootSmall(t *testing.T) {
	serial := uint64(0)
	w := writer{epoch: 1, now: 1, delay: 1, newID: func() (id uuid.UUID) {
		serial++
		binary.BigEndian.PutUint64(id[8:], serial)
		return id
	}}
	v := emptyView(testPartition, "c/t/00004")
	objects := map[string][]byte{}
	largest, offset := 0, int64(0)
	commit := func(c change) {
		t.Helper()
		c.swept = map[uuid.UUID]bool{}
		for _, d := range v.root.dead {
			c.swept[d.id] = true
		}
		d, err := v.next(c, w)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range d.objects {
			objects[o.key] = o.bytes
		}
		if len(c.add) > 0 {
			largest = max(largest, len(d.objects[len(d.objects)-1].bytes))
		}
		v = d.view
		v.pointer.Revision = v.pointer.Seq
	}
	const each, total = 200, 150_000
	for offset < total {
		var c change
		for range each {
			c.add = append(c.add, entry{base: offset, next: offset + 1, size: 10, objectSize: 500, id: w.newID()})
			offset++
		}
		commit(c)
	}
	if largest > 64<<10 {
		t.Errorf("a root has %d bytes", largest)
	}
	if len(v.nodes) == 0 || v.count != total {
		t.Fatalf("%d nodes, %d segments", len(v.nodes), v.count)
	}
	load := loader{testPartition, func(_ context.Context, key string, size int64) ([]byte, error) {
		if b, ok := objects[key]; ok {
			return b, nil
		}
		return nil, objstore.ErrNotFound
	}}
	again, err := load.load(context.Background(), v.pointer, nil)
	if err != nil || again.count != total || again.bytes != v.bytes {
		t.Fatalf("read again: %v", err)
	}
	other := v.pointer
	other.RootCRC++
	if _, err := load.load(context.Background(), other, nil); err == nil {
		t.Fatal("a root was taken that is not the one of the pointer")
	}
	for _, start := range []int64{1, 255, 256, 300, 65536, 65537, 70000, 131072 + 5, total - 3, total, total + 9} {
		commit(change{start: start})
		if v.count != int(max(0, total-start)) || v.root.end != max(total, start) {
			t.Fatalf("start %d: %d segments to %d", start, v.count, v.root.end)
		}
		leafDied := slices.ContainsFunc(v.root.dead, func(d dead) bool { return d.kind == kindLeaf })
		if start == 256 && !leafDied { // the first leaf of a node that lives on
			t.Fatal("I7: an expired leaf is neither named nor on the dead list")
		}
		again, err := load.load(context.Background(), v.pointer, nil)
		if err != nil || again.count != v.count {
			t.Fatalf("start %d: read again: %v", start, err)
		}
	}
}

func FuzzTail(f *testing.F) {
	object, _, n := testObject(f)
	f.Add(object[n.size:], n.size)
	f.Fuzz(func(t *testing.T, p []byte, position int64) {
		tail, _, err := decodeTail("k", reseal(p), position)
		if err != nil {
			return
		}
		for at := tail.base; at < tail.next && at < tail.base+50; at++ {
			if i := tail.chunkOf(at); i >= len(tail.chunks) && len(tail.chunks) > 0 {
				t.Fatalf("chunk %d of %d", i, len(tail.chunks))
			}
		}
	})
}

// reseal makes the checksums of a mutated tail right, so that the fuzzer gets behind them.
func reseal(p []byte) []byte {
	if len(p) < trailerSize+footerHeaderSize {
		return p
	}
	p = bytes.Clone(p)
	end := p[len(p)-trailerSize:]
	size := int64(binary.BigEndian.Uint64(end[24:]))
	if size >= footerHeaderSize && size <= int64(len(p)-trailerSize) {
		foot := p[int64(len(p)-trailerSize)-size : len(p)-trailerSize]
		log := int64(binary.BigEndian.Uint64(foot[40:]))
		for at := footerHeaderSize; at+footerSectionSize <= len(foot); at += footerSectionSize {
			begin := int64(binary.BigEndian.Uint64(foot[at+8:])) - log
			end := begin + int64(binary.BigEndian.Uint64(foot[at+16:]))
			if begin >= 0 && end >= begin && end <= int64(len(p)) {
				binary.BigEndian.PutUint32(foot[at+4:], crc(p[begin:end]))
			}
		}
		binary.BigEndian.PutUint32(end[12:], crc(p[int64(len(p)-trailerSize)-size:len(p)-trailerSize]))
	}
	binary.BigEndian.PutUint32(end[trailerSize-4:], crc(end[:trailerSize-4]))
	return p
}

// resum makes the last four bytes the CRC of the rest.
func resum(p []byte) []byte {
	if len(p) < 4 {
		return p
	}
	p = bytes.Clone(p)
	binary.BigEndian.PutUint32(p[len(p)-4:], crc(p[:len(p)-4]))
	return p
}

func FuzzRoot(f *testing.F) {
	f.Add(encodeRoot(testRoot()))
	f.Fuzz(func(t *testing.T, p []byte) {
		p = resum(p)
		r, err := decodeRoot("k", testPartition, p)
		if err != nil {
			return
		}
		if !bytes.Equal(encodeRoot(r), p) {
			t.Fatal("it does not encode to what it was")
		}
	})
}

func FuzzLeaf(f *testing.F) {
	r := testRoot()
	f.Add(encodeNode(testPartition, &node{kind: kindLeaf, origins: r.origins, entries: r.entries}))
	f.Add(encodeNode(testPartition, &node{kind: kindNode, origins: r.origins, refs: r.refs}))
	f.Fuzz(func(t *testing.T, p []byte) {
		p = resum(p)
		n, err := decodeNode("k", testPartition, p)
		if err != nil {
			return
		}
		if !bytes.Equal(encodeNode(testPartition, n), p) {
			t.Fatal("it does not encode to what it was")
		}
	})
}
