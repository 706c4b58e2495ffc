package group

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ValidateShareHeartbeat checks what does not depend on the group, nil: it is fine.
func ValidateShareHeartbeat(r *kmsg.ShareGroupHeartbeatRequest) *Refusal {
	blank := func(s string) bool { return strings.TrimSpace(s) == "" }
	switch {
	case r.MemberID == "" || len(r.MemberID) > maxMemberID:
		return &Refusal{Code: invalidRequest}
	case blank(r.MemberID):
		return refuse(invalidRequest, "MemberId can't be empty.")
	case blank(r.GroupID):
		return refuse(invalidRequest, "GroupId can't be empty.")
	case len(r.GroupID) > maxString:
		return refuse(invalidRequest, "GroupId can't be longer than %d bytes.", maxString)
	case r.RackID != nil && blank(*r.RackID):
		return refuse(invalidRequest, "RackId can't be empty.")
	case r.MemberEpoch == epochJoin && len(r.SubscribedTopicNames) == 0:
		return refuse(invalidRequest, "SubscribedTopicNames must be set in first request.")
	case r.MemberEpoch < epochLeave:
		return refuse(invalidRequest, "MemberEpoch is invalid.")
	}
	return nil
}

// maxMemberID is the longest id of a member of a share group: that of a UUID in
// hexadecimal digits.
const maxMemberID = 36

// ShareHeartbeatError answers a heartbeat with an error.
func ShareHeartbeatError(version int16, f *Refusal) *kmsg.ShareGroupHeartbeatResponse {
	r := kmsg.NewPtrShareGroupHeartbeatResponse()
	r.Version, r.ErrorCode = version, f.Code
	if f.Message != "" {
		r.ErrorMessage = &f.Message
	}
	return r
}

// ShareHeartbeat handles a valid ShareGroupHeartbeat v1 (KIP-932): it joins, keeps, changes
// or ends a membership, and tells the member what it shares in. The answer comes when the
// records of what it says are committed.
func (g *Group) ShareHeartbeat(now int64, t Ticket, c Client, r *kmsg.ShareGroupHeartbeatRequest) Output {
	var out Output
	version := r.Version
	a := answer{ticket: t, fail: func(code int16) kmsg.Response { return ShareHeartbeatError(version, &Refusal{Code: code}) }}
	var refused *Refusal
	switch {
	case g.state == Dead:
		refused = &Refusal{Code: coordinatorNotAvailable}
	case r.MemberEpoch == epochLeave:
		refused = g.shareLeave(now, a, r, &out)
	default:
		refused = g.shareHeartbeat(now, a, c, r, &out)
	}
	if refused != nil {
		out.reply(t, ShareHeartbeatError(version, refused))
	}
	return out
}

// shareHeartbeat returns why it does nothing, or nil.
func (g *Group) shareHeartbeat(now int64, a answer, c Client, r *kmsg.ShareGroupHeartbeatRequest, out *Output) *Refusal {
	fresh, refused := g.makeShare(r.MemberEpoch == epochJoin)
	if refused != nil {
		return refused
	}
	p := g.newShareStep(now, fresh)
	member, refused := p.find(r)
	if refused != nil {
		if fresh {
			g.share = nil
		}
		return refused
	}
	next := *member
	next.clientID, next.clientHost = strings.Clone(c.ID), strings.Clone(c.Host)
	if r.RackID != nil {
		next.rack = cloneString(r.RackID)
	}
	if r.SubscribedTopicNames != nil {
		next.topics = sortedNames(r.SubscribedTopicNames)
	}
	joins := p.state.members[member.id] == nil
	resubscribed := joins || !slices.Equal(next.topics, member.topics)
	m := member
	if joins || !next.sameMetadata(member) {
		m = &next
		p.edit().members[m.id] = m
	}
	epoch := p.state.epoch
	p.refresh(resubscribed)
	p.assign()
	m = p.reconcile(m, p.state.epoch != epoch)
	p.initialize()

	response := kmsg.NewPtrShareGroupHeartbeatResponse()
	response.Version = r.Version
	response.MemberID, response.MemberEpoch = &m.id, m.epoch
	response.HeartbeatIntervalMillis = int32(p.settings.HeartbeatInterval)
	if r.MemberEpoch == epochJoin || r.SubscribedTopicNames != nil || !member.assigned.equal(m.assigned) {
		response.Assignment = shareAssignment(m.assigned)
	}
	a.response = response
	p.finish(out, a)
	g.share.timers.set(timerKey{sessionTimer, m.id}, now+p.settings.SessionTimeout)
	return nil
}

// find returns the member that a heartbeat is of, a new one where it joins.
func (p *shareStep) find(r *kmsg.ShareGroupHeartbeatRequest) (*shareMember, *Refusal) {
	m := p.state.members[r.MemberID]
	switch {
	case m == nil && p.settings.MaxSize > 0 && len(p.state.members) >= p.settings.MaxSize:
		return nil, refuse(groupMaxSizeReached, "The share group has reached its maximum capacity of %d members.", p.settings.MaxSize)
	case m == nil && r.MemberEpoch != epochJoin:
		return nil, refuse(unknownMemberID, "Member %s is not a member of group %s.", r.MemberID, p.g.id)
	case m == nil:
		return &shareMember{id: strings.Clone(r.MemberID), previous: -1, assigned: assignment{}}, nil
	case r.MemberEpoch == epochJoin, r.MemberEpoch == m.epoch, r.MemberEpoch == m.previous:
		return m, nil
	case r.MemberEpoch > m.epoch:
		return nil, refuse(fencedMemberEpoch, "The share group member has a greater member epoch (%d) than the one known by the group coordinator (%d). The member must abandon all its partitions and rejoin.", r.MemberEpoch, m.epoch)
	}
	return nil, refuse(fencedMemberEpoch, "The share group member has a smaller member epoch (%d) than the one known by the group coordinator (%d), and it does not match the previous member epoch (%d). The member must abandon all its partitions and rejoin.", r.MemberEpoch, m.epoch, m.previous)
}

func shareAssignment(all assignment) *kmsg.ShareGroupHeartbeatResponseAssignment {
	a := kmsg.NewShareGroupHeartbeatResponseAssignment()
	for _, id := range all.topics() {
		t := kmsg.NewShareGroupHeartbeatResponseAssignmentTopicPartition()
		t.TopicID, t.Partitions = id, all[id]
		a.TopicPartitions = append(a.TopicPartitions, t)
	}
	return &a
}

// shareLeave ends a membership.
func (g *Group) shareLeave(now int64, a answer, r *kmsg.ShareGroupHeartbeatRequest, out *Output) *Refusal {
	if g.share == nil {
		return refuse(groupIDNotFound, "Group %s is not a share group.", g.id)
	}
	m := g.share.state.members[r.MemberID]
	if m == nil {
		return refuse(unknownMemberID, "Member %s is not a member of group %s.", r.MemberID, g.id)
	}
	response := kmsg.NewPtrShareGroupHeartbeatResponse()
	response.Version = r.Version
	response.MemberID, response.MemberEpoch = &m.id, r.MemberEpoch
	a.response = response
	g.fenceShare(now, m.id, out, a)
	return nil
}
