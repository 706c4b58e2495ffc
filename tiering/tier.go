package tiering

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/varvelog/varve/segment/vfs"
	"github.com/varvelog/varve/tiering/objstore"
)

// Options of a broker's tier.
type Options struct {
	Bucket    objstore.Bucket
	Metadata  Metadata
	ClusterID string
	FS        vfs.FS
	CacheDir  string // emptied by New
	Now       func() time.Time
	NewID     func() uuid.UUID

	CacheBytes             int64         // chunk cache budget on disk
	ChunkBytes             int64         // 4 MiB: granularity of the chunk table
	ReadAheadBytes         int64         // bound per sequential reader
	FetchConcurrency       int           // ranges in flight per broker, 32
	CopyConcurrency        int           // segments in flight per broker, 4
	RequestTimeout         time.Duration // longest silence and hard deadline of one store call
	DeleteDelay            time.Duration // between dead list and DELETE
	HedgePercent           int           // second requests for late reads, per hundred reads, 0: none
	CopyMaxBytesPerSecond  int64         // remote.log.manager.copy.max.bytes.per.second, 0: no limit
	ScrubBytesPerSecond    int64         // of the scrubber, 0: it does nothing
	FetchMaxBytesPerSecond int64         // remote.log.manager.fetch.max.bytes.per.second, 0: no limit
}

// Defaults of what Options leaves at zero.
const (
	// defaultChunkBytes is small enough that its first byte comes early, and large enough
	// that a terabyte has no more than 262,144 of them.
	defaultChunkBytes = 4 << 20
	// defaultReadAhead keeps two ranges of rangeBytes in flight for one reader: with four
	// readers MinIO was measured to be near its maximum. A store 100 ms away needs more.
	defaultReadAhead        = 32 << 20
	defaultFetchConcurrency = 32
	defaultCopyConcurrency  = 4
	defaultRequestTimeout   = 30 * time.Second
	defaultDeleteDelay      = time.Minute
	defaultCacheBytes       = 1 << 30
)

// withDefaults fills in and checks.
func (o Options) withDefaults() (Options, error) {
	if o.Bucket == nil || o.Metadata == nil || o.FS == nil || o.Now == nil || o.NewID == nil {
		return o, errors.New("tiering: bucket, metadata, file system, clock and id source are required")
	}
	if err := objstore.CheckKey(o.ClusterID); err != nil {
		return o, fmt.Errorf("tiering: cluster id: %w", err)
	}
	setDefault(&o.ChunkBytes, defaultChunkBytes)
	setDefault(&o.CacheBytes, defaultCacheBytes)
	setDefault(&o.ReadAheadBytes, defaultReadAhead)
	setDefault(&o.FetchConcurrency, defaultFetchConcurrency)
	setDefault(&o.CopyConcurrency, defaultCopyConcurrency)
	setDefault(&o.RequestTimeout, defaultRequestTimeout)
	if o.DeleteDelay < 0 || o.CacheBytes < o.ChunkBytes || o.ChunkBytes < 0 {
		return o, fmt.Errorf("tiering: delete delay %v, cache of %d bytes, chunks of %d", o.DeleteDelay, o.CacheBytes, o.ChunkBytes)
	}
	return o, nil
}

func setDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Tier is a broker's access to the bucket, shared by its partitions.
type Tier struct {
	o     Options
	store *pacedBucket // o.Bucket
	hedge *hedger
	scrub *scrubber
	local *localObjects // where objects are files of this machine, else nil
	cache *cache
	tails *tailCache
	fetch *fetcher

	copies    *slots // one per segment in flight
	copyRate  *rate
	fetchRate *rate
	counters  counters

	mu      sync.Mutex
	remotes map[PartitionID]*Remote // guarded by mu
}

// counters are the numbers behind Stats.
type counters struct {
	getBytes, getCalls, putBytes, putCalls, deleteCalls atomic.Int64
	hits, misses, checksumFailures, orphans             atomic.Int64
}

// New returns a tier. It empties the chunk cache's directory and talks to nobody.
func New(o Options) (*Tier, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	c, err := newCache(o.FS, o.CacheDir, o.CacheBytes)
	if err != nil {
		return nil, err
	}
	requests := requestsFor(o.FetchConcurrency, o.CopyConcurrency)
	t := &Tier{
		o:         o,
		store:     &pacedBucket{o.Bucket, newThrottle(requests), newThrottle(requests)},
		scrub:     newScrubber(o),
		hedge:     &hedger{share: float64(o.HedgePercent) / 100, now: o.Now},
		cache:     c,
		tails:     newTailCache(tailCacheBytes),
		copies:    newSlots(o.CopyConcurrency),
		copyRate:  newRate(o.CopyMaxBytesPerSecond, o.Now),
		fetchRate: newRate(o.FetchMaxBytesPerSecond, o.Now),
		remotes:   map[PartitionID]*Remote{},
	}
	if l, ok := o.Bucket.(objstore.Local); ok {
		t.local = newLocalObjects(l)
	}
	t.fetch = newFetcher(t)
	return t, nil
}

// requestsFor is how many requests may wait for an answer: never reached but by a burst of
// short ones.
func requestsFor(fetches, copies int) int { return 2 * (fetches + copies) }

// SetRates changes CopyMaxBytesPerSecond and FetchMaxBytesPerSecond.
func (t *Tier) SetRates(copies, fetches int64) {
	t.copyRate.set(copies)
	t.fetchRate.set(fetches)
}

// SetConcurrency changes FetchConcurrency and CopyConcurrency, both at least 1. What is
// under way goes on.
func (t *Tier) SetConcurrency(fetches, copies int) {
	t.copies.set(copies)
	t.fetch.setMost(int64(fetches))
	for _, requests := range []*throttle{t.store.reads, t.store.writes} {
		requests.setMax(requestsFor(fetches, copies))
	}
}

// Run serves downloads until ctx ends, then lets go of the cache's files.
func (t *Tier) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	for started := int64(0); ctx.Err() == nil; {
		for ; started < t.fetch.bound(); started++ { // where there are to be fewer, some stay idle
			workers.Go(func() { t.fetch.work(ctx) })
		}
		select {
		case <-ctx.Done():
		case <-t.fetch.raised:
		}
	}
	workers.Wait()
	t.cache.close()
	if t.local != nil {
		t.local.close()
	}
	return nil
}

// Remote returns the remote log of one partition. It costs memory only. The same
// partition has one Remote until it is deleted.
func (t *Tier) Remote(p PartitionID) *Remote {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, ok := t.remotes[p]
	if !ok {
		r = newRemote(t, p)
		t.remotes[p] = r
	}
	return r
}

// deleteBatch is how many keys go into one DELETE: what S3 takes.
const deleteBatch = 1000

// DeletePartition removes every object of a deleted topic's partition, then forgets
// its pointer and intents. It is repeated until it returns nil.
//
// Only what this cluster wrote is removed (I46), by prefix: topic ids are never reused, so
// nothing else can lie there (I28).
func (t *Tier) DeletePartition(ctx context.Context, p PartitionID) error {
	t.mu.Lock()
	r := t.remotes[p]
	delete(t.remotes, p)
	t.mu.Unlock()
	if r != nil {
		r.Resign()
		if err := r.lock(ctx); err != nil {
			return err
		}
		defer r.unlock()
	}
	prefix := partitionPrefix(t.o.ClusterID, p) + "/"
	for {
		var keys []string
		listCtx, g := t.guard(ctx, 0)
		err := t.store.List(listCtx, prefix, func(o objstore.Object) bool {
			keys = append(keys, o.Key)
			g.progress()
			return len(keys) < deleteBatch
		})
		g.stop()
		if err != nil {
			return fmt.Errorf("list objects of a deleted partition: %w", err)
		}
		if len(keys) == 0 {
			break
		}
		if failed := t.delete(ctx, keys); len(failed) > 0 {
			return fmt.Errorf("delete objects of a deleted partition: %w", joinFailures(failed))
		}
	}
	if err := t.o.Metadata.Forget(ctx, p); err != nil {
		return fmt.Errorf("forget a deleted partition: %w", err)
	}
	return nil
}

// Stats for metrics and DescribeLogDirs.
type Stats struct {
	CacheBytes, CacheChunks, CacheHits, CacheMisses, Evictions int64
	EvictedUnread                                              int64 // chunks read ahead for nothing
	GetBytes, GetCalls, PutBytes, PutCalls, DeleteCalls        int64
	InFlight, Queued                                           int64
	ChecksumFailures                                           int64
	Orphans                                                    int64 // objects that nothing needed, deleted
	ReadWindow, WriteWindow, SlowDowns                         int64 // see throttle
	Hedges, HedgesWon                                          int64 // see hedger
	ScrubbedObjects, ScrubbedBytes, Findings                   int64 // see scrubber
}

// Stats returns the numbers of this moment.
func (t *Tier) Stats() Stats {
	s := Stats{
		CacheHits: t.counters.hits.Load(), CacheMisses: t.counters.misses.Load(),
		GetBytes: t.counters.getBytes.Load(), GetCalls: t.counters.getCalls.Load(),
		PutBytes: t.counters.putBytes.Load(), PutCalls: t.counters.putCalls.Load(),
		DeleteCalls: t.counters.deleteCalls.Load(), ChecksumFailures: t.counters.checksumFailures.Load(),
		Orphans: t.counters.orphans.Load(),
	}
	s.InFlight, s.Queued = t.fetch.load()
	var reads, writes int64
	s.ReadWindow, reads = t.store.reads.state()
	s.WriteWindow, writes = t.store.writes.state()
	s.SlowDowns = reads + writes
	s.Hedges, s.HedgesWon = t.hedge.stats()
	s.ScrubbedObjects, s.ScrubbedBytes, s.Findings = t.scrub.stats()
	t.cache.mu.Lock()
	defer t.cache.mu.Unlock()
	s.CacheBytes, s.CacheChunks = t.cache.used, int64(len(t.cache.chunks))
	s.Evictions, s.EvictedUnread = t.cache.evictions, t.cache.wasted
	return s
}
