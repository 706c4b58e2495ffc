//go:build interop

package interop

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// brokerSetting is one that is altered while brokers run: to what it can be, and to what
// it cannot.
type brokerSetting struct {
	name, good string
	wrong      []string
	// differs says why Apache Kafka takes what we refuse, of these values.
	differs string
	values  []string
}

// brokerSettings are those that Apache Kafka 4.3 lets be altered, but for logins and TLS,
// and some that it does not.
var brokerSettings = []brokerSetting{
	{name: "background.threads", good: "12", wrong: []string{"0", "21", "4", "x"}},
	{name: "num.io.threads", good: "9", wrong: []string{"0", "17", "3"}},
	{name: "num.network.threads", good: "4", wrong: []string{"0", "7"}},
	{name: "num.recovery.threads.per.data.dir", good: "3", wrong: []string{"0", "5"}},
	{name: "num.replica.fetchers", good: "2", wrong: []string{"0", "3"}},
	{name: "log.cleaner.threads", good: "2", wrong: []string{"0", "3"}},
	{name: "log.cleaner.dedupe.buffer.size", good: "4194304", wrong: []string{"x", "-1"}},
	{name: "log.cleaner.io.buffer.size", good: "1048576", wrong: []string{"x", "-1"}},
	{name: "log.cleaner.io.buffer.load.factor", good: "0.7", wrong: []string{"x"}},
	{name: "log.cleaner.io.max.bytes.per.second", good: "5000000", wrong: []string{"x"}},
	{name: "log.cleaner.backoff.ms", good: "20000", wrong: []string{"-1", "x"}},
	{name: "log.cleaner.delete.retention.ms", good: "86400001", wrong: []string{"-1"}},
	{name: "log.cleaner.max.compaction.lag.ms", good: "86400000", wrong: []string{"0"}},
	{name: "log.cleaner.min.cleanable.ratio", good: "0.6", wrong: []string{"2", "x"}},
	{name: "log.cleaner.min.compaction.lag.ms", good: "1", wrong: []string{"-1"}},
	{name: "log.cleanup.policy", good: "delete", wrong: []string{"shred"}},
	{name: "compression.type", good: "producer", wrong: []string{"rar"}},
	{name: "compression.gzip.level", good: "3", wrong: []string{"0", "10"}},
	{name: "compression.lz4.level", good: "3", wrong: []string{"0", "18"}},
	{name: "compression.zstd.level", good: "4", wrong: []string{"23"}},
	{name: "log.flush.interval.messages", good: "2", wrong: []string{"0"}},
	{name: "log.flush.interval.ms", good: "86400000", wrong: []string{"x"}},
	{name: "log.index.interval.bytes", good: "4097", wrong: []string{"-1"}},
	{name: "log.index.size.max.bytes", good: "10485752", wrong: []string{"3"}},
	{name: "log.local.retention.bytes", good: "-2", wrong: []string{"-3"}},
	{name: "log.local.retention.ms", good: "86400000", wrong: []string{"-3", "604800001"}},
	{name: "log.message.timestamp.after.max.ms", good: "3600001", wrong: []string{"-1"}},
	{name: "log.message.timestamp.before.max.ms", good: "86400000000", wrong: []string{"-1"}},
	{name: "log.message.timestamp.type", good: "CreateTime", wrong: []string{"Never"}},
	{name: "log.preallocate", good: "false", wrong: []string{"perhaps"}},
	{name: "log.retention.bytes", good: "-1", wrong: []string{"x"}},
	{name: "log.retention.ms", good: "604800001", wrong: []string{"x"}},
	{name: "log.roll.jitter.ms", good: "1", wrong: []string{"-1"}},
	{name: "log.roll.ms", good: "604800001", wrong: []string{"0"}},
	{name: "log.segment.bytes", good: "1073741823", wrong: []string{"1048575"}},
	{name: "log.segment.delete.delay.ms", good: "60001", wrong: []string{"-1"}},
	{name: "message.max.bytes", good: "1048589", wrong: []string{"-1"}},
	{name: "min.insync.replicas", wrong: []string{"0"}}, // Apache Kafka never unsets it (KIP-966)
	{name: "unclean.leader.election.enable", good: "false", wrong: []string{"perhaps"}},
	{name: "transaction.partition.verification.enable", good: "true", wrong: []string{"perhaps"}},
	{name: "producer.id.expiration.ms", good: "86400001", wrong: []string{"0", "-1"}},
	{name: "max.connections", good: "10000", wrong: []string{"0", "x"}},
	{name: "max.connections.per.ip", good: "10000", wrong: []string{"-1", "0"}},
	{name: "max.connections.per.ip.overrides", good: "127.0.0.9:5", wrong: []string{"127.0.0.9", "127.0.0.9:x", "a b:5"},
		differs: "names are not looked up", values: []string{"localhost:5"}},
	{name: "max.connection.creation.rate", good: "10000", wrong: []string{"0"}},
	{name: "group.consumer.assignment.interval.ms", good: "1001", wrong: []string{"-1", "15001"}},
	{name: "group.share.assignment.interval.ms", good: "1001", wrong: []string{"-1", "15001"}},
	{name: "group.streams.assignment.interval.ms", good: "1001", wrong: []string{"-1", "15001"}},
	{name: "group.coordinator.cached.buffer.max.bytes", good: "600000", wrong: []string{"1"}},
	{name: "share.coordinator.cached.buffer.max.bytes", good: "600000", wrong: []string{"1"}},
	{name: "follower.fetch.last.tiered.offset.enable", good: "true", wrong: []string{"perhaps"}},
	{name: "remote.fetch.max.wait.ms", good: "400", wrong: []string{"0"}},
	{name: "remote.list.offsets.request.timeout.ms", good: "20000", wrong: []string{"0"}},
	{name: "remote.log.index.file.cache.total.size.bytes", good: "1048576", wrong: []string{"0"}},
	{name: "remote.log.manager.copier.thread.pool.size", good: "11", wrong: []string{"0", "21", "4"}},
	{name: "remote.log.manager.expiration.thread.pool.size", good: "11", wrong: []string{"0", "21", "4"}},
	{name: "remote.log.manager.follower.thread.pool.size", good: "3", wrong: []string{"0", "5"}},
	{name: "remote.log.reader.threads", good: "17", wrong: []string{"0", "65"}},
	{name: "remote.log.manager.copy.max.bytes.per.second", good: "1073741824", wrong: []string{"0"}},
	{name: "remote.log.manager.fetch.max.bytes.per.second", good: "1073741824", wrong: []string{"0"}},

	{name: "log.dirs", wrong: []string{"/nowhere"}},
	{name: "log.cleaner.enable", wrong: []string{"false"}},
	{name: "log.retention.hours", wrong: []string{"1"}},
	{name: "producer.id.expiration.check.interval.ms", wrong: []string{"1"}},
	{name: "socket.request.max.bytes", wrong: []string{"1"}},
	{name: "metric.reporters", wrong: []string{"no.such.Class"}},
	{name: "leader.replication.throttled.rate", differs: "nobody replicates, so nothing is throttled", values: []string{"1000000"}},
	{name: "no.such", differs: "what nobody knows has no effect", values: []string{"1"}},
}

// altering sends one change of a setting of a broker, "" for all of them.
func altering(t testing.TB, c *rawConn, broker string, op kmsg.IncrementalAlterConfigOp, name, value string) string {
	t.Helper()
	q := alterRequest(broker, op, name, value)
	q.Resources[0].ResourceType = kmsg.ConfigResourceTypeBroker
	if op == kmsg.IncrementalAlterConfigOpDelete {
		q.Resources[0].Configs[0].Value = nil
	}
	return codeName(ask[*kmsg.IncrementalAlterConfigsResponse](t, c, 1, q).Resources[0].ErrorCode)
}

// alteringAll sets all settings of a broker to what they can be, or unsets them.
func alteringAll(t testing.TB, c *rawConn, broker string, op kmsg.IncrementalAlterConfigOp) string {
	t.Helper()
	q := alterRequest(broker, op, "", "")
	to := &q.Resources[0]
	to.ResourceType, to.Configs = kmsg.ConfigResourceTypeBroker, nil
	for i := range brokerSettings {
		s := &brokerSettings[i]
		config := kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: s.name, Op: op, Value: &s.good}
		if op == kmsg.IncrementalAlterConfigOpDelete {
			config.Value = nil
		}
		if s.good != "" {
			to.Configs = append(to.Configs, config)
		}
	}
	return codeName(ask[*kmsg.IncrementalAlterConfigsResponse](t, c, 1, q).Resources[0].ErrorCode)
}

// described is a setting as a broker tells it, with what was altered of it.
func described(t testing.TB, c *rawConn, name string) string {
	t.Helper()
	q := kmsg.NewPtrDescribeConfigsRequest()
	q.IncludeSynonyms = true
	q.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "0", ConfigNames: []string{name}}}
	var all []string
	for _, e := range ask[*kmsg.DescribeConfigsResponse](t, c, 4, q).Resources[0].Configs {
		altered := e.Source == kmsg.ConfigSourceDynamicBrokerConfig || e.Source == kmsg.ConfigSourceDynamicDefaultBrokerConfig
		value := "as in its file"
		if altered && e.Value != nil {
			value = *e.Value
		}
		all = append(all, fmt.Sprintf("%s=%s altered %v, read only %v, type %v, sensitive %v", e.Name, value, altered, e.ReadOnly, e.ConfigType, e.IsSensitive))
		for _, s := range e.ConfigSynonyms {
			if s.Source == kmsg.ConfigSourceDynamicBrokerConfig || s.Source == kmsg.ConfigSourceDynamicDefaultBrokerConfig {
				all = append(all, fmt.Sprintf("%s=%s of %v", s.Name, *s.Value, s.Source))
			}
		}
	}
	return strings.Join(all, "; ")
}

// TestBrokerSettingsAreAlteredAsByApacheKafka alters each setting that Apache Kafka 4.3
// lets be altered while brokers run, of one broker and of all of them, to what it can be
// and to what it cannot: the codes are equal, and so is what is told of them after that.
func TestBrokerSettingsAreAlteredAsByApacheKafka(t *testing.T) {
	const set, del = kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpDelete
	ours, theirs := dial(t, broker(t).Address), dial(t, apache(t).Address)
	for i := range brokerSettings {
		s, level := &brokerSettings[i], []string{"", "0"}[i%2] // each refusal of Apache Kafka takes a while
		for _, value := range s.wrong {
			got, want := altering(t, ours, level, set, s.name, value), altering(t, theirs, level, set, s.name, value)
			if got != want || got == "NONE" {
				t.Errorf("%s=%s of %q: varve %s, Kafka %s", s.name, value, level, got, want)
			}
		}
		for _, value := range s.values {
			got, want := altering(t, ours, level, set, s.name, value), altering(t, theirs, level, set, s.name, value)
			if altering(t, theirs, level, del, s.name, ""); got == want {
				t.Errorf("%s=%s of %q: both say %s: this is no difference any more (%s)", s.name, value, level, got, s.differs)
			}
		}
	}
	for _, op := range []kmsg.IncrementalAlterConfigOp{set, del} {
		for _, level := range []string{"", "0"} {
			for name, c := range map[string]*rawConn{"varve": ours, "Kafka": theirs} {
				if got := alteringAll(t, c, level, op); got != "NONE" {
					t.Errorf("%v settings of %q: %s says %s", op, level, name, got)
				}
			}
		}
		for i := range brokerSettings {
			s := &brokerSettings[i]
			harness.Until(t, testLimit, s.name+" is told as by Apache Kafka", func() error { // which tells of it a moment later
				if got, want := described(t, ours, s.name), described(t, theirs, s.name); s.good != "" && got != want {
					return fmt.Errorf("%v:\nvarve: %s\nKafka: %s", op, got, want)
				}
				return nil
			})
		}
	}
}
