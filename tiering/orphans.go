package tiering

import (
	"context"
	"errors"
	"fmt"

	"github.com/varvelog/varve/tiering/objstore"
)

// maxOrphans bounds what one pass deletes and remembers; the next pass goes on.
const maxOrphans = deleteBatch

// SweepOrphans lists the partition's objects and deletes those that nothing needs: what a
// request brought into the bucket after its object had been deleted, as when a leader
// that was cut off finishes an upload. It returns how many went. It is for rare use, for
// it asks for one listing of the whole partition.
//
// No clock says which object is an orphan. Every object was announced before its first
// byte, so one that was listed was announced by then. Where the intents, read after the
// listing, do not have it, a commit has consumed the intent or somebody has dropped it;
// in both cases no later commit can name the object (I8). Where the root, read after the
// intents, does not name it either, nor its dead list, no root ever will.
// Neither the turn nor leadership make it right, only the order of these reads; the
// leader alone does it so that it is done once.
func (r *Remote) SweepOrphans(ctx context.Context) (int, error) {
	if _, err := r.readied(); err != nil {
		return 0, err
	}
	before, err := r.needed(ctx) // so that what is found is bounded by what may be orphans
	if err != nil {
		return 0, err
	}
	found, err := r.unknownTo(ctx, before)
	if err != nil || len(found) == 0 {
		return 0, err
	}
	after, err := r.needed(ctx)
	if err != nil {
		return 0, err
	}
	orphans := after.orphans(found)
	failed := r.tier.delete(ctx, orphans)
	deleted := len(orphans) - len(failed)
	r.tier.counters.orphans.Add(int64(deleted))
	if len(failed) > 0 {
		return deleted, fmt.Errorf("delete orphans: %w", joinFailures(failed))
	}
	return deleted, nil
}

// unknownTo lists the partition's objects that are not needed, up to maxOrphans. Keys of
// another format are nobody's to delete.
func (r *Remote) unknownTo(ctx context.Context, n *needed) ([]string, error) {
	var found []string
	ctx, g := r.tier.guard(ctx, 0)
	defer g.stop()
	err := r.tier.store.List(ctx, r.prefix+"/", func(o objstore.Object) bool {
		g.progress()
		if prefix, k, name, err := parseKey(o.Key); err == nil && prefix == r.prefix && !n.has(o.Key, k, name) {
			found = append(found, o.Key)
		}
		return len(found) < maxOrphans
	})
	if err != nil {
		return nil, fmt.Errorf("list objects: %w", cause(ctx, err))
	}
	return found, nil
}

// needed is what keeps an object of one partition in the bucket.
type needed struct {
	announced map[string]bool // keys of intents
	dying     map[string]bool // keys on the dead list, and below its leaves
	view      *view
}

// needed reads the intents, then the root: in this order an object cannot slip from one
// into the other unseen. A commit of unknown outcome is decided first.
func (r *Remote) needed(ctx context.Context) (*needed, error) {
	if err := r.lock(ctx); err != nil {
		return nil, err
	}
	n, err := r.committedNeeds(ctx)
	r.unlock()
	if err != nil {
		return nil, err
	}
	for _, d := range n.view.root.dead {
		if err := r.dying(ctx, n, d.name().key(n.view.root.origins[d.origin], d.kind), d.kind); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// committedNeeds is needed without what the dead list means. It needs the turn.
func (r *Remote) committedNeeds(ctx context.Context) (*needed, error) {
	if err := r.resolve(ctx); err != nil {
		return nil, err
	}
	readCtx, cancel := context.WithTimeout(ctx, r.tier.o.RequestTimeout)
	intents, err := r.tier.o.Metadata.Intents(readCtx, r.id)
	cancel()
	if err != nil {
		return nil, fmt.Errorf("read intents: %w", err)
	}
	if err := r.reload(ctx); err != nil {
		return nil, err
	}
	r.mu.Lock()
	n := &needed{announced: map[string]bool{}, dying: map[string]bool{}, view: r.view}
	r.mu.Unlock()
	for _, in := range intents {
		n.announced[in.Key] = true
	}
	return n, nil
}

// dying adds a dead object and what goes with it. A leaf that is gone has taken along
// what it named.
func (r *Remote) dying(ctx context.Context, n *needed, key string, k kind) error {
	n.dying[key] = true
	if k != kindLeaf && k != kindNode {
		return nil
	}
	tree, err := r.readNode(ctx, key)
	if errors.Is(err, objstore.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read expired leaf: %w", err)
	}
	for _, child := range tree.entries {
		n.dying[child.name().key(tree.origins[child.origin], kindSegment)] = true
	}
	for _, child := range tree.refs {
		if err := r.dying(ctx, n, child.name().key(tree.origins[child.origin], child.kind), child.kind); err != nil {
			return err
		}
	}
	return nil
}

// has tells whether something needs an object.
func (n *needed) has(key string, k kind, name name) bool {
	if n.announced[key] || n.dying[key] || n.view.pointer.Root == key {
		return true
	}
	return k != kindRoot && n.view.names(dead{kind: k, number: name.number, epoch: name.epoch, id: name.id})
}

// orphans returns those of the keys that nothing needs.
func (n *needed) orphans(keys []string) []string {
	var orphans []string
	for _, key := range keys {
		if _, k, name, err := parseKey(key); err == nil && !n.has(key, k, name) {
			orphans = append(orphans, key)
		}
	}
	return orphans
}
