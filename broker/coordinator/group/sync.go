package group

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ValidateSync checks what does not depend on the group, and returns a code, 0: it is fine.
// The protocol must be named from v5 on (KIP-559).
func ValidateSync(r *kmsg.SyncGroupRequest) int16 {
	switch {
	case r.Version >= 5 && (r.ProtocolType == nil || r.Protocol == nil):
		return inconsistentGroupProtocol
	case r.Group == "":
		return invalidGroupID
	}
	return 0
}

// Sync handles a valid SyncGroup v0-v5. Followers wait for the leader, all wait until the
// leader's assignment is stored.
func (g *Group) Sync(now int64, t Ticket, r *kmsg.SyncGroupRequest) Output {
	var out Output
	if g.consumer != nil && g.state != Dead {
		g.syncConsumer(now, t, r, &out)
		return out
	}
	if code := g.validateSync(r); code != 0 {
		out.reply(t, SyncError(r.Version, code))
		return out
	}
	m := g.members[r.MemberID]
	g.synced(m)
	if g.state == Stable {
		out.reply(t, g.syncResponse(r.Version, m))
		return out
	}
	if old := m.awaitSync; old != nil { // abandoned by a client that asks again
		out.reply(old.ticket, SyncError(old.version, rebalanceInProgress))
	}
	m.awaitSync = &parked{ticket: t, version: r.Version}
	if g.leader == m.id {
		g.store(now, r, &out)
	}
	return out
}

func (g *Group) validateSync(r *kmsg.SyncGroupRequest) int16 {
	differs := func(theirs *string, ours *string) bool {
		return theirs != nil && ours != nil && *theirs != *ours
	}
	switch {
	case g.state == Dead:
		return coordinatorNotAvailable
	case g.state == Empty:
		return unknownMemberID
	}
	if code := g.validate(r.MemberID, r.InstanceID); code != 0 {
		return code
	}
	switch {
	case r.Generation != g.generation:
		return illegalGeneration
	case differs(r.ProtocolType, &g.protocolType), differs(r.Protocol, g.protocolName):
		return inconsistentGroupProtocol
	case g.state == PreparingRebalance:
		return rebalanceInProgress
	}
	return 0
}

// synced notes that m has sent its sync.
func (g *Group) synced(m *member) {
	if delete(g.unsynced, m.id); len(g.unsynced) == 0 {
		g.syncAt = 0
	}
}

// store writes the leader's assignment. Who is not named in it gets nothing.
func (g *Group) store(now int64, r *kmsg.SyncGroupRequest, out *Output) {
	assignments := make(map[string][]byte, len(g.members))
	for i := range r.GroupAssignment {
		if a := &r.GroupAssignment[i]; g.members[a.MemberID] != nil {
			assignments[strings.Clone(a.MemberID)] = cloneBytes(a.MemberAssignment)
		}
	}
	g.persisted = true
	out.append(one(now, g.metadataKey(), g.metadataValue(assignments)),
		afterSync{generation: g.generation, assignments: assignments})
}

// afterSync makes a stored assignment the group's, unless a new rebalance has begun.
type afterSync struct {
	generation  int32
	assignments map[string][]byte
}

func (a afterSync) appended(g *Group, now int64, code int16, out *Output) {
	if g.state != CompletingRebalance || g.generation != a.generation {
		return
	}
	if code != 0 {
		g.endSync(now, code, out)
		g.prepareRebalance(now, out)
		return
	}
	for _, m := range g.members {
		if m.assignment = a.assignments[m.id]; m.assignment == nil {
			m.assignment = []byte{}
		}
	}
	g.endSync(now, 0, out)
	g.transition(now, Stable)
}

// endSync answers the parked syncs: with the assignment, or with a code and none.
func (g *Group) endSync(now int64, code int16, out *Output) {
	for _, m := range g.inOrder() {
		if code != 0 {
			m.assignment = []byte{}
		}
		p := m.awaitSync
		if p == nil {
			continue
		}
		m.awaitSync = nil
		// A session that ran out while the member waited was let pass: start it anew.
		g.extend(m, now+int64(m.sessionTimeout))
		if code != 0 {
			out.reply(p.ticket, SyncError(p.version, code))
		} else {
			out.reply(p.ticket, g.syncResponse(p.version, m))
		}
	}
}

// syncTimeout expires the members that have not synced, and rebalances the rest.
func (g *Group) syncTimeout(now int64, out *Output) {
	g.syncAt = 0
	if len(g.unsynced) == 0 || g.state != CompletingRebalance && g.state != Stable {
		return
	}
	for _, m := range g.inOrder() {
		if _, ok := g.unsynced[m.id]; ok {
			g.expel(m, out)
		}
	}
	g.prepareRebalance(now, out)
}

func (g *Group) syncResponse(version int16, m *member) *kmsg.SyncGroupResponse {
	r := SyncError(version, 0)
	protocolType := g.protocolType
	r.ProtocolType = &protocolType
	r.Protocol = g.protocolName
	r.MemberAssignment = m.assignment
	return r
}

// SyncError answers a sync with a code.
func SyncError(version int16, code int16) *kmsg.SyncGroupResponse {
	r := kmsg.NewPtrSyncGroupResponse()
	r.Version = version
	r.ErrorCode = code
	r.MemberAssignment = []byte{}
	return r
}
