package share

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/broker/coordinator"
	sharestate "github.com/varvelog/varve/broker/coordinator/share"
	"github.com/varvelog/varve/broker/partition"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
	"github.com/varvelog/varve/tiering"
)

// store is a share coordinator of one share partition, whose decisions are the real
// coordinator's.
type store struct {
	mu       sync.Mutex
	state    *sharestate.State
	hold     chan struct{} // not nil: what is written is answered when it is closed
	code     int16         // not 0: what writes answer, without writing
	lost     bool          // writes are made, and their answers are lost
	writes   int
	readings int
}

var theKey = sharestate.Key{Group: "g", Topic: [16]byte{1}}

func newStore() *store {
	s := &store{}
	s.initialize(0)
	return s
}

// initialize begins the share partition anew, as the group coordinator does.
func (s *store) initialize(stateEpoch int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = s.state.Initialize(0, theKey, sharestate.Initialization{StateEpoch: stateEpoch, StartOffset: sharestate.None}).Next
}

// begin begins the share partition at an offset, as AlterShareGroupOffsets does.
func (s *store) begin(start int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = s.state.Initialize(0, theKey, sharestate.Initialization{StateEpoch: s.state.StateEpoch + 1, StartOffset: start}).Next
}

func (s *store) Read(q *kmsg.ReadShareGroupStateRequest) coordinator.Pending[*kmsg.ReadShareGroupStateResponse] {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readings++
	at := kmsg.NewReadShareGroupStateResponseTopicPartition()
	step := s.state.Read(0, theKey, 500, q.Topics[0].Partitions[0].LeaderEpoch)
	if step.Refusal != nil {
		at.ErrorCode = step.Refusal.Code
	} else {
		s.state = step.Next
		at.StateEpoch, at.StartOffset = s.state.StateEpoch, s.state.StartOffset
		for _, b := range s.state.Batches {
			at.StateBatches = append(at.StateBatches, kmsg.ReadShareGroupStateResponseTopicPartitionStateBatch{
				FirstOffset: b.First, LastOffset: b.Last, DeliveryState: b.DeliveryState, DeliveryCount: b.DeliveryCount,
			})
		}
	}
	p := kmsg.NewPtrReadShareGroupStateResponse()
	p.Topics = []kmsg.ReadShareGroupStateResponseTopic{{Partitions: []kmsg.ReadShareGroupStateResponseTopicPartition{at}}}
	return func(context.Context) (*kmsg.ReadShareGroupStateResponse, error) { return p, nil }
}

func (s *store) Write(q *kmsg.WriteShareGroupStateRequest) coordinator.Pending[*kmsg.WriteShareGroupStateResponse] {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	from := &q.Topics[0].Partitions[0]
	code := s.code
	if code == 0 {
		u := sharestate.Update{StateEpoch: from.StateEpoch, LeaderEpoch: from.LeaderEpoch, StartOffset: from.StartOffset, DeliveryComplete: from.DeliveryCompleteCount}
		for _, b := range from.StateBatches {
			u.Batches = append(u.Batches, sharestate.Batch{First: b.FirstOffset, Last: b.LastOffset, DeliveryState: b.DeliveryState, DeliveryCount: b.DeliveryCount})
		}
		if step := s.state.Write(0, theKey, 500, u); step.Refusal != nil {
			code = step.Refusal.Code
		} else {
			s.state = step.Next
		}
	}
	p := kmsg.NewPtrWriteShareGroupStateResponse()
	p.Topics = []kmsg.WriteShareGroupStateResponseTopic{{Partitions: []kmsg.WriteShareGroupStateResponseTopicPartition{{ErrorCode: code}}}}
	hold, lost := s.hold, s.lost
	return func(ctx context.Context) (*kmsg.WriteShareGroupStateResponse, error) {
		if hold != nil {
			select {
			case <-hold:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		if lost {
			return nil, context.DeadlineExceeded
		}
		return p, nil
	}
}

func (s *store) lose(answers bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = answers
}

func (s *store) refuse(err *kerr.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.code = 0
	if err != nil {
		s.code = err.Code
	}
}

// house is a broker that leads one partition, in memory.
type house struct {
	t        *testing.T
	dir      *segment.Dir
	replica  *partition.Partition
	store    *store
	settings Settings
	clock    atomic.Int64 // ms
	m        *Manager
}

func newHouse(t *testing.T, s Settings) *house {
	t.Helper()
	h := &house{t: t, store: newStore(), settings: s}
	h.clock.Store(1_000_000)
	dir, err := segment.OpenDir(segment.DirOptions{FS: vfs.NewMem(), Path: "/data", NodeID: 1, ClusterID: "c"})
	h.must(err)
	c := config.Topic{
		RetentionMs: -1, RetentionBytes: -1, LocalRetentionMs: -2, LocalRetentionBytes: -2, CleanupDelete: true, SegmentBytes: 1 << 20,
		SegmentAge: time.Hour, IndexBytes: 10 << 20, IndexInterval: 4096, FlushMessages: 1, MinInsyncReplicas: 1, MaxMessageBytes: 1 << 20,
		TimestampBeforeMaxMs: 1 << 60, TimestampAfterMaxMs: 1 << 60,
	}
	id := tiering.PartitionID{Topic: theKey.Topic}
	log, _, err := dir.OpenLog("t", 0, id.Topic, segment.Options{Config: partition.LogConfig(c, id), Now: h.now})
	h.must(err)
	h.replica, err = partition.New(partition.Options{Topic: "t", ID: id, NodeID: 1, Log: log, Config: c, Now: h.now, ProducerExpiry: time.Hour, MaxDecompressed: 1 << 20})
	h.must(err)
	h.lead(1)
	h.dir = dir
	t.Cleanup(func() {
		dir.Committer().Commit()
		h.must(h.replica.Close())
		h.must(dir.Close())
	})
	h.start()
	return h
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) now() time.Time { return time.UnixMilli(h.clock.Load()) }

func (h *house) lead(epoch int32) {
	h.t.Helper()
	h.must(h.replica.Lead(h.t.Context(), epoch, tiering.Fence{}, []int32{1}))
}

// start makes a manager that knows nothing but what is stored.
func (h *house) start() {
	h.m = NewManager(Options{Persister: h.store, Settings: func(string) Settings { return h.settings }, Now: h.now, Wall: h.now, Sessions: func() int { return 10 }})
}

// produce appends a batch of n records.
func (h *house) produce(n int) {
	h.t.Helper()
	records := make([]batch.Record, n)
	for i := range records {
		records[i] = batch.Record{Timestamp: h.clock.Load(), Value: []byte("v")}
	}
	b, err := batch.Builder{ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1}.Build(0, -1, records)
	h.must(err)
	a, err := h.replica.AppendAsLeader(partition.Append{Records: b, Acks: -1, LeaderEpoch: -1})
	h.must(err)
	h.dir.Committer().Commit()
	h.must(h.replica.Wait(h.t.Context(), a))
}

// open is the share partition, loaded.
func (h *house) open() (*Partition, error) {
	parts, errs := h.m.Open(h.t.Context(), "g", []*partition.Partition{h.replica})
	return parts[0], errs[0]
}

// acquire looks and takes, and tells what was acquired.
func (h *house) acquire(member string, records int64) string {
	h.t.Helper()
	p, err := h.open()
	h.must(err)
	found, err := p.Look(1<<20, true, segment.NewWaiter())
	h.must(err)
	taken, err := p.Take(&found, Wanted{Member: member, Records: records, Strict: true})
	h.must(err)
	defer taken.Records.Release()
	return show(taken.Acquired)
}

func show(ranges []Range) string {
	s := ""
	for _, r := range ranges {
		s += fmt.Sprintf("%d-%d×%d ", r.First, r.Next-1, r.Deliveries)
	}
	return s
}

func (h *house) ack(member string, first, last int64, kind AckType) error {
	h.t.Helper()
	p, err := h.open()
	h.must(err)
	wait, err := p.Acknowledge(member, []Ack{{first, last + 1, []AckType{kind}}})
	if err != nil || wait == nil {
		return err
	}
	return wait()
}

func usual() Settings {
	return Settings{LockDuration: 30 * time.Second, DeliveryLimit: 3, MaxLocks: 100, Renew: true, Reset: Reset{Earliest: true}}
}
