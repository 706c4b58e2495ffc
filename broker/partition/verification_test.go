package partition

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/varvelog/varve/segment/batch"
)

func (h *house) guarded(b batch.Batch, g Guard) error {
	_, err := h.p.AppendAsLeader(Append{Records: b, Acks: -1, LeaderEpoch: -1, Guard: g})
	return err
}

func (h *house) verify(s sent) Guard { return h.p.Verify(s.id, s.epoch, s.sequence, false) }

// TestALateBatchBeginsNoTransaction: KIP-890, R16. The marker has come between the
// verification and the append, so the transaction that the batch is of is over.
func TestALateBatchBeginsNoTransaction(t *testing.T) {
	for _, c := range []struct {
		name  string
		first bool // the transaction has written here before
		epoch int16
	}{
		{"the first batch, epoch kept", false, 0},
		{"the first batch, epoch raised", false, 1},
		{"a later batch, epoch kept", true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t, defaults())
			next := sent{id: 1, n: 1, txn: true}
			if c.first {
				h.produce(next.batch(t, 0))
				next.sequence = 1
			}
			g := h.verify(next)
			if g.Needed() == c.first {
				t.Errorf("guard %d", g)
			}
			h.marker(1, c.epoch, false)
			want := ErrInvalidTxnState
			if err := h.guarded(next.batch(t, 0), g); !errors.Is(err, want) {
				t.Errorf("late batch: %v, want %v", err, want)
			}
			if o := h.p.Offsets(); o.LastStable != o.HighWatermark {
				t.Errorf("%+v: a transaction hangs", o)
			}
		})
	}
}

// TestTheNextTransactionIsNotEndedWithTheLast: KIP-890, its first batch may have asked before
// the marker of the transaction before was written.
func TestTheNextTransactionIsNotEndedWithTheLast(t *testing.T) {
	h := newHouse(t, defaults())
	h.produce(sent{id: 1, n: 1, txn: true}.batch(t, 0))
	next := sent{id: 1, epoch: 1, n: 1, txn: true}
	g := h.verify(next)
	b, _ := markerBatch(t, 0, 1, 1, true, 1)
	_, err := h.p.AppendAsLeader(Append{Records: b, Acks: -1, LeaderEpoch: -1, Internal: true, TransactionVersion: 2})
	h.must(err)
	if err := h.guarded(next.batch(t, 0), g); err != nil {
		t.Error(err)
	}
}

func TestAVerifiedBatchIsLetIn(t *testing.T) {
	h := newHouse(t, defaults())
	first, second := sent{id: 1, n: 2, txn: true}, sent{id: 1, sequence: 2, n: 1, txn: true}
	g := h.verify(first)
	if again := h.verify(second); again != g {
		t.Errorf("guards %d and %d of one verification", g, again)
	}
	if err := h.guarded(first.batch(t, 0), g+1); !errors.Is(err, ErrInvalidTxnState) {
		t.Errorf("another guard: %v", err)
	}
	if err := h.guarded(first.batch(t, 0), g); err != nil {
		t.Fatal(err)
	}
	if err := h.guarded(second.batch(t, 0), g); err != nil {
		t.Errorf("in the transaction that is open now: %v", err)
	}
	if got := h.verify(sent{id: 1, sequence: 3, n: 1, txn: true}); got.Needed() {
		t.Errorf("an open transaction is verified again: %d", got)
	}
	if got := h.verify(sent{id: 1, epoch: 1, n: 1, txn: true}); !got.Needed() {
		t.Error("another epoch than that of the open transaction is not verified")
	}
}

// TestTransactionsOfVersion2BeginWithSequence0: KIP-890, where nothing is known of the
// producer, its first batch may have been lost.
func TestTransactionsOfVersion2BeginWithSequence0(t *testing.T) {
	for _, c := range []struct {
		bumped   bool
		sequence int32
		want     error
	}{{true, 0, nil}, {true, 1, ErrOutOfOrderSequence}, {false, 1, nil}} {
		h := newHouse(t, defaults())
		g := h.p.Verify(1, 0, c.sequence, c.bumped)
		if err := h.guarded(sent{id: 1, sequence: c.sequence, n: 1, txn: true}.batch(t, 0), g); !errors.Is(err, c.want) {
			t.Errorf("version 2 %v, sequence %d: %v, want %v", c.bumped, c.sequence, err, c.want)
		}
	}
}

// TestTheFirstBatchOfATransactionIsTheFirstSent: of two batches under way the first could
// not be verified; the second must not take its place.
func TestTheFirstBatchOfATransactionIsTheFirstSent(t *testing.T) {
	h := newHouse(t, defaults())
	first, second := sent{id: 1, sequence: 5, n: 1, txn: true}, sent{id: 1, sequence: 6, n: 1, txn: true}
	h.verify(first)
	g := h.verify(second)
	if err := h.guarded(second.batch(t, 0), g); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Errorf("%v, want %v", err, ErrOutOfOrderSequence)
	}
	if err := h.guarded(first.batch(t, 0), g); err != nil {
		t.Error(err)
	}
	if err := h.guarded(second.batch(t, 0), g); err != nil {
		t.Error(err)
	}
}

func TestAVerificationThatLeadsToNothingExpires(t *testing.T) {
	h := newHouse(t, defaults())
	g := h.verify(sent{id: 1, n: 1, txn: true})
	h.pass(h.expiry + time.Millisecond)
	h.p.ExpireProducers(h.now())
	if len(h.p.guards) != 0 {
		t.Errorf("%v", h.p.guards)
	}
	if err := h.guarded(sent{id: 1, n: 1, txn: true}.batch(t, 0), g); !errors.Is(err, ErrInvalidTxnState) {
		t.Errorf("%v", err)
	}
}

// TestALateMarkerEndsNoLaterTransaction: KIP-1228.
func TestALateMarkerEndsNoLaterTransaction(t *testing.T) {
	for name, c := range map[string]struct {
		epoch   int16 // of the producer
		open    bool
		marker  int16
		version int16
		want    error
	}{
		"of the epoch before the end":         {4, true, 4, 2, ErrInvalidProducerEpoch},
		"of the raised epoch":                 {4, true, 5, 2, nil},
		"again, when it is done":              {4, false, 4, 2, nil},
		"older":                               {4, false, 3, 2, ErrInvalidProducerEpoch},
		"before version 2 the epoch is kept":  {4, true, 4, 1, nil},
		"the last epoch cannot be raised":     {math.MaxInt16, true, math.MaxInt16, 2, nil},
		"before version 2, of an older epoch": {4, true, 3, 0, ErrInvalidProducerEpoch},
	} {
		s := after(t, sent{id: 1, epoch: c.epoch, n: 1, txn: c.open})
		b, m := markerBatch(t, 101, 1, c.marker, true, 5)
		if err := s.checkMarker(b, m, c.version); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}
