package telemetry

import (
	"errors"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"

	"github.com/varvelog/varve/segment/batch"
)

const (
	delta      = metrics.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA
	cumulative = metrics.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE
)

func TestMetricsAreNamedAsByOpenTelemetry(t *testing.T) {
	for _, c := range []struct {
		name, unit string
		counter    bool
		want       string
	}{
		{"org.apache.kafka.producer.record.send.rate", "", false, "kafka_client_producer_record_send_rate"},
		{"org.apache.kafka.producer.record.send.total", "", true, "kafka_client_producer_record_send_total"},
		{"org.apache.kafka.producer.connection.creation", "", true, "kafka_client_producer_connection_creation_total"},
		// A metric of Kafka's has one name, whether its client tells the unit or not.
		{"org.apache.kafka.producer.node.request.latency.avg", "ms", false, "kafka_client_producer_node_request_latency_avg"},
		{"org.apache.kafka.consumer.connection.creation.rate", "1", false, "kafka_client_consumer_connection_creation_rate"},
		{"app.orders.latency", "ms", false, "kafka_client_app_orders_latency_milliseconds"},
		{"app.orders.seconds", "s", true, "kafka_client_app_orders_seconds_total"},
		{"app.orders.total", "By", true, "kafka_client_app_orders_bytes_total"},
		{"app.speed", "m/s", false, "kafka_client_app_speed_m_per_s"},
		{"app.orders", "{orders}", false, "kafka_client_app_orders"},
		{"app.share", "1", false, "kafka_client_app_share"},
		{"a..b--c/", "", false, "kafka_client_a_b_c"},
		{"größe", "", false, "kafka_client_gr_e"},
		{"varve_requests_total", "", false, "kafka_client_varve_requests_total"},
		{"", "", false, ""},
		{"org.apache.kafka.", "", true, ""},
		{"_._", "", false, ""},
		{"info", "", false, ""}, // tells of the client
		{"org.apache.kafka.info", "", false, ""},
		{strings.Repeat("a", maxSeries+1), "", false, ""},
	} {
		if got := exposedName(&metrics.Metric{Name: c.name, Unit: c.unit}, c.counter); got != c.want {
			t.Errorf("%.50s in %q: %s, want %s", c.name, c.unit, got, c.want)
		}
	}
}

func TestLabelsAreTheClientsThenThePointsThenTheResources(t *testing.T) {
	p := pushed{newReceiver(t, Options{}, every), start}
	c := Client{InstanceID: numbered(1), ClientID: "mine\xFF", Software: "apache-kafka-java", Version: "4.3.0", Address: "10.0.0.1"}
	p.now = p.now.Add(time.Second)
	push := Push{SubscriptionID: subscriptionID(c.InstanceID, []string{"*"}, time.Second), Metrics: encodedOf(t,
		attributes("group_id", "g", "group_member_id", "member", "client_id", "another", "topic", "of the resource", "empty", ""),
		gaugeOf("m", 1, "topic", "t", "node.id", "n", "9", "nine", "__name__", "x"))}
	if err := p.Push(t.Context(), p.now, c, push); err != nil {
		t.Fatal(err)
	}
	want(t, p.Receiver, `kafka_client_m{client_id="mine",client_instance_id="AAAAAAAAAAEAAAAAAAAAAA",client_software_name="apache-kafka-java",client_software_version="4.3.0",group_id="g",key_9="nine",name="x",node_id="n",topic="t"} 1 gauge`)
	for _, s := range p.Samples() {
		if s.Name == infoName && s.String() != `kafka_client_info{client_id="mine",client_instance_id="AAAAAAAAAAEAAAAAAAAAAA",client_software_name="apache-kafka-java",client_software_version="4.3.0",client_source_address="10.0.0.1",group_member_id="member"} 1 gauge` {
			t.Error(s)
		}
	}
}

func TestEveryKindOfMetricIsShown(t *testing.T) {
	p := pushed{newReceiver(t, Options{}, every), start}
	c := Client{InstanceID: numbered(1)}
	histogram := func(temporality metrics.AggregationTemporality) *metrics.Metric {
		sum := 7.5
		return &metrics.Metric{Name: "h", Data: &metrics.Metric_Histogram{Histogram: &metrics.Histogram{
			AggregationTemporality: temporality,
			DataPoints:             []*metrics.HistogramDataPoint{{Count: 6, Sum: &sum, ExplicitBounds: []float64{1, 2.5}, BucketCounts: []uint64{1, 2, 3}, Attributes: attributes("le", "x")}},
		}}}
	}
	exponential := &metrics.Metric{Name: "e", Data: &metrics.Metric_ExponentialHistogram{ExponentialHistogram: &metrics.ExponentialHistogram{
		AggregationTemporality: cumulative, DataPoints: []*metrics.ExponentialHistogramDataPoint{{Count: 3}},
	}}}
	summary := &metrics.Metric{Name: "q", Data: &metrics.Metric_Summary{Summary: &metrics.Summary{
		DataPoints: []*metrics.SummaryDataPoint{{Count: 2, Sum: 3, QuantileValues: []*metrics.SummaryDataPoint_ValueAtQuantile{{Quantile: 0.5, Value: 1}}}},
	}}}
	integer := &metrics.Metric{Name: "i", Data: &metrics.Metric_Gauge{Gauge: &metrics.Gauge{DataPoints: []*metrics.NumberDataPoint{
		{Value: &metrics.NumberDataPoint_AsInt{AsInt: -4}}, {Attributes: attributes("without", "value")},
	}}}}
	all := []*metrics.Metric{
		integer, histogram(delta), exponential, summary,
		sumOf("d", true, delta, 2), sumOf("c", true, cumulative, 2), sumOf("ud", false, delta, -2), sumOf("uc", false, cumulative, -2),
		{Name: "nothing"},
	}
	p.by(t, c, all...)
	p.by(t, c, all...)
	const id = `client_instance_id="AAAAAAAAAAEAAAAAAAAAAA"`
	want(t, p.Receiver,
		`kafka_client_i{`+id+`} -4 gauge`,
		`kafka_client_d_total{`+id+`} 4 counter`,
		`kafka_client_c_total{`+id+`} 2 counter`,
		`kafka_client_ud{`+id+`} -4 gauge`,
		`kafka_client_uc{`+id+`} -2 gauge`,
		`kafka_client_h_count{`+id+`,le="x"} 12 counter`,
		`kafka_client_h_sum{`+id+`,le="x"} 15 counter`,
		`kafka_client_h_bucket{`+id+`,le="1"} 2 counter`,
		`kafka_client_h_bucket{`+id+`,le="2.5"} 6 counter`,
		`kafka_client_h_bucket{`+id+`,le="+Inf"} 12 counter`,
		`kafka_client_e_count{`+id+`} 3 counter`,
		`kafka_client_e_sum{`+id+`} 0 counter`,
		`kafka_client_q{`+id+`,quantile="0.5"} 1 gauge`,
		`kafka_client_q_count{`+id+`} 2 counter`,
		`kafka_client_q_sum{`+id+`} 3 counter`,
	)
}

func TestADeltaThatIsNoneIsNotAdded(t *testing.T) {
	p := pushed{newReceiver(t, Options{}, every), start}
	for _, v := range []float64{3, math.NaN(), math.Inf(1), -1, 4} {
		p.by(t, Client{InstanceID: numbered(1)}, sumOf("d", true, delta, v))
	}
	want(t, p.Receiver, `kafka_client_d_total{client_instance_id="AAAAAAAAAAEAAAAAAAAAAA"} 7 counter`)
}

func TestClientsThatDoNotAgreeOnATypeHaveNone(t *testing.T) {
	p := pushed{newReceiver(t, Options{}, every), start}
	p.by(t, Client{InstanceID: numbered(1)}, sumOf("m", true, cumulative, 1))
	p.by(t, Client{InstanceID: numbered(2)}, gaugeOf("m.total", 2))
	want(t, p.Receiver,
		`kafka_client_m_total{client_instance_id="AAAAAAAAAAEAAAAAAAAAAA"} 1 untyped`,
		`kafka_client_m_total{client_instance_id="AAAAAAAAAAIAAAAAAAAAAA"} 2 untyped`)
}

func TestSeriesThatAreTooLongAreLeftOut(t *testing.T) {
	p := pushed{newReceiver(t, Options{}, every), start}
	long := strings.Repeat("ö", 300)
	var many, wide []string
	for i := range maxLabels + 1 {
		many = append(many, "k"+strings.Repeat("x", i), "v")
		if i < 5 {
			wide = append(wide, "w"+strings.Repeat("x", i), long)
		}
	}
	p.by(t, Client{InstanceID: numbered(1)}, gaugeOf("cut", 1, "k", long), gaugeOf("many", 1, many...), gaugeOf("wide", 1, wide...))
	want(t, p.Receiver, `kafka_client_cut{client_instance_id="AAAAAAAAAAEAAAAAAAAAAA",k="`+strings.Repeat("ö", maxLabelValue/2)+`"} 1 gauge`)
	if s := p.Stats(); s.LeftOut != 2 {
		t.Errorf("%+v", s)
	}
}

// TestNamesThatNoSeriesHoldsAreLeftOutBeforeTheyAreRead: each point was named under the lock
// of all clients, and a name of the resource that they share may have 256 KiB.
func TestNamesThatNoSeriesHoldsAreLeftOutBeforeTheyAreRead(t *testing.T) {
	long := strings.Repeat("n", maxSeries+1)
	for what, push := range map[string][]byte{
		"of the resource": encodedOf(t, attributes(long, "v"), gaugeOf("a", 1), gaugeOf("b", 1)),
		"of the points":   encoded(t, gaugeOf("a", 1, long, "v"), gaugeOf("b", 1, long[:600], "v", long[:500], "v")),
	} {
		d, err := decode(push, 10)
		if err != nil || len(d.points) != 0 || d.leftOut != 2 {
			t.Errorf("%s: %d points, %d left out: %v", what, len(d.points), d.leftOut, err)
		}
	}
}

func TestWhatIsNoPushIsRefusedWhole(t *testing.T) {
	good := encoded(t, gaugeOf("m", 1), gaugeOf("n", 2))
	notUTF8 := encoded(t, gaugeOf("mm", 1))
	notUTF8[strings.Index(string(notUTF8), "mm")] = 0xFF
	for name, b := range map[string][]byte{
		"cut short": good[:len(good)-1], "no field": {0}, "bytes after it": append(good[:len(good):len(good)], 0xFF), "a name that is no text": notUTF8,
	} {
		r := newReceiver(t, Options{}, every)
		p := Push{SubscriptionID: subscriptionID(kafkasID, []string{"*"}, time.Second), Metrics: b}
		if err := r.Push(t.Context(), start, Client{InstanceID: kafkasID}, p); !errors.Is(err, ErrInvalidRecord) {
			t.Errorf("%s: %v", name, err)
		}
		if s := r.Stats(); s.Series != 0 || s.Pushes != 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// FuzzPush pushes any bytes by any codec, twice. Whatever they are, what is shown can be
// shown: each series once, of a name and labels that Prometheus takes, within the bounds.
func FuzzPush(f *testing.F) {
	list := &common.AnyValue{Value: &common.AnyValue_ArrayValue{}}
	seed := encodedOf(f, append(attributes("group_id", "g"), &common.KeyValue{Key: "list", Value: list}),
		gaugeOf("org.apache.kafka.producer.record.send.rate", 1.5, "topic", "t", "topic", "u"), sumOf("s", true, delta, 2), sumOf("s.total", false, cumulative, 3),
		&metrics.Metric{Name: "h", Data: &metrics.Metric_Histogram{Histogram: &metrics.Histogram{DataPoints: []*metrics.HistogramDataPoint{{Count: 1, BucketCounts: []uint64{1, 0}, ExplicitBounds: []float64{1}}}}}},
		&metrics.Metric{Name: "q", Data: &metrics.Metric_Summary{Summary: &metrics.Summary{DataPoints: []*metrics.SummaryDataPoint{{QuantileValues: []*metrics.SummaryDataPoint_ValueAtQuantile{{Quantile: 0.5, Value: 1}}}}}}},
	)
	f.Add(seed, int8(batch.None))
	f.Add(seed[:len(seed)/2], int8(batch.None))
	f.Add([]byte{}, int8(batch.Zstd))
	f.Fuzz(func(t *testing.T, b []byte, codec int8) {
		r := newReceiver(t, Options{MaxBytes: 1 << 12, MaxSeriesPerClient: 50}, every)
		p := Push{SubscriptionID: subscriptionID(kafkasID, []string{"*"}, time.Second), Codec: codec, Metrics: b}
		for i := range 2 {
			_ = r.Push(t.Context(), start.Add(time.Duration(i)*time.Second), Client{InstanceID: kafkasID, ClientID: "c"}, p) // refused or not
		}
		shown(t, r)
		if s := r.Stats(); s.Series > 50 {
			t.Errorf("%d series", s.Series)
		}
	})
}

var (
	goodName  = regexp.MustCompile(`\Akafka_client_[a-zA-Z0-9_]+\z`)
	goodLabel = regexp.MustCompile(`\A[a-zA-Z][a-zA-Z0-9_]*\z`)
)

// shown checks that what a receiver has can be shown.
func shown(t *testing.T, r *Receiver) {
	t.Helper()
	seen, kinds := make(map[string]bool), make(map[string]Kind)
	for _, s := range r.Samples() {
		kind, known := kinds[s.Name]
		kinds[s.Name] = s.Kind
		if !goodName.MatchString(s.Name) || known && kind != s.Kind {
			t.Errorf("%s has a name or type that cannot be shown", s)
		}
		s.Value = 0
		if line := s.String(); seen[line] {
			t.Errorf("%s is there twice", s)
		} else {
			seen[line] = true
		}
		size := len(s.Name)
		for i, l := range s.Labels {
			if !goodLabel.MatchString(l) || i > 0 && l <= s.Labels[i-1] || !utf8.ValidString(s.Values[i]) || s.Values[i] == "" {
				t.Errorf("%s has a label that cannot be shown", s)
			}
			size += len(l) + len(s.Values[i])
		}
		if size > maxSeries {
			t.Errorf("%s has %d bytes", s, size)
		}
	}
}
