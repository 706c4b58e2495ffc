package tiering

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/varvelog/varve/segment"
)

// PartitionID names a partition for good: topic ids are never reused.
type PartitionID struct {
	Topic     segment.TopicID
	Partition int32
}

// Fence is the proof of leadership that every commit carries: the revision of the
// partition's leader key and the epoch in it.
type Fence struct {
	LeaderRevision int64
	Epoch          int32
}

// Errors that callers choose by. Errors of the bucket wrap those of package objstore.
var (
	// ErrFenced: the partition has another leader by now, or the intent is gone.
	ErrFenced = errors.New("fenced by a newer leader")
	// ErrConflict: the pointer is not the one expected.
	ErrConflict = errors.New("tier pointer moved")
	// ErrUnknownOutcome: the metadata store did not say whether it applied the commit.
	ErrUnknownOutcome = errors.New("commit outcome unknown")
	// ErrNotReady: the bytes are on their way from the bucket; the waiter is signalled.
	ErrNotReady = errors.New("remote records not fetched yet")
	// ErrUnknown: the remote state of the partition has not been read yet.
	ErrUnknown = errors.New("remote log state not known yet")
	// ErrNotLeading: this replica may not commit, or Ready has not succeeded since Lead.
	ErrNotLeading = errors.New("not the leader of the remote log")
	// ErrBusy: too many downloads wait already; ask again later.
	ErrBusy = errors.New("too many remote reads are waiting")
	// ErrMissing: an object that the current root names is not in the bucket.
	ErrMissing = errors.New("committed object is missing from the bucket")
	// ErrGap: the local log begins above the tiered end, so what lies between is nowhere.
	ErrGap = errors.New("local log begins above the tiered end")
)

// Pointer is the committed state of a partition's remote log, kept in the metadata
// store (about 300 bytes).
type Pointer struct {
	Root     string `json:"root"`  // key of the root object
	RootCRC  uint32 `json:"crc"`   // CRC32C of the root object
	RootSize int64  `json:"size"`  // bytes
	Seq      int64  `json:"seq"`   // grows by one a commit
	Epoch    int32  `json:"epoch"` // leader epoch of the commit
	Start    int64  `json:"start"` // log start offset
	End      int64  `json:"end"`   // tiered end: one past the last offset in the bucket
	Revision int64  `json:"-"`     // modification revision of the key, 0: no pointer yet
}

// Intent announces an object before its first byte is written.
type Intent struct {
	ID       uuid.UUID `json:"id"`
	Key      string    `json:"key"`
	Epoch    int32     `json:"epoch"`
	Created  int64     `json:"created"` // ms
	Revision int64     `json:"-"`
}

// Metadata is the compare-and-swap store that fences commits (etcd; broker/cluster
// implements it). Every method is linearizable.
type Metadata interface {
	// Pointer returns the committed pointer, the zero Pointer where there is none.
	Pointer(ctx context.Context, p PartitionID) (Pointer, error)
	// PutIntent fails with ErrFenced where fence is not the current leader's.
	PutIntent(ctx context.Context, p PartitionID, fence Fence, in Intent) error
	Intents(ctx context.Context, p PartitionID) ([]Intent, error)
	// DropIntent removes an intent; after it no commit that needs it succeeds. An intent
	// that is gone already is no error.
	DropIntent(ctx context.Context, p PartitionID, fence Fence, id uuid.UUID) error
	// Commit swings the pointer from one value (by revision) to the next and removes
	// the intents, if leader, pointer and intents are all what we think. It returns
	// the new pointer with its revision, or ErrFenced (leader or intents), ErrConflict
	// (pointer), ErrUnknownOutcome. Any other error means that it was not applied.
	Commit(ctx context.Context, p PartitionID, fence Fence, from, to Pointer, intents []uuid.UUID) (Pointer, error)
	// Forget removes pointer and intents of a deleted topic's partition.
	Forget(ctx context.Context, p PartitionID) error
}
