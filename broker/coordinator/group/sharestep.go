package group

import "maps"

// shareGroup is what a share group is beside its records. Its state is ahead of the log:
// answers wait until what they rest on is committed.
type shareGroup struct {
	state  *shareState
	timers timers
	hashed int64       // the version of the metadata that state.hash was made of, 0: none
	last   *afterShare // the latest append that is not decided; nil: none
}

func newShareGroup() *shareGroup { return &shareGroup{state: newShareState(), timers: newTimers()} }

// install makes s the state, and keeps what is derived from it.
func (c *shareGroup) install(s *shareState) {
	before := c.state
	c.state = s
	for id := range before.members {
		if s.members[id] == nil {
			c.timers.stopAll(id)
		}
	}
}

// makeShare makes the group a share group, where create allows that: one of which nothing
// is known but its name. The first result tells whether it did.
func (g *Group) makeShare(create bool) (fresh bool, refused *Refusal) {
	switch {
	case g.share != nil:
		return false, nil
	case g.modern() || g.deleted || g.state != Empty || g.persisted || len(g.pending)+len(g.offsets)+len(g.inflight)+len(g.txn) > 0:
		return false, refuse(groupIDNotFound, "Group %s is not a share group.", g.id)
	case !create:
		return false, refuse(groupIDNotFound, "Share group %s not found.", g.id)
	}
	g.share = newShareGroup()
	return true, nil
}

// shareStep makes the next state of a share group.
type shareStep struct {
	g        *Group
	now      int64
	settings ShareSettings
	metadata Metadata
	before   *shareState // as the log has it; nil: no share group
	base     *shareState // as it is installed
	state    *shareState
	persist  []Persist // once the step is committed
}

// newShareStep begins a step of a share group; fresh says that it was none before.
func (g *Group) newShareStep(now int64, fresh bool) *shareStep {
	s := g.share.state
	p := &shareStep{g: g, now: now, settings: g.limits.shareSettings(g.id), metadata: g.limits.metadata(), before: s, base: s, state: s}
	if fresh {
		p.before = nil
	}
	return p
}

// edit is the state to change.
func (p *shareStep) edit() *shareState {
	if p.state == p.base {
		p.state = p.base.clone()
	}
	return p.state
}

// refresh raises the group's epoch where other topics are subscribed to, other partitions
// are in them, or more of them are initialized than are assigned.
func (p *shareStep) refresh(changed bool) {
	c := p.g.share
	if p.state.targetEpoch >= p.state.epoch && p.state.pending() {
		changed = true
	}
	version := p.metadata.Version()
	if !changed && version == c.hashed {
		return
	}
	hash := metadataHash(p.state.subscribed(), p.metadata)
	c.hashed = version
	if hash == p.state.hash && !changed {
		return
	}
	s := p.edit()
	s.hash = hash
	s.epoch++
}

// assign makes a new target where the group's epoch is ahead of it, at most once in an
// assignment interval (KIP-1263).
func (p *shareStep) assign() {
	if p.state.epoch <= p.state.targetEpoch {
		return
	}
	made := p.state.targetTime
	if made != 0 && made <= p.now && p.now < made+p.settings.AssignmentInterval {
		return // the next heartbeat does it
	}
	p.edit().retarget(p.now, p.metadata)
}

// reconcile gives m what its target says.
func (p *shareStep) reconcile(m *shareMember, resubscribed bool) *shareMember {
	if m.epoch == p.state.targetEpoch && !resubscribed {
		return m
	}
	next := *m
	next.assigned = m.reads(p.state.target[m.id], p.metadata)
	if m.epoch != p.state.targetEpoch {
		next.previous, next.epoch = m.epoch, p.state.targetEpoch
	}
	if next.sameCurrent(m) {
		return m
	}
	p.edit().members[m.id] = &next
	return &next
}

// initialize has the share coordinator make the state of partitions that have none, once
// the step is committed.
func (p *shareStep) initialize() {
	missing := p.state.missing(p.now, p.settings.InitializeRetry, p.metadata)
	if len(missing) == 0 {
		return
	}
	s := p.edit()
	s.partitions = s.partitions.ask(missing)
	p.persist = append(p.persist, p.g.initialization(s.epoch, missing, nil, func(g *Group, now int64, failed *Refusal) Output {
		return g.shareSettled(now, missing, failed == nil)
	}))
}

// shareSettled notes what became of an initialization.
func (g *Group) shareSettled(now int64, topics map[TopicID]shareTopic, done bool, answers ...answer) (out Output) {
	if g.share == nil || g.state == Dead || g.share.state.partitions == nil {
		(&afterShare{answers: answers}).reply(0, &out)
		return out
	}
	p := g.newShareStep(now, false)
	p.edit().partitions = p.state.partitions.settle(topics, done)
	p.finish(&out, answers...)
	return out
}

// finish installs the step's state, has its records written, and gives the answers once all
// that they rest on is committed.
func (p *shareStep) finish(out *Output, answers ...answer) {
	g, c := p.g, p.g.share
	var keys []stateKey
	if p.state != p.before {
		keys = shareChanges(p.before, p.state)
	}
	after := &afterShare{before: p.before, next: p.state, answers: answers, persist: p.persist}
	c.install(p.state)
	keys = g.recall(p.state, keys)
	if len(keys) == 0 {
		if c.last != nil { // what it says may rest on what is not committed yet
			c.last.answers = append(c.last.answers, answers...)
			c.last.persist = append(c.last.persist, p.persist...)
			return
		}
		after.reply(0, out)
		return
	}
	after.keys = keys
	c.last = after
	out.append(recordsOf(p.state, p.now, g.id, keys), after)
}

// afterShare answers once the records of a step are committed. Where they are not, and no
// other step has followed, the step is undone.
type afterShare struct {
	before, next *shareState
	keys         []stateKey
	answers      []answer
	persist      []Persist
}

func (a *afterShare) appended(g *Group, now int64, code int16, out *Output) {
	c := g.share
	if c != nil && c.last == a {
		c.last = nil
	}
	if code != 0 {
		g.doubt(a.keys)
	}
	if code != 0 && c != nil && c.state == a.next { // else later steps rest on this one
		a.revert(g, now)
	}
	a.reply(code, out)
	if code != 0 {
		for _, p := range a.persist {
			more := p.Done(g, now, &Refusal{Code: code})
			out.Replies, out.Appends = append(out.Replies, more.Replies...), append(out.Appends, more.Appends...)
		}
	}
}

func (a *afterShare) revert(g *Group, now int64) {
	c := g.share
	c.hashed = 0
	if a.before == nil {
		g.share = nil
		return
	}
	c.install(a.before)
	session := g.limits.shareSettings(g.id).SessionTimeout
	for id := range a.before.members {
		c.timers.setIfAbsent(timerKey{sessionTimer, id}, now+session)
	}
}

func (a *afterShare) reply(code int16, out *Output) {
	for _, w := range a.answers {
		if code == 0 {
			out.reply(w.ticket, w.response)
		} else {
			out.reply(w.ticket, w.fail(code))
		}
	}
	if code == 0 {
		out.Persist = append(out.Persist, a.persist...)
	}
}

// expireShare takes out members whose session has timed out.
func (g *Group) expireShare(now int64, out *Output) {
	for g.share != nil {
		key, ok := g.share.timers.fire(now)
		if !ok {
			return
		}
		if g.state != Dead && g.share.state.members[key.member] != nil {
			g.fenceShare(now, key.member, out)
		}
	}
}

// fenceShare takes a member out and raises the group's epoch.
func (g *Group) fenceShare(now int64, id string, out *Output, answers ...answer) {
	p := g.newShareStep(now, false)
	p.edit().remove(id)
	p.refresh(true)
	p.finish(out, answers...)
}

// loaded makes a state of records the group's. Members of whom there is only a part are
// none: the rest of them was removed.
func (c *shareGroup) loaded(now, session int64) {
	s := c.state
	maps.DeleteFunc(s.members, func(_ string, m *shareMember) bool { return m.topics == nil })
	maps.DeleteFunc(s.target, func(id string, _ assignment) bool { return s.members[id] == nil })
	for id := range s.members {
		c.timers.set(timerKey{sessionTimer, id}, now+session)
	}
}
