package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/varvelog/varve/segment"
)

// AdoptedTopic is a topic that another cluster made: it keeps its id and its leader epochs.
type AdoptedTopic struct {
	Name     string
	ID       segment.TopicID
	Replicas [][]int32
	Epochs   []int32 // last leader epoch of each partition; the next leader takes a higher one
	Configs  map[string]string
}

// AdoptTopic makes a topic that has records already. Adopting the same topic again does
// nothing. It returns ErrTopicExists where another topic has the name.
func (s *Store) AdoptTopic(ctx context.Context, t AdoptedTopic) error {
	if err := validTopicName(t.Name); err != nil {
		return err
	}
	if err := validReplicas(t.Replicas, 0); err != nil {
		return err
	}
	if len(t.Epochs) != len(t.Replicas) {
		return fmt.Errorf("%w: %d leader epochs of %d partitions", ErrInvalid, len(t.Epochs), len(t.Replicas))
	}
	g := growth{
		op: "adopt topic " + t.Name, id: t.ID, name: t.Name, replicas: t.Replicas, configs: t.Configs, epochs: t.Epochs,
		free: absent(topicKey(t.Name)),
	}
	revision, err := s.grow(ctx, &g)
	if errors.Is(err, errBeaten) {
		if err := s.Sync(ctx); err != nil {
			return err
		}
		if there, ok := s.Image().Topic(t.Name); ok && there.ID == t.ID && len(there.Partitions) == len(t.Replicas) {
			return nil
		}
		return fmt.Errorf("%w: %s", ErrTopicExists, t.Name)
	}
	if err != nil {
		return err
	}
	return s.WaitFor(ctx, revision)
}

// AdoptedSettings are what the administrators of another cluster have set.
type AdoptedSettings struct {
	GroupConfigs   map[string]map[string]string `json:"group_configs"`
	MetricsConfigs map[string]map[string]string `json:"client_metrics"`
	Quotas         []Quota                      `json:"client_quotas"`
	Credentials    map[string]Credentials       `json:"-"` // by user; secrets
}

// AdoptSettings stores settings over what there is. Adopting the same again does nothing.
func (s *Store) AdoptSettings(ctx context.Context, a AdoptedSettings) error {
	image := s.Image()
	for _, group := range slices.Sorted(maps.Keys(a.GroupConfigs)) {
		if err := s.SetGroupConfigs(ctx, group, image.GroupConfigs(group), a.GroupConfigs[group]); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.MetricsConfigs)) {
		if err := s.SetMetricsConfigs(ctx, name, image.MetricsConfigs(name), a.MetricsConfigs[name]); err != nil {
			return err
		}
	}
	for _, q := range a.Quotas {
		if err := s.SetQuota(ctx, q.Entity, image.QuotaOf(q.Entity), q.Limits); err != nil {
			return err
		}
	}
	for _, user := range slices.Sorted(maps.Keys(a.Credentials)) {
		if err := s.SetCredentials(ctx, user, image.Credentials(user), a.Credentials[user]); err != nil {
			return err
		}
	}
	return nil
}

// SkipProducerIDs makes sure that no producer id below next is handed out.
func (s *Store) SkipProducerIDs(ctx context.Context, next int64) error {
	for range campaignTries {
		kv, err := s.one(ctx, producerIDsKey)
		if err != nil {
			return err
		}
		var r producerIDsRecord
		if kv != nil {
			if err := decode(producerIDsKey, kv.Value, &r); err != nil {
				return err
			}
		}
		if r.Next >= next {
			return nil
		}
		resp, err := s.txn(ctx, "skip producer ids",
			[]clientv3.Cmp{unchanged(producerIDsKey, revisionOf(kv))},
			[]clientv3.Op{clientv3.OpPut(producerIDsKey, encode(producerIDsRecord{Next: next}))})
		if err != nil {
			return err
		}
		if resp.Succeeded {
			return nil
		}
	}
	return fmt.Errorf("skip producer ids: %w", ErrConflict)
}
