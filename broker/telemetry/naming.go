package telemetry

import (
	"slices"
	"strings"

	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
)

// Names follow OpenTelemetry's mapping to Prometheus, with two rules of our own: Prefix
// stands before all, in place of Apache Kafka's own, so that no client can name a metric
// of the broker's; and Kafka's metrics get no unit, since some clients tell it and some do
// not, and a metric has to have one name whichever client pushes it.
const (
	// Prefix is what every name of a client's metric begins with.
	Prefix = "kafka_client_"

	// infoName is a metric of 1 for each client, with what does not change about it. No
	// client can push it.
	infoName = Prefix + "info"

	kafkaPrefix = "org.apache.kafka."
	totalSuffix = "_total"
)

// Bounds of a series, in bytes. A usual one has 300 to 400: a member id is 80 of them.
const (
	maxSeries     = 1 << 10 // name and labels together; a longer one is left out
	maxLabelValue = 256     // cut off
	maxLabels     = 32      // their number; a series with more is left out
)

// units are the suffixes of units, as they are abbreviated (UCUM).
var units = map[string]string{
	"d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds",
	"By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes", "%": "percent", "1": "",
}

// exposedName is the name that a metric is shown by; "" if there is none.
func exposedName(m *metrics.Metric, counter bool) string {
	given, kafkas := strings.CutPrefix(m.GetName(), kafkaPrefix)
	if len(given) > maxSeries {
		return ""
	}
	name := strings.Trim(legible(given), "_")
	if name == "" {
		return ""
	}
	if counter {
		name = strings.TrimSuffix(name, totalSuffix)
	}
	if unit := unitSuffix(m.GetUnit()); !kafkas && unit != "" && !strings.HasSuffix(name, "_"+unit) {
		name += "_" + unit
	}
	if counter {
		name += totalSuffix
	}
	if name = Prefix + name; name == infoName {
		return ""
	}
	return name
}

func unitSuffix(unit string) string {
	if suffix, known := units[unit]; known {
		return suffix
	}
	if len(unit) > maxLabelValue || strings.HasPrefix(unit, "{") {
		return "" // of no use in a name: {records}
	}
	return strings.Trim(legible(strings.ReplaceAll(unit, "/", "_per_")), "_")
}

// legible replaces what no name may have by _, and several of them by one.
func legible(name string) string {
	var b strings.Builder
	b.Grow(len(name))
	replaced := false
	for _, r := range name {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
			replaced = false
		} else if !replaced {
			b.WriteByte('_')
			replaced = true
		}
	}
	return b.String()
}

// labelName is the name of an attribute as a label; "" if there is none.
func labelName(attribute string) string {
	name := strings.Trim(legible(attribute), "_")
	if name != "" && name[0] <= '9' {
		name = "key_" + name
	}
	return name
}

// labelValue is valid text of at most maxLabelValue bytes.
func labelValue(v string) string {
	return strings.ToValidUTF8(v[:min(len(v), maxLabelValue)], "")
}

// identity is the name and the labels of a series. key is unique among all, and what the
// others are views of: nothing of a push is kept by them.
type identity struct {
	key, name     string
	names, values []string
}

// identify makes the identity of a point. The labels of the client itself stand, whatever
// it pushes, and of several attributes that have one name as labels the last counts: the
// data point's before the resource's. Those without a value are left out, which is the
// same to Prometheus.
func identify(name string, own, pushed []label) identity {
	all := slices.Clone(own)
	for _, l := range slices.Backward(pushed) {
		l = label{labelName(l.name), labelValue(l.value)}
		if l.name != "" && l.value != "" && !slices.ContainsFunc(all, func(o label) bool { return o.name == l.name }) {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, func(a, b label) int { return strings.Compare(a.name, b.name) })
	var b strings.Builder
	b.WriteString(name)
	for _, l := range all {
		b.WriteByte(separator)
		b.WriteString(l.name)
		b.WriteByte(separator)
		b.WriteString(l.value)
	}
	return split(b.String(), len(all))
}

// separator is in no valid text.
const separator = 0xFF

// split takes a key of so many labels apart.
func split(key string, labels int) identity {
	id := identity{key: key, names: make([]string, labels), values: make([]string, labels)}
	next := func() (part string) {
		part, key, _ = strings.Cut(key, string([]byte{separator}))
		return part
	}
	id.name = next()
	for i := range labels {
		id.names[i], id.values[i] = next(), next()
	}
	return id
}
