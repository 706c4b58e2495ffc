package config

import (
	"cmp"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func defaults(t *testing.T) Topic {
	t.Helper()
	b, _ := mustLoad(t, "", nil)
	return b.Topic
}

func TestTopicOverridesGoOverDefaults(t *testing.T) {
	d := defaults(t)
	got, err := TopicConfig("orders", d, map[string]string{
		"retention.ms": " 86400000 ", "local.retention.ms": "1000", "segment.bytes": "1048576", "segment.ms": "60000",
		"remote.storage.enable": "TRUE", "message.timestamp.type": "LogAppendTime", "flush.messages": "9223372036854775807",
		"cleanup.policy": "delete", "compression.type": "zstd",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := d
	want.RetentionMs, want.LocalRetentionMs, want.SegmentBytes, want.SegmentAge = 86400000, 1000, 1<<20, time.Minute
	want.RemoteStorage, want.LogAppendTime, want.FlushMessages, want.Compression = true, true, 1<<63-1, "zstd"
	if got != want {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
}

func TestTopicConfigRefusals(t *testing.T) {
	for _, c := range []struct{ topic, key, value, want string }{
		{"t", "segment.bytes", "1048575", "Invalid value 1048575 for configuration segment.bytes: Value must be at least 1048576"},
		{"t", "retention.ms", "-2", "Value must be at least -1"},
		{"t", "retention.ms", "", "Not a number of type LONG"},
		{"t", "local.retention.ms", "604800001", "Invalid value 604800001 for configuration local.retention.ms: Value must not be more than retention.ms property value: 604800000"},
		{"t", "local.retention.ms", "-1", "Value must not be -1 as retention.ms value is set as 604800000."},
		{"t", "cleanup.policy", "shred", "String must be one of: compact, delete"},
		{"t", "compression.type", "none", "String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer"},
		{"t", "unclean.leader.election.enable", "true", "a leader is always elected from the in-sync replicas"},
		{"t", "min.cleanable.dirty.ratio", "1.5", "Value must be no more than 1"},
		{"t", "min.cleanable.dirty.ratio", "NaN", "Not a number of type DOUBLE"},
		{"t", "preallocate", "1", "Expected value to be either true or false"},
		{"t", "retention.m", "1", "Unknown topic config name: retention.m; did you mean retention.ms?"},
		{"t", "log.retention.ms", "1", "log.retention.ms is a setting of the broker; a topic's own is retention.ms"},
		{"t", "quantum", "1", "Unknown topic config name: quantum"},
	} {
		_, err := TopicConfig(c.topic, defaults(t), map[string]string{c.key: c.value})
		var e *Error
		if !errors.As(err, &e) || !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s=%s:\n got  %v\n want %s", c.key, c.value, err, c.want)
		}
	}
}

func TestDisabledCopiesKeepTheLimitsOfTheWhole(t *testing.T) {
	for _, c := range []struct {
		local string
		fine  bool
	}{{"-2", true}, {"1000", true}, {"500", false}} {
		o := map[string]string{"remote.storage.enable": "true", "remote.log.copy.disable": "true", "retention.ms": "1000", "local.retention.ms": c.local}
		if _, err := TopicConfig("t", defaults(t), o); err == nil != c.fine {
			t.Errorf("retention.ms of 1000, local.retention.ms of %s: %v", c.local, err)
		}
		o["remote.storage.enable"] = "false"
		if _, err := TopicConfig("t", defaults(t), o); err != nil {
			t.Errorf("local.retention.ms of %s of a topic that is not tiered: %v", c.local, err)
		}
	}
}

func TestTopicConfigCleanupPolicies(t *testing.T) {
	for policy, want := range map[string][2]bool{"delete": {true, false}, "compact": {false, true}, "compact,delete": {true, true}, "": {}} {
		got, err := TopicConfig("t", defaults(t), map[string]string{"cleanup.policy": policy, "remote.storage.enable": "false"})
		if err != nil || got.CleanupDelete != want[0] || got.CleanupCompact != want[1] {
			t.Errorf("%q: %v, %v, %v", policy, got.CleanupDelete, got.CleanupCompact, err)
		}
	}
}

func TestACompactedTopicIsNotTiered(t *testing.T) {
	d := defaults(t)
	compacted := d
	compacted.CleanupDelete, compacted.CleanupCompact = false, true
	for _, policy := range []string{"compact", "compact,delete"} {
		_, err := TopicConfig("t", d, map[string]string{"cleanup.policy": policy, "remote.storage.enable": "true"})
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "unsupported for the compacted topics") {
			t.Errorf("%s: %v", policy, err)
		}
		if TieredByDefault(d, map[string]string{"cleanup.policy": policy}) {
			t.Errorf("a new topic with %s is tiered", policy)
		}
	}
	if !TieredByDefault(d, nil) || TieredByDefault(compacted, nil) || !TieredByDefault(compacted, map[string]string{"cleanup.policy": "delete"}) {
		t.Error("the default of new topics is wrong")
	}
	// A default that comes later does not stop the start, nor bypass the bucket.
	got, err := TopicConfig("t", compacted, map[string]string{"remote.storage.enable": "true"})
	if err != nil || got.CleanupCompact || !got.CleanupDelete {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestCheckTopicChange(t *testing.T) {
	d := defaults(t)
	tiered := d
	tiered.RemoteStorage = true
	failure := errors.New("no answer")
	says := func(there bool, err error) func() (bool, error) { return func() (bool, error) { return there, err } }
	if err := CheckTopicChange(tiered, d, says(true, nil)); !errors.Is(err, ErrInvalid) {
		t.Errorf("turning tiering off with records in the bucket: %v", err)
	}
	if err := CheckTopicChange(tiered, d, says(false, nil)); err != nil {
		t.Errorf("turning tiering off with an empty bucket: %v", err)
	}
	if err := CheckTopicChange(tiered, d, says(false, failure)); !errors.Is(err, failure) {
		t.Errorf("turning tiering off without knowing the bucket: %v", err)
	}
	deleting := d
	deleting.RemoteDeleteOnDisable = true
	if err := CheckTopicChange(tiered, deleting, says(true, failure)); err != nil {
		t.Errorf("turning tiering off, and deleting what is in the bucket: %v", err)
	}
	if err := CheckTopicChange(d, tiered, says(true, failure)); err != nil {
		t.Errorf("turning tiering on: %v", err)
	}
}

// TestTieringByDefaultGivesWayToCompaction: a topic that is tiered because nobody said
// anything is told to be compacted, by the operations of a request.
func TestTieringByDefaultGivesWayToCompaction(t *testing.T) {
	set := func(name, value string) Op { return Op{Set, name, &value} }
	for name, c := range map[string]struct {
		byDefault bool
		ops       []Op
		want      string
	}{
		"compact":                           {true, []Op{set("cleanup.policy", "compact")}, "false"},
		"compact and delete":                {true, []Op{set("cleanup.policy", "compact,delete")}, "false"},
		"append compact":                    {true, []Op{{Append, "cleanup.policy", set("", "compact").Value}}, "false"},
		"delete":                            {true, []Op{set("cleanup.policy", "delete")}, "true"},
		"anything else":                     {true, []Op{set("retention.ms", "1")}, "true"},
		"compact, and tiered by name":       {true, []Op{set("cleanup.policy", "compact"), set("remote.storage.enable", "true")}, "true"},
		"compact, where off deletes":        {true, []Op{set("cleanup.policy", "compact"), set("remote.log.delete.on.disable", "true")}, "true"},
		"compact, where tiering was wished": {false, []Op{set("cleanup.policy", "compact")}, "true"},
	} {
		before := map[string]string{"remote.storage.enable": "true"}
		got, err := (&Broker{TieringDefault: c.byDefault}).AlterTopic(before, c.ops)
		if err != nil || got["remote.storage.enable"] != c.want || before["remote.storage.enable"] != "true" {
			t.Errorf("%s: %v from %v, %v", name, got, before, err)
		}
	}
}

func entry(t *testing.T, all []Entry, name string) Entry {
	t.Helper()
	for _, e := range all {
		if e.Name == name {
			return e
		}
	}
	t.Fatalf("%s is not described", name)
	return Entry{}
}

// line prints an entry as kafka-configs does.
func line(e Entry) string {
	show := func(v *string) string {
		if v == nil {
			return "null"
		}
		return *v
	}
	var synonyms []string
	names := map[Source]string{1: "DYNAMIC_TOPIC_CONFIG", 2: "DYNAMIC_BROKER_CONFIG", 3: "DYNAMIC_DEFAULT_BROKER_CONFIG", 4: "STATIC_BROKER_CONFIG", 5: "DEFAULT_CONFIG"}
	for _, s := range e.Synonyms {
		synonyms = append(synonyms, names[s.Source]+":"+s.Name+"="+show(s.Value))
	}
	return show(e.Value) + " " + names[e.Source] + " {" + strings.Join(synonyms, ", ") + "}"
}

// Values, sources and synonyms are what Kafka's DescribeConfigs tells.
func TestDescribeTopicIsKafkas(t *testing.T) {
	b, _ := mustLoad(t, "log.segment.bytes=2097152\nlog.retention.hours=24\nlog.roll.ms=5000", nil)
	b, err := b.WithDynamic(map[string]string{"log.segment.bytes": "3145728"}, map[string]string{"message.max.bytes": "2000000"})
	if err != nil {
		t.Fatal(err)
	}
	all := b.DescribeTopic(map[string]string{"segment.bytes": "4194304", "retention.bytes": "5"})
	for name, want := range map[string]string{
		"segment.bytes":         "4194304 DYNAMIC_TOPIC_CONFIG {DYNAMIC_TOPIC_CONFIG:segment.bytes=4194304, DYNAMIC_DEFAULT_BROKER_CONFIG:log.segment.bytes=3145728, STATIC_BROKER_CONFIG:log.segment.bytes=2097152, DEFAULT_CONFIG:log.segment.bytes=1073741824}",
		"retention.ms":          "86400000 DEFAULT_CONFIG {}", // as Kafka: the hours do not count as retention.ms
		"segment.ms":            "5000 STATIC_BROKER_CONFIG {STATIC_BROKER_CONFIG:log.roll.ms=5000, DEFAULT_CONFIG:log.roll.hours=168}",
		"max.message.bytes":     "2000000 DYNAMIC_BROKER_CONFIG {DYNAMIC_BROKER_CONFIG:message.max.bytes=2000000, DEFAULT_CONFIG:message.max.bytes=1048588}",
		"flush.messages":        "1 DEFAULT_CONFIG {DEFAULT_CONFIG:log.flush.interval.messages=1}",
		"remote.storage.enable": "false DEFAULT_CONFIG {}",
		"min.insync.replicas":   "1 DEFAULT_CONFIG {DEFAULT_CONFIG:min.insync.replicas=1}",
	} {
		e := entry(t, all, name)
		if got := line(e); got != want {
			t.Errorf("%s:\n got  %s\n want %s", name, got, want)
		}
		if e.IsDefault != (e.Source == DefaultConfig) || e.ReadOnly || e.Doc == "" {
			t.Errorf("%s: %+v", name, e)
		}
	}
	if len(all) != len(topicKeys) {
		t.Errorf("%d entries", len(all))
	}
	if b.Topic.SegmentBytes != 3145728 || b.Topic.MaxMessageBytes != 2000000 {
		t.Errorf("%+v", b.Topic)
	}
}

func TestDescribeBroker(t *testing.T) {
	b, _ := mustLoad(t, "broker.id=3\nlog.retention.hours=24\nvarve.bucket=s3://b\nvarve.bucket.access.key=k\nvarve.bucket.secret.key=s", nil)
	b, err := b.WithDynamic(map[string]string{"message.max.bytes": "7"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := b.Describe()
	for name, want := range map[string]string{
		"node.id":                 "3 DEFAULT_CONFIG {DEFAULT_CONFIG:node.id=0}",
		"broker.id":               "3 STATIC_BROKER_CONFIG {STATIC_BROKER_CONFIG:broker.id=3, DEFAULT_CONFIG:broker.id=-1}",
		"log.retention.hours":     "24 STATIC_BROKER_CONFIG {STATIC_BROKER_CONFIG:log.retention.hours=24, DEFAULT_CONFIG:log.retention.hours=168}",
		"log.retention.ms":        "null DEFAULT_CONFIG {}",
		"message.max.bytes":       "7 DYNAMIC_DEFAULT_BROKER_CONFIG {DYNAMIC_DEFAULT_BROKER_CONFIG:message.max.bytes=7, DEFAULT_CONFIG:message.max.bytes=1048588}",
		"varve.bucket.secret.key": "null STATIC_BROKER_CONFIG {STATIC_BROKER_CONFIG:varve.bucket.secret.key=null}",
	} {
		if got := line(entry(t, all, name)); got != want {
			t.Errorf("%s:\n got  %s\n want %s", name, got, want)
		}
	}
	if e := entry(t, all, "message.max.bytes"); e.ReadOnly {
		t.Error("message.max.bytes is read-only")
	}
	if e := entry(t, all, "listeners"); !e.ReadOnly {
		t.Error("listeners is not read-only")
	}
	if d := b.DescribeDefaults(); len(d) != 1 || d[0].Name != "message.max.bytes" {
		t.Errorf("%+v", d)
	}
	if _, err := b.WithDynamic(map[string]string{"node.id": "4", "log.segment.bytes": "1"}, nil); err == nil || !strings.Contains(err.Error(), "Cannot update these configs dynamically: node.id") || !strings.Contains(err.Error(), "log.segment.bytes") {
		t.Errorf("got %v", err)
	}
}

// TestSettingsOfTheWholeBrokerAreAltered: for all brokers and for one, whether there is
// something here that they act on or not. That they are those of Apache Kafka 4.3, with its
// answers, is what TestBrokerSettingsAreAlteredAsByApacheKafka of test/interop compares.
func TestSettingsOfTheWholeBrokerAreAltered(t *testing.T) {
	for name, c := range map[string]struct {
		value, wrong string
		acted        func(*Broker) bool // nil: nothing here does
	}{
		"log.cleaner.threads":                       {"2", "0", func(b *Broker) bool { return b.CleanerThreads == 2 }},
		"log.cleaner.dedupe.buffer.size":            {"2097152", "1", func(b *Broker) bool { return b.CleanerDedupeBytes == 2097152 }},
		"log.cleaner.io.max.bytes.per.second":       {"5000000", "x", func(b *Broker) bool { return b.CleanerMaxBytesPerSecond == 5e6 }},
		"transaction.partition.verification.enable": {"false", "perhaps", func(b *Broker) bool { return !b.Transactions.Verify }},
		"log.cleaner.backoff.ms":                    {"20000", "-1", func(b *Broker) bool { return b.CleanerBackoff == 20*time.Second }},
		"producer.id.expiration.ms":                 {"1000", "0", func(b *Broker) bool { return b.ProducerIDExpiration == time.Second }},
		"max.connections":                           {"10", "0", func(b *Broker) bool { return b.MaxConnections == 10 }},
		"max.connections.per.ip":                    {"10", "-1", func(b *Broker) bool { return b.MaxConnectionsPerIP == 10 }},
		"max.connections.per.ip.overrides": {"10.0.0.1:3,[::1]:4", "localhost:3", func(b *Broker) bool {
			return maps.Equal(b.ConnectionOverrides, map[netip.Addr]int{netip.MustParseAddr("10.0.0.1"): 3, netip.MustParseAddr("::1"): 4})
		}},
		"max.connection.creation.rate":                   {"10", "0", func(b *Broker) bool { return b.MaxConnectionRate == 10 }},
		"remote.log.manager.copier.thread.pool.size":     {"20", "0", func(b *Broker) bool { return b.RemoteCopyConcurrency == 20 }},
		"remote.log.reader.threads":                      {"16", "0", func(b *Broker) bool { return b.RemoteFetchConcurrency == 16 }},
		"remote.log.manager.copy.max.bytes.per.second":   {"1000", "0", func(b *Broker) bool { return b.RemoteCopyMaxBytesPerSecond == 1000 }},
		"remote.log.manager.fetch.max.bytes.per.second":  {"1000", "0", func(b *Broker) bool { return b.RemoteFetchMaxBytesPerSecond == 1000 }},
		"group.consumer.assignment.interval.ms":          {"2000", "15001", func(b *Broker) bool { return b.Consumer.AssignmentInterval == 2*time.Second }},
		"group.share.assignment.interval.ms":             {"2000", "15001", func(b *Broker) bool { return b.ShareGroups.AssignmentInterval == 2*time.Second }},
		"group.streams.assignment.interval.ms":           {"2000", "15001", func(b *Broker) bool { return b.Streams.AssignmentInterval == 2*time.Second }},
		"num.replica.fetchers":                           {"2", "0", nil},
		"follower.fetch.last.tiered.offset.enable":       {"true", "perhaps", nil},
		"remote.log.manager.follower.thread.pool.size":   {"3", "0", nil},
		"remote.log.manager.expiration.thread.pool.size": {"11", "0", nil},
		"remote.fetch.max.wait.ms":                       {"100", "0", nil},
		"remote.list.offsets.request.timeout.ms":         {"100", "0", nil},
		"remote.log.index.file.cache.total.size.bytes":   {"100", "0", nil},
		"group.coordinator.cached.buffer.max.bytes":      {"524288", "524287", nil},
		"share.coordinator.cached.buffer.max.bytes":      {"524288", "524287", nil},
		"log.cleaner.io.buffer.size":                     {"1048576", "-1", nil},
		"log.cleaner.io.buffer.load.factor":              {"0.7", "x", nil},
		"background.threads":                             {"12", "0", nil},
		"num.io.threads":                                 {"9", "0", nil},
		"num.network.threads":                            {"4", "0", nil},
		"num.recovery.threads.per.data.dir":              {"3", "0", nil},
	} {
		for _, level := range []Source{DynamicDefaultBrokerConfig, DynamicBrokerConfig} {
			with := func(value string) (*Broker, error) {
				set := map[string]string{name: value}
				if level == DynamicDefaultBrokerConfig {
					return started(t).WithDynamic(set, nil)
				}
				return started(t).WithDynamic(nil, set)
			}
			b, err := with(c.value)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			e := entry(t, b.Describe(), name)
			if e.Value == nil || *e.Value == "" || e.Source != level || e.ReadOnly || len(e.Synonyms) != 2 || *e.Synonyms[0].Value != c.value {
				t.Errorf("%s: %+v", name, e)
			}
			if c.acted != nil && !c.acted(b) {
				t.Errorf("%s has no effect", name)
			}
			if k := table().brokerByName[name]; (k.Enforcement == NoEffect) != (c.acted == nil) {
				t.Errorf("%s is documented otherwise", name)
			}
			if _, err := with(c.wrong); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s=%s: %v", name, c.wrong, err)
			}
		}
	}
}

// TestNumbersOfThreadsAreDoubledAtMost at a time, and halved, as in Apache Kafka.
func TestNumbersOfThreadsAreDoubledAtMost(t *testing.T) {
	for set, want := range map[string]string{
		"background.threads=20":  "",
		"background.threads=5":   "",
		"background.threads=21":  "Dynamic thread count update validation failed for background.threads=21, value should not be greater than double the current value 10",
		"background.threads=4":   "Dynamic thread count update validation failed for background.threads=4, value should be at least half the current value 10",
		"num.io.threads=17":      "Dynamic thread count update validation failed for num.io.threads=17, value should not be greater than double the current value 8",
		"num.network.threads=1":  "",
		"log.cleaner.threads=2":  "",
		"log.cleaner.threads=3":  "Log cleaner threads cannot be increased to more than double the current value 1",
		"log.cleaner.backoff.ms": "",
	} {
		name, value, _ := strings.Cut(set, "=")
		b := started(t)
		next, err := b.WithDynamic(map[string]string{name: cmp.Or(value, "99999999")}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.CheckReconfiguration(next); (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%s: %v", set, err)
		}
		if err := next.CheckReconfiguration(next); err != nil {
			t.Errorf("%s again: %v", set, err)
		}
	}
	b, err := started(t).WithDynamic(map[string]string{"log.cleaner.threads": "8"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.CheckReconfiguration(started(t)); err == nil || err.Error() != "Log cleaner threads cannot be reduced to less than half the current value 8" {
		t.Errorf("from 8 to 1: %v", err)
	}
}

// TestAStoredSettingThatDoesNotHoldIsLeftOutAlone: one of a later version, or that the file
// contradicts since, took all others with it.
func TestAStoredSettingThatDoesNotHoldIsLeftOutAlone(t *testing.T) {
	for name, c := range map[string]struct {
		all, one map[string]string
		left     []string
	}{
		"all hold":               {map[string]string{"log.cleaner.threads": "2"}, nil, nil},
		"an unknown one":         {map[string]string{"log.cleaner.threads": "2", "of.tomorrow": "1"}, nil, []string{"of.tomorrow"}},
		"one that is read only":  {map[string]string{"log.cleaner.threads": "2"}, map[string]string{"log.dirs": "/x"}, []string{"log.dirs"}},
		"one of a broker alone":  {map[string]string{"log.cleaner.threads": "2", "listeners": "PLAINTEXT://:1"}, nil, []string{"listeners"}},
		"two that are no number": {map[string]string{"message.max.bytes": "x"}, map[string]string{"log.cleaner.threads": "2", "log.roll.ms": "y"}, []string{"message.max.bytes", "log.roll.ms"}},
		"one of two that contradict each other": {
			map[string]string{"log.cleaner.threads": "2"}, map[string]string{"log.cleaner.dedupe.buffer.size": "1048576"}, []string{"log.cleaner.threads"},
		},
	} {
		b, left := started(t).WithStored(c.all, c.one)
		var names []string
		for _, f := range left {
			names = append(names, f.Key)
		}
		if !slices.Equal(names, c.left) {
			t.Errorf("%s: left out %v", name, names)
		}
		threads := 2
		if slices.Contains(c.left, "log.cleaner.threads") {
			threads = 1
		}
		if b.CleanerThreads != threads {
			t.Errorf("%s: %d threads", name, b.CleanerThreads)
		}
	}
}

// A cleaner with less memory would go over a log again and again.
func TestEachCleanerHasAMebibyte(t *testing.T) {
	for threads, ok := range map[string]bool{"128": true, "129": false} {
		_, _, static := Load(Sources{Sets: []string{"log.cleaner.threads=" + threads}})
		_, dynamic := started(t).WithDynamic(map[string]string{"log.cleaner.threads": threads}, nil)
		for _, err := range []error{static, dynamic} {
			if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.") {
				t.Errorf("%s threads: %v", threads, err)
			}
		}
	}
	if _, _, err := Load(Sources{Sets: []string{"log.cleaner.threads=0"}}); err != nil {
		t.Error(err)
	}
}

// KIP-339.
func TestIncrementalAlter(t *testing.T) {
	value := func(s string) *string { return &s }
	before := map[string]string{"retention.ms": "5", "leader.replication.throttled.replicas": "0:1,1:2", "gone.in.a.later.version": "x"}
	for name, c := range map[string]struct {
		ops  []Op
		want map[string]string // added to before; "" takes out
		err  string
	}{
		"set":                    {ops: []Op{{Set, "segment.ms", value("7")}}, want: map[string]string{"segment.ms": "7"}},
		"replace":                {ops: []Op{{Set, "retention.ms", value("7")}}, want: map[string]string{"retention.ms": "7"}},
		"delete":                 {ops: []Op{{Delete, "retention.ms", nil}}, want: map[string]string{"retention.ms": ""}},
		"delete what is not set": {ops: []Op{{Delete, "segment.ms", nil}}},
		"delete an unknown key":  {ops: []Op{{Delete, "gone.in.a.later.version", nil}}, want: map[string]string{"gone.in.a.later.version": ""}},
		"append to the default":  {ops: []Op{{Append, "cleanup.policy", value("compact")}}, want: map[string]string{"cleanup.policy": "delete,compact"}},
		"append what is there":   {ops: []Op{{Append, "leader.replication.throttled.replicas", value("1:2,2:3")}}, want: map[string]string{"leader.replication.throttled.replicas": "0:1,1:2,2:3"}},
		"subtract":               {ops: []Op{{Subtract, "leader.replication.throttled.replicas", value("0:1,9:9")}}, want: map[string]string{"leader.replication.throttled.replicas": "1:2"}},
		"append to a number":     {ops: []Op{{Append, "retention.ms", value("1")}}, err: "Config value append is not allowed for config key: retention.ms"},
		"subtract from a number": {ops: []Op{{Subtract, "retention.ms", value("1")}}, err: "Config value subtract is not allowed for config key: retention.ms"},
		"null":                   {ops: []Op{{Set, "retention.ms", nil}}, err: "Null value not supported for : retention.ms"},
		"append null":            {ops: []Op{{Append, "cleanup.policy", nil}}, err: "Null value not supported"},
		"unknown":                {ops: []Op{{Set, "retention.mss", value("1")}}, err: "did you mean retention.ms?"},
		"twice":                  {ops: []Op{{Set, "segment.ms", value("1")}, {Delete, "segment.ms", nil}}, err: "Error due to duplicate config keys: segment.ms"},
		"no such operation":      {ops: []Op{{9, "cleanup.policy", value("1")}}, err: "Unknown operation 9"},
	} {
		t.Run(name, func(t *testing.T) {
			input := maps.Clone(before)
			got, err := new(Broker).AlterTopic(input, c.ops)
			if !maps.Equal(input, before) {
				t.Error("the overrides were changed in place")
			}
			if c.err != "" {
				if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got %v, want %s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := maps.Clone(before)
			for k, v := range c.want {
				if want[k] = v; v == "" {
					delete(want, k)
				}
			}
			if !maps.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
	if got, err := AlterBroker(nil, []Op{{Set, "log.retention.ms", value("9")}}); err != nil || got["log.retention.ms"] != "9" {
		t.Errorf("broker: %v, %v", got, err)
	}
}

func TestNearest(t *testing.T) {
	known := map[string]int{"retention.ms": 1, "retention.bytes": 1, "segment.bytes": 1}
	for in, want := range map[string]string{
		"retention.ms": "retention.ms", "retention.sm": "retention.ms", "Retention.MS": "retention.ms", "retention": "retention.ms",
		"segment.byte": "segment.bytes", "x": "", "completely.different": "",
	} {
		if got := nearest(in, known); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"ab", "ba", 1}, {"abc", "abc", 0}, {"kitten", "sitting", 3}, {"abcd", "acbd", 1}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%s to %s: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestTieringByDefaultIsToldAsADefault(t *testing.T) {
	for _, c := range []struct {
		def, override, want string
	}{
		{"true", "true", "true DEFAULT_CONFIG"},
		{"true", "false", "false DYNAMIC_TOPIC_CONFIG"},
		{"false", "true", "true DYNAMIC_TOPIC_CONFIG"},
		{"false", "false", "false DEFAULT_CONFIG"},
	} {
		b, _, err := Load(Sources{Sets: []string{"varve.tiering.default=" + c.def}})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range b.DescribeTopic(map[string]string{"remote.storage.enable": c.override}) {
			if e.Name != "remote.storage.enable" {
				continue
			}
			if got := *e.Value + map[bool]string{true: " DEFAULT_CONFIG", false: " DYNAMIC_TOPIC_CONFIG"}[e.IsDefault]; got != c.want {
				t.Errorf("default %s, override %s: told as %s, want %s", c.def, c.override, got, c.want)
			}
		}
	}
}
