package cluster

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/varvelog/varve/segment"
)

// garbage is a run of partition keys, from one partition to the topic's last, that no
// topic key covers and no creating key protects.
type garbage struct {
	id   segment.TopicID
	from int
	// name and revision of the topic key; revision 0: no topic has the id, and none can
	// have it any more, for a commit needs the creating key, which is made but once.
	name     string
	revision int64
}

// garbage lists what failed creations have left.
func (s *state) garbage() []garbage {
	var list []garbage
	for id, partitions := range s.partitions {
		if _, ok := s.creating[id]; ok {
			continue
		}
		if _, ok := s.deleting[id]; ok {
			continue // FinishDelete removes all
		}
		t, ok := s.topics[id]
		switch {
		case !ok:
			list = append(list, garbage{id: id})
		case len(partitions) > int(t.partitions):
			list = append(list, garbage{id: id, from: int(t.partitions), name: t.name, revision: t.revision})
		}
	}
	return list
}

// covered returns how many partitions of a topic, live or being deleted, are committed.
func (s *state) covered(id segment.TopicID) int {
	if t, ok := s.topics[id]; ok {
		return int(t.partitions)
	}
	if t, ok := s.deleting[id]; ok {
		return int(t.partitions)
	}
	return 0
}

// abandoned lists the creating keys under a lease.
func (s *state) abandoned(lease clientv3.LeaseID) map[segment.TopicID]string {
	list := map[segment.TopicID]string{}
	for id, c := range s.creating {
		if c.lease == lease {
			list[id] = c.token
		}
	}
	return list
}

// Reconcile is one step of the controller's work: it removes what failed creations of
// topics and partitions have left. Every broker takes back its own failed creations;
// the rest is for the controller, fenced by its key. To be called every few seconds.
func (s *Store) Reconcile(ctx context.Context) error {
	if err := s.takeBack(ctx); err != nil {
		return err
	}
	b := s.session.broker.Load()
	if b == nil || s.Image().controller != b.ID {
		return nil
	}
	s.mu.Lock()
	list := s.state.garbage()
	s.mu.Unlock()
	for _, g := range list {
		cmps := []clientv3.Cmp{
			absent(creatingKey(g.id)),
			holds(controllerKey, encode(controllerRecord{ID: b.ID})),
			created(brokerKey(b.ID), b.Epoch),
		}
		if g.revision != 0 {
			cmps = append(cmps, unchanged(topicKey(g.name), g.revision))
		}
		resp, err := s.change(ctx, "remove partitions of failed creations", cmps, []clientv3.Op{deletePartitions(g.id, g.from)})
		if err != nil {
			return err
		}
		if !resp.Succeeded {
			continue // changed meanwhile; the next step looks again
		}
		if err := s.WaitFor(ctx, resp.Header.Revision); err != nil {
			return err
		}
	}
	return nil
}

// takeBack aborts the creations of this process that ended without an answer.
func (s *Store) takeBack(ctx context.Context) error {
	lease := clientv3.LeaseID(s.session.lease.Load())
	if lease == 0 {
		return nil
	}
	s.mu.Lock()
	list := s.state.abandoned(lease)
	have := map[segment.TopicID]int{}
	for id := range list {
		have[id] = s.state.covered(id)
	}
	s.mu.Unlock()
	for id, token := range list {
		if s.inFlight.has(id) {
			continue
		}
		if _, err := s.abort(ctx, id, have[id], token); err != nil {
			return err
		}
	}
	return nil
}
