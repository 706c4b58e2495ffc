package partition

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/retention"
	"github.com/varvelog/varve/segment"
)

// Compacted tells whether the log is to be compacted: not that of a tiered topic, nor one
// of which anything is in the bucket, where older records of its keys would outlive their
// tombstones; nor one that has failed.
func (p *Partition) Compacted() bool { return p.CompactedUnder(*p.config.Load()) }

// CompactedUnder is Compacted under other settings.
func (p *Partition) CompactedUnder(c config.Topic) bool {
	if !c.CleanupCompact || c.RemoteStorage || p.log.Err() != nil {
		return false
	}
	if p.remote == nil {
		return true
	}
	o := p.log.Offsets()
	copies := p.remote.Offsets()
	return copies.Known && copies.End <= o.LogStart && o.LocalStart == o.LogStart
}

// Dirtiness says how much of the log is to be compacted, and whether that is due.
// cleanedTo is the offset below which it has been, horizon (ms) the first delete
// horizon that was left then, 0: none known.
func (p *Partition) Dirtiness(cleanedTo, horizon int64, now time.Time) retention.Dirt {
	return p.DirtinessUnder(*p.config.Load(), cleanedTo, horizon, now)
}

// DirtinessUnder is Dirtiness under other settings.
func (p *Partition) DirtinessUnder(c config.Topic, cleanedTo, horizon int64, now time.Time) retention.Dirt {
	t := retention.Tail{
		FirstDirty: cleanedTo, Horizon: horizon, Now: now.UnixMilli(), Stable: p.Offsets().LastStable,
		FirstTimestamp: func(base int64) int64 {
			ts, err := p.log.FirstTimestamp(base)
			if err != nil {
				return none // the pass itself will tell
			}
			return ts
		},
	}
	for _, s := range p.log.Segments() {
		t.Segments = append(t.Segments, retention.Segment{
			Base: s.Base, Next: s.Next, Size: s.Size, MaxTimestamp: s.MaxTimestamp,
			Modified: s.Modified.UnixMilli(), Local: true, Sealed: s.Sealed,
		})
	}
	return retention.Dirtiness(retention.Compaction{
		MinLagMs: c.MinCompactionLag.Milliseconds(), MaxLagMs: lagMs(c.MaxCompactionLag), MinDirtyRatio: c.MinCleanableRatio,
	}, t)
}

// lagMs is a lag in ms; one that no Duration can hold is without end.
func lagMs(d time.Duration) int64 {
	if d == math.MaxInt64 {
		return math.MaxInt64
	}
	return d.Milliseconds()
}

// Compact compacts [d.FirstDirty, d.Bound) in one pass, or as much of it as fits into
// the cleaner's memory. Only what is flushed is touched. It runs beside appends, reads
// and every other step; where one of them removes the segments it is at, it ends with
// segment.ErrChanged. It returns retention.ErrUncleanable for a log that cannot be
// compacted at all, ErrClosed, and ErrStorage.
func (p *Partition) Compact(ctx context.Context, c *retention.Cleaner, d retention.Dirt, now time.Time) (retention.Passed, error) {
	if round := p.log.Flush(); round != nil && p.log.Offsets().FlushedEnd < d.Bound {
		select {
		case <-round.Done():
			if err := round.Err(); err != nil {
				return retention.Passed{}, logError(err)
			}
		case <-ctx.Done():
			return retention.Passed{}, ctx.Err()
		}
	}
	conf := p.config.Load()
	passed, err := c.Clean(ctx, p.log, retention.Pass{
		FirstDirty: d.FirstDirty, Bound: d.Bound, Now: now.UnixMilli(),
		DeleteRetention: lagMs(conf.DeleteRetention), SegmentBytes: conf.SegmentBytes,
		MaxDecompressed: p.maxDecompressed, Producers: p.lastRecords(),
	})
	if err != nil && ctx.Err() == nil && !errors.Is(err, retention.ErrUncleanable) && !errors.Is(err, segment.ErrChanged) {
		err = logError(err)
	}
	return passed, err
}

// lastRecords is what compaction must leave of each producer.
func (p *Partition) lastRecords() map[int64]retention.LastRecord {
	p.writing.Lock()
	defer p.writing.Unlock()
	last := make(map[int64]retention.LastRecord, len(p.producers))
	for id, x := range p.producers {
		r := retention.LastRecord{Offset: none, Epoch: x.epoch}
		if w := x.last(); w != nil {
			r.Offset = w.lastOffset
		}
		last[id] = r
	}
	return last
}
