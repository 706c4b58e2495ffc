package group

import (
	"maps"
	"slices"
)

// streamsState is a group of the streams protocol (KIP-1071): exactly what its records
// say. As a consumerState it is never changed in place.
//
// Invariant: no active task is owned by two members, and no process has two copies of a
// task; targetEpoch <= epoch; the epoch of a member is at most targetEpoch.
type streamsState struct {
	streamsRoster       // its epoch counts changes of members, topology and topics
	validated     int32 // epoch of the topology whose topics are all there, -1: none
	configs       []keyValue
	topology      *topology
}

type streamsRoster = roster[*streamsMember, taskSet]

func newStreamsState() *streamsState {
	return &streamsState{streamsRoster: newRoster[*streamsMember, taskSet](), validated: -1}
}

// clone is a copy whose maps may be changed.
func (s *streamsState) clone() *streamsState {
	c := *s
	c.streamsRoster = s.copied()
	return &c
}

// state is the name of the group's state in StreamsGroupDescribe and ListGroups.
func (s *streamsState) state() string {
	switch {
	case len(s.members) == 0:
		return "Empty"
	case s.topology == nil || s.topology.epoch != s.validated:
		return "NotReady"
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

// keyValue is a setting, or a tag of a client.
type keyValue struct{ key, value string }

// sortedPairs puts pairs in order; of those with one key the last stays.
func sortedPairs(all []keyValue) []keyValue {
	byKey := map[string]string{}
	for _, p := range all {
		byKey[p.key] = p.value
	}
	out := make([]keyValue, 0, len(byKey))
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		out = append(out, keyValue{key, byKey[key]})
	}
	return out
}

// task is one partition of a subtopology: the unit of work of Kafka Streams.
type task struct {
	subtopology string
	partition   int32
}

// tasks are tasks by subtopology: sorted, and none of them empty. Never changed in place.
type tasks map[string][]int32

func (t tasks) equal(o tasks) bool { return maps.EqualFunc(t, o, slices.Equal) }

func (t tasks) has(x task) bool {
	_, ok := slices.BinarySearch(t[x.subtopology], x.partition)
	return ok
}

// all lists the tasks in order.
func (t tasks) all() []task {
	var out []task
	for _, subtopology := range slices.Sorted(maps.Keys(t)) {
		for _, partition := range t[subtopology] {
			out = append(out, task{subtopology, partition})
		}
	}
	return out
}

// tasksOf makes tasks of a list without repetitions.
func tasksOf(list []task) tasks {
	t := tasks{}
	for _, x := range list {
		t[x.subtopology] = append(t[x.subtopology], x.partition)
	}
	for subtopology := range t {
		slices.Sort(t[subtopology])
	}
	return t
}

// contains reports whether all of o are among t.
func (t tasks) contains(o tasks) bool {
	for _, x := range o.all() {
		if !t.has(x) {
			return false
		}
	}
	return true
}

// meets reports whether any of o is among t.
func (t tasks) meets(o tasks) bool {
	return slices.ContainsFunc(o.all(), t.has)
}

// taskSet is tasks in the three roles: to process, to keep a copy of the state of, and to
// build such a copy before the task moves. No assignor of today makes warm-up tasks; who
// reads the records of later ones must keep them.
type taskSet struct{ active, standby, warmup tasks }

func (t taskSet) equal(o taskSet) bool {
	return t.active.equal(o.active) && t.standby.equal(o.standby) && t.warmup.equal(o.warmup)
}

func (t taskSet) empty() bool { return len(t.active)+len(t.standby)+len(t.warmup) == 0 }

// meets reports whether any task of o is among t in the same role.
func (t taskSet) meets(o taskSet) bool {
	return t.active.meets(o.active) || t.standby.meets(o.standby) || t.warmup.meets(o.warmup)
}

func (t taskSet) contains(o taskSet) bool {
	return t.active.contains(o.active) && t.standby.contains(o.standby) && t.warmup.contains(o.warmup)
}

// holding is what a member owns: tasks, and the member epoch that each active one was
// assigned in, so that late commits of others can be told (KIP-1251).
type holding struct {
	taskSet
	epochs map[task]int32 // of exactly the active tasks
}

func (h holding) equal(o holding) bool {
	return h.taskSet.equal(o.taskSet) && maps.Equal(h.epochs, o.epochs)
}

// newHolding is tasks with their epochs of those that there are, else the epoch given.
func newHolding(t taskSet, epochs map[task]int32, epoch int32) holding {
	h := holding{taskSet: t, epochs: map[task]int32{}}
	for _, x := range t.active.all() {
		h.epochs[x] = epoch
		if known, ok := epochs[x]; ok {
			h.epochs[x] = known
		}
	}
	return h
}

// endpoint is where a member answers interactive queries.
type endpoint struct {
	host string
	port uint16
}

// States of a member as its record has them; what they mean is told at memberState.
const (
	streamsStable          memberState = 1
	streamsUnrevokedTasks  memberState = 2
	streamsUnreleasedTasks memberState = 3
)

// streamsMember is a member of a group of the streams protocol: one thread of a process
// of an application. It is never changed in place.
type streamsMember struct {
	id                   string
	instance             *string // not served; kept where another broker has written one
	rack                 *string
	clientID, clientHost string
	rebalanceTimeout     int32 // ms, -1: not known
	topologyEpoch        int32 // of the topology that it has, -1: not known
	process              string
	endpoint             *endpoint
	tags                 []keyValue // sorted

	epoch, previous    int32 // previous is accepted once: the answer with epoch may be lost
	state              memberState
	assigned, revoking holding // may be used; must not be, and is not known to be given up
}

func newStreamsMember(id string) *streamsMember {
	return &streamsMember{id: id, rebalanceTimeout: -1, topologyEpoch: -1, state: streamsStable, assigned: newHolding(taskSet{}, nil, 0), revoking: newHolding(taskSet{}, nil, 0)}
}

// sameMetadata reports whether both would have the same StreamsGroupMemberMetadata.
func (m *streamsMember) sameMetadata(o *streamsMember) bool {
	return equalString(m.instance, o.instance) && equalString(m.rack, o.rack) &&
		m.clientID == o.clientID && m.clientHost == o.clientHost && m.rebalanceTimeout == o.rebalanceTimeout &&
		m.topologyEpoch == o.topologyEpoch && m.process == o.process && equalEndpoint(m.endpoint, o.endpoint) &&
		slices.Equal(m.tags, o.tags)
}

// sameCurrent reports whether both would have the same StreamsGroupCurrentMemberAssignment.
func (m *streamsMember) sameCurrent(o *streamsMember) bool {
	return m.epoch == o.epoch && m.previous == o.previous && m.state == o.state &&
		m.assigned.equal(o.assigned) && m.revoking.equal(o.revoking)
}

func equalEndpoint(a, b *endpoint) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// reconciled reports whether the member has all that the target of this epoch gives it.
func (m *streamsMember) reconciled(targetEpoch int32) bool {
	return m.state == streamsStable && m.epoch == targetEpoch
}

// taskOwners is who owns each task, as an index over members.
type taskOwners struct {
	active  map[task]string                // by whom, a member
	process map[string]string              // of each member
	copies  map[task]map[string]copyHolder // standby and warm-up tasks, by process
}

// copyHolder is the members of a process that have a copy of a task. There is more than
// one only where a foreign log says so.
type copyHolder map[string]struct{}

func newTaskOwners() taskOwners {
	return taskOwners{active: map[task]string{}, process: map[string]string{}, copies: map[task]map[string]copyHolder{}}
}

func (o *taskOwners) add(m *streamsMember) {
	o.process[m.id] = m.process
	for _, h := range [...]*holding{&m.assigned, &m.revoking} {
		for _, x := range h.active.all() {
			o.active[x] = m.id
		}
		for _, t := range [...]tasks{h.standby, h.warmup} {
			for _, x := range t.all() {
				if o.copies[x] == nil {
					o.copies[x] = map[string]copyHolder{}
				}
				if o.copies[x][m.process] == nil {
					o.copies[x][m.process] = copyHolder{}
				}
				o.copies[x][m.process][m.id] = struct{}{}
			}
		}
	}
}

func (o *taskOwners) remove(m *streamsMember) {
	delete(o.process, m.id)
	for _, h := range [...]*holding{&m.assigned, &m.revoking} {
		for _, x := range h.active.all() {
			if o.active[x] == m.id {
				delete(o.active, x)
			}
		}
		for _, t := range [...]tasks{h.standby, h.warmup} {
			for _, x := range t.all() {
				if delete(o.copies[x][m.process], m.id); len(o.copies[x][m.process]) == 0 {
					delete(o.copies[x], m.process)
				}
				if len(o.copies[x]) == 0 {
					delete(o.copies, x)
				}
			}
		}
	}
}

// copied reports whether a process keeps a copy of a task's state.
func (o *taskOwners) copied(x task, process string) bool {
	return len(o.copies[x][process]) > 0
}
