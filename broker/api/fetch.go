package api

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/auth"
	"github.com/varvelog/varve/broker/partition"
	"github.com/varvelog/varve/broker/wire"
	"github.com/varvelog/varve/segment"
)

// fetch is one Fetch request while it waits for records.
type fetch struct {
	*Server
	*call
	isolation int8
	minBytes  int64
	maxBytes  int64
	maxWait   time.Duration
	session   *fetchSession // nil: sessionless
	full      bool          // answer every partition, not only those with news
	parts     []*fetchPart
	results   []fetched // in the order of parts
}

// fetched is what one partition gave.
type fetched struct {
	partition.ReadResult
	err error
}

// startFetch decodes a request. All else happens when its answer is due: the answers
// before it have left by then, so that a client may pipeline requests of one session.
func startFetch(_ context.Context, s *Server, c *call) (wire.Pending, error) {
	q := kmsg.NewPtrFetchRequest()
	if err := decode(c, q); err != nil {
		return nil, err
	}
	if q.ReplicaID >= 0 || q.ReplicaState.ID >= 0 {
		return fetchRefused(c, kerr.ClusterAuthorizationFailed), nil // clients are not replicas (CVE-2018-1288)
	}
	return func(ctx context.Context) (*wire.Response, error) { return s.fetch(ctx, c, q) }, nil
}

func (s *Server) fetch(ctx context.Context, c *call, q *kmsg.FetchRequest) (*wire.Response, error) {
	session, parts, full, err := s.sessions.settle(q)
	if err != nil {
		return fetchRefused(c, err)(ctx)
	}
	defer s.sessions.done(session)
	maxBytes := s.fetchable(c, min(int64(q.MaxBytes), s.Config().FetchMaxBytes))
	f := &fetch{
		Server: s, call: c, isolation: q.IsolationLevel,
		minBytes: min(int64(q.MinBytes), maxBytes), maxBytes: maxBytes,
		maxWait: time.Duration(q.MaxWaitMillis) * time.Millisecond,
		session: session, full: full, parts: parts,
	}
	return f.wait(ctx)
}

func fetchRefused(c *call, err error) wire.Pending {
	p := kmsg.NewPtrFetchResponse()
	p.ErrorCode = code(err)
	return func(context.Context) (*wire.Response, error) { return encode(c, p), nil }
}

// wait reads until there are minBytes, an error to report, or maxWait is over. Only a
// fetch that does not find enough at once watches its partitions.
func (f *fetch) wait(ctx context.Context) (*wire.Response, error) {
	w := segment.NewWaiter()
	enough := f.read(w)
	if enough || f.maxWait <= 0 || len(f.parts) == 0 {
		return f.respond(), nil
	}
	f.watch(w)
	defer f.unwatch(w)
	timer := time.NewTimer(f.maxWait)
	defer timer.Stop()
	for {
		f.release()
		if f.read(w) {
			return f.respond(), nil
		}
		select {
		case <-w.C():
		case <-timer.C:
			return f.respond(), nil
		case <-f.Conn.Stopping:
			return f.respond(), nil
		case <-ctx.Done():
			f.release()
			return nil, ctx.Err()
		}
	}
}

// read reads all partitions once, in order, within the byte limits. The first records
// of a response may exceed them by one batch, or a large batch could never be read.
func (f *fetch) read(w *segment.Waiter) (enough bool) {
	if f.Limiter.Limits(auth.RequestPercentage) {
		defer f.charge(f.call, f.Now())
	}
	f.results = f.results[:0]
	left, total := f.maxBytes, int64(0)
	for _, part := range f.parts {
		r := f.readPart(part, left, total == 0, w)
		f.results = append(f.results, r)
		total += r.Records.Size
		left = max(0, left-r.Records.Size)
		enough = enough || r.err != nil || r.Diverging != nil
	}
	return enough || total >= f.minBytes
}

func (f *fetch) readPart(part *fetchPart, left int64, first bool, w *segment.Waiter) fetched {
	topic, err := f.find(part.topic, part.id, part.byID)
	if err != nil {
		return fetched{err: err}
	}
	replica, err := f.replica(topic, part.index)
	if err != nil {
		return fetched{err: err}
	}
	r, err := replica.Read(partition.ReadSpec{
		Offset:             part.offset,
		MaxBytes:           min(int64(part.maxBytes), left),
		OneBatch:           first,
		Isolation:          f.isolation,
		CurrentLeaderEpoch: part.currentEpoch,
		LastFetchedEpoch:   part.lastEpoch,
	}, w)
	return fetched{ReadResult: r, err: err}
}

// watch registers w with every partition that is here; a partition that is not was an
// error, which ends the wait.
func (f *fetch) watch(w *segment.Waiter)   { f.each(func(p *partition.Partition) { p.Watch(w) }) }
func (f *fetch) unwatch(w *segment.Waiter) { f.each(func(p *partition.Partition) { p.Unwatch(w) }) }

func (f *fetch) each(do func(*partition.Partition)) {
	for _, part := range f.parts {
		if topic, err := f.find(part.topic, part.id, part.byID); err == nil {
			if replica, err := f.replica(topic, part.index); err == nil {
				do(replica)
			}
		}
	}
}

// size is the bytes of records that were read.
func (f *fetch) size() int64 {
	total := int64(0)
	for i := range f.results {
		total += f.results[i].Records.Size
	}
	return total
}

// release gives back the files of what was read and will not be sent.
func (f *fetch) release() {
	for i := range f.results {
		f.results[i].Records.Release()
	}
	f.results = f.results[:0]
}

// respond encodes the results and tells the session what was sent. Where a quota does not
// grant it yet, nothing is sent, and the session that would begin with it does not.
func (f *fetch) respond() *wire.Response {
	if !f.admitFetched(f.call, f.size()) {
		f.release()
		if f.full {
			f.sessions.drop(f.session)
			f.session = nil
		}
		return encodeFetch(f.call, f.session.responseID(), nil, nil)
	}
	sent := f.results
	parts := f.parts
	if f.session != nil {
		parts, sent = f.session.news(parts, sent, f.full)
	}
	return encodeFetch(f.call, f.session.responseID(), parts, sent)
}
