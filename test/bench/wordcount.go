package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/test/harness"
)

// The quickstart's word count by Kafka Streams: the demo's class and topics.
const (
	wordCountDemo   = "org.apache.kafka.streams.examples.wordcount.WordCountDemo"
	wordCountInput  = "streams-plaintext-input"
	wordCountOutput = "streams-wordcount-output"
)

const (
	wordCountPartitions = 4
	wordsOfLine         = 10
	vocabulary          = 10_000 // different words
)

// wordCount measures how fast the demo counts the words of a topic that is full already,
// exactly_once_v2: from the first committed count, when the JVM has started, to the last.
// The protocol is that of the demo's group: classic, or streams (KIP-1071).
func wordCount(protocol string) func(*bench) []contestant {
	return func(b *bench) []contestant {
		round := 0
		return b.both(func(s system) figures {
			round++
			in := topic{name: wordCountInput, partitions: wordCountPartitions}
			out := topic{name: wordCountOutput, partitions: wordCountPartitions}
			for _, t := range []topic{in, out} {
				createTopic(b.env, s, t)
				defer deleteTopic(b.env, s, t.name)
			}
			bytes := b.fillLines(s, in)
			return b.count(s, out, protocol, fmt.Sprintf("bench-%s-%d", protocol, round), bytes)
		})
	}
}

// fillLines produces lines of random words and returns their bytes.
func (b *bench) fillLines(s system, t topic) (bytes int64) {
	c, err := newProducer(s.Address(), t.name, linger)
	b.env.check(err)
	defer c.Close()
	random := rand.New(rand.NewPCG(5, 6))
	var records []*kgo.Record
	for i := range b.sizes.words / wordsOfLine {
		words := make([]string, wordsOfLine)
		for j := range words {
			words[j] = fmt.Sprintf("word%d", random.IntN(vocabulary))
		}
		line := strings.Join(words, " ")
		bytes += int64(len(line))
		records = append(records, &kgo.Record{Partition: int32(i % t.partitions), Value: []byte(line)})
	}
	b.env.check(c.ProduceSync(b.env.ctx, records...).FirstErr())
	return bytes
}

// count runs the demo until it has committed all counts.
func (b *bench) count(s system, out topic, protocol, application string, bytes int64) figures {
	c, err := newConsumer(s.Address(), out.name, out.partitions, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	b.env.check(err)
	defer c.Close()
	m := startMeter(b.env, 0, s.Process().Pid())
	app := b.startWordCount(s, protocol, application)
	defer b.deleteInternal(s, application)
	defer app.Kill()
	m.helper = append(m.helper, app.Pid()) // its processor time was 0 when the meter started
	early := 0                             // what the first fetch has brought
	b.env.check(receive(b.env.ctx, c, 1, func(*kgo.Record) { early++ }))
	first, timed := time.Now(), b.sizes.words-early
	b.env.check(receive(b.env.ctx, c, timed, nil))
	took := time.Since(first).Seconds()
	f := m.stop(b.sizes.words, bytes)
	f[recordRate] = float64(timed) / took
	return f
}

// startWordCount starts the demo with two threads.
func (b *bench) startWordCount(s system, protocol, application string) *harness.Process {
	dir := b.env.TempDir()
	file := filepath.Join(dir, "streams.properties")
	b.env.check(os.WriteFile(file, []byte(strings.Join([]string{
		"application.id=" + application,
		"group.protocol=" + protocol,
		"bootstrap.servers=" + s.Address(),
		"processing.guarantee=exactly_once_v2",
		"num.stream.threads=2",
		"state.dir=" + filepath.Join(dir, "state"),
	}, "\n")+"\n"), 0o600))
	return harness.StartProcess(b.env, "word count", java(b.env, "-Xmx1g", "-Djava.io.tmpdir="+dir, wordCountDemo, file))
}

// deleteInternal deletes the topics that an application has made for itself.
func (b *bench) deleteInternal(s system, application string) {
	c, err := kgo.NewClient(kgo.SeedBrokers(s.Address()))
	b.env.check(err)
	defer c.Close()
	listed, err := kadm.NewClient(c).ListTopics(b.env.ctx)
	b.env.check(err)
	for _, name := range listed.Names() {
		if strings.HasPrefix(name, application+"-") {
			deleteTopic(b.env, s, name)
		}
	}
}
