package tiering

import "slices"

// maxStreams bounds the sequential readers that one partition remembers; a reader that
// was forgotten begins again with a small window.
const maxStreams = 16

// stream is one sequential reader. What it will want next is fetched before it asks:
// window bytes ahead of where it is. A new reader has no window, so that its first bytes
// come alone and soon. Its first window is what it will take in its next few requests;
// each stall doubles it, up to the tier's ReadAheadBytes.
type stream struct {
	low, high int64 // offsets of the last answer: a reader that asks in between is this one
	window    int64 // bytes
	ahead     int64 // offset up to which everything was asked for
}

// streams are the sequential readers of a partition, most recent first.
type streams []stream

// find returns the reader that would ask for offset now, at the front.
func (s *streams) find(offset int64) (*stream, bool) {
	i := slices.IndexFunc(*s, func(x stream) bool { return x.low <= offset && offset <= x.high })
	if i < 0 {
		return nil, false
	}
	x := (*s)[i]
	copy((*s)[1:], (*s)[:i])
	(*s)[0] = x
	return &(*s)[0], true
}

// add puts a new reader at the front.
func (s *streams) add(x stream) {
	if len(*s) < maxStreams {
		*s = append(*s, stream{})
	}
	copy((*s)[1:], *s)
	(*s)[0] = x
}

// firstWindow returns how far to read ahead of a reader that takes maxBytes a request: one
// that takes much at once is served by whole ranges from the start, and one that takes
// little costs no more than it may want.
func (t *Tier) firstWindow(maxBytes int64) int64 {
	const requests = 4
	return min(max(2*t.o.ChunkBytes, requests*min(maxBytes, t.o.ReadAheadBytes)), t.o.ReadAheadBytes)
}

// consumed says that a reader that takes maxBytes at once got [from, to) and will come
// back for what follows.
func (r *Remote) consumed(v *view, from, to, maxBytes int64) {
	r.mu.Lock()
	s, ok := r.streams.find(from)
	if !ok {
		r.streams.add(stream{low: from, high: to, ahead: to})
		r.mu.Unlock()
		return
	}
	if s.window == 0 {
		s.window = r.tier.firstWindow(maxBytes)
	}
	s.low, s.high, s.ahead = from, to, max(s.ahead, to)
	position, ahead, window := s.high, s.ahead, s.window
	r.mu.Unlock()

	reached := r.readAhead(v, position, ahead, window)
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, ok := r.streams.find(to); ok {
		s.ahead = max(s.ahead, reached)
	}
}

// stalled says that a reader that takes maxBytes at once found nothing at offset: its
// window was too small.
func (r *Remote) stalled(v *view, offset, maxBytes int64) {
	r.mu.Lock()
	s, ok := r.streams.find(offset)
	if !ok {
		r.mu.Unlock()
		return
	}
	if s.low != offset || s.high != offset { // once a stall, however often it asks
		s.low, s.high = offset, offset
		s.window = min(max(2*s.window, r.tier.firstWindow(maxBytes)), r.tier.o.ReadAheadBytes)
	}
	ahead, window := max(s.ahead, offset), s.window
	r.mu.Unlock()

	reached := r.readAhead(v, offset, ahead, window)
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, ok := r.streams.find(offset); ok {
		s.ahead = max(s.ahead, reached)
	}
}

// readAhead asks for what lies between the offset ahead and window bytes after position,
// across the borders of segments, in ranges of up to rangeBytes. It returns the offset up
// to which everything was asked for.
//
// It waits until a whole range fits into the window, or half of a smaller window: many
// small ranges would halve the throughput.
func (r *Remote) readAhead(v *view, position, ahead, window int64) int64 {
	distance := int64(0)
	for run, n := range v.from(position) {
		if n.base > ahead && distance >= window {
			break
		}
		t, ok := r.tier.tails.get(n.id)
		if !ok {
			if n.base >= ahead || n.next > ahead {
				r.tier.fetch.hint(&job{remote: r, entry: *n, key: run.key(n), first: tailIndex})
			}
			break
		}
		for i := t.chunkOf(position); i < len(t.chunks); {
			c := t.chunks[i]
			if c.base < ahead || r.tier.fetch.has(flightID{chunkID: chunkID{n.id, int32(i)}}) {
				distance += c.size
				ahead = max(ahead, t.endOf(i))
				i++
				continue
			}
			room := window - distance
			if room < min(rangeBytes, window/2) {
				return ahead
			}
			count, size := t.rangeOf(i, min(room, rangeBytes))
			if !r.tier.fetch.hint(&job{remote: r, entry: *n, key: run.key(n), tail: t, first: int32(i), count: count}) {
				return ahead
			}
			i += int(count)
			distance += size
			ahead = t.endOf(i - 1)
		}
	}
	return ahead
}

// endOf returns the offset at which the chunk after chunk i begins.
func (t *tail) endOf(i int) int64 {
	if i+1 < len(t.chunks) {
		return t.chunks[i+1].base
	}
	return t.next
}

// rangeOf returns how many chunks from i on have at most limit bytes, one at least.
func (t *tail) rangeOf(i int, limit int64) (count int32, size int64) {
	for count == 0 || i+int(count) < len(t.chunks) && size+t.chunks[i+int(count)].size <= limit {
		size += t.chunks[i+int(count)].size
		count++
	}
	return count, size
}
