package retention

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
)

// BenchmarkClean compacts a log of updates of random keys, 1 KiB each in batches of 64
// KiB, to a tenth, on the operating system's files. MB/s are of the log.
func BenchmarkClean(b *testing.B) {
	for _, codec := range []batch.Codec{batch.None, batch.LZ4, batch.Zstd} {
		b.Run(codec.String(), func(b *testing.B) {
			const records, keys, inBatch = 128 << 10, 13 << 10, 64
			for b.Loop() {
				b.StopTimer()
				l := benchLog(b, codec, records, keys, inBatch)
				c := NewCleaner(CleanerOptions{MapBytes: 128 << 20, Random: rand.NewChaCha8([32]byte{})})
				b.SetBytes(l.Size())
				b.StartTimer()
				got, err := c.Clean(context.Background(), l, Pass{Bound: l.Offsets().End, Now: 1, SegmentBytes: 64 << 20, MaxDecompressed: 1 << 30})
				b.StopTimer()
				if err != nil || got.RecordsKept > keys*2 {
					b.Fatalf("%+v, %v", got, err)
				}
				if err := l.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

func benchLog(b *testing.B, codec batch.Codec, records, keys, inBatch int) *segment.Log {
	fsys := new(vfs.OS)
	dir := b.TempDir()
	l, _, err := segment.Open(segment.Options{FS: fsys, Dir: filepath.Join(dir, "t-0"), Now: time.Now, Committer: segment.NewCommitter(fsys, dir, nil),
		Config: segment.Config{SegmentBytes: 64 << 20, IndexInterval: 4096, IndexBytes: 10 << 20, FlushMessages: 1}})
	if err != nil {
		b.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	text := make([]byte, 64<<10)
	for i := range text {
		text[i] = "abcdefghijklmnop"[r.IntN(16)]
	}
	o := batch.NoProducer
	o.Codec = codec
	for n := 0; n < records; n += inBatch {
		all := make([]batch.Record, inBatch)
		for i := range all {
			at := r.IntN(len(text) - 1024)
			all[i] = batch.Record{Key: fmt.Appendf(nil, "%016d", r.IntN(keys)), Value: text[at : at+1024]}
		}
		x, err := o.Build(int64(n), 0, all)
		if err == nil {
			_, err = l.Append([]batch.Batch{x})
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Roll(); err != nil {
		b.Fatal(err)
	}
	return l
}

// BenchmarkKeyMap notes updates of a million random keys, and asks which of them come
// again: what both reads of a log that is dirty all over ask of the map.
func BenchmarkKeyMap(b *testing.B) {
	const keys, updates = 1_000_000, 4_000_000
	r := rand.New(rand.NewPCG(1, 2))
	order := make([]uint32, updates)
	for i := range order {
		order[i] = uint32(r.IntN(keys))
	}
	key := make([]byte, 16)
	for b.Loop() {
		m := newKeyMap(128<<20, 0, updates, [2]uint64{1, 2})
		for i, k := range order {
			binary.LittleEndian.PutUint32(key, k)
			m.put(key, int64(i))
		}
		m.settle()
		stay := 0
		for i, k := range order {
			binary.LittleEndian.PutUint32(key, k)
			if !m.dies(key, int64(i)) {
				stay++
			}
		}
		if stay != m.used {
			b.Fatalf("%d records stay of %d keys", stay, m.used)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/updates, "ns/record")
}
