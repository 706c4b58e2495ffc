// Package tiering moves sealed segments to an object store and reads them back: the
// bucket protocol (object, footer, manifest tree, pointer commit), the copier, the
// remote log, the chunk cache and the janitor. It decides nothing about retention
// (package retention does) and knows no Kafka request.
package tiering

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/vfs"
	"github.com/varvelog/varve/tiering/objstore"
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

// Errors that callers choose by.
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
	Pointer(ctx context.Context, p PartitionID) (Pointer, error)
	// PutIntent fails with ErrFenced where fence is not the current leader's.
	PutIntent(ctx context.Context, p PartitionID, fence Fence, in Intent) error
	Intents(ctx context.Context, p PartitionID) ([]Intent, error)
	// DropIntent removes an intent; after it no commit that needs it succeeds.
	DropIntent(ctx context.Context, p PartitionID, fence Fence, id uuid.UUID) error
	// Commit swings the pointer from one value (by revision) to the next and removes
	// the intents, if leader, pointer and intents are all what we think. It returns
	// the new pointer with its revision, or ErrFenced, ErrConflict, ErrUnknownOutcome.
	Commit(ctx context.Context, p PartitionID, fence Fence, from, to Pointer, intents []uuid.UUID) (Pointer, error)
	// Forget removes pointer and intents of a deleted topic's partition.
	Forget(ctx context.Context, p PartitionID) error
}

// Options of a broker's tier.
type Options struct {
	Bucket    objstore.Bucket
	Metadata  Metadata
	ClusterID string
	FS        vfs.FS
	CacheDir  string
	Now       func() time.Time
	NewID     func() uuid.UUID

	CacheBytes             int64         // chunk cache budget on disk
	ChunkBytes             int64         // 4 MiB: granularity of the chunk table
	ReadAheadBytes         int64         // bound per reading partition
	FetchConcurrency       int           // ranges in flight per broker, 32
	CopyConcurrency        int           // segments in flight per broker, 4
	RequestTimeout         time.Duration // hard deadline of one store call
	DeleteDelay            time.Duration // between dead list and DELETE
	CopyMaxBytesPerSecond  int64         // remote.log.manager.copy.max.bytes.per.second
	FetchMaxBytesPerSecond int64         // remote.log.manager.fetch.max.bytes.per.second
}

// Tier is a broker's access to the bucket, shared by its partitions.
type Tier struct{}

func New(o Options) (*Tier, error) { panic("unbuilt") }

// Run serves downloads until ctx ends.
func (t *Tier) Run(ctx context.Context) error { panic("unbuilt") }

// Remote returns the remote log of one partition. It costs memory only.
func (t *Tier) Remote(p PartitionID) *Remote { panic("unbuilt") }

// DeletePartition removes every object of a deleted topic's partition, then forgets
// its pointer and intents. It is repeated until it returns nil.
func (t *Tier) DeletePartition(ctx context.Context, p PartitionID) error { panic("unbuilt") }

// Stats for metrics and DescribeLogDirs.
type Stats struct {
	CacheBytes, CacheChunks, CacheHits, CacheMisses, Evictions int64
	GetBytes, GetCalls, PutBytes, PutCalls, DeleteCalls        int64
	InFlight, Queued                                           int64
	ChecksumFailures                                           int64
}

func (t *Tier) Stats() Stats { panic("unbuilt") }

// Remote is the remote log of one partition.
type Remote struct{}

// Offsets is one consistent snapshot of the committed remote log.
type Offsets struct {
	Known    bool  // false until the pointer was read
	Start    int64 // log start offset in the committed root
	End      int64 // tiered end
	Bytes    int64 // of committed segments; -1 until the root was read
	Segments int
}

func (r *Remote) Offsets() Offsets { panic("unbuilt") }

// Load reads the pointer (metadata store only, never the bucket). A leader does it
// before it serves; the root itself is read in the background by the first Step.
func (r *Remote) Load(ctx context.Context) error { panic("unbuilt") }

// Lead makes this replica the one that may commit; Resign ends that.
func (r *Remote) Lead(fence Fence) { panic("unbuilt") }
func (r *Remote) Resign()          { panic("unbuilt") }

// Ready reads the root if it has not been read in this epoch, adopts or fences old
// intents. Copy, Expire and Sweep do nothing before it succeeded (I25).
func (r *Remote) Ready(ctx context.Context) error { panic("unbuilt") }

// Copy copies the sealed segments of l that end at or below bound (min of high
// watermark and last stable offset) and are not in the bucket yet: intent, verified
// upload, new root, commit of the contiguous prefix. It returns how many were committed.
func (r *Remote) Copy(ctx context.Context, l *segment.Log, bound int64) (int, error) {
	panic("unbuilt")
}

// Expire commits a new start offset; entries wholly below it move to the dead list.
func (r *Remote) Expire(ctx context.Context, start int64) error { panic("unbuilt") }

// Sweep deletes dead objects whose delay has passed and which no reader holds, and
// drops them from the dead list with the next root. It returns how many went.
func (r *Remote) Sweep(ctx context.Context) (int, error) { panic("unbuilt") }

// Read finds records as (*segment.Log).Read does, in [Start, min(End, bound)). It
// never waits: where the bytes are not here it begins to fetch them and returns
// ErrNotReady; w is signalled when it is worth asking again.
func (r *Remote) Read(offset, bound, maxBytes int64, oneBatch bool, w *segment.Waiter) (segment.Records, error) {
	panic("unbuilt")
}

// Aborted returns the aborted transactions that overlap [from, to); ErrNotReady as Read.
func (r *Remote) Aborted(from, to int64, w *segment.Waiter) ([]index.AbortedTxn, error) {
	panic("unbuilt")
}

// FirstAtOrAfter and MaxTimestamp look records up by time; they wait for the bucket.
func (r *Remote) FirstAtOrAfter(ctx context.Context, ts, bound int64) (segment.Timestamped, bool, error) {
	panic("unbuilt")
}
func (r *Remote) MaxTimestamp(ctx context.Context, bound int64) (segment.Timestamped, bool, error) {
	panic("unbuilt")
}

// Snapshot returns the producer snapshot at End and the lineage, for a replica that starts from the tier.
func (r *Remote) Snapshot(ctx context.Context) (producers []byte, epochs []segment.EpochStart, err error) {
	panic("unbuilt")
}

// EpochEnd is (*segment.Log).EpochEnd for the remote lineage.
func (r *Remote) EpochEnd(ctx context.Context, epoch int32) (int32, int64, error) { panic("unbuilt") }

// Entry is one committed segment in the bucket.
type Entry struct {
	Base         int64
	Next         int64
	Size         int64 // bytes of the log part
	ObjectSize   int64 // bytes of the object
	MaxTimestamp int64 // ms
	Epoch        int32 // leader epoch of the copy
	Key          string
}

// Entries returns the committed segments in offset order; nil before Ready.
func (r *Remote) Entries() []Entry { panic("unbuilt") }
