//go:build interop

package interop

import (
	"context"
	"fmt"
	"hash/fnv"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/test/harness"
)

// testLimit bounds what one test waits for a broker, whatever it is.
const testLimit = time.Minute

func TestMain(m *testing.M) { harness.Main(m, end.run) }

// end is what outlives single tests.
var end suite

// suite is a testing.TB for what several tests share: its cleanups run after all of them.
type suite struct {
	testing.TB // of the test that came first, for its failures
	mu         sync.Mutex
	cleanups   []func()
}

func (s *suite) Cleanup(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, f)
}

func (s *suite) Failed() bool { return false }

func (s *suite) TempDir() string {
	dir, err := os.MkdirTemp("", "varve-interop-")
	if err != nil {
		s.TB.Fatal(err)
	}
	s.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (s *suite) run() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range slices.Backward(s.cleanups) {
		f()
	}
	s.cleanups = nil
}

// shared makes a value once, for all tests.
func shared[T any](start func(testing.TB) *T) func(testing.TB) *T {
	var once sync.Once
	var value *T
	return func(t testing.TB) *T {
		t.Helper()
		once.Do(func() {
			end.TB = t
			value = start(&end)
		})
		if value == nil {
			t.Fatal("what this test shares with others did not start")
		}
		return value
	}
}

// broker is the varve that most tests share. Its groups do not wait for more members,
// and it copies and expires often.
func broker(t testing.TB) *harness.Broker {
	t.Helper()
	b := common(t)
	if _, known := shown.LoadOrStore(t.Name(), true); !known {
		t.Cleanup(func() {
			if out := b.Output(); t.Failed() {
				t.Logf("the broker, which runs: %v\n%s", b.Running(), out[max(0, len(out)-4<<10):])
			}
		})
	}
	return b
}

// shown are the tests that show the broker's output if they fail.
var shown sync.Map

var common = shared(func(t testing.TB) *harness.Broker {
	return harness.StartBroker(t,
		"group.initial.rebalance.delay.ms=0",
		"log.retention.check.interval.ms=200",
		"remote.log.manager.task.interval.ms=200",
	)
})

// apache is the Apache Kafka that varve is compared with.
var apache = shared(func(t testing.TB) *harness.ApacheKafka { return harness.StartKafka(t) })

// topicOf names a topic, or a group, after the test.
func topicOf(t testing.TB, suffix ...string) string {
	name := strings.NewReplacer("/", "-", "_", "-").Replace(strings.TrimPrefix(t.Name(), "Test"))
	name = strings.Join(append([]string{name}, suffix...), "-")
	if len(name) <= 100 {
		return name
	}
	h := fnv.New32a()
	h.Write([]byte(name))
	return fmt.Sprintf("%s-%08x", name[:90], h.Sum32())
}

// within returns a context that ends with the test, or before.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testLimit)
	t.Cleanup(cancel)
	return ctx
}

// client makes a franz-go client of the shared broker.
func client(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	return clientOf(t, broker(t).Address, opts...)
}

func clientOf(t testing.TB, address string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(address),
		kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.MetadataMinAge(50 * time.Millisecond),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// create creates a topic on the shared broker. configs are key=value.
func create(t testing.TB, topic string, partitions int32, configs ...string) {
	t.Helper()
	createOn(t, broker(t).Address, topic, partitions, configs...)
}

func createOn(t testing.TB, address, topic string, partitions int32, configs ...string) {
	t.Helper()
	values := make(map[string]*string)
	for _, c := range configs {
		k, v, _ := strings.Cut(c, "=")
		values[k] = &v
	}
	if _, err := kadm.NewClient(clientOf(t, address)).CreateTopic(within(t), partitions, 1, values, topic); err != nil {
		t.Fatalf("create %s: %v", topic, err)
	}
}

// produce sends records and waits for all of them.
func produce(t testing.TB, c *kgo.Client, records ...*kgo.Record) {
	t.Helper()
	if err := c.ProduceSync(within(t), records...).FirstErr(); err != nil {
		t.Fatalf("produce: %v", err)
	}
}

// numbered makes records whose values count from 0.
func numbered(topic string, n int) []*kgo.Record {
	records := make([]*kgo.Record, n)
	for i := range records {
		records[i] = &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "value-%06d", i)}
	}
	return records
}

// poll collects n records that a client is given.
func poll(t testing.TB, c *kgo.Client, n int) []*kgo.Record {
	t.Helper()
	ctx := within(t)
	var all []*kgo.Record
	for len(all) < n {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatalf("fetch: %v, after %d of %d records", err, len(all), n)
		}
		all = append(all, f.Records()...)
	}
	return all
}

// readAll reads n records of a topic from its beginning with a client of its own.
func readAll(t testing.TB, topic string, n int) []*kgo.Record {
	t.Helper()
	c := client(t, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer c.Close()
	return poll(t, c, n)
}

// values are the values of records.
func values(records []*kgo.Record) []string {
	var all []string
	for _, r := range records {
		all = append(all, string(r.Value))
	}
	return all
}

// equal compares, and says what it compared.
func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// same is equal for slices.
func same[T comparable](t testing.TB, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}
