package group

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// The records of a group of the streams protocol, made as those of the consumer protocol
// are. Tasks are arrays of (subtopology id string, partitions array of int32).
//
//	key 17  group           value  epoch int32, metadata hash int64, tag 0: validated
//	                               topology epoch int32, tag 1: nullable array of
//	                               (key string, value string), the settings of the assignment
//	key 19  group, member   value  instance nullable string, rack nullable string,
//	                               client id string, client host string, rebalance timeout
//	                               int32, topology epoch int32, process id string, endpoint
//	                               nullable structure of (host string, port uint16), client
//	                               tags array of (key string, value string)
//	key 20  group           value  target epoch int32, tag 0: made at int64, ms
//	key 21  group, member   value  active, standby, warm-up tasks
//	key 22  group, member   value  epoch int32, previous epoch int32, state int8, active,
//	                               standby, warm-up tasks, the same to be revoked; those of
//	                               active tasks have tag 0: array of int32 epochs
//	key 23  group           value  topology epoch int32, array of subtopologies: id string,
//	                               source topics, source patterns array of string,
//	                               changelogs array of topics, repartition sinks array of
//	                               string, repartition sources array of topics, copartition
//	                               groups array of three arrays of int16;
//	                               a topic is name string, partitions int32, replication
//	                               factor int16, array of (key string, value string)
const (
	keyStreamsEpoch       = 17
	keyStreamsMember      = 19
	keyStreamsTargetEpoch = 20
	keyStreamsTarget      = 21
	keyStreamsCurrent     = 22
	keyStreamsTopology    = 23
)

var streamsKinds = rosterKinds{
	epoch: keyStreamsEpoch, member: keyStreamsMember, targetEpoch: keyStreamsTargetEpoch, target: keyStreamsTarget, current: keyStreamsCurrent,
}

// streams reports whether the record is of a group of the streams protocol.
func (k stateKey) streams() bool {
	return k.kind == keyStreamsEpoch || keyStreamsMember <= k.kind && k.kind <= keyStreamsTopology
}

// value is what a state says under a key, nil: nothing.
func (s *streamsState) value(k stateKey) []byte {
	switch k.kind {
	case keyStreamsEpoch:
		return s.epochValue()
	case keyStreamsTargetEpoch:
		return s.targetEpochValue()
	case keyStreamsTarget:
		if t, ok := s.target[k.name]; ok {
			p := appendTasks(newValue(), t.active, nil)
			p = appendTasks(p, t.standby, nil)
			return append(appendTasks(p, t.warmup, nil), 0)
		}
	case keyStreamsTopology:
		if s.topology != nil {
			return s.topology.value()
		}
	case keyStreamsMember:
		if m := s.members[k.name]; m != nil {
			return m.metadataValue()
		}
	case keyStreamsCurrent:
		if m := s.members[k.name]; m != nil {
			return m.currentValue()
		}
	}
	return nil
}

// streamsChanges are the keys under which two states differ, in the order in which Kafka
// replays them without complaint. nil is a group that is not there.
func streamsChanges(before, after *streamsState) []stateKey {
	fresh := before == nil
	if fresh {
		before = newStreamsState()
	}
	var others []stateKey
	if before.topology != after.topology {
		others = append(others, stateKey{kind: keyStreamsTopology})
	}
	return after.changes(&before.streamsRoster, streamsKinds, fresh || before.epoch != after.epoch, others...)
}

// goneKeys are the keys of all records of a group, members before what they are in.
func (s *streamsState) goneKeys() []stateKey {
	return append(s.streamsRoster.goneKeys(streamsKinds), stateKey{kind: keyStreamsEpoch}, stateKey{kind: keyStreamsTopology})
}

func (s *streamsState) epochValue() []byte {
	p := appendInt32(newValue(), s.epoch)
	p = binary.BigEndian.AppendUint64(p, uint64(s.hash))
	var fields [][]byte // by tag
	if s.validated != -1 {
		fields = append(fields, append([]byte{0}, appendSized(nil, appendInt32(nil, s.validated))...))
	}
	if s.configs != nil {
		fields = append(fields, append([]byte{1}, appendSized(nil, appendPairs(nil, s.configs))...))
	}
	p = append(p, byte(len(fields)))
	for _, f := range fields {
		p = append(p, f...)
	}
	return p
}

// appendSized appends a tagged field's length and bytes.
func appendSized(p, field []byte) []byte {
	return append(binary.AppendUvarint(p, uint64(len(field))), field...)
}

func appendPairs(p []byte, all []keyValue) []byte {
	p = binary.AppendUvarint(p, uint64(len(all))+1)
	for _, x := range all {
		p = append(appendString(appendString(p, x.key), x.value), 0)
	}
	return p
}

// appendTasks writes tasks, with an epoch for each where epochs is not nil.
func appendTasks(p []byte, t tasks, epochs map[task]int32) []byte {
	p = binary.AppendUvarint(p, uint64(len(t))+1)
	for _, subtopology := range slices.Sorted(maps.Keys(t)) {
		p = appendInt32s(appendString(p, subtopology), t[subtopology])
		if epochs == nil {
			p = append(p, 0)
			continue
		}
		assigned := make([]int32, len(t[subtopology]))
		for i, partition := range t[subtopology] {
			assigned[i] = epochs[task{subtopology, partition}]
		}
		p = appendTags(p, appendInt32s(nil, assigned))
	}
	return p
}

func (m *streamsMember) metadataValue() []byte {
	p := appendNullableString(newValue(), m.instance)
	p = appendNullableString(p, m.rack)
	p = appendString(p, m.clientID)
	p = appendString(p, m.clientHost)
	p = appendInt32(p, m.rebalanceTimeout)
	p = appendInt32(p, m.topologyEpoch)
	p = appendString(p, m.process)
	if m.endpoint == nil {
		p = append(p, 0xff)
	} else {
		p = appendString(append(p, 1), m.endpoint.host)
		p = append(binary.BigEndian.AppendUint16(p, m.endpoint.port), 0)
	}
	return append(appendPairs(p, m.tags), 0)
}

func (m *streamsMember) currentValue() []byte {
	p := appendInt32(newValue(), m.epoch)
	p = appendInt32(p, m.previous)
	p = append(p, byte(m.state))
	for _, h := range [...]holding{m.assigned, m.revoking} {
		p = appendTasks(p, h.active, h.epochs)
		p = appendTasks(p, h.standby, nil)
		p = appendTasks(p, h.warmup, nil)
	}
	return append(p, 0)
}

func (t *topology) value() []byte {
	p := appendInt32(newValue(), t.epoch)
	p = binary.AppendUvarint(p, uint64(len(t.subtopologies))+1)
	for i := range t.subtopologies {
		s := &t.subtopologies[i]
		p = appendString(p, s.id)
		p = appendStrings(p, s.sources)
		p = appendStrings(p, s.sourceRegexes)
		p = appendInternalTopics(p, s.changelogs)
		p = appendStrings(p, s.sinks)
		p = appendInternalTopics(p, s.repartitionSources)
		p = binary.AppendUvarint(p, uint64(len(s.copartitionGroups))+1)
		for _, g := range s.copartitionGroups {
			p = appendInt16s(p, g.sources)
			p = appendInt16s(p, g.sourceRegexes)
			p = append(appendInt16s(p, g.repartitionSources), 0)
		}
		p = append(p, 0)
	}
	return append(p, 0)
}

func appendInternalTopics(p []byte, all []internalTopic) []byte {
	p = binary.AppendUvarint(p, uint64(len(all))+1)
	for _, t := range all {
		p = appendInt32(appendString(p, t.name), t.partitions)
		p = binary.BigEndian.AppendUint16(p, uint16(t.replicationFactor))
		p = append(appendPairs(p, t.configs), 0)
	}
	return p
}

func appendInt16s(p []byte, all []int16) []byte {
	p = binary.AppendUvarint(p, uint64(len(all))+1)
	for _, v := range all {
		p = binary.BigEndian.AppendUint16(p, uint16(v))
	}
	return p
}

// replay applies a record to a state that nobody else has yet. Records come in any order:
// compaction keeps the last of each key.
func (s *streamsState) replay(k stateKey, value []byte) error {
	if value == nil {
		s.forget(k)
		return nil
	}
	r, err := k.open(value)
	if err != nil {
		return err
	}
	var invalid error
	switch k.kind {
	case keyStreamsEpoch:
		s.readEpoch(r)
	case keyStreamsTargetEpoch:
		s.targetEpoch, s.targetTime = r.int32(), 0
		r.tag0(func(f *reader) { s.targetTime = f.int64() })
	case keyStreamsTarget:
		t, _ := readTaskSet(r, false)
		s.target[k.name] = t
		r.tag0(nil)
	case keyStreamsTopology:
		s.topology = readTopology(r)
		if !r.bad {
			invalid = s.topology.settle()
		}
	case keyStreamsMember:
		s.member(k.name).readMetadata(r)
	case keyStreamsCurrent:
		s.member(k.name).readCurrent(r)
	}
	switch {
	case r.bad:
		return k.cutShort(value)
	case invalid != nil:
		return fmt.Errorf("%w: value of type %d: %w", ErrRecord, k.kind, invalid)
	}
	return nil
}

func (s *streamsState) forget(k stateKey) {
	switch k.kind {
	case keyStreamsMember:
		delete(s.members, k.name)
	case keyStreamsTarget:
		delete(s.target, k.name)
	case keyStreamsCurrent:
		if m := s.members[k.name]; m != nil {
			blank := newStreamsMember(m.id)
			m.epoch, m.previous, m.state = epochLeave, epochLeave, streamsStable
			m.assigned, m.revoking = blank.assigned, blank.revoking
		}
	case keyStreamsTargetEpoch:
		s.targetEpoch, s.targetTime = 0, 0
	case keyStreamsTopology:
		s.topology = nil
	}
}

// member is a member that the log has named, whatever it says of it yet.
func (s *streamsState) member(id string) *streamsMember {
	m := s.members[id]
	if m == nil {
		m = newStreamsMember(id)
		m.tags = nil // until its metadata comes
		s.members[id] = m
	}
	return m
}

func (s *streamsState) readEpoch(r *reader) {
	s.epoch, s.hash, s.validated, s.configs = r.int32(), r.int64(), -1, nil
	r.tags(func(tag int, p []byte) {
		f := &reader{p: p, flexible: true}
		switch tag {
		case 0:
			s.validated = f.int32()
		case 1:
			s.configs = sortedPairs(readPairs(f))
		}
		r.bad = r.bad || f.bad
	})
}

func readPairs(r *reader) []keyValue {
	all := []keyValue{}
	for n := r.length(false); n > 0 && !r.bad; n-- {
		all = append(all, keyValue{r.string(), r.string()})
		r.tag0(nil)
	}
	return all
}

// readTasks reads tasks, and the epochs of those that have one.
func readTasks(r *reader, epochs map[task]int32) tasks {
	t := tasks{}
	for n := r.length(false); n > 0 && !r.bad; n-- {
		id, partitions := r.string(), r.int32s()
		r.tag0(func(f *reader) {
			assigned := f.int32s()
			if epochs == nil || len(assigned) != len(partitions) {
				return
			}
			for i, partition := range partitions {
				epochs[task{id, partition}] = assigned[i]
			}
		})
		if len(partitions) > 0 {
			t[id] = append(t[id], partitions...)
		}
	}
	for id := range t {
		slices.Sort(t[id])
		t[id] = slices.Compact(t[id])
	}
	return t
}

func readTaskSet(r *reader, withEpochs bool) (t taskSet, epochs map[task]int32) {
	if withEpochs {
		epochs = map[task]int32{}
	}
	t.active = readTasks(r, epochs)
	t.standby = readTasks(r, nil)
	t.warmup = readTasks(r, nil)
	return t, epochs
}

func (m *streamsMember) readMetadata(r *reader) {
	m.instance = r.nullableString()
	m.rack = r.nullableString()
	m.clientID = r.string()
	m.clientHost = r.string()
	m.rebalanceTimeout = r.int32()
	m.topologyEpoch = r.int32()
	m.process = r.string()
	m.endpoint = nil
	if r.int8() > 0 {
		m.endpoint = &endpoint{r.string(), uint16(r.int16())}
		r.tag0(nil)
	}
	m.tags = sortedPairs(readPairs(r))
	r.tag0(nil)
}

func (m *streamsMember) readCurrent(r *reader) {
	m.epoch = r.int32()
	m.previous = r.int32()
	m.state = memberState(r.int8())
	if m.state < streamsStable || m.state > streamsUnreleasedTasks {
		m.state = unknownState
	}
	assigned, epochs := readTaskSet(r, true)
	m.assigned = newHolding(assigned, epochs, m.epoch)
	revoking, epochs := readTaskSet(r, true)
	m.revoking = newHolding(revoking, epochs, m.epoch)
	r.tag0(nil)
}

func readTopology(r *reader) *topology {
	t := &topology{epoch: r.int32()}
	for n := r.length(false); n > 0 && !r.bad; n-- {
		s := subtopology{id: r.string(), sources: r.strings(), sourceRegexes: r.strings(), changelogs: readInternalTopics(r), sinks: r.strings(), repartitionSources: readInternalTopics(r)}
		for n := r.length(false); n > 0 && !r.bad; n-- {
			s.copartitionGroups = append(s.copartitionGroups, copartitionGroup{r.int16s(), r.int16s(), r.int16s()})
			r.tag0(nil)
		}
		r.tag0(nil)
		t.subtopologies = append(t.subtopologies, s)
	}
	r.tag0(nil)
	return t
}

func readInternalTopics(r *reader) []internalTopic {
	all := []internalTopic{}
	for n := r.length(false); n > 0 && !r.bad; n-- {
		t := internalTopic{name: r.string(), partitions: r.int32(), replicationFactor: r.int16()}
		t.configs = append(t.configs, readPairs(r)...)
		r.tag0(nil)
		all = append(all, t)
	}
	return all
}

func (r *reader) int16s() []int16 {
	var all []int16
	for n := r.length(false); n > 0 && !r.bad; n-- {
		all = append(all, r.int16())
	}
	return all
}
