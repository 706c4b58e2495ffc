package group

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/varvelog/varve/segment/batch"
)

// The records of a group of the consumer protocol. Keys are a type int16 and strings of
// an int16 length. Values are a version int16, 0, and then flexible: lengths are
// varints of length + 1, 0 for null, and tagged fields end each structure.
//
//	key 3   group                        value  epoch int32, tag 0: metadata hash int64
//	key 4   group                        (partition metadata of Kafka 4.0, no longer written)
//	key 5   group, member                value  instance nullable string, rack nullable string,
//	                                            client id string, client host string,
//	                                            topics array of string, regex nullable string,
//	                                            rebalance timeout int32, assignor nullable string,
//	                                            tag 0: nullable structure of session timeout int32,
//	                                              protocols array of (name string, metadata bytes)
//	key 6   group                        value  target epoch int32, tag 0: made at int64, ms
//	key 7   group, member                value  array of (topic id uuid, array of int32)
//	key 8   group, member                value  epoch int32, previous epoch int32, state int8,
//	                                            assigned, revoking: array of (topic id uuid,
//	                                            array of int32, tag 0: array of int32 epochs)
//	key 16  group, regular expression    value  topics array of string, version int64, time int64, ms
const (
	keyEpoch             = 3
	keyPartitionMetadata = 4
	keyMember            = 5
	keyTargetEpoch       = 6
	keyTarget            = 7
	keyCurrent           = 8
	keyRegex             = 16
)

var consumerKinds = rosterKinds{epoch: keyEpoch, member: keyMember, targetEpoch: keyTargetEpoch, target: keyTarget, current: keyCurrent}

// stateKey is the key of a record of a consumer group, but for the group's id: name is
// a member's or a pattern, where the kind has one.
type stateKey struct {
	kind int16
	name string
}

func (k stateKey) named() bool {
	switch k.kind {
	case keyMember, keyTarget, keyCurrent, keyRegex, keyStreamsMember, keyStreamsTarget, keyStreamsCurrent,
		keyShareMember, keyShareTarget, keyShareCurrent:
		return true
	}
	return false
}

// rank orders records of which a crash may cut off the last: what a group has comes
// before the epoch of its target, and that before what members do with it.
func (k stateKey) rank() int {
	return slices.Index([]int16{
		keyMember, keyRegex, keyEpoch, keyTarget, keyTargetEpoch, keyCurrent,
		keyStreamsMember, keyStreamsTopology, keyStreamsEpoch, keyStreamsTarget, keyStreamsTargetEpoch, keyStreamsCurrent,
		keyShareMember, keyShareEpoch, keyShareTarget, keyShareTargetEpoch, keyShareCurrent, keySharePartitions,
	}, k.kind)
}

func (k stateKey) append(group string) []byte {
	p := binary.BigEndian.AppendUint16(nil, uint16(k.kind))
	p = appendKeyString(p, group)
	if k.named() {
		p = appendKeyString(p, k.name)
	}
	return p
}

func appendKeyString(p []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(p, uint16(len(s))), s...)
}

// open begins to read the value of a record.
func (k stateKey) open(value []byte) (*reader, error) {
	r := &reader{p: value, flexible: true}
	if version := r.int16(); version != valueVersion && !r.bad {
		return nil, fmt.Errorf("%w: version %d of a value of type %d, known is %d", ErrRecord, version, k.kind, valueVersion)
	}
	return r, nil
}

// cutShort is the error of a value that ends too early.
func (k stateKey) cutShort(value []byte) error {
	return fmt.Errorf("%w: value of type %d and %d bytes is cut short", ErrRecord, k.kind, len(value))
}

// value is what a state says under a key, nil: nothing.
func (s *consumerState) value(k stateKey) []byte {
	switch k.kind {
	case keyEpoch:
		return s.epochValue()
	case keyTargetEpoch:
		return s.targetEpochValue()
	case keyTarget:
		if a, ok := s.target[k.name]; ok {
			return targetValue(a)
		}
	case keyRegex:
		if r := s.regexes[k.name]; r != nil {
			return r.value()
		}
	case keyMember:
		if m := s.members[k.name]; m != nil {
			return m.subscriptionValue()
		}
	case keyCurrent:
		if m := s.members[k.name]; m != nil {
			return m.currentValue()
		}
	}
	return nil
}

// changes are the keys under which two states differ, in the order in which Kafka
// replays them without complaint. nil is a group that is not there.
func changes(before, after *consumerState) []stateKey {
	if before == nil {
		before = newConsumerState()
		before.epoch, before.targetEpoch = -1, -1
	}
	if after == nil {
		return before.goneKeys()
	}
	return after.changes(&before.consumerRoster, consumerKinds, before.epoch != after.epoch || before.hash != after.hash, regexChanges(before, after)...)
}

func regexChanges(before, after *consumerState) (keys []stateKey) {
	for _, pattern := range slices.Sorted(maps.Keys(before.regexes)) {
		if after.regexes[pattern] == nil {
			keys = append(keys, stateKey{keyRegex, pattern})
		}
	}
	for _, pattern := range slices.Sorted(maps.Keys(after.regexes)) {
		if !before.regexes[pattern].equal(after.regexes[pattern]) {
			keys = append(keys, stateKey{keyRegex, pattern})
		}
	}
	return keys
}

// goneKeys are the keys of all records of a group, members before what they are in.
func (s *consumerState) goneKeys() []stateKey {
	keys := s.consumerRoster.goneKeys(consumerKinds)
	for _, pattern := range slices.Sorted(maps.Keys(s.regexes)) {
		keys = append(keys, stateKey{keyRegex, pattern})
	}
	return append(keys, stateKey{kind: keyEpoch})
}

// stored is a state as its records have it.
type stored interface {
	value(k stateKey) []byte // nil: nothing
	has(member string) bool
}

// nothing is the state of a group that is not there.
type nothing struct{}

func (nothing) value(stateKey) []byte { return nil }
func (nothing) has(string) bool       { return false }

// recordsOf are those of the keys as the state has them; what it has not is removed.
func recordsOf(s stored, now int64, group string, keys []stateKey) []batch.Record {
	records := make([]batch.Record, len(keys))
	for i, k := range keys {
		records[i] = record(now, k.append(group), s.value(k))
	}
	return records
}

const valueVersion = 0

func newValue() []byte { return binary.BigEndian.AppendUint16(nil, valueVersion) }

func appendInt32(p []byte, v int32) []byte { return binary.BigEndian.AppendUint32(p, uint32(v)) }

func appendString(p []byte, s string) []byte {
	return append(binary.AppendUvarint(p, uint64(len(s))+1), s...)
}

func appendNullableString(p []byte, s *string) []byte {
	if s == nil {
		return append(p, 0)
	}
	return appendString(p, *s)
}

func appendStrings(p []byte, all []string) []byte {
	p = binary.AppendUvarint(p, uint64(len(all))+1)
	for _, s := range all {
		p = appendString(p, s)
	}
	return p
}

// appendTags ends a structure with one tagged field of tag 0, or none where it is nil.
func appendTags(p, field []byte) []byte {
	if field == nil {
		return append(p, 0)
	}
	p = append(p, 1, 0)
	p = binary.AppendUvarint(p, uint64(len(field)))
	return append(p, field...)
}

func (s *consumerState) epochValue() []byte {
	var hash []byte
	if s.hash != 0 {
		hash = binary.BigEndian.AppendUint64(nil, uint64(s.hash))
	}
	return appendTags(appendInt32(newValue(), s.epoch), hash)
}

func targetValue(a assignment) []byte {
	p := binary.AppendUvarint(newValue(), uint64(len(a))+1)
	for _, id := range a.topics() {
		p = append(p, id[:]...)
		p = appendInt32s(p, a[id])
		p = append(p, 0)
	}
	return append(p, 0)
}

func appendInt32s(p []byte, all []int32) []byte {
	p = binary.AppendUvarint(p, uint64(len(all))+1)
	for _, v := range all {
		p = appendInt32(p, v)
	}
	return p
}

func (r *resolvedRegex) value() []byte {
	p := appendStrings(newValue(), r.topics)
	p = binary.BigEndian.AppendUint64(p, uint64(r.version))
	p = binary.BigEndian.AppendUint64(p, uint64(r.time))
	return append(p, 0)
}

func (m *consumerMember) subscriptionValue() []byte {
	p := appendNullableString(newValue(), m.instance)
	p = appendNullableString(p, m.rack)
	p = appendString(p, m.clientID)
	p = appendString(p, m.clientHost)
	p = appendStrings(p, m.topics)
	p = appendString(p, m.regex)
	p = appendInt32(p, m.rebalanceTimeout)
	p = appendNullableString(p, m.assignor)
	return appendTags(p, m.classic.append())
}

func (c *classicPart) append() []byte {
	if c == nil {
		return nil
	}
	p := appendInt32([]byte{1}, c.sessionTimeout) // 1: not null
	p = binary.AppendUvarint(p, uint64(len(c.protocols))+1)
	for _, protocol := range c.protocols {
		p = appendString(p, protocol.name)
		p = append(binary.AppendUvarint(p, uint64(len(protocol.metadata))+1), protocol.metadata...)
		p = append(p, 0)
	}
	return append(p, 0)
}

func (m *consumerMember) currentValue() []byte {
	p := appendInt32(newValue(), m.epoch)
	p = appendInt32(p, m.previous)
	p = append(p, byte(m.state))
	p = appendOwnership(p, m.assigned)
	p = appendOwnership(p, m.revoking)
	return append(p, 0)
}

func appendOwnership(p []byte, o ownership) []byte {
	p = binary.AppendUvarint(p, uint64(len(o))+1)
	for _, id := range sortedIDs(maps.Keys(o)) {
		p = append(p, id[:]...)
		partitions, epochs := make([]int32, len(o[id])), make([]int32, len(o[id]))
		for i, x := range o[id] {
			partitions[i], epochs[i] = x.partition, x.epoch
		}
		p = appendInt32s(p, partitions)
		p = appendTags(p, appendInt32s(nil, epochs))
	}
	return p
}

// replay applies a record to a state that nobody else has yet. Records come in any
// order: compaction keeps the last of each key.
func (s *consumerState) replay(k stateKey, value []byte) error {
	if value == nil {
		s.forget(k)
		return nil
	}
	r, err := k.open(value)
	if err != nil {
		return err
	}
	switch k.kind {
	case keyEpoch:
		s.epoch, s.hash = r.int32(), 0
		r.tag0(func(f *reader) { s.hash = f.int64() })
	case keyTargetEpoch:
		s.targetEpoch, s.targetTime = r.int32(), 0
		r.tag0(func(f *reader) { s.targetTime = f.int64() })
	case keyMember:
		s.member(k.name).readSubscription(r)
	case keyTarget:
		s.target[k.name] = readTarget(r)
	case keyCurrent:
		s.member(k.name).readCurrent(r)
	case keyRegex:
		x := &resolvedRegex{topics: r.strings(), version: r.int64(), time: r.int64()}
		r.tag0(nil)
		s.regexes[k.name] = x
	}
	if r.bad {
		return k.cutShort(value)
	}
	return nil
}

func (s *consumerState) forget(k stateKey) {
	switch k.kind {
	case keyMember:
		delete(s.members, k.name)
	case keyTarget:
		delete(s.target, k.name)
	case keyCurrent:
		if m := s.members[k.name]; m != nil {
			m.epoch, m.previous, m.state, m.assigned, m.revoking = epochLeave, epochLeave, stable, ownership{}, ownership{}
		}
	case keyRegex:
		delete(s.regexes, k.name)
	case keyTargetEpoch:
		s.targetEpoch, s.targetTime = firstEpoch, 0
	}
}

// member is a member that the log has named, whatever it says of it yet.
func (s *consumerState) member(id string) *consumerMember {
	m := s.members[id]
	if m == nil {
		m = &consumerMember{id: id, rebalanceTimeout: -1, assigned: ownership{}, revoking: ownership{}}
		s.members[id] = m
	}
	return m
}

func (m *consumerMember) readSubscription(r *reader) {
	m.instance = r.nullableString()
	m.rack = r.nullableString()
	m.clientID = r.string()
	m.clientHost = r.string()
	m.topics = r.strings()
	slices.Sort(m.topics)
	m.regex = ""
	if regex := r.nullableString(); regex != nil {
		m.regex = *regex
	}
	m.rebalanceTimeout = r.int32()
	m.assignor = r.nullableString()
	m.classic = nil
	r.tag0(func(f *reader) {
		if f.int8() <= 0 {
			return // a null structure
		}
		c := &classicPart{sessionTimeout: f.int32()}
		for n := f.length(false); n > 0 && !f.bad; n-- {
			c.protocols = append(c.protocols, protocol{name: f.string(), metadata: f.bytes()})
			f.tag0(nil)
		}
		f.tag0(nil)
		f.bad = f.bad || len(c.protocols) == 0 // who joined has offered one
		m.classic = c
	})
}

func (m *consumerMember) readCurrent(r *reader) {
	m.epoch = r.int32()
	m.previous = r.int32()
	m.state = memberState(r.int8())
	if m.state < stable || m.state > unreleasedPartitions {
		m.state = unknownState
	}
	m.assigned = readOwnership(r, m.epoch)
	m.revoking = readOwnership(r, m.epoch)
	r.tag0(nil)
}

// readOwnership reads partitions; those without an epoch, of a Kafka before 4.3, have
// their member's.
func readOwnership(r *reader, epoch int32) ownership {
	o := ownership{}
	for n := r.length(false); n > 0 && !r.bad; n-- {
		id := r.uuid()
		partitions := r.int32s()
		var epochs []int32
		r.tag0(func(f *reader) { epochs = f.int32s() })
		for i, partition := range partitions {
			x := owned{partition, epoch}
			if i < len(epochs) {
				x.epoch = epochs[i]
			}
			o.put(id, x)
		}
	}
	o.sort()
	return o
}

func readTarget(r *reader) assignment {
	a := assignment{}
	for n := r.length(false); n > 0 && !r.bad; n-- {
		id := r.uuid()
		if partitions := r.int32s(); len(partitions) > 0 {
			slices.Sort(partitions)
			a[id] = partitions
		}
		r.tag0(nil)
	}
	r.tag0(nil)
	return a
}
