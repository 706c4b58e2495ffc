package segment

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment/vfs"
)

// Aborted returns the aborted transactions that overlap [from, to), in the order of
// their markers.
func (l *Log) Aborted(from, to int64) (found []index.AbortedTxn, err error) {
	err = l.untilKept(func() error {
		found, err = l.aborted(from, to)
		return err
	})
	return found, err
}

func (l *Log) aborted(from, to int64) ([]index.AbortedTxn, error) {
	v := l.view()
	var found []index.AbortedTxn
	for i := v.find(from); i < len(v.segments); i++ {
		txns, err := v.segments[i].abortedTxns()
		if err != nil {
			return nil, err
		}
		var done bool
		if found, done = index.Overlapping(found, txns, from, to); done {
			break
		}
	}
	return found, nil
}

// abortedTxns returns the segment's aborted transactions; the slice is not changed
// below its length.
func (s *segment) abortedTxns() ([]index.AbortedTxn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone { // its file is away, or another segment's
		return nil, fmt.Errorf("aborted transactions of segment %020d: %w", s.base, errRetired)
	}
	if !s.abortedKnown {
		p, err := ReadFile(s.l.fs, s.path(abortedSuffix))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		txns, err := index.ParseAborted(p)
		if err != nil {
			return nil, &CorruptError{s.path(abortedSuffix), int64(len(txns)) * index.AbortedEntry, err.Error()}
		}
		s.aborted, s.abortedKnown = txns, true
	}
	return s.aborted, nil
}

// AppendAborted adds an aborted transaction to the index of the segment that holds its
// marker. One whose marker is already indexed there is left as it is, so that the
// replay after a crash may add all it sees again.
func (l *Log) AppendAborted(t index.AbortedTxn) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	v := l.view()
	if t.FirstOffset < 0 || t.LastOffset < t.FirstOffset || t.LastOffset < v.segments[0].base || t.LastOffset >= v.end {
		return fmt.Errorf("aborted transaction [%d, %d] in a log of [%d, %d): %w", t.FirstOffset, t.LastOffset, v.localStart, v.end, ErrOutOfRange)
	}
	s := v.segments[v.find(t.LastOffset)]
	txns, err := s.abortedTxns()
	if err != nil {
		return err
	}
	if n := len(txns); n > 0 && txns[n-1].LastOffset >= t.LastOffset {
		return nil
	}
	if err := s.appendAborted(t); err != nil {
		return l.fail(fmt.Errorf("write aborted transaction: %w", err))
	}
	return nil
}

// appendAborted takes up a transaction whose marker is in the log already. Where the
// disk is full it stays in memory until the next spill: the recovery point does not
// pass the marker before, so that a crash replays it.
func (s *segment) appendAborted(t index.AbortedTxn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aborted = append(s.aborted, t)
	s.abortedOwed++
	if err := s.spillAborted(); err != nil && (!vfs.Full(err) || !s.appendable()) {
		return err
	}
	return nil
}

// spillAborted writes the aborted transactions that the file does not hold. Caller
// holds mu.
func (s *segment) spillAborted() error {
	if s.abortedOwed == 0 {
		return nil
	}
	created := false
	if s.abortedFile == nil {
		err := s.open(&s.abortedFile, abortedSuffix)
		if errors.Is(err, fs.ErrNotExist) {
			f, err := s.l.fs.Create(s.path(abortedSuffix))
			if err != nil {
				return err
			}
			s.abortedFile, created = NewFile(f), true
		} else if err != nil {
			return err
		}
	}
	l := s.l
	if created {
		l.pub.Lock()
		l.dirDirty = true
		l.pub.Unlock()
	}
	written := len(s.aborted) - s.abortedOwed
	var p []byte
	for _, t := range s.aborted[written:] {
		p = t.Append(p)
	}
	if _, err := s.abortedFile.f.WriteAt(p, int64(written)*index.AbortedEntry); err != nil {
		return err
	}
	s.abortedOwed = 0
	s.abortedFile.Acquire()
	l.pub.Lock()
	l.dirtyFiles = append(l.dirtyFiles, s.abortedFile)
	l.pub.Unlock()
	return nil
}

// cutAborted removes the transactions whose marker lies at or above offset, and what
// does not parse.
func (s *segment) cutAborted(offset int64) error {
	p, err := ReadFile(s.l.fs, s.path(abortedSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		s.abortedKnown = true
		return nil
	}
	if err != nil {
		return err
	}
	txns, _ := index.ParseAborted(p)
	n := len(txns)
	for n > 0 && txns[n-1].LastOffset >= offset {
		n--
	}
	s.aborted, s.abortedKnown = txns[:n:n], true
	if n*index.AbortedEntry == len(p) {
		return nil
	}
	if err := s.open(&s.abortedFile, abortedSuffix); err != nil {
		return err
	}
	return s.abortedFile.f.Truncate(int64(n) * index.AbortedEntry)
}
