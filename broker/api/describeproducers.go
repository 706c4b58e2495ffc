package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// describeProducers lists the producers that a partition remembers (KIP-664).
func (s *Server) describeProducers(_ *call, q *kmsg.DescribeProducersRequest) *kmsg.DescribeProducersResponse {
	p := q.ResponseKind().(*kmsg.DescribeProducersResponse)
	for i := range q.Topics {
		to := kmsg.NewDescribeProducersResponseTopic()
		to.Topic = q.Topics[i].Topic
		for _, index := range q.Topics[i].Partitions {
			to.Partitions = append(to.Partitions, s.activeProducers(to.Topic, index))
		}
		p.Topics = append(p.Topics, to)
	}
	return p
}

func (s *Server) activeProducers(topic string, index int32) kmsg.DescribeProducersResponseTopicPartition {
	r := kmsg.NewDescribeProducersResponseTopicPartition()
	r.Partition = index
	replica, err := s.replicaByName(topic, index)
	if err != nil {
		r.ErrorCode, r.ErrorMessage = code(err), text(err)
		return r
	}
	for _, from := range replica.Producers() {
		a := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
		a.ProducerID, a.ProducerEpoch, a.LastSequence = from.ProducerID, int32(from.ProducerEpoch), from.LastSequence
		a.LastTimestamp, a.CoordinatorEpoch, a.CurrentTxnStartOffset = from.LastTimestamp, from.CoordinatorEpoch, from.CurrentTxnFirst
		r.ActiveProducers = append(r.ActiveProducers, a)
	}
	return r
}
