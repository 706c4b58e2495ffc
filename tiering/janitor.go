package tiering

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/varvelog/varve/tiering/objstore"
)

// takeOver finds the intents that nothing in flight here needs: of older epochs, and of
// steps that failed. The next commit consumes them and puts their objects on the dead
// list in the same transaction, so that whoever announced them can no longer commit (I8),
// and no crash in between leaves an object that nothing knows (I7). Until then the
// intents themselves cover the objects. It needs the turn.
func (r *Remote) takeOver(ctx context.Context, l lead) error {
	ctx, cancel := context.WithTimeout(ctx, r.tier.o.RequestTimeout)
	defer cancel()
	intents, err := r.tier.o.Metadata.Intents(ctx, r.id)
	if err != nil {
		return fmt.Errorf("read intents: %w", err)
	}
	alive := map[uuid.UUID]bool{}
	for _, in := range intents {
		alive[in.ID] = true
	}
	for base, u := range r.staged {
		if u.term != l.term || !alive[u.entry.id] {
			delete(r.staged, base)
		}
	}
	clear(r.stale)
	for _, in := range intents {
		if r.isStaged(in.ID) {
			continue
		}
		if _, ok := r.deadOf(in); !ok {
			if err := r.tier.o.Metadata.DropIntent(ctx, r.id, l.fence, in.ID); err != nil {
				return fmt.Errorf("drop intent of foreign object %s: %w", in.Key, err)
			}
			continue
		}
		r.stale[in.ID] = in
	}
	return nil
}

func (r *Remote) isStaged(id uuid.UUID) bool {
	for _, u := range r.staged {
		if u.entry.id == id {
			return true
		}
	}
	return false
}

// Expire commits a new start offset; entries wholly below it move to the dead list.
func (r *Remote) Expire(ctx context.Context, start int64) error {
	l, done, err := r.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	if start <= l.view.root.start {
		return nil
	}
	return r.commit(ctx, l, change{start: start}, nil)
}

// Withdraw commits a tree of nothing, whose start and end are start, or the committed
// start where that is higher (KIP-950); all that there was moves to the dead list. What is
// to be readable still must be on the disk, from start on.
func (r *Remote) Withdraw(ctx context.Context, start int64) error {
	l, done, err := r.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	if l.view.count == 0 {
		return nil
	}
	return r.commit(ctx, l, change{start: start, withdraw: true}, nil)
}

// begin takes the turn for a step that commits. An outcome that is still unknown is
// decided first.
func (r *Remote) begin(ctx context.Context) (lead, func(), error) {
	if err := r.lock(ctx); err != nil {
		return lead{}, nil, err
	}
	if err := r.resolve(ctx); err != nil {
		r.unlock()
		return lead{}, nil, err
	}
	l, err := r.readied()
	if err == nil && len(r.stale) >= maxStale {
		if err = r.shed(ctx, l); err == nil {
			l, err = r.readied() // it may have committed
		}
	}
	if err != nil {
		r.unlock()
		return lead{}, nil, err
	}
	return l, r.unlock, nil
}

// maxStale is how many objects that nothing needs may be announced before no segment is:
// every failed upload leaves one to the next commit, and while the store is away there
// is none. A commit that buries them may itself fail and leave its root; at maxBurials
// there is no further one.
const (
	maxStale   = 64
	maxBurials = maxStale + 16
)

// shed deletes what stale intents have announced, and drops them once the store has
// acknowledged that, so that an outage of any length leaves a bounded number behind. An
// upload that was given up may still be under way inside the store: what is younger
// than a request and the deletion delay together waits.
//
// Where that leaves too many, an outage may have ended a moment ago, and all of them be
// young: if the store answers, a commit that changes nothing else puts them on the dead
// list, so that copying goes on at once. It needs the turn; l may be of an older root
// when it returns.
func (r *Remote) shed(ctx context.Context, l lead) error {
	old := r.tier.o.Now().Add(-r.tier.o.RequestTimeout - r.tier.o.DeleteDelay).UnixMilli()
	var due []Intent
	var keys []string
	for _, in := range r.stale {
		if in.Created > old {
			continue
		}
		if d, ok := r.deadOf(in); !ok || l.view.names(d) {
			return corrupt(in.Key, "it is announced as new, and not ours to delete")
		}
		due, keys = append(due, in), append(keys, in.Key)
	}
	failed := r.tier.delete(ctx, keys)
	dropCtx, cancel := context.WithTimeout(ctx, r.tier.o.RequestTimeout)
	defer cancel()
	for _, in := range due {
		if failed[in.Key] != nil {
			continue
		}
		if err := r.tier.o.Metadata.DropIntent(dropCtx, r.id, l.fence, in.ID); err != nil {
			return fmt.Errorf("drop intent of %s: %w", in.Key, err)
		}
		delete(r.stale, in.ID)
	}
	n := len(r.stale)
	if n < maxStale {
		return nil
	}
	if len(failed) == 0 && n < maxBurials && l.view.exists() && r.tier.answers(ctx, l.view.pointer.Root) {
		return r.commit(ctx, l, change{}, nil)
	}
	err := fmt.Errorf("%w: %d objects of failed uploads wait for their deletion", objstore.ErrUnavailable, n)
	return errors.Join(err, joinFailures(failed))
}

// sweepRoots is how many superseded roots are gone before a commit is made only to drop
// them from the dead list. Each commit adds one, so a smaller number would never rest.
const sweepRoots = 32

// Sweep deletes dead objects whose delay has passed and which no reader holds, and
// drops them from the dead list with the next root. It returns how many went.
//
// The order is that of I21: the root that no longer names them is committed long since;
// they are deleted; only what the store has acknowledged leaves the list (I27). Deleting
// again after a crash is harmless.
func (r *Remote) Sweep(ctx context.Context) (int, error) {
	l, done, err := r.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer done()
	deleted, err := r.bury(ctx, l.view)
	if !r.worthCommit(l.view) {
		return deleted, err
	}
	return deleted, errors.Join(err, r.commit(ctx, l, change{}, nil))
}

// worthCommit tells whether the dead list should be written again.
func (r *Remote) worthCommit(v *view) bool {
	if !v.exists() {
		return false // the first segment says where the log begins; intents cover the rest
	}
	if len(r.stale) > 0 || len(r.swept) >= sweepRoots {
		return true
	}
	for _, d := range v.root.dead {
		if d.kind != kindRoot && r.swept[d.id] {
			return true
		}
	}
	return false
}

// bury deletes what is due and remembers what is gone.
func (r *Remote) bury(ctx context.Context, v *view) (int, error) {
	now := r.tier.o.Now().UnixMilli()
	inUse := r.tier.fetch.objects()
	byKey := map[string]dead{}
	var keys []string
	deleted := 0
	var errs []error
	for _, d := range v.root.dead {
		prefix := v.root.origins[d.origin]
		if d.after > now || r.swept[d.id] || inUse[d.id] || prefix != r.prefix {
			continue
		}
		if v.names(d) {
			return deleted, corrupt(v.pointer.Root, "its dead list has %s, which it names", d.name().key(prefix, d.kind))
		}
		if d.kind == kindLeaf || d.kind == kindNode {
			n, err := r.burySubtree(ctx, v, prefix, d.kind, d.name())
			if deleted += n; err != nil {
				errs = append(errs, err)
				continue
			}
			r.swept[d.id] = true
			continue
		}
		key := d.name().key(prefix, d.kind)
		byKey[key], keys = d, append(keys, key)
	}
	failed := r.tier.delete(ctx, keys)
	for _, key := range keys {
		if failed[key] == nil {
			r.forget(byKey[key].id)
			deleted++
		}
	}
	if len(failed) > 0 {
		errs = append(errs, fmt.Errorf("delete expired objects: %w", joinFailures(failed)))
	}
	return deleted, errors.Join(errs...)
}

// forget remembers that an object is gone, and lets go of what is cached of it.
func (r *Remote) forget(id uuid.UUID) {
	r.swept[id] = true
	r.tier.drop(id)
}

// drop lets go of what is cached of an object. Readers keep what they hold.
func (t *Tier) drop(id uuid.UUID) {
	if n, ok := t.tails.get(id); ok {
		t.cache.dropObject(id, len(n.chunks))
	}
	t.tails.drop(id)
	if t.local != nil {
		t.local.drop(id)
	}
}

// burySubtree deletes what a leaf or node names and then itself, so that after a failure
// or a crash the names are still there.
func (r *Remote) burySubtree(ctx context.Context, v *view, prefix string, k kind, n name) (int, error) {
	key := n.key(prefix, k)
	tree, err := r.readNode(ctx, key)
	if errors.Is(err, objstore.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read expired leaf: %w", err)
	}
	deleted := 0
	var keys []string
	for _, child := range tree.entries {
		if tree.origins[child.origin] != r.prefix {
			continue
		}
		if v.names(child.dead(0)) {
			return deleted, corrupt(key, "it is dead and names segment %d, which the root names", child.base)
		}
		keys = append(keys, child.name().key(r.prefix, kindSegment))
	}
	for _, child := range tree.refs {
		if tree.origins[child.origin] != r.prefix {
			continue
		}
		if v.names(child.dead(0)) {
			return deleted, corrupt(key, "it is dead and names leaf %d, which the root names", child.base)
		}
		m, err := r.burySubtree(ctx, v, r.prefix, child.kind, child.name())
		if deleted += m; err != nil {
			return deleted, err
		}
	}
	for _, batch := range [][]string{keys, {key}} {
		failed := r.tier.delete(ctx, batch)
		deleted += len(batch) - len(failed)
		if len(failed) > 0 {
			return deleted, fmt.Errorf("delete expired objects: %w", joinFailures(failed))
		}
	}
	for _, child := range tree.entries {
		r.tier.drop(child.id)
	}
	return deleted, nil
}

// readNode reads a leaf or node of which only the key is known.
func (r *Remote) readNode(ctx context.Context, key string) (*node, error) {
	callCtx, g := r.tier.guard(ctx, 0)
	o, err := r.tier.store.Head(callCtx, key)
	g.stop()
	if err != nil {
		return nil, err
	}
	if o.Size <= 0 || o.Size > maxManifestObject {
		return nil, corrupt(key, "%d bytes", o.Size)
	}
	b, err := r.tier.getAll(ctx, key, 0, o.Size)
	if err != nil {
		return nil, err
	}
	return decodeNode(key, r.id, b)
}

// Dead is an object that waits to be deleted.
type Dead struct {
	Key   string
	After int64 // ms: not before
}

// Status is what an operator wants to know of one remote log.
type Status struct {
	Offsets
	Pointer   Pointer
	Leading   bool
	Ready     bool
	Uncertain bool // a commit's outcome is unknown
	Entries   []Entry
	Dead      []Dead
	Intents   []Intent
	Findings  []Finding // of the scrubber
}

// Status reads intents from the metadata store; the rest is what this replica knows, its
// offsets, entries and dead objects at one moment after that.
func (r *Remote) Status(ctx context.Context) (Status, error) {
	if err := r.lock(ctx); err != nil {
		return Status{}, err
	}
	uncertain := r.uncertain != nil
	r.unlock()
	ctx, cancel := context.WithTimeout(ctx, r.tier.o.RequestTimeout)
	defer cancel()
	intents, err := r.tier.o.Metadata.Intents(ctx, r.id)
	if err != nil {
		return Status{}, fmt.Errorf("read intents: %w", err)
	}
	s := Status{Intents: intents, Findings: r.Findings(), Uncertain: uncertain}
	r.mu.Lock()
	s.Offsets, s.Pointer, s.Leading, s.Ready = r.offsets(), r.pointer, r.leading, r.ready
	v := r.view
	r.mu.Unlock()
	s.Entries = v.entries()
	if v != nil {
		for _, d := range v.root.dead {
			s.Dead = append(s.Dead, Dead{d.name().key(v.root.origins[d.origin], d.kind), d.after})
		}
	}
	return s, nil
}
