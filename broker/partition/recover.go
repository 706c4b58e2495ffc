package partition

import (
	"time"

	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
)

// A snapshot holds the last batch of each producer, while a client may send any of
// the last 5 again. So recovery looks at what lies before the snapshot as well, at
// most memoryBytes of it: 64 batches of 64 KiB. That costs little more than 256 reads
// of a page, and only where a producer wrote less than memoryAge before: Kafka's
// producers give up after 2 minutes (delivery.timeout.ms).
const (
	memoryBytes = 4 << 20
	memoryAge   = 10 * time.Minute
)

// recover rebuilds the producers and transactions from the newest snapshot and the
// batches above it, and stores a snapshot at each segment border it comes across. The
// partition is not in use yet.
func (p *Partition) recover() error {
	o := p.log.Offsets()
	now := p.now().UnixMilli()
	from, states, found, err := p.log.LoadSnapshot(o.End)
	switch {
	case err != nil:
		return err
	case !found || from < o.LocalStart: // nothing is known of what lies between
		from = o.LocalStart
	default:
		if err := p.loadSnapshot(from, states, now); err != nil {
			return err
		}
	}
	segments := p.log.Segments()
	err = p.walk(from, o.End, func(b batch.Batch) error {
		for len(segments) > 0 && segments[0].Base <= b.BaseOffset() {
			if err := p.recoverBorder(segments[0].Base, from, o); err != nil {
				return err
			}
			segments = segments[1:]
		}
		return p.replay(b, now)
	})
	if err != nil {
		return err
	}
	for _, s := range segments { // without a batch: the active one
		if err := p.recoverBorder(s.Base, from, o); err != nil {
			return err
		}
	}
	p.active = p.log.ActiveBase()
	p.snapshotEnd = p.active
	return nil
}

// recoverBorder stores the snapshot of a border above the one that recovery began at.
func (p *Partition) recoverBorder(base, from int64, o segment.Offsets) error {
	if base <= from || base <= o.LocalStart {
		return nil
	}
	return p.log.WriteSnapshot(base, p.producers.states())
}

func (p *Partition) loadSnapshot(at int64, states []segment.ProducerState, now int64) error {
	p.producers.load(states, now)
	recent := false
	for _, st := range states {
		recent = recent || st.Timestamp > now-memoryAge.Milliseconds()
		if st.CurrentTxnFirst != none {
			p.transactions.load(st.ProducerID, st.CurrentTxnFirst)
		}
	}
	if !recent {
		return nil
	}
	older := producers{}
	err := p.walk(p.memoryStart(at), at, func(b batch.Batch) error {
		if b.ProducerID() >= 0 && !b.Control() {
			older.update(b, now)
		}
		return nil
	})
	p.producers.remember(older)
	return err
}

// memoryStart returns an offset about memoryBytes before at.
func (p *Partition) memoryStart(at int64) int64 {
	segments, budget := p.log.Segments(), int64(memoryBytes)
	for i := len(segments) - 1; i >= 0; i-- {
		s := segments[i]
		next := min(s.Next, at)
		if s.Base >= next {
			continue
		}
		size := int64(float64(s.Size) * float64(next-s.Base) / float64(s.Next-s.Base))
		if size > budget {
			return next - int64(float64(budget)/float64(size)*float64(next-s.Base))
		}
		budget -= size
		at = s.Base
	}
	return max(at, p.log.Offsets().LocalStart)
}

// replay applies a batch of the log.
func (p *Partition) replay(b batch.Batch, now int64) error {
	if b.ProducerID() < 0 {
		return nil
	}
	if b.Control() {
		marker, err := batch.ReadMarker(b)
		if err != nil {
			return nil // of KRaft, or emptied by compaction
		}
		return p.endTransaction(b, marker, now)
	}
	if p.producers.begins(b) {
		p.transactions.begin(b.ProducerID(), b.BaseOffset())
	}
	p.producers.update(b, now)
	return nil
}
