//go:build interop

package interop

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// probe is one raw request and how to read the outcome of it.
type probe struct {
	name    string
	version int16
	request func(w *world) kmsg.Request
	outcome func(kmsg.Response) string
	// differs says why Apache Kafka's outcome is another, where it is; ours is then want.
	differs string
	want    string
}

// world is where a probe is sent: both brokers have the same topics and groups in it.
type world struct {
	address string
	topic   string // 2 partitions, 10 records in partition 0
	compact string // compacted; made as far as the broker does it
	id      [16]byte
	group   string // Empty, with an offset committed for topic-0
	member  string // of group+"-live", Stable
}

// newWorld makes the same things on a broker.
func newWorld(t *testing.T, address string) *world {
	t.Helper()
	w := &world{address: address, topic: "differential", compact: "differential-compact", group: "differential-g"}
	createOn(t, address, w.topic, 2, "max.message.bytes=2000")
	harness.Until(t, testLimit, "leaders on "+address, func() error { return led(t, address, w.topic) })
	c := dial(t, address)
	q := kmsg.NewPtrMetadataRequest()
	to := kmsg.NewMetadataRequestTopic()
	to.Topic = &w.topic
	q.Topics = append(q.Topics, to)
	w.id = ask[*kmsg.MetadataResponse](t, c, 12, q).Topics[0].TopicID
	for range 10 {
		p := ask[*kmsg.ProduceResponse](t, c, 9, produceRequest(w.topic, w.id, 0, recordBatch([]byte("k"), []byte("v"))))
		refusedWith(t, "produce", p.Topics[0].Partitions[0].ErrorCode, nil)
	}
	coordinate(t, address, w.group)
	coordinate(t, address, w.group+"-live")
	commit := ask[*kmsg.OffsetCommitResponse](t, c, 9, commitRequest(w.group, w.topic, w.id, 0, 3, "m"))
	refusedWith(t, "commit", commit.Topics[0].Partitions[0].ErrorCode, nil)
	live := joinRequest(w.group + "-live")
	live.SessionTimeoutMillis = 300_000 // it sends no heartbeats
	join := ask[*kmsg.JoinGroupResponse](t, c, 3, live)
	refusedWith(t, "join", join.ErrorCode, nil)
	w.member = join.MemberID
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Group, sync.MemberID, sync.Generation = w.group+"-live", w.member, join.Generation
	a := kmsg.NewSyncGroupRequestGroupAssignment()
	a.MemberID, a.MemberAssignment = w.member, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	sync.GroupAssignment = append(sync.GroupAssignment, a)
	refusedWith(t, "sync", ask[*kmsg.SyncGroupResponse](t, c, 3, sync).ErrorCode, nil)
	return w
}

// TestErrorCodesEqualApacheKafkas sends the same raw requests to varve and to Apache
// Kafka 4.3. The error codes must be equal, but where the table says why not.
func TestErrorCodesEqualApacheKafkas(t *testing.T) {
	ours, theirs := newWorld(t, broker(t).Address), newWorld(t, apache(t).Address)
	settle := settling(t, theirs.address)
	for _, p := range probes() {
		t.Run(p.name, func(t *testing.T) {
			got, want := p.ask(ours), p.ask(theirs)
			settle(kmsg.Key(p.request(theirs).Key()))
			if p.differs != "" {
				equal(t, "varve", got, p.want)
				if got == want {
					t.Errorf("Apache Kafka says %s as well: this is no difference any more", want)
				}
				return
			}
			if got != want {
				t.Errorf("varve: %s, Apache Kafka: %s", got, want)
			}
		})
	}
}

// changing are the keys whose answers Apache Kafka's controller gives before its broker knows
// what has changed.
var changing = []kmsg.Key{
	kmsg.CreateTopics, kmsg.DeleteTopics, kmsg.CreatePartitions, kmsg.AlterConfigs, kmsg.IncrementalAlterConfigs,
	kmsg.AlterClientQuotas, kmsg.AlterUserSCRAMCredentials, kmsg.UpdateFeatures, kmsg.AlterPartitionAssignments,
}

// settling returns what waits, after a request that changes something, until Apache Kafka
// answers others by it.
func settling(t *testing.T, address string) func(kmsg.Key) {
	t.Helper()
	s := newSide(t, "Apache Kafka", address, topicOf(t)+"-", 0)
	s.creates("barrier", 1)
	return func(key kmsg.Key) {
		t.Helper()
		if slices.Contains(changing, key) {
			s.published()
		}
	}
}

// ask sends a probe on a connection of its own; that it was closed is an outcome, too.
func (p *probe) ask(w *world) string {
	c, err := dialFor(w.address)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	q := p.request(w)
	q.SetVersion(p.version)
	answer, err := c.exchange(q)
	if err != nil {
		if strings.Contains(err.Error(), "EOF") || strings.Contains(err.Error(), "reset") {
			return "connection closed"
		}
		return err.Error()
	}
	return p.outcome(answer)
}

func produced(p kmsg.Response) string {
	r := p.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	return fmt.Sprintf("%s at %v, %d faulty records", codeName(r.ErrorCode), r.BaseOffset >= 0, len(r.ErrorRecords))
}

func fetchedAs(p kmsg.Response) string {
	f := p.(*kmsg.FetchResponse)
	if len(f.Topics) == 0 {
		return codeName(f.ErrorCode)
	}
	r := f.Topics[0].Partitions[0]
	return fmt.Sprintf("%s %s, high watermark %d, log start %d, bytes %v", codeName(f.ErrorCode), codeName(r.ErrorCode), r.HighWatermark, r.LogStartOffset, len(r.RecordBatches) > 0)
}

func listed(p kmsg.Response) string {
	r := p.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
	return fmt.Sprintf("%s, offset %d, time known %v, epoch %d", codeName(r.ErrorCode), r.Offset, r.Timestamp >= 0, r.LeaderEpoch)
}

func created(p kmsg.Response) string {
	var out []string
	for _, r := range p.(*kmsg.CreateTopicsResponse).Topics {
		out = append(out, codeName(r.ErrorCode))
	}
	return strings.Join(out, " ")
}

func probes() []probe {
	all := produceProbes()
	all = append(all, readProbes()...)
	all = append(all, topicProbes()...)
	all = append(all, configProbes()...)
	return append(all, groupProbes()...)
}

// at makes a Produce request to a partition of the world's topic.
func at(partition int32, records func() []byte) func(*world) kmsg.Request {
	return func(w *world) kmsg.Request { return produceRequest(w.topic, w.id, partition, records()) }
}

func plain() []byte { return recordBatch(nil, []byte("v")) }

func changed(change func(*kmsg.RecordBatch)) func() []byte {
	return func() []byte { return recordBatch(nil, []byte("v"), change) }
}

func flipped(position int) func() []byte {
	return func() []byte { b := plain(); b[position] ^= 1; return b }
}

func produceProbes() []probe {
	return []probe{
		{name: "produce", version: 9, request: at(0, plain), outcome: produced},
		{name: "produce to an unknown topic", version: 9, outcome: produced,
			request: func(*world) kmsg.Request { return produceRequest("nowhere", [16]byte{}, 0, plain()) }},
		{name: "produce to an unknown topic id", version: 13, outcome: produced,
			request: func(*world) kmsg.Request { return produceRequest("", [16]byte{9}, 0, plain()) }},
		{name: "produce to a partition beyond", version: 9, request: at(2, plain), outcome: produced},
		{name: "produce to a negative partition", version: 9, request: at(-1, plain), outcome: produced},
		{name: "produce to an invalid topic name", version: 9, outcome: produced,
			request: func(*world) kmsg.Request { return produceRequest("no way", [16]byte{}, 0, plain()) }},
		{name: "produce to an internal topic", version: 9, outcome: produced,
			request: func(*world) kmsg.Request { return produceRequest("__consumer_offsets", [16]byte{}, 0, plain()) }},
		{name: "produce with acks 2", version: 9, outcome: produced, request: func(w *world) kmsg.Request {
			q := produceRequest(w.topic, w.id, 0, plain())
			q.Acks = 2
			return q
		}},
		{name: "produce nothing", version: 9, request: at(0, func() []byte { return []byte{} }), outcome: produced},
		{name: "produce a corrupt batch", version: 9, request: at(0, flipped(64)), outcome: produced},
		{name: "produce magic 1", version: 9, request: at(0, func() []byte { b := plain(); b[16] = 1; return b }), outcome: produced},
		{name: "produce magic 3", version: 9, request: at(0, func() []byte { b := plain(); b[16] = 3; return b }), outcome: produced},
		{name: "produce a cut batch", version: 9, request: at(0, func() []byte { b := plain(); return b[:len(b)-1] }), outcome: produced},
		{name: "produce two batches", version: 9, request: at(0, func() []byte { return append(plain(), plain()...) }), outcome: produced},
		{name: "produce a wrong count", version: 9, request: at(0, changed(func(b *kmsg.RecordBatch) { b.NumRecords = 2 })), outcome: produced},
		{name: "produce a wrong last offset delta", version: 9, request: at(0, changed(func(b *kmsg.RecordBatch) { b.LastOffsetDelta = 5 })), outcome: produced},
		{name: "produce with a base offset", version: 9, request: at(0, changed(func(b *kmsg.RecordBatch) { b.FirstOffset = 5 })), outcome: produced},
		{name: "produce a control batch", version: 9, request: at(0, changed(func(b *kmsg.RecordBatch) { b.Attributes = 1 << 5 })), outcome: produced},
		{name: "produce with an unknown codec", version: 9, request: at(0, changed(func(b *kmsg.RecordBatch) { b.Attributes = 7 })), outcome: produced,
			differs: "Apache Kafka fails with an IllegalArgumentException, UNKNOWN_SERVER_ERROR", want: "UNSUPPORTED_COMPRESSION_TYPE at false, 0 faulty records"},
		{name: "produce what is not gzip", version: 9, request: at(0, changed(func(b *kmsg.RecordBatch) { b.Attributes = 1 })), outcome: produced,
			differs: "Apache Kafka fails with gzip's own exception, UNKNOWN_SERVER_ERROR", want: "INVALID_RECORD at false, 0 faulty records"},
		{name: "produce too much", version: 9, request: at(0, func() []byte { return recordBatch(nil, make([]byte, 3000)) }), outcome: produced},
		{name: "produce with a negative timestamp", version: 9, request: at(1, changed(func(b *kmsg.RecordBatch) { b.FirstTimestamp, b.MaxTimestamp = -5, -5 })), outcome: produced},
		{name: "produce into the far future", version: 9, outcome: produced, request: at(1, changed(func(b *kmsg.RecordBatch) {
			b.FirstTimestamp = time.Now().Add(48 * time.Hour).UnixMilli()
			b.MaxTimestamp = b.FirstTimestamp
		}))},
		{name: "produce with a sequence but no first one", version: 9, request: at(1, changed(func(b *kmsg.RecordBatch) {
			b.ProducerID, b.ProducerEpoch, b.FirstSequence = 99_000, 0, 5
		})), outcome: produced},
		{name: "produce with a gap in the sequence", version: 9, request: at(1, changed(func(b *kmsg.RecordBatch) {
			b.ProducerID, b.ProducerEpoch, b.FirstSequence = 99_000, 0, 50
		})), outcome: produced},
		{name: "produce with an id but no sequence", version: 9, request: at(1, changed(func(b *kmsg.RecordBatch) {
			b.ProducerID, b.ProducerEpoch, b.FirstSequence = 99_001, 0, -1
		})), outcome: produced},
		{name: "produce a keyless record to a compacted topic", version: 9, outcome: produced,
			request: func(*world) kmsg.Request { return produceRequest("__consumer_offsets", [16]byte{}, 0, plain()) }},
	}
}

// reading makes a Fetch of the world's topic.
func reading(offset int64, change ...func(*kmsg.FetchRequest)) func(*world) kmsg.Request {
	return func(w *world) kmsg.Request {
		q := fetchRequest(w.topic, w.id, 0, offset)
		for _, f := range change {
			f(q)
		}
		return q
	}
}

func listing(timestamp int64) func(*world) kmsg.Request {
	return func(w *world) kmsg.Request { return listRequest(w.topic, 0, timestamp) }
}

func readProbes() []probe {
	future := time.Now().Add(time.Hour).UnixMilli()
	epoch := func(e int32) func(*kmsg.FetchRequest) {
		return func(q *kmsg.FetchRequest) { q.Topics[0].Partitions[0].CurrentLeaderEpoch = e }
	}
	ended := func(p kmsg.Response) string {
		r := p.(*kmsg.OffsetForLeaderEpochResponse).Topics[0].Partitions[0]
		return fmt.Sprintf("%s, epoch %d", codeName(r.ErrorCode), r.LeaderEpoch)
	}
	all := []probe{
		{name: "fetch beyond the end", version: 12, request: reading(1 << 40), outcome: fetchedAs},
		{name: "fetch from a negative offset", version: 12, request: reading(-5), outcome: fetchedAs},
		{name: "fetch from an unknown topic", version: 12, outcome: fetchedAs,
			request: func(*world) kmsg.Request { return fetchRequest("nowhere", [16]byte{}, 0, 0) }},
		{name: "fetch from an unknown topic id", version: 13, outcome: fetchedAs,
			request: func(*world) kmsg.Request { return fetchRequest("", [16]byte{9}, 0, 0) }},
		{name: "fetch from a partition beyond", version: 12, outcome: fetchedAs,
			request: func(w *world) kmsg.Request { return fetchRequest(w.topic, w.id, 7, 0) }},
		{name: "fetch with a newer leader epoch", version: 12, request: reading(0, epoch(1000)), outcome: fetchedAs},
		{name: "fetch in an unknown session", version: 12, outcome: fetchedAs,
			request: reading(0, func(q *kmsg.FetchRequest) { q.SessionID, q.SessionEpoch = 12345, 1 })},
		{name: "fetch in a session with a wrong epoch", version: 12, outcome: fetchedAs,
			request: reading(0, func(q *kmsg.FetchRequest) { q.SessionID, q.SessionEpoch = 0, 5 })},
		{name: "offsets of an unknown topic", version: 7, outcome: listed,
			request: func(*world) kmsg.Request { return listRequest("nowhere", 0, -1) }},
		{name: "offsets of a partition beyond", version: 7, outcome: listed,
			request: func(w *world) kmsg.Request { return listRequest(w.topic, 9, -1) }},
		{name: "end of a leader epoch", version: 4, outcome: ended, request: func(w *world) kmsg.Request { return epochRequest(w.topic, 0, -1, 0) }},
		{name: "end of a later leader epoch", version: 4, outcome: ended, request: func(w *world) kmsg.Request { return epochRequest(w.topic, 0, -1, 500) }},
		{name: "end of an epoch, from the future", version: 4, outcome: ended, request: func(w *world) kmsg.Request { return epochRequest(w.topic, 0, 500, 0) }},
		{name: "end of an epoch of an unknown topic", version: 4, outcome: ended, request: func(*world) kmsg.Request { return epochRequest("nowhere", 0, -1, 0) }},
	}
	for _, at := range []int64{-1, -2, -3, -4, -7, -100, 0, future} {
		name := fmt.Sprintf("offset at %d", at)
		if at == future {
			name = "offset in the future"
		}
		all = append(all, probe{name: name, version: 8, request: listing(at), outcome: listed})
	}
	all = append(all, probe{name: "max timestamp before its version", version: 6, request: listing(-3), outcome: listed})
	return append(all, probe{name: "local offset before its version", version: 7, request: listing(-4), outcome: listed})
}

// creating makes a CreateTopics of one topic.
func creating(topic string, change ...func(*kmsg.CreateTopicsRequestTopic)) func(*world) kmsg.Request {
	return func(*world) kmsg.Request {
		to := newTopicRequest(topic, 1)
		for _, f := range change {
			f(&to)
		}
		return createRequest(to)
	}
}

func with(name, value string) func(*kmsg.CreateTopicsRequestTopic) {
	return func(q *kmsg.CreateTopicsRequestTopic) {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = name, &value
		q.Configs = append(q.Configs, c)
	}
}

func on(brokers ...int32) func(*kmsg.CreateTopicsRequestTopic) {
	return func(q *kmsg.CreateTopicsRequestTopic) {
		q.NumPartitions, q.ReplicationFactor = -1, -1
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Replicas = brokers
		q.ReplicaAssignment = append(q.ReplicaAssignment, a)
	}
}

func topicProbes() []probe {
	grown := func(p kmsg.Response) string { return codeName(p.(*kmsg.CreatePartitionsResponse).Topics[0].ErrorCode) }
	cut := func(p kmsg.Response) string {
		r := p.(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0]
		return fmt.Sprintf("%s, low watermark %d", codeName(r.ErrorCode), r.LowWatermark)
	}
	gone := func(p kmsg.Response) string { return codeName(p.(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode) }
	deleting := func(topic string) func(*world) kmsg.Request {
		return func(*world) kmsg.Request {
			q := kmsg.NewPtrDeleteTopicsRequest()
			q.TopicNames, q.TimeoutMillis = []string{topic}, 5000
			return q
		}
	}
	all := []probe{
		{name: "create a topic that is there", version: 7, request: creating("differential"), outcome: created},
		{name: "create a topic twice at once", version: 7, outcome: created, request: func(*world) kmsg.Request {
			return createRequest(newTopicRequest("twice", 1), newTopicRequest("twice", 1))
		}},
		{name: "create colliding topics at once", version: 7, outcome: created, request: func(*world) kmsg.Request {
			return createRequest(newTopicRequest("under_score", 1), newTopicRequest("under.score", 1))
		}, differs: "Apache Kafka looks for collisions with topics that are there, not within a request", want: "NONE INVALID_TOPIC_EXCEPTION"},
		{name: "create a topic to collide with", version: 7, request: creating("colliding_one"), outcome: created},
		{name: "create a colliding topic", version: 7, request: creating("colliding.one"), outcome: created},
		{name: "create no partitions", version: 7, outcome: created, request: creating("none", func(q *kmsg.CreateTopicsRequestTopic) { q.NumPartitions = 0 })},
		{name: "create -2 partitions", version: 7, outcome: created, request: creating("none", func(q *kmsg.CreateTopicsRequestTopic) { q.NumPartitions = -2 })},
		{name: "create no replicas", version: 7, outcome: created, request: creating("none", func(q *kmsg.CreateTopicsRequestTopic) { q.ReplicationFactor = 0 })},
		{name: "create three replicas", version: 7, outcome: created, request: creating("three", func(q *kmsg.CreateTopicsRequestTopic) { q.ReplicationFactor = 3 })},
		{name: "create on an unknown broker", version: 7, outcome: created, request: creating("elsewhere", on(7))},
		{name: "create on one broker twice", version: 7, outcome: created, request: creating("elsewhere", on(0, 0))},
		{name: "create on no broker", version: 7, outcome: created, request: creating("elsewhere", on())},
		{name: "create with assignment and counts", version: 7, outcome: created, request: creating("elsewhere", on(0), func(q *kmsg.CreateTopicsRequestTopic) { q.NumPartitions = 1 })},
		{name: "create with an unknown config", version: 7, outcome: created, request: creating("c1", with("no.such.config", "1"))},
		{name: "create with a config of the wrong type", version: 7, outcome: created, request: creating("c2", with("retention.ms", "soon"))},
		{name: "create with a config out of range", version: 7, outcome: created, request: creating("c3", with("segment.bytes", "5"))},
		{name: "create with an unknown cleanup policy", version: 7, outcome: created, request: creating("c4", with("cleanup.policy", "burn"))},
		{name: "create with a null config", version: 7, outcome: created, request: creating("c5", func(q *kmsg.CreateTopicsRequestTopic) {
			c := kmsg.NewCreateTopicsRequestTopicConfig()
			c.Name = "retention.ms"
			q.Configs = append(q.Configs, c)
		})},
		{name: "create, validate only", version: 7, outcome: created, request: func(*world) kmsg.Request {
			q := createRequest(newTopicRequest("imagined", 1))
			q.ValidateOnly = true
			return q
		}},
		{name: "delete an unknown topic", version: 5, request: deleting("nowhere"), outcome: gone},
		{name: "delete what was only validated", version: 5, request: deleting("imagined"), outcome: gone},
		{name: "delete a topic twice at once", version: 5, outcome: gone, request: func(*world) kmsg.Request {
			q := deleting("colliding_one")(nil).(*kmsg.DeleteTopicsRequest)
			q.TopicNames = append(q.TopicNames, q.TopicNames[0])
			return q
		}},
		{name: "delete an unknown topic id", version: 6, outcome: gone, request: func(*world) kmsg.Request {
			q := kmsg.NewPtrDeleteTopicsRequest()
			to := kmsg.NewDeleteTopicsRequestTopic()
			to.TopicID = [16]byte{9}
			q.Topics, q.TimeoutMillis = append(q.Topics, to), 5000
			return q
		}},
		{name: "fewer partitions", version: 3, outcome: grown, request: func(w *world) kmsg.Request { return partitionsRequest(w.topic, 1) }},
		{name: "as many partitions", version: 3, outcome: grown, request: func(w *world) kmsg.Request { return partitionsRequest(w.topic, 2) }},
		{name: "partitions of an unknown topic", version: 3, outcome: grown, request: func(*world) kmsg.Request { return partitionsRequest("nowhere", 2) }},
		{name: "delete records beyond the end", version: 2, outcome: cut, request: func(w *world) kmsg.Request { return deleteRecordsRequest(w.topic, 0, 1<<40) }},
		{name: "delete records below 0", version: 2, outcome: cut, request: func(w *world) kmsg.Request { return deleteRecordsRequest(w.topic, 0, -7) }},
		{name: "delete records of an unknown topic", version: 2, outcome: cut, request: func(*world) kmsg.Request { return deleteRecordsRequest("nowhere", 0, 1) }},
		{name: "delete records of a partition beyond", version: 2, outcome: cut, request: func(w *world) kmsg.Request { return deleteRecordsRequest(w.topic, 9, 1) }},
		{name: "delete records", version: 2, outcome: cut, request: func(w *world) kmsg.Request { return deleteRecordsRequest(w.topic, 0, 2) }},
		{name: "delete records below the start", version: 2, outcome: cut, request: func(w *world) kmsg.Request { return deleteRecordsRequest(w.topic, 0, 1) }},
		{name: "fetch below the start", version: 12, request: reading(0), outcome: fetchedAs},
	}
	for _, name := range []string{"", ".", "..", "no way", "ümlaut", "a/b", strings.Repeat("x", 249), strings.Repeat("x", 250), "__consumer_offsets"} {
		all = append(all, probe{name: fmt.Sprintf("create %.20q of %d", name, len(name)), version: 7, request: creating(name), outcome: created})
		all = append(all, probe{
			name: fmt.Sprintf("metadata of %.20q of %d", name, len(name)), version: 9,
			request: func(*world) kmsg.Request {
				q := kmsg.NewPtrMetadataRequest()
				to := kmsg.NewMetadataRequestTopic()
				to.Topic = &name
				q.Topics = append(q.Topics, to)
				return q
			},
			outcome: func(p kmsg.Response) string { return codeName(p.(*kmsg.MetadataResponse).Topics[0].ErrorCode) },
		})
	}
	return all
}

func configProbes() []probe {
	altered := func(p kmsg.Response) string {
		return codeName(p.(*kmsg.IncrementalAlterConfigsResponse).Resources[0].ErrorCode)
	}
	describedAs := func(p kmsg.Response) string {
		r := p.(*kmsg.DescribeConfigsResponse).Resources[0]
		return fmt.Sprintf("%s, configs %v", codeName(r.ErrorCode), len(r.Configs) > 0)
	}
	alter := func(op kmsg.IncrementalAlterConfigOp, name, value string) func(*world) kmsg.Request {
		return func(w *world) kmsg.Request { return alterRequest(w.topic, op, name, value) }
	}
	describe := func(kind kmsg.ConfigResourceType, name string) func(*world) kmsg.Request {
		return func(*world) kmsg.Request {
			q := kmsg.NewPtrDescribeConfigsRequest()
			r := kmsg.NewDescribeConfigsRequestResource()
			r.ResourceType, r.ResourceName, r.ConfigNames = kind, name, nil
			q.Resources = append(q.Resources, r)
			return q
		}
	}
	const set, add, remove, del = kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract, kmsg.IncrementalAlterConfigOpDelete
	return []probe{
		{name: "alter", version: 1, request: alter(set, "retention.ms", "86400000"), outcome: altered},
		{name: "alter an unknown config", version: 1, request: alter(set, "no.such.config", "1"), outcome: altered},
		{name: "alter to a wrong type", version: 1, request: alter(set, "retention.ms", "soon"), outcome: altered},
		{name: "alter out of range", version: 1, request: alter(set, "retention.ms", "-2"), outcome: altered},
		{name: "append to a list", version: 1, request: alter(add, "cleanup.policy", "delete"), outcome: altered},
		{name: "subtract from a list", version: 1, request: alter(remove, "cleanup.policy", "compact"), outcome: altered},
		{name: "append to a number", version: 1, request: alter(add, "retention.ms", "5"), outcome: altered},
		{name: "unset", version: 1, request: alter(del, "retention.ms", ""), outcome: altered},
		{name: "unset what is not set", version: 1, request: alter(del, "flush.ms", ""), outcome: altered},
		{name: "unset an unknown config", version: 1, request: alter(del, "no.such.config", ""), outcome: altered},
		{name: "alter an unknown topic", version: 1, outcome: altered, request: func(*world) kmsg.Request { return alterRequest("nowhere", set, "retention.ms", "1") }},
		{name: "alter an invalid topic", version: 1, outcome: altered, request: func(*world) kmsg.Request { return alterRequest("no way", set, "retention.ms", "1") }},
		{name: "alter a config twice", version: 1, outcome: altered, request: func(w *world) kmsg.Request {
			q := alterRequest(w.topic, set, "retention.ms", "1000000")
			q.Resources[0].Configs = append(q.Resources[0].Configs, q.Resources[0].Configs[0])
			return q
		}},
		{name: "replace with an unknown config", version: 1, request: func(w *world) kmsg.Request {
			return replaceRequest(w.topic, map[string]string{"no.such.config": "1"})
		}, outcome: func(p kmsg.Response) string { return codeName(p.(*kmsg.AlterConfigsResponse).Resources[0].ErrorCode) }},
		{name: "describe a topic", version: 4, request: describe(kmsg.ConfigResourceTypeTopic, "differential"), outcome: describedAs},
		{name: "describe an unknown topic", version: 4, request: describe(kmsg.ConfigResourceTypeTopic, "nowhere"), outcome: describedAs},
		{name: "describe an invalid topic", version: 4, request: describe(kmsg.ConfigResourceTypeTopic, "no way"), outcome: describedAs},
		{name: "describe the broker", version: 4, request: describe(kmsg.ConfigResourceTypeBroker, "0"), outcome: describedAs},
		{name: "describe another broker", version: 4, request: describe(kmsg.ConfigResourceTypeBroker, "7"), outcome: describedAs},
		{name: "describe no broker", version: 4, request: describe(kmsg.ConfigResourceTypeBroker, "first"), outcome: describedAs},
	}
}

func groupProbes() []probe {
	joined := func(p kmsg.Response) string { return codeName(p.(*kmsg.JoinGroupResponse).ErrorCode) }
	join := func(change func(*kmsg.JoinGroupRequest, *world)) func(*world) kmsg.Request {
		return func(w *world) kmsg.Request {
			q := joinRequest(w.group + "-live")
			change(q, w)
			return q
		}
	}
	beat := func(group, member string, generation int32) func(*world) kmsg.Request {
		return func(w *world) kmsg.Request {
			q := kmsg.NewPtrHeartbeatRequest()
			q.Group, q.MemberID, q.Generation = group, member, generation
			if member == "live" {
				q.MemberID = w.member
			}
			return q
		}
	}
	alive := func(p kmsg.Response) string { return codeName(p.(*kmsg.HeartbeatResponse).ErrorCode) }
	commit := func(change func(*kmsg.OffsetCommitRequest, *world)) func(*world) kmsg.Request {
		return func(w *world) kmsg.Request {
			q := commitRequest(w.group, w.topic, w.id, 0, 1, "")
			change(q, w)
			return q
		}
	}
	committed := func(p kmsg.Response) string {
		return codeName(p.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode)
	}
	find := func(kind int8, key string) func(*world) kmsg.Request {
		return func(*world) kmsg.Request {
			q := kmsg.NewPtrFindCoordinatorRequest()
			q.CoordinatorType, q.CoordinatorKeys = kind, []string{key}
			return q
		}
	}
	found := func(p kmsg.Response) string {
		f := p.(*kmsg.FindCoordinatorResponse)
		if len(f.Coordinators) == 0 {
			return codeName(f.ErrorCode)
		}
		return fmt.Sprintf("%s, node %d", codeName(f.Coordinators[0].ErrorCode), f.Coordinators[0].NodeID)
	}
	deleted := func(p kmsg.Response) string { return codeName(p.(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode) }
	remove := func(group string) func(*world) kmsg.Request {
		return func(*world) kmsg.Request {
			q := kmsg.NewPtrDeleteGroupsRequest()
			q.Groups = []string{group}
			return q
		}
	}
	dropped := func(p kmsg.Response) string {
		d := p.(*kmsg.OffsetDeleteResponse)
		if len(d.Topics) == 0 {
			return codeName(d.ErrorCode)
		}
		return codeName(d.ErrorCode) + " " + codeName(d.Topics[0].Partitions[0].ErrorCode)
	}
	describe := func(group string) func(*world) kmsg.Request {
		return func(*world) kmsg.Request {
			q := kmsg.NewPtrDescribeGroupsRequest()
			q.Groups = []string{group}
			return q
		}
	}
	state := func(p kmsg.Response) string {
		g := p.(*kmsg.DescribeGroupsResponse).Groups[0]
		return fmt.Sprintf("%s %q type %q protocol %q, %d members", codeName(g.ErrorCode), g.State, g.ProtocolType, g.Protocol, len(g.Members))
	}
	left := func(p kmsg.Response) string {
		l := p.(*kmsg.LeaveGroupResponse)
		if len(l.Members) == 0 {
			return codeName(l.ErrorCode)
		}
		return codeName(l.ErrorCode) + " " + codeName(l.Members[0].ErrorCode)
	}
	leave := func(group, member string) func(*world) kmsg.Request {
		return func(*world) kmsg.Request {
			q := kmsg.NewPtrLeaveGroupRequest()
			q.Group = group
			m := kmsg.NewLeaveGroupRequestMember()
			m.MemberID = member
			q.Members = append(q.Members, m)
			return q
		}
	}
	synced := func(p kmsg.Response) string { return codeName(p.(*kmsg.SyncGroupResponse).ErrorCode) }
	sync := func(group, member string, generation int32) func(*world) kmsg.Request {
		return func(w *world) kmsg.Request {
			q := kmsg.NewPtrSyncGroupRequest()
			q.Group, q.MemberID, q.Generation = group, member, generation
			if member == "live" {
				q.MemberID = w.member
			}
			return q
		}
	}
	const live = "differential-g-live"
	return []probe{
		{name: "join without a group id", version: 9, outcome: joined, request: join(func(q *kmsg.JoinGroupRequest, _ *world) { q.Group = "" })},
		{name: "join with a short session", version: 9, outcome: joined, request: join(func(q *kmsg.JoinGroupRequest, _ *world) { q.SessionTimeoutMillis = 10 })},
		{name: "join with a long session", version: 9, outcome: joined, request: join(func(q *kmsg.JoinGroupRequest, _ *world) { q.SessionTimeoutMillis = 1 << 30 })},
		{name: "join as an unknown member", version: 9, outcome: joined, request: join(func(q *kmsg.JoinGroupRequest, _ *world) { q.MemberID = "nobody" })},
		{name: "join without a member id", version: 9, outcome: joined, request: join(func(q *kmsg.JoinGroupRequest, _ *world) { q.Group = "differential-new" })},
		{name: "join with another protocol", version: 9, outcome: joined, request: join(func(q *kmsg.JoinGroupRequest, w *world) { q.MemberID, q.Protocols[0].Name = w.member, "other" })},
		{name: "join with another protocol type", version: 9, outcome: joined, request: join(func(q *kmsg.JoinGroupRequest, w *world) { q.MemberID, q.ProtocolType = w.member, "connect" })},
		{name: "join without protocols", version: 9, outcome: joined, request: join(func(q *kmsg.JoinGroupRequest, _ *world) { q.Protocols = nil })},
		{name: "heartbeat", version: 4, request: beat(live, "live", 1), outcome: alive},
		{name: "heartbeat of an unknown member", version: 4, request: beat(live, "nobody", 1), outcome: alive},
		{name: "heartbeat of an old generation", version: 4, request: beat(live, "live", 0), outcome: alive},
		{name: "heartbeat to an unknown group", version: 4, request: beat("nowhere", "nobody", 1), outcome: alive},
		{name: "heartbeat without a group", version: 4, request: beat("", "nobody", 1), outcome: alive},
		{name: "sync as an unknown member", version: 3, request: sync(live, "nobody", 1), outcome: synced},
		{name: "sync in an old generation", version: 3, request: sync(live, "live", 0), outcome: synced},
		{name: "sync in an unknown group", version: 3, request: sync("nowhere", "nobody", 1), outcome: synced},
		{name: "sync without a group", version: 3, request: sync("", "nobody", 1), outcome: synced},
		{name: "leave as an unknown member", version: 4, request: leave(live, "nobody"), outcome: left},
		{name: "leave an unknown group", version: 4, request: leave("nowhere", "nobody"), outcome: left},
		{name: "commit", version: 9, outcome: committed, request: commit(func(*kmsg.OffsetCommitRequest, *world) {})},
		{name: "commit to an unknown topic", version: 9, outcome: committed, request: commit(func(q *kmsg.OffsetCommitRequest, _ *world) { q.Topics[0].Topic = "nowhere" })},
		{name: "commit to an unknown topic id", version: 10, outcome: committed, request: commit(func(q *kmsg.OffsetCommitRequest, _ *world) { q.Topics[0].TopicID = [16]byte{9} })},
		{name: "commit to a partition beyond", version: 9, outcome: committed, request: commit(func(q *kmsg.OffsetCommitRequest, _ *world) { q.Topics[0].Partitions[0].Partition = 9 })},
		{name: "commit as an unknown member", version: 9, outcome: committed, request: commit(func(q *kmsg.OffsetCommitRequest, _ *world) {
			q.Group, q.MemberID, q.Generation = live, "nobody", 1
		})},
		{name: "commit in an old generation", version: 9, outcome: committed, request: commit(func(q *kmsg.OffsetCommitRequest, w *world) {
			q.Group, q.MemberID, q.Generation = live, w.member, 0
		})},
		{name: "commit from outside to a living group", version: 9, outcome: committed, request: commit(func(q *kmsg.OffsetCommitRequest, _ *world) { q.Group = live })},
		{name: "commit in a generation to an unknown group", version: 9, outcome: committed, request: commit(func(q *kmsg.OffsetCommitRequest, _ *world) {
			q.Group, q.MemberID, q.Generation = "nowhere", "nobody", 3
		})},
		{name: "commit long metadata", version: 9, outcome: committed, request: commit(func(q *kmsg.OffsetCommitRequest, _ *world) {
			q.Topics[0].Partitions[0].Metadata = kmsg.StringPtr(strings.Repeat("x", 5000))
		})},
		{name: "commit without a group", version: 9, outcome: committed, request: commit(func(q *kmsg.OffsetCommitRequest, _ *world) { q.Group = "" })},
		{name: "find a group's coordinator", version: 4, request: find(0, "differential-g"), outcome: found},
		{name: "find the coordinator of no group", version: 4, request: find(0, ""), outcome: found},
		{name: "find a coordinator of an unknown type", version: 4, request: find(9, "x"), outcome: found},
		{name: "find a transaction coordinator", version: 4, request: find(1, "x"), outcome: found,
			differs: "__transaction_state is there when the answer leaves; Apache Kafka makes it afterwards and has the client ask again", want: "NONE, node 0"},
		{name: "describe an unknown group", version: 5, request: describe("nowhere"), outcome: state},
		{name: "describe an unknown group, newer", version: 6, request: describe("nowhere"), outcome: state},
		{name: "describe an empty group", version: 5, request: describe("differential-g"), outcome: state},
		{name: "describe no group", version: 5, request: describe(""), outcome: state},
		{name: "describe a living group", version: 5, request: describe(live), outcome: state},
		{name: "delete an unknown group", version: 2, request: remove("nowhere"), outcome: deleted},
		{name: "delete a living group", version: 2, request: remove(live), outcome: deleted},
		{name: "delete offsets of an unknown group", version: 0, outcome: dropped, request: func(w *world) kmsg.Request { return offsetDeleteRequest("nowhere", w.topic, 0) }},
		{name: "delete offsets of an unknown topic", version: 0, outcome: dropped, request: func(w *world) kmsg.Request { return offsetDeleteRequest(w.group, "nowhere", 0) }},
		{name: "delete offsets", version: 0, outcome: dropped, request: func(w *world) kmsg.Request { return offsetDeleteRequest(w.group, w.topic, 0) }},
		{name: "delete a group without members and offsets", version: 2, request: remove("differential-g"), outcome: deleted,
			differs: "such a group has gone with its last offset; Apache Kafka sweeps it later", want: "GROUP_ID_NOT_FOUND"},
		{name: "commit anew", version: 9, outcome: committed, request: commit(func(*kmsg.OffsetCommitRequest, *world) {})},
		{name: "delete an empty group", version: 2, request: remove("differential-g"), outcome: deleted},
	}
}
