package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// The load generator is franz-go: idempotent, batches of up to 1 MB, no compression.

// linger is how long a producer of throughput rows waits for more records.
const linger = 5 * time.Millisecond

// newProducer makes a producer to one topic, with the client's defaults but for what the
// arguments say; records say their partition.
func newProducer(address, topic string, linger time.Duration, more ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(address),
		kgo.DefaultProduceTopic(topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(linger),
		kgo.ProducerBatchMaxBytes(1_000_000),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
	}, more...)...)
}

// open sends one record to each partition, so that what follows finds metadata,
// producer id and connections.
func open(ctx context.Context, c *kgo.Client, partitions int) error {
	for p := range partitions {
		r := &kgo.Record{Partition: int32(p), Value: make([]byte, stampSize)}
		if err := c.ProduceSync(ctx, r).FirstErr(); err != nil {
			return fmt.Errorf("first record: %w", err)
		}
	}
	return nil
}

// send produces n records of size bytes as fast as they go, in turn to each partition,
// and returns when all are acknowledged.
func send(ctx context.Context, c *kgo.Client, partitions, size, n int) error {
	var failed atomic.Pointer[error]
	promise := func(_ *kgo.Record, err error) {
		if err != nil {
			failed.CompareAndSwap(nil, &err)
		}
	}
	const slab = 1024 // records are allocated together
	var records []kgo.Record
	for i := range n {
		if len(records) == 0 {
			if failed.Load() != nil {
				break
			}
			records = make([]kgo.Record, min(slab, n-i))
		}
		r := &records[0]
		records = records[1:]
		r.Partition, r.Value = int32(i%partitions), value(i, size)
		c.Produce(ctx, r, promise)
	}
	if err := c.Flush(ctx); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return fmt.Errorf("produce: %w", *err)
	}
	return nil
}

// newConsumer makes a consumer of all partitions of a topic from their beginning, with
// the client's default limits (1 MiB a partition, 50 MiB a request).
func newConsumer(address, topic string, partitions int, more ...kgo.Opt) (*kgo.Client, error) {
	offsets := map[int32]kgo.Offset{}
	for p := range partitions {
		offsets[int32(p)] = kgo.NewOffset().AtStart()
	}
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(address),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: offsets}),
		kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.FetchMaxPartitionBytes(1 << 20),
	}, more...)...)
}

// receive polls until n records have come. each may be nil; it is called for every record.
func receive(ctx context.Context, c *kgo.Client, n int, each func(*kgo.Record)) error {
	for n > 0 {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("fetch, with %d records to come: %w", n, err)
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			n -= len(p.Records)
			if each != nil {
				for _, r := range p.Records {
					each(r)
				}
			}
		})
	}
	return nil
}

// stampSize is the length of the time that a paced record's value begins with:
// nanoseconds since epoch, 0 in records that only warm up.
const stampSize = 8

// epoch is the zero of stamps, on the monotonic clock.
var epoch = time.Now()

func stampedValue(i, size int, stamp time.Duration) []byte {
	v := append([]byte(nil), value(i, size)...)
	binary.BigEndian.PutUint64(v, uint64(stamp))
	return v
}

// lateness is how long ago a record was stamped; false for one that was not.
func lateness(r *kgo.Record) (time.Duration, bool) {
	stamp := time.Duration(binary.BigEndian.Uint64(r.Value))
	return time.Since(epoch) - stamp, stamp > 0
}

// pace describes load at a fixed rate. Records leave when they are due, whether earlier
// ones were acknowledged or not: a broker that is slow does not get less to do.
type pace struct {
	producers  int // clients; each sends to the partitions whose number modulo producers is its own
	partitions int
	rate       int  // records a second of each producer
	random     bool // gaps between records are random (exponential), as among producers that do not know each other
	size       int  // bytes of a value
	linger     time.Duration
	warmup     time.Duration
	length     time.Duration
}

func (p pace) warmups() int { return p.producers * int(p.warmup.Seconds()*float64(p.rate)) }
func (p pace) records() int { return p.producers * int(p.length.Seconds()*float64(p.rate)) }

// run sends the load, with a warm-up before it, and returns how long acknowledgements
// took. begin is called between the two.
func (p pace) run(ctx context.Context, address, topic string, begin func()) ([]time.Duration, error) {
	clients := make([]*kgo.Client, p.producers)
	for i := range clients {
		c, err := newProducer(address, topic, p.linger)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		clients[i] = c
		if err := open(ctx, c, 1); err != nil {
			return nil, err
		}
	}
	acks := &ackTimes{all: make([]time.Duration, 0, p.records())}
	for _, phase := range []struct {
		records int
		stamped bool
	}{{p.warmups(), false}, {p.records(), true}} {
		if phase.stamped {
			begin()
		}
		g, ctx := errgroup.WithContext(ctx)
		for i, c := range clients {
			g.Go(func() error { return p.drive(ctx, c, i, phase.records/p.producers, phase.stamped, acks) })
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
	}
	return acks.all, nil
}

// drive is one producer. The producers' records are spread evenly over time.
func (p pace) drive(ctx context.Context, c *kgo.Client, producer, n int, stamped bool, acks *ackTimes) error {
	interval := time.Second / time.Duration(p.rate)
	start := time.Now().Add(interval * time.Duration(producer) / time.Duration(p.producers))
	gaps := rand.New(rand.NewPCG(uint64(producer), uint64(n)))
	own := p.partitions / p.producers
	due := start
	for i := range n {
		time.Sleep(time.Until(due))
		gap := 1.0
		if p.random {
			gap = gaps.ExpFloat64()
		}
		due = due.Add(time.Duration(gap * float64(interval)))
		if err := ctx.Err(); err != nil {
			return err
		}
		var stamp time.Duration
		sent := time.Now()
		if stamped {
			stamp = sent.Sub(epoch)
		}
		r := &kgo.Record{Partition: int32(producer + p.producers*(i%own)), Value: stampedValue(i, p.size, stamp)}
		c.Produce(ctx, r, func(_ *kgo.Record, err error) { acks.add(time.Since(sent), stamped, err) })
	}
	if err := c.Flush(ctx); err != nil {
		return err
	}
	return acks.failed()
}

// ackTimes collects acknowledgements from all producers.
type ackTimes struct {
	mu  sync.Mutex
	all []time.Duration
	err error
}

func (a *ackTimes) add(d time.Duration, counts bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case err != nil:
		a.err = err
	case counts:
		a.all = append(a.all, d)
	}
}

func (a *ackTimes) failed() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}
