package config

// Setting is a topic's setting with the place that its value comes from, for people who
// ask why.
type Setting struct {
	Name  string `json:"name"` // of the topic key: retention.ms
	Value string `json:"value"`
	From  Origin `json:"from"`
	Key   string `json:"key"` // that was set: log.retention.hours; Name itself where none was
}

// Origin is where a value comes from.
type Origin string

// The origins.
const (
	FromTopic   Origin = "topic"
	FromBroker  Origin = "broker"
	FromDefault Origin = "default"
)

// TopicSetting returns the setting of a topic that has overrides of its own. Unlike
// DescribeTopic, which follows Kafka, it calls retention.ms the broker's where
// log.retention.hours is set. An unknown name has no value.
func (b *Broker) TopicSetting(name string, overrides map[string]string) Setting {
	s := Setting{Name: name, From: FromDefault, Key: name}
	k := table().topicByName[name]
	if k == nil {
		return s
	}
	if value, set := overrides[name]; set {
		s.Value, s.From = value, FromTopic
		if canonical, reason := k.parse(value); reason == "" {
			s.Value = canonical
		}
		return s
	}
	s.Value = b.values.topicDefault(k)
	for _, synonym := range k.Synonyms {
		if b.values.isSet(synonym.Name) {
			s.From, s.Key = FromBroker, synonym.Name
			break
		}
	}
	return s
}
