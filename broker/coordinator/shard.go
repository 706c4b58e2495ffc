package coordinator

import (
	"container/heap"
	"context"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator/group"
)

// status of a shard.
//
//	loading ──► active ──► unloaded
//	   └───────────────────────▲
type status int8

const (
	loading  status = iota // COORDINATOR_LOAD_IN_PROGRESS
	active                 // serves
	unloaded               // NOT_COORDINATOR
)

// shard is the groups of one partition, led in one epoch.
type shard struct {
	g      *Groups
	epoch  int32
	log    Log
	cancel context.CancelFunc // ends Load

	mu      sync.Mutex // guards what follows
	status  status
	groups  map[string]*entry
	due     dueHeap                  // groups with a deadline, the earliest first
	check   int64                    // when offsets are looked at for expiry, ms
	waiters map[group.Ticket]*waiter // requests without an answer
	last    group.Ticket
	queue   []*flight // appends that are not committed yet, in the order of the log
	stop    context.CancelFunc
	drained chan struct{} // closed when the draining goroutine has ended, nil: there is none
}

// entry is a group with its place in the heap of deadlines.
type entry struct {
	*group.Group
	at    int64 // ms; never later than the group's Next
	index int   // in due, -1: has no deadline
}

func newShard(g *Groups, epoch int32, l Log, cancel context.CancelFunc) *shard {
	return &shard{
		g: g, epoch: epoch, log: l, cancel: cancel,
		groups: map[string]*entry{}, waiters: map[group.Ticket]*waiter{},
	}
}

// enter locks the shard where it serves and returns 0, else the code to answer.
func (s *shard) enter() int16 {
	s.mu.Lock()
	switch s.status {
	case active:
		return 0
	case loading:
		s.mu.Unlock()
		return kerr.CoordinatorLoadInProgress.Code
	}
	s.mu.Unlock()
	return kerr.NotCoordinator.Code
}

// unload answers whoever waits and waits for the draining goroutine.
func (s *shard) unload() {
	s.mu.Lock()
	s.status = unloaded
	s.cancel() // after the status: a load that is cut short sees why
	for _, w := range s.waiters {
		w.answer(w.failed(kerr.NotCoordinator.Code))
	}
	s.waiters, s.groups, s.due, s.queue = nil, nil, nil, nil
	drained := s.drained
	if s.stop != nil {
		s.stop()
	}
	s.mu.Unlock()
	if drained != nil {
		<-drained
	}
}

// create makes a group that does not exist yet. id may be a view of a request.
func (s *shard) create(now int64, id string) *entry {
	e := &entry{Group: group.New(strings.Clone(id), &s.g.limits, now), index: -1}
	s.groups[e.ID()] = e
	return e
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
	s.g.moved(at)
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
func (s *shard) dropTopic(now int64, topic string) []*waiter {
	var all []decision
	var waiters []*waiter
	for _, id := range s.ids() {
		e := s.groups[id]
		w := s.ticket(nil)
		waiters = append(waiters, w)
		all = append(all, decision{e, e.DropTopic(now, w.ticket, topic)})
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
