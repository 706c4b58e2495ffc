package tiering

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/varvelog/varve/segment"
)

// Requests is what work costs in the bucket. Objects are counted, not their parts: one
// above a driver's part size takes a request a part. Each write is followed by a HEAD.
type Requests struct {
	Puts    int `json:"puts"`    // objects written: segments, leaves, roots
	Deletes int `json:"deletes"` // requests, each for up to 1000 objects
}

// Forecast counts the requests of commits that have not been made, by making the very
// drafts that they would write. It talks to nobody and commits nothing.
type Forecast struct {
	view   *view
	before map[uuid.UUID]bool // on the dead list already
	writer writer
	count  Requests
}

// Forecast begins at what is committed; ok is false before Ready.
func (r *Remote) Forecast() (f *Forecast, ok bool) {
	l, err := r.readied()
	if err != nil || l.view == nil {
		return nil, false
	}
	f = &Forecast{view: l.view, before: map[uuid.UUID]bool{}, writer: writer{
		epoch: l.fence.Epoch, now: r.tier.o.Now().UnixMilli(), delay: r.tier.o.DeleteDelay.Milliseconds(), newID: r.tier.o.NewID,
	}}
	for _, d := range l.view.root.dead {
		f.before[d.id] = true
	}
	return f, true
}

// Copy counts one commit of segments that Next has picked.
func (f *Forecast) Copy(picks []Pick, segments []segment.Info) error {
	var c change
	for _, p := range picks {
		for _, s := range segments {
			if s.Base == p.Base {
				c.add = append(c.add, entry{
					base: p.From, next: s.Next, size: s.Size, objectSize: s.Size + footerHeaderSize + trailerSize,
					maxTimestamp: s.MaxTimestamp, epoch: f.writer.epoch, id: f.writer.newID(),
				})
			}
		}
	}
	f.count.Puts += len(c.add)
	return f.commit(c)
}

// Expire counts the commit of a new log start offset.
func (f *Forecast) Expire(start int64) error {
	if start <= f.view.root.start {
		return nil
	}
	return f.commit(change{start: start})
}

// Withdraw counts the commit of a tree of nothing.
func (f *Forecast) Withdraw(start int64) error { return f.commit(change{start: start, withdraw: true}) }

func (f *Forecast) commit(c change) error {
	d, err := f.view.next(c, f.writer)
	if err != nil {
		return fmt.Errorf("forecast a commit: %w", err)
	}
	f.view = d.view
	f.count.Puts += len(d.objects)
	return nil
}

// Requests returns the count with what the sweeps afterwards take: the deletion of what
// the commits have left dead, a root that names it no more, and that one's predecessor.
func (f *Forecast) Requests() Requests {
	r := f.count
	keys, swept := 0, false
	for _, d := range f.view.root.dead {
		if f.before[d.id] {
			continue
		}
		keys++
		swept = swept || d.kind != kindRoot
		if d.kind == kindLeaf || d.kind == kindNode {
			r.Deletes++ // what lies below goes before it
		}
	}
	r.Deletes += (keys + deleteBatch - 1) / deleteBatch
	if swept {
		r.Puts++
		r.Deletes++
	}
	return r
}
