//go:build interop

package interop

import (
	"cmp"
	"context"
	"fmt"
	"slices"
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
