package telemetry

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"

	"github.com/varvelog/varve/segment/batch"
)

// every is the subscription of the tests: all metrics, once a second.
var every = map[string]string{"metrics": "*", "interval.ms": "1000"}

// newReceiver makes a receiver whose clients are numbered.
func newReceiver(t testing.TB, o Options, subscriptions ...map[string]string) *Receiver {
	t.Helper()
	var last uint64
	o.NewID = func() ID {
		last++
		return numbered(last)
	}
	for _, n := range []struct {
		to   *int
		most int
	}{{&o.MaxBytes, 1 << 20}, {&o.MaxSeries, 1000}, {&o.MaxSeriesPerClient, 100}} {
		if *n.to == 0 {
			*n.to = n.most
		}
	}
	if o.Retention == 0 {
		o.Retention = time.Minute
	}
	r := New(o)
	r.SetSubscriptions(parsed(t, subscriptions...))
	return r
}

// numbered is the id of a number, which is not a reserved one.
func numbered(n uint64) (id ID) {
	binary.BigEndian.PutUint64(id[:], n)
	return id
}

var start = time.Unix(1_000_000, 0)

func TestRequestsAreAdmittedAsByKafka(t *testing.T) { // KIP-714
	const changed, get, push, stale, last, odd, large, broken = "changed", "get", "push", "stale", "last", "odd", "large", "broken"
	type step struct {
		at   time.Duration
		what string
		want error
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"once an interval", []step{{0, get, nil}, {time.Second, push, nil}, {2 * time.Second, push, nil}, {2999 * time.Millisecond, push, ErrThrottled}, {3 * time.Second, push, nil}}},
		{"the first push after half of the interval", []step{{0, get, nil}, {500 * time.Millisecond, push, nil}, {1499 * time.Millisecond, push, ErrThrottled}, {1500 * time.Millisecond, push, nil}}},
		{"a push of a client that another broker knew", []step{{0, push, nil}, {1, push, ErrThrottled}}},
		{"asking once an interval", []step{{0, get, nil}, {999 * time.Millisecond, get, ErrThrottled}, {time.Second, get, nil}}},
		{"not asking right after a push", []step{{0, push, nil}, {time.Millisecond, get, ErrThrottled}, {time.Second, get, nil}}},
		{"an unknown subscription, and asking at once", []step{{0, get, nil}, {time.Second, stale, ErrUnknownSubscription}, {time.Second, get, nil}, {time.Second, get, ErrThrottled}}},
		{"an unknown compression, and asking at once", []step{{0, get, nil}, {time.Second, odd, ErrUnsupportedCompression}, {time.Second, get, nil}}},
		{"not asking at once after another error", []step{{0, get, nil}, {time.Second, large, ErrTooLarge}, {time.Second, get, ErrThrottled}, {2 * time.Second, push, nil}}},
		{"what cannot be read", []step{{0, get, nil}, {time.Second, broken, ErrInvalidRecord}, {2 * time.Second, push, nil}}},
		{"new subscriptions", []step{{0, get, nil}, {time.Second, push, nil}, {time.Second, changed, nil}, {1001 * time.Millisecond, stale, ErrUnknownSubscription}, {1001 * time.Millisecond, get, nil}}},
		{"new subscriptions, asked for at once", []step{{0, get, nil}, {1, get, ErrThrottled}, {2, changed, nil}, {3, get, nil}}},
		{"the last push, early", []step{{0, get, nil}, {time.Second, push, nil}, {1001 * time.Millisecond, last, nil}}},
		{"nothing after the last", []step{{0, get, nil}, {time.Second, last, nil}, {5 * time.Second, push, ErrInvalidRequest}}},
		// A refused push that is not the last one ends that state, as in Kafka.
		{"a client that has changed its mind", []step{{0, get, nil}, {time.Second, last, nil}, {5 * time.Second, push, ErrInvalidRequest}, {6 * time.Second, push, nil}}},
		{"throttled before its subscription is looked at", []step{{0, get, nil}, {time.Second, push, nil}, {1001 * time.Millisecond, stale, ErrThrottled}}},
		{"the last push of an unknown subscription", []step{{0, get, nil}, {time.Second, push, nil}, {1001 * time.Millisecond, "stale last", ErrUnknownSubscription}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReceiver(t, Options{MaxBytes: 1000}, every)
			client := Client{InstanceID: kafkasID, ClientID: "c"}
			id := subscriptionID(kafkasID, []string{"*"}, time.Second)
			for n, s := range c.steps {
				now, p := start.Add(s.at), Push{SubscriptionID: id, Metrics: encoded(t, gaugeOf("m", 1))}
				var err error
				switch s.what {
				case changed:
					r.SetSubscriptions(parsed(t, map[string]string{"metrics": "other.", "interval.ms": "1000"}))
					continue
				case get:
					var got ID
					if got, _, err = r.Get(now, client); err == nil && got != kafkasID {
						t.Errorf("step %d: the client is called %s", n, got)
					}
				default:
					switch s.what {
					case stale:
						p.SubscriptionID = 7
					case "stale last":
						p.SubscriptionID, p.Terminating = 7, true
					case last:
						p.Terminating = true
					case odd:
						p.Codec = maxCodec + 1
					case large:
						p.Metrics = make([]byte, 1001)
					case broken:
						p.Codec = int8(batch.Gzip)
					}
					err = r.Push(t.Context(), now, client, p)
				}
				if !errors.Is(err, s.want) || s.want == nil && err != nil {
					t.Fatalf("step %d, %s: %v, want %v", n, s.what, err, s.want)
				}
			}
		})
	}
}

func TestANewClientIsGivenAnID(t *testing.T) { // KIP-714
	r := newReceiver(t, Options{}, every)
	ids := []ID{{}, {15: 1}, {0xFB}, kafkasID, kafkasID, numbered(9)} // none, metadata's, begins with a dash, twice
	r.options.NewID = func() ID {
		id := ids[0]
		ids = ids[1:]
		return id
	}
	for _, want := range []ID{kafkasID, numbered(9)} {
		id, s, err := r.Get(start, Client{})
		if err != nil || id != want || s.ID != subscriptionID(want, []string{"*"}, time.Second) {
			t.Errorf("%s, %+v, %v; want %s", id, s, err, want)
		}
	}
}

func TestReservedIDsPushNothing(t *testing.T) { // KIP-714
	r := newReceiver(t, Options{}, every)
	for _, id := range reserved {
		if err := r.Push(t.Context(), start, Client{InstanceID: id}, Push{}); !errors.Is(err, ErrInvalidRequest) {
			t.Errorf("%s: %v", id, err)
		}
	}
	if s := r.Stats(); s.Clients != 0 || s.Refused[0] != int64(len(reserved)) {
		t.Errorf("%+v", s)
	}
}

// pushed takes what a client pushes, an interval after the last time.
type pushed struct {
	*Receiver
	now time.Time
}

func (p *pushed) by(t testing.TB, c Client, m ...*metrics.Metric) {
	t.Helper()
	p.now = p.now.Add(time.Second)
	push := Push{SubscriptionID: subscriptionID(c.InstanceID, []string{"*"}, time.Second), Metrics: encoded(t, m...)}
	if err := p.Push(t.Context(), p.now, c, push); err != nil {
		t.Fatal(err)
	}
}

func TestASilentClientIsForgottenAfterThreeIntervals(t *testing.T) {
	for _, c := range []struct {
		retention, want time.Duration
	}{{time.Second, 3 * time.Second}, {time.Minute, time.Minute}} {
		p := pushed{newReceiver(t, Options{Retention: c.retention}, every), start}
		p.by(t, Client{InstanceID: numbered(1)}, gaugeOf("m", 1))
		p.Expire(p.now.Add(c.want - 1))
		if s := p.Stats(); s.Clients != 1 || s.Series != 1 {
			t.Errorf("before %v: %+v", c.want, s)
		}
		p.Expire(p.now.Add(c.want))
		if s := p.Stats(); s.Clients != 0 || s.Series != 0 || len(p.Samples()) != 0 {
			t.Errorf("after %v: %+v, %d samples", c.want, s, len(p.Samples()))
		}
	}
}

func TestAMetricThatIsPushedNoMoreGoesACounterLater(t *testing.T) {
	p := pushed{newReceiver(t, Options{Retention: time.Second}, every), start}
	client := Client{InstanceID: numbered(1)}
	p.by(t, client, gaugeOf("old", 1), gaugeOf("kept", 1), sumOf("s", true, cumulative, 1))
	for range 3 {
		p.by(t, client, gaugeOf("kept", 2))
	}
	p.Expire(p.now)
	const kept, total = `kafka_client_kept{client_instance_id="AAAAAAAAAAEAAAAAAAAAAA"} 2 gauge`, `kafka_client_s_total{client_instance_id="AAAAAAAAAAEAAAAAAAAAAA"} 1 counter`
	want(t, p.Receiver, kept, total)

	p.now = p.now.Add(counterPatience)
	p.by(t, client, gaugeOf("kept", 2))
	p.Expire(p.now)
	want(t, p.Receiver, kept)
	if s := p.Stats(); s.Series != 1 || s.Clients != 1 {
		t.Errorf("%+v", s)
	}
}

func TestTheLongestSilentClientGoesForANewOne(t *testing.T) {
	r := newReceiver(t, Options{}, every)
	for n := range uint64(maxClients) {
		if _, _, err := r.Get(start, Client{InstanceID: numbered(n + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := r.Get(start.Add(time.Second), Client{InstanceID: numbered(1)}); err != nil { // the second is the oldest now
		t.Fatal(err)
	}
	if _, _, err := r.Get(start, Client{InstanceID: kafkasID}); err != nil {
		t.Fatal(err)
	}
	if s := r.Stats(); s.Clients != maxClients || r.clients[numbered(1)] == nil || r.clients[numbered(2)] != nil || r.clients[numbered(3)] == nil || r.clients[kafkasID] == nil {
		t.Errorf("%d clients", s.Clients)
	}
}

func TestSeriesAreBounded(t *testing.T) {
	p := pushed{newReceiver(t, Options{MaxSeries: 5, MaxSeriesPerClient: 3}, every), start}
	four := []*metrics.Metric{gaugeOf("a", 1), gaugeOf("b", 1), gaugeOf("c", 1), gaugeOf("d", 1)}
	p.by(t, Client{InstanceID: numbered(1)}, four...)
	if s := p.Stats(); s.Series != 3 || s.LeftOut != 1 {
		t.Errorf("of one client: %+v", s)
	}
	p.by(t, Client{InstanceID: numbered(2)}, four...)
	if s := p.Stats(); s.Series != 5 || s.LeftOut != 3 || s.Pushes != 2 {
		t.Errorf("of two: %+v", s)
	}
	p.by(t, Client{InstanceID: numbered(1)}, gaugeOf("a", 2)) // what there is goes on
	if s := p.Stats(); s.Series != 5 || s.LeftOut != 3 {
		t.Errorf("one again: %+v", s)
	}
}

// TestABombCostsBoundedMemory pushes what decompresses, or decodes, to many times its size:
// two bytes can stand for a data point, and labels of a resource for those of each point.
func TestABombCostsBoundedMemory(t *testing.T) {
	message := func(field byte, content ...byte) []byte {
		return append(binary.AppendUvarint([]byte{field<<3 | 2}, uint64(len(content))), content...)
	}
	metric := func(data ...byte) []byte { return message(1, message(2, message(2, data...)...)...) }
	const names = "\x0a\x01m" // of a metric
	gauge := func(points ...byte) []byte { return metric(append([]byte(names), message(5, points...)...)...) }
	label := append(message(1, 'k'), message(2, message(1, 'v')...)...)
	point := append([]byte{0x21, 0, 0, 0, 0, 0, 0, 0, 0}, message(7, label...)...) // a number and a label
	point = message(2, append([]byte(names), message(5, message(1, point...)...)...)...)
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, c := range []struct {
		name    string
		codec   batch.Codec
		metrics []byte
		want    error
	}{
		{"bytes", batch.Zstd, w.EncodeAll(make([]byte, 64<<20), nil), ErrTooLarge},
		{"data points of one metric", batch.None, gauge(bytes.Repeat([]byte{1<<3 | 2, 0}, 100<<10)...), nil},
		{"a metric of too many data points", batch.None, gauge(bytes.Repeat([]byte{1<<3 | 2, 0}, 400<<10)...), nil},
		{"metrics", batch.None, message(1, message(2, bytes.Repeat([]byte{2<<3 | 2, 0}, 400<<10)...)...), nil},
		{"labels of a resource", batch.None, message(1, append(message(1, bytes.Repeat(message(1, label...), 20<<10)...), message(2, bytes.Repeat(point, 1000)...)...)...), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReceiver(t, Options{MaxSeriesPerClient: 1000}, every)
			p := Push{SubscriptionID: subscriptionID(kafkasID, []string{"*"}, time.Second), Codec: int8(c.codec), Metrics: c.metrics}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if err := r.Push(t.Context(), start, Client{InstanceID: kafkasID}, p); !errors.Is(err, c.want) {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			if spent := after.TotalAlloc - before.TotalAlloc; spent > 160<<20 {
				t.Errorf("%d MiB for %d KiB", spent>>20, len(c.metrics)>>10)
			}
			if s := r.Stats(); s.Series > 1000 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestAPushWaitsForItsTurnOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, Options{}, every)
		for range decoders {
			r.decoder <- struct{}{} // others are decoded
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("the client has gone")
		push := func(ctx context.Context, n uint64) error {
			p := Push{SubscriptionID: subscriptionID(numbered(n), []string{"*"}, time.Second), Metrics: encoded(t, gaugeOf("m", 1))}
			return r.Push(ctx, time.Now(), Client{InstanceID: numbered(n)}, p)
		}
		var first, second error
		var pushing sync.WaitGroup
		pushing.Go(func() { first = push(ctx, 1) })
		pushing.Go(func() { second = push(t.Context(), 2) })
		synctest.Wait()
		cancel(gone)
		synctest.Wait()
		<-r.decoder
		pushing.Wait()
		if !errors.Is(first, gone) || second != nil {
			t.Errorf("%v, %v", first, second)
		}
		if s := r.Stats(); s.Series != 1 || s.Pushes != 1 || s.Clients != 2 {
			t.Errorf("%+v", s)
		}
	})
}

func TestManyClientsPushAtOnce(t *testing.T) {
	const clients, pushes = 20, 20
	r := newReceiver(t, Options{}, every)
	var all sync.WaitGroup
	for n := range uint64(clients) {
		all.Go(func() {
			c := Client{InstanceID: numbered(n + 1), ClientID: fmt.Sprint("client-", n)}
			for i := range pushes {
				p := Push{SubscriptionID: subscriptionID(c.InstanceID, []string{"*"}, time.Second), Metrics: encoded(t, sumOf("s", true, metrics.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA, 1))}
				if err := r.Push(t.Context(), start.Add(time.Duration(i)*time.Second), c, p); err != nil {
					t.Error(err)
				}
				r.Expire(start)
				r.Samples()
			}
		})
	}
	all.Wait()
	if s := r.Stats(); s.Clients != clients || s.Series != clients || s.Pushes != clients*pushes {
		t.Errorf("%+v", s)
	}
	for _, s := range r.Samples() {
		if s.Name == "kafka_client_s_total" && s.Value != pushes {
			t.Errorf("%v has %v", s.Values, s.Value)
		}
	}
}
