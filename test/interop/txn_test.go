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
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

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

// longTransaction is longer than tools take, however slow the machine.
const longTransaction = 10 * time.Minute

// TestTxnCommand sees an open transaction with kafka-transactions.sh and ends it: as a
// hanging one by its offset, and by force with its transactional id.
func TestTxnCommand(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"abort", "force"} {
		topic, id := topicOf(t, way), topicOf(t, way, "id")
		create(t, topic, 1)
		p := client(t, kgo.TransactionalID(id), kgo.TransactionTimeout(longTransaction), kgo.DefaultProduceTopic(topic))
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
		harness.Until(t, time.Minute, "the end of the transaction", func() error {
			if stable, end := ends(t, topic, kgo.ReadCommitted()), ends(t, topic, kgo.ReadUncommitted()); stable != end || end != 2 {
				return fmt.Errorf("last stable offset %d, end %d", stable, end)
			}
			return nil
		})
	}
}

// txnRequest is request for the APIs of transactions, nil for others.
func (f *filled) txnRequest(key kmsg.Key) kmsg.Request {
	switch q := key.Request().(type) {
	case *kmsg.AddPartitionsToTxnRequest:
		q.TransactionalID = f.topic
		to := kmsg.NewAddPartitionsToTxnRequestTopic()
		to.Topic, to.Partitions = f.topic, []int32{0, 1}
		q.Topics = append(q.Topics, to)
		for _, verify := range []bool{false, true} {
			x := kmsg.NewAddPartitionsToTxnRequestTransaction()
			x.TransactionalID, x.VerifyOnly = f.topic, verify
			x.Topics = append(x.Topics, kmsg.AddPartitionsToTxnRequestTransactionTopic{Topic: f.topic, Partitions: []int32{0, 7}})
			q.Transactions = append(q.Transactions, x)
		}
		return q
	case *kmsg.AddOffsetsToTxnRequest:
		q.TransactionalID, q.Group = f.topic, f.group
		return q
	case *kmsg.EndTxnRequest:
		q.TransactionalID, q.Commit = f.topic, true
		return q
	case *kmsg.WriteTxnMarkersRequest:
		m := kmsg.NewWriteTxnMarkersRequestMarker()
		m.ProducerID, m.Committed = 1<<40, true
		m.Topics = append(m.Topics, kmsg.WriteTxnMarkersRequestMarkerTopic{Topic: f.topic, Partitions: []int32{0, 7}})
		q.Markers = append(q.Markers, m)
		return q
	case *kmsg.TxnOffsetCommitRequest:
		return txnOffsets(f.topic, f.group, f.topic, -1, -1)
	case *kmsg.DescribeTransactionsRequest:
		q.TransactionalIDs = []string{f.topic, ""}
		return q
	case *kmsg.ListTransactionsRequest:
		q.StateFilters, q.ProducerIDFilters = []string{"Ongoing", "Asleep"}, []int64{1, 2}
		q.DurationFilterMillis, q.TransactionalIDPattern = 5, kmsg.StringPtr("x.*")
		return q
	}
	return nil
}

func txnOffsets(id, group, topic string, producerID int64, epoch int16) *kmsg.TxnOffsetCommitRequest {
	q := kmsg.NewPtrTxnOffsetCommitRequest()
	q.TransactionalID, q.Group, q.ProducerID, q.ProducerEpoch, q.Generation = id, group, producerID, epoch, -1
	p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	p.Offset, p.Metadata = 7, kmsg.StringPtr("m")
	q.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: topic, Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{p}}}
	return q
}

// TestTxnOfEveryVersion runs a transaction in each version of the requests it takes, from
// the oldest clients on: its offsets count, and its records are read.
func TestTxnOfEveryVersion(t *testing.T) {
	t.Parallel()
	for v := int16(0); v <= 5; v++ {
		topic, group, id := topicOf(t, fmt.Sprint(v)), topicOf(t, fmt.Sprint(v), "g"), topicOf(t, fmt.Sprint(v), "id")
		create(t, topic, 1)
		coordinate(t, broker(t).Address, group)
		c := dial(t, broker(t).Address)
		begin := kmsg.NewPtrInitProducerIDRequest()
		begin.TransactionalID, begin.TransactionTimeoutMillis = &id, int32(longTransaction.Milliseconds())
		var p *kmsg.InitProducerIDResponse
		harness.Until(t, testLimit, "a producer id", func() error {
			find := kmsg.NewPtrFindCoordinatorRequest()
			find.CoordinatorKey, find.CoordinatorType, find.CoordinatorKeys = id, 1, []string{id}
			ask[*kmsg.FindCoordinatorResponse](t, c, 1+v, find)
			p = ask[*kmsg.InitProducerIDResponse](t, c, v, begin)
			return kerr.ErrorForCode(p.ErrorCode)
		})
		if v < 4 { // later clients leave it to the broker, and brokers ask in batches
			add := kmsg.NewPtrAddPartitionsToTxnRequest()
			add.TransactionalID, add.ProducerID, add.ProducerEpoch = id, p.ProducerID, p.ProducerEpoch
			add.Topics = append(add.Topics, kmsg.AddPartitionsToTxnRequestTopic{Topic: topic, Partitions: []int32{0}})
			r := ask[*kmsg.AddPartitionsToTxnResponse](t, c, v, add)
			refusedWith(t, "AddPartitionsToTxn", r.Topics[0].Partitions[0].ErrorCode, nil)
		} else {
			add := kmsg.NewPtrAddPartitionsToTxnRequest()
			x := kmsg.NewAddPartitionsToTxnRequestTransaction()
			x.TransactionalID, x.ProducerID, x.ProducerEpoch = id, p.ProducerID, p.ProducerEpoch
			x.Topics = append(x.Topics, kmsg.AddPartitionsToTxnRequestTransactionTopic{Topic: topic, Partitions: []int32{0}})
			add.Transactions = append(add.Transactions, x)
			r := ask[*kmsg.AddPartitionsToTxnResponse](t, c, v, add)
			refusedWith(t, "AddPartitionsToTxn", r.Transactions[0].Topics[0].Partitions[0].ErrorCode, nil)
		}
		if v <= 4 {
			offsets := kmsg.NewPtrAddOffsetsToTxnRequest()
			offsets.TransactionalID, offsets.ProducerID, offsets.ProducerEpoch, offsets.Group = id, p.ProducerID, p.ProducerEpoch, group
			refusedWith(t, "AddOffsetsToTxn", ask[*kmsg.AddOffsetsToTxnResponse](t, c, v, offsets).ErrorCode, nil)
		}
		committed := ask[*kmsg.TxnOffsetCommitResponse](t, c, v, txnOffsets(id, group, topic, p.ProducerID, p.ProducerEpoch))
		refusedWith(t, "TxnOffsetCommit", committed.Topics[0].Partitions[0].ErrorCode, nil)
		write := produceRequest(topic, topicID(t, topic), 0, recordBatch(nil, []byte("value"), func(b *kmsg.RecordBatch) {
			b.Attributes, b.ProducerID, b.ProducerEpoch, b.FirstSequence = 0x10, p.ProducerID, p.ProducerEpoch, 0
		}))
		write.TransactionID = &id
		refusedWith(t, "Produce", ask[*kmsg.ProduceResponse](t, c, 8+v, write).Topics[0].Partitions[0].ErrorCode, nil)

		end := kmsg.NewPtrEndTxnRequest()
		end.TransactionalID, end.ProducerID, end.ProducerEpoch, end.Commit = id, p.ProducerID, p.ProducerEpoch, true
		for range 2 { // the second asks again for what is done, as if the answer had been lost
			harness.Until(t, testLimit, "the end", func() error {
				r := ask[*kmsg.EndTxnResponse](t, c, v, end)
				if r.ErrorCode == 0 && v >= 5 && (r.ProducerID != p.ProducerID || r.ProducerEpoch != p.ProducerEpoch+1) {
					t.Errorf("version %d: %+v", v, r)
				}
				return kerr.ErrorForCode(r.ErrorCode)
			})
		}
		harness.Until(t, testLimit, "the offset", func() error {
			fetch := kmsg.NewPtrOffsetFetchRequest()
			fetch.RequireStable = true
			g := kmsg.NewOffsetFetchRequestGroup()
			g.Group, g.Topics = group, []kmsg.OffsetFetchRequestGroupTopic{{Topic: topic, Partitions: []int32{0}}}
			fetch.Groups = append(fetch.Groups, g)
			at := ask[*kmsg.OffsetFetchResponse](t, c, 8, fetch).Groups[0].Topics[0].Partitions[0]
			if at.ErrorCode == 0 && at.Offset != 7 {
				t.Errorf("version %d: offset %d", v, at.Offset)
			}
			return kerr.ErrorForCode(at.ErrorCode)
		})
		if stable, end := ends(t, topic, kgo.ReadCommitted()), ends(t, topic, kgo.ReadUncommitted()); stable != 2 || end != 2 {
			t.Errorf("version %d: last stable offset %d, end %d", v, stable, end)
		}
	}
}

// TestTxnStateIsReadByDumpLog: Kafka's own tool decodes our __transaction_state.
func TestTxnStateIsReadByDumpLog(t *testing.T) {
	topic, id := topicOf(t), topicOf(t, "id")
	b := harness.StartBroker(t, "transaction.state.log.num.partitions=1")
	createOn(t, b.Address, topic, 1)
	p := clientOf(t, b.Address, kgo.TransactionalID(id), kgo.TransactionTimeout(longTransaction), kgo.DefaultProduceTopic(topic))
	if err := p.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, p, kgo.StringRecord("v"))
	if err := p.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	a := kadm.NewClient(p)
	harness.Until(t, time.Minute, "the completion", func() error {
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

// TestHangingTransactionsAreFoundAndAborted (KIP-664): with verification off a client's batch
// may begin a transaction that its coordinator knows nothing of. kafka-transactions finds
// those, and no other, as it does on Apache Kafka; its abort lets readers pass.
func TestHangingTransactionsAreFoundAndAborted(t *testing.T) {
	t.Parallel()
	const unverified = "transaction.partition.verification.enable=false"
	varve := hang(t, harness.StartBroker(t, unverified).Address)
	kafka := hang(t, harness.StartKafka(t, unverified).Address)
	if len(varve) != len(kafka) {
		t.Fatalf("%d tables, and %d of Apache Kafka", len(varve), len(kafka))
	}
	for i := range varve {
		if varve[i] != kafka[i] {
			t.Errorf("varve:\n%s\nKafka:\n%s", varve[i], kafka[i])
		}
	}
	want := []string{
		"partition 0, producer +0, epoch 0, coordinator's -1, from 0; partition 1, producer +1000, epoch 7, coordinator's -1, from 0",
		"stable to [0 0 0]", "", "stable to [3 3 0]", "partition 2: open",
	}
	if !slices.Equal(varve, want) {
		t.Errorf("%q, want %q", varve, want)
	}
}

// hang begins three transactions: one without its coordinator's knowledge, one of a producer
// that no coordinator knows, and one as it should be. It ends what hangs, and returns what
// the tool finds before and after.
func hang(t *testing.T, address string) (found []string) {
	t.Helper()
	topic, id := topicOf(t), topicOf(t, "id")
	createOn(t, address, topic, 3)
	harness.Until(t, testLimit, "leaders", func() error { return led(t, address, topic) })
	s := &txnTold{t: t, c: dial(t, address), topic: topic, id: id}
	s.find()
	s.init("first", 5, id, int32(longTransaction.Milliseconds()), 0, -1)
	topicID := topicIDAt(t, s.c, topic)
	for partition, producer := range []struct {
		id    int64
		epoch int16
	}{{s.first.ProducerID, s.first.ProducerEpoch}, {s.first.ProducerID + 1000, 7}} {
		for sequence := range int32(2) {
			q := produceRequest(topic, topicID, int32(partition), recordBatch(nil, []byte("hanging"), func(b *kmsg.RecordBatch) {
				b.Attributes, b.ProducerID, b.ProducerEpoch, b.FirstSequence = 0x10, producer.id, producer.epoch, sequence
			}))
			q.TransactionID = &id
			if err := kerr.ErrorForCode(ask[*kmsg.ProduceResponse](t, s.c, 9, q).Topics[0].Partitions[0].ErrorCode); err != nil {
				t.Fatalf("produce to partition %d of %s: %v", partition, address, err)
			}
		}
	}
	p := clientOf(t, address, kgo.TransactionalID(id+"-2"), kgo.TransactionTimeout(longTransaction), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := p.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, p, &kgo.Record{Topic: topic, Partition: 2, Value: []byte("open")})

	run := func(args ...string) string {
		t.Helper()
		return harness.Kafka(t, "", transactionsCommand, append([]string{"--bootstrap-server", address}, args...)...)
	}
	find := func() {
		t.Helper()
		var rows []string
		for line := range strings.Lines(run("find-hanging", "--topic", topic, "--max-transaction-timeout", "0")) {
			row := strings.Fields(line)
			if len(row) == 8 && row[0] == topic {
				producer, err := strconv.ParseInt(row[2], 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				rows = append(rows, fmt.Sprintf("partition %s, producer +%d, epoch %s, coordinator's %s, from %s", row[1], producer-s.first.ProducerID, row[3], row[4], row[5]))
			}
		}
		slices.Sort(rows)
		found = append(found, strings.Join(rows, "; "))
	}
	stable := func() {
		t.Helper()
		a := kadm.NewClient(p)
		committed, err := a.ListCommittedOffsets(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		var offsets []int64
		for partition := range int32(3) {
			o, _ := committed.Lookup(topic, partition)
			offsets = append(offsets, o.Offset)
		}
		found = append(found, fmt.Sprint("stable to ", offsets))
	}
	find()
	stable()
	run("abort", "--topic", topic, "--partition", "0", "--start-offset", "0")
	run("abort", "--topic", topic, "--partition", "1", "--producer-id", fmt.Sprint(s.first.ProducerID+1000), "--producer-epoch", "7", "--coordinator-epoch", "-1")
	find()
	stable()
	if err := p.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Errorf("the transaction that did not hang: %v", err)
	}
	c := clientOf(t, address, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for {
		fetches := c.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		for _, r := range fetches.Records() {
			return append(found, fmt.Sprintf("partition %d: %s", r.Partition, r.Value))
		}
	}
}
