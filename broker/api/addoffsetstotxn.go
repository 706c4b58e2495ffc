package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator/txn"
)

// addOffsetsToTxn makes the partition of __consumer_offsets that a group lives in part of
// a transaction: offsets will be committed in it.
func (s *Server) addOffsetsToTxn(ctx context.Context, c *call, q *kmsg.AddOffsetsToTxnRequest) *kmsg.AddOffsetsToTxnResponse {
	p := q.ResponseKind().(*kmsg.AddOffsetsToTxnResponse)
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	producer := txn.Producer{ID: q.ProducerID, Epoch: q.ProducerEpoch}
	p.ErrorCode = s.Transactions.Add(ctx, q.TransactionalID, producer, []txn.Partition{s.offsetsOf(q.Group)}, txn.V0, s.Config().Transactions.Patience)
	if p.ErrorCode == kerr.ProducerFenced.Code && c.Version < 2 {
		p.ErrorCode = kerr.InvalidProducerEpoch.Code
	}
	return p
}

// offsetsOf is the partition of __consumer_offsets that a group lives in.
func (s *Server) offsetsOf(group string) txn.Partition {
	return txn.Partition{Topic: OffsetsTopic, Partition: s.Groups.PartitionFor(group)}
}
