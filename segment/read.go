package segment

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// maxRegions bounds the files of one read; each is one sendfile and one open file.
const maxRegions = 8

// Read finds the batches from the one that holds offset up to bound (exclusive, at a
// batch border), at most maxBytes, but at least one whole batch where oneBatch. It
// returns no records at offset == bound, and ErrOutOfRange outside [LocalStart, End].
// Only whole batches are returned, so with less than one batch's size in maxBytes and
// without oneBatch nothing is. No record byte is read.
func (l *Log) Read(offset, bound, maxBytes int64, oneBatch bool) (Records, error) {
	for {
		if err := l.usable(); err != nil {
			return Records{}, err
		}
		r, err := l.read(offset, bound, maxBytes, oneBatch)
		// A segment that went between the view and the opening: look again. The local
		// start has risen, or the end fallen, so this ends.
		switch {
		case !errors.Is(err, fs.ErrNotExist):
			return r, err
		case errors.Is(err, errRetired):
			continue
		}
		if v := l.view(); offset >= v.localStart && offset <= v.end {
			if err := v.segments[v.find(offset)].stat(); err != nil {
				return Records{}, fmt.Errorf("read at offset %d: %w", offset, err)
			}
		}
	}
}

func (l *Log) read(offset, bound, maxBytes int64, oneBatch bool) (Records, error) {
	v := l.view()
	if offset < v.localStart || offset > v.end {
		return Records{}, fmt.Errorf("read at %d of [%d, %d]: %w", offset, v.localStart, v.end, ErrOutOfRange)
	}
	bound = min(bound, v.end)
	var r Records
	for i := v.find(offset); i < len(v.segments) && offset < bound && len(r.Regions) < maxRegions; i++ {
		region, more, err := l.region(v, i, offset, bound, maxBytes-r.Size, oneBatch && r.Size == 0)
		if err != nil && r.Size > 0 {
			break // whoever reads on will be told
		}
		if err != nil {
			return Records{}, err
		}
		if region.Size > 0 {
			r.Regions = append(r.Regions, region)
			r.Size += region.Size
		} else if region.File != nil {
			region.File.Release()
		}
		if !more {
			break
		}
		offset, _ = v.bounds(i)
	}
	return r, nil
}

// region finds the part of a read that lies in segment i; more says that it reaches
// the segment's end. The region's file has a reference for the caller.
func (l *Log) region(v view, i int, offset, bound, maxBytes int64, oneBatch bool) (_ Region, more bool, err error) {
	s := v.segments[i]
	next, size := v.bounds(i)
	if size == 0 && !s.lost {
		return Region{}, true, nil
	}
	f, err := s.file()
	if err != nil {
		return Region{}, false, err
	}
	defer func() {
		if err != nil {
			f.Release()
		}
	}()
	from, err := l.locate(v, i, f, offset)
	if err != nil {
		return Region{}, false, err
	}
	limit := size
	if bound < next {
		if limit, err = l.locate(v, i, f, bound); err != nil {
			return Region{}, false, err
		}
	}
	to := limit
	if limit-from > maxBytes {
		if to, err = l.cut(s, f, from, limit, maxBytes, oneBatch); err != nil {
			return Region{}, false, err
		}
	}
	if to == limit && bound < next {
		l.hint(place{s, bound, limit})
	}
	return Region{f, from, max(0, to-from)}, to == limit && bound >= next, nil
}

// locate returns the position of the first batch of segment i whose last offset is at
// least offset, the segment's size where there is none.
func (l *Log) locate(v view, i int, f *File, offset int64) (int64, error) {
	s := v.segments[i]
	next, size := v.bounds(i)
	switch {
	case offset <= s.base:
		return 0, nil
	case offset >= next:
		return size, nil
	}
	l.pub.Lock()
	position, found := l.hints.find(s, offset)
	if !found && l.active.Load() == s {
		var h header
		if h, found = l.recent.find(offset); found {
			position = h.position
		}
	}
	l.pub.Unlock()
	if found && position <= size {
		return position, nil
	}
	e, err := s.floor(offset)
	if err != nil {
		return 0, err
	}
	w := s.scan(f, e.Position, size)
	w.bound = next
	defer w.close()
	for {
		h, err := w.batch()
		if errors.Is(err, io.EOF) {
			return size, nil
		}
		if err != nil {
			return 0, fmt.Errorf("find offset %d: %w", offset, err)
		}
		if h.last >= offset {
			return h.position, nil
		}
	}
}

// cut returns the last batch border at or below from+maxBytes; where the first batch
// is larger, its end if oneBatch, else from.
func (l *Log) cut(s *segment, f *File, from, limit, maxBytes int64, oneBatch bool) (int64, error) {
	e, err := s.floorPosition(from + max(maxBytes, 0))
	if err != nil {
		return 0, err
	}
	w := s.scan(f, max(e.Position, from), limit)
	defer w.close()
	border := w.position
	for {
		h, err := w.batch()
		if errors.Is(err, io.EOF) {
			return border, nil
		}
		if err != nil && border > from {
			return border, nil // what is sound, up to the damage
		}
		if err != nil {
			return 0, fmt.Errorf("cut at %d bytes: %w", maxBytes, err)
		}
		if h.position+h.size-from > maxBytes {
			if border > from || !oneBatch {
				l.hint(place{s, h.base, h.position})
				return border, nil
			}
			return h.position + h.size, nil
		}
		border = h.position + h.size
	}
}

// hint remembers a place for the next sequential read.
func (l *Log) hint(p place) {
	l.pub.Lock()
	l.hints.add(p)
	l.pub.Unlock()
}
