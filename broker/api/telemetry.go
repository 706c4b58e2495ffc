package api

import (
	"cmp"
	"context"
	"net"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/telemetry"
)

// Clients ask what metrics they are to push, and push them (KIP-714).

func (s *Server) receivesMetrics() bool { return s.Telemetry != nil }

func (s *Server) getTelemetrySubscriptions(c *call, q *kmsg.GetTelemetrySubscriptionsRequest) *kmsg.GetTelemetrySubscriptionsResponse {
	p := q.ResponseKind().(*kmsg.GetTelemetrySubscriptionsResponse)
	id, subscription, err := s.Telemetry.Get(s.Now(), telemetryClient(c, q.ClientInstanceID))
	if p.ErrorCode = code(err); err != nil {
		return p
	}
	p.ClientInstanceID, p.SubscriptionID = id, subscription.ID
	p.AcceptedCompressionTypes = telemetry.Codecs
	p.PushIntervalMillis = int32(subscription.Interval.Milliseconds())
	p.TelemetryMaxBytes = int32(s.Config().ClientMetrics.MaxBytes)
	p.RequestedMetrics = subscription.Metrics
	return p // values are cumulative, DeltaTemporality false: telemetry says why
}

func (s *Server) pushTelemetry(ctx context.Context, c *call, q *kmsg.PushTelemetryRequest) *kmsg.PushTelemetryResponse {
	p := q.ResponseKind().(*kmsg.PushTelemetryResponse)
	err := s.Telemetry.Push(ctx, s.Now(), telemetryClient(c, q.ClientInstanceID), telemetry.Push{
		SubscriptionID: q.SubscriptionID, Terminating: q.Terminating, Codec: q.CompressionType, Metrics: q.Metrics,
	})
	p.ErrorCode = code(err)
	return p
}

// unknownSoftware is what a client is called that has not said what it is, as in Kafka.
const unknownSoftware = "unknown"

// telemetryClient is the client of a request.
func telemetryClient(c *call, id [16]byte) telemetry.Client {
	name, version := c.Conn.Software()
	host, port, err := net.SplitHostPort(c.Conn.Remote.String())
	if err != nil {
		host, port = c.Conn.Remote.String(), "" // no socket of TCP
	}
	return telemetry.Client{
		InstanceID: id, ClientID: c.ClientID,
		Software: cmp.Or(name, unknownSoftware), Version: cmp.Or(version, unknownSoftware),
		Address: host, Port: port,
	}
}
