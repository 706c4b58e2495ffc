package cluster

import (
	"context"
	"fmt"
	"maps"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// SetBrokerConfigs replaces dynamic broker configs if they are still those of from;
// otherwise it returns ErrConflict. DefaultConfigs: the cluster-wide defaults.
func (s *Store) SetBrokerConfigs(ctx context.Context, id int32, from, to map[string]string) error {
	if id < DefaultConfigs {
		return fmt.Errorf("%w: configs of broker %d", ErrInvalid, id)
	}
	return s.setConfigs(ctx, configsKey(id), fmt.Sprintf("configs of broker %d", id), from, to)
}

// SetGroupConfigs replaces the dynamic configs of a group, which need not exist, if
// they are still those of from; otherwise it returns ErrConflict.
func (s *Store) SetGroupConfigs(ctx context.Context, group string, from, to map[string]string) error {
	if group == "" {
		return fmt.Errorf("%w: configs of a group without a name", ErrInvalid)
	}
	return s.setConfigs(ctx, groupsRoot+group, "configs of group "+group, from, to)
}

// setConfigs replaces the configs under a key if they are still those of from.
func (s *Store) setConfigs(ctx context.Context, key, what string, from, to map[string]string) error {
	kv, err := s.one(ctx, key)
	if err != nil {
		return err
	}
	var now map[string]string
	if kv != nil {
		if err := decode(key, kv.Value, &now); err != nil {
			return err
		}
	}
	conflict := fmt.Errorf("%s: %w", what, ErrConflict)
	if !maps.Equal(now, from) {
		return conflict
	}
	then := clientv3.OpDelete(key)
	if len(to) > 0 {
		then = clientv3.OpPut(key, encode(to))
	}
	resp, err := s.change(ctx, "set "+key, []clientv3.Cmp{unchanged(key, revisionOf(kv))}, []clientv3.Op{then})
	if err != nil {
		return err
	}
	if !resp.Succeeded {
		return conflict
	}
	return s.WaitFor(ctx, resp.Header.Revision)
}
