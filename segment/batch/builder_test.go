package batch

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
)

// samples are batches that differ in what matters to an encoder.
func samples() map[string][]Record {
	rng := rand.New(rand.NewPCG(1, 2))
	noise := func(n int) []byte {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		return p
	}
	many := make([]Record, 5000)
	for i := range many {
		many[i] = Record{Timestamp: int64(1_700_000_000_000 + rng.IntN(1000)), Key: fmt.Append(nil, "key ", i%97), Value: bytes.Repeat([]byte("abcdef "), i%40)}
	}
	return map[string][]Record{
		"one empty":        {{}},
		"null and empty":   {{Key: nil, Value: []byte{}}, {Key: []byte{}, Value: nil}},
		"no timestamp":     {{Timestamp: -1, Value: []byte("x")}},
		"timestamps fall":  {{Timestamp: 9000}, {Timestamp: 10}, {Timestamp: 9001}},
		"headers":          {{Headers: []Header{{Key: "a", Value: []byte("1")}, {Key: "a", Value: nil}, {Key: "", Value: []byte{}}}}},
		"many":             many,
		"larger than 64Ki": {{Value: noise(10)}, {Value: noise(200_000), Key: noise(70_000), Headers: []Header{{Key: string(noise(70_000)), Value: noise(90_000)}}}, {Value: noise(10)}},
		"noise":            {{Value: noise(100_000)}, {Value: noise(60_000)}},
		"zeros":            {{Value: make([]byte, 10<<20)}},
	}
}

func TestBuildEqualsFranzGoByteForByte(t *testing.T) {
	for name, records := range samples() {
		for _, o := range []Builder{
			NoProducer,
			{ProducerID: 0},
			{ProducerID: 1 << 40, ProducerEpoch: 12, BaseSequence: math.MaxInt32, Transactional: true},
			{ProducerID: 7, ProducerEpoch: 3, BaseSequence: -1, Transactional: true, Control: true},
		} {
			b, err := o.Build(1<<33, 5, records)
			if err != nil {
				t.Fatal(err)
			}
			if want := kmsgBatch(o, 1<<33, 5, records); !bytes.Equal(b, want) {
				t.Errorf("%s: %+v\n%s\n%s", name, o, Describe(b), Describe(want))
			}
		}
	}
}

func TestRecordsGiveBackWhatWasBuiltByEveryCodec(t *testing.T) {
	for name, records := range samples() {
		for _, codec := range codecs {
			o := Builder{Codec: codec, ProducerID: 5, ProducerEpoch: 1, BaseSequence: 10}
			b, err := o.Build(100, 2, records)
			if err != nil {
				t.Fatal(err)
			}
			got := collect(t, b)
			if len(got) != len(records) {
				t.Fatalf("%s, %s: %d records", name, codec, len(got))
			}
			for i, r := range got {
				want := records[i]
				want.Offset = 100 + int64(i)
				if len(want.Headers) == 0 {
					want.Headers, r.Headers = nil, nil
				}
				if !reflect.DeepEqual(r, want) {
					t.Errorf("%s, %s, record %d differs", name, codec, i)
				}
			}
			if err := Validate(b, lenient()); err != nil {
				t.Errorf("%s, %s: %v", name, codec, err)
			}
		}
	}
}

func TestRecordsStopWhenToldTo(t *testing.T) {
	for _, codec := range codecs {
		o := NoProducer
		o.Codec = codec
		b := build(t, o, make([]Record, 10)...)
		n := 0
		if err := Records(b, 1<<20, func(*Record) bool { n++; return n < 4 }); err != nil || n != 4 {
			t.Errorf("%s: %d records, %v", codec, n, err)
		}
	}
}

func TestRecordsOfAnEmptiedBatch(t *testing.T) {
	// Compaction leaves a header without records; its codec may be any.
	for _, codec := range codecs {
		b := wrap(codec, 0, nil)
		if got := collect(t, b); len(got) != 0 {
			t.Errorf("%s: %d records", codec, len(got))
		}
	}
}

func TestRecordsKeepOffsetsOfACompactedBatch(t *testing.T) {
	p := append(raw("\x00", 0, 3, -1, -1, 0), raw("\x00", 0, 9, -1, -1, 0)...)
	got := collect(t, wrap(None, 2, p))
	if len(got) != 2 || got[0].Offset != 3 || got[1].Offset != 9 {
		t.Errorf("%+v", got)
	}
}

func TestBuildDeleteHorizonKeepsTimestampsKIP534(t *testing.T) {
	o := NoProducer
	o.DeleteHorizon = 5_000_000
	b := build(t, o, Record{Timestamp: 100}, Record{Timestamp: 90})
	if ms, ok := b.DeleteHorizon(); !ok || ms != 5_000_000 || b.MaxTimestamp() != 100 {
		t.Errorf("%s", Describe(b))
	}
	if got := collect(t, b); got[0].Timestamp != 100 || got[1].Timestamp != 90 {
		t.Errorf("%+v", got)
	}
}

func TestBuildLogAppendTime(t *testing.T) {
	o := NoProducer
	o.LogAppendTime = 400
	b := build(t, o, Record{Timestamp: 100}, Record{Timestamp: 900})
	if got := collect(t, b); !b.LogAppendTime() || b.MaxTimestamp() != 400 || got[0].Timestamp != 400 || got[1].Timestamp != 400 {
		t.Errorf("%s", Describe(b))
	}
}

func TestBuildRefusesByName(t *testing.T) {
	for _, c := range []struct {
		name    string
		o       Builder
		records []Record
		want    error
	}{
		{"no records", NoProducer, nil, ErrInvalid},
		{"codec 5", Builder{Codec: 5}, make([]Record, 1), ErrCompression},
		{"timestamps too far apart", NoProducer, []Record{{Timestamp: math.MinInt64}, {Timestamp: 1}}, ErrTimestamp},
	} {
		if _, err := c.o.Build(0, 0, c.records); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}
