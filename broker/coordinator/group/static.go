package group

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// replaceStatic gives a static member that comes back without its member id a new one
// and fences the old (KIP-345). A stable group whose protocol stays the same goes on
// as it is: the new id is stored and the assignment kept.
func (g *Group) replaceStatic(now int64, t Ticket, oldID, newID string, r *kmsg.JoinGroupRequest, out *Output) {
	leader := g.leader
	old := g.members[oldID]
	before := *old
	m := g.rename(now, old, strings.Clone(newID), out)
	g.park(m, t, r, out)
	switch g.state {
	case Stable:
		if g.protocolName == nil || g.selectProtocol() != *g.protocolName {
			g.prepareRebalance(now, out)
			return
		}
		g.persisted = true
		out.append(one(now, g.metadataKey(), g.metadataValue(nil)), afterReplace{
			ticket: t, version: r.Version, newID: m.id, old: before, leader: leader,
		})
	case CompletingRebalance:
		// The leader may be assigning partitions to the old id right now.
		g.prepareRebalance(now, out)
	default:
		g.maybeCompleteJoin(now, out)
	}
}

// rename gives a static member another member id. Whoever waits under the old one is
// fenced.
func (g *Group) rename(now int64, old *member, id string, out *Output) *member {
	if p := old.awaitJoin; p != nil {
		g.joined--
		out.reply(p.ticket, JoinError(p.version, old.id, fencedInstanceID))
	}
	if p := old.awaitSync; p != nil {
		out.reply(p.ticket, SyncError(p.version, fencedInstanceID))
	}
	m := *old
	m.id, m.awaitJoin, m.awaitSync, m.scheduled = id, nil, nil, 0
	old.scheduled = 0
	delete(g.members, old.id)
	g.members[id] = &m
	g.static[*m.instance] = id
	if g.leader == old.id {
		g.leader = id
	}
	if _, ok := g.unsynced[old.id]; ok {
		delete(g.unsynced, old.id)
		g.unsynced[id] = struct{}{}
	}
	g.extend(&m, now+int64(m.sessionTimeout))
	return &m
}

// afterReplace answers a static member once its new id is stored, and gives the old
// one back where it could not be.
type afterReplace struct {
	ticket  Ticket
	version int16
	newID   string
	old     member
	leader  string // before the replacement
}

func (a afterReplace) appended(g *Group, now int64, code int16, out *Output) {
	m := g.members[a.newID]
	if g.state != Stable || m == nil || m.awaitJoin == nil || m.awaitJoin.ticket != a.ticket {
		return // a rebalance has begun since and answers it
	}
	m.awaitJoin = nil
	g.joined--
	if code != 0 {
		g.update(m, a.old.protocols, a.old.rebalanceTimeout, a.old.sessionTimeout)
		g.rename(now, m, a.old.id, out)
		r := g.joinResponse(a.version, m)
		r.Members = []kmsg.JoinGroupResponseMember{}
		r.MemberID, r.LeaderID, r.ErrorCode = "", a.leader, code
		out.reply(a.ticket, r)
		return
	}
	g.extend(m, now+int64(m.sessionTimeout))
	r := g.joinResponse(a.version, m)
	if a.version >= 9 { // the leader learns of the members and may skip the assignment (KIP-814)
		r.SkipAssignment = g.leader == m.id
	} else { // an old client must not think that it leads, or it would assign anew
		r.LeaderID = a.leader
		r.Members = []kmsg.JoinGroupResponseMember{}
	}
	out.reply(a.ticket, r)
}
