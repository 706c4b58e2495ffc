package segment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment/batch"
)

const (
	// readerBytes is read at once by a Reader: what stays in the processor's second level
	// cache until it has been looked at. Batches that are larger get what they need.
	readerBytes = 256 << 10
	// aheadBuffers is how many buffers a Reader fills before their batches are asked for:
	// enough for whoever is slow to catch up with a pause of the other.
	aheadBuffers = 4
	// aheadBytes bounds each of them; the largest batch that max.message.bytes allows by
	// default fits.
	aheadBytes = 2 << 20
)

// Reader reads whole batches of sealed segments. It keeps its buffers from one segment
// to the next, so it belongs to one goroutine.
type Reader struct {
	// Ahead reads and checks batches on a goroutine beside that of the caller, which has
	// ended when the walk ends. Up to aheadBuffers are filled in advance. From the first
	// batch that does not fit one of them on, the rest of a segment is read in turn.
	Ahead bool
	// Read, if set, is called before each read of so many bytes from disk, by whichever
	// goroutine reads, and stops the walk by an error. ctx is that of the walk, or ends
	// with it.
	Read func(ctx context.Context, bytes int64) error

	buf  []byte
	free chan []byte // buffers to read ahead into, all of them between two walks
}

// Batches calls yield with each batch of the sealed segment that begins at base, from
// the one that holds offset on. The batch, whose CRC has been checked, is valid during
// the call. It returns ErrChanged where no sealed segment begins at base, a
// *CorruptError for bytes that are no batches in order, the error of yield, and that of
// ctx when it ends before the walk does.
func (l *Log) Batches(ctx context.Context, r *Reader, base, offset int64, yield func(batch.Batch) error) error {
	if err := l.usable(); err != nil {
		return err
	}
	v := l.view()
	i := v.find(base)
	s := v.segments[i]
	if s.base != base || i == len(v.segments)-1 {
		return fmt.Errorf("sealed segment %020d: %w", base, ErrChanged)
	}
	position := int64(0)
	if offset > base {
		e, err := s.floor(offset)
		if errors.Is(err, errRetired) {
			return fmt.Errorf("sealed segment %020d: %w", base, ErrChanged)
		}
		if err != nil {
			return err
		}
		position = e.Position
	}
	return s.batches(ctx, r, position, s.size, func(b batch.Batch) error {
		if b.LastOffset() < offset {
			return nil
		}
		return yield(b)
	})
}

// Batches calls yield with each batch of the segments that are being replaced, as
// Log.Batches does.
func (w *Rewrite) Batches(ctx context.Context, r *Reader, yield func(batch.Batch) error) error {
	for _, s := range w.old {
		if err := s.batches(ctx, r, 0, s.size, yield); err != nil {
			return err
		}
	}
	return nil
}

// batches walks a sealed segment from the batch at position up to end (bytes).
func (s *segment) batches(ctx context.Context, r *Reader, position, end int64, yield func(batch.Batch) error) error {
	f, err := s.file()
	if errors.Is(err, errRetired) {
		return fmt.Errorf("sealed segment %020d: %w", s.base, ErrChanged)
	}
	if err != nil {
		return err
	}
	defer f.Release()
	w := &walk{s: s, f: f, read: r.Read, position: position, end: end, next: s.base}
	if r.Ahead {
		if err := r.ahead(ctx, w, yield); !errors.Is(err, errLarge) {
			return err
		}
	}
	return r.inTurn(ctx, w, yield)
}

// walk is where a Reader is in a sealed segment.
type walk struct {
	s        *segment
	f        *File
	read     func(ctx context.Context, bytes int64) error // Reader.Read
	position int64                                        // of the next batch, in bytes
	end      int64                                        // of the bytes to walk
	next     int64                                        // smallest base offset that may follow
}

// chunk is a buffer with whole batches that have been checked, and what came after them.
type chunk struct {
	buf   []byte
	whole int // bytes of buf that are whole batches
	have  int // bytes of buf that have been read
	err   error
}

// yield gives the batches away; c.err comes after them.
func (c *chunk) yield(yield func(batch.Batch) error) error {
	for p := c.buf[:c.whole]; len(p) > 0; {
		b, rest, err := batch.Next(p)
		if err != nil {
			return err
		}
		if err := yield(b); err != nil {
			return err
		}
		p = rest
	}
	return c.err
}

// inTurn reads and yields by turns.
func (r *Reader) inTurn(ctx context.Context, w *walk, yield func(batch.Batch) error) error {
	c := chunk{buf: r.buf}
	for w.position < w.end {
		w.fill(ctx, &c, w.end)
		r.buf = c.buf
		if err := c.yield(yield); err != nil {
			return err
		}
		c.have = copy(c.buf, c.buf[c.whole:c.have])
	}
	return nil
}

// errLarge ends reading ahead: a batch does not fit a buffer.
var errLarge = errors.New("batch is too large to be read ahead")

// ahead yields what another goroutine reads. It returns errLarge, with w at a batch that
// is too large.
func (r *Reader) ahead(ctx context.Context, w *walk, yield func(batch.Batch) error) error {
	if r.free == nil {
		r.free = make(chan []byte, aheadBuffers)
		for range aheadBuffers {
			r.free <- nil
		}
	}
	reading, stop := context.WithCancel(ctx)
	filled := make(chan chunk, aheadBuffers)
	go func() {
		defer close(filled)
		w.readAhead(reading, r.free, filled)
	}()
	defer func() {
		stop()
		for c := range filled {
			r.free <- c.buf
		}
	}()
	for c := range filled {
		err := c.yield(yield)
		r.free <- c.buf
		if err != nil {
			return err
		}
		runtime.Gosched() // as the goroutine that reads does before each read
	}
	if w.position < w.end {
		return ctx.Err()
	}
	return nil
}

// readAhead fills free buffers, of which it gives back all in filled, up to the end of
// the walk, an error, which is in the last one, or the end of ctx.
func (w *walk) readAhead(ctx context.Context, free <-chan []byte, filled chan<- chunk) {
	var rest []byte // of the buffer before: others may read it meanwhile, none but us writes
	for w.position < w.end && ctx.Err() == nil {
		var c chunk
		select {
		case c.buf = <-free:
		case <-ctx.Done():
			return
		}
		if len(c.buf) < len(rest) {
			c.buf = make([]byte, len(rest))
		}
		c.have = copy(c.buf, rest)
		w.fill(ctx, &c, aheadBytes)
		rest = c.buf[c.whole:c.have]
		filled <- c // there is room for every buffer
		if c.err != nil {
			return
		}
	}
}

// fill reads what comes after c.have bytes from w.position on, until c holds at least one
// whole batch, or err. It returns errLarge in it where the batch is larger than limit.
func (w *walk) fill(ctx context.Context, c *chunk, limit int64) {
	c.whole, c.err = 0, nil
	for {
		size, err := w.check(c)
		switch {
		case err != nil || c.whole > 0:
			c.err = err
			return
		case size > max(limit, readerBytes):
			c.err = errLarge
			return
		case size > int64(len(c.buf)):
			grown := make([]byte, max(size, readerBytes))
			copy(grown, c.buf[:c.have])
			c.buf = grown
		}
		if c.err = w.load(ctx, c); c.err != nil {
			return
		}
	}
}

// check steps over the whole batches of c that have not been checked, and returns the
// size of the one that is not whole yet, as far as it is known.
func (w *walk) check(c *chunk) (size int64, err error) {
	corrupt := func(reason string) error { return &CorruptError{w.s.path(logSuffix), w.position, reason} }
	for w.position < w.end {
		p := c.buf[c.whole:c.have]
		size = batch.HeaderSize
		if len(p) >= batch.HeaderSize {
			if size, err = batch.PeekSize(p); err != nil {
				return 0, corrupt(err.Error())
			}
		}
		if size > w.end-w.position {
			return 0, corrupt("record batch is cut short")
		}
		if int64(len(p)) < size {
			return size, nil
		}
		b := batch.Batch(p[:size:size])
		if b.BaseOffset() < w.next || b.LastOffset() < b.BaseOffset() || !index.Fits(w.s.base, b.LastOffset()) {
			return 0, corrupt("record batch is out of order")
		}
		if err := b.CheckCRC(); err != nil {
			return 0, corrupt(err.Error())
		}
		w.next = b.NextOffset()
		w.position += size
		c.whole += int(size)
	}
	return 0, nil
}

// load fills the rest of c.buf, of which the first c.have bytes lie at w.position.
func (w *walk) load(ctx context.Context, c *chunk) error {
	p := c.buf[c.have:min(int64(len(c.buf)), w.end-w.position)]
	if w.read != nil {
		if err := w.read(ctx, int64(len(p))); err != nil {
			return err
		}
	}
	n, err := w.f.ReadAt(p, w.position+int64(c.have))
	if n < len(p) {
		if err == nil || errors.Is(err, io.EOF) {
			return &CorruptError{w.s.path(logSuffix), w.position, "file is shorter than its size"}
		}
		return err
	}
	c.have += n
	return nil
}

// FirstTimestamp returns the largest timestamp (ms) of the first batch of a sealed
// segment, by which Kafka tells how long it has been waiting to be compacted; -1 where
// no such segment begins at base any more.
func (l *Log) FirstTimestamp(base int64) (int64, error) {
	v := l.view()
	i := v.find(base)
	s := v.segments[i]
	if s.base != base || i == len(v.segments)-1 || s.size == 0 {
		return -1, nil
	}
	f, err := s.file()
	if errors.Is(err, errRetired) {
		return -1, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Release()
	w := s.scan(f, 0, s.size)
	defer w.close()
	h, err := w.batch()
	return h.maxTimestamp, err
}
