package group

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/varvelog/varve/segment/batch"
)

// A group changes its protocol while it is in use (group.consumer.migration.policy):
// the first member of the consumer protocol that joins a group of classic members
// upgrades it, and when the last one goes the group is downgraded. In between both
// kinds of members are in a group of the consumer protocol.

// upgrade is a change to the consumer protocol that is under way.
type upgrade struct{}

// makeConsumer makes the group one of the consumer protocol, where join allows that.
// It is upgraded where the first result is not nil: then begin or cancel follows.
func (g *Group) makeConsumer(join bool) (*upgrade, *Refusal) {
	switch {
	case g.consumer != nil:
		return nil, nil
	case !join || g.modern():
		return nil, refuse(groupIDNotFound, "Group %s is not a consumer group.", g.id)
	case g.state == Empty:
		g.consumer = newConsumerGroup()
		return &upgrade{}, nil
	}
	settings := g.limits.settings(g.id)
	s, ok := g.converted(g.limits.metadata())
	if !settings.Upgrade || g.protocolType != consumerProtocol || !ok || settings.MaxSize > 0 && len(g.members) > settings.MaxSize {
		return nil, refuse(groupIDNotFound, "Group %s is not a consumer group.", g.id)
	}
	g.consumer = newConsumerGroup()
	g.consumer.install(s)
	return &upgrade{}, nil
}

// cancel leaves the group what it was.
func (u *upgrade) cancel(g *Group) {
	if u != nil {
		g.consumer = nil
	}
}

// begin ends the group's classic life: whoever waits is told to join again. It returns
// what to go back to, and the records that remove it from the log.
func (u *upgrade) begin(g *Group, now int64, out *Output) (*classicGroup, []batch.Record) {
	if u == nil {
		return nil, nil
	}
	for _, m := range g.inOrder() {
		if p := m.awaitJoin; p != nil {
			out.reply(p.ticket, JoinError(p.version, m.id, rebalanceInProgress))
		}
		if p := m.awaitSync; p != nil {
			out.reply(p.ticket, SyncError(p.version, rebalanceInProgress))
		}
		m.awaitJoin, m.awaitSync = nil, nil
		g.extend(m, now+int64(m.sessionTimeout))
		g.consumer.timers.set(timerKey{sessionTimer, m.id}, now+int64(m.sessionTimeout))
	}
	g.joined = 0
	before := g.classicGroup
	g.classicGroup = newClassicGroup(now)
	if !before.persisted {
		return &before, nil
	}
	return &before, one(now, g.metadataKey(), nil)
}

// converted is the group with its classic members as one of the consumer protocol: all
// have what their leader gave them. It is false where we cannot read what they said.
func (g *Group) converted(metadata Metadata) (*consumerState, bool) {
	s := newConsumerState()
	s.epoch, s.targetEpoch = g.generation, g.generation
	taken := map[topicIDPartition]struct{}{}
	for id, m := range g.members {
		subscription, ok := readSubscription(m.preferredMetadata(g.protocolName))
		if !ok {
			return nil, false
		}
		assigned, ok := readAssignment(m.assignment, metadata)
		if !ok {
			return nil, false
		}
		part := ownership{}
		for topic, partitions := range assigned {
			for _, partition := range partitions {
				p := topicIDPartition{topic, partition}
				if _, twice := taken[p]; twice {
					return nil, false
				}
				taken[p] = struct{}{}
				part.put(topic, owned{partition, g.generation})
			}
		}
		s.members[id] = &consumerMember{
			id: id, instance: m.instance, rack: subscription.rack, clientID: m.clientID, clientHost: m.clientHost,
			topics: sortedNames(subscription.topics), rebalanceTimeout: m.rebalanceTimeout,
			classic: &classicPart{sessionTimeout: m.sessionTimeout, protocols: m.protocols},
			epoch:   g.generation, previous: g.generation, assigned: part, revoking: ownership{},
		}
		s.target[id] = assigned
	}
	return s, true
}

// preferredMetadata is what the member said with the group's protocol, or its first.
func (m *member) preferredMetadata(name *string) []byte {
	if name != nil {
		return m.metadata(*name)
	}
	if len(m.protocols) == 0 {
		return nil
	}
	return m.protocols[0].metadata
}

// allClassic reports whether the step leaves a group that is to be downgraded: of
// classic members, and there was one of the consumer protocol.
func (p *consumerStep) allClassic() bool {
	classic := func(s *consumerState) bool {
		for _, m := range s.members {
			if m.classic == nil {
				return false
			}
		}
		return true
	}
	return p.settings.Downgrade && len(p.state.members) > 0 && len(p.state.members) <= p.g.maxSize() &&
		classic(p.state) && !classic(p.before)
}

// downgrade makes the group one of the classic protocol, with the members that the step
// has left, and has them rebalance.
func (g *Group) downgrade(p *consumerStep, answers []answer, out *Output) {
	keys, records := g.modernTombstones(p.now)
	s := p.state
	g.consumer = nil
	g.classicGroup = newClassicGroup(p.now)
	g.state, g.generation, g.persisted = Stable, s.epoch, true
	for _, id := range s.ids() {
		m := s.members[id]
		g.add(&member{
			id: id, instance: m.instance, clientID: m.clientID, clientHost: m.clientHost,
			rebalanceTimeout: m.rebalanceTimeout, sessionTimeout: m.classic.sessionTimeout, protocols: m.classic.protocols,
		}, consumerProtocol)
		g.extend(g.members[id], p.now+int64(m.classic.sessionTimeout))
	}
	name := g.selectProtocol()
	g.protocolName = &name
	for id, m := range g.members {
		m.assignment = appendAssignment(subscriptionVersion(m.metadata(name)), s.target[id], p.metadata)
	}
	records = append(records, record(p.now, g.metadataKey(), g.metadataValue(nil)))
	out.append(records, &afterDowngrade{keys: keys, answers: answers})
	g.prepareRebalance(p.now, out)
}

// afterDowngrade: one that could not be stored is stored by the rebalance that follows
// it; after a restart before that the group is upgraded still, and members that are
// gone time out.
type afterDowngrade struct {
	keys    []stateKey
	answers []answer
}

func (a *afterDowngrade) appended(g *Group, _ int64, code int16, out *Output) {
	if code != 0 {
		g.doubt(a.keys)
	}
	(&afterConsumer{answers: a.answers}).reply(code, out)
}

// endModern makes an empty group of a later protocol one of the classic.
func (g *Group) endModern(now int64, out *Output) {
	keys, records := g.modernTombstones(now)
	g.consumer, g.streams = nil, nil
	g.classicGroup = newClassicGroup(now)
	out.append(records, &afterDowngrade{keys: keys})
}

// modernKeys are the keys of all records of a group of a later protocol.
func (g *Group) modernKeys() []stateKey {
	switch {
	case g.consumer != nil:
		return g.consumer.state.goneKeys()
	case g.streams != nil:
		return g.streams.state.goneKeys()
	case g.share != nil:
		return g.share.state.goneKeys()
	}
	return nil
}

// modernTombstones remove all records that the log may have of the group of a later
// protocol.
func (g *Group) modernTombstones(now int64) ([]stateKey, []batch.Record) {
	keys := g.recall(nothing{}, g.modernKeys())
	return keys, recordsOf(nothing{}, now, g.id, keys)
}

// The metadata and the assignment of Kafka's consumers in the classic protocol:
//
//	subscription  version int16, topics array of string, user data bytes,
//	              v1+ owned: array of (topic string, array of int32),
//	              v2+ generation int32, v3+ rack nullable string
//	assignment    version int16, array of (topic string, array of int32), user data bytes
//
// Whatever follows what we know is of a later version and left alone.
type embeddedSubscription struct {
	topics []string
	owned  map[string][]int32
	rack   *string
}

func readSubscription(p []byte) (embeddedSubscription, bool) {
	r := &reader{p: p}
	version := r.int16()
	s := embeddedSubscription{topics: r.strings()}
	r.bytes()
	if version >= 1 {
		s.owned = readTopicPartitions(r)
	}
	if version >= 2 {
		r.int32()
	}
	if version >= 3 {
		s.rack = r.nullableString()
	}
	return s, !r.bad && version >= 0
}

func readTopicPartitions(r *reader) map[string][]int32 {
	all := map[string][]int32{}
	for n := r.length(false); n > 0 && !r.bad; n-- {
		name := r.string()
		all[name] = append(all[name], r.int32s()...)
	}
	return all
}

// subscriptionVersion is the version that a member speaks.
func subscriptionVersion(p []byte) int16 {
	return (&reader{p: p}).int16()
}

// readAssignment reads an assignment; an empty one is none. Topics that do not exist
// are left out.
func readAssignment(p []byte, metadata Metadata) (assignment, bool) {
	if len(p) == 0 {
		return assignment{}, true
	}
	r := &reader{p: p}
	version := r.int16()
	named := readTopicPartitions(r)
	return identified(named, metadata), !r.bad && version >= 0
}

// identified puts ids in the place of names.
func identified(named map[string][]int32, metadata Metadata) assignment {
	a := assignment{}
	for name, partitions := range named {
		if t, ok := metadata.Topic(name); ok && len(partitions) > 0 {
			partitions = slices.Clone(partitions)
			slices.Sort(partitions)
			a[t.ID] = slices.Compact(partitions)
		}
	}
	return a
}

// appendAssignment writes an assignment in a version.
func appendAssignment(version int16, a assignment, metadata Metadata) []byte {
	named := map[string][]int32{}
	for id, partitions := range a {
		if t, ok := metadata.TopicByID(id); ok {
			named[t.Name] = partitions
		}
	}
	p := binary.BigEndian.AppendUint16(nil, uint16(min(max(version, 0), 3)))
	p = binary.BigEndian.AppendUint32(p, uint32(len(named)))
	for _, name := range slices.Sorted(maps.Keys(named)) {
		p = appendKeyString(p, name)
		p = binary.BigEndian.AppendUint32(p, uint32(len(named[name])))
		for _, partition := range named[name] {
			p = appendInt32(p, partition)
		}
	}
	return binary.BigEndian.AppendUint32(p, ^uint32(0)) // no user data
}
