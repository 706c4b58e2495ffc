package partition

import (
	"context"
	"fmt"

	"github.com/varvelog/varve/segment"
)

// The timestamps of ListOffsets that are questions of their own.
const (
	Latest          int64 = -1
	Earliest        int64 = -2
	MaxTimestamp    int64 = -3 // KIP-734
	EarliestLocal   int64 = -4 // KIP-405
	LatestTiered    int64 = -5 // KIP-1005
	EarliestPending int64 = -6 // KIP-1023: not in the bucket yet
)

// notFound is the answer where there is no such record.
var notFound = segment.Timestamped{Offset: none, Timestamp: none, LeaderEpoch: none}

// ListOffset answers ListOffsets for one timestamp, the special ones too. Offset -1:
// none found. A timestamp is looked up in both tiers, and whichever of them holds the
// records, the answer is the same (I34): the first record at or after it, and for
// MaxTimestamp the first of those with the largest timestamp, below the high watermark
// or the last stable offset.
//
// It waits for the bucket where the records below the local log start decide.
// It returns the errors of leader epochs (KIP-320), ErrNotLeader, ErrOffsetNotAvailable
// for what needs a high watermark that this epoch has not reached yet, ErrStorage and
// ErrRemote.
func (p *Partition) ListOffset(ctx context.Context, ts int64, isolation int8, currentEpoch int32) (segment.Timestamped, error) {
	o := p.Offsets()
	if err := checkEpoch(o, currentEpoch); err != nil {
		return notFound, err
	}
	switch ts {
	case Earliest:
		return p.at(o.LogStart), nil
	case EarliestLocal:
		if !p.tiered(o) {
			return p.at(o.LogStart), nil
		}
		return p.at(o.LocalStart), nil
	case LatestTiered:
		if !p.tiered(o) || o.TieredEnd <= o.LogStart {
			return notFound, nil
		}
		return p.at(o.TieredEnd - 1), nil
	case EarliestPending:
		if !p.tiered(o) {
			return notFound, nil
		}
		return p.at(max(o.TieredEnd, o.LogStart)), nil
	}
	p.mu.Lock()
	epochStart := p.epochStart
	p.mu.Unlock()
	if o.HighWatermark < epochStart {
		return notFound, fmt.Errorf("%w: %d, the epoch begins at %d", ErrOffsetNotAvailable, o.HighWatermark, epochStart)
	}
	if ts == Latest {
		return segment.Timestamped{Offset: o.bound(isolation), Timestamp: none, LeaderEpoch: o.LeaderEpoch}, nil
	}
	return p.find(ctx, ts, isolation)
}

// tiered reports whether the topic is, and what is in the bucket is known.
func (p *Partition) tiered(o Offsets) bool {
	return p.remote != nil && o.TieredEnd >= 0 && p.config.Load().RemoteStorage
}

// at is an offset that was not found by its timestamp, with the epoch it belongs to.
func (p *Partition) at(offset int64) segment.Timestamped {
	t := segment.Timestamped{Offset: offset, Timestamp: none, LeaderEpoch: none}
	for _, e := range p.log.Epochs() {
		if e.Start > offset {
			break
		}
		t.LeaderEpoch = e.Epoch
	}
	return t
}

// find looks a record up by time: below the local log start in the bucket, above it
// on disk. Where the border has moved meanwhile it begins again.
func (p *Partition) find(ctx context.Context, ts int64, isolation int8) (segment.Timestamped, error) {
	for {
		o := p.Offsets()
		found, ok, err := p.findAt(ctx, ts, o, o.bound(isolation))
		if p.log.Offsets().LocalStart != o.LocalStart && ctx.Err() == nil {
			continue
		}
		if err != nil || !ok {
			return notFound, err
		}
		return found, nil
	}
}

func (p *Partition) findAt(ctx context.Context, ts int64, o Offsets, bound int64) (segment.Timestamped, bool, error) {
	var found segment.Timestamped
	var ok bool
	if border := min(o.LocalStart, bound); p.remote != nil && o.LogStart < border {
		var err error
		if ts == MaxTimestamp {
			found, ok, err = p.remote.MaxTimestamp(ctx, border)
		} else {
			found, ok, err = p.remote.FirstAtOrAfter(ctx, ts, border)
		}
		if err != nil || ok && ts != MaxTimestamp {
			return found, ok, remoteError(err)
		}
	}
	if ts != MaxTimestamp {
		found, ok, err := p.log.FirstAtOrAfter(ts, bound)
		return found, ok, logError(err)
	}
	local, here, err := p.log.MaxTimestamp(bound)
	if err != nil {
		return found, false, logError(err)
	}
	if here && (!ok || local.Timestamp > found.Timestamp) {
		return local, true, nil
	}
	return found, ok, nil
}
