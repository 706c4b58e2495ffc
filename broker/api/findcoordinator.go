package api

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/segment"
)

// Kinds of coordinator keys.
const (
	groupKey       = 0
	transactionKey = 1
	shareKey       = 2 // "group:topic id:partition", from version 6 on (KIP-932)
)

// findCoordinator tells which broker leads the partition of __consumer_offsets that a
// group lives in, that of __transaction_state for a transactional id, or that of
// __share_group_state for a share partition, creating the topic when it is first asked for.
func (s *Server) findCoordinator(ctx context.Context, c *call, q *kmsg.FindCoordinatorRequest) *kmsg.FindCoordinatorResponse {
	p := q.ResponseKind().(*kmsg.FindCoordinatorResponse)
	keys := q.CoordinatorKeys
	if c.Version < 4 {
		keys = []string{q.CoordinatorKey}
	}
	for _, key := range keys {
		r := kmsg.NewFindCoordinatorResponseCoordinator()
		r.Key, r.NodeID, r.Port = key, -1, -1
		broker, err := s.coordinatorOf(ctx, c.Version, q.CoordinatorType, key)
		if err == nil {
			r.NodeID = broker.ID
			r.Host, r.Port = endpoint(broker, c.Conn)
		}
		r.ErrorCode, r.ErrorMessage = code(err), text(err)
		p.Coordinators = append(p.Coordinators, r)
	}
	if c.Version < 4 {
		r := p.Coordinators[0]
		p.ErrorCode, p.ErrorMessage, p.NodeID, p.Host, p.Port = r.ErrorCode, r.ErrorMessage, r.NodeID, r.Host, r.Port
	}
	return p
}

func (s *Server) coordinatorOf(ctx context.Context, version int16, kind int8, key string) (*cluster.Broker, error) {
	var (
		topic string
		index int
	)
	switch {
	case kind == groupKey:
		topic, index = OffsetsTopic, int(s.Groups.PartitionFor(key))
	case kind == transactionKey:
		topic, index = TransactionTopic, int(s.Transactions.PartitionFor(key))
	case kind == shareKey && version >= 6:
		partition, err := s.Shares.KeyPartition(key)
		if err != nil {
			return nil, refuse(kerr.InvalidRequest, err.Error())
		}
		topic, index = ShareTopic, int(partition)
	default:
		return nil, refuse(kerr.InvalidRequest, "unknown coordinator type")
	}
	t, err := s.find(topic, segment.TopicID{}, false)
	if err != nil {
		if t, err = s.autoCreate(ctx, topic, freely); err != nil {
			return nil, refuse(kerr.CoordinatorNotAvailable, err.Error())
		}
	}
	if index >= len(t.Partitions) { // another broker made the topic, with fewer partitions than we are set to
		return nil, refuse(kerr.CoordinatorNotAvailable, fmt.Sprintf("%s has %d partitions and this broker counts on more; restart it", topic, len(t.Partitions)))
	}
	if leader, ok := s.Store.Image().Broker(t.Partitions[index].Leader); ok {
		return leader, nil
	}
	return nil, kerr.CoordinatorNotAvailable
}
