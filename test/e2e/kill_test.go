//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/time/rate"

	"github.com/varvelog/varve/test/harness"
	"github.com/varvelog/varve/test/stores"
	"github.com/varvelog/varve/test/verify"
)

const (
	killTopic      = "killed"
	killPartitions = 4
	killProducers  = 4
	killRate       = 1200 // records a second of each producer
	killUptime     = 1500 * time.Millisecond
	killStarting   = 400 * time.Millisecond
)

// TestKillNine kills the broker at random moments, also while it starts, under
// idempotent producers and readers, with segments leaving for MinIO all the time. No
// acknowledged record may be lost, doubled or moved (C1 to C4, C8), and the bucket has
// to be exactly what the metadata says (C14).
func TestKillNine(t *testing.T) {
	kills := int(envBytes(t, "VARVE_E2E_KILLS", 50))
	rng := harness.Seeded(t)
	store := minioAt(stores.MinIO(t).Endpoint)
	b := harness.StartBroker(t, store.sets()...)
	createTopic(t, b, killTopic, killPartitions, tiered("local.retention.bytes", "2097152"))
	load := newLoad(t, b, killTopic)

	var slowest time.Duration
	starting := 0
	for i := range kills {
		if rng.IntN(5) > 0 {
			pause(time.Duration(rng.Int64N(int64(killUptime))))
		}
		b.Kill()
		b.Launch()
		if rng.IntN(5) == 0 && i < kills-1 {
			starting++
			pause(time.Duration(rng.Int64N(int64(killStarting))))
			continue // killed while it starts
		}
		b.WaitReady()
		slowest = max(slowest, b.Started)
	}
	acked := load.acked.Load()
	harness.Until(t, time.Minute, "progress after the last kill", func() error {
		if n := load.acked.Load(); n < acked+1000 {
			return fmt.Errorf("%d records acknowledged, then %d", acked, n)
		}
		return nil
	})
	h := load.finish(t, b)
	t.Logf("%d kills, %d of them while starting; slowest start after a kill %v; %d sends, %d reads", kills, starting, slowest, len(h.Sends), len(h.Reads))
	judge(t, h)

	b.WaitTiered(t, time.Minute, 3<<20, killTopic)
	bucket := store.open(t)
	auditWalk(t, b, bucket)
	if err := b.Stop(30 * time.Second); err != nil {
		t.Fatalf("stop: %v", err)
	}
	r := auditMetadata(t, b, bucket)
	t.Logf("audit: %d segments, %d MiB", r.Segments, r.Bytes>>20)
	if r.Segments == 0 {
		t.Error("nothing was tiered: the run proves nothing of the bucket")
	}
}

// pause is a part of the schedule of faults; nothing relies on what happens meanwhile.
func pause(d time.Duration) { <-time.After(d) }

// judge applies the rules and leaves the history of a bad run behind.
func judge(t *testing.T, h *verify.History) {
	t.Helper()
	found := verify.Check(h)
	if len(found) == 0 {
		return
	}
	faults(t, "history", found)
	name := filepath.Join(os.TempDir(), fmt.Sprintf("varve-history-%d.txt", time.Now().UnixNano()))
	f, err := os.Create(name)
	if err == nil {
		err = errors.Join(verify.WriteStory(f, h), f.Close())
	}
	t.Logf("the history is in %s (%v)", name, err)
}

// load is producers and readers of one topic, and what they saw.
type load struct {
	topic     string
	text      []byte
	begin     time.Time
	stop      context.CancelFunc
	producing sync.WaitGroup
	reading   sync.WaitGroup
	acked     counter
	producers [killProducers]*producer
	readers   []*reader
	quit      context.CancelFunc // of the readers
}

// counter is a number that several goroutines raise.
type counter struct {
	mu sync.Mutex
	n  int64
}

func (c *counter) Add() { c.mu.Lock(); c.n++; c.mu.Unlock() }

func (c *counter) Load() int64 { c.mu.Lock(); defer c.mu.Unlock(); return c.n }

type producer struct {
	id     int32
	client *kgo.Client
	sends  []*verify.Send // each is changed by its promise only
	errs   []error
}

// reader is one session from offset 0 on.
type reader struct {
	session int32
	client  *kgo.Client
	reads   []verify.Read
	errs    []error
	next    map[int32]int64
}

func newLoad(t *testing.T, b *harness.Broker, topic string) *load {
	l := &load{topic: topic, text: corpusText(t), begin: time.Now()}
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	t.Cleanup(stop)
	for i := range l.producers {
		p := &producer{id: int32(i)}
		p.client = client(t, b, kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()),
			kgo.ProducerLinger(0), kgo.MaxBufferedRecords(2000), kgo.ProducerBatchCompression(kgo.NoCompression()))
		l.producers[i] = p
		l.producing.Go(func() { l.produce(ctx, p) })
	}
	readCtx, quit := context.WithCancel(context.Background())
	l.quit = quit
	t.Cleanup(quit)
	for i := range 2 {
		l.startReader(t, readCtx, b, int32(i))
	}
	return l
}

func (l *load) startReader(t *testing.T, ctx context.Context, b *harness.Broker, session int32) *reader {
	from := map[int32]kgo.Offset{}
	for p := range int32(killPartitions) {
		from[p] = kgo.NewOffset().At(0)
	}
	r := &reader{session: session, next: map[int32]int64{}}
	r.client = client(t, b, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.topic: from}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchMaxWait(100*time.Millisecond))
	l.readers = append(l.readers, r)
	l.reading.Go(func() {
		for ctx.Err() == nil {
			l.poll(ctx, r)
		}
	})
	return r
}

func (l *load) now() int64 { return int64(time.Since(l.begin)) }

// produce sends records to all partitions in turn until ctx ends.
func (l *load) produce(ctx context.Context, p *producer) {
	limit := rate.NewLimiter(killRate, 50)
	for n := uint64(0); limit.Wait(ctx) == nil; n++ {
		s := &verify.Send{Value: n*killProducers + uint64(p.id), Producer: p.id, Partition: int32(n % killPartitions), Begun: l.now()}
		p.sends = append(p.sends, s)
		p.client.Produce(context.Background(), &kgo.Record{Partition: s.Partition, Value: l.value(s.Value)}, func(r *kgo.Record, err error) {
			if err != nil {
				p.errs = append(p.errs, fmt.Errorf("send %d: %w", s.Value, err))
				return // its outcome is unknown
			}
			s.Outcome, s.Offset, s.Ended = verify.OK, r.Offset, l.now()
			l.acked.Add()
		})
	}
}

// value is text that begins with the number; the rest follows from it.
func (l *load) value(n uint64) []byte {
	size := 32 + n*2654435761%1000
	from := n * 7919 % uint64(len(l.text)-2048)
	return append(binary.BigEndian.AppendUint64(nil, n), l.text[from:from+size]...)
}

func (l *load) poll(ctx context.Context, r *reader) {
	f := r.client.PollFetches(ctx)
	f.EachError(func(_ string, p int32, err error) {
		if ctx.Err() == nil {
			r.errs = append(r.errs, fmt.Errorf("session %d, partition %d: %w", r.session, p, err))
		}
	})
	f.EachRecord(func(k *kgo.Record) {
		if len(k.Value) < 8 || !bytes.Equal(k.Value, l.value(binary.BigEndian.Uint64(k.Value))) {
			r.errs = append(r.errs, fmt.Errorf("session %d, partition %d, offset %d: a value that nobody wrote: %.40q", r.session, k.Partition, k.Offset, k.Value))
			return
		}
		r.reads = append(r.reads, verify.Read{Session: r.session, Partition: k.Partition, Offset: k.Offset, Value: binary.BigEndian.Uint64(k.Value)})
		r.next[k.Partition] = k.Offset + 1
	})
}

// finish stops the producers, lets everybody read to the end, reads once more from the
// beginning, and returns the history.
func (l *load) finish(t *testing.T, b *harness.Broker) *verify.History {
	t.Helper()
	l.stop()
	l.producing.Wait()
	h := &verify.History{Complete: true, Idempotent: true}
	for _, p := range l.producers {
		if err := p.client.Flush(within(t, time.Minute)); err != nil {
			t.Fatalf("flush: %v", err)
		}
		faults(t, "producer", p.errs)
		for _, s := range p.sends {
			h.Sends = append(h.Sends, *s)
		}
	}
	l.quit()
	l.reading.Wait()
	last := &load{topic: l.topic, text: l.text}
	ctx, quit := context.WithCancel(within(t, 2*time.Minute))
	defer quit()
	l.readToEnd(t, ctx, b, last)
	for _, r := range append(l.readers, last.readers...) {
		faults(t, "reader", r.errs)
		h.Reads = append(h.Reads, r.reads...)
	}
	return h
}

// readToEnd reads everything from offset 0 on in a new session.
func (l *load) readToEnd(t *testing.T, ctx context.Context, b *harness.Broker, last *load) {
	t.Helper()
	ends, err := admin(t, b).ListEndOffsets(ctx, l.topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		t.Fatal(err)
	}
	from := map[int32]kgo.Offset{}
	for p := range int32(killPartitions) {
		from[p] = kgo.NewOffset().At(0)
	}
	r := &reader{session: 1000, next: map[int32]int64{}}
	r.client = client(t, b, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.topic: from}), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	last.readers = append(last.readers, r)
	for p := int32(0); p < killPartitions; {
		if end, _ := ends.Lookup(l.topic, p); r.next[p] >= end.Offset {
			p++
			continue
		}
		if l.poll(ctx, r); ctx.Err() != nil {
			t.Fatalf("the final read ended at %v: %v", r.next, ctx.Err())
		}
	}
}
