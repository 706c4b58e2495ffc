package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// deleteRecords raises log start offsets (KIP-107).
func (s *Server) deleteRecords(ctx context.Context, _ *call, q *kmsg.DeleteRecordsRequest) *kmsg.DeleteRecordsResponse {
	p := q.ResponseKind().(*kmsg.DeleteRecordsResponse)
	ctx, cancel := withTimeout(ctx, q.TimeoutMillis)
	defer cancel()
	for i := range q.Topics {
		to := kmsg.NewDeleteRecordsResponseTopic()
		to.Topic = q.Topics[i].Topic
		for _, from := range q.Topics[i].Partitions {
			r := kmsg.NewDeleteRecordsResponseTopicPartition()
			low, err := s.deleteBelow(ctx, to.Topic, from.Partition, from.Offset)
			r.Partition, r.LowWatermark, r.ErrorCode = from.Partition, low, code(err)
			to.Partitions = append(to.Partitions, r)
		}
		p.Topics = append(p.Topics, to)
	}
	return p
}

func (s *Server) deleteBelow(ctx context.Context, topic string, index int32, offset int64) (int64, error) {
	if internal(topic) {
		return -1, kerr.InvalidTopicException
	}
	replica, err := s.replicaByName(topic, index)
	if err != nil {
		return -1, err
	}
	return replica.DeleteRecords(ctx, offset)
}
