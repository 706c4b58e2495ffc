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
			partition, err := assigned(image, to.Topic, index)
			if err == nil {
				err = elect(partition, q.ElectionType)
			}
			to.Partitions = append(to.Partitions, elected(index, err))
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
			if err := elect(&t.Partitions[i], kind); !errors.Is(err, kerr.ElectionNotNeeded) {
				to.Partitions = append(to.Partitions, elected(int32(i), err))
			}
		}
		all = append(all, to)
	}
	return all
}

// elect decides what an election comes to. Leadership does not move between brokers yet:
// a partition is led by the broker that has its log, and one without a leader gets one
// when a replica in sync registers.
func elect(p *cluster.Partition, kind int8) error {
	switch {
	case kind != preferredElection && kind != uncleanElection:
		return refuse(kerr.InvalidRequest, fmt.Sprintf("Unknown election type %d", kind))
	case kind == uncleanElection && p.Leader >= 0, kind == preferredElection && p.Leader == p.Replicas[0]:
		return kerr.ElectionNotNeeded
	case kind == uncleanElection:
		return refuse(kerr.EligibleLeadersNotAvailable, "No broker that has a replica is registered")
	default:
		return refuse(kerr.PreferredLeaderNotAvailable, fmt.Sprintf("Broker %d, the preferred leader, cannot take the partition over", p.Replicas[0]))
	}
}

// assigned finds a partition wherever its replicas are.
func assigned(image *cluster.Image, topic string, index int32) (*cluster.Partition, error) {
	t, ok := image.Topic(topic)
	if !ok {
		return nil, refuse(kerr.UnknownTopicOrPartition, "No such topic as "+topic)
	}
	if index < 0 || int(index) >= len(t.Partitions) {
		return nil, refuse(kerr.UnknownTopicOrPartition, fmt.Sprintf("No such partition as %s-%d", topic, index))
	}
	return &t.Partitions[index], nil
}

func elected(index int32, err error) kmsg.ElectLeadersResponseTopicPartition {
	r := kmsg.NewElectLeadersResponseTopicPartition()
	r.Partition, r.ErrorCode, r.ErrorMessage = index, code(err), text(err)
	return r
}
