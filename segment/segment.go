package segment

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
)

// Suffixes and names of a log's files.
const (
	logSuffix      = ".log"
	offsetSuffix   = ".index"
	timeSuffix     = ".timeindex"
	abortedSuffix  = ".txnindex"
	snapshotSuffix = ".snapshot"
	deletedSuffix  = ".deleted"
	cleanedSuffix  = ".cleaned"
	tmpSuffix      = ".tmp"
	epochsName     = "leader-epoch-checkpoint"
	metadataName   = "partition.metadata"
)

// fileName is an offset in 20 digits and a suffix.
func fileName(offset int64, suffix string) string { return fmt.Sprintf("%020d%s", offset, suffix) }

func compare(a, b int64) int { return cmp.Compare(a, b) }

// tailEntries is how many index entries wait in memory before they are written to the
// index file: one small write per 256 KiB of log, and 1.3 KB per active segment.
const tailEntries = 64

// segment is one log file with its indexes. It is active, then sealed, and never
// active again: truncation makes a new segment of the same files.
type segment struct {
	l    *Log
	base int64
	// stage names the files: other than placed while compaction puts the segment in its
	// place. It changes under mu.
	stage atomic.Int32

	// Guarded by Log.pub; do not change once sealed.
	next     int64 // one past the last offset
	size     int64 // bytes of the log file
	modified time.Time
	sealed   bool
	lost     bool // there are its indexes, but no log file: what read it fails

	mu   sync.Mutex // guards what follows
	gone bool       // retired: nothing is opened any more
	// The open files; nil while closed. An active segment keeps its log file open.
	log, offsets, times *File
	// max is the first batch with the largest timestamp, by its last offset; valid
	// where maxKnown. {-1, base}: no record has a timestamp.
	max      index.Time
	maxKnown bool
	checked  bool // the index files have been found plausible
	known    bool // the log file has been found to begin where its name says
	// What follows is the appender's: of an active segment only.
	offsetTail, timeTail []byte // entries that the files do not hold yet
	offsetSize, timeSize int64  // bytes of the files
	lastTime             index.Time
	sinceEntry           int64 // bytes appended since the last entry
	// aborted is the content of .txnindex; valid where abortedKnown.
	aborted      []index.AbortedTxn
	abortedKnown bool
	abortedOwed  int   // how many of them, at the end, the file does not hold yet
	abortedFile  *File // open while active, once it exists
}

// path is the name of one of the segment's files: of now, for who does not hold mu.
func (s *segment) path(suffix string) string {
	return filepath.Join(s.l.dir, fileName(s.base, suffix)+stageSuffix[s.stage.Load()])
}

// create makes the files of an empty segment, in place of what a crash left of them.
func (l *Log) create(base int64) (*segment, error) {
	s := &segment{l: l, base: base, next: base, modified: l.now(), checked: true, abortedKnown: true}
	s.max, s.maxKnown = index.Time{Timestamp: -1, Offset: base}, true
	s.lastTime = s.max
	for _, suffix := range []string{offsetSuffix, timeSuffix, logSuffix} {
		f, err := l.fs.Create(s.path(suffix))
		if errors.Is(err, fs.ErrExist) {
			if err = l.fs.Remove(s.path(suffix)); err == nil {
				f, err = l.fs.Create(s.path(suffix))
			}
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("create segment %020d: %w", base, err), l.removeFiles(s))
		}
		switch suffix {
		case logSuffix:
			s.log = NewFile(f)
		case offsetSuffix:
			s.offsets = NewFile(f)
		case timeSuffix:
			s.times = NewFile(f)
		}
	}
	if c := l.config.Load(); c.Preallocate {
		if p, ok := s.log.f.(vfs.Preallocator); ok {
			if err := p.Preallocate(c.SegmentBytes); err != nil {
				return nil, errors.Join(fmt.Errorf("preallocate segment %020d: %w", base, err), l.removeFiles(s))
			}
		}
	}
	return s, nil
}

// open opens one of the segment's files into place. Caller holds mu.
func (s *segment) open(place **File, suffix string) error {
	if *place != nil {
		return nil
	}
	if s.gone {
		return fmt.Errorf("segment %020d: %w", s.base, errRetired)
	}
	f, err := s.l.fs.Open(s.path(suffix), false)
	if err != nil {
		return err
	}
	*place = NewFile(f)
	return nil
}

// closeFiles lets go of the open files.
func (s *segment) closeFiles() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeIndexes()
	if s.log != nil {
		s.log.Release()
		s.log = nil
	}
}

// retire closes the files for good: the segment was removed, or its log closed.
func (s *segment) retire() {
	s.mu.Lock()
	s.gone = true
	s.mu.Unlock()
	s.closeFiles()
}

// closeIndexes lets go of the index files. Caller holds mu.
func (s *segment) closeIndexes() {
	for _, f := range []**File{&s.offsets, &s.times, &s.abortedFile} {
		if *f != nil {
			(*f).Release()
			*f = nil
		}
	}
}

// file returns the log file with a reference for the caller.
func (s *segment) file() (*File, error) {
	if s.lost {
		return nil, &CorruptError{s.path(logSuffix), -1, "segment file is missing"}
	}
	s.mu.Lock()
	opened := s.log == nil
	err := s.open(&s.log, logSuffix)
	if err == nil && opened && s.sealed && !s.known {
		err = s.recognize()
	}
	if err != nil {
		s.mu.Unlock()
		return nil, err
	}
	f := s.log
	f.Acquire()
	s.mu.Unlock()
	if opened {
		s.l.keepOpen(s)
	}
	return f, nil
}

// recognize checks that the first batch of a sealed segment lies in it: the file may
// have been put there in another's place. A segment of another partition that happens to
// fit is not told apart, for no byte in it says whose it is. Caller holds mu.
func (s *segment) recognize() error {
	if s.size >= batch.HeaderSize {
		p := make([]byte, batch.HeaderSize)
		if n, err := s.log.ReadAt(p, 0); n < len(p) {
			return orUnexpected(err)
		}
		if base := batch.Batch(p).BaseOffset(); base < s.base || base >= s.next {
			s.log.Release()
			s.log = nil
			return &CorruptError{s.path(logSuffix), 0, fmt.Sprintf("first batch is at offset %d, the segment holds [%d, %d): it is another's file", base, s.base, s.next)}
		}
	}
	s.known = true
	return nil
}

// note brings the indexes up to a batch that has been appended. Caller holds mu.
func (s *segment) note(h header, interval, maxBytes int64) error {
	if h.maxTimestamp > s.max.Timestamp {
		s.max = index.Time{Timestamp: h.maxTimestamp, Offset: h.last}
	}
	if mutant("index the end of a batch") {
		h.position += h.size
	}
	if s.sinceEntry > interval && s.offsetSize+int64(len(s.offsetTail))+index.OffsetEntry <= maxBytes && h.position <= math.MaxInt32 {
		s.offsetTail = index.AppendOffset(s.offsetTail, s.base, index.Position{Offset: h.last, Position: h.position})
		// One slot stays free for the entry that sealing adds.
		if s.timeSize+int64(len(s.timeTail))+2*index.TimeEntry <= maxBytes {
			s.noteTime()
		}
		s.sinceEntry = 0
	}
	s.sinceEntry += h.size
	if len(s.offsetTail) >= tailEntries*index.OffsetEntry {
		// Where the disk is full the entries stay in memory: the records they stand for
		// have been written. There is a bound, segment.index.bytes.
		if err := s.spill(); err != nil && !vfs.Full(err) {
			return err
		}
	}
	return nil
}

// noteTime adds a time index entry where the largest timestamp has grown. Caller holds mu.
func (s *segment) noteTime() {
	if s.max.Timestamp > s.lastTime.Timestamp {
		s.timeTail = index.AppendTime(s.timeTail, s.base, s.max)
		s.lastTime = s.max
	}
}

// spill writes the index tails to their files; what could not be written stays in
// memory and is written by the next spill, in the same place. Caller holds mu.
func (s *segment) spill() error {
	if len(s.offsetTail) > 0 {
		if err := s.open(&s.offsets, offsetSuffix); err != nil {
			return err
		}
		if _, err := s.offsets.f.WriteAt(s.offsetTail, s.offsetSize); err != nil {
			return err
		}
		s.offsetSize += int64(len(s.offsetTail))
		s.offsetTail = s.offsetTail[:0]
	}
	if len(s.timeTail) > 0 {
		if err := s.open(&s.times, timeSuffix); err != nil {
			return err
		}
		if _, err := s.times.f.WriteAt(s.timeTail, s.timeSize); err != nil {
			return err
		}
		s.timeSize += int64(len(s.timeTail))
		s.timeTail = s.timeTail[:0]
	}
	return s.spillAborted()
}

// finish writes the indexes of a segment that is to be sealed or closed.
func (s *segment) finish() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteTime()
	if err := s.spill(); err != nil {
		return fmt.Errorf("write indexes of segment %020d: %w", s.base, err)
	}
	return nil
}

// indexFull reports whether an append of size bytes could want more index entries
// than segment.index.bytes has room for.
func (s *segment) indexFull(size int64, c *Config) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries := min(size/max(c.IndexInterval, 1), 1) + 1
	return s.offsetSize+int64(len(s.offsetTail))+entries*index.OffsetEntry > c.IndexBytes ||
		s.timeSize+int64(len(s.timeTail))+(entries+1)*index.TimeEntry > c.IndexBytes
}

// loadIndexes opens the index files of a sealed segment and checks them; what does not
// stand up is built anew from the log. Caller holds mu.
func (s *segment) loadIndexes() error {
	if s.offsets != nil && s.times != nil {
		return nil
	}
	if s.gone { // not missing: they are away, or another segment's
		return errRetired
	}
	for range 2 {
		err := s.open(&s.offsets, offsetSuffix)
		if err == nil {
			err = s.open(&s.times, timeSuffix)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil && s.checked {
			return s.sizeIndexes()
		}
		if err == nil {
			ok, err := s.plausible()
			if err != nil {
				return err
			}
			if ok {
				s.checked = true
				return nil
			}
		}
		if err := s.rebuild(); err != nil {
			return err
		}
	}
	return &CorruptError{s.path(offsetSuffix), -1, "index does not stand up after it was rebuilt"}
}

func (s *segment) sizeIndexes() (err error) {
	if s.offsetSize, err = s.offsets.f.Size(); err != nil {
		return err
	}
	s.timeSize, err = s.times.f.Size()
	return err
}

// plausible checks sizes and last entries of the index files. Caller holds mu.
func (s *segment) plausible() (bool, error) {
	if err := s.sizeIndexes(); err != nil {
		return false, err
	}
	if s.offsetSize%index.OffsetEntry != 0 || s.timeSize%index.TimeEntry != 0 || (s.timeSize == 0 && s.size > 0) {
		// A log without any timestamp has an empty time index: rebuilt once per start.
		return false, nil
	}
	o, t := s.fileOffsets(), s.fileTimes()
	if o.Len() > 0 {
		e, err := o.Entry(o.Len() - 1)
		if err != nil {
			return false, err
		}
		if e.Offset < s.base || e.Offset >= s.next || e.Position <= 0 || e.Position >= s.size {
			return false, nil
		}
	}
	e, err := t.Last()
	if err != nil {
		return false, err
	}
	return t.Len() == 0 || (e.Offset >= s.base && e.Offset < s.next && e.Timestamp >= 0), nil
}

// rebuild writes the index files of a sealed segment anew. Caller holds mu.
func (s *segment) rebuild() error {
	s.closeIndexes()
	for _, suffix := range []string{offsetSuffix, timeSuffix} {
		if err := s.l.fs.Remove(s.path(suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for suffix, place := range map[string]**File{offsetSuffix: &s.offsets, timeSuffix: &s.times} {
		f, err := s.l.fs.Create(s.path(suffix))
		if err != nil {
			return err
		}
		*place = NewFile(f)
	}
	if err := s.open(&s.log, logSuffix); err != nil {
		return err
	}
	s.offsetSize, s.timeSize, s.sinceEntry = 0, 0, 0
	s.offsetTail, s.timeTail = nil, nil
	s.max = index.Time{Timestamp: -1, Offset: s.base}
	s.lastTime = s.max
	c := s.l.config.Load()
	w := s.scan(s.log, 0, s.size)
	defer w.close()
	for {
		h, err := w.batch()
		var corrupt *CorruptError
		if errors.Is(err, io.EOF) || errors.As(err, &corrupt) {
			break // what lies behind damage is not indexed: reads of it come upon the damage
		}
		if err == nil {
			err = s.note(h, c.IndexInterval, c.IndexBytes)
		}
		if err != nil {
			s.closeIndexes()
			return fmt.Errorf("rebuild indexes: %w", err)
		}
	}
	s.noteTime()
	if err := s.spill(); err != nil {
		return fmt.Errorf("rebuild indexes of segment %020d: %w", s.base, err)
	}
	s.maxKnown, s.checked = true, true
	s.offsetTail, s.timeTail = nil, nil
	return nil
}

func (s *segment) scan(f io.ReaderAt, position, end int64) *scanner {
	return &scanner{path: s.path(logSuffix), r: f, segment: s.base, next: s.base, position: position, end: end}
}

func (s *segment) fileOffsets() index.Offsets {
	return index.Offsets{Base: s.base, R: s.offsets, Size: s.offsetSize}
}

func (s *segment) fileTimes() index.Times {
	return index.Times{Base: s.base, R: s.times, Size: s.timeSize}
}

// indexes gives the file's part and the tail of both indexes to use, under mu.
func (s *segment) indexes(use func(file, tail index.Offsets, times, timeTail index.Times) error) error {
	s.mu.Lock()
	opened := s.offsets == nil
	err := s.prepareIndexes()
	if err == nil {
		err = use(s.fileOffsets(), index.Offsets{Base: s.base, R: index.Bytes(s.offsetTail), Size: int64(len(s.offsetTail))},
			s.fileTimes(), index.Times{Base: s.base, R: index.Bytes(s.timeTail), Size: int64(len(s.timeTail))})
	}
	s.mu.Unlock()
	if opened && err == nil {
		s.l.keepOpen(s)
	}
	if err != nil {
		return fmt.Errorf("indexes of segment %020d: %w", s.base, err)
	}
	return nil
}

// prepareIndexes makes the index files readable. Caller holds mu.
func (s *segment) prepareIndexes() error {
	if s.appendable() {
		// The files hold what spill wrote; an active segment's are never rebuilt.
		if err := s.open(&s.offsets, offsetSuffix); err != nil {
			return err
		}
		return s.open(&s.times, timeSuffix)
	}
	return s.loadIndexes()
}

// appendable: the index state in memory is the appender's. Caller holds mu.
func (s *segment) appendable() bool { return s.l.active.Load() == s }

// floor returns the index entry with the largest offset <= offset, or {base, 0}.
func (s *segment) floor(offset int64) (e index.Position, err error) {
	err = s.indexes(func(file, tail index.Offsets, _, _ index.Times) (err error) {
		if e, err = tail.Floor(offset); err == nil && e.Position == 0 {
			e, err = file.Floor(offset)
		}
		return err
	})
	return e, err
}

// floorPosition returns the index entry with the largest position <= position, or {base, 0}.
func (s *segment) floorPosition(position int64) (e index.Position, err error) {
	err = s.indexes(func(file, tail index.Offsets, _, _ index.Times) (err error) {
		if e, err = tail.FloorPosition(position); err == nil && e.Position == 0 {
			e, err = file.FloorPosition(position)
		}
		return err
	})
	return e, err
}

// floorTime returns the time index entry with the largest timestamp < ts, or {-1, base}.
func (s *segment) floorTime(ts int64) (e index.Time, err error) {
	err = s.indexes(func(_, _ index.Offsets, file, tail index.Times) (err error) {
		if e, err = tail.Floor(ts); err == nil && e.Timestamp < 0 {
			e, err = file.Floor(ts)
		}
		return err
	})
	return e, err
}

// maxTime returns the largest timestamp and the last offset of the first batch with it.
func (s *segment) maxTime() (index.Time, error) {
	s.mu.Lock()
	if s.maxKnown {
		defer s.mu.Unlock()
		return s.max, nil
	}
	s.mu.Unlock()
	var e index.Time
	err := s.indexes(func(_, _ index.Offsets, file, _ index.Times) (err error) {
		if s.maxKnown {
			e = s.max
			return nil
		}
		e, err = file.Last()
		if err == nil {
			s.max, s.maxKnown = e, true
		}
		return err
	})
	return e, err
}
