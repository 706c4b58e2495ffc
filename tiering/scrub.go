package tiering

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/varvelog/varve/tiering/objstore"
)

// maxFindings bounds what a scrubber remembers; a bucket with more faults is looked at
// with Audit.
const maxFindings = 1000

// scrubber reads what this broker leads again, object by object, at ScrubBytesPerSecond:
// the trees, the sizes, the tails, every chunk. It finds what no reader has asked for yet,
// while another copy may still exist. It changes nothing and deletes nothing (I51).
//
// Only the loop that calls Scrub uses rate and at.
type scrubber struct {
	rate *rate
	at   scrubPoint

	mu       sync.Mutex
	findings map[string]scrubFinding // by key; guarded by mu
	pass     int64                   // guarded by mu
	objects  int64                   // guarded by mu
	bytes    int64                   // guarded by mu
}

type scrubFinding struct {
	Finding
	pass int64 // in which it was seen last
}

// scrubPoint is what will be looked at next: of one partition first the tree, then the
// segments in offset order.
type scrubPoint struct {
	partition PartitionID
	offset    int64
	inside    bool // the tree was looked at; else offset has no meaning
	done      bool // so were all segments
}

func newScrubber(o Options) *scrubber {
	return &scrubber{rate: newRate(o.ScrubBytesPerSecond, o.Now), findings: map[string]scrubFinding{}}
}

// Scrub looks at the next object and returns the faults that were not known before. An
// error says that the store did not answer; the object's turn comes again in the next
// pass. Where ScrubBytesPerSecond is 0, or nothing is led, it does nothing.
func (t *Tier) Scrub(ctx context.Context) ([]Finding, error) {
	if t.o.ScrubBytesPerSecond <= 0 {
		return nil, nil
	}
	s := t.scrub
	led := t.led()
	for range len(led) + 1 {
		r, ok := s.next(led)
		if !ok {
			continue // from the first partition again
		}
		v := r.readView()
		if !s.at.inside {
			s.at.inside, s.at.offset = true, v.root.start
			return s.file(t.scrubTree(ctx, r, v))
		}
		if run, n, more := v.find(max(s.at.offset, v.root.start)); more {
			s.at.offset = n.next
			return s.file(t.scrubSegment(ctx, r, run.key(n), n))
		}
		s.at.done = true
	}
	return nil, nil
}

// led returns the remote logs that this broker leads and has read, in the order of their ids.
func (t *Tier) led() []*Remote {
	t.mu.Lock()
	all := slices.Collect(maps.Values(t.remotes))
	t.mu.Unlock()
	all = slices.DeleteFunc(all, func(r *Remote) bool {
		l, err := r.readied()
		return err != nil || l.view == nil || !l.view.exists()
	})
	slices.SortFunc(all, func(a, b *Remote) int { return a.id.compare(b.id) })
	return all
}

// compare orders partitions.
func (p PartitionID) compare(q PartitionID) int {
	return cmp.Or(bytes.Compare(p.Topic[:], q.Topic[:]), cmp.Compare(p.Partition, q.Partition))
}

func (r *Remote) readView() *view {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.view
}

// next returns the partition to look at, and moves on to it. ok is false where a pass
// has ended.
func (s *scrubber) next(led []*Remote) (r *Remote, ok bool) {
	i, found := slices.BinarySearchFunc(led, s.at.partition, func(r *Remote, p PartitionID) int { return r.id.compare(p) })
	if found && s.at.done {
		i, found = i+1, false
	}
	if i == len(led) {
		s.at = scrubPoint{}
		s.endPass()
		return nil, false
	}
	if !found {
		s.at = scrubPoint{partition: led[i].id}
	}
	return led[i], true
}

// endPass forgets the findings that a whole pass has not seen again.
func (s *scrubber) endPass() {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.findings, func(_ string, f scrubFinding) bool { return f.pass < s.pass })
	s.pass++
}

// checked is the outcome of looking at one object: whole, a fault, or not known.
type checked struct {
	key   string
	bytes int64
	fault *Finding
	err   error
}

// file enters an outcome and returns the fault if it is new.
func (s *scrubber) file(c checked) ([]Finding, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes += c.bytes
	if c.err != nil {
		return nil, fmt.Errorf("scrub %s: %w", c.key, c.err)
	}
	s.objects++
	_, known := s.findings[c.key]
	if c.fault == nil {
		delete(s.findings, c.key)
		return nil, nil
	}
	if known || len(s.findings) < maxFindings {
		s.findings[c.key] = scrubFinding{*c.fault, s.pass}
	}
	if known {
		return nil, nil
	}
	return []Finding{*c.fault}, nil
}

// scrubTree reads the root and all below it, as a new leader would.
func (t *Tier) scrubTree(ctx context.Context, r *Remote, v *view) checked {
	c := checked{key: v.pointer.Root}
	get := func(ctx context.Context, key string, size int64) ([]byte, error) {
		if err := t.scrub.rate.wait(ctx, int(size)); err != nil {
			return nil, err
		}
		c.bytes += size
		return t.getAll(ctx, key, 0, size)
	}
	for range 2 { // a damaged answer is asked for again, once
		if _, c.err = (loader{r.id, get}).load(ctx, v.pointer, nil); c.err == nil {
			return c
		}
	}
	return r.judge(ctx, c, func(v *view) bool { return v.pointer.Root == c.key })
}

// scrubSegment checks size, tail and chunks of one object against its entry.
func (t *Tier) scrubSegment(ctx context.Context, r *Remote, key string, n *entry) checked {
	c := checked{key: key}
	for range 2 {
		if c.err = t.scrubObject(ctx, r, key, n, &c.bytes); c.err == nil {
			return c
		}
	}
	return r.judge(ctx, c, func(v *view) bool {
		return v.names(dead{kind: kindSegment, number: n.base, epoch: n.epoch, id: n.id})
	})
}

func (t *Tier) scrubObject(ctx context.Context, r *Remote, key string, n *entry, read *int64) error {
	headCtx, g := t.guard(ctx, 0)
	o, err := t.store.Head(headCtx, key)
	g.stop()
	if err != nil {
		return cause(headCtx, err)
	}
	if o.Size != n.objectSize {
		return &sizeError{o.Size, n.objectSize}
	}
	size := n.objectSize - n.size
	if size > maxTailBytes {
		return corrupt(key, "tail of %d bytes", size)
	}
	if err := t.scrub.rate.wait(ctx, int(size)); err != nil {
		return err
	}
	*read += size
	b, err := t.getAll(ctx, key, n.size, size)
	if err != nil {
		return err
	}
	tl, err := n.openTail(r.id, key, b)
	if err != nil {
		return err
	}
	for _, chunk := range tl.chunks {
		if err := t.scrubChunk(ctx, key, chunk); err != nil {
			return err
		}
		*read += chunk.size
	}
	return nil
}

// scrubChunk waits for its turn before it asks: no connection is held meanwhile.
func (t *Tier) scrubChunk(ctx context.Context, key string, c chunk) (err error) {
	if err := t.scrub.rate.wait(ctx, int(c.size)); err != nil {
		return err
	}
	ctx, g := t.guard(ctx, c.size)
	defer g.stop()
	stream, err := t.open(ctx, key, c.position, c.size)
	if err != nil {
		return cause(ctx, err)
	}
	defer func() { err = errors.Join(err, closeQuietly(stream)) }()
	sum, err := t.fetch.pump(ctx, g, key, c, stream, func([]byte, int64) error { return nil })
	if err != nil {
		return cause(ctx, err)
	}
	if sum != c.crc {
		return corruptAt(key, c.position, "chunk CRC mismatch")
	}
	return nil
}

// sizeError: an object has another size than its entry says.
type sizeError struct{ have, want int64 }

func (e *sizeError) Error() string {
	return fmt.Sprintf("%d bytes, the manifest says %d", e.have, e.want)
}

// judge tells a fault of the bucket from a store that does not answer, and from an object
// that the current root does not name any more.
func (r *Remote) judge(ctx context.Context, c checked, named func(*view) bool) checked {
	var damaged *CorruptError
	var size *sizeError
	f := Finding{Key: c.key, Detail: c.err.Error()}
	switch {
	case errors.As(c.err, &damaged):
		f.Kind, f.Key = FindingCorrupt, damaged.Key
	case errors.As(c.err, &size):
		f.Kind = FindingSize
	case errors.Is(c.err, objstore.ErrNotFound):
		f.Kind = FindingMissing
	default:
		return c
	}
	if c.err = r.reload(ctx); c.err == nil && named(r.readView()) {
		c.fault = &f
	}
	return c
}

// Findings returns what the scrubber has found wrong with a partition and what is still
// in use, in the order of the keys.
func (r *Remote) Findings() []Finding {
	v, s := r.readView(), r.tier.scrub
	s.mu.Lock()
	defer s.mu.Unlock()
	var findings []Finding
	for key, f := range s.findings {
		prefix, k, n, err := parseKey(key)
		if err == nil && prefix == r.prefix && v != nil && v.uses(key, k, n.number, n.epoch, n.id) {
			findings = append(findings, f.Finding)
		}
	}
	slices.SortFunc(findings, func(a, b Finding) int { return cmp.Compare(a.Key, b.Key) })
	return findings
}

// uses tells whether the view needs the object with this key.
func (v *view) uses(key string, k kind, number int64, epoch int32, id uuid.UUID) bool {
	if k == kindRoot {
		return v.pointer.Root == key
	}
	return v.names(dead{kind: k, number: number, epoch: epoch, id: id})
}

// stats returns how much was looked at and how many faults are known.
func (s *scrubber) stats() (objects, read, findings int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects, s.bytes, int64(len(s.findings))
}
