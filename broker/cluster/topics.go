package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/google/uuid"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/varvelog/varve/segment"
)

// partitionsPerTxn is how many partitions, of three keys each, one transaction takes
// beside a topic key and the tally.
const partitionsPerTxn = (maxOps - 2) / 3

// NewTopic is a topic to create: explicit replicas per partition.
type NewTopic struct {
	Name     string
	Replicas [][]int32
	Configs  map[string]string
}

// creations are the topics to which this process is adding partitions.
type creations struct {
	mu  sync.Mutex
	ids map[segment.TopicID]struct{}
}

func (c *creations) begin(id segment.TopicID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ids == nil {
		c.ids = map[segment.TopicID]struct{}{}
	}
	c.ids[id] = struct{}{}
}

func (c *creations) end(id segment.TopicID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.ids, id)
}

func (c *creations) has(id segment.TopicID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.ids[id]
	return ok
}

// CreateTopic creates a topic; the local image holds it when the call returns. The
// first registered replica of a partition leads it at epoch 0 with the registered ones
// in sync; where none is registered the first replica will lead when it registers.
//
// It returns ErrTopicExists, once the image shows that topic, and ErrInvalid for a bad
// name or bad replicas. After ErrUnavailable the topic may exist.
func (s *Store) CreateTopic(ctx context.Context, n NewTopic) (*Topic, error) {
	if err := validTopicName(n.Name); err != nil {
		return nil, err
	}
	if err := validReplicas(n.Replicas, 0); err != nil {
		return nil, err
	}
	id, err := newID()
	if err != nil {
		return nil, err
	}
	g := growth{
		op: "create topic " + n.Name, id: id, name: n.Name, replicas: n.Replicas, configs: n.Configs,
		free: absent(topicKey(n.Name)),
	}
	revision, err := s.grow(ctx, &g)
	if errors.Is(err, errBeaten) {
		return nil, s.exists(ctx, n.Name)
	}
	if err != nil {
		return nil, err
	}
	if err := s.WaitFor(ctx, revision); err != nil {
		return nil, err
	}
	t, ok := s.Image().TopicByID(id)
	if !ok {
		return nil, fmt.Errorf("%w: %s was deleted when just created", ErrUnknownTopic, n.Name)
	}
	return t, nil
}

// exists waits until the image shows the topic that has the name, and returns ErrTopicExists.
func (s *Store) exists(ctx context.Context, name string) error {
	kv, err := s.one(ctx, topicKey(name))
	if err != nil {
		return err
	}
	if err := s.WaitFor(ctx, revisionOf(kv)); err != nil {
		return err
	}
	return fmt.Errorf("%w: %s", ErrTopicExists, name)
}

// AddPartitions appends partitions to a topic that has exactly have of them. It returns
// ErrConflict where it has another number, or another broker adds some at this moment.
func (s *Store) AddPartitions(ctx context.Context, name string, have int, replicas [][]int32) error {
	if err := validReplicas(replicas, have); err != nil {
		return err
	}
	for range campaignTries {
		kv, r, id, err := s.readTopic(ctx, name)
		if err != nil {
			return err
		}
		if int(r.Partitions) != have {
			return fmt.Errorf("%w: topic %s has %d partitions, not %d", ErrConflict, name, r.Partitions, have)
		}
		g := growth{
			op: "add partitions to topic " + name, id: id, name: name, have: have, replicas: replicas, configs: r.Configs,
			free: unchanged(topicKey(name), kv.ModRevision),
		}
		revision, err := s.grow(ctx, &g)
		if errors.Is(err, errBeaten) {
			continue // its configs changed, or it was deleted
		}
		if err != nil {
			return err
		}
		return s.WaitFor(ctx, revision)
	}
	return fmt.Errorf("add partitions to topic %s: %w", name, ErrConflict)
}

// errBeaten: the topic key is not what the growth expected.
var errBeaten = errors.New("topic key changed")

// growth adds partitions to a topic, which may be a new one.
//
//	one transaction:  free, no creating key    -> partition keys, topic key
//	several:          begin -> fill ... -> commit, see the package comment
//	any failure:      abort: creating == token -> creating key and new partitions removed
//
// After abort has succeeded, no delayed transaction of the growth can be applied.
type growth struct {
	op       string
	id       segment.TopicID
	name     string
	have     int // partitions so far
	replicas [][]int32
	configs  map[string]string
	epochs   []int32      // of the new partitions so far, of an adopted topic; nil: 0
	free     clientv3.Cmp // what the topic key has to be
	token    string
}

func (g *growth) topic() clientv3.Op {
	r := topicRecord{ID: topicName(g.id), Partitions: int32(g.have + len(g.replicas)), Configs: g.configs}
	return clientv3.OpPut(topicKey(g.name), encode(r))
}

// partitions returns the keys of the new partitions [from, to), counted from have.
func (g *growth) partitions(image *Image, from, to int) []clientv3.Op {
	ops := make([]clientv3.Op, 0, 3*(to-from)+3)
	for n := from; n < to; n++ {
		p := int32(g.have + n)
		replicas := g.replicas[n]
		leader, isr := firstLeader(image, replicas)
		epoch := int32(0)
		if g.epochs != nil {
			epoch = g.epochs[n]
		}
		ops = append(ops,
			clientv3.OpPut(partitionKey(g.id, p, partReplicas), encode(replicas)),
			clientv3.OpPut(partitionKey(g.id, p, partLeader), encode(leaderRecord{ID: leader, Epoch: epoch})),
			clientv3.OpPut(partitionKey(g.id, p, partISR), encode(isr)))
	}
	return ops
}

// firstLeader decides who leads a new partition, and who is in sync.
func firstLeader(image *Image, replicas []int32) (leader int32, isr []int32) {
	for _, id := range replicas {
		if _, ok := image.broker(id); ok {
			isr = append(isr, id)
		}
	}
	if len(isr) == 0 {
		return -1, replicas[:1]
	}
	return isr[0], isr
}

// broker looks a broker up by id.
func (i *Image) broker(id int32) (Broker, bool) {
	n, ok := slices.BinarySearchFunc(i.brokers, id, func(b Broker, id int32) int { return int(b.ID) - int(id) })
	if !ok {
		return Broker{}, false
	}
	return i.brokers[n], true
}

// grow carries a growth out and returns the revision of its commit. It returns errBeaten
// where the topic key is not as expected, and ErrConflict where another process adds
// partitions to the same topic.
func (s *Store) grow(ctx context.Context, g *growth) (int64, error) {
	if len(g.replicas) <= partitionsPerTxn {
		return s.growAtOnce(ctx, g)
	}
	lease, err := s.lease(ctx)
	if err != nil {
		return 0, err
	}
	g.token = uuid.NewString()
	s.inFlight.begin(g.id)
	defer s.inFlight.end(g.id)
	revision, err := s.growInSteps(ctx, g, lease)
	if err == nil || errors.Is(err, ErrConflict) {
		return revision, err
	}
	// Settle what may have been applied without an answer, whatever ended ctx.
	settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	aborted, abortErr := s.abort(settle, g.id, g.have, g.token)
	switch {
	case abortErr != nil:
		return 0, errors.Join(err, abortErr) // Reconcile does it
	case aborted:
		return 0, err
	}
	return s.outcome(settle, g, err)
}

func (s *Store) growAtOnce(ctx context.Context, g *growth) (int64, error) {
	then := append(g.partitions(s.Image(), 0, len(g.replicas)), g.topic())
	resp, err := s.change(ctx, g.op, []clientv3.Cmp{g.free, absent(creatingKey(g.id))}, then, clientv3.OpGet(creatingKey(g.id)))
	if err != nil {
		if refused(err) {
			return 0, err
		}
		settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		defer cancel()
		return s.outcome(settle, g, err)
	}
	if !resp.Succeeded {
		return 0, g.beaten(first(resp, 0) != nil)
	}
	return resp.Header.Revision, nil
}

func (g *growth) beaten(byAdder bool) error {
	if byAdder {
		return fmt.Errorf("%s: %w: another broker adds partitions to it", g.op, ErrConflict)
	}
	return errBeaten
}

// outcome looks whether a growth, whose answer was lost with err, has been committed.
func (s *Store) outcome(ctx context.Context, g *growth, err error) (int64, error) {
	kv, r, id, readErr := s.readTopic(ctx, g.name)
	switch {
	case errors.Is(readErr, ErrUnknownTopic):
		return 0, err
	case readErr != nil:
		return 0, errors.Join(err, readErr)
	case id == g.id && int(r.Partitions) >= g.have+len(g.replicas):
		return kv.ModRevision, nil
	}
	return 0, err
}

func (s *Store) growInSteps(ctx context.Context, g *growth, lease clientv3.LeaseID) (int64, error) {
	creating := creatingKey(g.id)
	mine := holds(creating, g.token)
	resp, err := s.change(ctx, g.op,
		[]clientv3.Cmp{g.free, absent(creating)},
		[]clientv3.Op{clientv3.OpPut(creating, g.token, clientv3.WithLease(lease))},
		clientv3.OpGet(creating))
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		s.session.lease.CompareAndSwap(int64(lease), 0) // the next try gets another
	}
	if err != nil {
		return 0, err
	}
	if !resp.Succeeded {
		return 0, g.beaten(first(resp, 0) != nil)
	}
	for from := 0; from < len(g.replicas); from += partitionsPerTxn {
		to := min(from+partitionsPerTxn, len(g.replicas))
		resp, err := s.change(ctx, g.op, []clientv3.Cmp{mine}, g.partitions(s.Image(), from, to))
		if err != nil {
			return 0, err
		}
		if !resp.Succeeded {
			return 0, fmt.Errorf("%s: %w: the lease of this broker was lost", g.op, ErrUnavailable)
		}
	}
	resp, err = s.change(ctx, g.op,
		[]clientv3.Cmp{mine, g.free},
		[]clientv3.Op{g.topic(), clientv3.OpDelete(creating)})
	if err != nil {
		return 0, err
	}
	if !resp.Succeeded {
		return 0, errBeaten
	}
	return resp.Header.Revision, nil
}

// abort removes the creating key, if it is that of token, and the partitions from have on.
// It reports false where the key is not: committed, aborted before, or the lease lost.
func (s *Store) abort(ctx context.Context, id segment.TopicID, have int, token string) (bool, error) {
	resp, err := s.change(ctx, "abort the creation of partitions",
		[]clientv3.Cmp{holds(creatingKey(id), token)},
		[]clientv3.Op{clientv3.OpDelete(creatingKey(id)), deletePartitions(id, have)})
	if err != nil {
		return false, err
	}
	return resp.Succeeded, nil
}

// deletePartitions removes the keys of all partitions of a topic from one on.
func deletePartitions(id segment.TopicID, from int) clientv3.Op {
	prefix := topicPrefix(id)
	return clientv3.OpDelete(partitionPrefix(id, int32(from)), clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)))
}

// DeleteTopic makes a topic unknown at once; its data is removed in the background
// until FinishDelete. From then on Image.Deleting lists it and its tier commits are
// fenced. It returns ErrUnknownTopic where there is none with the id, or no more.
func (s *Store) DeleteTopic(ctx context.Context, id segment.TopicID) error {
	t, err := s.topic(ctx, id)
	if err != nil {
		return err
	}
	for range campaignTries {
		kv, r, found, err := s.readTopic(ctx, t.Name)
		if err != nil {
			return err
		}
		if found != id {
			return fmt.Errorf("%w: id %s", ErrUnknownTopic, topicName(id))
		}
		r.ID, r.Name = "", t.Name
		resp, err := s.change(ctx, "delete topic "+t.Name,
			[]clientv3.Cmp{unchanged(topicKey(t.Name), kv.ModRevision)},
			[]clientv3.Op{clientv3.OpDelete(topicKey(t.Name)), clientv3.OpPut(deletingKey(id), encode(r))})
		if err != nil {
			return err
		}
		if resp.Succeeded {
			return s.WaitFor(ctx, resp.Header.Revision)
		}
	}
	return fmt.Errorf("delete topic %s: %w", t.Name, ErrConflict)
}

// FinishDelete forgets a deleted topic for good. It returns ErrConflict while a tier
// pointer or intent of it is left (tiering.Metadata.Forget): objects would become
// orphans. For a topic that is forgotten already it does nothing.
func (s *Store) FinishDelete(ctx context.Context, id segment.TopicID) error {
	resp, err := s.change(ctx, "finish the deletion of topic "+topicName(id),
		[]clientv3.Cmp{present(deletingKey(id)), none(tierTopicPrefix(id))},
		[]clientv3.Op{clientv3.OpDelete(deletingKey(id)), clientv3.OpDelete(creatingKey(id)), deletePartitions(id, 0)},
		clientv3.OpGet(deletingKey(id)))
	if err != nil {
		return err
	}
	if resp.Succeeded {
		return s.WaitFor(ctx, resp.Header.Revision)
	}
	if first(resp, 0) != nil {
		return fmt.Errorf("finish the deletion of topic %s: %w: its tier pointers or intents are left", topicName(id), ErrConflict)
	}
	if t, ok := s.Image().TopicByID(id); ok {
		return fmt.Errorf("finish the deletion of topic %s: %w: it is not deleted", t.Name, ErrInvalid)
	}
	return nil
}

// SetTopicConfigs replaces a topic's overrides if they are still those of from;
// otherwise it returns ErrConflict.
func (s *Store) SetTopicConfigs(ctx context.Context, name string, from, to map[string]string) error {
	kv, r, _, err := s.readTopic(ctx, name)
	if err != nil {
		return err
	}
	if !maps.Equal(r.Configs, from) {
		return fmt.Errorf("configs of topic %s: %w", name, ErrConflict)
	}
	r.Configs = to
	resp, err := s.change(ctx, "set configs of topic "+name,
		[]clientv3.Cmp{unchanged(topicKey(name), kv.ModRevision)},
		[]clientv3.Op{clientv3.OpPut(topicKey(name), encode(r))})
	if err != nil {
		return err
	}
	if !resp.Succeeded {
		return fmt.Errorf("configs of topic %s: %w", name, ErrConflict)
	}
	return s.WaitFor(ctx, resp.Header.Revision)
}

// readTopic reads a topic key linearizably; ErrUnknownTopic: there is none.
func (s *Store) readTopic(ctx context.Context, name string) (*mvccpb.KeyValue, topicRecord, segment.TopicID, error) {
	var id segment.TopicID
	if err := validTopicName(name); err != nil {
		return nil, topicRecord{}, id, fmt.Errorf("%w: %.260q", ErrUnknownTopic, name)
	}
	key := topicKey(name)
	kv, err := s.one(ctx, key)
	if err != nil {
		return nil, topicRecord{}, id, err
	}
	if kv == nil {
		return nil, topicRecord{}, id, fmt.Errorf("%w: %s", ErrUnknownTopic, name)
	}
	r, err := decodeTopic(key, kv.Value)
	if err != nil {
		return nil, r, id, err
	}
	id, err = r.topicID(key)
	return kv, r, id, err
}

func validReplicas(partitions [][]int32, have int) error {
	if len(partitions) == 0 {
		return fmt.Errorf("%w: no partitions", ErrInvalid)
	}
	if have < 0 || have+len(partitions) > MaxPartitions {
		return fmt.Errorf("%w: %d partitions: the limit of a topic is %d", ErrInvalid, have+len(partitions), MaxPartitions)
	}
	for n, replicas := range partitions {
		if len(replicas) == 0 || len(replicas) > maxReplicas {
			return fmt.Errorf("%w: partition %d: %d replicas, between 1 and %d are possible", ErrInvalid, have+n, len(replicas), maxReplicas)
		}
		for i, id := range replicas {
			if id < 0 || slices.Contains(replicas[:i], id) {
				return fmt.Errorf("%w: partition %d: replicas %v: ids of different brokers", ErrInvalid, have+n, replicas)
			}
		}
	}
	return nil
}
