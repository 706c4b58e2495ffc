package segment

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
)

// Append writes batches, whose offsets and leader epoch are assigned and follow End,
// with one write, rolling first where the active segment is full or too old. It
// returns the commit round that will make them durable, nil where flush.messages asks
// for none. An epoch newer than the log's is recorded. Steady state allocates nothing.
//
// It returns ErrOutOfOrder, and nothing is written, for batches that do not follow End
// or one another; ErrNoSpace, and nothing is written either, where the disk is full. On
// any other failed write the log fails (ErrFailed from then on).
func (l *Log) Append(batches []batch.Batch) (*Round, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return nil, err
	}
	if len(batches) == 0 {
		return nil, nil
	}
	size, maxTimestamp := int64(0), int64(-1)
	next := l.end
	for _, b := range batches {
		base, last := b.BaseOffset(), b.LastOffset()
		if base < next || last < base || last == math.MaxInt64 {
			return nil, fmt.Errorf("%w: [%d, %d] at %d", ErrOutOfOrder, base, last, next)
		}
		next = last + 1
		size += int64(len(b))
		maxTimestamp = max(maxTimestamp, b.MaxTimestamp())
	}
	base := batches[0].BaseOffset()
	if size > math.MaxInt32 || next-1-base > math.MaxInt32 {
		return nil, fmt.Errorf("%d bytes at [%d, %d) are too many for a segment", size, base, next)
	}
	c := l.config.Load()
	if err := l.rollFor(base, next-1, size, maxTimestamp, c); err != nil {
		return nil, l.refuse(err)
	}
	if err := l.write(batches); err != nil {
		return nil, l.refuse(err)
	}
	if err := l.noteBatches(batches, c); err != nil {
		return nil, l.fail(err)
	}
	return l.publish(batches, next), nil
}

// rollFor makes the active segment fit for an append, by Kafka's rule: size, index,
// relative offsets, and the time between the first batch and this one.
func (l *Log) rollFor(base, last, size, maxTimestamp int64, c *Config) error {
	s := l.active.Load()
	fits := index.Fits(s.base, last)
	if l.size == 0 {
		if !fits {
			return l.replaceEmpty(base)
		}
		return nil
	}
	var waited time.Duration
	if l.first >= 0 {
		waited = millis(maxTimestamp - l.first)
	} else {
		waited = l.now().Sub(l.began)
	}
	full := l.size > c.SegmentBytes-size || l.size+size > math.MaxInt32 ||
		waited > c.SegmentAge && c.SegmentAge > 0 || !fits || s.indexFull(size, c)
	if !full {
		return nil
	}
	if index.Fits(l.end, last) {
		base = l.end
	}
	return l.roll(base)
}

// millis is ms as a duration, as large as there is where it overflows.
func millis(ms int64) time.Duration {
	if ms > math.MaxInt64/int64(time.Millisecond) {
		return math.MaxInt64
	}
	return time.Duration(ms) * time.Millisecond
}

// write puts the batches at the end of the active file; what a failed write has left
// there is cut off again, where the disk still allows it.
func (l *Log) write(batches []batch.Batch) error {
	f := l.active.Load().log.f
	err := error(nil)
	switch v, ok := f.(vfs.VectorWriter); {
	case len(batches) == 1:
		_, err = f.WriteAt(batches[0], l.size)
	case ok:
		for _, b := range batches {
			l.vector = append(l.vector, b)
		}
		_, err = v.WriteVAt(l.vector, l.size)
		clear(l.vector) // the bytes are the caller's
		l.vector = l.vector[:0]
	default:
		position := l.size
		for _, b := range batches {
			if _, err = f.WriteAt(b, position); err != nil {
				break
			}
			position += int64(len(b))
		}
	}
	if err != nil {
		if mutant("leave half a batch behind a failed write") {
			return err
		}
		if cut := f.Truncate(l.size); cut != nil {
			// No matter that the disk was just full: what is behind the end must go.
			return fmt.Errorf("%s; cut it off again: %w", err.Error(), cut)
		}
	}
	return err
}

// noteBatches brings the indexes up to the batches just written.
func (l *Log) noteBatches(batches []batch.Batch, c *Config) error {
	s := l.active.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	position := l.size
	for _, b := range batches {
		if err := s.note(headerOf(b, position), c.IndexInterval, c.IndexBytes); err != nil {
			return err
		}
		position += int64(len(b))
	}
	return nil
}

// publish lets readers and the committer see the batches just written.
func (l *Log) publish(batches []batch.Batch, next int64) *Round {
	now := l.now()
	if l.size == 0 {
		l.first, l.began = batches[0].MaxTimestamp(), now
	}
	l.pub.Lock()
	defer l.pub.Unlock()
	position := l.size
	for _, b := range batches {
		h := headerOf(b, position)
		if h.epoch > l.epochs.latest() {
			l.setEpochs(l.epochs.assign(h.epoch, h.base))
		}
		l.recent.add(h)
		position += h.size
	}
	acked := l.ackEnd()
	l.dirtyBytes += position - l.size
	l.end, l.size = next, position
	l.active.Load().modified = now
	l.activeDirty = true
	if l.unflushed.IsZero() {
		l.unflushed = now
	}
	if l.ackEnd() != acked {
		l.signal()
	}
	if l.ackEnd() < l.end {
		return l.committer.join(l)
	}
	return nil
}

// RollIfDue seals the active segment if its first record was appended, or has a
// timestamp, longer ago than segment.ms, and begins a new one.
func (l *Log) RollIfDue(now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if at := l.rollsAt(); at.IsZero() || !now.After(at) {
		return nil
	}
	if err := l.roll(l.end); err != nil {
		return l.refuse(err)
	}
	return nil
}

// Roll seals the active segment unless it is empty.
func (l *Log) Roll() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if l.size == 0 {
		return nil
	}
	if err := l.roll(l.end); err != nil {
		return l.refuse(err)
	}
	return nil
}

// roll seals the active segment and begins one at base. Nothing is synced here: the
// sealed file and the new names are part of the next round. Where the disk is full
// nothing has changed. Caller holds mu.
func (l *Log) roll(base int64) error {
	s := l.active.Load()
	if err := s.finish(); err != nil {
		return err
	}
	if l.config.Load().Preallocate {
		if err := s.log.f.Truncate(l.size); err != nil {
			return fmt.Errorf("trim segment %020d: %w", s.base, err)
		}
	}
	next, err := l.create(base)
	if err != nil {
		return err
	}
	l.pub.Lock()
	s.next, s.size, s.sealed = base, l.size, true
	l.segments = append(slices.Clone(l.segments), next)
	l.sealedSize += l.size
	l.size, l.end = 0, base
	l.first, l.began = -1, l.now()
	l.recent.entries = l.recent.entries[:0]
	if l.activeDirty {
		s.log.Acquire()
		l.dirtyFiles = append(l.dirtyFiles, s.log)
		l.activeDirty = false
	}
	l.dirDirty = true
	l.active.Store(next)
	l.pub.Unlock()
	s.mu.Lock()
	s.offsetTail, s.timeTail = nil, nil
	s.closeIndexes()
	s.mu.Unlock()
	l.keepOpen(s)
	return nil
}

// replaceEmpty makes an empty active segment begin at base instead. Caller holds mu.
func (l *Log) replaceEmpty(base int64) error {
	old := l.active.Load()
	next, err := l.create(base)
	if err != nil {
		return err
	}
	l.pub.Lock()
	l.segments = append(slices.Clone(l.segments[:len(l.segments)-1]), next)
	if l.localStart == l.end {
		l.localStart = base
	}
	l.end = base
	l.recent.entries = l.recent.entries[:0]
	l.dirDirty = true
	l.active.Store(next)
	l.pub.Unlock()
	return l.removeFiles(old)
}
