package coordinator

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf16"

	"github.com/twmb/franz-go/pkg/kerr"
)

// The runtime is what the coordinators of groups and of transactions share: a table of
// shards, one for each partition of an internal topic that this broker leads; what every
// shard has, its core; and the alarm that says when something is due.

// status of a shard.
//
//	loading ──► active ──► unloaded
//	   └───────────────────────▲
type status int8

const (
	loading  status = iota // COORDINATOR_LOAD_IN_PROGRESS
	active                 // serves
	unloaded               // NOT_COORDINATOR
)

// core is one partition, led in one epoch: from loading to unloaded, with its appends in
// the order of the log.
type core struct {
	epoch int32
	log   Log
	now   func() int64 // ms

	life    context.Context // ends when the shard is unloaded; what runs in it is in running
	end     context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex // guards what follows, and the state of the machine
	status   status
	queue    []*flight // appends that are not committed yet, in the order of the log
	draining bool      // a goroutine waits for them
}

// init makes an empty core one of a partition that is loading.
func (c *core) init(epoch int32, l Log, now func() int64) {
	c.epoch, c.log, c.now = epoch, l, now
	c.life, c.end = context.WithCancel(context.Background())
}

func (c *core) base() *core { return c }

// enter locks the shard where it serves and returns 0, else the code to answer.
func (c *core) enter() int16 {
	c.mu.Lock()
	switch c.status {
	case active:
		return 0
	case loading:
		c.mu.Unlock()
		return kerr.CoordinatorLoadInProgress.Code
	}
	c.mu.Unlock()
	return kerr.NotCoordinator.Code
}

// begin ends the loading of the shard, which the caller has locked: it serves from now on,
// unless reading its log has failed or its life has ended meanwhile (ErrUnloaded).
func (c *core) begin(failed error) error {
	switch {
	case c.status != loading:
		return ErrUnloaded
	case failed != nil:
		return failed
	}
	c.status = active
	return nil
}

// retire makes the shard an unloaded one: forget drops the machine's state under the
// lock. Nothing of the shard runs any more when it returns.
func (c *core) retire(forget func()) {
	c.mu.Lock()
	c.status = unloaded
	c.end() // after the status: a load that is cut short sees why
	forget()
	c.queue = nil
	c.mu.Unlock()
	c.running.Wait()
}

// table is the shards of one internal topic by partition.
type table[S shardOf] struct {
	mu     sync.RWMutex
	shards map[int32]S // guarded by mu
}

// shardOf is a core with the machine it runs.
type shardOf interface {
	comparable
	base() *core
	load(ctx context.Context) error // reads the log and begins to serve
	unload()                        // calls retire
}

// load makes s the shard of a partition, in place of one of an earlier epoch.
func (t *table[S]) load(ctx context.Context, partition int32, s S) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.base().life, cancel)()

	epoch := s.base().epoch
	t.mu.Lock()
	before, replaces := t.shards[partition]
	if replaces && before.base().epoch >= epoch {
		t.mu.Unlock()
		s.unload()
		return fmt.Errorf("%w: partition %d is loaded in epoch %d, not %d", ErrStaleEpoch, partition, before.base().epoch, epoch)
	}
	if t.shards == nil {
		t.shards = map[int32]S{}
	}
	t.shards[partition] = s
	t.mu.Unlock()
	if replaces {
		before.unload()
	}

	if err := s.load(ctx); err != nil {
		t.mu.Lock()
		if t.shards[partition] == s {
			delete(t.shards, partition)
		}
		t.mu.Unlock()
		s.unload()
		return fmt.Errorf("load partition %d in epoch %d: %w", partition, epoch, err)
	}
	return nil
}

func (t *table[S]) unload(partition int32) {
	t.mu.Lock()
	s, ok := t.shards[partition]
	delete(t.shards, partition)
	t.mu.Unlock()
	if ok {
		s.unload()
	}
}

// enter locks a partition's shard. The caller unlocks it where the code is 0.
func (t *table[S]) enter(partition int32) (s S, code int16) {
	t.mu.RLock()
	s, ok := t.shards[partition]
	t.mu.RUnlock()
	if !ok {
		return s, kerr.NotCoordinator.Code
	}
	return s, s.base().enter()
}

// all lists the shards by partition.
func (t *table[S]) all() []S {
	t.mu.RLock()
	defer t.mu.RUnlock()
	partitions := make([]int32, 0, len(t.shards))
	for partition := range t.shards {
		partitions = append(partitions, partition)
	}
	slices.Sort(partitions)
	shards := make([]S, len(partitions))
	for i, partition := range partitions {
		shards[i] = t.shards[partition]
	}
	return shards
}

// visit calls do with each shard that serves, which is locked meanwhile. It ends with
// COORDINATOR_LOAD_IN_PROGRESS at one that is loading, since what it holds is not known;
// one that was unloaded meanwhile is passed over.
func (t *table[S]) visit(do func(S)) (code int16) {
	for _, s := range t.all() {
		switch code := s.base().enter(); code {
		case 0:
			do(s)
			s.base().mu.Unlock()
		case kerr.CoordinatorLoadInProgress.Code:
			return code
		}
	}
	return 0
}

// alarm says when a coordinator wants its Tick.
type alarm struct {
	changed chan struct{}
	// next is when the next Tick is wanted, ms; MaxInt64: not yet. While ticking is set
	// the running Tick reports it, and nobody needs to be signalled.
	next    atomic.Int64
	ticking atomic.Bool
}

func newAlarm() *alarm {
	a := &alarm{changed: make(chan struct{}, 1)}
	a.next.Store(math.MaxInt64)
	return a
}

// tick runs do, which reports what is due by moved, and returns when the next one is
// wanted: at the latest at last.
func (a *alarm) tick(last time.Time, do func()) (next time.Time) {
	a.ticking.Store(true)
	a.next.Store(last.UnixMilli())
	do()
	a.ticking.Store(false)
	return time.UnixMilli(a.next.Load()) // after the flag: who saw it set has moved next before
}

// moved notes that something is due at at, ms; MaxInt64: nothing.
func (a *alarm) moved(at int64) {
	for {
		next := a.next.Load()
		if next <= at {
			return
		}
		if a.next.CompareAndSwap(next, at) {
			break
		}
	}
	if a.ticking.Load() {
		return
	}
	select {
	case a.changed <- struct{}{}:
	default: // already signalled
	}
}

// partitionFor returns the partition of an internal topic that a group or a transactional
// id lives in: abs(javaHash(key)) mod partitions, as in Kafka.
func partitionFor(key string, partitions int32) int32 {
	h := int64(javaHash(key))
	if h == math.MinInt32 {
		h = 0 // Kafka's abs of what has no positive
	}
	return int32(max(h, -h) % int64(max(partitions, 1)))
}

// javaHash is java.lang.String.hashCode, over UTF-16 units.
func javaHash(s string) int32 {
	var h int32
	for _, r := range s {
		if hi, lo := utf16.EncodeRune(r); r > 0xffff {
			h = 31*(31*h+hi) + lo
		} else {
			h = 31*h + r
		}
	}
	return h
}

// done is an answer that is there already.
func done[R any](r R) Pending[R] {
	return func(context.Context) (R, error) { return r, nil }
}
