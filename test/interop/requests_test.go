//go:build interop

package interop

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Requests about one topic, partition or group, as the raw tests send them.

// recordBatch makes an uncompressed batch of one record with a current timestamp,
// outside of any producer.
func recordBatch(key, value []byte, change ...func(*kmsg.RecordBatch)) []byte {
	now := time.Now().UnixMilli()
	record := kmsg.NewRecord()
	record.Key, record.Value = key, value
	body := record.AppendTo(nil)[1:] // the length, 0 as yet, takes one byte
	record.Length = int32(len(body))
	b := kmsg.NewRecordBatch()
	b.PartitionLeaderEpoch, b.Magic = -1, 2
	b.FirstTimestamp, b.MaxTimestamp = now, now
	b.ProducerID, b.ProducerEpoch, b.FirstSequence = -1, -1, -1
	b.NumRecords, b.Records = 1, record.AppendTo(nil)
	for _, f := range change {
		f(&b)
	}
	return sealed(&b)
}

// sealed encodes a batch with its length and checksum.
func sealed(b *kmsg.RecordBatch) []byte {
	const lengthFrom, crcAt, crcFrom = 12, 17, 21
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-lengthFrom))
	binary.BigEndian.PutUint32(raw[crcAt:], crc32.Checksum(raw[crcFrom:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

func produceRequest(topic string, id [16]byte, partition int32, records []byte) *kmsg.ProduceRequest {
	q := kmsg.NewPtrProduceRequest()
	q.Acks, q.TimeoutMillis = -1, 10_000
	to := kmsg.NewProduceRequestTopic()
	to.Topic, to.TopicID = topic, id
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, records
	to.Partitions = append(to.Partitions, p)
	q.Topics = append(q.Topics, to)
	return q
}

func fetchRequest(topic string, id [16]byte, partition int32, offset int64) *kmsg.FetchRequest {
	q := kmsg.NewPtrFetchRequest()
	q.ReplicaID, q.MinBytes, q.MaxBytes, q.SessionEpoch = -1, 1, 1<<20, -1
	to := kmsg.NewFetchRequestTopic()
	to.Topic, to.TopicID = topic, id
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = partition, offset, 1<<20, -1
	to.Partitions = append(to.Partitions, p)
	q.Topics = append(q.Topics, to)
	return q
}

func listRequest(topic string, partition int32, timestamp int64) *kmsg.ListOffsetsRequest {
	q := kmsg.NewPtrListOffsetsRequest()
	q.ReplicaID = -1
	to := kmsg.NewListOffsetsRequestTopic()
	to.Topic = topic
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.Timestamp = partition, timestamp
	to.Partitions = append(to.Partitions, p)
	q.Topics = append(q.Topics, to)
	return q
}

// commitRequest commits as somebody outside of the group does.
func commitRequest(group, topic string, id [16]byte, partition int32, offset int64, metadata string) *kmsg.OffsetCommitRequest {
	q := kmsg.NewPtrOffsetCommitRequest()
	q.Group, q.Generation = group, -1
	to := kmsg.NewOffsetCommitRequestTopic()
	to.Topic, to.TopicID = topic, id
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset, p.Metadata = partition, offset, &metadata
	to.Partitions = append(to.Partitions, p)
	q.Topics = append(q.Topics, to)
	return q
}

// joinRequest is a consumer's, before it has a member id.
func joinRequest(group string) *kmsg.JoinGroupRequest {
	q := kmsg.NewPtrJoinGroupRequest()
	q.Group, q.SessionTimeoutMillis, q.RebalanceTimeoutMillis, q.ProtocolType = group, 10_000, 10_000, "consumer"
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name, p.Metadata = "range", []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	q.Protocols = append(q.Protocols, p)
	return q
}

func newTopicRequest(topic string, partitions int32) kmsg.CreateTopicsRequestTopic {
	to := kmsg.NewCreateTopicsRequestTopic()
	to.Topic, to.NumPartitions, to.ReplicationFactor = topic, partitions, 1
	return to
}

func createRequest(topics ...kmsg.CreateTopicsRequestTopic) *kmsg.CreateTopicsRequest {
	q := kmsg.NewPtrCreateTopicsRequest()
	q.Topics, q.TimeoutMillis = topics, 10_000
	return q
}

func partitionsRequest(topic string, count int32) *kmsg.CreatePartitionsRequest {
	q := kmsg.NewPtrCreatePartitionsRequest()
	q.TimeoutMillis = 10_000
	to := kmsg.NewCreatePartitionsRequestTopic()
	to.Topic, to.Count = topic, count
	q.Topics = append(q.Topics, to)
	return q
}

func deleteRecordsRequest(topic string, partition int32, offset int64) *kmsg.DeleteRecordsRequest {
	q := kmsg.NewPtrDeleteRecordsRequest()
	q.TimeoutMillis = 10_000
	to := kmsg.NewDeleteRecordsRequestTopic()
	to.Topic = topic
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Partition, p.Offset = partition, offset
	to.Partitions = append(to.Partitions, p)
	q.Topics = append(q.Topics, to)
	return q
}

// epochRequest asks where epoch ends, from a client that believes in current.
func epochRequest(topic string, partition, current, epoch int32) *kmsg.OffsetForLeaderEpochRequest {
	q := kmsg.NewPtrOffsetForLeaderEpochRequest()
	q.ReplicaID = -1
	to := kmsg.NewOffsetForLeaderEpochRequestTopic()
	to.Topic = topic
	p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch = partition, current, epoch
	to.Partitions = append(to.Partitions, p)
	q.Topics = append(q.Topics, to)
	return q
}

func alterRequest(topic string, op kmsg.IncrementalAlterConfigOp, name, value string) *kmsg.IncrementalAlterConfigsRequest {
	q := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	config.Name, config.Op, config.Value = name, op, &value
	r.Configs = append(r.Configs, config)
	q.Resources = append(q.Resources, r)
	return q
}

// replaceRequest is alterRequest as it was before KIP-339.
func replaceRequest(topic string, configs map[string]string) *kmsg.AlterConfigsRequest {
	q := kmsg.NewPtrAlterConfigsRequest()
	r := kmsg.NewAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	for name, value := range configs {
		config := kmsg.NewAlterConfigsRequestResourceConfig()
		config.Name, config.Value = name, &value
		r.Configs = append(r.Configs, config)
	}
	q.Resources = append(q.Resources, r)
	return q
}

func offsetDeleteRequest(group, topic string, partition int32) *kmsg.OffsetDeleteRequest {
	q := kmsg.NewPtrOffsetDeleteRequest()
	q.Group = group
	to := kmsg.NewOffsetDeleteRequestTopic()
	to.Topic = topic
	p := kmsg.NewOffsetDeleteRequestTopicPartition()
	p.Partition = partition
	to.Partitions = append(to.Partitions, p)
	q.Topics = append(q.Topics, to)
	return q
}

// metadataRequest asks for everything.
func metadataRequest() *kmsg.MetadataRequest {
	q := kmsg.NewPtrMetadataRequest()
	q.Topics = nil
	return q
}

func metadataOf(p kmsg.Response) *kmsg.MetadataResponse { return p.(*kmsg.MetadataResponse) }
