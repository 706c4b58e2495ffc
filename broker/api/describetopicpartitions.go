package api

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/segment"
)

// maxDescribed bounds the partitions of one answer: max.request.partition.size.limit of Kafka.
const maxDescribed = 2000

// describeTopicPartitions describes topics in name order, page by page (KIP-966).
func (s *Server) describeTopicPartitions(_ *call, q *kmsg.DescribeTopicPartitionsRequest) *kmsg.DescribeTopicPartitionsResponse {
	p := q.ResponseKind().(*kmsg.DescribeTopicPartitionsResponse)
	left := maxDescribed
	if q.ResponsePartitionLimit > 0 {
		left = min(left, int(q.ResponsePartitionLimit))
	}
	for _, name := range s.describedTopics(q) {
		first := 0
		if q.Cursor != nil && q.Cursor.Topic == name {
			first = max(0, int(q.Cursor.Partition))
		}
		t, err := s.find(name, segment.TopicID{}, false)
		if err != nil {
			p.Topics = append(p.Topics, undescribed(name, err))
			continue
		}
		if left == 0 {
			p.NextCursor = cursor(name, first)
			break
		}
		last := min(len(t.Partitions), first+left)
		p.Topics = append(p.Topics, describedTopic(s.Store.Image(), t, first, last))
		left -= max(0, last-first)
		if last < len(t.Partitions) {
			p.NextCursor = cursor(name, last)
			break
		}
	}
	return p
}

// describedTopics are the names asked for, all when none is, from the cursor on.
func (s *Server) describedTopics(q *kmsg.DescribeTopicPartitionsRequest) []string {
	var names []string
	for i := range q.Topics {
		names = append(names, q.Topics[i].Topic)
	}
	if len(q.Topics) == 0 {
		for _, t := range s.Store.Image().Topics() {
			names = append(names, t.Name)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if q.Cursor != nil {
		names = slices.DeleteFunc(names, func(n string) bool { return n < q.Cursor.Topic })
	}
	return names
}

func cursor(topic string, index int) *kmsg.DescribeTopicPartitionsResponseNextCursor {
	c := kmsg.NewDescribeTopicPartitionsResponseNextCursor()
	c.Topic, c.Partition = topic, int32(index)
	return &c
}

func undescribed(name string, err error) kmsg.DescribeTopicPartitionsResponseTopic {
	r := kmsg.NewDescribeTopicPartitionsResponseTopic()
	r.Topic, r.ErrorCode, r.AuthorizedOperations = &name, code(err), notReported
	return r
}

func describedTopic(image *cluster.Image, t *cluster.Topic, first, last int) kmsg.DescribeTopicPartitionsResponseTopic {
	r := kmsg.NewDescribeTopicPartitionsResponseTopic()
	r.Topic, r.TopicID, r.IsInternal, r.AuthorizedOperations = &t.Name, t.ID, internal(t.Name), topicOperations
	for i := first; i < last; i++ {
		from := &t.Partitions[i]
		to := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
		to.Partition, to.LeaderID, to.LeaderEpoch = int32(i), from.Leader, from.LeaderEpoch
		to.Replicas, to.ISR, to.OfflineReplicas = from.Replicas, from.ISR, offline(image, from.Replicas)
		to.EligibleLeaderReplicas, to.LastKnownELR = []int32{}, []int32{}
		if from.Leader < 0 {
			to.ErrorCode = kerr.LeaderNotAvailable.Code
		}
		r.Partitions = append(r.Partitions, to)
	}
	return r
}
