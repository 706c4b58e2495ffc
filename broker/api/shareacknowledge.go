package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/share"
)

// shareAcknowledge answers when everything that is acknowledged is stored (KIP-932).
func (s *Server) shareAcknowledge(_ context.Context, _ *call, q *kmsg.ShareAcknowledgeRequest) *kmsg.ShareAcknowledgeResponse {
	p := q.ResponseKind().(*kmsg.ShareAcknowledgeResponse)
	who, err := shareMember(q.GroupID, q.MemberID)
	if err == nil {
		err = s.ShareGroups.Acknowledge(who, q.ShareSessionEpoch)
	}
	if err == nil {
		p.AcquisitionLockTimeoutMillis = int32(s.ShareGroups.Settings(who.Group).LockDuration.Milliseconds())
		p.Topics = s.acknowledgeTopics(who, q)
		if q.ShareSessionEpoch == share.FinalEpoch {
			err = s.ShareGroups.Leave(who, true)
		}
	}
	p.ErrorCode, p.ErrorMessage = code(err), text(err)
	return p
}

func (s *Server) acknowledgeTopics(who share.Member, q *kmsg.ShareAcknowledgeRequest) []kmsg.ShareAcknowledgeResponseTopic {
	var acks []shareAcks
	for i := range q.Topics {
		for j := range q.Topics[i].Partitions {
			from := &q.Topics[i].Partitions[j]
			a := shareAcks{TopicPartition: share.TopicPartition{Topic: q.Topics[i].TopicID, Index: from.Partition}}
			for _, b := range from.AcknowledgementBatches {
				a.batches = append(a.batches, kmsg.ShareFetchRequestTopicPartitionAcknowledgementBatch(b))
			}
			acks = append(acks, a)
		}
	}
	errs := s.acknowledgeShares(who, acks, q.IsRenewAck)
	topics := make([]kmsg.ShareAcknowledgeResponseTopic, 0, len(q.Topics))
	for i := range q.Topics {
		t := kmsg.NewShareAcknowledgeResponseTopic()
		t.TopicID = q.Topics[i].TopicID
		for j := range q.Topics[i].Partitions {
			at := kmsg.NewShareAcknowledgeResponseTopicPartition()
			at.Partition = q.Topics[i].Partitions[j].Partition
			at.ErrorCode, at.ErrorMessage = code(errs[0]), text(errs[0])
			at.CurrentLeader.LeaderID, at.CurrentLeader.LeaderEpoch = -1, -1
			t.Partitions = append(t.Partitions, at)
			errs = errs[1:]
		}
		topics = append(topics, t)
	}
	return topics
}
