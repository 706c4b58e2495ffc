package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
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

// openDirs locks and reads the log directories, and starts their committers: opening a
// log may already have to flush.
func (b *Broker) openDirs(context.Context) error {
	for _, path := range b.config().LogDirs {
		d, err := segment.OpenDir(segment.DirOptions{FS: b.FS, Path: path, NodeID: b.config().NodeID, Now: b.Now})
		if err != nil {
			return err
		}
		b.dirs = append(b.dirs, d)
		if first := b.dirs[0].ClusterID(); d.ClusterID() != "" && first != "" && d.ClusterID() != first {
			return fmt.Errorf("%s belongs to cluster %s and %s to cluster %s: %w", b.dirs[0].Path(), first, d.Path(), d.ClusterID(), segment.ErrForeign)
		}
	}
	b.startCommitters()
	return nil
}

// openMetadata starts or dials etcd. Where a log directory knows the cluster, the
// metadata has to be that cluster's.
func (b *Broker) openMetadata(ctx context.Context) error {
	known := ""
	for _, d := range b.dirs {
		known = max(known, d.ClusterID())
	}
	store, err := cluster.Open(ctx, cluster.Options{
		NodeID: b.config().NodeID, Dir: b.config().MetadataDir, Endpoints: b.config().MetadataEndpoints,
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
		RequestTimeout: b.config().BucketTimeout, DeleteDelay: b.config().BucketDeleteDelay,
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
	b.image = image
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

// openCoordinators starts the group coordinator over the partitions it leads. Groups
// are spread over as many partitions as the topic has, whatever
// offsets.topic.num.partitions says by now.
func (b *Broker) openCoordinators(context.Context) error {
	partitions := b.config().OffsetsTopicPartitions
	if t, ok := b.store.Image().Topic(api.OffsetsTopic); ok {
		partitions = int32(len(t.Partitions))
	}
	b.groups = coordinator.NewGroups(coordinator.Options{
		Partitions: partitions,
		Now:        b.Now, Rand: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		SessionMin: b.config().GroupMinSessionTimeout, SessionMax: b.config().GroupMaxSessionTimeout,
		InitialRebalanceDelay: b.config().GroupInitialRebalanceDelay, GroupMaxSize: b.config().GroupMaxSize,
		OffsetMetadataMax: b.config().OffsetMetadataMaxBytes, OffsetsRetention: b.config().OffsetsRetention, RetentionCheck: b.config().OffsetsRetentionCheckInterval,
	})
	if t, ok := b.store.Image().Topic(api.OffsetsTopic); ok {
		b.loadGroups([]*cluster.Topic{t})
	}
	return nil
}

// LogDirs implements api.Partitions: the directories of log.dirs, then the bucket.
func (b *Broker) LogDirs() []api.LogDir {
	dirs := make([]api.LogDir, 0, len(b.dirs)+1)
	at := make(map[*segment.Dir]int, len(b.dirs))
	for _, d := range b.dirs {
		at[d] = len(dirs)
		free, err := b.FS.Free(d.Path())
		path, absErr := filepath.Abs(d.Path())
		if absErr != nil {
			path = d.Path()
		}
		dirs = append(dirs, api.LogDir{Path: path, Err: err, Total: -1, Usable: free})
	}
	bucket := api.LogDir{Path: "remote://" + b.bucket.Name(), Total: -1, Usable: -1}
	for id, r := range b.replicas.all() {
		local, remote := r.Size()
		d := &dirs[at[r.dir]]
		d.Logs = append(d.Logs, api.LogDirEntry{Topic: r.Topic(), Partition: id.Partition, Size: local})
		if remote > 0 {
			bucket.Logs = append(bucket.Logs, api.LogDirEntry{Topic: r.Topic(), Partition: id.Partition, Size: remote})
		}
	}
	if len(bucket.Logs) > 0 {
		dirs = append(dirs, bucket)
	}
	return dirs
}

// Partition implements api.Partitions.
func (b *Broker) Partition(topic segment.TopicID, index int32) (*partition.Partition, bool) {
	return b.replicas.Partition(topic, index)
}

// Await implements api.Partitions.
func (b *Broker) Await(ctx context.Context, revision int64) error {
	return b.replicas.Await(ctx, revision)
}
