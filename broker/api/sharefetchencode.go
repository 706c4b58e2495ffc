package api

import (
	"time"

	"github.com/twmb/franz-go/pkg/kbin"

	"github.com/varvelog/varve/broker/wire"
)

// encodeShareFetch encodes a ShareFetch response as encodeFetch does a Fetch response:
// record bytes are named, not read. Every version of it is flexible.
func encodeShareFetch(c *call, lock time.Duration, parts []*sharePart) *wire.Response {
	e := &shareEncoder{buffer: buffers.Get().(*[]byte)}
	b := (*e.buffer)[:0]
	b = kbin.AppendInt32(b, c.throttleMillis())
	b = kbin.AppendInt16(b, 0)                   // error code
	b = kbin.AppendCompactNullableString(b, nil) // error message
	b = kbin.AppendInt32(b, int32(lock.Milliseconds()))
	spans := sharesByTopic(parts)
	b = kbin.AppendCompactArrayLen(b, len(spans))
	for _, g := range spans {
		b = kbin.AppendUuid(b, parts[g.from].Topic)
		b = kbin.AppendCompactArrayLen(b, g.to-g.from)
		for _, p := range parts[g.from:g.to] {
			b = e.partition(b, p)
		}
		b = noTags(b)
	}
	b = kbin.AppendCompactArrayLen(b, 0) // node endpoints
	b = noTags(b)
	*e.buffer = b
	return &wire.Response{
		Flexible: true,
		Chunks:   interleave(b, e.cuts),
		Release: func() {
			for _, p := range parts {
				p.taken.Records.Release()
			}
			putBuffer(e.buffer)
		},
	}
}

// shareEncoder appends the response's bytes and remembers where file regions go.
type shareEncoder struct {
	buffer *[]byte
	cuts   []cut
}

// sharesByTopic cuts parts, as they come, into runs of one topic.
func sharesByTopic(parts []*sharePart) []span {
	var spans []span
	for i := range parts {
		if i > 0 && parts[i].Topic == parts[i-1].Topic {
			spans[len(spans)-1].to = i + 1
			continue
		}
		spans = append(spans, span{i, i + 1})
	}
	return spans
}

func noTags(b []byte) []byte { return kbin.AppendUvarint(b, 0) }

func (e *shareEncoder) partition(b []byte, p *sharePart) []byte {
	b = kbin.AppendInt32(b, p.Index)
	b = kbin.AppendInt16(b, code(p.err))
	b = kbin.AppendCompactNullableString(b, text(p.err))
	b = kbin.AppendInt16(b, code(p.ackErr))
	b = kbin.AppendCompactNullableString(b, text(p.ackErr))
	b = kbin.AppendInt32(b, -1) // current leader: to be asked for
	b = kbin.AppendInt32(b, -1)
	b = noTags(b)
	b = kbin.AppendUvarint(b, uint32(p.taken.Records.Size)+1)
	if p.taken.Records.Size > 0 {
		e.cuts = append(e.cuts, cut{len(b), p.taken.Records.Regions})
	}
	b = kbin.AppendCompactArrayLen(b, len(p.taken.Acquired))
	for _, r := range p.taken.Acquired {
		b = kbin.AppendInt64(b, r.First)
		b = kbin.AppendInt64(b, r.Next-1)
		b = kbin.AppendInt16(b, r.Deliveries)
		b = noTags(b)
	}
	return noTags(b)
}
