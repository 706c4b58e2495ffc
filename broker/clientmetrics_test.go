package broker

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/broker/telemetry"
)

// pushing is a receiver whose clients push whatever they like, with its registry.
type pushing struct {
	*telemetry.Receiver
	registry *prometheus.Registry
	clients  uint64
}

func newPushing(t testing.TB, maxSeries, perClient int) *pushing {
	t.Helper()
	all, err := config.ParseSubscription(map[string]string{"metrics": "*", "interval.ms": "1000"})
	if err != nil {
		t.Fatal(err)
	}
	r := telemetry.New(telemetry.Options{MaxBytes: 1 << 20, MaxSeries: maxSeries, MaxSeriesPerClient: perClient, Retention: time.Minute})
	r.SetSubscriptions([]config.Subscription{all})
	p := &pushing{Receiver: r, registry: prometheus.NewRegistry()}
	p.registry.MustRegister(clientCollector{r})
	return p
}

// push has a new client push metrics.
func (p *pushing) push(t testing.TB, all ...*metrics.Metric) {
	t.Helper()
	body, err := proto.Marshal(&metrics.MetricsData{ResourceMetrics: []*metrics.ResourceMetrics{{ScopeMetrics: []*metrics.ScopeMetrics{{Metrics: all}}}}})
	if err != nil {
		t.Fatal(err)
	}
	p.clients++
	c := telemetry.Client{ClientID: fmt.Sprint("client-", p.clients)}
	binary.BigEndian.PutUint64(c.InstanceID[:], p.clients)
	id, s, err := p.Get(time.Now(), c)
	if err != nil || id != c.InstanceID {
		t.Fatal(id, err)
	}
	if err := p.Push(t.Context(), time.Now(), c, telemetry.Push{SubscriptionID: s.ID, Metrics: body}); err != nil {
		t.Fatal(err)
	}
}

func gaugeMetric(name string, value float64, labels ...string) *metrics.Metric {
	n := &metrics.NumberDataPoint{Value: &metrics.NumberDataPoint_AsDouble{AsDouble: value}}
	for _, l := range labels {
		n.Attributes = append(n.Attributes, &common.KeyValue{Key: l, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: l}}})
	}
	return &metrics.Metric{Name: name, Data: &metrics.Metric_Gauge{Gauge: &metrics.Gauge{DataPoints: []*metrics.NumberDataPoint{n}}}}
}

func counterMetric(name string, value float64) *metrics.Metric {
	m := gaugeMetric(name, value)
	m.Data = &metrics.Metric_Sum{Sum: &metrics.Sum{IsMonotonic: true, DataPoints: m.GetGauge().GetDataPoints()}}
	return m
}

// TestNoClientCanBreakAScrape: Prometheus refuses a whole answer in which anything is there
// twice, or of two types, or has a name that it does not take.
func TestNoClientCanBreakAScrape(t *testing.T) {
	p := newPushing(t, 1000, 100)
	p.push(t, gaugeMetric("a.b", 1), gaugeMetric("a_b", 2), gaugeMetric("a-b", 3, "x.y", "x_y", "__name__", "client_id", "le", "1"))
	p.push(t, counterMetric("a.b", 4), gaugeMetric("b.total", 6))
	p.push(t, counterMetric("b", 7), gaugeMetric("varve_requests_total", 8), gaugeMetric("info", 9), gaugeMetric("go_goroutines", 10))
	p.push(t, gaugeMetric("b_total_bucket", 11), counterMetric("client_metrics_instances", 12), gaugeMetric("😀", 13), gaugeMetric("client_info", 14))
	families, err := p.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	types := make(map[string]string)
	for _, f := range families {
		if name := f.GetName(); strings.HasPrefix(name, telemetry.Prefix) {
			types[name] = f.GetType().String()
		} else if !strings.HasPrefix(name, "varve_client_metrics_") {
			t.Errorf("a client pushed %s", name)
		}
	}
	for name, want := range map[string]string{
		"kafka_client_info":                           "GAUGE",
		"kafka_client_a_b":                            "GAUGE",
		"kafka_client_a_b_total":                      "COUNTER",
		"kafka_client_b_total":                        "UNTYPED",
		"kafka_client_b_total_bucket":                 "GAUGE",
		"kafka_client_varve_requests_total":           "GAUGE",
		"kafka_client_go_goroutines":                  "GAUGE",
		"kafka_client_client_info":                    "GAUGE",
		"kafka_client_client_metrics_instances_total": "COUNTER",
	} {
		if got, shown := types[name]; !shown || got != want {
			t.Errorf("%s: shown %v, %s, want %s", name, shown, got, want)
		}
		delete(types, name)
	}
	if len(types) > 0 {
		t.Errorf("shown, too: %v", types)
	}
}

// BenchmarkScrapeOfClients is one of as many series as there can be by default.
func BenchmarkScrapeOfClients(b *testing.B) {
	p := newPushing(b, 50_000, 2000)
	for range 500 {
		all := make([]*metrics.Metric, 100)
		for i := range all {
			all[i] = gaugeMetric(fmt.Sprint("org.apache.kafka.producer.metric.", i), float64(i), "topic", "node_id")
		}
		p.push(b, all...)
	}
	b.ReportAllocs()
	for b.Loop() {
		if families, err := p.registry.Gather(); err != nil || len(families) < 100 {
			b.Fatal(len(families), err)
		}
	}
	b.ReportMetric(float64(p.Stats().Series), "series")
}
