package tiering

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/varvelog/varve/tiering/objstore"
)

// maxCommitIntents bounds the intents that one transaction compares and deletes: etcd
// takes 128 operations, and leader, pointer and the tree's own objects need some.
const maxCommitIntents = 96

// maxCommitSegments bounds the segments of one commit, within maxCommitIntents.
const maxCommitSegments = 48

// attempt is one commit: the very transaction that may have to be repeated.
//
//	          Commit
//	            │ nil ──────────────────────────────────────────▶ committed
//	            │ fenced, conflict, other error ────────────────▶ not committed
//	            ▼ unknown
//	┌──────▶ uncertain: no commit, no deletion, offsets stay (I9)
//	│           │ resolve: the identical transaction again
//	│ unknown   ├─ nil ───────────────────────────────────────▶ committed
//	└───────────┤
//	            └─ fenced or conflict: read the pointer
//	                  ├─ it names our root ───────────────────▶ committed
//	                  ├─ an ancestor of it is our root ───────▶ committed, superseded
//	                  └─ neither ─────────────────────────────▶ not committed, and never will be:
//	                        leader key, pointer revision or intent are gone for good
//
// However it ends, after uncertainty the tree is read again. The writer never deletes
// what it wrote: its intents are still there and the janitor takes them (I8).
type attempt struct {
	fence   Fence
	from    Pointer
	draft   *draft
	intents []uuid.UUID
	buried  []uuid.UUID // of intents: stale ones, now on the dead list
	swept   []uuid.UUID // dropped from the dead list
}

// commit applies a change to the committed view: announce and write leaves and root,
// then swing the pointer. intents are those of c.add. It needs the turn.
func (r *Remote) commit(ctx context.Context, l lead, c change, intents []uuid.UUID) error {
	if r.uncertain != nil {
		return ErrUnknownOutcome
	}
	a := &attempt{fence: l.fence, from: l.view.pointer, intents: intents}
	for id, in := range r.stale {
		if len(a.intents) >= maxCommitIntents {
			break
		}
		if d, ok := r.deadOf(in); ok {
			c.bury = append(c.bury, d)
			a.intents, a.buried = append(a.intents, id), append(a.buried, id)
		}
	}
	c.swept = r.swept
	for id := range r.swept {
		a.swept = append(a.swept, id)
	}
	d, err := l.view.next(c, writer{
		epoch: l.fence.Epoch, now: r.tier.o.Now().UnixMilli(),
		delay: r.tier.o.DeleteDelay.Milliseconds(), newID: r.tier.o.NewID,
	})
	if err != nil {
		return fmt.Errorf("plan commit: %w", err)
	}
	a.draft = d
	for _, o := range d.objects {
		in, err := r.announce(ctx, l.fence, o.id, o.key)
		if err != nil {
			return fmt.Errorf("announce %s: %w", o.key, err)
		}
		r.stale[in.ID] = in // until the commit consumes it
		if err := r.tier.put(ctx, o.key, objstore.BytesBody(o.bytes)); err != nil {
			return fmt.Errorf("write %s: %w", o.key, err)
		}
		a.intents = append(a.intents, o.id)
	}
	return r.swing(ctx, a)
}

// announce writes an intent. Where it fails the intent may be there nevertheless: the next
// step begins with Ready, which finds it.
func (r *Remote) announce(ctx context.Context, f Fence, id uuid.UUID, key string) (Intent, error) {
	in := Intent{ID: id, Key: key, Epoch: f.Epoch, Created: r.tier.o.Now().UnixMilli()}
	ctx, cancel := context.WithTimeout(ctx, r.tier.o.RequestTimeout)
	defer cancel()
	if err := r.tier.o.Metadata.PutIntent(ctx, r.id, f, in); err != nil {
		r.unready()
		return Intent{}, err
	}
	return in, nil
}

// swing runs the transaction for the first time.
func (r *Remote) swing(ctx context.Context, a *attempt) error {
	to, err := r.transact(ctx, a)
	switch {
	case err == nil:
		r.committed(a, to)
		return nil
	case errors.Is(err, ErrFenced) || errors.Is(err, ErrConflict):
		r.unready()
		return fmt.Errorf("commit root %d: %w", a.draft.view.root.seq, err)
	case errors.Is(err, ErrUnknownOutcome) || ctx.Err() != nil:
		r.uncertain = a
		if err := r.resolve(ctx); err != nil {
			return err
		}
		return r.outcome(a)
	default:
		return fmt.Errorf("commit root %d: %w", a.draft.view.root.seq, err)
	}
}

// outcome tells of an attempt that was resolved whether it is part of the history.
func (r *Remote) outcome(a *attempt) error {
	if a.draft.view.pointer.Revision == 0 {
		return fmt.Errorf("commit root %d, after an unknown outcome: %w", a.draft.view.root.seq, ErrFenced)
	}
	return nil
}

func (r *Remote) transact(ctx context.Context, a *attempt) (Pointer, error) {
	ctx, cancel := context.WithTimeout(ctx, r.tier.o.RequestTimeout)
	defer cancel()
	p, err := r.tier.o.Metadata.Commit(ctx, r.id, a.fence, a.from, a.draft.view.pointer, a.intents)
	if err != nil && ctx.Err() != nil && !errors.Is(err, ErrUnknownOutcome) {
		err = fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	return p, err
}

// committed publishes an attempt that is the current pointer.
func (r *Remote) committed(a *attempt, p Pointer) {
	r.settle(a)
	a.draft.view.pointer = p
	r.adopt(p, a.draft.view)
}

// settle forgets what a commit that happened has taken care of.
func (r *Remote) settle(a *attempt) {
	for _, id := range a.intents {
		delete(r.stale, id)
	}
	for from, u := range r.staged {
		if slices.Contains(a.intents, u.entry.id) {
			delete(r.staged, from)
		}
	}
	for _, id := range a.swept {
		delete(r.swept, id)
	}
}

// resolveTries is how often an unknown outcome is asked about in one step.
const resolveTries = 2

// resolve decides an attempt of unknown outcome; see attempt. It returns
// ErrUnknownOutcome where that is not possible now. It needs the turn.
func (r *Remote) resolve(ctx context.Context) error {
	a := r.uncertain
	if a == nil {
		return nil
	}
	for range resolveTries {
		to, err := r.transact(ctx, a)
		if err == nil {
			r.uncertain = nil
			r.committed(a, to)
			return nil
		}
		if errors.Is(err, ErrFenced) || errors.Is(err, ErrConflict) {
			return r.decide(ctx, a)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("commit root %d: %w", a.draft.view.root.seq, ErrUnknownOutcome)
}

// decide finds out whether a transaction that can no longer be applied was applied.
func (r *Remote) decide(ctx context.Context, a *attempt) error {
	callCtx, cancel := context.WithTimeout(ctx, r.tier.o.RequestTimeout)
	defer cancel()
	p, err := r.tier.o.Metadata.Pointer(callCtx, r.id)
	if err != nil {
		return fmt.Errorf("%w: read tier pointer: %w", ErrUnknownOutcome, err)
	}
	mine := a.draft.view.pointer
	if p.Root == mine.Root {
		r.uncertain = nil
		r.committed(a, p)
		return nil
	}
	ancestor, err := r.descends(ctx, p, mine)
	if err != nil {
		return fmt.Errorf("%w: read ancestors of the root: %w", ErrUnknownOutcome, err)
	}
	r.uncertain = nil
	r.unready()
	if ancestor {
		r.settle(a)
		a.draft.view.pointer.Revision = p.Revision
	}
	return nil
}

// descends tells whether the root of mine is an ancestor of the root of p. Roots are
// deleted a delay after they were superseded; where the chain ends before it gets to
// mine, whoever committed in the meantime has long taken over, and the answer, which
// then only says how many segments to report, is no.
func (r *Remote) descends(ctx context.Context, p, mine Pointer) (bool, error) {
	if p.Seq <= mine.Seq {
		return false, nil
	}
	key, size, seq := p.Root, p.RootSize, p.Seq
	for {
		b, err := r.tier.getAll(ctx, key, 0, size)
		if errors.Is(err, objstore.ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		current, err := decodeRoot(key, r.id, b)
		if err != nil {
			return false, err
		}
		if current.parent == mine.Root {
			return true, nil
		}
		if current.seq != seq || seq-1 <= mine.Seq || current.parent == "" {
			return false, nil
		}
		key, seq = current.parent, seq-1
		o, err := r.tier.store.Head(ctx, key)
		if errors.Is(err, objstore.ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if size = o.Size; size > maxManifestObject {
			return false, corrupt(key, "%d bytes", size)
		}
	}
}

// deadOf is the object of a stale intent as the dead list names it. ok is false for keys
// of another prefix, which are not ours to delete (I46).
func (r *Remote) deadOf(in Intent) (dead, bool) {
	prefix, k, n, err := parseKey(in.Key)
	if err != nil || prefix != r.prefix {
		return dead{}, false
	}
	return dead{kind: k.announced(), number: n.number, epoch: n.epoch, id: n.id}, true
}
