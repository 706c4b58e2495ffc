package coordinator

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator/group"
)

// Fetch handles OffsetFetch v0-v10: one group up to v7, several from v8 on. Topic ids
// (v10) come resolved to names and are echoed; where all topics are asked for, the
// caller fills in the ids it does not find set.
func (g *Groups) Fetch(r *kmsg.OffsetFetchRequest) *kmsg.OffsetFetchResponse {
	response := kmsg.NewPtrOffsetFetchResponse()
	response.Version = r.Version
	if r.Version >= 8 {
		for i := range r.Groups {
			answer := g.fetch(&r.Groups[i], r.RequireStable)
			response.Groups = append(response.Groups, answer)
		}
		return response
	}
	asked := kmsg.NewOffsetFetchRequestGroup()
	asked.Group, asked.Topics = r.Group, upgradeTopics(r)
	answer := g.fetch(&asked, r.RequireStable)
	response.ErrorCode = answer.ErrorCode
	response.Topics = downgradeTopics(r, &answer)
	return response
}

// fetch answers for one group; topics nil asks for all. Members say who they are from
// v9 on (KIP-848).
func (g *Groups) fetch(asked *kmsg.OffsetFetchRequestGroup, requireStable bool) kmsg.OffsetFetchResponseGroup {
	answer := kmsg.NewOffsetFetchResponseGroup()
	answer.Group = asked.Group
	s, code := g.enter(asked.Group)
	if code != 0 {
		answer.ErrorCode = code
		return answer
	}
	defer s.mu.Unlock()
	var found *group.Group
	if e := s.groups[asked.Group]; e != nil {
		found = e.Group
	}
	if code := found.ValidateFetch(asked.MemberID, asked.MemberEpoch); code != 0 {
		answer.ErrorCode = code
		return answer
	}
	answer.Topics = found.Fetch(asked.Topics, requireStable)
	return answer
}

// upgradeTopics gives the topics of a request before v8 the form of v8. All topics can
// be asked for from v2 on.
func upgradeTopics(r *kmsg.OffsetFetchRequest) []kmsg.OffsetFetchRequestGroupTopic {
	if r.Topics == nil && r.Version >= 2 {
		return nil
	}
	topics := make([]kmsg.OffsetFetchRequestGroupTopic, len(r.Topics))
	for i := range r.Topics {
		topics[i].Topic, topics[i].Partitions = r.Topics[i].Topic, r.Topics[i].Partitions
	}
	return topics
}

// downgradeTopics gives an answer the form before v8. Before v2 there is no error of
// the whole answer: it stands at each partition asked for.
func downgradeTopics(r *kmsg.OffsetFetchRequest, answer *kmsg.OffsetFetchResponseGroup) []kmsg.OffsetFetchResponseTopic {
	if answer.ErrorCode != 0 && r.Version < 2 {
		var none *group.Group
		answer.Topics = none.Fetch(upgradeTopics(r), false)
	}
	topics := make([]kmsg.OffsetFetchResponseTopic, len(answer.Topics))
	for i := range answer.Topics {
		topics[i].Topic = answer.Topics[i].Topic
		topics[i].Partitions = make([]kmsg.OffsetFetchResponseTopicPartition, len(answer.Topics[i].Partitions))
		for j := range answer.Topics[i].Partitions {
			p, from := &topics[i].Partitions[j], &answer.Topics[i].Partitions[j]
			p.Partition, p.Offset, p.LeaderEpoch = from.Partition, from.Offset, from.LeaderEpoch
			p.Metadata, p.ErrorCode = from.Metadata, from.ErrorCode
			if r.Version < 2 && answer.ErrorCode != 0 {
				p.ErrorCode = answer.ErrorCode
			}
		}
	}
	return topics
}
