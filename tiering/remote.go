package tiering

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/google/uuid"

	"github.com/varvelog/varve/tiering/objstore"
)

// Remote is the remote log of one partition. Any number read; the steps that commit
// (Ready, Copy, Expire, Sweep) take turns.
//
// What a Remote knows grows in this order:
//
//	unknown      nothing was read: Offsets.Known is false, reads fail with ErrUnknown
//	pointed      Load has read the pointer: start and end are known, bytes are not
//	viewed       the tree was read, by Ready or for a reader
//	leading      Lead was called: this replica may commit, once it is
//	ready        Ready has read the tree in this epoch and taken over old intents
//	uncertain    a commit's outcome is unknown (commit.go): nothing else is committed
//
// Lead and Resign begin at leading or viewed again; what was read is kept.
type Remote struct {
	tier   *Tier
	id     PartitionID
	prefix string // of its keys

	turn chan struct{} // holds one element while a step runs; orders the fields below it

	// Of the step that has the turn.
	uncertain *attempt             // a commit whose outcome is unknown
	stale     map[uuid.UUID]Intent // intents that nothing in flight needs, to be buried by the next commit
	staged    map[int64]upload     // uploaded and not committed, by the offset that was to be copied from
	swept     map[uuid.UUID]bool   // dead objects that are gone from the bucket

	mu      sync.Mutex
	known   bool    // guarded by mu
	pointer Pointer // newest committed that we know of; guarded by mu
	view    *view   // of pointer or of one before it, nil: not read; guarded by mu
	leading bool    // guarded by mu
	fence   Fence   // guarded by mu
	ready   bool    // guarded by mu
	term    int64   // counts Lead and Resign; guarded by mu
	streams streams // guarded by mu
}

func newRemote(t *Tier, p PartitionID) *Remote {
	return &Remote{
		tier: t, id: p, prefix: partitionPrefix(t.o.ClusterID, p), turn: make(chan struct{}, 1),
		stale: map[uuid.UUID]Intent{}, staged: map[int64]upload{}, swept: map[uuid.UUID]bool{},
	}
}

// Offsets is one consistent snapshot of the committed remote log.
type Offsets struct {
	Known    bool  // false until the pointer was read
	Start    int64 // log start offset in the committed root
	End      int64 // tiered end
	Bytes    int64 // of committed segments; -1 until the root was read
	Segments int
}

// Offsets returns what is known to be committed. While an outcome is unknown it is what
// was committed before (I9).
func (r *Remote) Offsets() Offsets {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.offsets()
}

// offsets is Offsets for those who hold mu.
func (r *Remote) offsets() Offsets {
	o := Offsets{Known: r.known, Start: r.pointer.Start, End: r.pointer.End, Bytes: -1}
	if r.view != nil && r.view.pointer.Seq == r.pointer.Seq {
		o.Bytes, o.Segments = r.view.bytes, r.view.count
	}
	return o
}

// Load reads the pointer (metadata store only, never the bucket). A leader does it
// before it serves; the root itself is read in the background by the first Step.
func (r *Remote) Load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.tier.o.RequestTimeout)
	defer cancel()
	p, err := r.tier.o.Metadata.Pointer(ctx, r.id)
	if err != nil {
		return fmt.Errorf("read tier pointer: %w", err)
	}
	r.adopt(p, nil)
	return nil
}

// adopt takes over a pointer and a view, unless newer ones are known.
func (r *Remote) adopt(p Pointer, v *view) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.known || p.Seq >= r.pointer.Seq {
		r.known, r.pointer = true, p
	}
	if p.Root == "" && v == nil {
		v = emptyView(r.id, r.prefix)
	}
	if v != nil && (r.view == nil || v.pointer.Seq >= r.view.pointer.Seq) {
		r.view = v
	}
}

// Lead makes this replica the one that may commit; Resign ends that.
func (r *Remote) Lead(fence Fence) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leading, r.fence, r.ready = true, fence, false
	r.term++
}

// Resign ends what Lead began. A step that runs is fenced by the metadata store, not by this.
func (r *Remote) Resign() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leading, r.ready = false, false
	r.term++
}

// lock takes the turn, unlock gives it back.
func (r *Remote) lock(ctx context.Context) error {
	select {
	case r.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *Remote) unlock() { <-r.turn }

// lead is the leadership under which a step runs.
type lead struct {
	fence Fence
	term  int64
	view  *view // committed; nil where it has not been read
}

// leadership returns the current one; ErrNotLeading where this replica may not commit.
func (r *Remote) leadership() (lead, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.leading {
		return lead{}, ErrNotLeading
	}
	return lead{r.fence, r.term, r.view}, nil
}

// readied is leadership for what comes after Ready (I25).
func (r *Remote) readied() (lead, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.leading || !r.ready {
		return lead{}, ErrNotLeading
	}
	return lead{r.fence, r.term, r.view}, nil
}

// unready makes the next step begin with Ready: the view may not be the committed one.
func (r *Remote) unready() {
	r.mu.Lock()
	r.ready = false
	r.mu.Unlock()
}

// Ready reads the root if it has not been read in this epoch, adopts or fences old
// intents. Copy, Expire and Sweep do nothing before it succeeded (I25).
func (r *Remote) Ready(ctx context.Context) error {
	if err := r.lock(ctx); err != nil {
		return err
	}
	defer r.unlock()
	l, err := r.leadership()
	if err != nil {
		return err
	}
	if _, err := r.readied(); err == nil && r.uncertain == nil {
		return nil
	}
	if err := r.resolve(ctx); err != nil {
		return err
	}
	if err := r.reload(ctx); err != nil {
		return err
	}
	if err := r.takeOver(ctx, l); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.term != l.term {
		return ErrNotLeading
	}
	r.ready = true
	return nil
}

// reload reads the pointer, and the tree where ours is of another one.
func (r *Remote) reload(ctx context.Context) error {
	if err := r.Load(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	p, old := r.pointer, r.view
	r.mu.Unlock()
	if old != nil && old.pointer.Root == p.Root {
		return nil
	}
	get := func(ctx context.Context, key string, size int64) ([]byte, error) {
		return r.tier.getAll(ctx, key, 0, size)
	}
	v, err := loader{r.id, get}.load(ctx, p, old)
	if errors.Is(err, objstore.ErrNotFound) {
		return fmt.Errorf("%w: %w", ErrMissing, err)
	}
	if err != nil {
		return err
	}
	r.adopt(p, v)
	return nil
}

// missing is called where a download found no object. Where the current root does not
// name it any more nothing is wrong: the reader looks again and goes on elsewhere, or
// learns that its offset is out of range (I31).
func (r *Remote) missing(ctx context.Context, n *entry, cause error) error {
	if err := r.reload(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	v := r.view
	r.mu.Unlock()
	if _, now, ok := v.find(max(n.base, v.root.start)); !ok || now.id != n.id {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrMissing, cause)
}

// Entry is one committed segment in the bucket.
type Entry struct {
	Base         int64
	Next         int64
	Size         int64 // bytes of the log part
	ObjectSize   int64 // bytes of the object
	MaxTimestamp int64 // ms
	Copied       int64 // ms: when the copy was made
	Epoch        int32 // leader epoch of the copy
	Key          string
}

// Entries returns the committed segments in offset order; nil before Ready.
func (r *Remote) Entries() []Entry {
	r.mu.Lock()
	v := r.view
	r.mu.Unlock()
	return v.entries()
}

// entries lists the segments of a view; nil is of none.
func (v *view) entries() []Entry {
	if v == nil {
		return nil
	}
	entries := make([]Entry, 0, v.count)
	for run, n := range v.all() {
		entries = append(entries, run.exported(n))
	}
	return entries
}
