package api

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/segment"
)

// createPartitions adds partitions to topics, one result per topic.
func (s *Server) createPartitions(ctx context.Context, c *call, q *kmsg.CreatePartitionsRequest) *kmsg.CreatePartitionsResponse {
	p := q.ResponseKind().(*kmsg.CreatePartitionsResponse)
	ctx, cancel := withTimeout(ctx, q.TimeoutMillis)
	defer cancel()
	grant := s.mutations(c, strictCreatePartitions)
	named := make(map[string]int)
	for i := range q.Topics {
		named[q.Topics[i].Topic]++
	}
	for i := range q.Topics {
		if named[q.Topics[i].Topic] == 0 {
			continue // answered already
		}
		r := kmsg.NewCreatePartitionsResponseTopic()
		r.Topic = q.Topics[i].Topic
		var err error
		if named[r.Topic] > 1 {
			err = refuse(kerr.InvalidRequest, "topic is named more than once in the request")
			named[r.Topic] = 0
		} else {
			err = s.addPartitions(ctx, &q.Topics[i], grant, q.ValidateOnly)
		}
		r.ErrorCode, r.ErrorMessage = code(err), text(err)
		p.Topics = append(p.Topics, r)
	}
	return p
}

func (s *Server) addPartitions(ctx context.Context, q *kmsg.CreatePartitionsRequestTopic, grant func(partitions int) error, validateOnly bool) error {
	t, err := s.find(q.Topic, segment.TopicID{}, false)
	if err != nil {
		return err
	}
	have := len(t.Partitions)
	add := int(q.Count) - have
	switch {
	case internal(t.Name):
		return refuse(kerr.InvalidTopicException, "the partition count of "+t.Name+" cannot change: its keys would move")
	case add <= 0:
		return refuse(kerr.InvalidPartitions, fmt.Sprintf("topic has %d partitions already, %d is not more", have, q.Count))
	case add > maxNewPartitions:
		return refuse(kerr.InvalidPartitions, fmt.Sprintf("at most %d partitions can be added at once", maxNewPartitions))
	}
	replicas, err := s.assignMore(t, q, add)
	if err == nil {
		err = grant(add)
	}
	if err != nil || validateOnly {
		return err
	}
	if err := s.Store.AddPartitions(ctx, t.Name, have, replicas); err != nil {
		return err
	}
	return s.Partitions.Await(ctx, s.Store.Image().Revision())
}

func (s *Server) assignMore(t *cluster.Topic, q *kmsg.CreatePartitionsRequestTopic, add int) ([][]int32, error) {
	image := s.Store.Image()
	ids := image.BrokerIDs()
	if q.Assignment == nil {
		return cluster.Assign(ids, add, min(len(t.Partitions[0].Replicas), len(ids)), len(image.Topics())+len(t.Partitions))
	}
	if len(q.Assignment) != add {
		return nil, refuse(kerr.InvalidReplicaAssignment, fmt.Sprintf("%d partitions are added and %d assigned", add, len(q.Assignment)))
	}
	replicas := make([][]int32, 0, add)
	for _, a := range q.Assignment {
		replicas = append(replicas, append([]int32{}, a.Replicas...))
	}
	return replicas, checkAssignment(replicas, ids)
}
