package cluster

import (
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// maxOps is etcd's default bound (--max-txn-ops) of the operations, and of the
// compares, of one transaction.
const maxOps = 128

func absent(key string) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
}

func present(key string) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(key), "!=", 0)
}

// unchanged compares the modification revision; 0: no key.
func unchanged(key string, revision int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(key), "=", revision)
}

// created compares the creation revision, which a change of the value leaves.
func created(key string, revision int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(key), "=", revision)
}

// none compares that no key has the prefix.
func none(prefix string) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(prefix), "=", 0).WithPrefix()
}

func holds(key, value string) clientv3.Cmp {
	return clientv3.Compare(clientv3.Value(key), "=", value)
}

// txn runs one transaction within its deadline.
func (s *Store) txn(ctx context.Context, op string, cmps []clientv3.Cmp, then []clientv3.Op, otherwise ...clientv3.Op) (*clientv3.TxnResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := s.kv.Txn(ctx).If(cmps...).Then(then...).Else(otherwise...).Commit()
	if err != nil {
		return nil, unavailable(op, err)
	}
	return resp, nil
}

// change runs a transaction that changes the image: it raises the tally besides.
func (s *Store) change(ctx context.Context, op string, cmps []clientv3.Cmp, then []clientv3.Op, otherwise ...clientv3.Op) (*clientv3.TxnResponse, error) {
	return s.txn(ctx, op, cmps, append(then, clientv3.OpPut(tallyKey, "")), otherwise...)
}

// get reads linearizably within its deadline.
func (s *Store) get(ctx context.Context, op, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := s.kv.Get(ctx, key, opts...)
	if err != nil {
		return nil, unavailable(op, err)
	}
	return resp, nil
}

// one reads one key; nil: there is none.
func (s *Store) one(ctx context.Context, key string) (*mvccpb.KeyValue, error) {
	resp, err := s.get(ctx, "read "+key, key)
	if err != nil || len(resp.Kvs) == 0 {
		return nil, err
	}
	return resp.Kvs[0], nil
}

// first returns the first key of the n-th operation's answer, which is a get; nil: none.
func first(resp *clientv3.TxnResponse, n int) *mvccpb.KeyValue {
	kvs := resp.Responses[n].GetResponseRange().GetKvs()
	if len(kvs) == 0 {
		return nil
	}
	return kvs[0]
}

// revisionOf returns the modification revision of kv; 0 for none.
func revisionOf(kv *mvccpb.KeyValue) int64 {
	if kv == nil {
		return 0
	}
	return kv.ModRevision
}
