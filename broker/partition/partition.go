// Package partition is one replica of one partition: it appends as a leader, reads
// for consumers from disk or bucket, keeps the high watermark, the last stable offset
// and the state of producers (KIP-98), and offers one synchronous step for each kind
// of background work. It knows no request and starts no goroutine.
//
// What always holds, as every caller sees it in one Offsets:
//
//	log start <= local log start <= end
//	log start <= last stable <= high watermark <= end
//	local log start <= tiered end, where the topic is tiered
//
// and the high watermark, the last stable offset and the log start never go back.
package partition

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/tiering"
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
	ProducerExpiry time.Duration
	// MaxDecompressed bounds in bytes what a compressed batch may expand to; 16 times
	// max.message.bytes bounds it too, the smaller of both counts.
	MaxDecompressed int64
	// Cleaned returns the offset below which the log has been compacted, 0 where it has
	// not; nil: it never is.
	Cleaned func() int64
}

// Partition is a replica. Its methods may be called from any goroutine.
//
// Of the two locks writing comes before mu. Nobody waits for a network under either,
// and for a disk under writing only.
type Partition struct {
	topic           string
	id              tiering.PartitionID
	nodeID          int32
	log             *segment.Log
	remote          *tiering.Remote // nil: none
	now             func() time.Time
	producerExpiry  atomic.Int64 // ns
	maxDecompressed int64
	cleaned         func() int64
	config          atomic.Pointer[config.Topic]
	copying         chan struct{} // has one element while somebody holds copies

	// writing is held by whoever moves the log's end or its roll, and around a change
	// of leadership: no append is under way then.
	writing   sync.Mutex
	producers producers
	guards    guards
	lastGuard Guard
	active    int64          // base offset of the active segment
	one       [1]batch.Batch // the argument of Log.Append
	closed    bool
	// unsnapped is how many bytes of batches lie above the newest snapshot.
	unsnapped int64
	// incomplete: of producers that wrote below the local log start only, nothing is known,
	// and the bucket has not been asked. Until it has, no producer snapshot is written, so
	// that after a restart it is asked again, and nothing is copied. See complete.
	incomplete bool
	recovered  time.Time // when the producers were read from the local log

	// snapshots orders the writing of snapshots, which happens outside of writing, and
	// makes Close wait for it.
	snapshots sync.Mutex

	mu           sync.Mutex
	leader       bool
	epoch        int32           // the last one led, -1: none; changed under writing, too
	epochStart   int64           // log end when the epoch began
	isr          []int32         // in-sync replicas, of the leader only
	ends         map[int32]int64 // acknowledged end of each follower, of this epoch
	replicas     int             // 0: unknown
	high         int64           // high watermark
	transactions transactions
	// snapshotEnd is the last segment border whose producer snapshot has been dealt
	// with: segments that end above it are not copied yet.
	snapshotEnd int64
	snapshotErr error // of the last snapshot, reported by Roll
}

// New makes a partition over an open log: producer state is rebuilt from the newest
// snapshot and the batches above it. The partition leads nothing yet, and its high
// watermark is the log start: what is committed shows when it leads.
func New(o Options) (*Partition, error) {
	p := &Partition{
		topic: o.Topic, id: o.ID, nodeID: o.NodeID, log: o.Log, remote: o.Remote, now: o.Now,
		maxDecompressed: o.MaxDecompressed,
		producers:       producers{}, guards: guards{}, epoch: none, cleaned: o.Cleaned, copying: make(chan struct{}, 1),
	}
	if p.cleaned == nil {
		p.cleaned = func() int64 { return 0 }
	}
	p.config.Store(&o.Config)
	p.SetProducerExpiry(o.ProducerExpiry)
	if p.remote == nil {
		// A log start below the disk's is one that a crash took back; nobody has the rest.
		if err := p.log.SetLogStart(p.log.Offsets().LocalStart); err != nil {
			return nil, fmt.Errorf("raise log start of %s-%d: %w", o.Topic, o.ID.Partition, err)
		}
	}
	p.high = p.log.Offsets().LogStart
	if err := p.recover(); err != nil {
		return nil, fmt.Errorf("recover producers of %s-%d: %w", o.Topic, o.ID.Partition, err)
	}
	return p, nil
}

// Topic returns the topic's name.
func (p *Partition) Topic() string { return p.topic }

// ID returns what names the partition for good.
func (p *Partition) ID() tiering.PartitionID { return p.id }

// Config returns the topic's settings.
func (p *Partition) Config() config.Topic { return *p.config.Load() }

// SetConfig replaces the topic's settings; the log's part of them takes effect at once.
func (p *Partition) SetConfig(c config.Topic) {
	p.config.Store(&c)
	p.log.SetConfig(LogConfig(c, p.id))
}

// SetProducerExpiry changes producer.id.expiration.ms. It takes effect with the next
// ExpireProducers.
func (p *Partition) SetProducerExpiry(d time.Duration) { p.producerExpiry.Store(int64(d)) }

// LogConfig is what a log needs to know of a topic's settings. The jitter that
// segment.jitter.ms allows is taken from the partition's id, so that partitions made
// at one time do not roll at one time, and stay the same after a restart.
func LogConfig(c config.Topic, id tiering.PartitionID) segment.Config {
	age := c.SegmentAge
	if c.CleanupCompact && c.MaxCompactionLag > 0 {
		age = min(age, c.MaxCompactionLag) // only sealed segments are compacted
	}
	if c.SegmentJitter > 0 {
		age -= time.Duration(float64(min(c.SegmentJitter, age)) * jitter(id))
	}
	return segment.Config{
		SegmentBytes:  c.SegmentBytes,
		SegmentAge:    age,
		IndexInterval: c.IndexInterval,
		IndexBytes:    c.IndexBytes,
		FlushMessages: c.FlushMessages,
		FlushAge:      c.FlushAge,
		DeleteDelay:   c.DeleteDelay,
		Preallocate:   c.Preallocate,
	}
}

// jitter spreads partition ids over [0, 1): FNV-1a.
func jitter(id tiering.PartitionID) float64 {
	h := uint32(2166136261)
	for _, b := range id.Topic {
		h = (h ^ uint32(b)) * 16777619
	}
	for shift := 0; shift < 32; shift += 8 {
		h = (h ^ uint32(id.Partition)>>shift&0xff) * 16777619
	}
	return float64(h) / (1 << 32)
}

// Lead makes this replica the leader of epoch; fence goes to the tier. isr are the
// in-sync replicas. Of the tier only the pointer is read, from the metadata store; the
// bucket is read here only after a loss, see catchUp.
//
// It returns ErrFencedEpoch where a newer epoch has been led already.
func (p *Partition) Lead(ctx context.Context, epoch int32, fence tiering.Fence, isr []int32) error {
	if p.remote != nil {
		if err := p.remote.Load(ctx); err != nil {
			return fmt.Errorf("load tier pointer of %s-%d: %w", p.topic, p.id.Partition, remoteError(err))
		}
		if err := p.catchUp(ctx); err != nil {
			return fmt.Errorf("bring %s-%d up to its tiered end: %w", p.topic, p.id.Partition, err)
		}
	}
	p.writing.Lock()
	defer p.writing.Unlock()
	if p.closed {
		return ErrClosed
	}
	if epoch < p.epoch {
		return fmt.Errorf("%w: %d, the current one is %d", ErrFencedEpoch, epoch, p.epoch)
	}
	if err := p.log.AssignEpoch(epoch); err != nil {
		return logError(err)
	}
	p.mu.Lock()
	if epoch != p.epoch || !p.leader {
		p.ends = map[int32]int64{}
		p.epochStart = p.log.Offsets().End
	}
	p.leader, p.epoch, p.isr = true, epoch, slices.Clone(isr)
	p.mu.Unlock()
	if p.remote != nil {
		p.remote.Lead(fence)
	}
	p.log.Notify()
	return nil
}

// Resign makes this replica a plain one. No append of the old epoch is under way
// when it returns.
func (p *Partition) Resign() {
	p.writing.Lock()
	defer p.writing.Unlock()
	p.resign()
}

// resign is Resign for a caller that holds writing.
func (p *Partition) resign() {
	p.mu.Lock()
	p.leader, p.isr, p.ends = false, nil, nil
	p.mu.Unlock()
	if p.remote != nil {
		p.remote.Resign()
	}
	p.log.Notify()
}

// Size returns the bytes of the local log and of the remote one; of the remote one 0
// while it is not known.
func (p *Partition) Size() (local, remote int64) {
	if p.remote != nil {
		remote = max(0, p.remote.Offsets().Bytes)
	}
	return p.log.Size(), remote
}

// Close resigns, stores a producer snapshot at the log end, so that the next start
// scans nothing, unless the producers are incomplete, and closes the log.
func (p *Partition) Close() error {
	p.writing.Lock()
	defer p.writing.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	p.resign()
	p.snapshots.Lock()
	defer p.snapshots.Unlock()
	var err error
	if p.log.Err() == nil && !p.incomplete {
		err = p.log.WriteSnapshot(p.log.Offsets().End, p.producers.states())
	}
	return errors.Join(err, p.log.Close())
}

// Delete removes the log. What is in the bucket stays: (*tiering.Tier).DeletePartition
// removes it.
func (p *Partition) Delete() error {
	p.writing.Lock()
	defer p.writing.Unlock()
	p.closed = true
	p.resign()
	p.snapshots.Lock()
	defer p.snapshots.Unlock()
	return p.log.Delete()
}
