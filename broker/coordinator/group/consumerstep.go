package group

import (
	"cmp"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/segment/batch"
)

// Settings are those of one group of the consumer protocol; durations in ms.
type Settings struct {
	SessionTimeout     int64    // consumer.session.timeout.ms
	HeartbeatInterval  int64    // consumer.heartbeat.interval.ms
	AssignmentInterval int64    // consumer.assignment.interval.ms; 0: assign at once
	RegexRefresh       int64    // group.consumer.regex.refresh.interval.ms
	MaxSize            int      // group.consumer.max.size; 0: no limit
	Assignors          []string // group.consumer.assignors, the first is the default
	Upgrade, Downgrade bool     // group.consumer.migration.policy
}

// consumerGroup is what a group of the consumer protocol is beside its records. Its
// state is ahead of the log: answers wait until what they rest on is committed.
type consumerGroup struct {
	state  *consumerState
	static map[string]string // group.instance.id → member id
	owners owners
	timers timers

	// hashed is the version of the metadata that state.hash was made of, 0: none.
	// matched is that of the last round of matching, matchedAt when that was, ms.
	hashed, matched, matchedAt int64
	matching                   *Match         // under way; nil: none
	last                       *afterConsumer // the latest append that is not decided; nil: none
}

func newConsumerGroup() *consumerGroup {
	return &consumerGroup{
		state: newConsumerState(), static: map[string]string{}, owners: owners{},
		timers: newTimers(),
	}
}

// install makes s the state, and keeps what is derived from it.
func (c *consumerGroup) install(s *consumerState) {
	before := c.state
	if before == s {
		return
	}
	c.state = s
	for id, old := range before.members {
		if s.members[id] == old {
			continue
		}
		c.owners.remove(old)
		if old.instance != nil && c.static[*old.instance] == id {
			delete(c.static, *old.instance)
		}
		if s.members[id] == nil {
			c.timers.stopAll(id)
		}
	}
	for id, m := range s.members {
		if before.members[id] == m {
			continue
		}
		c.owners.add(m)
		if m.instance != nil {
			c.static[*m.instance] = id
		}
	}
}

// consumerStep makes the next state of a group.
type consumerStep struct {
	g        *Group
	now      int64
	settings Settings
	metadata Metadata
	before   *consumerState // as the log has it; nil: no group of the consumer protocol
	base     *consumerState // as it is installed: before, or what an upgrade begins with
	state    *consumerState
	begun    *Match // matching that the step has begun, nil: none
}

// newStep begins a step of a group of the consumer protocol.
func (g *Group) newStep(now int64) *consumerStep {
	p := &consumerStep{g: g, now: now, settings: g.limits.settings(g.id), metadata: g.limits.metadata()}
	p.before = g.consumer.state
	p.base, p.state = p.before, p.before
	return p
}

// edit is the state to change.
func (p *consumerStep) edit() *consumerState {
	if p.state == p.base {
		p.state = p.base.clone()
	}
	return p.state
}

// put makes m a member, or replaces it.
func (p *consumerStep) put(m *consumerMember) {
	if p.state.members[m.id] != m {
		p.edit().members[m.id] = m
	}
}

// refresh has patterns matched that need it and raises the group's epoch where other
// topics are subscribed to, or other partitions are in them. resubscribed says that a
// member has changed what it reads, and known that it is known which topics that is: for a
// pattern that nobody has matched yet the epoch is raised later.
func (p *consumerStep) refresh(resubscribed, known bool) {
	if resubscribed {
		p.forgetPatterns()
	}
	p.matchPatterns(resubscribed)
	if known || !resubscribed {
		p.rehash(resubscribed)
	}
}

// rehash raises the group's epoch where other is set or its topics have changed.
func (p *consumerStep) rehash(other bool) {
	c, version := p.g.consumer, p.metadata.Version()
	if !other && p.state == p.base && version == c.hashed {
		return
	}
	hash := metadataHash(p.state.subscribed(), p.metadata)
	c.hashed = version
	if hash == p.state.hash && !other {
		return
	}
	s := p.edit()
	s.hash = hash
	s.epoch++
}

// assign makes a new target where the group's epoch is ahead of it, at most once in an
// assignment interval (KIP-1263).
func (p *consumerStep) assign() {
	if p.state.epoch <= p.state.targetEpoch {
		return
	}
	at := p.state.targetTime + p.settings.AssignmentInterval
	if p.state.targetTime != 0 && p.state.targetTime <= p.now && p.now < at {
		p.g.consumer.timers.setIfAbsent(timerKey{kind: assignTimer}, at)
		return
	}
	p.g.consumer.timers.stop(timerKey{kind: assignTimer})
	p.edit().retarget(p.now, p.metadata, p.settings.Assignors[0])
}

// reconcile brings m closer to its target. reported is what it says that it owns, nil:
// it does not say.
func (p *consumerStep) reconcile(m *consumerMember, reported assignment, resubscribed bool) *consumerMember {
	if m.reconciled(p.state.targetEpoch) && !resubscribed {
		return m
	}
	next := reconciliation{
		member: m, targetEpoch: p.state.targetEpoch, target: p.state.target[m.id],
		isOwned: p.g.consumer.owners.isOwned, reported: reported,
		subscribed: p.state.topicsOf(m, p.metadata), resubscribed: resubscribed,
	}.next()
	if next == m || next.sameCurrent(m) {
		return m
	}
	p.put(next)
	if key := (timerKey{rebalanceTimer, next.id}); next.mustRevoke() {
		p.g.consumer.timers.set(key, p.now+max(int64(next.rebalanceTimeout), 0))
	} else {
		p.g.consumer.timers.stop(key)
	}
	return next
}

// expel takes members out and raises the group's epoch.
func (p *consumerStep) expel(ids ...string) {
	s := p.edit()
	for _, id := range ids {
		s.remove(id)
	}
	p.refresh(true, true)
}

// answer is a reply that waits for the log. fail is the reply for a code.
type answer struct {
	ticket   Ticket
	response kmsg.Response
	fail     func(code int16) kmsg.Response
}

// finish installs the step's state, has its records written, first those of extra, and
// gives the answers once all that they rest on is committed.
func (p *consumerStep) finish(out *Output, undo *classicGroup, extra []batch.Record, answers ...answer) {
	g, c := p.g, p.g.consumer
	if p.begun != nil {
		out.Matches = append(out.Matches, p.begun)
	}
	var keys []stateKey
	if p.state != p.before {
		keys = changes(p.before, p.state)
	}
	after := &afterConsumer{before: p.before, next: p.state, answers: answers, undo: undo}
	c.install(p.state)
	keys = g.recall(p.state, keys)
	if len(keys) == 0 && len(extra) == 0 {
		if c.last != nil { // what it says may rest on what is not committed yet
			c.last.answers = append(c.last.answers, answers...)
			return
		}
		after.reply(0, out)
		return
	}
	after.keys = keys
	c.last = after
	out.append(append(extra, recordsOf(p.state, p.now, g.id, keys)...), after)
}

// doubt notes that nobody knows what the log has under the keys.
func (g *Group) doubt(keys []stateKey) {
	if g.doubtful == nil {
		g.doubtful = map[stateKey]struct{}{}
	}
	for _, k := range keys {
		g.doubtful[k] = struct{}{}
	}
}

// recall returns the keys with those that are doubtful, which are so no longer: they
// are written as s has them.
func (g *Group) recall(s stored, keys []stateKey) []stateKey {
	if len(g.doubtful) == 0 {
		return keys
	}
	g.doubt(keys)
	gone := func(k stateKey) bool { return k.named() && k.kind != keyRegex && !s.has(k.name) }
	all := slices.SortedFunc(maps.Keys(g.doubtful), func(a, b stateKey) int {
		switch {
		case gone(a) && gone(b):
			return cmp.Or(cmp.Compare(b.rank(), a.rank()), cmp.Compare(a.name, b.name))
		case gone(a):
			return -1
		case gone(b):
			return 1
		}
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.name, b.name))
	})
	g.doubtful = nil
	return all
}

// afterConsumer answers once the records of a step are committed. Where they are not,
// and no other step has followed, the step is undone.
type afterConsumer struct {
	before, next *consumerState
	keys         []stateKey
	answers      []answer
	undo         *classicGroup // what the group was before, nil: of the consumer protocol
}

func (a *afterConsumer) appended(g *Group, now int64, code int16, out *Output) {
	c := g.consumer
	if c != nil && c.last == a {
		c.last = nil
	}
	if code != 0 {
		g.doubt(a.keys)
	}
	if code != 0 && c != nil {
		a.revert(g, now)
	}
	a.reply(code, out)
}

func (a *afterConsumer) revert(g *Group, now int64) {
	c := g.consumer
	if c.state != a.next {
		return // later steps rest on this one: what is in doubt is written again
	}
	c.hashed, c.matched, c.matchedAt = 0, 0, 0 // what they stand for is undone, too
	if a.before == nil {
		g.consumer = nil
		if a.undo != nil {
			g.classicGroup = *a.undo
		}
		return
	}
	c.install(a.before)
	c.watch(now, g.limits.settings(g.id).SessionTimeout)
}

// watch starts the timers that members must have, where they do not run; session is for
// those of the consumer protocol, ms.
func (c *consumerGroup) watch(now, session int64) {
	for id, m := range c.state.members {
		c.timers.setIfAbsent(timerKey{sessionTimer, id}, now+m.sessionTimeout(session))
		if m.mustRevoke() {
			c.timers.setIfAbsent(timerKey{rebalanceTimer, id}, now+max(int64(m.rebalanceTimeout), 0))
		}
	}
}

// mustRevoke reports whether the member has its rebalance timeout to revoke something:
// members of the classic protocol have other timers, and a static one that is away has its
// session.
func (m *consumerMember) mustRevoke() bool {
	return m.state == unrevokedPartitions && m.classic == nil && m.epoch != epochStaticLeave
}

func (a *afterConsumer) reply(code int16, out *Output) {
	for _, w := range a.answers {
		switch {
		case code == 0:
			out.reply(w.ticket, w.response)
		default:
			out.reply(w.ticket, w.fail(code))
		}
	}
}

// sessionTimeout is the member's own where it is of the classic protocol, ms.
func (m *consumerMember) sessionTimeout(fallback int64) int64 {
	if m.classic != nil {
		return int64(m.classic.sessionTimeout)
	}
	return fallback
}

// expireConsumer does what is due at now.
func (g *Group) expireConsumer(now int64, out *Output) {
	for g.consumer != nil {
		key, ok := g.consumer.timers.fire(now)
		if !ok {
			return
		}
		if g.state == Dead {
			continue
		}
		if key.kind == assignTimer {
			p := g.newStep(now)
			p.assign()
			p.finish(out, nil, nil)
			continue
		}
		if m := g.consumer.state.members[key.member]; m != nil && (key.kind != rebalanceTimer || m.mustRevoke()) {
			g.fence(now, nil, out, m.id)
		}
	}
}

// fence takes members out, and gives the group back to the classic protocol where only
// members of that are left.
func (g *Group) fence(now int64, answers []answer, out *Output, ids ...string) {
	p := g.newStep(now)
	p.expel(ids...)
	if p.allClassic() {
		g.downgrade(p, answers, out)
		return
	}
	p.finish(out, nil, nil, answers...)
}
