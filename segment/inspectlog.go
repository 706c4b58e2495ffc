package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
)

// FaultKind names a kind of damage.
type FaultKind string

// The kinds. What a start mends by itself is a fault as well: Kafka's format has it
// otherwise.
const (
	FaultNotRegular  FaultKind = "not-regular"        // a link, FIFO or directory where a file belongs
	FaultName        FaultKind = "name"               // not a 20-digit offset
	FaultInterrupted FaultKind = "interrupted"        // .swap of a compaction that was cut off
	FaultOrphan      FaultKind = "orphan"             // an index without its log file
	FaultTorn        FaultKind = "torn-batch"         // the file ends inside a batch
	FaultHeader      FaultKind = "batch-header"       // no batch begins there
	FaultMagic       FaultKind = "old-magic"          // message format 0 or 1
	FaultCRC         FaultKind = "batch-crc"          // the bytes are not those that were written
	FaultRecords     FaultKind = "batch-records"      // the CRC holds, the records do not parse
	FaultOrder       FaultKind = "batch-order"        // offsets go back, or lie outside the segment
	FaultOverlap     FaultKind = "segment-overlap"    // a segment ends above the beginning of the next
	FaultGap         FaultKind = "segment-gap"        // offsets between two segments are missing
	FaultEpoch       FaultKind = "leader-epoch"       // a batch and leader-epoch-checkpoint disagree
	FaultEpochFile   FaultKind = "leader-epoch-file"  // it does not parse
	FaultIndex       FaultKind = "offset-index"       // an entry names no batch
	FaultTimes       FaultKind = "time-index"         // an entry does not fit the batches
	FaultNoIndex     FaultKind = "no-index"           // an index is missing
	FaultAborted     FaultKind = "txn-index"          // it does not parse, or lies outside the segment
	FaultSnapshot    FaultKind = "producer-snapshot"  // it does not parse, or is ahead of the log
	FaultMetadata    FaultKind = "partition-metadata" // missing, or it does not parse
	FaultProperties  FaultKind = "meta-properties"    // missing, or it does not parse
	FaultCheckpoint  FaultKind = "checkpoint"         // it does not parse
	FaultRecovery    FaultKind = "flushed-lost"       // the log ends below its recovery point
	FaultLogStart    FaultKind = "log-start"          // the log start lies above the end
	FaultMissing     FaultKind = "log-missing"        // a checkpoint names a log that is not there
	FaultUnreadable  FaultKind = "unreadable"         // the file system fails
)

// Fault is one fault of a file.
type Fault struct {
	Kind     FaultKind `json:"fault"`
	Path     string    `json:"file"`
	Offset   int64     `json:"offset"`   // of the record, -1: unknown
	Position int64     `json:"position"` // bytes in the file, -1: the file as a whole
	Reason   string    `json:"reason"`
}

// String is the fault on one line.
func (f Fault) String() string {
	s := fmt.Sprintf("%s: %s", f.Path, f.Kind)
	if f.Position >= 0 {
		s += fmt.Sprintf(" at position %d", f.Position)
	}
	if f.Offset >= 0 {
		s += fmt.Sprintf(", offset %d", f.Offset)
	}
	return s + ": " + f.Reason
}

// Inspection is what InspectLog found in a partition's directory, apart from faults.
type Inspection struct {
	ID       TopicID // zero: no partition.metadata
	Start    int64   // base offset of the first segment
	End      int64   // log end offset
	Segments []int64 // base offsets
	Batches  int64
	Bytes    int64 // of log files
	Epochs   []EpochStart
}

// InspectOptions say how InspectLog looks.
type InspectOptions struct {
	// Compacted: offsets may be missing anywhere.
	Compacted bool
	// MaxBatch bounds the batches whose records are parsed, as stored, and what they
	// expand to, in bytes. Larger ones are held to their CRC alone.
	MaxBatch int64
}

// inspection is an InspectLog under way.
type inspection struct {
	fs     vfs.FS
	dir    string
	o      InspectOptions
	yield  func(Fault)
	out    Inspection
	epochs epochs
	dense  bool // so far no offset was missing inside a segment
}

// InspectLog reads every file of a partition's directory and yields each fault. It
// changes nothing, holds one batch of at most MaxBatch bytes at a time, and goes on
// behind a fault wherever that can be told. The error is that of listing the directory.
func InspectLog(fsys vfs.FS, dir string, o InspectOptions, yield func(Fault)) (Inspection, error) {
	p := &inspection{fs: fsys, dir: dir, o: o, yield: yield, dense: true}
	entries, err := fsys.List(dir)
	if err != nil {
		return p.out, err
	}
	files := p.classify(entries)
	p.metadata()
	p.epochFile()
	for i, base := range p.out.Segments {
		end := p.segment(base, files)
		if i+1 < len(p.out.Segments) {
			p.border(base, end, p.out.Segments[i+1])
		}
		p.out.End = max(p.out.End, end, base)
	}
	p.ends(files)
	return p.out, nil
}

func (p *inspection) fault(kind FaultKind, name string, offset, position int64, format string, args ...any) {
	p.yield(Fault{kind, filepath.Join(p.dir, name), offset, position, fmt.Sprintf(format, args...)})
}

// whole is a fault of a file as a whole.
func (p *inspection) whole(kind FaultKind, name, format string, args ...any) {
	p.fault(kind, name, -1, -1, format, args...)
}

// classify sorts the names of the directory; it returns those that are there.
func (p *inspection) classify(entries []fs.DirEntry) map[string]bool {
	files := map[string]bool{}
	for _, e := range entries {
		name := e.Name()
		suffix := filepath.Ext(name)
		switch suffix {
		case ".swap":
			p.whole(FaultInterrupted, name, "it is left of an interrupted compaction")
			continue
		case logSuffix, offsetSuffix, timeSuffix, abortedSuffix, snapshotSuffix:
		default:
			continue
		}
		base, ok := parseFileName(name, suffix)
		switch {
		case !e.Type().IsRegular():
			p.whole(FaultNotRegular, name, "it is not a regular file")
		case !ok:
			p.whole(FaultName, name, "it is not named by a 20-digit offset")
		default:
			files[name] = true
			if suffix == logSuffix {
				p.out.Segments = append(p.out.Segments, base)
			}
		}
	}
	slices.Sort(p.out.Segments)
	for name := range files {
		suffix := filepath.Ext(name)
		base, _ := parseFileName(name, suffix)
		if suffix != snapshotSuffix && !files[fileName(base, logSuffix)] {
			p.whole(FaultOrphan, name, "its log file is not there")
		}
	}
	if len(p.out.Segments) > 0 {
		p.out.Start = p.out.Segments[0]
	}
	return files
}

func (p *inspection) metadata() {
	b, err := ReadFile(p.fs, filepath.Join(p.dir, metadataName))
	if err == nil {
		p.out.ID, err = parseMetadata(b)
	}
	if err != nil {
		p.whole(FaultMetadata, metadataName, "%v", missing(err))
	}
}

func (p *inspection) epochFile() {
	b, err := ReadFile(p.fs, filepath.Join(p.dir, epochsName))
	if errors.Is(err, fs.ErrNotExist) {
		return // as of a log without records
	}
	if err == nil {
		p.epochs, err = parseEpochs(b)
	}
	if err != nil {
		p.whole(FaultEpochFile, epochsName, "%v", missing(err))
	}
	p.out.Epochs = p.epochs
}

// missing words an error without the path, which the fault names.
func missing(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// border compares the end of a segment with the beginning of the next.
func (p *inspection) border(base, end, next int64) {
	switch {
	case end > next:
		p.fault(FaultOverlap, fileName(base, logSuffix), next, -1, "it ends at offset %d, and the next segment begins at %d", end, next)
	case end < next && !p.o.Compacted && p.dense:
		p.fault(FaultGap, fileName(base, logSuffix), end, -1, "it ends at offset %d, and the next segment begins at %d", end, next)
	}
}

// ends checks what must not be ahead of the log.
func (p *inspection) ends(files map[string]bool) {
	for name := range files {
		if filepath.Ext(name) != snapshotSuffix {
			continue
		}
		offset, _ := parseFileName(name, snapshotSuffix)
		b, err := ReadFile(p.fs, filepath.Join(p.dir, name))
		if err == nil {
			_, err = ParseSnapshot(b)
		}
		switch {
		case err != nil:
			p.whole(FaultSnapshot, name, "%v", missing(err))
		case offset > p.out.End:
			p.fault(FaultSnapshot, name, offset, -1, "it is of offset %d, and the log ends at %d", offset, p.out.End)
		}
	}
	if n := len(p.epochs); n > 0 && p.epochs[n-1].Start > p.out.End {
		p.fault(FaultEpoch, epochsName, p.epochs[n-1].Start, -1, "epoch %d begins at %d, and the log ends at %d", p.epochs[n-1].Epoch, p.epochs[n-1].Start, p.out.End)
	}
}

// segment walks one segment and its indexes and returns its end offset.
func (p *inspection) segment(base int64, files map[string]bool) int64 {
	name := fileName(base, logSuffix)
	f, err := p.fs.Open(filepath.Join(p.dir, name), true)
	if err != nil {
		p.whole(FaultUnreadable, name, "%v", missing(err))
		return base
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		p.whole(FaultUnreadable, name, "%v", missing(err))
		return base
	}
	p.out.Bytes += size
	w := &walker{p: p, name: name, f: f, size: size, base: base, next: base, max: -1}
	w.offsets = p.openIndex(base, offsetSuffix, size > 0, files)
	w.times = p.openIndex(base, timeSuffix, size > 0, files)
	defer w.offsets.close()
	defer w.times.close()
	w.walk()
	w.finish()
	if files[fileName(base, abortedSuffix)] {
		p.aborted(base, w.next)
	}
	return w.next
}

// aborted checks a .txnindex.
func (p *inspection) aborted(base, end int64) {
	name := fileName(base, abortedSuffix)
	b, err := ReadFile(p.fs, filepath.Join(p.dir, name))
	var txns []index.AbortedTxn
	if err == nil {
		txns, err = index.ParseAborted(b)
	}
	if err != nil {
		p.fault(FaultAborted, name, -1, int64(len(txns))*index.AbortedEntry, "%v", missing(err))
	}
	for i, t := range txns {
		if t.LastOffset < base || t.LastOffset >= end || t.FirstOffset > t.LastOffset {
			p.fault(FaultAborted, name, t.LastOffset, int64(i)*index.AbortedEntry, "transaction [%d, %d] of producer %d does not end in this segment of [%d, %d)", t.FirstOffset, t.LastOffset, t.ProducerID, base, end)
		}
	}
}

// entries is an index file that is read along with the log. The zero value has none.
type entries struct {
	name string
	f    vfs.File
	size int64
	at   int // entry to be looked at next
	done bool
}

func (p *inspection) openIndex(base int64, suffix string, needed bool, files map[string]bool) entries {
	name := fileName(base, suffix)
	if !files[name] {
		if needed {
			p.whole(FaultNoIndex, name, "it is missing")
		}
		return entries{done: true}
	}
	f, err := p.fs.Open(filepath.Join(p.dir, name), true)
	if err == nil {
		var size int64
		if size, err = f.Size(); err == nil {
			return entries{name: name, f: f, size: size}
		}
		f.Close()
	}
	p.whole(FaultUnreadable, name, "%v", missing(err))
	return entries{done: true}
}

func (e *entries) close() {
	if e.f != nil {
		e.f.Close()
	}
}

// unwritten tells whether a file holds nothing but zeros from a position on.
func unwritten(f vfs.File, position, size int64) (bool, error) {
	p := make([]byte, smallRead)
	for position < size {
		n := min(int64(len(p)), size-position)
		if m, err := f.ReadAt(p[:n], position); int64(m) < n {
			return false, orUnexpected(err)
		}
		if slices.ContainsFunc(p[:n], func(b byte) bool { return b != 0 }) {
			return false, nil
		}
		position += n
	}
	return true, nil
}

// walker walks the batches of one log file, and its indexes along with them.
type walker struct {
	p          *inspection
	name       string
	f          vfs.File
	size       int64
	base, next int64 // offsets: of the segment, and one past the last batch
	position   int64
	max        int64 // largest timestamp so far, ms
	offsets    entries
	times      entries
	cut        bool // a fault ended the walk before the end of the file
}

func (w *walker) fault(kind FaultKind, offset int64, format string, args ...any) {
	w.p.fault(kind, w.name, offset, w.position, format, args...)
}

func (w *walker) walk() {
	for w.position < w.size && !w.cut {
		w.cut = !w.batch()
	}
}

// batch looks at the next batch; false where no further one can be told.
func (w *walker) batch() bool {
	var head [batch.HeaderSize]byte
	n := min(int64(len(head)), w.size-w.position)
	if m, err := w.f.ReadAt(head[:n], w.position); int64(m) < n {
		w.fault(FaultUnreadable, w.next, "%v", missing(orUnexpected(err)))
		return false
	}
	if head == ([batch.HeaderSize]byte{}) {
		if zero, err := unwritten(w.f, w.position, w.size); err == nil && zero {
			w.size = w.position // the rest of a preallocated file
			return true
		}
	}
	const magicAt = 16
	if n > magicAt && head[magicAt] < batch.Magic && int32(binary.BigEndian.Uint32(head[8:])) > 0 {
		w.fault(FaultMagic, int64(binary.BigEndian.Uint64(head[:])), "message format %d", head[magicAt])
		return false
	}
	size, err := batch.PeekSize(head[:n])
	switch {
	case err != nil && errors.Is(err, batch.ErrTruncated), err == nil && size > w.size-w.position:
		w.fault(FaultTorn, w.next, "the file ends %d bytes into the batch", w.size-w.position)
		return false
	case err != nil:
		w.fault(FaultHeader, w.next, "%v", err)
		return false
	}
	b := batch.Batch(head[:])
	h := headerOf(b, w.position)
	h.size = size
	w.p.out.Batches++
	sound := w.crc(h, b.CRC())
	if h.base < w.next || h.last < h.base || !index.Fits(w.base, h.last) {
		w.fault(FaultOrder, h.base, "offsets [%d, %d] where %d was due, in a segment that begins at %d", h.base, h.last, w.next, w.base)
		if sound { // a batch in the wrong place; what follows goes on from where we were
			w.position += size
			return true
		}
		return false
	}
	if sound {
		w.records(b, size)
		w.epoch(h)
	}
	w.p.dense = w.p.dense && h.base == w.next && int64(b.Count()) == h.last-h.base+1
	w.indexes(h)
	w.next, w.max, w.position = h.last+1, max(w.max, h.maxTimestamp), w.position+size
	return true
}

// crc compares the CRC of a batch, of which it holds a part at a time.
func (w *walker) crc(h header, want uint32) bool {
	buf := largeBuffers.Get().(*[]byte)
	defer largeBuffers.Put(buf)
	sum := uint32(0)
	for at, end := h.position+crcStart, h.position+h.size; at < end; {
		p := (*buf)[:min(int64(len(*buf)), end-at)]
		if n, err := w.f.ReadAt(p, at); n < len(p) {
			w.fault(FaultUnreadable, h.base, "%v", missing(orUnexpected(err)))
			return false
		}
		sum = crc32.Update(sum, castagnoli, p)
		at += int64(len(p))
	}
	if sum != want {
		w.fault(FaultCRC, h.base, "its CRC is %08x, and the bytes have %08x", want, sum)
	}
	return sum == want
}

// records parses the records of a batch whose CRC holds.
func (w *walker) records(head batch.Batch, size int64) {
	if size > w.p.o.MaxBatch {
		return
	}
	p := make([]byte, size)
	if n, err := w.f.ReadAt(p, w.position); int64(n) < size {
		w.fault(FaultUnreadable, head.BaseOffset(), "%v", missing(orUnexpected(err)))
		return
	}
	b := batch.Batch(p)
	last := b.BaseOffset() - 1
	order := true
	err := batch.Entries(b, w.p.o.MaxBatch, func(e *batch.Entry) bool {
		order = e.Offset > last && e.Offset <= b.LastOffset()
		last = e.Offset
		return order
	})
	switch {
	case errors.Is(err, batch.ErrTooLarge):
	case err != nil:
		w.fault(FaultRecords, b.BaseOffset(), "%v", err)
	case !order:
		w.fault(FaultRecords, last, "record %d does not follow the one before it", last)
	}
}

// epoch holds a batch against the lineage.
func (w *walker) epoch(h header) {
	e := w.p.epochs
	if len(e) == 0 || h.epoch < 0 || h.base < e[0].Start {
		return
	}
	i := len(e) - 1
	for i > 0 && e[i].Start > h.base {
		i--
	}
	if e[i].Epoch != h.epoch {
		w.fault(FaultEpoch, h.base, "the batch is of epoch %d, %s says %d", h.epoch, epochsName, e[i].Epoch)
	}
}

// indexes looks at the entries that a batch settles. Kafka's entries are of whole
// appends: an entry names the first batch of one by the last offset of all of it.
func (w *walker) indexes(h header) {
	o := index.Offsets{Base: w.base, R: w.offsets.f, Size: w.offsets.size}
	for !w.offsets.done && w.offsets.at < o.Len() {
		e, err := o.Entry(w.offsets.at)
		if err != nil {
			w.index(FaultUnreadable, &w.offsets, index.OffsetEntry, -1, "%v", missing(err))
			break
		}
		if e.Position == 0 || e.Position > h.position {
			break // zeros are looked at in the end
		}
		if e.Position < h.position || e.Offset < h.base {
			w.index(FaultIndex, &w.offsets, index.OffsetEntry, e.Offset, "entry of offset %d at position %d names no batch", e.Offset, e.Position)
			break
		}
		w.offsets.at++
	}
	t := index.Times{Base: w.base, R: w.times.f, Size: w.times.size}
	for !w.times.done && w.times.at < t.Len() {
		e, err := t.Entry(w.times.at)
		if err != nil {
			w.index(FaultUnreadable, &w.times, index.TimeEntry, -1, "%v", missing(err))
			break
		}
		if e.Offset >= h.base || e == (index.Time{Offset: w.base}) && w.times.at > 0 {
			break
		}
		if e.Timestamp < w.max {
			w.index(FaultTimes, &w.times, index.TimeEntry, e.Offset, "entry says that nothing up to offset %d is younger than %d, and %d is", e.Offset, e.Timestamp, w.max)
			break
		}
		w.times.at++
	}
}

// index is a fault of an index; it is looked at no further.
func (w *walker) index(kind FaultKind, e *entries, size int64, offset int64, format string, args ...any) {
	w.p.fault(kind, e.name, offset, int64(e.at)*size, format, args...)
	e.done = true
}

// finish looks at what a whole walk has left of the indexes: entries of the last batches,
// and zeros.
func (w *walker) finish() {
	if w.cut {
		return // the log has the fault
	}
	w.indexes(header{position: w.size, base: w.next})
	for _, x := range []struct {
		e    *entries
		size int64
		kind FaultKind
	}{{&w.offsets, index.OffsetEntry, FaultIndex}, {&w.times, index.TimeEntry, FaultTimes}} {
		if x.e.done {
			continue
		}
		if zero, err := unwritten(x.e.f, int64(x.e.at)*x.size, x.e.size); err != nil || !zero {
			w.index(x.kind, x.e, x.size, -1, "entry %d fits no batch of the segment, which ends at offset %d", x.e.at, w.next)
		}
	}
}
