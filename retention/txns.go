package retention

import (
	"cmp"
	"slices"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment/batch"
)

// txns follows the transactions of a log (KIP-98) from its first batch on: which data
// was aborted, and which markers end a transaction of which no batch is left. Only
// such markers may go, and only they start the delete horizon (KIP-534): a marker that
// went before its data would leave the data of an aborted transaction to be read.
//
//	             abort index        marker
//	(unknown) ---- begins ---> aborted ----> (unknown)
//	(unknown) -- data batch -> committed --> (unknown)
type txns struct {
	coming    []index.AbortedTxn // not begun yet, by first offset
	aborted   map[int64]*aborted // by producer id
	committed map[int64]bool     // producers of which a batch was seen
}

// aborted is an aborted transaction that has begun and not ended.
type aborted struct {
	index.AbortedTxn
	seen bool // a batch of it is still there
}

func newTxns() *txns {
	return &txns{aborted: map[int64]*aborted{}, committed: map[int64]bool{}}
}

// add tells of the aborted transactions that overlap what comes next.
func (t *txns) add(more []index.AbortedTxn) {
	t.coming = append(t.coming, more...)
	slices.SortStableFunc(t.coming, func(a, b index.AbortedTxn) int { return cmp.Compare(a.FirstOffset, b.FirstOffset) })
}

// begin begins the transactions whose first offset is at or below offset.
func (t *txns) begin(offset int64) {
	n := 0
	for ; n < len(t.coming) && t.coming[n].FirstOffset <= offset; n++ {
		x := t.coming[n]
		if t.aborted[x.ProducerID] == nil {
			t.aborted[x.ProducerID] = &aborted{AbortedTxn: x}
		}
	}
	t.coming = t.coming[n:]
}

// data tells whether a data batch belongs to an aborted transaction.
func (t *txns) data(b batch.Batch) (isAborted bool) {
	t.begin(b.LastOffset())
	if !b.Transactional() {
		return false
	}
	if x := t.aborted[b.ProducerID()]; x != nil {
		x.seen = true
		return true
	}
	t.committed[b.ProducerID()] = true
	return false
}

// control tells whether a control batch ends a transaction of which no batch is left;
// kept is the entry of the aborted index where one is.
func (t *txns) control(b batch.Batch) (isEmpty bool, kept *index.AbortedTxn) {
	t.begin(b.LastOffset())
	if b.Count() == 0 {
		return true, nil // emptied by an earlier pass
	}
	m, err := batch.ReadMarker(b)
	if err != nil {
		return false, nil // not of a transaction: it stays
	}
	id := b.ProducerID()
	if m.Commit {
		isEmpty = !t.committed[id]
		delete(t.committed, id)
		return isEmpty, nil
	}
	x := t.aborted[id]
	delete(t.aborted, id)
	if x == nil || !x.seen {
		return true, nil
	}
	return false, &x.AbortedTxn
}
