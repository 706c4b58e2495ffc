package group

import (
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/segment/batch"
)

// StreamsSettings are those of one group of the streams protocol; durations in ms.
type StreamsSettings struct {
	SessionTimeout        int64 // streams.session.timeout.ms
	HeartbeatInterval     int64 // streams.heartbeat.interval.ms
	AssignmentInterval    int64 // streams.assignment.interval.ms; 0: assign at once
	InitialRebalanceDelay int64 // streams.initial.rebalance.delay.ms
	StandbyReplicas       int   // streams.num.standby.replicas
	MaxSize               int   // group.streams.max.size; 0: no limit
}

// DefaultStreamsSettings are Kafka's.
var DefaultStreamsSettings = StreamsSettings{
	SessionTimeout: 45_000, HeartbeatInterval: 5000, AssignmentInterval: 1000, InitialRebalanceDelay: 3000,
}

func (l *Limits) streamsSettings(groupID string) StreamsSettings {
	if l.Streams == nil {
		return DefaultStreamsSettings
	}
	return l.Streams(groupID)
}

// configs are the settings that an assignment depends on, as its record has them.
func (s StreamsSettings) configs() []keyValue {
	return []keyValue{{"num.standby.replicas", strconv.Itoa(s.StandbyReplicas)}}
}

// streamsGroup is what a group of the streams protocol is beside its records. Its state is
// ahead of the log: answers wait until what they rest on is committed.
type streamsGroup struct {
	state  *streamsState
	owners taskOwners
	timers timers

	// configured is the topology with its numbers, made of the metadata in version
	// configuredAt; nil: not made yet.
	configured   *configuredTopology
	configuredAt int64
	// shutdown is the member that asked for the end of the whole application, "": none.
	// It holds until the last member is gone.
	shutdown string
	// endpointEpoch counts changes of what members with an endpoint own.
	endpointEpoch int32
	last          *afterStreams // the latest append that is not decided; nil: none
}

func newStreamsGroup() *streamsGroup {
	return &streamsGroup{state: newStreamsState(), owners: newTaskOwners(), timers: newTimers()}
}

// install makes s the state, and keeps what is derived from it.
func (c *streamsGroup) install(s *streamsState) {
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
		if s.members[id] == nil {
			c.timers.stopAll(id)
		}
	}
	for id, m := range s.members {
		if before.members[id] != m {
			c.owners.add(m)
		}
	}
	if len(s.members) == 0 {
		c.shutdown = ""
	}
}

// makeStreams makes the group one of the streams protocol, where join allows that: an
// empty group of the classic protocol changes. The first result tells whether it did.
func (g *Group) makeStreams(join bool) (fresh bool, refused *Refusal) {
	switch {
	case g.streams != nil:
		return false, nil
	case g.modern() || !join || g.state != Empty:
		return false, refuse(groupIDNotFound, "Group %s is not a streams group.", g.id)
	}
	g.streams = newStreamsGroup()
	return true, nil
}

// streamsStep makes the next state of a group.
type streamsStep struct {
	g        *Group
	now      int64
	settings StreamsSettings
	metadata Metadata
	before   *streamsState // as the log has it; nil: no group of the streams protocol
	base     *streamsState // as it is installed
	state    *streamsState

	configured   *configuredTopology // to be installed with the state, and what it was made of
	configuredAt int64
	status       []kmsg.StreamsGroupHeartbeatResponseStatus
}

// newStreamsStep begins a step of a group of the streams protocol.
func (g *Group) newStreamsStep(now int64) *streamsStep {
	c := g.streams
	return &streamsStep{
		g: g, now: now, settings: g.limits.streamsSettings(g.id), metadata: g.limits.metadata(),
		before: c.state, base: c.state, state: c.state, configured: c.configured, configuredAt: c.configuredAt,
	}
}

// edit is the state to change.
func (p *streamsStep) edit() *streamsState {
	if p.state == p.base {
		p.state = p.base.clone()
	}
	return p.state
}

func (p *streamsStep) put(m *streamsMember) {
	if p.state.members[m.id] != m {
		p.edit().members[m.id] = m
	}
}

func (p *streamsStep) tell(status int8, detail string) {
	p.status = append(p.status, kmsg.StreamsGroupHeartbeatResponseStatus{StatusCode: status, StatusDetail: detail})
}

// refresh configures the topology anew where its topics have changed, and raises the
// group's epoch where that or anything else that an assignment rests on has changed.
func (p *streamsStep) refresh(changed bool) *Refusal {
	hash := p.state.hash
	anew := p.base.topology == nil
	if version := p.metadata.Version(); anew || p.configured == nil || version != p.configuredAt {
		hash = metadataHash(p.state.topology.required(), p.metadata)
		if anew || hash != p.state.hash || p.configured == nil {
			configured, err := p.state.topology.configure(p.metadata)
			if err != nil {
				return refuse(streamsInvalidTopology, "%s", err)
			}
			p.configured = configured
		}
		p.configuredAt = version
	}
	validated := int32(-1)
	if p.configured.ready() {
		validated = p.state.topology.epoch
	}
	configs := p.settings.configs()
	if !changed && hash == p.state.hash && validated == p.state.validated && equalPairs(configs, p.state.configs) {
		return nil
	}
	s := p.edit()
	s.hash, s.validated, s.configs = hash, validated, configs
	s.epoch++
	return nil
}

func equalPairs(a, b []keyValue) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// delay begins the wait for more members in a group that nobody is in yet.
func (p *streamsStep) delay() {
	if p.settings.InitialRebalanceDelay > 0 && len(p.base.members) == 0 {
		p.g.streams.timers.setIfAbsent(timerKey{kind: delayTimer}, p.now+p.settings.InitialRebalanceDelay)
	}
}

// assign makes a new target where the group's epoch is ahead of it: not before the initial
// delay has passed, and at most once in an assignment interval (KIP-1263).
func (p *streamsStep) assign() (target func(id string) taskSet) {
	if p.g.streams.timers.runs(timerKey{kind: delayTimer}) {
		p.tell(statusAssignmentDelayed, "Assignment delayed due to the configured initial rebalance delay.")
		return func(string) taskSet { return taskSet{} }
	}
	target = func(id string) taskSet { return p.state.target[id] }
	if p.state.epoch <= p.state.targetEpoch {
		return target
	}
	made := p.state.targetTime
	if made != 0 && made <= p.now && p.now < made+p.settings.AssignmentInterval {
		p.tell(statusAssignmentDelayed, "Assignment delayed due to the configured assignment interval.")
		return target
	}
	p.retarget()
	return target
}

// retarget makes the target assignment of the group's epoch; where topics are missing
// nobody gets anything.
func (p *streamsStep) retarget() {
	s := p.edit()
	workers := make([]worker, 0, len(s.members))
	target := map[string]taskSet{}
	for _, id := range s.ids() {
		workers = append(workers, worker{id: id, process: s.members[id].process, before: s.target[id]})
		target[id] = taskSet{active: tasks{}, standby: tasks{}, warmup: tasks{}}
	}
	if p.configured.ready() {
		target = assignSticky(workers, s.topology, p.configured, p.settings.StandbyReplicas)
	}
	for id, t := range target {
		if old, ok := s.target[id]; ok && old.equal(t) {
			target[id] = old
		}
	}
	s.target, s.targetEpoch, s.targetTime = target, s.epoch, p.now
}

// reconcile brings m closer to its target.
func (p *streamsStep) reconcile(m *streamsMember, target taskSet, reported *taskSet) *streamsMember {
	c := p.g.streams
	next := taskReconciliation{member: m, targetEpoch: p.state.targetEpoch, target: target, owners: &c.owners, reported: reported}.next()
	if next == m || next.sameCurrent(m) {
		return m
	}
	p.put(next)
	key := timerKey{rebalanceTimer, next.id}
	if next.state == streamsUnrevokedTasks {
		c.timers.set(key, p.now+max(int64(next.rebalanceTimeout), 0))
	} else {
		c.timers.stop(key)
	}
	return next
}

// streamsAnswer is a reply that waits for the log.
type streamsAnswer struct {
	ticket   Ticket
	version  int16
	response *kmsg.StreamsGroupHeartbeatResponse
	missing  []NewTopic
}

// finish installs the step's state, has its records written, first those of extra, and
// gives the answers once all that they rest on is committed.
func (p *streamsStep) finish(out *Output, undo *classicGroup, extra []batch.Record, answers ...streamsAnswer) {
	g, c := p.g, p.g.streams
	var keys []stateKey
	if p.state != p.before {
		keys = streamsChanges(p.before, p.state)
	}
	after := &afterStreams{before: p.before, next: p.state, answers: answers, undo: undo}
	c.install(p.state)
	c.configured, c.configuredAt = p.configured, p.configuredAt
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

// afterStreams answers once the records of a step are committed. Where they are not, and
// no other step has followed, the step is undone.
type afterStreams struct {
	before, next *streamsState
	keys         []stateKey
	answers      []streamsAnswer
	undo         *classicGroup // what the group was before, nil: of the streams protocol
}

func (a *afterStreams) appended(g *Group, now int64, code int16, out *Output) {
	c := g.streams
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

func (a *afterStreams) revert(g *Group, now int64) {
	c := g.streams
	if c.state != a.next {
		return // later steps rest on this one: what is in doubt is written again
	}
	c.configured, c.configuredAt = nil, 0 // it may be of a topology that is undone
	if a.before == nil {
		g.streams = nil
		if a.undo != nil {
			g.classicGroup = *a.undo
		}
		return
	}
	c.install(a.before)
	c.watch(now, g.limits.streamsSettings(g.id).SessionTimeout)
}

// watch starts the timers that members must have, where they do not run; session is in ms.
func (c *streamsGroup) watch(now, session int64) {
	for id, m := range c.state.members {
		c.timers.setIfAbsent(timerKey{sessionTimer, id}, now+session)
		if m.state == streamsUnrevokedTasks {
			c.timers.setIfAbsent(timerKey{rebalanceTimer, id}, now+max(int64(m.rebalanceTimeout), 0))
		}
	}
}

func (a *afterStreams) reply(code int16, out *Output) {
	for _, w := range a.answers {
		switch {
		case w.ticket == 0:
		case code == 0:
			out.Replies = append(out.Replies, Reply{Ticket: w.ticket, Response: w.response, Missing: w.missing})
		default:
			out.reply(w.ticket, StreamsHeartbeatError(w.version, &Refusal{Code: code}))
		}
	}
}

// expireStreams does what is due at now.
func (g *Group) expireStreams(now int64, out *Output) {
	for g.streams != nil {
		key, ok := g.streams.timers.fire(now)
		if !ok {
			return
		}
		c := g.streams
		switch m := c.state.members[key.member]; {
		case g.state == Dead:
		case key.kind == delayTimer:
			if c.configured != nil && len(c.state.members) > 0 && c.state.epoch > c.state.targetEpoch {
				p := g.newStreamsStep(now)
				p.assign()
				p.finish(out, nil, nil)
			}
		case m != nil && !(key.kind == rebalanceTimer && m.state != streamsUnrevokedTasks):
			g.fenceStreams(now, m.id, out)
		}
	}
}

// fenceStreams takes a member out and raises the group's epoch.
func (g *Group) fenceStreams(now int64, id string, out *Output, answers ...streamsAnswer) {
	p := g.newStreamsStep(now)
	s := p.edit()
	s.remove(id)
	s.epoch++
	p.finish(out, nil, nil, answers...)
}

// loaded makes a state of records the group's. Members of whom there is only a part are
// none: the rest of them was removed.
func (c *streamsGroup) loaded(now, session int64) {
	s := c.state
	for id, m := range s.members {
		if m.tags == nil {
			delete(s.members, id)
		}
	}
	for id := range s.target {
		if s.members[id] == nil {
			delete(s.target, id)
		}
	}
	c.state = newStreamsState()
	c.install(s)
	c.watch(now, session)
}
