//go:build interop

package interop

import (
	"regexp"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// TestJavaClientsReportTheirThrottling: under a quota, Apache Kafka's producer and consumer
// say in their own metrics for how long they were throttled, and are no faster than it
// grants (KIP-13, KIP-219).
func TestJavaClientsReportTheirThrottling(t *testing.T) {
	t.Parallel()
	const rate, size, records = 1 << 20, 1 << 10, 10 << 10 // ten seconds of the quota
	b := harness.StartBroker(t, "quota.window.num=2")
	createOn(t, b.Address, "throttled", 1)
	harness.Until(t, testLimit, "leaders", func() error { return led(t, b.Address, "throttled") })
	set := func(key string, rate float64) {
		t.Helper()
		q := quotas(quotaEntity("client-id", "<default>"), quotaOp(key, rate))()
		refusedWith(t, key, ask[*kmsg.AlterClientQuotasResponse](t, dial(t, b.Address), 1, q).Entries[0].ErrorCode, nil)
	}
	run := func(class string, records int, args ...string) string {
		return harness.Kafka(t, "", class, append([]string{"--bootstrap-server", b.Address, "--topic", "throttled", "--num-records", strconv.Itoa(records), "--print-metrics"}, args...)...)
	}
	number := func(what, pattern, out string) float64 {
		t.Helper()
		found := regexp.MustCompile(pattern).FindStringSubmatch(out)
		if found == nil {
			t.Fatalf("%s: no %s in\n%s", what, pattern, out)
		}
		n, err := strconv.ParseFloat(found[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}

	set("producer_byte_rate", rate)
	out := run("org.apache.kafka.tools.ProducerPerformance", records, "--record-size", strconv.Itoa(size), "--throughput", "-1")
	if ms := number("producer", `producer-metrics:produce-throttle-time-max:\S+ *: *([0-9.]+)`, out); !(ms > 0) {
		t.Errorf("the producer was throttled for %v ms at most", ms)
	}
	// The two windows grant two seconds at once: ten seconds of the quota take eight, and
	// what is in flight when it is used up is let in.
	const granted = 1.25 * 1.05
	if perSecond := number("producer", `([0-9.]+) records/sec`, out) * size; perSecond > granted*rate {
		t.Errorf("%.0f bytes a second, of %d that are granted", perSecond, rate)
	} else {
		t.Logf("the producer wrote %.0f bytes a second, of %d that are granted", perSecond, rate)
	}

	// Two fetches within a second exceed this one, however slow the machine is.
	set("consumer_byte_rate", rate/4)
	out = run("org.apache.kafka.tools.ConsumerPerformance", records/5)
	if ms := number("consumer", `consumer-fetch-manager-metrics:fetch-throttle-time-max:\S+ *: *([0-9.]+)`, out); !(ms > 0) {
		t.Errorf("the consumer was throttled for %v ms at most", ms)
	}
}
