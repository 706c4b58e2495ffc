package cluster

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/varvelog/varve/tiering"
)

// MaxCommitIntents is how many intents one tier commit can settle: a transaction takes
// 128 compares, of which four fence it.
const MaxCommitIntents = 120

// Tier is the tiering.Metadata of this store. Writes need a registered broker: without
// one they return tiering.ErrFenced.
func (s *Store) Tier() tiering.Metadata { return tier{s} }

// tier fences every write by three compares: the leader key's revision (another leader),
// the broker key's creation revision (an old process of this broker), and the absence
// of a deleting key (a topic whose objects are being removed).
type tier struct{ s *Store }

// fencing is what one write is fenced by.
type fencing struct {
	partition tiering.PartitionID
	fence     tiering.Fence
	broker    Broker
}

// fence returns ErrFenced where this process is not registered.
func (t tier) fence(p tiering.PartitionID, f tiering.Fence) (fencing, error) {
	b := t.s.session.broker.Load()
	if b == nil {
		return fencing{}, fmt.Errorf("%w: this broker is not registered", tiering.ErrFenced)
	}
	if f.LeaderRevision <= 0 {
		return fencing{}, fmt.Errorf("%w: leader revision %d", tiering.ErrFenced, f.LeaderRevision)
	}
	return fencing{partition: p, fence: f, broker: *b}, nil
}

func (f fencing) leaderKey() string {
	return partitionKey(f.partition.Topic, f.partition.Partition, partLeader)
}

func (f fencing) compares() []clientv3.Cmp {
	return []clientv3.Cmp{
		unchanged(f.leaderKey(), f.fence.LeaderRevision),
		created(brokerKey(f.broker.ID), f.broker.Epoch),
		absent(deletingKey(f.partition.Topic)),
	}
}

// reads are those of the keys that are compared, and of one more, to say afterwards which compare
// failed.
func (f fencing) reads(besides string) []clientv3.Op {
	return []clientv3.Op{
		clientv3.OpGet(f.leaderKey()),
		clientv3.OpGet(brokerKey(f.broker.ID), clientv3.WithKeysOnly()),
		clientv3.OpGet(deletingKey(f.partition.Topic), clientv3.WithKeysOnly()),
		clientv3.OpGet(besides),
	}
}

// besides is the answer's place of the key that reads adds.
const besides = 3

// verdict says by which compare the write with the answers of reads was fenced; nil: by
// none.
func (f fencing) verdict(resp *clientv3.TxnResponse) error {
	leader, broker, deleting := first(resp, 0), first(resp, 1), first(resp, 2)
	switch {
	case deleting != nil:
		return fmt.Errorf("%w: the topic is being deleted", tiering.ErrFenced)
	case revisionOf(leader) != f.fence.LeaderRevision:
		return fmt.Errorf("%w: the leader key is at revision %d, not %d", tiering.ErrFenced, revisionOf(leader), f.fence.LeaderRevision)
	case broker == nil || broker.CreateRevision != f.broker.Epoch:
		return fmt.Errorf("%w: this process is not the registered broker", tiering.ErrFenced)
	}
	return nil
}

func (t tier) name(op string, p tiering.PartitionID) string {
	return fmt.Sprintf("%s of %s-%d", op, topicName(p.Topic), p.Partition)
}

// Pointer reads the committed pointer; its zero value where there is none yet.
func (t tier) Pointer(ctx context.Context, p tiering.PartitionID) (tiering.Pointer, error) {
	kv, err := t.s.one(ctx, pointerKey(p))
	if err != nil || kv == nil {
		return tiering.Pointer{}, err
	}
	return decodePointer(kv)
}

func decodePointer(kv *mvccpb.KeyValue) (tiering.Pointer, error) {
	var at tiering.Pointer
	if err := decode(string(kv.Key), kv.Value, &at); err != nil {
		return tiering.Pointer{}, err
	}
	at.Revision = kv.ModRevision
	return at, nil
}

// PutIntent announces an object. Repeating it with the same intent is harmless.
func (t tier) PutIntent(ctx context.Context, p tiering.PartitionID, f tiering.Fence, in tiering.Intent) error {
	fenced, err := t.fence(p, f)
	if err != nil {
		return err
	}
	op, key, value := t.name("intent", p), intentKey(p, in.ID), encode(in)
	resp, err := t.s.txn(ctx, op,
		append(fenced.compares(), absent(key)),
		[]clientv3.Op{clientv3.OpPut(key, value)},
		fenced.reads(key)...)
	if err != nil || resp.Succeeded {
		return err
	}
	if err := fenced.verdict(resp); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if kv := first(resp, besides); kv == nil || string(kv.Value) != value {
		return fmt.Errorf("%s: %w: intent %s announces another object", op, tiering.ErrConflict, in.ID)
	}
	return nil
}

// Intents lists the open intents of a partition.
func (t tier) Intents(ctx context.Context, p tiering.PartitionID) ([]tiering.Intent, error) {
	resp, err := t.s.get(ctx, t.name("intents", p), intentsPrefix(p), clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	list := make([]tiering.Intent, 0, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		var in tiering.Intent
		if err := decode(string(kv.Key), kv.Value, &in); err != nil {
			return nil, err
		}
		in.Revision = kv.ModRevision
		list = append(list, in)
	}
	return list, nil
}

// DropIntent removes an intent, which may be gone already.
func (t tier) DropIntent(ctx context.Context, p tiering.PartitionID, f tiering.Fence, id uuid.UUID) error {
	fenced, err := t.fence(p, f)
	if err != nil {
		return err
	}
	op, key := t.name("drop an intent", p), intentKey(p, id)
	resp, err := t.s.txn(ctx, op, fenced.compares(), []clientv3.Op{clientv3.OpDelete(key)}, fenced.reads(key)...)
	if err != nil || resp.Succeeded {
		return err
	}
	return fmt.Errorf("%s: %w", op, fenced.verdict(resp))
}

// Commit swings the pointer from one revision to the next and removes the intents.
//
// Repeating a commit after ErrUnknownOutcome is safe: where the pointer holds it by
// now, it succeeds, even if this broker has been fenced since. Any other answer leaves
// open whether an attempt before was committed and then superseded: the pointer's
// ancestors tell.
func (t tier) Commit(ctx context.Context, p tiering.PartitionID, f tiering.Fence, from, to tiering.Pointer, intents []uuid.UUID) (tiering.Pointer, error) {
	op := t.name("tier commit", p)
	if len(intents) > MaxCommitIntents {
		return tiering.Pointer{}, fmt.Errorf("%s: %w: %d intents, at most %d", op, ErrInvalid, len(intents), MaxCommitIntents)
	}
	fenced, err := t.fence(p, f)
	if err != nil {
		return tiering.Pointer{}, err
	}
	key := pointerKey(p)
	cmps := append(fenced.compares(), unchanged(key, from.Revision))
	then := []clientv3.Op{clientv3.OpPut(key, encode(to))}
	for _, id := range intents {
		cmps = append(cmps, present(intentKey(p, id)))
		then = append(then, clientv3.OpDelete(intentKey(p, id)))
	}
	resp, err := t.s.txn(ctx, op, cmps, then, fenced.reads(key)...)
	switch {
	case err != nil && refused(err):
		return tiering.Pointer{}, err
	case err != nil:
		return tiering.Pointer{}, fmt.Errorf("%w: %w", tiering.ErrUnknownOutcome, err)
	case resp.Succeeded:
		to.Revision = resp.Header.Revision
		return to, nil
	}
	return fenced.refusal(op, resp, from, to)
}

// refusal says why a commit was refused, or that the pointer holds it already.
func (f fencing) refusal(op string, resp *clientv3.TxnResponse, from, to tiering.Pointer) (tiering.Pointer, error) {
	var at tiering.Pointer
	if kv := first(resp, besides); kv != nil {
		var err error
		if at, err = decodePointer(kv); err != nil {
			return tiering.Pointer{}, err
		}
		to.Revision = at.Revision
		if at == to {
			return at, nil
		}
	}
	if err := f.verdict(resp); err != nil {
		return tiering.Pointer{}, fmt.Errorf("%s: %w", op, err)
	}
	if at.Revision != from.Revision {
		return tiering.Pointer{}, fmt.Errorf("%s: %w: it is at revision %d, not %d", op, tiering.ErrConflict, at.Revision, from.Revision)
	}
	return tiering.Pointer{}, fmt.Errorf("%s: %w: an intent is gone", op, tiering.ErrFenced)
}

// Forget removes pointer and intents of a deleted topic's partition. It returns
// ErrConflict where the topic is not being deleted.
func (t tier) Forget(ctx context.Context, p tiering.PartitionID) error {
	op := t.name("forget the tier", p)
	resp, err := t.s.txn(ctx, op,
		[]clientv3.Cmp{present(deletingKey(p.Topic))},
		[]clientv3.Op{clientv3.OpDelete(tierPrefix(p), clientv3.WithPrefix())},
		clientv3.OpGet(tierPrefix(p), clientv3.WithPrefix(), clientv3.WithCountOnly()))
	if err != nil || resp.Succeeded {
		return err
	}
	if resp.Responses[0].GetResponseRange().GetCount() > 0 {
		return fmt.Errorf("%s: %w: the topic is not being deleted", op, ErrConflict)
	}
	return nil
}
