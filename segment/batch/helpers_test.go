package batch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var codecs = []Codec{None, Gzip, Snappy, LZ4, Zstd}

// lenient are rules that every well-formed batch obeys.
func lenient() *Rules {
	return &Rules{Now: 1_700_000_000_000, TimestampBeforeMax: 1<<63 - 1, TimestampAfterMax: 1<<63 - 1, MaxDecompressed: 64 << 20}
}

func build(t testing.TB, o Builder, records ...Record) Batch {
	t.Helper()
	b, err := o.Build(0, 0, records)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// plain is a batch of three keyed records.
func plain(t testing.TB) Batch {
	return build(t, NoProducer,
		Record{Timestamp: 1000, Key: []byte("k0"), Value: []byte("v0")},
		Record{Timestamp: 3000, Key: []byte("k1"), Value: []byte("v1"), Headers: []Header{{Key: "h", Value: []byte("x")}}},
		Record{Timestamp: 2000, Key: []byte("k2")},
	)
}

// wrap makes a batch of count records out of bytes that may be anything.
func wrap(codec Codec, count int32, records []byte) Batch {
	b := append(make(Batch, HeaderSize), records...)
	o := NoProducer
	o.Codec = codec
	o.putHeader(b, count, 0, 0)
	b.setCRC()
	return b
}

// raw encodes one record from parts that need not fit each other.
func raw(parts ...any) []byte {
	var body []byte
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			body = AppendVarint(body, int64(p))
		case string:
			body = append(body, p...)
		default:
			panic(fmt.Sprint(p))
		}
	}
	return append(AppendVarint(nil, int64(len(body))), body...)
}

// collect returns copies of the records of b.
func collect(t testing.TB, b Batch) []Record {
	t.Helper()
	var records []Record
	if err := Records(b, 64<<20, func(r *Record) bool {
		records = append(records, clone(*r))
		return true
	}); err != nil {
		t.Fatalf("%s: %v", b.Codec(), err)
	}
	return records
}

func clone(r Record) Record {
	r.Key, r.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
	r.Headers = slices.Clone(r.Headers)
	for i := range r.Headers {
		r.Headers[i].Value = bytes.Clone(r.Headers[i].Value)
	}
	return r
}

// kmsgBatch encodes the same batch with another hand: franz-go's message types.
func kmsgBatch(o Builder, base int64, leaderEpoch int32, records []Record) Batch {
	var p []byte
	maxTimestamp := records[0].Timestamp
	for i, r := range records {
		k := kmsg.Record{TimestampDelta64: r.Timestamp - records[0].Timestamp, OffsetDelta: int32(i), Key: r.Key, Value: r.Value}
		for _, h := range r.Headers {
			k.Headers = append(k.Headers, kmsg.Header{Key: h.Key, Value: h.Value})
		}
		body := k.AppendTo(nil)[1:] // after the length, 0 for now
		k.Length = int32(len(body))
		p = k.AppendTo(p)
		maxTimestamp = max(maxTimestamp, r.Timestamp)
	}
	k := kmsg.RecordBatch{
		FirstOffset:          base,
		Length:               int32(HeaderSize - LogOverhead + len(p)),
		PartitionLeaderEpoch: leaderEpoch,
		Magic:                2,
		Attributes:           o.attributes(),
		LastOffsetDelta:      int32(len(records) - 1),
		FirstTimestamp:       records[0].Timestamp,
		MaxTimestamp:         maxTimestamp,
		ProducerID:           o.ProducerID,
		ProducerEpoch:        o.ProducerEpoch,
		FirstSequence:        o.BaseSequence,
		NumRecords:           int32(len(records)),
		Records:              p,
	}
	b := Batch(k.AppendTo(nil))
	binary.BigEndian.PutUint32(b[17:], crcOf(b[21:]))
	return b
}
