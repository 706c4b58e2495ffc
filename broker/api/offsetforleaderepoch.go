package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// offsetForLeaderEpoch tells where a leader epoch ends, so that a client can see that
// its log was truncated (KIP-101, KIP-320).
func (s *Server) offsetForLeaderEpoch(ctx context.Context, _ *call, q *kmsg.OffsetForLeaderEpochRequest) *kmsg.OffsetForLeaderEpochResponse {
	p := q.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	for i := range q.Topics {
		to := kmsg.NewOffsetForLeaderEpochResponseTopic()
		to.Topic = q.Topics[i].Topic
		for _, from := range q.Topics[i].Partitions {
			r := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			r.Partition, r.LeaderEpoch, r.EndOffset = from.Partition, -1, -1
			replica, err := s.replicaByName(to.Topic, from.Partition)
			if err == nil {
				r.LeaderEpoch, r.EndOffset, err = replica.EpochEnd(ctx, from.CurrentLeaderEpoch, from.LeaderEpoch)
			}
			r.ErrorCode = code(err)
			to.Partitions = append(to.Partitions, r)
		}
		p.Topics = append(p.Topics, to)
	}
	return p
}
