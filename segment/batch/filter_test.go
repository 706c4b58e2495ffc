package batch

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"testing"
)

func TestFilterKeepsOffsetsTimestampsAndProducer(t *testing.T) {
	for _, codec := range codecs {
		b := kafkaBatch(t, codec.String())
		even := func(r *Record) bool { return r.Offset%2 == 0 }
		got, err := Filter(b, 1<<20, 0, even)
		if err != nil {
			t.Fatal(err)
		}
		var want []Record
		for _, r := range kafkaRecords() {
			if even(&r) {
				want = append(want, r)
			}
		}
		records := collect(t, got)
		for i := range records {
			if len(records[i].Headers) == 0 {
				records[i].Headers = nil
			}
		}
		if !reflect.DeepEqual(records, want) {
			t.Errorf("%s: records differ", codec)
		}
		before, after := Describe(b), Describe(got)
		if !after.CRCValid || after.Count != 25 || after.Size != len(got) {
			t.Errorf("%s: %s", codec, after)
		}
		after.CRC, after.Count, after.Size, after.MaxTimestamp = before.CRC, before.Count, before.Size, before.MaxTimestamp
		if before != after {
			t.Errorf("%s: more has changed\n%s\n%s", codec, before, after)
		}
	}
}

func TestFilterReturnsTheBatchItselfWhereAllIsKept(t *testing.T) {
	b := kafkaBatch(t, "zstd")
	got, err := Filter(b, 1<<20, 0, func(*Record) bool { return true })
	if err != nil || &got[0] != &b[0] {
		t.Errorf("%v", err)
	}
}

func TestFilterMaxTimestampIsThatOfTheRecordsLeft(t *testing.T) {
	keep := func(r *Record) bool { return r.Offset != 1 } // the latest
	got, err := Filter(plain(t), 0, 0, keep)
	if err != nil || got.MaxTimestamp() != 2000 || got.LastOffset() != 2 {
		t.Errorf("%v %s", err, Describe(got))
	}
	b := plain(t)
	b.SetLogAppendTime(5000)
	got, err = Filter(b, 0, 0, keep)
	if err != nil || got.MaxTimestamp() != 5000 || !got.LogAppendTime() {
		t.Errorf("%v %s", err, Describe(got))
	}
}

func TestFilterLeavesAHeaderWhereNothingIsKept(t *testing.T) {
	for _, codec := range codecs {
		b := kafkaBatch(t, codec.String())
		got, err := Filter(b, 1<<20, 77, func(*Record) bool { return false })
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != HeaderSize || got.Count() != 0 || got.Codec() != None || got.LastOffset() != b.LastOffset() ||
			got.LastSequence() != b.LastSequence() || got.MaxTimestamp() != b.MaxTimestamp() || got.CheckCRC() != nil || !got.Transactional() {
			t.Errorf("%s: %s", codec, Describe(got))
		}
		if len(collect(t, got)) != 0 {
			t.Errorf("%s: records", codec)
		}
	}
}

func TestFilterSetsTheDeleteHorizonOnceKIP534(t *testing.T) {
	all := func(*Record) bool { return true }
	for _, codec := range codecs {
		b := kafkaBatch(t, codec.String())
		got, err := Filter(b, 1<<20, 1_800_000_000_000, all)
		if err != nil {
			t.Fatal(err)
		}
		if ms, ok := got.DeleteHorizon(); !ok || ms != 1_800_000_000_000 {
			t.Errorf("%s: %s", codec, Describe(got))
		}
		for i, r := range collect(t, got) {
			if want := kafkaRecords()[i].Timestamp; r.Timestamp != want {
				t.Errorf("%s: timestamp %d, want %d", codec, r.Timestamp, want)
			}
		}
		again, err := Filter(got, 1<<20, 0, all)
		if err != nil || !bytes.Equal(again, got) {
			t.Errorf("%s: a horizon that is set does not stay: %v", codec, err)
		}
		less, err := Filter(got, 1<<20, 0, func(r *Record) bool { return r.Offset == 1007 })
		if err != nil {
			t.Fatal(err)
		}
		if ms, ok := less.DeleteHorizon(); !ok || ms != 1_800_000_000_000 || collect(t, less)[0].Timestamp != kafkaRecords()[7].Timestamp {
			t.Errorf("%s: %s", codec, Describe(less))
		}
	}
}

func TestFilterRefusesByName(t *testing.T) {
	all := func(*Record) bool { return true }
	for _, c := range []struct {
		name    string
		b       Batch
		limit   int64
		horizon int64
		want    error
	}{
		{"records that do not parse", wrap(None, 1, []byte{0}), 0, 0, ErrInvalid},
		{"above the limit", kafkaBatch(t, "gzip"), 1000, 0, ErrTooLarge},
		{"codec 5", put(plain(t), posAttributes, int16(5)), 1 << 20, 0, ErrCompression},
		{"horizon too far", build(t, NoProducer, Record{Timestamp: -5}), 0, math.MaxInt64, ErrTimestamp},
	} {
		if b, err := Filter(c.b, c.limit, c.horizon, all); !errors.Is(err, c.want) || b != nil {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}
