// Package partition is one replica of one partition: it appends as a leader, reads
// for consumers from disk or bucket, keeps the high watermark, the last stable offset
// and the state of producers (KIP-98), and offers one synchronous step for each kind
// of background work. It knows no request and starts no goroutine.
package partition

import (
	"context"
	"errors"
	"time"

	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/tiering"
)

// Errors that api maps to protocol codes, one each.
var (
	ErrNotLeader            = errors.New("not the leader of this partition")           // NOT_LEADER_OR_FOLLOWER
	ErrFencedEpoch          = errors.New("leader epoch is older than the partition's") // FENCED_LEADER_EPOCH
	ErrUnknownEpoch         = errors.New("leader epoch is newer than the partition's") // UNKNOWN_LEADER_EPOCH
	ErrOffsetOutOfRange     = errors.New("offset out of range")
	ErrNotEnoughReplicas    = errors.New("not enough in-sync replicas")
	ErrOutOfOrderSequence   = errors.New("out of order sequence number")
	ErrInvalidProducerEpoch = errors.New("producer epoch is older than the current one")
	ErrUnknownProducerID    = errors.New("unknown producer id")
	ErrDuplicateSequence    = errors.New("duplicate sequence number")
	ErrMessageTooLarge      = errors.New("record batch larger than max.message.bytes")
	ErrStorage              = errors.New("log has failed")      // KAFKA_STORAGE_ERROR
	ErrClosed               = errors.New("partition is closed") // NOT_LEADER_OR_FOLLOWER
)

// Options make a partition.
type Options struct {
	Topic  string
	ID     tiering.PartitionID
	NodeID int32
	Log    *segment.Log
	Remote *tiering.Remote // nil: this topic is not tiered and never was
	Config config.Topic
	Now    func() time.Time
	// ProducerExpiry is producer.id.expiration.ms.
	ProducerExpiry  time.Duration
	MaxDecompressed int64
}

// Partition is a replica.
type Partition struct{}

// New makes a partition over an open log: producer state is rebuilt from the newest
// snapshot and the batches above it.
func New(o Options) (*Partition, error) { panic("unbuilt") }

func (p *Partition) Topic() string           { panic("unbuilt") }
func (p *Partition) ID() tiering.PartitionID { panic("unbuilt") }

// Lead makes this replica the leader of epoch; fence goes to the tier. isr are the
// in-sync replicas. Resign makes it a plain replica.
func (p *Partition) Lead(ctx context.Context, epoch int32, fence tiering.Fence, isr []int32) error {
	panic("unbuilt")
}
func (p *Partition) Resign() { panic("unbuilt") }

// SetISR replaces the in-sync replicas of the current epoch.
func (p *Partition) SetISR(isr []int32)       { panic("unbuilt") }
func (p *Partition) SetConfig(c config.Topic) { panic("unbuilt") }
func (p *Partition) Config() config.Topic     { panic("unbuilt") }

// Offsets is one consistent snapshot.
//
// Invariant: LogStart <= LocalStart <= End and LogStart <= LastStable <= HighWatermark <= End.
type Offsets struct {
	LogStart, LocalStart      int64
	LastStable, HighWatermark int64
	End                       int64
	TieredEnd                 int64 // -1: not tiered
	LeaderEpoch               int32
	Leader                    bool
}

func (p *Partition) Offsets() Offsets { panic("unbuilt") }

// Append says what to append.
type Append struct {
	Records []byte // exactly one batch from a client; modified in place
	Acks    int16  // -1, 0, 1
	// LeaderEpoch fences internal writers; -1: any.
	LeaderEpoch int32
	// Internal allows control batches and internal topics (coordinators).
	Internal bool
}

// Appended is an append that was written and is not yet durable.
type Appended struct {
	BaseOffset    int64
	NextOffset    int64
	LogAppendTime int64 // ms, -1: CreateTime
	LogStart      int64
	Duplicate     bool // the batch was already there (KIP-98); BaseOffset is the first one's
}

// AppendAsLeader validates one batch, checks its producer, assigns offsets and writes
// it. It does not wait: Wait does.
func (p *Partition) AppendAsLeader(a Append) (Appended, error) { panic("unbuilt") }

// Wait waits until everything below a.NextOffset is acknowledged by all in-sync
// replicas (high watermark), the partition fails or loses leadership, or ctx ends.
func (p *Partition) Wait(ctx context.Context, a Appended) error { panic("unbuilt") }

// Isolation of reads.
const (
	ReadUncommitted int8 = 0
	ReadCommitted   int8 = 1
)

// ReadSpec says what to read.
type ReadSpec struct {
	Offset             int64
	MaxBytes           int64
	OneBatch           bool // at least one whole batch
	Isolation          int8
	CurrentLeaderEpoch int32 // -1: unknown
	LastFetchedEpoch   int32 // -1: unknown (KIP-320)
}

// ReadResult is what was found. Records has to be released.
type ReadResult struct {
	Records segment.Records
	Offsets Offsets
	Aborted []index.AbortedTxn // ReadCommitted only
	// Diverging is set where LastFetchedEpoch's lineage is not ours: epoch and end offset.
	Diverging *segment.EpochStart
	// Pending: the bytes are in the bucket and on their way; the waiter is signalled.
	Pending bool
}

// Read reads from disk or bucket; it never waits.
func (p *Partition) Read(s ReadSpec, w *segment.Waiter) (ReadResult, error) { panic("unbuilt") }

// Watch registers a waiter signalled when the high watermark, last stable offset, log
// start or leadership changes.
func (p *Partition) Watch(w *segment.Waiter)   { panic("unbuilt") }
func (p *Partition) Unwatch(w *segment.Waiter) { panic("unbuilt") }

// ListOffset answers ListOffsets for one timestamp, the special ones (-1 … -6) too
// (PROTOCOL.md section 2.1). Offset -1: none found.
func (p *Partition) ListOffset(ctx context.Context, ts int64, isolation int8, currentEpoch int32) (segment.Timestamped, error) {
	panic("unbuilt")
}

// EpochEnd answers OffsetForLeaderEpoch (KIP-320).
func (p *Partition) EpochEnd(ctx context.Context, currentEpoch, epoch int32) (int32, int64, error) {
	panic("unbuilt")
}

// DeleteRecords raises the log start offset; -1: to the high watermark. It returns the new one.
func (p *Partition) DeleteRecords(ctx context.Context, offset int64) (int64, error) { panic("unbuilt") }

// Scan calls yield with each batch of [from, high watermark) in order, local log
// only: how coordinators load their state.
func (p *Partition) Scan(ctx context.Context, from int64, yield func(batch.Batch) error) error {
	panic("unbuilt")
}

// ProducerInfo is an active producer (DescribeProducers, KIP-664).
type ProducerInfo struct {
	ProducerID       int64
	ProducerEpoch    int16
	LastSequence     int32
	LastTimestamp    int64 // ms
	CoordinatorEpoch int32
	CurrentTxnFirst  int64 // -1: none
}

func (p *Partition) Producers() []ProducerInfo { panic("unbuilt") }

// Steps of background work; each is one synchronous pass, called from broker/run.go.

// Roll rolls by time and snapshots producers at the segment border.
func (p *Partition) Roll(now time.Time) error { panic("unbuilt") }

// Copy copies sealed segments to the bucket.
func (p *Partition) Copy(ctx context.Context) (int, error) { panic("unbuilt") }

// Retain applies retention.Plan in both tiers.
func (p *Partition) Retain(ctx context.Context, now time.Time) error { panic("unbuilt") }

// Sweep removes dead objects.
func (p *Partition) Sweep(ctx context.Context) error { panic("unbuilt") }

// ExpireProducers forgets producers that wrote nothing for ProducerExpiry.
func (p *Partition) ExpireProducers(now time.Time) { panic("unbuilt") }

// Size of the local log and of the remote one in bytes.
func (p *Partition) Size() (local, remote int64) { panic("unbuilt") }

// Close closes the log; Delete removes it.
func (p *Partition) Close() error  { panic("unbuilt") }
func (p *Partition) Delete() error { panic("unbuilt") }
