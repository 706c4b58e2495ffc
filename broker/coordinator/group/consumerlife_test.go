package group

import (
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/segment/batch"
)

// life is a group under test whose appends are committed at once.
type life struct {
	t       *testing.T
	now     int64
	g       *Group
	limits  Limits
	setting Settings
	answers map[Ticket]kmsg.Response
	matches []*Match       // that nobody has carried out
	log     []batch.Record // what was committed
	fail    int16          // the fate of appends, 0: they are committed
	last    Ticket
}

func newLife(t *testing.T) *life {
	l := &life{t: t, now: 1_000_000, setting: DefaultSettings, answers: map[Ticket]kmsg.Response{}}
	metadata := metadataOf(map[string]int32{"t": 4})
	l.setting.AssignmentInterval = 0
	l.limits = Limits{
		InitialRebalanceDelay: 0, OffsetMetadataMax: 100, OffsetsRetention: 1 << 40,
		Metadata: func() Metadata { return metadata }, Consumer: func(string) Settings { return l.setting },
	}
	l.g = New("g", &l.limits, l.now)
	return l
}

func (l *life) take(out Output) {
	for len(out.Appends) > 0 || len(out.Replies) > 0 || len(out.Matches) > 0 {
		for _, r := range out.Replies {
			l.answers[r.Ticket] = r.Response
		}
		l.matches = append(l.matches, out.Matches...)
		var next Output
		for _, a := range out.Appends {
			if l.fail == 0 {
				l.log = append(l.log, a.Records...)
			}
			more := l.g.Appended(l.now, a, l.fail)
			next.Replies, next.Appends = append(next.Replies, more.Replies...), append(next.Appends, more.Appends...)
			next.Matches = append(next.Matches, more.Matches...)
		}
		out = next
	}
}

// reload is the group as another coordinator reads it.
func (l *life) reload() {
	l.t.Helper()
	p := NewReplay(&l.limits)
	for i, r := range l.log {
		if err := p.Record(int64(i), -1, r.Key, r.Value); err != nil {
			l.t.Fatal(err)
		}
	}
	l.g, l.matches = p.Groups(l.now)["g"], nil
}

func (l *life) ticket() Ticket {
	l.last++
	return l.last
}

// at lets time go on.
func (l *life) at(ms int64) {
	l.now += ms
	for at := l.g.Next(); at != 0 && at <= l.now; at = l.g.Next() {
		l.take(l.g.Expire(l.now))
	}
}

// beat sends a full heartbeat of the consumer protocol.
func (l *life) beat(id string, epoch int32, owned []int32, change ...func(*kmsg.ConsumerGroupHeartbeatRequest)) *kmsg.ConsumerGroupHeartbeatResponse {
	l.t.Helper()
	r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	r.Version, r.Group, r.MemberID, r.MemberEpoch, r.RebalanceTimeoutMillis = 1, "g", id, epoch, 5000
	r.SubscribedTopicNames = []string{"t"}
	r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	if owned != nil {
		r.Topics = append(r.Topics, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: idOf("t"), Partitions: owned})
	}
	for _, f := range change {
		f(r)
	}
	ticket := l.ticket()
	l.take(l.g.ConsumerHeartbeat(l.now, ticket, Client{ID: "c", Host: "/h"}, "fresh", r))
	response, _ := l.answers[ticket].(*kmsg.ConsumerGroupHeartbeatResponse)
	if response == nil {
		l.t.Fatalf("heartbeat of %s is not answered", id)
	}
	return response
}

func instance(name string) func(*kmsg.ConsumerGroupHeartbeatRequest) {
	return func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.InstanceID = &name }
}

func partitionsOf(r *kmsg.ConsumerGroupHeartbeatResponse) []int32 {
	if r.Assignment == nil || len(r.Assignment.Topics) == 0 {
		return nil
	}
	return r.Assignment.Topics[0].Partitions
}

// join sends a JoinGroup of Kafka's classic consumer.
func (l *life) join(id string, owned map[string][]int32, change ...func(*kmsg.JoinGroupRequest)) (*kmsg.JoinGroupResponse, Ticket) {
	r := kmsg.NewPtrJoinGroupRequest()
	r.Version, r.Group, r.MemberID, r.ProtocolType = 3, "g", id, "consumer"
	r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = 10_000, 5000
	r.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: subscriptionOwning("t", owned)}}
	for _, f := range change {
		f(r)
	}
	ticket := l.ticket()
	l.take(l.g.Join(l.now, ticket, Client{ID: "c", Host: "/h"}, "fresh"+string(rune('a'+l.last)), r))
	response, _ := l.answers[ticket].(*kmsg.JoinGroupResponse)
	return response, ticket
}

// subscriptionOwning is a subscription of version 1.
func subscriptionOwning(topic string, owned map[string][]int32) []byte {
	p := []byte{0, 1, 0, 0, 0, 1}
	p = appendKeyString(p, topic)
	p = appendInt32(p, -1)
	p = appendInt32(p, int32(len(owned)))
	for name, partitions := range owned {
		p = appendKeyString(p, name)
		p = appendInt32(p, int32(len(partitions)))
		for _, partition := range partitions {
			p = appendInt32(p, partition)
		}
	}
	return p
}

func (l *life) sync(id string, generation int32, assignments ...kmsg.SyncGroupRequestGroupAssignment) *kmsg.SyncGroupResponse {
	r := kmsg.NewPtrSyncGroupRequest()
	r.Version, r.Group, r.MemberID, r.Generation, r.GroupAssignment = 3, "g", id, generation, assignments
	ticket := l.ticket()
	l.take(l.g.Sync(l.now, ticket, r))
	response, _ := l.answers[ticket].(*kmsg.SyncGroupResponse)
	return response
}

func (l *life) classicBeat(id string, generation int32) int16 {
	r := kmsg.NewPtrHeartbeatRequest()
	r.Version, r.Group, r.MemberID, r.Generation = 3, "g", id, generation
	return l.g.Heartbeat(l.now, r)
}

// TestMemberThatReadsNothingMovesNobody: it joins at the epoch that there is (KIP-848).
func TestMemberThatReadsNothingMovesNobody(t *testing.T) {
	l := newLife(t)
	nothing := func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicNames = []string{} }
	for _, c := range []struct {
		id     string
		change func(*kmsg.ConsumerGroupHeartbeatRequest)
		epoch  int32
		owns   int
	}{
		{"first", nothing, 1, 0},
		{"reader", func(*kmsg.ConsumerGroupHeartbeatRequest) {}, 2, 4},
		{"last", nothing, 2, 0},
	} {
		if got := l.beat(c.id, 0, nil, c.change); got.ErrorCode != 0 || got.MemberEpoch != c.epoch || len(partitionsOf(got)) != c.owns {
			t.Errorf("%s joins at epoch %d with partitions %d, code %d", c.id, got.MemberEpoch, partitionsOf(got), got.ErrorCode)
		}
	}
	if got := l.beat("reader", 2, []int32{0, 1, 2, 3}); got.ErrorCode != 0 || got.MemberEpoch != 2 {
		t.Errorf("the reader is at epoch %d, code %d", got.MemberEpoch, got.ErrorCode)
	}
}

// TestPartitionsMoveOnceTheyAreRevoked is the reconciliation of KIP-848 step by step.
func TestPartitionsMoveOnceTheyAreRevoked(t *testing.T) {
	l := newLife(t)
	a := l.beat("a", 0, nil)
	if a.MemberEpoch != 2 || !slices.Equal(partitionsOf(a), []int32{0, 1, 2, 3}) {
		t.Fatalf("a alone: epoch %d, %v", a.MemberEpoch, partitionsOf(a))
	}
	b := l.beat("b", 0, nil)
	if b.MemberEpoch != 3 || len(partitionsOf(b)) != 0 {
		t.Fatalf("b before a has revoked: epoch %d, %v", b.MemberEpoch, partitionsOf(b))
	}
	a = l.beat("a", 2, []int32{0, 1, 2, 3})
	if a.MemberEpoch != 2 || len(partitionsOf(a)) != 2 {
		t.Fatalf("a is told to revoke: epoch %d, %v", a.MemberEpoch, partitionsOf(a))
	}
	left := partitionsOf(a)
	if b = l.beat("b", 3, nil); len(partitionsOf(b)) != 0 {
		t.Fatalf("b gets %v while a may read it", partitionsOf(b))
	}
	if a = l.beat("a", 2, left); a.MemberEpoch != 3 {
		t.Fatalf("a has revoked: epoch %d", a.MemberEpoch)
	}
	if b = l.beat("b", 3, nil); len(partitionsOf(b)) != 2 || slices.Contains(partitionsOf(b), left[0]) {
		t.Fatalf("b gets %v, a has %v", partitionsOf(b), left)
	}
	if got := l.g.Listed(); got.GroupState != "Stable" || got.GroupType != "consumer" {
		t.Errorf("listed as %+v", got)
	}
}

// TestHeartbeatsAreFenced: the errors of KIP-848 by name.
func TestHeartbeatsAreFenced(t *testing.T) {
	l := newLife(t)
	if got := l.beat("a", 3, nil).ErrorCode; got != groupIDNotFound {
		t.Errorf("no group: %d", got)
	}
	l.beat("a", 0, nil)
	l.beat("s", 0, nil, instance("i"))
	for _, c := range []struct {
		name   string
		id     string
		epoch  int32
		owned  []int32
		change func(*kmsg.ConsumerGroupHeartbeatRequest)
		want   int16
	}{
		{"an unknown member", "x", 1, nil, instance("i"), fencedInstanceID},
		{"an unknown member", "x", 1, nil, func(*kmsg.ConsumerGroupHeartbeatRequest) {}, unknownMemberID},
		{"an unknown instance", "s", 1, nil, instance("j"), unknownMemberID},
		{"an epoch of the future", "a", 9, nil, func(*kmsg.ConsumerGroupHeartbeatRequest) {}, fencedMemberEpoch},
		{"an instance that is in use", "s2", 0, nil, instance("i"), unreleasedInstanceID},
		{"leaving as nobody", "x", -1, nil, func(*kmsg.ConsumerGroupHeartbeatRequest) {}, unknownMemberID},
	} {
		if got := l.beat(c.id, c.epoch, c.owned, c.change).ErrorCode; got != c.want {
			t.Errorf("%s: code %d, want %d", c.name, got, c.want)
		}
	}
	r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	r.Version, r.Group, r.MemberID, r.MemberEpoch, r.RebalanceTimeoutMillis = 1, "g", "a", 1, 1
	r.SubscribedTopicRegex = sptr("(")
	if f := ValidateConsumerHeartbeat(r, []string{"range"}); f == nil || f.Code != invalidRegularExpression {
		t.Errorf("a bad pattern: %v", f)
	}
	r.SubscribedTopicRegex, r.ServerAssignor = nil, sptr("uniform")
	if f := ValidateConsumerHeartbeat(r, []string{"range"}); f == nil || f.Code != unsupportedAssignor {
		t.Errorf("an assignor that is off: %v", f)
	}
}

// TestStaticMemberComesBackToItsPartitions guards KIP-345 in KIP-848: no epoch is raised.
func TestStaticMemberComesBackToItsPartitions(t *testing.T) {
	l := newLife(t)
	first := l.beat("a", 0, nil, instance("i"))
	if got := l.beat("a", epochStaticLeave, nil, instance("i")); got.ErrorCode != 0 || got.MemberEpoch != epochStaticLeave {
		t.Fatalf("leaving for a while: %d, epoch %d", got.ErrorCode, got.MemberEpoch)
	}
	again := l.beat("a2", 0, nil, instance("i"))
	if again.ErrorCode != 0 || again.MemberEpoch != first.MemberEpoch || len(partitionsOf(again)) != 4 {
		t.Errorf("back: code %d, epoch %d after %d, %v", again.ErrorCode, again.MemberEpoch, first.MemberEpoch, partitionsOf(again))
	}
	if got := l.beat("a", 1, nil, instance("i")).ErrorCode; got != fencedInstanceID {
		t.Errorf("the old one: %d", got)
	}
	l.at(50_000)
	if n := len(l.g.consumer.state.members); n != 0 {
		t.Errorf("%d members after the session", n)
	}
}

// TestCommitIsFencedByEpoch guards KIP-848 and, for partitions kept since, KIP-1251.
func TestCommitIsFencedByEpoch(t *testing.T) {
	l := newLife(t)
	l.beat("a", 0, nil) // epoch 2, all four
	l.beat("b", 0, nil) // epoch 3
	left := partitionsOf(l.beat("a", 2, []int32{0, 1, 2, 3}))
	l.beat("a", 2, left) // epoch 3
	for _, c := range []struct {
		name      string
		version   int16
		id        string
		epoch     int32
		partition int32
		want      int16
	}{
		{"the epoch it is in", 9, "a", 3, left[0], 0},
		{"the epoch before, of what it has kept", 9, "a", 2, left[0], 0},
		{"the epoch before, of what it has given up", 9, "a", 2, 3, staleMemberEpoch},
		{"a later epoch", 9, "a", 4, left[0], staleMemberEpoch},
		{"nobody", 9, "x", 2, 0, unknownMemberID},
		{"an administrator", 9, "", -1, 0, unknownMemberID},
		{"an old version", 8, "a", 3, left[0], unsupportedVersion},
	} {
		r := kmsg.NewPtrOffsetCommitRequest()
		r.Version, r.Group, r.MemberID, r.Generation = c.version, "g", c.id, c.epoch
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset = c.partition, 5
		r.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}}}
		ticket := l.ticket()
		l.take(l.g.Commit(l.now, ticket, r))
		if got := l.answers[ticket].(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode; got != c.want {
			t.Errorf("%s: code %d, want %d", c.name, got, c.want)
		}
	}
	// Who is behind with one partition commits none, be it by which code it may.
	r := kmsg.NewPtrOffsetCommitRequest()
	r.Version, r.Group, r.MemberID, r.Generation = 9, "g", "a", 2
	for partition, note := range map[int32]string{left[0]: "", 3: "", 2: strings.Repeat("x", 101)} {
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.Metadata = partition, 9, &note
		r.Topics = append(r.Topics, kmsg.OffsetCommitRequestTopic{Topic: "t", Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}})
	}
	ticket := l.ticket()
	l.take(l.g.Commit(l.now, ticket, r))
	for _, topic := range l.answers[ticket].(*kmsg.OffsetCommitResponse).Topics {
		if p := topic.Partitions[0]; p.ErrorCode != staleMemberEpoch {
			t.Errorf("partition %d beside one of a later epoch: code %d", p.Partition, p.ErrorCode)
		}
	}
	if v := l.g.offsets["t"][left[0]]; v.Offset != 5 {
		t.Errorf("offset %d is committed beside a partition of a later epoch", v.Offset)
	}
	if got := l.g.ValidateFetch(sptr("a"), 2); got != staleMemberEpoch {
		t.Errorf("fetch in an old epoch: %d", got)
	}
}

// TestGroupIsUpgradedAndDowngradedInUse follows a classic member through both.
func TestGroupIsUpgradedAndDowngradedInUse(t *testing.T) {
	l := newLife(t)
	_, ticket := l.join("", nil)
	l.at(1)
	joined := l.answers[ticket].(*kmsg.JoinGroupResponse)
	id := joined.MemberID
	all := appendAssignment(1, assignment{idOf("t"): {0, 1, 2, 3}}, l.limits.metadata())
	if got := l.sync(id, joined.Generation, kmsg.SyncGroupRequestGroupAssignment{MemberID: id, MemberAssignment: all}); got == nil || got.ErrorCode != 0 {
		t.Fatalf("sync: %+v", got)
	}

	up := l.beat("new", 0, nil)
	if up.ErrorCode != 0 || len(partitionsOf(up)) != 0 {
		t.Fatalf("upgrade: code %d, %v", up.ErrorCode, partitionsOf(up))
	}
	if got := l.g.Listed(); got.GroupType != "consumer" {
		t.Fatalf("listed as %+v", got)
	}
	if got := l.classicBeat(id, joined.Generation); got != rebalanceInProgress {
		t.Fatalf("the classic member's heartbeat: %d", got)
	}
	rejoined, _ := l.join(id, map[string][]int32{"t": {0, 1, 2, 3}})
	if rejoined == nil || rejoined.ErrorCode != 0 || rejoined.Generation != joined.Generation {
		t.Fatalf("join to revoke: %+v", rejoined)
	}
	kept := l.sync(id, rejoined.Generation)
	mine, ok := readAssignment(kept.MemberAssignment, l.limits.metadata())
	if kept.ErrorCode != 0 || !ok || len(mine[idOf("t")]) != 2 {
		t.Fatalf("sync: code %d, %v", kept.ErrorCode, mine)
	}
	rejoined, _ = l.join(id, map[string][]int32{"t": mine[idOf("t")]})
	l.sync(id, rejoined.Generation)
	if got := l.classicBeat(id, rejoined.Generation); got != 0 {
		t.Fatalf("heartbeat of a reconciled member: %d", got)
	}
	if up = l.beat("new", up.MemberEpoch, nil); len(partitionsOf(up)) != 2 {
		t.Fatalf("the new member gets %v", partitionsOf(up))
	}

	l.beat("new", epochLeave, nil)
	if got := l.g.Listed(); got.GroupType != "classic" || got.GroupState != "PreparingRebalance" {
		t.Fatalf("after the downgrade: %+v", got)
	}
	if got := l.classicBeat(id, l.g.Generation()); got != rebalanceInProgress {
		t.Fatalf("heartbeat: %d", got)
	}
	last, _ := l.join(id, nil)
	if last == nil || last.ErrorCode != 0 || last.LeaderID != id {
		t.Fatalf("join after the downgrade: %+v", last)
	}
}

// TestMigrationPolicyForbidsTheUpgrade guards group.consumer.migration.policy.
func TestMigrationPolicyForbidsTheUpgrade(t *testing.T) {
	l := newLife(t)
	l.setting.Upgrade = false
	l.join("", nil)
	if got := l.beat("new", 0, nil).ErrorCode; got != groupIDNotFound {
		t.Errorf("code %d", got)
	}
	if l.g.consumer != nil {
		t.Error("the group was upgraded all the same")
	}
}

// TestAMemberIDThatNoRecordHoldsIsRefused: the keys of records have lengths of an int16,
// and a group whose records cannot be read keeps its whole partition from being loaded.
func TestAMemberIDThatNoRecordHoldsIsRefused(t *testing.T) {
	for _, size := range []int{maxString, maxString + 1, 70_000} {
		l := newLife(t)
		l.beat("a", 0, nil)
		joined, _ := l.join(strings.Repeat("m", size), nil)
		if refused := joined.ErrorCode == invalidRequest; refused != (size > maxString) {
			t.Errorf("a member id of %d bytes: code %d", size, joined.ErrorCode)
		}
		members := len(l.g.consumer.state.members)
		if l.reload(); len(l.g.consumer.state.members) != members {
			t.Errorf("after a member id of %d bytes: %d members are loaded of %d", size, len(l.g.consumer.state.members), members)
		}
	}
}

// TestAStaticMemberThatIsAwayNeedNotRevoke: it has its session to come back (KIP-345), and
// the rebalance timeout was for the epoch that it has left.
func TestAStaticMemberThatIsAwayNeedNotRevoke(t *testing.T) {
	for _, reload := range []bool{false, true} {
		l := newLife(t)
		a := l.beat("a", 0, nil, instance("i"))
		l.beat("b", 0, nil)
		l.beat("a", a.MemberEpoch, []int32{0, 1, 2, 3}, instance("i")) // is told to revoke two
		l.beat("a", epochStaticLeave, nil, instance("i"))
		if reload {
			l.reload()
		}
		l.at(6000) // the rebalance timeout is 5 s
		if again := l.beat("a2", 0, nil, instance("i")); again.ErrorCode != 0 || len(partitionsOf(again)) != 2 || l.g.consumer.state.epoch != 3 {
			t.Errorf("back in a group of epoch %d: code %d, %v", l.g.consumer.state.epoch, again.ErrorCode, partitionsOf(again))
		}
	}
}

// TestARevocationThatWasNotStoredIsStillDue: a member that must revoke is fenced after its
// rebalance timeout, also where a step that went on from there was undone.
func TestARevocationThatWasNotStoredIsStillDue(t *testing.T) {
	l := newLife(t)
	l.beat("a", 0, nil)
	l.beat("b", 0, nil)
	l.beat("a", 2, []int32{0, 1, 2, 3})
	l.fail = coordinatorNotAvailable
	if got := l.beat("a", 2, []int32{0, 1}).ErrorCode; got != coordinatorNotAvailable {
		t.Fatalf("code %d", got)
	}
	l.fail = 0
	silent := func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Topics = nil }
	if got := l.beat("a", 2, nil, silent).ErrorCode; got != 0 {
		t.Fatalf("code %d", got)
	}
	l.at(5001)
	if got := l.beat("a", 2, nil, silent).ErrorCode; got != unknownMemberID {
		t.Errorf("code %d after the rebalance timeout", got)
	}
}

// TestLeaveGroupTakesMembersOfBothProtocolsOut: as administrators do, who name static
// members by their instance id alone (KIP-345).
func TestLeaveGroupTakesMembersOfBothProtocolsOut(t *testing.T) {
	for _, c := range []struct {
		name, id, instance string
		want               int16
	}{
		{"a static member by its instance id", "", "i", 0},
		{"a static member by both", "s", "i", 0},
		{"a static member by another's id", "a", "i", fencedInstanceID},
		{"a static member by its id alone", "s", "", 0},
		{"a dynamic member", "a", "", 0},
		{"a member of the classic protocol", "c", "", 0},
		{"an instance id that nobody has", "", "j", unknownMemberID},
		{"nobody", "x", "", unknownMemberID},
		{"no name at all", "", "", unknownMemberID},
	} {
		l := newLife(t)
		l.beat("a", 0, nil)
		l.beat("s", 0, nil, instance("i"))
		l.join("c", nil)
		epoch := l.g.consumer.state.epoch
		r := kmsg.NewPtrLeaveGroupRequest()
		r.Version, r.Group = 5, "g"
		m := kmsg.NewLeaveGroupRequestMember()
		if m.MemberID = c.id; c.instance != "" {
			m.InstanceID = &c.instance
		}
		r.Members = []kmsg.LeaveGroupRequestMember{m, m} // named twice, gone once
		response, out := l.g.Leave(l.now, r)
		l.take(out)
		left := 3 - len(l.g.consumer.state.members)
		if got := response.Members[0].ErrorCode; got != c.want || (left == 1) != (got == 0) || l.g.consumer.state.epoch != epoch+int32(left) {
			t.Errorf("%s: code %d, %d have left, the epoch is %d after %d", c.name, got, left, l.g.consumer.state.epoch, epoch)
		}
	}
}

// TestTheEpochBeforeIsForgottenOnceTheNextWasSent, also where the member only drops topics
// and waits for its assignment (KIP-848): it has got the answer.
func TestTheEpochBeforeIsForgottenOnceTheNextWasSent(t *testing.T) {
	l := newLife(t)
	l.beat("a", 0, nil)
	l.beat("b", 0, nil)
	l.beat("a", 2, []int32{0, 1, 2, 3})
	if got := l.beat("a", 2, []int32{0, 1}); got.MemberEpoch != 3 {
		t.Fatalf("epoch %d", got.MemberEpoch)
	}
	if got := l.beat("a", 2, []int32{0, 1}).ErrorCode; got != 0 {
		t.Fatalf("the epoch before: code %d", got)
	}
	l.setting.AssignmentInterval = 3_600_000
	nothing := func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicNames = []string{} }
	if got := l.beat("a", 3, []int32{0, 1}, nothing); got.ErrorCode != 0 || got.MemberEpoch != 3 || len(partitionsOf(got)) != 0 {
		t.Fatalf("dropping its topic: code %d, epoch %d, %v", got.ErrorCode, got.MemberEpoch, partitionsOf(got))
	}
	if got := l.beat("a", 2, nil, nothing).ErrorCode; got != fencedMemberEpoch {
		t.Errorf("the epoch before, after the one since: code %d", got)
	}
}

// TestAnInstanceOfTheClassicProtocolIsFenced: a static member that was replaced does not come
// back by its old member id (KIP-345), in a group of the consumer protocol either.
func TestAnInstanceOfTheClassicProtocolIsFenced(t *testing.T) {
	static := func(name string) func(*kmsg.JoinGroupRequest) {
		return func(r *kmsg.JoinGroupRequest) { r.Version, r.InstanceID = 5, &name }
	}
	l := newLife(t)
	l.beat("a", 0, nil)
	first, _ := l.join("", nil, static("i"))
	second, _ := l.join("", nil, static("i"))
	if first == nil || second == nil || first.ErrorCode != 0 || second.ErrorCode != 0 || first.MemberID == second.MemberID {
		t.Fatalf("joined as %+v, then as %+v", first, second)
	}
	for _, c := range []struct {
		name, id, instance string
		want               int16
	}{
		{"the replaced", first.MemberID, "i", fencedInstanceID},
		{"another member's id", "a", "i", fencedInstanceID},
		{"an instance that nobody has", "x", "j", unknownMemberID},
		{"the one that is there", second.MemberID, "i", 0},
	} {
		members := len(l.g.consumer.state.members)
		got, _ := l.join(c.id, nil, static(c.instance))
		if got == nil || got.ErrorCode != c.want || len(l.g.consumer.state.members) != members {
			t.Errorf("%s: %+v, want code %d and %d members, not %d", c.name, got, c.want, members, len(l.g.consumer.state.members))
		}
	}
}

// TestSyncOfAnotherGenerationIsRefused: what it would be given is of the member's epoch.
func TestSyncOfAnotherGenerationIsRefused(t *testing.T) {
	l := newLife(t)
	l.beat("a", 0, nil)
	joined, _ := l.join("", nil)
	if joined == nil || joined.ErrorCode != 0 {
		t.Fatalf("joined as %+v", joined)
	}
	for _, by := range []int32{-1, 1} {
		if got := l.sync(joined.MemberID, joined.Generation+by); got == nil || got.ErrorCode != illegalGeneration || len(got.MemberAssignment) > 0 {
			t.Errorf("generation %d, the member's is %d: %+v", joined.Generation+by, joined.Generation, got)
		}
	}
	if got := l.sync(joined.MemberID, joined.Generation); got == nil || got.ErrorCode != 0 {
		t.Errorf("the member's generation: %+v", got)
	}
}

// TestAClassicMemberIsRefusedAsByKafka where its protocols are no longer those of all classic
// members, among them its own of before; the answer names no member.
func TestAClassicMemberIsRefusedAsByKafka(t *testing.T) {
	l := newLife(t)
	l.beat("a", 0, nil)
	l.join("c", nil) // with "range"
	for _, c := range []struct {
		id, kind string
		offers   []string
		want     int16
	}{
		{"c", "consumer", []string{"sticky"}, inconsistentGroupProtocol},
		{"c", "connect", []string{"range"}, inconsistentGroupProtocol},
		{"c", "consumer", nil, inconsistentGroupProtocol},
		{"c", "consumer", []string{"sticky", "range"}, 0},
		{"c", "consumer", []string{"sticky"}, 0},
		{"d", "consumer", []string{"range"}, inconsistentGroupProtocol},
		{"d", "consumer", []string{"range", "sticky"}, 0},
	} {
		r := kmsg.NewPtrJoinGroupRequest()
		r.Version, r.Group, r.MemberID, r.ProtocolType, r.SessionTimeoutMillis = 9, "g", c.id, c.kind, 10_000
		for _, name := range c.offers {
			r.Protocols = append(r.Protocols, kmsg.JoinGroupRequestProtocol{Name: name, Metadata: subscriptionOwning("t", nil)})
		}
		ticket := l.ticket()
		l.take(l.g.Join(l.now, ticket, Client{ID: "c", Host: "/h"}, "fresh", r))
		got := l.answers[ticket].(*kmsg.JoinGroupResponse)
		if named := got.MemberID != ""; got.ErrorCode != c.want || named != (c.want == 0) {
			t.Errorf("%s joins with %s: code %d, named %q", c.id, c.offers, got.ErrorCode, got.MemberID)
		}
	}
}
