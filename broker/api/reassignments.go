package api

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
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
			p, err := assigned(image, to.Topic, from.Partition)
			if err == nil {
				err = reassign(p.Replicas, from.Replicas, image.BrokerIDs(), q.AllowReplicationFactorChange)
			}
			r.Partition, r.ErrorCode, r.ErrorMessage = from.Partition, code(err), text(err)
			to.Partitions = append(to.Partitions, r)
		}
		p.Topics = append(p.Topics, to)
	}
	return p
}

// reassign decides what becomes of the wish that a partition have its replicas on target
// and not on current, of the brokers there are. target nil: what is in progress is to be
// given up. resize: there may be more or fewer than before.
func reassign(current, target, brokers []int32, resize bool) error {
	if target == nil {
		return kerr.NoReassignmentInProgress
	}
	if err := checkAssignment([][]int32{target}, brokers); err != nil {
		return err
	}
	switch {
	case !resize && len(target) != len(current): // KIP-860
		return refuse(kerr.InvalidReplicationFactor, fmt.Sprintf("The replication factor would change from %d to %d.", len(current), len(target)))
	case !slices.Equal(target, current):
		return refuse(kerr.InvalidReplicaAssignment, fmt.Sprintf("Replicas cannot go from brokers %v to %v: this version of varve does not move replicas.", current, target))
	}
	return nil
}

// listPartitionReassignments has nothing to list.
func (s *Server) listPartitionReassignments(_ *call, q *kmsg.ListPartitionReassignmentsRequest) *kmsg.ListPartitionReassignmentsResponse {
	return q.ResponseKind().(*kmsg.ListPartitionReassignmentsResponse)
}
