package retention

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
)

// CleanerOptions bound what a Cleaner uses.
type CleanerOptions struct {
	MapBytes int64     // log.cleaner.dedupe.buffer.size
	Random   io.Reader // of the secret of each pass
	// Throttle waits until so many bytes may be read from disk; nil: at once.
	Throttle func(ctx context.Context, bytes int64) error
}

// Cleaner compacts logs, one at a time. Apart from the map it holds, of segment.Reader,
// up to 8 MiB that are read ahead, a buffer of 1 MiB that is written and one batch, and
// nothing between two logs. With more than one processor it reads on a second goroutine.
type Cleaner struct{ o CleanerOptions }

// NewCleaner returns a cleaner.
func NewCleaner(o CleanerOptions) *Cleaner { return &Cleaner{o} }

// LastRecord is the last that an active producer wrote: its batch stays, emptied if need
// be, so that the producer's sequence and epoch can be read off the log.
type LastRecord struct {
	Offset int64 // last offset of the last data batch, -1: only a marker is known
	Epoch  int16
}

// Pass says what to compact.
type Pass struct {
	FirstDirty, Bound int64 // as Dirtiness has found
	Now               int64 // ms
	DeleteRetention   int64 // ms, delete.retention.ms
	SegmentBytes      int64 // segment.bytes
	MaxDecompressed   int64 // bytes that one batch may expand to
	Producers         map[int64]LastRecord
}

// Passed is what a pass has done.
type Passed struct {
	// CleanedTo is below or at Pass.Bound: below where the keys did not fit into memory,
	// and then another pass goes on from there.
	CleanedTo             int64
	BytesRead             int64 // from disk, both times that the dirty tail is read
	BytesBefore           int64 // of the segments
	BytesAfter            int64
	Records, RecordsKept  int64
	Segments, SegmentsNow int
	// Horizon is the first delete horizon (ms) left in the log, 0: none.
	Horizon int64
}

// ErrUncleanable says that the log holds what cannot be compacted: corrupt segments, or
// batches that do not parse.
var ErrUncleanable = errors.New("log cannot be compacted")

// Clean compacts a log once: it maps the keys of the dirty tail to their last offsets,
// as far as they fit into memory, and rewrites every segment up to there without the
// records that a later one of the same key replaces. Of what else it removes:
//
//   - records of aborted transactions, at once; their marker once none is left
//   - tombstones, and markers of transactions without records, when they have been seen
//     by a pass (which sets the delete horizon) and delete.retention.ms is over (KIP-534)
//   - records without key
//   - batches without records, but for the last batch of an active producer and of a
//     segment, which stay as headers
//
// Offsets never change. A pass that ends early, by ctx or an error, has replaced some
// segments and not others, which is a log with fewer duplicates; nothing is lost.
//
// It returns ErrUncleanable with the cause, segment.ErrChanged where segments were
// removed meanwhile, and what the disk says.
func (c *Cleaner) Clean(ctx context.Context, l *segment.Log, p Pass) (Passed, error) {
	var secret [16]byte
	if _, err := io.ReadFull(c.o.Random, secret[:]); err != nil {
		return Passed{}, fmt.Errorf("draw a secret: %w", err)
	}
	run := &pass{
		Pass: p, l: l, txns: newTxns(),
		keys: newKeyMap(c.o.MapBytes, p.FirstDirty, p.Bound, [2]uint64{binary.LittleEndian.Uint64(secret[:]), binary.LittleEndian.Uint64(secret[8:])}),
	}
	run.reader.Ahead = runtime.GOMAXPROCS(0) > 1
	run.reader.Read = func(ctx context.Context, bytes int64) error {
		run.BytesRead += bytes
		// Who serves a request goes first: left alone, a pass holds a processor for 10 ms.
		runtime.Gosched()
		if err := ctx.Err(); err != nil {
			return err
		}
		if c.o.Throttle == nil {
			return nil
		}
		return c.o.Throttle(ctx, bytes)
	}
	err := run.do(ctx)
	var corrupt *segment.CorruptError
	if errors.As(err, &corrupt) || errors.Is(err, batch.ErrInvalid) || errors.Is(err, batch.ErrTooLarge) || errors.Is(err, batch.ErrCompression) {
		err = fmt.Errorf("%w: %w", ErrUncleanable, err)
	}
	return run.Passed, err
}

// pass is a Clean under way.
type pass struct {
	Pass
	Passed
	l      *segment.Log
	keys   *keyMap
	reader segment.Reader
	txns   *txns
	filter batch.Filter
	// end is one past the last offset in keys.
	end int64
	// swapping receives how the swap of the last segment has ended; nil: none is under way.
	swapping <-chan error

	// Of the batch under way.
	horizon   int64 // ms, 0: none
	discard   bool  // every record goes
	control   bool
	tombstone bool // one stays
	// last is what stays of the last batch of a group if it was dropped; old says that it
	// looked just like that before.
	last []byte
	old  bool
}

func (p *pass) do(ctx context.Context) error {
	if err := p.mapKeys(ctx); err != nil {
		return fmt.Errorf("map keys of [%d, %d): %w", p.FirstDirty, p.Bound, err)
	}
	p.filter.MaxDecompressed = p.MaxDecompressed
	var sealed []segment.Info
	for _, s := range p.l.Segments() {
		if s.Sealed && s.Next <= p.Bound {
			sealed = append(sealed, s)
		}
	}
	for _, g := range Group(Limits{p.SegmentBytes}, sealed, p.end) {
		if err := p.rewrite(ctx, g); err != nil {
			return errors.Join(err, p.swapped())
		}
	}
	if err := p.swapped(); err != nil {
		return err
	}
	p.CleanedTo = p.end
	return nil
}

// explain names what could not be compacted.
func explain(g []segment.Info, err error) error {
	return fmt.Errorf("compact [%d, %d): %w", g[0].Base, g[len(g)-1].Next, err)
}

// errFull ends a walk: the keys do not fit into memory.
var errFull = errors.New("map of keys is full")

// mapKeys reads the dirty tail.
func (p *pass) mapKeys(ctx context.Context) error {
	t := newTxns()
	dirty, err := p.l.Aborted(p.FirstDirty, p.Bound)
	if err != nil {
		return err
	}
	t.add(dirty)
	for _, s := range p.l.Segments() {
		if !s.Sealed || s.Next <= p.FirstDirty || s.Next > p.Bound {
			continue
		}
		err := p.l.Batches(ctx, &p.reader, s.Base, p.FirstDirty, func(b batch.Batch) error { return p.mapBatch(t, b) })
		if errors.Is(err, errFull) {
			break
		}
		if err != nil {
			return err
		}
	}
	p.keys.settle()
	p.end = min(p.keys.end, p.Bound)
	return nil
}

// mapBatch maps the keys of a batch. It returns errFull where one does not fit.
func (p *pass) mapBatch(t *txns, b batch.Batch) error {
	if b.Control() {
		t.control(b)
		return nil
	}
	if t.data(b) {
		return nil
	}
	full := false
	err := batch.Entries(b, p.MaxDecompressed, func(e *batch.Entry) bool {
		full = e.Key != nil && e.Offset >= p.FirstDirty && !p.keys.put(e.Key, e.Offset)
		return !full
	})
	if err != nil {
		return fmt.Errorf("batch at offset %d: %w", b.BaseOffset(), err)
	}
	if full {
		return errFull
	}
	return nil
}

// rewrite makes one segment of a group. Its swap, which mostly waits for the disk, goes on
// while the next one is made.
func (p *pass) rewrite(ctx context.Context, g []segment.Info) error {
	base, next := g[0].Base, g[len(g)-1].Next
	w, err := p.l.Rewrite(base, next)
	if err != nil {
		return explain(g, err)
	}
	known, err := p.l.Aborted(base, next)
	if err == nil {
		p.txns.add(known)
		p.last, p.old = p.last[:0], false
		err = w.Batches(ctx, &p.reader, func(b batch.Batch) error { return p.clean(w, b) })
	}
	if err == nil {
		err = p.close(w)
	}
	if err != nil {
		return errors.Join(explain(g, err), w.Discard())
	}
	if err := p.swapped(); err != nil {
		return errors.Join(err, w.Discard())
	}
	for _, s := range g {
		p.BytesBefore += s.Size
	}
	p.BytesAfter += w.Size()
	p.Segments += len(g)
	p.SegmentsNow++
	p.swap(g, w)
	return nil
}

// swap begins to put a segment in the place of a group. In the order of the segments, one
// at a time: so whatever a crash finds committed lies below what is being made.
func (p *pass) swap(g []segment.Info, w *segment.Rewrite) {
	done := make(chan error, 1)
	p.swapping = done
	go func() {
		err := w.Swap()
		if err != nil {
			err = explain(g, err)
		}
		done <- err
	}()
}

// swapped waits for the swap under way.
func (p *pass) swapped() error {
	if p.swapping == nil {
		return nil
	}
	err := <-p.swapping
	p.swapping = nil
	return err
}

// close ends a group. Its last batch stays at least as a header, so that the segment
// itself tells where it ends, and recovery can tell a gap from a loss.
func (p *pass) close(w *segment.Rewrite) error {
	switch {
	case len(p.last) == 0:
		return nil
	case p.old:
		return w.Keep(p.last)
	}
	return w.Append(p.last)
}

// drop leaves a batch out, unless no other comes after it.
func (p *pass) drop(w *segment.Rewrite, b batch.Batch) error {
	p.last = append(p.last[:0], batch.Placeholder(b)...)
	if p.old = bytes.Equal(p.last, b); p.old {
		return nil
	}
	return w.Drop()
}

// clean writes what stays of a batch.
func (p *pass) clean(w *segment.Rewrite, b batch.Batch) error {
	if p.old {
		p.old = false
		if err := w.Drop(); err != nil {
			return err
		}
	}
	p.last = p.last[:0]
	empty := false // the marker of a transaction without records
	p.control, p.discard, p.tombstone = b.Control(), false, false
	horizon, has := b.DeleteHorizon()
	p.horizon = 0
	if has {
		p.horizon = horizon
	}
	if p.control {
		var kept *index.AbortedTxn
		if empty, kept = p.txns.control(b); kept != nil {
			w.Abort(*kept)
		}
		p.discard = empty && p.over()
	} else {
		p.discard = p.txns.data(b)
	}
	p.filter.Horizon = 0
	if b.NextOffset() <= p.end { // what is still dirty has its time to be read before it
		p.filter.Horizon = p.Now + min(p.DeleteRetention, math.MaxInt64-p.Now)
	}
	out, err := p.filter.Apply(b, empty, p.keep)
	if err != nil {
		return fmt.Errorf("batch at offset %d: %w", b.BaseOffset(), err)
	}
	if out.Count() == 0 && !p.isLast(b) {
		return p.drop(w, b)
	}
	if horizon, has := out.DeleteHorizon(); has && (p.tombstone || empty) && !p.over() && (p.Horizon == 0 || horizon < p.Horizon) {
		p.Horizon = horizon
	}
	if &out[0] == &b[0] {
		return w.Keep(b)
	}
	return w.Append(out)
}

// over tells whether the batch has a delete horizon that has passed.
func (p *pass) over() bool { return p.horizon != 0 && p.horizon <= p.Now }

// keep decides about a record of the batch under way.
func (p *pass) keep(e *batch.Entry) bool {
	p.Records++
	if !p.stays(e) {
		return false
	}
	p.RecordsKept++
	p.tombstone = p.tombstone || e.Tombstone
	return true
}

func (p *pass) stays(e *batch.Entry) bool {
	switch {
	case p.discard:
		return false
	case p.control || e.Offset >= p.end:
		return true // beyond end it is dirty, and there may be more of its key
	case e.Key == nil:
		return false
	}
	if p.keys.dies(e.Key, e.Offset) {
		return false
	}
	return !e.Tombstone || !p.over()
}

// isLast tells whether the batch is the last of an active producer.
func (p *pass) isLast(b batch.Batch) bool {
	if b.ProducerID() < 0 {
		return false
	}
	x, ok := p.Producers[b.ProducerID()]
	switch {
	case !ok:
		return false
	case x.Offset >= 0:
		return b.LastOffset() == x.Offset
	}
	return b.Control() && b.ProducerEpoch() == x.Epoch
}
