package config

import (
	"fmt"
	"slices"
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
