package api

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/segment"
)

// fetchPart is what a consumer wants of one partition, and what it was last told.
type fetchPart struct {
	fetchKey
	offset       int64
	maxBytes     int32
	currentEpoch int32 // -1: unknown
	lastEpoch    int32 // -1: unknown (KIP-320)

	told          bool
	highWatermark int64
	logStart      int64
}

// fetchKey names a partition in the way of the request's version.
type fetchKey struct {
	topic string // versions up to 12
	id    segment.TopicID
	byID  bool
	index int32
}

// fetchSession remembers the partitions of a consumer, so that its requests and our
// answers hold only what changed (KIP-227). One request of a session is under way at
// a time: it alone reads and changes what is here, under fetchSessions.mu or not.
type fetchSession struct {
	id    int32
	byID  bool
	epoch int32 // of the next request
	parts []*fetchPart
	index map[fetchKey]*fetchPart
	used  time.Time
	busy  bool // a request is under way. Guarded by fetchSessions.mu.
}

// Epochs of a request that are no count.
const (
	finalEpoch   = -1 // no session, and close the one named
	initialEpoch = 0  // a full request that asks for a session
)

// evictAfter is how long a session must have been idle before a new one may take its
// slot: min.incremental.fetch.session.eviction.ms of Kafka, 2 minutes.
const evictAfter = 2 * time.Minute

// fetchSessions is the bounded cache of sessions.
type fetchSessions struct {
	slots int
	now   func() time.Time

	mu   sync.Mutex
	byID map[int32]*fetchSession
}

func newFetchSessions(slots int, now func() time.Time) *fetchSessions {
	return &fetchSessions{slots: slots, now: now, byID: make(map[int32]*fetchSession)}
}

// settle finds out what a request fetches. session is nil for a request without one,
// and the caller's until done; full tells that every partition has to be answered. A
// request that comes on another connection while one of the session is under way is
// refused.
func (c *fetchSessions) settle(q *kmsg.FetchRequest) (session *fetchSession, parts []*fetchPart, full bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if q.SessionEpoch == finalEpoch || q.SessionEpoch == initialEpoch {
		delete(c.byID, q.SessionID)
		parts = requested(q)
		if q.SessionEpoch == initialEpoch && q.Version >= 7 {
			if session = c.open(parts, q.Version >= 13); session != nil {
				parts = session.parts
			}
		}
		return session, parts, true, nil
	}
	session, ok := c.byID[q.SessionID]
	switch {
	case !ok:
		return nil, nil, false, kerr.FetchSessionIDNotFound
	case session.busy || session.epoch != q.SessionEpoch:
		return nil, nil, false, kerr.InvalidFetchSessionEpoch
	case session.byID != (q.Version >= 13):
		return nil, nil, false, kerr.FetchSessionTopicIDError
	}
	if session.update(q); len(session.parts) == 0 {
		delete(c.byID, session.id)
		return nil, requested(q), true, nil // what it has named and forgotten at once
	}
	session.used, session.busy = c.now(), true
	if session.epoch++; session.epoch < 0 { // wraps to 1: 0 asks for a new session
		session.epoch = 1
	}
	return session, session.parts, false, nil
}

// done ends a request's use of its session.
func (c *fetchSessions) done(s *fetchSession) {
	if s == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.busy = false
}

// drop forgets a session; nil is none.
func (c *fetchSessions) drop(s *fetchSession) {
	if s == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byID, s.id)
}

// open caches a session where there is a slot, or one that was idle long enough;
// otherwise the consumer goes on without a session, as in Kafka.
func (c *fetchSessions) open(parts []*fetchPart, byID bool) *fetchSession {
	if len(c.byID) >= c.slots && !c.evict() {
		return nil
	}
	s := &fetchSession{byID: byID, epoch: 1, used: c.now(), busy: true, index: make(map[fetchKey]*fetchPart, len(parts))}
	for _, p := range parts {
		if known, twice := s.index[p.fetchKey]; twice {
			*known = *p // what is said last counts
			continue
		}
		s.index[p.fetchKey] = p
		s.parts = append(s.parts, p)
	}
	for s.id == 0 || c.byID[s.id] != nil {
		s.id = rand.Int32()
	}
	c.byID[s.id] = s
	return s
}

// evict drops the session that was idle longest, if it was idle long enough.
func (c *fetchSessions) evict() bool {
	var oldest *fetchSession
	for _, s := range c.byID {
		if oldest == nil || s.used.Before(oldest.used) {
			oldest = s
		}
	}
	if oldest == nil || c.now().Sub(oldest.used) < evictAfter {
		return false
	}
	delete(c.byID, oldest.id)
	return true
}

// update applies an incremental request: changed and new partitions, then forgotten ones.
func (s *fetchSession) update(q *kmsg.FetchRequest) {
	for _, p := range requested(q) {
		if known, ok := s.index[p.fetchKey]; ok {
			p.told, p.highWatermark, p.logStart = known.told, known.highWatermark, known.logStart
			*known = *p
			continue
		}
		s.index[p.fetchKey] = p
		s.parts = append(s.parts, p)
	}
	if len(q.ForgottenTopics) == 0 {
		return
	}
	for i := range q.ForgottenTopics {
		t := &q.ForgottenTopics[i]
		for _, index := range t.Partitions {
			delete(s.index, keyOf(t.Topic, t.TopicID, s.byID, index))
		}
	}
	kept := make([]*fetchPart, 0, len(s.index)) // a fresh slice: an answer may still walk the old one
	for _, p := range s.parts {
		if s.index[p.fetchKey] == p {
			kept = append(kept, p)
		}
	}
	s.parts = kept
}

// news keeps of the results what the consumer does not know yet: records, errors, a
// moved high watermark or log start. Partitions that gave records go to the end of the
// line, so that a response that is full before it has come to all of them begins with
// the others next time; but the full answer, which opens a session, leaves them in the
// order that was asked for, as in Kafka.
func (s *fetchSession) news(parts []*fetchPart, results []fetched, full bool) ([]*fetchPart, []fetched) {
	var sentParts []*fetchPart
	var sent []fetched
	first := make([]*fetchPart, 0, len(parts))
	var last []*fetchPart
	for i, p := range parts {
		r := &results[i]
		if r.Records.Size > 0 && !full {
			last = append(last, p)
		} else {
			first = append(first, p)
		}
		moved := !p.told || p.highWatermark != r.Offsets.HighWatermark || p.logStart != r.Offsets.LogStart
		if full || r.Records.Size > 0 || r.err != nil || r.Diverging != nil || moved {
			sentParts, sent = append(sentParts, p), append(sent, *r)
		}
		// An error must be told again, so its partition counts as not told.
		p.told, p.highWatermark, p.logStart = r.err == nil, r.Offsets.HighWatermark, r.Offsets.LogStart
	}
	first = append(first, last...)
	s.parts = first
	return sentParts, sent
}

// responseID is the session id of the answer, 0 without a session.
func (s *fetchSession) responseID() int32 {
	if s == nil {
		return 0
	}
	return s.id
}

// requested lists the partitions that a request names.
func requested(q *kmsg.FetchRequest) []*fetchPart {
	n := 0
	for i := range q.Topics {
		n += len(q.Topics[i].Partitions)
	}
	all := make([]fetchPart, 0, n)
	parts := make([]*fetchPart, 0, n)
	for i := range q.Topics {
		t := &q.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			all = append(all, fetchPart{
				fetchKey: keyOf(t.Topic, t.TopicID, q.Version >= 13, p.Partition),
				offset:   p.FetchOffset, maxBytes: p.PartitionMaxBytes,
				currentEpoch: max(p.CurrentLeaderEpoch, -1), lastEpoch: max(p.LastFetchedEpoch, -1),
			})
			parts = append(parts, &all[len(all)-1])
		}
	}
	return parts
}

func keyOf(topic string, id segment.TopicID, byID bool, index int32) fetchKey {
	// The request's strings are views of its frame; a session outlives that.
	return fetchKey{topic: clone(topic), id: id, byID: byID, index: index}
}
