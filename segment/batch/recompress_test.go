package batch

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestRecompressChangesNothingButTheCodec takes batches from every codec to every other.
func TestRecompressChangesNothingButTheCodec(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 1, 100, bufferSize - 1, bufferSize, 3*bufferSize + 17} {
		records := make([]Record, 3)
		for i := range records {
			value := make([]byte, size)
			for j := range value {
				value[j] = byte(r.IntN(4))
			}
			records[i] = Record{Timestamp: 1000 - int64(i), Key: []byte("key"), Value: value, Headers: []Header{{Key: "h", Value: []byte{byte(i)}}}}
		}
		plain := recompressible(t, None, records)
		for from := None; from <= Zstd; from++ {
			before := recompressible(t, from, records)
			for to := None; to <= Zstd; to++ {
				original := bytes.Clone(before)
				got, err := Recompress(before, to, UsualLevel, 1<<30)
				if err != nil {
					t.Fatalf("%d bytes from %s to %s: %v", size, from, to, err)
				}
				if !bytes.Equal(before, original) {
					t.Errorf("%d bytes from %s to %s: the batch itself has changed", size, from, to)
				}
				if got.Codec() != to || got.Attributes()&^attrCodec != before.Attributes()&^attrCodec || got.CheckCRC() != nil {
					t.Errorf("%d bytes from %s to %s: attributes %#x, %v", size, from, to, got.Attributes(), got.CheckCRC())
				}
				if next, rest, err := Next(got); err != nil || len(rest) > 0 || len(next) != len(got) {
					t.Errorf("%d bytes from %s to %s: %d bytes, %v", size, from, to, len(got), err)
				}
				back, err := Recompress(got, None, UsualLevel, 1<<30)
				if err != nil || !bytes.Equal(back, plain) {
					t.Errorf("%d bytes from %s to %s and back are others: %v", size, from, to, err)
				}
			}
		}
	}
}

// recompressible is a batch with something in every field of its header.
func recompressible(t *testing.T, c Codec, records []Record) Batch {
	t.Helper()
	b, err := Builder{Codec: c, ProducerID: 7, ProducerEpoch: 3, BaseSequence: 5, Transactional: true}.Build(40, 2, records)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRecompressStaysWithinItsLimit(t *testing.T) {
	b := recompressible(t, Gzip, []Record{{Value: make([]byte, 1<<20)}})
	if _, err := Recompress(b, Zstd, UsualLevel, 1<<20); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a megabyte and a few bytes within a megabyte: %v", err)
	}
	if _, err := Recompress(b, Zstd+1, UsualLevel, 2<<20); !errors.Is(err, ErrCompression) {
		t.Errorf("a codec that does not exist: %v", err)
	}
	copy(b[HeaderSize:], "no gzip at all")
	if _, err := Recompress(b, Zstd, UsualLevel, 2<<20); !errors.Is(err, ErrInvalid) {
		t.Errorf("records that are not gzip: %v", err)
	}
}

// TestCodecOfKnowsWhatKafkaNames reads the values of compression.type, all but producer.
func TestCodecOfKnowsWhatKafkaNames(t *testing.T) {
	for name, want := range map[string]Codec{"uncompressed": None, "gzip": Gzip, "snappy": Snappy, "lz4": LZ4, "zstd": Zstd} {
		if c, ok := CodecOf(name); !ok || c != want {
			t.Errorf("%s: %s, %v", name, c, ok)
		}
	}
	for _, name := range []string{"", "none", "producer", "lz5"} {
		if c, ok := CodecOf(name); ok || c != None {
			t.Errorf("%s: %s, %v", name, c, ok)
		}
	}
}

// Levels are Kafka's: what they give is read as any other, and a higher one is no larger.
func TestRecompressAtEveryLevel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var value []byte
	for range 5000 {
		value = append(value, fmt.Sprintf("word%d ", r.IntN(300))...)
	}
	plain, err := NoProducer.Build(0, -1, []Record{{Value: value}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		codec  Codec
		levels []int // from the least effort to the most
	}{
		{Gzip, []int{1, -1, 9}},
		{LZ4, []int{9, 1, 5, 17}},
		{Zstd, []int{-131072, 3, 8, 22}},
	} {
		sizes := map[int]int{}
		for i, level := range append([]int{UsualLevel}, c.levels...) {
			b, err := Recompress(plain, c.codec, level, 1<<20)
			if err != nil {
				t.Fatalf("%s at %d: %v", c.codec, level, err)
			}
			again, err := Recompress(b, None, UsualLevel, 1<<20)
			if err != nil || !bytes.Equal(again, plain) {
				t.Errorf("%s at %d: other records than before, %v", c.codec, level, err)
			}
			sizes[level] = len(b)
			if i > 1 && len(b) > sizes[c.levels[i-2]] {
				t.Errorf("%s: %d bytes at level %d, %d at %d", c.codec, len(b), level, sizes[c.levels[i-2]], c.levels[i-2])
			}
		}
		if first, last := sizes[c.levels[0]], sizes[c.levels[len(c.levels)-1]]; last >= first {
			t.Errorf("%s: %d bytes at level %d, %d at %d: the level changes nothing", c.codec, first, c.levels[0], last, c.levels[len(c.levels)-1])
		}
	}
	for codec, usual := range map[Codec]int{Gzip: -1, LZ4: 9, Zstd: 3} {
		a, errA := Recompress(plain, codec, UsualLevel, 1<<20)
		b, errB := Recompress(plain, codec, usual, 1<<20)
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s: level %d is not the usual one (%v, %v)", codec, usual, errA, errB)
		}
	}
}

// TestDecompressReadsWhatIsNotABatch: bytes of any kind that a codec has compressed (KIP-714).
func TestDecompressReadsWhatIsNotABatch(t *testing.T) {
	want := bytes.Repeat([]byte("client metrics "), bufferSize/10)
	size := int64(len(want))
	for c := None; c <= Zstd; c++ {
		src := want
		if c != None {
			var err error
			if src, err = compress(nil, c, UsualLevel, want); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := Decompress(c, src, size); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes of %d, %v", c, len(got), size, err)
		}
		if c == None {
			continue
		}
		if _, err := Decompress(c, src, size-1); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s, one byte too many: %v", c, err)
		}
		if _, err := Decompress(c, src[:len(src)/2], size); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s, half of it: %v", c, err)
		}
	}
	if _, err := Decompress(Zstd+1, want, size); !errors.Is(err, ErrCompression) {
		t.Errorf("a codec that does not exist: %v", err)
	}
}
