package group

import (
	"maps"
	"slices"
)

// ShareSettings are those of one share group; durations in ms.
type ShareSettings struct {
	SessionTimeout     int64 // share.session.timeout.ms
	HeartbeatInterval  int64 // share.heartbeat.interval.ms
	AssignmentInterval int64 // share.assignment.interval.ms; 0: assign at once
	InitializeRetry    int64 // group.share.initialize.retry.interval.ms
	MaxSize            int   // group.share.max.size; 0: no limit
}

// DefaultShareSettings are Kafka's.
var DefaultShareSettings = ShareSettings{
	SessionTimeout: 45_000, HeartbeatInterval: 5000, AssignmentInterval: 1000, InitializeRetry: 30_000, MaxSize: 200,
}

func (l *Limits) shareSettings(groupID string) ShareSettings {
	if l.Share == nil {
		return DefaultShareSettings
	}
	return l.Share(groupID)
}

// shareState is a share group (KIP-932): exactly what its records say. It is never changed
// in place: a step makes the next one, and what differs between the two are the records to
// write.
//
// Members share partitions, so nobody has to give one up before another gets it: a member
// goes from one target to the next in one step.
//
// Invariant: targetEpoch <= epoch; the epoch of a member is at most targetEpoch; what is
// assigned was initialized before.
type shareState struct {
	shareRoster                  // its epoch counts changes of subscriptions
	partitions  *sharePartitions // nil: none was ever initialized
}

type shareRoster = roster[*shareMember, assignment]

// shareMember is a member of a share group. It is never changed in place.
type shareMember struct {
	id                   string
	rack                 *string
	clientID, clientHost string
	topics               []string // subscribed to, sorted

	epoch, previous int32 // previous is accepted once: the answer with epoch may be lost
	assigned        assignment
}

// sharePartitions are the partitions whose state the share coordinator has, or is asked to
// make or to forget. They are never changed in place.
type sharePartitions struct {
	initializing, initialized map[TopicID]shareTopic
	deleting                  map[TopicID]string // names
}

// shareTopic is partitions of a topic, sorted.
type shareTopic struct {
	name       string
	partitions []int32
	asked      int64 // when the share coordinator was asked, ms; 0: before the last load. Not stored
}

func newShareState() *shareState {
	return &shareState{shareRoster: newRoster[*shareMember, assignment]()}
}

// clone is a copy whose maps may be changed.
func (s *shareState) clone() *shareState {
	return &shareState{shareRoster: s.copied(), partitions: s.partitions}
}

// state is the name of the group's state in ShareGroupDescribe and ListGroups.
func (s *shareState) state() string {
	if len(s.members) == 0 {
		return "Empty"
	}
	return "Stable"
}

// subscribed is the names of all topics that members read, existing or not.
func (s *shareState) subscribed() map[string]struct{} {
	all := map[string]struct{}{}
	for _, m := range s.members {
		for _, name := range m.topics {
			all[name] = struct{}{}
		}
	}
	return all
}

// pending reports whether partitions are initialized that nobody has, or the other way
// round, of topics that are subscribed to.
func (s *shareState) pending() bool {
	if len(s.members) == 0 || s.partitions == nil {
		return false
	}
	given := map[TopicID]map[int32]struct{}{}
	for _, a := range s.target {
		for id, partitions := range a {
			if given[id] == nil {
				given[id] = map[int32]struct{}{}
			}
			for _, partition := range partitions {
				given[id][partition] = struct{}{}
			}
		}
	}
	subscribed := s.subscribed()
	for id, t := range s.partitions.initialized {
		if _, ok := subscribed[t.name]; ok && len(given[id]) != len(t.partitions) {
			return true
		}
	}
	return false
}

// retarget makes the target assignment of the group's epoch out of what is initialized.
func (s *shareState) retarget(now int64, metadata Metadata) {
	var ready map[TopicID]shareTopic
	if s.partitions != nil {
		ready = s.partitions.initialized
	}
	topics := map[string][]topicIDPartition{}
	for id, t := range ready {
		if found, ok := metadata.TopicByID(id); ok {
			for _, partition := range t.partitions {
				topics[found.Name] = append(topics[found.Name], topicIDPartition{id, partition})
			}
		}
	}
	subscriptions := make(map[string][]string, len(s.members))
	for id, m := range s.members {
		subscriptions[id] = m.topics
	}
	target := assignShares(subscriptions, topics, s.target)
	for id, a := range target {
		if old, ok := s.target[id]; ok && old.equal(a) {
			target[id] = old
		}
	}
	s.target, s.targetEpoch, s.targetTime = target, s.epoch, now
}

func (m *shareMember) sameMetadata(o *shareMember) bool {
	return equalString(m.rack, o.rack) && m.clientID == o.clientID && m.clientHost == o.clientHost && slices.Equal(m.topics, o.topics)
}

func (m *shareMember) sameCurrent(o *shareMember) bool {
	return m.epoch == o.epoch && m.previous == o.previous && m.assigned.equal(o.assigned)
}

// reads filters an assignment by what a member is subscribed to.
func (m *shareMember) reads(a assignment, metadata Metadata) assignment {
	out := assignment{}
	for id, partitions := range a {
		if t, ok := metadata.TopicByID(id); ok && slices.Contains(m.topics, t.Name) {
			out[id] = partitions
		}
	}
	return out
}

// edit is a copy whose maps may be changed.
func (p *sharePartitions) edit() *sharePartitions {
	if p == nil {
		return &sharePartitions{initializing: map[TopicID]shareTopic{}, initialized: map[TopicID]shareTopic{}, deleting: map[TopicID]string{}}
	}
	return &sharePartitions{initializing: maps.Clone(p.initializing), initialized: maps.Clone(p.initialized), deleting: maps.Clone(p.deleting)}
}

func (p *sharePartitions) equal(o *sharePartitions) bool {
	if p == nil || o == nil {
		return p == o
	}
	same := func(a, b shareTopic) bool { return a.name == b.name && slices.Equal(a.partitions, b.partitions) }
	return maps.EqualFunc(p.initializing, o.initializing, same) && maps.EqualFunc(p.initialized, o.initialized, same) && maps.Equal(p.deleting, o.deleting)
}

// with is the topic with more partitions.
func (t shareTopic) with(partitions []int32) shareTopic {
	all := append(slices.Clone(t.partitions), partitions...)
	slices.Sort(all)
	t.partitions = slices.Compact(all)
	return t
}

// without is the topic without some of its partitions.
func (t shareTopic) without(partitions []int32) shareTopic {
	t.partitions = slices.DeleteFunc(slices.Clone(t.partitions), func(p int32) bool { return slices.Contains(partitions, p) })
	return t
}

// missing are the partitions of subscribed topics that exist and that the share coordinator
// has not, and was not asked for within retry.
func (s *shareState) missing(now, retry int64, metadata Metadata) map[TopicID]shareTopic {
	missing := map[TopicID]shareTopic{}
	for name := range s.subscribed() {
		t, ok := metadata.Topic(name)
		if !ok {
			continue
		}
		left := shareTopic{name: t.Name, asked: now}
		for partition := range t.Partitions {
			left.partitions = append(left.partitions, partition)
		}
		if s.partitions != nil {
			left = left.without(s.partitions.initialized[t.ID].partitions)
			if asked := s.partitions.initializing[t.ID]; now-asked.asked < retry {
				left = left.without(asked.partitions)
			}
		}
		if len(left.partitions) > 0 {
			missing[t.ID] = left
		}
	}
	return missing
}

// ask notes that the share coordinator is asked to initialize partitions.
func (p *sharePartitions) ask(topics map[TopicID]shareTopic) *sharePartitions {
	next := p.edit()
	for id, t := range topics {
		before := next.initializing[id]
		before.name, before.asked = t.name, t.asked
		next.initializing[id] = before.with(t.partitions)
		delete(next.deleting, id)
	}
	return next
}

// settle notes what became of that: partitions are initialized, or to be asked for again.
func (p *sharePartitions) settle(topics map[TopicID]shareTopic, done bool) *sharePartitions {
	next := p.edit()
	for id, t := range topics {
		asked, ok := next.initializing[id]
		if !ok {
			continue // its topic is gone, or it is being deleted
		}
		if left := asked.without(t.partitions); len(left.partitions) > 0 {
			next.initializing[id] = left
		} else {
			delete(next.initializing, id)
		}
		if done {
			before := next.initialized[id]
			before.name = t.name
			next.initialized[id] = before.with(t.partitions)
		}
	}
	return next
}

// forget drops topics, whatever was known of them.
func (p *sharePartitions) forget(gone func(id TopicID, name string) bool) *sharePartitions {
	next := p.edit()
	maps.DeleteFunc(next.initializing, func(id TopicID, t shareTopic) bool { return gone(id, t.name) })
	maps.DeleteFunc(next.initialized, func(id TopicID, t shareTopic) bool { return gone(id, t.name) })
	maps.DeleteFunc(next.deleting, gone)
	return next
}

// forgotten is without what the share coordinator was asked to forget, as far as it did.
// Where that was asked for anew meanwhile, nobody can tell which of the two it did last: it
// is asked for once more.
func (p *sharePartitions) forgotten(topics map[TopicID]shareTopic, done bool) *sharePartitions {
	next := p.edit()
	for id := range topics {
		if _, deleting := next.deleting[id]; !deleting {
			delete(next.initializing, id)
			delete(next.initialized, id)
		} else if done {
			delete(next.deleting, id)
		}
	}
	return next
}
