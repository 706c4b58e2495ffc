package api

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// firstVersion gives the version of ListOffsets that each special timestamp came with:
// max timestamp (KIP-734), earliest local (KIP-405), latest tiered (KIP-1005),
// earliest pending upload (KIP-1023).
var firstVersion = map[int64]int16{-1: 1, -2: 1, -3: 7, -4: 8, -5: 9, -6: 11}

// listOffsets finds offsets by time or by name.
func (s *Server) listOffsets(ctx context.Context, c *call, q *kmsg.ListOffsetsRequest) *kmsg.ListOffsetsResponse {
	if q.TimeoutMillis > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(q.TimeoutMillis)*time.Millisecond)
		defer cancel()
	}
	type key struct {
		topic string
		index int32
	}
	seen := make(map[key]int)
	for i := range q.Topics {
		for j := range q.Topics[i].Partitions {
			seen[key{q.Topics[i].Topic, q.Topics[i].Partitions[j].Partition}]++
		}
	}
	p := q.ResponseKind().(*kmsg.ListOffsetsResponse)
	for i := range q.Topics {
		from := &q.Topics[i]
		to := kmsg.NewListOffsetsResponseTopic()
		to.Topic = from.Topic
		for j := range from.Partitions {
			var r kmsg.ListOffsetsResponseTopicPartition
			if seen[key{from.Topic, from.Partitions[j].Partition}] > 1 {
				r = listOffsetsError(from.Partitions[j].Partition, kerr.InvalidRequest)
			} else {
				r = s.listOffset(ctx, c, q, from.Topic, &from.Partitions[j])
			}
			to.Partitions = append(to.Partitions, r)
		}
		p.Topics = append(p.Topics, to)
	}
	return p
}

func (s *Server) listOffset(ctx context.Context, c *call, q *kmsg.ListOffsetsRequest, topic string, from *kmsg.ListOffsetsRequestTopicPartition) kmsg.ListOffsetsResponseTopicPartition {
	if from.Timestamp < 0 {
		if first, ok := firstVersion[from.Timestamp]; !ok || c.Version < first {
			return listOffsetsError(from.Partition, kerr.UnsupportedVersion)
		}
	}
	replica, err := s.replicaByName(topic, from.Partition)
	if err != nil {
		return listOffsetsError(from.Partition, err)
	}
	found, err := replica.ListOffset(ctx, from.Timestamp, q.IsolationLevel, from.CurrentLeaderEpoch)
	if err != nil {
		return listOffsetsError(from.Partition, err)
	}
	to := kmsg.NewListOffsetsResponseTopicPartition()
	to.Partition, to.Offset, to.Timestamp, to.LeaderEpoch = from.Partition, found.Offset, found.Timestamp, found.LeaderEpoch
	return to
}

func listOffsetsError(index int32, err error) kmsg.ListOffsetsResponseTopicPartition {
	to := kmsg.NewListOffsetsResponseTopicPartition()
	to.Partition, to.ErrorCode, to.Offset, to.Timestamp, to.LeaderEpoch = index, code(err), -1, -1, -1
	return to
}
