package api

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/cluster"
)

// Reassignments move replicas between brokers (KIP-455). Replicas do not move yet, so a
// reassignment is either what is there already, or refused; none is ever in progress.

func (s *Server) alterPartitionReassignments(_ *call, q *kmsg.AlterPartitionAssignmentsRequest) *kmsg.AlterPartitionAssignmentsResponse {
	p := q.ResponseKind().(*kmsg.AlterPartitionAssignmentsResponse)
	p.AllowReplicationFactorChange = q.AllowReplicationFactorChange
	image := s.Store.Image()
	for i := range q.Topics {
		to := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		to.Topic = q.Topics[i].Topic
		for _, from := range q.Topics[i].Partitions {
			r := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			err := reassign(image, to.Topic, from.Partition, from.Replicas, q.AllowReplicationFactorChange)
			r.Partition, r.ErrorCode, r.ErrorMessage = from.Partition, code(err), text(err)
			to.Partitions = append(to.Partitions, r)
		}
		p.Topics = append(p.Topics, to)
	}
	return p
}

// reassign decides what a reassignment of a partition comes to. target nil: whatever is
// in progress is to be given up.
func reassign(image *cluster.Image, topic string, index int32, target []int32, resize bool) error {
	t, ok := image.Topic(topic)
	if !ok {
		return refuse(kerr.UnknownTopicOrPartition, "Unable to find a topic named "+topic+".")
	}
	if index < 0 || int(index) >= len(t.Partitions) {
		return refuse(kerr.UnknownTopicOrPartition, fmt.Sprintf("Unable to find partition %s:%d.", topic, index))
	}
	if target == nil {
		return kerr.NoReassignmentInProgress
	}
	current := t.Partitions[index].Replicas
	if err := checkAssignment([][]int32{target}, image.BrokerIDs()); err != nil {
		return err
	}
	if !resize && len(target) != len(current) { // KIP-860
		return refuse(kerr.InvalidReplicationFactor, fmt.Sprintf("The replication factor would change from %d to %d.", len(current), len(target)))
	}
	if !slices.Equal(target, current) {
		return refuse(kerr.InvalidReplicaAssignment, fmt.Sprintf("Replicas of %s-%d cannot be moved from %v to %v: this version of varve does not move replicas between brokers.", topic, index, current, target))
	}
	return nil
}

// listPartitionReassignments has nothing to list.
func (s *Server) listPartitionReassignments(_ *call, q *kmsg.ListPartitionReassignmentsRequest) *kmsg.ListPartitionReassignmentsResponse {
	return q.ResponseKind().(*kmsg.ListPartitionReassignmentsResponse)
}
