package share

import (
	"cmp"
	"container/heap"
	"math"
	"slices"
)

// Batch says what became of a range of offsets.
type Batch struct {
	First, Last   int64 // inclusive
	DeliveryState int8  // 0 available, 2 acknowledged, 4 archived; others are kept as they are
	DeliveryCount int16
}

// outranks tells whether what b says of an offset stands against what o says.
func (b Batch) outranks(o Batch) bool {
	return cmp.Or(cmp.Compare(b.DeliveryCount, o.DeliveryCount), cmp.Compare(b.DeliveryState, o.DeliveryState)) > 0
}

// agrees tells whether two batches say the same of their offsets.
func (b Batch) agrees(o Batch) bool {
	return b.DeliveryCount == o.DeliveryCount && b.DeliveryState == o.DeliveryState
}

// Combine puts statements about offsets into the form of a State: start is the start
// offset, -1 where there is none. Batches may be in any order and overlap; each has First
// <= Last. Neither list is modified.
//
// The offsets are swept from below. Where the sweep stands, the batches that have begun
// lie in a heap with the one that stands on top: it counts until it ends or the next one
// begins.
func Combine(start int64, lists ...[]Batch) []Batch {
	all := slices.Concat(lists...)
	slices.SortFunc(all, func(a, b Batch) int { return cmp.Compare(a.First, b.First) })
	var (
		begun    ranked
		combined []Batch
		at       int64
	)
	for len(all) > 0 || len(begun) > 0 {
		if len(begun) == 0 {
			at = all[0].First
		}
		for len(all) > 0 && all[0].First <= at {
			heap.Push(&begun, all[0])
			all = all[1:]
		}
		for len(begun) > 0 && begun[0].Last < at {
			heap.Pop(&begun)
		}
		if len(begun) == 0 {
			continue
		}
		piece := begun[0]
		piece.First = at
		if len(all) > 0 {
			piece.Last = min(piece.Last, all[0].First-1)
		}
		combined = extend(combined, start, piece)
		if piece.Last == math.MaxInt64 {
			break // there is no offset above
		}
		at = piece.Last + 1
	}
	return combined
}

// extend puts a piece at the end: only what is at or above start, and into the batch
// before where that says the same.
func extend(combined []Batch, start int64, piece Batch) []Batch {
	if piece.Last < start {
		return combined
	}
	piece.First = max(piece.First, start)
	if n := len(combined); n > 0 && combined[n-1].Last+1 == piece.First && combined[n-1].agrees(piece) {
		combined[n-1].Last = piece.Last
		return combined
	}
	return append(combined, piece)
}

// ranked is a heap with the batch that stands on top.
type ranked []Batch

func (r ranked) Len() int           { return len(r) }
func (r ranked) Less(i, j int) bool { return r[i].outranks(r[j]) }
func (r ranked) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *ranked) Push(x any)        { *r = append(*r, x.(Batch)) }
func (r *ranked) Pop() any {
	last := (*r)[len(*r)-1]
	*r = (*r)[:len(*r)-1]
	return last
}
