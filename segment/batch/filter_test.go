package batch

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"testing"
)

// filter applies a new Filter that sets the delete horizon, unless it is 0.
func filter(b Batch, maxDecompressed, horizon int64, keep func(*Entry) bool) (Batch, error) {
	f := Filter{MaxDecompressed: maxDecompressed, Horizon: horizon}
	return f.Apply(b, horizon != 0, keep)
}

func TestFilterKeepsOffsetsTimestampsAndProducer(t *testing.T) {
	for _, codec := range codecs {
		b := kafkaBatch(t, codec.String())
		even := func(r *Entry) bool { return r.Offset%2 == 0 }
		got, err := filter(b, 1<<20, 0, even)
		if err != nil {
			t.Fatal(err)
		}
		var want []Record
		for _, r := range kafkaRecords() {
			if r.Offset%2 == 0 {
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
	got, err := filter(b, 1<<20, 0, func(*Entry) bool { return true })
	if err != nil || &got[0] != &b[0] {
		t.Errorf("%v", err)
	}
}

func TestFilterMaxTimestampIsThatOfTheRecordsLeft(t *testing.T) {
	keep := func(r *Entry) bool { return r.Offset != 1 } // the latest
	got, err := filter(plain(t), 0, 0, keep)
	if err != nil || got.MaxTimestamp() != 2000 || got.LastOffset() != 2 {
		t.Errorf("%v %s", err, Describe(got))
	}
	b := plain(t)
	b.SetLogAppendTime(5000)
	got, err = filter(b, 0, 0, keep)
	if err != nil || got.MaxTimestamp() != 5000 || !got.LogAppendTime() {
		t.Errorf("%v %s", err, Describe(got))
	}
}

func TestFilterLeavesAHeaderWhereNothingIsKept(t *testing.T) {
	for _, codec := range codecs {
		b := kafkaBatch(t, codec.String())
		got, err := filter(b, 1<<20, 77, func(*Entry) bool { return false })
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
	all := func(*Entry) bool { return true }
	for _, codec := range codecs {
		b := kafkaBatch(t, codec.String())
		got, err := filter(b, 1<<20, 1_800_000_000_000, all)
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
		again, err := filter(got, 1<<20, 0, all)
		if err != nil || !bytes.Equal(again, got) {
			t.Errorf("%s: a horizon that is set does not stay: %v", codec, err)
		}
		less, err := filter(got, 1<<20, 0, func(r *Entry) bool { return r.Offset == 1007 })
		if err != nil {
			t.Fatal(err)
		}
		if ms, ok := less.DeleteHorizon(); !ok || ms != 1_800_000_000_000 || collect(t, less)[0].Timestamp != kafkaRecords()[7].Timestamp {
			t.Errorf("%s: %s", codec, Describe(less))
		}
	}
}

func TestFilterRefusesByName(t *testing.T) {
	all := func(*Entry) bool { return true }
	for _, c := range []struct {
		name  string
		b     Batch
		limit int64
		want  error
	}{
		{"records that do not parse", wrap(None, 1, []byte{0}), 0, ErrInvalid},
		{"above the limit", kafkaBatch(t, "gzip"), 1000, ErrTooLarge},
		{"codec 5", put(plain(t), posAttributes, int16(5)), 1 << 20, ErrCompression},
	} {
		if b, err := filter(c.b, c.limit, 0, all); !errors.Is(err, c.want) || b != nil {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestFilterSetsNoHorizonWithoutATombstoneKIP534(t *testing.T) {
	f := Filter{Horizon: 5000}
	b := plain(t)
	values := func(e *Entry) bool { return !e.Tombstone }
	got, err := f.Apply(b, false, values)
	if _, has := got.DeleteHorizon(); err != nil || has || got.Count() != 2 {
		t.Errorf("%v %s", err, Describe(got))
	}
	got, err = f.Apply(b, false, func(*Entry) bool { return true })
	if ms, has := got.DeleteHorizon(); err != nil || !has || ms != 5000 {
		t.Errorf("%v %s", err, Describe(got))
	}
}

func TestFilterSetsNoHorizonThatATimestampIsTooFarFrom(t *testing.T) {
	f := Filter{Horizon: math.MaxInt64}
	b := build(t, NoProducer, Record{Timestamp: -5, Key: []byte("k")})
	if got, err := f.Apply(b, false, func(*Entry) bool { return true }); err != nil || &got[0] != &b[0] {
		t.Errorf("%v", err)
	}
}

func TestFilterAllocatesNothingForPlainBatches(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	f := Filter{Horizon: 5000}
	b := plain(t)
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := f.Apply(b, false, func(e *Entry) bool { return e.Offset > 0 }); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func FuzzFilter(f *testing.F) {
	for _, codec := range codecs {
		b, err := Builder{Codec: codec, ProducerID: 3, BaseSequence: 5}.Build(7, 1, []Record{{Timestamp: 9, Key: []byte("k"), Value: []byte("v")}, {Key: []byte("k")}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(b), uint8(1), int64(77))
	}
	f.Fuzz(func(t *testing.T, p []byte, mask uint8, horizon int64) {
		b, _, err := Next(p)
		if err != nil {
			return
		}
		var kept []int64
		f := Filter{MaxDecompressed: 1 << 20, Horizon: horizon}
		got, err := f.Apply(b, mask&1 != 0, func(e *Entry) bool {
			keep := mask>>(uint(len(kept))%8)&1 == 1
			if keep {
				kept = append(kept, e.Timestamp)
			}
			return keep
		})
		if err != nil {
			return
		}
		if len(kept) > 0 && got.CheckCRC() != nil && &got[0] != &b[0] {
			t.Fatal("CRC")
		}
		i := 0
		if err := Entries(got, 2<<20, func(e *Entry) bool {
			if i >= len(kept) || e.Timestamp != kept[i] {
				t.Fatalf("entry %d: %d of %v", i, e.Timestamp, kept)
			}
			i++
			return true
		}); err != nil || i != len(kept) {
			t.Fatalf("%v: %d of %d", err, i, len(kept))
		}
	})
}
