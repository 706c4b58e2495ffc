package group

import (
	"encoding/binary"
	"maps"
	"slices"
)

// roster is what a group of each of the newer protocols is made of, whatever else it has:
// members, what each of them is to have, and in which epoch. M is a pointer to a member,
// which is never changed in place.
type roster[M rostered[M], T interface{ equal(T) bool }] struct {
	epoch       int32 // of the group: counts changes of what it is assigned by
	hash        int64 // of the metadata of its topics (KIP-1101)
	targetEpoch int32 // the group epoch that target was made for
	targetTime  int64 // when it was made, ms; 0: not known
	members     map[string]M
	target      map[string]T // by member
}

// rostered is a member that two records speak of.
type rostered[M any] interface {
	comparable
	sameMetadata(M) bool // whether both would have the same …MemberMetadata
	sameCurrent(M) bool  // whether both would have the same …CurrentMemberAssignment
}

// rosterKinds are the kinds of the records that a roster has in one protocol.
type rosterKinds struct{ epoch, member, targetEpoch, target, current int16 }

// firstEpoch is the epoch of a group, and of its target, before anybody joins: the first
// member begins with the next one, as in Kafka 4.3; a
// member whose assignment is delayed has this one.
const firstEpoch = 1

func newRoster[M rostered[M], T interface{ equal(T) bool }]() roster[M, T] {
	return roster[M, T]{epoch: firstEpoch, targetEpoch: firstEpoch, members: map[string]M{}, target: map[string]T{}}
}

// copied is a copy whose maps may be changed.
func (s *roster[M, T]) copied() roster[M, T] {
	c := *s
	c.members, c.target = maps.Clone(s.members), maps.Clone(s.target)
	return c
}

// remove takes a member out.
func (s *roster[M, T]) remove(id string) {
	delete(s.members, id)
	delete(s.target, id)
}

// ids lists the members in order.
func (s *roster[M, T]) ids() []string { return slices.Sorted(maps.Keys(s.members)) }

// has reports whether there is a member of that id.
func (s *roster[M, T]) has(member string) bool {
	_, ok := s.members[member]
	return ok
}

// changes are the keys under which a roster differs from the one before, in the order in
// which Kafka replays them without complaint; epoch tells whether that of the group's
// epoch is among them, others come before it.
func (s *roster[M, T]) changes(before *roster[M, T], k rosterKinds, epoch bool, others ...stateKey) (keys []stateKey) {
	for _, id := range before.ids() {
		if !s.has(id) {
			keys = append(keys, stateKey{k.current, id}, stateKey{k.target, id}, stateKey{k.member, id})
		}
	}
	var current []stateKey
	for _, id := range s.ids() {
		m := s.members[id]
		old, was := before.members[id]
		if was && old == m {
			continue
		}
		if !was || !old.sameMetadata(m) {
			keys = append(keys, stateKey{k.member, id})
		}
		if !was || !old.sameCurrent(m) {
			current = append(current, stateKey{k.current, id})
		}
	}
	keys = append(keys, others...)
	if epoch {
		keys = append(keys, stateKey{kind: k.epoch})
	}
	for _, id := range slices.Sorted(maps.Keys(s.target)) {
		if old, ok := before.target[id]; !ok || !old.equal(s.target[id]) {
			keys = append(keys, stateKey{k.target, id})
		}
	}
	if before.targetEpoch != s.targetEpoch || before.targetTime != s.targetTime {
		keys = append(keys, stateKey{kind: k.targetEpoch})
	}
	return append(keys, current...)
}

// goneKeys are the keys of all records of a roster but the group's epoch, members before
// what they are in.
func (s *roster[M, T]) goneKeys(k rosterKinds) (keys []stateKey) {
	for _, id := range s.ids() {
		keys = append(keys, stateKey{k.current, id})
	}
	for _, id := range slices.Sorted(maps.Keys(s.target)) {
		keys = append(keys, stateKey{k.target, id})
	}
	keys = append(keys, stateKey{kind: k.targetEpoch})
	for _, id := range s.ids() {
		keys = append(keys, stateKey{k.member, id})
	}
	return keys
}

// targetEpochValue is the value of the record of the target's epoch, of the protocols that
// have its time in a tag.
func (s *roster[M, T]) targetEpochValue() []byte {
	var at []byte
	if s.targetTime != 0 {
		at = binary.BigEndian.AppendUint64(nil, uint64(s.targetTime))
	}
	return appendTags(appendInt32(newValue(), s.targetEpoch), at)
}
