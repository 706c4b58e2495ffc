package group

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// consumerState is a group of the consumer protocol (KIP-848): exactly what its records
// say. It is never changed in place: a step makes the next one, and what differs
// between the two are the records to write.
//
// Invariant: no partition is owned by two members; targetEpoch <= epoch; the epoch of a
// member is at most targetEpoch.
type consumerState struct {
	consumerRoster // its epoch counts changes of subscriptions
	regexes        map[string]*resolvedRegex
}

type consumerRoster = roster[*consumerMember, assignment]

func newConsumerState() *consumerState {
	return &consumerState{consumerRoster: newRoster[*consumerMember, assignment](), regexes: map[string]*resolvedRegex{}}
}

// clone is a copy whose maps may be changed.
func (s *consumerState) clone() *consumerState {
	return &consumerState{consumerRoster: s.copied(), regexes: maps.Clone(s.regexes)}
}

// memberState is how far a member is in reconciling what it owns with its target.
//
//	           target differs, has something to revoke
//	┌────────┐ ────────────────────────────► ┌────────────────────┐
//	│ stable │                               │ unrevokedPartitions │
//	└────────┘ ◄──────────────────────────── └────────────────────┘
//	     ▲  │     revoked, all is there          │  revoked, others have not
//	     │  └──────────────┐     ┌───────────────┘
//	     │ they have       ▼     ▼
//	     └─────────── ┌──────────────────────┐
//	                  │ unreleasedPartitions │  waits for members that must revoke
//	                  └──────────────────────┘
type memberState int8

const (
	stable               memberState = 0
	unrevokedPartitions  memberState = 1
	unreleasedPartitions memberState = 2
	unknownState         memberState = 127 // of a later version of the record
)

// Epochs of ConsumerGroupHeartbeat that are no epochs.
const (
	epochJoin        = 0
	epochLeave       = -1
	epochStaticLeave = -2 // for a while: a static member keeps its partitions
)

// owned is a partition with the member epoch that it was assigned in (KIP-1251).
type owned struct {
	partition, epoch int32
}

// ownership is partitions that a member owns, by topic: sorted, and none empty.
type ownership map[TopicID][]owned

func (o ownership) equal(other ownership) bool {
	return maps.EqualFunc(o, other, slices.Equal)
}

// find returns the epoch that a partition was assigned in.
func (o ownership) find(id TopicID, partition int32) (epoch int32, ok bool) {
	at, ok := slices.BinarySearchFunc(o[id], partition, func(x owned, p int32) int { return cmp.Compare(x.partition, p) })
	if !ok {
		return 0, false
	}
	return o[id][at].epoch, true
}

// partitions is what is owned without the epochs.
func (o ownership) partitions() assignment {
	a := make(assignment, len(o))
	for id, all := range o {
		for _, x := range all {
			a[id] = append(a[id], x.partition)
		}
	}
	return a
}

// put adds a partition to a topic that is sorted later.
func (o ownership) put(id TopicID, x owned) { o[id] = append(o[id], x) }

func (o ownership) sort() {
	for _, all := range o {
		slices.SortFunc(all, func(a, b owned) int { return cmp.Compare(a.partition, b.partition) })
	}
}

// classicPart is what a member of the classic protocol has said that lives in a group
// of the consumer protocol while the group is upgraded or downgraded.
type classicPart struct {
	sessionTimeout int32 // ms
	protocols      []protocol
}

// consumerMember is a member of a group of the consumer protocol. It is never changed
// in place.
type consumerMember struct {
	id                   string
	instance             *string // group.instance.id
	rack                 *string
	clientID, clientHost string
	topics               []string // subscribed to by name, sorted
	regex                string   // subscribed to by pattern, "": none
	rebalanceTimeout     int32    // ms, -1: not known
	assignor             *string  // that it prefers
	classic              *classicPart

	epoch, previous int32 // previous is accepted once: the answer with epoch may be lost
	state           memberState
	assigned        ownership // may be used by the member
	revoking        ownership // must not be used, and is not known to be given up
}

// sameMetadata reports whether both would have the same ConsumerGroupMemberMetadata.
func (m *consumerMember) sameMetadata(o *consumerMember) bool {
	return equalString(m.instance, o.instance) && equalString(m.rack, o.rack) &&
		m.clientID == o.clientID && m.clientHost == o.clientHost &&
		slices.Equal(m.topics, o.topics) && m.regex == o.regex &&
		m.rebalanceTimeout == o.rebalanceTimeout && equalString(m.assignor, o.assignor) &&
		m.classic.equal(o.classic)
}

func (c *classicPart) equal(o *classicPart) bool {
	if c == nil || o == nil {
		return c == o
	}
	return c.sessionTimeout == o.sessionTimeout && slices.EqualFunc(c.protocols, o.protocols, func(a, b protocol) bool {
		return a.name == b.name && string(a.metadata) == string(b.metadata)
	})
}

// sameCurrent reports whether both would have the same ConsumerGroupCurrentMemberAssignment.
func (m *consumerMember) sameCurrent(o *consumerMember) bool {
	return m.epoch == o.epoch && m.previous == o.previous && m.state == o.state &&
		m.assigned.equal(o.assigned) && m.revoking.equal(o.revoking)
}

func equalString(a, b *string) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// reconciled reports whether the member has all that the target of this epoch gives it.
func (m *consumerMember) reconciled(targetEpoch int32) bool {
	return m.state == stable && m.epoch == targetEpoch
}

// advanced is the member in an epoch, another one or the same: who has sent the epoch
// that it is in has got it, and will not come with the one before.
func (m *consumerMember) advanced(epoch int32) *consumerMember {
	next := *m
	next.previous, next.epoch = m.epoch, epoch
	return &next
}

// state is the name of the group's state in ConsumerGroupDescribe and ListGroups.
func (s *consumerState) state() string {
	switch {
	case len(s.members) == 0:
		return "Empty"
	case s.epoch > s.targetEpoch:
		return "Assigning"
	}
	for _, m := range s.members {
		if !m.reconciled(s.targetEpoch) {
			return "Reconciling"
		}
	}
	return "Stable"
}

// subscribed is the names of all topics that members read, existing or not.
func (s *consumerState) subscribed() map[string]struct{} {
	all := map[string]struct{}{}
	for _, m := range s.members {
		for _, name := range m.topics {
			all[name] = struct{}{}
		}
	}
	for _, r := range s.regexes {
		for _, name := range r.topics {
			all[name] = struct{}{}
		}
	}
	return all
}

// topicsOf is the ids of the topics that a member reads and that exist, in order.
func (s *consumerState) topicsOf(m *consumerMember, metadata Metadata) []TopicID {
	var ids []TopicID
	add := func(names []string) {
		for _, name := range names {
			if t, ok := metadata.Topic(name); ok {
				ids = append(ids, t.ID)
			}
		}
	}
	add(m.topics)
	if r := s.regexes[m.regex]; m.regex != "" && r != nil {
		add(r.topics)
	}
	slices.SortFunc(ids, func(a, b TopicID) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(ids)
}

// preferred is the assignor that most members ask for, fallback where none does. Where
// votes are equal the first by name wins.
func (s *consumerState) preferred(fallback string) string {
	votes := map[string]int{}
	for _, m := range s.members {
		if m.assignor != nil {
			votes[*m.assignor]++
		}
	}
	best := ""
	for _, name := range slices.Sorted(maps.Keys(votes)) {
		if votes[name] > votes[best] {
			best = name
		}
	}
	if assignors[best] == nil {
		return fallback
	}
	return best
}

// retarget makes the target assignment of the group's epoch.
func (s *consumerState) retarget(now int64, metadata Metadata, fallback string) {
	subscribers := make([]subscriber, 0, len(s.members))
	partitions := map[TopicID]int32{}
	for _, id := range s.ids() {
		m := s.members[id]
		topics := s.topicsOf(m, metadata)
		for _, topic := range topics {
			if t, ok := metadata.TopicByID(topic); ok {
				partitions[topic] = t.Partitions
			}
		}
		subscribers = append(subscribers, subscriber{id: id, instance: m.instance, topics: topics})
	}
	target := assignors[s.preferred(fallback)](subscribers, partitions, s.target)
	for id, a := range target {
		if old, ok := s.target[id]; ok && old.equal(a) {
			target[id] = old
		}
	}
	s.target, s.targetEpoch, s.targetTime = target, s.epoch, now
}

// owners is who owns each partition, as an index over members.
type owners map[topicIDPartition]string

// of makes the index.
func ownersOf(s *consumerState) owners {
	all := owners{}
	for _, m := range s.members {
		all.add(m)
	}
	return all
}

func (o owners) add(m *consumerMember) {
	for _, part := range [...]ownership{m.assigned, m.revoking} {
		for id, partitions := range part {
			for _, x := range partitions {
				o[topicIDPartition{id, x.partition}] = m.id
			}
		}
	}
}

func (o owners) remove(m *consumerMember) {
	for _, part := range [...]ownership{m.assigned, m.revoking} {
		for id, partitions := range part {
			for _, x := range partitions {
				if p := (topicIDPartition{id, x.partition}); o[p] == m.id {
					delete(o, p)
				}
			}
		}
	}
}

// isOwned reports whether anybody owns the partition.
func (o owners) isOwned(id TopicID, partition int32) bool {
	_, ok := o[topicIDPartition{id, partition}]
	return ok
}

// sortedNames copies names, which may be views of a request, without those named
// twice.
func sortedNames(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = strings.Clone(name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
