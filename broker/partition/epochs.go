package partition

import (
	"context"
	"errors"
	"fmt"

	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/tiering"
)

// EpochEnd answers OffsetForLeaderEpoch (KIP-320): the largest epoch <= epoch and the
// offset where it ends, -1 and -1 where unknown. The lineage of the local log reaches
// down to the log start in any tier; where it begins later, as after a start from the
// tier, the remote one is asked, so that the answer is that of the whole log (I35).
func (p *Partition) EpochEnd(ctx context.Context, currentEpoch, epoch int32) (int32, int64, error) {
	o := p.Offsets()
	if err := checkEpoch(o, currentEpoch); err != nil {
		return none, none, err
	}
	if p.remote != nil && o.TieredEnd > 0 && !p.knowsEpoch(epoch, o.LogStart) {
		e, end, err := p.remote.EpochEnd(ctx, epoch)
		if err != nil {
			return none, none, remoteError(err)
		}
		if e >= 0 && end < o.TieredEnd { // within the remote lineage
			return e, end, nil
		}
	}
	e, end := p.log.EpochEnd(epoch)
	return e, end, nil
}

// knowsEpoch reports whether the local lineage decides about epoch.
func (p *Partition) knowsEpoch(epoch int32, logStart int64) bool {
	lineage := p.log.Epochs()
	return len(lineage) > 0 && (lineage[0].Epoch <= epoch || lineage[0].Start <= logStart)
}

// catchUp makes the local log begin where the remote one ends, if it ends below: no
// offset below the tiered end ever gets a second content (I15a). It happens to a
// replica whose disk was lost; then lineage and producers come from the bucket, too.
func (p *Partition) catchUp(ctx context.Context) error {
	r := p.remote.Offsets()
	if !r.Known {
		return fmt.Errorf("%w: %w", ErrRemote, tiering.ErrUnknown)
	}
	if p.log.Offsets().End >= r.End {
		return p.adoptStart(r)
	}
	snapshot, lineage, err := p.remote.Snapshot(ctx)
	if err != nil {
		return remoteError(err)
	}
	var states []segment.ProducerState
	if len(snapshot) > 0 {
		if states, err = segment.ParseSnapshot(snapshot); err != nil {
			return fmt.Errorf("%w: %w", ErrRemote, err)
		}
	}
	p.writing.Lock()
	defer p.writing.Unlock()
	if err := errors.Join(p.log.StartAt(r.End), p.log.SetEpochs(lineage), p.log.WriteSnapshot(r.End, states)); err != nil {
		return logError(err)
	}
	p.producers = producers{}
	p.producers.load(states, p.now().UnixMilli())
	p.active = p.log.ActiveBase()
	p.mu.Lock()
	p.transactions = transactions{} // all ended: the tiered end is stable
	p.high = max(p.high, r.End)
	p.snapshotEnd = p.active
	p.mu.Unlock()
	return p.adoptStart(r)
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
