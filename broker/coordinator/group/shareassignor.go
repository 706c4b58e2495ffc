package group

import (
	"cmp"
	"maps"
	"slices"
)

// assignShares is the assignor of share groups, Kafka's "simple". Members that read the
// same topics share all their partitions, else each topic is dealt by itself: every
// partition goes to the same number of members, the least that gives each something to do,
// and what a member has stays with it where that allows.
//
// topics are the partitions that may be assigned, by name.
func assignShares(subscriptions map[string][]string, topics map[string][]topicIDPartition, before map[string]assignment) map[string]assignment {
	target := make(map[string]assignment, len(subscriptions))
	for id := range subscriptions {
		target[id] = assignment{}
	}
	for _, h := range hands(subscriptions, topics) {
		for member, all := range h.deal(before) {
			for p := range all {
				target[member][p.topic] = append(target[member][p.topic], p.partition)
			}
		}
	}
	for _, a := range target {
		for _, partitions := range a {
			slices.Sort(partitions)
		}
	}
	return target
}

// hand is partitions and the members that share them.
type hand struct {
	members    []string // in order
	partitions []topicIDPartition
}

// hands is what is dealt together.
func hands(subscriptions map[string][]string, topics map[string][]topicIDPartition) []hand {
	members := slices.Sorted(maps.Keys(subscriptions))
	if len(members) == 0 {
		return nil
	}
	same := true
	readers := map[string][]string{}
	for _, id := range members {
		same = same && slices.Equal(subscriptions[id], subscriptions[members[0]])
		for _, name := range subscriptions[id] {
			readers[name] = append(readers[name], id)
		}
	}
	var all []hand
	for _, name := range slices.Sorted(maps.Keys(readers)) {
		h := hand{readers[name], slices.Clone(topics[name])}
		slices.SortFunc(h.partitions, comparePartitions)
		if same && len(all) == 1 {
			all[0].partitions = append(all[0].partitions, h.partitions...)
		} else {
			all = append(all, h)
		}
	}
	return all
}

func comparePartitions(a, b topicIDPartition) int {
	return cmp.Or(slices.Compare(a.topic[:], b.topic[:]), cmp.Compare(a.partition, b.partition))
}

// deal gives each partition to as many members as there are for one, and each member as
// many partitions as its share.
func (h hand) deal(before map[string]assignment) map[string]map[topicIDPartition]struct{} {
	n, t := len(h.members), len(h.partitions)
	if n == 0 || t == 0 {
		return nil
	}
	sharing := (n + t - 1) / t
	share := func(i int) int { // of sharing*t hands, evenly
		ceil := func(i int) int { return (sharing*t*i + n - 1) / n }
		return ceil(i+1) - ceil(i)
	}
	dealt := make(map[string]map[topicIDPartition]struct{}, n)
	sharers := make(map[topicIDPartition]int, t)
	for i, id := range h.members {
		dealt[id] = map[topicIDPartition]struct{}{}
		for _, p := range h.partitions {
			if len(dealt[id]) < share(i) && sharers[p] < sharing && before[id].has(p.topic, p.partition) {
				dealt[id][p] = struct{}{}
				sharers[p]++
			}
		}
	}
	// A partition without any member finds one: while one is missing, fewer hands are dealt
	// than there are, so some member wants more, and has not got this one.
	next := 0
	for _, p := range h.partitions {
		for tried := 0; tried < n && sharers[p] < sharing; tried++ {
			i := next
			next = (next + 1) % n
			id := h.members[i]
			if _, has := dealt[id][p]; !has && len(dealt[id]) < share(i) {
				dealt[id][p] = struct{}{}
				sharers[p]++
			}
		}
	}
	return dealt
}
