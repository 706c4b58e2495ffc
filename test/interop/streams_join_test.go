//go:build interop

package interop

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/test/harness"
)

// joined is the input of testdata/StreamsJoins.java and what comes out of it, in any order.
type joined struct {
	users, clicks, orders []*kgo.Record
	regions, pairs        []string
}

// newJoined makes n clicks, 20 ms apart, an order before every second one, and now and
// then a user who moves. No two records have the same time, so a task takes the records
// of its topics in the order of their times.
func newJoined(n int) *joined {
	const users, window = 40, time.Second
	random := rand.New(rand.NewPCG(1, uint64(n)))
	user := func() string { return fmt.Sprintf("user-%d", random.IntN(users)) }
	begin := time.Now().Add(-time.Hour)
	regions, clicks := map[string]string{}, map[string][]*kgo.Record{} // by user
	j := new(joined)
	for i := range n {
		record := func(topic, key, value string, ms int) *kgo.Record {
			at := begin.Add(time.Duration(20*i+ms) * time.Millisecond)
			return &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(value), Timestamp: at}
		}
		if i%10 == 0 {
			who := user()
			regions[who] = fmt.Sprintf("region-%d", i)
			j.users = append(j.users, record("users", who, regions[who], 0))
		}
		if i%2 == 0 {
			j.orders = append(j.orders, record("orders", fmt.Sprint(i), fmt.Sprintf("%s order-%d", user(), i), 5))
		}
		who := user()
		click := record("clicks", who, fmt.Sprintf("click-%d", i), 10)
		j.clicks, clicks[who] = append(j.clicks, click), append(clicks[who], click)
		if region := regions[who]; region != "" {
			j.regions = append(j.regions, fmt.Sprintf("%s in %s", click.Value, region))
		}
	}
	for _, o := range j.orders {
		who, _, _ := strings.Cut(string(o.Value), " ")
		for _, c := range clicks[who] {
			if c.Timestamp.Sub(o.Timestamp).Abs() <= window {
				j.pairs = append(j.pairs, fmt.Sprintf("%s with %s", c.Value, o.Value))
			}
		}
	}
	// Orders may come in any order: the windows have an hour of grace.
	random.Shuffle(len(j.orders), func(a, b int) { j.orders[a], j.orders[b] = j.orders[b], j.orders[a] })
	return j
}

// TestStreamsJoinsAreExactOverKills joins a stream with a table and with another stream
// that is repartitioned, exactly_once_v2, in two threads over three partitions, while the
// program and the broker are killed, by either protocol: the output is what is computed
// here.
func TestStreamsJoinsAreExactOverKills(t *testing.T) {
	t.Parallel()
	for _, protocol := range streamsProtocols {
		t.Run(protocol.name, func(t *testing.T) {
			t.Parallel()
			joinStreams(t, harness.StartBroker(t, append(protocol.broker, "num.partitions=3")...), protocol.app)
		})
	}
}

func joinStreams(t *testing.T, b *harness.Broker, properties []string) {
	const partitions = 3 // of internal topics, too
	want := newJoined(10_000)
	for _, topic := range []string{"users", "clicks", "orders", "regions", "pairs"} {
		createOn(t, b.Address, topic, partitions)
	}
	c := clientOf(t, b.Address)
	produce(t, c, want.users...)
	produce(t, c, want.clicks...)
	produce(t, c, want.orders...)

	app := newStreams(t, b, "StreamsJoins.java", append(properties, "application.id=joins", "num.stream.threads=2", "auto.offset.reset=earliest")...)
	app.start()
	awaitEnd(t, b, "pairs", 500)
	app.Kill()
	app.start()
	awaitEnd(t, b, "pairs", 4000)
	b.Kill()
	b.Start()
	await(t, b, "regions", len(want.regions))
	await(t, b, "pairs", len(want.pairs))
	app.stop()
	for topic, expected := range map[string][]string{"regions": want.regions, "pairs": want.pairs} {
		sameInAnyOrder(t, topic, values(readCommitted(t, b, topic, partitions)), expected)
	}
	// A store of a window keeps all values of a key, so its changelog expires: after the
	// grace, the window's two seconds and Streams' own day.
	windowed := []string{"cleanup.policy=delete", "message.timestamp.type=CreateTime", "retention.ms=90002000"}
	for topic, expected := range map[string][]string{
		"users-STATE-STORE-0000000003":       {"cleanup.policy=compact", "message.timestamp.type=CreateTime"},
		"KSTREAM-JOINTHIS-0000000013-store":  windowed,
		"KSTREAM-JOINOTHER-0000000014-store": windowed,
	} {
		same(t, topic, configured(t, b, "joins-"+topic+"-changelog"), expected)
	}
}

// sameInAnyOrder compares two sets of records, and names some that differ.
func sameInAnyOrder(t *testing.T, what string, got, want []string) {
	t.Helper()
	surplus := map[string]int{}
	for _, v := range got {
		surplus[v]++
	}
	for _, v := range want {
		surplus[v]--
	}
	shown := 0
	for v, n := range surplus {
		if n != 0 && shown < 10 {
			t.Errorf("%s: %q is there %+d times too often", what, v, n)
			shown++
		}
	}
	equal(t, "number of "+what, len(got), len(want))
}
