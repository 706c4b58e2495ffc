package config

import (
	"fmt"
	"maps"
	"strconv"
)

// InternalTopics are the topics that the brokers themselves write.
var InternalTopics = []string{"__consumer_offsets", "__transaction_state", "__share_group_state"}

// topicDefault is the default of a topic key under the broker's settings.
func (v *values) topicDefault(k *Key) string {
	for _, s := range k.Synonyms {
		value, set := v.get(s.Name)
		if !set {
			continue
		}
		if s.Factor == 1 {
			return value
		}
		n, _ := strconv.ParseInt(value, 10, 64) // parse has accepted it
		if n < 0 {
			return "-1" // forever, in any unit
		}
		return strconv.FormatInt(n*s.Factor, 10)
	}
	return k.Default
}

// topicDefaults makes the typed defaults of topics.
func (v *values) topicDefaults(f *faults) Topic {
	var t Topic
	keys := table().topic
	for i := range keys {
		t.set(&keys[i], v.topicDefault(&keys[i]))
	}
	t.check(f, func(topicKey string) string {
		if k := table().topicByName[topicKey]; k.BrokerKey != "" {
			return k.BrokerKey
		}
		return topicKey
	})
	return t
}

// set puts a canonical value in its place.
func (t *Topic) set(k *Key, value string) {
	switch k.Name {
	case "cleanup.policy":
		policies := splitList(value)
		t.CleanupDelete, t.CleanupCompact = contains(policies, "delete"), contains(policies, "compact")
	case "message.timestamp.type":
		t.LogAppendTime = value == "LogAppendTime"
	default:
		if k.topic != nil {
			k.store(k.topic(t), value)
		}
	}
}

// check holds settings against each other; name gives a key the name the user knows.
func (t *Topic) check(f *faults, name func(string) string) {
	t.checkLocal(f, name("local.retention.ms"), t.LocalRetentionMs, name("retention.ms"), t.RetentionMs)
	t.checkLocal(f, name("local.retention.bytes"), t.LocalRetentionBytes, name("retention.bytes"), t.RetentionBytes)
	if t.MinCompactionLag > t.MaxCompactionLag {
		f.add(name("min.compaction.lag.ms"), "", "conflict topic config setting %s > %s", name("min.compaction.lag.ms"), name("max.compaction.lag.ms"))
	}
}

// checkLocal says that what is kept on disk is at most what is kept at all (KIP-405).
func (t *Topic) checkLocal(f *faults, localName string, local int64, totalName string, total int64) {
	switch value := strconv.FormatInt(local, 10); {
	case local == inheritLimit || total == -1:
	case local == -1:
		f.invalid(localName, value, fmt.Sprintf("Value must not be -1 as %s value is set as %d.", totalName, total))
	case local > total:
		f.invalid(localName, value, fmt.Sprintf("Value must not be more than %s property value: %d", totalName, total))
	}
}

// TopicConfig returns the settings of a topic: the defaults, which are Broker.Topic, and
// over them what the topic has of its own. The error is an *Error with every fault.
func TopicConfig(topic string, defaults Topic, overrides map[string]string) (Topic, error) {
	t, own, f := overridden(defaults, overrides)
	if len(f) > 0 {
		return Topic{}, f.err()
	}
	f = t.settle(own)
	return t, f.err()
}

// StoredTopic is TopicConfig for what is stored: a later version may have stored it, and
// the defaults may have changed since. What does not hold by itself is left out; what does
// not agree stays, for each of two limits is one, but that a tiered topic is not compacted.
// Nothing of it stops a broker: all faults are in the second result.
func StoredTopic(defaults Topic, overrides map[string]string) (Topic, []Fault) {
	t, own, f := overridden(defaults, overrides)
	f = append(f, t.settle(own)...)
	if t.RemoteStorage {
		t.CleanupCompact = false
	}
	return t, f
}

// overridden puts what a topic has of its own, as far as it holds by itself, over the
// defaults.
func overridden(defaults Topic, overrides map[string]string) (t Topic, own map[string]string, f faults) {
	t, own = defaults, map[string]string{}
	for _, name := range sortedKeys(overrides) {
		k := table().topicByName[name]
		if value, ok := accept(k, name, overrides[name], true, &f); ok {
			own[name] = value
			t.set(k, value)
		}
	}
	return t, own, f
}

// settle holds the settings of a topic against each other.
func (t *Topic) settle(own map[string]string) (f faults) {
	t.checkTiering(own, &f)
	t.check(&f, func(name string) string { return name })
	return f
}

// checkTiering refuses a tiered topic that is compacted, as Kafka does: what is in the
// bucket is not compacted, so its duplicates would stay for ever. A default alone does
// not make a tiered topic compacted.
func (t *Topic) checkTiering(own map[string]string, f *faults) {
	if t.RemoteStorage && t.RemoteCopyDisable {
		t.checkCopyDisable(f)
	}
	if !t.RemoteStorage || !t.CleanupCompact {
		return
	}
	if _, set := own["cleanup.policy"]; set {
		f.add("remote.storage.enable", "true", "Remote log storage is unsupported for the compacted topics")
		return
	}
	t.CleanupDelete, t.CleanupCompact = true, false
}

// inheritLimit is a local limit that is the topic's.
const inheritLimit = -2

// checkCopyDisable refuses limits of the disk that nothing would ever keep, as Kafka does.
func (t *Topic) checkCopyDisable(f *faults) {
	const why = "When `remote.log.copy.disable` is set to true, the `local.%s` and `%[1]s` must be set to the identical value " +
		"because there will be no more logs copied to the remote storage."
	if l := t.LocalRetentionBytes; l != inheritLimit && l != t.RetentionBytes {
		f.add("local.retention.bytes", strconv.FormatInt(l, 10), why, "retention.bytes")
	}
	if l := t.LocalRetentionMs; l != inheritLimit && l != t.RetentionMs {
		f.add("local.retention.ms", strconv.FormatInt(l, 10), why, "retention.ms")
	}
}

// CheckTopicChange refuses changes that a topic cannot make though both settings are
// good ones. inBucket tells whether records of it are in the bucket; it is asked only
// where that matters, and its error is returned.
func CheckTopicChange(before, after Topic, inBucket func() (bool, error)) error {
	if !before.RemoteStorage || after.RemoteStorage {
		return nil
	}
	if after.RemoteDeleteOnDisable {
		return nil
	}
	var f faults
	if there, err := inBucket(); err != nil {
		return err
	} else if there {
		f.add("remote.storage.enable", "false", "It is invalid to disable remote storage without deleting remote data. "+
			"If you want to keep the remote data and turn to read only, please set `remote.storage.enable=true,remote.log.copy.disable=true`. "+
			"If you want to disable remote storage and delete all remote data, please set `remote.storage.enable=false,remote.log.delete.on.disable=true`.")
	}
	return f.err()
}

// WithoutDefaultTiering makes overrides of those of a topic that is told to be compacted
// by somebody who says nothing of tiering: where tiering is the default it gives way, as
// it does when such a topic is made.
func (b *Broker) WithoutDefaultTiering(overrides map[string]string) map[string]string {
	deletes := overrides["remote.log.delete.on.disable"] == "true" // which nobody is to do by the way
	if !b.TieringDefault || overrides["remote.storage.enable"] != "true" || deletes || TieredByDefault(Topic{}, overrides) {
		return overrides
	}
	overrides = maps.Clone(overrides)
	overrides["remote.storage.enable"] = "false"
	return overrides
}

// TieredByDefault tells whether a new topic that does not say is tiered: not one that
// says that it is to be compacted, nor one of which a default says so.
func TieredByDefault(defaults Topic, overrides map[string]string) bool {
	compacted := defaults.CleanupCompact
	if policy, set := overrides["cleanup.policy"]; set {
		compacted = contains(splitList(policy), "compact")
	}
	return !compacted
}

// CompressionLevel is the level at which the broker compresses by a codec, named as in
// compression.type; 0 where the codec has no levels.
func (t *Topic) CompressionLevel(codec string) int {
	switch codec {
	case "gzip":
		return t.GzipLevel
	case "lz4":
		return t.LZ4Level
	case "zstd":
		return t.ZstdLevel
	}
	return 0
}

func checkGzipLevel(value string) string {
	if value == "0" {
		return "Value must be from 1 to 9, or -1"
	}
	return ""
}
