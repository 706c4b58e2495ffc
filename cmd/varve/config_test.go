package main

import (
	"strings"
	"testing"
)

func TestConfigOfTopicsAndBrokers(t *testing.T) {
	b := startBroker(t)
	b.ok("", "topic", "create", "t", "--config", "segment.bytes=2097152")
	equal(t, "alter", b.ok("", "config", "alter", "topic", "t", "--config", "retention.ms=1000", "--config", "cleanup.policy=delete"), "Altered configs of topic t.\n")
	find := func(configs []describedConfig, key string) (found describedConfig) {
		for _, c := range configs {
			if c.Key == key {
				found = c
			}
		}
		return found
	}
	some := decode[[]describedConfig](b, "config", "describe", "topic", "t")
	if c := find(some, "retention.ms"); c.Value == nil || *c.Value != "1000" || c.Source != "topic" || find(some, "max.message.bytes").Key != "" {
		t.Errorf("set configs: %v", some)
	}
	if all := decode[[]describedConfig](b, "config", "describe", "topic", "t", "--all"); find(all, "max.message.bytes").Source != "default" {
		t.Errorf("all configs: %v", all)
	}
	b.ok("", "config", "alter", "topic", "t", "--delete-config", "retention.ms")
	if text := b.ok("", "config", "describe", "topic", "t"); strings.Contains(text, "retention.ms ") || !strings.Contains(text, "segment.bytes") || !strings.HasPrefix(text, "KEY ") {
		t.Errorf("after delete:\n%s", text)
	}

	if c := find(decode[[]describedConfig](b, "config", "describe", "broker", "0"), "log.dirs"); c.Value == nil || *c.Value != b.dir || c.Source != "broker, at its start" {
		t.Errorf("log.dirs: %v", c)
	}
	equal(t, "alter", b.ok("", "config", "alter", "broker", "--config", "log.retention.ms=5000"), "Altered configs of all brokers.\n")
	equal(t, "altered for all", b.ok("", "config", "describe", "broker"), "KEY               VALUE  SOURCE\nlog.retention.ms  5000   all brokers, altered\n")
	await(t, "the topic to inherit it", func() bool {
		c := find(decode[[]describedConfig](b, "config", "describe", "topic", "t", "--all"), "retention.ms")
		return *c.Value == "5000"
	})

	b.fails(exitFailed, "INVALID_CONFIG", "config", "alter", "topic", "t", "--config", "retention.mss=1")
	b.fails(exitFailed, "INVALID_CONFIG", "config", "alter", "topic", "t", "--config", "cleanup.policy=burn")
	b.fails(exitFailed, "describe configs of topic nope: UNKNOWN_TOPIC_OR_PARTITION: This server", "config", "describe", "topic", "nope")
	b.fails(exitFailed, "describe configs of broker 7: the cluster has no such broker", "config", "describe", "broker", "7", "--timeout", "3s")
	b.fails(exitFailed, "alter configs of broker 7: the cluster has no such broker", "config", "alter", "broker", "7", "--config", "log.retention.ms=5000", "--timeout", "3s")
}
