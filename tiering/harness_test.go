package tiering_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
	"github.com/varvelog/varve/tiering"
	"github.com/varvelog/varve/tiering/mem"
	"github.com/varvelog/varve/tiering/objstore"
	"github.com/varvelog/varve/tiering/tieringtest"
)

var epoch0 = time.UnixMilli(1_700_000_000_000)

// world is a bucket, a metadata store and one partition, whose brokers come and go.
type world struct {
	t      testing.TB
	bucket *mem.Bucket
	store  objstore.Bucket // what tiers use: bucket unless replaced
	meta   *tieringtest.Metadata
	fs     *vfs.Mem
	id     tiering.PartitionID
	opts   tiering.Options

	mu      sync.Mutex
	now     time.Time
	serial  uint64
	faults  []error // broken invariants seen at commits
	commits int
	start   int64
	end     int64
}

func newWorld(t testing.TB) *world {
	bucket, err := mem.New(mem.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, bucket: bucket, store: bucket, meta: tieringtest.NewMetadata(), fs: vfs.NewMem(), now: epoch0,
		id: tiering.PartitionID{Topic: segment.TopicID{7}, Partition: 3},
	}
	if err := w.fs.MkdirAll("/data"); err != nil {
		t.Fatal(err)
	}
	w.opts = tiering.Options{
		Metadata: w.meta, ClusterID: "cluster-1", FS: w.fs, CacheDir: "/cache", Now: w.clock,
		NewID: w.newID, CacheBytes: 1 << 20, ChunkBytes: 1500, ReadAheadBytes: 12000,
		FetchConcurrency: 4, CopyConcurrency: 3, RequestTimeout: 2 * time.Second, DeleteDelay: time.Minute,
	}
	w.meta.SetOnCommit(w.committed)
	t.Cleanup(func() {
		for _, v := range w.bucket.Violations() {
			t.Errorf("I4: key %s was written with two contents", v.Key)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, err := range w.faults {
			t.Error(err)
		}
	})
	return w
}

// committed checks I2, I3, I6 and I12 at the instant of every commit.
func (w *world) committed(id tiering.PartitionID, p tiering.Pointer) {
	contents := w.bucket.Snapshot()
	err := tiering.CheckTree(id, p, func(key string) ([]byte, bool) { b, ok := contents[key]; return b, ok })
	w.mu.Lock()
	defer w.mu.Unlock()
	w.commits++
	if err != nil {
		w.faults = append(w.faults, fmt.Errorf("I2, I3, I6 or I12 broken by commit %d: %w", p.Seq, err))
	}
	withdrawn := p.Start == p.End // a rule of roots, which CheckTree knows
	if p.Start < w.start || p.End < w.end && !withdrawn {
		w.faults = append(w.faults, fmt.Errorf("I3: [%d, %d) after [%d, %d)", p.Start, p.End, w.start, w.end))
	}
	w.start, w.end = p.Start, p.End
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) newID() (id uuid.UUID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.serial++
	binary.BigEndian.PutUint64(id[8:], w.serial)
	return id
}

// tier starts a broker: its downloads run until the test ends or stop is called.
func (w *world) tier() *tiering.Tier {
	w.t.Helper()
	o := w.opts
	o.Bucket = w.store
	tier, err := tiering.New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = tier.Run(ctx) }()
	w.t.Cleanup(func() { cancel(); <-done })
	return tier
}

// leader starts a broker that leads the partition and is ready.
func (w *world) leader() *tiering.Remote {
	w.t.Helper()
	r := w.tier().Remote(w.id)
	w.lead(r)
	return r
}

func (w *world) lead(r *tiering.Remote) {
	w.t.Helper()
	r.Lead(w.meta.Elect(w.id))
	w.must(r.Load(w.t.Context()))
	w.must(r.Ready(w.t.Context()))
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// log opens an empty log that rolls at about segmentBytes.
func (w *world) log(segmentBytes int64) *segment.Log { return w.logAt("t-3", segmentBytes, 0) }

func (w *world) logAt(name string, segmentBytes, startAt int64) *segment.Log {
	w.t.Helper()
	l, _, err := segment.Open(segment.Options{
		FS: w.fs, Dir: filepath.Join("/data", name), Topic: w.id.Topic, Now: w.clock,
		Committer: segment.NewCommitter(w.fs, "/data", nil), StartAt: startAt,
		Config: segment.Config{SegmentBytes: segmentBytes, SegmentAge: time.Hour, IndexInterval: 400, IndexBytes: 1 << 20, FlushMessages: math.MaxInt64},
	})
	w.must(err)
	w.t.Cleanup(func() { _ = l.Close() })
	return l
}

// fill appends n batches of random shape and rolls.
func (w *world) fill(l *segment.Log, epoch int32, n int, seed uint64) {
	w.t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	for range n {
		end := l.Offsets().End
		records := make([]batch.Record, 1+r.IntN(4))
		for i := range records {
			value := make([]byte, 8+r.IntN(180))
			binary.BigEndian.PutUint64(value, uint64(end)+uint64(i))
			records[i] = batch.Record{Timestamp: epoch0.UnixMilli() + end*10 - int64(r.IntN(400)), Value: value}
		}
		b, err := batch.NoProducer.Build(end, epoch, records)
		w.must(err)
		_, err = l.Append([]batch.Batch{b})
		w.must(err)
	}
	w.must(l.Roll())
}

// filled is a log of n batches whose segments are all sealed.
func (w *world) filled(n int) *segment.Log {
	l := w.log(4000)
	w.must(l.AssignEpoch(1))
	w.fill(l, 1, n, 42)
	return l
}

// copyAll copies until nothing is left.
func (w *world) copyAll(r *tiering.Remote, l *segment.Log) int {
	w.t.Helper()
	total := 0
	for {
		n, err := r.Copy(w.t.Context(), l, l.Offsets().End)
		w.must(err)
		if n == 0 {
			return total
		}
		total += n
	}
}

// read waits for an answer.
func read(ctx context.Context, r *tiering.Remote, offset, bound, maxBytes int64, oneBatch bool) ([]byte, error) {
	w := segment.NewWaiter()
	for {
		records, err := r.Read(offset, bound, maxBytes, oneBatch, w)
		if errors.Is(err, tiering.ErrNotReady) {
			select {
			case <-w.C():
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		if err != nil {
			return nil, err
		}
		b, err := records.Bytes()
		records.Release()
		return b, err
	}
}

// readAll reads [from, to) in answers of maxBytes.
func readAll(ctx context.Context, r *tiering.Remote, from, to, maxBytes int64) ([]byte, error) {
	var all []byte
	for at := from; at < to; {
		b, err := read(ctx, r, at, to, maxBytes, true)
		if err != nil {
			return all, fmt.Errorf("at %d: %w", at, err)
		}
		if len(b) == 0 {
			return all, fmt.Errorf("nothing at %d of [%d, %d)", at, from, to)
		}
		all = append(all, b...)
		next, err := nextOffset(b)
		if err != nil {
			return all, err
		}
		at = next
	}
	return all, nil
}

func nextOffset(b []byte) (next int64, err error) {
	for len(b) > 0 {
		var x batch.Batch
		if x, b, err = batch.Next(b); err != nil {
			return 0, err
		}
		if err := x.CheckCRC(); err != nil {
			return 0, err
		}
		next = x.NextOffset()
	}
	return next, nil
}

// localBytes reads [from, to) from the local log.
func (w *world) localBytes(l *segment.Log, from, to int64) []byte {
	w.t.Helper()
	var all []byte
	for at := from; at < to; {
		records, err := l.Read(at, to, 1<<20, true)
		w.must(err)
		b, err := records.Bytes()
		w.must(err)
		records.Release()
		if len(b) == 0 {
			w.t.Fatalf("nothing at %d of [%d, %d) in the local log", at, from, to)
		}
		all = append(all, b...)
		at, err = nextOffset(b)
		w.must(err)
	}
	return all
}

// sameBytes checks I30 for the whole remote log against the local one.
func (w *world) sameBytes(r *tiering.Remote, l *segment.Log) {
	w.t.Helper()
	o := r.Offsets()
	if o.Start == o.End {
		return
	}
	got, err := readAll(w.t.Context(), r, o.Start, o.End, 5000)
	w.must(err)
	want := w.localBytes(l, o.Start, o.End)
	if !bytes.Equal(got, want) {
		w.t.Fatalf("I30: remote [%d, %d) is %d bytes, local %d", o.Start, o.End, len(got), len(want))
	}
}

// mustHeal ends the bucket's faults: everything is copied and read, and nothing is left over.
func (w *world) mustHeal(r *tiering.Remote, l *segment.Log) {
	w.t.Helper()
	w.bucket.SetHook(nil)
	w.copyAll(r, l)
	w.sameBytes(r, l)
	settle(w, r)
	w.audit()
	if in, err := w.meta.Intents(w.t.Context(), w.id); err != nil || len(in) > 0 {
		w.t.Errorf("%d intents are left: %v", len(in), err)
	}
}

// audit expects a bucket without findings.
func (w *world) audit() tiering.Report {
	w.t.Helper()
	report := w.report()
	for _, f := range report.Findings {
		w.t.Errorf("audit: %v", f)
	}
	return report
}

func (w *world) report() tiering.Report {
	w.t.Helper()
	o := w.opts
	o.Bucket, o.CacheDir = w.bucket, "/audit"
	tier, err := tiering.New(o)
	w.must(err)
	report, err := tier.AuditPartition(w.t.Context(), w.id, true)
	w.must(err)
	return report
}
