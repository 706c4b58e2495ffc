package partition

import (
	"errors"
	"fmt"

	"github.com/varvelog/varve/segment"
)

// border is a segment border with the state of the producers there.
type border struct {
	offset    int64
	producers []segment.ProducerState
	rolled    bool // false: no border was crossed
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
