package group

import (
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/config"
)

// Refusal is an error that a request is answered with.
type Refusal struct {
	Code    int16
	Message string
}

func refuse(code int16, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Message: fmt.Sprintf(format, args...)}
}

// ValidateConsumerHeartbeat checks what does not depend on the group, nil: it is fine.
// assignors are those that members may ask for.
func ValidateConsumerHeartbeat(r *kmsg.ConsumerGroupHeartbeatRequest, assignors []string) *Refusal {
	blank := func(s string) bool { return strings.TrimSpace(s) == "" }
	switch {
	case blank(r.MemberID) && (r.Version >= 1 || r.MemberEpoch > 0 || r.MemberEpoch == epochLeave):
		return refuse(invalidRequest, "MemberId can't be empty.")
	case blank(r.Group):
		return refuse(invalidRequest, "GroupId can't be empty.")
	case r.InstanceID != nil && blank(*r.InstanceID):
		return refuse(invalidRequest, "InstanceId can't be empty.")
	case r.RackID != nil && blank(*r.RackID):
		return refuse(invalidRequest, "RackId can't be empty.")
	case len(r.Group) > maxString || len(r.MemberID) > maxString || r.InstanceID != nil && len(*r.InstanceID) > maxString:
		return refuse(invalidRequest, "GroupId, MemberId and InstanceId can't be longer than %d bytes.", maxString)
	case r.MemberEpoch < epochStaticLeave:
		return refuse(invalidRequest, "MemberEpoch is invalid.")
	case r.MemberEpoch == epochStaticLeave && r.InstanceID == nil:
		return refuse(invalidRequest, "InstanceId can't be null.")
	case r.MemberEpoch == epochJoin && r.RebalanceTimeoutMillis == -1:
		return refuse(invalidRequest, "RebalanceTimeoutMs must be provided in first request.")
	case r.MemberEpoch == epochJoin && (r.Topics == nil || len(r.Topics) > 0):
		return refuse(invalidRequest, "TopicPartitions must be empty when (re-)joining.")
	case r.MemberEpoch == epochJoin && r.SubscribedTopicNames == nil && r.SubscribedTopicRegex == nil:
		return refuse(invalidRequest, "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.")
	case r.ServerAssignor != nil && !slices.Contains(assignors, *r.ServerAssignor):
		return refuse(unsupportedAssignor, "ServerAssignor %s is not supported. Supported assignors: %s.", *r.ServerAssignor, strings.Join(assignors, ", "))
	}
	return validatePattern(r.SubscribedTopicRegex)
}

func validatePattern(pattern *string) *Refusal {
	if pattern == nil || *pattern == "" {
		return nil
	}
	if len(*pattern) > maxString {
		return refuse(invalidRegularExpression, "SubscribedTopicRegex can't be longer than %d bytes.", maxString)
	}
	if _, err := config.CompilePattern(*pattern); err != nil {
		return refuse(invalidRegularExpression, "SubscribedTopicRegex `%s` is not a valid regular expression: %s.", *pattern, err)
	}
	return nil
}

// ConsumerHeartbeatError answers a heartbeat with an error.
func ConsumerHeartbeatError(version int16, f *Refusal) *kmsg.ConsumerGroupHeartbeatResponse {
	r := kmsg.NewPtrConsumerGroupHeartbeatResponse()
	r.Version = version
	r.ErrorCode = f.Code
	if f.Message != "" {
		r.ErrorMessage = &f.Message
	}
	return r
}

// ConsumerHeartbeat handles a valid ConsumerGroupHeartbeat v0-v1 (KIP-848): it joins,
// keeps, changes or ends a membership, and tells the member what it owns. The answer
// comes when the records of what it says are committed. fresh is a random string that
// nobody else has got, for the id of a member that brings none (v0).
func (g *Group) ConsumerHeartbeat(now int64, t Ticket, c Client, fresh string, r *kmsg.ConsumerGroupHeartbeatRequest) Output {
	var out Output
	version := r.Version
	a := answer{ticket: t, fail: func(code int16) kmsg.Response {
		return ConsumerHeartbeatError(version, &Refusal{Code: code})
	}}
	var refused *Refusal
	switch {
	case g.state == Dead:
		refused = &Refusal{Code: coordinatorNotAvailable}
	case r.MemberEpoch == epochLeave || r.MemberEpoch == epochStaticLeave:
		refused = g.consumerLeave(now, a, r, &out)
	default:
		refused = g.consumerHeartbeat(now, a, c, fresh, r, &out)
	}
	if refused != nil {
		out.reply(t, ConsumerHeartbeatError(version, refused))
	}
	return out
}

// consumerHeartbeat returns why it does nothing, or nil.
func (g *Group) consumerHeartbeat(now int64, a answer, c Client, fresh string, r *kmsg.ConsumerGroupHeartbeatRequest, out *Output) *Refusal {
	up, refused := g.makeConsumer(r.MemberEpoch == epochJoin)
	if refused != nil {
		return refused
	}
	p := g.newStep(now)
	if up != nil {
		p.before = nil
	}
	member, refused := p.find(r, fresh)
	if refused != nil {
		up.cancel(g)
		return refused
	}
	reported := reportedBy(r.Topics)
	if member.state == unknownState && (reported == nil || len(reported) > 0) {
		return refuse(fencedMemberEpoch, "The consumer group member is in a unknown state. The member must abandon all its partitions and rejoin.")
	}
	next := updated(member, c, r)
	joins := p.state.members[member.id] == nil
	resubscribed := !slices.Equal(next.topics, member.topics) || next.regex != member.regex
	if joins || !next.sameMetadata(member) {
		p.put(next)
	} else {
		next = member
	}
	known := next.regex == member.regex || next.regex == "" || p.state.regexes[next.regex] != nil
	p.refresh(resubscribed, known || !slices.Equal(next.topics, member.topics))
	p.assign()
	next = p.reconcile(next, reported, resubscribed)
	g.consumer.timers.stop(timerKey{joinTimer, next.id})
	g.consumer.timers.stop(timerKey{syncTimer, next.id})

	a.response = p.heartbeatResponse(r, member, next)
	undo, extra := up.begin(g, now, out)
	p.finish(out, undo, extra, a)
	g.consumer.timers.set(timerKey{sessionTimer, next.id}, now+p.settings.SessionTimeout)
	return nil
}

// find returns the member that a heartbeat is of, a new one where it joins.
func (p *consumerStep) find(r *kmsg.ConsumerGroupHeartbeatRequest, fresh string) (*consumerMember, *Refusal) {
	id := r.MemberID
	if id == "" {
		id = fresh
	}
	m := p.state.members[id]
	if p.settings.MaxSize > 0 && len(p.state.members) >= p.settings.MaxSize && m == nil {
		return nil, refuse(groupMaxSizeReached, "The consumer group has reached its maximum capacity of %d members.", p.settings.MaxSize)
	}
	if r.InstanceID != nil {
		return p.findStatic(id, *r.InstanceID, r)
	}
	if m == nil {
		if r.MemberEpoch != epochJoin {
			return nil, refuse(unknownMemberID, "Member %s is not a member of group %s.", id, p.g.id)
		}
		return newConsumerMember(id), nil
	}
	return m, fencedEpoch(m, r.MemberEpoch, reportedBy(r.Topics))
}

func newConsumerMember(id string) *consumerMember {
	return &consumerMember{id: strings.Clone(id), previous: -1, rebalanceTimeout: -1, assigned: ownership{}, revoking: ownership{}}
}

// findStatic is find for a static member (KIP-345): one that left for a while is
// replaced by whoever joins with its instance id.
func (p *consumerStep) findStatic(id, instance string, r *kmsg.ConsumerGroupHeartbeatRequest) (*consumerMember, *Refusal) {
	old := p.state.members[p.g.consumer.static[instance]]
	if r.MemberEpoch != epochJoin {
		if refused := fencedInstance(old, id, instance); refused != nil {
			return nil, refused
		}
		return old, fencedEpoch(old, r.MemberEpoch, reportedBy(r.Topics))
	}
	switch {
	case old == nil:
		if m := p.state.members[id]; m != nil {
			return m, nil
		}
		return newConsumerMember(id), nil
	case old.id == id && old.epoch != epochStaticLeave:
		return old, nil
	case old.classic == nil && old.epoch != epochStaticLeave:
		return nil, refuse(unreleasedInstanceID, "Static member %s with instance id %s cannot join the group because the instance id is owned by %s member.", id, instance, old.id)
	}
	return p.replace(old, id), nil
}

// replace gives a static member's partitions to its successor.
func (p *consumerStep) replace(old *consumerMember, id string) *consumerMember {
	next := *old
	next.id, next.epoch, next.previous = strings.Clone(id), 0, 0
	s := p.edit()
	target, has := s.target[old.id]
	s.remove(old.id)
	if has {
		s.target[next.id] = target
	}
	s.members[next.id] = &next
	return &next
}

// fencedInstance refuses a member that is not the one with the instance id.
func fencedInstance(m *consumerMember, id, instance string) *Refusal {
	switch {
	case m == nil:
		return refuse(unknownMemberID, "Instance id %s is unknown.", instance)
	case m.id != id:
		return refuse(fencedInstanceID, "Static member %s with instance id %s was fenced by member %s.", id, instance, m.id)
	}
	return nil
}

// fencedEpoch refuses an epoch that is not the member's. The one before is accepted
// from who owns no more than it was given: the answer with the new one may be lost.
func fencedEpoch(m *consumerMember, epoch int32, reported assignment) *Refusal {
	switch {
	case epoch == epochJoin || epoch == m.epoch:
		return nil
	case epoch > m.epoch:
		return refuse(fencedMemberEpoch, "The consumer group member has a greater member epoch (%d) than the one known by the group coordinator (%d). The member must abandon all its partitions and rejoin.", epoch, m.epoch)
	case epoch == m.previous && subset(reported, m.assigned):
		return nil
	}
	return refuse(fencedMemberEpoch, "The consumer group member has a smaller member epoch (%d) than the one known by the group coordinator (%d). The member must abandon all its partitions and rejoin.", epoch, m.epoch)
}

// subset reports whether all that is reported is owned; what is not reported may be
// anything.
func subset(reported assignment, all ownership) bool {
	if reported == nil {
		return false
	}
	for id, partitions := range reported {
		for _, partition := range partitions {
			if _, ok := all.find(id, partition); !ok {
				return false
			}
		}
	}
	return true
}

// reportedBy is what a member says that it owns, nil: it does not say.
func reportedBy(topics []kmsg.ConsumerGroupHeartbeatRequestTopic) assignment {
	if topics == nil {
		return nil
	}
	a := assignment{}
	for i := range topics {
		if len(topics[i].Partitions) > 0 {
			a[topics[i].TopicID] = append(a[topics[i].TopicID], topics[i].Partitions...)
		}
	}
	for _, partitions := range a {
		slices.Sort(partitions)
	}
	return a
}

// updated is the member with what a heartbeat says; what it leaves out stays.
func updated(m *consumerMember, c Client, r *kmsg.ConsumerGroupHeartbeatRequest) *consumerMember {
	next := *m
	next.clientID, next.clientHost, next.classic = strings.Clone(c.ID), strings.Clone(c.Host), nil
	if r.InstanceID != nil {
		next.instance = cloneString(r.InstanceID)
	}
	if r.RackID != nil {
		next.rack = cloneString(r.RackID)
	}
	if r.RebalanceTimeoutMillis != -1 {
		next.rebalanceTimeout = r.RebalanceTimeoutMillis
	}
	if r.ServerAssignor != nil {
		next.assignor = cloneString(r.ServerAssignor)
	}
	if r.SubscribedTopicNames != nil {
		next.topics = sortedNames(r.SubscribedTopicNames)
	}
	if r.SubscribedTopicRegex != nil {
		next.regex = strings.Clone(*r.SubscribedTopicRegex)
	}
	return &next
}

// heartbeatResponse tells the member its epoch, and its assignment where that has
// changed or the member has sent everything: then it may not know it.
func (p *consumerStep) heartbeatResponse(r *kmsg.ConsumerGroupHeartbeatRequest, before, m *consumerMember) *kmsg.ConsumerGroupHeartbeatResponse {
	response := kmsg.NewPtrConsumerGroupHeartbeatResponse()
	response.Version = r.Version
	response.MemberID = &m.id
	response.MemberEpoch = m.epoch
	response.HeartbeatIntervalMillis = int32(p.settings.HeartbeatInterval)
	full := r.MemberEpoch == epochJoin ||
		r.RebalanceTimeoutMillis != -1 && (r.SubscribedTopicNames != nil || r.SubscribedTopicRegex != nil) && r.Topics != nil
	if full || !before.assigned.partitions().equal(m.assigned.partitions()) {
		response.Assignment = heartbeatAssignment(m.assigned.partitions())
	}
	return response
}

func heartbeatAssignment(all assignment) *kmsg.ConsumerGroupHeartbeatResponseAssignment {
	a := kmsg.NewConsumerGroupHeartbeatResponseAssignment()
	for _, id := range all.topics() {
		t := kmsg.NewConsumerGroupHeartbeatResponseAssignmentTopic()
		t.TopicID, t.Partitions = id, all[id]
		a.Topics = append(a.Topics, t)
	}
	return &a
}

// consumerLeave ends a membership, or, for a static member, interrupts it.
func (g *Group) consumerLeave(now int64, a answer, r *kmsg.ConsumerGroupHeartbeatRequest, out *Output) *Refusal {
	if g.consumer == nil {
		return refuse(groupIDNotFound, "Group %s is not a consumer group.", g.id)
	}
	s := g.consumer.state
	m := s.members[r.MemberID]
	if r.InstanceID != nil {
		m = s.members[g.consumer.static[*r.InstanceID]]
		if refused := fencedInstance(m, r.MemberID, *r.InstanceID); refused != nil {
			return refused
		}
	}
	if m == nil {
		return refuse(unknownMemberID, "Member %s is not a member of group %s.", r.MemberID, g.id)
	}
	response := kmsg.NewPtrConsumerGroupHeartbeatResponse()
	response.Version = r.Version
	response.MemberID, response.MemberEpoch = &m.id, r.MemberEpoch
	a.response = response
	if r.MemberEpoch == epochLeave {
		g.fence(now, []answer{a}, out, m.id)
		return nil
	}
	p := g.newStep(now)
	away := *m
	away.epoch, away.revoking = epochStaticLeave, ownership{}
	p.put(&away)
	p.finish(out, nil, nil, a)
	return nil
}
