package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// txnRate counts committed transactions.
const txnRate metric = "transactions/s"

// txns is load of transactions: each producer has a transactional id of its own and
// commits one transaction after the other, as an application does that waits for each.
type txns struct {
	producers  int
	partitions int
	records    int // of a transaction, to so many partitions in turn
}

// txnSize is the size of a record's value in bytes.
const txnSize = 100

// metadataAge is how long the client waits at least before it asks for metadata again,
// which it does before it repeats what came while the markers of the transaction before
// were still under way (CONCURRENT_TRANSACTIONS). Its default of 5 s would be measured
// in place of the brokers.
const metadataAge = 10 * time.Millisecond

// transactional measures transactions into a new topic.
func transactional(load txns) func(*bench) []contestant {
	return func(b *bench) []contestant {
		return b.both(func(s system) figures {
			t := topic{name: "txn", partitions: load.partitions}
			createTopic(b.env, s, t)
			defer deleteTopic(b.env, s, t.name)
			return b.commit(s, t, load)
		})
	}
}

func (b *bench) commit(s system, t topic, load txns) figures {
	took := make([][]time.Duration, load.producers)
	clients := make([]*kgo.Client, load.producers)
	for i := range clients {
		c, err := newProducer(s.Address(), t.name, 0, kgo.TransactionalID(fmt.Sprintf("bench-%d", i)), kgo.MetadataMinAge(metadataAge))
		b.env.check(err)
		defer c.Close()
		clients[i] = c
	}
	run := func(d time.Duration) {
		var g errgroup.Group
		end := time.Now().Add(d)
		for i, c := range clients {
			took[i] = took[i][:0]
			g.Go(func() error {
				for n := 0; time.Now().Before(end); n++ {
					begin := time.Now()
					if err := transaction(b.env.ctx, c, load, i+n); err != nil {
						return err
					}
					took[i] = append(took[i], time.Since(begin))
				}
				return nil
			})
		}
		b.env.check(g.Wait())
	}
	run(b.sizes.appending / 4) // to find metadata, coordinator and producer ids, and to warm up
	m := startMeter(b.env, 0, s.Process().Pid())
	run(b.sizes.appending)
	var all []time.Duration
	for _, own := range took {
		all = append(all, own...)
	}
	records := len(all) * load.records
	f := m.stop(records, int64(records)*txnSize)
	f[txnRate] = f[recordRate] / float64(load.records)
	f.latencies(commitTime, all)
	return f
}

// transaction commits one transaction whose first record goes to the given partition.
func transaction(ctx context.Context, c *kgo.Client, load txns, first int) error {
	if err := c.BeginTransaction(); err != nil {
		return err
	}
	records := make([]*kgo.Record, load.records)
	for i := range records {
		records[i] = &kgo.Record{Partition: int32((first + i) % load.partitions), Value: value(i, txnSize)}
	}
	if err := c.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("produce in a transaction: %w", err)
	}
	if err := c.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}
