package partition

import (
	"errors"
	"fmt"

	"github.com/varvelog/varve/segment"
)

// snapshotBytes is how much of the log may lie above the newest snapshot when recovery
// points are written down. A start reads the headers above it, and those of small batches
// are as good as the whole: 1,000 partitions have 1 GiB of them at most. A quarter of it
// would not be noticed among the other files that are opened, and a snapshot costs a file
// of 22 bytes and 46 for each producer.
const snapshotBytes = 1 << 20

// Snapshot stores the state of the producers at the log end where the newest snapshot
// has fallen behind by snapshotBytes. Called before recovery points are written down, it
// makes a start read no more of the log than what came after. That it fails does no harm
// but to the time that a start takes.
func (p *Partition) Snapshot() error {
	p.writing.Lock()
	size := p.unsnapped
	// What is not known yet must not pass for known: see complete.
	if p.closed || p.incomplete || size < snapshotBytes {
		p.writing.Unlock()
		return nil
	}
	end, states := p.log.Offsets().End, p.producers.states()
	p.unsnapped = 0
	p.writing.Unlock()

	p.snapshots.Lock()
	err := p.log.WriteSnapshot(end, states)
	p.snapshots.Unlock()
	if err == nil || errors.Is(err, segment.ErrClosed) {
		return nil
	}
	p.writing.Lock()
	p.unsnapped += size
	p.writing.Unlock()
	return fmt.Errorf("write producer snapshot at %d: %w", end, err)
}

// border is a segment border with the state of the producers there.
type border struct {
	offset    int64
	producers []segment.ProducerState
	rolled    bool // false: no border was crossed, or complete takes the snapshot of it
}

// takeSnapshot looks whether the log has rolled and returns the state of the
// producers at the border: it is called after the append that rolled and before that
// is applied. The caller holds writing, and writes the snapshot without.
func (p *Partition) takeSnapshot() border {
	active := p.log.ActiveBase()
	if active == p.active {
		return border{}
	}
	p.active = active
	if p.incomplete {
		return border{}
	}
	p.unsnapped = 0
	return border{active, p.producers.states(), true}
}

// writeSnapshot stores what takeSnapshot took (KIP-98). That it fails does no harm to
// the log, whose recovery scans further then; Roll reports it.
func (p *Partition) writeSnapshot(b border) {
	if !b.rolled {
		return
	}
	p.snapshots.Lock()
	err := p.log.WriteSnapshot(b.offset, b.producers)
	p.snapshots.Unlock()
	if errors.Is(err, segment.ErrClosed) {
		err = nil
	}
	p.mu.Lock()
	p.snapshotEnd = max(p.snapshotEnd, b.offset)
	if err != nil {
		p.snapshotErr = fmt.Errorf("write producer snapshot at %d: %w", b.offset, err)
	}
	p.mu.Unlock()
}
