package group

import "container/heap"

// timerKind is what is due when a timer of a consumer group fires.
type timerKind int8

const (
	sessionTimer   timerKind = iota // the member has sent no heartbeat
	rebalanceTimer                  // it has not revoked what it must
	joinTimer                       // a classic member has not joined again
	syncTimer                       // a classic member has not synced
	assignTimer                     // the next assignment may be made; of the group
	delayTimer                      // a new group has waited for more members; of the group
)

type timerKey struct {
	kind   timerKind
	member string
}

type timerEntry struct {
	at  int64 // ms
	key timerKey
}

// timers are deadlines, the earliest first. Putting one off only changes due: its entry
// moves when its moment comes, so that a heartbeat costs no work on the heap.
//
// Invariant: each key of due has an entry that is no later than the deadline.
type timers struct {
	due   map[timerKey]int64
	queue timerQueue
}

func newTimers() timers { return timers{due: map[timerKey]int64{}} }

// set puts a timer at a moment, ms, whether it runs or not.
func (t *timers) set(key timerKey, at int64) {
	before, running := t.due[key]
	t.due[key] = at
	if running && before <= at {
		return // its entry is early enough
	}
	heap.Push(&t.queue, timerEntry{at, key})
	t.compact()
}

// setIfAbsent starts a timer that does not run.
func (t *timers) setIfAbsent(key timerKey, at int64) {
	if _, running := t.due[key]; !running {
		t.set(key, at)
	}
}

// runs reports whether a timer is set.
func (t *timers) runs(key timerKey) bool {
	_, running := t.due[key]
	return running
}

func (t *timers) stop(key timerKey) { delete(t.due, key) }

// stopAll stops the timers of a member.
func (t *timers) stopAll(member string) {
	for kind := sessionTimer; kind <= syncTimer; kind++ {
		t.stop(timerKey{kind, member})
	}
}

// next is the earliest moment at which a timer may fire, 0: none runs. It may be
// early, never late.
func (t *timers) next() int64 {
	if len(t.queue) == 0 {
		return 0
	}
	return t.queue[0].at
}

// fire stops and returns a timer that is due at now.
func (t *timers) fire(now int64) (timerKey, bool) {
	for len(t.queue) > 0 && t.queue[0].at <= now {
		e := heap.Pop(&t.queue).(timerEntry)
		at, running := t.due[e.key]
		switch {
		case !running:
		case at > now:
			if at != e.at { // put off since
				heap.Push(&t.queue, timerEntry{at, e.key})
			}
		default:
			delete(t.due, e.key)
			return e.key, true
		}
	}
	return timerKey{}, false
}

// compact drops the entries of stopped timers, and all but one of each other, once
// they are most.
func (t *timers) compact() {
	if len(t.queue) < 64 || len(t.queue) < 4*len(t.due) {
		return
	}
	t.queue = t.queue[:0]
	for key, at := range t.due {
		t.queue = append(t.queue, timerEntry{at, key})
	}
	heap.Init(&t.queue)
}

type timerQueue []timerEntry

func (q timerQueue) Len() int           { return len(q) }
func (q timerQueue) Less(i, j int) bool { return q[i].at < q[j].at }
func (q timerQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *timerQueue) Push(x any)        { *q = append(*q, x.(timerEntry)) }
func (q *timerQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}
