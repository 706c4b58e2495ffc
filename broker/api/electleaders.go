package api

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/cluster"
)

// Kinds of elections (KIP-460).
const (
	preferredElection = 0 // the first replica is to lead
	uncleanElection   = 1 // any replica, where none in sync is left
)

// electLeaders has leaders elected. Where a partition has only the replica that leads it
// there is nothing to elect.
func (s *Server) electLeaders(_ *call, q *kmsg.ElectLeadersRequest) *kmsg.ElectLeadersResponse {
	p := q.ResponseKind().(*kmsg.ElectLeadersResponse)
	image := s.Store.Image()
	if q.ElectionType != preferredElection && q.ElectionType != uncleanElection {
		p.ErrorCode = kerr.InvalidRequest.Code
	} else if q.Topics == nil {
		p.Topics = electAll(image, q.ElectionType)
		return p
	}
	for i := range q.Topics {
		to := kmsg.NewElectLeadersResponseTopic()
		to.Topic = q.Topics[i].Topic
		for _, index := range q.Topics[i].Partitions {
			to.Partitions = append(to.Partitions, elected(index, elect(image, to.Topic, index, q.ElectionType)))
		}
		p.Topics = append(p.Topics, to)
	}
	return p
}

// electAll answers each topic with those of its partitions that need a leader and get none.
func electAll(image *cluster.Image, kind int8) []kmsg.ElectLeadersResponseTopic {
	var all []kmsg.ElectLeadersResponseTopic
	for _, t := range image.Topics() {
		to := kmsg.NewElectLeadersResponseTopic()
		to.Topic = t.Name
		for i := range t.Partitions {
			if err := elect(image, t.Name, int32(i), kind); !errors.Is(err, kerr.ElectionNotNeeded) {
				to.Partitions = append(to.Partitions, elected(int32(i), err))
			}
		}
		all = append(all, to)
	}
	return all
}

// elect decides what an election of a partition comes to. Leadership does not move
// between brokers yet: a partition is led by the broker that has its log, and a
// partition without a leader gets one when a replica in sync registers.
func elect(image *cluster.Image, topic string, index int32, kind int8) error {
	if kind != preferredElection && kind != uncleanElection {
		return refuse(kerr.InvalidRequest, fmt.Sprintf("Unknown election type %d", kind))
	}
	t, ok := image.Topic(topic)
	if !ok {
		return refuse(kerr.UnknownTopicOrPartition, "No such topic as "+topic)
	}
	if index < 0 || int(index) >= len(t.Partitions) {
		return refuse(kerr.UnknownTopicOrPartition, fmt.Sprintf("No such partition as %s-%d", topic, index))
	}
	p := &t.Partitions[index]
	switch {
	case kind == preferredElection && p.Leader == p.Replicas[0]:
		return kerr.ElectionNotNeeded
	case kind == preferredElection:
		return refuse(kerr.PreferredLeaderNotAvailable, fmt.Sprintf("broker %d, the preferred leader, cannot take the partition over", p.Replicas[0]))
	case p.Leader >= 0:
		return kerr.ElectionNotNeeded
	default:
		return refuse(kerr.EligibleLeadersNotAvailable, "no broker that has a replica is registered")
	}
}

func elected(index int32, err error) kmsg.ElectLeadersResponseTopicPartition {
	r := kmsg.NewElectLeadersResponseTopicPartition()
	r.Partition, r.ErrorCode, r.ErrorMessage = index, code(err), text(err)
	return r
}
