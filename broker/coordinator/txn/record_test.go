package txn

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"
)

func of(partitions ...Partition) map[Partition]struct{} {
	m := map[Partition]struct{}{}
	for _, tp := range partitions {
		m[tp] = struct{}{}
	}
	return m
}

// golden are values that Apache Kafka 4.3's own TransactionLog has encoded.
var golden = []struct {
	name  string
	value string
	m     Metadata
}{
	{"empty", "000100000000000003e800000000ea6000000000018bcfe5687bffffffffffffffff01000800000000000003e8",
		Metadata{ProducerID: 1000, PrevProducerID: 1000, NextProducerID: None, LastEpoch: None, Timeout: 60000, State: Empty, Started: None, Updated: 1700000000123}},
	{"ongoing", "000100000000000003e800030000ea600102076f72646572730200000000000000018bcfe5687b0000018bcfe5686402000800000000000003e802020002",
		Metadata{ProducerID: 1000, PrevProducerID: 1000, NextProducerID: None, ProducerEpoch: 3, LastEpoch: None, Timeout: 60000, State: Ongoing,
			Partitions: of(Partition{"orders", 0}), Started: 1700000000100, Updated: 1700000000123, ClientVersion: V2}},
	{"prepare, with a producer to follow", "000100000000000003e87fff000dbba00202076f72646572730200000005000000018bcfe5687b0000018bcfe5686403000800000000000003e8010800000000000007d002020002",
		Metadata{ProducerID: 1000, PrevProducerID: 1000, NextProducerID: 2000, ProducerEpoch: 32767, LastEpoch: None, Timeout: 900000, State: PrepareCommit,
			Partitions: of(Partition{"orders", 5}), Started: 1700000000100, Updated: 1700000000123, ClientVersion: V2}},
	{"complete", "000100000000000007d00000000dbba005010000018bcfe568c80000018bcfe5686402000800000000000003e802020002",
		Metadata{ProducerID: 2000, PrevProducerID: 1000, NextProducerID: None, LastEpoch: None, Timeout: 900000, State: CompleteAbort,
			Partitions: of(), Started: 1700000000100, Updated: 1700000000200, ClientVersion: V2}},
	{"of an older client", "000100000000000000070001000000010401000000000000000600000000000000050100080000000000000007",
		Metadata{ProducerID: 7, PrevProducerID: 7, NextProducerID: None, ProducerEpoch: 1, LastEpoch: None, Timeout: 1, State: CompleteCommit,
			Partitions: of(), Started: 5, Updated: 6}},
}

func TestRecordsAreThoseOfKafka(t *testing.T) {
	for _, g := range golden {
		t.Run(g.name, func(t *testing.T) {
			r := Record(9, "payments-7", &g.m)
			if want := "0000000a7061796d656e74732d37"; hex.EncodeToString(r.Key) != want || r.Timestamp != 9 {
				t.Errorf("key %x at %d, want %s", r.Key, r.Timestamp, want)
			}
			if got := hex.EncodeToString(r.Value); got != g.value {
				t.Errorf("value\n%s, want\n%s", got, g.value)
			}
			replay := Replay{}
			if err := replay.Record(r.Key, r.Value); err != nil {
				t.Fatal(err)
			}
			if got := replay["payments-7"].m; !reflect.DeepEqual(got, g.m) {
				t.Errorf("read back\n%+v, want\n%+v", got, g.m)
			}
		})
	}
}

func TestPartitionsOfATopicShareAnEntry(t *testing.T) {
	m := Metadata{ProducerID: 1, State: Ongoing, Partitions: of(Partition{"b", 2}, Partition{"a", 1}, Partition{"b", 0})}
	replay, r := Replay{}, Record(0, "x", &m)
	if err := replay.Record(r.Key, r.Value); err != nil {
		t.Fatal(err)
	}
	if got := replay["x"].m.Sorted(); !reflect.DeepEqual(got, []Partition{{"a", 1}, {"b", 0}, {"b", 2}}) {
		t.Errorf("%v", got)
	}
}

func TestATombstoneForgetsTheID(t *testing.T) {
	replay, m := Replay{}, Metadata{ProducerID: 1, State: Empty}
	for _, state := range []State{Empty, Dead} {
		m.State = state
		r := Record(0, "x", &m)
		if err := replay.Record(r.Key, r.Value); err != nil {
			t.Fatal(err)
		}
	}
	if len(replay) != 0 {
		t.Errorf("%v", replay)
	}
}

func TestDamagedRecordsAreErrors(t *testing.T) {
	key, value := Record(0, "x", &golden[1].m).Key, Record(0, "x", &golden[1].m).Value
	patch := func(at int, b ...byte) []byte {
		p := bytes.Clone(value)
		copy(p[at:], b)
		return p
	}
	for name, r := range map[string][2][]byte{
		"key cut":            {key[:1], value},
		"id cut":             {key[:3], value},
		"value empty":        {key, {}},
		"value cut":          {key, value[:20]},
		"value of version 2": {key, patch(0, 0, 2)},
		"state 6":            {key, patch(16, 6)},
		"state -1":           {key, patch(16, 0xff)},
		"producer -1":        {key, patch(2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)},
		"epoch -1":           {key, patch(10, 0xff, 0xff)},
	} {
		if err := (Replay{}).Record(r[0], r[1]); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %v, want ErrRecord", name, err)
		}
	}
	if err := (Replay{}).Record([]byte{0, 9, 1, 2}, nil); err != nil {
		t.Errorf("a key of another type: %v, want that it is skipped", err)
	}
}

func FuzzReplay(f *testing.F) {
	for _, g := range golden {
		r := Record(0, "payments-7", &g.m)
		f.Add(r.Key, r.Value)
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		replay := Replay{}
		if err := replay.Record(key, value); err != nil {
			if !errors.Is(err, ErrRecord) {
				t.Fatalf("error %v is not ErrRecord", err)
			}
			return
		}
		for id, x := range replay { // what was read is stored as it was
			again, r := Replay{}, Record(0, id, &x.m)
			if err := again.Record(r.Key, r.Value); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(again[id].m, x.m) {
				t.Fatalf("%+v came back as %+v", x.m, again[id].m)
			}
		}
	})
}
