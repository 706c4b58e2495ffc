package telemetry

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/proto"
)

// encoded is a push of metrics, whose resource has no attributes.
func encoded(t testing.TB, m ...*metrics.Metric) []byte { return encodedOf(t, nil, m...) }

// encodedOf is a push of metrics of a resource.
func encodedOf(t testing.TB, attributes []*common.KeyValue, m ...*metrics.Metric) []byte {
	t.Helper()
	b, err := proto.Marshal(&metrics.MetricsData{ResourceMetrics: []*metrics.ResourceMetrics{{
		Resource:     &resource.Resource{Attributes: attributes},
		ScopeMetrics: []*metrics.ScopeMetrics{{Scope: &common.InstrumentationScope{Name: "scope"}, Metrics: m}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// attributes makes them of names and values.
func attributes(pairs ...string) (all []*common.KeyValue) {
	for pair := range slices.Chunk(pairs, 2) {
		all = append(all, &common.KeyValue{Key: pair[0], Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: pair[1]}}})
	}
	return all
}

func double(v float64, pairs ...string) *metrics.NumberDataPoint {
	return &metrics.NumberDataPoint{Value: &metrics.NumberDataPoint_AsDouble{AsDouble: v}, Attributes: attributes(pairs...)}
}

func gaugeOf(name string, v float64, pairs ...string) *metrics.Metric {
	return &metrics.Metric{Name: name, Data: &metrics.Metric_Gauge{Gauge: &metrics.Gauge{DataPoints: []*metrics.NumberDataPoint{double(v, pairs...)}}}}
}

func sumOf(name string, monotonic bool, temporality metrics.AggregationTemporality, v float64) *metrics.Metric {
	return &metrics.Metric{Name: name, Data: &metrics.Metric_Sum{Sum: &metrics.Sum{
		IsMonotonic: monotonic, AggregationTemporality: temporality, DataPoints: []*metrics.NumberDataPoint{double(v)},
	}}}
}

// want compares the samples with lines of "name{label="value",...} value kind", in any
// order; what tells of the client itself is left out.
func want(t testing.TB, r *Receiver, lines ...string) {
	t.Helper()
	var got []string
	for _, s := range r.Samples() {
		if s.Name != infoName {
			got = append(got, s.String())
		}
	}
	slices.Sort(got)
	slices.Sort(lines)
	if !slices.Equal(got, lines) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(lines, "\n"))
	}
}

func (s Sample) String() string {
	var labels []string
	for i := range s.Labels {
		labels = append(labels, fmt.Sprintf("%s=%q", s.Labels[i], s.Values[i]))
	}
	return fmt.Sprintf("%s{%s} %v %s", s.Name, strings.Join(labels, ","), s.Value, [...]string{"gauge", "counter", "untyped"}[s.Kind])
}
