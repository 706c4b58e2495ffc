package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"
)

// Share groups (KIP-932): members take records as from a queue, and each is acknowledged.

// acknowledged is from a record's time to the answer that its acknowledgement is stored.
const acknowledged metric = "acknowledged"

const (
	shareTopic      = "share"
	shareGroups     = "bench-share-" // and the number of the round
	sharePartitions = 4
	shareMembers    = 4
	shareSize       = 1024 // bytes of a value
	shareRejects    = 10   // one record in so many
)

// acknowledging is how a member says that it is done with records.
type acknowledging bool

const (
	implicitly acknowledging = false // by asking for more
	explicitly acknowledging = true  // each record for itself, and one in so many is rejected
)

// shareConsume measures how fast a group drains a topic that is full already: from the
// first records to the last, when all are acknowledged. CPU is of all from the joining on.
func shareConsume(how acknowledging) func(*bench) []contestant {
	return func(b *bench) []contestant {
		t := topic{name: shareTopic, partitions: sharePartitions}
		for _, s := range b.hotBrokers() {
			createTopic(b.env, s, t)
			b.env.Cleanup(func() { deleteTopic(b.env, s, t.name) })
			b.fill(s, t, shareSize, b.sizes.shared)
		}
		round := 0
		return b.both(func(s system) figures {
			round++
			return b.drain(s, t, fmt.Sprintf("%sdrain-%t-%d", shareGroups, how, round), how)
		})
	}
}

func (b *bench) drain(s system, t topic, group string, how acknowledging) figures {
	n := int64(b.sizes.shared + t.partitions) // the first records, which opened the producer
	b.readFromStart(s, group)
	ctx, cancel := context.WithCancel(b.env.ctx)
	defer cancel()
	var taken, early, first atomic.Int64
	m := startMeter(b.env, 0, s.Process().Pid())
	var g errgroup.Group
	for range shareMembers {
		c, err := newShareMember(s.Address(), t.name, group)
		b.env.check(err)
		defer c.Close()
		g.Go(func() error {
			for taken.Load() < n {
				records, err := pollShare(ctx, c)
				if err != nil {
					return err
				}
				if how == explicitly {
					acknowledgeEach(records)
				}
				if first.CompareAndSwap(0, int64(time.Since(epoch))) {
					early.Store(int64(len(records)))
				}
				if taken.Add(int64(len(records))) >= n {
					cancel() // for those who wait
				}
			}
			return c.FlushAcks(b.env.ctx)
		})
	}
	b.env.check(g.Wait())
	took := (time.Since(epoch) - time.Duration(first.Load())).Seconds()
	f := m.stop(int(n), n*shareSize)
	f[recordRate] = float64(taken.Load()-early.Load()) / took
	f[byteRate] = f[recordRate] * shareSize / (1 << 20)
	return f
}

func acknowledgeEach(records []*kgo.Record) {
	for i, r := range records {
		if i%shareRejects == 0 {
			r.Ack(kgo.AckReject)
		} else {
			r.Ack(kgo.AckAccept)
		}
	}
}

// newShareMember makes a member with the client's defaults: 500 records a request.
func newShareMember(address, topic, group string) (*kgo.Client, error) {
	return kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeTopics(topic), kgo.ShareGroup(group), kgo.FetchMaxWait(500*time.Millisecond))
}

// pollShare returns what has come; nothing, without an error, when ctx has ended.
func pollShare(ctx context.Context, c *kgo.Client) ([]*kgo.Record, error) {
	fetches := c.PollFetches(ctx)
	if err := fetches.Err(); err != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("share fetch: %w", err)
	}
	return fetches.Records(), nil
}

// readFromStart makes a new share group begin with the first record there is.
func (b *bench) readFromStart(s system, group string) {
	c, err := kgo.NewClient(kgo.SeedBrokers(s.Address()))
	b.env.check(err)
	defer c.Close()
	reset, earliest := kmsg.NewIncrementalAlterConfigsRequestResourceConfig(), "earliest"
	reset.Name, reset.Value = "share.auto.offset.reset", &earliest
	of := kmsg.NewIncrementalAlterConfigsRequestResource()
	of.ResourceType, of.ResourceName, of.Configs = kmsg.ConfigResourceTypeGroupConfig, group, append(of.Configs, reset)
	q := kmsg.NewPtrIncrementalAlterConfigsRequest()
	q.Resources = append(q.Resources, of)
	p, err := q.RequestWith(b.env.ctx, c)
	b.env.check(err)
	b.env.check(kerr.ErrorForCode(p.Resources[0].ErrorCode))
}

// shareLatency measures, at a fixed rate, how long records take to a member of a share
// group, and until it knows that its acknowledgement of them is stored. It acknowledges
// what each fetch brings, and then fetches again.
func shareLatency(load pace) func(*bench) []contestant {
	return func(b *bench) []contestant {
		load.length, load.warmup = b.sizes.paced, b.sizes.pacedFor
		round := 0
		return b.both(func(s system) figures {
			round++
			t := topic{name: shareTopic, partitions: load.partitions}
			createTopic(b.env, s, t)
			defer deleteTopic(b.env, s, t.name)
			return b.shareAtRate(s, t, fmt.Sprintf("%slatency-%d", shareGroups, round), load)
		})
	}
}

func (b *bench) shareAtRate(s system, t topic, group string, load pace) figures {
	b.readFromStart(s, group)
	c, err := newShareMember(s.Address(), t.name, group)
	b.env.check(err)
	defer c.Close()
	b.awaitShare(s, t, c)
	var late, acked []time.Duration
	var g errgroup.Group
	g.Go(func() error {
		for left := load.producers + load.warmups() + load.records(); left > 0; { // the first of each producer opens it
			records, err := pollShare(b.env.ctx, c)
			if err != nil {
				return err
			}
			came := time.Since(epoch)
			c.MarkAcks(kgo.AckAccept, records...)
			if err := c.FlushAcks(b.env.ctx); err != nil {
				return err
			}
			since := time.Since(epoch) - came
			for _, r := range records {
				if d, ok := lateness(r); ok {
					late, acked = append(late, d-since), append(acked, d)
				}
			}
			left -= len(records)
		}
		return nil
	})
	var m *meter
	_, err = load.run(b.env.ctx, s.Address(), t.name, func() { m = startMeter(b.env, 0, s.Process().Pid()) })
	b.env.check(err)
	b.env.check(g.Wait())
	f := m.stop(load.records(), int64(load.records())*int64(load.size))
	f.latencies(endToEnd, late)
	f.latencies(acknowledged, acked)
	return f
}

// awaitShare waits until a member has its partition, which takes as long as its heartbeats
// are apart.
func (b *bench) awaitShare(s system, t topic, member *kgo.Client) {
	c, err := newProducer(s.Address(), t.name, 0)
	b.env.check(err)
	defer c.Close()
	b.env.check(open(b.env.ctx, c, 1))
	records, err := pollShare(b.env.ctx, member)
	b.env.check(err)
	member.MarkAcks(kgo.AckAccept, records...)
	b.env.check(member.FlushAcks(b.env.ctx))
}

// shareMembership is a member by ShareGroupHeartbeat.
type shareMembership struct {
	c         *rawConn
	group, id string
	epoch     int32
	assigned  bool // something
}

func newShareMembership(c *rawConn, group string) membership {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return &shareMembership{c: c, group: group, id: base64.RawURLEncoding.EncodeToString(id[:])}
}

func (m *shareMembership) exchange() (int32, bool, time.Duration, error) {
	p, err := m.heartbeat()
	switch {
	case err != nil:
		return 0, false, 0, err
	case p.ErrorCode == 0:
	case kerr.IsRetriable(kerr.ErrorForCode(p.ErrorCode)):
		return 0, false, memberRetry, nil
	default:
		return 0, false, 0, fmt.Errorf("member of %s: %w", m.group, kerr.ErrorForCode(p.ErrorCode))
	}
	m.epoch = p.MemberEpoch
	if p.Assignment != nil {
		m.assigned = len(p.Assignment.TopicPartitions) > 0
	}
	return m.epoch, m.assigned, time.Duration(p.HeartbeatIntervalMillis) * time.Millisecond, nil
}

func (m *shareMembership) heartbeat() (*kmsg.ShareGroupHeartbeatResponse, error) {
	q := kmsg.NewPtrShareGroupHeartbeatRequest()
	q.SetVersion(1)
	q.GroupID, q.MemberID, q.MemberEpoch = m.group, m.id, m.epoch
	if m.epoch == 0 {
		q.SubscribedTopicNames = []string{membersTopic}
	}
	answer, err := m.c.request(q)
	if err != nil {
		return nil, err
	}
	return answer.(*kmsg.ShareGroupHeartbeatResponse), nil
}

// leave is a heartbeat in epoch -1.
func (m *shareMembership) leave() error {
	m.epoch = -1
	p, err := m.heartbeat()
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(p.ErrorCode)
}
