package partition

import (
	"fmt"
	"slices"

	"github.com/varvelog/varve/segment"
)

// Offsets is one consistent snapshot.
//
// Invariant: LogStart <= LocalStart <= End and LogStart <= LastStable <= HighWatermark <= End.
type Offsets struct {
	LogStart, LocalStart      int64
	LastStable, HighWatermark int64
	End                       int64
	TieredEnd                 int64 // -1: not tiered, or not known yet
	LeaderEpoch               int32 // the last one led, -1: none
	Leader                    bool
}

// Offsets returns the offsets of this moment.
func (p *Partition) Offsets() Offsets {
	p.mu.Lock()
	o := p.offsets()
	p.mu.Unlock()
	// The tier comes after the log: its end only grows, and the local log start, read
	// before, does not exceed it.
	if p.remote != nil {
		if r := p.remote.Offsets(); r.Known {
			o.TieredEnd = r.End
		}
	}
	return o
}

// offsets is Offsets without the tier, for a caller that holds mu. The committer of
// the log tells nobody how far it has come; so it is here that the high watermark
// advances, whenever somebody looks.
func (p *Partition) offsets() Offsets {
	l := p.log.Offsets()
	p.high = max(p.high, p.committed(l), l.LogStart)
	p.transactions.commit(p.high)
	return Offsets{
		LogStart:      l.LogStart,
		LocalStart:    l.LocalStart,
		LastStable:    max(l.LogStart, p.transactions.lastStable(p.high)),
		HighWatermark: p.high,
		End:           l.End,
		TieredEnd:     none,
		LeaderEpoch:   p.epoch,
		Leader:        p.leader,
	}
}

// committed is the smallest acknowledged end of the in-sync replicas; of a follower
// that has not been heard of in this epoch it is 0. The caller holds mu.
func (p *Partition) committed(l segment.Offsets) int64 {
	if !p.leader {
		return 0
	}
	end := l.AckEnd
	for _, id := range p.isr {
		if id != p.nodeID {
			end = min(end, p.ends[id])
		}
	}
	return end
}

// SetISR replaces the in-sync replicas of the current epoch.
func (p *Partition) SetISR(isr []int32) {
	p.mu.Lock()
	if p.leader {
		p.isr = slices.Clone(isr)
	}
	p.mu.Unlock()
	p.log.Notify()
}

// SetReplicas tells how many replicas the partition is assigned to, in sync or not:
// min.insync.replicas above that counts as that (as in Kafka). 0: unknown.
func (p *Partition) SetReplicas(n int) {
	p.mu.Lock()
	p.replicas = n
	p.mu.Unlock()
}

// SetFollowerEnd tells the leader that a follower has flushed everything below end.
func (p *Partition) SetFollowerEnd(id int32, end int64) {
	p.mu.Lock()
	moved := false
	if p.leader && p.ends[id] < end {
		p.ends[id] = end
		before := p.high
		moved = p.offsets().HighWatermark > before
	}
	p.mu.Unlock()
	if moved {
		p.log.Notify()
	}
}

// enoughReplicas checks min.insync.replicas. The caller holds mu.
func (p *Partition) enoughReplicas(minimum int) error {
	if p.replicas > 0 {
		minimum = min(minimum, p.replicas)
	}
	if len(p.isr) < minimum {
		return fmt.Errorf("%w: %d of %d", ErrNotEnoughReplicas, len(p.isr), minimum)
	}
	return nil
}

// Watch registers a waiter signalled when the high watermark, last stable offset, log
// start or leadership changes.
func (p *Partition) Watch(w *segment.Waiter) { p.log.Watch(w) }

// Unwatch removes a waiter.
func (p *Partition) Unwatch(w *segment.Waiter) { p.log.Unwatch(w) }

// checkEpoch compares the leader epoch a client knows with ours, -1: it knows none
// (KIP-320), and makes sure that this replica leads.
func checkEpoch(o Offsets, current int32) error {
	switch {
	case current != -1 && current < o.LeaderEpoch:
		return fmt.Errorf("%w: %d, the current one is %d", ErrFencedEpoch, current, o.LeaderEpoch)
	case current != -1 && current > o.LeaderEpoch:
		return fmt.Errorf("%w: %d, the current one is %d", ErrUnknownEpoch, current, o.LeaderEpoch)
	case !o.Leader:
		return ErrNotLeader
	}
	return nil
}
