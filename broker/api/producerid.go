package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// initProducerID gives a producer its id (KIP-98). One without a transactional id gets a
// new one each time, also where it names an old one (KIP-360).
func (s *Server) initProducerID(ctx context.Context, _ *call, q *kmsg.InitProducerIDRequest) *kmsg.InitProducerIDResponse {
	p := q.ResponseKind().(*kmsg.InitProducerIDResponse)
	p.ProducerID, p.ProducerEpoch = -1, -1
	if (q.ProducerID == -1) != (q.ProducerEpoch == -1) {
		p.ErrorCode = kerr.InvalidRequest.Code
		return p
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if q.TransactionalID != nil {
		return s.Transactions.Init(ctx, q)
	}
	id, err := s.ProducerIDs.Take(ctx)
	if err != nil {
		p.ErrorCode = kerr.CoordinatorNotAvailable.Code
		return p
	}
	p.ProducerID, p.ProducerEpoch = id, 0
	return p
}
