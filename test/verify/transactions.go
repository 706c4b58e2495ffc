package verify

import (
	"cmp"
	"slices"
	"sort"
)

// mayBeCommitted tells whether a transaction's commit was sent and not refused.
func (t *Txn) mayBeCommitted() bool { return t != nil && t.End == Commit && t.Outcome != Fail }

// dirty finds what a read-committed session must not see (C5): values of transactions
// that were aborted or refused (G1a), or whose commit was not sent when they were read.
func dirty(v *view, add report) {
	for i := range v.Reads {
		r, s := &v.Reads[i], v.source(int32(i))
		if s == nil || s.Txn == 0 {
			continue
		}
		t := v.txns[s.Txn]
		switch {
		case s.Outcome == Fail:
			add("session %d read %d of transaction %d, which was refused", r.Session, r.Value, s.Txn)
		case !v.committed(r.Session) || t == nil:
		case t.End == Open:
			add("session %d read %d of transaction %d, which was never committed", r.Session, r.Value, t.ID)
		case !t.mayBeCommitted():
			add("session %d read %d of transaction %d: %v %v", r.Session, r.Value, t.ID, t.End, t.Outcome)
		case r.At != 0 && r.At < t.Begun:
			add("session %d read %d at %d, and transaction %d asked for its commit at %d", r.Session, r.Value, r.At, t.ID, t.Begun)
		}
	}
}

// torn finds transactions that a read-committed session saw in part (C6): one write was
// read, and another lies below the same session's position and was not.
func torn(v *view, add report) {
	if len(v.Txns) == 0 {
		return
	}
	bySession := selected(len(v.Reads), func(i int32) bool { return v.committed(v.Reads[i].Session) }, func(a, b int32) int {
		if c := cmp.Compare(v.Reads[a].Session, v.Reads[b].Session); c != 0 {
			return c
		}
		return v.comparePlaces(&v.Reads[a], &v.Reads[b])
	})
	acked := func(i int32) bool { return v.Sends[i].Txn != 0 && v.Sends[i].Outcome == OK }
	writes := selected(len(v.Sends), acked, func(a, b int32) int { return cmp.Compare(v.Sends[a].Txn, v.Sends[b].Txn) })
	same := func(a, b int32) bool { return v.Reads[a].Session == v.Reads[b].Session }
	groups(bySession, same, func(reads []int32) { v.tornIn(reads, writes, add) })
}

// tornIn judges one session; reads are its own by place, writes all by transaction.
func (v *view) tornIn(reads, writes []int32, add report) {
	session := v.Reads[reads[0]].Session
	spans := v.spans(reads)
	for _, id := range v.transactionsOf(reads) {
		from := sort.Search(len(writes), func(i int) bool { return v.Sends[writes[i]].Txn >= id })
		for _, w := range writes[from:] {
			s := &v.Sends[w]
			if s.Txn != id {
				break
			}
			probe := Read{Partition: s.Partition, Offset: s.Offset}
			_, read := slices.BinarySearchFunc(reads, &probe, func(i int32, p *Read) int { return v.comparePlaces(&v.Reads[i], p) })
			if span, seen := spans[s.Partition]; seen && s.Offset >= span[0] && s.Offset < span[1] && !read {
				add("session %d read transaction %d but not its write %d at partition %d offset %d", session, id, s.Value, s.Partition, s.Offset)
			}
		}
	}
}

// spans says from where to where a session has read each partition.
func (v *view) spans(reads []int32) map[int32][2]int64 {
	spans := map[int32][2]int64{}
	for _, i := range reads {
		r := &v.Reads[i]
		span, seen := spans[r.Partition]
		if !seen {
			span[0] = r.Offset
			if a, assigned := v.from[[2]int32{r.Session, r.Partition}]; assigned {
				span[0] = max(a.From, v.logStart[r.Partition])
			}
		}
		span[1] = max(span[1], r.Offset+1)
		spans[r.Partition] = span
	}
	return spans
}

// transactionsOf lists the transactions, committed as far as one knows, that reads saw.
func (v *view) transactionsOf(reads []int32) []uint32 {
	var ids []uint32
	for _, i := range reads {
		if s := v.source(i); s != nil && v.txns[s.Txn].mayBeCommitted() {
			ids = append(ids, s.Txn)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// circular finds transactions that read from each other (C7, G1c): a circle of
// "wrote what the next one read".
func circular(v *view, add report) {
	readers := map[uint32][]uint32{} // by writer
	for i := range v.Reads {
		if s := v.source(int32(i)); s != nil && s.Txn != 0 && v.Reads[i].Txn != 0 && s.Txn != v.Reads[i].Txn && v.txns[v.Reads[i].Txn].mayBeCommitted() && v.txns[s.Txn].mayBeCommitted() {
			readers[s.Txn] = append(readers[s.Txn], v.Reads[i].Txn)
		}
	}
	for _, circle := range circles(readers) {
		slices.Sort(circle)
		add("transactions %v read from each other", circle)
	}
}

// circles returns the strongly connected components that have more than one node, by
// Tarjan's algorithm without recursion: histories are deep.
func circles(edges map[uint32][]uint32) [][]uint32 {
	type frame struct {
		node uint32
		next int // of its edges
	}
	var found [][]uint32
	var stack []uint32
	number, low, on := map[uint32]int{}, map[uint32]int{}, map[uint32]bool{}
	visit := func(n uint32) frame {
		number[n], low[n], on[n] = len(number)+1, len(number)+1, true
		stack = append(stack, n)
		return frame{node: n}
	}
	roots := make([]uint32, 0, len(edges))
	for n := range edges {
		roots = append(roots, n)
	}
	slices.Sort(roots)
	for _, root := range roots {
		if number[root] != 0 {
			continue
		}
		for path := []frame{visit(root)}; len(path) > 0; {
			top := &path[len(path)-1]
			if top.next < len(edges[top.node]) {
				to := edges[top.node][top.next]
				top.next++
				if number[to] == 0 {
					path = append(path, visit(to))
				} else if on[to] {
					low[top.node] = min(low[top.node], number[to])
				}
				continue
			}
			n := top.node
			path = path[:len(path)-1]
			if len(path) > 0 {
				up := path[len(path)-1].node
				low[up] = min(low[up], low[n])
			}
			if low[n] != number[n] {
				continue
			}
			at := slices.Index(stack, n)
			for _, m := range stack[at:] {
				on[m] = false
			}
			if len(stack)-at > 1 {
				found = append(found, slices.Clone(stack[at:]))
			}
			stack = stack[:at]
		}
	}
	return found
}

// copiedOnce checks C10: each record that committed sessions read in an input partition
// has exactly one committed copy, and nothing else has. That several observers agree
// position by position is C4 and C8.
func copiedOnce(v *view, add report) {
	if len(v.Inputs) == 0 {
		return
	}
	type copies struct {
		input   bool
		outputs int32
	}
	seen := map[uint64]copies{}
	v.eachCommitted(func(read int32) {
		r := &v.Reads[read]
		if slices.Contains(v.Inputs, r.Partition) {
			c := seen[r.Value]
			c.input = true
			seen[r.Value] = c
		} else if s := v.source(read); s != nil && s.From != 0 {
			c := seen[s.From]
			c.outputs++
			seen[s.From] = c
		}
	})
	values := make([]uint64, 0, len(seen))
	for value, c := range seen {
		if !c.input || c.outputs != 1 {
			values = append(values, value)
		}
	}
	slices.Sort(values)
	for _, value := range values {
		switch c := seen[value]; {
		case !c.input:
			add("%d copies of %d, which is no input", c.outputs, value)
		case c.outputs > 1 || v.Complete:
			add("input %d has %d outputs", value, c.outputs)
		}
	}
}

// eachCommitted calls f with one read of each place that a committed session has read.
func (v *view) eachCommitted(f func(read int32)) {
	same := func(a, b int32) bool { return v.comparePlaces(&v.Reads[a], &v.Reads[b]) == 0 }
	groups(v.readsByPlace, same, func(list []int32) {
		for _, i := range list {
			if v.committed(v.Reads[i].Session) {
				f(i)
				return
			}
		}
	})
}

// money checks C11: all snapshots have the sum of the first.
func money(v *view, add report) {
	sums := map[int32]int64{}
	var order []int32
	for _, b := range v.Balances {
		if _, seen := sums[b.Snapshot]; !seen {
			order = append(order, b.Snapshot)
		}
		sums[b.Snapshot] += b.Amount
	}
	for _, s := range order {
		if sums[s] != sums[order[0]] {
			add("snapshot %d has %d, snapshot %d had %d", s, sums[s], order[0], sums[order[0]])
		}
	}
}
