package group

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Join handles JoinGroup v0-v9. The answer comes at once, or with the end of the join
// phase. fresh is a random string that nobody else has got, for a member id.
func (g *Group) Join(now int64, t Ticket, c Client, fresh string, r *kmsg.JoinGroupRequest) Output {
	var out Output
	fail := func(id string, code int16) { out.reply(t, JoinError(r.Version, id, code)) }
	switch {
	case g.state == Dead:
		fail(r.MemberID, coordinatorNotAvailable)
	case !storable(c, fresh, r):
		fail(r.MemberID, invalidRequest)
	case g.consumer != nil && len(g.consumer.state.members) > 0:
		g.joinConsumer(now, t, c, fresh, r, &out)
	case g.modernMembers() > 0, g.share != nil:
		fail("", inconsistentGroupProtocol)
	case g.modern():
		g.endModern(now, &out)
		g.joinClassic(now, t, c, fresh, r, &out)
	default:
		g.joinClassic(now, t, c, fresh, r, &out)
	}
	return out
}

// joinClassic joins a group of the classic protocol.
func (g *Group) joinClassic(now int64, t Ticket, c Client, fresh string, r *kmsg.JoinGroupRequest, out *Output) {
	fail := func(id string, code int16) { out.reply(t, JoinError(r.Version, id, code)) }
	switch {
	case !g.accepts(r.MemberID):
		if m := g.members[r.MemberID]; m != nil {
			g.expel(m, out)
		} else {
			g.remove(r.MemberID)
		}
		fail("", groupMaxSizeReached)
		g.maybeCompleteJoin(now, out)
	case !g.supports(r.ProtocolType, r.Protocols):
		fail(r.MemberID, inconsistentGroupProtocol)
	case r.MemberID != "":
		g.rejoin(now, t, c, r, out)
	case r.InstanceID != nil:
		id := *r.InstanceID + "-" + fresh
		if old, ok := g.static[*r.InstanceID]; ok {
			g.replaceStatic(now, t, old, id, r, out)
		} else {
			g.admit(now, t, c, id, r, out)
		}
	case r.Version >= 4: // KIP-394: come back with the id
		m := &member{id: c.ID + "-" + fresh}
		g.pending[m.id] = m
		g.extend(m, now+int64(r.SessionTimeoutMillis))
		fail(m.id, memberIDRequired)
	default:
		g.admit(now, t, c, c.ID+"-"+fresh, r, out)
	}
}

// storable reports whether the strings of a join, and a member id that is made of
// them, fit into a record: their lengths are int16 there and varints in the request.
func storable(c Client, fresh string, r *kmsg.JoinGroupRequest) bool {
	room := maxString - 1 - len(fresh)
	if len(c.ID) > room || len(r.MemberID) > maxString || len(r.ProtocolType) > maxString || r.InstanceID != nil && len(*r.InstanceID) > room {
		return false
	}
	return !slices.ContainsFunc(r.Protocols, func(p kmsg.JoinGroupRequestProtocol) bool { return len(p.Name) > maxString })
}

// accepts reports whether group.max.size has room for the member. While a group
// prepares a rebalance the members that have joined count, so that a group which is
// over its size sends away whoever comes last.
func (g *Group) accepts(id string) bool {
	m := g.members[id]
	switch g.state {
	case PreparingRebalance:
		if !(m != nil && m.awaitJoin != nil) && g.joined >= g.maxSize() {
			return false
		}
	case CompletingRebalance, Stable:
		if m == nil && len(g.members) >= g.maxSize() {
			return false
		}
	}
	return id != "" || len(g.pending) < maxPendingMembers
}

// supports reports whether a member with these protocols can be in the group: one of
// them at least is supported by all others.
func (g *Group) supports(protocolType string, protocols []kmsg.JoinGroupRequestProtocol) bool {
	if g.state == Empty {
		return protocolType != "" && len(protocols) > 0
	}
	return protocolType == g.protocolType &&
		slices.ContainsFunc(protocols, func(p kmsg.JoinGroupRequestProtocol) bool {
			return g.supported[p.Name] == len(g.members)
		})
}

// rejoin handles a join that names a member id.
func (g *Group) rejoin(now int64, t Ticket, c Client, r *kmsg.JoinGroupRequest, out *Output) {
	id := r.MemberID
	if g.pending[id] != nil {
		if r.InstanceID != nil { // ids are handed out to dynamic members only
			out.reply(t, JoinError(r.Version, "", unknownServerError))
			return
		}
		g.admit(now, t, c, strings.Clone(id), r, out)
		return
	}
	if code := g.validate(id, r.InstanceID); code != 0 {
		out.reply(t, JoinError(r.Version, id, code))
		return
	}
	m := g.members[id]
	switch g.state {
	case PreparingRebalance:
		g.park(m, t, r, out)
		g.maybeCompleteJoin(now, out)
	case CompletingRebalance:
		if m.offers(r.Protocols) { // it may not have got our answer
			out.reply(t, g.joinResponse(r.Version, m))
			return
		}
		g.park(m, t, r, out)
		g.prepareRebalance(now, out)
	case Stable:
		// A leader that joins again wants a rebalance, for instance because it saw new
		// partitions, which are not in its own metadata.
		if g.leader != id && m.offers(r.Protocols) {
			out.reply(t, g.joinResponse(r.Version, m))
			return
		}
		g.park(m, t, r, out)
		g.prepareRebalance(now, out)
	default: // Empty groups have no members
		out.reply(t, JoinError(r.Version, id, unknownMemberID))
	}
}

// admit makes a new member and has the group rebalance.
func (g *Group) admit(now int64, t Ticket, c Client, id string, r *kmsg.JoinGroupRequest, out *Output) {
	m := &member{
		id: id, instance: cloneString(r.InstanceID),
		clientID: strings.Clone(c.ID), clientHost: strings.Clone(c.Host),
		rebalanceTimeout: rebalanceTimeout(r), sessionTimeout: r.SessionTimeoutMillis,
		protocols: cloneProtocols(r.Protocols), assignment: []byte{},
		isNew: true, awaitJoin: &parked{ticket: t, version: r.Version},
	}
	if g.state == PreparingRebalance && g.initial {
		g.newMember = true
	}
	g.add(m, strings.Clone(r.ProtocolType))
	g.extend(m, now+newMemberJoinTimeout)
	if g.state == PreparingRebalance {
		g.maybeCompleteJoin(now, out)
	} else {
		g.prepareRebalance(now, out)
	}
}

// park lets a known member wait for the next generation, with what it says now.
func (g *Group) park(m *member, t Ticket, r *kmsg.JoinGroupRequest, out *Output) {
	g.update(m, cloneProtocols(r.Protocols), rebalanceTimeout(r), r.SessionTimeoutMillis)
	if old := m.awaitJoin; old != nil { // abandoned by a client that asks again
		out.reply(old.ticket, JoinError(old.version, m.id, rebalanceInProgress))
	} else {
		g.joined++
	}
	m.awaitJoin = &parked{ticket: t, version: r.Version}
}

func (g *Group) update(m *member, protocols []protocol, rebalanceTimeout, sessionTimeout int32) {
	g.count(m, -1)
	m.protocols = protocols
	g.count(m, +1)
	m.rebalanceTimeout, m.sessionTimeout = rebalanceTimeout, sessionTimeout
}

// prepareRebalance begins a join phase, from any state but Dead.
func (g *Group) prepareRebalance(now int64, out *Output) {
	if g.state == CompletingRebalance {
		g.endSync(now, rebalanceInProgress, out)
	}
	clear(g.unsynced)
	g.syncAt = 0
	g.initial = g.state == Empty
	g.newMember = false
	g.transition(now, PreparingRebalance)
	switch {
	case g.initial: // give the others of a new group time to come
		g.joinDelay = g.limits.InitialRebalanceDelay
		g.joinRemaining = max(g.rebalanceTimeout()-g.joinDelay, 0)
		g.joinAt = now + g.joinDelay
	case g.allJoined():
		g.completeJoin(now, out)
	default:
		g.joinAt = now + g.rebalanceTimeout()
	}
}

// maybeCompleteJoin completes the join phase once all have joined, but for an initial
// rebalance, which waits for its delay.
func (g *Group) maybeCompleteJoin(now int64, out *Output) {
	if g.state == PreparingRebalance && !g.initial && g.allJoined() {
		g.completeJoin(now, out)
	}
}

// joinTimeout ends the join phase, or puts its end off while an initial rebalance
// still attracts members.
func (g *Group) joinTimeout(now int64, out *Output) {
	if g.initial && g.newMember && g.joinRemaining != 0 {
		g.newMember = false
		delay := min(g.limits.InitialRebalanceDelay, g.joinRemaining)
		g.joinRemaining = max(g.joinRemaining-g.joinDelay, 0)
		g.joinDelay = delay
		g.joinAt = now + delay
		return
	}
	g.completeJoin(now, out)
}

// completeJoin starts the next generation with those who have joined. Static members
// that have not are kept: their session timeout decides (KIP-345).
func (g *Group) completeJoin(now int64, out *Output) {
	g.joinAt = 0
	for _, m := range g.inOrder() {
		if m.awaitJoin == nil && m.instance == nil {
			g.remove(m.id)
		}
	}
	if len(g.members) > 0 && !g.electLeader() {
		g.joinAt = now + max(g.rebalanceTimeout(), minRetry)
		return
	}
	g.initial = false
	g.generation++
	clear(g.unsynced)
	if len(g.members) == 0 {
		g.protocolName = nil
		g.transition(now, Empty)
		g.persisted = true
		out.append(one(now, g.metadataKey(), g.metadataValue(nil)), afterEmpty{})
		return
	}
	name := g.selectProtocol()
	g.protocolName = &name
	g.transition(now, CompletingRebalance)
	for _, m := range g.inOrder() {
		if p := m.awaitJoin; p != nil {
			m.awaitJoin = nil
			g.joined--
			out.reply(p.ticket, g.joinResponse(p.version, m))
		}
		m.isNew = false
		g.extend(m, now+int64(m.sessionTimeout))
		g.unsynced[m.id] = struct{}{}
	}
	g.syncAt = now + max(g.rebalanceTimeout(), minRetry)
}

// electLeader keeps the leader if it has joined, else elects the oldest member that
// has. It reports false where no member has joined.
func (g *Group) electLeader() bool {
	if m := g.members[g.leader]; m != nil && m.awaitJoin != nil {
		return true
	}
	for _, m := range g.inOrder() {
		if m.awaitJoin != nil {
			g.leader = m.id
			return true
		}
	}
	return false
}

// afterEmpty: an empty generation that could not be stored is no harm. The one before
// comes back after a restart and times out.
type afterEmpty struct{}

func (afterEmpty) appended(*Group, int64, int16, *Output) {}

// joinResponse tells m of the current generation; the leader learns who is in it.
func (g *Group) joinResponse(version int16, m *member) *kmsg.JoinGroupResponse {
	r := JoinError(version, m.id, 0)
	r.Generation = g.generation
	r.Protocol = g.protocolName
	if protocolType := g.protocolType; protocolType != "" {
		r.ProtocolType = &protocolType
	}
	r.LeaderID = g.leader
	if m.id == g.leader && g.protocolName != nil {
		for _, other := range g.inOrder() {
			om := kmsg.NewJoinGroupResponseMember()
			om.MemberID = other.id
			om.InstanceID = other.instance
			om.ProtocolMetadata = other.metadata(*g.protocolName)
			r.Members = append(r.Members, om)
		}
	}
	return r
}

// JoinError answers a join with a code. The protocol's name is null from v7 on, where
// it may be (KIP-559), and empty before.
func JoinError(version int16, id string, code int16) *kmsg.JoinGroupResponse {
	r := kmsg.NewPtrJoinGroupResponse()
	r.Version = version
	r.ErrorCode = code
	r.MemberID = id
	r.Members = []kmsg.JoinGroupResponseMember{}
	if version < 7 {
		r.Protocol = new(string)
	}
	return r
}

// rebalanceTimeout is the session timeout in v0, which knows no other.
func rebalanceTimeout(r *kmsg.JoinGroupRequest) int32 {
	if r.Version == 0 {
		return r.SessionTimeoutMillis
	}
	return r.RebalanceTimeoutMillis
}
