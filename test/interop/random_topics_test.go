//go:build interop

package interop

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// Requests of administrators about topics and their configuration.

func readyForTopics(s *side) {
	s.creates("barrier", 1)
	s.creates("a", 2)
}

var adminNames = []topicName{"a", "a", "b", "b", "c", "=no way"}

func drawTopics(r *rand.Rand) step {
	switch r.IntN(12) {
	case 0, 1, 2:
		return drawCreateTopics(r)
	case 3:
		return drawDeleteTopics(r)
	case 4, 5:
		return drawCreatePartitions(r)
	case 6, 7, 8:
		return drawAlterConfigs(r)
	case 9, 10:
		return drawDescribeConfigs(r)
	}
	return drawMetadata(r)
}

// published waits until everything that was asked of the controller so far is known to the
// broker: the last of it is a configuration that nobody else sets.
func (s *side) published() {
	s.Helper()
	s.number["barrier"]++
	value := fmt.Sprint(1_000_000 + s.number["barrier"])
	q := alterRequest(s.name("barrier"), kmsg.IncrementalAlterConfigOpSet, "retention.ms", value)
	refusedWith(s, "barrier", must[*kmsg.IncrementalAlterConfigsResponse](s, 1, q).Resources[0].ErrorCode, nil)
	s.awaitConfig(kmsg.ConfigResourceTypeTopic, s.name("barrier"), "retention.ms", value)
}

// awaitConfig waits until a configuration that was set is described.
func (s *side) awaitConfig(kind kmsg.ConfigResourceType, resource, name, value string) {
	s.Helper()
	q := kmsg.NewPtrDescribeConfigsRequest()
	q.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kind, ResourceName: resource, ConfigNames: []string{name}}}
	harness.Until(s, testLimit, name+" of "+resource, func() error {
		for _, c := range must[*kmsg.DescribeConfigsResponse](s, 4, q).Resources[0].Configs {
			if c.Name == name && c.Value != nil && *c.Value == value {
				return nil
			}
		}
		return errors.New("not described yet")
	})
}

// drawConfig is a configuration with a value, or one that it cannot have. Not drawn: an empty
// list, which ours takes for nothing to append, and Apache Kafka refuses; and unclean
// elections, which ours refuses.
func drawConfig(r *rand.Rand) (name, value string) {
	name = pick(r, "retention.ms", "retention.ms", "cleanup.policy", "cleanup.policy", "max.message.bytes", "min.insync.replicas", "segment.bytes", "compression.type", "no.such.config", "unclean.leader.election.enable")
	switch name {
	case "cleanup.policy":
		return name, pick(r, "delete", "compact", "compact,delete", "burn")
	case "compression.type":
		return name, pick(r, "producer", "gzip", "zstd", "none")
	case "unclean.leader.election.enable":
		return name, pick(r, "false", "false", "maybe")
	}
	return name, pick(r, "1", "1048576", "3600000", "-1", "-2", "soon", "")
}

func drawCreateTopics(r *rand.Rand) step {
	version, only := versionOf(r, kmsg.CreateTopics, 0), r.IntN(5) == 0
	var topics []func(s *side) kmsg.CreateTopicsRequestTopic
	var names []topicName
	some(r, 3, func() {
		topic := pick(r, adminNames...)
		names = append(names, topic)
		partitions, replicas := pick[int32](r, 1, 2, 3, -1, 0, -2), pick[int16](r, 1, 1, 1, -1, 0, 2)
		assigned := r.IntN(6) == 0
		brokers := pick(r, []int32{0}, []int32{0}, []int32{0, 0}, []int32{7}, nil)
		name, value := drawConfig(r)
		configured := r.IntN(2) == 0
		topics = append(topics, func(s *side) kmsg.CreateTopicsRequestTopic {
			to := newTopicRequest(s.name(topic), partitions)
			to.ReplicationFactor = replicas
			if assigned {
				on(brokers...)(&to)
			}
			if configured {
				with(name, value)(&to)
			}
			return to
		})
	})
	return request(version, func(s *side) *kmsg.CreateTopicsRequest {
		q := createRequest()
		q.ValidateOnly = only
		for _, f := range topics {
			q.Topics = append(q.Topics, f(s))
		}
		return q
	}, func(s *side, q *kmsg.CreateTopicsRequest, p kmsg.Response) {
		s.published()
		for i, a := range p.(*kmsg.CreateTopicsResponse).Topics {
			to := &p.(*kmsg.CreateTopicsResponse).Topics[i]
			if to.Configs = nil; q.ValidateOnly { // defaults differ; DescribeConfigs is asked
				to.TopicID = [16]byte{} // Apache Kafka draws one
			}
			for _, topic := range names {
				if a.Topic == s.name(topic) && a.ErrorCode == 0 && !q.ValidateOnly {
					s.awaitLeaders(topic)
					s.learnTopic(topic)
				}
			}
		}
	})
}

// learnTopic keeps a topic's id.
func (s *side) learnTopic(topic topicName) {
	q := metadataRequest()
	name := s.name(topic)
	q.Topics = []kmsg.MetadataRequestTopic{{Topic: &name}}
	s.ids[topic] = must[*kmsg.MetadataResponse](s, 12, q).Topics[0].TopicID
}

func drawDeleteTopics(r *rand.Rand) step {
	version, byID := versionOf(r, kmsg.DeleteTopics, 0), r.IntN(3) == 0
	var names []topicName
	some(r, 2, func() { names = append(names, pick(r, adminNames...)) })
	return request(version, func(s *side) *kmsg.DeleteTopicsRequest {
		q := kmsg.NewPtrDeleteTopicsRequest()
		q.TimeoutMillis = 10_000
		for _, topic := range names {
			q.TopicNames = append(q.TopicNames, s.name(topic))
			to := kmsg.NewDeleteTopicsRequestTopic()
			if byID {
				to.TopicID = s.id(topic)
			} else {
				to.Topic = kmsg.StringPtr(s.name(topic))
			}
			q.Topics = append(q.Topics, to)
		}
		return q
	}, func(s *side, _ *kmsg.DeleteTopicsRequest, _ kmsg.Response) { s.published() })
}

func drawCreatePartitions(r *rand.Rand) step {
	version, only := versionOf(r, kmsg.CreatePartitions, 0), r.IntN(5) == 0
	topic, count := pick(r, adminNames...), pick[int32](r, 1, 2, 3, 4, 5, 0, -1)
	assigned := pick(r, 0, 0, 0, 0, 1, 2)
	broker := pick[int32](r, 0, 0, 0, 7)
	return request(version, func(s *side) *kmsg.CreatePartitionsRequest {
		q := partitionsRequest(s.name(topic), count)
		q.ValidateOnly = only
		for range assigned {
			q.Topics[0].Assignment = append(q.Topics[0].Assignment, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: []int32{broker}})
		}
		return q
	}, func(s *side, q *kmsg.CreatePartitionsRequest, p kmsg.Response) {
		s.published()
		if p.(*kmsg.CreatePartitionsResponse).Topics[0].ErrorCode == 0 && !q.ValidateOnly {
			s.awaitLeaders(topic)
		}
	})
}

func drawAlterConfigs(r *rand.Rand) step {
	version, topic, only := versionOf(r, kmsg.IncrementalAlterConfigs, 0), pick(r, adminNames...), r.IntN(6) == 0
	type change struct {
		op          kmsg.IncrementalAlterConfigOp
		name, value string
	}
	var changes []change
	some(r, 3, func() {
		c := change{op: pick(r, kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpDelete, kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract)}
		c.name, c.value = drawConfig(r)
		changes = append(changes, c)
	})
	return request(version, func(s *side) *kmsg.IncrementalAlterConfigsRequest {
		q := alterRequest(s.name(topic), 0, "", "")
		q.ValidateOnly, q.Resources[0].Configs = only, nil
		for _, c := range changes {
			q.Resources[0].Configs = append(q.Resources[0].Configs, kmsg.IncrementalAlterConfigsRequestResourceConfig{Op: c.op, Name: c.name, Value: &c.value})
		}
		return q
	}, func(s *side, _ *kmsg.IncrementalAlterConfigsRequest, _ kmsg.Response) { s.published() })
}

// drawDescribeConfigs asks for what is altered. Not drawn: min.insync.replicas, which Apache
// Kafka sets for the whole cluster where eligible leader replicas are on (KIP-966).
func drawDescribeConfigs(r *rand.Rand) step {
	version, topic, synonyms := versionOf(r, kmsg.DescribeConfigs, 0), pick(r, adminNames...), r.IntN(3) == 0
	return request(version, func(s *side) *kmsg.DescribeConfigsRequest {
		q := kmsg.NewPtrDescribeConfigsRequest()
		q.IncludeSynonyms = synonyms
		q.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: s.name(topic), ConfigNames: []string{
			"retention.ms", "cleanup.policy", "max.message.bytes", "segment.bytes", "compression.type", "no.such.config",
		}}}
		return q
	})
}

func drawMetadata(r *rand.Rand) step {
	version, byID := versionOf(r, kmsg.Metadata, 4), r.IntN(3) == 0 // not drawn: names and ids in one request
	var names []topicName
	some(r, 3, func() { names = append(names, pick(r, adminNames...)) })
	return request(version, func(s *side) *kmsg.MetadataRequest {
		q := kmsg.NewPtrMetadataRequest()
		q.Topics, q.AllowAutoTopicCreation = []kmsg.MetadataRequestTopic{}, false
		for _, topic := range names {
			to := kmsg.NewMetadataRequestTopic()
			if byID && version >= 12 {
				to.TopicID = s.id(topic)
			} else {
				to.Topic = kmsg.StringPtr(s.name(topic))
			}
			q.Topics = append(q.Topics, to)
		}
		return q
	})
}
