package cluster

import (
	"context"
	"fmt"
	"math"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// ProducerIDs allocates a block of producer ids, [first, first+n), never handed out
// before. A block whose answer is lost is never used.
func (s *Store) ProducerIDs(ctx context.Context, n int64) (first int64, err error) {
	if n <= 0 {
		return 0, fmt.Errorf("%w: a block of %d producer ids", ErrInvalid, n)
	}
	for range campaignTries {
		kv, err := s.one(ctx, producerIDsKey)
		if err != nil {
			return 0, err
		}
		var r producerIDsRecord
		if kv != nil {
			if err := decode(producerIDsKey, kv.Value, &r); err != nil {
				return 0, err
			}
		}
		if r.Next < 0 || r.Next > math.MaxInt64-n {
			return 0, fmt.Errorf("%w: %s: next id %d", ErrCorrupt, producerIDsKey, r.Next)
		}
		resp, err := s.txn(ctx, "allocate producer ids",
			[]clientv3.Cmp{unchanged(producerIDsKey, revisionOf(kv))},
			[]clientv3.Op{clientv3.OpPut(producerIDsKey, encode(producerIDsRecord{Next: r.Next + n}))})
		if err != nil {
			return 0, err
		}
		if resp.Succeeded {
			return r.Next, nil
		}
	}
	return 0, fmt.Errorf("allocate producer ids: %w", ErrConflict)
}
