package batch

import (
	"bytes"
	"errors"
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
				got, err := Recompress(before, to, 1<<30)
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
				back, err := Recompress(got, None, 1<<30)
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
	if _, err := Recompress(b, Zstd, 1<<20); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a megabyte and a few bytes within a megabyte: %v", err)
	}
	if _, err := Recompress(b, Zstd+1, 2<<20); !errors.Is(err, ErrCompression) {
		t.Errorf("a codec that does not exist: %v", err)
	}
	copy(b[HeaderSize:], "no gzip at all")
	if _, err := Recompress(b, Zstd, 2<<20); !errors.Is(err, ErrInvalid) {
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
