package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator/txn"
	"github.com/varvelog/varve/segment"
)

// addPartitionsToTxn makes partitions part of a transaction, or tells whether they are.
// From version 4 on a request is a batch of several transactions (KIP-890).
func (s *Server) addPartitionsToTxn(ctx context.Context, c *call, q *kmsg.AddPartitionsToTxnRequest) *kmsg.AddPartitionsToTxnResponse {
	p := q.ResponseKind().(*kmsg.AddPartitionsToTxnResponse)
	if c.Version < 4 {
		t := kmsg.NewAddPartitionsToTxnRequestTransaction()
		t.TransactionalID, t.ProducerID, t.ProducerEpoch = q.TransactionalID, q.ProducerID, q.ProducerEpoch
		for _, topic := range q.Topics {
			to := kmsg.NewAddPartitionsToTxnRequestTransactionTopic()
			to.Topic, to.Partitions = topic.Topic, topic.Partitions
			t.Topics = append(t.Topics, to)
		}
		for _, from := range s.addToTxn(ctx, c, &t).Topics {
			to := kmsg.NewAddPartitionsToTxnResponseTopic()
			to.Topic = from.Topic
			for _, r := range from.Partitions {
				partition := kmsg.NewAddPartitionsToTxnResponseTopicPartition()
				partition.Partition, partition.ErrorCode = r.Partition, r.ErrorCode
				to.Partitions = append(to.Partitions, partition)
			}
			p.Topics = append(p.Topics, to)
		}
		return p
	}
	for i := range q.Transactions {
		p.Transactions = append(p.Transactions, s.addToTxn(ctx, c, &q.Transactions[i]))
	}
	return p
}

// addToTxn answers for one transaction. Where one of its partitions does not exist, none
// is added.
func (s *Server) addToTxn(ctx context.Context, c *call, q *kmsg.AddPartitionsToTxnRequestTransaction) kmsg.AddPartitionsToTxnResponseTransaction {
	var partitions []txn.Partition
	var codes []int16
	unknown := false
	for i := range q.Topics {
		name := clone(q.Topics[i].Topic)
		for _, index := range q.Topics[i].Partitions {
			code := kerr.OperationNotAttempted.Code
			if !s.exists(name, index) {
				code, unknown = kerr.UnknownTopicOrPartition.Code, true
			}
			partitions, codes = append(partitions, txn.Partition{Topic: name, Partition: index}), append(codes, code)
		}
	}
	producer := txn.Producer{ID: q.ProducerID, Epoch: q.ProducerEpoch}
	switch {
	case unknown:
	case q.VerifyOnly:
		codes = s.Transactions.Verify(q.TransactionalID, producer, partitions)
	default:
		version := txn.V0
		if c.Version >= 4 {
			version = txn.V2
		}
		ctx, cancel := context.WithTimeout(ctx, requestTimeout)
		defer cancel()
		code := s.Transactions.Add(ctx, q.TransactionalID, producer, partitions, version, s.Config().Transactions.Patience)
		if code == kerr.ProducerFenced.Code && c.Version < 2 {
			code = kerr.InvalidProducerEpoch.Code
		}
		for i := range codes {
			codes[i] = code
		}
	}
	return txnResult(q, codes)
}

// exists tells whether the metadata has a partition.
func (s *Server) exists(topic string, index int32) bool {
	t, err := s.find(topic, segment.TopicID{}, false)
	return err == nil && index >= 0 && int(index) < len(t.Partitions)
}

// txnResult is a code for each partition asked for, in order.
func txnResult(q *kmsg.AddPartitionsToTxnRequestTransaction, codes []int16) kmsg.AddPartitionsToTxnResponseTransaction {
	result := kmsg.NewAddPartitionsToTxnResponseTransaction()
	result.TransactionalID = q.TransactionalID
	for i := range q.Topics {
		to := kmsg.NewAddPartitionsToTxnResponseTransactionTopic()
		to.Topic = q.Topics[i].Topic
		for _, index := range q.Topics[i].Partitions {
			r := kmsg.NewAddPartitionsToTxnResponseTransactionTopicPartition()
			r.Partition, r.ErrorCode = index, codes[0]
			codes = codes[1:]
			to.Partitions = append(to.Partitions, r)
		}
		result.Topics = append(result.Topics, to)
	}
	return result
}
