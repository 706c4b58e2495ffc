package partition

import "context"

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
