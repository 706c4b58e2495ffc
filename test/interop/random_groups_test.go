//go:build interop

package interop

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Requests of members of groups and of those who look after groups. None is drawn that would
// wait for another: a classic group here has one member at a time, or lives in a group of
// the consumer protocol, where nobody waits for anybody.

// randomGroups are the groups of a stream. The classic member of the second is static.
var randomGroups = []topicName{"g", "h"}

// groupName is mostly one of the stream's, else one that nobody has or none.
func groupName(r *rand.Rand) topicName {
	if n := r.IntN(20); n < 2 {
		return []topicName{"unknown", "="}[n]
	}
	return pick(r, randomGroups...)
}

func readyForClassic(s *side) {
	s.creates("two", 2)
	s.creates("one", 1)
	for _, group := range randomGroups {
		s.coordinates(group)
		s.anchors(group)
	}
}

func drawClassic(r *rand.Rand) step {
	switch r.IntN(24) {
	case 0, 1, 2, 3, 4, 5:
		return drawJoin(r, false)
	case 6, 7, 8:
		return drawSync(r)
	case 9, 10, 11:
		return drawHeartbeat(r)
	case 12, 13:
		return drawLeave(r)
	case 14, 15, 16:
		return drawCommit(r, (*claimant).memberID, (*claimant).generation)
	case 17, 18:
		return drawOffsetFetch(r, (*claimant).memberID, (*claimant).generation)
	case 19:
		return drawOffsetDelete(r)
	case 20, 21:
		return drawDescribeGroups(r)
	case 22:
		return drawListGroups(r)
	}
	return drawDeleteGroup(r)
}

// claimant is whom a request of a group comes from: mostly its member, as it was last told.
type claimant struct {
	group    topicName
	slot     string // of the member, in a group that has several
	other    string // in place of the member's id; "-": none
	distance int64  // from the generation or epoch that is due
	instance string // in place of the instance id that is due
}

func drawClaimant(r *rand.Rand) claimant {
	m := claimant{group: pick(r, randomGroups...), slot: pick(r, "1", "2")}
	if r.IntN(8) == 0 {
		m.other = pick(r, "!nobody", "-")
	}
	if r.IntN(6) == 0 {
		m.distance = pick[int64](r, -1, 1, 100)
	}
	if r.IntN(20) == 0 {
		m.instance = "nobody"
	}
	return m
}

func (m *claimant) key(what string) string { return fmt.Sprintf("%s of %s", what, m.group) }

// memberID is that of the group's classic member.
func (m *claimant) memberID(s *side) string {
	switch m.other {
	case "":
		return s.text[m.key("member")]
	case "-":
		return ""
	}
	return m.other
}

func (m *claimant) generation(s *side) int32 {
	return int32(s.number[m.key("generation")] + m.distance)
}

// instanceID is that of the group's classic member, in versions that have one.
func (m *claimant) instanceID(had bool) *string {
	switch {
	case !had:
		return nil
	case m.instance != "":
		return &m.instance
	case m.group == "h":
		return kmsg.StringPtr("instance")
	}
	return nil
}

// drawJoin has the group's member join, twice where it is given an id first (KIP-394).
// A member without an id is not drawn beside another one, for which it would wait; a static
// one takes the other's place.
func drawJoin(r *rand.Rand, among bool) step {
	m, version := drawClaimant(r), versionOf(r, kmsg.JoinGroup, 2)
	protocols := pick(r, []string{"range"}, []string{"range"}, []string{"roundrobin", "range"}, []string{"range", "roundrobin"})
	kind, session, mark := "consumer", int32(300_000), byte(r.IntN(2))
	switch r.IntN(20) {
	case 0:
		kind = pick(r, "", "connect")
	case 1:
		protocols = pick(r, nil, []string{"sticky"})
	case 2:
		session = pick[int32](r, 5_999, 1_800_001, -1)
	}
	fresh, nowhere := r.IntN(3) == 0, r.IntN(30) == 0
	return func(s *side) (out told) {
		s.Helper()
		q := kmsg.NewPtrJoinGroupRequest()
		q.Group, q.MemberID, q.ProtocolType = s.name(m.group), m.memberID(s), kind
		q.SessionTimeoutMillis, q.RebalanceTimeoutMillis = session, 300_000
		static := m.group == "h" && !among && version >= 5
		if static {
			q.InstanceID = m.instanceID(true)
		}
		switch {
		case static && m.instance == "" && fresh:
			q.MemberID = ""
		case q.MemberID == "" && s.text[m.key("member")] != "":
			q.MemberID = s.text[m.key("member")]
		case m.group == "h" && !among && q.MemberID == "" && !static:
			q.MemberID = "!nobody"
		case q.MemberID == "" && m.instance != "" && static:
			q.MemberID = "!nobody"
		}
		if nowhere {
			q.Group = ""
		}
		for _, name := range protocols {
			q.Protocols = append(q.Protocols, kmsg.JoinGroupRequestProtocol{Name: name, Metadata: s.subscription(mark)})
		}
		for {
			p, err := s.ask(version, q)
			out.asked += s.show(q) + "\n    "
			if err != nil {
				out.answered += "no answer"
				return out
			}
			out.answered += s.show(p.(*kmsg.JoinGroupResponse)) + "\n"
			if a := p.(*kmsg.JoinGroupResponse); codeName(a.ErrorCode) == "MEMBER_ID_REQUIRED" {
				q.MemberID = a.MemberID
				continue
			} else if member := m.key("member"); a.ErrorCode == 0 && (s.text[member] == "" || m.other != "!nobody") {
				s.text[member], s.number[m.key("generation")] = a.MemberID, int64(a.Generation)
			}
			return out
		}
	}
}

// subscription is a consumer's metadata: version 0, the topic "two", and something to differ in.
func (s *side) subscription(mark byte) []byte {
	name := s.name("two")
	b := append([]byte{0, 0, 0, 0, 0, 1, 0, byte(len(name))}, name...)
	return append(b, 0, 0, 0, 1, mark)
}

func drawSync(r *rand.Rand) step {
	m, version, given := drawClaimant(r), versionOf(r, kmsg.SyncGroup, 0), pick(r, "assignment", "assignment", "", "more")
	kind, protocol := kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
	switch {
	case version < 5:
		kind, protocol = nil, nil
	case r.IntN(8) == 0:
		kind, protocol = pick(r, nil, kind, kmsg.StringPtr("connect")), pick(r, nil, protocol, kmsg.StringPtr("sticky"))
	}
	return request(version, func(s *side) *kmsg.SyncGroupRequest {
		q := kmsg.NewPtrSyncGroupRequest()
		q.Group, q.MemberID, q.Generation, q.InstanceID = s.name(m.group), m.memberID(s), m.generation(s), m.instanceID(version >= 3)
		q.ProtocolType, q.Protocol = kind, protocol
		if given != "" {
			q.GroupAssignment = append(q.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: q.MemberID, MemberAssignment: []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0}})
		}
		if given == "more" {
			q.GroupAssignment = append(q.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: "!nobody", MemberAssignment: []byte("x")})
		}
		return q
	})
}

func drawHeartbeat(r *rand.Rand) step {
	m, version := drawClaimant(r), versionOf(r, kmsg.Heartbeat, 0)
	return request(version, func(s *side) *kmsg.HeartbeatRequest {
		q := kmsg.NewPtrHeartbeatRequest()
		q.Group, q.MemberID, q.Generation, q.InstanceID = s.name(m.group), m.memberID(s), m.generation(s), m.instanceID(version >= 3)
		return q
	})
}

// drawLeave has members leave, the group's and odd ones.
func drawLeave(r *rand.Rand) step {
	version, first := versionOf(r, kmsg.LeaveGroup, 0), drawClaimant(r)
	var all []claimant
	some(r, 3, func() { all = append(all, drawClaimant(r)) })
	return request(version, func(s *side) *kmsg.LeaveGroupRequest {
		q := kmsg.NewPtrLeaveGroupRequest()
		q.Group, q.MemberID = s.name(first.group), first.memberID(s)
		for _, m := range all {
			m.group = first.group
			q.Members = append(q.Members, kmsg.LeaveGroupRequestMember{MemberID: m.memberID(s), InstanceID: m.instanceID(true)})
		}
		return q
	}, func(s *side, q *kmsg.LeaveGroupRequest, p kmsg.Response) {
		a := p.(*kmsg.LeaveGroupResponse)
		gone := a.ErrorCode == 0 && q.Version < 3 && q.MemberID == s.text[first.key("member")]
		for _, m := range a.Members { // a static one may be named by its instance alone
			gone = gone || m.ErrorCode == 0 && (m.MemberID == "" || m.MemberID == s.text[first.key("member")])
		}
		if gone {
			s.text[first.key("member")] = ""
		}
	})
}

// drawCommit is of a member, or of somebody outside.
func drawCommit(r *rand.Rand, id func(*claimant, *side) string, generation func(*claimant, *side) int32) step {
	m, version, outside := drawClaimant(r), versionOf(r, kmsg.OffsetCommit, 0), r.IntN(2) == 0
	type part struct {
		topic     topicName
		partition int32
		offset    int64
		epoch     int32
		metadata  *string
	}
	var parts []part
	some(r, 3, func() {
		parts = append(parts, part{pick[topicName](r, "two", "two", "two", "one", "missing"), pick[int32](r, 0, 0, 1, 1, 5, -1), int64(r.IntN(100)), pick[int32](r, -1, -1, 0, 1, 5), drawNote(r)})
	})
	return request(version, func(s *side) *kmsg.OffsetCommitRequest {
		q := kmsg.NewPtrOffsetCommitRequest()
		q.Group, q.Generation, q.RetentionTimeMillis = s.name(m.group), -1, -1
		if !outside {
			q.MemberID, q.Generation, q.InstanceID = id(&m, s), generation(&m, s), m.instanceID(version >= 7)
		}
		for _, p := range parts {
			to := kmsg.NewOffsetCommitRequestTopic()
			to.Topic, to.TopicID = s.name(p.topic), s.id(p.topic)
			to.Partitions = []kmsg.OffsetCommitRequestTopicPartition{{Partition: p.partition, Offset: p.offset, Timestamp: -1, LeaderEpoch: p.epoch, Metadata: p.metadata}}
			q.Topics = append(q.Topics, to)
		}
		return q
	})
}

func drawOffsetFetch(r *rand.Rand, id func(*claimant, *side) string, generation func(*claimant, *side) int32) step {
	version, group, all := versionOf(r, kmsg.OffsetFetch, 1), groupName(r), r.IntN(3) == 0
	topics := pick(r, []topicName{"two"}, []topicName{"two", "one"}, []topicName{"missing", "two"}, []topicName{"two", "two"})
	m, named := drawClaimant(r), r.IntN(4) == 0
	return request(version, func(s *side) *kmsg.OffsetFetchRequest {
		q := offsetFetchRequest(s, group, topics)
		if all && version >= 2 {
			q.Topics, q.Groups[0].Topics = nil, nil
		}
		if named {
			q.Groups[0].MemberID, q.Groups[0].MemberEpoch = kmsg.StringPtr(id(&m, s)), generation(&m, s)
		}
		return q
	})
}

// drawOffsetDelete leaves the offsets of first partitions alone: a group without members
// ends with its last offset at ours, and at Apache Kafka when it is loaded the next time.
func drawOffsetDelete(r *rand.Rand) step {
	group, topic, partition := groupName(r), pick[topicName](r, "two", "two", "one", "missing"), pick[int32](r, 1, 1, 5)
	return request(0, func(s *side) *kmsg.OffsetDeleteRequest {
		return offsetDeleteRequest(s.name(group), s.name(topic), partition)
	})
}

func drawDescribeGroups(r *rand.Rand) step {
	version := versionOf(r, kmsg.DescribeGroups, 0)
	var names []topicName
	some(r, 3, func() { names = append(names, groupName(r)) })
	return request(version, func(s *side) *kmsg.DescribeGroupsRequest {
		q := kmsg.NewPtrDescribeGroupsRequest()
		for _, name := range names {
			q.Groups = append(q.Groups, s.name(name))
		}
		return q
	})
}

func drawListGroups(r *rand.Rand) step {
	version := versionOf(r, kmsg.ListGroups, 0)
	states := pick(r, nil, nil, []string{"Stable"}, []string{"empty", "Dead"}, []string{"NoSuchState"}, []string{"PreparingRebalance", "CompletingRebalance", "reconciling"})
	types := pick(r, nil, nil, nil, []string{"classic"}, []string{"Consumer"}, []string{"nosuch"})
	return request(version, func(s *side) *kmsg.ListGroupsRequest {
		q := kmsg.NewPtrListGroupsRequest()
		q.StatesFilter, q.TypesFilter = states, types
		return q
	}, func(s *side, _ *kmsg.ListGroupsRequest, p kmsg.Response) { // there are those of others
		a := p.(*kmsg.ListGroupsResponse)
		all := a.Groups
		a.Groups = nil
		for _, g := range all {
			if strings.HasPrefix(g.Group, s.prefix) {
				a.Groups = append(a.Groups, g)
			}
		}
	})
}

// drawDeleteGroup deletes a group, which has its anchor again at once.
func drawDeleteGroup(r *rand.Rand) step {
	version, group := versionOf(r, kmsg.DeleteGroups, 0), groupName(r)
	return request(version, func(s *side) *kmsg.DeleteGroupsRequest {
		q := kmsg.NewPtrDeleteGroupsRequest()
		q.Groups = []string{s.name(group)}
		return q
	}, func(s *side, _ *kmsg.DeleteGroupsRequest, p kmsg.Response) {
		if p.(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode == 0 {
			s.anchors(group)
		}
	})
}
