package config

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func groupBroker(t *testing.T) *Broker {
	t.Helper()
	b, _, err := Load(Sources{Sets: []string{"log.dirs=/d"}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestGroupSettingsAreKeptWithinTheBrokersBounds guards the GROUP resources of KIP-848.
func TestGroupSettingsAreKeptWithinTheBrokersBounds(t *testing.T) {
	b := groupBroker(t)
	for _, c := range []struct{ name, value, fault string }{
		{"consumer.session.timeout.ms", "50000", ""},
		{"consumer.session.timeout.ms", "70000", "at most group.consumer.max.session.timeout.ms"},
		{"consumer.session.timeout.ms", "1", "at least group.consumer.min.session.timeout.ms"},
		{"consumer.session.timeout.ms", "x", "Not a number"},
		{"consumer.heartbeat.interval.ms", "15000", ""},
		{"consumer.assignment.interval.ms", "0", ""},
		{"streams.session.timeout.ms", "50000", ""},
		{"streams.session.timeout.ms", "70000", "at most group.streams.max.session.timeout.ms"},
		{"streams.heartbeat.interval.ms", "1", "at least group.streams.min.heartbeat.interval.ms"},
		{"streams.num.standby.replicas", "2", ""},
		{"streams.num.standby.replicas", "3", "at most group.streams.max.standby.replicas"},
		{"streams.initial.rebalance.delay.ms", "0", ""},
		{"streams.initial.rebalance.delay.ms", "-1", "Value must be at least 0"},
		{"share.session.timeout.ms", "50000", ""},
		{"share.session.timeout.ms", "1000", "at least group.share.min.session.timeout.ms"},
		{"share.heartbeat.interval.ms", "20000", "at most group.share.max.heartbeat.interval.ms"},
		{"share.assignment.interval.ms", "0", ""},
		{"share.record.lock.duration.ms", "15000", ""},
		{"share.record.lock.duration.ms", "1000", "at least group.share.min.record.lock.duration.ms"},
		{"share.record.lock.duration.ms", "999", "Value must be at least 1000"},
		{"share.delivery.count.limit", "11", "at most group.share.max.delivery.count.limit"},
		{"share.partition.max.record.locks", "4000", ""},
		{"share.isolation.level", "1", "String must be one of: read_committed, read_uncommitted"},
		{"share.isolation.level", "read_committed", ""},
		{"share.renew.acknowledge.enable", "no", "Expected value to be either true or false"},
		{"share.auto.offset.reset", "earliest", ""},
		{"share.auto.offset.reset", "by_duration:P1DT2H3M4.5S", ""},
		{"share.auto.offset.reset", "by_duration:-PT1H", "not negative"},
		{"share.auto.offset.reset", "none", "The value must be either"},
		{"share.no.such.key", "1", "Unknown group config name"},
	} {
		err := b.CheckGroup(map[string]string{c.name: c.value})
		switch {
		case c.fault == "" && err != nil:
			t.Errorf("%s=%s: %v", c.name, c.value, err)
		case c.fault != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.fault)):
			t.Errorf("%s=%s: %v, want %q", c.name, c.value, err, c.fault)
		}
	}
	if got := b.Group(map[string]string{"consumer.session.timeout.ms": "999999"}).Consumer.SessionTimeout; got != time.Minute {
		t.Errorf("a session timeout that was fine once is %v", got)
	}
	if got := b.Group(map[string]string{"streams.num.standby.replicas": "9"}).Streams.StandbyReplicas; got != 2 {
		t.Errorf("standby replicas that were fine once are %d", got)
	}
	for text, want := range map[string]time.Duration{
		"P1DT2H3M4.5S": 26*time.Hour + 3*time.Minute + 4500*time.Millisecond, "PT0S": 0, "pt15m": 15 * time.Minute, "P7D": 7 * 24 * time.Hour,
	} {
		share := b.Group(map[string]string{"share.auto.offset.reset": "by_duration:" + text}).ShareRecords
		if earliest, by := share.Reset(); earliest || by != want {
			t.Errorf("%s is %v, want %v", text, by, want)
		}
	}
	for _, text := range []string{"", "P", "PT", "P1DT", "1D", "P1Y", "PT1.S", "P99999DT9999999H999999999M9999999999S"} {
		if _, ok := isoDuration(text); ok && text != "P99999DT9999999H999999999M9999999999S" {
			t.Errorf("%q is a duration", text)
		} else if ok {
			t.Errorf("%q fits into a time.Duration", text)
		}
	}
	if got := b.Group(nil).Consumer; got.HeartbeatInterval != 5*time.Second {
		t.Errorf("a group without settings of its own: %+v", got)
	}
}

func TestGroupSettingsAreDescribedWithTheirSource(t *testing.T) {
	for _, e := range groupBroker(t).DescribeGroup(map[string]string{"consumer.heartbeat.interval.ms": "7000"}) {
		want, source := map[string]string{
			"consumer.session.timeout.ms": "45000", "consumer.heartbeat.interval.ms": "7000", "consumer.assignment.interval.ms": "1000",
			"share.session.timeout.ms": "45000", "share.heartbeat.interval.ms": "5000", "share.assignment.interval.ms": "1000",
			"share.record.lock.duration.ms": "30000", "share.delivery.count.limit": "5", "share.partition.max.record.locks": "2000",
			"share.auto.offset.reset": "latest", "share.isolation.level": "read_uncommitted", "share.renew.acknowledge.enable": "true",
			"streams.session.timeout.ms": "45000", "streams.heartbeat.interval.ms": "5000", "streams.num.standby.replicas": "0",
			"streams.initial.rebalance.delay.ms": "3000", "streams.assignment.interval.ms": "1000",
		}[e.Name], DefaultConfig
		if e.Name == "consumer.heartbeat.interval.ms" {
			source = DynamicGroupConfig
		}
		if *e.Value != want || e.Source != source {
			t.Errorf("%s is %s from %d, want %s from %d", e.Name, *e.Value, e.Source, want, source)
		}
	}
}

func TestConsumerGroupSettingsAgreeWithOneAnother(t *testing.T) {
	for _, set := range []string{
		"group.consumer.session.timeout.ms=90000", "group.consumer.heartbeat.interval.ms=1000",
		"group.consumer.assignors=sticky", "group.consumer.assignors=", "group.consumer.assignors=range,range",
		"group.consumer.migration.policy=sometimes",
		"group.streams.session.timeout.ms=90000", "group.streams.heartbeat.interval.ms=1000", "group.streams.num.standby.replicas=3",
	} {
		if _, _, err := Load(Sources{Sets: []string{"log.dirs=/d", set}}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", set, err)
		}
	}
}
