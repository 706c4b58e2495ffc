package segment

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/varvelog/varve/index"
)

// Recovered tells what Open had to do.
type Recovered struct {
	ScannedBytes   int64
	TruncatedBytes int64
	RebuiltIndexes int
	Faults         []error // what was found wrong and mended: *CorruptError
}

// found is what a directory listing says of one segment.
type found struct {
	base     int64
	size     int64
	modified time.Time
	indexes  bool // both are there
	aborted  bool
	lost     bool // its indexes are there and its log file is not
}

// opening is an Open under way.
type opening struct {
	l    *Log
	o    Options
	r    Recovered
	segs []found
	// epochsKnown: leader-epoch-checkpoint could be read.
	epochsKnown bool
	changed     bool // files were cut or removed: the directory has to be synced
}

// The argument that recovery returns exactly the acknowledged prefix. Let R be the
// checkpointed recovery point. An append is acknowledged after a sync of its file, of the
// names of the log, and of its leader epoch; R is written after a sync of everything
// below it, and lowered before anything below it is cut off. So below R all bytes are
// durable, and every acknowledged record is either below R or in bytes that were synced.
//
//	file                  may look like after a crash          why the result is right
//	<base>.log, next <= R as it was                            nothing of it is dirty; it is not looked into
//	<base>.log, next > R  whole batches, then any sectors of   batches from R on are taken one by one while
//	                      the rest: old, zero or garbage; or   CRC and offsets hold: what was synced is among
//	                      not there, where no name was synced  them; the first that fails was not acknowledged,
//	                                                           so neither was what follows, and all of it goes
//	the same after a      as above, and pages that read well   they are written again and synced before they
//	failed sync           and are not on the disk              count (resettle)
//	.index, .timeindex    any entries above R; missing         entries are kept below R and where the last
//	                                                           names a batch; the rest is made from the log
//	.txnindex             any entries above R                  cut at the log end; replay of the batches above
//	                                                           the last trusted snapshot adds the rest again
//	.snapshot             torn; ahead of the log               above R not trusted; torn ones have no valid CRC;
//	                                                           the next older one, or none, and replay
//	leader-epoch-         the old or the new one (rename)      below R every epoch is in it; above it is read
//	checkpoint            missing, garbage: by other hands     off the batches; missing: off all batches
//	recovery-point-       the old or the new one; missing      an older R only means to look at more
//	checkpoint
//	log-start-offset-     the old or the new one               an older start is a smaller one: what was deleted
//	checkpoint                                                 since is deleted again
//	partition.metadata    missing, torn                        only before the first round of a log without
//	                                                           records: written anew
//	.cleaned .swap        see swap.go
//	.tmp .deleted         any                                  removed
//
// By other hands than a crash's: a log file missing from below R, or in another's place,
// and bytes that have changed below R, are not mended. Reads of those offsets fail with a
// *CorruptError, all others are served.

// Open opens or creates the log of a directory and recovers it: segments that end at
// or below the recovery point are trusted, what lies above is scanned batch by batch
// (CRC, order) and cut at the first fault. After a clean stop everything is trusted
// that has the right size. All of what is recovered is flushed.
//
// Producer snapshots above the recovery point are removed after an unclean stop: what
// they stand for may not be indexed. LogStart may lie below LocalStart: whether a tier
// holds what is between is for the caller to know, and to raise it where none does.
//
// It returns a *CorruptError that names the file for a directory that holds what
// cannot be a log's: symbolic links, FIFOs, wrong names. A compaction that was
// interrupted, by Kafka or by us, is finished or taken back.
func Open(o Options) (*Log, Recovered, error) {
	l := &Log{fs: o.FS, dir: filepath.Clean(o.Dir), topic: o.Topic, now: o.Now, committer: o.Committer, home: o.home, first: -1, ceiling: math.MaxInt64}
	l.config.Store(&o.Config)
	p := &opening{l: l, o: o}
	if err := p.run(); err != nil {
		for _, s := range l.segments {
			s.closeFiles()
		}
		return nil, p.r, fmt.Errorf("open log %s: %w", l.dir, err)
	}
	return l, p.r, nil
}

func (p *opening) run() error {
	if err := p.list(); err != nil {
		return err
	}
	l := p.l
	if err := p.readEpochs(); err != nil {
		return err
	}
	if len(p.segs) == 0 {
		return p.begin(max(p.o.StartAt, p.o.LogStart, 0))
	}
	first := p.segs[0].base
	if err := p.load(); err != nil {
		return err
	}
	if l.end < p.o.LogStart {
		// The log start was raised, and the crash took what it was raised over.
		return p.restart(p.o.LogStart)
	}
	l.logStart = max(p.o.LogStart, 0)
	l.localStart = max(first, l.logStart)
	l.flushed = l.end
	p.l.epochs = l.epochs.below(l.end).from(l.logStart)
	trusted := l.end
	if !p.o.Clean {
		trusted = min(trusted, max(p.o.RecoveryPoint, first))
	}
	if err := l.dropSnapshots(func(s int64) bool { return s > trusted || s < first }); err != nil {
		return err
	}
	if p.changed {
		return l.fs.SyncDir(l.dir)
	}
	return nil
}

// begin makes the first segment of an empty log. Its names are made durable by the
// first round.
func (p *opening) begin(base int64) error {
	l := p.l
	s, err := l.create(base)
	if err != nil {
		return err
	}
	l.segments = []*segment{s}
	l.active.Store(s)
	l.end, l.flushed, l.localStart = base, base, base
	l.logStart = max(p.o.LogStart, 0)
	l.epochs = l.epochs.below(base)
	l.began = l.now()
	l.dirDirty = true
	return l.dropSnapshots(func(s int64) bool { return s != base })
}

func (p *opening) restart(base int64) error {
	l := p.l
	for i := len(l.segments) - 1; i >= 0; i-- {
		if err := l.removeFiles(l.segments[i]); err != nil {
			return err
		}
	}
	p.fault(l.dir, -1, fmt.Sprintf("log ends at %d, below its start %d", l.end, base))
	l.epochs = l.epochs.below(base)
	l.sealedSize, l.size = 0, 0
	return p.begin(base)
}

func (p *opening) fault(path string, position int64, reason string) {
	p.r.Faults = append(p.r.Faults, &CorruptError{path, position, reason})
}

// list reads the directory, makes it when missing, and sweeps up what crashes left.
func (p *opening) list() error {
	l := p.l
	entries, err := l.fs.List(l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = l.fs.MkdirAll(l.dir); err == nil {
			entries, err = l.fs.List(l.dir)
		}
	}
	if err != nil {
		return err
	}
	if changed, err := p.finishSwaps(entries); err != nil {
		return err
	} else if changed {
		if entries, err = l.fs.List(l.dir); err != nil {
			return err
		}
	}
	present := map[string]bool{}
	for _, e := range entries {
		name := e.Name()
		path := filepath.Join(l.dir, name)
		suffix := filepath.Ext(name)
		switch suffix {
		case tmpSuffix, deletedSuffix:
			if !e.Type().IsRegular() {
				return &CorruptError{path, -1, "is not a regular file"}
			}
			if err := l.fs.Remove(path); err != nil {
				return err
			}
			continue
		case logSuffix, offsetSuffix, timeSuffix, abortedSuffix, snapshotSuffix:
		default:
			continue // not ours
		}
		if !e.Type().IsRegular() {
			return &CorruptError{path, -1, "is not a regular file"}
		}
		base, ok := parseFileName(name, suffix)
		if !ok {
			return &CorruptError{path, -1, "is not named by a 20-digit offset"}
		}
		switch suffix {
		case logSuffix:
			info, err := e.Info()
			if err != nil {
				return err
			}
			p.segs = append(p.segs, found{base: base, size: info.Size(), modified: info.ModTime()})
		case snapshotSuffix:
			l.snapshots = append(l.snapshots, base)
		default:
			present[name] = true
		}
	}
	for i := range p.segs {
		s := &p.segs[i]
		offsets, times, aborted := fileName(s.base, offsetSuffix), fileName(s.base, timeSuffix), fileName(s.base, abortedSuffix)
		s.indexes = present[offsets] && present[times]
		s.aborted = present[aborted]
		delete(present, offsets)
		delete(present, times)
		delete(present, aborted)
	}
	p.addLost(present)
	for name := range present {
		// Indexes of a segment that has been removed.
		if err := l.fs.Remove(filepath.Join(l.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// addLost takes up segments whose log file is missing, and takes their names out of
// present. We remove segments from the ends of a log only, the log file first, and a
// compaction that a crash interrupted is finished before: indexes without a log, between
// segments that are there, are of a file that somebody, or the disk, has lost.
func (p *opening) addLost(present map[string]bool) {
	if len(p.segs) < 2 {
		return
	}
	first, last := p.segs[0].base, p.segs[len(p.segs)-1].base
	lost := map[int64]bool{}
	for name := range present {
		base, ok := parseFileName(name, filepath.Ext(name))
		if !ok || base <= first || base >= last {
			continue
		}
		delete(present, name)
		if !lost[base] {
			lost[base] = true
			p.segs = append(p.segs, found{base: base, lost: true})
		}
	}
	slices.SortFunc(p.segs, func(a, b found) int { return compare(a.base, b.base) })
}

func parseFileName(name, suffix string) (offset int64, ok bool) {
	digits := strings.TrimSuffix(name, suffix)
	offset, err := strconv.ParseInt(digits, 10, 64)
	return offset, err == nil && len(digits) == 20 && digits[0] != '+' && digits[0] != '-'
}

func (p *opening) readEpochs() error {
	path := filepath.Join(p.l.dir, epochsName)
	b, err := ReadFile(p.l.fs, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	e, err := parseEpochs(b)
	if err != nil {
		p.fault(path, -1, err.Error())
		return nil
	}
	p.l.epochs, p.epochsKnown = e, true
	return nil
}

// load builds the segments, scans those that are not to be trusted and publishes all.
func (p *opening) load() error {
	l := p.l
	if i := slices.IndexFunc(p.segs, func(f found) bool { return f.lost && f.base >= p.o.RecoveryPoint }); i > 0 && !p.o.Clean {
		// It was never flushed, so neither was what follows: the log ends before it.
		if err := p.drop(p.segs[i:]); err != nil {
			return err
		}
		p.segs = p.segs[:i]
	}
	n := len(p.segs)
	from := n - 1 // the first to be looked into
	if !p.o.Clean {
		for from > 0 && p.segs[from].base > p.o.RecoveryPoint {
			from--
		}
	}
	point := p.o.RecoveryPoint // below it, bytes in files that are scanned are trusted
	if p.o.Clean {
		point = math.MaxInt64
	}
	if !p.epochsKnown {
		l.epochs = nil
	} else if !p.o.Clean {
		// What the scan will see it adds again.
		l.epochs = l.epochs.below(max(point, p.segs[0].base))
	}
	for i, f := range p.segs {
		s := &segment{l: l, base: f.base, size: f.size, modified: f.modified, abortedKnown: !f.aborted}
		if f.lost {
			p.fault(s.path(logSuffix), -1, "segment file is missing")
			s.lost, s.sealed, s.next, s.modified = true, true, p.segs[i+1].base, p.segs[i+1].modified
			s.max, s.maxKnown = index.Time{Timestamp: -1, Offset: s.base}, true
			l.segments = append(l.segments, s)
			continue
		}
		l.segments = append(l.segments, s)
		if i < from {
			if err := p.trust(s, f, p.segs[i+1].base); err != nil {
				return err
			}
			continue
		}
		whole, err := p.recover(s, f, point)
		if err != nil {
			return err
		}
		if i+1 < n && whole && s.next != p.segs[i+1].base && !p.o.Clean && !mutant("keep segments behind a gap") {
			p.fault(s.path(logSuffix), s.size, fmt.Sprintf("segment ends at offset %d, the next begins at %d", s.next, p.segs[i+1].base))
			whole = false
		}
		if i+1 < n && !whole {
			if err := p.drop(p.segs[i+1:]); err != nil {
				return err
			}
			break
		}
		if i+1 < n {
			s.next = p.segs[i+1].base
			if err := p.seal(s); err != nil {
				return err
			}
		}
	}
	last := l.segments[len(l.segments)-1]
	l.active.Store(last)
	l.end, l.size = last.next, last.size
	for _, s := range l.segments[:len(l.segments)-1] {
		l.sealedSize += s.size
	}
	if l.end < p.o.RecoveryPoint {
		p.fault(last.path(logSuffix), last.size, fmt.Sprintf("log ends at offset %d, but was flushed to %d", l.end, p.o.RecoveryPoint))
	}
	return nil
}

// trust takes a sealed segment as it is, but for indexes that are missing.
func (p *opening) trust(s *segment, f found, next int64) error {
	s.next, s.sealed = next, true
	s.mu.Lock()
	defer s.mu.Unlock()
	if !f.indexes {
		p.fault(s.path(offsetSuffix), -1, "index is missing")
		p.r.RebuiltIndexes++
		if err := s.rebuild(); err != nil {
			return err
		}
		s.closeIndexes()
		s.log.Release()
		s.log = nil
	}
	if p.epochsKnown || s.size == 0 {
		return nil
	}
	// The lineage is lost: read it off the batches.
	if err := s.open(&s.log, logSuffix); err != nil {
		return err
	}
	defer func() { s.log.Release(); s.log = nil }()
	w := s.scan(s.log, 0, s.size)
	defer w.close()
	var corrupt *CorruptError
	for {
		h, err := w.batch()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if errors.As(err, &corrupt) {
			// The others are served; reads of what lies here are told.
			p.r.Faults = append(p.r.Faults, err)
			return nil
		}
		if err != nil {
			return err
		}
		p.noteEpoch(h)
	}
}

func (p *opening) noteEpoch(h header) {
	if h.epoch > p.l.epochs.latest() {
		p.l.epochs = p.l.epochs.assign(h.epoch, h.base)
		p.l.epochsDirty = true
	}
}

// seal closes a segment that was scanned and is not the last.
func (p *opening) seal(s *segment) error {
	if err := s.finish(); err != nil {
		return err
	}
	s.sealed = true
	s.offsetTail, s.timeTail = nil, nil
	s.closeFiles()
	return nil
}

// drop removes the segments behind a fault, the newest first.
func (p *opening) drop(rest []found) error {
	for i := len(rest) - 1; i >= 0; i-- {
		s := &segment{l: p.l, base: rest[i].base}
		if err := p.l.removeFiles(s); err != nil {
			return err
		}
		p.r.TruncatedBytes += rest[i].size
	}
	p.changed = true
	return nil
}

// recover looks into one segment: its index entries below point are kept, as far as
// they stand up, and from the batch of the last of them on the log is read: headers below
// point, batches with their CRCs above. After a clean stop nothing is above, and where
// the batches do not fill the file all is read again with CRCs. whole is false where it was cut.
// The segment is left ready to be appended to.
func (p *opening) recover(s *segment, f found, point int64) (whole bool, err error) {
	if err := s.open(&s.log, logSuffix); err != nil {
		return false, err
	}
	position, err := p.keepEntries(s, f, point)
	if err != nil {
		return false, err
	}
	if !p.epochsKnown {
		position = 0
		if err := s.resetIndexes(0, 0); err != nil {
			return false, err
		}
	}
	if position == 0 && !p.o.Clean {
		point = s.base // no entry vouches for where batches begin
	}
	unflushed, fault, err := p.walk(s, position, point)
	if err == nil && fault != nil && p.o.Clean {
		s.size = f.size
		if err = s.resetIndexes(0, 0); err == nil {
			_, fault, err = p.walk(s, 0, s.base)
		}
	}
	if err != nil {
		return false, err
	}
	if fault != nil {
		p.r.Faults = append(p.r.Faults, fault)
		p.r.TruncatedBytes += f.size - s.size
		p.changed = true
		if mutant("leave a torn tail in the file") {
			s.size = f.size
		}
		if err := s.log.f.Truncate(s.size); err != nil {
			return false, err
		}
	}
	if f.aborted {
		if err := s.cutAborted(s.next); err != nil {
			return false, err
		}
	}
	if !p.o.Clean && unflushed < s.size && !mutant("believe the cache after a failed sync") {
		return fault == nil, s.resettle(unflushed)
	}
	if s.size > 0 && (fault != nil || !p.o.Clean && !p.o.settled) {
		return fault == nil, s.log.f.Sync()
	}
	return fault == nil, nil
}

// resettle writes the file's bytes from position on again as they are, and syncs them.
// Where the last run ended with a failed sync the system holds pages that it takes for
// written and the disk does not have: they read well, no sync writes them any more, and
// a power cut would take them from below records that were acknowledged since.
func (s *segment) resettle(position int64) error {
	b := largeBuffers.Get().(*[]byte)
	defer largeBuffers.Put(b)
	for position < s.size {
		p := (*b)[:min(int64(len(*b)), s.size-position)]
		if n, err := s.log.f.ReadAt(p, position); n < len(p) {
			return orUnexpected(err)
		}
		if _, err := s.log.f.WriteAt(p, position); err != nil {
			return fmt.Errorf("write unflushed records again: %w", err)
		}
		position += int64(len(p))
	}
	return s.log.f.Sync()
}

// keepEntries opens the index files, keeps the entries below offset point that stand
// up, cuts the rest off, and returns where the batch of the last one begins.
func (p *opening) keepEntries(s *segment, f found, point int64) (position int64, err error) {
	if err := s.openIndexes(); err != nil {
		return 0, err
	}
	if !f.indexes && f.size > 0 {
		p.fault(s.path(offsetSuffix), -1, "index is missing")
		p.r.RebuiltIndexes++
	}
	kept, last, err := soundOffsets(s.fileOffsets(), f.size, point)
	if err != nil {
		return 0, err
	}
	if kept > 0 {
		// The entry must name a batch by its last offset.
		w := s.scan(s.log, last.Position, f.size)
		h, err := w.batch()
		w.close()
		var corrupt *CorruptError
		if err != nil && !errors.As(err, &corrupt) {
			return 0, err
		}
		if err != nil || h.last != last.Offset {
			p.fault(s.path(offsetSuffix), int64(kept-1)*index.OffsetEntry, "index entry does not name a batch")
			p.r.RebuiltIndexes++
			kept = 0
		}
	}
	if kept == 0 {
		return 0, s.resetIndexes(0, 0)
	}
	keptTimes, lastTime, err := soundTimes(s.fileTimes(), last.Offset)
	if err != nil {
		return 0, err
	}
	if keptTimes == 0 {
		// Without one the largest timestamp so far is unknown.
		return 0, s.resetIndexes(0, 0)
	}
	if err := s.resetIndexes(int64(kept)*index.OffsetEntry, int64(keptTimes)*index.TimeEntry); err != nil {
		return 0, err
	}
	s.lastTime, s.max = lastTime, lastTime
	return last.Position, nil
}

// openIndexes opens the index files, made anew where they are missing.
func (s *segment) openIndexes() error {
	for suffix, place := range map[string]**File{offsetSuffix: &s.offsets, timeSuffix: &s.times} {
		err := s.open(place, suffix)
		if errors.Is(err, fs.ErrNotExist) {
			f, err := s.l.fs.Create(s.path(suffix))
			if err != nil {
				return err
			}
			*place = NewFile(f)
		} else if err != nil {
			return err
		}
	}
	return s.sizeIndexes()
}

// soundOffsets returns how many leading entries lie within a log file of size bytes
// and name offsets below point, and the last of them. No entry names position 0, so
// the zeros that Kafka preallocates, or a crash leaves, are not entries.
func soundOffsets(o index.Offsets, size, point int64) (n int, last index.Position, err error) {
	n, err = prefix(o.Len(), func(i int) (bool, error) {
		e, err := o.Entry(i)
		return e.Position > 0 && e.Position < size && e.Offset >= o.Base && e.Offset < point, err
	})
	if n > 0 && err == nil {
		last, err = o.Entry(n - 1)
	}
	return n, last, err
}

// soundTimes is soundOffsets for the entries up to offset end, inclusive.
func soundTimes(t index.Times, end int64) (n int, last index.Time, err error) {
	n, err = prefix(t.Len(), func(i int) (bool, error) {
		e, err := t.Entry(i)
		return e.Timestamp >= 0 && e.Offset >= t.Base && e.Offset <= end && e != index.Time{Offset: t.Base}, err
	})
	if n > 0 && err == nil {
		last, err = t.Entry(n - 1)
	}
	return n, last, err
}

// prefix returns the length of the prefix of n entries for which sound holds.
func prefix(n int, sound func(int) (bool, error)) (int, error) {
	if n == 0 {
		return 0, nil
	}
	if ok, err := sound(n - 1); ok || err != nil {
		return n, err // the usual case: all of them
	}
	var failed error
	length := sort.Search(n, func(i int) bool {
		ok, err := sound(i)
		failed = errors.Join(failed, err)
		return !ok
	})
	return length, failed
}

// resetIndexes cuts the index files and forgets what was in memory.
func (s *segment) resetIndexes(offsetSize, timeSize int64) error {
	for _, x := range []struct {
		f    *File
		size int64
	}{{s.offsets, offsetSize}, {s.times, timeSize}} {
		if now, err := x.f.f.Size(); err != nil {
			return err
		} else if now != x.size {
			if err := x.f.f.Truncate(x.size); err != nil {
				return err
			}
		}
	}
	s.offsetSize, s.timeSize, s.sinceEntry = offsetSize, timeSize, 0
	s.offsetTail, s.timeTail = nil, nil
	s.max = index.Time{Timestamp: -1, Offset: s.base}
	s.lastTime = s.max
	s.maxKnown, s.checked = true, true
	return nil
}

// walk reads the batches from position on up to the first fault or the end, notes
// them in the indexes and epochs, and sets the segment's next offset and size. CRCs are
// checked of what ends above offset point; unflushed is the position where that begins.
func (p *opening) walk(s *segment, position, point int64) (unflushed int64, fault, err error) {
	c := p.l.config.Load()
	w := s.scan(s.log, position, s.size)
	defer w.close()
	crc := false // of this batch and those that follow
	s.next = s.base
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		at := w.position
		h, err := w.batch()
		if err == nil && !crc && h.last >= point {
			crc, unflushed = true, at
			w.enlarge()
		}
		if err == nil && crc && !mutant("recover without CRCs") {
			err = w.check(h)
			p.r.ScannedBytes += h.size
		}
		if err == nil {
			if h.position == 0 {
				p.l.first = h.maxTimestamp
			}
			if err := s.note(h, c.IndexInterval, c.IndexBytes); err != nil {
				return 0, nil, err
			}
			s.next = h.last + 1
			p.noteEpoch(h)
			continue
		}
		var corrupt *CorruptError
		switch {
		case errors.Is(err, io.EOF):
			if !crc {
				unflushed = s.size
			}
			return unflushed, nil, p.firstTimestamp(s, position)
		case errors.As(err, &corrupt):
			s.size = corrupt.Position
			if !crc {
				unflushed = s.size
			}
			return unflushed, err, p.firstTimestamp(s, position)
		}
		return 0, nil, err
	}
}

// firstTimestamp sets what time-based rolling goes by, where the walk did not begin
// with the first batch.
func (p *opening) firstTimestamp(s *segment, walked int64) error {
	l := p.l
	l.began = s.modified
	if s.size == 0 {
		l.first, l.began = -1, l.now()
		return nil
	}
	if walked > 0 {
		w := s.scan(s.log, 0, s.size)
		defer w.close()
		h, err := w.batch()
		if err != nil {
			return err
		}
		l.first = h.maxTimestamp
	}
	if t := time.UnixMilli(l.first); l.first > 0 && t.Before(l.began) {
		l.began = t
	}
	return nil
}
