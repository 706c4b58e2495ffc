package segment

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"
)

// SetLogStart raises the log start offset; local segments wholly below it are removed,
// but never the active one. A lower offset than the present one is a no-op, one above
// End is ErrOutOfRange. It is made durable by the next Checkpoint.
func (l *Log) SetLogStart(offset int64) error {
	l.removing.Lock()
	defer l.removing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	l.pub.Lock()
	if offset > l.end {
		l.pub.Unlock()
		return fmt.Errorf("log start %d of a log that ends at %d: %w", offset, l.end, ErrOutOfRange)
	}
	if offset <= l.logStart {
		l.pub.Unlock()
		return nil
	}
	l.logStart = offset
	l.localStart = max(l.localStart, offset)
	l.setEpochs(l.epochs.from(offset))
	l.signal()
	l.pub.Unlock()
	return l.expire(offset)
}

// SetLocalStart raises the local log start offset to a segment border at or below
// offset and unlinks the segments before it. The caller has made sure that they are
// in the bucket or below the log start.
func (l *Log) SetLocalStart(offset int64) error {
	l.removing.Lock()
	defer l.removing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	return l.expire(offset)
}

// expire removes the segments wholly below offset, the oldest first, so that a crash
// leaves no gap. Readers that hold them keep their files. Caller holds mu.
func (l *Log) expire(offset int64) error {
	n := 0
	for n < len(l.segments)-1 && l.segments[n+1].base <= offset {
		n++
	}
	if n == 0 {
		return nil
	}
	l.pub.Lock()
	gone := l.segments[:n]
	l.segments = slices.Clone(l.segments[n:])
	l.localStart = max(l.localStart, l.segments[0].base)
	for _, s := range gone {
		l.sealedSize -= s.size
	}
	l.pub.Unlock()
	for _, s := range gone {
		// The log first: without it the rest is swept up by the next Open.
		if err := l.condemn(s, logSuffix, offsetSuffix, timeSuffix, abortedSuffix); err != nil {
			return l.fail(fmt.Errorf("remove segment %020d: %w", s.base, err))
		}
	}
	l.forget(gone)
	if err := l.dropSnapshots(func(s int64) bool { return s < l.segments[0].base }); err != nil {
		return l.fail(err)
	}
	return nil
}

// forget closes what removed segments may have opened meanwhile.
func (l *Log) forget(gone []*segment) {
	l.openMu.Lock()
	l.open = slices.DeleteFunc(l.open, func(s *segment) bool { return slices.Contains(gone, s) })
	l.openMu.Unlock()
	l.pub.Lock()
	l.hints = hints{}
	l.pub.Unlock()
	for _, s := range gone {
		s.retire()
	}
}

// TruncateTo removes every record at or above offset (a follower to its leader's
// epoch), and the whole batch where offset lies within one. It is durable on return,
// so that nothing of what was removed can come back behind what is appended next.
func (l *Log) TruncateTo(offset int64) error {
	l.removing.Lock()
	defer l.removing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if offset >= l.end {
		return nil
	}
	if offset <= l.segments[0].base {
		return l.restart(max(offset, 0))
	}
	if err := l.lowerRecovery(offset); err != nil {
		return l.refuse(fmt.Errorf("truncate to %d: %w", offset, err))
	}
	if err := l.truncate(offset); err != nil {
		return l.fail(fmt.Errorf("truncate to %d: %w", offset, err))
	}
	return nil
}

func (l *Log) truncate(offset int64) error {
	v := l.view()
	i := v.find(offset)
	if offset == v.segments[i].base {
		i-- // it goes as a whole; the one before it becomes active
	}
	old := v.segments[i]
	_, size := v.bounds(i)
	f, err := old.file()
	if err != nil {
		return err
	}
	position, err := l.locate(v, i, f, offset)
	f.Release()
	if err != nil {
		return err
	}
	if err := old.flushTail(); err != nil {
		return err
	}
	gone := v.segments[i+1:]
	for j := len(gone) - 1; j >= 0; j-- {
		if err := l.removeFiles(gone[j]); err != nil {
			return err
		}
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return err
	}
	s := &segment{l: l, base: old.base, size: size, modified: old.modified}
	if err := s.open(&s.log, logSuffix); err != nil {
		return err
	}
	if err := s.log.f.Truncate(position); err != nil {
		return err
	}
	if err := s.log.f.Sync(); err != nil {
		return err
	}
	s.size = position
	// The rest is what Open does with the last segment of a log that is trusted.
	p := &opening{l: l, o: Options{Clean: true}, epochsKnown: true}
	if _, err := p.recover(s, found{base: s.base, size: position, modified: s.modified, indexes: true, aborted: true}, offset); err != nil {
		return err
	}
	l.pub.Lock()
	l.segments = append(slices.Clone(l.segments[:i]), s)
	l.active.Store(s)
	l.end, l.size = s.next, s.size
	l.sealedSize = 0
	for _, s := range l.segments[:i] {
		l.sealedSize += s.size
	}
	l.cutBack(s.next)
	l.pub.Unlock()
	l.forget(append(slices.Clone(gone), old))
	return errors.Join(l.dropSnapshots(func(o int64) bool { return o > s.next }), l.writeEpochs())
}

// lowerRecovery makes the checkpointed recovery point at most offset, durably, before
// the records there are cut off: what is appended in their place is not yet flushed,
// and must be scanned after a crash.
func (l *Log) lowerRecovery(offset int64) error {
	if l.home == nil || mutant("truncate below the recovery point") {
		return nil
	}
	ceiling := func(offset int64) {
		l.pub.Lock()
		l.ceiling = offset
		l.pub.Unlock()
	}
	ceiling(offset)
	err := l.home.lower(filepath.Base(l.dir), offset)
	if err != nil {
		ceiling(math.MaxInt64)
	}
	return err
}

// flushTail writes the index tails without the entry that sealing adds.
func (s *segment) flushTail() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.spill()
}

// cutBack adjusts what is published to a new end. Caller holds pub.
func (l *Log) cutBack(end int64) {
	l.end = end
	l.flushed = min(l.flushed, end)
	l.localStart, l.logStart = min(l.localStart, end), min(l.logStart, end)
	l.setEpochs(l.epochs.below(end))
	l.recent = ring{}
	l.hints = hints{}
	l.generation++
	l.ceiling = math.MaxInt64
	l.signal()
}

// StartAt removes everything and begins again at offset (a replica that starts from
// the tier). The log start stays where it is unless offset lies below it.
func (l *Log) StartAt(offset int64) error {
	l.removing.Lock()
	defer l.removing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	return l.restart(offset)
}

func (l *Log) restart(offset int64) error {
	fail := func(err error) error { return l.fail(fmt.Errorf("start at %d: %w", offset, err)) }
	if err := l.lowerRecovery(offset); err != nil {
		return l.refuse(fmt.Errorf("start at %d: %w", offset, err))
	}
	gone := l.segments
	for i := len(gone) - 1; i >= 0; i-- {
		if err := l.removeFiles(gone[i]); err != nil {
			return fail(err)
		}
	}
	s, err := l.create(offset)
	if err != nil {
		return fail(err)
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return fail(err)
	}
	l.pub.Lock()
	l.segments = []*segment{s}
	l.active.Store(s)
	l.size, l.sealedSize = 0, 0
	l.first, l.began = -1, l.now()
	l.cutBack(offset)
	l.localStart, l.flushed = offset, offset
	l.activeDirty = false
	l.pub.Unlock()
	l.forget(gone)
	if err := errors.Join(l.dropSnapshots(func(int64) bool { return true }), l.writeEpochs()); err != nil {
		return fail(err)
	}
	return nil
}

// Close flushes and closes. Readers that hold Records keep their files. A log that has
// failed is closed without being flushed.
func (l *Log) Close() error {
	l.removing.Lock()
	defer l.removing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.prepareClose(); err != nil {
		return err
	}
	c := l.capture()
	err := l.syncCaptured(c)
	if err == nil {
		l.flushedTo(c)
	}
	l.shut()
	return err
}

// prepareClose writes what is only in memory. Caller holds mu.
func (l *Log) prepareClose() error {
	switch err := l.usable(); {
	case errors.Is(err, ErrClosed):
		return err
	case err != nil:
		return nil //nolint:nilerr // a failed log writes nothing more; its error was given when it failed
	}
	s := l.active.Load()
	if err := s.finish(); err != nil {
		return l.fail(err)
	}
	if l.config.Load().Preallocate {
		if err := s.log.f.Truncate(l.size); err != nil {
			return l.fail(err)
		}
	}
	return nil
}

// syncCaptured makes durable what c holds, and the active indexes, and releases it.
func (l *Log) syncCaptured(c captured) error {
	defer func() {
		for _, f := range c.files {
			f.Release()
		}
	}()
	if l.Err() != nil {
		return nil
	}
	s := l.active.Load()
	s.mu.Lock()
	for _, f := range []*File{s.offsets, s.times} {
		if f != nil && len(c.files) > 0 && f.Acquire() {
			c.files = append(c.files, f)
		}
	}
	s.mu.Unlock()
	if err := l.writeEpochs(); err != nil {
		return err
	}
	for _, f := range c.files {
		if err := f.f.Sync(); err != nil {
			return l.fail(err)
		}
	}
	if c.dir {
		if err := l.syncNames(); err != nil {
			return l.fail(err)
		}
	}
	return nil
}

// shut closes every file and refuses all that follows. Caller holds mu.
func (l *Log) shut() {
	l.pub.Lock()
	l.closed = true
	files := l.dirtyFiles
	l.dirtyFiles = nil
	l.activeDirty, l.unflushed = false, time.Time{}
	l.signal()
	l.pub.Unlock()
	for _, f := range files {
		f.Release()
	}
	for _, s := range l.segments {
		s.retire()
	}
}

// maxName is the longest file name there is, in bytes.
const maxName = 255

// Delete closes the log and renames its directory to <name>.<topic id>-delete, which is
// removed at once or, after the delete delay, by Dir.RemoveDeleted. What is left of it
// at a stop the next OpenDir removes.
func (l *Log) Delete() error {
	l.removing.Lock()
	defer l.removing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); errors.Is(err, ErrClosed) {
		return err
	}
	for _, f := range l.capture().files {
		f.Release()
	}
	l.shut()
	l.pub.Lock()
	l.deleted = true
	l.pub.Unlock()
	suffix := "." + hex.EncodeToString(l.topic[:]) + deleteSuffix
	parent, name := filepath.Split(l.dir)
	gone := filepath.Join(parent, name[:min(len(name), maxName-len(suffix))]+suffix)
	err := l.fs.RemoveAll(gone)
	if err == nil {
		err = l.fs.Rename(l.dir, gone)
	}
	if err == nil {
		err = l.fs.SyncDir(filepath.Clean(parent))
	}
	if delay := l.config.Load().DeleteDelay; err == nil && delay > 0 && l.home != nil {
		l.home.condemn(condemned{gone, l.now().Add(delay)})
	} else if err == nil {
		err = l.fs.RemoveAll(gone)
	}
	if err != nil {
		return fmt.Errorf("delete log %s: %w", l.dir, err)
	}
	return nil
}
