package coordinator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator/group"
	"github.com/varvelog/varve/segment/batch"
)

// memoryLog is a log whose commits can be held back and whose appends can be failed.
type memoryLog struct {
	mu        sync.Mutex
	batches   []batch.Batch
	committed int // of batches
	end       int64
	held      bool
	fail      error         // of Append
	failWait  error         // of wait
	moved     chan struct{} // closed when something above changes
	scan      chan struct{} // where not nil, Scan waits for it
}

func newMemoryLog() *memoryLog { return &memoryLog{moved: make(chan struct{})} }

func (l *memoryLog) Append(epoch int32, w Write) (func(context.Context) error, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return nil, l.fail
	}
	b, err := w.Build(l.end, epoch, w.Records)
	if err != nil {
		return nil, err
	}
	l.batches = append(l.batches, b)
	l.end = b.NextOffset()
	at := len(l.batches)
	if !l.held {
		l.committed = at
	}
	return func(ctx context.Context) error {
		for {
			l.mu.Lock()
			moved, committed, err := l.moved, l.committed, l.failWait
			l.mu.Unlock()
			switch {
			case err != nil:
				return err
			case committed >= at:
				return nil
			}
			select {
			case <-moved:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}, nil
}

func (l *memoryLog) Scan(ctx context.Context, yield func(batch.Batch) error) error {
	if l.scan != nil {
		select {
		case <-l.scan:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	l.mu.Lock()
	all := l.batches
	l.mu.Unlock()
	for _, b := range all {
		if err := yield(b); err != nil {
			return err
		}
	}
	return nil
}

// change changes the log and wakes those who wait for it.
func (l *memoryLog) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	if !l.held {
		l.committed = len(l.batches)
	}
	close(l.moved)
	l.moved = make(chan struct{})
}

func newGroups() *Groups {
	return NewGroups(Options{
		Partitions: 1, Now: time.Now, Rand: rand.New(rand.NewPCG(1, 2)),
		SessionMin: 6 * time.Second, SessionMax: 30 * time.Minute, InitialRebalanceDelay: 3 * time.Second,
		OffsetMetadataMax: 4096, OffsetsRetention: 7 * 24 * time.Hour,
	})
}

// run ticks as broker/run.go does, until ctx ends.
func (g *Groups) run(ctx context.Context) {
	for {
		next := g.Tick(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-g.Changed():
		case <-time.After(time.Until(next)):
		}
	}
}

// inBubble runs f with a ticking coordinator of one loaded partition, in virtual time.
func inBubble(t *testing.T, f func(t *testing.T, g *Groups, l *memoryLog)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g, l := newGroups(), newMemoryLog()
		if err := g.Load(t.Context(), 0, 1, l); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var ticking sync.WaitGroup
		ticking.Go(func() { g.run(ctx) })
		f(t, g, l)
		cancel()
		ticking.Wait()
		g.Unload(0)
	})
}

func joinRequest(member string) *kmsg.JoinGroupRequest {
	r := kmsg.NewPtrJoinGroupRequest()
	r.Version, r.Group, r.MemberID = 9, "g", member
	r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = 10_000, 60_000
	r.ProtocolType = "consumer"
	r.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
	return r
}

func syncRequest(j *kmsg.JoinGroupResponse, assignments map[string]string) *kmsg.SyncGroupRequest {
	r := kmsg.NewPtrSyncGroupRequest()
	r.Version, r.Group, r.MemberID, r.Generation = 3, "g", j.MemberID, j.Generation
	for id, a := range assignments {
		r.GroupAssignment = append(r.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: id, MemberAssignment: []byte(a)})
	}
	return r
}

func commitRequest(groupID string, partition int32, offset int64) *kmsg.OffsetCommitRequest {
	r := kmsg.NewPtrOffsetCommitRequest()
	r.Version, r.Group = 9, groupID
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = partition, offset
	r.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}}}
	return r
}

func commitCode(r *kmsg.OffsetCommitResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode }

func fetch(g *Groups, groupID string, partition int32, stable bool) (offset int64, code int16) {
	r := kmsg.NewPtrOffsetFetchRequest()
	r.Version, r.RequireStable = 8, stable
	r.Groups = []kmsg.OffsetFetchRequestGroup{{Group: groupID, Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", Partitions: []int32{partition}}}}}
	a := g.Fetch(r).Groups[0]
	if a.ErrorCode != 0 {
		return -1, a.ErrorCode
	}
	return a.Topics[0].Partitions[0].Offset, a.Topics[0].Partitions[0].ErrorCode
}

func must[R any](t *testing.T, p Pending[R]) R {
	t.Helper()
	r, err := p(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// member joins with the id it is given (KIP-394).
func member(t *testing.T, g *Groups) Pending[*kmsg.JoinGroupResponse] {
	t.Helper()
	first := must(t, g.Join(Client{ID: "c", Host: "/h"}, joinRequest("")))
	if first.ErrorCode != kerr.MemberIDRequired.Code {
		t.Fatalf("code %d, want MEMBER_ID_REQUIRED", first.ErrorCode)
	}
	return g.Join(Client{ID: "c", Host: "/h"}, joinRequest(first.MemberID))
}

func TestMembersShareAGroupAndSurviveAReload(t *testing.T) {
	inBubble(t, func(t *testing.T, g *Groups, l *memoryLog) {
		a, b := member(t, g), member(t, g)
		start := time.Now()
		ja, jb := must(t, a), must(t, b)
		if took := time.Since(start); took != 6*time.Second {
			t.Errorf("the first rebalance took %v, want 3s and once more for the second member", took)
		}
		if ja.LeaderID != ja.MemberID || len(ja.Members) != 2 || jb.LeaderID != ja.MemberID || jb.Generation != 1 {
			t.Fatalf("%+v, %+v", ja, jb)
		}
		sb := g.Sync(Client{}, syncRequest(jb, nil))
		sa := must(t, g.Sync(Client{}, syncRequest(ja, map[string]string{ja.MemberID: "p0", jb.MemberID: "p1"})))
		if got := must(t, sb); string(got.MemberAssignment) != "p1" || string(sa.MemberAssignment) != "p0" {
			t.Fatalf("%+v, %+v", sa, got)
		}

		if err := g.Load(t.Context(), 0, 2, l); err != nil { // the same leader in a later epoch
			t.Fatal(err)
		}
		h := kmsg.NewPtrHeartbeatRequest()
		h.Group, h.MemberID, h.Generation = "g", jb.MemberID, 1
		if got := g.Heartbeat(h); got.ErrorCode != 0 {
			t.Errorf("heartbeat after the reload: %d", got.ErrorCode)
		}
		d := kmsg.NewPtrDescribeGroupsRequest()
		d.Version, d.Groups = 6, []string{"g", "nobody"}
		described := g.Describe(d).Groups
		if described[0].State != "Stable" || len(described[0].Members) != 2 || string(described[0].Members[1].MemberAssignment) != "p1" {
			t.Errorf("%+v", described[0])
		}
		if described[1].State != "Dead" || described[1].ErrorCode != kerr.GroupIDNotFound.Code {
			t.Errorf("%+v (KIP-1043)", described[1])
		}

		// a says nothing: b is alone after its session.
		time.Sleep(9 * time.Second)
		if got := g.Heartbeat(h); got.ErrorCode != 0 {
			t.Errorf("heartbeat: %d", got.ErrorCode)
		}
		time.Sleep(2 * time.Second)
		if got := g.Heartbeat(h); got.ErrorCode != kerr.RebalanceInProgress.Code {
			t.Errorf("heartbeat after a died: %d", got.ErrorCode)
		}
		if got := must(t, g.Join(Client{}, joinRequest(jb.MemberID))); got.Generation != 2 || got.LeaderID != jb.MemberID {
			t.Errorf("%+v", got)
		}
	})
}

func TestAnOffsetIsVisibleOnceCommitted(t *testing.T) {
	inBubble(t, func(t *testing.T, g *Groups, l *memoryLog) {
		must(t, g.Commit(commitRequest("s", 0, 5)))
		l.change(func() { l.held = true })
		p := g.Commit(commitRequest("s", 0, 6))
		if got, code := fetch(g, "s", 0, false); got != 5 || code != 0 {
			t.Errorf("offset %d, code %d before the commit is replicated", got, code)
		}
		if _, code := fetch(g, "s", 0, true); code != kerr.UnstableOffsetCommit.Code {
			t.Errorf("code %d of a stable fetch, want UNSTABLE_OFFSET_COMMIT", code)
		}
		l.change(func() { l.held = false })
		if code := commitCode(must(t, p)); code != 0 {
			t.Errorf("code %d", code)
		}
		if got, code := fetch(g, "s", 0, true); got != 6 || code != 0 {
			t.Errorf("offset %d, code %d", got, code)
		}
	})
}

func TestACommitOutlivesItsConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, g *Groups, l *memoryLog) {
		l.change(func() { l.held = true })
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := g.Commit(commitRequest("s", 0, 6))(gone); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		late, cancel := context.WithTimeout(t.Context(), 5*time.Second) // offsets.commit.timeout.ms
		defer cancel()
		r, err := g.Commit(commitRequest("s", 1, 7))(late)
		if err != nil || commitCode(r) != kerr.CoordinatorNotAvailable.Code {
			t.Errorf("%+v, %v", r, err)
		}
		l.change(func() { l.held = false })
		synctest.Wait()
		for partition, want := range []int64{6, 7} {
			if got, _ := fetch(g, "s", int32(partition), true); got != want {
				t.Errorf("partition %d: %d, want %d", partition, got, want)
			}
		}
	})
}

func TestErrorsOfTheLogAreAnsweredAsTheirCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want *kerr.Error
	}{
		{fmt.Errorf("append: %w", ErrNotLeader), kerr.NotCoordinator},
		{ErrTooLarge, kerr.UnknownServerError},
		{errors.New("not enough replicas"), kerr.CoordinatorNotAvailable},
	} {
		inBubble(t, func(t *testing.T, g *Groups, l *memoryLog) {
			l.change(func() { l.fail = c.err })
			if got := commitCode(must(t, g.Commit(commitRequest("s", 0, 6)))); got != c.want.Code {
				t.Errorf("append fails with %v: %d", c.err, got)
			}
			l.change(func() { l.fail, l.failWait = nil, c.err })
			if got := commitCode(must(t, g.Commit(commitRequest("s", 0, 7)))); got != c.want.Code {
				t.Errorf("wait fails with %v: %d", c.err, got)
			}
			if got, _ := fetch(g, "s", 0, true); got != -1 {
				t.Errorf("offset %d is visible", got)
			}
		})
	}
}

func TestUnloadAnswersWhoeverWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, g *Groups, l *memoryLog) {
		join := member(t, g)
		l.change(func() { l.held = true })
		commit := g.Commit(commitRequest("s", 0, 6))
		g.Unload(0)
		if got := must(t, join).ErrorCode; got != kerr.NotCoordinator.Code {
			t.Errorf("join: %d", got)
		}
		if got := commitCode(must(t, commit)); got != kerr.NotCoordinator.Code {
			t.Errorf("commit: %d", got)
		}
		if got := must(t, g.Join(Client{}, joinRequest(""))).ErrorCode; got != kerr.NotCoordinator.Code {
			t.Errorf("join after: %d", got)
		}
	})
}

func TestRequestsWhileLoading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, l := newGroups(), newMemoryLog()
		l.scan = make(chan struct{})
		loaded := make(chan error, 1)
		go func() { loaded <- g.Load(t.Context(), 0, 1, l) }()
		synctest.Wait()
		want := kerr.CoordinatorLoadInProgress.Code
		h := kmsg.NewPtrHeartbeatRequest()
		h.Group = "g"
		if got := g.Heartbeat(h).ErrorCode; got != 0 {
			t.Errorf("heartbeat: %d, want none as in Kafka", got)
		}
		if got := must(t, g.Join(Client{}, joinRequest(""))).ErrorCode; got != want {
			t.Errorf("join: %d", got)
		}
		if got := commitCode(must(t, g.Commit(commitRequest("g", 0, 1)))); got != want {
			t.Errorf("commit: %d", got)
		}
		if _, got := fetch(g, "g", 0, false); got != want {
			t.Errorf("fetch: %d", got)
		}
		if got := g.List(kmsg.NewPtrListGroupsRequest()).ErrorCode; got != want {
			t.Errorf("list: %d", got)
		}
		old := kmsg.NewPtrOffsetFetchRequest()
		old.Version, old.Group = 1, "g"
		old.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{3}}}
		if got := g.Fetch(old).Topics[0].Partitions[0]; got.ErrorCode != want || got.Offset != -1 || got.Partition != 3 {
			t.Errorf("fetch v1: %+v, want the error at the partition", got)
		}
		if err := g.Load(t.Context(), 0, 1, l); !errors.Is(err, ErrStaleEpoch) {
			t.Errorf("load in the same epoch: %v", err)
		}
		g.Unload(0)
		if err := <-loaded; !errors.Is(err, ErrUnloaded) {
			t.Errorf("load that was overtaken: %v", err)
		}
	})
}

func TestADamagedLogIsNotServed(t *testing.T) {
	g, l := newGroups(), newMemoryLog()
	if _, err := l.Append(1, plain([]batch.Record{{Key: []byte{0, 1, 0, 9}}})); err != nil {
		t.Fatal(err)
	}
	if err := g.Load(t.Context(), 0, 1, l); err == nil {
		t.Fatal("loaded")
	}
	if got := must(t, g.Join(Client{}, joinRequest(""))).ErrorCode; got != kerr.NotCoordinator.Code {
		t.Errorf("join: %d", got)
	}
}

func TestGroupsAreListedFilteredAndDeleted(t *testing.T) {
	inBubble(t, func(t *testing.T, g *Groups, l *memoryLog) {
		must(t, g.Commit(commitRequest("s", 0, 6)))
		join := member(t, g)
		list := func(states, types []string) (ids []string) {
			r := kmsg.NewPtrListGroupsRequest()
			r.Version, r.StatesFilter, r.TypesFilter = 5, states, types
			for _, l := range g.List(r).Groups {
				ids = append(ids, l.Group+" "+l.GroupState+" "+l.GroupType)
			}
			return ids
		}
		all := []string{"g PreparingRebalance classic", "s Empty classic"}
		for _, c := range []struct{ states, types, want []string }{
			{nil, nil, all},
			{[]string{"empty "}, nil, all[1:]},
			{nil, []string{"Classic"}, all},
			{nil, []string{"consumer"}, nil},
			{[]string{"nonsense"}, nil, nil},
		} {
			if got := list(c.states, c.types); !slices.Equal(got, c.want) {
				t.Errorf("states %q, types %q: %q", c.states, c.types, got)
			}
		}
		r := kmsg.NewPtrDeleteGroupsRequest()
		r.Groups = []string{"s", "g", "s", "nobody"}
		deleted := must(t, g.Delete(r)).Groups
		if len(deleted) != 3 {
			t.Fatalf("%d answers for three groups, one of them named twice", len(deleted))
		}
		for i, got := range deleted {
			if want := []int16{0, kerr.NonEmptyGroup.Code, kerr.GroupIDNotFound.Code}[i]; got.ErrorCode != want {
				t.Errorf("delete %s: %d, want %d", got.Group, got.ErrorCode, want)
			}
		}
		must(t, join)
		if got := list(nil, nil); len(got) != 1 {
			t.Errorf("%q are left", got)
		}
	})
}

func TestDropTopicReachesEveryGroupInFewBatches(t *testing.T) {
	inBubble(t, func(t *testing.T, g *Groups, l *memoryLog) {
		for i := range 100 {
			must(t, g.Commit(commitRequest(fmt.Sprint(i), 0, 6)))
		}
		before := len(l.batches)
		must(t, g.DropTopic("t", group.TopicID{}))
		if n := len(l.batches) - before; n != 1 {
			t.Errorf("%d batches for 100 tombstones", n)
		}
		if got := g.List(kmsg.NewPtrListGroupsRequest()).Groups; len(got) != 0 {
			t.Errorf("%d simple groups without offsets are left", len(got))
		}
	})
}

// TestALargeStepIsCutIntoBatches: all records of one delete are answered together.
func TestALargeStepIsCutIntoBatches(t *testing.T) {
	inBubble(t, func(t *testing.T, g *Groups, l *memoryLog) {
		r := commitRequest("s", 0, 0)
		for i := range int32(20_000) {
			p := kmsg.NewOffsetCommitRequestTopicPartition()
			p.Partition, p.Offset = i, int64(i)
			r.Topics[0].Partitions = append(r.Topics[0].Partitions, p)
		}
		if code := commitCode(must(t, g.Commit(r))); code != 0 {
			t.Fatal(code)
		}
		if len(l.batches) < 2 {
			t.Errorf("%d batches", len(l.batches))
		}
		for _, b := range l.batches {
			if b.Size() > maxBatchBytes+4096 {
				t.Errorf("a batch of %d bytes", b.Size())
			}
		}
		if got, _ := fetch(g, "s", 19_999, true); got != 19_999 {
			t.Errorf("offset %d", got)
		}
		d := kmsg.NewPtrDeleteGroupsRequest()
		d.Groups = []string{"s"}
		if got := must(t, g.Delete(d)).Groups[0].ErrorCode; got != 0 {
			t.Errorf("delete: %d", got)
		}
		if err := g.Load(t.Context(), 0, 2, l); err != nil {
			t.Fatal(err)
		}
		if got, _ := fetch(g, "s", 5, true); got != -1 {
			t.Errorf("offset %d is back", got)
		}
	})
}

func TestOffsetsExpire(t *testing.T) {
	inBubble(t, func(t *testing.T, g *Groups, l *memoryLog) {
		must(t, g.Commit(commitRequest("s", 0, 6)))
		time.Sleep(7*24*time.Hour - time.Minute)
		if got, _ := fetch(g, "s", 0, true); got != 6 {
			t.Errorf("offset %d a minute before its time", got)
		}
		time.Sleep(11 * time.Minute) // offsets.retention.check.interval.ms
		if got, _ := fetch(g, "s", 0, true); got != -1 {
			t.Errorf("offset %d after seven days (KIP-211)", got)
		}
	})
}

// TestTickIsCalledOncePerSessionAtMost: a stable group of many members costs a look per member
// and session timeout, not per heartbeat.
func TestTickIsCalledOncePerSessionAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, l := newGroups(), newMemoryLog()
		if err := g.Load(t.Context(), 0, 1, l); err != nil {
			t.Fatal(err)
		}
		r := joinRequest("")
		r.Version = 0
		p := g.Join(Client{}, r)
		time.Sleep(3 * time.Second)
		g.Tick(time.Now())
		j := must(t, p)
		must(t, g.Sync(Client{}, syncRequest(j, nil)))
		next := g.Tick(time.Now())
		select {
		case <-g.Changed():
		default:
		}
		h := kmsg.NewPtrHeartbeatRequest()
		h.Group, h.MemberID, h.Generation = "g", j.MemberID, 1
		for range 5 {
			time.Sleep(time.Second)
			if got := g.Heartbeat(h).ErrorCode; got != 0 {
				t.Fatal(got)
			}
			select {
			case <-g.Changed():
				t.Error("a heartbeat calls for a tick")
			default:
			}
		}
		if d := time.Until(next); d != 5*time.Second {
			t.Errorf("the next tick is in %v", d)
		}
		g.Unload(0)
	})
}

func TestRequestsThatNameNoGroup(t *testing.T) {
	g := newGroups()
	want := kerr.InvalidGroupID.Code
	if got := must(t, g.Join(Client{}, kmsg.NewPtrJoinGroupRequest())).ErrorCode; got != want {
		t.Errorf("join: %d", got)
	}
	if got := must(t, g.Sync(Client{}, kmsg.NewPtrSyncGroupRequest())).ErrorCode; got != want {
		t.Errorf("sync: %d", got)
	}
	unnamed := kmsg.NewPtrSyncGroupRequest()
	unnamed.Version, unnamed.Group = 5, "nobody"
	if got := must(t, g.Sync(Client{}, unnamed)).ErrorCode; got != kerr.InconsistentGroupProtocol.Code {
		t.Errorf("sync without a protocol: %d (KIP-559)", got)
	}
	if got := g.Heartbeat(kmsg.NewPtrHeartbeatRequest()).ErrorCode; got != want {
		t.Errorf("heartbeat: %d", got)
	}
	if got := g.Leave(kmsg.NewPtrLeaveGroupRequest()).ErrorCode; got != want {
		t.Errorf("leave: %d", got)
	}
	if got := must(t, g.DeleteOffsets(kmsg.NewPtrOffsetDeleteRequest())).ErrorCode; got != want {
		t.Errorf("delete offsets: %d", got)
	}
	r := joinRequest("")
	r.SessionTimeoutMillis = 5999
	if got := must(t, g.Join(Client{}, r)).ErrorCode; got != kerr.InvalidSessionTimeout.Code {
		t.Errorf("short session: %d", got)
	}
}

// TestPartitionForIsKafkas: java.lang.String.hashCode, and abs as Kafka has it.
func TestPartitionForIsKafkas(t *testing.T) {
	g := NewGroups(Options{Partitions: 50})
	for id, want := range map[string]int32{
		"":                   0,
		"g":                  3,
		"console-consumer":   40, // -648006740
		"my-group":           12, // -1906497762
		"polygenelubricants": 0,  // -2147483648
		"grüße":              23, // 98768023
		"💡":                  48, // 1772548, of two UTF-16 units
	} {
		if got := g.PartitionFor(id); got != want {
			t.Errorf("%q: partition %d, want %d (hash %d)", id, got, want, javaHash(id))
		}
	}
}

// slowTopics is a cluster of one topic whose names are listed when somebody says so.
type slowTopics struct{ list chan struct{} }

func (slowTopics) Topic(name string) (group.Topic, bool) {
	return group.Topic{Name: "t", ID: group.TopicID{1}, Partitions: 1}, name == "t"
}

func (s slowTopics) TopicByID(id group.TopicID) (group.Topic, bool) {
	topic, _ := s.Topic("t")
	return topic, id == topic.ID
}

func (s slowTopics) Names() []string {
	<-s.list
	return []string{"t"}
}

func (slowTopics) Version() int64 { return 1 }

// TestMatchingAPatternKeepsNobodyWaiting: what a pattern stands for (KIP-848) is found
// without the lock of the shard, and another group's patterns meanwhile.
func TestMatchingAPatternKeepsNobodyWaiting(t *testing.T) {
	inBubble(t, func(t *testing.T, g *Groups, _ *memoryLog) {
		topics := slowTopics{make(chan struct{})}
		g.limits.Metadata = func() group.Metadata { return topics }
		beat := func(groupID string, epoch int32) *kmsg.ConsumerGroupHeartbeatResponse {
			r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
			r.Version, r.Group, r.MemberID, r.MemberEpoch, r.RebalanceTimeoutMillis = 1, groupID, "a", epoch, 60_000
			r.SubscribedTopicRegex, r.Topics = kmsg.StringPtr("t.*"), []kmsg.ConsumerGroupHeartbeatRequestTopic{}
			p := must(t, g.ConsumerHeartbeat(Client{ID: "c", Host: "/h"}, r))
			if p.ErrorCode != 0 {
				t.Fatalf("heartbeat of group %s: code %d", groupID, p.ErrorCode)
			}
			return p
		}
		beat("g", 0)
		beat("h", 0) // its shard is the same
		if got := beat("g", 1); got.MemberEpoch != 1 || len(got.Assignment.Topics) != 0 {
			t.Errorf("before its pattern is matched: epoch %d, %v", got.MemberEpoch, got.Assignment)
		}
		close(topics.list)
		synctest.Wait()
		for _, groupID := range []string{"g", "h"} {
			if got := beat(groupID, 1); got.MemberEpoch != 2 || len(got.Assignment.Topics) != 1 {
				t.Errorf("after the pattern of %s is matched: epoch %d, %v", groupID, got.MemberEpoch, got.Assignment)
			}
		}
	})
}

// TestUnloadEndsTheMatchingOfPatterns: it waits for no more than the part that runs.
func TestUnloadEndsTheMatchingOfPatterns(t *testing.T) {
	inBubble(t, func(t *testing.T, g *Groups, _ *memoryLog) {
		topics := slowTopics{make(chan struct{})}
		close(topics.list)
		g.limits.Metadata = func() group.Metadata { return topics }
		g.turns <- struct{}{} // somebody else's turn
		r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		r.Version, r.Group, r.MemberID, r.RebalanceTimeoutMillis = 1, "g", "a", 60_000
		r.SubscribedTopicRegex, r.Topics = kmsg.StringPtr("t.*"), []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		if p := must(t, g.ConsumerHeartbeat(Client{ID: "c", Host: "/h"}, r)); p.ErrorCode != 0 {
			t.Fatalf("code %d", p.ErrorCode)
		}
		g.Unload(0)
		<-g.turns
	})
}

// TestManyClientsAtOnce is for the race detector: commits, fetches, members, drops and
// reloads on one partition.
func TestManyClientsAtOnce(t *testing.T) {
	g, l := newGroups(), newMemoryLog()
	g.limits.InitialRebalanceDelay = 0
	if err := g.Load(t.Context(), 0, 1, l); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var ticking, clients sync.WaitGroup
	ticking.Go(func() { g.run(ctx) })
	for c := range int32(8) {
		clients.Go(func() {
			acknowledged := int64(-1)
			for i := range int64(200) {
				r, err := g.Commit(commitRequest("s", c, i))(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				if commitCode(r) == 0 {
					acknowledged = i
				}
				got, code := fetch(g, "s", c, false)
				if code == 0 && got < acknowledged {
					t.Errorf("offset %d after %d was acknowledged", got, acknowledged)
				}
				if i%20 == 0 {
					j := member(t, g)
					if i%40 == 0 {
						short, cancel := context.WithTimeout(ctx, time.Millisecond)
						_, _ = j(short)
						cancel()
					} else {
						leave := kmsg.NewPtrLeaveGroupRequest()
						leave.Group, leave.MemberID = "g", "c"
						g.Leave(leave)
					}
				}
				g.List(kmsg.NewPtrListGroupsRequest())
			}
		})
	}
	clients.Wait()
	for epoch := int32(2); epoch < 5; epoch++ {
		if err := g.Load(ctx, 0, epoch, l); err != nil {
			t.Error(err)
		}
		for c := range int32(8) {
			if got, code := fetch(g, "s", c, true); got != 199 || code != 0 {
				t.Errorf("partition %d: offset %d, code %d after a reload", c, got, code)
			}
		}
	}
	cancel()
	ticking.Wait()
	g.Unload(0)
}
