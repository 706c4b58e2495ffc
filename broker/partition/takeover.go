package partition

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/tiering"
)

// catchUp brings the local log in step with the remote one before this replica leads.
//
// A log that ends below the tiered end, as after the loss of a disk, begins again
// there: no offset below it ever gets a second content (I15a). Lineage and producers
// then come from the bucket (I42). They come from there, too, where a power cut has
// taken the local snapshots and the records they stand for are no longer on disk; but
// in that case the bucket is not waited for in vain: without it, a producer of which
// nothing is known begins anywhere (KIP-360), and Copy asks again.
func (p *Partition) catchUp(ctx context.Context) error {
	r := p.remote.Offsets()
	if !r.Known {
		return fmt.Errorf("%w: %w", ErrRemote, tiering.ErrUnknown)
	}
	p.writing.Lock()
	end, incomplete := p.log.Offsets().End, p.incomplete
	p.writing.Unlock()
	switch {
	case end < r.End:
		if err := p.startFromTier(ctx, r.End); err != nil {
			return err
		}
	case incomplete:
		if err := p.complete(ctx); err != nil {
			p.mu.Lock()
			p.snapshotErr = err
			p.mu.Unlock()
		}
	}
	return p.adoptStart(r)
}

// startFromTier empties the local log and goes on at end, the tiered end.
func (p *Partition) startFromTier(ctx context.Context, end int64) error {
	states, lineage, err := p.remoteSnapshot(ctx)
	if err != nil {
		return err
	}
	p.writing.Lock()
	defer p.writing.Unlock()
	if err := errors.Join(p.log.StartAt(end), p.log.SetEpochs(spliced(lineage, nil, p.remote.Offsets().Start, end)), p.log.WriteSnapshot(end, states)); err != nil {
		return logError(err)
	}
	p.mu.Lock()
	p.high = max(p.high, end)
	p.mu.Unlock()
	p.incomplete = false
	return p.rebuild(end, states)
}

// complete adds what the bucket knows of producers that wrote below the local log start
// only, and the lineage up to the tiered end; where the bucket does not reach the local
// log, nothing more can be known. It stores the snapshots of the segment borders above,
// and holds up appends for none of its reads. It may be called while this replica leads.
//
// No transaction that is open now is older than what the local log knows of it: the
// tiered end never passes the last stable offset (I1).
func (p *Partition) complete(ctx context.Context) error {
	var states []segment.ProducerState
	var lineage []segment.EpochStart
	at, r := p.log.Offsets().LocalStart, p.remote.Offsets()
	if r.End >= at {
		var err error
		if states, lineage, err = p.remoteSnapshot(ctx); err != nil {
			return fmt.Errorf("read producer snapshot at %d from the bucket: %w", r.End, err)
		}
		if p.remote.Offsets().End != r.End {
			return fmt.Errorf("%w: the tiered end has moved from %d while its producers were read", ErrRemote, r.End)
		}
		if len(states) > 0 { // without, the local log knows more
			at = r.End
		}
	}
	now := p.now()
	known := producers{}
	known.load(states, now.UnixMilli())
	for {
		border, err := p.snapshotBorders(at, known, now.UnixMilli())
		if err != nil {
			return fmt.Errorf("complete producer snapshots from %d: %w", at, err)
		}
		if done, err := p.adopt(border, r, states, lineage, now); done || err != nil {
			return err
		}
		at = border
	}
}

// snapshotBorders stores a snapshot of the producers known at an offset, goes on with them
// up to the base of the active segment, and stores one at each segment border on the way.
func (p *Partition) snapshotBorders(at int64, known producers, now int64) (active int64, err error) {
	for _, s := range p.log.Segments() {
		if s.Base > at {
			err := p.walk(at, s.Base, func(b batch.Batch) error {
				if b.BaseOffset() >= at { // the first one may begin below
					known.replay(b, now)
				}
				return nil
			})
			if err != nil {
				return at, err
			}
			at = s.Base
		} else if s.Next <= at && s.Sealed {
			continue
		}
		p.snapshots.Lock()
		err = p.log.WriteSnapshot(at, known.states())
		p.snapshots.Unlock()
		if err != nil {
			return at, logError(err)
		}
	}
	return at, nil
}

// adopt ends complete, if the segment that begins at border is still the active one.
func (p *Partition) adopt(border int64, r tiering.Offsets, states []segment.ProducerState, lineage []segment.EpochStart, now time.Time) (done bool, err error) {
	p.writing.Lock()
	defer p.writing.Unlock()
	if p.closed {
		return false, ErrClosed
	}
	if p.active > border {
		return false, nil
	}
	if len(lineage) > 0 {
		if err := p.log.SetEpochs(spliced(lineage, p.log.Epochs(), r.Start, r.End)); err != nil {
			return false, logError(err)
		}
	}
	// Whoever is not known here has written nothing since recovery, and may be forgotten;
	// and who has been forgotten here would come back with an older state.
	if now.Sub(p.recovered) < time.Duration(p.producerExpiry.Load()) {
		p.producers.complete(states, now.UnixMilli())
	}
	p.incomplete = false
	p.mu.Lock()
	p.snapshotEnd = max(p.snapshotEnd, p.active)
	p.mu.Unlock()
	return true, nil
}

// spliced is the lineage of a log from start on whose records below border are those
// of below, and from there on those of above.
func spliced(below, above []segment.EpochStart, start, border int64) []segment.EpochStart {
	var lineage []segment.EpochStart
	for _, e := range below {
		if e.Start = max(e.Start, start); e.Start < border {
			if n := len(lineage); n > 0 && lineage[n-1].Start == e.Start { // ended before start
				lineage = lineage[:n-1]
			}
			lineage = append(lineage, e)
		}
	}
	for _, e := range above {
		if n := len(lineage); n == 0 || e.Epoch > lineage[n-1].Epoch && e.Start >= border {
			lineage = append(lineage, e)
		}
	}
	return lineage
}

// remoteSnapshot returns the producers at the tiered end and the lineage up to there.
func (p *Partition) remoteSnapshot(ctx context.Context) ([]segment.ProducerState, []segment.EpochStart, error) {
	snapshot, lineage, err := p.remote.Snapshot(ctx)
	if err != nil {
		return nil, nil, remoteError(err)
	}
	if len(snapshot) == 0 {
		return nil, lineage, nil
	}
	states, err := segment.ParseSnapshot(snapshot)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrRemote, err)
	}
	return states, lineage, nil
}

// adoptStart raises the log start to the committed one, so that what was deleted in
// the bucket does not come back with a local log that missed it (I29), and to the local
// log start where the bucket does not reach up to that.
func (p *Partition) adoptStart(r tiering.Offsets) error {
	start := r.Start
	if l := p.log.Offsets(); r.End < l.LocalStart {
		start = l.LocalStart
	}
	return logError(p.log.SetLogStart(start))
}
