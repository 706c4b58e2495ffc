package segment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"slices"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
)

// Compaction puts one segment in the place of a run of sealed ones, by Kafka's protocol
// and names, so that Kafka finishes what we began and the other way round:
//
//	write    <base>.log.cleaned and its indexes, synced
//	commit   the indexes are renamed to .swap, then the log; the directory is synced
//	replace  the old files are renamed to .deleted, of each segment its log last
//	place    .swap is taken off the indexes, then off the log; the directory is synced
//
// Open removes what a crash leaves of the first step, and of the second as long as any
// file is still .cleaned; once a .log.swap stands alone it carries out the rest. The
// first old segment has the new one's name, and its log goes after its indexes: so what
// indexes there are without .swap are the old ones while there is a .log as well, and the
// new ones after.
//
// Readers change over between commit and replace, in one step: those that hold old
// files keep them, those that come to open one look again.

const swapSuffix = ".swap"

// stage is how far the files of a segment are from their place.
type stage = int32

const (
	placed stage = iota
	cleaned
	swapping
)

// stageSuffix is appended to the names of a segment's files.
var stageSuffix = [...]string{placed: "", cleaned: cleanedSuffix, swapping: swapSuffix}

// suffixes are those of a segment's files, the log last.
var suffixes = [...]string{offsetSuffix, timeSuffix, abortedSuffix, logSuffix}

// ErrChanged says that a log has changed where it was being rewritten: segments have
// expired or were truncated. Nothing has been replaced.
var ErrChanged = errors.New("log has changed meanwhile")

// rewriteBuffer is written at once, and sent to the disk while the next one fills: a
// commit round that syncs the file system finds at most two of them waiting.
const rewriteBuffer = 1 << 20

// Rewrite is a segment that is made of a run of sealed ones. It belongs to one
// goroutine at a time and holds no lock of the log but for the moment of Swap. As long
// as a single segment is kept as it is, nothing is written. Those of one log may be made
// side by side, if they are swapped in the order of their offsets.
type Rewrite struct {
	l       *Log
	old     []*segment
	new     *segment
	config  *Config
	begun   bool  // the new files are there
	kept    int64 // bytes at the head of the old segment that are kept as they are, until begun
	buffer  []byte
	sent    int64 // bytes of the file of which write-back has begun
	written int64 // bytes of the file
}

// Rewrite begins to make a segment in place of the sealed ones that begin at base and
// after it, up to next. It returns ErrChanged where the log has no such segments. The
// caller ends it by Swap or Discard.
func (l *Log) Rewrite(base, next int64) (*Rewrite, error) {
	if err := l.usable(); err != nil {
		return nil, err
	}
	v := l.view()
	var old []*segment
	for i, s := range v.segments[:len(v.segments)-1] {
		if end, _ := v.bounds(i); s.base >= base && end <= next {
			old = append(old, s)
		}
	}
	if len(old) == 0 || old[0].base != base || old[len(old)-1].next != next {
		return nil, fmt.Errorf("rewrite [%d, %d): %w", base, next, ErrChanged)
	}
	if !index.Fits(base, next-1) {
		return nil, fmt.Errorf("rewrite [%d, %d): offsets do not fit one segment", base, next)
	}
	r := &Rewrite{l: l, old: old, config: l.config.Load()}
	s := &segment{l: l, base: base, next: next, sealed: true, checked: true, maxKnown: true, abortedKnown: true}
	s.max = index.Time{Timestamp: -1, Offset: base}
	s.lastTime = s.max
	s.stage.Store(cleaned)
	for _, o := range old {
		if o.modified.After(s.modified) {
			s.modified = o.modified
		}
	}
	r.new = s
	if len(old) > 1 {
		return r, r.begin()
	}
	return r, nil
}

// begin makes the new files, with what has been kept so far.
func (r *Rewrite) begin() error {
	if r.begun {
		return nil
	}
	r.begun, r.buffer = true, make([]byte, 0, rewriteBuffer)
	s := r.new
	for _, x := range []struct {
		suffix string
		place  **File
	}{{logSuffix, &s.log}, {offsetSuffix, &s.offsets}, {timeSuffix, &s.times}} {
		f, err := r.l.fs.Create(s.path(x.suffix))
		if errors.Is(err, fs.ErrExist) {
			if err = r.l.fs.Remove(s.path(x.suffix)); err == nil {
				f, err = r.l.fs.Create(s.path(x.suffix))
			}
		}
		if err != nil {
			return errors.Join(fmt.Errorf("rewrite segment %020d: %w", s.base, err), r.Discard())
		}
		*x.place = NewFile(f)
	}
	if r.kept == 0 {
		return nil
	}
	return r.old[0].batches(context.Background(), new(Reader), 0, r.kept, r.append)
}

// Changed reports whether anything differs from the old segments.
func (r *Rewrite) Changed() bool { return r.begun }

// Keep adds a batch of the old segments as it is.
func (r *Rewrite) Keep(b batch.Batch) error {
	if !r.begun {
		r.kept += int64(len(b))
		return nil
	}
	return r.append(b)
}

// Drop says that a batch of the old segments is left out.
func (r *Rewrite) Drop() error { return r.begin() }

// Append adds a batch that differs from those of the old segments; its bytes are the
// caller's again on return. Batches come in the order of their offsets; the last one
// must end where the segments end.
func (r *Rewrite) Append(b batch.Batch) error {
	if err := r.begin(); err != nil {
		return err
	}
	return r.append(b)
}

func (r *Rewrite) append(b batch.Batch) error {
	s := r.new
	h := headerOf(b, r.written+int64(len(r.buffer)))
	s.mu.Lock()
	err := s.note(h, r.config.IndexInterval, r.config.IndexBytes)
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("rewrite indexes of segment %020d: %w", s.base, err)
	}
	if len(r.buffer)+len(b) > cap(r.buffer) {
		if err := r.flush(); err != nil {
			return err
		}
	}
	if len(b) > cap(r.buffer) {
		return r.write(b)
	}
	r.buffer = append(r.buffer, b...)
	return nil
}

// Abort adds an aborted transaction whose marker stays.
func (r *Rewrite) Abort(t index.AbortedTxn) { r.new.aborted = append(r.new.aborted, t) }

// Size returns the bytes that the new segment has so far.
func (r *Rewrite) Size() int64 {
	if !r.begun {
		return r.kept
	}
	return r.written + int64(len(r.buffer))
}

func (r *Rewrite) flush() error {
	err := r.write(r.buffer)
	r.buffer = r.buffer[:0]
	return err
}

func (r *Rewrite) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if _, err := r.new.log.f.WriteAt(p, r.written); err != nil {
		return fmt.Errorf("rewrite segment %020d: %w", r.new.base, err)
	}
	r.written += int64(len(p))
	if f, ok := r.new.log.f.(vfs.WriteBacker); ok {
		if err := f.WriteBack(r.sent, r.written); err != nil {
			return fmt.Errorf("rewrite segment %020d: %w", r.new.base, err)
		}
		r.sent = r.written
	}
	return nil
}

// finish makes the new segment's files durable and closes them.
func (r *Rewrite) finish() error {
	if err := r.flush(); err != nil {
		return err
	}
	s := r.new
	s.size = r.written
	if err := s.finish(); err != nil {
		return err
	}
	if len(s.aborted) > 0 {
		var content []byte
		for _, t := range s.aborted {
			content = t.Append(content)
		}
		if err := writeNew(s.l.fs, s.path(abortedSuffix), content, true); err != nil {
			return err
		}
	}
	// Side by side their journal commits fall together.
	if err := syncEach([]target{{file: s.log}, {file: s.offsets}, {file: s.times}}); err != nil {
		return err
	}
	r.buffer = nil
	s.offsetTail, s.timeTail = nil, nil
	s.closeFiles()
	return nil
}

// Discard removes what was written; the log stays as it is.
func (r *Rewrite) Discard() error {
	r.new.retire()
	if !r.begun {
		return nil
	}
	var errs []error
	for _, suffix := range suffixes {
		if err := r.l.fs.Remove(r.new.path(suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Swap puts the new segment in the place of the old ones where anything differs,
// durably, whose files go after
// the log's delete delay. Appends and reads go on meanwhile, but for the moment in which
// they change over.
//
// It returns ErrChanged where the log no longer has the old segments; then, and where
// writing has failed, the new one is discarded and the log is as before. When renaming
// fails after that, the log fails (ErrFailed).
func (r *Rewrite) Swap() error {
	if !r.begun {
		return nil
	}
	if err := r.finish(); err != nil {
		return errors.Join(fmt.Errorf("finish segment %020d: %w", r.new.base, err), r.Discard())
	}
	l, s := r.l, r.new
	l.removing.Lock()
	defer l.removing.Unlock()
	if err := r.unchanged(); err != nil {
		return errors.Join(err, r.Discard())
	}
	// From here on nobody but us removes segments.
	if err := l.restage(s, swapping); err != nil {
		return l.fail(fmt.Errorf("swap segment %020d: %w", s.base, err))
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return l.fail(fmt.Errorf("swap segment %020d: %w", s.base, err))
	}
	r.publish()
	l.forget(r.old)
	for _, o := range r.old {
		if err := l.condemn(o, suffixes[:]...); err != nil {
			return l.fail(fmt.Errorf("replace segment %020d: %w", o.base, err))
		}
	}
	if err := l.restage(s, placed); err != nil {
		return l.fail(fmt.Errorf("place segment %020d: %w", s.base, err))
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return l.fail(fmt.Errorf("place segment %020d: %w", s.base, err))
	}
	return nil
}

// unchanged returns why the old segments cannot be replaced.
func (r *Rewrite) unchanged() error {
	if err := r.l.usable(); err != nil {
		return err
	}
	segments := r.l.view().segments
	i := slices.Index(segments, r.old[0])
	if i < 0 || i+len(r.old) > len(segments)-1 || !slices.Equal(segments[i:i+len(r.old)], r.old) {
		return fmt.Errorf("swap segment %020d: %w", r.new.base, ErrChanged)
	}
	return nil
}

// publish lets readers see the new segment. Caller holds removing.
func (r *Rewrite) publish() {
	l := r.l
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pub.Lock()
	defer l.pub.Unlock()
	i := slices.Index(l.segments, r.old[0])
	segments := append(slices.Clone(l.segments[:i]), r.new)
	l.segments = append(segments, l.segments[i+len(r.old):]...)
	l.sealedSize += r.new.size
	for _, o := range r.old {
		l.sealedSize -= o.size
	}
}

// restage renames the files of a segment, the log last. Nobody opens one meanwhile.
func (l *Log) restage(s *segment, to stage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, suffix := range suffixes {
		if suffix == abortedSuffix && len(s.aborted) == 0 {
			continue
		}
		from := s.path(suffix)
		if err := l.fs.Rename(from, filepath.Join(l.dir, fileName(s.base, suffix)+stageSuffix[to])); err != nil {
			return err
		}
	}
	s.stage.Store(to)
	return nil
}

// finishSwaps carries out or takes back what a crash has interrupted of swaps, and
// reports whether anything has changed in the directory.
func (p *opening) finishSwaps(entries []fs.DirEntry) (changed bool, err error) {
	l := p.l
	staged, plain := map[string][]int64{}, map[string]bool{}
	for _, e := range entries {
		name := e.Name()
		suffix := filepath.Ext(name)
		if suffix != swapSuffix && suffix != cleanedSuffix {
			plain[name] = true
			continue
		}
		if !e.Type().IsRegular() {
			return false, &CorruptError{filepath.Join(l.dir, name), -1, "is not a regular file"}
		}
		inner := name[:len(name)-len(suffix)]
		kind := filepath.Ext(inner)
		base, ok := parseFileName(inner, kind)
		if !ok || !slices.Contains(suffixes[:], kind) {
			return false, &CorruptError{filepath.Join(l.dir, name), -1, "is not named by a 20-digit offset"}
		}
		staged[kind+suffix] = append(staged[kind+suffix], base)
	}
	if len(staged) == 0 {
		return false, nil
	}
	if err := p.dropUncommitted(staged); err != nil {
		return false, err
	}
	for _, base := range staged[logSuffix+swapSuffix] {
		if err := p.finishSwap(base, plain); err != nil {
			return false, err
		}
	}
	// Kafka renames the log before its indexes, so that of a swap that was placed some
	// may be left.
	for _, kind := range suffixes[:len(suffixes)-1] {
		for _, base := range staged[kind+swapSuffix] {
			name := filepath.Join(l.dir, fileName(base, kind))
			if err := l.fs.Rename(name+swapSuffix, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return false, err
			}
		}
	}
	return true, l.fs.SyncDir(l.dir)
}

// dropUncommitted removes the files of segments that were not committed: what is
// .cleaned, and every .swap from the first base on of which something is. It takes
// what it has removed out of staged.
func (p *opening) dropUncommitted(staged map[string][]int64) error {
	first := int64(math.MaxInt64)
	for _, kind := range suffixes {
		for _, base := range staged[kind+cleanedSuffix] {
			first = min(first, base)
		}
	}
	for name, bases := range staged {
		var kept []int64
		for _, base := range bases {
			if filepath.Ext(name) == swapSuffix && base < first {
				kept = append(kept, base)
				continue
			}
			if err := p.l.fs.Remove(filepath.Join(p.l.dir, fileName(base, name))); err != nil {
				return err
			}
		}
		staged[name] = kept
	}
	return nil
}

// finishSwap puts a committed segment in the place of those that it was made of.
func (p *opening) finishSwap(base int64, plain map[string]bool) error {
	l := p.l
	next, err := p.swapEnd(base)
	if err != nil {
		return err
	}
	old := plain[fileName(base, logSuffix)] // not all of the old files have gone yet
	for name := range plain {
		kind := filepath.Ext(name)
		b, ok := parseFileName(name, kind)
		if !ok || !slices.Contains(suffixes[:], kind) || b < base || b >= next || b == base && !old {
			continue
		}
		if err := l.fs.Remove(filepath.Join(l.dir, name)); err != nil {
			return err
		}
	}
	// What was synced before the first name is placed cannot come back beside it.
	if err := l.fs.SyncDir(l.dir); err != nil {
		return err
	}
	for _, kind := range suffixes {
		name := filepath.Join(l.dir, fileName(base, kind))
		if err := l.fs.Rename(name+swapSuffix, name); err != nil && (kind == logSuffix || !errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	return nil
}

// swapEnd returns one past the last offset of a committed segment.
func (p *opening) swapEnd(base int64) (next int64, err error) {
	l := p.l
	path := filepath.Join(l.dir, fileName(base, logSuffix)+swapSuffix)
	f, err := l.fs.Open(path, true)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	w := &scanner{path: path, r: f, segment: base, next: base, end: size, pool: &largeBuffers}
	defer w.close()
	for {
		h, err := w.batch()
		if errors.Is(err, io.EOF) {
			return max(w.next, base+1), nil
		}
		if err == nil {
			err = w.check(h)
		}
		if err != nil {
			return 0, err
		}
	}
}
