package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The configs of a subscription to clients' metrics (CLIENT_METRICS resources, KIP-714).
var clientMetricsKeys = []Key{
	row("metrics", List, "", "Prefixes of the names of the metrics; * stands for all of them."),
	row("interval.ms", Int, "300000", "How often clients push them."),
	row("match", List, "", "Which clients: name=pattern, of the names in clientMatches. None: all."),
}

// clientMatches are what a pattern of match may be held against.
var clientMatches = []string{
	"client_instance_id", "client_id", "client_software_name", "client_software_version", "client_source_address", "client_source_port",
}

// Limits of interval.ms.
const (
	minPushInterval = 100 * time.Millisecond
	maxPushInterval = time.Hour
)

// IsClientMetricsKey tells whether a subscription has a config of the name.
func IsClientMetricsKey(name string) bool {
	return slices.ContainsFunc(clientMetricsKeys, func(k Key) bool { return k.Name == name })
}

// AlterClientMetrics is AlterTopic for a subscription; CheckClientMetrics checks the result.
func AlterClientMetrics(current map[string]string, ops []Op) (map[string]string, error) {
	known := make(map[string]*Key, len(clientMetricsKeys))
	for i := range clientMetricsKeys {
		known[clientMetricsKeys[i].Name] = &clientMetricsKeys[i]
	}
	return alter(among(known), false, current, ops)
}

// PushIntervalError says that interval.ms is out of range, for which the protocol has
// another code than for what else may be wrong.
type PushIntervalError struct{ Value string }

func (e *PushIntervalError) Error() string {
	return fmt.Sprintf("Invalid value %s for interval.ms, interval must be between %d and %d (1 hour)",
		e.Value, minPushInterval.Milliseconds(), maxPushInterval.Milliseconds())
}

// CheckClientMetrics checks the configs of a subscription. It returns a *PushIntervalError,
// or ErrInvalid. Patterns are RE2's: one that looks around is no pattern here.
func CheckClientMetrics(configs map[string]string) error {
	var f faults
	for i := range clientMetricsKeys {
		k := &clientMetricsKeys[i]
		value, set := configs[k.Name]
		if !set {
			continue
		}
		canonical, reason := k.parse(value)
		switch {
		case reason != "":
			f.add(k.Name, value, "%s", reason)
		case k.Name == "interval.ms":
			if ms, err := strconv.Atoi(canonical); err != nil || ms < int(minPushInterval.Milliseconds()) || ms > int(maxPushInterval.Milliseconds()) {
				return &PushIntervalError{canonical}
			}
		case k.Name == "match":
			for _, pattern := range splitList(value) {
				if !validMatch(pattern) {
					f.add(k.Name, value, "Illegal client matching pattern: %s", pattern)
				}
			}
		}
	}
	return f.err()
}

// maxMatch is the longest expression of a match, in bytes. One of a megabyte would take
// seconds and hundreds of megabytes to compile.
const maxMatch = 1<<15 - 1

func validMatch(pattern string) bool {
	name, expression, found := strings.Cut(pattern, "=")
	if !found || strings.Contains(expression, "=") || expression == "" || len(expression) > maxMatch || !slices.Contains(clientMatches, strings.TrimSpace(name)) {
		return false
	}
	_, err := CompilePattern(strings.TrimSpace(expression))
	return err == nil
}

// DescribeClientMetrics tells every config of a subscription, in the order of the table.
func DescribeClientMetrics(configs map[string]string) []Entry {
	entries := make([]Entry, 0, len(clientMetricsKeys))
	for i := range clientMetricsKeys {
		k := &clientMetricsKeys[i]
		value, set := configs[k.Name]
		e := Entry{Name: k.Name, Type: k.Type, Doc: k.Doc}
		if !set {
			value = k.Default
		} else {
			if canonical, reason := k.parse(value); reason == "" {
				value = canonical
			}
			e.Synonyms = []EntrySynonym{{Name: k.Name, Value: &value, Source: ClientMetricsConfig}}
		}
		e.Value = &value
		e.finish()
		entries = append(entries, e)
	}
	return entries
}
