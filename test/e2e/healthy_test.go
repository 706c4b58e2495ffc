//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/test/harness"
)

// healthy is a client that works beside the bad ones: one record after the other is
// produced and read back. Nothing that others do may fail it.
type healthy struct {
	b     *harness.Broker
	stop  context.CancelFunc
	done  sync.WaitGroup
	mu    sync.Mutex
	took  []time.Duration // guarded by mu
	wrong []error         // guarded by mu

	own     int64 // memory of the broker at the beginning
	sockets int
}

const healthyTopic = "healthy"

// withHealthy starts a healthy client, runs bad, and judges what it did to the broker.
// The memory that is the broker's own may be limit at the end.
func withHealthy(t *testing.T, b *harness.Broker, limit int64, bad func(*testing.T)) {
	t.Helper()
	createTopic(t, b, healthyTopic, 1, nil)
	h := &healthy{b: b}
	ctx, stop := context.WithCancel(context.Background())
	h.stop = stop
	t.Cleanup(stop)
	producer := client(t, b, kgo.DefaultProduceTopic(healthyTopic), kgo.ProducerLinger(0))
	consumer := client(t, b, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{healthyTopic: {0: kgo.NewOffset().At(0)}}))
	h.round(ctx, producer, consumer, 0) // connections are made
	_, h.own = b.Memory(t)
	h.sockets = b.OpenSockets(t)
	h.done.Go(func() {
		for n := 1; ctx.Err() == nil; n++ {
			h.round(ctx, producer, consumer, n)
		}
	})
	t.Run("bad", bad)
	during := h.rounds()
	harness.Until(t, time.Minute, "the healthy client's work after all", func() error {
		if n := h.rounds() - during; n < 50 {
			return fmt.Errorf("%d rounds", n)
		}
		return nil
	})
	h.stop()
	h.done.Wait()
	h.judge(t, limit)
}

// rounds is how many have ended.
func (h *healthy) rounds() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.took)
}

// round produces one record and reads it.
func (h *healthy) round(ctx context.Context, producer, consumer *kgo.Client, n int) {
	begin := time.Now()
	limited, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	value := fmt.Sprint("healthy ", n)
	err := producer.ProduceSync(limited, kgo.StringRecord(value)).FirstErr()
	for err == nil {
		f := consumer.PollFetches(limited)
		if err = f.Err(); err != nil {
			break
		}
		var last string
		f.EachRecord(func(r *kgo.Record) { last = string(r.Value) })
		if last == value {
			break
		}
		if last != "" {
			err = fmt.Errorf("read %q, wrote %q", last, value)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	h.took = append(h.took, time.Since(begin))
	if err != nil {
		h.wrong = append(h.wrong, err)
	}
}

func (h *healthy) judge(t *testing.T, limit int64) {
	t.Helper()
	if !h.b.Running() {
		t.Fatalf("the broker died:\n%s", h.b.Output())
	}
	faults(t, "healthy client", h.wrong)
	slices.Sort(h.took)
	harness.Until(t, time.Minute, "sockets given back", func() error {
		if n := h.b.OpenSockets(t); n > h.sockets+20 {
			return fmt.Errorf("%d, %d at the beginning", n, h.sockets)
		}
		return nil
	})
	resident, own := h.b.Memory(t)
	t.Logf("healthy client: %d rounds, p50 %v, p99 %v, max %v; broker resident %d MiB, own %d MiB, %d MiB at the beginning", len(h.took),
		h.took[len(h.took)/2], h.took[len(h.took)*99/100], h.took[len(h.took)-1], resident>>20, own>>20, h.own>>20)
	if own > limit {
		t.Errorf("the broker holds %d bytes of its own, limit %d", own, limit)
	}
	out := h.b.Output()
	for _, sign := range []string{"panic", "goroutine ", "\x1b", "\x00"} {
		if strings.Contains(out, sign) {
			t.Errorf("%q in the broker's output", sign)
		}
	}
}
