package share

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator"
	"github.com/varvelog/varve/broker/partition"
	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment"
)

// Partition is what a share group has made of one partition that this broker leads: a
// State, the log it speaks of, and where it is stored.
type Partition struct {
	m       *Manager
	group   string
	id      TopicPartition
	replica *partition.Partition
	epoch   int32 // leader epoch that the state was loaded in

	loaded chan struct{} // closed when the loading has ended
	failed error         // why it failed; written before loaded is closed

	mu         sync.Mutex
	state      *State
	stateEpoch int32
	writes     int       // writes under way
	gone       bool      // dropped: nothing is acquired or acknowledged any more
	deadline   time.Time // no lock expires before that; zero: none is held
	waiters    []*segment.Waiter
}

func (p *Partition) String() string {
	return fmt.Sprintf("%s of group %s", p.replica.Topic(), p.group)
}

func (p *Partition) readRequest() *kmsg.ReadShareGroupStateRequest {
	q := kmsg.NewPtrReadShareGroupStateRequest()
	q.GroupID = p.group
	t := kmsg.NewReadShareGroupStateRequestTopic()
	t.TopicID = p.id.Topic
	at := kmsg.NewReadShareGroupStateRequestTopicPartition()
	at.Partition, at.LeaderEpoch = p.id.Index, p.epoch
	t.Partitions = append(t.Partitions, at)
	q.Topics = append(q.Topics, t)
	return q
}

// load makes the state of what is stored. A group that has never read the partition
// begins where its settings say, and that is stored before anything is delivered: the end
// of the log would be another one after a restart.
func (p *Partition) load(ctx context.Context, answer coordinator.Pending[*kmsg.ReadShareGroupStateResponse]) error {
	r, err := answer(ctx)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrNotReady, err.Error())
	}
	if len(r.Topics) != 1 || len(r.Topics[0].Partitions) != 1 {
		return fmt.Errorf("%w: no state of %s was found", ErrFenced, p)
	}
	found := &r.Topics[0].Partitions[0]
	if err := stored(found.ErrorCode, "read"); err != nil {
		return err
	}
	start := found.StartOffset
	fresh := start < 0
	if fresh {
		if start, err = p.beginning(ctx); err != nil {
			return err
		}
	}
	ranges := make([]Range, len(found.StateBatches))
	for i, b := range found.StateBatches {
		ranges[i] = Range{First: b.FirstOffset, Next: b.LastOffset + 1, State: RecordState(b.DeliveryState), Deliveries: b.DeliveryCount}
	}
	state, err := Load(start, ranges)
	if err != nil {
		return fmt.Errorf("load %s: %w", p, err)
	}
	p.mu.Lock()
	p.state, p.stateEpoch = state, found.StateEpoch
	var wait func() error
	if fresh {
		wait = p.write(&Change{Start: start})
	}
	p.mu.Unlock()
	if fresh {
		return wait()
	}
	return nil
}

// beginning is the first offset for a group that has read nothing of the partition.
func (p *Partition) beginning(ctx context.Context) (int64, error) {
	reset := p.m.Settings(p.group).Reset
	o := p.replica.Offsets()
	switch {
	case reset.Earliest:
		return o.LogStart, nil
	case reset.By <= 0:
		return o.HighWatermark, nil
	}
	found, err := p.replica.ListOffset(ctx, p.m.Wall().Add(-reset.By).UnixMilli(), partition.ReadUncommitted, -1)
	if err != nil {
		return 0, err
	}
	if found.Offset < 0 {
		return p.replica.Offsets().HighWatermark, nil
	}
	return found.Offset, nil
}

// write stores a change. The caller holds mu: writes are ordered as the changes are. The
// wait that it returns has to be called once, without mu. It ends with storeTimeout from now
// on, whoever asked is gone or not: of several writes none is waited for longer.
func (p *Partition) write(c *Change) (wait func() error) {
	q := kmsg.NewPtrWriteShareGroupStateRequest()
	q.Version = 1
	q.GroupID = p.group
	t := kmsg.NewWriteShareGroupStateRequestTopic()
	t.TopicID = p.id.Topic
	at := kmsg.NewWriteShareGroupStateRequestTopicPartition()
	at.Partition, at.StateEpoch, at.LeaderEpoch = p.id.Index, p.stateEpoch, p.epoch
	at.StartOffset, at.DeliveryCompleteCount = c.Start, int32(min(c.Complete, 1<<31-1))
	for _, r := range c.Ranges {
		b := kmsg.NewWriteShareGroupStateRequestTopicPartitionStateBatch()
		b.FirstOffset, b.LastOffset, b.DeliveryState, b.DeliveryCount = r.First, r.Next-1, int8(r.State), r.Deliveries
		at.StateBatches = append(at.StateBatches, b)
	}
	t.Partitions = append(t.Partitions, at)
	q.Topics = append(q.Topics, t)
	p.writes++
	answer := p.m.Persister.Write(q)
	bound, cancel := context.WithTimeout(context.Background(), storeTimeout)
	return func() error {
		defer cancel()
		r, err := answer(bound)
		switch {
		case err != nil:
			err = fmt.Errorf("%w: %s", ErrNotReady, err.Error())
		case len(r.Topics) != 1 || len(r.Topics[0].Partitions) != 1:
			err = fmt.Errorf("%w: %s was not written", ErrNotReady, p)
		default:
			err = stored(r.Topics[0].Partitions[0].ErrorCode, "write")
		}
		return p.written(c, err)
	}
}

// written settles a change whose write has ended.
func (p *Partition) written(c *Change, err error) error {
	p.mu.Lock()
	if err == nil {
		p.state.Commit(c)
	} else {
		p.state.Revert(c)
		p.deadline = p.state.NextDeadline()
	}
	p.writes--
	drop := p.gone || errors.Is(err, ErrFenced)
	wake(p.waiters)
	p.mu.Unlock()
	if drop {
		p.m.Drop(p)
	}
	return err
}

// drop makes p refuse everything and tells whether no write is under way.
func (p *Partition) drop() (idle bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
	wake(p.waiters)
	p.waiters = nil
	return p.writes == 0
}

// stale tells whether this broker does not lead the partition any more as it did.
func (p *Partition) stale() bool {
	o := p.replica.Offsets()
	return !o.Leader || o.LeaderEpoch != p.epoch
}

// Watch registers a waiter that is signalled when there may be more to acquire, beside
// those of the log.
func (p *Partition) Watch(w *segment.Waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiters = append(p.waiters, w)
	if p.gone {
		w.Signal()
	}
}

// Unwatch removes a waiter.
func (p *Partition) Unwatch(w *segment.Waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiters = slices.DeleteFunc(p.waiters, func(x *segment.Waiter) bool { return x == w })
}

// Found is what a partition has for whoever takes it. Release it, or Take it.
type Found struct {
	partition.ReadResult
	from int64
}

// Look reads what could be acquired, without acquiring it; w is signalled when bytes that
// are on their way from the bucket have come. Nothing found is no error.
//
// It returns ErrFenced where the state is not ours any more, and the errors of
// (*partition.Partition).Read.
func (p *Partition) Look(maxBytes int64, oneBatch bool, w *segment.Waiter) (Found, error) {
	s := p.m.Settings(p.group)
	for {
		logStart := p.replica.Offsets().LogStart
		p.mu.Lock()
		if p.gone {
			p.mu.Unlock()
			return Found{}, ErrFenced
		}
		p.state.Raise(logStart)
		next, ok := p.state.Next(s.MaxLocks)
		p.mu.Unlock()
		if !ok {
			return Found{}, nil
		}
		r, err := p.replica.Read(partition.ReadSpec{
			Offset: next, MaxBytes: maxBytes, OneBatch: oneBatch, Isolation: s.Isolation,
			CurrentLeaderEpoch: p.epoch, LastFetchedEpoch: -1,
		}, w)
		outside := errors.Is(err, partition.ErrOffsetOutOfRange)
		switch o := p.replica.Offsets(); {
		case err == nil:
			return Found{r, next}, nil
		case outside && o.LogStart > next:
			continue // the log start has passed it meanwhile, and never goes back
		case outside && o.End < next:
			return Found{}, nil // the log has yet to come there
		case p.stale():
			p.m.Drop(p)
		}
		return Found{}, err
	}
}

// Taken is what a member has acquired: the batches that hold it, and which offsets.
type Taken struct {
	Records  segment.Records // to be released
	Acquired []Range
}

// Take acquires of what was found as much as who wants, and gives back the rest. w.From,
// w.Locks, w.Limit and w.Deadline are filled in here.
func (p *Partition) Take(f *Found, w Wanted) (Taken, error) {
	defer f.Records.Release()
	s := p.m.Settings(p.group)
	p.mu.Lock()
	bound := max(f.from, p.state.End()) + w.Records // more is not acquired
	p.mu.Unlock()
	var all []placed
	if err := partition.Batches(f.Records, func(b partition.Located) bool {
		if len(all) > 0 && b.BaseOffset() >= bound {
			return false
		}
		all = append(all, placed{
			Batch:  Batch{First: b.BaseOffset(), Next: b.NextOffset(), Hidden: b.Control() || aborted(f.Aborted, b)},
			region: segment.Region{File: f.Records.Regions[b.Region].File, Position: b.Position, Size: b.Bytes},
		})
		return true
	}); err != nil {
		return Taken{}, err
	}
	batches := make([]Batch, len(all))
	for i := range all {
		batches[i] = all[i].Batch
	}
	w.From, w.Locks, w.Limit, w.Deadline = f.from, s.MaxLocks, s.DeliveryLimit, p.m.Now().Add(s.LockDuration)
	p.mu.Lock()
	if p.gone {
		p.mu.Unlock()
		return Taken{}, ErrFenced
	}
	ranges := p.state.Acquire(w, batches)
	p.note(w.Deadline)
	p.mu.Unlock()
	return Taken{Records: keep(all, ranges), Acquired: ranges}, nil
}

// note takes over a deadline. The caller holds mu.
func (p *Partition) note(deadline time.Time) {
	if p.deadline.IsZero() || deadline.Before(p.deadline) {
		p.deadline = deadline
	}
}

// placed is a batch and where its bytes lie.
type placed struct {
	Batch
	region segment.Region
}

// aborted tells whether a batch belongs to one of the aborted transactions of a read.
func aborted(txns []index.AbortedTxn, b partition.Located) bool {
	return len(txns) > 0 && b.Transactional() && slices.ContainsFunc(txns, func(t index.AbortedTxn) bool {
		return t.ProducerID == b.ProducerID() && t.FirstOffset <= b.BaseOffset() && b.BaseOffset() <= t.LastOffset
	})
}

// keep is the batches of which something was acquired, with references of their own.
func keep(all []placed, ranges []Range) segment.Records {
	var r segment.Records
	for _, b := range all {
		for len(ranges) > 0 && ranges[0].Next <= b.First {
			ranges = ranges[1:]
		}
		if len(ranges) == 0 {
			break
		}
		if ranges[0].First >= b.Next {
			continue
		}
		r.Size += b.region.Size
		if n := len(r.Regions); n > 0 && r.Regions[n-1].File == b.region.File && r.Regions[n-1].Position+r.Regions[n-1].Size == b.region.Position {
			r.Regions[n-1].Size += b.region.Size
			continue
		}
		if !b.region.File.Acquire() {
			panic("share: a file was closed while it was held")
		}
		r.Regions = append(r.Regions, b.region)
	}
	return r
}

// Acknowledge begins to store what a member says of records it holds: all of it or
// nothing. The change is under way when it returns; wait, where there is one, has to be
// called once, and returns when it is durable. Until then nothing is promised.
//
// It returns ErrRecordState and ErrRequest as State.Acknowledge does, and ErrFenced where
// the state is not ours any more; wait that, too, and ErrNotReady where nothing could be
// written and the records are held as before.
func (p *Partition) Acknowledge(member string, acks []Ack) (wait func() error, err error) {
	s := p.m.Settings(p.group)
	deadline := p.m.Now().Add(s.LockDuration)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return nil, ErrFenced
	}
	c, err := p.state.Acknowledge(member, acks, s.DeliveryLimit, deadline)
	if err != nil || c == nil {
		return nil, err
	}
	return p.write(c), nil
}

// release gives back what a member holds; nil: nothing.
func (p *Partition) release(member string, uncounted bool) (wait func() error) {
	limit := p.m.Settings(p.group).DeliveryLimit
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return nil
	}
	c := p.state.Release(member, limit, uncounted)
	if c == nil {
		return nil
	}
	return p.write(c)
}

// expire gives back what is locked past now, at once; nil: nothing is.
func (p *Partition) expire(now time.Time) (wait func() error) {
	p.mu.Lock()
	if p.gone || p.deadline.IsZero() || p.deadline.After(now) {
		p.mu.Unlock()
		return nil
	}
	p.mu.Unlock()
	limit := p.m.Settings(p.group).DeliveryLimit
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return nil
	}
	c := p.state.Expire(now, limit)
	if c != nil {
		wait = p.write(c)
		p.state.Commit(c)
		wake(p.waiters)
	}
	p.deadline = p.state.NextDeadline()
	return wait
}
