package cluster

import (
	"context"
	"fmt"
	"math"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/varvelog/varve/segment"
)

// campaignTries bounds optimistic loops: each try loses only to a change of another
// broker, and ten in a row mean that something else is wrong.
const campaignTries = 10

// leadershipsPerTxn leaves room for the compare of the broker epoch and for the tally.
const leadershipsPerTxn = maxOps - 2

// takeover is one partition whose leader key is to be written.
type takeover struct {
	topic     segment.TopicID
	partition int32
	from      Partition
}

// takeovers decides which partitions broker b begins to lead, under a new epoch: those
// without a leader of whose in-sync replicas it is one; and, unless its logs are as its
// predecessor left them, those that the predecessor led. A leader key that was written
// since b registered is b's own.
func takeovers(image *Image, b Broker, clean bool) []takeover {
	var list []takeover
	for _, t := range image.ids {
		for n, p := range t.Partitions {
			switch {
			case !slices.Contains(p.ISR, b.ID):
			case p.Leader == -1, p.Leader == b.ID && !clean && p.LeaderRevision < b.Epoch:
				list = append(list, takeover{topic: t.ID, partition: int32(n), from: p})
			}
		}
	}
	return list
}

// lead takes the leaderships that are this broker's.
func (s *Store) lead(ctx context.Context, clean bool) error {
	b := *s.session.broker.Load()
	for range campaignTries {
		list := takeovers(s.Image(), b, clean)
		if len(list) == 0 {
			return nil
		}
		for chunk := range slices.Chunk(list, leadershipsPerTxn) {
			if err := s.takeOver(ctx, b, chunk); err != nil {
				return err
			}
		}
		if err := s.Sync(ctx); err != nil { // other brokers may have been faster with some
			return err
		}
	}
	return fmt.Errorf("take leadership: %w", ErrConflict)
}

func (s *Store) takeOver(ctx context.Context, b Broker, list []takeover) error {
	cmps := []clientv3.Cmp{created(brokerKey(b.ID), b.Epoch)}
	var then []clientv3.Op
	for _, t := range list {
		if t.from.LeaderEpoch == math.MaxInt32 {
			return fmt.Errorf("take leadership: %w: leader epochs of %s-%d are used up", ErrInvalid, topicName(t.topic), t.partition)
		}
		key := partitionKey(t.topic, t.partition, partLeader)
		cmps = append(cmps, unchanged(key, t.from.LeaderRevision))
		then = append(then, clientv3.OpPut(key, encode(leaderRecord{ID: b.ID, Epoch: t.from.LeaderEpoch + 1})))
	}
	_, err := s.change(ctx, "take leadership", cmps, then)
	return err
}

// campaign makes this broker the controller where there is none. The key is under the
// lease; what the controller does is fenced by the key's creation revision.
func (s *Store) campaign(ctx context.Context) error {
	b := s.session.broker.Load()
	if b == nil || s.Image().controller >= 0 {
		return nil
	}
	resp, err := s.change(ctx, "run for controller",
		[]clientv3.Cmp{absent(controllerKey), created(brokerKey(b.ID), b.Epoch)},
		[]clientv3.Op{clientv3.OpPut(controllerKey, encode(controllerRecord{ID: b.ID}),
			clientv3.WithLease(clientv3.LeaseID(s.session.lease.Load())))})
	if err != nil || !resp.Succeeded {
		return err
	}
	return s.WaitFor(ctx, resp.Header.Revision)
}
