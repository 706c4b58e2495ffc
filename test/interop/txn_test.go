//go:build interop

package interop

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/test/harness"
)

// Transactions by Apache Kafka's own clients and tools.

const (
	messageCopier       = "org.apache.kafka.tools.TransactionalMessageCopier"
	transactionsCommand = "org.apache.kafka.tools.TransactionsCommand"
)

// TestTxnJavaClients copies a topic with Kafka's transactional copier, which aborts at
// random, and reads the copy with Kafka's console consumer: each record is there once.
func TestTxnJavaClients(t *testing.T) {
	t.Parallel()
	const n = 1000
	in, out := topicOf(t, "in"), topicOf(t, "out")
	create(t, in, 1)
	create(t, out, 1)
	produce(t, client(t), numbered(in, n)...)
	copied := harness.Kafka(t, "", messageCopier, "--broker-list", broker(t).Address,
		"--input-topic", in, "--input-partition", "0", "--output-topic", out,
		"--consumer-group", topicOf(t, "g"), "--transactional-id", topicOf(t, "id"), "--transaction-size", "50",
		"--enable-random-aborts", "--use-group-metadata")
	if !strings.Contains(copied, "ShutdownComplete") {
		t.Fatalf("the copier:\n%s", copied)
	}
	got := strings.Fields(tool(t, "", harness.ConsoleConsumer, "--topic", out, "--from-beginning",
		"--isolation-level", "read_committed", "--max-messages", strconv.Itoa(n)))
	want := make([]string, n)
	for i := range want {
		want[i] = fmt.Sprintf("value-%06d", i)
	}
	slices.Sort(got)
	same(t, "the copy", got, want)
	dirty := ends(t, out, kgo.ReadUncommitted())
	if stable := ends(t, out, kgo.ReadCommitted()); stable != dirty {
		t.Errorf("last stable offset %d, end %d: a transaction is open", stable, dirty)
	}
	if dirty < n+n/50 {
		t.Errorf("the output ends at %d: where are the markers?", dirty)
	}
}

// ends is the end of a topic of one partition for readers of an isolation.
func ends(t testing.TB, topic string, level kgo.IsolationLevel) int64 {
	t.Helper()
	a := kadm.NewClient(client(t))
	list := a.ListEndOffsets
	if level == kgo.ReadCommitted() {
		list = a.ListCommittedOffsets
	}
	listed, err := list(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	o, _ := listed.Lookup(topic, 0)
	if o.Err != nil {
		t.Fatal(o.Err)
	}
	return o.Offset
}

// row finds the row of a table of the tools that begins with a word.
func row(t testing.TB, table, first string) []string {
	t.Helper()
	for _, line := range strings.Split(table, "\n") {
		if words := strings.Fields(line); len(words) > 0 && words[0] == first {
			return words
		}
	}
	t.Fatalf("no row %s in\n%s", first, table)
	return nil
}

// transactions runs kafka-transactions.sh, which wants the broker before the command.
func transactions(t testing.TB, args ...string) string {
	t.Helper()
	return harness.Kafka(t, "", transactionsCommand, append([]string{"--bootstrap-server", broker(t).Address}, args...)...)
}

// TestTxnCommand sees an open transaction with kafka-transactions.sh and ends it: as a
// hanging one by its offset, and by force with its transactional id.
func TestTxnCommand(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"abort", "force"} {
		topic, id := topicOf(t, way), topicOf(t, way, "id")
		create(t, topic, 1)
		p := client(t, kgo.TransactionalID(id), kgo.DefaultProduceTopic(topic))
		if err := p.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		produce(t, p, kgo.StringRecord("open"))
		if stable := ends(t, topic, kgo.ReadCommitted()); stable != 0 {
			t.Errorf("last stable offset %d of an open transaction", stable)
		}

		listed := row(t, transactions(t, "list"), id)
		if len(listed) != 4 || listed[3] != "Ongoing" {
			t.Errorf("list: %v", listed)
		}
		producerID := listed[2]
		described := row(t, transactions(t, "describe", "--transactional-id", id), "0")
		if !slices.Contains(described, "Ongoing") || !slices.Contains(described, topic+"-0") || !slices.Contains(described, producerID) {
			t.Errorf("describe: %v", described)
		}
		producers := row(t, transactions(t, "describe-producers", "--topic", topic, "--partition", "0"), producerID)
		if producers[len(producers)-1] != "0" {
			t.Errorf("describe-producers: %v, want the first offset of the transaction at the end", producers)
		}
		if found := transactions(t, "find-hanging", "--topic", topic, "--max-transaction-timeout", "0"); regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(topic)).MatchString(found) {
			t.Errorf("find-hanging takes a transaction that its coordinator knows for one:\n%s", found)
		}

		if way == "abort" {
			transactions(t, "abort", "--topic", topic, "--partition", "0", "--start-offset", "0")
		} else {
			transactions(t, "forceTerminateTransaction", "--transactionalId", id)
		}
		harness.Until(t, 10*time.Second, "the end of the transaction", func() error {
			if stable, end := ends(t, topic, kgo.ReadCommitted()), ends(t, topic, kgo.ReadUncommitted()); stable != end || end != 2 {
				return fmt.Errorf("last stable offset %d, end %d", stable, end)
			}
			return nil
		})
	}
}

// TestTxnStateIsReadByDumpLog: Kafka's own tool decodes our __transaction_state.
func TestTxnStateIsReadByDumpLog(t *testing.T) {
	topic, id := topicOf(t), topicOf(t, "id")
	b := harness.StartBroker(t, "transaction.state.log.num.partitions=1")
	createOn(t, b.Address, topic, 1)
	p := clientOf(t, b.Address, kgo.TransactionalID(id), kgo.DefaultProduceTopic(topic))
	if err := p.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, p, kgo.StringRecord("v"))
	if err := p.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	a := kadm.NewClient(p)
	harness.Until(t, 10*time.Second, "the completion", func() error {
		described, err := a.DescribeTransactions(t.Context(), id)
		if err == nil && described[id].State != "CompleteCommit" {
			err = fmt.Errorf("state %s: %w", described[id].State, described[id].Err)
		}
		return err
	})
	p.Close()
	if err := b.Stop(testLimit); err != nil {
		t.Fatal(err)
	}
	out := harness.Kafka(t, "", "org.apache.kafka.tools.DumpLogSegments", "--transaction-log-decoder", "--files", b.Dir+"/__transaction_state-0/00000000000000000000.log")
	for _, want := range []string{
		`"transactionalId":"` + id + `"`, `"transactionStatus":0,"transactionPartitions":null`,
		`"transactionStatus":1,"transactionPartitions":[{"topic":"` + topic + `","partitionIds":[0]}]`,
		`"transactionStatus":2,`, `"transactionStatus":4,"transactionPartitions":[]`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}
