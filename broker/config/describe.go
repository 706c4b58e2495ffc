package config

import "strconv"

// Source says where a value comes from, numbered as in DescribeConfigs.
type Source int8

// Sources of the Kafka protocol.
const (
	DynamicTopicConfig         Source = 1
	DynamicBrokerConfig        Source = 2
	DynamicDefaultBrokerConfig Source = 3
	StaticBrokerConfig         Source = 4
	DefaultConfig              Source = 5
	DynamicBrokerLogger        Source = 6
	ClientMetricsConfig        Source = 7
	DynamicGroupConfig         Source = 8
)

// Entry is one setting as DescribeConfigs tells it.
type Entry struct {
	Name      string
	Value     *string // nil: null, or not shown
	IsDefault bool    // Source is DefaultConfig
	Source    Source
	ReadOnly  bool
	Sensitive bool
	Synonyms  []EntrySynonym
	Type      Type
	Doc       string
}

// EntrySynonym is one of the values that a setting may have had, the strongest first.
type EntrySynonym struct {
	Name   string
	Value  *string
	Source Source
}

// DescribeTopic tells every setting of a topic that has overrides of its own, in the
// order of the table.
func (b *Broker) DescribeTopic(overrides map[string]string) []Entry {
	keys := table().topic
	entries := make([]Entry, 0, len(keys))
	for i := range keys {
		k := &keys[i]
		e := Entry{Name: k.Name, Type: k.Type, Doc: k.Doc, Sensitive: k.Sensitive}
		value := b.values.topicDefault(k)
		override, set := overrides[k.Name]
		if set && b.asNew(k.Name, override) {
			value, set = override, false
		}
		if set {
			if canonical, reason := k.parse(override); reason == "" {
				override = canonical
			}
			value = override
			e.Synonyms = append(e.Synonyms, EntrySynonym{Name: k.Name, Value: k.shown(override), Source: DynamicTopicConfig})
		}
		e.Value = k.shown(k.rendered(value))
		e.Synonyms = append(e.Synonyms, b.values.synonyms(k.Synonyms)...)
		e.finish()
		entries = append(entries, e)
	}
	return entries
}

// asNew tells whether an override is what a new topic gets that says nothing: tiering,
// which is written down with each topic so that a later change of the default moves
// none. It is told as the default it was.
func (b *Broker) asNew(name, override string) bool {
	return name == "remote.storage.enable" && override == strconv.FormatBool(b.TieringDefault)
}

// Describe tells every setting of the broker, in the order of the table, then those that
// were altered for single listeners.
func (b *Broker) Describe() []Entry {
	keys := table().broker
	entries := make([]Entry, 0, len(keys))
	for i := range keys {
		k := &keys[i]
		e := Entry{Name: k.Name, Type: k.Type, Doc: k.Doc, Sensitive: k.Sensitive, ReadOnly: !k.Dynamic}
		if value, set := b.values.get(k.Name); set || !k.NoDefault {
			e.Value = k.shown(k.rendered(value))
		}
		if k.Name == "node.id" || k.Name == "broker.id" { // whichever was set
			e.Value = k.shown(strconv.Itoa(int(b.NodeID)))
		}
		e.Synonyms = b.values.synonyms(brokerSynonyms(k.Name))
		e.finish()
		entries = append(entries, e)
	}
	for _, name := range sortedKeys(b.values.dynamicBroker) {
		if _, ok := ofListener(name); !ok {
			continue
		}
		k := brokerKey(name)
		e := Entry{Name: name, Value: k.shown(k.rendered(b.values.dynamicBroker[name])), ReadOnly: true, Sensitive: k.Sensitive, Type: k.Type, Doc: k.Doc}
		e.Synonyms = b.values.synonyms([]Synonym{{name, 1}, {dormantOf(name), 1}})
		e.finish()
		entries = append(entries, e)
	}
	return entries
}

// DescribeDefaults tells the settings that were altered for all brokers.
func (b *Broker) DescribeDefaults() []Entry {
	var entries []Entry
	for _, name := range sortedKeys(b.values.dynamicDefault) {
		k := table().brokerByName[name]
		value := k.shown(b.values.dynamicDefault[name])
		entries = append(entries, Entry{
			Name: name, Value: value, Source: DynamicDefaultBrokerConfig, Sensitive: k.Sensitive, Type: k.Type, Doc: k.Doc,
			Synonyms: []EntrySynonym{{Name: name, Value: value, Source: DynamicDefaultBrokerConfig}},
		})
	}
	return entries
}

// finish sets the source: that of the strongest synonym.
func (e *Entry) finish() {
	e.Source = DefaultConfig
	if len(e.Synonyms) > 0 {
		e.Source = e.Synonyms[0].Source
	}
	e.IsDefault = e.Source == DefaultConfig
}

// shown is a value as it may be told.
func (k *Key) shown(value string) *string {
	if k.Sensitive {
		return nil
	}
	return &value
}

// brokerSynonyms are the broker keys that one stands with: log.retention.ms, minutes and
// hours. Most stand alone.
func brokerSynonyms(name string) []Synonym {
	keys := table().topic
	for i := range keys {
		if keys[i].BrokerKey == name {
			return keys[i].Synonyms
		}
	}
	return []Synonym{{Name: name, Factor: 1}}
}

// synonyms lists what is set under the names of list: by source first, by name within
// it. As in Kafka, what comes before the first name itself is left out, so that retention.ms
// under log.retention.hours has none and counts as a default.
func (v *values) synonyms(list []Synonym) []EntrySynonym {
	var all []EntrySynonym
	if len(list) == 0 {
		return nil
	}
	for _, from := range []struct {
		values map[string]string
		source Source
	}{{v.dynamicBroker, DynamicBrokerConfig}, {v.dynamicDefault, DynamicDefaultBrokerConfig}, {v.static, StaticBrokerConfig}} {
		for _, s := range list {
			if value, set := from.values[s.Name]; set {
				all = append(all, EntrySynonym{Name: s.Name, Value: brokerKey(s.Name).shown(value), Source: from.source})
			}
		}
	}
	for _, s := range list {
		if k := brokerKey(s.Name); !k.NoDefault {
			all = append(all, EntrySynonym{Name: s.Name, Value: k.shown(k.Default), Source: DefaultConfig})
		}
	}
	for len(all) > 0 && all[0].Name != list[0].Name {
		all = all[1:]
	}
	return all
}
