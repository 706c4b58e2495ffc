package tiering

import "container/list"

// queue holds jobs of one class, fair between partitions: each gets one turn.
type queue struct {
	lanes map[PartitionID]*lane
	ring  *list.List // of *lane, those that have jobs; the front is next
}

// lane is the queue of one partition, in order.
type lane struct {
	partition PartitionID
	jobs      *list.List // of *job
	turn      *list.Element
}

func newQueue() *queue { return &queue{lanes: map[PartitionID]*lane{}, ring: list.New()} }

func (q *queue) push(j *job) {
	l, ok := q.lanes[j.remote.id]
	if !ok {
		l = &lane{partition: j.remote.id, jobs: list.New()}
		l.turn = q.ring.PushBack(l)
		q.lanes[j.remote.id] = l
	}
	j.lane, j.elem = l, l.jobs.PushBack(j)
}

// pop takes the next job, nil where there is none.
func (q *queue) pop() *job {
	front := q.ring.Front()
	if front == nil {
		return nil
	}
	l := front.Value.(*lane)
	q.ring.MoveToBack(front)
	j := l.jobs.Front().Value.(*job)
	q.remove(j)
	return j
}

// remove takes a waiting job out of its turn.
func (q *queue) remove(j *job) {
	l := j.lane
	l.jobs.Remove(j.elem)
	j.lane, j.elem = nil, nil
	if l.jobs.Len() == 0 {
		q.ring.Remove(l.turn)
		delete(q.lanes, l.partition)
	}
}
