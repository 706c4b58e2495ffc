//go:build interop

package interop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/test/harness"
)

// Kafka Streams, unmodified, against a broker of its own that is killed. What goes wrong
// between the two is a missing count or one that comes twice.

const (
	wordCountDemo   = "org.apache.kafka.streams.examples.wordcount.WordCountDemo"
	wordCountInput  = "streams-plaintext-input" // the demo's own names
	wordCountOutput = "streams-wordcount-output"
	wordCountStore  = "streams-wordcount-KSTREAM-AGGREGATE-STATE-STORE-0000000003"
)

// TestStep8WordCountOfKafkaStreams runs the quickstart's WordCount with
// exactly_once_v2, by either protocol: with the quickstart's two lines by hand, then with
// more while a second instance joins, the first is killed, the second goes on alone, the
// first comes back and the broker is killed. The demo writes each count that a word has had, so
// the output has each word's 1, 2, 3, … once and in order, or something was lost or
// counted twice.
func TestStep8WordCountOfKafkaStreams(t *testing.T) {
	t.Parallel()
	for _, protocol := range streamsProtocols {
		t.Run(protocol.name, func(t *testing.T) {
			t.Parallel()
			countWords(t, harness.StartBroker(t, protocol.broker...), append(protocol.app, "repartition.purge.interval.ms=1000"))
		})
	}
}

func countWords(t *testing.T, b *harness.Broker, properties []string) {
	server := []string{"--bootstrap-server", b.Address}
	createOn(t, b.Address, wordCountInput, 1)
	createOn(t, b.Address, wordCountOutput, 1, "cleanup.policy=compact", "min.compaction.lag.ms=3600000") // all counts stay
	app, second := newStreams(t, b, wordCountDemo, properties...), newStreams(t, b, wordCountDemo, properties...)
	app.start()

	harness.Kafka(t, "This is my first event\nThis is my second event\n", harness.ConsoleProducer, append(server, "--topic", wordCountInput)...)
	shown := harness.Kafka(t, "", harness.ConsoleConsumer, append(server,
		"--topic", wordCountOutput, "--from-beginning", "--isolation-level", "read_committed", "--max-messages", "10",
		"--formatter", "org.apache.kafka.tools.consumer.DefaultMessageFormatter",
		"--formatter-property", "print.key=true", "--formatter-property", "print.value=true",
		"--formatter-property", "key.deserializer=org.apache.kafka.common.serialization.StringDeserializer",
		"--formatter-property", "value.deserializer=org.apache.kafka.common.serialization.LongDeserializer")...)
	equal(t, "the quickstart's output", shown, "this\t1\nis\t1\nmy\t1\nfirst\t1\nevent\t1\nthis\t2\nis\t2\nmy\t2\nsecond\t1\nevent\t2\n")

	same(t, "configs of the changelog", configured(t, b, wordCountStore+"-changelog"),
		[]string{"cleanup.policy=compact", "message.timestamp.type=CreateTime"})
	same(t, "configs of the repartition topic", configured(t, b, wordCountStore+"-repartition"),
		[]string{"cleanup.policy=delete", "message.timestamp.type=CreateTime", "retention.ms=-1", "segment.bytes=52428800"})

	counts := map[string]int{"this": 2, "is": 2, "my": 2, "first": 1, "second": 1, "event": 2}
	total := 10
	c := clientOf(t, b.Address, kgo.DefaultProduceTopic(wordCountInput))
	for _, then := range []func(){second.start, app.Kill, app.start, func() { b.Kill(); b.Start() }} {
		lines := someLines(2000, counts)
		produce(t, c, lines...)
		awaitEnd(t, b, wordCountOutput, int64(total)+1000)
		total += 8 * len(lines)
		then()
	}
	await(t, b, wordCountOutput, total)
	purged := int64(total)
	harness.Until(t, testLimit, "a purge of the repartition topic", func() error {
		produce(t, c, someLines(1, counts)...) // who commits nothing purges nothing
		total += 8
		listed, err := kadm.NewClient(c).ListStartOffsets(t.Context(), wordCountStore+"-repartition")
		if o, _ := listed.Lookup(wordCountStore+"-repartition", 0); err == nil && o.Offset < purged {
			err = errors.Join(fmt.Errorf("it starts at %d, and had %d words", o.Offset, purged), o.Err)
		}
		return err
	})
	await(t, b, wordCountOutput, total)
	app.stop()
	second.stop()

	got := map[string]int{}
	for _, r := range readCommitted(t, b, wordCountOutput, 1) {
		word, count := string(r.Key), int(binary.BigEndian.Uint64(r.Value))
		if got[word]++; count != got[word] {
			t.Fatalf("offset %d: count %d of %q comes after %d", r.Offset, count, word, got[word]-1)
		}
	}
	for word, n := range counts {
		equal(t, "count of "+word, got[word], n)
	}
	equal(t, "words", len(got), len(counts))
}

// someLines makes records of eight words each and adds up the words in counts.
func someLines(n int, counts map[string]int) []*kgo.Record {
	random := rand.New(rand.NewPCG(uint64(n), uint64(len(counts))))
	records := make([]*kgo.Record, n)
	for i := range records {
		words := make([]string, 8)
		for j := range words {
			words[j] = "w" + strconv.Itoa(min(random.IntN(100), random.IntN(100))) // some are frequent
			counts[words[j]]++
		}
		records[i] = kgo.StringRecord(strings.Join(words, " "))
	}
	return records
}
