package config

import (
	"errors"
	"strings"
	"testing"
)

func TestSubscriptionsToClientsMetricsAreChecked(t *testing.T) { // KIP-714
	for _, c := range []struct {
		key, value string
		sentence   string // none: taken
		interval   bool   // a *PushIntervalError
	}{
		{"metrics", "*", "", false},
		{"metrics", "org.apache.kafka.producer.,org.apache.kafka.consumer.coordinator.rebalance.latency.max", "", false},
		{"interval.ms", "100", "", false},
		{"interval.ms", "3600000", "", false},
		{"interval.ms", "99", "between 100 and 3600000", true},
		{"interval.ms", "3600001", "between 100 and 3600000", true},
		{"interval.ms", "-1", "between 100 and 3600000", true},
		{"interval.ms", "soon", "Not a number", false},
		{"match", "client_software_name=apache-kafka-java, client_software_version = 11\\.1.*", "", false},
		{"match", "", "", false},
		{"match", "client_id", "Illegal client matching pattern: client_id", false},
		{"match", "client_id=", "Illegal", false},
		{"match", "client_id=a=b", "Illegal", false},
		{"match", "group_id=a", "Illegal", false},
		{"match", "client_id=[", "Illegal", false},
		{"match", "client_id=" + strings.Repeat("a", maxMatch), "", false},
		{"match", "client_id=" + strings.Repeat("a", maxMatch+1), "Illegal", false},
		{"match", "client_id=" + strings.Repeat("a|b|", 5000), "", false},
		{"match", "client_id=" + strings.Repeat(".{1000}", 1000), "Illegal", false}, // 40 MB, were it compiled
	} {
		err := CheckClientMetrics(map[string]string{c.key: c.value})
		var interval *PushIntervalError
		switch {
		case c.sentence == "" && err != nil:
			t.Errorf("%s=%s: %v", c.key, c.value, err)
		case c.sentence != "" && (err == nil || !strings.Contains(err.Error(), c.sentence)):
			t.Errorf("%s=%s: got %v, want %q", c.key, c.value, err, c.sentence)
		case errors.As(err, &interval) != c.interval || err != nil && !c.interval && !errors.Is(err, ErrInvalid):
			t.Errorf("%s=%s: %v is of another kind", c.key, c.value, err)
		}
	}
}
