package config

import (
	"net/netip"
	"time"
)

// ConsumerGroups are the settings of groups of the consumer protocol (KIP-848).
type ConsumerGroups struct {
	SessionTimeout, MinSessionTimeout, MaxSessionTimeout             time.Duration
	HeartbeatInterval, MinHeartbeatInterval, MaxHeartbeatInterval    time.Duration
	AssignmentInterval, MinAssignmentInterval, MaxAssignmentInterval time.Duration
	RegexRefreshInterval                                             time.Duration
	MaxSize                                                          int
	Assignors                                                        []string
	MigrationPolicy                                                  string // lower case
}

// StreamsGroups are the settings of groups of the streams protocol (KIP-1071).
type StreamsGroups struct {
	SessionTimeout, MinSessionTimeout, MaxSessionTimeout             time.Duration
	HeartbeatInterval, MinHeartbeatInterval, MaxHeartbeatInterval    time.Duration
	AssignmentInterval, MinAssignmentInterval, MaxAssignmentInterval time.Duration
	InitialRebalanceDelay                                            time.Duration
	StandbyReplicas, MaxStandbyReplicas                              int
	MaxSize                                                          int
}

// ShareGroups are the settings of share groups (KIP-932), but for those of their records.
type ShareGroups struct {
	SessionTimeout, MinSessionTimeout, MaxSessionTimeout             time.Duration
	HeartbeatInterval, MinHeartbeatInterval, MaxHeartbeatInterval    time.Duration
	AssignmentInterval, MinAssignmentInterval, MaxAssignmentInterval time.Duration
	InitializeRetry                                                  time.Duration
	MaxSize                                                          int
}

// Endpoint is a listener: NAME://HOST:PORT. An empty host is every address.
type Endpoint struct {
	Name string
	Host string
	Port int32
}

// Broker is a broker's settings, typed. It is not changed after Load; WithDynamic makes
// another.
type Broker struct {
	NodeID              int32
	Rack                string
	Listeners           []Endpoint
	AdvertisedListeners []Endpoint // of those that have one; the others tell each connection the address it came by
	LogDirs             []string

	MetadataDir          string   // etcd's, when it is embedded
	MetadataEndpoints    []string // of an external etcd; empty: embedded
	Etcd                 Etcd     // how to reach that one
	BrokerSessionTimeout time.Duration

	HTTPListener string // host:port, "" is off

	// Sockets.
	SocketRequestMaxBytes                                  int32
	SocketSendBufferBytes, SocketReceiveBufferBytes        int // -1: the system's
	QueuedMaxRequestBytes                                  int64
	ConnectionsMaxIdle                                     time.Duration
	MaxConnections, MaxConnectionsPerIP, MaxConnectionRate int                // 0: the default of package wire
	ConnectionOverrides                                    map[netip.Addr]int // in place of MaxConnectionsPerIP
	QuotaWindows, MutationWindows                          int
	QuotaWindow, MutationWindow                            time.Duration
	FetchMaxBytes                                          int64
	FetchSessionSlots                                      int
	ShutdownTimeout                                        time.Duration
	MaxDecompressedBytes                                   int64

	ClientMetrics ClientMetrics

	// Topics.
	Topic                    Topic // defaults of topics
	AutoCreateTopics         bool
	DeleteTopicEnable        bool
	NumPartitions            int32
	DefaultReplicationFactor int16
	RetentionCheckInterval   time.Duration
	CheckpointInterval       time.Duration // of recovery points and log start offsets

	// Compaction.
	CleanerEnable            bool
	CleanerThreads           int
	CleanerDedupeBytes       int64   // of all cleaners together
	CleanerMaxBytesPerSecond float64 // read and written
	CleanerBackoff           time.Duration

	// Producers, groups and offsets.
	ProducerIDExpiration, ProducerExpiryCheckInterval time.Duration
	GroupMinSessionTimeout, GroupMaxSessionTimeout    time.Duration
	GroupInitialRebalanceDelay                        time.Duration
	GroupMaxSize                                      int
	OffsetMetadataMaxBytes                            int
	OffsetsCommitTimeout                              time.Duration
	Consumer                                          ConsumerGroups
	Streams                                           StreamsGroups
	ShareGroups                                       ShareGroups
	OffsetsRetention, OffsetsRetentionCheckInterval   time.Duration
	OffsetsTopicPartitions                            int32
	OffsetsTopicReplicationFactor                     int16
	OffsetsTopicSegmentBytes                          int64
	Transactions                                      Transactions
	Shares                                            Shares
	ShareRecords                                      ShareRecords

	// Tiering.
	TieringDefault                                            bool
	Bucket                                                    Bucket
	CacheDir                                                  string
	CacheBytes, ChunkBytes, ReadAheadBytes                    int64
	RemoteTaskInterval                                        time.Duration
	RemoteCopyConcurrency, RemoteFetchConcurrency             int
	RemoteCopyMaxBytesPerSecond, RemoteFetchMaxBytesPerSecond int64
	BucketTimeout, BucketDeleteDelay, BucketSweepInterval     time.Duration
	BucketOrphanInterval                                      time.Duration
	BucketHedgePercent                                        int
	BucketScrubBytesPerSecond                                 int64

	values *values
}

// ClientMetrics are the limits of what clients push about themselves (KIP-714).
type ClientMetrics struct {
	Receive                       bool
	MaxBytes                      int // of a push, compressed
	MaxSeries, MaxSeriesPerClient int
	Retention                     time.Duration
}

// ReceivesMetrics tells whether clients are offered to push their metrics: there is
// somewhere to see them.
func (b *Broker) ReceivesMetrics() bool { return b.ClientMetrics.Receive && b.HTTPListener != "" }

// Transactions are the settings of transactions.
type Transactions struct {
	MaxTimeout, AbortInterval    time.Duration
	IDExpiration, ExpiryInterval time.Duration
	Verify                       bool
	Patience                     time.Duration // with the transaction before
	Partitions                   int32         // of __transaction_state, as the following
	ReplicationFactor            int16
	MinISR                       int32
	SegmentBytes                 int64
}

// Shares are the settings of the share coordinator (KIP-932).
type Shares struct {
	Partitions         int32 // of __share_group_state, as the following
	ReplicationFactor  int16
	MinISR             int32
	SegmentBytes       int64
	UpdatesPerSnapshot int
	WriteTimeout       time.Duration
	Prune, Cold        time.Duration
}

// Bucket says where segments go.
type Bucket struct {
	Driver string // file, minio or s3
	Dir    string // file: the directory

	Name, Prefix string // minio, s3
	Endpoint     string // http://host:port or https://host:port; "" is AWS
	Region       string

	AccessKeyID, SecretAccessKey, SessionToken string // all empty: the driver's own chain

	PathStyle    bool
	StorageClass string
	KMSKeyID     string
	Checksum     string // when_required or when_supported
	Create       bool   // make the bucket when it is missing
}

// Topic is a topic's settings, typed. A retention of -1 is none; a local retention of -2
// is that of the topic. Times longer than Go's longest are that.
type Topic struct {
	RetentionMs, RetentionBytes           int64
	LocalRetentionMs, LocalRetentionBytes int64
	RemoteStorage                         bool
	RemoteCopyDisable                     bool
	RemoteDeleteOnDisable                 bool
	CleanupDelete, CleanupCompact         bool
	SegmentBytes                          int64
	SegmentAge, SegmentJitter             time.Duration
	IndexBytes, IndexInterval             int64
	FlushMessages                         int64
	FlushAge                              time.Duration
	MinInsyncReplicas                     int32
	MaxMessageBytes                       int32
	LogAppendTime                         bool
	Compression                           string // as in compression.type
	GzipLevel, LZ4Level, ZstdLevel        int
	TimestampBeforeMaxMs                  int64
	TimestampAfterMaxMs                   int64
	Preallocate                           bool
	DeleteRetention                       time.Duration
	MinCompactionLag, MaxCompactionLag    time.Duration
	MinCleanableRatio                     float64
	DeleteDelay                           time.Duration
}
