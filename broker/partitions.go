package broker

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/broker/api"
	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/broker/coordinator"
	"github.com/varvelog/varve/broker/partition"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/tiering"
)

// apply makes this broker's replicas what the topics of an image say: it opens new
// ones, closes and deletes those of deleted topics, and reconfigures the rest. A
// partition that cannot be opened or led stops no other: it stays offline, its clients
// are told to ask again, and reopen tries it again.
func (b *Broker) apply(ctx context.Context, image *cluster.Image, topics []*cluster.Topic, deleted []*cluster.Topic) error {
	b.applying.Lock()
	defer b.applying.Unlock()
	return b.applyLocked(ctx, image, topics, deleted)
}

// applyLocked is apply for a holder of applying.
func (b *Broker) applyLocked(ctx context.Context, image *cluster.Image, topics []*cluster.Topic, deleted []*cluster.Topic) error {
	var (
		mu     sync.Mutex
		opened = make(map[tiering.PartitionID]*replica)
	)
	closed := b.closeDeleted(deleted) // first, for a new topic may have an old one's name
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4 * runtime.GOMAXPROCS(0)) // opening a log waits for the disk more than for a core
	for _, t := range topics {
		settings, faults := config.StoredTopic(b.config().Topic, t.Configs)
		for _, f := range faults {
			b.Log.Error("a stored config of a topic does not hold; alter it, or the broker's default", zap.String("topic", t.Name), zap.String("config", f.Key), zap.String("reason", f.Reason))
		}
		for i := range t.Partitions {
			p := &t.Partitions[i]
			if !slices.Contains(p.Replicas, b.config().NodeID) {
				continue
			}
			id := tiering.PartitionID{Topic: t.ID, Partition: int32(i)}
			known := b.replicas.all()[id]
			g.Go(func() error {
				r, err := b.ensure(gctx, known, t, id, p, settings)
				if r != nil && known == nil {
					mu.Lock()
					opened[id] = r
					mu.Unlock()
				}
				if err != nil && gctx.Err() == nil && !errors.Is(err, errDirOffline) { // that is told once for all
					b.Log.Error("a partition is offline; the others are served, and this one is tried again", zap.String("topic", t.Name), zap.Int32("partition", id.Partition), zap.Error(err))
				}
				return gctx.Err()
			})
		}
	}
	if err := g.Wait(); err != nil {
		for _, r := range opened {
			err = errors.Join(err, r.Close())
		}
		return err
	}
	b.replicas.publish(opened, closed, image.Revision())
	b.loadCoordinators(topics)
	return nil
}

// reopen tries again to open and lead the partitions that are offline.
func (b *Broker) reopen(ctx context.Context) {
	b.applying.Lock()
	defer b.applying.Unlock()
	image := b.store.Image()
	if image.Revision() != b.replicas.revision() {
		return // follow comes first: what is missing may be new, or deleted
	}
	offline := func(t *cluster.Topic) bool {
		for i := range t.Partitions {
			r := b.replicas.all()[tiering.PartitionID{Topic: t.ID, Partition: int32(i)}]
			if t.Partitions[i].Leader == b.config().NodeID && (r == nil || !r.Offsets().Leader) {
				return true
			}
		}
		return false
	}
	var topics []*cluster.Topic
	for _, t := range image.Topics() {
		if offline(t) {
			topics = append(topics, t)
		}
	}
	if len(topics) == 0 {
		return
	}
	if err := b.applyLocked(ctx, image, topics, nil); err != nil && ctx.Err() == nil {
		b.Log.Error("could not try offline partitions again", zap.Error(err))
	}
}

// ensure opens a replica or brings an open one up to date. On an error the replica may
// be open nevertheless, without leading.
func (b *Broker) ensure(ctx context.Context, r *replica, t *cluster.Topic, id tiering.PartitionID, p *cluster.Partition, settings config.Topic) (*replica, error) {
	if r == nil {
		var err error
		if r, err = b.openReplica(t, id, settings); err != nil {
			return nil, fmt.Errorf("open %s-%d: %w", t.Name, id.Partition, err)
		}
	} else {
		r.SetConfig(settings)
		r.SetProducerExpiry(b.config().ProducerIDExpiration)
	}
	r.SetReplicas(len(p.Replicas))
	if p.Leader != b.config().NodeID {
		r.Resign()
		return r, nil
	}
	if o := r.Offsets(); o.Leader && o.LeaderEpoch == p.LeaderEpoch {
		r.SetISR(p.ISR)
		return r, nil
	}
	fence := tiering.Fence{LeaderRevision: p.LeaderRevision, Epoch: p.LeaderEpoch}
	if err := r.Lead(ctx, p.LeaderEpoch, fence, p.ISR); err != nil {
		return r, fmt.Errorf("lead %s-%d: %w", t.Name, id.Partition, err)
	}
	return r, nil
}

// openReplica opens the log where it lies, or makes it in the emptiest directory.
func (b *Broker) openReplica(t *cluster.Topic, id tiering.PartitionID, settings config.Topic) (*replica, error) {
	dir, made, err := b.place(t.Name, id)
	if err != nil {
		return nil, err
	}
	defer made()
	log, recovered, err := dir.OpenLog(t.Name, id.Partition, id.Topic, segment.Options{
		FS: b.FS, Now: b.Now, Config: partition.LogConfig(settings, id),
	})
	if err != nil {
		return nil, err
	}
	b.logRecovery(t.Name, id, recovered)
	p, err := partition.New(partition.Options{
		Topic: t.Name, ID: id, NodeID: b.config().NodeID,
		Log: log, Remote: b.tier.Remote(id), Config: settings, Now: b.Now,
		ProducerExpiry:  b.config().ProducerIDExpiration,
		MaxDecompressed: b.config().MaxDecompressedBytes,
		Cleaned:         func() int64 { return dir.Cleaned(t.Name, id.Partition) },
	})
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return &replica{p, dir}, nil
}

func (b *Broker) logRecovery(topic string, id tiering.PartitionID, r segment.Recovered) {
	if r.TruncatedBytes == 0 && len(r.Faults) == 0 {
		return
	}
	b.Log.Warn("recovered a log that was not stopped cleanly", zap.String("topic", topic), zap.Int32("partition", id.Partition),
		zap.Int64("scanned_bytes", r.ScannedBytes), zap.Int64("truncated_bytes", r.TruncatedBytes),
		zap.Int("rebuilt_indexes", r.RebuiltIndexes), zap.Errors("faults", r.Faults))
}

// closeDeleted deletes the replicas of deleted topics from disk. What a coordinator keeps
// of an internal one goes first: a topic that is made anew begins at epoch 0 again, which
// would be taken for a stale one.
func (b *Broker) closeDeleted(topics []*cluster.Topic) []tiering.PartitionID {
	var closed []tiering.PartitionID
	for id, r := range b.replicas.all() {
		gone := slices.ContainsFunc(topics, func(t *cluster.Topic) bool { return t.ID == id.Topic })
		if !gone {
			continue
		}
		if c, ok := b.coordinators()[r.Topic()]; ok && b.groups != nil {
			c.Unload(id.Partition)
		}
		if err := r.Delete(); err != nil {
			b.Log.Error("could not delete a partition's files; they are removed at the next start", zap.String("topic", r.Topic()), zap.Int32("partition", id.Partition), zap.Error(err))
		}
		closed = append(closed, id)
	}
	return closed
}

// loader is a coordinator over the partitions of an internal topic.
type loader interface {
	Load(ctx context.Context, partition, leaderEpoch int32, l coordinator.Log) error
	Unload(partition int32)
}

// coordinators is the table of coordinators by topic.
func (b *Broker) coordinators() map[string]loader {
	return map[string]loader{api.OffsetsTopic: b.groups, api.TransactionTopic: b.transactions, api.ShareTopic: b.shares}
}

// loadCoordinators makes this broker the coordinator of the partitions of internal topics
// that it has come to lead. Loading reads the partition, so it runs beside the rest;
// meanwhile clients are told to come back.
func (b *Broker) loadCoordinators(topics []*cluster.Topic) {
	if b.groups == nil {
		return // openCoordinators does it for what is open by then
	}
	all := b.coordinators()
	for _, t := range topics {
		if c, ok := all[t.Name]; ok {
			for i := range t.Partitions {
				b.loadCoordinator(c, t, int32(i))
			}
		}
	}
}

func (b *Broker) loadCoordinator(c loader, t *cluster.Topic, index int32) {
	p, ok := b.replicas.Partition(t.ID, index)
	if !ok || t.Partitions[index].Leader != b.config().NodeID {
		c.Unload(index)
		return
	}
	epoch := t.Partitions[index].LeaderEpoch
	b.background.Go(func() {
		for pause := firstReload; ; pause = min(2*pause, lastReload) {
			if o := p.Offsets(); !o.Leader || o.LeaderEpoch != epoch {
				return // somebody else loads it, or nobody, as when its topic was deleted
			}
			err := c.Load(b.life, index, epoch, coordinatorLog{p})
			loaded := err == nil || errors.Is(err, coordinator.ErrStaleEpoch) || errors.Is(err, coordinator.ErrUnloaded)
			if loaded || b.life.Err() != nil {
				return
			}
			b.Log.Error("could not load a partition of a coordinator; what lives in it is not served, and it is tried again", zap.String("topic", t.Name), zap.Int32("partition", index), zap.Duration("pause", pause), zap.Error(err))
			if !wait(b.life, pause) {
				return
			}
		}
	})
}

// Pauses before a partition of a coordinator is loaded again: a read may have failed that
// will not the next time. What is damaged for good is told of every few minutes.
const (
	firstReload = 100 * time.Millisecond
	lastReload  = 5 * time.Minute
)

// wait returns false where ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (b *Broker) unloadCoordinators() {
	for topic, c := range b.coordinators() {
		if t, ok := b.store.Image().Topic(topic); ok {
			for i := range t.Partitions {
				c.Unload(int32(i))
			}
		}
	}
}
