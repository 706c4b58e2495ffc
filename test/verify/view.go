package verify

import (
	"cmp"
	"slices"
)

// view is a history with what several rules look up. It has slices of numbers rather
// than maps of records: ten million operations are to be judged on a small machine.
type view struct {
	*History

	txns     map[uint32]*Txn
	sessions map[int32]Session
	from     map[[2]int32]Assignment // by session and partition

	sendsByValue []int32 // sends in the order of their values
	readsByValue []int32 // reads in the order of value, then of log
	readsByPlace []int32 // reads in the order of partition, offset, log
	origin       []int32 // by read: the send of its value, -1 if there is none
	sight        []int32 // by send: the first read of its value, -1 if there is none
	last         []bool  // by send: a final session has read its value

	logStart map[int32]int64 // the highest log start offset that somebody saw
	highest  map[int32]int64 // one past the highest offset read
}

func newView(h *History) *view {
	v := &view{
		History: h, txns: map[uint32]*Txn{}, sessions: map[int32]Session{}, from: map[[2]int32]Assignment{},
		logStart: map[int32]int64{}, highest: map[int32]int64{},
	}
	for i := range h.Txns {
		v.txns[h.Txns[i].ID] = &h.Txns[i]
	}
	for _, s := range h.Sessions {
		v.sessions[s.ID] = s
	}
	for _, a := range h.Assignments {
		v.from[[2]int32{a.Session, a.Partition}] = a
	}
	for _, m := range h.Marks {
		if m.Kind == LogStartOffset {
			v.logStart[m.Partition] = max(v.logStart[m.Partition], m.Value)
		}
	}
	for i := range h.Reads {
		r := &h.Reads[i]
		v.highest[r.Partition] = max(v.highest[r.Partition], r.Offset+1)
	}
	v.sortValues()
	v.readsByPlace = sorted(len(h.Reads), func(a, b int32) int { return v.comparePlaces(&h.Reads[a], &h.Reads[b]) })
	return v
}

// sorted returns the numbers below n by less, and equal ones in their own order.
func sorted(n int, compare func(a, b int32) int) []int32 {
	list := make([]int32, n)
	for i := range list {
		list[i] = int32(i)
	}
	slices.SortFunc(list, func(a, b int32) int {
		if c := compare(a, b); c != 0 {
			return c
		}
		return cmp.Compare(a, b)
	})
	return list
}

// selected is sorted for those numbers below n that pass.
func selected(n int, pass func(i int32) bool, compare func(a, b int32) int) []int32 {
	var list []int32
	for i := range int32(n) {
		if pass(i) {
			list = append(list, i)
		}
	}
	slices.SortFunc(list, func(a, b int32) int {
		if c := compare(a, b); c != 0 {
			return c
		}
		return cmp.Compare(a, b)
	})
	return list
}

func (v *view) comparePlaces(a, b *Read) int {
	if c := cmp.Compare(a.Partition, b.Partition); c != 0 {
		return c
	}
	return cmp.Compare(a.Offset, b.Offset)
}

// sortValues sorts sends and reads by value and joins them.
func (v *view) sortValues() {
	v.sendsByValue = sorted(len(v.Sends), func(a, b int32) int { return cmp.Compare(v.Sends[a].Value, v.Sends[b].Value) })
	v.readsByValue = sorted(len(v.Reads), func(a, b int32) int { return cmp.Compare(v.Reads[a].Value, v.Reads[b].Value) })
	v.origin, v.sight, v.last = make([]int32, len(v.Reads)), make([]int32, len(v.Sends)), make([]bool, len(v.Sends))
	for i := range v.sight {
		v.sight[i] = -1
	}
	sends := v.sendsByValue
	for _, r := range v.readsByValue {
		value := v.Reads[r].Value
		for len(sends) > 0 && v.Sends[sends[0]].Value < value {
			sends = sends[1:]
		}
		v.origin[r] = -1
		if len(sends) > 0 && v.Sends[sends[0]].Value == value {
			v.origin[r] = sends[0]
			v.last[sends[0]] = v.last[sends[0]] || v.sessions[v.Reads[r].Session].Final
			if v.sight[sends[0]] < 0 {
				v.sight[sends[0]] = r
			}
		}
	}
}

// groups calls f with each run of neighbours in list that are the same.
func groups(list []int32, same func(a, b int32) bool, f func([]int32)) {
	for len(list) > 0 {
		n := 1
		for n < len(list) && same(list[0], list[n]) {
			n++
		}
		f(list[:n])
		list = list[n:]
	}
}

// source is the send of what was read, nil if nobody sent it.
func (v *view) source(read int32) *Send {
	if o := v.origin[read]; o >= 0 {
		return &v.Sends[o]
	}
	return nil
}

// committed tells whether a session reads committed records only.
func (v *view) committed(session int32) bool { return v.sessions[session].Committed }

// promised tells whether a send has to be readable: it was acknowledged, and so was the
// commit of its transaction.
func (v *view) promised(s *Send) bool {
	if s.Outcome != OK || s.Offset < v.logStart[s.Partition] {
		return false
	}
	t := v.txns[s.Txn]
	return s.Txn == 0 || t != nil && t.End == Commit && t.Outcome == OK
}

// wellFormed finds what no client can have logged: the other rules could not be
// believed.
func wellFormed(v *view, add report) {
	for i := 1; i < len(v.sendsByValue); i++ {
		if value := v.Sends[v.sendsByValue[i]].Value; value == v.Sends[v.sendsByValue[i-1]].Value {
			add("value %d was sent twice", value)
		}
	}
	for i := range v.Sends {
		s := &v.Sends[i]
		if s.Txn != 0 && v.txns[s.Txn] == nil {
			add("value %d belongs to transaction %d, of which nothing is known", s.Value, s.Txn)
		}
		if s.Outcome == OK && s.Ended < s.Begun {
			add("value %d ended before it began", s.Value)
		}
	}
	if len(v.txns) < len(v.Txns) {
		add("%d transactions have %d ids", len(v.Txns), len(v.txns))
	}
}
