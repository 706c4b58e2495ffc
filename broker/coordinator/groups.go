package coordinator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator/group"
)

// Client is who asks.
type Client = group.Client

// Pending is an answer that may have to be waited for. What was asked is already
// under way: it is neither started nor undone by the call. It is to be called once;
// until it has returned the request, and the frame it is a view of, must not change.
//
// Where ctx is cancelled the error is ctx's. Where its deadline passes, the answers
// that wait for the log say COORDINATOR_NOT_AVAILABLE; so offsets.commit.timeout.ms is
// a deadline the caller sets.
type Pending[R any] func(ctx context.Context) (R, error)

// Options of the group coordinator; durations and limits under Kafka's names.
type Options struct {
	Partitions             int32 // offsets.topic.num.partitions
	Now                    func() time.Time
	Rand                   *rand.Rand                                 // member ids; used under a lock of ours
	SessionMin, SessionMax time.Duration                              // group.min/max.session.timeout.ms
	InitialRebalanceDelay  time.Duration                              // group.initial.rebalance.delay.ms
	GroupMaxSize           int                                        // group.max.size; 0: no limit
	OffsetMetadataMax      int                                        // offset.metadata.max.bytes
	OffsetsRetention       time.Duration                              // offsets.retention.minutes
	Consumer               func(groupID string) group.Settings        // of KIP-848; nil: Kafka's defaults
	Streams                func(groupID string) group.StreamsSettings // of KIP-1071; likewise
	Metadata               func() group.Metadata                      // nil: there are no topics
	RetentionCheck         time.Duration                              // offsets.retention.check.interval.ms; 0: 10 minutes

	Share        func(groupID string) group.ShareSettings // of share groups; nil: Kafka's defaults
	Shares       *Shares                                  // keeps the state of their partitions; nil: nobody does
	SharePersist time.Duration                            // how long it may take, share.coordinator.write.timeout.ms; 0: 5 s
}

// defaultRetentionCheck is Kafka's default: offsets live for days, so minutes are soon
// enough, and each check looks at every offset.
const defaultRetentionCheck = 10 * time.Minute

// defaultSharePersist is Kafka's default: as long as a write of its share coordinator.
const defaultSharePersist = 5 * time.Second

// Groups is the group coordinator of this broker.
type Groups struct {
	o      Options
	limits group.Limits
	alarm  *alarm
	table  table[*shard]
	turns  chan struct{} // of capacity 1: whose patterns are being matched, see turn

	random sync.Mutex // guards o.Rand
}

// NewGroups makes a coordinator of no partitions.
func NewGroups(o Options) *Groups {
	if o.RetentionCheck <= 0 {
		o.RetentionCheck = defaultRetentionCheck
	}
	if o.SharePersist <= 0 {
		o.SharePersist = defaultSharePersist
	}
	return &Groups{
		o: o,
		limits: group.Limits{
			InitialRebalanceDelay: o.InitialRebalanceDelay.Milliseconds(),
			MaxSize:               o.GroupMaxSize,
			OffsetMetadataMax:     o.OffsetMetadataMax,
			OffsetsRetention:      o.OffsetsRetention.Milliseconds(),
			Consumer:              o.Consumer,
			Share:                 o.Share,
			Streams:               o.Streams,
			Metadata:              o.Metadata,
		},
		alarm: newAlarm(),
		turns: make(chan struct{}, 1),
	}
}

// PartitionFor returns the partition of __consumer_offsets that a group lives in.
func (g *Groups) PartitionFor(groupID string) int32 { return partitionFor(groupID, g.o.Partitions) }

// Load makes this broker the coordinator of a partition's groups. Until it has read
// the log, requests for them answer COORDINATOR_LOAD_IN_PROGRESS. Unload forgets them
// and answers waiting members NOT_COORDINATOR.
//
// A later epoch replaces an earlier one; ErrStaleEpoch is returned for one that is not
// later. Where the log cannot be read the error says why and requests answer
// NOT_COORDINATOR. ErrUnloaded is returned where Unload or a later Load came first.
func (g *Groups) Load(ctx context.Context, partition, leaderEpoch int32, l Log) error {
	return g.table.load(ctx, partition, newShard(g, leaderEpoch, l))
}

// Unload ends the coordination of a partition's groups. It returns when nothing of it
// runs any more.
func (g *Groups) Unload(partition int32) { g.table.unload(partition) }

// Tick expires sessions, ends rebalance delays and expires offsets that are due at
// now. It returns when it wants to be called next, at most a RetentionCheck later.
// Changed is signalled when that moment has moved closer. One Tick runs at a time.
func (g *Groups) Tick(now time.Time) (next time.Time) {
	return g.alarm.tick(now.Add(g.o.RetentionCheck), func() {
		for _, s := range g.table.all() {
			g.alarm.moved(s.tick(now.UnixMilli()))
		}
	})
}

// Changed is signalled when Tick is wanted earlier than it last said.
func (g *Groups) Changed() <-chan struct{} { return g.alarm.changed }

func (g *Groups) now() int64 { return g.o.Now().UnixMilli() }

// fresh is a random UUID (RFC 9562, version 4).
func (g *Groups) fresh() string {
	g.random.Lock()
	hi, lo := g.o.Rand.Uint64(), g.o.Rand.Uint64()
	g.random.Unlock()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x",
		hi>>32, hi>>16&0xffff, hi&0xfff, 0x8000|lo>>48&0x3fff, lo&0xffffffffffff)
}

// await makes the answer of the ticket a Pending. late answers in its place where the
// deadline of ctx passes; nil: ctx's error stands.
func await[R kmsg.Response](w *waiter, late func() R) Pending[R] {
	return func(ctx context.Context) (R, error) {
		reply, err := w.wait(ctx)
		if err != nil {
			if late != nil && errors.Is(err, context.DeadlineExceeded) {
				return late(), nil
			}
			var none R
			return none, err
		}
		return reply.Response.(R), nil
	}
}

// Join handles JoinGroup v0-v9.
func (g *Groups) Join(c Client, r *kmsg.JoinGroupRequest) Pending[*kmsg.JoinGroupResponse] {
	fail := func(code int16) *kmsg.JoinGroupResponse {
		return group.JoinError(r.Version, strings.Clone(r.MemberID), code)
	}
	session := time.Duration(r.SessionTimeoutMillis) * time.Millisecond
	switch {
	case r.Group == "":
		return done(fail(kerr.InvalidGroupID.Code))
	case session < g.o.SessionMin || session > g.o.SessionMax:
		return done(fail(kerr.InvalidSessionTimeout.Code))
	}
	fresh, now := g.fresh(), g.now()
	s, code := g.enter(r.Group)
	if code != 0 {
		return done(fail(code))
	}
	defer s.mu.Unlock()
	e := s.groups[r.Group]
	if e == nil {
		if r.MemberID != "" {
			return done(fail(kerr.UnknownMemberID.Code))
		}
		e = s.create(now, r.Group)
	}
	w := s.ticket(func(code int16) kmsg.Response { return fail(code) })
	s.step(now, e, e.Join(now, w.ticket, c, fresh, r))
	return await[*kmsg.JoinGroupResponse](w, nil)
}

// Sync handles SyncGroup v0-v5.
func (g *Groups) Sync(_ Client, r *kmsg.SyncGroupRequest) Pending[*kmsg.SyncGroupResponse] {
	version := r.Version
	fail := func(code int16) kmsg.Response { return group.SyncError(version, code) }
	if code := group.ValidateSync(r); code != 0 {
		return done(group.SyncError(version, code))
	}
	w, code := g.ask(r.Group, kerr.UnknownMemberID, fail, func(now int64, e *entry, t group.Ticket) group.Output {
		return e.Sync(now, t, r)
	})
	if code != 0 {
		return done(group.SyncError(version, code))
	}
	return await[*kmsg.SyncGroupResponse](w, nil)
}

// Heartbeat handles Heartbeat v0-v4. While the partition loads it answers no error, as
// in Kafka: members need not rejoin for that.
func (g *Groups) Heartbeat(r *kmsg.HeartbeatRequest) *kmsg.HeartbeatResponse {
	response := kmsg.NewPtrHeartbeatResponse()
	response.Version = r.Version
	if r.Group == "" {
		response.ErrorCode = kerr.InvalidGroupID.Code
		return response
	}
	now := g.now()
	s, code := g.enter(r.Group)
	if code != 0 {
		if code != kerr.CoordinatorLoadInProgress.Code {
			response.ErrorCode = code
		}
		return response
	}
	defer s.mu.Unlock()
	if e := s.groups[r.Group]; e != nil {
		response.ErrorCode = e.Heartbeat(now, r)
		s.reschedule(e) // a shorter session timeout may be due earlier
	} else {
		response.ErrorCode = kerr.UnknownMemberID.Code
	}
	return response
}

// Leave handles LeaveGroup v0-v5.
func (g *Groups) Leave(r *kmsg.LeaveGroupRequest) *kmsg.LeaveGroupResponse {
	if r.Group == "" {
		return group.LeaveError(r, kerr.InvalidGroupID.Code)
	}
	now := g.now()
	s, code := g.enter(r.Group)
	if code != 0 {
		return group.LeaveError(r, code)
	}
	defer s.mu.Unlock()
	e := s.groups[r.Group]
	if e == nil {
		return group.LeaveUnknown(r)
	}
	response, out := e.Leave(now, r)
	s.step(now, e, out)
	return response
}

// Commit handles OffsetCommit v1-v10. Topics that do not exist are for the caller to
// answer; topic ids (v10) come resolved to names and are echoed.
func (g *Groups) Commit(r *kmsg.OffsetCommitRequest) Pending[*kmsg.OffsetCommitResponse] {
	now := g.now()
	s, code := g.enter(r.Group)
	if code != 0 {
		return done(group.CommitError(r, code))
	}
	defer s.mu.Unlock()
	e := s.groups[r.Group]
	if e == nil {
		if code := group.CommitUnknown(r); code != 0 {
			return done(group.CommitError(r, code))
		}
		e = s.create(now, r.Group)
	}
	asked := *r // the caller may look at other topics meanwhile
	w := s.ticket(func(code int16) kmsg.Response { return group.CommitError(&asked, code) })
	s.step(now, e, e.Commit(now, w.ticket, r))
	return await(w, func() *kmsg.OffsetCommitResponse {
		return group.CommitError(&asked, kerr.CoordinatorNotAvailable.Code)
	})
}

// Describe handles DescribeGroups v0-v6. Authorized operations are for the caller.
func (g *Groups) Describe(r *kmsg.DescribeGroupsRequest) *kmsg.DescribeGroupsResponse {
	response := kmsg.NewPtrDescribeGroupsResponse()
	response.Version = r.Version
	for _, id := range r.Groups {
		response.Groups = append(response.Groups, g.describe(r.Version, id))
	}
	return response
}

func (g *Groups) describe(version int16, id string) kmsg.DescribeGroupsResponseGroup {
	s, code := g.enter(id)
	if code != 0 {
		d := kmsg.NewDescribeGroupsResponseGroup()
		d.Group, d.ErrorCode = id, code
		return d
	}
	defer s.mu.Unlock()
	if e := s.groups[id]; e != nil {
		return e.Describe(version)
	}
	return group.DescribeUnknown(version, id)
}

// List handles ListGroups v0-v5: all groups this broker coordinates, filtered by state
// (v4, KIP-518) and type (v5, KIP-848), both without regard to case.
func (g *Groups) List(r *kmsg.ListGroupsRequest) *kmsg.ListGroupsResponse {
	response := kmsg.NewPtrListGroupsResponse()
	response.Version = r.Version
	in := func(filter []string, value string) bool {
		return len(filter) == 0 || slices.ContainsFunc(filter, func(f string) bool {
			return strings.EqualFold(strings.TrimSpace(f), value)
		})
	}
	code := g.table.visit(func(s *shard) {
		for _, id := range s.ids() {
			l := s.groups[id].Listed()
			if in(r.StatesFilter, l.GroupState) && in(r.TypesFilter, l.GroupType) {
				response.Groups = append(response.Groups, l)
			}
		}
	})
	if code != 0 {
		response.ErrorCode, response.Groups = code, nil
	}
	return response
}

// Delete handles DeleteGroups v0-v2. Who is named twice is deleted and answered once.
func (g *Groups) Delete(r *kmsg.DeleteGroupsRequest) Pending[*kmsg.DeleteGroupsResponse] {
	response := kmsg.NewPtrDeleteGroupsResponse()
	response.Version = r.Version
	var waiters []*waiter
	named := make(map[string]bool, len(r.Groups))
	for _, id := range r.Groups {
		if named[id] {
			continue
		}
		named[id] = true
		answer := kmsg.NewDeleteGroupsResponseGroup()
		answer.Group = id
		w, code := g.ask(id, kerr.GroupIDNotFound, nil, func(now int64, e *entry, t group.Ticket) group.Output {
			return e.Delete(now, t)
		})
		answer.ErrorCode = code
		waiters = append(waiters, w)
		response.Groups = append(response.Groups, answer)
	}
	return func(ctx context.Context) (*kmsg.DeleteGroupsResponse, error) {
		for i, w := range waiters {
			if w == nil {
				continue
			}
			code, err := w.code(ctx)
			if err != nil {
				return nil, err
			}
			response.Groups[i].ErrorCode = code
		}
		return response, nil
	}
}

// DeleteOffsets handles OffsetDelete v0. Topics that do not exist are for the caller
// to answer.
func (g *Groups) DeleteOffsets(r *kmsg.OffsetDeleteRequest) Pending[*kmsg.OffsetDeleteResponse] {
	fail := func(code int16) kmsg.Response { return group.DeleteOffsetsError(r, code) }
	if r.Group == "" {
		return done(group.DeleteOffsetsError(r, kerr.InvalidGroupID.Code))
	}
	w, code := g.ask(r.Group, kerr.GroupIDNotFound, fail, func(now int64, e *entry, t group.Ticket) group.Output {
		return e.DeleteOffsets(now, t, r)
	})
	if code != 0 {
		return done(group.DeleteOffsetsError(r, code))
	}
	return await(w, func() *kmsg.OffsetDeleteResponse {
		return group.DeleteOffsetsError(r, kerr.CoordinatorNotAvailable.Code)
	})
}

// DropTopic removes the committed offsets of a deleted topic from the groups that are
// loaded; whoever loads others finds that it is gone. The error says that some tombstones could not be stored.
func (g *Groups) DropTopic(topic string, id group.TopicID) Pending[struct{}] {
	now := g.now()
	var waiters []*waiter
	for _, s := range g.table.all() {
		if s.enter() != 0 {
			continue
		}
		waiters = append(waiters, s.dropTopic(now, topic, id)...)
		s.mu.Unlock()
	}
	return func(ctx context.Context) (struct{}, error) {
		var errs []error
		for _, w := range waiters {
			code, err := w.code(ctx)
			if err == nil {
				err = kerr.ErrorForCode(code)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("drop offsets of topic %s: %w", topic, err))
			}
		}
		return struct{}{}, errors.Join(errs...)
	}
}

// enter locks the shard of a group. The caller unlocks it where the code is 0.
func (g *Groups) enter(groupID string) (*shard, int16) {
	if !group.ValidID(groupID) {
		return nil, kerr.InvalidGroupID.Code
	}
	return g.table.enter(g.PartitionFor(groupID))
}

// ask lets a group decide a request that it may answer later. fail makes the answer
// from a code; nil: the code is the answer. Where there is no group to ask, which
// missing is the code for, or it is not ours to ask, the code says so.
func (g *Groups) ask(groupID string, missing *kerr.Error, fail func(code int16) kmsg.Response, decide func(int64, *entry, group.Ticket) group.Output) (*waiter, int16) {
	now := g.now()
	s, code := g.enter(groupID)
	if code != 0 {
		return nil, code
	}
	defer s.mu.Unlock()
	e := s.groups[groupID]
	if e == nil {
		return nil, missing.Code
	}
	w := s.ticket(fail)
	s.step(now, e, decide(now, e, w.ticket))
	return w, 0
}
