package partition

import (
	"context"
	"errors"
	"fmt"

	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/tiering"
)

// catchUp brings the local log in step with the remote one before this replica leads.
//
// A log that ends below the tiered end, as after the loss of a disk, begins again
// there: no offset below it ever gets a second content (I15a). Lineage and producers
// then come from the bucket (I42). They come from there, too, where a power cut has
// taken the local snapshots and the records they stand for are no longer on disk; but
// in that case the bucket is not waited for in vain: without it, a producer of which
// nothing is known begins anywhere (KIP-360).
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
	case incomplete && r.End > 0:
		if err := p.completeFromTier(ctx, r.End); err != nil {
			p.mu.Lock()
			p.snapshotErr = fmt.Errorf("read producer snapshot at %d from the bucket: %w", r.End, err)
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

// completeFromTier rebuilds the producers from the snapshot at the tiered end, and the
// lineage up to there.
func (p *Partition) completeFromTier(ctx context.Context, end int64) error {
	states, lineage, err := p.remoteSnapshot(ctx)
	if err != nil {
		return err
	}
	p.writing.Lock()
	defer p.writing.Unlock()
	if o := p.log.Offsets(); end < o.LocalStart || end > o.End {
		return nil
	}
	if err := p.log.SetEpochs(spliced(lineage, p.log.Epochs(), p.remote.Offsets().Start, end)); err != nil {
		return logError(err)
	}
	p.incomplete = false
	return p.rebuild(end, states)
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
