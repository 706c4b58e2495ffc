package api

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/partition"
	"github.com/varvelog/varve/broker/share"
	"github.com/varvelog/varve/broker/wire"
	"github.com/varvelog/varve/segment"
)

// shareFetch is one ShareFetch request (KIP-932) while it waits for records.
type shareFetch struct {
	*Server
	*call
	member  share.Member
	strict  bool // KIP-1206: not one record more than asked for
	records int64
	batch   int64
	bytes   int64
	least   int64 // bytes that are worth an answer
	maxWait time.Duration
	epoch   int32 // of the session
	full    bool  // answer every partition, not only those with news
	parts   []*sharePart
}

// sharePart is a partition of the session, or of the request's acknowledgements.
type sharePart struct {
	share.TopicPartition
	state   *share.Partition // nil: not here, or not yet
	opened  bool             // state was asked for
	replica *partition.Partition
	found   share.Found
	taken   share.Taken
	err     error
	acked   bool // acknowledgements came for it
	ackErr  error
}

// startShareFetch decodes a request. All else happens when its answer is due: what came
// before it in the session has been answered by then.
func startShareFetch(open context.Context, s *Server, c *call) (wire.Pending, error) {
	q := kmsg.NewPtrShareFetchRequest()
	if err := decode(c, q); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (*wire.Response, error) { return s.shareFetch(ctx, open, c, q) }, nil
}

func (s *Server) shareFetch(ctx, open context.Context, c *call, q *kmsg.ShareFetchRequest) (*wire.Response, error) {
	f, err := s.settleShareFetch(open, c, q)
	if err != nil {
		p := kmsg.NewPtrShareFetchResponse()
		p.ErrorCode, p.ErrorMessage = code(err), text(err)
		return encode(c, p), nil
	}
	if q.ShareSessionEpoch == share.FinalEpoch {
		if err := s.ShareGroups.Leave(f.member, true); err != nil {
			p := kmsg.NewPtrShareFetchResponse()
			p.ErrorCode, p.ErrorMessage = code(err), text(err)
			return encode(c, p), nil
		}
		return f.respond(), nil
	}
	return f.wait(ctx)
}

// settleShareFetch checks the request, settles its session and carries out what it
// acknowledges.
func (s *Server) settleShareFetch(open context.Context, c *call, q *kmsg.ShareFetchRequest) (*shareFetch, error) {
	who, err := shareMember(q.GroupID, q.MemberID)
	if err != nil {
		return nil, err
	}
	if err := checkShareFetch(q); err != nil {
		return nil, err
	}
	add, acks := requestedShares(q)
	session, ended, err := s.ShareGroups.Fetch(share.Peer{ID: c.Conn.ID, Open: open}, who, q.ShareSessionEpoch, add, forgottenShares(q))
	if err := errors.Join(s.ShareGroups.GiveBack(ended), err); err != nil {
		return nil, err
	}
	f := &shareFetch{
		Server: s, call: c, member: who,
		strict: q.ShareAcquireMode == acquireRecordLimit, records: int64(q.MaxRecords), batch: int64(q.BatchSize),
		bytes: s.fetchable(c, min(int64(q.MaxBytes), s.Config().FetchMaxBytes)), least: max(1, int64(q.MinBytes)),
		maxWait: time.Duration(q.MaxWaitMillis) * time.Millisecond,
		epoch:   q.ShareSessionEpoch, full: q.ShareSessionEpoch == share.InitialEpoch,
	}
	f.least = min(f.least, max(1, f.bytes))
	f.acknowledge(acks, q.IsRenewAck)
	f.join(session)
	return f, nil
}

// Ways of ShareFetch to bound what is acquired (KIP-1206).
const (
	acquireBatchOptimized int8 = 0
	acquireRecordLimit    int8 = 1
)

func checkShareFetch(q *kmsg.ShareFetchRequest) error {
	switch {
	case q.ShareAcquireMode != acquireBatchOptimized && q.ShareAcquireMode != acquireRecordLimit:
		return refuse(kerr.InvalidRequest, "the acquire mode is neither 0, by batches, nor 1, by records")
	case q.IsRenewAck && (q.MaxRecords != 0 || q.MaxBytes != 0 || q.MinBytes != 0 || q.MaxWaitMillis != 0):
		return refuse(kerr.InvalidRequest, "a request that renews locks fetches nothing: its limits have to be 0") // KIP-1222
	case q.ShareSessionEpoch == share.InitialEpoch:
		for i := range q.Topics {
			for j := range q.Topics[i].Partitions {
				if len(q.Topics[i].Partitions[j].AcknowledgementBatches) > 0 {
					return refuse(kerr.InvalidRequest, "a request that opens a share session acknowledges nothing")
				}
			}
		}
	}
	return nil
}

// shareMember is who a request is from. The names outlive the request's frame.
func shareMember(group, member *string) (share.Member, error) {
	if group == nil || *group == "" || member == nil || *member == "" {
		return share.Member{}, refuse(kerr.InvalidRequest, "group and member have to be named")
	}
	return share.Member{Group: clone(*group), ID: clone(*member)}, nil
}

// shareAcks is what a request acknowledges of a partition.
type shareAcks struct {
	share.TopicPartition
	batches []kmsg.ShareFetchRequestTopicPartitionAcknowledgementBatch
}

func requestedShares(q *kmsg.ShareFetchRequest) (add []share.TopicPartition, acks []shareAcks) {
	for i := range q.Topics {
		for j := range q.Topics[i].Partitions {
			p := &q.Topics[i].Partitions[j]
			id := share.TopicPartition{Topic: q.Topics[i].TopicID, Index: p.Partition}
			add = append(add, id)
			if len(p.AcknowledgementBatches) > 0 {
				acks = append(acks, shareAcks{id, p.AcknowledgementBatches})
			}
		}
	}
	return add, acks
}

func forgottenShares(q *kmsg.ShareFetchRequest) (forget []share.TopicPartition) {
	for i := range q.ForgottenTopicsData {
		for _, index := range q.ForgottenTopicsData[i].Partitions {
			forget = append(forget, share.TopicPartition{Topic: q.ForgottenTopicsData[i].TopicID, Index: index})
		}
	}
	return forget
}

// acknowledge carries out acknowledgements, all writes at once, and waits for them.
func (f *shareFetch) acknowledge(acks []shareAcks, renew bool) {
	errs := f.acknowledgeShares(f.member, acks, renew)
	for i := range acks {
		f.parts = append(f.parts, &sharePart{TopicPartition: acks[i].TopicPartition, acked: true, ackErr: errs[i]})
	}
}

// acknowledgeShares returns what became of each partition's acknowledgements.
func (s *Server) acknowledgeShares(who share.Member, acks []shareAcks, renew bool) []error {
	errs := make([]error, len(acks))
	waits := make([]func() error, len(acks))
	for i, a := range acks {
		waits[i], errs[i] = s.beginAcks(who, a, renew)
	}
	for i, wait := range waits {
		if wait != nil {
			errs[i] = wait()
		}
	}
	return errs
}

func (s *Server) beginAcks(who share.Member, a shareAcks, renew bool) (func() error, error) {
	if _, err := s.shareReplica(a.TopicPartition); err != nil {
		return nil, err
	}
	p := s.ShareGroups.Loaded(who.Group, a.TopicPartition)
	if p == nil {
		return nil, kerr.UnknownTopicOrPartition
	}
	most := share.Reject
	if renew && s.ShareGroups.Settings(who.Group).Renew {
		most = share.Renew
	}
	acks := make([]share.Ack, len(a.batches))
	for i, b := range a.batches {
		acks[i] = share.Ack{First: b.FirstOffset, Next: b.LastOffset + 1, Types: make([]share.AckType, len(b.AcknowledgeTypes))}
		for j, t := range b.AcknowledgeTypes {
			if acks[i].Types[j] = share.AckType(t); t < 0 || acks[i].Types[j] > most {
				return nil, refuse(kerr.InvalidRequest, "there is no such type of acknowledgement, or it may not be used here")
			}
		}
	}
	return p.Acknowledge(who.ID, acks)
}

func (s *Server) shareReplica(id share.TopicPartition) (*partition.Partition, error) {
	topic, err := s.find("", id.Topic, true)
	if err != nil {
		return nil, err
	}
	return s.replica(topic, id.Index)
}

// join adds the partitions of the session to those that were acknowledged.
func (f *shareFetch) join(session []share.TopicPartition) {
	acked := make(map[share.TopicPartition]*sharePart, len(f.parts))
	for _, p := range f.parts {
		acked[p.TopicPartition] = p
	}
	var parts []*sharePart
	for _, id := range session {
		p := acked[id]
		delete(acked, id)
		if p == nil {
			p = &sharePart{TopicPartition: id}
		}
		p.replica, p.err = f.shareReplica(id)
		parts = append(parts, p)
	}
	for _, p := range f.parts { // acknowledged, but not of the session any more
		if acked[p.TopicPartition] == p {
			parts = append(parts, p)
		}
	}
	f.parts = parts
}

// open makes partitions of the session ready and has w woken by them: those whose state is
// loaded, and one more, or all. A fetch that finds records has no need to wait for the other
// states; as with Kafka, whose share partitions become ready one by one, they are for the
// next fetches. They take turns, so that none is left out for good.
//
// One whose coordinator is loading is left out: the next request asks again.
func (f *shareFetch) open(ctx context.Context, w *segment.Waiter, all bool) {
	replicas := make([]*partition.Partition, len(f.parts))
	var rest []int
	for i, p := range f.parts {
		switch {
		case p.replica == nil || p.opened:
		case f.ShareGroups.Loaded(f.member.Group, p.TopicPartition) != nil:
			replicas[i] = p.replica
		default:
			rest = append(rest, i)
		}
	}
	if len(rest) > 0 && !all {
		turn := int(f.epoch) % len(rest)
		rest = rest[turn : turn+1]
	}
	for _, i := range rest {
		replicas[i] = f.parts[i].replica
	}
	states, errs := f.ShareGroups.Open(ctx, f.member.Group, replicas)
	for i, p := range f.parts {
		if replicas[i] == nil {
			continue
		}
		p.opened = true
		switch {
		case errs[i] == nil:
			p.state = states[i]
			p.replica.Watch(w)
			p.state.Watch(w)
		case !errors.Is(errs[i], share.ErrNotReady):
			p.err = errs[i]
		}
	}
}

// wait looks until there is enough, an error to report, or maxWait is over, and takes what
// there is. What was found may be another member's by then: it looks again.
func (f *shareFetch) wait(ctx context.Context) (*wire.Response, error) {
	if f.records <= 0 || f.bytes <= 0 || len(f.parts) == 0 {
		return f.respond(), nil
	}
	w := segment.NewWaiter()
	defer f.unwatch(w)
	f.open(ctx, w, false)
	opened := false // all of them
	timer := time.NewTimer(f.maxWait)
	defer timer.Stop()
	over := f.maxWait <= 0
	for {
		size, failed := f.look(w)
		if size >= f.least || size > 0 && over || failed {
			if !f.admitFetched(f.call, size) { // the quota does not grant it yet: nothing is acquired
				f.release()
				return f.respond(), nil
			}
			if f.take() || failed {
				return f.respond(), nil
			}
			continue // what was found is not there to be delivered, or somebody else's
		}
		f.release()
		if !opened {
			f.open(ctx, w, true)
			opened = true
			continue
		}
		if over {
			return f.respond(), nil
		}
		select {
		case <-w.C():
		case <-timer.C:
			over = true
		case <-f.Conn.Stopping:
			return f.respond(), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// look finds what could be acquired, in all partitions, within the byte limits. The first
// batch may exceed them, or a large one could never be read.
func (f *shareFetch) look(w *segment.Waiter) (size int64, failed bool) {
	for _, p := range f.parts {
		if p.state != nil && p.err == nil {
			p.found, p.err = p.state.Look(max(0, f.bytes-size), size == 0, w)
			size += p.found.Records.Size
		}
		failed = failed || p.err != nil || p.ackErr != nil
	}
	return size, failed
}

// take acquires what was found, until there are as many records as were asked for.
func (f *shareFetch) take() (some bool) {
	left := f.records
	for _, p := range f.parts {
		if p.state == nil || p.err != nil || left <= 0 {
			p.found.Records.Release()
			continue
		}
		p.taken, p.err = p.state.Take(&p.found, share.Wanted{Member: f.member.ID, Records: left, Strict: f.strict, Batch: f.batch})
		for _, r := range p.taken.Acquired {
			left -= r.Next - r.First
		}
		some = some || len(p.taken.Acquired) > 0 || p.err != nil
	}
	return some
}

// release gives back what was found.
func (f *shareFetch) release() {
	for _, p := range f.parts {
		p.found.Records.Release()
	}
}

func (f *shareFetch) unwatch(w *segment.Waiter) {
	for _, p := range f.parts {
		if p.state != nil {
			p.replica.Unwatch(w)
			p.state.Unwatch(w)
		}
	}
}

// respond answers the partitions that have something to say.
func (f *shareFetch) respond() *wire.Response {
	var said []*sharePart
	for _, p := range f.parts {
		if f.full || p.acked || p.err != nil || len(p.taken.Acquired) > 0 {
			said = append(said, p)
		}
	}
	return encodeShareFetch(f.call, f.ShareGroups.Settings(f.member.Group).LockDuration, said)
}
