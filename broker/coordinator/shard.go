package coordinator

import (
	"container/heap"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator/group"
)

// shard is the groups of one partition, led in one epoch. The core's lock guards it.
type shard struct {
	core
	g       *Groups
	groups  map[string]*entry
	due     dueHeap                  // groups with a deadline, the earliest first
	check   int64                    // when offsets are looked at for expiry, ms
	waiters map[group.Ticket]*waiter // requests without an answer
	last    group.Ticket
}

// entry is a group with its place in the heap of deadlines.
type entry struct {
	*group.Group
	at    int64 // ms; never later than the group's Next
	index int   // in due, -1: has no deadline
}

func newShard(g *Groups, epoch int32, l Log) *shard {
	s := &shard{g: g, groups: map[string]*entry{}, waiters: map[group.Ticket]*waiter{}}
	s.init(epoch, l, g.now)
	return s
}

// unload answers whoever waits.
func (s *shard) unload() {
	s.retire(func() {
		for _, w := range s.waiters {
			w.answer(w.failed(kerr.NotCoordinator.Code))
		}
		s.waiters, s.groups, s.due = nil, nil, nil
	})
}

// create makes a group that does not exist yet. id may be a view of a request.
func (s *shard) create(now int64, id string) *entry {
	e := &entry{Group: group.New(strings.Clone(id), &s.g.limits, now), index: -1}
	s.groups[e.ID()] = e
	return e
}

// decision is what a group decided.
type decision struct {
	e   *entry
	out group.Output
}

// carryOut gives the answers of a decision and writes its records.
func (s *shard) carryOut(now int64, e *entry, out group.Output) {
	for _, r := range out.Replies {
		if w := s.waiters[r.Ticket]; w != nil { // else its connection has gone
			delete(s.waiters, r.Ticket)
			w.answer(r)
		}
	}
	for _, p := range out.Persist {
		s.persist(e, p)
	}
	for _, m := range out.Matches {
		s.match(e, m)
	}
	if len(out.Appends) > 0 {
		s.append(now, s.shares(e, out)...)
	}
}

// shares are the appends of a group, which hears of their fate.
func (s *shard) shares(e *entry, out group.Output) []*share {
	shares := make([]*share, len(out.Appends))
	for i, a := range out.Appends {
		shares[i] = &share{Write: plain(a.Records), told: func(now int64, code int16) {
			s.step(now, e, e.Appended(now, a, code))
		}}
	}
	return shares
}

// carryOutAll carries out the decisions of several groups; their records share
// batches.
func (s *shard) carryOutAll(now int64, all []decision) {
	var shares []*share
	for _, d := range all {
		s.carryOut(now, d.e, group.Output{Replies: d.out.Replies, Persist: d.out.Persist})
		shares = append(shares, s.shares(d.e, d.out)...)
	}
	s.append(now, shares...)
	for _, d := range all {
		s.settle(now, d.e)
	}
}

// step carries out what a group decided.
func (s *shard) step(now int64, e *entry, out group.Output) {
	s.carryOut(now, e, out)
	s.settle(now, e)
}

// settle lets the group do what is due already, forgets it where it has gone, and
// notes its next deadline.
func (s *shard) settle(now int64, e *entry) {
	for at := e.Next(); at != 0 && at <= now; at = e.Next() {
		s.carryOut(now, e, e.Expire(now))
	}
	if e.Gone() {
		s.forget(e)
		return
	}
	s.reschedule(e)
}

func (s *shard) forget(e *entry) {
	if e.index >= 0 {
		heap.Remove(&s.due, e.index)
	}
	if s.groups[e.ID()] == e {
		delete(s.groups, e.ID())
	}
}

// reschedule keeps the group's place in the heap no later than its next deadline. A
// place that is too early costs one look when it comes.
func (s *shard) reschedule(e *entry) {
	at := e.Next()
	switch {
	case at == 0 || e.index >= 0 && e.at <= at:
		return
	case e.index >= 0:
		e.at = at
		heap.Fix(&s.due, e.index)
	default:
		e.at = at
		heap.Push(&s.due, e)
	}
	s.g.alarm.moved(at)
}

// tick does what is due and returns when something is due next, MaxInt64: never.
func (s *shard) tick(now int64) int64 {
	if s.enter() != 0 {
		return math.MaxInt64
	}
	defer s.mu.Unlock()
	for len(s.due) > 0 && s.due[0].at <= now {
		e := heap.Pop(&s.due).(*entry)
		s.settle(now, e)
	}
	if s.check <= now {
		s.expireOffsets(now)
		s.check = now + s.g.o.RetentionCheck.Milliseconds()
	}
	if len(s.due) > 0 && s.due[0].at < s.check {
		return s.due[0].at
	}
	return s.check
}

// expireOffsets looks at every offset once (KIP-211).
func (s *shard) expireOffsets(now int64) {
	var all []decision
	for _, id := range s.ids() {
		e := s.groups[id]
		all = append(all, decision{e, e.ExpireOffsets(now)})
	}
	s.carryOutAll(now, all)
}

// dropTopic has every group drop the topic's offsets.
func (s *shard) dropTopic(now int64, topic string, topicID group.TopicID) []*waiter {
	var all []decision
	var waiters []*waiter
	for _, id := range s.ids() {
		e := s.groups[id]
		w := s.ticket(nil)
		waiters = append(waiters, w)
		all = append(all, decision{e, e.DropTopic(now, w.ticket, topic, topicID)})
	}
	s.carryOutAll(now, all)
	return waiters
}

// ids lists the groups in order, so that the log does not depend on a map's.
func (s *shard) ids() []string { return slices.Sorted(maps.Keys(s.groups)) }

// ticket registers a request. fail makes its answer from a code; nil: the code is the
// answer.
func (s *shard) ticket(fail func(code int16) kmsg.Response) *waiter {
	s.last++
	w := &waiter{s: s, ticket: s.last, fail: fail, reply: make(chan group.Reply, 1)}
	s.waiters[w.ticket] = w
	return w
}

// dueHeap orders groups by deadline.
type dueHeap []*entry

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *dueHeap) Push(x any) {
	e := x.(*entry)
	e.index = len(*h)
	*h = append(*h, e)
}

func (h *dueHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.index = -1
	return e
}
