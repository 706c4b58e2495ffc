package group

import "github.com/twmb/franz-go/pkg/kmsg"

// Leave handles LeaveGroup v0-v5: several members at once from v3 on (KIP-345).
func (g *Group) Leave(now int64, r *kmsg.LeaveGroupRequest) (*kmsg.LeaveGroupResponse, Output) {
	var out Output
	if g.state == Dead {
		return LeaveError(r, coordinatorNotAvailable), out
	}
	answers := leavers(r)
	if g.consumer != nil {
		g.leaveConsumer(now, answers, &out)
		return leaveResponse(r, answers), out
	}
	left := false
	for i := range answers {
		a := &answers[i]
		a.ErrorCode = g.leave(a.MemberID, a.InstanceID, &out)
		left = left || a.ErrorCode == 0
	}
	if left {
		switch g.state {
		case Stable, CompletingRebalance:
			g.prepareRebalance(now, &out)
		case PreparingRebalance:
			g.maybeCompleteJoin(now, &out)
		}
	}
	return leaveResponse(r, answers), out
}

// leave takes one member out. An administrator names static members by their instance
// id alone.
func (g *Group) leave(id string, instance *string, out *Output) int16 {
	if id == "" {
		if instance == nil || g.static[*instance] == "" {
			return unknownMemberID
		}
		id = g.static[*instance]
	} else if g.pending[id] != nil {
		g.remove(id)
		return 0
	} else if code := g.validate(id, instance); code != 0 {
		return code
	}
	g.expel(g.members[id], out)
	return 0
}

// leavers are the members that a request names, as the answer will list them.
func leavers(r *kmsg.LeaveGroupRequest) []kmsg.LeaveGroupResponseMember {
	if r.Version < 3 {
		m := kmsg.NewLeaveGroupResponseMember()
		m.MemberID = r.MemberID
		return []kmsg.LeaveGroupResponseMember{m}
	}
	answers := make([]kmsg.LeaveGroupResponseMember, 0, len(r.Members))
	for i := range r.Members {
		m := kmsg.NewLeaveGroupResponseMember()
		m.MemberID, m.InstanceID = r.Members[i].MemberID, r.Members[i].InstanceID
		answers = append(answers, m)
	}
	return answers
}

func leaveResponse(r *kmsg.LeaveGroupRequest, answers []kmsg.LeaveGroupResponseMember) *kmsg.LeaveGroupResponse {
	response := LeaveError(r, 0)
	if r.Version < 3 {
		response.ErrorCode = answers[0].ErrorCode
	} else {
		response.Members = answers
	}
	return response
}

// LeaveError answers a leave with a code for the whole request.
func LeaveError(r *kmsg.LeaveGroupRequest, code int16) *kmsg.LeaveGroupResponse {
	response := kmsg.NewPtrLeaveGroupResponse()
	response.Version = r.Version
	response.ErrorCode = code
	return response
}

// LeaveUnknown answers a leave from a group that does not exist.
func LeaveUnknown(r *kmsg.LeaveGroupRequest) *kmsg.LeaveGroupResponse {
	answers := leavers(r)
	for i := range answers {
		answers[i].ErrorCode = unknownMemberID
	}
	return leaveResponse(r, answers)
}
