//go:build e2e || chaos

package chaos

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/test/chaos/load"
	"github.com/varvelog/varve/test/harness"
	"github.com/varvelog/varve/test/verify"
)

// behindProxy starts a broker that tells clients to come by a proxy. get makes the broker.
func behindProxy(t *testing.T, start func(sets ...string) *harness.Broker) (*harness.Broker, *harness.KafkaProxy) {
	t.Helper()
	address := harness.FreeAddress(t)
	p := harness.StartKafkaProxy(t, address)
	b := start(quick("listeners=PLAINTEXT://"+address, "advertised.listeners=PLAINTEXT://"+p.Address)...)
	return b, p
}

const produceKey = 0

// hurtRequests is how many requests have to be hurt for a run to prove something.
const hurtRequests = 20

// TestR12LostAnswersDuplicatesAndReorderedRequests hurts every few produce requests on
// their way: an idempotent producer's records are there once and in order all the same.
func TestR12LostAnswersDuplicatesAndReorderedRequests(t *testing.T) {
	for _, c := range []struct {
		name    string
		actions []harness.Action
	}{
		{"lost answers", []harness.Action{harness.CutAnswer}},
		{"lost requests", []harness.Action{harness.CutBefore}},
		{"duplicates", []harness.Action{harness.Duplicate}},
		{"reordered", []harness.Action{harness.Swap}},
		{"everything", []harness.Action{harness.CutAnswer, harness.CutBefore, harness.Duplicate, harness.Swap}},
	} {
		t.Run(c.name, func(t *testing.T) {
			rng := harness.Seeded(t)
			b, p := behindProxy(t, func(sets ...string) *harness.Broker { return harness.StartBroker(t, sets...) })
			l := load.Start(t, p.Address, "r12", load.W2())
			l.Wait(ackLimit, acksBefore)
			var mu sync.Mutex
			hurt := 0
			l.Fault(verify.Disturbance{Kind: "proxy", Progress: true}, func() {
				p.Inject(func(r harness.Request) harness.Action {
					mu.Lock()
					defer mu.Unlock()
					if r.Key != produceKey || rng.IntN(10) > 0 {
						return harness.Pass
					}
					hurt++
					return c.actions[rng.IntN(len(c.actions))]
				})
				for more := until(t, time.Second, 1); more(); {
					l.Wait(ackLimit, acksBefore)
				}
				harness.Until(t, ackLimit, "hurt requests", func() error {
					mu.Lock()
					defer mu.Unlock()
					if hurt < hurtRequests {
						return fmt.Errorf("%d", hurt)
					}
					return nil
				})
				p.Inject(nil)
			})
			finish(t, b, l, 1)
		})
	}
}

// TestR12SequencesWrap sends batches across sequence 2^31-1, after which 0 follows
// (KIP-98), each twice, with a kill in between.
func TestR12SequencesWrap(t *testing.T) {
	b := harness.StartBroker(t, quick()...)
	c, err := kgo.NewClient(kgo.SeedBrokers(b.Address), kgo.MaxVersions(kversion.V3_7_0()), kgo.AlwaysRetryEOF())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := kmsgCreate("wrap").RequestWith(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	send := func(sequence int32, records int) kmsg.ProduceResponseTopicPartition {
		t.Helper()
		var list []batch.Record
		for i := range records {
			list = append(list, batch.Record{Timestamp: time.Now().UnixMilli(), Value: fmt.Append(nil, i)})
		}
		data, err := batch.Builder{ProducerID: 1 << 40, BaseSequence: sequence}.Build(0, -1, list)
		if err != nil {
			t.Fatal(err)
		}
		r, err := kmsgProduce("wrap", data).RequestWith(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return r.Topics[0].Partitions[0]
	}
	want := func(what string, p kmsg.ProduceResponseTopicPartition, code *kerr.Error, offset int64) {
		t.Helper()
		expected := int16(0)
		if code != nil {
			expected = code.Code
		}
		if p.ErrorCode != expected || code == nil && p.BaseOffset != offset {
			t.Errorf("%s: error %d at offset %d, want %d at %d", what, p.ErrorCode, p.BaseOffset, expected, offset)
		}
	}
	want("before", send(math.MaxInt32-3, 2), nil, 0)
	want("across", send(math.MaxInt32-1, 5), nil, 2) // 2^31-2, 2^31-1, 0, 1, 2
	want("across again", send(math.MaxInt32-1, 5), nil, 2)
	b.Kill()
	b.Start()
	want("across after a kill", send(math.MaxInt32-1, 5), nil, 2)
	want("a gap", send(4, 1), kerr.OutOfOrderSequenceNumber, 0)
	want("after", send(3, 1), nil, 7)
}

func kmsgCreate(topic string) *kmsg.CreateTopicsRequest {
	q := kmsg.NewPtrCreateTopicsRequest()
	q.TimeoutMillis = 10_000
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = topic, 1, 1
	q.Topics = append(q.Topics, t)
	return q
}

func kmsgProduce(topic string, data []byte) *kmsg.ProduceRequest {
	q := kmsg.NewPtrProduceRequest()
	q.Acks, q.TimeoutMillis = -1, 10_000
	t, p := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	p.Records = data
	t.Topic, t.Partitions = topic, append(t.Partitions, p)
	q.Topics = append(q.Topics, t)
	return q
}

// TestR13ProducersSurviveRestarts restarts the broker, cleanly and not, while five
// batches of one producer are under way: none of them is appended twice.
func TestR13ProducersSurviveRestarts(t *testing.T) {
	rng := harness.Seeded(t)
	b := harness.StartBroker(t, quick()...)
	shape := load.W2()
	shape.Rate = 3000
	l := load.Start(t, b.Address, "r13", shape)
	l.Wait(ackLimit, acksBefore)
	const rounds = 4
	for more := until(t, 3*time.Second, rounds); more(); {
		l.Fault(verify.Disturbance{Kind: "restart", Restart: true}, func() {
			if rng.IntN(2) == 0 {
				b.Kill()
			} else if err := b.Stop(startLimit); err != nil {
				t.Fatal(err)
			}
			b.Start()
		})
		l.Wait(ackLimit, acksAfter)
		pause(time.Duration(rng.Int64N(int64(300 * time.Millisecond))))
	}
	finish(t, b, l, rounds)
}

// TestR13ProducerIDsExpire lets the broker forget producers while they pause: what they
// send next is taken (KIP-360), once and in order.
func TestR13ProducerIDsExpire(t *testing.T) {
	b := harness.StartBroker(t, quick("producer.id.expiration.ms=20", "producer.id.expiration.check.interval.ms=10")...)
	shape := load.W2()
	shape.Rate, shape.Producers = 200, 8
	l := load.Start(t, b.Address, "r13", shape)
	for more := until(t, 2*time.Second, 1); more(); {
		l.Wait(ackLimit, acksAfter)
	}
	l.Wait(ackLimit, acksBefore)
	h := l.Finish()
	h.Expect = &verify.Expect{Before: acksBefore}
	judge(t, h)
}
