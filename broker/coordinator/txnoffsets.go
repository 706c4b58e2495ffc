package coordinator

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator/group"
	"github.com/varvelog/varve/segment/batch"
)

// CommitTransaction handles TxnOffsetCommit v0-v5. Topics that do not exist are for the
// caller to answer, and so is whether the group's partition is part of the transaction:
// guard is what Log.Append has to be shown of that.
func (g *Groups) CommitTransaction(r *kmsg.TxnOffsetCommitRequest, guard int64) Pending[*kmsg.TxnOffsetCommitResponse] {
	if r.Group == "" {
		return done(group.CommitTransactionError(r, kerr.InvalidGroupID.Code))
	}
	now := g.now()
	s, code := g.enter(r.Group)
	if code != 0 {
		return done(group.CommitTransactionError(r, code))
	}
	defer s.mu.Unlock()
	e := s.groups[r.Group]
	if e == nil {
		if code := group.CommitTransactionUnknown(r); code != 0 {
			return done(group.CommitTransactionError(r, code))
		}
		e = s.create(now, r.Group)
	}
	asked := *r // the caller may look at other topics meanwhile
	w := s.ticket(func(code int16) kmsg.Response { return group.CommitTransactionError(&asked, code) })
	out := e.CommitTransaction(now, w.ticket, r)
	s.carryOut(now, e, group.Output{Replies: out.Replies})
	shares := s.shares(e, out)
	for _, sh := range shares {
		sh.Builder = batch.Builder{ProducerID: r.ProducerID, ProducerEpoch: r.ProducerEpoch, BaseSequence: -1, Transactional: true}
		sh.Guard = guard
	}
	s.append(now, shares...)
	s.settle(now, e)
	return await(w, func() *kmsg.TxnOffsetCommitResponse {
		return group.CommitTransactionError(&asked, kerr.CoordinatorNotAvailable.Code)
	})
}

// EndTransaction writes the marker of a transaction into a partition of __consumer_offsets
// and returns at once. Once the marker is committed the offsets of the transaction count,
// or are forgotten.
func (g *Groups) EndTransaction(partition int32, m Marker) (wait func(context.Context) error, err error) {
	now := g.now()
	s, code := g.table.enter(partition)
	if code != 0 {
		return nil, kerr.ErrorForCode(code)
	}
	defer s.mu.Unlock()
	reply := make(chan int16, 1)
	s.append(now, &share{Write: m.Write(now), told: func(now int64, code int16) {
		if code == 0 {
			s.endTransaction(now, m)
		}
		reply <- code
	}})
	return func(ctx context.Context) error {
		select {
		case code := <-reply:
			return kerr.ErrorForCode(code)
		case <-s.life.Done():
			return kerr.NotCoordinator
		case <-ctx.Done():
			return ctx.Err()
		}
	}, nil
}

func (s *shard) endTransaction(now int64, m Marker) {
	for _, e := range s.groups {
		if e.EndTransaction(m.Producer.ID, m.Commit) {
			s.settle(now, e)
		}
	}
}

// Write is what the marker writes into a log; now is in ms.
func (m Marker) Write(now int64) Write {
	marker := batch.Marker{Commit: m.Commit, CoordinatorEpoch: m.CoordinatorEpoch}
	return Write{
		Builder: batch.Builder{
			ProducerID: m.Producer.ID, ProducerEpoch: m.Producer.Epoch, BaseSequence: -1,
			Transactional: true, Control: true,
		},
		Records:            []batch.Record{marker.Record(now)},
		TransactionVersion: int16(m.Version),
	}
}
