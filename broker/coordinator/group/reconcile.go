package group

import (
	"maps"
	"slices"
)

// reconciliation brings what a member owns closer to its target.
type reconciliation struct {
	member      *consumerMember
	targetEpoch int32
	target      assignment
	isOwned     func(TopicID, int32) bool // by any member
	// reported is what the member says that it owns; nil: it does not say.
	reported   assignment
	subscribed []TopicID // that the member reads, in order
	// resubscribed says that subscribed has just changed: what the member has dropped is
	// taken back at once, without waiting for a new target.
	resubscribed bool
}

// next is the member as it goes on from here, the member itself where nothing changes.
func (r reconciliation) next() *consumerMember {
	m := r.member
	switch m.state {
	case stable:
		if m.epoch != r.targetEpoch {
			return r.toTarget(m.epoch)
		}
		return r.withoutUnsubscribed()
	case unrevokedPartitions:
		// What was to be revoked is revoked once the member no longer reports it.
		if r.reports(m.revoking) {
			return r.withoutUnsubscribed()
		}
		return r.toTarget(m.epoch)
	case unreleasedPartitions:
		return r.toTarget(m.epoch)
	}
	return r.toTarget(r.targetEpoch) // a state of a later version: the caller has fenced who owns anything
}

// reports tells whether the member says that it owns any of these, or does not say.
func (r reconciliation) reports(some ownership) bool {
	if r.reported == nil {
		return true
	}
	for id, partitions := range some {
		for _, x := range partitions {
			if r.reported.has(id, x.partition) {
				return true
			}
		}
	}
	return false
}

// toTarget keeps what is in the target, has the rest revoked first, and then adds what
// is free.
func (r reconciliation) toTarget(epoch int32) *consumerMember {
	kept, revoking := ownership{}, ownership{}
	for id, partitions := range r.member.assigned {
		for _, x := range partitions {
			if r.target.has(id, x.partition) && r.reads(id) {
				kept.put(id, x)
			} else {
				revoking.put(id, x)
			}
		}
	}
	if len(revoking) > 0 && r.reports(revoking) {
		next := r.member.advanced(epoch)
		next.state, next.assigned, next.revoking = unrevokedPartitions, kept, revoking
		return next
	}
	next := r.member.advanced(r.targetEpoch)
	next.state, next.assigned, next.revoking = stable, kept, ownership{}
	for id, partitions := range r.target {
		if !r.reads(id) {
			continue
		}
		for _, partition := range partitions {
			if _, has := r.member.assigned.find(id, partition); has {
				continue
			}
			if r.isOwned(id, partition) && !r.givesUp(id, partition) {
				next.state = unreleasedPartitions
				continue
			}
			kept.put(id, owned{partition, r.targetEpoch})
		}
	}
	kept.sort()
	return next
}

// givesUp reports whether the partition is the member's own, revoked by now.
func (r reconciliation) givesUp(id TopicID, partition int32) bool {
	_, ok := r.member.revoking.find(id, partition)
	return ok
}

func (r reconciliation) reads(id TopicID) bool {
	_, ok := slices.BinarySearchFunc(r.subscribed, id, func(a, b TopicID) int { return slices.Compare(a[:], b[:]) })
	return ok
}

// withoutUnsubscribed has the member revoke the topics that it no longer reads.
func (r reconciliation) withoutUnsubscribed() *consumerMember {
	if !r.resubscribed {
		return r.member
	}
	kept, revoking := maps.Clone(r.member.assigned), maps.Clone(r.member.revoking)
	dropped := ownership{}
	for id, partitions := range r.member.assigned {
		if !r.reads(id) {
			delete(kept, id)
			dropped[id] = partitions
			revoking[id] = append(append([]owned{}, revoking[id]...), partitions...)
		}
	}
	if len(dropped) == 0 {
		return r.member
	}
	next := r.member.advanced(r.member.epoch)
	next.assigned = kept
	if r.reports(dropped) {
		revoking.sort()
		next.state, next.revoking = unrevokedPartitions, revoking
	}
	return next
}
