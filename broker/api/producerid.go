package api

import (
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// producerIDBlock is how many producer ids a broker takes from the metadata at once,
// as in Kafka: a restart wastes at most as many of 2^63.
const producerIDBlock = 1000

// producerIDs hands out producer ids from a block.
type producerIDs struct {
	allocate func(ctx context.Context, n int64) (int64, error)

	mu   sync.Mutex // held while a block is fetched: the others need it as well
	next int64
	left int64
}

func (p *producerIDs) take(ctx context.Context) (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left == 0 {
		first, err := p.allocate(ctx, producerIDBlock)
		if err != nil {
			return -1, err
		}
		p.next, p.left = first, producerIDBlock
	}
	id := p.next
	p.next, p.left = p.next+1, p.left-1
	return id, nil
}

// initProducerID gives an idempotent producer its id (KIP-98). A producer without a
// transactional id gets a new one each time, also where it names an old one (KIP-360).
func (s *Server) initProducerID(ctx context.Context, _ *call, q *kmsg.InitProducerIDRequest) *kmsg.InitProducerIDResponse {
	p := q.ResponseKind().(*kmsg.InitProducerIDResponse)
	p.ProducerID, p.ProducerEpoch = -1, -1
	if q.TransactionalID != nil {
		p.ErrorCode = kerr.InvalidRequest.Code // FindCoordinator has told why: transactions are not served yet
		return p
	}
	id, err := s.ids.take(ctx)
	if err != nil {
		p.ErrorCode = kerr.CoordinatorNotAvailable.Code
		return p
	}
	p.ProducerID, p.ProducerEpoch = id, 0
	return p
}
