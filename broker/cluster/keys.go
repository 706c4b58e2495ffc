package cluster

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/tiering"
)

// MaxPartitions bounds the partitions of one topic: creating that many takes about a
// second, and each costs three keys in etcd.
const MaxPartitions = 10_000

// DefaultConfigs is the id of the cluster-wide broker configs.
const DefaultConfigs int32 = -1

const (
	clusterKey     = "/varve/cluster"
	producerIDsKey = "/varve/producer-ids"
	imageRoot      = "/varve/image/"
	tallyKey       = imageRoot + "tally"
	controllerKey  = imageRoot + "controller"
	featuresKey    = imageRoot + "features"
	brokersRoot    = imageRoot + "brokers/"
	topicsRoot     = imageRoot + "topics/"
	creatingRoot   = imageRoot + "creating/"
	deletingRoot   = imageRoot + "deleting/"
	partitionsRoot = imageRoot + "partitions/"
	configsRoot    = imageRoot + "configs/"
	groupsRoot     = imageRoot + "group-configs/"
	metricsRoot    = imageRoot + "client-metrics/"
	quotasRoot     = imageRoot + "quotas/"
	scramRoot      = imageRoot + "scram/"
	stoppedRoot    = "/varve/stopped/"
	tierRoot       = "/varve/tier/"

	defaultConfigsName = "default"
)

// The parts of a partition, each its own key.
const (
	partReplicas = "replicas"
	partLeader   = "leader"
	partISR      = "isr"
)

func brokerKey(id int32) string  { return brokersRoot + brokerName(id) }
func stoppedKey(id int32) string { return stoppedRoot + brokerName(id) }
func topicKey(name string) string {
	return topicsRoot + name
}
func creatingKey(id segment.TopicID) string { return creatingRoot + topicName(id) }
func deletingKey(id segment.TopicID) string { return deletingRoot + topicName(id) }

func configsKey(id int32) string {
	if id == DefaultConfigs {
		return configsRoot + defaultConfigsName
	}
	return configsRoot + brokerName(id)
}

// topicPrefix is the prefix of all partition keys of a topic.
func topicPrefix(id segment.TopicID) string { return partitionsRoot + topicName(id) + "/" }

// partitionPrefix is the prefix of the keys of a partition, and sorts after those of
// every lower partition.
func partitionPrefix(id segment.TopicID, partition int32) string {
	return topicPrefix(id) + partitionName(partition) + "/"
}

func partitionKey(id segment.TopicID, partition int32, part string) string {
	return partitionPrefix(id, partition) + part
}

func tierTopicPrefix(id segment.TopicID) string { return tierRoot + topicName(id) + "/" }

func tierPrefix(p tiering.PartitionID) string {
	return tierTopicPrefix(p.Topic) + partitionName(p.Partition) + "/"
}

func pointerKey(p tiering.PartitionID) string    { return tierPrefix(p) + "pointer" }
func intentsPrefix(p tiering.PartitionID) string { return tierPrefix(p) + "intents/" }
func intentKey(p tiering.PartitionID, id uuid.UUID) string {
	return intentsPrefix(p) + id.String()
}

func brokerName(id int32) string          { return fmt.Sprintf("%010d", id) }
func partitionName(p int32) string        { return fmt.Sprintf("%05d", p) }
func topicName(id segment.TopicID) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// parseBroker is the inverse of brokerName, and of no other spelling.
func parseBroker(s string) (int32, bool) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 || brokerName(int32(n)) != s {
		return 0, false
	}
	return int32(n), true
}

func parsePartition(s string) (int32, bool) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 || n >= MaxPartitions || partitionName(int32(n)) != s {
		return 0, false
	}
	return int32(n), true
}

func parseTopic(s string) (segment.TopicID, bool) {
	var id segment.TopicID
	if len(s) != base64.RawURLEncoding.EncodedLen(len(id)) {
		return id, false
	}
	if _, err := base64.RawURLEncoding.Strict().Decode(id[:], []byte(s)); err != nil {
		return id, false
	}
	return id, topicName(id) == s
}

// parsePartitionKey splits what follows partitionsRoot.
func parsePartitionKey(s string) (id segment.TopicID, partition int32, part string, ok bool) {
	fields := strings.Split(s, "/")
	if len(fields) != 3 {
		return id, 0, "", false
	}
	if id, ok = parseTopic(fields[0]); !ok {
		return id, 0, "", false
	}
	if partition, ok = parsePartition(fields[1]); !ok {
		return id, 0, "", false
	}
	switch fields[2] {
	case partReplicas, partLeader, partISR:
		return id, partition, fields[2], true
	}
	return id, 0, "", false
}

// newID returns a random id as Kafka makes them: a version 4 UUID that does not print
// with a leading dash, which command lines would take for a flag.
func newID() (segment.TopicID, error) {
	for {
		u, err := uuid.NewRandom()
		if err != nil {
			return segment.TopicID{}, fmt.Errorf("make an id: %w", err)
		}
		if id := segment.TopicID(u); topicName(id)[0] != '-' {
			return id, nil
		}
	}
}

const maxTopicName = 249

// validTopicName applies Kafka's rule for topic names (Topic.validate): 1 to 249
// letters, digits, dots, underscores and dashes; not "." nor "..".
func validTopicName(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > maxTopicName {
		return fmt.Errorf("%w: topic name %.260q: 1 to %d characters, not \".\" nor \"..\"", ErrInvalid, name, maxTopicName)
	}
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return fmt.Errorf("%w: topic name %q: character %q; letters, digits, '.', '_' and '-' only", ErrInvalid, name, c)
		}
	}
	return nil
}
