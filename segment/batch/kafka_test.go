package batch

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

// kafkaRecords are what the batches in testdata/kafka-4.3 hold. Apache Kafka's own
// classes (kafka-clients 4.3.0) wrote them:
//
//	MemoryRecords.withTransactionalRecords(MAGIC_VALUE_V2, 1000L, Compression.of(codec).build(), 4242L, (short) 3, 77, 9, records)
//	MemoryRecords.withEndTransactionMarker(500L, 1700000000123L, 8, 4242L, (short) 3, new EndTransactionMarker(COMMIT, 21))
//	MemoryRecords.withEndTransactionMarker(501L, 1700000000124L, 8, 4242L, (short) 4, new EndTransactionMarker(ABORT, 22))
func kafkaRecords() []Record {
	records := make([]Record, 50)
	for i := range records {
		r := Record{Offset: 1000 + int64(i), Timestamp: 1_700_000_000_000 + int64(i*7%13)}
		if i%5 != 0 {
			r.Key = fmt.Append(nil, "key-", i)
		}
		if i%7 != 0 {
			r.Value = []byte(strings.Repeat(fmt.Sprint("value ", i, " "), i*4))
		}
		if i%3 == 0 {
			r.Headers = []Header{{Key: fmt.Sprint("h", i), Value: fmt.Append(nil, "x", i)}, {Key: "null"}}
		}
		records[i] = r
	}
	return records
}

func kafkaBatch(t testing.TB, name string) Batch {
	t.Helper()
	p, err := os.ReadFile("testdata/kafka-4.3/" + name + ".batch")
	if err != nil {
		t.Fatal(err)
	}
	b, rest, err := Next(p)
	if err != nil || len(rest) > 0 {
		t.Fatalf("%d bytes left, %v", len(rest), err)
	}
	return b
}

func TestBatchesOfKafkaAreReadAndValid(t *testing.T) {
	want := kafkaRecords()
	for _, codec := range codecs {
		b := kafkaBatch(t, codec.String())
		before := bytes.Clone(b)
		if err := Validate(b, lenient()); err != nil || !bytes.Equal(b, before) {
			t.Errorf("%s: %v", codec, err)
		}
		if b.Codec() != codec || b.ProducerID() != 4242 || b.ProducerEpoch() != 3 || b.BaseSequence() != 77 || b.LeaderEpoch() != 9 ||
			!b.Transactional() || b.Control() || b.BaseOffset() != 1000 || b.LastSequence() != 126 || b.MaxTimestamp() != 1_700_000_000_012 {
			t.Errorf("%s", Describe(b))
		}
		got := collect(t, b)
		for i := range got {
			if len(got[i].Headers) == 0 {
				got[i].Headers = nil
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: records differ", codec)
		}
	}
}

func TestBuildEqualsKafkaByteForByte(t *testing.T) {
	o := Builder{ProducerID: 4242, ProducerEpoch: 3, BaseSequence: 77, Transactional: true}
	b, err := o.Build(1000, 9, kafkaRecords())
	if err != nil {
		t.Fatal(err)
	}
	if want := kafkaBatch(t, "none"); !bytes.Equal(b, want) {
		t.Errorf("%s\n%s", Describe(b), Describe(want))
	}
	for name, m := range map[string]Marker{"commit": {Commit: true, CoordinatorEpoch: 21}, "abort": {CoordinatorEpoch: 22}} {
		want := kafkaBatch(t, name)
		if got, err := ReadMarker(want); err != nil || got != m {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		b, err := m.Build(want.BaseOffset(), 8, 4242, want.ProducerEpoch(), want.MaxTimestamp())
		if err != nil || !bytes.Equal(b, want) {
			t.Errorf("%s: %v\n%s\n%s", name, err, Describe(b), Describe(want))
		}
	}
}
