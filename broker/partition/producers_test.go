package partition

import (
	"errors"
	"math"
	"reflect"
	"testing"

	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
)

// sent is a batch of a producer: n records from sequence on.
type sent struct {
	id       int64
	epoch    int16
	sequence int32
	n        int
	txn      bool
}

func (s sent) batch(t testing.TB, base int64) batch.Batch {
	t.Helper()
	records := make([]batch.Record, s.n)
	for i := range records {
		records[i] = batch.Record{Timestamp: 1000, Value: []byte("v")}
	}
	b, err := batch.Builder{ProducerID: s.id, ProducerEpoch: s.epoch, BaseSequence: s.sequence, Transactional: s.txn}.Build(base, 0, records)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func markerBatch(t testing.TB, base, id int64, epoch int16, commit bool, coordinator int32) (batch.Batch, batch.Marker) {
	t.Helper()
	m := batch.Marker{Commit: commit, CoordinatorEpoch: coordinator}
	b, err := m.Build(base, 0, id, epoch, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return b, m
}

// after returns the state when the batches have been appended from offset 100 on.
func after(t testing.TB, batches ...sent) producers {
	s := producers{}
	next := int64(100)
	for _, b := range batches {
		b := b.batch(t, next)
		s.update(b, 0)
		next = b.NextOffset()
	}
	return s
}

func TestProducerSequencesFollowOneAnotherKIP98(t *testing.T) {
	known := []sent{{id: 1, epoch: 3, sequence: 0, n: 4}, {id: 1, epoch: 3, sequence: 4, n: 2}}
	wrapped := []sent{{id: 1, sequence: math.MaxInt32 - 1, n: 2}}
	for name, c := range map[string]struct {
		known []sent
		next  sent
		want  error
	}{
		"next":                                {known, sent{id: 1, epoch: 3, sequence: 6, n: 1}, nil},
		"gap":                                 {known, sent{id: 1, epoch: 3, sequence: 7, n: 1}, ErrOutOfOrderSequence},
		"behind":                              {known, sent{id: 1, epoch: 3, sequence: 5, n: 1}, ErrOutOfOrderSequence},
		"begins anew in the epoch":            {known, sent{id: 1, epoch: 3, sequence: 0, n: 1}, ErrOutOfOrderSequence},
		"old epoch":                           {known, sent{id: 1, epoch: 2, sequence: 6, n: 1}, ErrInvalidProducerEpoch},
		"new epoch from 0":                    {known, sent{id: 1, epoch: 4, sequence: 0, n: 1}, nil},
		"new epoch from elsewhere":            {known, sent{id: 1, epoch: 4, sequence: 6, n: 1}, ErrOutOfOrderSequence},
		"unknown producer from 0":             {known, sent{id: 2, epoch: 0, sequence: 0, n: 1}, nil},
		"unknown producer anywhere (KIP-360)": {known, sent{id: 2, epoch: 5, sequence: 77, n: 1}, nil},
		"0 after 2^31-1":                      {wrapped, sent{id: 1, sequence: 0, n: 1}, nil},
		"1 after 2^31-1":                      {wrapped, sent{id: 1, sequence: 1, n: 1}, ErrOutOfOrderSequence},
		"a batch across the wrap, then the next": {
			[]sent{{id: 1, sequence: math.MaxInt32 - 1, n: 4}}, sent{id: 1, sequence: 2, n: 1}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := after(t, c.known...)
			before := after(t, c.known...)
			if err := s.check(c.next.batch(t, 0), false); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if !reflect.DeepEqual(s, before) {
				t.Error("a check has changed the state")
			}
		})
	}
}

func TestDuplicateOfOneOfTheLastFiveBatchesIsFound(t *testing.T) {
	var all []sent
	for i := range 7 {
		all = append(all, sent{id: 1, epoch: 2, sequence: int32(10 * i), n: 10})
	}
	s := after(t, all...)
	for i, b := range all {
		w, ok := s.duplicate(b.batch(t, 0))
		if want := i >= 2; ok != want {
			t.Errorf("batch %d: found %t, want %t", i, ok, want)
		}
		if ok && (w.baseOffset() != 100+int64(10*i) || w.lastOffset != w.baseOffset()+9) {
			t.Errorf("batch %d lies at [%d, %d]", i, w.baseOffset(), w.lastOffset)
		}
		if !ok && !errors.Is(s.check(b.batch(t, 0), false), ErrOutOfOrderSequence) {
			t.Errorf("batch %d, forgotten, is not out of order", i)
		}
	}
	for name, b := range map[string]sent{
		"part of one":         {id: 1, epoch: 2, sequence: 60, n: 9},
		"more than one":       {id: 1, epoch: 2, sequence: 50, n: 20},
		"of another epoch":    {id: 1, epoch: 3, sequence: 60, n: 10},
		"of an older epoch":   {id: 1, epoch: 1, sequence: 60, n: 10},
		"of another producer": {id: 2, epoch: 2, sequence: 60, n: 10},
	} {
		if _, ok := s.duplicate(b.batch(t, 0)); ok {
			t.Errorf("%s: taken for a duplicate", name)
		}
	}
}

func TestDuplicateAcrossTheSequenceWrapIsFound(t *testing.T) {
	b := sent{id: 1, sequence: math.MaxInt32 - 1, n: 4}
	w, ok := after(t, b).duplicate(b.batch(t, 0))
	if !ok || w.baseOffset() != 100 || w.lastSequence != 1 || w.firstSequence() != math.MaxInt32-1 {
		t.Errorf("%t %+v", ok, w)
	}
}

func TestNewEpochForgetsTheBatchesOfTheOld(t *testing.T) {
	old := sent{id: 1, epoch: 1, sequence: 0, n: 1}
	s := after(t, old, sent{id: 1, epoch: 2, sequence: 0, n: 3})
	if _, ok := s.duplicate(old.batch(t, 0)); ok {
		t.Error("duplicate of an old epoch")
	}
	if err := s.check(old.batch(t, 0), false); !errors.Is(err, ErrInvalidProducerEpoch) {
		t.Error(err)
	}
}

func TestOpenTransactionTakesTransactionalBatchesOnly(t *testing.T) {
	s := after(t, sent{id: 1, sequence: 0, n: 1, txn: true})
	if err := s.check(sent{id: 1, sequence: 1, n: 1}.batch(t, 0), false); !errors.Is(err, ErrInvalidTxnState) {
		t.Errorf("batch outside of the transaction: %v", err)
	}
	if err := s.check(sent{id: 1, sequence: 1, n: 1, txn: true}.batch(t, 0), false); err != nil {
		t.Error(err)
	}
	b, m := markerBatch(t, 101, 1, 0, true, 5)
	if first := s.end(b, m, 0); first != 100 {
		t.Errorf("the transaction began at %d", first)
	}
	if err := s.check(sent{id: 1, sequence: 1, n: 1}.batch(t, 0), false); err != nil {
		t.Errorf("after the marker: %v", err)
	}
}

func TestMarkerOfAnOlderCoordinatorOrEpochIsFenced(t *testing.T) {
	s := after(t, sent{id: 1, epoch: 4, sequence: 0, n: 1, txn: true})
	b, m := markerBatch(t, 101, 1, 4, true, 5)
	s.end(b, m, 0)
	for name, c := range map[string]struct {
		epoch       int16
		coordinator int32
		want        error
	}{
		"same":              {4, 5, nil},
		"newer":             {5, 6, nil},
		"older coordinator": {4, 4, ErrCoordinatorFenced},
		"older epoch":       {3, 5, ErrInvalidProducerEpoch},
	} {
		b, m := markerBatch(t, 102, 1, c.epoch, true, c.coordinator)
		if err := s.checkMarker(b, m, 0); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestInternalBatchesNeedNoSequence(t *testing.T) {
	s := after(t, sent{id: 1, epoch: 2, sequence: 0, n: 1})
	if err := s.check(sent{id: 1, epoch: 2, sequence: -1, n: 1}.batch(t, 0), true); err != nil {
		t.Error(err)
	}
	if err := s.check(sent{id: 1, epoch: 1, sequence: -1, n: 1}.batch(t, 0), true); !errors.Is(err, ErrInvalidProducerEpoch) {
		t.Error(err)
	}
}

func TestExpiryGoesByOurClockAndSparesOpenTransactions(t *testing.T) {
	s := producers{}
	s.update(sent{id: 1, n: 1}.batch(t, 0), 100) // timestamps say 1000
	s.update(sent{id: 2, n: 1, txn: true}.batch(t, 1), 100)
	s.update(sent{id: 3, n: 1}.batch(t, 2), 200)
	s.expire(150)
	if s[1] != nil || s[2] == nil || s[3] == nil {
		t.Errorf("left: %v", s)
	}
}

func TestSnapshotKeepsWhatDecidesTheNextBatch(t *testing.T) {
	s := after(t, sent{id: 1, epoch: 2, sequence: 0, n: 3}, sent{id: 2, epoch: 0, sequence: 5, n: 1, txn: true}, sent{id: 1, epoch: 2, sequence: 3, n: 4})
	b, m := markerBatch(t, 108, 3, 1, false, 9)
	s.end(b, m, 0)
	want := []segment.ProducerState{
		{ProducerID: 1, ProducerEpoch: 2, LastSequence: 6, LastOffset: 107, OffsetDelta: 3, Timestamp: 1000, CoordinatorEpoch: -1, CurrentTxnFirst: -1},
		{ProducerID: 2, ProducerEpoch: 0, LastSequence: 5, LastOffset: 103, OffsetDelta: 0, Timestamp: 1000, CoordinatorEpoch: -1, CurrentTxnFirst: 103},
		{ProducerID: 3, ProducerEpoch: 1, LastSequence: -1, LastOffset: -1, Timestamp: 1000, CoordinatorEpoch: 9, CurrentTxnFirst: -1},
	}
	if got := s.states(); !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
	loaded := producers{}
	loaded.load(want, 7)
	if got := loaded.states(); !reflect.DeepEqual(got, want) {
		t.Errorf("loaded: %+v", got)
	}
	if w, ok := loaded.duplicate(sent{id: 1, epoch: 2, sequence: 3, n: 4}.batch(t, 0)); !ok || w.baseOffset() != 104 {
		t.Errorf("duplicate of the last batch: %t %+v", ok, w)
	}
	if err := loaded.check(sent{id: 1, epoch: 2, sequence: 7, n: 1}.batch(t, 0), false); err != nil {
		t.Error(err)
	}
}

func TestRememberTakesOlderBatchesOnlyWhereTheyEndAtTheSnapshot(t *testing.T) {
	first, second := sent{id: 1, sequence: 0, n: 3}, sent{id: 1, sequence: 3, n: 4}
	scanned := after(t, first, second)
	s := producers{}
	s.load(scanned.states(), 0)
	s.remember(scanned)
	if w, ok := s.duplicate(first.batch(t, 0)); !ok || w.baseOffset() != 100 {
		t.Errorf("%t %+v", ok, w)
	}
	other := producers{}
	other.load([]segment.ProducerState{{ProducerID: 1, LastSequence: 6, LastOffset: 999, OffsetDelta: 3, CurrentTxnFirst: -1}}, 0)
	other.remember(scanned)
	if _, ok := other.duplicate(first.batch(t, 0)); ok {
		t.Error("batches of another history were taken")
	}
}

func TestLastStableOffsetStopsAtOpenAndUncommittedTransactions(t *testing.T) {
	var x transactions
	x.begin(1, 10)
	x.begin(2, 20)
	if got := x.lastStable(30); got != 10 {
		t.Errorf("two open: %d", got)
	}
	if got := x.stableAfter(1, 40); got != 20 {
		t.Errorf("after the first marker: %d", got)
	}
	x.end(1, 10, 40)
	if got := x.lastStable(30); got != 10 {
		t.Errorf("marker above the high watermark: %d", got)
	}
	x.commit(40)
	if got := x.lastStable(40); got != 10 {
		t.Errorf("marker at the high watermark: %d", got)
	}
	x.commit(41)
	if got := x.lastStable(41); got != 20 {
		t.Errorf("first committed: %d", got)
	}
	if got := x.stableAfter(2, 50); got != 51 {
		t.Errorf("after the last marker: %d", got)
	}
	x.forget(2, 20)
	if got := x.lastStable(41); got != 41 {
		t.Errorf("nothing open: %d", got)
	}
}
