package telemetry

import (
	"slices"
	"testing"
	"time"

	"github.com/varvelog/varve/broker/config"
)

// kafkasID is an id whose subscription ids were computed by Apache Kafka 4.3's classes.
var kafkasID = ID{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x01}

func TestSubscriptionIDIsKafkas(t *testing.T) { // KIP-714
	if got, want := kafkasID.String(), "ASNFZ4mrze_-3LqYdlQyAQ"; got != want {
		t.Errorf("id %s, want %s", got, want)
	}
	for _, c := range []struct {
		metrics  []string
		interval time.Duration
		want     int32
	}{
		{[]string{"*"}, 5 * time.Minute, 1012207410},
		{[]string{"org.apache.kafka.producer."}, time.Second, 690914664},
		{nil, 5 * time.Minute, -725132337},
	} {
		if got := subscriptionID(kafkasID, c.metrics, c.interval); got != c.want {
			t.Errorf("%v every %v: %d, want %d", c.metrics, c.interval, got, c.want)
		}
	}
}

// parsed makes subscriptions of their configs.
func parsed(t testing.TB, configs ...map[string]string) []config.Subscription {
	t.Helper()
	var all []config.Subscription
	for _, c := range configs {
		s, err := config.ParseSubscription(c)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

func TestAClientIsSubscribedToAllThatMatchesIt(t *testing.T) { // KIP-714
	client := Client{InstanceID: kafkasID, ClientID: "orders-7", Software: "apache-kafka-java", Version: "4.3.0", Address: "10.0.0.1", Port: "4711"}
	subscription := func(metrics, interval, match string) map[string]string {
		return map[string]string{"metrics": metrics, "interval.ms": interval, "match": match}
	}
	for _, c := range []struct {
		name     string
		configs  []map[string]string
		metrics  []string
		interval time.Duration
	}{
		{"of none", nil, nil, 5 * time.Minute},
		{"the default interval", []map[string]string{{"metrics": "a."}}, []string{"a."}, 5 * time.Minute},
		{"of several, each metric once, by the shortest interval", []map[string]string{subscription("b.,a.", "60000", ""), subscription("a.,c.", "1000", "")}, []string{"a.", "b.", "c."}, time.Second},
		{"never longer than the default", []map[string]string{subscription("a.", "3600000", "")}, []string{"a."}, 5 * time.Minute},
		{"of all there are", []map[string]string{subscription("a.", "60000", ""), subscription("*", "90000", "")}, []string{"*"}, time.Minute},
		{"of no metric, but with an interval", []map[string]string{subscription("", "1000", "")}, nil, time.Second},
		{"by instance", []map[string]string{subscription("a.", "1000", "client_instance_id=ASNFZ4mrze_-3LqYdlQyAQ")}, []string{"a."}, time.Second},
		{"by client id", []map[string]string{subscription("a.", "1000", "client_id=orders-[0-9]+")}, []string{"a."}, time.Second},
		{"by a part of the client id", []map[string]string{subscription("a.", "1000", "client_id=orders")}, nil, 5 * time.Minute},
		{"by software", []map[string]string{subscription("a.", "1000", `client_software_name=apache-.*,client_software_version=4\..*`)}, []string{"a."}, time.Second},
		{"by all patterns at once", []map[string]string{subscription("a.", "1000", "client_software_name=apache-.*,client_id=payments.*")}, nil, 5 * time.Minute},
		{"by address", []map[string]string{subscription("a.", "1000", `client_source_address=10\.0\.0\..*,client_source_port=4711`)}, []string{"a."}, time.Second},
	} {
		got := subscribe(&client, parsed(t, c.configs...))
		if !slices.Equal(got.Metrics, c.metrics) || got.Interval != c.interval || got.ID != subscriptionID(kafkasID, c.metrics, c.interval) {
			t.Errorf("%s: %v every %v, want %v every %v", c.name, got.Metrics, got.Interval, c.metrics, c.interval)
		}
	}
	anonymous := Client{InstanceID: kafkasID}
	if got := subscribe(&anonymous, parsed(t, subscription("a.", "1000", "client_id=.*"))); len(got.Metrics) != 0 {
		t.Errorf("without a client id: %v", got.Metrics)
	}
}
