package verify

import "sort"

// skipped checks C8: within a session offsets rise, and pass over nothing: no offset at
// all, or where offsets without records are legal, none that another session of the
// same isolation has read. Of compacted topics offsets only rise.
func skipped(v *view, add report) {
	ranks := v.ranks()
	last := map[[2]int32]int32{} // the session's read before, by session and partition
	for i := range v.Reads {
		r := &v.Reads[i]
		key := [2]int32{r.Session, r.Partition}
		before, seen := last[key]
		last[key] = int32(i)
		if !seen {
			v.begins(r, add)
			continue
		}
		b := &v.Reads[before]
		switch {
		case r.Offset <= b.Offset:
			add("session %d, partition %d: offset %d after %d", r.Session, r.Partition, r.Offset, b.Offset)
		case v.Compacted:
		case !v.Gaps && r.Offset > b.Offset+1, v.Gaps && ranks[i] > ranks[before]+1:
			add("session %d, partition %d: offset %d after %d skips records", r.Session, r.Partition, r.Offset, b.Offset)
		}
	}
}

// ranks numbers the places that were read: by read, how many places below its own its
// session could have seen. Committed sessions are measured by each other.
func (v *view) ranks() []int32 {
	if !v.Gaps || v.Compacted {
		return nil
	}
	ranks := make([]int32, len(v.Reads))
	var all, committed int32
	same := func(a, b int32) bool { return v.comparePlaces(&v.Reads[a], &v.Reads[b]) == 0 }
	groups(v.readsByPlace, same, func(list []int32) {
		anyCommitted := false
		for _, i := range list {
			ranks[i] = all
			if v.committed(v.Reads[i].Session) {
				ranks[i], anyCommitted = committed, true
			}
		}
		all++
		if anyCommitted {
			committed++
		}
	})
	return ranks
}

// begins checks the first read of a session against its assignment.
func (v *view) begins(r *Read, add report) {
	a, assigned := v.from[[2]int32{r.Session, r.Partition}]
	switch {
	case !assigned || v.Compacted:
	case r.Offset < a.From:
		add("session %d, partition %d: began at %d and read %d", r.Session, r.Partition, a.From, r.Offset)
	case !v.Gaps && r.Offset > max(a.From, v.logStart[r.Partition]), v.Gaps && v.readBetween(r, max(a.From, v.logStart[r.Partition])):
		add("session %d, partition %d: began at %d and skips to %d", r.Session, r.Partition, a.From, r.Offset)
	}
}

// readBetween tells whether a session of r's isolation has read an offset of r's
// partition in [from, r.Offset).
func (v *view) readBetween(r *Read, from int64) bool {
	probe := Read{Partition: r.Partition, Offset: from}
	list := v.readsByPlace
	for i := sort.Search(len(list), func(i int) bool { return v.comparePlaces(&v.Reads[list[i]], &probe) >= 0 }); i < len(list); i++ {
		other := &v.Reads[list[i]]
		if v.comparePlaces(other, r) >= 0 {
			return false
		}
		if v.committed(other.Session) || !v.committed(r.Session) {
			return true
		}
	}
	return false
}
