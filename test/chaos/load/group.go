package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/verify"
)

// The numbers of W8. Offsets that a group commits go into the history as C9's register;
// the group has number 0.
const (
	memberStay  = 5 * time.Second // how long a member stays on average
	commitLimit = 5 * time.Second
	watchEvery  = 200 * time.Millisecond
)

func (l *Load) group() string { return l.name + "-group" }

// join is one member after the other, each for a while. A member with an instance id is
// static: it comes back as the same.
func (l *Load) join(ctx context.Context, instance string) {
	for ctx.Err() == nil {
		stay, cancel := context.WithCancel(ctx)
		leave := time.AfterFunc(cmp.Or(l.shape.Stay, memberStay)/2+rand.N(memberStay), func() {
			l.calm.RLock() // who looks whether the group settles is not disturbed
			defer l.calm.RUnlock()
			cancel()
		})
		l.member(stay, instance)
		leave.Stop()
		cancel()
	}
}

// member joins the group, reads, commits what it has read, and leaves.
func (l *Load) member(ctx context.Context, instance string) {
	o := &owner{l: l, number: l.memberNumber(instance), tickets: map[int32]int{}}
	options := append(o.options(), kgo.ConsumerGroup(l.group()), kgo.ConsumeTopics(l.topicNames()...), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))
	switch {
	case l.shape.Consumer:
		options = append(options, kgo.ServerSideBalancer())
	case l.shape.Session > 0:
		options = append(options, kgo.SessionTimeout(l.shape.Session), kgo.HeartbeatInterval(l.shape.Session/6), kgo.RebalanceTimeout(2*l.shape.Session))
	}
	if l.shape.Eager {
		options = append(options, kgo.Balancers(kgo.RangeBalancer()))
	}
	if instance != "" {
		options = append(options, kgo.InstanceID(instance))
	}
	c := l.client(options...)
	defer c.CloseAllowingRebalance()
	for ctx.Err() == nil {
		f := c.PollRecords(ctx, 500)
		next := map[string]map[int32]kgo.EpochOffset{}
		f.EachRecord(func(k *kgo.Record) {
			if _, err := number(k); err != nil {
				l.wrong("member, %s-%d, offset %d: %w", k.Topic, k.Partition, k.Offset, err)
			}
			if next[k.Topic] == nil {
				next[k.Topic] = map[int32]kgo.EpochOffset{}
			}
			next[k.Topic][k.Partition] = kgo.EpochOffset{Epoch: k.LeaderEpoch, Offset: k.Offset + 1}
		})
		l.commit(c, o, next)
		c.AllowRebalance()
	}
}

// staticMembers keeps the numbers of static members, whose names outlive them and their
// process, apart from all others.
const staticMembers = 1 << 30

func (l *Load) memberNumber(instance string) int32 {
	if instance == "" {
		return l.Recorder.Number()
	}
	h := fnv.New32()
	_, _ = h.Write([]byte(instance)) // it never fails
	return staticMembers | int32(h.Sum32()>>2)
}

// owner is what a member was given (C21).
type owner struct {
	l       *Load
	number  int32
	mu      sync.Mutex
	tickets map[int32]int // by partition; guarded by mu
}

func (o *owner) options() []kgo.Opt {
	return []kgo.Opt{
		kgo.OnPartitionsAssigned(func(_ context.Context, c *kgo.Client, given map[string][]int32) {
			_, generation := c.GroupMetadata()
			if o.l.shape.Consumer {
				generation = 0 // each member has an epoch of its own
			}
			o.each(given, func(p int32) {
				o.tickets[p] = o.l.Recorder.Own(verify.Owner{Member: o.number, Partition: p, Generation: generation})
			})
		}),
	}
}

// ticket is that of a partition which the member has read, so that it was given it.
func (o *owner) ticket(partition int32) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.tickets[partition]
}

func (o *owner) each(partitions map[string][]int32, do func(partition int32)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for topic, list := range partitions {
		for _, p := range list {
			do(o.l.partition(topic, p))
		}
	}
}

// commit commits offsets and logs each with its outcome.
func (l *Load) commit(c *kgo.Client, o *owner, next map[string]map[int32]kgo.EpochOffset) {
	if len(next) == 0 {
		return
	}
	tickets := map[int32]int{} // by partition
	for topic, partitions := range next {
		for p, to := range partitions {
			at := l.partition(topic, p)
			tickets[at] = l.Recorder.Commit(verify.OffsetCommit{Partition: at, Offset: to.Offset})
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), commitLimit)
	defer cancel()
	member, generation := c.GroupMetadata()
	c.CommitOffsetsSync(ctx, next, func(_ *kgo.Client, q *kmsg.OffsetCommitRequest, r *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			return
		}
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				// The client sends a commit again when an answer is lost: a refusal
				// proves nothing of the first one.
				if p.ErrorCode == 0 {
					at := l.partition(t.Topic, p.Partition)
					// The client may have waited until it had joined anew, thrown out or not,
					// and sent it as somebody else: then it says nothing of who owns what.
					l.Recorder.Committed(tickets[at], o.ticket(at), q.MemberID == member && q.Generation == generation)
				}
			}
		}
	})
}

// watch asks for the group's offsets, as one who is no member.
func (l *Load) watch(ctx context.Context) {
	c := l.client()
	defer c.Close()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		begun := l.Recorder.Now()
		list, err := kadm.NewClient(c).FetchOffsets(ctx, l.group())
		if err != nil {
			continue
		}
		l.Recorder.Log(func(h *verify.History, at int64) {
			list.Each(func(o kadm.OffsetResponse) {
				if o.Err == nil {
					h.Committed = append(h.Committed, verify.Committed{Partition: l.partition(o.Topic, o.Partition), Offset: o.At, Begun: begun, Ended: at})
				}
			})
		})
	}
}

// Owners asks the coordinator who has what, and fails the test if two members have one
// partition; missing is how many partitions nobody has, while the group is stable, else -1.
func (l *Load) Owners(ctx context.Context, a *kadm.Client) (missing int, err error) {
	held, state, err := l.assigned(ctx, a)
	if err != nil {
		return 0, err
	}
	owners := map[int32]string{}
	for member, topics := range held {
		topics.Each(func(topic string, partition int32) {
			p := l.partition(topic, partition)
			if other, taken := owners[p]; taken {
				l.t.Errorf("the coordinator says that partition %d belongs to %s and to %s", p, member, other)
			}
			owners[p] = member
		})
	}
	if state != "Stable" {
		return -1, nil
	}
	return l.partitions() - len(owners), nil
}

// assigned is what the coordinator says that members have, and the group's state.
func (l *Load) assigned(ctx context.Context, a *kadm.Client) (held map[string]kadm.TopicsSet, state string, err error) {
	held = map[string]kadm.TopicsSet{}
	if l.shape.Consumer {
		list, err := a.DescribeConsumerGroups(ctx, l.group())
		g := list[l.group()]
		for _, m := range g.Members {
			held[m.MemberID] = m.Assignment
		}
		return held, g.State, errors.Join(err, g.Err)
	}
	list, err := a.DescribeGroups(ctx, l.group())
	g := list[l.group()]
	for _, m := range g.Members {
		set := kadm.TopicsSet{}
		if consumer, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range consumer.Topics {
				set.Add(t.Topic, t.Partitions...)
			}
		}
		held[m.MemberID] = set
	}
	return held, g.State, errors.Join(err, g.Err)
}

// Rebalanced waits until the group is stable and every partition has an owner, and returns
// how long that took. No member of this process leaves meanwhile.
func (l *Load) Rebalanced(limit time.Duration) time.Duration {
	l.t.Helper()
	l.calm.Lock()
	defer l.calm.Unlock()
	c := l.client()
	defer c.Close()
	begun := time.Now()
	if err := l.await(limit, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		missing, err := l.Owners(ctx, kadm.NewClient(c))
		if err == nil && missing != 0 {
			err = fmt.Errorf("%d partitions have no owner (-1: the group is not stable)", missing)
		}
		return err
	}); err != nil {
		l.t.Fatal(err)
	}
	return time.Since(begun)
}
