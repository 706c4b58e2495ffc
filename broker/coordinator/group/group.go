package group

import (
	"maps"
	"math"
	"slices"
)

// Limits are the settings a group obeys; durations in ms.
type Limits struct {
	InitialRebalanceDelay int64 // group.initial.rebalance.delay.ms
	MaxSize               int   // group.max.size; 0: no limit
	OffsetMetadataMax     int   // offset.metadata.max.bytes
	OffsetsRetention      int64 // offsets.retention.minutes

	// Consumer is the settings of a group of the consumer protocol, and Metadata the
	// topics, each as of now.
	Consumer func(groupID string) Settings
	Streams  func(groupID string) StreamsSettings // likewise, of the streams protocol
	Share    func(groupID string) ShareSettings   // likewise, of share groups
	Metadata func() Metadata
}

const (
	// consumerProtocol is the protocol type whose subscriptions we can read.
	consumerProtocol = "consumer"

	// streamsProtocol is what groups of the streams protocol are listed under.
	streamsProtocol = "streams"

	// newMemberJoinTimeout is how long a new member may wait for its first generation.
	// It has no member id yet to send heartbeats with, and nobody notices when it goes
	// away, so the wait must end; 5 minutes is Kafka's number and the largest rebalance
	// timeout clients default to.
	newMemberJoinTimeout = 5 * 60 * 1000

	// maxPendingMembers bounds the member ids handed out and not used yet (KIP-394).
	// A client that asks for an id and never joins holds one for a session timeout;
	// this many are a few MB, far above any group that starts at once.
	maxPendingMembers = 10_000

	// minRetry is the least time, ms, for a sync after a join and between two attempts to
	// complete a rebalance that no member has joined, so that a rebalance timeout of 0
	// neither spins nor expels everybody. A second is less than any session timeout.
	minRetry = 1000
)

// Group is one group with its committed offsets. Moments are ms since the Unix epoch.
// Strings and slices of requests are copied before they are kept: a request may be a
// view of its frame.
type Group struct {
	id     string
	limits *Limits

	classicGroup
	consumer *consumerGroup // nil: the group is not of the consumer protocol
	streams  *streamsGroup  // nil: nor of the streams protocol
	share    *shareGroup    // nil: nor a share group
	// doubtful are keys of the later protocols whose record may or may not be in the
	// log since an append failed. The next append writes them as the state has them.
	doubtful map[stateKey]struct{}
	deleted  bool // the tombstones are committed

	offsets  offsets
	inflight map[topicPartition]int              // commits whose records are not committed yet
	txn      map[int64]map[topicPartition]Offset // producer id → offsets of its open transaction (KIP-98)
	order    int64                               // of the last commit, see Offset.record
}

// classicGroup is a group of the classic protocol. In one of a later protocol it is
// Empty, or Dead.
type classicGroup struct {
	state, previous State
	since           int64 // when state was entered; -1: not known (records before Kafka 2.1)
	generation      int32
	protocolType    string  // "": none yet, a simple group
	protocolName    *string // of the current generation
	leader          string  // "": none
	persisted       bool    // the log may hold our metadata, so going takes a tombstone

	members   map[string]*member
	static    map[string]string   // group.instance.id → member id
	pending   map[string]*member  // ids handed out, not joined yet (KIP-394)
	unsynced  map[string]struct{} // members of this generation that have not sent their sync
	supported map[string]int      // protocol → members that offer it
	joined    int                 // members with a parked join; Invariant: joined <= len(members)
	seq       uint64

	// The join phase ends at joinAt, 0: none. In an initial rebalance it is put off while
	// new members come, joinDelay at a time, as long as joinRemaining lasts.
	joinAt, joinDelay, joinRemaining int64
	initial, newMember               bool
	syncAt                           int64 // when members that have not synced are expired, 0: none
	sessions                         sessions
}

type topicPartition struct {
	topic     string
	partition int32
}

// New makes an empty group. limits are shared and must not change.
func New(id string, limits *Limits, now int64) *Group {
	return &Group{id: id, limits: limits, classicGroup: newClassicGroup(now), offsets: offsets{}, inflight: map[topicPartition]int{}}
}

func newClassicGroup(now int64) classicGroup {
	return classicGroup{
		state: Empty, previous: Dead, since: now,
		members: map[string]*member{}, static: map[string]string{}, pending: map[string]*member{},
		unsynced: map[string]struct{}{}, supported: map[string]int{},
	}
}

// ID is the group.id.
func (g *Group) ID() string { return g.id }

// State is where the group stands.
func (g *Group) State() State { return g.state }

// Generation counts completed join phases.
func (g *Group) Generation() int32 { return g.generation }

// Gone reports whether the group can be forgotten: it was deleted, or nothing of it
// was ever stored and nobody is in it.
func (g *Group) Gone() bool {
	return g.deleted || !g.modern() && g.doubtful == nil && g.state == Empty && !g.persisted && len(g.pending) == 0 &&
		len(g.offsets) == 0 && len(g.inflight) == 0 && len(g.txn) == 0
}

// modern reports whether the group is of a later protocol than the classic one.
func (g *Group) modern() bool { return g.consumer != nil || g.streams != nil || g.share != nil }

func (g *Group) transition(now int64, to State) {
	g.previous, g.state, g.since = g.state, to, now
}

// maxSize is the limit on members.
func (g *Group) maxSize() int {
	if g.limits.MaxSize <= 0 {
		return math.MaxInt
	}
	return g.limits.MaxSize
}

// inOrder returns the members in the order in which they joined.
func (g *Group) inOrder() []*member {
	all := slices.Collect(maps.Values(g.members))
	slices.SortFunc(all, func(a, b *member) int {
		if a.seq < b.seq {
			return -1
		}
		return 1
	})
	return all
}

// add makes m a member. Its protocols must be supported by the group.
func (g *Group) add(m *member, protocolType string) {
	if len(g.members) == 0 {
		g.protocolType = protocolType
	}
	if m.instance != nil {
		g.static[*m.instance] = m.id
	}
	if g.leader == "" {
		g.leader = m.id
	}
	g.seq++
	m.seq = g.seq
	g.members[m.id] = m
	g.count(m, +1)
	if m.awaitJoin != nil {
		g.joined++
	}
	if p := g.pending[m.id]; p != nil {
		p.scheduled = 0
		delete(g.pending, m.id)
	}
}

// remove takes a member or a pending member out; where it led, the oldest member
// leads. Parked requests of the member must have been answered or are dropped.
func (g *Group) remove(id string) {
	if m := g.members[id]; m != nil {
		delete(g.members, id)
		m.scheduled = 0
		g.count(m, -1)
		if m.awaitJoin != nil {
			g.joined--
		}
		if m.instance != nil {
			delete(g.static, *m.instance)
		}
		if g.leader == id {
			g.leader = ""
			if rest := g.inOrder(); len(rest) > 0 {
				g.leader = rest[0].id
			}
		}
	}
	if p := g.pending[id]; p != nil {
		p.scheduled = 0
		delete(g.pending, id)
	}
	delete(g.unsynced, id)
}

// count adds by to the supporters of each protocol of m.
func (g *Group) count(m *member, by int) {
	for i := range m.protocols {
		name := m.protocols[i].name
		if slices.ContainsFunc(m.protocols[:i], func(p protocol) bool { return p.name == name }) {
			continue // offered twice
		}
		if g.supported[name] += by; g.supported[name] == 0 {
			delete(g.supported, name)
		}
	}
}

// selectProtocol lets each member vote for the first of its protocols that all
// support; the most votes win, the older member's vote where they are equal.
func (g *Group) selectProtocol() string {
	votes := map[string]int{}
	best := ""
	var order []string
	for _, m := range g.inOrder() {
		for _, p := range m.protocols {
			if g.supported[p.name] == len(g.members) {
				if votes[p.name]++; votes[p.name] == 1 {
					order = append(order, p.name)
				}
				break
			}
		}
	}
	for _, name := range order {
		if votes[name] > votes[best] {
			best = name
		}
	}
	return best
}

// validate checks who a request comes from (KIP-345). It returns a code, 0 if the
// member is one of ours.
func (g *Group) validate(id string, instance *string) int16 {
	if instance != nil {
		switch current, ok := g.static[*instance]; {
		case !ok:
			return unknownMemberID
		case current != id:
			return fencedInstanceID
		}
	}
	if g.members[id] == nil {
		return unknownMemberID
	}
	return 0
}

// allJoined reports whether nobody is missing from the join phase.
func (g *Group) allJoined() bool { return g.joined == len(g.members) && len(g.pending) == 0 }

// rebalanceTimeout is the longest that any member asks for, ms.
func (g *Group) rebalanceTimeout() int64 {
	longest := int32(0)
	for _, m := range g.members {
		longest = max(longest, m.rebalanceTimeout)
	}
	return int64(longest)
}
