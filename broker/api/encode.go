package api

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/wire"
)

// keepBuffer is the largest response buffer that goes back to the pool, in bytes: a
// Metadata answer for a thousand partitions fits, a rare larger one is left to the
// collector.
const keepBuffer = 64 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// encode encodes p in the version of its request. A typed nil is not sent (acks=0).
func encode(c *call, p kmsg.Response) *wire.Response {
	if isNil(p) {
		return nil
	}
	p.SetVersion(c.Version)
	if r, ok := p.(kmsg.SetThrottleResponse); ok && c.throttle > 0 {
		r.SetThrottle(c.throttleMillis())
	}
	b := buffers.Get().(*[]byte)
	*b = p.AppendTo((*b)[:0])
	return &wire.Response{
		// The header of ApiVersions is version 0 for ever, so that any client can read it (KIP-511).
		Flexible: p.IsFlexible() && p.Key() != keyApiVersions,
		Chunks:   []wire.Chunk{{Bytes: *b}},
		Release:  func() { putBuffer(b) },
	}
}

func putBuffer(b *[]byte) {
	if cap(*b) <= keepBuffer {
		buffers.Put(b)
	}
}

func isNil(p kmsg.Response) bool {
	q, ok := p.(*kmsg.ProduceResponse) // the only API that may go unanswered
	return ok && q == nil
}
