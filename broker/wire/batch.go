package wire

import (
	"fmt"
	"math"
	"sync"
)

// A batch is flushed at these sizes. 64 responses fit one sendmsg with their bodies; more
// bytes than a socket buffer takes would wait in any case.
const (
	maxBatchResponses = 64
	maxBatchBytes     = 128 << 10
)

// batch is answers that leave together.
type batch struct {
	chunks    []Chunk
	heads     [maxBatchResponses * maxResponseHead]byte
	headsUsed int
	responses int
	files     int
	size      int64
	answers   []answer
}

// answer is what is released when its response was written or given up.
type answer struct {
	frame   frame
	release func()
}

// batches are empty ones that no connection uses.
var batches = sync.Pool{New: func() any { return new(batch) }}

func takeBatch() *batch { return batches.Get().(*batch) }

// giveBatch takes back an empty batch.
func giveBatch(b *batch) { batches.Put(b) }

func (b *batch) full() bool {
	return b.responses >= maxBatchResponses || b.size >= maxBatchBytes || len(b.answers) >= 2*maxBatchResponses
}

// add appends a response. It returns ErrResponseSize for one whose length does not fit.
func (b *batch) add(correlationID int32, r *Response) error {
	size := int64(0)
	for i := range r.Chunks {
		size += r.Chunks[i].size()
	}
	if size > math.MaxInt32-maxResponseHead {
		return fmt.Errorf("%w: %d bytes", ErrResponseSize, size)
	}
	head := appendResponseHead(b.heads[b.headsUsed:b.headsUsed], correlationID, r.Flexible, size)
	b.headsUsed += len(head)
	b.chunks = append(b.chunks, Chunk{Bytes: head})
	for i := range r.Chunks {
		c := &r.Chunks[i]
		if c.size() == 0 {
			continue
		}
		if c.File != nil {
			b.files++
		}
		b.chunks = append(b.chunks, *c)
	}
	b.responses++
	b.size += size + int64(len(head))
	return nil
}

func (b *batch) reset() {
	clear(b.chunks)
	clear(b.answers)
	b.chunks, b.answers = b.chunks[:0], b.answers[:0]
	b.headsUsed, b.responses, b.files, b.size = 0, 0, 0, 0
	if cap(b.chunks) > 4096 { // a Fetch of very many partitions
		b.chunks = nil
	}
}

func (c *Chunk) size() int64 {
	if c.File != nil {
		return c.Size
	}
	return int64(len(c.Bytes))
}
