package tiering

import (
	"context"
	"fmt"
	"slices"
	"sort"

	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
)

// maxDecompressed bounds what one batch may expand to when it is searched for a
// timestamp: far above what a producer may send, far below memory (RELIABILITY.md B17).
const maxDecompressed = 256 << 20

// FirstAtOrAfter finds the first record in [Start, bound) whose timestamp is >= ts (ms),
// as (*segment.Log).FirstAtOrAfter does. It waits for the bucket.
func (r *Remote) FirstAtOrAfter(ctx context.Context, ts, bound int64) (segment.Timestamped, bool, error) {
	v, err := r.tree(ctx)
	if err != nil {
		return segment.Timestamped{}, false, err
	}
	for run, n := range v.all() {
		if n.base >= bound {
			break
		}
		if n.maxTimestamp < ts {
			continue
		}
		found, ok, err := r.search(ctx, run, n, searching{
			from: v.root.start, bound: bound, reach: ts,
			batch:  func(b batch.Batch) bool { return b.MaxTimestamp() >= ts },
			record: func(x *batch.Record) bool { return x.Timestamp >= ts },
		})
		if err != nil || ok {
			return found, ok, err
		}
	}
	return segment.Timestamped{}, false, nil
}

// MaxTimestamp finds the first record with the largest timestamp in [Start, bound)
// (KIP-734). It waits for the bucket.
func (r *Remote) MaxTimestamp(ctx context.Context, bound int64) (segment.Timestamped, bool, error) {
	v, err := r.tree(ctx)
	if err != nil {
		return segment.Timestamped{}, false, err
	}
	var best segment.Timestamped
	found := false
	for run, n := range v.all() {
		if n.base >= bound {
			break
		}
		if n.maxTimestamp < 0 || found && n.maxTimestamp <= best.Timestamp {
			continue
		}
		s := searching{from: v.root.start, bound: bound, reach: n.maxTimestamp,
			batch:  func(b batch.Batch) bool { return b.MaxTimestamp() >= n.maxTimestamp },
			record: func(x *batch.Record) bool { return x.Timestamp >= n.maxTimestamp },
		}
		if n.base < v.root.start || n.next > bound { // the range cuts it: look at every batch
			largest := int64(-1)
			if found {
				largest = best.Timestamp
			}
			s.reach, s.last = largest+1, true
			s.batch = func(b batch.Batch) bool { return b.MaxTimestamp() > largest }
			s.record = func(x *batch.Record) bool {
				if x.Timestamp > largest {
					largest = x.Timestamp
					return true
				}
				return false
			}
		}
		t, ok, err := r.search(ctx, run, n, s)
		if err != nil {
			return segment.Timestamped{}, false, err
		}
		if ok {
			best, found = t, true
		}
	}
	return best, found, nil
}

// searching is what search looks for.
type searching struct {
	from, bound int64                    // offsets
	reach       int64                    // only chunks whose running max timestamp is that large
	last        bool                     // the last record that matches, not the first
	batch       func(batch.Batch) bool   // of a header: worth decoding
	record      func(*batch.Record) bool // the record is it
}

// search looks through the batches of one segment.
func (r *Remote) search(ctx context.Context, run *run, n *entry, s searching) (segment.Timestamped, bool, error) {
	t, err := r.tailOf(ctx, run, n)
	if err != nil {
		return segment.Timestamped{}, false, err
	}
	var found segment.Timestamped
	ok := false
	first := sort.Search(len(t.chunks), func(i int) bool { return t.chunks[i].maxTimestamp >= s.reach })
	for i := max(first, t.chunkOf(s.from)); i < len(t.chunks) && t.chunks[i].base < s.bound; i++ {
		err := r.searchChunk(ctx, run, n, t, i, s, func(x segment.Timestamped) { found, ok = x, true }, &ok)
		if err != nil {
			return segment.Timestamped{}, false, fmt.Errorf("search %s: %w", run.key(n), err)
		}
		if ok && !s.last {
			break
		}
	}
	return found, ok, nil
}

func (r *Remote) searchChunk(ctx context.Context, run *run, n *entry, t *tail, i int, s searching, hit func(segment.Timestamped), done *bool) error {
	f, start, err := r.chunkOf(ctx, run, n, t, i)
	if err != nil {
		return err
	}
	defer f.Release()
	c := t.chunks[i]
	h := headers{file: shifted{f, start}, end: c.end()}
	for position := c.position; position < c.end(); {
		b, size, err := h.at(position)
		if err != nil {
			return err
		}
		if b.BaseOffset() >= s.bound || *done && !s.last {
			return nil
		}
		if b.LastOffset() < s.from || !s.batch(b) {
			position += size
			continue
		}
		whole := make(batch.Batch, size)
		if _, err := f.ReadAt(whole, position-start); err != nil {
			return err
		}
		if err := whole.CheckCRC(); err != nil {
			// It was whole when it was fetched: let the next reader fetch it again (I36).
			r.tier.counters.checksumFailures.Add(1)
			r.tier.cache.drop(chunkID{n.id, int32(i)})
			return corruptAt(run.key(n), position, "%v", err)
		}
		err = batch.Records(whole, maxDecompressed, func(x *batch.Record) bool {
			if x.Offset >= s.from && x.Offset < s.bound && s.record(x) {
				hit(segment.Timestamped{Offset: x.Offset, Timestamp: x.Timestamp, LeaderEpoch: whole.LeaderEpoch()})
				return s.last
			}
			return true
		})
		if err != nil {
			return err
		}
		position += size
	}
	return nil
}

// tree waits for a view of the newest pointer that is known.
func (r *Remote) tree(ctx context.Context) (*view, error) {
	var v *view
	err := r.wait(ctx, func(w *segment.Waiter) error {
		r.mu.Lock()
		known, p, have := r.known, r.pointer, r.view
		r.mu.Unlock()
		if !known {
			return ErrUnknown
		}
		if have == nil || have.pointer.Seq < p.Seq {
			return r.tier.fetch.want(&job{remote: r, first: viewIndex}, w)
		}
		v = have
		return nil
	})
	return v, err
}

func (r *Remote) tailOf(ctx context.Context, run *run, n *entry) (t *tail, err error) {
	err = r.wait(ctx, func(w *segment.Waiter) error {
		var ok bool
		if t, ok = r.tier.tails.get(n.id); ok {
			return nil
		}
		return r.wantTail(run, n, w)
	})
	return t, err
}

func (r *Remote) chunkOf(ctx context.Context, run *run, n *entry, t *tail, i int) (f *segment.File, start int64, err error) {
	err = r.wait(ctx, func(w *segment.Waiter) error {
		var ok bool
		if f, start, ok = r.tier.chunk(n, t, i); ok {
			return nil
		}
		return r.wantChunk(run, n, t, i, w)
	})
	return f, start, err
}

// Snapshot returns the producer snapshot at End and the lineage, for a replica that
// starts from the tier. producers is nil where there is none, as after DeleteRecords
// beyond the tiered end. It waits for the bucket.
func (r *Remote) Snapshot(ctx context.Context) (producers []byte, epochs []segment.EpochStart, err error) {
	v, err := r.tree(ctx)
	if err != nil {
		return nil, nil, err
	}
	epochs = slices.Clone(v.root.lineage)
	if run, n, ok := v.find(v.root.end - 1); ok && n.next == v.root.end {
		t, err := r.tailOf(ctx, run, n)
		if err != nil {
			return nil, nil, err
		}
		if len(t.snapshot) > 0 {
			producers = slices.Clone(t.snapshot)
		}
	}
	return producers, epochs, nil
}

// EpochEnd is (*segment.Log).EpochEnd for the remote lineage (KIP-101): the largest epoch
// <= epoch and where it ends, -1, -1 where unknown. The newest epoch of the lineage ends
// at the tiered end, which is less than the truth where it goes on in the local log, so
// callers ask that first. It waits for the bucket.
func (r *Remote) EpochEnd(ctx context.Context, epoch int32) (int32, int64, error) {
	v, err := r.tree(ctx)
	if err != nil {
		return -1, -1, err
	}
	lineage := v.root.lineage
	if epoch < 0 || len(lineage) == 0 {
		return -1, -1, nil
	}
	if newest := lineage[len(lineage)-1].Epoch; newest == epoch {
		return epoch, v.root.end, nil
	} else if newest < epoch {
		return -1, -1, nil
	}
	i := sort.Search(len(lineage), func(i int) bool { return lineage[i].Epoch > epoch })
	if i == 0 {
		return epoch, lineage[0].Start, nil
	}
	return lineage[i-1].Epoch, lineage[i].Start, nil
}
