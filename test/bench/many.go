package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"
)

// What many clients cost that do little.

const (
	joinTime      metric = "all joined s"
	rebalanceTime metric = "all rebalanced s"
	growthMiB     metric = "resident MiB more"
	cpuSeconds    metric = "broker CPU s"
)

// dialers is how many connections are made at once.
const dialers = 64

// crowded lets one address have as many connections as are measured.
var crowded = []string{"max.connections.per.ip=16000", "max.connection.creation.rate=10000"}

// crowd makes contestants that start brokers of their own for many connections.
func (b *bench) crowd(measure func(system) figures) []contestant {
	return b.fresh(func(s system) figures {
		s.Start()
		defer s.Stop()
		return measure(s)
	}, crowded...)
}

// idle measures the memory of n connections that have said hello.
func idle(n int) func(*bench) []contestant {
	return func(b *bench) []contestant {
		return b.crowd(func(s system) figures {
			time.Sleep(settle)
			before := b.resident(s)
			conns := b.dialMany(s, n)
			defer closeAll(conns)
			time.Sleep(settle)
			after := b.resident(s)
			return figures{residentMiB: after, growthMiB: after - before}
		})
	}
}

func (b *bench) dialMany(s system, n int) []*rawConn {
	conns := make([]*rawConn, n)
	g, ctx := errgroup.WithContext(b.env.ctx)
	g.SetLimit(dialers)
	for i := range conns {
		g.Go(func() (err error) {
			conns[i], err = greeted(ctx, s.Address())
			return err
		})
	}
	b.env.check(g.Wait())
	return conns
}

// greeted connects and says hello, again and again while the broker accepts too slowly: a
// connection beyond its backlog is reset when it is first used.
func greeted(ctx context.Context, address string) (*rawConn, error) {
	for {
		c, err := dialBuffer(ctx, address, smallBuffer)
		if err != nil {
			return nil, err
		}
		hello := kmsg.NewPtrApiVersionsRequest()
		hello.SetVersion(3)
		hello.ClientSoftwareName, hello.ClientSoftwareVersion = "bench", "1"
		if _, err = c.request(hello); err == nil {
			return c, nil
		}
		c.Close()
		if !errors.Is(err, syscall.ECONNRESET) || ctx.Err() != nil {
			return nil, err
		}
	}
}

func closeAll(conns []*rawConn) {
	for _, c := range conns {
		c.Close()
	}
}

// membership is what a member does to be in its group: it returns after each exchange
// with the broker whether the member is settled in an epoch (or generation) with all its
// partitions, and how long to wait before the next.
type membership interface {
	exchange() (epoch int32, settled bool, wait time.Duration, err error)
	leave() error
}

// crowdedGroups measures groups of so many members each: how long until all have joined
// at once, and how long until the others have settled again when one of each leaves.
func crowdedGroups(groups, members int, join func(c *rawConn, group string) membership) func(*bench) []contestant {
	return func(b *bench) []contestant {
		return b.crowd(func(s system) figures {
			createTopic(b.env, s, topic{name: membersTopic, partitions: membersPartitions})
			b.awaitCoordinator(s)
			before := b.resident(s)
			conns := b.dialMany(s, groups*members)
			defer closeAll(conns)
			ctx, cancel := context.WithCancel(b.env.ctx)
			g, ctx := errgroup.WithContext(ctx)
			all := newTallies(groups, members)
			leaving := make(chan struct{})
			m := startMeter(b.env, 0, s.Process().Pid())
			begin := time.Now()
			for i, c := range conns {
				t, last := all.of[i/members], i%members == members-1
				g.Go(func() error {
					return attend(ctx, join(c, fmt.Sprintf("group-%d", i/members)), i%members, t, leaving, last)
				})
			}
			f := figures{joinTime: all.wait(ctx).Sub(begin).Seconds(), residentMiB: b.resident(s)}
			f[growthMiB] = f[residentMiB] - before
			begin = time.Now()
			all.expect(members - 1)
			close(leaving)
			f[rebalanceTime] = all.wait(ctx).Sub(begin).Seconds()
			f[cpuSeconds] = m.stop(1, gigabyte)[brokerCPU]
			cancel()
			b.env.check(g.Wait())
			return f
		})
	}
}

const (
	membersTopic      = "members"
	membersPartitions = 10
)

// attend keeps a member in its group until ctx ends, or until it is to leave.
func attend(ctx context.Context, m membership, number int, t *tally, leaving <-chan struct{}, last bool) error {
	if !last {
		leaving = nil
	}
	for {
		epoch, settled, wait, err := m.exchange()
		if err != nil {
			return err
		}
		t.note(number, epoch, settled)
		select {
		case <-ctx.Done():
			return nil
		case <-leaving:
			t.note(number, 0, false)
			return m.leave()
		case <-time.After(wait):
		}
	}
}

// tallies know which groups have settled.
type tallies struct {
	of      []*tally
	settled chan time.Time
}

// tally is what the members of one group say of themselves.
type tally struct {
	mu     sync.Mutex
	epochs []int32          // 0: not settled
	before int32            // epoch in which the members were settled last
	want   int              // 0: nobody waits
	told   chan<- time.Time // when want members are settled in one epoch, once
}

func newTallies(groups, members int) *tallies {
	a := &tallies{settled: make(chan time.Time, groups)}
	for range groups {
		a.of = append(a.of, &tally{epochs: make([]int32, members), want: members, told: a.settled})
	}
	return a
}

// expect makes the tallies wait for so many members.
func (a *tallies) expect(members int) {
	for _, t := range a.of {
		t.mu.Lock()
		t.want = members
		t.mu.Unlock()
	}
}

// wait returns when the last of all groups had settled.
func (a *tallies) wait(ctx context.Context) (last time.Time) {
	for range a.of {
		select {
		case last = <-a.settled:
		case <-ctx.Done():
			return last
		}
	}
	return last
}

func (t *tally) note(number int, epoch int32, settled bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !settled {
		epoch = 0
	}
	t.epochs[number] = epoch
	if t.want == 0 || !t.complete() {
		return
	}
	t.want, t.before = 0, epoch
	t.told <- time.Now()
}

// complete tells whether exactly want members are settled, in the same new epoch.
func (t *tally) complete() bool {
	n, in := 0, int32(0)
	for _, e := range t.epochs {
		if e == 0 {
			continue
		}
		if n++; in != 0 && e != in || e <= t.before {
			return false
		}
		in = e
	}
	return n == t.want
}

// awaitCoordinator waits until groups have one.
func (b *bench) awaitCoordinator(s system) {
	c, err := dialBuffer(b.env.ctx, s.Address(), smallBuffer)
	b.env.check(err)
	defer c.Close()
	for {
		q := kmsg.NewPtrFindCoordinatorRequest()
		q.SetVersion(4)
		q.CoordinatorKeys = []string{"group-0"}
		p, err := c.request(q)
		b.env.check(err)
		if found := p.(*kmsg.FindCoordinatorResponse).Coordinators; len(found) == 1 && found[0].ErrorCode == 0 {
			return
		}
		select {
		case <-b.env.ctx.Done():
			b.env.check(b.env.ctx.Err())
		case <-time.After(poll):
		}
	}
}

// How members behave: as Kafka's consumers do by default, but for the rebalance timeout.
const (
	memberHeartbeat = 3 * time.Second
	memberSession   = 45 * time.Second
	memberRebalance = 30 * time.Second
	memberRetry     = 100 * time.Millisecond
)

// classicMember is a member by JoinGroup and SyncGroup (KIP-394: it is given an id).
type classicMember struct {
	c          *rawConn
	group, id  string
	generation int32
	settled    bool
}

func newClassicMember(c *rawConn, group string) membership { return &classicMember{c: c, group: group} }

func (m *classicMember) exchange() (int32, bool, time.Duration, error) {
	do := m.join
	if m.settled {
		do = m.heartbeat
	}
	code, err := do()
	switch {
	case err != nil:
		return 0, false, 0, err
	case code == 0:
		return m.generation, m.settled, memberHeartbeat, nil
	case code == kerr.RebalanceInProgress.Code, code == kerr.MemberIDRequired.Code:
		m.settled = false
		return 0, false, 0, nil
	case kerr.IsRetriable(kerr.ErrorForCode(code)):
		return 0, false, memberRetry, nil
	}
	return 0, false, 0, fmt.Errorf("member of %s: %w", m.group, kerr.ErrorForCode(code))
}

func (m *classicMember) join() (int16, error) {
	q := kmsg.NewPtrJoinGroupRequest()
	q.SetVersion(9)
	q.Group, q.MemberID, q.ProtocolType = m.group, m.id, "consumer"
	q.SessionTimeoutMillis, q.RebalanceTimeoutMillis = int32(memberSession.Milliseconds()), int32(memberRebalance.Milliseconds())
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name, protocol.Metadata = "range", (&kmsg.ConsumerMemberMetadata{Topics: []string{membersTopic}}).AppendTo(nil)
	q.Protocols = append(q.Protocols, protocol)
	answer, err := m.c.request(q)
	if err != nil {
		return 0, err
	}
	p := answer.(*kmsg.JoinGroupResponse)
	if m.id = p.MemberID; p.ErrorCode != 0 {
		return p.ErrorCode, nil
	}
	m.generation = p.Generation
	return m.sync(p.Members)
}

// sync hands out, if it is the leader, assignments, of one partition each.
func (m *classicMember) sync(members []kmsg.JoinGroupResponseMember) (int16, error) {
	q := kmsg.NewPtrSyncGroupRequest()
	q.SetVersion(5)
	protocol, kind := "range", "consumer"
	q.Group, q.MemberID, q.Generation, q.Protocol, q.ProtocolType = m.group, m.id, m.generation, &protocol, &kind
	for i := range members {
		assignment := kmsg.NewConsumerMemberAssignment()
		t := kmsg.NewConsumerMemberAssignmentTopic()
		t.Topic, t.Partitions = membersTopic, []int32{int32(i)}
		assignment.Topics = append(assignment.Topics, t)
		to := kmsg.NewSyncGroupRequestGroupAssignment()
		to.MemberID, to.MemberAssignment = members[i].MemberID, assignment.AppendTo(nil)
		q.GroupAssignment = append(q.GroupAssignment, to)
	}
	answer, err := m.c.request(q)
	if err != nil {
		return 0, err
	}
	p := answer.(*kmsg.SyncGroupResponse)
	m.settled = p.ErrorCode == 0
	return p.ErrorCode, nil
}

func (m *classicMember) heartbeat() (int16, error) {
	q := kmsg.NewPtrHeartbeatRequest()
	q.SetVersion(4)
	q.Group, q.MemberID, q.Generation = m.group, m.id, m.generation
	answer, err := m.c.request(q)
	if err != nil {
		return 0, err
	}
	return answer.(*kmsg.HeartbeatResponse).ErrorCode, nil
}

func (m *classicMember) leave() error {
	q := kmsg.NewPtrLeaveGroupRequest()
	q.SetVersion(5)
	q.Group = m.group
	member := kmsg.NewLeaveGroupRequestMember()
	member.MemberID = m.id
	q.Members = append(q.Members, member)
	answer, err := m.c.request(q)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(answer.(*kmsg.LeaveGroupResponse).ErrorCode)
}

// consumerMember is a member by ConsumerGroupHeartbeat (KIP-848).
type consumerMember struct {
	c         *rawConn
	group, id string
	epoch     int32
	owned     []kmsg.ConsumerGroupHeartbeatRequestTopic
	told      bool // the broker knows what is owned
}

func newConsumerMember(c *rawConn, group string) membership {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return &consumerMember{c: c, group: group, id: base64.RawURLEncoding.EncodeToString(id[:]), owned: []kmsg.ConsumerGroupHeartbeatRequestTopic{}}
}

func (m *consumerMember) exchange() (int32, bool, time.Duration, error) {
	p, err := m.heartbeat()
	switch {
	case err != nil:
		return 0, false, 0, err
	case p.ErrorCode == 0:
	case kerr.IsRetriable(kerr.ErrorForCode(p.ErrorCode)):
		return 0, false, memberRetry, nil
	default:
		return 0, false, 0, fmt.Errorf("member of %s: %w", m.group, kerr.ErrorForCode(p.ErrorCode))
	}
	m.epoch, m.told = p.MemberEpoch, true
	wait := time.Duration(p.HeartbeatIntervalMillis) * time.Millisecond
	if p.Assignment != nil {
		m.owned, m.told, wait = m.owned[:0], false, 0
		for _, t := range p.Assignment.Topics {
			to := kmsg.NewConsumerGroupHeartbeatRequestTopic()
			to.TopicID, to.Partitions = t.TopicID, t.Partitions
			m.owned = append(m.owned, to)
		}
	}
	return m.epoch, m.told, wait, nil
}

// heartbeat tells all there is at the beginning and after an assignment, else nothing.
func (m *consumerMember) heartbeat() (*kmsg.ConsumerGroupHeartbeatResponse, error) {
	q := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	q.SetVersion(1)
	q.Group, q.MemberID, q.MemberEpoch = m.group, m.id, m.epoch
	if m.epoch == 0 {
		q.SubscribedTopicNames, q.RebalanceTimeoutMillis = []string{membersTopic}, int32(memberRebalance.Milliseconds())
	}
	if m.epoch == 0 || !m.told {
		q.Topics = m.owned
	}
	answer, err := m.c.request(q)
	if err != nil {
		return nil, err
	}
	return answer.(*kmsg.ConsumerGroupHeartbeatResponse), nil
}

// leave is a heartbeat in epoch -1.
func (m *consumerMember) leave() error {
	m.epoch = -1
	p, err := m.heartbeat()
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(p.ErrorCode)
}
