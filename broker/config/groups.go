package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// consumerAssignors are the server-side assignors of KIP-848 that there are.
var consumerAssignors = []string{"uniform", "range"}

func checkAssignors(value string) string {
	names := splitList(value)
	if len(names) == 0 {
		return "At least one assignor is needed"
	}
	for i, name := range names {
		if !slices.Contains(consumerAssignors, name) {
			return fmt.Sprintf("%s is no assignor of this broker; there are %s", name, strings.Join(consumerAssignors, " and "))
		}
		if slices.Contains(names[:i], name) {
			return fmt.Sprintf("Assignor %s is named twice", name)
		}
	}
	return ""
}

// migrationPolicies are those of Kafka, in any case.
var migrationPolicies = []string{"bidirectional", "upgrade", "downgrade", "disabled"}

func checkMigration(value string) string {
	if !slices.Contains(migrationPolicies, strings.ToLower(value)) {
		return "String must be one of (case insensitive): " + strings.Join(migrationPolicies, ", ")
	}
	return ""
}

// settle checks what keys say of one another.
func (c *ConsumerGroups) settle(f *faults) {
	c.MigrationPolicy = strings.ToLower(c.MigrationPolicy)
	for _, r := range []struct {
		key           string
		low, is, high time.Duration
	}{
		{"session.timeout.ms", c.MinSessionTimeout, c.SessionTimeout, c.MaxSessionTimeout},
		{"heartbeat.interval.ms", c.MinHeartbeatInterval, c.HeartbeatInterval, c.MaxHeartbeatInterval},
		{"assignment.interval.ms", c.MinAssignmentInterval, c.AssignmentInterval, c.MaxAssignmentInterval},
	} {
		if r.is < r.low || r.is > r.high {
			f.add("group.consumer."+r.key, "", "group.consumer.%s must be at least group.consumer.min.%s and at most group.consumer.max.%s", r.key, r.key, r.key)
		}
	}
	if c.HeartbeatInterval >= c.SessionTimeout {
		f.add("group.consumer.heartbeat.interval.ms", "", "group.consumer.heartbeat.interval.ms must be less than group.consumer.session.timeout.ms")
	}
}

// groupKeys are what a group can be set to (GROUP resources); the default of each is
// the broker key that is named as it is with "group." before it.
var groupKeys = []Key{
	row("consumer.session.timeout.ms", Int, "45000", "Session timeout of the group's members in the consumer protocol (KIP-848).", from(1)),
	row("consumer.heartbeat.interval.ms", Int, "5000", "How often the group's members send a heartbeat in the consumer protocol.", from(1)),
	row("consumer.assignment.interval.ms", Int, "1000", "Least time between two assignments of the group in the consumer protocol (KIP-1263).", from(0)),
}

func groupKey(name string) *Key {
	for i := range groupKeys {
		if groupKeys[i].Name == name {
			return &groupKeys[i]
		}
	}
	return nil
}

// AlterGroup is AlterTopic for the settings of a group; CheckGroup checks the result.
func AlterGroup(current map[string]string, ops []Op) (map[string]string, error) {
	known := map[string]*Key{}
	for i := range groupKeys {
		known[groupKeys[i].Name] = &groupKeys[i]
	}
	return alter(known, false, current, ops)
}

// bounds are what a group setting may be set to on this broker, and where it goes.
func (c *ConsumerGroups) bounds(name string) (low, high time.Duration, to *time.Duration) {
	switch name {
	case "consumer.session.timeout.ms":
		return c.MinSessionTimeout, c.MaxSessionTimeout, &c.SessionTimeout
	case "consumer.heartbeat.interval.ms":
		return c.MinHeartbeatInterval, c.MaxHeartbeatInterval, &c.HeartbeatInterval
	default:
		return c.MinAssignmentInterval, c.MaxAssignmentInterval, &c.AssignmentInterval
	}
}

// CheckGroup checks what a group is to be set to. The error is an *Error with every
// fault.
func (b *Broker) CheckGroup(overrides map[string]string) error {
	var f faults
	c := b.Consumer
	for _, name := range sortedKeys(overrides) {
		k := groupKey(name)
		if k == nil {
			f.add(name, "", "Unknown group config name: %s", name)
			continue
		}
		value, reason := k.parse(overrides[name])
		if reason != "" {
			f.invalid(name, overrides[name], reason)
			continue
		}
		low, high, to := c.bounds(name)
		if *to = millis(value); *to < low || *to > high {
			limits := "group." + strings.Replace(name, "consumer.", "consumer.%s.", 1)
			f.add(name, value, "%s must be at least "+limits+", %d, and at most "+limits+", %d", name, "min", low.Milliseconds(), "max", high.Milliseconds())
		}
	}
	if c.HeartbeatInterval >= c.SessionTimeout {
		f.add("consumer.heartbeat.interval.ms", "", "consumer.heartbeat.interval.ms must be less than consumer.session.timeout.ms")
	}
	return f.err()
}

func millis(value string) time.Duration {
	n, _ := strconv.ParseInt(value, 10, 64) // parse has accepted it
	return time.Duration(n) * time.Millisecond
}

// Group is the settings of a group with overrides of its own. What they were checked
// against may have changed since: they are kept within the bounds of now.
func (b *Broker) Group(overrides map[string]string) ConsumerGroups {
	c := b.Consumer
	for name, value := range overrides {
		k := groupKey(name)
		if k == nil {
			continue
		}
		if canonical, reason := k.parse(value); reason == "" {
			low, high, to := c.bounds(name)
			*to = min(max(millis(canonical), low), high)
		}
	}
	return c
}

// DescribeGroup tells every setting of a group that has overrides of its own.
func (b *Broker) DescribeGroup(overrides map[string]string) []Entry {
	c := b.Consumer
	entries := make([]Entry, 0, len(groupKeys))
	for i := range groupKeys {
		k := &groupKeys[i]
		e := Entry{Name: k.Name, Type: k.Type, Doc: k.Doc}
		_, _, to := c.bounds(k.Name)
		value := strconv.FormatInt(to.Milliseconds(), 10)
		if override, set := overrides[k.Name]; set {
			value = override
			e.Synonyms = append(e.Synonyms, EntrySynonym{Name: k.Name, Value: k.shown(override), Source: DynamicGroupConfig})
		}
		e.Value = &value
		e.Synonyms = append(e.Synonyms, b.values.synonyms(brokerSynonyms("group."+k.Name))...)
		e.finish()
		entries = append(entries, e)
	}
	return entries
}
