package group

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Members of the classic protocol in a group of the consumer protocol: the coordinator
// does for them what their leader would. Their generation is their member epoch, a
// rebalance is answered to their heartbeats while the epoch of the group is ahead of
// it, and their join and sync are answered without waiting for others.

// joinConsumer joins a group of the consumer protocol that has members.
func (g *Group) joinConsumer(now int64, t Ticket, c Client, fresh string, r *kmsg.JoinGroupRequest, out *Output) {
	version, id := r.Version, strings.Clone(r.MemberID)
	fail := func(code int16) { out.reply(t, JoinError(version, "", code)) }
	p := g.newStep(now)
	subscription, code := p.acceptClassic(r)
	if code != 0 {
		fail(code)
		return
	}
	if id == "" {
		id = fresh
		if r.InstanceID == nil && version >= 4 { // KIP-394: come back with the id
			out.reply(t, JoinError(version, id, memberIDRequired))
			return
		}
	}
	m, code := p.findClassic(id, r)
	if code != 0 {
		fail(code)
		return
	}
	joins := p.state.members[m.id] == nil
	next := *m
	next.clientID, next.clientHost = strings.Clone(c.ID), strings.Clone(c.Host)
	if r.InstanceID != nil {
		next.instance = cloneString(r.InstanceID)
	}
	next.rack, next.topics, next.regex, next.assignor = subscription.rack, sortedNames(subscription.topics), "", nil
	next.rebalanceTimeout = rebalanceTimeout(r)
	next.classic = &classicPart{sessionTimeout: r.SessionTimeoutMillis, protocols: cloneProtocols(r.Protocols)}
	resubscribed := joins || !slices.Equal(next.topics, m.topics) || m.regex != ""
	joined := m
	if joins || !next.sameMetadata(m) {
		joined = &next
		p.put(joined)
	}
	p.refresh(resubscribed, true)
	p.assign()
	joined = p.reconcile(joined, identified(subscription.owned, p.metadata), resubscribed)

	timers := &g.consumer.timers
	timers.stop(timerKey{joinTimer, joined.id})
	timers.stop(timerKey{rebalanceTimer, joined.id})
	timers.set(timerKey{sessionTimer, joined.id}, now+int64(r.SessionTimeoutMillis))
	timers.set(timerKey{syncTimer, joined.id}, now+max(int64(joined.rebalanceTimeout), minRetry))
	if p.allClassic() {
		p.finish(out, nil, nil)
		g.downgradeFor(p, t, joined, version, out)
		return
	}
	response := JoinError(version, joined.id, 0)
	response.Generation = joined.epoch
	protocolType := consumerProtocol
	response.ProtocolType = &protocolType
	response.Protocol = &joined.classic.protocols[0].name
	p.finish(out, nil, nil, answer{ticket: t, response: response, fail: func(code int16) kmsg.Response {
		return JoinError(version, "", code)
	}})
}

// downgradeFor downgrades the group because m, of the classic protocol, took the place
// of the last member of the other: it waits for the rebalance.
func (g *Group) downgradeFor(p *consumerStep, t Ticket, m *consumerMember, version int16, out *Output) {
	g.downgrade(p, nil, out)
	joined := g.members[m.id]
	joined.awaitJoin = &parked{ticket: t, version: version}
	g.joined++
	g.maybeCompleteJoin(p.now, out)
}

// acceptClassic reads what a classic member offers, or says why it cannot be in the
// group: its first protocol must be one we can read, and one must be supported by all
// classic members, itself as it was among them.
func (p *consumerStep) acceptClassic(r *kmsg.JoinGroupRequest) (embeddedSubscription, int16) {
	if p.settings.MaxSize > 0 && len(p.state.members) >= p.settings.MaxSize && p.state.members[r.MemberID] == nil {
		return embeddedSubscription{}, groupMaxSizeReached
	}
	if r.ProtocolType != consumerProtocol || len(r.Protocols) == 0 || !p.supportsClassic(r) {
		return embeddedSubscription{}, inconsistentGroupProtocol
	}
	subscription, ok := readSubscription(r.Protocols[0].Metadata)
	if !ok {
		return embeddedSubscription{}, inconsistentGroupProtocol
	}
	return subscription, 0
}

func (p *consumerStep) supportsClassic(r *kmsg.JoinGroupRequest) bool {
	return slices.ContainsFunc(r.Protocols, func(offered kmsg.JoinGroupRequestProtocol) bool {
		for _, m := range p.state.members {
			if m.classic != nil && !slices.ContainsFunc(m.classic.protocols, func(x protocol) bool { return x.name == offered.Name }) {
				return false
			}
		}
		return true
	})
}

// findClassic returns the member that joins, a new one where there is none.
func (p *consumerStep) findClassic(id string, r *kmsg.JoinGroupRequest) (*consumerMember, int16) {
	if r.InstanceID == nil {
		if m := p.state.members[id]; m != nil {
			return m, 0
		}
		return newConsumerMember(id), 0
	}
	old := p.state.members[p.g.consumer.static[*r.InstanceID]]
	switch {
	case r.MemberID != "":
		if refused := fencedInstance(old, id, *r.InstanceID); refused != nil {
			return nil, refused.Code
		}
		return old, 0
	case old == nil:
		return newConsumerMember(id), 0
	}
	return p.replace(old, id), 0
}

// classicMember finds the member of a request of the classic protocol.
func (c *consumerGroup) classicMember(id string, instance *string) (*consumerMember, int16) {
	m, code := c.find(id, instance)
	if code == 0 && m.classic == nil {
		return nil, unknownMemberID
	}
	return m, code
}

// find finds a member, a static one by its instance id, under which it has to have this id.
func (c *consumerGroup) find(id string, instance *string) (*consumerMember, int16) {
	m := c.state.members[id]
	if instance != nil {
		m = c.state.members[c.static[*instance]]
		if refused := fencedInstance(m, id, *instance); refused != nil {
			return nil, refused.Code
		}
	}
	if m == nil {
		return nil, unknownMemberID
	}
	return m, 0
}

// syncConsumer tells a classic member what it owns.
func (g *Group) syncConsumer(now int64, t Ticket, r *kmsg.SyncGroupRequest, out *Output) {
	version := r.Version
	m, code := g.consumer.classicMember(r.MemberID, r.InstanceID)
	if code == 0 {
		code = g.consumer.validateSync(m, r)
	}
	if code == rebalanceInProgress {
		g.consumer.timers.setIfAbsent(timerKey{joinTimer, m.id}, now+max(int64(m.rebalanceTimeout), minRetry))
	}
	if code != 0 {
		out.reply(t, SyncError(version, code))
		return
	}
	g.consumer.timers.stop(timerKey{syncTimer, m.id})
	g.consumer.timers.set(timerKey{sessionTimer, m.id}, now+int64(m.classic.sessionTimeout))
	response := SyncError(version, 0)
	protocolType := consumerProtocol
	response.ProtocolType, response.Protocol = &protocolType, &m.classic.protocols[0].name
	response.MemberAssignment = appendAssignment(subscriptionVersion(m.classic.protocols[0].metadata), m.assigned.partitions(), g.limits.metadata())
	g.newStep(now).finish(out, nil, nil, answer{ticket: t, response: response, fail: func(code int16) kmsg.Response {
		return SyncError(version, code)
	}})
}

func (c *consumerGroup) validateSync(m *consumerMember, r *kmsg.SyncGroupRequest) int16 {
	switch {
	case r.Generation != m.epoch:
		return illegalGeneration
	case r.ProtocolType != nil && *r.ProtocolType != consumerProtocol,
		r.Protocol != nil && *r.Protocol != m.classic.protocols[0].name:
		return inconsistentGroupProtocol
	case c.state.epoch > m.epoch && m.state != unrevokedPartitions:
		// One that has to revoke has joined already; it joins again once it has.
		return rebalanceInProgress
	}
	return 0
}

// heartbeatConsumer answers a classic member's heartbeat: it is to join again where the
// group is ahead of it, it must revoke, or what it waits for is free.
func (g *Group) heartbeatConsumer(now int64, r *kmsg.HeartbeatRequest) int16 {
	c := g.consumer
	m, code := c.classicMember(r.MemberID, r.InstanceID)
	if code != 0 {
		return code
	}
	if r.Generation != m.epoch {
		return illegalGeneration
	}
	c.timers.set(timerKey{sessionTimer, m.id}, now+int64(m.classic.sessionTimeout))
	if m.epoch < c.state.epoch || m.state == unrevokedPartitions || m.state == unreleasedPartitions && !c.waits(m) {
		c.timers.setIfAbsent(timerKey{joinTimer, m.id}, now+max(int64(m.rebalanceTimeout), minRetry))
		return rebalanceInProgress
	}
	return 0
}

// waits reports whether others own what the member's target gives it.
func (c *consumerGroup) waits(m *consumerMember) bool {
	for id, partitions := range c.state.target[m.id] {
		for _, partition := range partitions {
			if _, has := m.assigned.find(id, partition); !has && c.owners.isOwned(id, partition) {
				return true
			}
		}
	}
	return false
}

// leaveConsumer takes members out, whatever their protocol, and puts a code into the answer
// of each.
func (g *Group) leaveConsumer(now int64, answers []kmsg.LeaveGroupResponseMember, out *Output) {
	var gone []string
	for i := range answers {
		a := &answers[i]
		m, code := g.consumer.leaver(a.MemberID, a.InstanceID)
		if a.ErrorCode = code; code == 0 && !slices.Contains(gone, m.id) {
			gone = append(gone, m.id)
		}
	}
	if len(gone) > 0 {
		g.fence(now, nil, out, gone...)
	}
}

// leaver finds a member that leaves. An administrator names static ones by their instance
// id alone.
func (c *consumerGroup) leaver(id string, instance *string) (*consumerMember, int16) {
	if id == "" && instance != nil {
		id = c.static[*instance]
	}
	return c.find(id, instance)
}

// validateCommit checks who commits. Where fenced is not nil the member is behind its
// epoch, and fenced tells for each partition whether it was given to the member since
// (KIP-1251).
func (c *consumerGroup) validateCommit(r *kmsg.OffsetCommitRequest, metadata Metadata) (fenced func(topicPartition, TopicID) int16, code int16) {
	if r.Generation < 0 && len(c.state.members) == 0 {
		return nil, 0 // a simple consumer, or an administrator
	}
	m := c.state.members[r.MemberID]
	switch {
	case m == nil:
		return nil, unknownMemberID
	case m.classic == nil && r.Version < 9:
		return nil, unsupportedVersion
	case r.Generation == m.epoch:
		return nil, 0
	case r.Generation > m.epoch:
		return nil, m.stale()
	}
	return func(tp topicPartition, id TopicID) int16 {
		if id == (TopicID{}) {
			t, _ := metadata.Topic(tp.topic)
			id = t.ID
		}
		epoch, ok := m.assigned.find(id, tp.partition)
		if !ok {
			epoch, ok = m.revoking.find(id, tp.partition)
		}
		if !ok || r.Generation < epoch {
			return m.stale()
		}
		return 0
	}, 0
}

// stale is the code for an epoch that is not the member's.
func (m *consumerMember) stale() int16 {
	if m.classic != nil {
		return illegalGeneration
	}
	return staleMemberEpoch
}

// ValidateFetch checks who asks for offsets (OffsetFetch v9+). Administrators and older
// clients do not say.
func (g *Group) ValidateFetch(memberID *string, epoch int32) int16 {
	if g != nil && g.share != nil && g.state != Dead {
		return groupIDNotFound
	}
	if g != nil && g.streams != nil && g.state != Dead {
		return g.streams.validateFetch(memberID, epoch)
	}
	if g == nil || g.consumer == nil || g.state == Dead || memberID == nil && epoch < 0 {
		return 0
	}
	if memberID == nil {
		return unknownMemberID
	}
	m := g.consumer.state.members[*memberID]
	switch {
	case m == nil:
		return unknownMemberID
	case m.epoch != epoch:
		return m.stale()
	}
	return 0
}
