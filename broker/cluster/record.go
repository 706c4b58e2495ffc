package cluster

import (
	"encoding/json"
	"fmt"

	"github.com/varvelog/varve/segment"
)

// maxValueBytes bounds a value that is decoded: etcd takes no request above 1.5 MiB, and
// the largest of ours, a topic's configs, is a few KiB.
const maxValueBytes = 1 << 20

// maxReplicas bounds the replicas of one partition.
const maxReplicas = 128

// formatVersion is the version of the key layout in doc.go.
const formatVersion = 1

type clusterRecord struct {
	ID     string `json:"id"`
	Format int    `json:"format"`
}

type registration struct {
	Broker
	// Directory is the id of the broker's data directory, empty where it has none.
	Directory string `json:"directory,omitempty"`
}

type stoppedRecord struct {
	Directory string `json:"directory"`
}

type controllerRecord struct {
	ID int32 `json:"id"`
}

// topicRecord is the value of a topic key and of a deleting key; the one has its name
// and the other its id in the key.
type topicRecord struct {
	ID         string            `json:"id,omitempty"`
	Name       string            `json:"name,omitempty"`
	Partitions int32             `json:"partitions"`
	Configs    map[string]string `json:"configs,omitempty"`
}

type leaderRecord struct {
	ID    int32 `json:"id"`
	Epoch int32 `json:"epoch"`
}

type producerIDsRecord struct {
	Next int64 `json:"next"`
}

// encode never fails: the records are plain structs.
func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("cluster: encode %T: %v", v, err))
	}
	return string(b)
}

func decode(key string, value []byte, v any) error {
	if len(value) > maxValueBytes {
		return fmt.Errorf("%w: %s: %d bytes, the limit is %d", ErrCorrupt, key, len(value), maxValueBytes)
	}
	if err := json.Unmarshal(value, v); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrCorrupt, key, err)
	}
	return nil
}

func decodeTopic(key string, value []byte) (topicRecord, error) {
	var r topicRecord
	if err := decode(key, value, &r); err != nil {
		return r, err
	}
	if r.Partitions < 1 || r.Partitions > MaxPartitions {
		return r, fmt.Errorf("%w: %s: %d partitions", ErrCorrupt, key, r.Partitions)
	}
	return r, nil
}

// topicID returns the id in a topic key's value.
func (r topicRecord) topicID(key string) (segment.TopicID, error) {
	id, ok := parseTopic(r.ID)
	if !ok {
		return id, fmt.Errorf("%w: %s: topic id %q", ErrCorrupt, key, r.ID)
	}
	return id, nil
}

// decodeBrokers decodes a set of replicas.
func decodeBrokers(key string, value []byte) ([]int32, error) {
	var ids []int32
	if err := decode(key, value, &ids); err != nil {
		return nil, err
	}
	if len(ids) > maxReplicas {
		return nil, fmt.Errorf("%w: %s: %d brokers", ErrCorrupt, key, len(ids))
	}
	return ids, nil
}
