package broker

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// Run serves until ctx ends or something that cannot be served without breaks. All
// long-lived goroutines of a broker but the committers start here; each is waited for.
// ready is called once, when the listeners accept.
func (b *Broker) Run(ctx context.Context, ready func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	run := func(name string, do func(context.Context) error) {
		g.Go(func() error {
			if err := do(ctx); err != nil && ctx.Err() == nil {
				b.Log.Error("stopping: "+name+" ended", zap.Error(err))
				return err
			}
			return nil
		})
	}
	run("metadata watch", b.store.Run)
	run("metadata changes", b.follow)
	run("log directories", b.watchDirs)
	run("bucket check", b.checkBucket)
	run("bucket reads", b.tier.Run)
	run("group coordinator", b.tick(b.groups, b.steadyNow))
	run("transaction coordinator", b.tick(b.transactions, b.steadyNow))
	run("share coordinator", b.tick(b.shares, b.steadyNow))
	run("http", b.http.serve)
	run("compaction", b.keepCompacting)
	for _, l := range b.loops() {
		run(l.name, func(ctx context.Context) error {
			return every(ctx, firstPause(l.every, rand.Float64()), l.every, l.step)
		})
	}
	g.Go(func() error { return b.wire.Serve(ctx, b.listeners...) })
	b.http.ready.Store(true)
	ready()
	return g.Wait()
}

// loop is one kind of background work: a step and how often it is due.
type loop struct {
	name  string
	every time.Duration
	step  func(context.Context)
}

// loops is the table of background work.
func (b *Broker) loops() []loop {
	return []loop{
		{"copy to bucket", b.config().RemoteTaskInterval, b.copySegments},
		{"retention", b.config().RetentionCheckInterval, b.retain},
		{"bucket sweep", b.config().BucketSweepInterval, b.sweep},
		{"orphan sweep", b.config().BucketOrphanInterval, b.sweepOrphans},
		{"bucket scrub", scrubPause, b.scrub},
		{"roll by time", time.Second, b.roll},
		{"flush by time", flushCheck, b.flushDue},
		{"checkpoints", min(b.config().CheckpointInterval, checkpointLook), b.checkpoints()},
		{"producer expiry", b.config().ProducerExpiryCheckInterval, b.expireProducers},
		{"removal of deleted files", time.Second, b.removeDeleted},
		{"topic deletion", time.Second, b.finishDeletes},
		{"offline partitions", reopenPause, b.reopen},
		{"metadata cleaning", time.Minute, b.reconcile},
		{"locks of share groups", lockCheck, b.expireLocks},
		{"metrics of silent clients", time.Second, b.expireClientMetrics},
	}
}

// scrubPause is the shortest time between two objects that are read again.
const scrubPause = time.Second

// flushCheck is how late a flush by time (flush.ms) may be.
const flushCheck = 100 * time.Millisecond

// checkpointLook is the longest pause between two looks whether a checkpoint is due.
const checkpointLook = time.Second

// reopenPause is how long a partition that could not be opened is left alone.
const reopenPause = 5 * time.Second

// rare is from which interval on a broker may be restarted more often than work is due.
const rare = time.Hour

// firstPause returns how long after the start work is first due; random is in [0, 1).
// Rare work begins anywhere in its interval: else a broker that is restarted more often
// never does it. This way a broker that is up for a time does as much of it, in the mean,
// however often it is restarted, and brokers that start together do not list a bucket
// together.
func firstPause(interval time.Duration, random float64) time.Duration {
	if interval < rare {
		return interval
	}
	return time.Duration(random * float64(interval))
}

// every calls step after a first pause, and again and again, with a pause of d between
// the end of one and the beginning of the next.
func every(ctx context.Context, first, d time.Duration, step func(context.Context)) error {
	timer := time.NewTimer(first)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		step(ctx)
		timer.Reset(d)
	}
}

// startCommitters starts the flush loop of each log directory. They outlive Run, for
// what was appended must be answered and closing a log flushes it.
func (b *Broker) startCommitters() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, d := range b.dirs {
		running.Go(func() {
			if err := d.Committer().Run(ctx); err != nil && ctx.Err() == nil {
				b.Log.Error("a log directory failed", zap.String("dir", d.Path()), zap.Error(err))
			}
		})
	}
	b.stopCommitters = func() {
		cancel()
		running.Wait()
	}
}

// follow applies each new image of the metadata.
func (b *Broker) follow(ctx context.Context) error {
	image := b.image
	for {
		next, delta, err := b.store.Next(ctx, image)
		if err != nil {
			return err
		}
		image = next
		if delta.Quotas {
			b.limiter.SetQuotas(quotasOf(image))
		}
		if delta.Metrics {
			b.subscribe(image)
		}
		for _, t := range delta.Deleted { // whichever broker was asked to delete it
			b.groups.DropTopic(t.Name, t.ID) // what cannot be stored is found when it is next loaded
			b.shares.DropTopic(t.ID)
		}
		topics := delta.Changed
		if delta.Configs {
			b.alter(image)
			topics = image.Topics() // defaults of topics are broker configs
		}
		if err := b.apply(ctx, image, topics, delta.Deleted); err != nil {
			return err
		}
	}
}

// idle is how often a coordinator is asked when it has nothing that is due ever.
const idle = time.Hour

// ticker is a coordinator that says when it wants to be called.
type ticker interface {
	Tick(now time.Time) (next time.Time)
	Changed() <-chan struct{}
}

// tick calls a coordinator whenever something may be due by its clock. At the end it
// unloads them all: clients that wait learn that they have to ask elsewhere.
func (b *Broker) tick(c ticker, clock func() time.Time) func(context.Context) error {
	return func(ctx context.Context) error {
		timer := time.NewTimer(0)
		defer timer.Stop()
		for {
			select {
			case <-ctx.Done():
				b.unloadCoordinators()
				return nil
			case <-timer.C:
			case <-c.Changed():
			}
			wait := idle
			if next := c.Tick(clock()); !next.IsZero() {
				wait = max(0, next.Sub(clock()))
			}
			timer.Reset(wait)
		}
	}
}
