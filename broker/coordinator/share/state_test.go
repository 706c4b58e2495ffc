package share

import (
	"encoding/hex"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varvelog/varve/segment/batch"
)

var testKey = Key{Group: "g", Topic: [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, Partition: 3}

// world is a share partition and its log.
type world struct {
	t   *testing.T
	s   *State
	log []batch.Record
}

const limit = 3

// do expects a step to be refused with want, nil: not.
func (w *world) do(step Step, want *kerr.Error) {
	w.t.Helper()
	switch {
	case (step.Refusal == nil) != (want == nil), want != nil && step.Refusal.Code != want.Code:
		w.t.Fatalf("got %+v, want %v", step.Refusal, want)
	case step.Refusal != nil && (step.Next != w.s || len(step.Records) > 0):
		w.t.Fatal("a refused step changes something")
	}
	w.s = step.Next
	w.log = append(w.log, step.Records...)
	w.t.Helper()
	if got := replayed(w.t, w.log)[testKey]; !same(got, w.s) {
		w.t.Fatalf("the log says %+v, the state is %+v", got, w.s)
	}
}

// same compares what a load has to know.
func same(a, b *State) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := *a, *b
	x.Batches, y.Batches = slices.Clip(x.Batches), slices.Clip(y.Batches)
	return slices.Equal(x.Batches, y.Batches) && func() bool { x.Batches, y.Batches = nil, nil; return reflect.DeepEqual(x, y) }()
}

func replayed(t *testing.T, log []batch.Record) Replay {
	t.Helper()
	p := Replay{}
	for i, r := range log {
		if _, _, ours, err := p.Record(r.Key, r.Value); err != nil || !ours {
			t.Fatalf("record %d: %v", i, err)
		}
	}
	return p
}

func TestLeadersAndGroupsOfThePastAreFenced(t *testing.T) {
	w := &world{t: t}
	w.do(w.s.Read(1, testKey, limit, 0), kerr.InvalidRequest)
	w.do(w.s.Write(1, testKey, limit, Update{}), kerr.InvalidRequest)
	w.do(w.s.Initialize(1, testKey, Initialization{StateEpoch: 5, StartOffset: None}), nil)
	if w.s.DeliveryComplete != None || w.s.StartOffset != None {
		t.Fatalf("%+v", w.s)
	}
	w.do(w.s.Initialize(2, testKey, Initialization{StateEpoch: 4}), kerr.FencedStateEpoch)
	w.do(w.s.Read(2, testKey, limit, 7), nil)
	w.do(w.s.Read(2, testKey, limit, 6), kerr.FencedLeaderEpoch)
	w.do(w.s.Write(2, testKey, limit, Update{LeaderEpoch: 6, StateEpoch: 5}), kerr.FencedLeaderEpoch)
	w.do(w.s.Write(2, testKey, limit, Update{LeaderEpoch: 7, StateEpoch: 4}), kerr.FencedStateEpoch)
	w.do(w.s.Write(2, testKey, limit, Update{LeaderEpoch: 7, StateEpoch: 5, Batches: []Batch{{First: 4, Last: 3}}}), kerr.InvalidRequest)
	w.do(w.s.Write(2, testKey, limit, Update{LeaderEpoch: 7, StateEpoch: 5, StartOffset: 3, Batches: []Batch{{First: 1, Last: 9, DeliveryState: 2, DeliveryCount: 1}}}), nil)
	if !slices.Equal(w.s.Batches, []Batch{{3, 9, 2, 1}}) {
		t.Fatalf("%+v", w.s)
	}
	w.do(w.s.Initialize(3, testKey, Initialization{StateEpoch: 5, StartOffset: 8}), nil)
	w.do(w.s.Write(3, testKey, limit, Update{LeaderEpoch: 6, StateEpoch: 5}), kerr.FencedLeaderEpoch) // still
	w.do(w.s.Delete(4, testKey), nil)
	w.do(w.s.Delete(4, testKey), nil)
	w.do(w.s.Read(4, testKey, limit, 9), kerr.InvalidRequest)
}

func TestASnapshotFollowsAsManyUpdatesAsAreAllowed(t *testing.T) {
	w := &world{t: t}
	w.do(w.s.Initialize(1, testKey, Initialization{}), nil)
	var kinds string
	for range 9 {
		w.do(w.s.Write(2, testKey, limit, Update{StateEpoch: None, LeaderEpoch: None, StartOffset: None}), nil)
		if IsSnapshot(w.log[len(w.log)-1].Key) {
			kinds += "s"
		} else {
			kinds += "u"
		}
	}
	if kinds != "uuusuuusu" || w.s.SnapshotEpoch != 2 {
		t.Errorf("%s, snapshot epoch %d", kinds, w.s.SnapshotEpoch)
	}
	w.do(w.s.Again(9, testKey), nil)
	if w.s.Created != 2 || w.s.Written != 9 || w.s.Updates != 0 {
		t.Errorf("%+v", w.s)
	}
}

// TestRandomStepsAreWhatTheLogSays: whatever is asked, the log alone gives the same state,
// also from the last snapshot on; and of each offset that was written the state says what a
// naive model does.
func TestRandomStepsAreWhatTheLogSays(t *testing.T) {
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 3))
		w := &world{t: t}
		var said []Batch
		for range 30 {
			switch n := r.IntN(12); {
			case n == 0 || w.s == nil:
				epoch := int32(0)
				if w.s != nil {
					epoch = w.s.Groups + r.Int32N(2)
				}
				w.do(w.s.Initialize(r.Int64N(9), testKey, Initialization{StateEpoch: epoch, StartOffset: r.Int64N(4) - 1}), nil)
				said = nil
			case n == 1:
				w.do(w.s.Delete(0, testKey), nil)
			case n == 2:
				w.do(w.s.Read(0, testKey, limit, w.s.Leaders+r.Int32N(2)), nil)
			case n == 3:
				w.do(w.s.Again(r.Int64N(99), testKey), nil)
			default:
				u := Update{StateEpoch: w.s.Groups, LeaderEpoch: w.s.Leaders, StartOffset: None, DeliveryComplete: r.Int32N(5) - 1}
				if r.IntN(3) == 0 {
					u.StartOffset = max(w.s.StartOffset, 0) + r.Int64N(4)
				}
				for range r.IntN(4) {
					first := r.Int64N(60)
					u.Batches = append(u.Batches, Batch{first, first + r.Int64N(60-first), int8(2 * r.IntN(3)), int16(r.IntN(4))})
				}
				said = append(said, u.Batches...)
				w.do(w.s.Write(0, testKey, limit, u), nil)
			}
			if w.s != nil {
				want, got := naive(w.s.StartOffset, said), naive(w.s.StartOffset, w.s.Batches)
				for o := range want {
					if (want[o] == nil) != (got[o] == nil) || want[o] != nil && !want[o].agrees(*got[o]) {
						t.Fatalf("seed %d: of offset %d the state says %v, want %v", seed, o, got[o], want[o])
					}
				}
			}
			last := len(w.log) - 1
			for last > 0 && !IsSnapshot(w.log[last].Key) {
				last--
			}
			short := replayed(t, w.log[last:])[testKey]
			if short != nil && w.s != nil { // epochs that a snapshot sets back are known from before it
				short.Leaders, short.Groups = w.s.Leaders, w.s.Groups
			}
			if !same(short, w.s) {
				t.Fatalf("seed %d: from the last snapshot on the log says %+v, the state is %+v", seed, short, w.s)
			}
		}
	}
}

// What the generated code of Apache Kafka 4.3 writes.
const (
	snapshotKey   = "00000001670102030405060708090a0b0c0d0e0f1000000003"
	snapshotBytes = "0000000000010000000200000003000000000000000400000000000000060000000000000007" +
		"030000000000000008000000000000000902000a00000000000000000b000000000000000c04000d0001000400000005"
	updateKey   = "00010001670102030405060708090a0b0c0d0e0f1000000003"
	updateBytes = "00000000000100000003ffffffffffffffff020000000000000008000000000000000902000a0000"
)

// TestRecordsHaveApacheKafkasBytes, both ways.
func TestRecordsHaveApacheKafkasBytes(t *testing.T) {
	s := &State{
		SnapshotEpoch: 1, StateEpoch: 2, LeaderEpoch: 3, StartOffset: 4, DeliveryComplete: 5, Created: 6, Written: 7,
		Batches: []Batch{{8, 9, 2, 10}, {11, 12, 4, 13}}, Leaders: 3, Groups: 2,
	}
	u := Update{StateEpoch: None, LeaderEpoch: 3, StartOffset: None, DeliveryComplete: None, Batches: []Batch{{8, 9, 2, 10}}}
	for name, c := range map[string]struct {
		record     batch.Record
		key, value string
	}{
		"snapshot": {snapshot(0, testKey, s)[0], snapshotKey, snapshotBytes},
		"update":   {update(0, testKey, 1, u)[0], updateKey, updateBytes},
	} {
		if got := hex.EncodeToString(c.record.Key); got != c.key {
			t.Errorf("key of %s\n got %s\nwant %s", name, got, c.key)
		}
		if got := hex.EncodeToString(c.record.Value); got != c.value {
			t.Errorf("value of %s\n got %s\nwant %s", name, got, c.value)
		}
	}
	key, _ := hex.DecodeString(snapshotKey)
	value, _ := hex.DecodeString(snapshotBytes)
	p := Replay{}
	if k, _, _, err := p.Record(key, value); err != nil || k != testKey || !same(p[testKey], s) {
		t.Errorf("%v, %+v, %v", k, p[testKey], err)
	}
}

// FuzzRecord: bytes of a log are refused or read, and what is read is written and read back
// as the same.
func FuzzRecord(f *testing.F) {
	for _, seed := range [][2]string{{snapshotKey, snapshotBytes}, {updateKey, updateBytes}, {snapshotKey, ""}, {"00", ""}, {"0007", "00"}} {
		key, _ := hex.DecodeString(seed[0])
		value, _ := hex.DecodeString(seed[1])
		f.Add(key, value)
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		p := Replay{testKey: {}}
		k, _, ours, err := p.Record(key, value)
		if err != nil || !ours || p[k] == nil {
			return
		}
		again := replayed(t, snapshot(0, k, p[k]))[k]
		again.Leaders, again.Groups, again.Updates = p[k].Leaders, p[k].Groups, p[k].Updates
		if !same(again, p[k]) {
			t.Fatalf("%+v is read back as %+v", p[k], again)
		}
	})
}

func TestKeysOfCoordinatorsAreReadBack(t *testing.T) {
	for _, k := range []Key{testKey, {Group: "a:b", Topic: [16]byte{0xff}, Partition: 0}} {
		if got, err := ParseKey(k.String()); err != nil || got != k {
			t.Errorf("%v: %v, %v", k, got, err)
		}
	}
	for _, s := range []string{"", "g", "g:t", "g:AAAAAAAAAAAAAAAAAAAAAA", ":AAAAAAAAAAAAAAAAAAAAAA:0", "g:AAAAAAAAAAAAAAAAAAAAAA:x", "g:AAAAAAAAAAAAAAAAAAAAAA:-1", "g:AAAA:0"} {
		if k, err := ParseKey(s); err == nil {
			t.Errorf("%q is %v", s, k)
		}
	}
}
