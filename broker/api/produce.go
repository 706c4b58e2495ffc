package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator/txn"
	"github.com/varvelog/varve/broker/partition"
	"github.com/varvelog/varve/broker/wire"
	"github.com/varvelog/varve/segment/batch"
)

// produced is one partition of a Produce request between append and answer.
type produced struct {
	partition *partition.Partition
	appended  partition.Appended
	err       error
}

// produce appends every batch at once, in the order of requests, and answers when all
// are as durable as acks asks. Group commit thus covers whatever a client pipelines.
//
// A request that has to wait for the transaction coordinator first is appended when its
// answer is due, and so is what the connection sends meanwhile: the order stays.
func (s *Server) produce(c *call, q *kmsg.ProduceRequest) func(context.Context) (*kmsg.ProduceResponse, error) {
	s.recordProduced(c)
	p := s.prepareProduce(c, q)
	if !s.deferred.needed(c.Conn, len(p.added) > 0) {
		results := p.append()
		c.Ready = flushed(q.Acks, results)
		return func(ctx context.Context) (*kmsg.ProduceResponse, error) { return s.finishProduce(ctx, c, q, results) }
	}
	return func(ctx context.Context) (*kmsg.ProduceResponse, error) {
		defer s.deferred.done(c.Conn)
		p.add(ctx)
		return s.finishProduce(ctx, c, q, p.append())
	}
}

// finishProduce waits for what was appended and answers.
func (s *Server) finishProduce(ctx context.Context, c *call, q *kmsg.ProduceRequest, results []produced) (*kmsg.ProduceResponse, error) {
	if q.Acks == 0 {
		return nil, unanswerable(results)
	}
	if q.Acks == -1 {
		for i := range results {
			if r := &results[i]; r.err == nil {
				r.err = r.partition.Wait(ctx, r.appended)
			}
		}
	}
	return s.produceResponse(c, q, results), nil
}

// flushed is closed when the answer does not wait any more: answers to what a client
// has pipelined then leave in one write. Commit rounds of a log directory end in order,
// so the last append's is the one to watch.
func flushed(acks int16, results []produced) <-chan struct{} {
	if acks == -1 {
		for i := len(results) - 1; i >= 0; i-- {
			if r := &results[i]; r.err == nil && r.appended.Flushed() != nil {
				return r.appended.Flushed()
			}
		}
	}
	return wire.Immediately
}

// pending is one partition of a Produce request before its append.
type pending struct {
	partition *partition.Partition
	name      txn.Partition
	records   []byte
	guard     partition.Guard
	err       error
}

// prepareProduce finds the partitions, and begins to verify the batches of transactions.
func (s *Server) prepareProduce(c *call, q *kmsg.ProduceRequest) *production {
	n := 0
	for i := range q.Topics {
		n += len(q.Topics[i].Partitions)
	}
	p := &production{s: s, c: c, q: q, all: make([]pending, 0, n)}
	nameless := namelessTransaction(q)
	for i := range q.Topics {
		for j := range q.Topics[i].Partitions {
			at := &q.Topics[i].Partitions[j]
			to := pending{records: at.Records, err: nameless}
			if nameless != nil {
				p.all = append(p.all, to)
				continue
			}
			to.partition, to.name, to.err = s.producibleTo(c, q, &q.Topics[i], at)
			if to.err == nil {
				to.err = p.verify(&to, len(p.all))
			}
			p.all = append(p.all, to)
		}
	}
	return p
}

// namelessTransaction refuses a whole request with records of a transaction but without a
// transactional id, as Kafka does.
func namelessTransaction(q *kmsg.ProduceRequest) error {
	if q.TransactionID != nil {
		return nil
	}
	for i := range q.Topics {
		for j := range q.Topics[i].Partitions {
			if b, _, err := batch.Next(q.Topics[i].Partitions[j].Records); err == nil && b.Transactional() {
				return refuse(kerr.TransactionalIDAuthorizationFailed, "records of a transaction need a transactional id")
			}
		}
	}
	return nil
}

// producibleTo returns the replica that the records of a partition go to.
func (s *Server) producibleTo(c *call, q *kmsg.ProduceRequest, t *kmsg.ProduceRequestTopic, p *kmsg.ProduceRequestTopicPartition) (*partition.Partition, txn.Partition, error) {
	topic, err := s.find(t.Topic, t.TopicID, c.Version >= 13)
	if err != nil {
		return nil, txn.Partition{}, err
	}
	replica, err := s.replica(topic, p.Partition)
	if err != nil {
		return nil, txn.Partition{}, err
	}
	if err := producible(c.Version, p.Records); err != nil {
		return nil, txn.Partition{}, err
	}
	if q.Acks < -1 || q.Acks > 1 {
		return nil, txn.Partition{}, kerr.InvalidRequiredAcks
	}
	if internal(topic.Name) {
		return nil, txn.Partition{}, refuse(kerr.InvalidTopicException, "only the broker writes to "+topic.Name)
	}
	return replica, txn.Partition{Topic: topic.Name, Partition: p.Partition}, nil
}

// zstdVersion is the first version of Produce whose clients all read zstd (KIP-110).
const zstdVersion = 7

// producible refuses what this broker, or the version of the request, does not allow
// whatever the partition. Records too short for a header are refused where they are read.
func producible(version int16, records []byte) error {
	if len(records) < batch.HeaderSize {
		return nil
	}
	b := batch.Batch(records)
	if b.Codec() == batch.Zstd && version < zstdVersion {
		return refuse(kerr.UnsupportedCompressionType, "zstd needs version 7 of Produce or later")
	}
	return nil
}

// unanswerable returns the first error of a request with acks=0, for which there is
// no answer: the connection is closed, so that the client learns that something is
// wrong and asks for metadata, as Kafka does.
func unanswerable(results []produced) error {
	for i := range results {
		if results[i].err != nil {
			return fmt.Errorf("produce with acks=0: %w", results[i].err)
		}
	}
	return nil
}

func (s *Server) produceResponse(c *call, q *kmsg.ProduceRequest, results []produced) *kmsg.ProduceResponse {
	p := q.ResponseKind().(*kmsg.ProduceResponse)
	p.Topics = make([]kmsg.ProduceResponseTopic, 0, len(q.Topics))
	for i := range q.Topics {
		from := &q.Topics[i]
		to := kmsg.NewProduceResponseTopic()
		to.Topic, to.TopicID = from.Topic, from.TopicID
		to.Partitions = make([]kmsg.ProduceResponseTopicPartition, 0, len(from.Partitions))
		for j := range from.Partitions {
			to.Partitions = append(to.Partitions, s.producePartition(c, from, from.Partitions[j].Partition, &results[0]))
			results = results[1:]
		}
		p.Topics = append(p.Topics, to)
	}
	return p
}

func (s *Server) producePartition(c *call, t *kmsg.ProduceRequestTopic, index int32, r *produced) kmsg.ProduceResponseTopicPartition {
	p := kmsg.NewProduceResponseTopicPartition()
	p.Partition = index
	if r.err == nil {
		p.BaseOffset, p.LogAppendTime, p.LogStartOffset = r.appended.BaseOffset, r.appended.LogAppendTime, r.appended.LogStart
		return p
	}
	p.ErrorCode, p.ErrorMessage, p.ErrorRecords = code(r.err), text(r.err), errorRecords(r.err)
	p.BaseOffset, p.LogAppendTime, p.LogStartOffset = -1, -1, -1
	if errors.Is(r.err, partition.ErrNotEnoughReplicas) && r.appended.NextOffset > 0 {
		p.ErrorCode = kerr.NotEnoughReplicasAfterAppend.Code
	}
	if p.ErrorCode == kerr.NotLeaderForPartition.Code { // KIP-951: tell who leads
		if topic, err := s.find(t.Topic, t.TopicID, c.Version >= 13); err == nil && int(index) < len(topic.Partitions) && index >= 0 {
			p.CurrentLeader.LeaderID = topic.Partitions[index].Leader
			p.CurrentLeader.LeaderEpoch = topic.Partitions[index].LeaderEpoch
		}
	}
	return p
}

// errorRecords names the records for which a batch was refused (KIP-467).
func errorRecords(err error) []kmsg.ProduceResponseTopicPartitionErrorRecord {
	var refused *batch.RecordErrors
	if !errors.As(err, &refused) {
		return nil
	}
	var named []kmsg.ProduceResponseTopicPartitionErrorRecord
	name := func(indexes []int32, reason string) {
		for _, i := range indexes {
			e := kmsg.NewProduceResponseTopicPartitionErrorRecord()
			e.RelativeOffset, e.ErrorMessage = i, &reason
			named = append(named, e)
		}
	}
	name(refused.Unkeyed, "a compacted topic does not accept a record without key")
	name(refused.Mistimed, fmt.Sprintf("the timestamp is not within [%d, %d]", refused.Oldest, refused.Newest))
	return named
}
