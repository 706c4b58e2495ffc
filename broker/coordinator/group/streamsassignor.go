package group

import (
	"cmp"
	"container/heap"
	"slices"
)

// worker is a member as the assignor sees it.
type worker struct {
	id, process string
	before      taskSet // its target until now
}

// assignSticky deals the tasks of a topology to workers, which come in the order of their
// ids: each active task to one, and each task of a stateful subtopology to as many more
// processes as there are standby replicas and processes without it. Who had a task keeps
// it, then who had a copy of its state gets it, as long as all get about equally many; the
// rest goes where the least is done. It is Kafka's "sticky" (KIP-1071); what Kafka leaves
// to the order of a hash map goes by name.
func assignSticky(workers []worker, t *topology, c *configuredTopology, replicas int) map[string]taskSet {
	s := newStickyDeal(workers, t, c, replicas)
	all, stateful := s.list(t, c)
	s.dealActive(all)
	if replicas > 0 {
		s.dealStandby(stateful, replicas)
	}
	return s.result()
}

// stickyDeal is assignSticky at work.
type stickyDeal struct {
	threads   []*thread
	processes []*process
	active    map[task]*thread   // who had it
	standby   map[task][]*thread // who had a copy
	// Tasks, active ones and all, that are still to be dealt to members with less than
	// their share, those members, and the share.
	activeQuota, totalQuota quota
}

// thread is a member with what it gets.
type thread struct {
	id              string
	process         *process
	active, standby []task
}

func (t *thread) count() int { return len(t.active) + len(t.standby) }

// process is members that share a machine's memory and disk.
type process struct {
	id      string
	threads []*thread
	tasks   map[task]struct{}
	count   int
}

// compareLoad orders by tasks for each thread.
func (p *process) compareLoad(o *process) int {
	return cmp.Or(cmp.Compare(p.count*len(o.threads), o.count*len(p.threads)), cmp.Compare(p.id, o.id))
}

func (p *process) has(x task) bool {
	_, ok := p.tasks[x]
	return ok
}

func (p *process) idlest() *thread {
	return slices.MinFunc(p.threads, func(a, b *thread) int { return cmp.Compare(a.count(), b.count()) })
}

// quota is the share of a member: what is left, divided by who may still take some.
type quota struct{ tasks, members, share int }

func newQuota(tasks, members int) quota {
	q := quota{tasks: tasks, members: members}
	q.divide()
	return q
}

func (q *quota) divide() {
	q.share = 0
	if q.members > 0 {
		q.share = (q.tasks + q.members - 1) / q.members
	}
}

// reached notes that a member has count tasks.
func (q *quota) reached(count int) {
	if count == q.share {
		q.members--
		q.tasks -= count
		q.divide()
	}
}

func newStickyDeal(workers []worker, t *topology, c *configuredTopology, replicas int) *stickyDeal {
	s := &stickyDeal{active: map[task]*thread{}, standby: map[task][]*thread{}}
	byID := map[string]*process{}
	for _, w := range workers {
		p := byID[w.process]
		if p == nil {
			p = &process{id: w.process, tasks: map[task]struct{}{}}
			byID[w.process] = p
			s.processes = append(s.processes, p)
		}
		th := &thread{id: w.id, process: p}
		p.threads = append(p.threads, th)
		s.threads = append(s.threads, th)
		for _, x := range w.before.active.all() {
			s.active[x] = th
		}
		for _, x := range w.before.standby.all() {
			s.standby[x] = append(s.standby[x], th)
		}
	}
	active, total := 0, 0
	for i := range t.subtopologies {
		n := int(c.tasks[t.subtopologies[i].id])
		active += n
		total += n
		if len(t.subtopologies[i].changelogs) > 0 {
			total += n * replicas
		}
	}
	s.activeQuota, s.totalQuota = newQuota(active, len(workers)), newQuota(total, len(workers))
	return s
}

// list is all tasks, and those that have state to keep copies of.
func (s *stickyDeal) list(t *topology, c *configuredTopology) (all, stateful []task) {
	for i := range t.subtopologies {
		sub := &t.subtopologies[i]
		for partition := range c.tasks[sub.id] {
			all = append(all, task{sub.id, partition})
			if len(sub.changelogs) > 0 {
				stateful = append(stateful, task{sub.id, partition})
			}
		}
	}
	return all, stateful
}

func byPartition(a, b task) int {
	return cmp.Or(cmp.Compare(a.partition, b.partition), cmp.Compare(a.subtopology, b.subtopology))
}

func bySubtopology(a, b task) int {
	return cmp.Or(cmp.Compare(a.subtopology, b.subtopology), cmp.Compare(a.partition, b.partition))
}

// dealActive goes over the tasks three times: to who had them, to who had a copy, to
// whoever does the least. Partition by partition, so that a member gets some of each
// subtopology.
func (s *stickyDeal) dealActive(all []task) {
	if len(s.threads) == 0 {
		return
	}
	slices.SortFunc(all, byPartition)
	keep := func(choose func(task) *thread) func(task) bool {
		return func(x task) bool {
			th := choose(x)
			if th == nil || th.count() >= s.activeQuota.share {
				return false
			}
			s.give(th, x, true)
			return true
		}
	}
	all = slices.DeleteFunc(all, keep(func(x task) *thread { return s.active[x] }))
	all = slices.DeleteFunc(all, keep(func(x task) *thread { return leastLoaded(s.standby[x], nil) }))
	slices.SortFunc(all, bySubtopology)
	queue := s.queue()
	for _, x := range all {
		s.give(queue[0].idlest(), x, true)
		heap.Fix(&queue, 0)
	}
}

// leastLoaded is who does the least of those that may take a task: whose process has not
// got it, where one is given.
func leastLoaded(threads []*thread, x *task) *thread {
	var best *thread
	for _, th := range threads {
		if x != nil && th.process.has(*x) {
			continue
		}
		if best == nil || cmp.Or(th.process.compareLoad(best.process), cmp.Compare(th.count(), best.count())) < 0 {
			best = th
		}
	}
	return best
}

// give deals one task.
func (s *stickyDeal) give(th *thread, x task, active bool) {
	if active {
		th.active = append(th.active, x)
	} else {
		th.standby = append(th.standby, x)
	}
	th.process.tasks[x] = struct{}{}
	th.process.count++
	if active {
		s.activeQuota.reached(th.count())
	}
	s.totalQuota.reached(th.count())
}

// dealStandby deals copies: to who had the task, to who had a copy, to whoever does the
// least. A process gets no two copies; what does not fit is left out.
func (s *stickyDeal) dealStandby(stateful []task, replicas int) {
	type rest struct {
		task
		copies int
	}
	var left []rest
	slices.SortFunc(stateful, func(a, b task) int { return byPartition(b, a) })
	for _, x := range stateful {
		for i := range replicas {
			th := s.active[x]
			if th == nil || th.process.has(x) || th.count() >= s.totalQuota.share {
				th = leastLoaded(s.standby[x], &x)
			}
			if th == nil || th.count() >= s.totalQuota.share {
				left = append(left, rest{x, replicas - i})
				break
			}
			s.give(th, x, false)
		}
	}
	slices.SortFunc(left, func(a, b rest) int { return bySubtopology(b.task, a.task) })
	queue := s.queue()
	for _, r := range left {
		for range r.copies {
			if !s.dealCopy(&queue, r.task) {
				break
			}
		}
	}
}

// dealCopy gives a copy to the process that does the least of those without the task.
func (s *stickyDeal) dealCopy(queue *processQueue, x task) bool {
	var aside []*process
	found := false
	for len(*queue) > 0 && !found {
		p := heap.Pop(queue).(*process)
		aside = append(aside, p)
		if found = !p.has(x); found {
			s.give(p.idlest(), x, false)
		}
	}
	for _, p := range aside {
		heap.Push(queue, p)
	}
	return found
}

func (s *stickyDeal) result() map[string]taskSet {
	target := make(map[string]taskSet, len(s.threads))
	for _, th := range s.threads {
		target[th.id] = taskSet{active: tasksOf(th.active), standby: tasksOf(th.standby), warmup: tasks{}}
	}
	return target
}

// queue is the processes, who does the least first.
func (s *stickyDeal) queue() processQueue {
	q := processQueue(slices.Clone(s.processes))
	heap.Init(&q)
	return q
}

type processQueue []*process

func (q processQueue) Len() int           { return len(q) }
func (q processQueue) Less(i, j int) bool { return q[i].compareLoad(q[j]) < 0 }
func (q processQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *processQueue) Push(x any)        { *q = append(*q, x.(*process)) }
func (q *processQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}
