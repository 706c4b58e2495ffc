package broker

import (
	"context"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/broker/telemetry"
)

// What clients push about themselves (KIP-714) is shown with the broker's own metrics.

// newTelemetry returns nil where clients' metrics are not received.
func newTelemetry(c *config.Broker) *telemetry.Receiver {
	if !c.ReceivesMetrics() {
		return nil
	}
	return telemetry.New(telemetry.Options{
		MaxBytes: c.ClientMetrics.MaxBytes, MaxSeries: c.ClientMetrics.MaxSeries, MaxSeriesPerClient: c.ClientMetrics.MaxSeriesPerClient,
		Retention: c.ClientMetrics.Retention,
		NewID:     func() telemetry.ID { return telemetry.ID(uuid.New()) },
	})
}

// subscribe has the receiver go by the subscriptions of an image.
func (b *Broker) subscribe(image *cluster.Image) {
	if b.telemetry == nil {
		return
	}
	var all []config.Subscription
	for _, name := range image.MetricsSubscriptions() {
		s, err := config.ParseSubscription(image.MetricsConfigs(name))
		if err != nil { // stored by a broker that takes more than this one
			b.Log.Error("a stored subscription to clients' metrics does not hold and is left out", zap.String("subscription", name), zap.Error(err))
			continue
		}
		all = append(all, s)
	}
	b.telemetry.SetSubscriptions(all)
}

func (b *Broker) expireClientMetrics(context.Context) {
	if b.telemetry != nil {
		b.telemetry.Expire(b.Now())
	}
}

var telemetryMetrics = []gauge[telemetry.Stats]{
	{desc("client_metrics_instances", "Client instances that are known, whether they push or not."), prometheus.GaugeValue, func(s *telemetry.Stats) int64 { return s.Clients }},
	{desc("client_metrics_series", "Series that clients have pushed and that are shown."), prometheus.GaugeValue, func(s *telemetry.Stats) int64 { return s.Series }},
	{desc("client_metrics_pushes_total", "Pushes of clients' metrics that were taken."), prometheus.CounterValue, func(s *telemetry.Stats) int64 { return s.Pushes }},
	{desc("client_metrics_push_bytes_total", "Bytes of those pushes, as they came."), prometheus.CounterValue, func(s *telemetry.Stats) int64 { return s.Bytes }},
	{desc("client_metrics_left_out_total", "Data points and metrics of those pushes that are not shown, since a limit was reached."), prometheus.CounterValue, func(s *telemetry.Stats) int64 { return s.LeftOut }},
}

var telemetryRefused = desc("client_metrics_refused_total", "Requests of clients about their metrics that were refused, by reason.", "reason")

// clientCollector turns what clients have pushed into metrics. Their names are not known
// before a scrape, so it describes none.
type clientCollector struct{ *telemetry.Receiver }

// Describe implements prometheus.Collector.
func (c clientCollector) Describe(chan<- *prometheus.Desc) {}

// clientHelp is the help of all metrics of clients: it must be the same for all of a name,
// and several of a client's names may be shown as one.
const clientHelp = "Pushed by clients (KIP-714)."

var valueTypes = map[telemetry.Kind]prometheus.ValueType{
	telemetry.Gauge: prometheus.GaugeValue, telemetry.Counter: prometheus.CounterValue, telemetry.Untyped: prometheus.UntypedValue,
}

// Collect implements prometheus.Collector.
func (c clientCollector) Collect(ch chan<- prometheus.Metric) {
	stats := c.Stats()
	for _, m := range telemetryMetrics {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(m.value(&stats)))
	}
	stats.EachRefusal(func(reason string, count int64) {
		ch <- prometheus.MustNewConstMetric(telemetryRefused, prometheus.CounterValue, float64(count), reason)
	})
	for _, s := range c.Samples() {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(s.Name, clientHelp, s.Labels, nil), valueTypes[s.Kind], s.Value, s.Values...)
	}
}
