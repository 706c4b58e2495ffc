package batch

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// load is about 1 MB of records of the given size, half of it compressible.
func load(b *testing.B, codec Codec, size int) Batch {
	rng := rand.New(rand.NewPCG(1, 2))
	records := make([]Record, 1_000_000/size)
	for i := range records {
		v := make([]byte, size)
		for j := range size / 2 {
			v[j] = byte(rng.Uint32())
		}
		records[i] = Record{Timestamp: 1_700_000_000_000 + int64(i), Value: v}
	}
	o := NoProducer
	o.Codec = codec
	return build(b, o, records...)
}

// BenchmarkValidate: MB/s are of the batch as it came, uncompressed bytes are "raw MB/s".
func BenchmarkValidate(b *testing.B) {
	for _, size := range []int{100, 1024} {
		for _, codec := range codecs {
			b.Run(fmt.Sprintf("%s/%d", codec, size), func(b *testing.B) {
				batch, rules := load(b, codec, size), lenient()
				plain := len(load(b, None, size))
				b.SetBytes(int64(len(batch)))
				b.ReportAllocs()
				for b.Loop() {
					if err := Validate(batch, rules); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(plain)*float64(b.N)/b.Elapsed().Seconds()/1e6, "raw-MB/s")
				b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/float64(batch.Count()), "ns/record")
			})
		}
	}
}

func BenchmarkCheckCRC(b *testing.B) {
	batch := load(b, None, 1024)
	b.SetBytes(int64(len(batch)))
	b.ReportAllocs()
	for b.Loop() {
		if err := batch.CheckCRC(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRecords(b *testing.B) {
	for _, size := range []int{100, 1024} {
		for _, codec := range codecs {
			b.Run(fmt.Sprintf("%s/%d", codec, size), func(b *testing.B) {
				batch := load(b, codec, size)
				b.SetBytes(int64(len(batch)))
				b.ReportAllocs()
				for b.Loop() {
					if err := Records(batch, 1<<30, func(*Record) bool { return true }); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
