//go:build interop

package interop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// What is adopted beside records: what administrators have set, and where share groups are.

const adoptShareGroup = "workers"

// place is where a record lies.
type place struct {
	partition int32
	offset    int64
}

// setOnKafka sets what there is to adopt.
func setOnKafka(t *testing.T, address string) {
	t.Helper()
	c := clientOf(t, address)
	shareConfigs(t, c, adoptShareGroup, "share.auto.offset.reset", "earliest", "share.delivery.count.limit", "7")
	metrics := alterRequest("slow-clients", kmsg.IncrementalAlterConfigOpSet, "interval.ms", "30000")
	metrics.Resources[0].ResourceType = kmsg.ConfigResourceTypeClientMetrics
	altered, err := metrics.RequestWith(within(t), c)
	if err != nil {
		t.Fatal(err)
	}
	refusedWith(t, "configs of client metrics", altered.Resources[0].ErrorCode, nil)

	admin := kadm.NewClient(c)
	user := "alice"
	quotas, err := admin.AlterClientQuotas(within(t), []kadm.AlterClientQuotaEntry{{
		Entity: kadm.ClientQuotaEntity{{Type: "user", Name: &user}, {Type: "client-id"}},
		Ops:    []kadm.AlterClientQuotaOp{{Key: "producer_byte_rate", Value: 1.5e6}, {Key: "consumer_byte_rate", Value: 2e6}},
	}})
	if err != nil || quotas[0].Err != nil {
		t.Fatalf("quotas: %v, %+v", err, quotas)
	}
	for _, of := range []kadm.UpsertSCRAM{
		{User: user, Mechanism: kadm.ScramSha256, Iterations: 8192, Password: "secret"},
		{User: user, Mechanism: kadm.ScramSha512, Iterations: 4096, Password: "secret"},
	} { // one of a user in a request
		credentials, err := admin.AlterUserSCRAMs(within(t), nil, []kadm.UpsertSCRAM{of})
		if err != nil || credentials.Error() != nil {
			t.Fatalf("credentials: %v, %v", err, credentials.Error())
		}
	}
}

// settingsAt is all of that, as administrators are told.
func settingsAt(t *testing.T, address string) (told []string) {
	t.Helper()
	c := clientOf(t, address)
	q := kmsg.NewPtrDescribeConfigsRequest()
	for kind, name := range map[kmsg.ConfigResourceType]string{kmsg.ConfigResourceTypeGroupConfig: adoptShareGroup, kmsg.ConfigResourceTypeClientMetrics: "slow-clients"} {
		r := kmsg.NewDescribeConfigsRequestResource()
		r.ResourceType, r.ResourceName = kind, name
		q.Resources = append(q.Resources, r)
	}
	p, err := q.RequestWith(within(t), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range p.Resources {
		for _, config := range r.Configs {
			if config.Source == kmsg.ConfigSourceGroupConfig || config.Source == kmsg.ConfigSourceClientMetricsConfig {
				told = append(told, fmt.Sprintf("%s: %s=%s", r.ResourceName, config.Name, deref(config.Value)))
			}
		}
	}
	admin := kadm.NewClient(c)
	quotas, err := admin.DescribeClientQuotas(within(t), false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range quotas {
		slices.SortFunc(of.Values, func(a, b kadm.ClientQuotaValue) int { return cmp.Compare(a.Key, b.Key) })
		slices.SortFunc(of.Entity, func(a, b kadm.ClientQuotaEntityComponent) int { return cmp.Compare(a.Type, b.Type) })
		for _, value := range of.Values {
			told = append(told, fmt.Sprintf("%s: %s", of.Entity, value))
		}
	}
	users, err := admin.DescribeUserSCRAMs(within(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range users.Sorted() {
		for _, info := range user.CredInfos {
			told = append(told, fmt.Sprintf("%s: %s, %d iterations", user.User, info.Mechanism, info.Iterations))
		}
	}
	slices.Sort(told)
	return told
}

// acceptSome reads as the only member of the share group, and accepts until it has enough. It
// returns what it has accepted, and how often.
func acceptSome(t *testing.T, address, topic string, enough func(map[place]int) bool) map[place]int {
	t.Helper()
	var failed error
	ctx, cancel := context.WithTimeout(context.Background(), testLimit)
	defer cancel()
	c := clientOf(t, address, kgo.ShareGroup(adoptShareGroup), kgo.ConsumeTopics(topic), kgo.ShareMaxRecords(100), kgo.ShareMaxRecordsStrict(),
		kgo.ShareAckCallback(func(_ *kgo.Client, results kgo.ShareAckResults) {
			for _, r := range results {
				if r.Err != nil {
					failed = r.Err
				}
			}
		}))
	defer c.Close()
	done := map[place]int{}
	for !enough(done) {
		records := c.PollFetches(ctx).Records()
		if ctx.Err() != nil {
			t.Fatalf("%d records of %s were accepted: %v", len(done), topic, ctx.Err())
		}
		for _, r := range records {
			r.Ack(kgo.AckAccept)
			done[place{r.Partition, r.Offset}]++
		}
		if err := c.FlushAcks(ctx); err != nil || failed != nil {
			t.Fatalf("acknowledge: %v, %v", err, failed)
		}
	}
	return done
}

// TestAdoptsSettingsAndShareGroupsOfApacheKafka: configs of groups, subscriptions to clients'
// metrics, quotas and SCRAM credentials are told as before, and a share group goes on: what it
// accepted from Kafka is not delivered again, everything else is.
func TestAdoptsSettingsAndShareGroupsOfApacheKafka(t *testing.T) {
	const total = 900
	k := harness.StartKafka(t)
	topic := topicOf(t)
	createOn(t, k.Address, topic, 3)
	setOnKafka(t, k.Address)
	produce(t, clientOf(t, k.Address), numbered(topic, total)...)
	accepted := acceptSome(t, k.Address, topic, func(done map[place]int) bool { return len(done) >= total/3 })
	before := settingsAt(t, k.Address)
	if len(before) != 7 {
		t.Fatalf("Kafka tells %d settings: %v", len(before), before)
	}
	b := harness.StartBroker(t, "log.dirs="+adopted(t, k), "node.id=0", "group.initial.rebalance.delay.ms=0")
	same(t, "settings", settingsAt(t, b.Address), before)
	rest := acceptSome(t, b.Address, topic, func(done map[place]int) bool { return len(accepted)+len(done) >= total })
	again := 0
	for p, n := range rest {
		if n != 1 || accepted[p] > 0 {
			again++
		}
	}
	if again > 0 || len(accepted)+len(rest) != total {
		t.Errorf("%d records were accepted from Kafka and %d from Varve, %d of them for the second time", len(accepted), len(rest), again)
	}
}

// TestAdoptsGroupsOfEveryProtocolInUse: groups of the classic, the consumer, the streams and
// the share protocol, with members that are there, and an open transaction are described after
// an adoption as before: every kind of record that Apache Kafka writes of them is read. The
// transaction is still open for its producer's next life to abort.
func TestAdoptsGroupsOfEveryProtocolInUse(t *testing.T) {
	k := harness.StartKafka(t)
	name := topicOf(t)
	classic, consumer, share := name+"-classic", name+"-consumer", name+"-share"
	c := dial(t, k.Address)
	join := joinRequest(classic)
	join.InstanceID, join.SessionTimeoutMillis = kmsg.StringPtr("static"), 300_000
	coordinate(t, k.Address, classic)
	joined := ask[*kmsg.JoinGroupResponse](t, c, 9, join)
	refusedWith(t, "join", joined.ErrorCode, nil)
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Group, sync.MemberID, sync.Generation, sync.InstanceID = classic, joined.MemberID, joined.Generation, join.InstanceID
	sync.ProtocolType, sync.Protocol = joined.ProtocolType, joined.Protocol
	sync.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: joined.MemberID, MemberAssignment: []byte("mine")}}
	refusedWith(t, "sync", ask[*kmsg.SyncGroupResponse](t, c, 5, sync).ErrorCode, nil)

	streams := newStreamsStory(t, k.Address, name+"-streams") // makes a topic of two partitions
	streams.made(k.Address)
	streams.beat("the first joins", "a")
	streams.beat("the second joins", "b", func(q *kmsg.StreamsGroupHeartbeatRequest) {
		q.UserEndpoint = &kmsg.StreamsGroupHeartbeatRequestUserEndpoint{Host: "h", Port: 4711}
		q.ClientTags = []kmsg.StreamsGroupHeartbeatRequestClientTag{{Key: "zone", Value: "z1"}}
	})
	streams.beat("the first is told to revoke", "a")

	epochs := map[string]int32{}
	beat := func(member string, owned []int32) {
		t.Helper()
		q := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		q.Group, q.MemberID, q.MemberEpoch, q.RebalanceTimeoutMillis = consumer, member, epochs[member], 300_000
		q.SubscribedTopicNames, q.SubscribedTopicRegex, q.ServerAssignor = []string{streams.in}, kmsg.StringPtr(name+".*-in"), kmsg.StringPtr("range")
		q.RackID, q.Topics = kmsg.StringPtr("r1"), []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		if owned != nil {
			q.Topics = append(q.Topics, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: topicIDAt(t, c, streams.in), Partitions: owned})
		}
		p := ask[*kmsg.ConsumerGroupHeartbeatResponse](t, c, 1, q)
		refusedWith(t, "heartbeat of "+member, p.ErrorCode, nil)
		epochs[member] = p.MemberEpoch
	}
	coordinate(t, k.Address, consumer)
	beat("a", nil)
	beat("b", nil)
	beat("a", []int32{0, 1}) // is told to give one back

	coordinate(t, k.Address, share)
	heartbeat := kmsg.NewPtrShareGroupHeartbeatRequest()
	heartbeat.GroupID, heartbeat.MemberID, heartbeat.SubscribedTopicNames = share, "a", []string{streams.in}
	refusedWith(t, "heartbeat of the share group", ask[*kmsg.ShareGroupHeartbeatResponse](t, c, 1, heartbeat).ErrorCode, nil)

	transaction := func(address string) *kgo.Client {
		return clientOf(t, address, kgo.TransactionalID(name), kgo.TransactionTimeout(longTransaction), kgo.DefaultProduceTopic(streams.in))
	}
	open := transaction(k.Address)
	if err := open.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, open, &kgo.Record{Value: []byte("of an open transaction")})

	describe := func(address string) (told []string) {
		t.Helper()
		for _, group := range []string{classic, consumer, share, streams.group} {
			coordinate(t, address, group)
		}
		c := dial(t, address)
		q := kmsg.NewPtrDescribeGroupsRequest()
		q.Groups = []string{classic}
		told = append(told, canonical(ask[*kmsg.DescribeGroupsResponse](t, c, 6, q)))
		of := kmsg.NewPtrConsumerGroupDescribeRequest()
		of.Groups = []string{consumer}
		told = append(told, canonical(ask[*kmsg.ConsumerGroupDescribeResponse](t, c, 1, of)))
		shares := kmsg.NewPtrShareGroupDescribeRequest()
		shares.GroupIDs = []string{share}
		told = append(told, canonical(ask[*kmsg.ShareGroupDescribeResponse](t, c, 1, shares)))
		tasks := kmsg.NewPtrStreamsGroupDescribeRequest()
		tasks.Groups = []string{streams.group}
		transactions := kmsg.NewPtrDescribeTransactionsRequest()
		transactions.TransactionalIDs = []string{name}
		harness.Until(t, testLimit, "coordinator of "+name, func() error {
			p := ask[*kmsg.DescribeTransactionsResponse](t, c, 0, transactions)
			if code := p.TransactionStates[0].ErrorCode; code != 0 {
				return errors.New(codeName(code))
			}
			told = append(told, canonical(p))
			return nil
		})
		// How many partitions internal topics need is no record: the next heartbeat says it.
		return append(told, strings.ReplaceAll(canonical(ask[*kmsg.StreamsGroupDescribeResponse](t, c, 0, tasks)), "NumPartitions:2", "NumPartitions:0"))
	}
	before := describe(k.Address)
	b := harness.StartBroker(t, "log.dirs="+adopted(t, k), "node.id=0")
	after := describe(b.Address)
	for i := range before {
		equal(t, "group", after[i], before[i])
	}
	if all := strings.Join(before, " "); strings.Count(all, "GROUP_ID_NOT_FOUND") > 0 || !strings.Contains(all, "4711") || !strings.Contains(all, "Reconciling") || !strings.Contains(all, "Ongoing") {
		t.Errorf("Kafka's groups are not in use, or its transaction is not open: %s", all)
	}
	next := transaction(b.Address)
	if err := next.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, next, &kgo.Record{Value: []byte("of the next")})
	if err := next.EndTransaction(within(t), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	reader := clientOf(t, b.Address, kgo.ConsumeTopics(streams.in), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	equal(t, "first committed record", string(poll(t, reader, 1)[0].Value), "of the next")
}
