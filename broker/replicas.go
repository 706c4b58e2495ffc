package broker

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/varvelog/varve/broker/partition"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/tiering"
)

// replicas is the table of open partitions. Every request looks something up in it and
// it changes only with the metadata, so readers take an immutable map without a lock.
type replicas struct {
	table atomic.Pointer[map[tiering.PartitionID]*replica]

	mu       sync.Mutex
	applied  int64         // metadata revision that the table shows
	advanced chan struct{} // closed when applied has moved
}

// replica is an open partition and the log directory it lies in.
type replica struct {
	*partition.Partition
	dir *segment.Dir
}

func newReplicas() *replicas {
	r := &replicas{advanced: make(chan struct{})}
	r.table.Store(&map[tiering.PartitionID]*replica{})
	return r
}

// Partition implements api.Partitions.
func (r *replicas) Partition(topic segment.TopicID, index int32) (*partition.Partition, bool) {
	p, ok := (*r.table.Load())[tiering.PartitionID{Topic: topic, Partition: index}]
	if !ok {
		return nil, false
	}
	return p.Partition, true
}

// all returns the table; do not write to it.
func (r *replicas) all() map[tiering.PartitionID]*replica { return *r.table.Load() }

// publish replaces part of the table and says which metadata it shows now.
func (r *replicas) publish(opened map[tiering.PartitionID]*replica, closed []tiering.PartitionID, revision int64) {
	if len(opened) > 0 || len(closed) > 0 {
		next := maps.Clone(r.all())
		maps.Copy(next, opened)
		for _, id := range closed {
			delete(next, id)
		}
		r.table.Store(&next)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.applied = max(r.applied, revision)
	close(r.advanced)
	r.advanced = make(chan struct{})
}

// revision returns the metadata revision that the table shows.
func (r *replicas) revision() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.applied
}

// Await implements api.Partitions.
func (r *replicas) Await(ctx context.Context, revision int64) error {
	for {
		r.mu.Lock()
		applied, advanced := r.applied, r.advanced
		r.mu.Unlock()
		if applied >= revision {
			return nil
		}
		select {
		case <-advanced:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
