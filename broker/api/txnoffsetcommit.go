package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator/txn"
	"github.com/varvelog/varve/broker/partition"
	"github.com/varvelog/varve/segment"
)

// Versions of TxnOffsetCommit (KIP-890).
const (
	abortableOffsets = 4 // from here on clients know TRANSACTION_ABORTABLE
	addingOffsets    = 5 // from here on the broker adds the group's partition to the transaction
)

// txnOffsetCommit commits offsets in a transaction. Partitions that do not exist are
// refused, and all where the group's partition is not part of the transaction.
func (s *Server) txnOffsetCommit(ctx context.Context, c *call, q *kmsg.TxnOffsetCommitRequest) *kmsg.TxnOffsetCommitResponse {
	ctx, cancel := context.WithTimeout(ctx, s.Config().OffsetsCommitTimeout)
	defer cancel()
	asked := q.Topics
	refused := s.keepExisting(q)
	var p *kmsg.TxnOffsetCommitResponse
	if guard, code := s.admitOffsets(ctx, c.Version, q); code != 0 {
		p = txnOffsetsRefused(q, code)
	} else if answered, err := s.Groups.CommitTransaction(q, int64(guard))(ctx); err != nil {
		p = txnOffsetsRefused(q, kerr.CoordinatorNotAvailable.Code)
	} else {
		p = answered
	}
	p.Topics = mergeTxnOffsets(asked, refused, p.Topics, c.Version)
	return p
}

// keepExisting leaves the partitions in q that exist, and marks the others.
func (s *Server) keepExisting(q *kmsg.TxnOffsetCommitRequest) (refused [][]bool) {
	asked := q.Topics
	q.Topics = make([]kmsg.TxnOffsetCommitRequestTopic, 0, len(asked))
	refused = make([][]bool, len(asked))
	for i := range asked {
		kept := asked[i]
		kept.Partitions = nil
		refused[i] = make([]bool, len(asked[i].Partitions))
		for j := range asked[i].Partitions {
			if refused[i][j] = !s.exists(kept.Topic, asked[i].Partitions[j].Partition); !refused[i][j] {
				kept.Partitions = append(kept.Partitions, asked[i].Partitions[j])
			}
		}
		if len(kept.Partitions) > 0 {
			q.Topics = append(q.Topics, kept)
		}
	}
	return refused
}

// admitOffsets makes sure that the group's partition is part of the transaction, and
// returns what the append has to show of that.
func (s *Server) admitOffsets(ctx context.Context, version int16, q *kmsg.TxnOffsetCommitRequest) (partition.Guard, int16) {
	unverified := !s.Config().Transactions.Verify && version < addingOffsets // newer ones rely on being added
	if q.Group == "" {
		return partition.Unguarded, kerr.InvalidGroupID.Code
	}
	if unverified || len(q.Topics) == 0 {
		return partition.Unguarded, 0
	}
	tp := s.offsetsOf(q.Group)
	t, err := s.find(tp.Topic, segment.TopicID{}, false)
	if err != nil {
		return partition.Unguarded, kerr.NotCoordinator.Code
	}
	replica, err := s.replica(t, tp.Partition)
	if err != nil {
		return partition.Unguarded, kerr.NotCoordinator.Code
	}
	guard := replica.Verify(q.ProducerID, q.ProducerEpoch, -1, false)
	if !guard.Needed() {
		return guard, 0
	}
	producer := txn.Producer{ID: q.ProducerID, Epoch: q.ProducerEpoch}
	var code int16
	if version >= addingOffsets {
		code = s.Transactions.Add(ctx, q.TransactionalID, producer, []txn.Partition{tp}, txn.V2, s.Config().Transactions.Patience)
	} else {
		code = s.Transactions.Verify(q.TransactionalID, producer, []txn.Partition{tp})[0]
	}
	switch {
	case code == kerr.TransactionAbortable.Code && version < abortableOffsets:
		code = kerr.InvalidTxnState.Code
	case code == kerr.ProducerFenced.Code:
		code = kerr.InvalidProducerEpoch.Code
	case code == kerr.ConcurrentTransactions.Code:
		code = kerr.CoordinatorLoadInProgress.Code // what every client takes for a reason to try again
	}
	return guard, code
}

func txnOffsetsRefused(q *kmsg.TxnOffsetCommitRequest, code int16) *kmsg.TxnOffsetCommitResponse {
	p := q.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
	for i := range q.Topics {
		t := kmsg.NewTxnOffsetCommitResponseTopic()
		t.Topic = q.Topics[i].Topic
		for j := range q.Topics[i].Partitions {
			r := kmsg.NewTxnOffsetCommitResponseTopicPartition()
			r.Partition, r.ErrorCode = q.Topics[i].Partitions[j].Partition, code
			t.Partitions = append(t.Partitions, r)
		}
		p.Topics = append(p.Topics, t)
	}
	return p
}

// mergeTxnOffsets puts the answers, which come in the order of the request, and the
// refusals together.
func mergeTxnOffsets(asked []kmsg.TxnOffsetCommitRequestTopic, refused [][]bool, answered []kmsg.TxnOffsetCommitResponseTopic, version int16) []kmsg.TxnOffsetCommitResponseTopic {
	var codes []int16
	for i := range answered {
		for j := range answered[i].Partitions {
			codes = append(codes, answered[i].Partitions[j].ErrorCode)
		}
	}
	all := make([]kmsg.TxnOffsetCommitResponseTopic, 0, len(asked))
	for i := range asked {
		t := kmsg.NewTxnOffsetCommitResponseTopic()
		t.Topic = asked[i].Topic
		for j := range asked[i].Partitions {
			r := kmsg.NewTxnOffsetCommitResponseTopicPartition()
			r.Partition, r.ErrorCode = asked[i].Partitions[j].Partition, kerr.UnknownTopicOrPartition.Code
			if !refused[i][j] {
				r.ErrorCode, codes = codes[0], codes[1:]
			}
			if version < 2 && r.ErrorCode == kerr.CoordinatorLoadInProgress.Code {
				r.ErrorCode = kerr.CoordinatorNotAvailable.Code // KAFKA-7296: it would crash
			}
			t.Partitions = append(t.Partitions, r)
		}
		all = append(all, t)
	}
	return all
}
