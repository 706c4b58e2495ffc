package group

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestAnswersEncodeInEveryVersion(t *testing.T) {
	g := New("g", &Limits{OffsetMetadataMax: 1}, 1)
	join := kmsg.NewPtrJoinGroupRequest()
	join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
	join.ProtocolType, join.SessionTimeoutMillis = "consumer", 10
	g.Join(1, 1, Client{}, "x", join)
	g.Expire(1) // ends the delay of 0
	m := g.inOrder()[0]
	roundTrip := func(r, into kmsg.Response, highest int16) {
		for version := int16(0); version <= highest; version++ {
			r.SetVersion(version)
			into.SetVersion(version)
			if err := into.ReadFrom(r.AppendTo(nil)); err != nil {
				t.Errorf("%T version %d: %v", r, version, err)
			}
		}
	}
	for version := int16(0); version <= 9; version++ {
		for _, r := range []*kmsg.JoinGroupResponse{JoinError(version, "m", unknownMemberID), g.joinResponse(version, m)} {
			roundTrip(r, kmsg.NewPtrJoinGroupResponse(), 9)
		}
		if got := JoinError(version, "", 1).Protocol; (got == nil) != (version >= 7) {
			t.Errorf("version %d: protocol null is %v (KIP-559)", version, got == nil)
		}
	}
	roundTrip(SyncError(5, unknownMemberID), kmsg.NewPtrSyncGroupResponse(), 5)
	roundTrip(g.syncResponse(5, m), kmsg.NewPtrSyncGroupResponse(), 5)
	roundTrip(LeaveUnknown(kmsg.NewPtrLeaveGroupRequest()), kmsg.NewPtrLeaveGroupResponse(), 5)
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: make([]kmsg.OffsetCommitRequestTopicPartition, 1)}}
	roundTrip(CommitError(commit, 3), kmsg.NewPtrOffsetCommitResponse(), 10)
	describe := kmsg.NewPtrDescribeGroupsResponse()
	describe.Groups = append(describe.Groups, g.Describe(6), DescribeUnknown(6, "h"))
	roundTrip(describe, kmsg.NewPtrDescribeGroupsResponse(), 6)
}

func TestMetadataSizeCountsAsKafkaDoes(t *testing.T) {
	for _, c := range []struct {
		text  string
		limit int
		want  bool
	}{{"abc", 3, false}, {"abcd", 3, true}, {"äöü", 3, false}, {"😀😀", 4, false}, {"😀😀", 3, true}} {
		if got := tooLong(c.text, c.limit); got != c.want {
			t.Errorf("%q of at most %d: %v", c.text, c.limit, got)
		}
	}
}

// TestSessionsStayBounded: entries of members that have gone do not pile up.
func TestSessionsStayBounded(t *testing.T) {
	g := New("g", &Limits{}, 1)
	leave := kmsg.NewPtrLeaveGroupRequest()
	for i := range 10_000 {
		r := kmsg.NewPtrJoinGroupRequest()
		r.Version, r.ProtocolType, r.SessionTimeoutMillis = 4, "consumer", 1_000_000
		r.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
		out := g.Join(1, 1, Client{}, fmt.Sprint(i), r)
		leave.MemberID = out.Replies[0].Response.(*kmsg.JoinGroupResponse).MemberID
		g.Leave(1, leave)
	}
	if len(g.sessions) > 128 {
		t.Errorf("%d entries for no member", len(g.sessions))
	}
}

func TestPendingMembersAreBounded(t *testing.T) {
	g := New("g", &Limits{}, 1)
	r := kmsg.NewPtrJoinGroupRequest()
	r.Version, r.ProtocolType, r.SessionTimeoutMillis = 4, "consumer", 1000
	r.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
	for i := range maxPendingMembers + 1 {
		out := g.Join(1, 1, Client{}, fmt.Sprint(i), r)
		want := memberIDRequired
		if i == maxPendingMembers {
			want = groupMaxSizeReached
		}
		if got := out.Replies[0].Response.(*kmsg.JoinGroupResponse).ErrorCode; got != want {
			t.Fatalf("member %d: code %d, want %d", i, got, want)
		}
	}
}

// BenchmarkHeartbeat of one of 10,000 members.
func BenchmarkHeartbeat(b *testing.B) {
	g := New("g", &Limits{}, 1)
	join := kmsg.NewPtrJoinGroupRequest()
	join.ProtocolType, join.SessionTimeoutMillis = "consumer", 10_000
	join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
	for i := range 10_000 {
		g.Join(1, Ticket(i+1), Client{}, fmt.Sprint(i), join)
	}
	g.Expire(1) // puts the end off once: members came meanwhile
	g.Expire(1)
	heartbeats := make([]*kmsg.HeartbeatRequest, 0, len(g.members))
	for id := range g.members {
		r := kmsg.NewPtrHeartbeatRequest()
		r.MemberID, r.Generation = id, g.generation
		heartbeats = append(heartbeats, r)
	}
	b.ReportAllocs()
	now := int64(1)
	for i := 0; b.Loop(); i++ {
		now++
		if code := g.Heartbeat(now, heartbeats[i%len(heartbeats)]); code != 0 {
			b.Fatal(code)
		}
	}
}

// BenchmarkReplayTransaction is a commit in a transaction and its marker, among many groups:
// a log of __consumer_offsets can hold a million of them.
func BenchmarkReplayTransaction(b *testing.B) {
	limits := Limits{OffsetMetadataMax: 100, OffsetsRetention: 1 << 40}
	p := NewReplay(&limits)
	g := New("g", &limits, 0)
	tp := topicPartition{"t", 0}
	value := offsetValue(Offset{Offset: 1, ExpireTime: -1})
	for i := range 1000 {
		g.id = fmt.Sprint("g", i)
		if err := p.Record(int64(i), -1, g.offsetKey(tp), value); err != nil {
			b.Fatal(err)
		}
	}
	key := g.offsetKey(tp)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Record(1000, 7, key, value); err != nil {
			b.Fatal(err)
		}
		p.EndTransaction(7, true)
	}
}
