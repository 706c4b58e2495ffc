package partition

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
	"github.com/varvelog/varve/tiering"
	"github.com/varvelog/varve/tiering/mem"
)

// house is a broker with one partition: a disk that can lose power, a bucket, a
// metadata store and a clock. Flushes happen in the test's own goroutine.
type house struct {
	t        testing.TB
	disk     *vfs.Mem
	bucket   *mem.Bucket
	metadata *metadata
	clock    atomic.Int64 // ms
	config   config.Topic
	id       tiering.PartitionID
	epoch    int32
	isr      []int32
	expiry   time.Duration

	dir   *segment.Dir
	p     *Partition
	tiers *tiering.Tier // of the broker; nil: no topic is tiered
	stop  func()
}

const diskPath = "/data"

func defaults() config.Topic {
	return config.Topic{
		RetentionMs: -1, RetentionBytes: -1, LocalRetentionMs: -2, LocalRetentionBytes: -2,
		CleanupDelete: true, SegmentBytes: 1 << 20, SegmentAge: time.Hour,
		IndexBytes: 10 << 20, IndexInterval: 4096, FlushMessages: 1, MinInsyncReplicas: 1, MaxMessageBytes: 1 << 20,
		TimestampBeforeMaxMs: 1 << 60, TimestampAfterMaxMs: 1 << 60,
	}
}

// newHouse opens the partition and leads it; tiered gives it a bucket.
func newHouse(t testing.TB, c config.Topic) *house {
	bucket, err := mem.New(mem.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h := &house{
		t: t, disk: vfs.NewMem(), config: c, isr: []int32{1}, expiry: 24 * time.Hour,
		id:     tiering.PartitionID{Topic: segment.TopicID{1, 2, 3}, Partition: 0},
		bucket: bucket, metadata: &metadata{intents: map[uuid.UUID]tiering.Intent{}},
	}
	h.clock.Store(1_700_000_000_000)
	h.open()
	t.Cleanup(h.close)
	return h
}

func (h *house) now() time.Time { return time.UnixMilli(h.clock.Load()) }

func (h *house) pass(d time.Duration) { h.clock.Add(d.Milliseconds()) }

// open starts the broker and leads the next epoch.
func (h *house) open() {
	h.t.Helper()
	h.start()
	h.lead()
}

func (h *house) start() {
	h.t.Helper()
	h.disk.SetNow(h.now)
	dir, err := segment.OpenDir(segment.DirOptions{FS: h.disk, Path: diskPath, NodeID: 1, ClusterID: "c"})
	h.must(err)
	log, _, err := dir.OpenLog("t", h.id.Partition, h.id.Topic, segment.Options{Config: LogConfig(h.config, h.id), Now: h.now})
	h.must(err)
	o := Options{
		Topic: "t", ID: h.id, NodeID: 1, Log: log, Config: h.config, Now: h.now,
		ProducerExpiry: h.expiry, MaxDecompressed: 64 << 20,
		Cleaned: func() int64 { return dir.Cleaned("t", h.id.Partition) },
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	if h.config.RemoteStorage {
		tier, err := tiering.New(tiering.Options{
			Bucket: h.bucket, Metadata: h.metadata, ClusterID: "c", FS: h.disk, CacheDir: "/cache", Now: h.now, NewID: uuid.New,
			CacheBytes: 64 << 20, ChunkBytes: 64 << 10, ReadAheadBytes: 1 << 20, FetchConcurrency: 4, CopyConcurrency: 2,
			RequestTimeout: 10 * time.Second, DeleteDelay: time.Minute,
			CopyMaxBytesPerSecond: 1 << 40, FetchMaxBytesPerSecond: 1 << 40,
		})
		h.must(err)
		h.tiers = tier
		o.Remote = tier.Remote(h.id)
		running.Go(func() { _ = tier.Run(ctx) })
	}
	p, err := New(o)
	h.must(err)
	h.dir, h.p = dir, p
	h.stop = func() { cancel(); running.Wait() }
}

func (h *house) lead() {
	h.t.Helper()
	h.epoch++
	h.must(h.p.Lead(h.t.Context(), h.epoch, h.metadata.elect(h.epoch), h.isr))
}

// close stops the broker cleanly.
func (h *house) close() {
	h.t.Helper()
	if h.p == nil {
		return
	}
	h.dir.Committer().Commit()
	h.must(h.p.Close())
	h.must(h.dir.Close())
	h.stop()
	h.p = nil
}

// crash cuts the power and starts the broker again from what the disk has kept.
func (h *house) crash(r *rand.Rand) {
	h.t.Helper()
	after := h.disk.Crash(r)
	h.stop()
	h.disk = after
	h.open()
}

func (h *house) restart() {
	h.t.Helper()
	h.close()
	h.open()
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// flush ends the commit round.
func (h *house) flush() { h.dir.Committer().Commit() }

// append appends as a client with acks -1, without a flush.
func (h *house) append(b batch.Batch) (Appended, error) {
	return h.p.AppendAsLeader(Append{Records: b, Acks: -1, LeaderEpoch: -1})
}

// produce appends, flushes and waits; it returns the base offset.
func (h *house) produce(b batch.Batch) int64 {
	h.t.Helper()
	a, err := h.append(b)
	h.must(err)
	h.flush()
	h.must(h.p.Wait(h.t.Context(), a))
	return a.BaseOffset
}

// internal does the same as a coordinator.
func (h *house) internal(b batch.Batch) Appended {
	h.t.Helper()
	a, err := h.p.AppendAsLeader(Append{Records: b, Acks: -1, LeaderEpoch: -1, Internal: true})
	h.must(err)
	h.flush()
	h.must(h.p.Wait(h.t.Context(), a))
	return a
}

func (h *house) marker(id int64, epoch int16, commit bool) Appended {
	h.t.Helper()
	b, _ := markerBatch(h.t, 0, id, epoch, commit, 1)
	return h.internal(b)
}

// read reads, waiting for the bucket where it has to.
func (h *house) read(s ReadSpec) (ReadResult, error) {
	h.t.Helper()
	w := segment.NewWaiter()
	for {
		r, err := h.p.Read(s, w)
		if err != nil || !r.Pending {
			return r, err
		}
		select {
		case <-w.C():
		case <-time.After(20 * time.Second):
			h.t.Fatalf("read at %d: pending, and nobody signals", s.Offset)
		}
	}
}

func spec(offset int64) ReadSpec {
	return ReadSpec{Offset: offset, MaxBytes: 1 << 20, OneBatch: true, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1}
}

// bytes reads at an offset and returns a copy of the records.
func (h *house) bytes(s ReadSpec) []byte {
	h.t.Helper()
	r, err := h.read(s)
	if err != nil {
		h.t.Fatalf("read at %d: %v", s.Offset, err)
	}
	defer r.Records.Release()
	b, err := r.Records.Bytes()
	h.must(err)
	return b
}

// tier rolls and copies everything, and trims the disk as far as retention allows.
func (h *house) tier() {
	h.t.Helper()
	h.must(h.p.roll(h.p.log.Roll))
	h.flush()
	_, err := h.p.Copy(h.t.Context())
	h.must(err)
	h.must(h.p.Retain(h.t.Context(), h.now()))
}

// plain is a batch of n records without producer id, each with its own timestamp.
func plain(t testing.TB, n int, ts int64, size int) batch.Batch {
	t.Helper()
	records := make([]batch.Record, n)
	for i := range records {
		records[i] = batch.Record{Timestamp: ts + int64(i), Key: []byte("k"), Value: make([]byte, size)}
	}
	b, err := batch.Builder{ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1}.Build(0, -1, records)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// metadata is the metadata store of one partition.
type metadata struct {
	mu       sync.Mutex
	leader   tiering.Fence
	pointer  tiering.Pointer
	intents  map[uuid.UUID]tiering.Intent
	revision int64
}

// elect makes a new leader and returns its fence.
func (m *metadata) elect(epoch int32) tiering.Fence {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.revision++
	m.leader = tiering.Fence{LeaderRevision: m.revision, Epoch: epoch}
	return m.leader
}

func (m *metadata) Pointer(context.Context, tiering.PartitionID) (tiering.Pointer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pointer, nil
}

func (m *metadata) PutIntent(_ context.Context, _ tiering.PartitionID, fence tiering.Fence, in tiering.Intent) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if fence != m.leader {
		return tiering.ErrFenced
	}
	m.revision++
	in.Revision = m.revision
	m.intents[in.ID] = in
	return nil
}

func (m *metadata) Intents(context.Context, tiering.PartitionID) ([]tiering.Intent, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []tiering.Intent
	for _, in := range m.intents {
		all = append(all, in)
	}
	return all, nil
}

func (m *metadata) DropIntent(_ context.Context, _ tiering.PartitionID, fence tiering.Fence, id uuid.UUID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if fence != m.leader {
		return tiering.ErrFenced
	}
	delete(m.intents, id)
	return nil
}

func (m *metadata) Commit(_ context.Context, _ tiering.PartitionID, fence tiering.Fence, from, to tiering.Pointer, intents []uuid.UUID) (tiering.Pointer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case fence != m.leader:
		return tiering.Pointer{}, tiering.ErrFenced
	case from.Revision != m.pointer.Revision:
		return tiering.Pointer{}, tiering.ErrConflict
	}
	for _, id := range intents {
		if _, ok := m.intents[id]; !ok {
			return tiering.Pointer{}, tiering.ErrFenced
		}
	}
	for _, id := range intents {
		delete(m.intents, id)
	}
	m.revision++
	to.Revision = m.revision
	m.pointer = to
	return to, nil
}

func (m *metadata) Forget(context.Context, tiering.PartitionID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pointer, m.intents = tiering.Pointer{}, map[uuid.UUID]tiering.Intent{}
	return nil
}
