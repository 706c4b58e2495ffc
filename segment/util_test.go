package segment

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
)

var testConfig = Config{SegmentBytes: 4000, SegmentAge: time.Hour, IndexInterval: 200, IndexBytes: 1 << 20, FlushMessages: 1}

var start = time.UnixMilli(1_700_000_000_000)

func testOptions(fsys vfs.FS) Options {
	return Options{FS: fsys, Dir: "/data/t-0", Config: testConfig, Now: func() time.Time { return start },
		Committer: NewCommitter(fsys, "/data", nil), Topic: TopicID{1}}
}

func mustOpen(t testing.TB, o Options) (*Log, Recovered) {
	t.Helper()
	l, r, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return l, r
}

// makeBatch returns a batch of n records of size bytes each.
func makeBatch(t testing.TB, base int64, epoch int32, n, size int, ts int64) batch.Batch {
	t.Helper()
	records := make([]batch.Record, n)
	for i := range records {
		v := make([]byte, max(size, 8))
		binary.BigEndian.PutUint64(v, uint64(base)+uint64(i))
		records[i] = batch.Record{Timestamp: ts + int64(i), Value: v}
	}
	b, err := batch.Builder{ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1}.Build(base, epoch, records)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// appendN appends batches of random shapes and returns them.
func appendN(t testing.TB, l *Log, n int, r *rand.Rand) (all []batch.Batch) {
	t.Helper()
	for range n {
		o := l.Offsets()
		b := makeBatch(t, o.End, 0, 1+r.IntN(4), 8+r.IntN(150), start.UnixMilli()+o.End*10-int64(r.IntN(50)))
		if _, err := l.Append([]batch.Batch{b}); err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

func size(all []batch.Batch) (n int64) {
	for _, b := range all {
		n += int64(len(b))
	}
	return n
}

func readAll(t testing.TB, l *Log) (p []byte) {
	t.Helper()
	o := l.Offsets()
	for at := o.LocalStart; at < o.End; {
		r, err := l.Read(at, o.End, 1<<20, true)
		if err != nil {
			t.Fatal(err)
		}
		b, err := r.Bytes()
		r.Release()
		if err != nil {
			t.Fatal(err)
		}
		if len(b) == 0 {
			t.Fatalf("nothing at %d of %+v", at, o)
		}
		p = append(p, b...)
		for len(b) > 0 {
			var c batch.Batch
			if c, b, err = batch.Next(b); err != nil {
				t.Fatal(err)
			}
			at = c.NextOffset()
		}
	}
	return p
}

func join(all []batch.Batch) (p []byte) {
	for _, b := range all {
		p = append(p, b...)
	}
	return p
}

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, math.MaxUint32)) }

func readMem(t testing.TB, fsys vfs.FS, path string) []byte {
	t.Helper()
	p, err := ReadFile(fsys, path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
