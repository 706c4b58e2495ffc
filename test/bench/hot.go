package main

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// both makes contestants of the two running brokers.
func (b *bench) both(measure func(system) figures) []contestant {
	var c []contestant
	for _, s := range b.hotBrokers() {
		c = append(c, contestant{s.Name(), func() figures { return measure(s) }})
	}
	return c
}

// produce measures records per second into a new topic.
func produce(size, partitions int, client ...kgo.Opt) func(*bench) []contestant {
	return func(b *bench) []contestant {
		return b.both(func(s system) figures {
			t := topic{name: "produce", partitions: partitions}
			createTopic(b.env, s, t)
			defer deleteTopic(b.env, s, t.name)
			return b.fill(s, t, size, b.sizes.records(size), client...)
		})
	}
}

// fill produces n records to a topic, and takes the time.
func (b *bench) fill(s system, t topic, size, n int, client ...kgo.Opt) figures {
	c, err := newProducer(s.Address(), t.name, linger, client...)
	b.env.check(err)
	defer c.Close()
	b.env.check(open(b.env.ctx, c, t.partitions))
	bytes := int64(n) * int64(size)
	m := startMeter(b.env, bytes, s.Process().Pid())
	b.env.check(send(b.env.ctx, c, t.partitions, size, n))
	return m.stop(n, bytes)
}

// paced measures latencies at a fixed rate; consumed says whether a consumer follows.
func paced(load pace, configs map[string]string, consumed bool) func(*bench) []contestant {
	return func(b *bench) []contestant {
		load.length, load.warmup = b.sizes.paced, b.sizes.pacedFor
		return b.both(func(s system) figures {
			t := topic{name: "paced", partitions: load.partitions, configs: configs}
			createTopic(b.env, s, t)
			defer deleteTopic(b.env, s, t.name)
			return b.atRate(s, t, load, consumed)
		})
	}
}

func (b *bench) atRate(s system, t topic, load pace, consumed bool) figures {
	var g errgroup.Group
	var late []time.Duration
	if consumed {
		c, err := newConsumer(s.Address(), t.name, t.partitions)
		b.env.check(err)
		defer c.Close()
		all := load.producers + load.warmups() + load.records() // the first of each producer opens it
		g.Go(func() error {
			return receive(b.env.ctx, c, all, func(r *kgo.Record) {
				if d, ok := lateness(r); ok {
					late = append(late, d)
				}
			})
		})
	}
	var m *meter
	bytes := int64(load.records()) * int64(load.size)
	acks, err := load.run(b.env.ctx, s.Address(), t.name, func() { m = startMeter(b.env, bytes, s.Process().Pid()) })
	b.env.check(err)
	b.env.check(g.Wait())
	f := m.stop(load.records(), bytes)
	f.latencies(ack, acks)
	f.latencies(endToEnd, late)
	return f
}

// tail measures producing and consuming at once, as fast as both go.
func tail(size, partitions int) func(*bench) []contestant {
	return func(b *bench) []contestant {
		return b.both(func(s system) figures {
			t := topic{name: "tail", partitions: partitions}
			createTopic(b.env, s, t)
			defer deleteTopic(b.env, s, t.name)
			n := b.sizes.records(size)
			producer, err := newProducer(s.Address(), t.name, linger)
			b.env.check(err)
			defer producer.Close()
			b.env.check(open(b.env.ctx, producer, partitions))
			consumer, err := newConsumer(s.Address(), t.name, partitions)
			b.env.check(err)
			defer consumer.Close()
			bytes := int64(n) * int64(size)
			m := startMeter(b.env, bytes, s.Process().Pid())
			var g errgroup.Group
			g.Go(func() error { return send(b.env.ctx, producer, partitions, size, n) })
			g.Go(func() error { return receive(b.env.ctx, consumer, n+partitions, nil) })
			b.env.check(g.Wait())
			return m.stop(n, bytes)
		})
	}
}

// replay reads n records of a filled topic from the beginning. It returns the time to
// the first record, where it knows.
type replay func(b *bench, s system, t topic, n int) (first time.Duration)

// hot measures a replay of what lies on local disk and, mostly, in the page cache.
func hot(size, partitions int, read replay) func(*bench) []contestant {
	return func(b *bench) []contestant {
		t := topic{name: "hot", partitions: partitions}
		n := b.sizes.replay
		if size < 1024 {
			n = b.sizes.small
		}
		for _, s := range b.hotBrokers() {
			createTopic(b.env, s, t)
			b.env.Cleanup(func() { deleteTopic(b.env, s, t.name) })
			b.fill(s, t, size, n)
		}
		return b.both(func(s system) figures { return b.replay(s, t, size, n, read) })
	}
}

func (b *bench) replay(s system, t topic, size, n int, read replay) figures {
	bytes := int64(n) * int64(size)
	m := startMeter(b.env, bytes, s.Process().Pid()) // a chunk cache may be filled
	first := read(b, s, t, n)
	f := m.stop(n, bytes)
	f[firstRecord] = float64(first) / float64(time.Millisecond)
	return f
}

// pacedBeside measures latencies at a fixed rate, to the consumer, beside replays of
// another topic.
func pacedBeside(load pace) func(*bench) []contestant {
	return func(b *bench) []contestant {
		load.length, load.warmup = b.sizes.paced, b.sizes.pacedFor
		old := topic{name: "old", partitions: 16}
		for _, s := range b.hotBrokers() {
			createTopic(b.env, s, old)
			b.env.Cleanup(func() { deleteTopic(b.env, s, old.name) })
			b.fill(s, old, 1024, b.sizes.replay)
		}
		return b.both(func(s system) figures {
			t := topic{name: "paced", partitions: load.partitions}
			createTopic(b.env, s, t)
			defer deleteTopic(b.env, s, t.name)
			stop := b.replayOn(s, old)
			f := b.atRate(s, t, load, true)
			f[replayRate] = stop()
			return f
		})
	}
}

// replayOn replays t until stop, which returns how many MiB/s that were.
func (b *bench) replayOn(s system, t topic) (stop func() float64) {
	ends, err := listOffsets(b.env.ctx, s.Address(), t, endOffset)
	b.env.check(err)
	ctx, cancel := context.WithCancel(b.env.ctx)
	begin, bytes, done := time.Now(), int64(0), make(chan error, 1)
	go func() {
		for {
			n, err := rawReplay(ctx, s.Address(), t.name, ends)
			if bytes += n; err != nil {
				done <- err
				return
			}
		}
	}()
	return func() float64 {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			b.env.check(err)
		}
		return float64(bytes) / (1 << 20) / time.Since(begin).Seconds()
	}
}

// kgoReplay reads as an application does.
func kgoReplay(b *bench, s system, t topic, n int) (first time.Duration) {
	begin := time.Now()
	c, err := newConsumer(s.Address(), t.name, t.partitions)
	b.env.check(err)
	defer c.Close()
	n += t.partitions // the first records, which opened the producer
	b.env.check(receive(b.env.ctx, c, n, func(*kgo.Record) {
		if first == 0 {
			first = time.Since(begin)
		}
	}))
	return first
}

// countingReplay reads with as little work as can be done.
func countingReplay(b *bench, s system, t topic, _ int) (first time.Duration) {
	ends, err := listOffsets(b.env.ctx, s.Address(), t, endOffset)
	b.env.check(err)
	_, err = rawReplay(b.env.ctx, s.Address(), t.name, ends)
	b.env.check(err)
	return 0
}
