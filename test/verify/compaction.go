package verify

import "cmp"

// compacted checks C12: a session that began after a record was acknowledged, and has
// read past it, has seen the record or a later one of its key; a tombstone may be gone
// for those who begin delete.retention.ms after it, but what it deleted does not come
// back; and what survives lies where it was acknowledged.
func compacted(v *view, add report) {
	if !v.Compacted {
		return
	}
	v.displaced(add)
	keyed := func(i int32) bool { return v.Sends[i].Key != 0 && v.Sends[i].Outcome != Fail }
	byKey := selected(len(v.Sends), keyed, func(a, b int32) int {
		if c := cmp.Compare(v.Sends[a].Partition, v.Sends[b].Partition); c != 0 {
			return c
		}
		return cmp.Compare(v.Sends[a].Key, v.Sends[b].Key)
	})
	same := func(a, b int32) bool {
		return v.Sends[a].Partition == v.Sends[b].Partition && v.Sends[a].Key == v.Sends[b].Key
	}
	read := v.lastOfKeys()
	for _, a := range v.Assignments {
		if a.From > v.logStart[a.Partition] {
			continue
		}
		end := int64(0)
		if last := read[keyOf{a.Session, a.Partition, 0}]; last.any {
			end = last.offset + 1
		}
		groups(byKey, same, func(sends []int32) {
			if s := &v.Sends[sends[0]]; s.Partition == a.Partition {
				v.survives(a, end, sends, read[keyOf{a.Session, a.Partition, s.Key}], add)
			}
		})
	}
}

// keyOf is a key as a session sees it; key 0 stands for all.
type keyOf struct {
	session, partition int32
	key                uint32
}

// lastRead is the highest offset of a key that a session has read.
type lastRead struct {
	offset int64
	any    bool
}

func (v *view) lastOfKeys() map[keyOf]lastRead {
	last := map[keyOf]lastRead{}
	for i := range v.Reads {
		r := &v.Reads[i]
		keys := []uint32{0}
		if s := v.source(int32(i)); s != nil && s.Key != 0 {
			keys = append(keys, s.Key)
		}
		for _, k := range keys {
			key := keyOf{r.Session, r.Partition, k}
			if before := last[key]; !before.any || r.Offset > before.offset {
				last[key] = lastRead{r.Offset, true}
			}
		}
	}
	return last
}

// survives judges one key for one session; sends are all of that key.
func (v *view) survives(a Assignment, end int64, sends []int32, seen lastRead, add report) {
	var newest *Send
	maybeDeleted := false // by a tombstone that nobody knows of
	for _, i := range sends {
		s := &v.Sends[i]
		switch {
		case s.Outcome == Info:
			maybeDeleted = maybeDeleted || s.Tombstone
		case v.promised(s) && s.Ended < a.At && (newest == nil || s.Offset > newest.Offset):
			newest = s
		}
	}
	if newest == nil || seen.any && seen.offset >= newest.Offset || newest.Offset >= end && !v.sessions[a.Session].Final {
		return
	}
	expired := newest.Tombstone && a.At-newest.Ended >= v.DeleteRetention
	switch {
	case seen.any:
		add("session %d, partition %d: key %d is at offset %d, though %d was acknowledged at %d", a.Session, a.Partition, newest.Key, seen.offset, newest.Value, newest.Offset)
	case expired || maybeDeleted:
	case newest.Tombstone:
		add("session %d, partition %d: the tombstone of key %d at offset %d is gone too early", a.Session, a.Partition, newest.Key, newest.Offset)
	default:
		add("session %d, partition %d: key %d has no value, though %d was acknowledged at offset %d", a.Session, a.Partition, newest.Key, newest.Value, newest.Offset)
	}
}
