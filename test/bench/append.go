package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/segment/batch"
)

// appends is load of small appends, acks=all: each producer has a connection of its own
// and one request under way, with a batch of one record for the next of its partitions.
// What they find is how many appends share a flush.
type appends struct {
	producers  int
	partitions int
}

const (
	// appendSize is the size of a record's value in bytes.
	appendSize = 200
	// appendWarmup comes before what is measured.
	appendWarmup = 500 * time.Millisecond
)

// flushEach is the configuration of topics that flush before they answer; Varve's own
// default. never is Kafka's.
var (
	flushEach = map[string]string{"flush.messages": "1"}
	never     = map[string]string{"flush.messages": strconv.Itoa(math.MaxInt64)}
)

// appendRows measures the load on both brokers; peer is the configuration of Kafka's topic.
func appendRows(load appends, peer map[string]string) func(*bench) []contestant {
	return func(b *bench) []contestant {
		var all []contestant
		for i, s := range b.hotBrokers() {
			configs := flushEach
			if i > 0 {
				configs = peer
			}
			all = append(all, b.appending(s.Name(), s, load, configs))
		}
		return all
	}
}

// appendBound measures the load on Varve beside Varve without any flush, which is more
// than the best way to flush could win.
func appendBound(load appends) func(*bench) []contestant {
	return func(b *bench) []contestant {
		s := b.hotBrokers()[0]
		return []contestant{b.appending("Varve", s, load, flushEach), b.appending("no flush", s, load, never)}
	}
}

func (b *bench) appending(name string, s system, load appends, configs map[string]string) contestant {
	return contestant{name, func() figures {
		t := topic{name: "append", partitions: load.partitions, configs: configs}
		createTopic(b.env, s, t)
		defer deleteTopic(b.env, s, t.name)
		return b.append(s, t, load)
	}}
}

func (b *bench) append(s system, t topic, load appends) figures {
	producers := make([]*appender, load.producers)
	for i := range producers {
		p, err := newAppender(b.env.ctx, s.Address(), t.name, i, load)
		b.env.check(err)
		defer p.conn.Close()
		producers[i] = p
	}
	run := func(d time.Duration, warming bool) {
		var g errgroup.Group
		end := time.Now().Add(d)
		for _, p := range producers {
			p.took = p.took[:0]
			g.Go(func() error { return p.until(b.env.ctx, end, warming) })
		}
		b.env.check(g.Wait())
	}
	run(appendWarmup, true)
	m := startMeter(b.env, 0, s.Process().Pid())
	run(b.sizes.appending, false)
	var all []time.Duration
	for _, p := range producers {
		all = append(all, p.took...)
	}
	f := m.stop(len(all), int64(len(all))*appendSize)
	f.latencies(ack, all)
	return f
}

// appender is one producer.
type appender struct {
	conn       *rawConn
	request    *kmsg.ProduceRequest
	partitions []int32
	next       int // of partitions
	took       []time.Duration
}

func newAppender(ctx context.Context, address, topic string, i int, load appends) (*appender, error) {
	c, err := dial(ctx, address)
	if err != nil {
		return nil, err
	}
	a := &appender{conn: c, partitions: []int32{int32(i % load.partitions)}}
	for p := i + load.producers; p < load.partitions; p += load.producers {
		a.partitions = append(a.partitions, int32(p))
	}
	records, err := batch.Builder{ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1}.Build(0, -1,
		[]batch.Record{{Timestamp: time.Now().UnixMilli(), Value: slices.Clone(value(i, appendSize))}})
	if err != nil {
		return nil, err
	}
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = records
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.Partitions = topic, append(t.Partitions, p)
	a.request = kmsg.NewPtrProduceRequest()
	a.request.SetVersion(9)
	a.request.Acks, a.request.TimeoutMillis, a.request.Topics = -1, 30_000, append(a.request.Topics, t)
	return a, nil
}

// until appends, one request after the other, up to end; and, warming up, until each of
// its partitions has taken one: a new topic's leaders are known before they lead.
func (a *appender) until(ctx context.Context, end time.Time, warming bool) error {
	p := &a.request.Topics[0].Partitions[0]
	for begin := time.Now(); (begin.Before(end) || warming && a.next < len(a.partitions)) && ctx.Err() == nil; {
		p.Partition = a.partitions[a.next%len(a.partitions)]
		answer, err := a.conn.request(a.request)
		if err != nil {
			return err
		}
		err = kerr.ErrorForCode(answer.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode)
		now := time.Now()
		if warming && kerr.IsRetriable(err) {
			begin = now
			continue
		}
		if err != nil {
			return fmt.Errorf("append to partition %d: %w", p.Partition, err)
		}
		a.next++
		a.took = append(a.took, now.Sub(begin))
		begin = now
	}
	return ctx.Err()
}

// appendScenarios are the rows of group commit: beside a Kafka that flushes as well, and
// beside one that does not. One producer with one request under way waits for one flush
// on either: only the unflushed row has a target there.
func appendScenarios() []scenario {
	shown := append([]metric{recordRate}, append(percentiles(ack), brokerCPU)...)
	var all []scenario
	for _, load := range []appends{{1, 16}, {16, 16}, {256, 1}, {256, 16}, {256, 256}, {256, 1000}} {
		name := fmt.Sprintf("append-%dp-%dt", load.producers, load.partitions)
		var targets []target
		if load.producers > 1 && load.partitions >= 16 {
			targets = []target{{of: recordRate, bound: 10}}
		}
		all = append(all, scenario{
			name: name, shown: shown, targets: targets, prepare: appendRows(load, flushEach),
			what: fmt.Sprintf("Appends of one record of %d B, acks=all, by %d producers with one request each under way, to %d partitions; flush.messages=1 on both", appendSize, load.producers, load.partitions),
		}, scenario{
			name: name + "-unflushed", shown: shown, targets: []target{{of: recordRate, bound: 1.2}}, prepare: appendRows(load, never),
			what: "The same; Varve flushes before it answers, Kafka does not",
		})
	}
	return append(all, scenario{
		name: "append-256p-256t-bound", shown: shown, prepare: appendBound(appends{256, 256}),
		what: "The same on Varve, beside Varve without any flush: what a better way to flush could win at most",
	})
}
