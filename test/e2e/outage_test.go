//go:build e2e

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/test/harness"
	"github.com/varvelog/varve/test/stores"
)

// TestBucketOutage stops the object store under load. Produce and tail reads go on,
// nothing leaves the disk that is not in the bucket, cold reads answer with an error or
// nothing and never with other records, a broker starts, and when the store is back
// everything is copied and readable (G18).
func TestBucketOutage(t *testing.T) {
	server := stores.MinIO(t)
	store := minioAt(server.Endpoint)
	b := harness.StartBroker(t, append(store.sets(), "varve.bucket.timeout.ms=2000", "remote.log.manager.task.interval.ms=20")...)
	createTopic(t, b, killTopic, killPartitions, tiered())
	createTopic(t, b, "cold", 1, tiered())
	cold := fill(t, b, "cold", 8<<20, nil)
	b.WaitTiered(t, time.Minute, 2<<20, "cold")
	load := newLoad(t, b, killTopic)
	progress := func(what string, records int64) {
		t.Helper()
		from := load.acked.Load()
		harness.Until(t, time.Minute, what, func() error {
			if n := load.acked.Load() - from; n < records {
				return fmt.Errorf("%d of %d records acknowledged", n, records)
			}
			return nil
		})
	}
	harness.Until(t, time.Minute, "segments in the bucket", func() error {
		for _, p := range b.Tiers(t, killTopic) {
			if p.LocalStart == 0 {
				return fmt.Errorf("partition %d is on the disk alone", p.Partition)
			}
		}
		return nil
	})

	server.Stop()
	before := b.Tiers(t, killTopic)
	progress("produce while the store is away", 20_000)
	for i, p := range b.Tiers(t, killTopic) {
		if p.LocalStart > before[i].TieredEnd && p.LocalStart > p.TieredEnd {
			t.Errorf("partition %d: local start %d, %d is in the bucket: records are nowhere", p.Partition, p.LocalStart, p.TieredEnd)
		}
		if p.TieredEnd > before[i].End {
			t.Errorf("partition %d: tiered end rose from %d to %d without a store", p.Partition, before[i].TieredEnd, p.TieredEnd)
		}
	}
	tail(t, b)
	noWrongData(t, b, cold)

	// A broker starts while the store is away, after a kill and after a stop, and serves.
	b.Kill()
	b.Start()
	t.Logf("ready %v after a kill, without a store", b.Started)
	progress("produce after a start without a store", 5_000)
	begin := time.Now()
	if err := b.Stop(stopLimit); err != nil {
		t.Fatalf("stop without a store: %v", err)
	}
	t.Logf("stopped in %v without a store", time.Since(begin))
	b.Start()
	progress("produce after a second start", 5_000)
	tail(t, b)
	noWrongData(t, b, cold)
	var backlog int64
	intents := 0
	for _, p := range b.Tiers(t, killTopic) {
		backlog += p.LocalBytes
		intents = max(intents, p.Intents)
	}
	resident, own := b.Memory(t)
	t.Logf("backlog %d MiB on the disk, at most %d intents a partition; resident %d MiB, own %d MiB", backlog>>20, intents, resident>>20, own>>20)
	if intents > maxIntents {
		t.Errorf("%d intents of one partition: they grow while the store is away", intents)
	}

	server.Start(t)
	back := time.Now()
	h := load.finish(t, b)
	judge(t, h)
	b.WaitTiered(t, time.Minute, 3<<20, killTopic, "cold")
	t.Logf("the backlog was copied %v after the store came back; %d sends, %d reads", time.Since(back), len(h.Sends), len(h.Reads))
	readFilled(t, b, "cold", 0, cold)
	bucket := store.open(t)
	auditWalk(t, b, bucket)
	if err := b.Stop(stopLimit); err != nil {
		t.Fatal(err)
	}
	auditMetadata(t, b, bucket)
}

// maxIntents is how many uploads of one partition may be announced and not committed:
// what copies at a time, and what failed since the last commit.
const maxIntents = 120

// tail reads what is produced now.
func tail(t *testing.T, b *harness.Broker) {
	t.Helper()
	c := client(t, b, kgo.ConsumeTopics(killTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), kgo.FetchMaxWait(500*time.Millisecond))
	defer c.Close()
	ctx := within(t, time.Minute)
	for n := 0; n < 1000; {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatalf("tail read: %v after %d records", err, n)
		}
		n += f.NumRecords()
	}
}

// noWrongData fetches cold offsets while the store is away: from the cache, nothing, or
// an error, but never an offset that was not asked for, and soon.
func noWrongData(t *testing.T, b *harness.Broker, end int64) {
	t.Helper()
	r := dial(t, b)
	served, empty, refused := 0, 0, 0
	for offset := int64(0); offset < end/2; offset += max(1, end/20) {
		q := fetchRequest("cold", 0, offset, 1<<16, 1<<20)
		q.MaxWaitMillis = 500
		begin := time.Now()
		p, err := r.try(q)
		if err != nil {
			t.Fatalf("cold fetch at %d: %v", offset, err)
		}
		took := time.Since(begin)
		part := fetched(p)
		switch {
		case part.ErrorCode != 0:
			refused++
			if e := part.ErrorCode; e == 1 || len(part.RecordBatches) > 0 {
				t.Errorf("cold fetch at %d: %s with %d bytes", offset, errorName(e), len(part.RecordBatches))
			}
		case len(part.RecordBatches) == 0:
			empty++
		default:
			served++
			one, _, err := batch.Next(part.RecordBatches)
			if err != nil || one.BaseOffset() > offset || one.LastOffset() < offset || one.CheckCRC() != nil {
				t.Errorf("cold fetch at %d: [%d, %d], %v", offset, one.BaseOffset(), one.LastOffset(), err)
			}
		}
		if took > 10*time.Second {
			t.Errorf("cold fetch at %d took %v with a max wait of 500 ms", offset, took)
		}
	}
	t.Logf("cold fetches without a store: %d served from the cache, %d empty, %d refused", served, empty, refused)
}
