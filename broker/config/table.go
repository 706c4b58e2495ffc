package config

import (
	"math"
	"sync"
	"time"
)

// The table. Topic keys first, since most defaults of theirs are broker keys; then the
// broker's. Types, defaults and ranges are those of Apache Kafka 4.3, but for the
// defaults marked "ours".

// none is an upper end that is no bound.
const none = math.MaxInt64

type option func(*Key)

func row(name string, t Type, value, doc string, options ...option) Key {
	k := Key{Name: name, Type: t, Default: value, Doc: doc}
	for _, o := range options {
		o(&k)
	}
	return k
}

func from(low float64) option { return between(low, none) }
func between(low, high float64) option {
	return func(k *Key) { k.bounded, k.min, k.max = true, low, high }
}
func oneOf(values ...string) option { return func(k *Key) { k.oneOf = values } }
func null(k *Key)                   { k.NoDefault = true }
func secret(k *Key)                 { k.Sensitive = true }

// in names the unit of what is kept as a time.Duration.
func in(unit time.Duration) option { return func(k *Key) { k.unit = unit } }

func toTopic(f func(*Topic) any) option   { return func(k *Key) { k.topic = f } }
func toBroker(f func(*Broker) any) option { return func(k *Key) { k.broker = f } }

// defaultOnly marks a key that is not enforced yet; removing it is all that enforcing takes here.
func defaultOnly(why string) option {
	return func(k *Key) { k.Enforcement, k.Why = DefaultOnly, why }
}

func noEffect(why string) option {
	return func(k *Key) { k.Enforcement, k.Why = NoEffect, why }
}

// also names the broker keys that are a topic key's default, in order of precedence.
func also(first string, more ...Synonym) option {
	return func(k *Key) {
		k.BrokerKey = first
		k.Synonyms = append([]Synonym{{first, 1}}, more...)
	}
}

const (
	maxLong   = "9223372036854775807"
	maxDouble = "1.7976931348623157E308"
	hourInMs  = 60 * 60 * 1000
	minuteMs  = 60 * 1000
)

var topicKeys = []Key{
	row("cleanup.policy", List, "delete", "What happens to old records: delete drops segments past retention; compact keeps the last record of each key; both may be named, and an empty list keeps everything.", oneOf("compact", "delete"), also("log.cleanup.policy")),
	row("compression.gzip.level", Int, "-1", "Level of gzip when compression.type is gzip, 1 to 9; -1 is its usual one.", between(-1, 9), also("compression.gzip.level"), toTopic(func(t *Topic) any { return &t.GzipLevel }), func(k *Key) { k.check = checkGzipLevel }),
	row("compression.lz4.level", Int, "9", "Level of lz4 when compression.type is lz4: 9 is the fast compressor, the others are the slower and better one, which goes no further from 10 on.", between(1, 17), also("compression.lz4.level"), toTopic(func(t *Topic) any { return &t.LZ4Level })),
	row("compression.type", String, "producer", "How the broker compresses batches: producer keeps them as they come.", oneOf("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"), also("compression.type"), toTopic(func(t *Topic) any { return &t.Compression })),
	row("compression.zstd.level", Int, "3", "Level of zstd when compression.type is zstd; there are four: up to 2, to 5, to 9, and above.", between(-131072, 22), also("compression.zstd.level"), toTopic(func(t *Topic) any { return &t.ZstdLevel })),
	row("delete.retention.ms", Long, "86400000", "How long compaction keeps tombstones and transaction markers once it has seen them.", from(0), in(time.Millisecond), also("log.cleaner.delete.retention.ms"), toTopic(func(t *Topic) any { return &t.DeleteRetention })),
	row("file.delete.delay.ms", Long, "60000", "How long the files of a removed segment or topic stay under a name that ends in .deleted or -delete; readers that are in them keep them anyway.", from(0), in(time.Millisecond), also("log.segment.delete.delay.ms"), toTopic(func(t *Topic) any { return &t.DeleteDelay })),
	row("flush.messages", Long, "1", "Flush to disk before answering once so many records are unflushed; 1 flushes before every answer, by group commit (ours; Kafka's default is never).", from(1), also("log.flush.interval.messages"), toTopic(func(t *Topic) any { return &t.FlushMessages })),
	row("flush.ms", Long, maxLong, "Flush records at latest after this time.", from(0), in(time.Millisecond), also("log.flush.interval.ms", Synonym{"log.flush.scheduler.interval.ms", 1}), toTopic(func(t *Topic) any { return &t.FlushAge })),
	row("follower.replication.throttled.replicas", List, "", "Replicas whose followers are throttled.", defaultOnly("replication is not throttled yet")),
	row("index.interval.bytes", Int, "4096", "Bytes of log between entries of the offset index.", from(0), also("log.index.interval.bytes"), toTopic(func(t *Topic) any { return &t.IndexInterval })),
	row("leader.replication.throttled.replicas", List, "", "Replicas whose leaders are throttled.", defaultOnly("replication is not throttled yet")),
	row("local.retention.bytes", Long, "-2", "Bytes of a partition to keep on local disk once they are in the bucket; -2 is retention.bytes, -1 no limit.", from(-2), also("log.local.retention.bytes"), toTopic(func(t *Topic) any { return &t.LocalRetentionBytes })),
	row("local.retention.ms", Long, "-2", "How long records stay on local disk once they are in the bucket; -2 is retention.ms, -1 no limit.", from(-2), also("log.local.retention.ms"), toTopic(func(t *Topic) any { return &t.LocalRetentionMs })),
	row("max.compaction.lag.ms", Long, maxLong, "Longest time a record may stay uncompacted.", from(1), in(time.Millisecond), also("log.cleaner.max.compaction.lag.ms"), toTopic(func(t *Topic) any { return &t.MaxCompactionLag })),
	row("max.message.bytes", Int, "1048588", "Largest record batch, as it is sent.", from(0), also("message.max.bytes"), toTopic(func(t *Topic) any { return &t.MaxMessageBytes })),
	row("message.timestamp.after.max.ms", Long, "3600000", "How far a record's timestamp may lie after the broker's clock.", from(0), also("log.message.timestamp.after.max.ms"), toTopic(func(t *Topic) any { return &t.TimestampAfterMaxMs })),
	row("message.timestamp.before.max.ms", Long, maxLong, "How far a record's timestamp may lie before the broker's clock.", from(0), also("log.message.timestamp.before.max.ms"), toTopic(func(t *Topic) any { return &t.TimestampBeforeMaxMs })),
	row("message.timestamp.type", String, "CreateTime", "Whose timestamp a record has: the producer's, or the broker's at append.", oneOf("CreateTime", "LogAppendTime"), also("log.message.timestamp.type")),
	row("min.cleanable.dirty.ratio", Double, "0.5", "Share of a log that must be uncompacted before it is compacted.", between(0, 1), also("log.cleaner.min.cleanable.ratio"), toTopic(func(t *Topic) any { return &t.MinCleanableRatio })),
	row("min.compaction.lag.ms", Long, "0", "Shortest time a record stays uncompacted.", from(0), in(time.Millisecond), also("log.cleaner.min.compaction.lag.ms"), toTopic(func(t *Topic) any { return &t.MinCompactionLag })),
	row("min.insync.replicas", Int, "1", "Replicas that must be in sync for acks=all to be accepted.", from(1), also("min.insync.replicas"), toTopic(func(t *Topic) any { return &t.MinInsyncReplicas })),
	row("preallocate", Boolean, "false", "Allocate a segment's file whole when it is created.", also("log.preallocate"), toTopic(func(t *Topic) any { return &t.Preallocate })),
	row("remote.log.copy.disable", Boolean, "false", "Copy no more segments to the bucket, and serve those that are there (KIP-950).", toTopic(func(t *Topic) any { return &t.RemoteCopyDisable })),
	row("remote.log.delete.on.disable", Boolean, "false", "Delete a topic's segments from the bucket when tiering is turned off; what is not on the disk is lost (KIP-950).", toTopic(func(t *Topic) any { return &t.RemoteDeleteOnDisable })),
	row("remote.storage.enable", Boolean, "false", "Copy closed segments to the bucket and read them from there; new topics have it set by varve.tiering.default.", toTopic(func(t *Topic) any { return &t.RemoteStorage })),
	row("retention.bytes", Long, "-1", "Bytes of a partition to keep, on disk and in the bucket together; -1 is no limit.", from(-1), also("log.retention.bytes"), toTopic(func(t *Topic) any { return &t.RetentionBytes })),
	row("retention.ms", Long, "604800000", "How long records are kept, on disk and in the bucket together; -1 is forever.", from(-1), also("log.retention.ms", Synonym{"log.retention.minutes", minuteMs}, Synonym{"log.retention.hours", hourInMs}), toTopic(func(t *Topic) any { return &t.RetentionMs })),
	row("segment.bytes", Int, "1073741824", "Size at which a segment is closed; what is copied and deleted at once.", from(1<<20), also("log.segment.bytes"), toTopic(func(t *Topic) any { return &t.SegmentBytes })),
	row("segment.index.bytes", Int, "10485760", "Largest size of a segment's offset index; a full one closes the segment.", from(4), also("log.index.size.max.bytes"), toTopic(func(t *Topic) any { return &t.IndexBytes })),
	row("segment.jitter.ms", Long, "0", "Random time by which segments are closed early, so that not all are at once.", from(0), in(time.Millisecond), also("log.roll.jitter.ms", Synonym{"log.roll.jitter.hours", hourInMs}), toTopic(func(t *Topic) any { return &t.SegmentJitter })),
	row("segment.ms", Long, "604800000", "Age at which a segment is closed even if it is small.", from(1), in(time.Millisecond), also("log.roll.ms", Synonym{"log.roll.hours", hourInMs}), toTopic(func(t *Topic) any { return &t.SegmentAge })),
	row("unclean.leader.election.enable", Boolean, "false", "Elect a replica that is not in sync when no other is left, losing records.", also("unclean.leader.election.enable"), defaultOnly("a leader is always elected from the in-sync replicas")),
}

const (
	noThreads   = "requests need no pool of threads here: a connection has its own goroutines"
	noZk        = "metadata is kept in etcd, embedded or external (metadata.endpoints)"
	noKraft     = "every broker embeds the metadata it needs"
	noFollowers = "a single broker leads everything"
	noPurge     = "waiting requests are woken one by one and never purged"
)

var brokerKeys = []Key{
	// Identity and listeners.
	row("node.id", Int, "0", "This broker's id, unique in the cluster.", from(0)),
	row("broker.id", Int, "-1", "The older name of node.id; -1 is not set.", from(-1)),
	row("broker.rack", String, "", "Where this broker stands; replicas are spread over racks.", null, toBroker(func(b *Broker) any { return &b.Rack })),
	row("listeners", List, "PLAINTEXT://:9092", "What clients connect to, as NAME://host:port; without a host every address of this machine.", func(k *Key) { k.check = checkEndpoints }),
	row("advertised.listeners", List, "", "What clients are told to connect to; without it each connection is told the address that it came by.", null, func(k *Key) { k.check = checkEndpoints }),
	row("listener.security.protocol.map", String, "PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL", "Security protocol of each listener; only PLAINTEXT is built as yet."),
	row("inter.broker.listener.name", String, "", "Listener by which brokers reach each other; the first one by default.", null),
	row("port", Int, "9092", "The older way to set the port of a PLAINTEXT listener, when listeners is not set.", between(0, 65535)),
	row("host.name", String, "", "The older way to set the address of a PLAINTEXT listener, when listeners is not set."),
	row("advertised.port", Int, "9092", "The older way to set the port of advertised.listeners.", between(1, 65535)),
	row("advertised.host.name", String, "", "The older way to set the host of advertised.listeners.", null),
	row("varve.http.listener", String, "", "Address, host:port, of metrics, health and profiles; none is off. By default on 127.0.0.1, 1000 below the port of the first listener: 8092 beside 9092, so that several brokers on a machine keep apart and clear of Kafka's 9092 to 9094."),

	// Directories and metadata.
	row("log.dir", List, "/tmp/kafka-logs", "Directory of the logs, when log.dirs is not set."),
	row("log.dirs", List, "", "Directories of the logs, separated by commas; each is flushed by itself.", null),
	row("num.recovery.threads.per.data.dir", Int, "2", "Logs that are recovered at a time in each directory.", from(1), noEffect("as many logs are opened at a time as keep the disks and processors busy")),
	row("metadata.endpoints", List, "", "Addresses of an external etcd; without any the broker embeds one.", toBroker(func(b *Broker) any { return &b.MetadataEndpoints })),
	row("varve.etcd.ca.file", String, "", "Certificates, in PEM, of who signs an external etcd's; connections are then by TLS.", null),
	row("varve.etcd.cert.file", String, "", "Certificate, in PEM, that the broker shows an external etcd; connections are then by TLS.", null),
	row("varve.etcd.key.file", String, "", "Private key of that certificate, in PEM.", null),
	row("varve.etcd.user", String, "", "User that an external etcd knows the broker as.", null),
	row("varve.etcd.password", Password, "", "Password of that user.", null, secret),
	row("varve.metadata.dir", String, "", "Directory of the embedded etcd; metadata in the first log directory by default.", null, toBroker(func(b *Broker) any { return &b.MetadataDir })),
	row("broker.session.timeout.ms", Int, "9000", "How long a broker may be silent before its leaderships move.", from(1000), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.BrokerSessionTimeout })),

	// Sockets and requests.
	row("socket.request.max.bytes", Int, "104857600", "Largest request.", from(1), toBroker(func(b *Broker) any { return &b.SocketRequestMaxBytes })),
	row("socket.send.buffer.bytes", Int, "102400", "Send buffer of a connection; -1 leaves it to the system, which lets it grow: better over long distances, dearer over short ones.", from(-1), toBroker(func(b *Broker) any { return &b.SocketSendBufferBytes })),
	row("socket.receive.buffer.bytes", Int, "-1", "Receive buffer of a connection; -1 leaves it to the system, which tunes it (ours; Kafka's default is 102400).", from(-1), toBroker(func(b *Broker) any { return &b.SocketReceiveBufferBytes })),
	row("queued.max.request.bytes", Long, "-1", "Bytes of all requests under way together, above which no more are read; -1 is 512 MiB.", from(-1), toBroker(func(b *Broker) any { return &b.QueuedMaxRequestBytes })),
	row("connections.max.idle.ms", Long, "600000", "Idle time after which a connection is closed.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.ConnectionsMaxIdle })),
	row("max.connections", Int, "2147483647", "Connections in total; never more than 80 % of the files that the process may open, and 20,000 by default.", from(1), toBroker(func(b *Broker) any { return &b.MaxConnections })),
	row("max.connections.per.ip", Int, "2147483647", "Connections of one address; 1,000 by default.", from(1), toBroker(func(b *Broker) any { return &b.MaxConnectionsPerIP })),
	row("max.connections.per.ip.overrides", String, "", "Connections of single addresses, as 10.0.0.1:50,[fe80::1]:10, in place of max.connections.per.ip; an IPv6 address stands for its /64.", func(k *Key) { k.check = checkConnectionOverrides }),
	row("max.connection.creation.rate", Int, "2147483647", "New connections a second, above which they wait; 200 by default.", from(1), toBroker(func(b *Broker) any { return &b.MaxConnectionRate })),
	row("quota.window.num", Int, "11", "Samples that client quotas are measured over, the one under way among them.", from(1), toBroker(func(b *Broker) any { return &b.QuotaWindows })),
	row("quota.window.size.seconds", Int, "1", "Length of such a sample.", from(1), in(time.Second), toBroker(func(b *Broker) any { return &b.QuotaWindow })),
	row("controller.quota.window.num", Int, "11", "Samples whose controller_mutation_rate may be used at once.", from(1), toBroker(func(b *Broker) any { return &b.MutationWindows })),
	row("controller.quota.window.size.seconds", Int, "1", "Length of such a sample.", from(1), in(time.Second), toBroker(func(b *Broker) any { return &b.MutationWindow })),
	row("fetch.max.bytes", Int, "57671680", "Most bytes of records in a Fetch response, but for a first batch that is larger.", from(1024), toBroker(func(b *Broker) any { return &b.FetchMaxBytes })),
	row("max.incremental.fetch.session.cache.slots", Int, "1000", "Incremental fetch sessions that are kept (KIP-227).", from(0), toBroker(func(b *Broker) any { return &b.FetchSessionSlots })),
	row("varve.shutdown.timeout.ms", Long, "10000", "How long a stopping broker waits for requests under way.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.ShutdownTimeout })),
	row("varve.decompressed.max.bytes", Long, "67108864", "Most bytes that checking one batch may decompress; 16 times max.message.bytes if that is less.", from(1<<20), toBroker(func(b *Broker) any { return &b.MaxDecompressedBytes })),

	// Metrics of clients (KIP-714).
	row("varve.client.metrics", Boolean, "true", "Take the metrics that clients push by subscriptions (kafka-client-metrics.sh) and show them on varve.http.listener, unless that is off; without it clients are offered no API to push by, as by a Kafka without a receiver.", toBroker(func(b *Broker) any { return &b.ClientMetrics.Receive })),
	row("telemetry.max.bytes", Int, "1048576", "Largest push of a client, compressed as it comes; decompressed it may be 16 times as large.", from(1), toBroker(func(b *Broker) any { return &b.ClientMetrics.MaxBytes })),
	row("varve.client.metrics.max.series", Int, "50000", "Series of all clients together, of 1 KiB at most and a third of it usually; what exceeds it is left out and counted.", from(0), toBroker(func(b *Broker) any { return &b.ClientMetrics.MaxSeries })),
	row("varve.client.metrics.max.series.per.client", Int, "2000", "Series of one client instance; what exceeds it is left out and counted.", from(0), toBroker(func(b *Broker) any { return &b.ClientMetrics.MaxSeriesPerClient })),
	row("varve.client.metrics.retention.ms", Long, "60000", "How long the metrics of a client are shown that pushes no more, so that its last ones are scraped; three of its push intervals if that is longer.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.ClientMetrics.Retention })),

	// Topics.
	row("auto.create.topics.enable", Boolean, "true", "Create a topic when a client asks for its metadata.", toBroker(func(b *Broker) any { return &b.AutoCreateTopics })),
	row("delete.topic.enable", Boolean, "true", "Let topics be deleted.", toBroker(func(b *Broker) any { return &b.DeleteTopicEnable })),
	row("num.partitions", Int, "1", "Partitions of a topic that is created without a number.", from(1), toBroker(func(b *Broker) any { return &b.NumPartitions })),
	row("default.replication.factor", Int, "1", "Replicas of a topic that is created without a number.", between(1, math.MaxInt16), toBroker(func(b *Broker) any { return &b.DefaultReplicationFactor })),
	row("log.retention.check.interval.ms", Long, "300000", "How often retention is applied.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.RetentionCheckInterval })),
	row("log.flush.offset.checkpoint.interval.ms", Int, "60000", "How often recovery points are written down.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.CheckpointInterval })),
	row("log.flush.start.offset.checkpoint.interval.ms", Int, "60000", "How often log start offsets are written down.", from(0), noEffect("they are written down with the recovery points")),

	// Compaction.
	row("log.cleaner.enable", Boolean, "true", "Whether logs with cleanup.policy=compact are compacted.", toBroker(func(b *Broker) any { return &b.CleanerEnable })),
	row("log.cleaner.threads", Int, "1", "Logs that are compacted at a time; 0 is none.", from(0), toBroker(func(b *Broker) any { return &b.CleanerThreads })),
	row("log.cleaner.dedupe.buffer.size", Long, "134217728", "Memory in which all cleaners together remember keys, 16 bytes each and a quarter more; a log with more keys is compacted in several passes.", from(1<<20), toBroker(func(b *Broker) any { return &b.CleanerDedupeBytes })),
	row("log.cleaner.io.max.bytes.per.second", Double, maxDouble, "Bytes a second that cleaners read and write.", between(1, math.MaxFloat64), toBroker(func(b *Broker) any { return &b.CleanerMaxBytesPerSecond })),
	row("log.cleaner.backoff.ms", Long, "15000", "How often it is looked for logs to compact.", from(0), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.CleanerBackoff })),

	// Broker-wide defaults of topic keys.
	row("log.cleaner.delete.retention.ms", Long, "86400000", "Default of delete.retention.ms.", from(0)),
	row("log.cleaner.max.compaction.lag.ms", Long, maxLong, "Default of max.compaction.lag.ms.", from(1)),
	row("log.cleaner.min.cleanable.ratio", Double, "0.5", "Default of min.cleanable.dirty.ratio.", between(0, 1)),
	row("log.cleaner.min.compaction.lag.ms", Long, "0", "Default of min.compaction.lag.ms.", from(0)),
	row("log.cleanup.policy", List, "delete", "Default of cleanup.policy.", oneOf("compact", "delete")),
	row("log.flush.interval.messages", Long, "1", "Default of flush.messages (ours; Kafka's is never).", from(1)),
	row("log.flush.interval.ms", Long, "", "Default of flush.ms.", null, from(0)),
	row("log.flush.scheduler.interval.ms", Long, maxLong, "Default of flush.ms when log.flush.interval.ms is not set.", from(0)),
	row("log.index.interval.bytes", Int, "4096", "Default of index.interval.bytes.", from(0)),
	row("log.index.size.max.bytes", Int, "10485760", "Default of segment.index.bytes.", from(4)),
	row("log.local.retention.bytes", Long, "-2", "Default of local.retention.bytes.", from(-2)),
	row("log.local.retention.ms", Long, "-2", "Default of local.retention.ms.", from(-2)),
	row("log.message.timestamp.after.max.ms", Long, "3600000", "Default of message.timestamp.after.max.ms.", from(0)),
	row("log.message.timestamp.before.max.ms", Long, maxLong, "Default of message.timestamp.before.max.ms.", from(0)),
	row("log.message.timestamp.type", String, "CreateTime", "Default of message.timestamp.type.", oneOf("CreateTime", "LogAppendTime")),
	row("log.preallocate", Boolean, "false", "Default of preallocate."),
	row("log.retention.bytes", Long, "-1", "Default of retention.bytes.", from(-1)),
	row("log.retention.ms", Long, "", "Default of retention.ms, before log.retention.minutes.", null, from(-1)),
	row("log.retention.minutes", Int, "", "Default of retention.ms in minutes, before log.retention.hours.", null, from(-1)),
	row("log.retention.hours", Int, "168", "Default of retention.ms in hours.", from(-1)),
	row("log.roll.ms", Long, "", "Default of segment.ms, before log.roll.hours.", null, from(1)),
	row("log.roll.hours", Int, "168", "Default of segment.ms in hours.", from(1)),
	row("log.roll.jitter.ms", Long, "", "Default of segment.jitter.ms, before log.roll.jitter.hours.", null, from(0)),
	row("log.roll.jitter.hours", Int, "0", "Default of segment.jitter.ms in hours.", from(0)),
	row("log.segment.bytes", Int, "1073741824", "Default of segment.bytes.", from(1<<20)),
	row("log.segment.delete.delay.ms", Long, "60000", "Default of file.delete.delay.ms.", from(0)),
	row("message.max.bytes", Int, "1048588", "Default of max.message.bytes.", from(0)),

	// Producers, groups and offsets.
	row("producer.id.expiration.ms", Int, "86400000", "How long an idle producer id is remembered (KIP-98).", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.ProducerIDExpiration })),
	row("producer.id.expiration.check.interval.ms", Int, "600000", "How often idle producer ids are forgotten.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.ProducerExpiryCheckInterval })),
	row("group.min.session.timeout.ms", Int, "6000", "Shortest session timeout of a group member.", from(0), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.GroupMinSessionTimeout })),
	row("group.max.session.timeout.ms", Int, "1800000", "Longest session timeout of a group member.", from(0), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.GroupMaxSessionTimeout })),
	row("group.initial.rebalance.delay.ms", Int, "3000", "How long a new group waits for more members.", from(0), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.GroupInitialRebalanceDelay })),
	row("group.max.size", Int, "2147483647", "Most members of a group.", from(1), toBroker(func(b *Broker) any { return &b.GroupMaxSize })),
	row("group.consumer.session.timeout.ms", Int, "45000", "Session timeout of members of the consumer protocol (KIP-848).", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Consumer.SessionTimeout })),
	row("group.consumer.min.session.timeout.ms", Int, "45000", "Shortest session timeout that a group may be set to.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Consumer.MinSessionTimeout })),
	row("group.consumer.max.session.timeout.ms", Int, "60000", "Longest session timeout that a group may be set to.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Consumer.MaxSessionTimeout })),
	row("group.consumer.heartbeat.interval.ms", Int, "5000", "How often members of the consumer protocol send a heartbeat.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Consumer.HeartbeatInterval })),
	row("group.consumer.min.heartbeat.interval.ms", Int, "5000", "Shortest heartbeat interval that a group may be set to.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Consumer.MinHeartbeatInterval })),
	row("group.consumer.max.heartbeat.interval.ms", Int, "15000", "Longest heartbeat interval that a group may be set to.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Consumer.MaxHeartbeatInterval })),
	row("group.consumer.assignment.interval.ms", Int, "1000", "Least time between two assignments of a group of the consumer protocol (KIP-1263).", from(0), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Consumer.AssignmentInterval })),
	row("group.consumer.min.assignment.interval.ms", Int, "0", "Shortest assignment interval that a group may be set to.", from(0), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Consumer.MinAssignmentInterval })),
	row("group.consumer.max.assignment.interval.ms", Int, "15000", "Longest assignment interval that a group may be set to.", from(0), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Consumer.MaxAssignmentInterval })),
	row("group.consumer.regex.refresh.interval.ms", Int, "600000", "How often patterns that members are subscribed to are matched anew.", from(10000), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Consumer.RegexRefreshInterval })),
	row("group.consumer.max.size", Int, "2147483647", "Most members of a group of the consumer protocol.", from(1), toBroker(func(b *Broker) any { return &b.Consumer.MaxSize })),
	row("group.consumer.assignors", List, "uniform,range", "Assignors that members may ask for, of uniform and range; the first is the default.", func(k *Key) { k.check = checkAssignors }, toBroker(func(b *Broker) any { return &b.Consumer.Assignors })),
	row("group.consumer.migration.policy", String, "bidirectional", "Whether groups change between the classic and the consumer protocol while they are in use.", func(k *Key) { k.check = checkMigration }, toBroker(func(b *Broker) any { return &b.Consumer.MigrationPolicy })),
	row("group.streams.session.timeout.ms", Int, "45000", "Session timeout of members of the streams protocol (KIP-1071).", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Streams.SessionTimeout })),
	row("group.streams.min.session.timeout.ms", Int, "45000", "Shortest session timeout that a streams group may be set to.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Streams.MinSessionTimeout })),
	row("group.streams.max.session.timeout.ms", Int, "60000", "Longest session timeout that a streams group may be set to.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Streams.MaxSessionTimeout })),
	row("group.streams.heartbeat.interval.ms", Int, "5000", "How often members of the streams protocol send a heartbeat.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Streams.HeartbeatInterval })),
	row("group.streams.min.heartbeat.interval.ms", Int, "5000", "Shortest heartbeat interval that a streams group may be set to.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Streams.MinHeartbeatInterval })),
	row("group.streams.max.heartbeat.interval.ms", Int, "15000", "Longest heartbeat interval that a streams group may be set to.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Streams.MaxHeartbeatInterval })),
	row("group.streams.assignment.interval.ms", Int, "1000", "Least time between two assignments of a streams group (KIP-1263).", from(0), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Streams.AssignmentInterval })),
	row("group.streams.min.assignment.interval.ms", Int, "0", "Shortest assignment interval that a streams group may be set to.", from(0), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Streams.MinAssignmentInterval })),
	row("group.streams.max.assignment.interval.ms", Int, "15000", "Longest assignment interval that a streams group may be set to.", from(0), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Streams.MaxAssignmentInterval })),
	row("group.streams.initial.rebalance.delay.ms", Int, "3000", "How long a new streams group waits for more members.", from(0), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Streams.InitialRebalanceDelay })),
	row("group.streams.num.standby.replicas", Int, "0", "Copies of the state of each task of a streams group, beside the task's own.", from(0), toBroker(func(b *Broker) any { return &b.Streams.StandbyReplicas })),
	row("group.streams.max.standby.replicas", Int, "2", "Most copies that a streams group may be set to.", from(0), toBroker(func(b *Broker) any { return &b.Streams.MaxStandbyReplicas })),
	row("group.streams.max.size", Int, "2147483647", "Most members of a streams group.", from(1), toBroker(func(b *Broker) any { return &b.Streams.MaxSize })),
	row("offset.metadata.max.bytes", Int, "4096", "Longest metadata of a committed offset.", from(0), toBroker(func(b *Broker) any { return &b.OffsetMetadataMaxBytes })),
	row("offsets.commit.timeout.ms", Int, "5000", "How long a commit of offsets waits to be stored.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.OffsetsCommitTimeout })),
	row("offsets.retention.minutes", Int, "10080", "How long offsets of a group without members are kept.", from(1), in(time.Minute), toBroker(func(b *Broker) any { return &b.OffsetsRetention })),
	row("offsets.retention.check.interval.ms", Long, "600000", "How often expired offsets are looked for.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.OffsetsRetentionCheckInterval })),
	row("offsets.topic.num.partitions", Int, "50", "Partitions of __consumer_offsets.", from(1), toBroker(func(b *Broker) any { return &b.OffsetsTopicPartitions })),
	row("offsets.topic.replication.factor", Short, "3", "Replicas of __consumer_offsets; fewer while there are fewer brokers.", from(1), toBroker(func(b *Broker) any { return &b.OffsetsTopicReplicationFactor })),
	row("offsets.topic.segment.bytes", Int, "104857600", "segment.bytes of __consumer_offsets.", from(1<<20), toBroker(func(b *Broker) any { return &b.OffsetsTopicSegmentBytes })),

	// Records of share groups (KIP-932).
	row("group.share.session.timeout.ms", Int, "45000", "Session timeout of members of share groups (KIP-932).", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.ShareGroups.SessionTimeout })),
	row("group.share.min.session.timeout.ms", Int, "45000", "Shortest session timeout that a share group may be set to.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.ShareGroups.MinSessionTimeout })),
	row("group.share.max.session.timeout.ms", Int, "60000", "Longest session timeout that a share group may be set to.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.ShareGroups.MaxSessionTimeout })),
	row("group.share.heartbeat.interval.ms", Int, "5000", "How often members of share groups send a heartbeat.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.ShareGroups.HeartbeatInterval })),
	row("group.share.min.heartbeat.interval.ms", Int, "5000", "Shortest heartbeat interval that a share group may be set to.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.ShareGroups.MinHeartbeatInterval })),
	row("group.share.max.heartbeat.interval.ms", Int, "15000", "Longest heartbeat interval that a share group may be set to.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.ShareGroups.MaxHeartbeatInterval })),
	row("group.share.assignment.interval.ms", Int, "1000", "Least time between two assignments of a share group (KIP-1263).", from(0), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.ShareGroups.AssignmentInterval })),
	row("group.share.min.assignment.interval.ms", Int, "0", "Shortest assignment interval that a share group may be set to.", from(0), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.ShareGroups.MinAssignmentInterval })),
	row("group.share.max.assignment.interval.ms", Int, "15000", "Longest assignment interval that a share group may be set to.", from(0), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.ShareGroups.MaxAssignmentInterval })),
	row("group.share.max.size", Int, "200", "Most members of a share group.", between(1, 1000), toBroker(func(b *Broker) any { return &b.ShareGroups.MaxSize })),
	row("group.share.assignors", List, "simple", "The assignor of share groups: simple.", oneOf("simple"), defaultOnly("there is one assignor for share groups")),
	row("group.share.initialize.retry.interval.ms", Int, "30000", "How long the state of share partitions may take to be initialized before that is tried again.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.ShareGroups.InitializeRetry })),
	row("group.share.record.lock.duration.ms", Int, "30000", "How long a record that was delivered to a member of a share group is locked for it.", between(1000, 3600000), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.ShareRecords.LockDuration })),
	row("group.share.min.record.lock.duration.ms", Int, "15000", "Shortest lock duration that a share group may be set to.", between(1000, 30000), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.ShareRecords.MinLockDuration })),
	row("group.share.max.record.lock.duration.ms", Int, "60000", "Longest lock duration that a share group may be set to.", between(30000, 3600000), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.ShareRecords.MaxLockDuration })),
	row("group.share.delivery.count.limit", Int, "5", "How often a record is delivered to a share group, at most.", between(2, 10), toBroker(func(b *Broker) any { return &b.ShareRecords.DeliveryLimit })),
	row("group.share.min.delivery.count.limit", Int, "2", "Least number of deliveries that a share group may be set to.", between(2, 5), toBroker(func(b *Broker) any { return &b.ShareRecords.MinDeliveryLimit })),
	row("group.share.max.delivery.count.limit", Int, "10", "Largest number of deliveries that a share group may be set to.", between(5, 25), toBroker(func(b *Broker) any { return &b.ShareRecords.MaxDeliveryLimit })),
	row("group.share.partition.max.record.locks", Int, "2000", "How many records of a partition may be in flight to a share group; the last batch may exceed it.", between(100, 10000), toBroker(func(b *Broker) any { return &b.ShareRecords.MaxLocks })),
	row("group.share.min.partition.max.record.locks", Int, "100", "Least number of record locks that a share group may be set to.", between(100, 2000), toBroker(func(b *Broker) any { return &b.ShareRecords.MinMaxLocks })),
	row("group.share.max.partition.max.record.locks", Int, "4000", "Largest number of record locks that a share group may be set to.", between(2000, 10000), toBroker(func(b *Broker) any { return &b.ShareRecords.MaxMaxLocks })),
	row("group.share.max.share.sessions", Int, "2000", "Most share sessions of this broker: one for each member that fetches here.", from(1), toBroker(func(b *Broker) any { return &b.ShareRecords.Sessions })),
	row("share.fetch.purgatory.purge.interval.requests", Int, "1000", "Purge interval of waiting share fetches, in requests.", noEffect("a share fetch that waits is known to nobody but itself")),

	// Share groups (KIP-932).
	row("share.coordinator.state.topic.num.partitions", Int, "50", "Partitions of __share_group_state.", from(1), toBroker(func(b *Broker) any { return &b.Shares.Partitions })),
	row("share.coordinator.state.topic.replication.factor", Short, "3", "Replicas of __share_group_state; fewer while there are fewer brokers.", from(1), toBroker(func(b *Broker) any { return &b.Shares.ReplicationFactor })),
	row("share.coordinator.state.topic.min.isr", Short, "2", "min.insync.replicas of __share_group_state; never more than it has replicas.", from(1), toBroker(func(b *Broker) any { return &b.Shares.MinISR })),
	row("share.coordinator.state.topic.segment.bytes", Int, "104857600", "segment.bytes of __share_group_state.", from(1<<20), toBroker(func(b *Broker) any { return &b.Shares.SegmentBytes })),
	row("share.coordinator.state.topic.compression.codec", Int, "0", "Codec of the records of __share_group_state; 0 is none.", defaultOnly("records of the share coordinator are written as they are")),
	row("share.coordinator.snapshot.update.records.per.snapshot", Int, "500", "How many updates of a share partition are written before a snapshot of it.", between(0, 500), toBroker(func(b *Broker) any { return &b.Shares.UpdatesPerSnapshot })),
	row("share.coordinator.write.timeout.ms", Int, "5000", "How long a write of share partitions' state waits to be committed.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Shares.WriteTimeout })),
	row("share.coordinator.state.topic.prune.interval.ms", Int, "300000", "How often records of __share_group_state are deleted that no snapshot needs any more.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Shares.Prune })),
	row("share.coordinator.cold.partition.snapshot.interval.ms", Int, "300000", "Age at which snapshots of share partitions are written again while they keep records from being deleted.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Shares.Cold })),

	// Transactions.
	row("transaction.max.timeout.ms", Int, "900000", "Longest transaction.timeout.ms that a producer may ask for.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Transactions.MaxTimeout })),
	row("transaction.abort.timed.out.transaction.cleanup.interval.ms", Int, "10000", "How often open transactions are looked at whose time is up; they are aborted.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Transactions.AbortInterval })),
	row("transactional.id.expiration.ms", Int, "604800000", "How long a transactional id is kept that is not used.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Transactions.IDExpiration })),
	row("transaction.remove.expired.transaction.cleanup.interval.ms", Int, "3600000", "How often unused transactional ids are looked for.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Transactions.ExpiryInterval })),
	row("transaction.partition.verification.enable", Boolean, "true", "Append records of a transaction only while it is open and the partition is part of it (KIP-890).", toBroker(func(b *Broker) any { return &b.Transactions.Verify })),
	row("add.partitions.to.txn.retry.backoff.max.ms", Int, "100", "How long adding a partition to a transaction waits for the one before to be complete.", from(0), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.Transactions.Patience })),
	row("transaction.two.phase.commit.enable", Boolean, "false", "Transactions that an external coordinator ends (KIP-939).", defaultOnly("no released version of InitProducerId asks for them")),
	row("transaction.state.log.num.partitions", Int, "50", "Partitions of __transaction_state.", from(1), toBroker(func(b *Broker) any { return &b.Transactions.Partitions })),
	row("transaction.state.log.replication.factor", Short, "3", "Replicas of __transaction_state; fewer while there are fewer brokers.", from(1), toBroker(func(b *Broker) any { return &b.Transactions.ReplicationFactor })),
	row("transaction.state.log.min.isr", Int, "2", "min.insync.replicas of __transaction_state; never more than it has replicas.", from(1), toBroker(func(b *Broker) any { return &b.Transactions.MinISR })),
	row("transaction.state.log.segment.bytes", Int, "104857600", "segment.bytes of __transaction_state.", from(1<<20), toBroker(func(b *Broker) any { return &b.Transactions.SegmentBytes })),

	// Tiering.
	row("varve.tiering.default", Boolean, "true", "remote.storage.enable of new topics that do not say.", toBroker(func(b *Broker) any { return &b.TieringDefault })),
	row("remote.log.storage.system.enable", Boolean, "true", "Whether topics may be tiered (ours; Kafka's default is false).", func(k *Key) {
		k.check = func(v string) string {
			if v != "true" {
				return "Tiering cannot be turned off for a broker; varve.tiering.default=false leaves new topics untiered"
			}
			return ""
		}
	}),
	row("varve.bucket", String, "file:", "Where segments go: file:DIRECTORY (bucket in the first log directory if none is named), minio://host:port/bucket[/prefix][?secure=true], or s3://bucket[/prefix].", func(k *Key) { k.check = checkBucket }),
	row("varve.bucket.endpoint", String, "", "Address of the object store, http://host:port or https://host:port, when varve.bucket does not say.", null),
	row("varve.bucket.region", String, "", "Region of the bucket; us-east-1 if neither this nor the environment says.", null),
	row("varve.bucket.access.key", String, "", "Access key id; without it s3 looks where AWS's own tools do.", null),
	row("varve.bucket.secret.key", Password, "", "Secret access key.", null, secret),
	row("varve.bucket.session.token", Password, "", "Session token of temporary credentials.", null, secret),
	row("varve.bucket.path.style", Boolean, "", "Put the bucket into the path instead of the host name; true for minio and with an endpoint by default.", null),
	row("varve.bucket.storage.class", String, "", "Storage class of new objects; the bucket's default by default.", null, toBroker(func(b *Broker) any { return &b.Bucket.StorageClass })),
	row("varve.bucket.kms.key.id", String, "", "KMS key that encrypts objects on the server.", null, toBroker(func(b *Broker) any { return &b.Bucket.KMSKeyID })),
	row("varve.bucket.checksum", String, "", "Checksums of uploads: when_supported sends CRC32C, when_required none; by default the former to AWS and the latter to other servers, several of which refuse them.", null, oneOf("", "when_required", "when_supported")),
	row("varve.bucket.create", Boolean, "false", "Create the bucket when it is missing.", toBroker(func(b *Broker) any { return &b.Bucket.Create })),
	row("varve.bucket.timeout.ms", Long, "60000", "Longest time of one request to the object store.", from(1000), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.BucketTimeout })),
	row("varve.bucket.delete.delay.ms", Long, "60000", "Time between dropping an object from the manifest and deleting it, for readers that are in it.", from(0), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.BucketDeleteDelay })),
	row("varve.bucket.sweep.interval.ms", Long, "60000", "How often dead objects are deleted and abandoned uploads looked for.", from(100), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.BucketSweepInterval })),
	row("varve.bucket.orphan.interval.ms", Long, "21600000", "How often the bucket is listed for objects that nothing names: uploads that arrived after they had been given up.", from(1000), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.BucketOrphanInterval })),
	row("varve.bucket.hedge.percent", Int, "5", "Second requests for reads that are late, per hundred reads from the bucket; 0 makes none.", between(0, 50), toBroker(func(b *Broker) any { return &b.BucketHedgePercent })),
	row("varve.bucket.scrub.bytes.per.second", Long, "1048576", "How fast objects in the bucket are read again and checked in the background, to find damage before a reader does; 0 never.", from(0), toBroker(func(b *Broker) any { return &b.BucketScrubBytesPerSecond })),
	row("varve.cache.dir", String, "", "Directory of the chunk cache; cache in the first log directory by default.", null, toBroker(func(b *Broker) any { return &b.CacheDir })),
	row("varve.cache.bytes", Long, "1073741824", "Disk that chunks read from the bucket may take.", from(64<<20), toBroker(func(b *Broker) any { return &b.CacheBytes })),
	row("varve.chunk.bytes", Long, "4194304", "Size of the pieces in which segments are read from the bucket.", between(64<<10, 64<<20), toBroker(func(b *Broker) any { return &b.ChunkBytes })),
	row("varve.readahead.bytes", Long, "33554432", "Most bytes read ahead of one reader of a partition.", from(0), toBroker(func(b *Broker) any { return &b.ReadAheadBytes })),
	row("remote.log.manager.task.interval.ms", Long, "30000", "How often a partition looks for segments to copy.", from(1), in(time.Millisecond), toBroker(func(b *Broker) any { return &b.RemoteTaskInterval })),
	row("remote.log.manager.copier.thread.pool.size", Int, "10", "Segments that are copied at a time.", from(1), toBroker(func(b *Broker) any { return &b.RemoteCopyConcurrency })),
	row("remote.log.reader.threads", Int, "32", "Chunks that are read from the bucket at a time (ours; Kafka's default is 10).", from(1), toBroker(func(b *Broker) any { return &b.RemoteFetchConcurrency })),
	row("remote.log.manager.copy.max.bytes.per.second", Long, maxLong, "Bytes a second that are copied to the bucket (KIP-956).", from(1), toBroker(func(b *Broker) any { return &b.RemoteCopyMaxBytesPerSecond })),
	row("remote.log.manager.fetch.max.bytes.per.second", Long, maxLong, "Bytes a second that are read from the bucket (KIP-956).", from(1), toBroker(func(b *Broker) any { return &b.RemoteFetchMaxBytesPerSecond })),

	// What stands in Kafka's example files, or is altered while a broker runs, and has
	// nothing to set here.
	row("num.replica.fetchers", Int, "1", "Threads that fetch from each leader.", from(1), noEffect(noFollowers)),
	row("follower.fetch.last.tiered.offset.enable", Boolean, "false", "Let a new follower begin at the last tiered offset.", noEffect(noFollowers)),
	row("remote.log.manager.follower.thread.pool.size", Int, "2", "Threads that tier as followers.", from(1), noEffect(noFollowers)),
	row("remote.log.manager.expiration.thread.pool.size", Int, "10", "Threads that delete expired segments from the bucket.", from(1), noEffect("dead objects are deleted a thousand at a time")),
	row("remote.fetch.max.wait.ms", Int, "500", "How long a fetch waits for the bucket.", from(1), noEffect("it waits as long as its client says (fetch.max.wait.ms), and what it asked for is there for the next one")),
	row("remote.list.offsets.request.timeout.ms", Long, "30000", "How long a lookup of an offset waits for the bucket.", from(1), noEffect("it waits as long as its client says, and a request to the bucket varve.bucket.timeout.ms")),
	row("remote.log.index.file.cache.total.size.bytes", Long, "1073741824", "Disk that indexes read from the bucket may take.", from(1), noEffect("they lie in the cache of chunks (varve.cache.bytes)")),
	row("group.coordinator.cached.buffer.max.bytes", Int, "1048588", "Largest buffer that the group coordinator keeps.", from(524288), noEffect("no buffer is kept")),
	row("num.network.threads", Int, "3", "Threads that read and write sockets.", from(1), noEffect(noThreads)),
	row("num.io.threads", Int, "8", "Threads that process requests.", from(1), noEffect(noThreads)),
	row("queued.max.requests", Int, "500", "Requests that wait for a thread.", from(1), noEffect(noThreads)),
	row("background.threads", Int, "10", "Threads of background tasks.", from(1), noEffect(noThreads)),
	row("socket.listen.backlog.size", Int, "50", "Connections that wait to be accepted.", from(1), noEffect("the system's own limit is used (net.core.somaxconn)")),
	row("zookeeper.connect", String, "", "Addresses of ZooKeeper.", null, noEffect(noZk)),
	row("zookeeper.connection.timeout.ms", Int, "", "Timeout of the connection to ZooKeeper.", null, noEffect(noZk)),
	row("zookeeper.session.timeout.ms", Int, "18000", "Timeout of the session with ZooKeeper.", noEffect(noZk)),
	row("process.roles", List, "broker,controller", "What this process is.", oneOf("broker", "controller"), noEffect("every broker is both")),
	row("controller.quorum.voters", List, "", "Controllers of the quorum.", noEffect(noKraft)),
	row("controller.quorum.bootstrap.servers", List, "", "Addresses at which the quorum is found.", noEffect(noKraft)),
	row("controller.quorum.auto.join.enable", Boolean, "false", "Join the quorum by itself.", noEffect(noKraft)),
	row("controller.quorum.election.timeout.ms", Int, "1000", "Timeout of an election in the quorum.", from(0), noEffect(noKraft)),
	row("controller.quorum.fetch.timeout.ms", Int, "2000", "Timeout of a fetch in the quorum.", from(0), noEffect(noKraft)),
	row("controller.listener.names", List, "", "Listeners of the controller; they are not opened.", noEffect(noKraft)),
	row("transaction.state.log.load.buffer.size", Int, "5242880", "Bytes of __transaction_state that are read at a time when it is loaded.", from(1), noEffect("a load holds one batch at a time")),
	row("add.partitions.to.txn.retry.backoff.ms", Int, "20", "Pause before adding a partition to a transaction is tried again.", from(1), noEffect("who waits for the transaction before is woken when that is complete")),
	row("share.coordinator.load.buffer.size", Int, "5242880", "Bytes of __share_group_state that are read at a time when it is loaded.", from(1), noEffect("a load holds one batch at a time")),
	row("share.coordinator.threads", Int, "1", "Threads of the share coordinator.", from(1), noEffect(noThreads)),
	row("share.coordinator.append.linger.ms", Int, "-1", "How long appends to __share_group_state wait for more; -1 adapts itself.", from(-1), noEffect("appends are made at once, and one flush serves all that wait for it")),
	row("share.coordinator.cached.buffer.max.bytes", Int, "1048588", "Largest buffer that the share coordinator keeps.", from(524288), noEffect("no buffer is kept")),
	row("log.cleaner.io.buffer.size", Int, "524288", "Memory for the buffers of all cleaners.", from(0), noEffect("a cleaner has two buffers of 1 MiB")),
	row("log.cleaner.io.buffer.load.factor", Double, "0.9", "How full a cleaner's map gets.", from(0), noEffect("it is filled to 0.8, which holds as many keys as Kafka's")),
	row("fetch.purgatory.purge.interval.requests", Int, "1000", "Requests between purges.", noEffect(noPurge)),
	row("producer.purgatory.purge.interval.requests", Int, "1000", "Requests between purges.", noEffect(noPurge)),
	row("delete.records.purgatory.purge.interval.requests", Int, "1", "Requests between purges.", noEffect(noPurge)),
	row("auto.leader.rebalance.enable", Boolean, "true", "Move leaderships back to the preferred replicas.", noEffect(noFollowers)),
	row("controlled.shutdown.enable", Boolean, "true", "Move leaderships before stopping.", noEffect("a stop is always clean")),
	row("kafka.metrics.reporters", List, "", "Metric reporters.", noEffect("metrics are served on varve.http.listener")),
	row("metric.reporters", List, "org.apache.kafka.common.metrics.JmxReporter", "Metric reporters.", noEffect("metrics are served on varve.http.listener")),
}

// Keys is the whole table: topic keys, then broker keys, each in the order of their
// sections.
func Keys() []Key {
	t := table()
	return append(append([]Key{}, t.topic...), t.broker...)
}

// tables is the table with its indexes.
type tables struct {
	topic, broker             []Key
	topicByName, brokerByName map[string]*Key
}

var table = sync.OnceValue(func() *tables {
	t := &tables{topicByName: map[string]*Key{}, brokerByName: map[string]*Key{}}
	t.topic = append(t.topic, topicKeys...)
	t.broker = append(append(t.broker, brokerKeys...), loginKeys...)
	for _, k := range t.topic {
		if k.BrokerKey == k.Name { // a broker key of the same name has the same row
			k.Synonyms, k.BrokerKey, k.topic = nil, "", nil
			t.broker = append(t.broker, k)
		}
	}
	for i := range t.broker {
		k := &t.broker[i]
		k.Broker, k.Dynamic = true, dynamicKeys[k.Name] || k.PerBroker
		t.brokerByName[k.Name] = k
	}
	for _, k := range t.topic { // a default of what is not enforced is not enforced
		for _, s := range k.Synonyms {
			b := t.brokerByName[s.Name]
			b.Enforcement, b.Why = k.Enforcement, k.Why
		}
	}
	for i := range t.topic {
		k := &t.topic[i]
		k.Topic, k.Dynamic = true, true
		t.topicByName[k.Name] = k
	}
	return t
})

// dynamicKeys are the broker keys that Kafka lets be altered while it runs and that act
// here at once, or have nothing here to act on: the defaults of topic keys, the settings
// of cleaners, connections and tiering, threads. Those of single brokers are marked in
// their rows.
var dynamicKeys = map[string]bool{
	"compression.gzip.level": true, "compression.lz4.level": true, "compression.type": true, "compression.zstd.level": true,
	"log.cleaner.delete.retention.ms": true, "log.cleaner.max.compaction.lag.ms": true, "log.cleaner.min.cleanable.ratio": true,
	"log.cleaner.min.compaction.lag.ms": true, "log.cleanup.policy": true, "log.flush.interval.messages": true,
	"log.flush.interval.ms": true, "log.index.interval.bytes": true, "log.index.size.max.bytes": true,
	"log.local.retention.bytes": true, "log.local.retention.ms": true, "log.message.timestamp.after.max.ms": true,
	"log.message.timestamp.before.max.ms": true, "log.message.timestamp.type": true, "log.preallocate": true,
	"log.retention.bytes": true, "log.retention.ms": true, "log.roll.jitter.ms": true, "log.roll.ms": true,
	"log.segment.bytes": true, "log.segment.delete.delay.ms": true, "message.max.bytes": true, "min.insync.replicas": true,
	"unclean.leader.election.enable": true,

	"log.cleaner.dedupe.buffer.size": true, "log.cleaner.io.max.bytes.per.second": true, "log.cleaner.threads": true,
	"log.cleaner.backoff.ms": true, "producer.id.expiration.ms": true, "transaction.partition.verification.enable": true,
	"max.connections": true, "max.connections.per.ip": true, "max.connections.per.ip.overrides": true, "max.connection.creation.rate": true,
	"remote.log.manager.copier.thread.pool.size": true, "remote.log.reader.threads": true,
	"remote.log.manager.copy.max.bytes.per.second": true, "remote.log.manager.fetch.max.bytes.per.second": true,
	"group.consumer.assignment.interval.ms": true, "group.share.assignment.interval.ms": true, "group.streams.assignment.interval.ms": true,

	"follower.fetch.last.tiered.offset.enable": true, "num.replica.fetchers": true, "remote.fetch.max.wait.ms": true,
	"remote.list.offsets.request.timeout.ms": true, "remote.log.index.file.cache.total.size.bytes": true,
	"remote.log.manager.expiration.thread.pool.size": true, "remote.log.manager.follower.thread.pool.size": true,
	"group.coordinator.cached.buffer.max.bytes": true, "share.coordinator.cached.buffer.max.bytes": true,

	"background.threads": true, "log.cleaner.io.buffer.load.factor": true, "log.cleaner.io.buffer.size": true,
	"num.io.threads": true, "num.network.threads": true, "num.recovery.threads.per.data.dir": true,
}
