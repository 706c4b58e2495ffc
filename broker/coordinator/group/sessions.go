package group

import "container/heap"

// session is when to look at a member again.
type session struct {
	at int64
	m  *member
}

// sessions are the members' session timeouts, the earliest first. A heartbeat only
// moves the member's deadline; the entry is moved when its moment comes. So a
// heartbeat costs nothing here, and each member one step per session timeout.
type sessions []session

func (s sessions) Len() int           { return len(s) }
func (s sessions) Less(i, j int) bool { return s[i].at < s[j].at }
func (s sessions) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s *sessions) Push(x any)        { *s = append(*s, x.(session)) }
func (s *sessions) Pop() any {
	old := *s
	last := old[len(old)-1]
	old[len(old)-1] = session{}
	*s = old[:len(old)-1]
	return last
}

// extend gives m until at.
func (g *Group) extend(m *member, at int64) {
	m.deadline = at
	if m.scheduled != 0 && m.scheduled <= at {
		return
	}
	m.scheduled = at
	heap.Push(&g.sessions, session{at: at, m: m})
	g.compactSessions()
}

// compactSessions drops the entries of members that have gone once they are most.
func (g *Group) compactSessions() {
	if len(g.sessions) < 64 || len(g.sessions) < 2*(len(g.members)+len(g.pending)) {
		return
	}
	live := g.sessions[:0]
	for _, s := range g.sessions {
		if s.m.scheduled == s.at {
			live = append(live, s)
		}
	}
	clear(g.sessions[len(live):])
	g.sessions = live
	heap.Init(&g.sessions)
}

// Next is the earliest moment at which Expire has something to do, 0: none. It may be
// early, never late.
func (g *Group) Next() int64 {
	next := int64(0)
	for _, at := range [...]int64{g.joinAt, g.syncAt} {
		if at != 0 && (next == 0 || at < next) {
			next = at
		}
	}
	if len(g.sessions) > 0 && (next == 0 || g.sessions[0].at < next) {
		next = g.sessions[0].at
	}
	if t := g.modernTimers(); t != nil {
		if at := t.next(); at != 0 && (next == 0 || at < next) {
			next = at
		}
	}
	return next
}

// modernTimers are those of a group of a later protocol, nil: it is not one.
func (g *Group) modernTimers() *timers {
	switch {
	case g.consumer != nil:
		return &g.consumer.timers
	case g.streams != nil:
		return &g.streams.timers
	case g.share != nil:
		return &g.share.timers
	}
	return nil
}

// Expire does what is due at now: it ends join phases, removes members that have not
// synced and members whose session has timed out.
func (g *Group) Expire(now int64) Output {
	var out Output
	g.expireConsumer(now, &out)
	g.expireStreams(now, &out)
	g.expireShare(now, &out)
	if g.joinAt != 0 && g.joinAt <= now {
		g.joinTimeout(now, &out)
	}
	if g.syncAt != 0 && g.syncAt <= now {
		g.syncTimeout(now, &out)
	}
	for len(g.sessions) > 0 && g.sessions[0].at <= now {
		s := heap.Pop(&g.sessions).(session)
		m := s.m
		if m.scheduled != s.at {
			continue // gone, or has an earlier entry
		}
		m.scheduled = 0
		switch {
		case m.deadline == 0:
		case m.deadline > now:
			g.extend(m, m.deadline)
		case g.pending[m.id] == m:
			g.remove(m.id)
			g.expired(now, false, &out)
		case m.satisfied():
			m.deadline = 0 // until it is answered
		default:
			g.expel(m, &out)
			g.expired(now, true, &out)
		}
	}
	return out
}

// expel takes m out and tells it to start over, where it waits for us.
func (g *Group) expel(m *member, out *Output) {
	if p := m.awaitJoin; p != nil {
		out.reply(p.ticket, JoinError(p.version, "", unknownMemberID))
	}
	if p := m.awaitSync; p != nil {
		out.reply(p.ticket, SyncError(p.version, unknownMemberID))
	}
	g.remove(m.id)
	m.awaitJoin, m.awaitSync = nil, nil
}

// expired goes on after a member or a pending member has timed out.
func (g *Group) expired(now int64, rebalance bool, out *Output) {
	switch {
	case rebalance && (g.state == Stable || g.state == CompletingRebalance):
		g.prepareRebalance(now, out)
	case g.state == PreparingRebalance && g.allJoined():
		g.completeJoin(now, out)
	}
}
