package coordinator

import (
	"context"
	"math/rand/v2"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator/group"
	"github.com/varvelog/varve/segment/batch"
)

// prunableLog is a memoryLog whose beginning can be deleted.
type prunableLog struct {
	*memoryLog
	start int64
}

func (l *prunableLog) End() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end
}

func (l *prunableLog) DeleteBefore(_ context.Context, offset int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.start = max(l.start, offset)
	return nil
}

func (l *prunableLog) from() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.start
}

// Scan leaves out the batches below the start.
func (l *prunableLog) Scan(ctx context.Context, yield func(batch.Batch) error) error {
	return l.memoryLog.Scan(ctx, func(b batch.Batch) error {
		if b.NextOffset() <= l.from() {
			return nil
		}
		return yield(b)
	})
}

// shareTopics is a cluster with one topic, until it is gone.
type shareTopics struct{ gone bool }

var shareTopic = group.Topic{Name: "t", ID: [16]byte{1}, Partitions: 2}

func (s *shareTopics) Topic(name string) (group.Topic, bool) {
	return shareTopic, !s.gone && name == shareTopic.Name
}

func (s *shareTopics) TopicByID(id group.TopicID) (group.Topic, bool) {
	return shareTopic, !s.gone && id == shareTopic.ID
}
func (s *shareTopics) Names() []string { return []string{shareTopic.Name} }
func (s *shareTopics) Version() int64  { return 1 }

const (
	testCold  = 5 * time.Minute
	testPrune = 5 * time.Minute
)

func newTestShares(topics *shareTopics) *Shares {
	return NewShares(ShareOptions{
		Partitions: 1, Now: time.Now, Metadata: func() group.Metadata { return topics },
		UpdatesPerSnapshot: 3, Cold: testCold, Prune: testPrune,
	})
}

func initShare(t *testing.T, c *Shares, partition int32, epoch int32) Pending[*kmsg.InitializeShareGroupStateResponse] {
	t.Helper()
	return c.Initialize(&kmsg.InitializeShareGroupStateRequest{GroupID: "g", Topics: []kmsg.InitializeShareGroupStateRequestTopic{
		{TopicID: shareTopic.ID, Partitions: []kmsg.InitializeShareGroupStateRequestTopicPartition{{Partition: partition, StateEpoch: epoch}}},
	}})
}

func writeShare(c *Shares, partition int32, last int64) Pending[*kmsg.WriteShareGroupStateResponse] {
	return c.Write(&kmsg.WriteShareGroupStateRequest{GroupID: "g", Topics: []kmsg.WriteShareGroupStateRequestTopic{
		{TopicID: shareTopic.ID, Partitions: []kmsg.WriteShareGroupStateRequestTopicPartition{{
			Partition: partition, StateEpoch: 1, StartOffset: -1,
			StateBatches: []kmsg.WriteShareGroupStateRequestTopicPartitionStateBatch{{LastOffset: last, DeliveryState: 2, DeliveryCount: 1}},
		}}},
	}})
}

func readShare(c *Shares, partition int32) Pending[*kmsg.ReadShareGroupStateResponse] {
	return c.Read(&kmsg.ReadShareGroupStateRequest{GroupID: "g", Topics: []kmsg.ReadShareGroupStateRequestTopic{
		{TopicID: shareTopic.ID, Partitions: []kmsg.ReadShareGroupStateRequestTopicPartition{{Partition: partition}}},
	}})
}

// codeOf waits for the only partition's code.
func codeOf(t *testing.T, p kmsg.Response, err error) int16 {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	switch p := p.(type) {
	case *kmsg.InitializeShareGroupStateResponse:
		return p.Topics[0].Partitions[0].ErrorCode
	case *kmsg.WriteShareGroupStateResponse:
		return p.Topics[0].Partitions[0].ErrorCode
	case *kmsg.ReadShareGroupStateResponse:
		return p.Topics[0].Partitions[0].ErrorCode
	}
	t.Fatalf("%T", p)
	return 0
}

func mustShare[P kmsg.Response](t *testing.T, wait Pending[P]) P {
	t.Helper()
	p, err := wait(t.Context())
	if code := codeOf(t, p, err); code != 0 {
		t.Fatal(kerr.ErrorForCode(code))
	}
	return p
}

func loadShares(t *testing.T, c *Shares, epoch int32, l Log) {
	t.Helper()
	if err := c.Load(t.Context(), 0, epoch, l); err != nil {
		t.Fatal(err)
	}
}

func TestShareStateIsThereAfterARestart(t *testing.T) {
	l := newMemoryLog()
	c := newTestShares(&shareTopics{})
	p, err := initShare(t, c, 0, 1)(t.Context())
	if code := codeOf(t, p, err); code != kerr.NotCoordinator.Code {
		t.Fatal(kerr.ErrorForCode(code))
	}
	loadShares(t, c, 1, l)
	mustShare(t, initShare(t, c, 0, 1))
	for last := range int64(9) {
		mustShare(t, writeShare(c, 0, last))
	}
	before := mustShare(t, readShare(c, 0))
	c.Unload(0)
	c = newTestShares(&shareTopics{})
	loadShares(t, c, 2, l)
	defer c.Unload(0)
	if got := mustShare(t, readShare(c, 0)).Topics[0].Partitions[0]; !reflect.DeepEqual(got.StateBatches, before.Topics[0].Partitions[0].StateBatches) || len(got.StateBatches) != 1 || got.StateBatches[0].LastOffset != 8 {
		t.Errorf("%+v, was %+v", got, before.Topics[0].Partitions[0])
	}
}

func TestShareStateIsToldOnceItIsCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newMemoryLog()
		c := newTestShares(&shareTopics{})
		loadShares(t, c, 1, l)
		mustShare(t, initShare(t, c, 0, 1))
		l.change(func() { l.held = true })
		first, second, read := writeShare(c, 0, 3), writeShare(c, 0, 5), readShare(c, 0)
		told := make(chan struct{})
		go func() {
			defer close(told)
			if got := mustShare(t, read).Topics[0].Partitions[0].StateBatches; len(got) != 1 || got[0].LastOffset != 5 {
				t.Errorf("read %+v", got)
			}
		}()
		synctest.Wait()
		select {
		case <-told:
			t.Error("state was told that is not committed")
		default:
		}
		late, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		p, err := first(late)
		if code := codeOf(t, p, err); code != kerr.CoordinatorNotAvailable.Code {
			t.Error(kerr.ErrorForCode(code))
		}
		l.change(func() { l.held = false })
		mustShare(t, second)
		<-told
		c.Unload(0)
	})
}

func TestALostWriteOfShareStateIsForgotten(t *testing.T) {
	l := newMemoryLog()
	c := newTestShares(&shareTopics{})
	loadShares(t, c, 1, l)
	mustShare(t, initShare(t, c, 0, 1))
	mustShare(t, writeShare(c, 0, 1))
	for _, fail := range []func(error){func(err error) { l.fail = err }, func(err error) { l.failWait = err }} {
		l.change(func() { fail(context.DeadlineExceeded) })
		p, err := writeShare(c, 0, 9)(t.Context())
		if code := codeOf(t, p, err); code != kerr.CoordinatorNotAvailable.Code {
			t.Error(kerr.ErrorForCode(code))
		}
		q, err := initShare(t, c, 1, 1)(t.Context())
		if code := codeOf(t, q, err); code != kerr.CoordinatorNotAvailable.Code {
			t.Error(kerr.ErrorForCode(code))
		}
		l.change(func() { fail(nil) })
		if got := mustShare(t, readShare(c, 0)).Topics[0].Partitions[0].StateBatches; len(got) != 1 || got[0].LastOffset != 1 {
			t.Errorf("read %+v", got)
		}
		r, err := readShare(c, 1)(t.Context())
		if code := codeOf(t, r, err); code != kerr.InvalidRequest.Code {
			t.Error(kerr.ErrorForCode(code))
		}
	}
	c.Unload(0)
}

// TestAWriteOfShareStateBuildsOnNoneThatFailed: one that could not even be appended is gone,
// whatever else is under way; what is kept is what the log says.
func TestAWriteOfShareStateBuildsOnNoneThatFailed(t *testing.T) {
	l := newMemoryLog()
	c := newTestShares(&shareTopics{})
	loadShares(t, c, 1, l)
	mustShare(t, initShare(t, c, 0, 1))
	l.change(func() { l.held = true })
	first := writeShare(c, 0, 1)
	l.change(func() { l.fail = context.DeadlineExceeded })
	p, err := writeShare(c, 0, 9)(t.Context())
	if code := codeOf(t, p, err); code != kerr.CoordinatorNotAvailable.Code {
		t.Error(kerr.ErrorForCode(code))
	}
	l.change(func() { l.fail = nil })
	last := writeShare(c, 0, 3)
	l.change(func() { l.held = false })
	mustShare(t, first)
	mustShare(t, last)
	for range 2 {
		if got := mustShare(t, readShare(c, 0)).Topics[0].Partitions[0].StateBatches; len(got) != 1 || got[0].LastOffset != 3 {
			t.Errorf("read %+v", got)
		}
		c.Unload(0)
		loadShares(t, c, 2, l)
	}
	c.Unload(0)
}

func TestUnloadingAnswersWhoWaitsForShareState(t *testing.T) {
	l := newMemoryLog()
	c := newTestShares(&shareTopics{})
	loadShares(t, c, 1, l)
	l.change(func() { l.held = true })
	wait := initShare(t, c, 0, 1)
	c.Unload(0)
	p, err := wait(t.Context())
	if code := codeOf(t, p, err); code != kerr.NotCoordinator.Code {
		t.Error(kerr.ErrorForCode(code))
	}
}

// TestColdSharePartitionsDoNotKeepTheLogLong: one that nobody writes to has its snapshot
// written again, what lies below all snapshots is deleted, and nothing of the state is lost.
func TestColdSharePartitionsDoNotKeepTheLogLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &prunableLog{memoryLog: newMemoryLog()}
		topics := &shareTopics{}
		c := newTestShares(topics)
		loadShares(t, c, 1, l)
		mustShare(t, initShare(t, c, 0, 1))
		mustShare(t, writeShare(c, 0, 7))
		mustShare(t, initShare(t, c, 1, 1))
		for last := range int64(30) {
			mustShare(t, writeShare(c, 1, last))
		}
		c.Tick(time.Now())
		synctest.Wait()
		if l.from() != 0 {
			t.Fatalf("the log begins at %d before anything is due", l.from())
		}
		for range 2 {
			time.Sleep(testCold)
			c.Tick(time.Now())
			synctest.Wait()
		}
		if l.from() < 30 {
			t.Errorf("the log begins at %d of %d", l.from(), l.End())
		}
		length := l.End()
		for range 5 {
			time.Sleep(testCold)
			c.Tick(time.Now())
			synctest.Wait()
		}
		if l.End() != length {
			t.Errorf("an idle coordinator wrote %d records", l.End()-length)
		}
		c.Unload(0)
		c = newTestShares(topics)
		loadShares(t, c, 2, l)
		for partition, last := range []int64{7, 29} {
			if got := mustShare(t, readShare(c, int32(partition))).Topics[0].Partitions[0].StateBatches; len(got) != 1 || got[0].LastOffset != last {
				t.Errorf("partition %d: %+v", partition, got)
			}
		}

		c.DropTopic(group.TopicID{9})
		mustShare(t, readShare(c, 1))
		mustShare(t, initShare(t, c, 1, 2))
		topics.gone = true
		time.Sleep(2 * testCold)
		c.Tick(time.Now())
		synctest.Wait()
		topics.gone = false
		p, err := readShare(c, 0)(t.Context())
		if code := codeOf(t, p, err); code != kerr.InvalidRequest.Code {
			t.Errorf("state of a topic that was deleted: %v", kerr.ErrorForCode(code))
		}
		c.Unload(0)
	})
}

func TestShareStateGoesWithItsTopic(t *testing.T) {
	l := newMemoryLog()
	for epoch := range int32(2) {
		c := newTestShares(&shareTopics{})
		loadShares(t, c, epoch+1, l)
		if epoch == 0 {
			mustShare(t, initShare(t, c, 0, 1))
			mustShare(t, writeShare(c, 0, 7))
			c.DropTopic(shareTopic.ID)
		}
		p, err := readShare(c, 0)(t.Context())
		if code := codeOf(t, p, err); code != kerr.InvalidRequest.Code {
			t.Errorf("state of a topic that was deleted: %v", kerr.ErrorForCode(code))
		}
		c.Unload(0)
	}
}

// TestAShareGroupGetsItsPartitionsFromBothCoordinators: the group coordinator has the share
// coordinator initialize what members read, and forget it with the group; while the share
// coordinator is away members wait.
func TestAShareGroupGetsItsPartitionsFromBothCoordinators(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		topics := &shareTopics{}
		shares := newTestShares(topics)
		groups := NewGroups(Options{
			Partitions: 1, Now: time.Now, Rand: rand.New(rand.NewPCG(1, 2)), SessionMin: time.Second, SessionMax: time.Hour,
			OffsetsRetention: time.Hour, Metadata: func() group.Metadata { return topics }, Shares: shares,
		})
		log, state := newMemoryLog(), newMemoryLog()
		if err := groups.Load(t.Context(), 0, 1, log); err != nil {
			t.Fatal(err)
		}
		beat := func(epoch int32) *kmsg.ShareGroupHeartbeatResponse {
			q := kmsg.NewPtrShareGroupHeartbeatRequest()
			q.Version, q.GroupID, q.MemberID, q.MemberEpoch = 1, "g", "m", epoch
			if epoch == 0 {
				q.SubscribedTopicNames = []string{"t"}
			}
			p, err := groups.ShareHeartbeat(Client{ID: "c", Host: "/h"}, q)(t.Context())
			if err != nil || p.ErrorCode != 0 {
				t.Fatal(err, kerr.ErrorForCode(p.ErrorCode))
			}
			return p
		}
		beat(0)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if p := beat(2); p.Assignment != nil {
			t.Fatalf("assigned %+v without a share coordinator", p.Assignment)
		}
		loadShares(t, shares, 1, state)
		time.Sleep(2 * time.Second) // the share coordinator is asked again
		synctest.Wait()
		if p := beat(2); p.MemberEpoch != 3 || p.Assignment == nil || len(p.Assignment.TopicPartitions[0].Partitions) != 2 {
			t.Fatalf("%+v", p)
		}
		mustShare(t, readShare(shares, 1))
		beat(-1)
		deleted, err := groups.Delete(&kmsg.DeleteGroupsRequest{Groups: []string{"g"}})(t.Context())
		if err != nil || deleted.Groups[0].ErrorCode != 0 {
			t.Fatal(err, kerr.ErrorForCode(deleted.Groups[0].ErrorCode))
		}
		p, err := readShare(shares, 1)(t.Context())
		if code := codeOf(t, p, err); code != kerr.InvalidRequest.Code {
			t.Error("the state of a deleted group is there")
		}
		groups.Unload(0)
		shares.Unload(0)
	})
}
