package group

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// TopicID names a topic for good: a new topic of an old name has another.
type TopicID = [16]byte

// assignment is partitions by topic: sorted, and none of them empty. It is never
// changed in place.
type assignment map[TopicID][]int32

func (a assignment) equal(b assignment) bool {
	return maps.EqualFunc(a, b, slices.Equal)
}

func (a assignment) has(id TopicID, partition int32) bool {
	_, ok := slices.BinarySearch(a[id], partition)
	return ok
}

// topics lists the topics of an assignment in order.
func (a assignment) topics() []TopicID { return sortedIDs(maps.Keys(a)) }

func sortedIDs(ids func(func(TopicID) bool)) []TopicID {
	return slices.SortedFunc(ids, func(a, b TopicID) int { return slices.Compare(a[:], b[:]) })
}

// subscriber is a member as an assignor sees it.
type subscriber struct {
	id       string
	instance *string
	topics   []TopicID // that exist, in order
}

// assignor deals partitions to subscribers. before is the target assignment until now;
// subscribers come in the order of their ids. Every partition of a topic that somebody
// is subscribed to goes to exactly one of the topic's subscribers.
type assignor func(subscribers []subscriber, partitions map[TopicID]int32, before map[string]assignment) map[string]assignment

// assignors are the server-side assignors of KIP-848 by name.
var assignors = map[string]assignor{
	"uniform": assignUniform,
	"range":   assignRange,
}

// KnownAssignor reports whether there is a server-side assignor of that name.
func KnownAssignor(name string) bool { return assignors[name] != nil }

// assignRange gives each subscriber of a topic a range of its partitions. Subscribers
// of the same topics get the same ranges of them, so that equal keys of two topics
// meet; static members come first, by instance id, so that they keep theirs over a
// restart.
func assignRange(subscribers []subscriber, partitions map[TopicID]int32, _ map[string]assignment) map[string]assignment {
	inOrder := slices.Clone(subscribers)
	slices.SortStableFunc(inOrder, func(a, b subscriber) int {
		switch {
		case a.instance != nil && b.instance != nil:
			return strings.Compare(*a.instance, *b.instance)
		case a.instance != nil:
			return -1
		case b.instance != nil:
			return 1
		}
		return strings.Compare(a.id, b.id)
	})
	readers := map[TopicID]int32{}
	for _, s := range inOrder {
		for _, id := range s.topics {
			readers[id]++
		}
	}
	all := make(map[string]assignment, len(inOrder))
	next, dealt := map[TopicID]int32{}, map[TopicID]int32{}
	for _, s := range inOrder {
		mine := assignment{}
		for _, id := range s.topics {
			share := partitions[id] / readers[id]
			if dealt[id] < partitions[id]%readers[id] {
				share++
			}
			dealt[id]++
			for range share {
				mine[id] = append(mine[id], next[id])
				next[id]++
			}
		}
		all[s.id] = mine
	}
	return all
}

// assignUniform gives all subscribers as many partitions as the others, give or take
// one, and moves as few as it can. Where subscriptions differ it comes as near to that
// as moves of single partitions can.
func assignUniform(subscribers []subscriber, partitions map[TopicID]int32, before map[string]assignment) map[string]assignment {
	d := newDeal(subscribers, partitions, before)
	if d.homogeneous() {
		d.trim()
		d.fill()
	} else {
		d.spread()
		d.balance()
	}
	return d.result()
}

type topicIDPartition struct {
	topic     TopicID
	partition int32
}

// deal is an assignment in the making. Hands are by the index of their subscriber.
type deal struct {
	subscribers []subscriber
	partitions  map[TopicID]int32
	topics      []TopicID
	readers     map[TopicID][]int // indexes of subscribers
	hands       [][]topicIDPartition
	free        []topicIDPartition
}

// newDeal leaves to each subscriber what it has and may keep; the rest is free.
func newDeal(subscribers []subscriber, partitions map[TopicID]int32, before map[string]assignment) *deal {
	d := &deal{
		subscribers: subscribers, partitions: partitions,
		readers: map[TopicID][]int{}, hands: make([][]topicIDPartition, len(subscribers)),
	}
	taken := map[topicIDPartition]struct{}{}
	for i, s := range subscribers {
		for _, id := range s.topics {
			d.readers[id] = append(d.readers[id], i)
			for _, partition := range before[s.id][id] {
				p := topicIDPartition{id, partition}
				if _, twice := taken[p]; twice || partition >= partitions[id] {
					continue
				}
				taken[p] = struct{}{}
				d.hands[i] = append(d.hands[i], p)
			}
		}
	}
	d.topics = sortedIDs(maps.Keys(d.readers))
	for _, id := range d.topics {
		for partition := range partitions[id] {
			if _, ok := taken[topicIDPartition{id, partition}]; !ok {
				d.free = append(d.free, topicIDPartition{id, partition})
			}
		}
	}
	return d
}

// homogeneous reports whether all subscribers read the same topics.
func (d *deal) homogeneous() bool {
	return !slices.ContainsFunc(d.subscribers, func(s subscriber) bool { return len(s.topics) != len(d.topics) })
}

// quotas is how many partitions each subscriber shall have. Those who have the most
// already are the ones who get one more than others.
func (d *deal) quotas() []int {
	total := len(d.free)
	order := make([]int, len(d.hands))
	for i := range d.hands {
		total += len(d.hands[i])
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(len(d.hands[b]), len(d.hands[a])) })
	quotas := make([]int, len(d.hands))
	for rank, i := range order {
		quotas[i] = total / len(order)
		if rank < total%len(order) {
			quotas[i]++
		}
	}
	return quotas
}

// trim frees what subscribers have above their quota.
func (d *deal) trim() {
	for i, quota := range d.quotas() {
		if hand := d.hands[i]; len(hand) > quota {
			d.free = append(d.free, hand[quota:]...)
			d.hands[i] = hand[:quota]
		}
	}
}

// fill deals what is free to those below their quota.
func (d *deal) fill() {
	for i, quota := range d.quotas() {
		n := min(max(quota-len(d.hands[i]), 0), len(d.free))
		d.hands[i] = append(d.hands[i], d.free[:n]...)
		d.free = d.free[n:]
	}
}

// spread deals what is free to the subscriber of its topic that has least, beginning
// with topics of few subscribers: they have the least choice.
func (d *deal) spread() {
	slices.SortStableFunc(d.free, func(a, b topicIDPartition) int {
		return cmp.Compare(len(d.readers[a.topic]), len(d.readers[b.topic]))
	})
	for _, p := range d.free {
		least := d.least(p.topic)
		d.hands[least] = append(d.hands[least], p)
	}
	d.free = nil
}

// least is the subscriber of a topic that has the fewest partitions.
func (d *deal) least(id TopicID) int {
	readers := d.readers[id]
	least := readers[0]
	for _, i := range readers[1:] {
		if len(d.hands[i]) < len(d.hands[least]) {
			least = i
		}
	}
	return least
}

// balance moves partitions one by one from who has at least two more to the one who
// has least, until there is no such move. Each makes the sum of squares of the hands
// smaller, so it ends.
func (d *deal) balance() {
	for moved := true; moved; {
		moved = false
		for i := range d.hands {
			for at := 0; at < len(d.hands[i]); at++ {
				p := d.hands[i][at]
				least := d.least(p.topic)
				if len(d.hands[i])-len(d.hands[least]) < 2 {
					continue
				}
				d.hands[i] = slices.Delete(d.hands[i], at, at+1)
				d.hands[least] = append(d.hands[least], p)
				at--
				moved = true
			}
		}
	}
}

func (d *deal) result() map[string]assignment {
	all := make(map[string]assignment, len(d.subscribers))
	for i, s := range d.subscribers {
		mine := assignment{}
		for _, p := range d.hands[i] {
			mine[p.topic] = append(mine[p.topic], p.partition)
		}
		for _, partitions := range mine {
			slices.Sort(partitions)
		}
		all[s.id] = mine
	}
	return all
}
