package config

import (
	"fmt"
	"math"
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
	settleIntervals(f, "group.consumer.", c.SessionTimeout, c.HeartbeatInterval, []interval{
		{"session.timeout.ms", c.MinSessionTimeout, c.SessionTimeout, c.MaxSessionTimeout},
		{"heartbeat.interval.ms", c.MinHeartbeatInterval, c.HeartbeatInterval, c.MaxHeartbeatInterval},
		{"assignment.interval.ms", c.MinAssignmentInterval, c.AssignmentInterval, c.MaxAssignmentInterval},
	})
}

// settle checks what keys say of one another.
func (c *StreamsGroups) settle(f *faults) {
	settleIntervals(f, "group.streams.", c.SessionTimeout, c.HeartbeatInterval, []interval{
		{"session.timeout.ms", c.MinSessionTimeout, c.SessionTimeout, c.MaxSessionTimeout},
		{"heartbeat.interval.ms", c.MinHeartbeatInterval, c.HeartbeatInterval, c.MaxHeartbeatInterval},
		{"assignment.interval.ms", c.MinAssignmentInterval, c.AssignmentInterval, c.MaxAssignmentInterval},
	})
	if c.StandbyReplicas > c.MaxStandbyReplicas {
		f.add("group.streams.num.standby.replicas", "", "group.streams.num.standby.replicas must be at most group.streams.max.standby.replicas")
	}
}

// settle checks what keys say of one another.
func (c *ShareGroups) settle(f *faults) {
	settleIntervals(f, "group.share.", c.SessionTimeout, c.HeartbeatInterval, []interval{
		{"session.timeout.ms", c.MinSessionTimeout, c.SessionTimeout, c.MaxSessionTimeout},
		{"heartbeat.interval.ms", c.MinHeartbeatInterval, c.HeartbeatInterval, c.MaxHeartbeatInterval},
		{"assignment.interval.ms", c.MinAssignmentInterval, c.AssignmentInterval, c.MaxAssignmentInterval},
	})
}

// interval is a setting between two others.
type interval struct {
	key           string
	low, is, high time.Duration
}

func settleIntervals(f *faults, prefix string, session, heartbeat time.Duration, all []interval) {
	for _, r := range all {
		if r.is < r.low || r.is > r.high {
			f.add(prefix+r.key, "", "%s must be at least %smin.%s and at most %smax.%s", prefix+r.key, prefix, r.key, prefix, r.key)
		}
	}
	if heartbeat >= session {
		f.add(prefix+"heartbeat.interval.ms", "", "%sheartbeat.interval.ms must be less than %ssession.timeout.ms", prefix, prefix)
	}
}

// groupKeys are what a group can be set to (GROUP resources); the default of each is
// the broker key that is named as it is with "group." before it, where there is one.
var groupKeys = []Key{
	row("consumer.session.timeout.ms", Int, "45000", "Session timeout of the group's members in the consumer protocol (KIP-848).", from(1)),
	row("consumer.heartbeat.interval.ms", Int, "5000", "How often the group's members send a heartbeat in the consumer protocol.", from(1)),
	row("consumer.assignment.interval.ms", Int, "1000", "Least time between two assignments of the group in the consumer protocol (KIP-1263).", from(0)),
	row("streams.session.timeout.ms", Int, "45000", "Session timeout of the group's members in the streams protocol (KIP-1071).", from(1)),
	row("streams.heartbeat.interval.ms", Int, "5000", "How often the group's members send a heartbeat in the streams protocol.", from(1)),
	row("streams.num.standby.replicas", Int, "0", "Copies of the state of each of the group's tasks, beside the task's own.", from(0)),
	row("streams.initial.rebalance.delay.ms", Int, "3000", "How long the group waits for more members when it is new.", from(0)),
	row("streams.assignment.interval.ms", Int, "1000", "Least time between two assignments of the group in the streams protocol (KIP-1263).", from(0)),
	row("share.session.timeout.ms", Int, "45000", "Session timeout of the share group's members (KIP-932).", from(1)),
	row("share.heartbeat.interval.ms", Int, "5000", "How often the share group's members send a heartbeat.", from(1)),
	row("share.assignment.interval.ms", Int, "1000", "Least time between two assignments of the share group (KIP-1263).", from(0)),
	row("share.record.lock.duration.ms", Int, "30000", "How long a record is locked for the member it was delivered to (KIP-932).", from(1000)),
	row("share.delivery.count.limit", Int, "5", "How often a record is delivered, at most.", from(2)),
	row("share.partition.max.record.locks", Int, "2000", "How many records of a partition may be in flight.", from(100)),
	row("share.auto.offset.reset", String, "latest", "Where the share group begins to read: latest, earliest or by_duration:PnDTnHnMn.nS.", func(k *Key) { k.check = checkOffsetReset }),
	row("share.isolation.level", String, readUncommitted, "Whether the share group is given records of transactions that are open or were aborted.", oneOf(readCommitted, readUncommitted)),
	row("share.renew.acknowledge.enable", Boolean, "true", "Whether members of the share group may renew their locks (KIP-1222)."),
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
	return alter(among(known), false, current, ops)
}

// GroupSettings are the settings of one group.
type GroupSettings struct {
	Consumer     ConsumerGroups
	Streams      StreamsGroups
	ShareGroups  ShareGroups
	ShareRecords ShareRecords
}

// bounds is what a group setting may be set to on this broker, and where it goes.
type bounds struct {
	low, high       int64 // in the unit of the key
	lowKey, highKey string
	duration        *time.Duration // of milliseconds
	number          *int           // where duration is nil
	text            *string        // where both are nil: no bounds but the key's
}

func (b bounds) get() string {
	switch {
	case b.text != nil:
		return *b.text
	case b.duration != nil:
		return strconv.FormatInt(b.duration.Milliseconds(), 10)
	}
	return strconv.Itoa(*b.number)
}

func (b bounds) set(n int64) {
	if b.duration != nil {
		*b.duration = time.Duration(n) * time.Millisecond
		return
	}
	*b.number = int(n)
}

// span is the bounds of a duration: of consumer.x the keys group.consumer.min.x and
// group.consumer.max.x.
func span(name string, low, high time.Duration, to *time.Duration) bounds {
	protocol, rest, _ := strings.Cut(name, ".")
	return bounds{
		low: low.Milliseconds(), high: high.Milliseconds(), duration: to,
		lowKey: "group." + protocol + ".min." + rest, highKey: "group." + protocol + ".max." + rest,
	}
}

// count is span for a number.
func count(name string, low, high int, to *int) bounds {
	b := span(name, 0, 0, nil)
	b.low, b.high, b.number = int64(low), int64(high), to
	return b
}

func (g *GroupSettings) bounds(name string) bounds {
	c, s, m, r := &g.Consumer, &g.Streams, &g.ShareGroups, &g.ShareRecords
	switch name {
	case "consumer.session.timeout.ms":
		return span(name, c.MinSessionTimeout, c.MaxSessionTimeout, &c.SessionTimeout)
	case "consumer.heartbeat.interval.ms":
		return span(name, c.MinHeartbeatInterval, c.MaxHeartbeatInterval, &c.HeartbeatInterval)
	case "consumer.assignment.interval.ms":
		return span(name, c.MinAssignmentInterval, c.MaxAssignmentInterval, &c.AssignmentInterval)
	case "streams.session.timeout.ms":
		return span(name, s.MinSessionTimeout, s.MaxSessionTimeout, &s.SessionTimeout)
	case "streams.heartbeat.interval.ms":
		return span(name, s.MinHeartbeatInterval, s.MaxHeartbeatInterval, &s.HeartbeatInterval)
	case "streams.assignment.interval.ms":
		return span(name, s.MinAssignmentInterval, s.MaxAssignmentInterval, &s.AssignmentInterval)
	case "streams.num.standby.replicas":
		return bounds{high: int64(s.MaxStandbyReplicas), highKey: "group.streams.max.standby.replicas", number: &s.StandbyReplicas}
	case "streams.initial.rebalance.delay.ms":
		return bounds{high: math.MaxInt32, duration: &s.InitialRebalanceDelay}
	case "share.session.timeout.ms":
		return span(name, m.MinSessionTimeout, m.MaxSessionTimeout, &m.SessionTimeout)
	case "share.heartbeat.interval.ms":
		return span(name, m.MinHeartbeatInterval, m.MaxHeartbeatInterval, &m.HeartbeatInterval)
	case "share.assignment.interval.ms":
		return span(name, m.MinAssignmentInterval, m.MaxAssignmentInterval, &m.AssignmentInterval)
	case "share.record.lock.duration.ms":
		return span(name, r.MinLockDuration, r.MaxLockDuration, &r.LockDuration)
	case "share.delivery.count.limit":
		return count(name, r.MinDeliveryLimit, r.MaxDeliveryLimit, &r.DeliveryLimit)
	case "share.partition.max.record.locks":
		return count(name, r.MinMaxLocks, r.MaxMaxLocks, &r.MaxLocks)
	case "share.auto.offset.reset":
		return bounds{text: &r.OffsetReset}
	case "share.isolation.level":
		return bounds{text: &r.Isolation}
	case "share.renew.acknowledge.enable":
		return bounds{text: &r.Renew}
	}
	panic("config: group setting " + name + " has no bounds")
}

func (b *Broker) group() GroupSettings {
	return GroupSettings{Consumer: b.Consumer, Streams: b.Streams, ShareGroups: b.ShareGroups, ShareRecords: b.ShareRecords}
}

// CheckGroup checks what a group is to be set to. The error is an *Error with every
// fault.
func (b *Broker) CheckGroup(overrides map[string]string) error {
	var f faults
	g := b.group()
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
		to := g.bounds(name)
		if to.text != nil {
			*to.text = value
			continue
		}
		n := integer(value)
		to.set(n)
		switch {
		case n >= to.low && n <= to.high:
		case to.lowKey == "":
			f.add(name, value, "%s must be at most %s, %d", name, to.highKey, to.high)
		default:
			f.add(name, value, "%s must be at least %s, %d, and at most %s, %d", name, to.lowKey, to.low, to.highKey, to.high)
		}
	}
	for _, p := range []struct {
		protocol           string
		heartbeat, session time.Duration
	}{
		{"consumer", g.Consumer.HeartbeatInterval, g.Consumer.SessionTimeout},
		{"streams", g.Streams.HeartbeatInterval, g.Streams.SessionTimeout},
		{"share", g.ShareGroups.HeartbeatInterval, g.ShareGroups.SessionTimeout},
	} {
		if p.heartbeat >= p.session {
			f.add(p.protocol+".heartbeat.interval.ms", "", "%s.heartbeat.interval.ms must be less than %s.session.timeout.ms", p.protocol, p.protocol)
		}
	}
	return f.err()
}

func integer(value string) int64 {
	n, _ := strconv.ParseInt(value, 10, 64) // parse has accepted it
	return n
}

// Group is the settings of a group with overrides of its own. What they were checked
// against may have changed since: they are kept within the bounds of now.
func (b *Broker) Group(overrides map[string]string) GroupSettings {
	g := b.group()
	for name, value := range overrides {
		k := groupKey(name)
		if k == nil {
			continue
		}
		if canonical, reason := k.parse(value); reason == "" {
			to := g.bounds(name)
			if to.text != nil {
				*to.text = canonical
				continue
			}
			to.set(min(max(integer(canonical), to.low), to.high))
		}
	}
	return g
}

// DescribeGroup tells every setting of a group that has overrides of its own.
func (b *Broker) DescribeGroup(overrides map[string]string) []Entry {
	g := b.group()
	entries := make([]Entry, 0, len(groupKeys))
	for i := range groupKeys {
		k := &groupKeys[i]
		e := Entry{Name: k.Name, Type: k.Type, Doc: k.Doc}
		value := g.bounds(k.Name).get()
		if override, set := overrides[k.Name]; set {
			value = override
			e.Synonyms = append(e.Synonyms, EntrySynonym{Name: k.Name, Value: k.shown(override), Source: DynamicGroupConfig})
		}
		e.Value = &value
		if _, ok := table().brokerByName["group."+k.Name]; ok { // some are settings of groups only
			e.Synonyms = append(e.Synonyms, b.values.synonyms(brokerSynonyms("group."+k.Name))...)
		}
		e.finish()
		entries = append(entries, e)
	}
	return entries
}
