//go:build interop

package interop

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// streams is a program of Kafka Streams that can be started again over its state.
type streams struct {
	*harness.Process
	t          *testing.T
	main       string // class, or source file in testdata
	dir        string // of its state and its properties
	properties string // file
}

// streamsProtocols are the two ways in which the members of an application share its
// tasks: as consumers of the classic protocol, whose leader deals them, and by the streams
// protocol, where the broker does (KIP-1071). Members are missed after the shortest time
// that the broker allows, since a killed member's tasks wait for it.
var streamsProtocols = []struct {
	name        string
	broker, app []string
}{
	{"classic", []string{"group.initial.rebalance.delay.ms=0"}, []string{"session.timeout.ms=6000", "heartbeat.interval.ms=500"}},
	{"streams", []string{
		"group.streams.initial.rebalance.delay.ms=0", "group.streams.assignment.interval.ms=0",
		"group.streams.min.session.timeout.ms=6000", "group.streams.session.timeout.ms=6000",
		"group.streams.min.heartbeat.interval.ms=500", "group.streams.heartbeat.interval.ms=500",
	}, []string{"group.protocol=streams"}},
}

// streamsLimit bounds a wait for a program of Kafka Streams or a worker of Connect: each
// is a JVM that compiles, joins a group and restores its state on a machine that does
// other things as well.
const streamsLimit = 3 * time.Minute

// newStreams writes the properties of a program: exactly_once_v2, and more.
func newStreams(t *testing.T, b *harness.Broker, main string, more ...string) *streams {
	t.Helper()
	dir := t.TempDir()
	s := &streams{t: t, main: main, dir: dir, properties: filepath.Join(dir, "streams.properties")}
	if strings.HasSuffix(main, ".java") {
		s.main = filepath.Join(harness.Root(t), "test", "interop", "testdata", main)
	}
	lines := append([]string{
		"bootstrap.servers=" + b.Address,
		"processing.guarantee=exactly_once_v2",
		"state.dir=" + filepath.Join(dir, "state"),
	}, more...)
	if err := os.WriteFile(s.properties, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *streams) start() {
	s.t.Helper()
	s.Process = startIn(s.t, s.dir, s.main, s.properties)
}

// startIn starts a class of Apache Kafka in a directory, which also takes what a JVM that
// is killed leaves behind: the native libraries of RocksDB and others.
func startIn(t *testing.T, dir, class string, args ...string) *harness.Process {
	t.Helper()
	cmd := harness.KafkaCommand(t.Context(), t, class, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "JDK_JAVA_OPTIONS=-Djava.io.tmpdir="+dir)
	return harness.StartProcess(t, filepath.Base(class), cmd)
}

// stop ends the program as Ctrl-C does; it commits what it has done.
func (s *streams) stop() {
	s.t.Helper()
	if err := s.Stop(streamsLimit); s.Running() {
		s.t.Fatal(err) // else it ended with code 143, for SIGTERM
	}
}

// await waits for n committed records of a topic.
func await(t *testing.T, b *harness.Broker, topic string, n int) {
	t.Helper()
	got := 0
	consume(t, b, topic, func(*kgo.Record) bool { got++; return got == n }, func(err error) {
		t.Fatalf("%s: %d of %d records: %v", topic, got, n, err)
	})
}

// readCommitted reads all there is in a topic that nobody writes to any more.
func readCommitted(t *testing.T, b *harness.Broker, topic string, partitions int) []*kgo.Record {
	t.Helper()
	const last = "the last of its partition"
	c := clientOf(t, b.Address, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for p := range partitions {
		produce(t, c, &kgo.Record{Topic: topic, Partition: int32(p), Key: []byte(last)})
	}
	var all []*kgo.Record
	consume(t, b, topic, func(r *kgo.Record) bool {
		if string(r.Key) == last {
			partitions--
		} else {
			all = append(all, r)
		}
		return partitions == 0
	}, func(err error) { t.Fatalf("%s: after %d records: %v", topic, len(all), err) })
	return all
}

// consume calls each for the committed records of a topic, from its beginning, until it
// returns true.
func consume(t *testing.T, b *harness.Broker, topic string, each func(*kgo.Record) bool, failed func(error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), streamsLimit)
	defer cancel()
	c := clientOf(t, b.Address, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	defer c.Close()
	for {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			failed(err)
		}
		for it := f.RecordIter(); !it.Done(); {
			if each(it.Next()) {
				return
			}
		}
	}
}

// awaitEnd waits until a topic ends at an offset or later, open transactions included:
// a moment in the middle of work.
func awaitEnd(t *testing.T, b *harness.Broker, topic string, end int64) {
	t.Helper()
	harness.Until(t, streamsLimit, "work", func() error {
		if at := endOf(t, b, topic); at < end {
			return fmt.Errorf("%s ends at %d, not at %d", topic, at, end)
		}
		return nil
	})
}

// endOf is the sum of the ends of a topic's partitions, open transactions included.
func endOf(t *testing.T, b *harness.Broker, topic string) int64 {
	t.Helper()
	c := clientOf(t, b.Address)
	defer c.Close()
	listed, err := kadm.NewClient(c).ListEndOffsets(within(t), topic)
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	listed.Each(func(o kadm.ListedOffset) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		sum += o.Offset
	})
	return sum
}

// configured lists what a topic was given when it was created, as key=value, in order.
func configured(t *testing.T, b *harness.Broker, topic string) []string {
	t.Helper()
	var all []string
	for name, c := range describeTopic(t, b.Address, topic) {
		if c.Source == kmsg.ConfigSourceDynamicTopicConfig {
			all = append(all, name+"="+deref(c.Value))
		}
	}
	slices.Sort(all)
	return all
}
