package segment

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
)

// Config is what can be changed while a log is open (SetConfig).
type Config struct {
	SegmentBytes  int64         // segment.bytes
	SegmentAge    time.Duration // segment.ms, already less its jitter
	IndexInterval int64         // index.interval.bytes
	IndexBytes    int64         // segment.index.bytes: roll when an index would exceed it
	FlushMessages int64         // flush.messages; 1: every append waits for its flush
	FlushAge      time.Duration // flush.ms; 0: never
	DeleteDelay   time.Duration // file.delete.delay.ms; 0: removed segments are unlinked at once
	Preallocate   bool          // preallocate
}

// Options say where a log lies.
type Options struct {
	FS        vfs.FS
	Dir       string // <log dir>/<topic>-<partition>
	Topic     TopicID
	Config    Config
	Now       func() time.Time
	Committer *Committer // of the log directory
	// RecoveryPoint is the offset up to which the log is known to be flushed
	// (recovery-point-offset-checkpoint); Clean says that the last stop was clean.
	RecoveryPoint int64
	Clean         bool
	// LogStart is log-start-offset-checkpoint's value, 0 when there is none.
	LogStart int64
	// StartAt is the first offset of a log that is made new in an empty directory
	// (a replica that starts from the tier); 0 for a new partition.
	StartAt int64

	// settled: since the last stop the whole file system has been synced, so what is
	// read from it is durable.
	settled bool
	home    *Dir // whose checkpoint holds the recovery point; nil: none does
}

// Log is an append-only sequence of record batches in segment files. One goroutine
// appends at a time; any number read.
type Log struct {
	fs        vfs.FS
	dir       string
	topic     TopicID
	now       func() time.Time
	committer *Committer
	home      *Dir
	config    atomic.Pointer[Config]
	active    atomic.Pointer[segment]

	removing  sync.Mutex // serialises whatever removes or replaces segments; before mu
	mu        sync.Mutex // serialises whatever changes the log
	snapshots []int64    // offsets of the .snapshot files, ascending. Guarded by mu.
	vector    [][]byte   // scratch of write. Guarded by mu.
	// first is the timestamp (ms) of the active segment's first batch, -1: none or
	// none known; began is when that was appended. Guarded by mu.
	first int64
	began time.Time

	epochFile sync.Mutex // serialises writers of leader-epoch-checkpoint; before pub

	pub sync.Mutex // guards what follows; changed only by a holder of mu, but for flushed, err and dirty state
	// segments in offset order, the active one last. Copied to be changed.
	segments []*segment
	// Invariant: logStart <= localStart <= end, flushed <= end.
	logStart, localStart int64
	flushed, end         int64
	size                 int64 // bytes of the active segment's log file
	sealedSize           int64 // bytes of the others
	recent               ring
	hints                hints
	epochs               epochs
	epochsDirty          bool
	waiters              []*Waiter
	err                  error
	closed, deleted      bool
	ceiling              int64 // no checkpoint puts the recovery point above it: a truncation is under way
	generation           int   // counts truncations: a round from before one flushes nothing after it
	// What the next round has to sync.
	dirtyFiles  []*File // sealed or side files, with a reference each
	activeDirty bool
	dirtyBytes  int64       // appended since the last round
	dirDirty    bool        // names in dir, and dir's own name
	unflushed   time.Time   // of the oldest append that no round has collected; zero: none
	owed        bool        // a round found the disk full: what it took waits for the next one
	condemned   []condemned // files to be unlinked, by age
	joined      bool        // in the committer's collecting round; guarded by Committer.mu

	openMu sync.Mutex
	open   []*segment // sealed segments with open files, the oldest first
}

// openSealed is how many sealed segments of a log keep their files open after a read:
// enough for a few readers in different places, few enough for 10,000 partitions.
const openSealed = 4

// Offsets is one consistent snapshot.
//
// Invariant: LogStart <= LocalStart <= FlushedEnd <= End (after a first flush).
type Offsets struct {
	LogStart   int64 // first readable offset in any tier
	LocalStart int64 // first offset on this disk
	FlushedEnd int64 // everything below survives a power cut
	AckEnd     int64 // everything below is as durable as flush.messages asks
	End        int64 // next offset to be written
}

// Offsets returns the snapshot.
func (l *Log) Offsets() Offsets {
	l.pub.Lock()
	defer l.pub.Unlock()
	return Offsets{l.logStart, l.localStart, l.flushed, l.ackEnd(), l.end}
}

// ackEnd: all but the last flush.messages-1 records need to be flushed. Caller holds pub.
func (l *Log) ackEnd() int64 {
	if unflushed := l.end - l.flushed; unflushed < l.config.Load().FlushMessages {
		return l.end
	}
	return l.flushed + max(l.config.Load().FlushMessages, 1) - 1
}

// usable returns why the log refuses, nil where it does not.
func (l *Log) usable() error {
	l.pub.Lock()
	defer l.pub.Unlock()
	return l.refusal()
}

// refusal is usable for holders of pub.
func (l *Log) refusal() error {
	if l.closed {
		return ErrClosed
	}
	return l.err
}

// Size returns the bytes of all log files.
func (l *Log) Size() int64 {
	l.pub.Lock()
	defer l.pub.Unlock()
	return l.sealedSize + l.size
}

// SetConfig changes what can be changed live.
func (l *Log) SetConfig(c Config) {
	l.pub.Lock()
	defer l.pub.Unlock()
	l.config.Store(&c)
	l.signal() // AckEnd may have moved
}

// Info describes one segment.
type Info struct {
	Base         int64
	Next         int64     // one past the last offset
	Size         int64     // bytes of the log file
	MaxTimestamp int64     // ms, -1: no record, or none with a timestamp
	Modified     time.Time // last append, for segments whose timestamps cannot be used
	Sealed       bool
}

// Segments returns the segments in offset order, the active one last. A segment whose
// time index cannot be read, nor rebuilt, has no MaxTimestamp.
func (l *Log) Segments() []Info {
	v := l.view()
	infos := make([]Info, len(v.segments))
	for i, s := range v.segments {
		infos[i] = v.info(i, s)
	}
	return infos
}

// view is what a reader sees: immutable, taken at one moment.
type view struct {
	segments   []*segment
	localStart int64
	end        int64
	size       int64 // of the last segment
	modified   time.Time
}

func (l *Log) view() view {
	l.pub.Lock()
	defer l.pub.Unlock()
	v := view{segments: l.segments, localStart: l.localStart, end: l.end, size: l.size}
	if n := len(l.segments); n > 0 {
		v.modified = l.segments[n-1].modified
	}
	return v
}

// bounds returns the end offset and size of segment i as of the view.
func (v view) bounds(i int) (next, size int64) {
	if i == len(v.segments)-1 {
		return v.end, v.size
	}
	return v.segments[i].next, v.segments[i].size
}

func (v view) info(i int, s *segment) Info {
	info := Info{Base: s.base, MaxTimestamp: -1, Sealed: i < len(v.segments)-1, Modified: v.modified}
	info.Next, info.Size = v.bounds(i)
	if info.Sealed {
		info.Modified = s.modified
	}
	if t, err := s.maxTime(); err == nil {
		info.MaxTimestamp = t.Timestamp
	}
	return info
}

// find returns the index of the segment that holds offset: the last that begins at or
// below it, 0 where none does.
func (v view) find(offset int64) int {
	i, found := slices.BinarySearchFunc(v.segments, offset, func(s *segment, o int64) int { return compare(s.base, o) })
	if !found && i > 0 {
		i--
	}
	return i
}

// keepOpen remembers that a sealed segment has open files, and closes those of the
// one that was opened longest ago where there are too many.
func (l *Log) keepOpen(s *segment) {
	if l.active.Load() == s {
		return
	}
	l.openMu.Lock()
	var oldest *segment
	if !slices.Contains(l.open, s) {
		l.open = append(l.open, s)
		if len(l.open) > openSealed {
			oldest = l.open[0]
			l.open = slices.Delete(l.open, 0, 1)
		}
	}
	l.openMu.Unlock()
	if oldest != nil && oldest != l.active.Load() {
		oldest.closeFiles()
	}
}

// remove unlinks one of the log's files; a missing one is as good as removed.
func (l *Log) remove(offset int64, suffix string) error {
	if err := l.fs.Remove(filepath.Join(l.dir, fileName(offset, suffix))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// removeFiles unlinks a segment, the log file first: without it the rest is swept up
// by the next Open.
func (l *Log) removeFiles(s *segment) error {
	for _, suffix := range []string{logSuffix, offsetSuffix, timeSuffix, abortedSuffix} {
		if err := l.remove(s.base, suffix); err != nil {
			return err
		}
	}
	s.closeFiles()
	return nil
}

// ring remembers the last appended batches: what tail readers and the high watermark
// ask for is found there without touching a file.
type ring struct {
	entries []header // of the active segment, in order; at most ringSize
}

// ringSize covers the batches between two polls of a tail reader; 1 KB per busy log.
const ringSize = 16

func (r *ring) add(h header) {
	if len(r.entries) == ringSize {
		copy(r.entries, r.entries[1:])
		r.entries = r.entries[:ringSize-1]
	}
	if r.entries == nil {
		r.entries = make([]header, 0, ringSize)
	}
	r.entries = append(r.entries, h)
}

// find returns the first batch whose last offset is >= offset, if the ring knows.
func (r *ring) find(offset int64) (header, bool) {
	if len(r.entries) == 0 || offset < r.entries[0].base {
		return header{}, false
	}
	for _, h := range r.entries {
		if h.last >= offset {
			return h, true
		}
	}
	return header{}, false
}

// hints remember where sequential readers will go on.
type hints struct {
	places [8]place // more sequential readers per log than this go through the index
	next   int
}

// place: the first batch of segment at or above offset begins at position.
type place struct {
	segment  *segment
	offset   int64
	position int64 // bytes
}

func (h *hints) find(s *segment, offset int64) (int64, bool) {
	for i := range h.places {
		if p := &h.places[i]; p.segment == s && p.offset == offset {
			return p.position, true
		}
	}
	return 0, false
}

func (h *hints) add(p place) {
	if _, found := h.find(p.segment, p.offset); found {
		return
	}
	h.places[h.next] = p
	h.next = (h.next + 1) % len(h.places)
}

func headerOf(b batch.Batch, position int64) header {
	return header{position: position, size: int64(len(b)), base: b.BaseOffset(), last: b.LastOffset(),
		maxTimestamp: b.MaxTimestamp(), epoch: b.LeaderEpoch()}
}
