package group

import (
	"encoding/binary"
	"maps"
	"slices"
)

// The records of a share group, made as those of the consumer protocol are.
//
//	key 10  group, member   value  rack nullable string, client id string, client host
//	                               string, topics array of string
//	key 11  group           value  epoch int32, metadata hash int64
//	key 12  group           value  target epoch int32; tag 0: made at int64, ms
//	key 13  group, member   value  array of (topic id uuid, array of int32)
//	key 14  group, member   value  epoch int32, previous epoch int32, state int8, always 0,
//	                               assigned: array of (topic id uuid, array of int32)
//	key 15  group           value  initializing, initialized: arrays of (topic id uuid,
//	                               name string, array of int32), deleting: array of
//	                               (topic id uuid, name string)
const (
	keyShareMember      = 10
	keyShareEpoch       = 11
	keyShareTargetEpoch = 12
	keyShareTarget      = 13
	keyShareCurrent     = 14
	keySharePartitions  = 15
)

var shareKinds = rosterKinds{
	epoch: keyShareEpoch, member: keyShareMember, targetEpoch: keyShareTargetEpoch, target: keyShareTarget, current: keyShareCurrent,
}

// share reports whether the record is of a share group.
func (k stateKey) share() bool { return keyShareMember <= k.kind && k.kind <= keySharePartitions }

// value is what a state says under a key, nil: nothing.
func (s *shareState) value(k stateKey) []byte {
	switch k.kind {
	case keyShareEpoch:
		return append(binary.BigEndian.AppendUint64(appendInt32(newValue(), s.epoch), uint64(s.hash)), 0)
	case keyShareTargetEpoch:
		return s.targetEpochValue()
	case keyShareTarget:
		if a, ok := s.target[k.name]; ok {
			return targetValue(a)
		}
	case keySharePartitions:
		if s.partitions != nil {
			return s.partitions.value()
		}
	case keyShareMember:
		if m := s.members[k.name]; m != nil {
			p := appendNullableString(newValue(), m.rack)
			p = appendString(p, m.clientID)
			p = appendString(p, m.clientHost)
			return append(appendStrings(p, m.topics), 0)
		}
	case keyShareCurrent:
		if m := s.members[k.name]; m != nil {
			p := appendInt32(newValue(), m.epoch)
			p = append(appendInt32(p, m.previous), byte(stable))
			return append(p, targetValue(m.assigned)[valueVersionBytes:]...)
		}
	}
	return nil
}

const valueVersionBytes = 2

func (p *sharePartitions) value() []byte {
	v := newValue()
	for _, topics := range [...]map[TopicID]shareTopic{p.initializing, p.initialized} {
		v = binary.AppendUvarint(v, uint64(len(topics))+1)
		for _, id := range sortedIDs(maps.Keys(topics)) {
			v = appendString(append(v, id[:]...), topics[id].name)
			v = append(appendInt32s(v, topics[id].partitions), 0)
		}
	}
	v = binary.AppendUvarint(v, uint64(len(p.deleting))+1)
	for _, id := range sortedIDs(maps.Keys(p.deleting)) {
		v = append(appendString(append(v, id[:]...), p.deleting[id]), 0)
	}
	return append(v, 0)
}

// shareChanges are the keys under which two states differ, in the order in which Kafka
// replays them without complaint. nil is a group that is not there.
func shareChanges(before, after *shareState) []stateKey {
	if before == nil {
		before = newShareState()
	}
	keys := after.changes(&before.shareRoster, shareKinds, before.epoch != after.epoch || before.hash != after.hash)
	if !before.partitions.equal(after.partitions) {
		keys = append(keys, stateKey{kind: keySharePartitions})
	}
	return keys
}

// goneKeys are the keys of all records of a group, members before what they are in.
func (s *shareState) goneKeys() []stateKey {
	return append(s.shareRoster.goneKeys(shareKinds), stateKey{kind: keySharePartitions}, stateKey{kind: keyShareEpoch})
}

// replay applies a record to a state that nobody else has yet. Records come in any order:
// compaction keeps the last of each key.
func (s *shareState) replay(k stateKey, value []byte) error {
	if value == nil {
		s.forget(k)
		return nil
	}
	r, err := k.open(value)
	if err != nil {
		return err
	}
	switch k.kind {
	case keyShareEpoch:
		s.epoch, s.hash = r.int32(), r.int64()
		r.tag0(nil)
	case keyShareTargetEpoch:
		s.targetEpoch, s.targetTime = r.int32(), 0
		r.tag0(func(f *reader) { s.targetTime = f.int64() })
	case keyShareTarget:
		s.target[k.name] = readTarget(r)
	case keySharePartitions:
		s.partitions = readSharePartitions(r)
	case keyShareMember:
		m := s.member(k.name)
		m.rack, m.clientID, m.clientHost, m.topics = r.nullableString(), r.string(), r.string(), r.strings()
		slices.Sort(m.topics)
		r.tag0(nil)
	case keyShareCurrent:
		m := s.member(k.name)
		m.epoch, m.previous = r.int32(), r.int32()
		r.int8() // state: there is but one
		m.assigned = readTarget(r)
	}
	if r.bad {
		return k.cutShort(value)
	}
	return nil
}

func (s *shareState) forget(k stateKey) {
	switch k.kind {
	case keyShareMember:
		delete(s.members, k.name)
	case keyShareTarget:
		delete(s.target, k.name)
	case keyShareCurrent:
		if m := s.members[k.name]; m != nil {
			m.epoch, m.previous, m.assigned = epochLeave, epochLeave, assignment{}
		}
	case keySharePartitions:
		s.partitions = nil
	case keyShareTargetEpoch:
		s.targetEpoch, s.targetTime = firstEpoch, 0
	}
}

// member is a member that the log has named, whatever it says of it yet.
func (s *shareState) member(id string) *shareMember {
	m := s.members[id]
	if m == nil {
		m = &shareMember{id: id, assigned: assignment{}}
		s.members[id] = m
	}
	return m
}

func readSharePartitions(r *reader) *sharePartitions {
	p := (*sharePartitions)(nil).edit()
	for _, topics := range [...]map[TopicID]shareTopic{p.initializing, p.initialized} {
		for n := r.length(false); n > 0 && !r.bad; n-- {
			id := r.uuid()
			t := shareTopic{name: r.string()}
			topics[id] = t.with(r.int32s())
			r.tag0(nil)
		}
	}
	for n := r.length(false); n > 0 && !r.bad; n-- {
		id := r.uuid()
		p.deleting[id] = r.string()
		r.tag0(nil)
	}
	r.tag0(nil)
	return p
}
