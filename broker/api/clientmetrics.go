package api

import (
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varvelog/varve/broker/config"
)

// Subscriptions to clients' metrics are configs of their own kind of resource (KIP-714).
// Nothing here receives metrics, and as of Apache Kafka without a receiver clients are
// offered no API to send them by. So there are no subscriptions, and none can be made.

// alterClientMetrics refuses what would make a subscription; there is none to remove.
func alterClientMetrics(name string, next change) error {
	if err := checkClientMetrics(name); err != nil {
		return err
	}
	configs, err := next(nil)
	if err != nil {
		return err
	}
	if len(configs) > 0 {
		return refuse(kerr.InvalidRequest, "This broker receives no metrics of clients, so nobody can subscribe to them.")
	}
	return nil
}

func checkClientMetrics(name string) error {
	if name == "" {
		return refuse(kerr.InvalidRequest, "Default client metrics resources are not allowed.")
	}
	return nil
}

// sets returns the configs that ops set or append to.
func sets(ops []config.Op) map[string]string {
	configs := make(map[string]string)
	for _, op := range ops {
		if op.Type != config.Delete && op.Type != config.Subtract && op.Value != nil {
			configs[op.Name] = *op.Value
		}
	}
	return configs
}
