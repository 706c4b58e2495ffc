// Package tieringtest has a metadata store in memory for tests of tiering: the same
// compare-and-swap as the real one, with faults on demand.
package tieringtest

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/varvelog/varve/tiering"
)

// Op is an operation as hooks see it.
type Op string

// The operations.
const (
	Pointer    Op = "pointer"
	PutIntent  Op = "put intent"
	Intents    Op = "intents"
	DropIntent Op = "drop intent"
	Commit     Op = "commit"
	Forget     Op = "forget"
)

// Fault is what befalls one operation; the zero value is none.
type Fault struct {
	Before error         // fails it without effect
	After  error         // fails it after the effect
	Wait   chan struct{} // holds it back until closed, or until its context ends
	Hang   bool          // holds it until its context ends, without effect
}

// Metadata is a tiering.Metadata in memory.
type Metadata struct {
	mu       sync.Mutex
	hook     func(Op, tiering.PartitionID) Fault
	onCommit func(tiering.PartitionID, tiering.Pointer)
	revision int64
	leaders  map[tiering.PartitionID]int64 // revision of the leader key
	epochs   map[tiering.PartitionID]int32
	pointers map[tiering.PartitionID]tiering.Pointer
	intents  map[tiering.PartitionID]map[uuid.UUID]tiering.Intent
}

// NewMetadata returns an empty store.
func NewMetadata() *Metadata {
	return &Metadata{
		leaders: map[tiering.PartitionID]int64{}, epochs: map[tiering.PartitionID]int32{},
		pointers: map[tiering.PartitionID]tiering.Pointer{}, intents: map[tiering.PartitionID]map[uuid.UUID]tiering.Intent{},
	}
}

// SetHook replaces what decides on faults; nil heals the store. It is called without locks.
func (m *Metadata) SetHook(hook func(Op, tiering.PartitionID) Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = hook
}

// SetOnCommit sets what looks at each pointer at the instant it is committed.
func (m *Metadata) SetOnCommit(f func(tiering.PartitionID, tiering.Pointer)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.onCommit = f
}

// Elect gives a partition its next leader.
func (m *Metadata) Elect(p tiering.PartitionID) tiering.Fence {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.revision++
	m.leaders[p] = m.revision
	m.epochs[p]++
	return tiering.Fence{LeaderRevision: m.revision, Epoch: m.epochs[p]}
}

func (m *Metadata) begin(ctx context.Context, op Op, p tiering.PartitionID) (Fault, error) {
	m.mu.Lock()
	hook := m.hook
	m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return Fault{}, err
	}
	if hook == nil {
		return Fault{}, nil
	}
	f := hook(op, p)
	if f.Hang {
		<-ctx.Done()
		return f, ctx.Err()
	}
	if f.Wait != nil {
		select {
		case <-f.Wait:
		case <-ctx.Done():
			return f, ctx.Err()
		}
	}
	return f, f.Before
}

// Pointer implements tiering.Metadata.
func (m *Metadata) Pointer(ctx context.Context, p tiering.PartitionID) (tiering.Pointer, error) {
	f, err := m.begin(ctx, Pointer, p)
	if err != nil {
		return tiering.Pointer{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pointers[p], f.After
}

// PutIntent implements tiering.Metadata.
func (m *Metadata) PutIntent(ctx context.Context, p tiering.PartitionID, fence tiering.Fence, in tiering.Intent) error {
	f, err := m.begin(ctx, PutIntent, p)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.leaders[p] != fence.LeaderRevision {
		return tiering.ErrFenced
	}
	m.revision++
	in.Revision = m.revision
	if m.intents[p] == nil {
		m.intents[p] = map[uuid.UUID]tiering.Intent{}
	}
	m.intents[p][in.ID] = in
	return f.After
}

// Intents implements tiering.Metadata.
func (m *Metadata) Intents(ctx context.Context, p tiering.PartitionID) ([]tiering.Intent, error) {
	f, err := m.begin(ctx, Intents, p)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.SortedFunc(maps.Values(m.intents[p]), func(a, b tiering.Intent) int { return int(a.Revision - b.Revision) }), f.After
}

// DropIntent implements tiering.Metadata.
func (m *Metadata) DropIntent(ctx context.Context, p tiering.PartitionID, fence tiering.Fence, id uuid.UUID) error {
	f, err := m.begin(ctx, DropIntent, p)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.leaders[p] != fence.LeaderRevision {
		return tiering.ErrFenced
	}
	delete(m.intents[p], id)
	return f.After
}

// Commit implements tiering.Metadata.
func (m *Metadata) Commit(ctx context.Context, p tiering.PartitionID, fence tiering.Fence, from, to tiering.Pointer, intents []uuid.UUID) (tiering.Pointer, error) {
	f, err := m.begin(ctx, Commit, p)
	if err != nil {
		return tiering.Pointer{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.leaders[p] != fence.LeaderRevision {
		return tiering.Pointer{}, tiering.ErrFenced
	}
	if m.pointers[p].Revision != from.Revision {
		return tiering.Pointer{}, tiering.ErrConflict
	}
	for _, id := range intents {
		if _, ok := m.intents[p][id]; !ok {
			return tiering.Pointer{}, tiering.ErrFenced
		}
	}
	for _, id := range intents {
		delete(m.intents[p], id)
	}
	m.revision++
	to.Revision = m.revision
	m.pointers[p] = to
	if m.onCommit != nil {
		m.onCommit(p, to)
	}
	if f.After != nil {
		return tiering.Pointer{}, f.After
	}
	return to, nil
}

// Forget implements tiering.Metadata.
func (m *Metadata) Forget(ctx context.Context, p tiering.PartitionID) error {
	f, err := m.begin(ctx, Forget, p)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.pointers, p)
	delete(m.intents, p)
	return f.After
}

var _ tiering.Metadata = (*Metadata)(nil)
