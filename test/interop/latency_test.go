//go:build interop

package interop

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// Rows of MISSION.md 1.1 that speak of time. The limits are far above what is measured,
// since the machine may be busy; the figures are printed (go test -v) and `make bench`
// measures for good.

// busy is what other work of the machine, on the same disk above all, may add to the
// median of operations that take a millisecond or two.
const busy = 100 * time.Millisecond

// latencies of single operations, sorted.
type latencies []time.Duration

func measure(n int, do func(i int)) latencies {
	var all latencies
	for i := range n {
		begin := time.Now()
		do(i)
		all = append(all, time.Since(begin))
	}
	slices.Sort(all)
	return all
}

func (l latencies) at(percent int) time.Duration { return l[min(len(l)-1, len(l)*percent/100)] }

func (l latencies) String() string {
	return fmt.Sprintf("p50 %v, p99 %v", l.at(50).Round(time.Microsecond), l.at(99).Round(time.Microsecond))
}

// TestC8CostDoesNotGrowWithRetainedBytes: producing to and reading the end of a
// partition with 150 MB behind it, mostly in the bucket, beside one with nothing; and
// the broker's memory before and after.
func TestC8CostDoesNotGrowWithRetainedBytes(t *testing.T) {
	b := harness.StartBroker(t, "remote.log.manager.task.interval.ms=100", "log.retention.check.interval.ms=100")
	young, old := topicOf(t, "young"), topicOf(t, "old")
	for _, topic := range []string{young, old} {
		createOn(t, b.Address, topic, 1, "segment.bytes=1048576", "local.retention.bytes=2097152")
	}
	tail := func(topic string) latencies {
		producer := clientOf(t, b.Address, kgo.ProducerLinger(0))
		warm := &kgo.Record{Topic: topic, Value: []byte("warm")}
		produce(t, producer, warm)
		reader := clientOf(t, b.Address, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(warm.Offset)}}))
		poll(t, reader, 1)
		return measure(300, func(int) {
			produce(t, producer, &kgo.Record{Topic: topic, Value: make([]byte, 100)})
			poll(t, reader, 1)
		})
	}
	empty, before := tail(young), residentBytes(t, b.Pid())
	c := clientOf(t, b.Address, kgo.ProducerBatchCompression(kgo.NoCompression()))
	value := []byte(strings.Repeat("history ", 10_000/8))
	for range 30 {
		var batch []*kgo.Record
		for range 500 {
			batch = append(batch, &kgo.Record{Topic: old, Value: value})
		}
		produce(t, c, batch...)
	}
	b.WaitTiered(t, testLimit, 5<<20, old)
	full, after := tail(old), residentBytes(t, b.Pid())
	t.Logf("produce and see it: %v with an empty log, %v with %d MB in the bucket; broker %d MB before, %d MB after",
		empty, full, b.Tiers(t, old)[0].RemoteBytes>>20, before>>20, after>>20)
	if full.at(50) > 3*empty.at(50)+busy {
		t.Errorf("the tail has become slow: %v, was %v", full, empty)
	}
	if after > before+150<<20 {
		t.Errorf("the broker has grown from %d to %d bytes", before, after)
	}
}

// residentBytes is what a process holds in memory.
func residentBytes(t testing.TB, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// TestC24ProducersDoNotWaitForConsumers: the producer's latency without any consumer
// beside that with two.
func TestC24ProducersDoNotWaitForConsumers(t *testing.T) {
	topic := topicOf(t)
	create(t, topic, 1)
	producer := client(t, kgo.ProducerLinger(0))
	send := func(i int) { produce(t, producer, &kgo.Record{Topic: topic, Value: fmt.Append(nil, i)}) }
	send(0)
	alone := measure(500, send)
	ctx, cancel := context.WithCancel(within(t))
	var readers sync.WaitGroup
	for range 2 {
		reader := client(t, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		readers.Go(func() {
			for ctx.Err() == nil {
				reader.PollFetches(ctx)
			}
		})
	}
	read := measure(500, send)
	cancel()
	readers.Wait()
	t.Logf("acknowledged: %v without consumers, %v with two", alone, read)
	if alone.at(50) > 3*read.at(50)+busy || read.at(50) > 3*alone.at(50)+busy {
		t.Errorf("without consumers %v, with two %v", alone, read)
	}
}

// TestC26RecordsAreVisibleAtOnce: from produce to consume in well under 10 ms (printed),
// and a long poll ends when a record arrives, not when its time is up.
func TestC26RecordsAreVisibleAtOnce(t *testing.T) {
	topic := topicOf(t)
	create(t, topic, 1)
	producer := client(t, kgo.ProducerLinger(0))
	reader := client(t, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(10*time.Second))
	produce(t, producer, &kgo.Record{Topic: topic, Value: []byte("warm")})
	poll(t, reader, 1)
	l := measure(300, func(i int) {
		produce(t, producer, &kgo.Record{Topic: topic, Value: fmt.Append(nil, i)})
		poll(t, reader, 1)
	})
	t.Logf("produce to consume: %v", l)
	if l.at(50) > busy {
		t.Errorf("p50 is above %v: %v", busy, l)
	}

	q := fetchRequest(topic, [16]byte{}, 0, listOffset(t, topic, -1))
	q.MaxWaitMillis = 15_000
	c := dial(t, broker(t).Address)
	begin := time.Now()
	waiting := time.AfterFunc(300*time.Millisecond, func() {
		producer.Produce(context.Background(), &kgo.Record{Topic: topic, Value: []byte("arrived")}, nil)
	})
	defer waiting.Stop()
	p := ask[*kmsg.FetchResponse](t, c, 12, q).Topics[0].Partitions[0]
	if took := time.Since(begin); took < 250*time.Millisecond || took > 14*time.Second {
		t.Errorf("a long poll of 15 s ended after %v", took)
	}
	if len(p.RecordBatches) == 0 {
		t.Error("the long poll brought nothing")
	}
}
