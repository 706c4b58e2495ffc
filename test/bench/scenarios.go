package main

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// scenario is one row of the benchmark.
type scenario struct {
	name string
	what string // a sentence for the reader of the table
	// prepare makes the two contestants ready. What it starts ends with the env.
	prepare func(b *bench) []contestant
	shown   []metric
	targets []target
	apart   bool          // it runs only where -run names it: it takes a disk of its own
	limit   time.Duration // of all its rounds; 0 is scenarioLimit
}

// contestant measures one side of a scenario, again and again.
type contestant struct {
	name    string
	measure func() figures
}

// target is what a scenario's first contestant should reach.
type target struct {
	of    metric
	bound float64 // of the ratio first/second, or of the first figure itself if absolute
	most  bool    // at most; else at least
	alone bool    // absolute: not a ratio
}

func faster(ratio float64) target            { return target{of: byteRate, bound: ratio} }
func atMost(ratio float64, of metric) target { return target{of: of, bound: ratio, most: true} }
func limit(figure float64, of metric) target {
	return target{of: of, bound: figure, most: true, alone: true}
}

// met compares the medians of both contestants with the target.
func (t target) met(first, second float64) bool {
	got := first
	if !t.alone {
		got = first / second
	}
	if t.most {
		return got <= t.bound
	}
	return got >= t.bound
}

var (
	produceTargets = []target{faster(1.2), atMost(0.25, brokerCPU)}
	fetchTargets   = []target{atMost(0.9, brokerCPU)}
	recoverShown   = []metric{readyTime, coldReady, logGiB, unsettled, startRead, coldRead, startWrite, loadBefore}
	recoverTargets = []target{limit(5, readyTime), limit(5, coldReady)}
	crowdShown     = []metric{joinTime, rebalanceTime, residentMiB, growthMiB, cpuSeconds}
	moved          = []metric{recordRate, byteRate, brokerCPU}
)

func p(m metric, percentile string) metric { return m + metric(" "+percentile) }

func percentiles(m metric) []metric { return []metric{p(m, "p50"), p(m, "p99"), p(m, "p99.9")} }

// scenarios is the benchmark, in the order in which it runs.
var scenarios = slices.Concat(mainScenarios, appendScenarios())

var mainScenarios = []scenario{
	{
		name: "produce-100B-1p", what: "Produce 100 B records to 1 partition, acks=all; Varve flushes before it answers, Kafka does not",
		prepare: produce(100, 1), shown: moved, targets: produceTargets,
	},
	{
		name: "produce-100B-16p", what: "The same to 16 partitions",
		prepare: produce(100, 16), shown: moved, targets: produceTargets,
	},
	{
		name: "produce-1KiB-1p", what: "The same with 1 KiB records, 1 partition",
		prepare: produce(1024, 1), shown: moved, targets: produceTargets,
	},
	{
		name: "produce-1KiB-16p", what: "The same with 1 KiB records, 16 partitions",
		prepare: produce(1024, 16), shown: moved, targets: produceTargets,
	},
	{
		name: "produce-1KiB-16p-deep", what: "The same with up to 64 MiB under way in the client instead of its default of 10,000 records, so that batches get large",
		prepare: produce(1024, 16, kgo.MaxBufferedRecords(1<<18), kgo.MaxBufferedBytes(64<<20)), shown: moved, targets: produceTargets,
	},
	{
		name: "durable-small", what: "16 producers × 100 records/s of 200 B (random gaps) over 16 partitions, linger 0, flush.messages=1 on both",
		prepare: paced(pace{producers: 16, partitions: 16, rate: 100, size: 200, random: true}, map[string]string{"flush.messages": "1"}, false),
		shown:   append(percentiles(ack), brokerCPU),
		targets: []target{atMost(1.0/40, p(ack, "p50"))},
	},
	{
		name: "e2e-1000", what: "1,000 records/s of 1 KiB, one by one, linger 0, acks=all, to 1 partition and to a consumer; Varve flushes, Kafka does not",
		prepare: paced(pace{producers: 1, partitions: 1, rate: 1000, size: 1024}, nil, true),
		shown:   append(append(percentiles(endToEnd), percentiles(ack)...), brokerCPU),
		targets: []target{atMost(1, p(endToEnd, "p99"))},
	},
	{
		name: "e2e-beside", what: "The same while another topic of 16 partitions is replayed from its beginning again and again, as fast as the counting consumer takes it",
		prepare: pacedBeside(pace{producers: 1, partitions: 1, rate: 1000, size: 1024}),
		shown:   append(append(percentiles(endToEnd), percentiles(ack)...), replayRate),
		targets: []target{atMost(1, p(endToEnd, "p99"))},
	},
	{
		name: "tail-20k", what: "Tail fetch: 20,000 records/s of 1 KiB to 16 partitions, linger 5 ms, consumed as they come; CPU of produce and fetch together",
		prepare: paced(pace{producers: 4, partitions: 16, rate: 5000, size: 1024, linger: linger}, nil, true),
		shown:   append(percentiles(endToEnd), byteRate, brokerCPU),
		targets: fetchTargets,
	},
	{
		name: "tail-full", what: "Tail fetch: 1 KiB records to 16 partitions as fast as they go, consumed as they come",
		prepare: tail(1024, 16), shown: moved, targets: fetchTargets,
	},
	{
		name: "hot-100B-1p", what: "Replay from local disk: 100 B records, 1 partition",
		prepare: hot(100, 1, kgoReplay), shown: moved, targets: fetchTargets,
	},
	{
		name: "hot-1KiB-16p", what: "Replay from local disk: 1 KiB records, 16 partitions",
		prepare: hot(1024, 16, kgoReplay), shown: moved, targets: fetchTargets,
	},
	{
		name: "hot-1KiB-16p-raw", what: "The same by a consumer that only counts: 4 connections, up to 8 MiB a partition, batches looked at and thrown away",
		prepare: hot(1024, 16, countingReplay), shown: moved, targets: fetchTargets,
	},
	{
		name: "cold-file", what: "Replay from the bucket: 1 KiB records, 4 partitions, 32 MiB segments; Varve with a file bucket, Kafka with LocalTieredStorage",
		prepare: coldFile, shown: append(moved[:3:3], firstRecord),
		targets: []target{faster(2.5), atMost(0.3, brokerCPU)},
	},
	{
		name: "cold-minio", what: "Replay from MinIO by the counting consumer, beside a plain GET of the same objects (8 MiB ranges, 8 workers)",
		prepare: coldMinIO, shown: []metric{byteRate, brokerCPU},
		targets: []target{faster(0.7)},
	},
	{
		name: "txn", what: "Transactions of 10 records of 100 B, one after the other by each of 16 producers, to 16 partitions; Varve flushes before it answers, Kafka does not",
		prepare: transactional(txns{producers: 16, partitions: 16, records: 10}),
		shown:   append(append([]metric{txnRate}, percentiles(commitTime)...), brokerCPU),
		targets: []target{{of: txnRate, bound: 1.5}},
	},
	{
		name: "streams-wordcount", what: "Kafka Streams' WordCountDemo, exactly_once_v2, 2 threads, over 4 partitions full of lines of 10 words: committed counts a second, CPU per GB of lines; the program has most of the machine",
		prepare: wordCount("classic"), shown: []metric{recordRate, brokerCPU},
		targets: []target{{of: recordRate, bound: 1}},
	},
	{
		name: "streams-wordcount-kip1071", what: "The same by the streams protocol: the broker assigns tasks and makes the internal topics",
		prepare: wordCount("streams"), shown: []metric{recordRate, brokerCPU},
		targets: []target{{of: recordRate, bound: 1}},
	},
	{
		name: "share-consume", what: "A share group of 4 members drains 4 partitions full of 1 KiB records, 500 a request, and acknowledges by asking for more",
		prepare: shareConsume(implicitly), shown: moved,
		targets: []target{{of: recordRate, bound: 1}, atMost(1, brokerCPU)},
	},
	{
		name: "share-consume-explicit", what: "The same, each record acknowledged for itself and every tenth rejected",
		prepare: shareConsume(explicitly), shown: moved,
		targets: []target{{of: recordRate, bound: 1}, atMost(1, brokerCPU)},
	},
	{
		name: "share-latency", what: "1,000 records/s of 1 KiB, one by one, linger 0, acks=all, to 1 partition and to a member of a share group, which acknowledges what a fetch has brought and then fetches again; acknowledged is from the record's time to the answer",
		prepare: shareLatency(pace{producers: 1, partitions: 1, rate: 1000, size: 1024}),
		shown:   append(append(percentiles(endToEnd), percentiles(acknowledged)...), brokerCPU),
		targets: []target{atMost(1, p(acknowledged, "p99"))},
	},
	{
		name: "start-empty", what: "Start with an empty directory to the first answer; resident memory 2 s later",
		prepare: startEmpty, shown: []metric{readyTime, residentMiB},
		targets: []target{limit(0.5, readyTime), limit(100, residentMiB)},
	},
	{
		name: "start-1000p", what: "Start with 1,000 partitions to the answer that names all their leaders; resident memory 2 s later",
		prepare: startThousand, shown: []metric{readyTime, residentMiB},
		targets: []target{limit(2, readyTime), limit(250, residentMiB)},
	},
	{
		name: "compact", what: "Compaction of a log of random updates, 1 KiB each, to one record a key, from the change of cleanup.policy on; a tenth of the records stays",
		prepare: compaction, shown: []metric{byteRate, brokerCPU, extraMiB},
		targets: []target{faster(2), limit(256, extraMiB)},
	},
	{
		name: "compact-beside", what: "8,000 records/s of 1 KiB to 4 partitions, consumed as they come, beside another topic that is updated at 2 MB/s and compacted whenever a segment of 2 MiB is full, against the same without compaction",
		prepare: compactBeside, shown: append(append(percentiles(endToEnd), percentiles(ack)...), byteRate, brokerCPU),
		targets: []target{faster(0.9)},
	},
	{
		name: "recover", what: "Start after SIGKILL under load, with a topic of 1,000 partitions, all of it in their active segments (1 GiB by default), 512 MB produced since the last checkpoint, to the answer that has all their end offsets; page cache warm, and dropped as after a reboot",
		prepare: recovery(recovering{}), apart: true, limit: 2 * time.Hour,
		shown: recoverShown, targets: recoverTargets,
	},
	{
		name: "recover-sealed", what: "The same where the tail begins new segments (segment.bytes lowered) and all that was before is sealed",
		prepare: recovery(recovering{sealed: true}), apart: true, limit: 2 * time.Hour,
		shown: recoverShown, targets: recoverTargets,
	},
	{
		name: "recover-busy", what: "The same after at most 8 GB of produce at full speed, killed without regard to checkpoints",
		prepare: recovery(recovering{busy: true}), apart: true,
		shown: recoverShown, targets: recoverTargets[:1],
	},
	{
		name: "idle-10000", what: "10,000 connections from one address that have said hello and are left alone",
		prepare: idle(10_000), shown: []metric{residentMiB, growthMiB},
	},
	{
		name: "groups-classic", what: "1,000 groups of 10 members each, all joining at once by the classic protocol over a connection each; then one member of each leaves; members send heartbeats every 3 s",
		prepare: crowdedGroups(1000, 10, newClassicMember), shown: crowdShown,
	},
	{
		name: "groups-consumer", what: "The same by the consumer protocol (KIP-848), with the broker's own heartbeat interval of 5 s",
		prepare: crowdedGroups(1000, 10, newConsumerMember), shown: crowdShown,
	},
	{
		name: "groups-share", what: "200 share groups of 10 members each (KIP-932), with the broker's own heartbeat interval of 5 s: all joined is when each has a partition",
		prepare: crowdedGroups(200, 10, newShareMembership), shown: crowdShown,
	},
	{
		name: "loaded", what: "Resident memory after 1 KiB records were produced to 16 partitions and consumed",
		prepare: loaded, shown: []metric{residentMiB},
	},
}

// sizes are how much of everything a run does.
type sizes struct {
	rounds   int
	small    int // records of 100 B
	large    int // records of 1 KiB
	replay   int // records of 1 KiB to replay from local disk
	cold     int // records of 1 KiB to replay from a bucket
	warmup   int // records of 1 KiB that warm a broker up
	paced    time.Duration
	pacedFor time.Duration // warm-up of paced load

	appending time.Duration // of one append row

	words int // of all lines to count

	shared int // records of 1 KiB for a share group

	recover int64 // bytes of the log to recover; 0 is recoverFull
	clone   bool  // it, even where the disk has room

	compact int // records of 1 KiB to compact
	keys    int // of them
}

var fullSizes = sizes{
	rounds: 3, small: 6_000_000, large: 1_000_000, replay: 1_500_000, cold: 1_900_000, warmup: 500_000,
	paced: 15 * time.Second, pacedFor: 5 * time.Second, appending: 10 * time.Second,
	compact: 10_000_000, keys: 1_000_000, words: 1_000_000, shared: 1_000_000,
}

var quickSizes = sizes{
	rounds: 1, small: 1_000_000, large: 150_000, replay: 300_000, cold: 400_000, warmup: 100_000,
	paced: 3 * time.Second, pacedFor: time.Second, appending: 2 * time.Second,
	compact: 200_000, keys: 20_000, words: 100_000, shared: 150_000,
	recover: 2 * gigabyte,
}

// records is how many records of a size a produce row sends.
func (z sizes) records(size int) int {
	if size < 1024 {
		return z.small
	}
	return z.large
}
