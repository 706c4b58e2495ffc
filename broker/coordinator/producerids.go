package coordinator

import (
	"context"
	"sync"
)

// producerIDBlock is how many producer ids a broker takes from the metadata at once,
// as in Kafka: a restart wastes at most as many of 2^63.
const producerIDBlock = 1000

// ProducerIDs hands out producer ids from a block.
type ProducerIDs struct {
	allocate func(ctx context.Context, n int64) (first int64, err error)

	mu   sync.Mutex // held while a block is fetched: the others need it as well
	next int64
	left int64
}

// NewProducerIDs makes a ProducerIDs of which allocate reserves n ids at once.
func NewProducerIDs(allocate func(ctx context.Context, n int64) (first int64, err error)) *ProducerIDs {
	return &ProducerIDs{allocate: allocate}
}

// Take returns a producer id that nobody has.
func (p *ProducerIDs) Take(ctx context.Context) (int64, error) {
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
