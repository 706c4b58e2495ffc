//go:build interop

package interop

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// Clients in other languages, and in Go. Each does what testdata/README.md says, with
// its own defaults but for partitioner, codec and isolation.

// perTopic is how many records a client produces to each topic.
const perTopic = 50

// otherClient is one of them.
type otherClient struct {
	name   string
	codecs []string // beside none
	java   bool     // it places keys as Java does
	aborts bool     // it leaves aborted transactions out, of which brokers send the records too

	// produce sends perTopic records to each topic, compressed with its codec.
	produce func(t *testing.T, name string, topics []string, codecs []string)
	// consume reads all of want records with a new group, and returns TOPIC|KEY|CLIENT|VALUE lines.
	consume func(t *testing.T, group string, topics []string, each []int) []string
}

var everyCodec = []string{"gzip", "snappy", "lz4", "zstd"}

func otherClients() []otherClient {
	return []otherClient{
		{"java", everyCodec, true, true, javaProduce, javaConsume},
		{"kcat", everyCodec, true, true, kcatProduce, kcatConsume},
		program("confluent", everyCodec, "python/bin/python3", "confluent.py"),
		program("kafkapython", everyCodec, "python/bin/python3", "kafkapython.py"),
		program("aiokafka", everyCodec, "python/bin/python3", "aiokafka_client.py"),
		program("kafkajs", []string{"gzip", "snappy", "lz4"}, "", "kafkajs.js"), // has no zstd
		program("confluentjs", everyCodec, "", "confluentjs.js"),
		program("platformatic", []string{"gzip", "snappy", "lz4"}, "", "platformatic.js"), // zstd wants Node.js 22
		{"sarama", everyCodec, false, true, saramaProduce, saramaConsume},
		{"kafkago", everyCodec, true, false, kafkagoProduce, kafkagoConsume},
		{"kgo", everyCodec, true, true, kgoProduce, kgoConsume},
	}
}

func (c *otherClient) all() []string { return append([]string{"none"}, c.codecs...) }

// TestC25ClientsOfManyLanguages: a round trip with each, through a group of its own
// whose offsets it commits.
func TestC25ClientsOfManyLanguages(t *testing.T) {
	for _, c := range otherClients() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			topic, group := topicOf(t), topicOf(t, "g")
			create(t, topic, 3)
			c.produce(t, c.name, []string{topic}, []string{"none"})
			got := c.consume(t, group, []string{topic}, []int{perTopic})
			same(t, "records", sortedCopy(got), expected(topic, c.name, "none"))
			if c.name != "kcat" && c.name != "java" { // they leave by being done, or between commits
				equal(t, "committed", committedTotal(t, group, topic), int64(perTopic))
			}
		})
	}
}

// expected are the lines that a consumer prints of what a client produced, sorted.
func expected(topic, client, codec string) []string {
	var lines []string
	for i := range perTopic {
		lines = append(lines, line(topic, fmt.Sprintf("key-%d", i), client, valueOf(client, codec, i)))
	}
	slices.Sort(lines)
	return lines
}

func valueOf(client, codec string, i int) string {
	return fmt.Sprintf("%s %s %d ", client, codec, i) + strings.Repeat("abc", 50)
}

func line(topic, key, client, value string) string {
	return strings.Join([]string{topic, key, client, value}, "|")
}

func sortedCopy(lines []string) []string {
	lines = slices.Clone(lines)
	slices.Sort(lines)
	return lines
}

// committedTotal sums what a group has committed.
func committedTotal(t *testing.T, group, topic string) int64 {
	t.Helper()
	q := kmsg.NewPtrOffsetFetchRequest()
	q.Group = group
	to := kmsg.NewOffsetFetchRequestTopic()
	to.Topic, to.Partitions = topic, []int32{0, 1, 2}
	q.Topics = append(q.Topics, to)
	total := int64(0)
	for _, p := range ask[*kmsg.OffsetFetchResponse](t, dial(t, broker(t).Address), 5, q).Topics[0].Partitions {
		total += max(0, p.Offset)
	}
	return total
}

// TestC13SameKeySamePartitionAcrossClients: seven partitions, fifty keys, each client
// that knows Java's partitioner, and those of Go twice.
func TestC13SameKeySamePartitionAcrossClients(t *testing.T) {
	topic := topicOf(t)
	create(t, topic, 7)
	n := 0
	for _, c := range otherClients() {
		if !c.java {
			continue
		}
		c.produce(t, c.name, []string{topic}, []string{"none"})
		n += perTopic
		if c.name == "kafkago" || c.name == "kgo" {
			c.produce(t, c.name, []string{topic}, []string{"none"})
			n += perTopic
		}
	}
	type place struct {
		partition int32
		client    string
	}
	where := make(map[string]place)
	used := make(map[int32]bool)
	for _, r := range readAll(t, topic, n) {
		here := place{r.Partition, strings.Fields(string(r.Value))[0]}
		first, seen := where[string(r.Key)]
		if !seen {
			where[string(r.Key)] = here
		} else if first.partition != here.partition {
			t.Errorf("%s: %s puts it into partition %d, %s into %d", r.Key, first.client, first.partition, here.client, here.partition)
		}
		used[r.Partition] = true
	}
	equal(t, "keys", len(where), perTopic)
	equal(t, "partitions used", len(used), 7)
}

// TestC27CompressionIsTransparent: each client writes with each codec it has into a topic
// of that codec; each client reads every topic whose codec it has, and sees what all
// have written. The broker has kept the batches as they came: in the codec they were
// sent in, checksums right, and the same bytes on disk as in the answer to Fetch.
func TestC27CompressionIsTransparent(t *testing.T) {
	topics := make(map[string]string)
	var want []string
	count := make(map[string]int)
	for _, codec := range append([]string{"none"}, everyCodec...) {
		topics[codec] = topicOf(t, codec)
		create(t, topics[codec], 1)
	}
	for _, c := range otherClients() {
		var into []string
		for _, codec := range c.all() {
			into = append(into, topics[codec])
			count[codec] += perTopic
			want = append(want, expected(topics[codec], c.name, codec)...)
		}
		c.produce(t, c.name, into, c.all())
	}
	for _, c := range otherClients() {
		t.Run("read by "+c.name, func(t *testing.T) {
			t.Parallel()
			var from []string
			var each []int
			for _, codec := range c.all() {
				from = append(from, topics[codec])
				each = append(each, count[codec])
			}
			got := c.consume(t, topicOf(t, "g"), from, each)
			same(t, "records", sortedCopy(got), sortedCopy(slices.DeleteFunc(slices.Clone(want), func(l string) bool {
				topic, _, _ := strings.Cut(l, "|")
				return !slices.Contains(from, topic)
			})))
		})
	}
	for i, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		t.Run("stored as "+codec, func(t *testing.T) { storedAsSent(t, topics[codec], i) })
	}
}

// storedAsSent fetches a topic as bytes, looks at its batches, finds the same bytes in
// the segment's file, and sends them once more to see them come back.
func storedAsSent(t *testing.T, topic string, codec int) {
	c := dial(t, broker(t).Address)
	q := fetchRequest(topic, [16]byte{}, 0, 0)
	q.MaxBytes, q.Topics[0].Partitions[0].PartitionMaxBytes = 16<<20, 16<<20
	fetched := ask[*kmsg.FetchResponse](t, c, 12, q).Topics[0].Partitions[0].RecordBatches
	file, err := os.ReadFile(filepath.Join(broker(t).Dir, topic+"-0", "00000000000000000000.log"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "bytes on disk and in Fetch are the same", bytes.Equal(file, fetched), true)
	again := topic + "-again"
	create(t, again, 1)
	batches := 0
	for rest := fetched; len(rest) > 0; batches++ {
		size := 12 + int(binary.BigEndian.Uint32(rest[8:]))
		b := rest[:size]
		rest = rest[size:]
		equal(t, "codec", int(binary.BigEndian.Uint16(b[21:])&7), codec)
		equal(t, "checksum", crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)), binary.BigEndian.Uint32(b[17:]))
		sent := bytes.Clone(b)
		binary.BigEndian.PutUint64(sent, 0) // the base offset is the broker's to say
		for i := 43; i < 57; i++ {          // producer id, epoch and sequence: of nobody
			sent[i] = 0xff
		}
		binary.BigEndian.PutUint32(sent[17:], crc32.Checksum(sent[21:], crc32.MakeTable(crc32.Castagnoli)))
		p := ask[*kmsg.ProduceResponse](t, c, 9, produceRequest(again, [16]byte{}, 0, sent)).Topics[0].Partitions[0]
		if p.ErrorCode != 0 {
			t.Fatalf("produce the bytes again: %s: %s", codeName(p.ErrorCode), deref(p.ErrorMessage))
		}
		back := ask[*kmsg.FetchResponse](t, c, 12, fetchRequest(again, [16]byte{}, 0, p.BaseOffset)).Topics[0].Partitions[0].RecordBatches
		equal(t, "what comes back from byte 16 on is what was sent", bytes.Equal(back[16:], sent[16:]), true)
	}
	if batches == 0 {
		t.Error("no batches")
	}
}

// program is a client in testdata. The interpreter is a file of the tools, or node.
func program(name string, codecs []string, interpreter, script string) otherClient {
	run := func(t *testing.T, args ...string) string {
		t.Helper()
		t.Logf("%s %s", script, strings.Join(args, " "))
		path := "node"
		if interpreter != "" {
			path = harness.Need(t, filepath.Join(harness.Tools(t), interpreter))
		}
		modules := "NODE_PATH=" + filepath.Join(harness.Tools(t), "node", "node_modules")
		env := harness.NeedCommand(t, "env")
		return harness.Output(t, "", env, append([]string{modules, path, filepath.Join("testdata", script)}, args...)...)
	}
	return otherClient{
		name: name, codecs: codecs, java: true, aborts: name != "platformatic",
		produce: func(t *testing.T, name string, topics, codecs []string) {
			t.Helper()
			run(t, append([]string{broker(t).Address, "produce", name}, pairs(topics, codecs)...)...)
		},
		consume: func(t *testing.T, group string, topics []string, each []int) []string {
			t.Helper()
			return lines(run(t, append([]string{broker(t).Address, "consume", group}, pairs(topics, each)...)...))
		},
	}
}

func pairs[T any](topics []string, values []T) []string {
	var out []string
	for i, topic := range topics {
		out = append(out, fmt.Sprintf("%s=%v", topic, values[i]))
	}
	return out
}

func lines(out string) []string { return strings.Split(strings.TrimSuffix(out, "\n"), "\n") }

func sum(numbers []int) (total int) {
	for _, n := range numbers {
		total += n
	}
	return total
}

// keyed makes KEY<separator>VALUE lines for the command-line producers.
func keyed(client, codec, format string) string {
	var b strings.Builder
	for i := range perTopic {
		fmt.Fprintf(&b, format, fmt.Sprintf("key-%d", i), valueOf(client, codec, i))
	}
	return b.String()
}

// javaProduce is the console producer with Java's own client; keys and headers are read
// from the line.
func javaProduce(t *testing.T, name string, topics, codecs []string) {
	t.Helper()
	for i, topic := range topics {
		harness.Kafka(t, keyed(name, codecs[i], "client:"+name+"\t%s\t%s\n"), harness.ConsoleProducer,
			"--bootstrap-server", broker(t).Address, "--topic", topic, "--compression-codec", codecs[i],
			"--reader-property", "parse.key=true", "--reader-property", "parse.headers=true")
	}
}

func javaConsume(t *testing.T, group string, topics []string, each []int) []string {
	t.Helper()
	var out []string
	for i, topic := range topics {
		printed := harness.Kafka(t, "", harness.ConsoleConsumer, "--bootstrap-server", broker(t).Address, "--topic", topic, "--group", group,
			"--from-beginning", "--isolation-level", "read_committed", "--max-messages", strconv.Itoa(each[i]),
			"--formatter-property", "print.key=true", "--formatter-property", "print.headers=true", "--formatter-property", "key.separator=|")
		for _, l := range lines(printed) {
			header, rest, _ := strings.Cut(l, "|")
			key, value, _ := strings.Cut(rest, "|")
			out = append(out, line(topic, key, strings.TrimPrefix(header, "client:"), value))
		}
	}
	return out
}

func kcatProduce(t *testing.T, name string, topics, codecs []string) {
	t.Helper()
	for i, topic := range topics {
		harness.Kcat(t, keyed(name, codecs[i], "%s|%s\n"), "-P", "-b", broker(t).Address, "-t", topic, "-K", "|", "-z", codecs[i],
			"-H", "client="+name, "-X", "topic.partitioner=murmur2_random")
	}
}

func kcatConsume(t *testing.T, group string, topics []string, each []int) []string {
	t.Helper()
	out := harness.Kcat(t, "", append([]string{"-b", broker(t).Address, "-q", "-c", strconv.Itoa(sum(each)), "-f", "%t|%k|%h|%s\n",
		"-X", "auto.offset.reset=earliest", "-G", group}, topics...)...)
	return lines(strings.ReplaceAll(out, "|client=", "|"))
}

func saramaConfig() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Producer.Return.Successes = true
	config.Producer.Idempotent = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Net.MaxOpenRequests = 1
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.IsolationLevel = sarama.ReadCommitted
	return config
}

func saramaProduce(t *testing.T, name string, topics, codecs []string) {
	t.Helper()
	for i, topic := range topics {
		config := saramaConfig()
		if err := config.Producer.Compression.UnmarshalText([]byte(codecs[i])); err != nil {
			t.Fatal(err)
		}
		p, err := sarama.NewSyncProducer([]string{broker(t).Address}, config)
		if err != nil {
			t.Fatal(err)
		}
		var all []*sarama.ProducerMessage
		for n := range perTopic {
			all = append(all, &sarama.ProducerMessage{
				Topic: topic, Key: sarama.StringEncoder(fmt.Sprintf("key-%d", n)), Value: sarama.StringEncoder(valueOf(name, codecs[i], n)),
				Headers: []sarama.RecordHeader{{Key: []byte("client"), Value: []byte(name)}},
			})
		}
		if err := p.SendMessages(all); err != nil {
			t.Fatal(err)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func saramaConsume(t *testing.T, group string, topics []string, each []int) []string {
	t.Helper()
	g, err := sarama.NewConsumerGroup([]string{broker(t).Address}, group, saramaConfig())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	h := &saramaHandler{lines: make(chan string), done: ctx.Done()}
	consumed := make(chan error, 1)
	go func() { consumed <- g.Consume(ctx, topics, h) }()
	var out []string
	for len(out) < sum(each) {
		select {
		case l := <-h.lines:
			out = append(out, l)
		case err := <-consumed:
			t.Fatalf("after %d records: %v", len(out), err)
		}
	}
	cancel()
	<-consumed
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	return out
}

type saramaHandler struct {
	lines chan string
	done  <-chan struct{}
}

func (*saramaHandler) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*saramaHandler) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (h *saramaHandler) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for m := range claim.Messages() {
		s.MarkMessage(m, "")
		select {
		case h.lines <- line(m.Topic, string(m.Key), string(m.Headers[0].Value), string(m.Value)):
		case <-h.done:
			return nil
		}
	}
	return nil
}

func kafkagoProduce(t *testing.T, name string, topics, codecs []string) {
	t.Helper()
	for i, topic := range topics {
		// A transport of its own: the default one is shared by the process, answers Metadata
		// from a cache of six seconds, and so does not know a topic made since.
		transport := &kafkago.Transport{}
		t.Cleanup(transport.CloseIdleConnections)
		w := &kafkago.Writer{Addr: kafkago.TCP(broker(t).Address), Topic: topic, Balancer: kafkago.Murmur2Balancer{}, RequiredAcks: kafkago.RequireAll, Transport: transport}
		if codecs[i] != "none" {
			var c compress.Compression
			if err := c.UnmarshalText([]byte(codecs[i])); err != nil {
				t.Fatal(err)
			}
			w.Compression = c
		}
		var all []kafkago.Message
		for n := range perTopic {
			all = append(all, kafkago.Message{
				Key: fmt.Appendf(nil, "key-%d", n), Value: []byte(valueOf(name, codecs[i], n)),
				Headers: []kafkago.Header{{Key: "client", Value: []byte(name)}},
			})
		}
		if err := w.WriteMessages(within(t), all...); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func kafkagoConsume(t *testing.T, group string, topics []string, each []int) []string {
	t.Helper()
	r := kafkago.NewReader(kafkago.ReaderConfig{Brokers: []string{broker(t).Address}, GroupID: group, GroupTopics: topics, StartOffset: kafkago.FirstOffset,
		IsolationLevel: kafkago.ReadCommitted})
	var out []string
	for range sum(each) {
		m, err := r.ReadMessage(within(t)) // commits
		if err != nil {
			t.Fatalf("after %d records: %v", len(out), err)
		}
		out = append(out, line(m.Topic, string(m.Key), string(m.Headers[0].Value), string(m.Value)))
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	return out
}

func kgoProduce(t *testing.T, name string, topics, codecs []string) {
	t.Helper()
	compression := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for i, topic := range topics {
		kgoRecords(t, client(t, kgo.ProducerBatchCompression(compression[codecs[i]])), name, topic, codecs[i])
	}
}

// kgoRecords produces perTopic records, in the transaction of the client if it has begun one.
func kgoRecords(t *testing.T, c *kgo.Client, name, topic, codec string) {
	t.Helper()
	var all []*kgo.Record
	for n := range perTopic {
		all = append(all, &kgo.Record{
			Topic: topic, Key: fmt.Appendf(nil, "key-%d", n), Value: []byte(valueOf(name, codec, n)),
			Headers: []kgo.RecordHeader{{Key: "client", Value: []byte(name)}},
		})
	}
	produce(t, c, all...)
}

func kgoConsume(t *testing.T, group string, topics []string, each []int) []string {
	t.Helper()
	c := client(t, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	var out []string
	for _, r := range poll(t, c, sum(each)) {
		out = append(out, line(r.Topic, string(r.Key), string(r.Headers[0].Value), string(r.Value)))
	}
	if err := c.CommitUncommittedOffsets(within(t)); err != nil {
		t.Error(err)
	}
	c.Close()
	return out
}
