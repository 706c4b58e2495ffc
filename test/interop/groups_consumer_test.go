//go:build interop

package interop

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// The consumer protocol of KIP-848, by clients that speak it.

// TestConsoleConsumersShareATopicInTheConsumerProtocol: two members of Apache Kafka's
// own client read a topic, and its tools list, describe, reset and delete their group.
func TestConsoleConsumersShareATopicInTheConsumerProtocol(t *testing.T) {
	t.Parallel()
	topic, group := topicOf(t), topicOf(t, "g")
	create(t, topic, 4)
	member := func() *harness.Process {
		return harness.KafkaProcess(t, "", harness.ConsoleConsumer, "--bootstrap-server", broker(t).Address,
			"--topic", topic, "--from-beginning", "--group", group, "--command-property", "group.protocol=consumer")
	}
	first, second := member(), member()
	admin := kadm.NewClient(client(t))
	awaitMembers(t, admin, group, 2)
	members := tool(t, "", harness.GroupCommand, "--describe", "--members", "--group", group)
	if rows := strings.Split(strings.TrimSpace(members), "\n"); len(rows) != 3 || !sharesTwo(rows[1]) || !sharesTwo(rows[2]) {
		t.Errorf("members:\n%s", members)
	}
	for i := range int32(4) {
		produce(t, client(t, kgo.RecordPartitioner(kgo.ManualPartitioner())), &kgo.Record{Topic: topic, Partition: i, Value: []byte{'v', '0' + byte(i)}})
	}
	line := regexp.MustCompile(`(?m)^v\d$`) // among what the clients log
	read := func() int {
		return len(line.FindAllString(first.Output(), -1)) + len(line.FindAllString(second.Output(), -1))
	}
	harness.Until(t, testLimit, "four records read by two members", func() error {
		if n := read(); n != 4 {
			return fmt.Errorf("%d records are read:\n%s\n%s", n, first.Output(), second.Output())
		}
		return nil
	})
	for _, p := range []*harness.Process{first, second} {
		if err := p.Stop(testLimit); err != nil && p.Running() {
			t.Fatal(err)
		}
	}
	if out := tool(t, "", harness.GroupCommand, "--list", "--type", "consumer"); !slices.Contains(strings.Fields(out), group) {
		t.Errorf("list:\n%s", out)
	}
	reset := tool(t, "", harness.GroupCommand, "--reset-offsets", "--group", group, "--topic", topic, "--to-earliest", "--execute")
	if fields := strings.Fields(lastLine(reset)); len(fields) != 4 || fields[3] != "0" {
		t.Errorf("reset:\n%s", reset)
	}
	if out := tool(t, "", harness.GroupCommand, "--delete", "--group", group); !strings.Contains(out, "was successful") {
		t.Errorf("delete:\n%s", out)
	}
}

// awaitMembers waits until a group of the consumer protocol is stable with n members.
func awaitMembers(t testing.TB, admin *kadm.Client, group string, n int) {
	t.Helper()
	ctx := within(t)
	harness.Until(t, testLimit, fmt.Sprintf("group %s stable with %d members", group, n), func() error {
		described, err := admin.DescribeConsumerGroups(ctx, group)
		if err != nil {
			return err
		}
		if d := described[group]; d.Err != nil || d.State != "Stable" || len(d.Members) != n {
			return fmt.Errorf("%+v", d)
		}
		return nil
	})
}

// sharesTwo reads a row of kafka-consumer-groups --members: group, member, host, client, partitions.
func sharesTwo(row string) bool {
	fields := strings.Fields(row)
	return len(fields) > 4 && fields[4] == "2"
}

// TestFranzGoMovesPartitionsBetweenMembersOfTheConsumerProtocol, with the assignor that
// the broker runs, and a pattern that new topics match.
func TestFranzGoMovesPartitionsBetweenMembersOfTheConsumerProtocol(t *testing.T) {
	t.Parallel()
	topic, group := topicOf(t), topicOf(t, "g")
	create(t, topic, 4)
	opts := []kgo.Opt{kgo.ConsumerGroup(group), kgo.ConsumeRegex(), kgo.ConsumeTopics(topic + ".*"), kgo.ServerSideBalancer()}
	admin := kadm.NewClient(client(t))
	produce(t, client(t), numbered(topic, 40)...)
	first := client(t, opts...)
	if got := len(poll(t, first, 40)); got < 40 {
		t.Fatalf("%d records", got)
	}
	second := client(t, opts...)
	awaitMembers(t, admin, group, 2)
	create(t, topic+"-later", 1)
	produce(t, client(t), &kgo.Record{Topic: topic + "-later", Value: []byte("later")})
	ctx := within(t)
	for later := false; !later; {
		if ctx.Err() != nil {
			t.Fatal("a topic that matches the pattern is not read")
		}
		for _, c := range []*kgo.Client{first, second} {
			turn, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
			c.PollFetches(turn).EachRecord(func(r *kgo.Record) { later = later || string(r.Value) == "later" })
			cancel()
		}
	}
}

// TestGroupConfigsActOnMembers: kafka-configs sets a group's heartbeat interval, and the
// next heartbeat is told so.
func TestGroupConfigsActOnMembers(t *testing.T) {
	t.Parallel()
	group := topicOf(t, "g")
	c := client(t)
	beat := func(epoch int32) *kmsg.ConsumerGroupHeartbeatResponse {
		t.Helper()
		r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		r.Group, r.MemberID, r.MemberEpoch, r.RebalanceTimeoutMillis = group, "m", epoch, 10_000
		r.SubscribedTopicNames, r.Topics = []string{}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		response, err := r.RequestWith(within(t), c)
		if err != nil || response.ErrorCode != 0 {
			t.Fatalf("heartbeat: %+v, %v", response, err)
		}
		return response
	}
	first := beat(0)
	equal(t, "interval", first.HeartbeatIntervalMillis, 5000)
	tool(t, "", harness.ConfigCommand, "--alter", "--entity-type", "groups", "--entity-name", group, "--add-config", "consumer.heartbeat.interval.ms=7000")
	equal(t, "interval that was set", beat(first.MemberEpoch).HeartbeatIntervalMillis, 7000)
	if out := tool(t, "", harness.ConfigCommand, "--describe", "--entity-type", "groups", "--entity-name", group); !strings.Contains(out, "consumer.heartbeat.interval.ms=7000") {
		t.Errorf("describe:\n%s", out)
	}
	out, _ := harness.TryKafka(t, "", harness.ConfigCommand, "--bootstrap-server", broker(t).Address,
		"--alter", "--entity-type", "groups", "--entity-name", group, "--add-config", "consumer.session.timeout.ms=1")
	if !strings.Contains(out, "group.consumer.min.session.timeout.ms") {
		t.Errorf("a session timeout below the minimum:\n%s", out)
	}
}
