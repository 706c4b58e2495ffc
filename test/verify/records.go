package verify

import "cmp"

// lost finds acknowledged records that were not read (C1): below the highest offset
// that was read always, anywhere after a complete read; records that are gone when all is
// read once more, acknowledged or only read by somebody; and what was read in their
// place: values that nobody sent, that were refused, or that were sent elsewhere. What
// was refused within a transaction is C5's.
func lost(v *view, add report) {
	finals := v.finals()
	for i := range v.Sends {
		s := &v.Sends[i]
		switch seen := v.sight[i] >= 0; {
		case v.Compacted, !v.promised(s) && !(seen && s.Txn == 0):
		case !seen:
			if high := v.highest[s.Partition]; v.Complete || s.Offset < high {
				add("value %d was acknowledged at partition %d offset %d and is lost (read up to %d)", s.Value, s.Partition, s.Offset, high)
			}
		case !v.last[i]:
			if from, read := finals[s.Partition]; read && v.offset(int32(i)) >= max(from, v.logStart[s.Partition]) {
				add("value %d was read at partition %d offset %d and is gone", s.Value, s.Partition, v.offset(int32(i)))
			}
		}
	}
	v.firstSights(func(read int32) {
		r, s := &v.Reads[read], v.source(read)
		switch {
		case s == nil:
			add("partition %d offset %d holds %d, which nobody sent", r.Partition, r.Offset, r.Value)
		case s.Outcome == Fail && s.Txn == 0:
			add("value %d was refused and is at partition %d offset %d", r.Value, r.Partition, r.Offset)
		case s.Partition != r.Partition:
			add("value %d was sent to partition %d and is in partition %d", r.Value, s.Partition, r.Partition)
		}
	})
}

// finals says from where on each partition was read once more in the end.
func (v *view) finals() map[int32]int64 {
	from := map[int32]int64{}
	for _, a := range v.Assignments {
		if before, seen := from[a.Partition]; v.sessions[a.Session].Final && (!seen || a.From < before) {
			from[a.Partition] = a.From
		}
	}
	return from
}

// firstSights calls f with the first read of each value.
func (v *view) firstSights(f func(read int32)) {
	for i, read := range v.readsByValue {
		if i == 0 || v.Reads[v.readsByValue[i-1]].Value != v.Reads[read].Value {
			f(read)
		}
	}
}

// duplicated finds one value at two offsets (C2).
func duplicated(v *view, add report) {
	if !v.Idempotent {
		return
	}
	first := int32(-1)
	for _, read := range v.readsByValue {
		r := &v.Reads[read]
		if first < 0 || v.Reads[first].Value != r.Value {
			first = read
			continue
		}
		if f := &v.Reads[first]; v.comparePlaces(f, r) != 0 {
			add("value %d is at partition %d offset %d and at partition %d offset %d", r.Value, f.Partition, f.Offset, r.Partition, r.Offset)
		}
	}
}

// moved finds one offset with two values (C4): among what was read, among what was
// acknowledged, and between the two.
func moved(v *view, add report) {
	for i := 1; i < len(v.readsByPlace); i++ {
		a, b := &v.Reads[v.readsByPlace[i-1]], &v.Reads[v.readsByPlace[i]]
		if v.comparePlaces(a, b) == 0 && a.Value != b.Value {
			add("partition %d offset %d holds %d and %d", a.Partition, a.Offset, a.Value, b.Value)
		}
	}
	acked := selected(len(v.Sends), func(i int32) bool { return v.Sends[i].Outcome == OK }, func(a, b int32) int {
		if c := cmp.Compare(v.Sends[a].Partition, v.Sends[b].Partition); c != 0 {
			return c
		}
		return cmp.Compare(v.Sends[a].Offset, v.Sends[b].Offset)
	})
	for i := 1; i < len(acked); i++ {
		a, b := &v.Sends[acked[i-1]], &v.Sends[acked[i]]
		if a.Partition == b.Partition && a.Offset == b.Offset {
			add("partition %d offset %d was acknowledged for %d and for %d", a.Partition, a.Offset, a.Value, b.Value)
		}
	}
	if v.Idempotent && !v.Compacted { // compaction's own rule says it there
		v.displaced(add)
	}
}

// displaced finds values that are not where they were acknowledged.
func (v *view) displaced(add report) {
	v.firstSights(func(read int32) {
		r, s := &v.Reads[read], v.source(read)
		if s != nil && s.Outcome == OK && s.Partition == r.Partition && s.Offset != r.Offset {
			add("value %d was acknowledged at partition %d offset %d and is at %d", r.Value, s.Partition, s.Offset, r.Offset)
		}
	})
}

// disordered checks C3: a send that ended before another began lies below it, and the
// records of one idempotent producer lie in the order of its sends, acknowledged or not.
func disordered(v *view, add report) {
	acked := func(i int32) bool { return v.Sends[i].Outcome == OK }
	begun := selected(len(v.Sends), acked, func(a, b int32) int { return v.compareMoments(a, b, v.Sends[a].Begun, v.Sends[b].Begun) })
	ended := selected(len(v.Sends), acked, func(a, b int32) int { return v.compareMoments(a, b, v.Sends[a].Ended, v.Sends[b].Ended) })
	same := func(a, b int32) bool { return v.Sends[a].Partition == v.Sends[b].Partition }
	groups(begun, same, func(list []int32) {
		v.realTime(list, ended[:len(list)], add) // both have the same partitions in the same order
		ended = ended[len(list):]
	})
	if v.Idempotent {
		v.producerOrder(add)
	}
}

func (v *view) compareMoments(a, b int32, at, bt int64) int {
	if c := cmp.Compare(v.Sends[a].Partition, v.Sends[b].Partition); c != 0 {
		return c
	}
	return cmp.Compare(at, bt)
}

// realTime walks the sends of one partition by the moment they began, and keeps the
// highest offset that had been acknowledged by then.
func (v *view) realTime(begun, ended []int32, add report) {
	var highest *Send
	for _, i := range begun {
		s := &v.Sends[i]
		for len(ended) > 0 && v.Sends[ended[0]].Ended < s.Begun {
			if e := &v.Sends[ended[0]]; highest == nil || e.Offset > highest.Offset {
				highest = e
			}
			ended = ended[1:]
		}
		if highest != nil && highest.Offset >= s.Offset {
			add("value %d was acknowledged at partition %d offset %d before %d was sent, which is at %d",
				highest.Value, s.Partition, highest.Offset, s.Value, s.Offset)
		}
	}
}

// producerOrder compares neighbours of one producer and partition.
func (v *view) producerOrder(add report) {
	placed := func(i int32) bool { return v.Sends[i].Outcome == OK || v.sight[i] >= 0 }
	list := selected(len(v.Sends), placed, func(a, b int32) int {
		if c := cmp.Compare(v.Sends[a].Producer, v.Sends[b].Producer); c != 0 {
			return c
		}
		return cmp.Compare(v.Sends[a].Partition, v.Sends[b].Partition)
	})
	for i := 1; i < len(list); i++ {
		a, b := &v.Sends[list[i-1]], &v.Sends[list[i]]
		if a.Producer != b.Producer || a.Partition != b.Partition {
			continue
		}
		if x, y := v.offset(list[i-1]), v.offset(list[i]); x >= y {
			add("producer %d sent %d before %d, at partition %d offsets %d and %d", b.Producer, a.Value, b.Value, b.Partition, x, y)
		}
	}
}

// offset is where a send was acknowledged or else seen.
func (v *view) offset(send int32) int64 {
	if s := &v.Sends[send]; s.Outcome == OK {
		return s.Offset
	}
	return v.Reads[v.sight[send]].Offset
}
