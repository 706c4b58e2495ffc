package tiering

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment"
)

// maxRegions bounds the file regions of one answer; a fetch of the usual 1 MiB has one
// or two.
const maxRegions = 64

// Read finds records as (*segment.Log).Read does, in [Start, min(End, bound)). It
// never waits: where the bytes are not here it begins to fetch them and returns
// ErrNotReady; w is signalled when it is worth asking again. What is here already is
// returned, though it be less than maxBytes.
//
// It returns ErrUnknown before Load, segment.ErrOutOfRange outside [Start, End], and the
// error of a download that failed, once it was tried: the caller may ask again.
func (r *Remote) Read(offset, bound, maxBytes int64, oneBatch bool, w *segment.Waiter) (segment.Records, error) {
	v, err := r.readable(offset, w)
	if err != nil {
		return segment.Records{}, err
	}
	g := gathering{r: r, offset: offset, end: min(bound, v.root.end), max: maxBytes, oneBatch: oneBatch, waiter: w}
	if offset >= g.end {
		return segment.Records{}, nil
	}
	next := offset
	for run, n := range v.from(offset) {
		if n.base >= g.end {
			break
		}
		more, err := g.entry(run, n)
		if err != nil {
			r.stalled(v, offset, maxBytes)
			if errors.Is(err, ErrNotReady) {
				r.tier.counters.misses.Add(1)
			}
			return segment.Records{}, err
		}
		next = g.next
		if !more {
			break
		}
	}
	r.tier.counters.hits.Add(1)
	r.consumed(v, offset, next, maxBytes)
	return g.found, nil
}

// readable returns a view in which offset can be looked up.
func (r *Remote) readable(offset int64, w *segment.Waiter) (*view, error) {
	r.mu.Lock()
	known, p, v := r.known, r.pointer, r.view
	r.mu.Unlock()
	switch {
	case !known:
		return nil, ErrUnknown
	case offset < p.Start || offset > p.End:
		return nil, fmt.Errorf("read at %d of [%d, %d]: %w", offset, p.Start, p.End, segment.ErrOutOfRange)
	case v == nil || v.pointer.Seq < p.Seq && (offset < v.root.start || offset >= v.root.end):
		return nil, r.tier.fetch.want(&job{remote: r, first: viewIndex}, w)
	}
	return v, nil
}

// gathering collects the regions of one answer.
type gathering struct {
	r        *Remote
	offset   int64 // first record wanted
	end      int64 // one past the last record wanted
	max      int64 // bytes
	oneBatch bool
	waiter   *segment.Waiter

	found segment.Records
	next  int64 // offset at which the next read will begin, about
}

// entry adds what is here of one segment. more says that the answer goes on in the next.
// An error is returned only where nothing was found.
func (g *gathering) entry(run *run, n *entry) (more bool, err error) {
	t, ok := g.r.tier.tails.get(n.id)
	if !ok {
		if g.found.Size > 0 {
			return false, nil
		}
		return false, g.r.wantTail(run, n, g.waiter)
	}
	for i := t.chunkOf(g.offset); i < len(t.chunks); i++ {
		if len(g.found.Regions) == maxRegions || t.chunks[i].base >= g.end {
			return false, nil
		}
		f, start, ok := g.r.tier.chunk(n, t, i)
		if !ok {
			if g.found.Size > 0 {
				return false, nil
			}
			return false, g.r.wantChunk(run, n, t, i, g.waiter)
		}
		region, more, err := g.chunk(f, start, n, t, i)
		if err != nil || region.Size == 0 {
			f.Release()
		} else {
			g.found.Regions = append(g.found.Regions, region)
			g.found.Size += region.Size
		}
		if err != nil {
			g.found.Release()
			return false, fmt.Errorf("read chunk %d of %s: %w", i, run.key(n), err)
		}
		if !more {
			return false, nil
		}
	}
	g.next = n.next
	return true, nil
}

// chunk returns the region of one chunk whose file begins at position start of the log.
func (g *gathering) chunk(f *segment.File, start int64, n *entry, t *tail, i int) (segment.Region, bool, error) {
	c := t.chunks[i]
	w := &walker{headers: headers{file: shifted{f, start}, end: c.end()}, index: t.offsetIndex(), chunk: c}
	begin, limit, more := c.position, c.end(), true
	if g.offset > c.base && g.found.Size == 0 {
		at, ok, err := w.holding(g.offset)
		if err != nil {
			return segment.Region{}, false, err
		}
		if !ok { // it lies behind this chunk's last batch
			return segment.Region{}, true, nil
		}
		begin = at
	}
	g.next = n.next
	if i+1 < len(t.chunks) {
		g.next = t.chunks[i+1].base
	}
	if g.end < g.next {
		at, _, err := w.holding(g.end)
		if err != nil {
			return segment.Region{}, false, err
		}
		limit, more, g.next = at, false, g.end
	}
	if room := g.max - g.found.Size; limit-begin > room {
		at, next, err := w.fitting(begin, limit, room, g.oneBatch && g.found.Size == 0)
		if err != nil {
			return segment.Region{}, false, err
		}
		limit, more, g.next = at, false, next
	}
	return segment.Region{File: f, Position: begin - start, Size: max(0, limit-begin)}, more, nil
}

// shifted is a file whose first byte lies at position start of the log.
type shifted struct {
	file  *segment.File
	start int64
}

// ReadAt implements io.ReaderAt in positions of the log.
func (s shifted) ReadAt(p []byte, position int64) (int, error) {
	return s.file.ReadAt(p, position-s.start)
}

// walker finds batch borders in one chunk, by the offset index and the batches' headers.
type walker struct {
	headers headers
	index   index.Offsets
	chunk   chunk
}

// holding returns the position of the first batch that ends at or above offset. ok is
// false where no batch of the chunk does.
func (w *walker) holding(offset int64) (position int64, ok bool, err error) {
	floor, err := w.index.Floor(offset)
	if err != nil {
		return 0, false, err
	}
	for position = max(floor.Position, w.chunk.position); position < w.chunk.end(); {
		b, size, err := w.headers.at(position)
		if err != nil {
			return 0, false, err
		}
		if b.LastOffset() >= offset {
			return position, true, nil
		}
		position += size
	}
	return position, false, nil
}

// fitting returns the last batch border at most room bytes after begin and at or below
// limit, and the offset there; with one, at least one batch is within.
func (w *walker) fitting(begin, limit, room int64, one bool) (position, next int64, err error) {
	floor, err := w.index.FloorPosition(begin + max(room, 0))
	if err != nil {
		return 0, 0, err
	}
	for position = max(floor.Position, begin); position < limit; {
		b, size, err := w.headers.at(position)
		if err != nil {
			return 0, 0, err
		}
		next = b.BaseOffset()
		if position+size > begin+room && !(one && position == begin) {
			break
		}
		next = b.NextOffset()
		position += size
	}
	return position, next, nil
}

// chunkOf returns the index of the chunk that holds offset, or the first.
func (t *tail) chunkOf(offset int64) int {
	return max(0, sort.Search(len(t.chunks), func(i int) bool { return t.chunks[i].base > offset })-1)
}

func (t *tail) offsetIndex() index.Offsets {
	return index.Offsets{Base: t.base, R: index.Bytes(t.offsets), Size: int64(len(t.offsets))}
}

// chunk returns the file that holds a verified chunk, with a reference for the caller,
// and the position in the log of the file's first byte.
func (t *Tier) chunk(n *entry, tl *tail, i int) (f *segment.File, start int64, ok bool) {
	id := chunkID{n.id, int32(i)}
	if t.local != nil {
		f, ok = t.local.get(id)
		return f, 0, ok
	}
	f, ok = t.cache.get(id)
	return f, tl.chunks[i].position, ok
}

func (r *Remote) wantTail(run *run, n *entry, w *segment.Waiter) error {
	return r.tier.fetch.want(&job{remote: r, entry: *n, key: run.key(n), first: tailIndex}, w)
}

// wantChunk asks for one chunk: what a reader waits for comes alone, so that it comes
// soon; read-ahead brings the rest in larger ranges.
func (r *Remote) wantChunk(run *run, n *entry, t *tail, i int, w *segment.Waiter) error {
	return r.tier.fetch.want(&job{remote: r, entry: *n, key: run.key(n), tail: t, first: int32(i), count: 1}, w)
}

// Aborted returns the aborted transactions that overlap [from, to), by the offset of
// their marker, each once; ErrNotReady as Read.
func (r *Remote) Aborted(from, to int64, w *segment.Waiter) ([]index.AbortedTxn, error) {
	v, err := r.readable(from, w)
	if err != nil {
		return nil, err
	}
	var found []index.AbortedTxn
	var missing error
	for run, n := range v.from(from) {
		if n.base >= to {
			break
		}
		if !n.hasAborted() {
			continue
		}
		t, ok := r.tier.tails.get(n.id)
		if !ok {
			missing = errors.Join(missing, r.wantTail(run, n, w)) // all of them at once
			continue
		}
		for _, a := range t.aborted {
			if a.LastOffset >= from && a.FirstOffset < to {
				found = append(found, a)
			}
		}
	}
	if missing != nil {
		return nil, missing
	}
	slices.SortFunc(found, func(a, b index.AbortedTxn) int {
		return int(min(1, max(-1, a.LastOffset-b.LastOffset)))
	})
	return slices.CompactFunc(found, func(a, b index.AbortedTxn) bool { return a.LastOffset == b.LastOffset }), nil
}

// wait repeats ask until it returns something else than ErrNotReady, or ctx ends.
func (r *Remote) wait(ctx context.Context, ask func(w *segment.Waiter) error) error {
	w := segment.NewWaiter()
	for {
		err := ask(w)
		if !errors.Is(err, ErrNotReady) {
			return err
		}
		select {
		case <-w.C():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
