//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/test/harness"
	"github.com/varvelog/varve/test/stores"
)

// TestMisbehavingBucket puts a proxy before the object store that refuses, cuts, flips,
// delays and drops a third of all requests, some of them after they took effect, while
// segments are copied and cold ones are read (R24, R25). Readers may wait and are never
// given anything wrong; the bucket is clean once it has healed.
func TestMisbehavingBucket(t *testing.T) {
	rng := harness.Seeded(t)
	proxy := stores.NewProxy(t, stores.MinIO(t).Endpoint)
	store := minioAt(proxy.Endpoint)
	b := harness.StartBroker(t, append(store.sets(), "varve.bucket.timeout.ms=1000", "varve.chunk.bytes=65536", "varve.readahead.bytes=1048576")...)
	createTopic(t, b, killTopic, killPartitions, tiered())
	ends := map[string]int64{}
	for i := range 2 {
		topic := fmt.Sprint("cold-", i)
		createTopic(t, b, topic, 1, tiered())
		ends[topic] = fill(t, b, topic, 6<<20, nil)
		b.WaitTiered(t, time.Minute, 2<<20, topic)
	}

	faulty := []stores.Fault{
		{Status: http.StatusServiceUnavailable, Code: "SlowDown"},
		{Status: http.StatusInternalServerError, Code: "InternalError"},
		{Status: http.StatusInternalServerError, Code: "InternalError", AfterEffect: true},
		{Reset: true},
		{AfterEffect: true}, // no answer though it was done
		{Truncate: 1000},
		{Flip: true},
		{FlipUpload: true},
		{Slow: 20 * time.Millisecond},
		{HangAfter: 5000},
	}
	var mu sync.Mutex
	hurt := map[string]int{}
	proxy.Inject(func(r *http.Request) stores.Fault {
		mu.Lock()
		defer mu.Unlock()
		i := rng.IntN(3 * len(faulty))
		if i >= len(faulty) {
			return stores.Fault{}
		}
		hurt[r.Method]++
		return faulty[i]
	})
	load := newLoad(t, b, killTopic)
	for topic, end := range ends {
		begin := time.Now()
		readFilled(t, b, topic, 0, end)
		t.Logf("%s: %d records through the faults in %v", topic, end, time.Since(begin))
	}
	harness.Until(t, time.Minute, "faults of every kind of request", func() error {
		mu.Lock()
		defer mu.Unlock()
		if hurt[http.MethodPut] < 30 || hurt[http.MethodGet] < 10 || hurt[http.MethodPost]+hurt[http.MethodDelete] < 3 {
			return fmt.Errorf("%v", hurt)
		}
		return nil
	})
	b.Kill()
	b.Start()
	acked := load.acked.Load()
	harness.Until(t, time.Minute, "progress after a kill among faults", func() error {
		if n := load.acked.Load() - acked; n < 5000 {
			return fmt.Errorf("%d records", n)
		}
		return nil
	})
	proxy.Inject(nil)
	t.Logf("faults by method: %v", hurt)
	judge(t, load.finish(t, b))
	b.WaitTiered(t, time.Minute, 3<<20, killTopic)
	bucket := store.open(t)
	auditWalk(t, b, bucket)
	if err := b.Stop(stopLimit); err != nil {
		t.Fatal(err)
	}
	auditMetadata(t, b, bucket)
}
