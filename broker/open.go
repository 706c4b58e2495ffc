package broker

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"slices"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/varvelog/varve/broker/api"
	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/coordinator"
	"github.com/varvelog/varve/broker/partition"
	"github.com/varvelog/varve/broker/wire"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/tiering"
)

// bind takes the ports first: a taken one must stop the start before anything is written.
func (b *Broker) bind(ctx context.Context) error {
	for _, e := range b.config().Listeners {
		l, err := wire.Listen(ctx, e.Name, e.Host, e.Port)
		if err != nil {
			return err
		}
		b.listeners = append(b.listeners, l)
	}
	var err error
	b.http, err = b.listenHTTP(ctx)
	return err
}

// openMetadata starts or dials etcd. Where a log directory knows the cluster, the
// metadata has to be that cluster's.
func (b *Broker) openMetadata(ctx context.Context) error {
	known := ""
	for _, d := range b.dirs {
		known = max(known, d.ClusterID())
	}
	store, err := cluster.Open(ctx, cluster.Options{
		NodeID: b.config().NodeID, Dir: b.config().MetadataDir, Endpoints: b.config().MetadataEndpoints, Login: cluster.Login(b.config().Etcd),
		LeaseSeconds: int64(b.config().BrokerSessionTimeout.Seconds()),
	}, known)
	if err != nil {
		return err
	}
	b.store = store
	for _, d := range b.dirs {
		if err := d.SetClusterID(store.Image().ClusterID()); err != nil {
			return err
		}
	}
	return nil
}

// openBucket makes the object store's client. The store itself is not asked: a broker
// starts and serves what is on disk while the bucket is away.
func (b *Broker) openBucket(context.Context) error {
	bucket, err := newBucket(b.config())
	if err != nil {
		return err
	}
	b.bucket = bucket
	b.tier, err = tiering.New(tiering.Options{
		Bucket: bucket, Metadata: b.store.Tier(), ClusterID: b.store.Image().ClusterID(),
		FS: b.FS, CacheDir: b.config().CacheDir, Now: b.Now, NewID: uuid.New,
		CacheBytes: b.config().CacheBytes, ChunkBytes: b.config().ChunkBytes, ReadAheadBytes: b.config().ReadAheadBytes,
		FetchConcurrency: b.config().RemoteFetchConcurrency, CopyConcurrency: b.config().RemoteCopyConcurrency,
		RequestTimeout: b.config().BucketTimeout, DeleteDelay: b.config().BucketDeleteDelay, HedgePercent: b.config().BucketHedgePercent,
		ScrubBytesPerSecond:   b.config().BucketScrubBytesPerSecond,
		CopyMaxBytesPerSecond: b.config().RemoteCopyMaxBytesPerSecond, FetchMaxBytesPerSecond: b.config().RemoteFetchMaxBytesPerSecond,
	})
	return err
}

// register puts the broker under its lease and takes the leadership that is its own.
func (b *Broker) register(ctx context.Context) error {
	self := cluster.Broker{ID: b.config().NodeID, Incarnation: uuid.NewString(), Rack: b.config().Rack}
	for _, l := range b.listeners {
		self.Endpoints = append(self.Endpoints, b.advertised(l))
	}
	self.Unclean = len(b.unopened) > 0
	for _, d := range b.dirs {
		self.Unclean = self.Unclean || !d.Clean()
	}
	return b.store.Register(ctx, self)
}

// advertised is what clients are told of a listener: advertised.listeners, or just the
// port, and then each client the address that it came by.
func (b *Broker) advertised(l wire.Listener) cluster.Endpoint {
	for _, e := range b.config().AdvertisedListeners {
		if e.Name == l.Name {
			return cluster.Endpoint{Name: e.Name, Host: e.Host, Port: e.Port}
		}
	}
	return cluster.Endpoint{Name: l.Name, Port: l.Port()}
}

// openLogs opens the replicas that the metadata gives this broker, and removes what
// earlier deletes have left.
func (b *Broker) openLogs(ctx context.Context) error {
	image := b.store.Image()
	b.alter(image)
	b.limiter.SetQuotas(quotasOf(image))
	b.subscribe(image)
	b.image = image
	b.noteMissing(image)
	if err := b.apply(ctx, image, image.Topics(), nil); err != nil {
		return err
	}
	for _, d := range b.dirs {
		for _, f := range d.Found() {
			b.settleStray(image, d, f)
		}
	}
	return nil
}

// settleStray looks at a log directory that no open replica claims. Files of a topic
// that was deleted go; what the metadata never heard of is somebody's data and stays.
func (b *Broker) settleStray(image *cluster.Image, d *segment.Dir, f segment.Found) {
	if r, ok := b.replicas.all()[tiering.PartitionID{Topic: f.ID, Partition: f.Partition}]; ok && r.dir == d {
		return
	}
	deleted := slices.ContainsFunc(image.Deleting(), func(t *cluster.Topic) bool { return t.ID == f.ID })
	if !deleted {
		b.Log.Warn("a log directory belongs to no topic of this cluster and is left alone", zap.String("path", f.Path), zap.String("topic", f.Topic))
		return
	}
	if err := b.FS.RemoveAll(f.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.Log.Error("could not remove a deleted topic's files", zap.String("path", f.Path), zap.Error(err))
	}
}

// openCoordinators starts the coordinators over the partitions they lead. Groups
// are spread over as many partitions as the topic has, whatever
// offsets.topic.num.partitions says by now.
func (b *Broker) openCoordinators(context.Context) error {
	partitions := b.config().OffsetsTopicPartitions
	if t, ok := b.store.Image().Topic(api.OffsetsTopic); ok {
		partitions = int32(len(t.Partitions))
	}
	b.shares = b.newShares()
	b.groups = coordinator.NewGroups(coordinator.Options{
		Partitions: partitions,
		Now:        b.steadyNow, Rand: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		SessionMin: b.config().GroupMinSessionTimeout, SessionMax: b.config().GroupMaxSessionTimeout,
		InitialRebalanceDelay: b.config().GroupInitialRebalanceDelay, GroupMaxSize: b.config().GroupMaxSize,
		OffsetMetadataMax: b.config().OffsetMetadataMaxBytes, OffsetsRetention: b.config().OffsetsRetention, RetentionCheck: b.config().OffsetsRetentionCheckInterval,
		Consumer: b.consumerSettings, Streams: b.streamsSettings, Metadata: coordinator.NewTopics(b.store.Image).Metadata,
		Share: b.shareGroupSettings, Shares: b.shares, SharePersist: b.config().Shares.WriteTimeout,
	})
	b.producerIDs = coordinator.NewProducerIDs(b.store.ProducerIDs)
	b.transactions = b.newTransactions()
	b.shareGroups = b.newShareGroups()
	b.loadCoordinators(b.store.Image().Topics())
	return nil
}

// Partition implements api.Partitions.
func (b *Broker) Partition(topic segment.TopicID, index int32) (*partition.Partition, bool) {
	return b.replicas.Partition(topic, index)
}

// Await implements api.Partitions.
func (b *Broker) Await(ctx context.Context, revision int64) error {
	return b.replicas.Await(ctx, revision)
}
