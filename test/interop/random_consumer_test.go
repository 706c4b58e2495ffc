//go:build interop

package interop

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Requests of members of the consumer protocol (KIP-848), with members of the classic one
// in the same groups. Members ask for the range assignor: which of several members gets one
// partition more is not said by the other.

// readyForConsumers makes groups that assign at once and forgive silence. What they are set
// to comes first: who knows the topics that are made later knows it, too.
func readyForConsumers(s *side) {
	for _, group := range randomGroups {
		s.coordinates(group)
		for _, set := range []string{"consumer.assignment.interval.ms=0", "consumer.session.timeout.ms=60000"} {
			key, value, _ := strings.Cut(set, "=")
			q := alterRequest(s.name(group), kmsg.IncrementalAlterConfigOpSet, key, value)
			q.Resources[0].ResourceType = kmsg.ConfigResourceTypeGroupConfig
			refusedWith(s, key, must[*kmsg.IncrementalAlterConfigsResponse](s, 1, q).Resources[0].ErrorCode, nil)
		}
		s.awaitConfig(kmsg.ConfigResourceTypeGroupConfig, s.name(group), "consumer.session.timeout.ms", "60000")
	}
	s.creates("two", 2)
	s.creates("one", 1)
	for _, group := range randomGroups {
		s.anchors(group)
		s.stays(group)
	}
}

// stays is a heartbeat of a member that reads nothing and never leaves: without one of the
// consumer protocol a group would be given back to the classic one, whose members wait.
func (s *side) stays(group topicName) {
	s.Helper()
	q := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	q.Group, q.MemberID, q.RebalanceTimeoutMillis = s.name(group), "!stays", 300_000
	q.SubscribedTopicNames, q.Topics = []string{}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	q.ServerAssignor = kmsg.StringPtr("range")
	refusedWith(s, "heartbeat", must[*kmsg.ConsumerGroupHeartbeatResponse](s, 1, q).ErrorCode, nil)
}

func drawConsumer(r *rand.Rand) step {
	switch r.IntN(24) {
	case 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10:
		return drawConsumerHeartbeat(r)
	case 11, 12:
		return drawConsumerDescribe(r)
	case 13, 14:
		return drawJoin(r, true)
	case 15:
		return drawSync(r)
	case 16:
		return drawHeartbeat(r)
	case 17:
		return drawLeave(r)
	case 18:
		return drawCommit(r, (*claimant).memberID, (*claimant).generation)
	case 19, 20:
		return drawCommit(r, (*claimant).consumerID, (*claimant).epoch)
	case 21:
		return drawOffsetFetch(r, (*claimant).consumerID, (*claimant).epoch)
	case 22:
		return pick(r, drawOffsetDelete, drawDescribeGroups)(r)
	}
	return drawListGroups(r)
}

// consumerID is the id that the slot's member has chosen: it comes before all that a broker
// chooses, for the range assignor goes by their order.
func (m *claimant) consumerID(*side) string {
	switch m.other {
	case "":
		return "!" + m.slot
	case "-":
		return ""
	}
	return m.other
}

func (m *claimant) epochKey(id string) string { return m.key("epoch of " + id) }

func (m *claimant) epoch(s *side) int32 {
	return int32(s.number[m.epochKey(m.consumerID(s))] + m.distance)
}

// drawConsumerHeartbeat is of a member that joins, stays or leaves. A static one joins under
// an id of its own each time, as Apache Kafka wants it.
func drawConsumerHeartbeat(r *rand.Rand) step {
	m, version, static, number := drawClaimant(r), versionOf(r, kmsg.ConsumerGroupHeartbeat, 0), r.IntN(4) == 0, r.IntN(1<<20)
	how := pick(r, "join", "join", "beat", "beat", "beat", "beat", "beat", "leave", "leave for a while")
	subscribed := pick(r, nil, nil, []topicName{"two"}, []topicName{"two", "one"}, []topicName{"one", "missing"}, []topicName{})
	if how == "join" && r.IntN(10) > 0 && subscribed == nil {
		subscribed = []topicName{"two"}
	}
	owned := pick(r, "as told", "as told", "as told", "none", "other", "nil")
	timeout, assignor := pick[int32](r, -1, -1, 300_000), ""
	if how == "join" {
		timeout, assignor, owned = 300_000, "range", "none"
		switch r.IntN(15) {
		case 0:
			timeout = -1
		case 1:
			assignor = "nope"
		case 2:
			owned = pick(r, "other", "nil")
		}
	}
	if m.other == "-" {
		version = max(version, 1) // the broker would choose an id, and with it who comes first
	}
	return request(version, func(s *side) *kmsg.ConsumerGroupHeartbeatRequest {
		q := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		q.Group, q.MemberID, q.RebalanceTimeoutMillis = s.name(m.group), m.consumerID(s), timeout
		if static && m.other == "" {
			q.InstanceID = kmsg.StringPtr("static")
			if how == "join" {
				s.text[m.key("new static")] = fmt.Sprintf("!static-%d", number)
			}
			if q.MemberID = s.text[m.key("static")]; how == "join" {
				q.MemberID = s.text[m.key("new static")]
			}
		}
		switch how {
		case "join":
		case "leave":
			q.MemberEpoch = -1
		case "leave for a while":
			q.MemberEpoch = -2
		default:
			q.MemberEpoch = int32(s.number[m.epochKey(q.MemberID)] + m.distance)
			if q.InstanceID != nil && q.MemberEpoch == 0 {
				q.MemberEpoch = 1 // a static member that begins anew must wait for its session at Apache Kafka
			}
		}
		if subscribed != nil {
			q.SubscribedTopicNames = []string{}
		}
		for _, topic := range subscribed {
			q.SubscribedTopicNames = append(q.SubscribedTopicNames, s.name(topic))
		}
		if assignor != "" {
			q.ServerAssignor = &assignor
		}
		switch owned {
		case "as told":
			q.Topics = append([]kmsg.ConsumerGroupHeartbeatRequestTopic{}, s.owned[m.key(q.MemberID)]...)
		case "none":
			q.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		case "other":
			q.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{{TopicID: s.id("one"), Partitions: []int32{0}}}
		}
		return q
	}, func(s *side, q *kmsg.ConsumerGroupHeartbeatRequest, p kmsg.Response) {
		a := p.(*kmsg.ConsumerGroupHeartbeatResponse)
		s.stays(m.group)
		if a.ErrorCode != 0 {
			return
		}
		if q.InstanceID != nil && q.MemberEpoch == 0 {
			s.text[m.key("static")] = q.MemberID
		}
		s.number[m.epochKey(q.MemberID)] = int64(max(a.MemberEpoch, 0))
		if a.Assignment == nil {
			return
		}
		var topics []kmsg.ConsumerGroupHeartbeatRequestTopic
		for _, to := range a.Assignment.Topics {
			topics = append(topics, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: to.TopicID, Partitions: to.Partitions})
		}
		s.owned[m.key(q.MemberID)] = topics
	})
}

func drawConsumerDescribe(r *rand.Rand) step {
	version := versionOf(r, kmsg.ConsumerGroupDescribe, 0)
	var names []topicName
	some(r, 3, func() { names = append(names, groupName(r)) })
	return request(version, func(s *side) *kmsg.ConsumerGroupDescribeRequest {
		q := kmsg.NewPtrConsumerGroupDescribeRequest()
		for _, name := range names {
			q.Groups = append(q.Groups, s.name(name))
		}
		return q
	})
}
