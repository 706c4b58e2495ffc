//go:build interop

package interop

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// What clients push about themselves (KIP-714), at the broker's page of metrics.

// clientLimit bounds the wait for clients that are started all at once.
const clientLimit = 3 * testLimit

// metricOf is the value of a client's metric that has labels, each as it stands on the page.
func metricOf(b *harness.Broker, name, client string, labels ...string) (float64, error) {
	page, err := b.HTTPGet("/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(page)) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		labels := append(labels, "client_id="+strconv.Quote(client), "client_instance_id=")
		if !strings.HasPrefix(series, name+"{") || slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(series, l) }) {
			continue
		}
		return strconv.ParseFloat(value, 64)
	}
	return 0, fmt.Errorf("no %s of %s in %d bytes", name, client, len(page))
}

// TestMetricsOfClientsAreShownUntilTheyLeave: with one kafka-client-metrics.sh the metrics
// of Java's clients, librdkafka and franz-go are at the page of metrics, their totals grow,
// and they are gone after the clients.
func TestMetricsOfClientsAreShownUntilTheyLeave(t *testing.T) {
	t.Parallel()
	b := harness.StartBroker(t, "varve.client.metrics.retention.ms=3000")
	createOn(t, b.Address, "metered", 1)
	harness.Until(t, testLimit, "leader", func() error { return led(t, b.Address, "metered") })
	altered := harness.Kafka(t, "", metricsCommand, "--bootstrap-server", b.Address, "--alter", "--generate-name",
		"--metrics", "org.apache.kafka.producer.,org.apache.kafka.consumer.", "--interval", "1000")
	if !strings.Contains(altered, "Altered client metrics config for") {
		t.Error(altered)
	}

	python := harness.Need(t, filepath.Join(harness.Tools(t), "python", "bin", "python3"))
	running := []*harness.Process{
		harness.KafkaProcess(t, "", "org.apache.kafka.tools.VerifiableProducer", "--bootstrap-server", b.Address, "--topic", "metered", "--throughput", "20"),
		harness.KafkaProcess(t, "", harness.ConsoleConsumer, "--bootstrap-server", b.Address, "--topic", "metered", "--group", "readers"),
		harness.StartProcess(t, "librdkafka", exec.Command(python, "testdata/clientmetrics.py", b.Address, "librdkafka", "metered")),
	}
	franz, err := kgo.NewClient(kgo.SeedBrokers(b.Address), kgo.ClientID("franz"))
	if err != nil {
		t.Fatal(err)
	}
	defer franz.Close()
	if err := franz.ProduceSync(within(t), &kgo.Record{Topic: "metered", Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}

	for _, m := range []struct {
		name, client string
		labels       []string
	}{
		{"kafka_client_producer_record_send_total", "producer-1", []string{`client_software_name="apache-kafka-java"`, `client_software_version="4.3.0"`}},
		{"kafka_client_producer_topic_record_send_total", "producer-1", []string{`topic="metered"`}},
		{"kafka_client_consumer_fetch_manager_records_consumed_total", "console-consumer", []string{`group_id="readers"`, `topic="metered"`}},
		{"kafka_client_producer_connection_creation_total", "librdkafka", []string{`client_software_name="confluent-kafka-python"`}},
		{"kafka_client_producer_request_latency_avg", "librdkafka", nil},
		{"kafka_client_producer_connection_creation_total", "franz", nil},
		{"kafka_client_info", "producer-1", []string{`client_source_address="127.0.0.1"`}},
	} {
		harness.Until(t, clientLimit, m.name+" of "+m.client, func() error {
			switch v, err := metricOf(b, m.name, m.client, m.labels...); {
			case err != nil:
				return err
			case !(v > 0):
				return fmt.Errorf("it is %v", v)
			}
			return nil
		})
	}
	const sent = "kafka_client_producer_record_send_total"
	var before float64
	harness.Until(t, clientLimit, sent, func() (err error) {
		before, err = metricOf(b, sent, "producer-1") // gone while a client is slow to push
		return err
	})
	harness.Until(t, clientLimit, "growth", func() error {
		if now, err := metricOf(b, sent, "producer-1"); err != nil || now <= before {
			return fmt.Errorf("%v after %v: %w", now, before, err)
		}
		return nil
	})
	page, err := b.HTTPGet("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for _, zero := range []string{"invalid_record", "invalid_request", "unsupported_compression", "too_large"} {
		if line := `varve_client_metrics_refused_total{reason="` + zero + `"} 0`; !strings.Contains(string(page), line) {
			t.Errorf("there is no %s: a client was refused", line)
		}
	}

	for _, p := range running {
		p.Kill()
	}
	franz.Close()
	pushed := regexp.MustCompile(`(?m)^kafka_client_.*`)
	harness.Until(t, clientLimit, "silence", func() error {
		page, err := b.HTTPGet("/metrics")
		if err != nil {
			return err
		}
		if left := pushed.FindString(string(page)); left != "" {
			return errors.New(left)
		}
		return nil
	})
}

// TestClientMetricsAreNotOfferedWithoutAReceiver: as by an Apache Kafka without a plugin.
func TestClientMetricsAreNotOfferedWithoutAReceiver(t *testing.T) {
	t.Parallel()
	b := harness.StartBroker(t, "varve.client.metrics=false")
	for _, k := range ask[*kmsg.ApiVersionsResponse](t, dial(t, b.Address), 3, apiVersions()).ApiKeys {
		if _, ok := servedHereOnly[kmsg.Key(k.ApiKey)]; ok {
			t.Errorf("%s is offered", kmsg.NameForKey(k.ApiKey))
		}
	}
	for key := range servedHereOnly {
		if answer, err := dial(t, b.Address).roundTrip(key.Request()); err == nil {
			t.Errorf("%s was answered: %x", key.Name(), answer)
		}
	}
}
