package partition

import (
	"context"
	"fmt"
	"time"

	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/retention"
)

// Steps of background work; each is one synchronous pass, called from broker/run.go by
// any goroutine at any time. Those that change the bucket or delete records do nothing
// where this replica does not lead.

// Roll rolls by time and snapshots producers at the segment border. It also reports
// that an earlier snapshot could not be written.
func (p *Partition) Roll(now time.Time) error {
	return p.roll(func() error { return p.log.RollIfDue(now) })
}

func (p *Partition) roll(roll func() error) error {
	p.writing.Lock()
	if p.closed {
		p.writing.Unlock()
		return nil
	}
	err := roll()
	border := p.takeSnapshot()
	p.writing.Unlock()
	p.writeSnapshot(border)
	if err != nil {
		return logError(err)
	}
	p.mu.Lock()
	err, p.snapshotErr = p.snapshotErr, nil
	p.mu.Unlock()
	return err
}

// Copy copies sealed segments to the bucket: those that end at or below the high
// watermark, the last stable offset, and the last border with a producer snapshot. It
// returns how many were committed. What has expired is not worth an upload, so it copies
// nothing while Retain has sealed segments to delete that are not in the bucket. Where
// the producers are incomplete, it first completes them from the bucket.
func (p *Partition) Copy(ctx context.Context) (int, error) {
	release, err := p.HoldCopies(ctx)
	if err != nil {
		return 0, err
	}
	defer release()
	p.writing.Lock()
	incomplete := p.incomplete
	p.writing.Unlock()
	if !incomplete && !p.config.Load().RemoteStorage {
		return 0, nil
	}
	if ready, err := p.readyRemote(ctx); !ready {
		return 0, err
	}
	if incomplete {
		if err := p.complete(ctx); err != nil {
			return 0, err
		}
	}
	if !p.config.Load().RemoteStorage {
		return 0, nil
	}
	o := p.Offsets()
	if retention.Plan(p.policy(), p.retentionState(o, p.now())).LogStart > max(o.TieredEnd, o.LogStart) {
		return 0, nil
	}
	bound, _ := p.copyBound(o, p.config.Load())
	n, err := p.remote.Copy(ctx, p.log, bound)
	if err != nil {
		return n, remoteError(err)
	}
	return n, nil
}

// Sweep removes dead objects.
func (p *Partition) Sweep(ctx context.Context) error {
	if ready, err := p.readyRemote(ctx); !ready {
		return err
	}
	_, err := p.remote.Sweep(ctx)
	return remoteError(err)
}

// HoldCopies waits for the copy that is under way and keeps others from beginning until
// release: whoever turns tiering off finds nothing in the bucket, and nothing comes
// after, where it holds the copies until the partition has its new settings.
func (p *Partition) HoldCopies(ctx context.Context) (release func(), err error) {
	select {
	case p.copying <- struct{}{}:
		return func() { <-p.copying }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// SweepOrphans removes objects that nothing names.
func (p *Partition) SweepOrphans(ctx context.Context) error {
	if ready, err := p.readyRemote(ctx); !ready {
		return err
	}
	_, err := p.remote.SweepOrphans(ctx)
	return remoteError(err)
}

// readyRemote reports whether this replica leads and the remote log has been read in
// this epoch: nothing happens in the bucket, nor because of it, before (I25).
func (p *Partition) readyRemote(ctx context.Context) (bool, error) {
	if p.remote == nil || !p.leads() {
		return false, nil
	}
	if err := p.remote.Ready(ctx); err != nil {
		return false, remoteError(err)
	}
	return true, nil
}

// InBucket tells whether records of the partition are in the bucket. Only its leader can
// say; elsewhere the error is ErrNotLeader.
func (p *Partition) InBucket(ctx context.Context) (bool, error) {
	if !p.leads() {
		return false, ErrNotLeader
	}
	if ready, err := p.readyRemote(ctx); !ready {
		return false, err
	}
	o := p.Offsets()
	return o.TieredEnd > o.LogStart, nil
}

// AnyInBucket is InBucket of a topic's partitions [0, n), up to the first that is, or error.
func AnyInBucket(ctx context.Context, n int, of func(index int32) (*Partition, error)) (bool, error) {
	for i := range n {
		p, err := of(int32(i))
		if err != nil {
			return false, err
		}
		if there, err := p.InBucket(ctx); there || err != nil {
			return there, err
		}
	}
	return false, nil
}

func (p *Partition) leads() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leader
}

// Retain applies retention.Plan in both tiers: first the start in the bucket is
// committed, then the log start rises, then the local log start (I16, I21). While the
// remote log is not known nothing is deleted anywhere (I23, I26).
func (p *Partition) Retain(ctx context.Context, now time.Time) error {
	if !p.leads() {
		return nil
	}
	if p.remote != nil {
		if ready, err := p.readyRemote(ctx); !ready {
			return err
		}
	}
	policy, o := p.policy(), p.Offsets()
	d := retention.Plan(policy, p.retentionState(o, now))
	if d.Roll {
		if err := p.roll(p.log.Roll); err != nil {
			return err
		}
		o = p.Offsets()
		d = retention.Plan(policy, p.retentionState(o, now))
	}
	if start := min(d.LogStart, o.HighWatermark); start > o.LogStart {
		if err := p.raiseLogStart(ctx, start); err != nil {
			return fmt.Errorf("expire below %d: %w", start, err)
		}
	}
	if d.Withdraw {
		if err := p.remote.Withdraw(ctx, p.Offsets().LogStart); err != nil {
			return fmt.Errorf("withdraw from the bucket: %w", remoteError(err))
		}
	}
	o = p.Offsets()
	if start := min(d.LocalStart, max(o.TieredEnd, o.LogStart)); start > o.LocalStart {
		if err := p.log.SetLocalStart(start); err != nil {
			return fmt.Errorf("trim below %d: %w", start, logError(err))
		}
	}
	return nil
}

// raiseLogStart raises the log start in both tiers, in the bucket first: a leader that
// comes after cannot bring the records back (I29). A topic that is not tiered, and of
// which the bucket never had anything, asks nothing of it, and expires while it is away.
func (p *Partition) raiseLogStart(ctx context.Context, start int64) error {
	if p.remote != nil && (p.config.Load().RemoteStorage || p.remote.Offsets().End > 0) {
		if err := p.remote.Expire(ctx, start); err != nil {
			return remoteError(err)
		}
	}
	return logError(p.log.SetLogStart(start))
}

func (p *Partition) policy() retention.Policy { return p.policyOf(p.config.Load()) }

func (p *Partition) policyOf(c *config.Topic) retention.Policy {
	return retention.Policy{
		Delete:     c.CleanupDelete,
		Ms:         c.RetentionMs,
		Bytes:      c.RetentionBytes,
		LocalMs:    c.LocalRetentionMs,
		LocalBytes: c.LocalRetentionBytes,
		Tiered:     c.RemoteStorage && p.remote != nil,
		Withdraw:   c.RemoteDeleteOnDisable && !c.RemoteStorage && p.remote != nil,
	}
}

// retentionState lists what is in the bucket, and of the disk what is not: an offset
// in both tiers is counted once, with the bucket's segment (I23).
func (p *Partition) retentionState(o Offsets, now time.Time) retention.State {
	s := retention.State{
		LogStart: o.LogStart, LocalStart: o.LocalStart, HighWatermark: o.HighWatermark,
		TieredEnd: o.LogStart, RemoteKnown: true, Now: now.UnixMilli(),
	}
	if p.remote != nil {
		r := p.remote.Offsets()
		s.RemoteKnown, s.TieredEnd = r.Known, r.End
		for _, e := range p.remote.Entries() {
			s.Segments = append(s.Segments, retention.Segment{
				Base: e.Base, Next: e.Next, Size: e.Size, MaxTimestamp: e.MaxTimestamp,
				Modified: e.Copied, Local: e.Next > o.LocalStart, Tiered: true, Sealed: true,
			})
		}
	}
	end := o.LogStart
	if n := len(s.Segments); n > 0 {
		end = s.Segments[n-1].Next
	}
	for _, l := range p.log.Segments() {
		if l.Next <= end && l.Sealed {
			continue
		}
		s.Segments = append(s.Segments, retention.Segment{
			Base: max(l.Base, end), Next: l.Next, Size: l.Size, MaxTimestamp: l.MaxTimestamp,
			Modified: l.Modified.UnixMilli(), Local: true, Sealed: l.Sealed,
		})
	}
	return s
}

// ExpireProducers forgets producers that wrote nothing for ProducerExpiry.
func (p *Partition) ExpireProducers(now time.Time) {
	p.writing.Lock()
	since := now.Add(-time.Duration(p.producerExpiry.Load())).UnixMilli()
	p.producers.expire(since)
	p.guards.expire(since)
	p.writing.Unlock()
}

// DeleteRecords raises the log start offset; -1: to the high watermark. It returns the
// new one, which is the old one where that is higher already.
//
// It returns ErrOffsetOutOfRange above the high watermark, ErrPolicy where the topic
// is compacted only, ErrNotLeader, and ErrRemote where the tier could not be told: then
// nothing has been deleted.
func (p *Partition) DeleteRecords(ctx context.Context, offset int64) (int64, error) {
	o := p.Offsets()
	if !o.Leader {
		return none, ErrNotLeader
	}
	if c := p.config.Load(); c.CleanupCompact && !c.CleanupDelete {
		return none, ErrPolicy
	}
	if offset == none {
		offset = o.HighWatermark
	}
	if offset < 0 || offset > o.HighWatermark {
		return none, fmt.Errorf("%w: %d is above the high watermark %d", ErrOffsetOutOfRange, offset, o.HighWatermark)
	}
	if offset > o.LogStart {
		if p.remote != nil {
			if ready, err := p.readyRemote(ctx); err != nil {
				return none, err
			} else if !ready {
				return none, ErrNotLeader
			}
		}
		if err := p.raiseLogStart(ctx, offset); err != nil {
			return none, err
		}
	}
	return p.Offsets().LogStart, nil
}
