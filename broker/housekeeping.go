package broker

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/partition"
	"github.com/varvelog/varve/tiering"
)

// The steps of background work: each walks the open partitions once. A partition that
// fails is tried again next time; it stops no other.

// each calls do for every open partition, several at a time. However many fail, as all
// do when the bucket is away, a pass logs one line: their number and one of them.
func (b *Broker) each(ctx context.Context, parallel int, what string, do func(context.Context, *partition.Partition) error) {
	var (
		mu     sync.Mutex
		failed int
		sample []zap.Field
		g      errgroup.Group
	)
	g.SetLimit(parallel)
	for id, r := range b.replicas.all() {
		if ctx.Err() != nil {
			break
		}
		if r.dir.Err() != nil {
			continue // offline, which has been told
		}
		g.Go(func() error {
			if err := do(ctx, r.Partition); err != nil && !expected(ctx, err) {
				mu.Lock()
				defer mu.Unlock()
				failed++
				sample = []zap.Field{zap.String("topic", r.Topic()), zap.Int32("partition", id.Partition), zap.Error(err)}
			}
			return nil
		})
	}
	_ = g.Wait() // no function above returns an error
	if failed > 0 {
		b.Log.Warn("could not "+what+", trying again later", append(sample, zap.Int("partitions_failed", failed))...)
	}
}

// expected tells whether an error is how a stop, a deleted topic or a lost leadership
// looks to a worker.
func expected(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, partition.ErrClosed) || errors.Is(err, partition.ErrNotLeader) || errors.Is(err, tiering.ErrFenced)
}

// copySegments copies sealed segments to the bucket, and then lets go of local ones.
func (b *Broker) copySegments(ctx context.Context) {
	b.each(ctx, b.config().RemoteCopyConcurrency, "copy segments to the bucket", func(ctx context.Context, p *partition.Partition) error {
		n, err := p.Copy(ctx)
		if n > 0 {
			err = errors.Join(err, p.Retain(ctx, b.Now()))
		}
		return err
	})
}

func (b *Broker) retain(ctx context.Context) {
	b.each(ctx, b.config().RemoteCopyConcurrency, "apply retention", func(ctx context.Context, p *partition.Partition) error {
		return p.Retain(ctx, b.Now())
	})
}

func (b *Broker) sweep(ctx context.Context) {
	b.each(ctx, b.config().RemoteCopyConcurrency, "remove dead objects", func(ctx context.Context, p *partition.Partition) error {
		return p.Sweep(ctx)
	})
}

// sweepOrphans lists the objects of one partition after the other: there is no hurry.
func (b *Broker) sweepOrphans(ctx context.Context) {
	b.each(ctx, 1, "look for objects that nothing names", func(ctx context.Context, p *partition.Partition) error {
		return p.SweepOrphans(ctx)
	})
}

// scrub reads the next object in the bucket again. A fault is told once.
func (b *Broker) scrub(ctx context.Context) {
	found, err := b.tier.Scrub(ctx)
	for _, f := range found {
		b.Log.Error("an object in the bucket is damaged", zap.String("kind", string(f.Kind)), zap.String("object", f.Key), zap.String("detail", f.Detail))
	}
	if err != nil && !expected(ctx, err) {
		b.Log.Warn("could not check an object in the bucket, trying again in the next pass", zap.Error(err))
	}
}

func (b *Broker) roll(ctx context.Context) {
	b.each(ctx, 1, "roll a segment", func(_ context.Context, p *partition.Partition) error { return p.Roll(b.Now()) })
}

func (b *Broker) expireProducers(ctx context.Context) {
	b.each(ctx, 1, "expire producers", func(_ context.Context, p *partition.Partition) error {
		p.ExpireProducers(b.Now())
		return nil
	})
}

// flushDue flushes what has waited for longer than flush.ms.
func (b *Broker) flushDue(context.Context) {
	for _, d := range b.dirs {
		d.FlushDue(b.Now())
	}
}

// checkpointBytes is after how many bytes in one log directory a checkpoint is due before
// its time: a start after a crash reads and writes them again, and is to take seconds.
const checkpointBytes = 1 << 30

// checkpointDue decides by the time since the last checkpoint and what was written since.
func checkpointDue(since, interval time.Duration, written int64) bool {
	return since >= interval || written >= checkpointBytes
}

// checkpoints returns the step that takes a checkpoint when one is due.
func (b *Broker) checkpoints() func(context.Context) {
	last := b.steadyNow()
	return func(ctx context.Context) {
		written := int64(0)
		for _, d := range b.dirs {
			if d.Err() == nil {
				written = max(written, d.Unnoted())
			}
		}
		now := b.steadyNow()
		if checkpointDue(now.Sub(last), b.config().CheckpointInterval, written) {
			last = now
			b.checkpoint(ctx)
		}
	}
}

// checkpoint writes how far logs are flushed, so that the next start scans only what
// came after. Producer snapshots come first: those above a recovery point are not trusted.
func (b *Broker) checkpoint(ctx context.Context) {
	b.each(ctx, 1, "write producer snapshots", func(_ context.Context, p *partition.Partition) error { return p.Snapshot() })
	for _, d := range b.dirs {
		if err := d.Checkpoint(); err != nil && d.Err() == nil {
			b.Log.Error("could not write checkpoints", zap.String("dir", d.Path()), zap.Error(err))
		}
	}
}

// finishDeletes removes what is left of deleted topics in the bucket, then forgets them.
func (b *Broker) finishDeletes(ctx context.Context) {
	for _, t := range b.store.Image().Deleting() {
		if err := b.finishDelete(ctx, t); err != nil && ctx.Err() == nil {
			b.Log.Warn("could not remove a deleted topic from the bucket, trying again later", zap.String("topic", t.Name), zap.Error(err))
		}
	}
}

// deleteTimeout bounds one pass over one partition's objects.
const deleteTimeout = time.Minute

func (b *Broker) finishDelete(ctx context.Context, t *cluster.Topic) error {
	for i := range t.Partitions {
		id := tiering.PartitionID{Topic: t.ID, Partition: int32(i)}
		if _, open := b.replicas.all()[id]; open {
			return nil // its files go first
		}
		pctx, cancel := context.WithTimeout(ctx, deleteTimeout)
		err := b.tier.DeletePartition(pctx, id)
		cancel()
		if err != nil {
			return err
		}
	}
	return b.store.FinishDelete(ctx, t.ID)
}

func (b *Broker) reconcile(ctx context.Context) {
	if err := b.store.Reconcile(ctx); err != nil && ctx.Err() == nil {
		b.Log.Warn("could not clean the metadata, trying again later", zap.Error(err))
	}
}
