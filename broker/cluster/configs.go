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
	return setMap(ctx, s, configsKey(id), fmt.Sprintf("configs of broker %d", id), from, to)
}

// SetGroupConfigs replaces the dynamic configs of a group, which need not exist, if
// they are still those of from; otherwise it returns ErrConflict.
func (s *Store) SetGroupConfigs(ctx context.Context, group string, from, to map[string]string) error {
	if group == "" {
		return fmt.Errorf("%w: configs of a group without a name", ErrInvalid)
	}
	return setMap(ctx, s, groupsRoot+group, "configs of group "+group, from, to)
}

// SetMetricsConfigs replaces the configs of a subscription to clients' metrics (KIP-714) if
// they are still those of from; otherwise it returns ErrConflict. None: there is none.
func (s *Store) SetMetricsConfigs(ctx context.Context, name string, from, to map[string]string) error {
	if name == "" {
		return fmt.Errorf("%w: configs of a subscription without a name", ErrInvalid)
	}
	return setMap(ctx, s, metricsRoot+name, "configs of client metrics "+name, from, to)
}

// SetFeatures replaces the levels of features if they are still those of from;
// otherwise it returns ErrConflict. What is not among them has the level of the version.
func (s *Store) SetFeatures(ctx context.Context, from, to map[string]int16) error {
	return setMap(ctx, s, featuresKey, "levels of features", from, to)
}

// setMap replaces the map under a key if it is still from. No key: an empty one.
func setMap[V comparable](ctx context.Context, s *Store, key, what string, from, to map[string]V) error {
	kv, err := s.one(ctx, key)
	if err != nil {
		return err
	}
	var now map[string]V
	if kv != nil {
		if err := decode(key, kv.Value, &now); err != nil {
			return err
		}
	}
	conflict := fmt.Errorf("%s: %w", what, ErrConflict)
	if !maps.Equal(now, from) {
		return conflict
	}
	if maps.Equal(from, to) {
		return nil
	}
	then := clientv3.OpDelete(key)
	if len(to) > 0 {
		value := encode(to)
		if len(value) > maxValueBytes { // it could not be read again
			return fmt.Errorf("%w: %s: %d bytes, the limit is %d", ErrInvalid, what, len(value), maxValueBytes)
		}
		then = clientv3.OpPut(key, value)
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
