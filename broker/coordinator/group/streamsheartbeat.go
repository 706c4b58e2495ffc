package group

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ValidateStreamsHeartbeat checks what does not depend on the group, nil: it is fine. As in
// Kafka 4.3 there is no static membership, warm-up task, task offset or source pattern yet.
func ValidateStreamsHeartbeat(r *kmsg.StreamsGroupHeartbeatRequest) *Refusal {
	if refused := unsupportedStreams(r); refused != nil {
		return refused
	}
	blank := func(s string) bool { return strings.TrimSpace(s) == "" }
	joins := r.MemberEpoch == epochJoin
	switch {
	case blank(r.MemberID):
		return refuse(invalidRequest, "MemberId can't be empty.")
	case blank(r.Group):
		return refuse(invalidRequest, "GroupId can't be empty.")
	case len(r.Group) > maxString || len(r.MemberID) > maxString:
		return refuse(invalidRequest, "GroupId and MemberId can't be longer than %d bytes.", maxString)
	case r.RackID != nil && blank(*r.RackID):
		return refuse(invalidRequest, "RackId can't be empty.")
	case joins && r.RebalanceTimeoutMillis == -1:
		return refuse(invalidRequest, "RebalanceTimeoutMs must be provided in first request.")
	case joins && len(r.ActiveTasks) > 0:
		return refuse(invalidRequest, "ActiveTasks must be empty when (re-)joining.")
	case joins && len(r.StandbyTasks) > 0:
		return refuse(invalidRequest, "StandbyTasks must be empty when (re-)joining.")
	case joins && r.Topology == nil:
		return refuse(invalidRequest, "Topology must be non-null when (re-)joining.")
	case r.MemberEpoch == epochStaticLeave:
		return refuse(invalidRequest, "InstanceId can't be null.")
	case r.MemberEpoch < epochStaticLeave:
		return refuse(invalidRequest, "MemberEpoch is %d, but must be greater than or equal to -2.", r.MemberEpoch)
	}
	if joins {
		for i := range r.Topology.Subtopologies {
			for _, c := range r.Topology.Subtopologies[i].StateChangelogTopics {
				if c.NumPartitions != 0 {
					return refuse(streamsInvalidTopology, "Changelog topic %s must have an undefined partition count, but it is set to %d.", c.Topic, c.NumPartitions)
				}
			}
		}
	}
	given := 0
	for _, t := range [...][]kmsg.TaskIDs{r.ActiveTasks, r.StandbyTasks, r.WarmupTasks} {
		if t != nil {
			given++
		}
	}
	switch {
	case given != 0 && given != 3:
		return refuse(invalidRequest, "If one task-type is non-null, all must be non-null.")
	case !joins && r.Topology != nil:
		return refuse(invalidRequest, "Topology can only be provided when (re-)joining.")
	}
	return nil
}

func unsupportedStreams(r *kmsg.StreamsGroupHeartbeatRequest) *Refusal {
	switch {
	case r.InstanceID != nil:
		return refuse(invalidRequest, "Static membership is not yet supported.")
	case r.TaskOffsets != nil:
		return refuse(invalidRequest, "TaskOffsets are not supported yet.")
	case r.TaskEndOffsets != nil:
		return refuse(invalidRequest, "TaskEndOffsets are not supported yet.")
	case len(r.WarmupTasks) > 0:
		return refuse(invalidRequest, "WarmupTasks are not supported yet.")
	}
	if r.Topology != nil {
		for i := range r.Topology.Subtopologies {
			if len(r.Topology.Subtopologies[i].SourceTopicRegex) > 0 {
				return refuse(invalidRequest, "Regular expressions for source topics are not supported yet.")
			}
		}
	}
	return nil
}

// StreamsHeartbeatError answers a heartbeat with an error.
func StreamsHeartbeatError(version int16, f *Refusal) *kmsg.StreamsGroupHeartbeatResponse {
	r := kmsg.NewPtrStreamsGroupHeartbeatResponse()
	r.Version = version
	r.Status = []kmsg.StreamsGroupHeartbeatResponseStatus{}
	r.ErrorCode = f.Code
	if f.Message != "" {
		r.ErrorMessage = &f.Message
	}
	return r
}

// StreamsHeartbeat handles a valid StreamsGroupHeartbeat v0 (KIP-1071): it joins, keeps,
// changes or ends a membership, and tells the member what it owns. The answer comes when
// the records of what it says are committed, with the internal topics that are missing.
func (g *Group) StreamsHeartbeat(now int64, t Ticket, c Client, r *kmsg.StreamsGroupHeartbeatRequest) Output {
	var out Output
	a := streamsAnswer{ticket: t, version: r.Version}
	var refused *Refusal
	switch {
	case g.state == Dead:
		refused = &Refusal{Code: coordinatorNotAvailable}
	case r.MemberEpoch == epochLeave:
		refused = g.streamsLeave(now, a, r, &out)
	default:
		refused = g.streamsHeartbeat(now, a, c, r, &out)
	}
	if refused != nil {
		out.reply(t, StreamsHeartbeatError(r.Version, refused))
	}
	return out
}

// streamsHeartbeat returns why it does nothing, or nil.
func (g *Group) streamsHeartbeat(now int64, a streamsAnswer, c Client, r *kmsg.StreamsGroupHeartbeatRequest, out *Output) *Refusal {
	fresh, refused := g.makeStreams(r.MemberEpoch == epochJoin)
	if refused != nil {
		return refused
	}
	p := g.newStreamsStep(now)
	member, next, refused := p.take(c, r)
	if refused != nil {
		if fresh {
			g.streams = nil
		}
		return refused
	}
	p.delay()
	target := p.assign()
	next = p.reconcile(next, target(next.id), reportedTasks(r))

	a.response = p.streamsResponse(r, member, next, fresh)
	a.missing = p.configured.missing
	if fresh {
		p.before = nil
		undo, records := (&upgrade{}).begin(g, now, out)
		p.finish(out, undo, records, a)
	} else {
		p.finish(out, nil, nil, a)
	}
	g.streams.timers.set(timerKey{sessionTimer, next.id}, now+p.settings.SessionTimeout)
	return nil
}

// take finds the member that a heartbeat is of, and puts what it tells into the step: next
// is the member as it describes itself now.
func (p *streamsStep) take(c Client, r *kmsg.StreamsGroupHeartbeatRequest) (member, next *streamsMember, refused *Refusal) {
	member, refused = p.find(r)
	if refused != nil {
		return nil, nil, refused
	}
	next = updatedStreams(member, c, r)
	changed := p.base.members[member.id] == nil || !next.sameMetadata(member)
	if changed {
		p.put(next)
	} else {
		next = member
	}
	if refused := p.learn(r.Topology); refused != nil {
		return nil, nil, refused
	}
	if t := p.base.topology; t != nil && next.topologyEpoch < t.epoch {
		p.tell(statusStaleTopology, fmt.Sprintf("The member's topology epoch %d is behind the group's topology epoch %d.", next.topologyEpoch, t.epoch))
	}
	if refused := p.refresh(changed); refused != nil {
		return nil, nil, refused
	}
	if refused := p.checkTasks(r); refused != nil {
		return nil, nil, refused
	}
	return member, next, nil
}

// find returns the member that a heartbeat is of, a new one where it joins.
func (p *streamsStep) find(r *kmsg.StreamsGroupHeartbeatRequest) (*streamsMember, *Refusal) {
	joins := r.MemberEpoch == epochJoin
	if joins && p.settings.MaxSize > 0 && len(p.state.members) >= p.settings.MaxSize {
		return nil, refuse(groupMaxSizeReached, "The streams group has reached its maximum capacity of %d members.", p.settings.MaxSize)
	}
	m := p.state.members[r.MemberID]
	switch {
	case m == nil && !joins:
		return nil, refuse(unknownMemberID, "Member %s is not a member of group %s.", r.MemberID, p.g.id)
	case m == nil:
		return newStreamsMember(strings.Clone(r.MemberID)), nil
	}
	reported := reportedTasks(r)
	if m.state == unknownState && (reported == nil || !reported.empty()) {
		return nil, refuse(fencedMemberEpoch, "The streams group member is in a unknown state. The member must abandon all its tasks and rejoin.")
	}
	return m, fencedStreamsEpoch(m, r.MemberEpoch, reported)
}

// fencedStreamsEpoch refuses an epoch that is not the member's. The one before is accepted
// from who owns no more than it was given: the answer with the new one may be lost.
func fencedStreamsEpoch(m *streamsMember, epoch int32, reported *taskSet) *Refusal {
	switch {
	case epoch == epochJoin || epoch == m.epoch:
		return nil
	case epoch > m.epoch:
		return refuse(fencedMemberEpoch, "The streams group member has a greater member epoch (%d) than the one known by the group coordinator (%d). The member must abandon all its partitions and rejoin.", epoch, m.epoch)
	case epoch == m.previous && reported != nil && m.assigned.contains(*reported):
		return nil
	}
	return refuse(fencedMemberEpoch, "The streams group member has a smaller member epoch (%d) than the one known by the group coordinator (%d). The member must abandon all its partitions and rejoin.", epoch, m.epoch)
}

// reportedTasks is what a member says that it owns, nil: it does not say.
func reportedTasks(r *kmsg.StreamsGroupHeartbeatRequest) *taskSet {
	if r.ActiveTasks == nil || r.StandbyTasks == nil || r.WarmupTasks == nil {
		return nil
	}
	return &taskSet{active: tasksFrom(r.ActiveTasks), standby: tasksFrom(r.StandbyTasks), warmup: tasksFrom(r.WarmupTasks)}
}

// tasksFrom copies tasks of a request.
func tasksFrom(all []kmsg.TaskIDs) tasks {
	t := tasks{}
	for _, x := range all {
		if len(x.Partitions) > 0 {
			id := strings.Clone(x.SubtopologyID)
			t[id] = append(t[id], x.Partitions...)
		}
	}
	for id := range t {
		slices.Sort(t[id])
		t[id] = slices.Compact(t[id])
	}
	return t
}

// updatedStreams is the member with what the request tells of it; what it does not tell
// stays.
func updatedStreams(m *streamsMember, c Client, r *kmsg.StreamsGroupHeartbeatRequest) *streamsMember {
	next := *m
	next.clientID, next.clientHost = strings.Clone(c.ID), strings.Clone(c.Host)
	if r.RackID != nil {
		rack := strings.Clone(*r.RackID)
		next.rack = &rack
	}
	if r.RebalanceTimeoutMillis != -1 {
		next.rebalanceTimeout = r.RebalanceTimeoutMillis
	}
	if r.Topology != nil {
		next.topologyEpoch = r.Topology.Epoch
	}
	if r.ProcessID != nil {
		next.process = strings.Clone(*r.ProcessID)
	}
	if r.UserEndpoint != nil {
		next.endpoint = &endpoint{strings.Clone(r.UserEndpoint.Host), r.UserEndpoint.Port}
	}
	if r.ClientTags != nil {
		tags := make([]keyValue, len(r.ClientTags))
		for i, t := range r.ClientTags {
			tags[i] = keyValue{strings.Clone(t.Key), strings.Clone(t.Value)}
		}
		next.tags = sortedPairs(tags)
	}
	return &next
}

// learn takes the topology of the first member. Later ones must have the same, or an
// older one: a topology cannot be changed yet, in Kafka 4.3 either.
func (p *streamsStep) learn(r *kmsg.StreamsGroupHeartbeatRequestTopology) *Refusal {
	known := p.state.topology
	if r == nil {
		if known == nil {
			return refuse(unknownServerError, "The topology is null and the group topology is also null.")
		}
		return nil
	}
	if known != nil && known.epoch > r.Epoch {
		return nil
	}
	t, err := topologyOf(r)
	switch {
	case err != nil:
		return refuse(streamsInvalidTopology, "%s", err)
	case known == nil:
		p.edit().topology = t
	case !known.equal(t):
		return refuse(invalidRequest, "Topology updates are not supported yet.")
	}
	return nil
}

// checkTasks refuses tasks that are not of the topology.
func (p *streamsStep) checkTasks(r *kmsg.StreamsGroupHeartbeatRequest) *Refusal {
	if !p.configured.ready() {
		return nil
	}
	for _, all := range [...][]kmsg.TaskIDs{r.ActiveTasks, r.StandbyTasks, r.WarmupTasks} {
		for _, t := range all {
			n, ok := p.configured.tasks[t.SubtopologyID]
			if !ok {
				return refuse(invalidRequest, "Subtopology %s does not exist in the topology.", t.SubtopologyID)
			}
			for _, partition := range t.Partitions {
				if partition < 0 || partition >= n {
					return refuse(invalidRequest, "Task %d for subtopology %s is invalid. Number of tasks for this subtopology: %d", partition, t.SubtopologyID, n)
				}
			}
		}
	}
	return nil
}

// streamsResponse tells the member its epoch, its tasks where they have changed or it has
// just joined, where the other members answer queries, and what is in the way.
func (p *streamsStep) streamsResponse(r *kmsg.StreamsGroupHeartbeatRequest, before, m *streamsMember, fresh bool) *kmsg.StreamsGroupHeartbeatResponse {
	c := p.g.streams
	if r.ShutdownApplication && c.shutdown == "" {
		c.shutdown = m.id
	}
	response := kmsg.NewPtrStreamsGroupHeartbeatResponse()
	response.Version = r.Version
	response.MemberID, response.MemberEpoch = m.id, m.epoch
	response.HeartbeatIntervalMillis = int32(p.settings.HeartbeatInterval)
	changed := r.MemberEpoch == epochJoin || !before.assigned.equal(m.assigned)
	if changed || missedAnswer(r, before, m) {
		response.ActiveTasks = taskIDs(m.assigned.active)
		response.StandbyTasks = taskIDs(m.assigned.standby)
		response.WarmupTasks = taskIDs(m.assigned.warmup)
	}
	if changed && m.endpoint != nil {
		c.endpointEpoch++
	}
	if c.endpointEpoch != r.EndpointInformationEpoch {
		response.PartitionsByUserEndpoint = p.endpoints()
	}
	if !fresh { // nobody may know this group yet: what it tells now it tells again
		response.EndpointInformationEpoch = c.endpointEpoch
	}
	if problem := p.configured.problem; problem != nil {
		p.tell(problem.status, problem.detail)
	}
	if c.shutdown != "" {
		p.tell(statusShutdownApplication, fmt.Sprintf("Streams group member %s encountered a fatal error and requested a shutdown for the entire application.", c.shutdown))
	}
	response.Status = append([]kmsg.StreamsGroupHeartbeatResponseStatus{}, p.status...)
	return response
}

// missedAnswer reports whether the member shows that it has not got what it was told last:
// it comes with the epoch before, or says that it owns something else. Without being told
// again it would run its new tasks never, or be fenced for not giving up old ones.
func missedAnswer(r *kmsg.StreamsGroupHeartbeatRequest, before, m *streamsMember) bool {
	reported := reportedTasks(r)
	return r.MemberEpoch != before.epoch || reported != nil && !reported.equal(m.assigned.taskSet)
}

func taskIDs(t tasks) []kmsg.TaskIDs {
	all := make([]kmsg.TaskIDs, 0, len(t))
	for _, subtopology := range slices.Sorted(maps.Keys(t)) {
		all = append(all, kmsg.TaskIDs{SubtopologyID: subtopology, Partitions: t[subtopology]})
	}
	return all
}

// endpoints is which partitions of input topics the members with an endpoint have the
// state of.
func (p *streamsStep) endpoints() []kmsg.StreamsGroupHeartbeatResponsePartitionsByUserEndpoint {
	all := []kmsg.StreamsGroupHeartbeatResponsePartitionsByUserEndpoint{}
	for _, id := range p.state.ids() {
		m := p.state.members[id]
		if m.endpoint == nil {
			continue
		}
		e := kmsg.NewStreamsGroupHeartbeatResponsePartitionsByUserEndpoint()
		e.UserEndpoint.Host, e.UserEndpoint.Port = m.endpoint.host, m.endpoint.port
		for _, in := range p.inputs(m.assigned.active) {
			e.ActivePartitions = append(e.ActivePartitions, kmsg.StreamsGroupHeartbeatResponsePartitionsByUserEndpointActivePartition{Topic: in.topic, Partitions: in.partitions})
		}
		for _, in := range p.inputs(m.assigned.standby) {
			e.StandbyPartitions = append(e.StandbyPartitions, kmsg.StreamsGroupHeartbeatResponsePartitionsByUserEndpointStandbyPartition{Topic: in.topic, Partitions: in.partitions})
		}
		all = append(all, e)
	}
	return all
}

type input struct {
	topic      string
	partitions []int32
}

// inputs are the partitions that tasks read; a topic may have fewer than its subtopology
// has tasks.
func (p *streamsStep) inputs(t tasks) (all []input) {
	for _, id := range slices.Sorted(maps.Keys(t)) {
		s := p.state.topology.subtopology(id)
		if s == nil {
			continue
		}
		for _, name := range s.inputs {
			topic, _ := p.metadata.Topic(name)
			in := input{topic: name}
			for _, partition := range t[id] {
				if partition < topic.Partitions {
					in.partitions = append(in.partitions, partition)
				}
			}
			if len(in.partitions) > 0 {
				all = append(all, in)
			}
		}
	}
	return all
}

// streamsLeave ends a membership.
func (g *Group) streamsLeave(now int64, a streamsAnswer, r *kmsg.StreamsGroupHeartbeatRequest, out *Output) *Refusal {
	if g.streams == nil {
		return refuse(groupIDNotFound, "Group %s is not a streams group.", g.id)
	}
	m := g.streams.state.members[r.MemberID]
	if m == nil {
		return refuse(unknownMemberID, "Member %s is not a member of group %s.", r.MemberID, g.id)
	}
	if r.ShutdownApplication && g.streams.shutdown == "" {
		g.streams.shutdown = m.id
	}
	a.response = kmsg.NewPtrStreamsGroupHeartbeatResponse()
	a.response.Version = r.Version
	a.response.MemberID, a.response.MemberEpoch = m.id, r.MemberEpoch
	a.response.Status = []kmsg.StreamsGroupHeartbeatResponseStatus{}
	g.fenceStreams(now, m.id, out, a)
	return nil
}

// validateCommit checks who commits, as consumerGroup has it: a member behind its epoch may
// commit for the tasks that it has had since.
func (c *streamsGroup) validateCommit(r *kmsg.OffsetCommitRequest) (fenced func(topicPartition, TopicID) int16, code int16) {
	if r.Generation < 0 && len(c.state.members) == 0 {
		return nil, 0 // a simple consumer, or an administrator
	}
	m := c.state.members[r.MemberID]
	switch {
	case m == nil:
		return nil, unknownMemberID
	case r.Version < 9:
		return nil, unsupportedVersion
	case r.Generation == m.epoch:
		return nil, 0
	case r.Generation > m.epoch || c.state.topology == nil:
		return nil, staleMemberEpoch
	}
	return func(tp topicPartition, _ TopicID) int16 {
		s := c.state.topology.reader(tp.topic)
		if s == nil {
			return staleMemberEpoch
		}
		x := task{s.id, tp.partition}
		epoch, ok := m.assigned.epochs[x]
		if !ok {
			epoch, ok = m.revoking.epochs[x]
		}
		if !ok || r.Generation < epoch {
			return staleMemberEpoch
		}
		return 0
	}, 0
}

// validateFetch checks who asks for offsets, nil and a negative epoch: an administrator.
func (c *streamsGroup) validateFetch(memberID *string, epoch int32) int16 {
	switch {
	case memberID == nil && epoch < 0:
		return 0
	case memberID == nil || c.state.members[*memberID] == nil:
		return unknownMemberID
	case c.state.members[*memberID].epoch != epoch:
		return staleMemberEpoch
	}
	return 0
}

// subscribed is the topics that members read.
func (c *streamsGroup) subscribed() map[string]struct{} {
	all := map[string]struct{}{}
	if t := c.state.topology; t != nil && len(c.state.members) > 0 {
		for name := range t.readers {
			all[name] = struct{}{}
		}
	}
	return all
}
