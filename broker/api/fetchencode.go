package api

import (
	"github.com/twmb/franz-go/pkg/kbin"

	"github.com/varvelog/varve/broker/wire"
	"github.com/varvelog/varve/segment"
)

// encodeFetch encodes a Fetch response as byte chunks and file regions: record bytes
// are named, not read. It is the one response that is not encoded by kmsg, which
// would want them in memory. The files are released when the response was written.
func encodeFetch(c *call, session int32, parts []*fetchPart, results []fetched) *wire.Response {
	e := &fetchEncoder{version: c.Version, flexible: c.Version >= 12, buffer: buffers.Get().(*[]byte)}
	b := (*e.buffer)[:0]
	b = kbin.AppendInt32(b, c.throttleMillis())
	if c.Version >= 7 {
		b = kbin.AppendInt16(b, 0) // error code
		b = kbin.AppendInt32(b, session)
	}
	groups := byTopic(parts)
	b = e.arrayLen(b, len(groups))
	for _, g := range groups {
		b = e.topic(b, parts[g.from:g.to], results[g.from:g.to])
	}
	b = e.tags(b)
	*e.buffer = b
	return &wire.Response{
		Flexible: e.flexible,
		Chunks:   interleave(b, e.cuts),
		Release: func() {
			for i := range results {
				results[i].Records.Release()
			}
			putBuffer(e.buffer)
		},
	}
}

// span is a run of partitions of one topic, [from, to).
type span struct{ from, to int }

// byTopic cuts parts, as they come, into runs of one topic. A topic may come twice
// when a session has rotated its partitions; every client accepts that.
func byTopic(parts []*fetchPart) []span {
	var spans []span
	for i := range parts {
		if i > 0 && parts[i].topic == parts[i-1].topic && parts[i].id == parts[i-1].id {
			spans[len(spans)-1].to = i + 1
			continue
		}
		spans = append(spans, span{i, i + 1})
	}
	return spans
}

// fetchEncoder appends the response's bytes and remembers where file regions go.
type fetchEncoder struct {
	version  int16
	flexible bool
	buffer   *[]byte
	cuts     []cut
}

// cut is where in the encoded bytes the records of one partition belong.
type cut struct {
	at      int
	regions []segment.Region
}

func (e *fetchEncoder) topic(b []byte, parts []*fetchPart, results []fetched) []byte {
	switch {
	case e.version >= 13:
		b = kbin.AppendUuid(b, parts[0].id)
	case e.flexible:
		b = kbin.AppendCompactString(b, parts[0].topic)
	default:
		b = kbin.AppendString(b, parts[0].topic)
	}
	b = e.arrayLen(b, len(parts))
	for i := range parts {
		b = e.partition(b, parts[i], &results[i])
	}
	return e.tags(b)
}

func (e *fetchEncoder) partition(b []byte, part *fetchPart, r *fetched) []byte {
	o := r.Offsets
	if r.err != nil {
		o.HighWatermark, o.LastStable, o.LogStart = -1, -1, -1
	}
	b = kbin.AppendInt32(b, part.index)
	b = kbin.AppendInt16(b, code(r.err))
	b = kbin.AppendInt64(b, o.HighWatermark)
	b = kbin.AppendInt64(b, o.LastStable)
	if e.version >= 5 {
		b = kbin.AppendInt64(b, o.LogStart)
	}
	b = e.aborted(b, r)
	if e.version >= 11 {
		b = kbin.AppendInt32(b, -1) // preferred read replica: none; 0 would be a broker
	}
	b = e.bytesLen(b, int(r.Records.Size))
	if r.Records.Size > 0 {
		e.cuts = append(e.cuts, cut{len(b), r.Records.Regions})
	}
	return e.partitionTags(b, r)
}

func (e *fetchEncoder) aborted(b []byte, r *fetched) []byte {
	if r.Aborted == nil {
		if e.flexible {
			return kbin.AppendCompactNullableArrayLen(b, 0, true)
		}
		return kbin.AppendNullableArrayLen(b, 0, true)
	}
	b = e.arrayLen(b, len(r.Aborted))
	for _, t := range r.Aborted {
		b = kbin.AppendInt64(b, t.ProducerID)
		b = kbin.AppendInt64(b, t.FirstOffset)
		b = e.tags(b)
	}
	return b
}

// partitionTags appends the tagged fields of a partition: the diverging epoch (tag 0).
func (e *fetchEncoder) partitionTags(b []byte, r *fetched) []byte {
	if !e.flexible || r.Diverging == nil {
		return e.tags(b)
	}
	b = kbin.AppendUvarint(b, 1) // one tagged field:
	b = kbin.AppendUvarint(b, 0) // tag 0,
	b = kbin.AppendUvarint(b, 4+8+1)
	b = kbin.AppendInt32(b, r.Diverging.Epoch)
	b = kbin.AppendInt64(b, r.Diverging.Start)
	return kbin.AppendUvarint(b, 0)
}

func (e *fetchEncoder) tags(b []byte) []byte {
	if e.flexible {
		return kbin.AppendUvarint(b, 0)
	}
	return b
}

func (e *fetchEncoder) arrayLen(b []byte, n int) []byte {
	if e.flexible {
		return kbin.AppendCompactArrayLen(b, n)
	}
	return kbin.AppendArrayLen(b, n)
}

func (e *fetchEncoder) bytesLen(b []byte, n int) []byte {
	if e.flexible {
		return kbin.AppendUvarint(b, uint32(n)+1)
	}
	return kbin.AppendInt32(b, int32(n))
}

// interleave is the encoded bytes with the file regions at the cuts.
func interleave(b []byte, cuts []cut) []wire.Chunk {
	chunks := make([]wire.Chunk, 0, 2*len(cuts)+1)
	from := 0
	for _, c := range cuts {
		chunks = append(chunks, wire.Chunk{Bytes: b[from:c.at]})
		from = c.at
		for _, r := range c.regions {
			chunks = append(chunks, wire.Chunk{File: r.File, Position: r.Position, Size: r.Size})
		}
	}
	return append(chunks, wire.Chunk{Bytes: b[from:]})
}
