//go:build interop

package interop

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The traps of PROTOCOL.md 2.2 but the timeout of transactions (TestTxnRequestsAreRefused) and
// version 2 of them (TestFeatureLevelsAreHonoured): each broke a real client of another broker.

// TestTrapProduceIsAdvertisedFromZero: librdkafka compresses only then (KAFKA-18659).
func TestTrapProduceIsAdvertisedFromZero(t *testing.T) {
	equal(t, "lowest version of Produce", advertisedRange(t, kmsg.Produce).MinVersion, 0)
}

// TestTrapJoinGroupZeroAndOneStay: librdkafka looks for them (KAFKA-19444).
func TestTrapJoinGroupZeroAndOneStay(t *testing.T) {
	equal(t, "lowest version of JoinGroup", advertisedRange(t, kmsg.JoinGroup).MinVersion, 0)
	for version := range int16(2) {
		group := topicOf(t, fmt.Sprint(version))
		coordinate(t, broker(t).Address, group)
		p := ask[*kmsg.JoinGroupResponse](t, dial(t, broker(t).Address), version, joinRequest(group))
		refusedWith(t, "join", p.ErrorCode, nil)
		equal(t, "generation", p.Generation, 1)
		equal(t, "leader", p.LeaderID, p.MemberID)
	}
}

// TestTrapListGroupsRangeIsWide: a range of 5-5 broke kafka-consumer-groups --list.
func TestTrapListGroupsRangeIsWide(t *testing.T) {
	r := advertisedRange(t, kmsg.ListGroups)
	equal(t, "lowest", r.MinVersion, 0)
	equal(t, "highest", r.MaxVersion, 5)
}

func advertisedRange(t *testing.T, key kmsg.Key) kmsg.ApiVersionsResponseApiKey {
	t.Helper()
	p := ask[*kmsg.ApiVersionsResponse](t, dial(t, broker(t).Address), 0, apiVersions())
	i := slices.IndexFunc(p.ApiKeys, func(k kmsg.ApiVersionsResponseApiKey) bool { return k.ApiKey == int16(key) })
	if i < 0 {
		t.Fatalf("%s is not advertised", key.Name())
	}
	return p.ApiKeys[i]
}

// TestTrapUnservedKeysAreNotListed: not as -1 to -1, not at all.
func TestTrapUnservedKeysAreNotListed(t *testing.T) {
	p := ask[*kmsg.ApiVersionsResponse](t, dial(t, broker(t).Address), 0, apiVersions())
	for _, k := range p.ApiKeys {
		if k.MinVersion < 0 || k.MaxVersion < k.MinVersion {
			t.Errorf("%s is listed as %d to %d", kmsg.NameForKey(k.ApiKey), k.MinVersion, k.MaxVersion)
		}
		if k.ApiKey >= 4 && k.ApiKey <= 7 {
			t.Errorf("key %d is for controllers of the past", k.ApiKey)
		}
	}
}

// TestTrapUnknownApiVersionsGetsVersionZeroAndTheList (KIP-511): with header version 0,
// UNSUPPORTED_VERSION and the keys; the connection stays open for the next try.
func TestTrapUnknownApiVersionsGetsVersionZeroAndTheList(t *testing.T) {
	c := dial(t, broker(t).Address)
	c.last = 77
	request := binary.BigEndian.AppendUint32(nil, 0)
	request = binary.BigEndian.AppendUint16(request, uint16(kmsg.ApiVersions))
	request = binary.BigEndian.AppendUint16(request, 99)
	request = binary.BigEndian.AppendUint32(request, uint32(c.last))
	request = append(request, 0xff, 0xff, 0) // no client id, no tags
	request = append(request, "whatever version 99 has"...)
	binary.BigEndian.PutUint32(request, uint32(len(request)-4))
	if _, err := c.Write(request); err != nil {
		t.Fatal(err)
	}
	body, err := c.answer(false)
	if err != nil {
		t.Fatal(err)
	}
	p := kmsg.NewPtrApiVersionsResponse()
	if err := p.ReadFrom(body); err != nil {
		t.Fatal(err)
	}
	equal(t, "error", codeName(p.ErrorCode), kerr.UnsupportedVersion.Message)
	equal(t, "keys", len(p.ApiKeys), len(served))
	if again := p.AppendTo(nil); !bytes.Equal(again, body) {
		t.Errorf("answer is not version 0: %x", body)
	}
	refusedWith(t, "ApiVersions of version 3", ask[*kmsg.ApiVersionsResponse](t, c, 3, apiVersions()).ErrorCode, nil)
}

// TestTrapPreferredReadReplicaIsMinusOne: zero would send consumers to broker 0.
func TestTrapPreferredReadReplicaIsMinusOne(t *testing.T) {
	f := newFilled(t)
	for version := int16(11); version <= 18; version++ {
		p := ask[*kmsg.FetchResponse](t, dial(t, broker(t).Address), version, fetchRequest(f.topic, f.id, 0, 0))
		equal(t, fmt.Sprintf("preferred read replica in version %d", version), p.Topics[0].Partitions[0].PreferredReadReplica, -1)
	}
	unknown := ask[*kmsg.FetchResponse](t, dial(t, broker(t).Address), 12, fetchRequest("nowhere", f.id, 0, 0))
	equal(t, "preferred read replica of an error", unknown.Topics[0].Partitions[0].PreferredReadReplica, -1)
}

// TestTrapAuthorizedOperationsAreMinimumWhenNotReported (KIP-430).
func TestTrapAuthorizedOperationsAreMinimumWhenNotReported(t *testing.T) {
	const notReported = -1 << 31
	f := newFilled(t)
	c := dial(t, broker(t).Address)
	for version := int16(8); version <= 13; version++ {
		q := f.request(t, kmsg.Metadata).(*kmsg.MetadataRequest)
		q.IncludeClusterAuthorizedOperations, q.IncludeTopicAuthorizedOperations = false, false
		p := ask[*kmsg.MetadataResponse](t, c, version, q)
		equal(t, "Metadata, topic", p.Topics[0].AuthorizedOperations, notReported)
		if version <= 10 {
			equal(t, "Metadata, cluster", p.AuthorizedOperations, notReported)
		}
	}
	groups := kmsg.NewPtrDescribeGroupsRequest()
	groups.Groups = []string{f.group}
	equal(t, "DescribeGroups", ask[*kmsg.DescribeGroupsResponse](t, c, 5, groups).Groups[0].AuthorizedOperations, notReported)
	equal(t, "DescribeCluster", ask[*kmsg.DescribeClusterResponse](t, c, 0, kmsg.NewPtrDescribeClusterRequest()).ClusterAuthorizedOperations, notReported)
}

// TestTrapFetchInsideABatchReturnsTheWholeBatch: a client hung that was not given the
// batch its offset lies in.
func TestTrapFetchInsideABatchReturnsTheWholeBatch(t *testing.T) {
	topic := topicOf(t)
	create(t, topic, 1)
	id := topicID(t, topic)
	c := dial(t, broker(t).Address)
	batch := recordsBatch(10, nil, []byte("value"), time.Now().UnixMilli(), func(*kmsg.RecordBatch) {})
	refusedWith(t, "produce", ask[*kmsg.ProduceResponse](t, c, 9, produceRequest(topic, id, 0, batch)).Topics[0].Partitions[0].ErrorCode, nil)
	whole := ask[*kmsg.FetchResponse](t, c, 12, fetchRequest(topic, id, 0, 0)).Topics[0].Partitions[0].RecordBatches
	inside := ask[*kmsg.FetchResponse](t, c, 12, fetchRequest(topic, id, 0, 7)).Topics[0].Partitions[0].RecordBatches
	b := kmsg.NewRecordBatch()
	if err := b.ReadFrom(inside); err != nil {
		t.Fatal(err)
	}
	equal(t, "base offset", b.FirstOffset, 0)
	equal(t, "records", b.NumRecords, 10)
	equal(t, "bytes equal", bytes.Equal(whole, inside), true)
	reader := client(t, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(7)}}))
	for i, r := range poll(t, reader, 3) {
		equal(t, "offset", r.Offset, int64(7+i))
	}
}

func topicID(t *testing.T, topic string) [16]byte {
	t.Helper()
	details, err := kadm.NewClient(client(t)).ListTopics(within(t), topic)
	if err != nil {
		t.Fatal(err)
	}
	return details[topic].ID
}

// TestTrapMaxMessageBytesIsEnforced: MESSAGE_TOO_LARGE, and nothing is written.
func TestTrapMaxMessageBytesIsEnforced(t *testing.T) {
	topic := topicOf(t)
	create(t, topic, 1, "max.message.bytes=1000")
	c := dial(t, broker(t).Address)
	p := ask[*kmsg.ProduceResponse](t, c, 9, produceRequest(topic, [16]byte{}, 0, recordBatch(nil, make([]byte, 1000))))
	refusedWith(t, "1 kB and a header", p.Topics[0].Partitions[0].ErrorCode, kerr.MessageTooLarge)
	p = ask[*kmsg.ProduceResponse](t, c, 9, produceRequest(topic, [16]byte{}, 0, recordBatch(nil, make([]byte, 900))))
	refusedWith(t, "less", p.Topics[0].Partitions[0].ErrorCode, nil)
	equal(t, "offset", p.Topics[0].Partitions[0].BaseOffset, 0)
}

// TestTrapCommittedMetadataComesBack: in every version of both APIs.
func TestTrapCommittedMetadataComesBack(t *testing.T) {
	f := newFilled(t)
	c := dial(t, broker(t).Address)
	for version := int16(2); version <= 10; version++ {
		metadata := fmt.Sprintf("as of %d", version)
		offset := int64(version)
		commit := ask[*kmsg.OffsetCommitResponse](t, c, version, commitRequest(f.group, f.topic, f.id, 0, offset, metadata))
		refusedWith(t, "commit", commit.Topics[0].Partitions[0].ErrorCode, nil)
		fetch := ask[*kmsg.OffsetFetchResponse](t, c, version, f.request(t, kmsg.OffsetFetch))
		var got string
		var at int64
		if version < 8 {
			got, at = deref(fetch.Topics[0].Partitions[0].Metadata), fetch.Topics[0].Partitions[0].Offset
		} else {
			got, at = deref(fetch.Groups[0].Topics[0].Partitions[0].Metadata), fetch.Groups[0].Topics[0].Partitions[0].Offset
		}
		equal(t, "metadata", got, metadata)
		equal(t, "offset", at, offset)
	}
}

func deref(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

// TestTrapDescribeConfigsIsComplete: every config with value, source and synonyms, or a
// client that reads, changes one and writes back would lose the others.
func TestTrapDescribeConfigsIsComplete(t *testing.T) {
	topic := topicOf(t)
	create(t, topic, 1, "retention.ms=1234567")
	configs := describeTopic(t, broker(t).Address, topic)
	for _, name := range kafkaTopicConfigs {
		c, ok := configs[name]
		if !ok {
			t.Errorf("%s is missing", name)
			continue
		}
		want := kmsg.ConfigSourceDefaultConfig
		if name == "retention.ms" {
			want = kmsg.ConfigSourceDynamicTopicConfig
		}
		equal(t, "source of "+name, c.Source, want)
		if c.Value == nil {
			t.Errorf("%s has no value", name)
		}
	}
	equal(t, "retention.ms", deref(configs["retention.ms"].Value), "1234567")
}

// kafkaTopicConfigs are the topic configs of Apache Kafka 4.3 (LogConfig).
var kafkaTopicConfigs = []string{
	"cleanup.policy", "compression.gzip.level", "compression.lz4.level", "compression.type", "compression.zstd.level",
	"delete.retention.ms", "file.delete.delay.ms", "flush.messages", "flush.ms", "follower.replication.throttled.replicas",
	"index.interval.bytes", "leader.replication.throttled.replicas", "local.retention.bytes", "local.retention.ms",
	"max.compaction.lag.ms", "max.message.bytes", "message.timestamp.after.max.ms", "message.timestamp.before.max.ms",
	"message.timestamp.type", "min.cleanable.dirty.ratio", "min.compaction.lag.ms", "min.insync.replicas", "preallocate",
	"remote.log.copy.disable", "remote.log.delete.on.disable", "remote.storage.enable", "retention.bytes", "retention.ms",
	"segment.bytes", "segment.index.bytes", "segment.jitter.ms", "segment.ms", "unclean.leader.election.enable",
}

func describeTopic(t *testing.T, address, topic string) map[string]kmsg.DescribeConfigsResponseResourceConfig {
	t.Helper()
	q := kmsg.NewPtrDescribeConfigsRequest()
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = kmsg.ConfigResourceTypeTopic, topic, nil
	q.Resources, q.IncludeSynonyms = append(q.Resources, r), true
	p := ask[*kmsg.DescribeConfigsResponse](t, dial(t, address), 4, q)
	refusedWith(t, "describe "+topic, p.Resources[0].ErrorCode, nil)
	configs := make(map[string]kmsg.DescribeConfigsResponseResourceConfig)
	for _, c := range p.Resources[0].Configs {
		configs[c.Name] = c
	}
	return configs
}

// TestTrapAlterConfigsOfADescribedTopic: what AlterConfigs clients do: read all, change
// one, write back those that are not defaults; and what careless ones do: write one.
// Old clients know no other way, and a topic stays tiered under them.
func TestTrapAlterConfigsOfADescribedTopic(t *testing.T) {
	topic := topicOf(t)
	create(t, topic, 1, "segment.bytes=2097152")
	careful := map[string]string{"retention.ms": "99999"}
	for name, c := range describeTopic(t, broker(t).Address, topic) {
		if c.Source != kmsg.ConfigSourceDefaultConfig {
			careful[name] = *c.Value
		}
	}
	for _, c := range []struct {
		write   map[string]string
		segment string
	}{{careful, "2097152"}, {map[string]string{"retention.ms": "99999"}, "1073741824"}} {
		p := ask[*kmsg.AlterConfigsResponse](t, dial(t, broker(t).Address), 1, replaceRequest(topic, c.write))
		equal(t, "message", deref(p.Resources[0].ErrorMessage), "null")
		refusedWith(t, "alter", p.Resources[0].ErrorCode, nil)
		after := describeTopic(t, broker(t).Address, topic)
		equal(t, "retention.ms", deref(after["retention.ms"].Value), "99999")
		equal(t, "segment.bytes", deref(after["segment.bytes"].Value), c.segment)
		equal(t, "remote.storage.enable", deref(after["remote.storage.enable"].Value), "true")
	}
}

// TestTrapAppendAndSubtractActOnLists: it panicked another broker.
func TestTrapAppendAndSubtractActOnLists(t *testing.T) {
	topic := topicOf(t)
	create(t, topic, 1)
	c := dial(t, broker(t).Address)
	alter := func(op kmsg.IncrementalAlterConfigOp, name, value string) int16 {
		return ask[*kmsg.IncrementalAlterConfigsResponse](t, c, 1, alterRequest(topic, op, name, value)).Resources[0].ErrorCode
	}
	const add, remove = kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract
	refusedWith(t, "append what is there", alter(add, "cleanup.policy", "delete"), nil)
	equal(t, "cleanup.policy", deref(describeTopic(t, broker(t).Address, topic)["cleanup.policy"].Value), "delete")
	refusedWith(t, "subtract what is not there", alter(remove, "cleanup.policy", "compact"), nil)
	equal(t, "cleanup.policy", deref(describeTopic(t, broker(t).Address, topic)["cleanup.policy"].Value), "delete")
	untiered := topicOf(t, "untiered") // what is tiered cannot be compacted
	create(t, untiered, 1, "remote.storage.enable=false")
	policy := func() string { return deref(describeTopic(t, broker(t).Address, untiered)["cleanup.policy"].Value) }
	p := ask[*kmsg.IncrementalAlterConfigsResponse](t, c, 1, alterRequest(untiered, add, "cleanup.policy", "compact"))
	refusedWith(t, "append what is new", p.Resources[0].ErrorCode, nil)
	equal(t, "cleanup.policy", policy(), "delete,compact")
	p = ask[*kmsg.IncrementalAlterConfigsResponse](t, c, 1, alterRequest(untiered, remove, "cleanup.policy", "delete"))
	refusedWith(t, "subtract what is there", p.Resources[0].ErrorCode, nil)
	equal(t, "cleanup.policy", policy(), "compact")
	refusedWith(t, "append to what is no list", alter(add, "retention.ms", "5"), kerr.InvalidConfig)
	refusedWith(t, "subtract from what is no list", alter(remove, "retention.ms", "5"), kerr.InvalidConfig)
}

// TestTrapCreatePartitionsAnswersEachTopic: one result for each, in any mixture.
func TestTrapCreatePartitionsAnswersEachTopic(t *testing.T) {
	names := []string{topicOf(t, "a"), topicOf(t, "b"), topicOf(t, "unknown")}
	create(t, names[0], 1)
	create(t, names[1], 3)
	q := partitionsRequest(names[0], 4)
	q.Topics = append(q.Topics, partitionsRequest(names[1], 2).Topics[0], partitionsRequest(names[2], 2).Topics[0])
	p := ask[*kmsg.CreatePartitionsResponse](t, dial(t, broker(t).Address), 3, q)
	var got []string
	for _, r := range p.Topics {
		got = append(got, r.Topic+" "+codeName(r.ErrorCode))
	}
	same(t, "results", got, []string{names[0] + " NONE", names[1] + " INVALID_PARTITIONS", names[2] + " UNKNOWN_TOPIC_OR_PARTITION"})
}

// TestTrapMetadataCreatesTopics: most clients' test suites rely on it; version 4 and
// later may decline.
func TestTrapMetadataCreatesTopics(t *testing.T) {
	c := dial(t, broker(t).Address)
	for _, version := range []int16{0, 3, 4, 9, 13} {
		name := topicOf(t, fmt.Sprint(version))
		q := kmsg.NewPtrMetadataRequest()
		to := kmsg.NewMetadataRequestTopic()
		to.Topic = &name
		q.Topics = append(q.Topics, to)
		if version >= 4 {
			refusedWith(t, "declined", ask[*kmsg.MetadataResponse](t, c, version, q).Topics[0].ErrorCode, kerr.UnknownTopicOrPartition)
			q.AllowAutoTopicCreation = true
		}
		p := ask[*kmsg.MetadataResponse](t, c, version, q).Topics[0]
		if p.ErrorCode != kerr.LeaderNotAvailable.Code { // as good: the client asks again
			refusedWith(t, "created", p.ErrorCode, nil)
			equal(t, "partitions", len(p.Partitions), 1)
			equal(t, "leader", p.Partitions[0].Leader, 0)
		}
	}
}

// TestTrapAbortedRecordsNeverReachReadCommitted: beside and inside aborted transactions
// others commit, and records belong to none. Every client that leaves aborted records out
// (which the broker has to name: it sends them) prints the committed ones and no other; the
// last transaction stays open, and nobody is sent anything of it.
func TestTrapAbortedRecordsNeverReachReadCommitted(t *testing.T) {
	topic := topicOf(t)
	create(t, topic, 3)
	var want []string
	write := func(c *kgo.Client, name string) {
		t.Helper()
		kgoRecords(t, c, name, topic, "none")
		if strings.HasPrefix(name, "kept") {
			want = append(want, expected(topic, name, "none")...)
		}
	}
	begin := func(name string) *kgo.Client {
		c := client(t, kgo.TransactionalID(topicOf(t, name)), kgo.TransactionTimeout(longTransaction))
		if err := c.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	end := func(c *kgo.Client, how kgo.TransactionEndTry) {
		t.Helper()
		if err := c.EndTransaction(within(t), how); err != nil {
			t.Fatal(err)
		}
	}
	outer := begin("outer")
	for round := range 3 {
		write(outer, fmt.Sprint("aborted outer ", round))
		inner := begin(fmt.Sprint("inner", round))
		write(inner, fmt.Sprint("kept inner ", round))
		write(client(t), fmt.Sprint("kept of no transaction ", round))
		write(outer, fmt.Sprint("aborted outer again ", round))
		end(inner, kgo.TryCommit)
		if err := inner.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		write(inner, fmt.Sprint("aborted inner ", round))
		end(inner, kgo.TryAbort)
		end(outer, kgo.TryAbort)
		if err := outer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		write(outer, fmt.Sprint("kept outer ", round))
		end(outer, kgo.TryCommit)
		if err := outer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
	}
	write(outer, "left open")
	slices.Sort(want)
	equal(t, "records of any kind", len(readAll(t, topic, 19*perTopic)), 19*perTopic)
	t.Run("read by", func(t *testing.T) {
		for _, c := range otherClients() {
			if !c.aborts {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				same(t, "records", sortedCopy(c.consume(t, topicOf(t, "g"), []string{topic}, []int{len(want)})), want)
			})
		}
	})
	end(outer, kgo.TryAbort)
}

// TestTrapTopicIDsComeBeforeTheyAreNeeded: Metadata hands out the ids that Produce 13,
// Fetch 13 and OffsetCommit 10 carry instead of names; a topic that is made anew has
// another, and the old one is UNKNOWN_TOPIC_ID.
func TestTrapTopicIDsComeBeforeTheyAreNeeded(t *testing.T) {
	f := newFilled(t)
	c := dial(t, broker(t).Address)
	if f.id == [16]byte{} {
		t.Fatal("Metadata gave no topic id")
	}
	q := kmsg.NewPtrMetadataRequest()
	to := kmsg.NewMetadataRequestTopic()
	to.TopicID = f.id
	q.Topics = append(q.Topics, to)
	equal(t, "name by id", deref(ask[*kmsg.MetadataResponse](t, c, 12, q).Topics[0].Topic), f.topic)
	p := ask[*kmsg.ProduceResponse](t, c, 13, produceRequest("", f.id, 0, recordBatch(nil, []byte("by id"))))
	refusedWith(t, "produce by id", p.Topics[0].Partitions[0].ErrorCode, nil)
	equal(t, "id in the answer", p.Topics[0].TopicID, f.id)

	admin := kadm.NewClient(client(t))
	if _, err := admin.DeleteTopic(within(t), f.topic); err != nil {
		t.Fatal(err)
	}
	create(t, f.topic, 1)
	if topicID(t, f.topic) == f.id {
		t.Error("a new topic has the id of the deleted one")
	}
	p = ask[*kmsg.ProduceResponse](t, c, 13, produceRequest("", f.id, 0, recordBatch(nil, []byte("too late"))))
	refusedWith(t, "produce by the old id", p.Topics[0].Partitions[0].ErrorCode, kerr.UnknownTopicID)
	fetch := ask[*kmsg.FetchResponse](t, c, 13, fetchRequest("", f.id, 0, 0))
	refusedWith(t, "fetch by the old id", fetch.Topics[0].Partitions[0].ErrorCode, kerr.UnknownTopicID)
}
