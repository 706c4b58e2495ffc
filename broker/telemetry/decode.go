package telemetry

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// A push is a MetricsData of OpenTelemetry. Its outer levels are walked as they lie, and
// one resource or metric is decoded at a time, of maxMessage bytes at most: two bytes can
// stand for a struct of a hundred.
//
//	MetricsData      1: ResourceMetrics, again and again
//	ResourceMetrics  1: Resource, 2: ScopeMetrics, again and again
//	ScopeMetrics     2: Metric, again and again
const (
	fieldResourceMetrics protowire.Number = 1
	fieldResource        protowire.Number = 1
	fieldScopeMetrics    protowire.Number = 2
	fieldMetric          protowire.Number = 2

	// maxMessage is room for a thousand data points of 256 bytes.
	maxMessage = 256 << 10
)

// point is one value that a client has pushed.
type point struct {
	name    string // as it is exposed
	counter bool   // it only grows, until it begins again
	delta   bool   // to be added to what was pushed before
	labels  []label
	value   float64
}

// attributeMember is of the client and not of its series: it changes when a consumer joins
// its group, and totals of before would stand beside those of after.
const attributeMember = "group_member_id"

// label is an attribute as it came, its value as text.
type label struct{ name, value string }

// decoder collects the points of a push.
type decoder struct {
	most    int // points that are kept
	looked  int // messages that were looked at
	points  []point
	member  string // attributeMember, "" if there is none
	leftOut int    // points beyond most or with too many or too long labels, and messages too large to be looked at
}

// decode reads a push. It returns ErrInvalidRecord for what is no MetricsData.
func decode(push []byte, most int) (*decoder, error) {
	d := &decoder{most: most}
	for resourceMetrics, err := range messages(push, fieldResourceMetrics) {
		if err == nil {
			err = d.resource(resourceMetrics)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalidRecord, err)
		}
	}
	return d, nil
}

// resource reads a ResourceMetrics.
func (d *decoder) resource(b []byte) error {
	var shared []label
	for m, err := range messages(b, fieldResource) {
		var r resource.Resource
		if err == nil && d.fits(m) {
			err = proto.Unmarshal(m, &r)
		}
		if err != nil {
			return err
		}
		shared = appendLabels(shared, r.GetAttributes())
	}
	shared = slices.DeleteFunc(shared, func(l label) bool {
		if l.name == attributeMember {
			d.member = l.value
		}
		return l.name == attributeMember
	})
	for scope, err := range messages(b, fieldScopeMetrics) {
		if err == nil {
			err = d.scope(scope, shared)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// scope reads a ScopeMetrics.
func (d *decoder) scope(b []byte, shared []label) error {
	for m, err := range messages(b, fieldMetric) {
		if err != nil {
			return err
		}
		if !d.fits(m) {
			continue
		}
		var v metrics.Metric
		if err := proto.Unmarshal(m, &v); err != nil {
			return err
		}
		d.metric(&v, shared)
	}
	return nil
}

// fits tells whether a message may be decoded: one of them has a point or more, so beyond
// twice as many as points are kept there is nothing to be found.
func (d *decoder) fits(message []byte) bool {
	d.looked++
	if len(message) > maxMessage || d.looked > 2*d.most {
		d.leftOut++
		return false
	}
	return true
}

// messages yields the messages that b has in a field, as they lie.
func messages(b []byte, field protowire.Number) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for len(b) > 0 {
			number, kind, size := protowire.ConsumeField(b)
			if size < 0 {
				yield(nil, protowire.ParseError(size))
				return
			}
			whole := b[:size]
			b = b[size:]
			if number != field || kind != protowire.BytesType {
				continue
			}
			_, _, tag := protowire.ConsumeTag(whole)
			message, _ := protowire.ConsumeBytes(whole[tag:])
			if !yield(message, nil) {
				return
			}
		}
	}
}

// metric reads the data points of a metric, unless it has no name that can be shown.
// Histograms and summaries become the series that Prometheus makes of them; of an
// exponential histogram count and sum are kept.
func (d *decoder) metric(m *metrics.Metric, shared []label) {
	name := exposedName(m, m.GetSum().GetIsMonotonic())
	if name == "" {
		return
	}
	switch data := m.GetData().(type) {
	case *metrics.Metric_Gauge:
		d.numbers(point{name: name}, data.Gauge.GetDataPoints(), shared)
	case *metrics.Metric_Sum:
		like := point{name: name, counter: data.Sum.GetIsMonotonic(), delta: isDelta(data.Sum.GetAggregationTemporality())}
		d.numbers(like, data.Sum.GetDataPoints(), shared)
	case *metrics.Metric_Histogram:
		delta := isDelta(data.Histogram.GetAggregationTemporality())
		for _, h := range data.Histogram.GetDataPoints() {
			labels := appendLabels(clip(shared), h.GetAttributes())
			d.distribution(name, delta, h.GetCount(), h.GetSum(), labels)
			d.buckets(name, delta, h, labels)
		}
	case *metrics.Metric_ExponentialHistogram:
		delta := isDelta(data.ExponentialHistogram.GetAggregationTemporality())
		for _, h := range data.ExponentialHistogram.GetDataPoints() {
			d.distribution(name, delta, h.GetCount(), h.GetSum(), appendLabels(clip(shared), h.GetAttributes()))
		}
	case *metrics.Metric_Summary:
		for _, s := range data.Summary.GetDataPoints() {
			labels := appendLabels(clip(shared), s.GetAttributes())
			d.distribution(name, false, s.GetCount(), s.GetSum(), labels)
			for _, q := range s.GetQuantileValues() {
				d.add(point{name: name, labels: append(clip(labels), label{"quantile", number(q.GetQuantile())}), value: q.GetValue()})
			}
		}
	}
}

func isDelta(t metrics.AggregationTemporality) bool {
	return t == metrics.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA
}

// numbers adds data points of numbers; like has what they share.
func (d *decoder) numbers(like point, points []*metrics.NumberDataPoint, shared []label) {
	for _, n := range points {
		p := like
		switch v := n.GetValue().(type) {
		case *metrics.NumberDataPoint_AsDouble:
			p.value = v.AsDouble
		case *metrics.NumberDataPoint_AsInt:
			p.value = float64(v.AsInt)
		default:
			continue // no value recorded
		}
		p.labels = appendLabels(clip(shared), n.GetAttributes())
		d.add(p)
	}
}

func (d *decoder) distribution(name string, delta bool, count uint64, sum float64, labels []label) {
	d.add(point{name: name + "_count", counter: true, delta: delta, labels: labels, value: float64(count)})
	d.add(point{name: name + "_sum", counter: true, delta: delta, labels: labels, value: sum})
}

// buckets adds those of a histogram, each with what lies in those below it.
func (d *decoder) buckets(name string, delta bool, h *metrics.HistogramDataPoint, labels []label) {
	var below uint64
	for i, n := range h.GetBucketCounts() {
		bound := math.Inf(1)
		if i < len(h.GetExplicitBounds()) {
			bound = h.GetExplicitBounds()[i]
		}
		below += n
		d.add(point{name: name + "_bucket", counter: true, delta: delta, labels: append(clip(labels), label{"le", number(bound)}), value: float64(below)})
	}
}

func (d *decoder) add(p point) {
	if len(d.points) >= d.most || len(p.labels) > maxLabels || longNames(p.labels) {
		d.leftOut++
		return
	}
	d.points = append(d.points, p)
}

// longNames tells whether no series has room for the names of labels. They are made legible
// for each point, under the lock of all clients: one name of a resource may be a hundred
// times as long as a series.
func longNames(labels []label) bool {
	size := 0
	for _, l := range labels {
		size += len(l.name)
	}
	return size > maxSeries
}

// appendLabels appends attributes whose values are text, numbers or truth values, until
// there are more labels than a series may have: they are copied to every point.
func appendLabels(labels []label, attributes []*common.KeyValue) []label {
	for _, a := range attributes[:min(len(attributes), max(0, maxLabels+1-len(labels)))] {
		var text string
		switch v := a.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			text = v.StringValue
		case *common.AnyValue_IntValue:
			text = strconv.FormatInt(v.IntValue, 10)
		case *common.AnyValue_DoubleValue:
			text = number(v.DoubleValue)
		case *common.AnyValue_BoolValue:
			text = strconv.FormatBool(v.BoolValue)
		}
		labels = append(labels, label{a.GetKey(), text})
	}
	return labels
}

// number is a number as Prometheus writes it in labels.
func number(v float64) string {
	if math.IsInf(v, 1) {
		return "+Inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// clip makes appends to labels copy them.
func clip(labels []label) []label { return labels[:len(labels):len(labels)] }
