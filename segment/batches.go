package segment

import (
	"errors"
	"fmt"
	"io"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment/batch"
)

// readerBytes is read at once by a Reader: what stays in the processor's second level
// cache until it has been looked at. Batches that are larger get what they need.
const readerBytes = 256 << 10

// Reader reads whole batches of sealed segments. It keeps its buffer from one segment
// to the next, so it belongs to one goroutine.
type Reader struct {
	// Read, if set, is called before each read of so many bytes from disk, and stops the
	// walk by an error.
	Read func(bytes int64) error

	buf []byte
}

// Batches calls yield with each batch of the sealed segment that begins at base, from
// the one that holds offset on. The batch, whose CRC has been checked, is valid during
// the call. It returns ErrChanged where no sealed segment begins at base, a
// *CorruptError for bytes that are no batches in order, and the error of yield.
func (l *Log) Batches(r *Reader, base, offset int64, yield func(batch.Batch) error) error {
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
	return s.batches(r, position, s.size, func(b batch.Batch) error {
		if b.LastOffset() < offset {
			return nil
		}
		return yield(b)
	})
}

// Batches calls yield with each batch of the segments that are being replaced, as
// Log.Batches does.
func (w *Rewrite) Batches(r *Reader, yield func(batch.Batch) error) error {
	for _, s := range w.old {
		if err := s.batches(r, 0, s.size, yield); err != nil {
			return err
		}
	}
	return nil
}

// batches walks a sealed segment from the batch at position up to end (bytes).
func (s *segment) batches(r *Reader, position, end int64, yield func(batch.Batch) error) error {
	f, err := s.file()
	if errors.Is(err, errRetired) {
		return fmt.Errorf("sealed segment %020d: %w", s.base, ErrChanged)
	}
	if err != nil {
		return err
	}
	defer f.Release()
	corrupt := func(reason string) error { return &CorruptError{s.path(logSuffix), position, reason} }
	next := s.base
	var have []byte // the bytes from position on, as far as they are read
	for position < end {
		size := int64(batch.HeaderSize)
		if len(have) >= batch.HeaderSize {
			if size, err = batch.PeekSize(have); err != nil {
				return corrupt(err.Error())
			}
		}
		if size > end-position {
			return corrupt("record batch is cut short")
		}
		if int64(len(have)) < max(size, batch.HeaderSize) {
			if have, err = r.fill(f, have, position, size, end); err != nil {
				if errors.Is(err, io.EOF) {
					return corrupt("file is shorter than its size")
				}
				return err
			}
			continue
		}
		b := batch.Batch(have[:size:size])
		if b.BaseOffset() < next || b.LastOffset() < b.BaseOffset() || !index.Fits(s.base, b.LastOffset()) {
			return corrupt("record batch is out of order")
		}
		if err := b.CheckCRC(); err != nil {
			return corrupt(err.Error())
		}
		if err := yield(b); err != nil {
			return err
		}
		next = b.NextOffset()
		have = have[size:]
		position += size
	}
	return nil
}

// fill returns at least size bytes from position on, or more up to end; have are those
// that are known already, so that nothing is read twice.
func (r *Reader) fill(f *File, have []byte, position, size, end int64) ([]byte, error) {
	if want := max(size, readerBytes); int64(len(r.buf)) < want {
		grown := make([]byte, want)
		copy(grown, have)
		r.buf = grown
	} else {
		copy(r.buf, have)
	}
	all := r.buf[:min(int64(len(r.buf)), end-position)]
	p := all[len(have):]
	if r.Read != nil {
		if err := r.Read(int64(len(p))); err != nil {
			return nil, err
		}
	}
	n, err := f.ReadAt(p, position+int64(len(have)))
	if n < len(p) {
		if err == nil {
			err = io.EOF
		}
		return nil, err
	}
	return all, nil
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
