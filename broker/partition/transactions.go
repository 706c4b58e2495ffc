package partition

import (
	"cmp"
	"slices"
)

// transactions tells which offsets are not stable yet (KIP-98): those from the first
// one of a transaction that is
//
//	open   no marker has been appended
//	ended  its marker lies at or above the high watermark, so it could be lost
//
// Both lists are short, one entry for each producer in a transaction.
type transactions struct {
	open  []openTxn  // by first offset
	ended []endedTxn // by marker
}

type openTxn struct{ producerID, first int64 }

type endedTxn struct{ first, marker int64 }

// begin is called before the transaction's first batch is appended at offset first,
// so that no reader passes it.
func (t *transactions) begin(producerID, first int64) {
	t.open = append(t.open, openTxn{producerID, first})
}

// forget takes back a begin whose append failed.
func (t *transactions) forget(producerID, first int64) {
	t.open = slices.DeleteFunc(t.open, func(o openTxn) bool { return o == openTxn{producerID, first} })
}

// end moves the producer's transaction from open to ended.
func (t *transactions) end(producerID, first, marker int64) {
	t.forget(producerID, first)
	t.ended = append(t.ended, endedTxn{first, marker})
}

// commit drops the ended transactions whose markers lie below the high watermark.
func (t *transactions) commit(highWatermark int64) {
	if len(t.ended) > 0 && t.ended[0].marker < highWatermark {
		t.ended = slices.DeleteFunc(t.ended, func(e endedTxn) bool { return e.marker < highWatermark })
	}
}

// lastStable returns the first offset that is not stable, at most highWatermark.
func (t *transactions) lastStable(highWatermark int64) int64 {
	stable := highWatermark
	if len(t.open) > 0 {
		stable = min(stable, t.open[0].first)
	}
	for _, e := range t.ended {
		stable = min(stable, e.first)
	}
	return stable
}

// stableAfter returns the last stable offset once the producer's transaction has
// ended with marker and that has been committed: what the aborted index stores.
func (t *transactions) stableAfter(producerID, marker int64) int64 {
	for _, o := range t.open {
		if o.producerID != producerID {
			return o.first
		}
	}
	return marker + 1
}

// load is begin for the transactions of a snapshot, which come in no order.
func (t *transactions) load(producerID, first int64) {
	t.begin(producerID, first)
	slices.SortFunc(t.open, func(a, b openTxn) int { return cmp.Compare(a.first, b.first) })
}
