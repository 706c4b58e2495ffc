package partition

import (
	"errors"
	"time"

	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
)

// A snapshot holds the last batch of each producer, while a client may send any of
// the last 5 again. So recovery looks at what lies before the snapshot as well, at
// most memoryBytes of it: 64 batches of 64 KiB. That costs little more than 256 reads
// of a page, and only where the log was written to less than memoryAge before: Kafka's
// producers give up after 2 minutes (delivery.timeout.ms).
const (
	memoryBytes = 4 << 20
	memoryAge   = 10 * time.Minute
)

// recover rebuilds the producers and transactions from the newest snapshot and the
// batches above it. The partition is not in use yet.
func (p *Partition) recover() error {
	o := p.log.Offsets()
	at, states, found, err := p.log.LoadSnapshot(o.End)
	if err != nil {
		return err
	}
	if !found || at < o.LocalStart { // nothing is known of what lies between
		at, states = o.LocalStart, nil
		p.incomplete = at > 0 && p.remote != nil
	}
	p.recovered = p.now()
	return p.rebuild(at, states)
}

// rebuild replaces all that is known of producers and transactions by a snapshot and
// the batches of the local log above it, and stores a snapshot at each segment border
// that it comes across, unless they are incomplete. The caller holds writing, or nobody
// else knows the partition.
func (p *Partition) rebuild(at int64, states []segment.ProducerState) error {
	o := p.log.Offsets()
	now := p.now().UnixMilli()
	if err := p.loadSnapshot(at, states, now); err != nil {
		return err
	}
	segments := p.log.Segments()
	borders := func(upTo int64) error {
		for len(segments) > 0 && segments[0].Base <= upTo {
			if base := segments[0].Base; base > max(at, o.LocalStart) && !p.incomplete {
				// A full disk stops no start: the snapshot can be made again.
				if err := p.log.WriteSnapshot(base, p.producers.states()); err != nil && !errors.Is(err, segment.ErrNoSpace) {
					return err
				}
			}
			segments = segments[1:]
		}
		return nil
	}
	p.unsnapped = 0
	err := p.walk(at, o.End, func(b batch.Batch) error {
		if err := borders(b.BaseOffset()); err != nil {
			return err
		}
		size, err := batch.PeekSize(b)
		if err != nil {
			return err
		}
		p.unsnapped += size
		return p.replay(b, now)
	})
	if err != nil {
		return err
	}
	if err := borders(o.End); err != nil {
		return err
	}
	p.active = p.log.ActiveBase()
	if p.incomplete {
		return nil
	}
	p.mu.Lock()
	p.snapshotEnd = p.active
	p.mu.Unlock()
	return nil
}

// loadSnapshot begins with the state at an offset.
func (p *Partition) loadSnapshot(at int64, states []segment.ProducerState, now int64) error {
	p.producers = producers{}
	p.producers.load(states, now)
	p.mu.Lock()
	p.transactions = transactions{}
	for _, st := range states {
		if st.CurrentTxnFirst != none {
			p.transactions.load(st.ProducerID, st.CurrentTxnFirst)
		}
	}
	p.mu.Unlock()
	if len(states) == 0 || p.lastAppend() < now-memoryAge.Milliseconds() {
		return nil
	}
	older := producers{}
	err := p.walk(p.memoryStart(at), at, func(b batch.Batch) error {
		if b.ProducerID() >= 0 && !b.Control() {
			older.update(b, now)
		}
		return nil
	})
	if errors.Is(err, ErrCorrupt) {
		err = nil // reads of what is damaged will be told; here it is only of use
	}
	p.producers.remember(older)
	return err
}

// lastAppend is when the log was last appended to, in ms.
func (p *Partition) lastAppend() (ms int64) {
	for _, s := range p.log.Segments() {
		ms = max(ms, s.Modified.UnixMilli())
	}
	return ms
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
			return nil //nolint:nilerr // of KRaft, or emptied by compaction
		}
		return p.endTransaction(b, marker, now)
	}
	if p.producers.begins(b) {
		p.mu.Lock()
		p.transactions.begin(b.ProducerID(), b.BaseOffset())
		p.mu.Unlock()
	}
	p.producers.update(b, now)
	return nil
}
