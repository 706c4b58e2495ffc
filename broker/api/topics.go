package api

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/partition"
	"github.com/varvelog/varve/segment"
)

// OffsetsTopic holds the committed offsets and members of groups.
const OffsetsTopic = "__consumer_offsets"

// TransactionTopic holds the state of transactional ids.
const TransactionTopic = "__transaction_state"

// ShareTopic holds the state of share partitions.
const ShareTopic = "__share_group_state"

// internal tells whether only the broker itself writes to a topic.
func internal(topic string) bool {
	return topic == OffsetsTopic || topic == TransactionTopic || topic == ShareTopic
}

// maxTopicName is the longest topic name, in bytes.
const maxTopicName = 249

// checkTopicName is Kafka's rule for topic names.
func checkTopicName(name string) error {
	switch {
	case name == "":
		return refuse(kerr.InvalidTopicException, "topic name is empty")
	case name == "." || name == "..":
		return refuse(kerr.InvalidTopicException, "topic name cannot be \".\" or \"..\"")
	case len(name) > maxTopicName:
		return refuse(kerr.InvalidTopicException, fmt.Sprintf("topic name has %d characters, more than %d", len(name), maxTopicName))
	}
	for i := 0; i < len(name); i++ {
		switch b := name[i]; {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', b == '.', b == '_', b == '-':
		default:
			return refuse(kerr.InvalidTopicException, fmt.Sprintf("topic name %q has a character other than ASCII letters, digits, '.', '_' and '-'", name))
		}
	}
	return nil
}

// collides finds a topic whose name differs from name only in '.' and '_': their
// metric names would be one.
func collides(image *cluster.Image, name string) error {
	if !strings.ContainsAny(name, "._") {
		return nil
	}
	folded := strings.ReplaceAll(name, ".", "_")
	for _, t := range image.Topics() {
		if t.Name != name && strings.ReplaceAll(t.Name, ".", "_") == folded {
			return refuse(kerr.InvalidTopicException, fmt.Sprintf("topic %q collides with existing topic %q", name, t.Name))
		}
	}
	return nil
}

// find returns a topic by name, or by id where the request's version has ids instead.
func (s *Server) find(name string, id segment.TopicID, byID bool) (*cluster.Topic, error) {
	image := s.Store.Image()
	if byID {
		if t, ok := image.TopicByID(id); ok {
			return t, nil
		}
		return nil, kerr.UnknownTopicID
	}
	if t, ok := image.Topic(name); ok {
		return t, nil
	}
	return nil, kerr.UnknownTopicOrPartition
}

// replica returns this broker's open replica of a topic's partition. One that it should
// lead and cannot open is a matter of its disk, and tried again.
func (s *Server) replica(t *cluster.Topic, index int32) (*partition.Partition, error) {
	if index < 0 || int(index) >= len(t.Partitions) {
		return nil, kerr.UnknownTopicOrPartition
	}
	if p, ok := s.Partitions.Partition(t.ID, index); ok {
		return p, nil
	}
	if t.Partitions[index].Leader == s.NodeID {
		return nil, kerr.KafkaStorageError
	}
	return nil, kerr.NotLeaderForPartition
}

// replicaByName is find and replica in one.
func (s *Server) replicaByName(topic string, index int32) (*partition.Partition, error) {
	t, err := s.find(topic, segment.TopicID{}, false)
	if err != nil {
		return nil, err
	}
	return s.replica(t, index)
}
