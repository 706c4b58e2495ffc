package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/broker/partition"
	"github.com/varvelog/varve/retention"
	"github.com/varvelog/varve/segment"
)

// cleaner is what the broker knows of compaction beyond one pass. A log that cannot be
// compacted is left alone until it is opened again; the others go on.
type cleaner struct {
	limit atomic.Pointer[rate.Limiter] // of bytes read and written, nil: none

	mu          sync.Mutex // guards what follows
	uncleanable map[*replica]error
	horizons    map[*replica]int64 // ms: the first delete horizon that the last pass has left
	stats       cleanerStats
}

// cleanerStats is what /metrics shows.
type cleanerStats struct {
	Passes, Failures        int64
	BytesRead, BytesWritten int64
	BytesBefore             int64 // of segments that were compacted
	Records, RecordsKept    int64
	Duration, LastDuration  time.Duration
	DirtyBytes              int64 // of all compacted logs
	MaxDirtyPercent         int64
	MaxDelay                time.Duration // by which max.compaction.lag.ms is exceeded
	Uncleanable             int64         // partitions
	UncleanableBytes        int64
	LastDirtyPercent        int64
}

func newCleaner(c *config.Broker) *cleaner {
	l := &cleaner{uncleanable: map[*replica]error{}, horizons: map[*replica]int64{}}
	l.setRate(c.CleanerMaxBytesPerSecond)
	return l
}

// setRate sets how many bytes a second are read and written. Who waits takes it up with
// his next second's worth. A limiter is replaced rather than changed: one that shrinks
// refuses who has just asked it for its size.
func (c *cleaner) setRate(perSecond float64) {
	if perSecond >= math.MaxInt32 {
		c.limit.Store(nil)
		return
	}
	if old := c.limit.Load(); old == nil || old.Limit() != rate.Limit(perSecond) {
		c.limit.Store(rate.NewLimiter(rate.Limit(perSecond), int(max(perSecond, 1))))
	}
}

// throttle waits until so many bytes may be read; as many will be written, at most.
func (c *cleaner) throttle(ctx context.Context, bytes int64) error {
	for bytes *= 2; bytes > 0; {
		limit := c.limit.Load()
		if limit == nil {
			return nil
		}
		n := min(bytes, int64(limit.Burst()))
		if err := limit.WaitN(ctx, int(n)); err != nil {
			return err
		}
		bytes -= n
	}
	return nil
}

// compactable is a log that is due to be compacted.
type compactable struct {
	r *replica
	d retention.Dirt
}

// due lists the logs that are to be compacted now, the filthiest first, and counts all.
func (c *cleaner) due(replicas []*replica, now time.Time) (due []compactable) {
	var dirty, uncleanableBytes int64
	var delay int64
	percent := 0.0
	c.mu.Lock()
	defer c.mu.Unlock()
	open := make(map[*replica]bool, len(replicas))
	for _, r := range replicas {
		if !r.Compacted() {
			continue
		}
		open[r] = true
		if c.uncleanable[r] != nil {
			local, _ := r.Size()
			uncleanableBytes += local
			continue
		}
		d := r.Dirtiness(r.dir.Cleaned(r.Topic(), r.ID().Partition), c.horizons[r], now)
		dirty, delay, percent = dirty+d.DirtyBytes, max(delay, d.DelayMs), max(percent, 100*d.Ratio())
		if d.Due {
			due = append(due, compactable{r, d})
		}
	}
	for r := range c.uncleanable {
		if !open[r] {
			delete(c.uncleanable, r)
		}
	}
	for r := range c.horizons {
		if !open[r] {
			delete(c.horizons, r)
		}
	}
	c.stats.DirtyBytes, c.stats.MaxDirtyPercent, c.stats.MaxDelay = dirty, int64(percent), time.Duration(delay)*time.Millisecond
	c.stats.Uncleanable, c.stats.UncleanableBytes = int64(len(c.uncleanable)), uncleanableBytes
	slices.SortFunc(due, func(a, b compactable) int { return retention.Filthiest(a.d, b.d) })
	return due
}

// note counts a pass.
func (c *cleaner) note(x compactable, p retention.Passed, took time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.stats
	s.Passes++
	s.BytesRead, s.BytesWritten, s.BytesBefore = s.BytesRead+p.BytesRead, s.BytesWritten+p.BytesAfter, s.BytesBefore+p.BytesBefore
	s.Records, s.RecordsKept = s.Records+p.Records, s.RecordsKept+p.RecordsKept
	s.Duration, s.LastDuration = s.Duration+took, took
	s.LastDirtyPercent = int64(100 * x.d.Ratio())
	switch {
	case err == nil:
		c.horizons[x.r] = p.Horizon
	case errors.Is(err, retention.ErrUncleanable):
		c.uncleanable[x.r] = err
		s.Uncleanable = int64(len(c.uncleanable))
		s.Failures++
	default:
		s.Failures++
	}
}

func (c *cleaner) snapshot() cleanerStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// cleanerPause is the shortest pause between two looks for logs to compact.
const cleanerPause = 100 * time.Millisecond

// keepCompacting looks for logs to compact every log.cleaner.backoff.ms, which is taken up at
// once where it is altered.
func (b *Broker) keepCompacting(ctx context.Context) error {
	for last := time.Now(); ; {
		altered := b.altered.next()
		timer := time.NewTimer(max(b.config().CleanerBackoff, cleanerPause) - time.Since(last))
		select {
		case <-timer.C:
			b.compact(ctx)
			last = time.Now()
		case <-altered:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// compact compacts the logs that are due, the filthiest first, until none is: one step
// of keepCompacting. A log whose compaction fails waits for the next step.
func (b *Broker) compact(ctx context.Context) {
	failed := map[*replica]bool{}
	for ctx.Err() == nil {
		c := b.config() // of this round: the next one may have other settings
		if !c.CleanerEnable || c.CleanerThreads == 0 {
			return
		}
		due := b.cleaner.due(slices.Collect(maps.Values(b.replicas.all())), b.Now())
		due = slices.DeleteFunc(due, func(x compactable) bool { return failed[x.r] })
		if len(due) == 0 {
			return
		}
		due = due[:min(len(due), c.CleanerThreads)]
		errs := make([]error, len(due))
		var g errgroup.Group
		for i, x := range due {
			g.Go(func() error {
				errs[i] = b.compactLog(ctx, x, c.CleanerDedupeBytes/int64(c.CleanerThreads))
				return nil
			})
		}
		_ = g.Wait() // no function above returns an error
		for i, x := range due {
			if errs[i] != nil {
				failed[x.r] = true
			}
		}
	}
}

// compactLog compacts one log in as many passes as its keys need, which are remembered
// in so many bytes.
func (b *Broker) compactLog(ctx context.Context, x compactable, mapBytes int64) error {
	r := x.r
	worker := retention.NewCleaner(retention.CleanerOptions{
		MapBytes: mapBytes, Random: rand.Reader, Throttle: b.cleaner.throttle,
	})
	for {
		began := b.Now()
		passed, err := r.Compact(ctx, worker, x.d, began)
		if err == nil {
			err = r.dir.SetCleaned(r.Topic(), r.ID().Partition, passed.CleanedTo)
		}
		if err != nil && (expected(ctx, err) || errors.Is(err, segment.ErrChanged)) {
			return err
		}
		b.cleaner.note(x, passed, b.Now().Sub(began), err)
		b.logPass(r.Partition, passed, b.Now().Sub(began), err)
		if err != nil || passed.CleanedTo >= x.d.Bound {
			return err
		}
		x.d.FirstDirty = passed.CleanedTo
	}
}

func (b *Broker) logPass(p *partition.Partition, passed retention.Passed, took time.Duration, err error) {
	fields := []zap.Field{zap.String("topic", p.Topic()), zap.Int32("partition", p.ID().Partition)}
	switch {
	case errors.Is(err, retention.ErrUncleanable):
		b.Log.Error("a log cannot be compacted and is left alone until the next start; the others go on", append(fields, zap.Error(err))...)
	case err != nil:
		b.Log.Warn("could not compact a log, trying again later", append(fields, zap.Error(err))...)
	default:
		b.Log.Info("compacted a log", append(fields, zap.Int64("cleaned_to", passed.CleanedTo),
			zap.Int64("bytes_before", passed.BytesBefore), zap.Int64("bytes_after", passed.BytesAfter),
			zap.Int64("records", passed.Records), zap.Int64("records_kept", passed.RecordsKept), zap.Duration("took", took))...)
	}
}

// removeDeleted unlinks the files of removed segments and logs whose delay is over.
func (b *Broker) removeDeleted(context.Context) {
	for _, d := range b.dirs {
		if err := d.RemoveDeleted(b.Now()); err != nil && d.Err() == nil {
			b.Log.Error("could not remove deleted files, they go at the next start", zap.String("dir", d.Path()), zap.Error(err))
		}
	}
}
