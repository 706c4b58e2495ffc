package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varvelog/varve/broker/config"
)

// Subscriptions to clients' metrics are configs of their own kind of resource (KIP-714).
// They are stored and described here; telemetry.go has what clients ask and push by them,
// where that is switched on.

// alteredClientMetrics makes new configs of a subscription's old ones. As in Kafka, its
// lists are replaced and not appended to.
func alteredClientMetrics(old map[string]string, ops []config.Op) (map[string]string, error) {
	for _, op := range ops {
		if op.Type == config.Append || op.Type == config.Subtract {
			return nil, refuse(kerr.InvalidConfig, fmt.Sprintf("Can't append to, or subtract from, key %s: its type is not LIST.", op.Name))
		}
		if err := checkClientMetricsKey(op.Name); err != nil && op.Type != config.Delete {
			return nil, err
		}
	}
	return config.AlterClientMetrics(old, ops)
}

func (s *Server) alterClientMetrics(ctx context.Context, name string, validateOnly bool, next change) error {
	if err := checkClientMetrics(name); err != nil {
		return err
	}
	old := s.Store.Image().MetricsConfigs(name)
	configs, err := next(old)
	if err != nil {
		return err
	}
	if err := checkSubscription(configs); err != nil || validateOnly {
		return err
	}
	return s.Store.SetMetricsConfigs(ctx, clone(name), old, configs)
}

// checkSubscription checks the configs of a subscription with the codes of Kafka.
func checkSubscription(configs map[string]string) error {
	for key := range configs {
		if err := checkClientMetricsKey(key); err != nil {
			return err
		}
	}
	err := config.CheckClientMetrics(configs)
	var interval *config.PushIntervalError
	if errors.As(err, &interval) {
		return refuse(kerr.InvalidRequest, interval.Error())
	}
	return err
}

func checkClientMetricsKey(name string) error {
	if !config.IsClientMetricsKey(name) {
		return refuse(kerr.InvalidRequest, "Unknown client metrics configuration: "+name)
	}
	return nil
}

// maxSubscription keeps the key of a subscription in the metadata short, in bytes.
const maxSubscription = 1 << 10

func checkClientMetrics(name string) error {
	switch {
	case name == "":
		return refuse(kerr.InvalidRequest, "Default client metrics resources are not allowed.")
	case len(name) > maxSubscription:
		return refuse(kerr.InvalidRequest, "The name of a subscription to clients' metrics can't be longer than 1024 bytes.")
	}
	return nil
}
