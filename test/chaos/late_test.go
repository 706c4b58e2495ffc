//go:build e2e || chaos

package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/varvelog/varve/test/chaos/load"
	"github.com/varvelog/varve/test/harness"
	"github.com/varvelog/varve/test/verify"
)

const (
	addPartitionsToTxnKey = 24
	endTxnKey             = 26
)

// late holds requests of transactional clients until their transactions are history.
type late struct {
	net *harness.KafkaProxy
	// key is which requests are held, due at which of its client's later requests they are
	// delivered, before it: given what the client has done since.
	key    int16
	due    func(r harness.Request, since map[int16]int) bool
	answer func() kmsg.Response
	code   func(kmsg.Response) int16

	mu    sync.Mutex
	rng   *rand.Rand
	held  map[string]harness.Request // by client
	since map[string]map[int16]int   // how many requests of each key came since, by client
	codes map[int16]int              // what the broker answered to late requests
	err   error
}

// heldShare is one in so many.
const heldShare = 5

// decide is for Inject.
func (l *late) decide(r harness.Request) harness.Action {
	l.mu.Lock()
	defer l.mu.Unlock()
	held, holds := l.held[r.Client]
	if !holds {
		if r.Key == l.key && strings.Contains(r.Client, "-worker-") && l.rng.IntN(heldShare) == 0 {
			l.held[r.Client], l.since[r.Client] = r, map[int16]int{}
			return harness.Hold
		}
		return harness.Pass
	}
	if l.due(r, l.since[r.Client]) {
		delete(l.held, r.Client)
		answer := l.answer()
		if err := l.net.Deliver(held, answer); err != nil && l.err == nil {
			l.err = err
		}
		l.codes[l.code(answer)]++
	}
	if since := l.since[r.Client]; since != nil {
		since[r.Key]++
	}
	return harness.Pass
}

// delivered is how many late requests were answered.
func (l *late) delivered() (n int, codes map[string]int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	codes = map[string]int{}
	for code, times := range l.codes {
		n += times
		codes[fmt.Sprint(kerr.TypedErrorForCode(code))] += times
	}
	return n, codes, l.err
}

// run puts W3 under late requests until enough came, and judges it.
func (l *late) run(t *testing.T, name string, shape load.Shape) *verify.History {
	t.Helper()
	l.rng, l.held, l.since, l.codes = harness.Seeded(t), map[string]harness.Request{}, map[string]map[int16]int{}, map[int16]int{}
	b, p := behindProxy(t, func(sets ...string) *harness.Broker {
		return harness.StartBroker(t, append(sets, fmt.Sprintf("transaction.abort.timed.out.transaction.cleanup.interval.ms=%d", txnCheck.Milliseconds()))...)
	})
	l.net = p
	shape.Timeout = txnTimeout
	w3 := load.Start(t, p.Address, name, shape)
	w3.Wait(ackLimit, acksBefore)
	w3.Fault(verify.Disturbance{Kind: "late", Progress: true}, func() {
		p.Inject(l.decide)
		for more := until(t, time.Second, 1); more(); {
			w3.Wait(ackLimit, acksAfter)
		}
		harness.Until(t, ackLimit, "late requests", func() error {
			if n, _, err := l.delivered(); n < hurtRequests || err != nil {
				return fmt.Errorf("%d (%w)", n, err)
			}
			return nil
		})
		p.Inject(nil)
	})
	w3.StopProducing()
	w3.Settled(settleLimit())
	n, codes, err := l.delivered()
	t.Logf("%d late requests: %v (%v)", n, codes, err)
	return finish(t, b, w3, 1)
}

// TestR15ALateEndIsFenced holds an EndTxn of a transaction until the next one of the same
// producer has writes: it is refused, and ends nothing. Clients of version 2 send the end
// again by themselves; those of version 1 have nothing but a new epoch against it, as with
// Apache Kafka (KIP-890), and begin anew when they do not know how a transaction ended.
func TestR15ALateEndIsFenced(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			shape := load.W3()
			shape.V1, shape.Once = p.v1, p.v1
			l := &late{
				key: endTxnKey,
				due: func(r harness.Request, since map[int16]int) bool {
					return r.Key == endTxnKey && since[produceKey] > 0 // all writes of the next one are answered
				},
				answer: func() kmsg.Response { return kmsg.NewPtrEndTxnResponse() },
				code:   func(r kmsg.Response) int16 { return r.(*kmsg.EndTxnResponse).ErrorCode },
			}
			l.run(t, "r15", shape)
			for code := range l.codes {
				if code != kerr.ProducerFenced.Code && code != kerr.InvalidProducerEpoch.Code {
					t.Errorf("a late EndTxn was answered with %v", kerr.TypedErrorForCode(code))
				}
			}
		})
	}
}

// TestR16ALateProduceIsNotAppended holds a batch, which the client sends again, until its
// transaction has ended, half of them by an abort: it is not appended, and nothing hangs.
// While the markers are on their way it is what was sent twice, and has the offset of then.
func TestR16ALateProduceIsNotAppended(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			shape := load.W3()
			shape.V1, shape.Aborts = p.v1, 0.5
			var taken [][2]int64 // partitions and offsets
			l := &late{
				key: produceKey,
				due: func(r harness.Request, since map[int16]int) bool {
					return since[endTxnKey] > 0 && (r.Key == addPartitionsToTxnKey || r.Key == produceKey) // of the next one
				},
				answer: func() kmsg.Response { return kmsg.NewPtrProduceResponse() },
				code: func(r kmsg.Response) int16 {
					p := r.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
					if p.ErrorCode == 0 {
						taken = append(taken, [2]int64{int64(p.Partition), p.BaseOffset})
					}
					return p.ErrorCode
				},
			}
			h := l.run(t, "r16", shape)
			for _, place := range taken {
				if !slices.ContainsFunc(h.Sends, func(s verify.Send) bool {
					return s.Outcome == verify.OK && [2]int64{int64(s.Partition), s.Offset} == place
				}) {
					t.Errorf("a late batch was acknowledged at partition %d, offset %d, where nothing was before", place[0], place[1])
				}
			}
		})
	}
}

// transactor is a transactional client of one protocol. Partitions are the records' own.
func transactor(t *testing.T, address, id string, v1 bool) *kgo.Client {
	t.Helper()
	options := []kgo.Opt{
		kgo.SeedBrokers(address), kgo.TransactionalID(id), kgo.TransactionTimeout(time.Minute), kgo.AlwaysRetryEOF(),
		kgo.DefaultProduceTopic(id), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
	}
	if v1 {
		options = append(options, kgo.MaxVersions(kversion.V3_7_0()))
	}
	c, err := kgo.NewClient(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestR16ALateProduceOfAnAbortedTransaction holds a batch of a transaction and all that
// the client sends in its place, until another instance has aborted it: the broker has
// never seen it. It is refused, in a partition that the transaction was in and in another
// one, and holds up no reader.
func TestR16ALateProduceOfAnAbortedTransaction(t *testing.T) {
	for _, v := range protocols {
		for partition := range 2 {
			want := [2]int64{2, 0} // a record and a marker; nothing
			if v.v1 && partition == 1 {
				want[1] = 1 // clients of version 1 add a partition first: it has a marker
			}
			t.Run(fmt.Sprintf("%s partition %d", v.name, partition), func(t *testing.T) {
				_, p := behindProxy(t, func(sets ...string) *harness.Broker { return harness.StartBroker(t, sets...) })
				ctx := within(t, 2*time.Minute)
				c := transactor(t, p.Address, "late", v.v1)
				if r, err := kadm.NewClient(c).CreateTopic(ctx, 2, 1, nil, "late"); err != nil || r.Err != nil {
					t.Fatal(err, r.Err)
				}
				if err := c.BeginTransaction(); err != nil {
					t.Fatal(err)
				}
				if err := c.ProduceSync(ctx, kgo.StringRecord("first")).FirstErr(); err != nil {
					t.Fatal(err)
				}
				held := holdProduce(p)
				c.Produce(ctx, &kgo.Record{Value: []byte("late"), Partition: int32(partition)}, nil)
				harness.Until(t, ackLimit, "a held batch", func() error {
					if len(held()) == 0 {
						return errors.New("none")
					}
					return nil
				})
				next := transactor(t, p.Address, "late", v.v1)
				if _, _, err := next.ProducerID(ctx); err != nil { // aborts what is open
					t.Fatal(err)
				}
				c.Close()
				p.Inject(nil)
				for _, r := range held() {
					for _, code := range deliverProduce(t, p, r) {
						if code == 0 {
							t.Error("a late batch was taken")
						}
					}
				}
				if stable, high := offsets(ctx, t, next); stable != want || high != want {
					t.Errorf("partitions end at %v and are stable to %v, want %v", high, stable, want)
				}
				if err := next.BeginTransaction(); err != nil {
					t.Fatal(err)
				}
				if err := next.ProduceSync(ctx, kgo.StringRecord("next")).FirstErr(); err != nil {
					t.Error(err)
				}
				if err := next.EndTransaction(ctx, kgo.TryCommit); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// holdProduce holds every produce request from now on; it returns what was held so far.
func holdProduce(p *harness.KafkaProxy) (held func() []harness.Request) {
	var mu sync.Mutex
	var list []harness.Request
	p.Inject(func(r harness.Request) harness.Action {
		if r.Key != produceKey {
			return harness.Pass
		}
		mu.Lock()
		defer mu.Unlock()
		list = append(list, r)
		return harness.Hold
	})
	return func() []harness.Request {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(list)
	}
}

// deliverProduce returns the codes of a late produce request's partitions.
func deliverProduce(t *testing.T, p *harness.KafkaProxy, r harness.Request) (codes []int16) {
	t.Helper()
	answer := kmsg.NewPtrProduceResponse()
	if err := p.Deliver(r, answer); err != nil {
		t.Fatal(err)
	}
	for _, topic := range answer.Topics {
		for _, partition := range topic.Partitions {
			codes = append(codes, partition.ErrorCode)
		}
	}
	return codes
}

// offsets are the last stable offsets and the high watermarks of topic "late".
func offsets(ctx context.Context, t *testing.T, c *kgo.Client) (stable, high [2]int64) {
	t.Helper()
	committed, err := kadm.NewClient(c).ListCommittedOffsets(ctx, "late")
	if err != nil {
		t.Fatal(err)
	}
	ends, err := kadm.NewClient(c).ListEndOffsets(ctx, "late")
	if err != nil {
		t.Fatal(err)
	}
	for p := range stable {
		s, _ := committed.Lookup("late", int32(p))
		e, _ := ends.Lookup("late", int32(p))
		stable[p], high[p] = s.Offset, e.Offset
	}
	return stable, high
}

// fenced is a producer whose transactional id another one took over by a moment.
type fenced struct {
	producer int32
	at       int64
}

// TestR17HijackedProducersAreFenced takes over transactional ids under W3, every two
// seconds or faster: what the former owner sends from then on is not acknowledged, neither
// a record nor a commit.
func TestR17HijackedProducersAreFenced(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			rng := harness.Seeded(t)
			b := harness.StartBroker(t, quick("transaction.abort.timed.out.transaction.cleanup.interval.ms=200")...)
			shape := load.W3()
			shape.V1, shape.Timeout = p.v1, txnTimeout
			l := load.Start(t, b.Address, "r17", shape)
			l.Wait(ackLimit, acksBefore)
			var list []fenced
			const rounds = 10
			for more := until(t, 2*time.Second, rounds); more(); {
				l.Fault(verify.Disturbance{Kind: "hijack", Progress: true}, func() {
					producer, err := l.Hijack(within(t, ackLimit), rng.IntN(shape.Transactors))
					if err != nil {
						t.Fatal(err)
					}
					list = append(list, fenced{producer, l.Recorder.Now()})
					l.Wait(ackLimit, acksAfter/4)
				})
				pause(time.Duration(rng.Int64N(int64(200 * time.Millisecond))))
			}
			l.StopProducing()
			l.Settled(settleLimit())
			h := l.Finish()
			for _, f := range list {
				acked, commits := ackedTo(h, f)
				if acked+commits > 0 {
					t.Errorf("producer %d was fenced at %d, and %d sends and %d commits were acknowledged to it", f.producer, f.at, acked, commits)
				}
			}
			h.Expect = &verify.Expect{Faults: rounds, Before: acksBefore}
			h.Incidents = append(h.Incidents, verify.Health("varve", b.Output())...)
			t.Logf("%d hijacks, %d sends, %d reads, %d transactions", len(list), len(h.Sends), len(h.Reads), len(h.Txns))
			judge(t, h)
		})
	}
}

// ackedTo counts what a fenced producer began after it was, and what was acknowledged all
// the same. A transaction without records ends without the broker.
func ackedTo(h *verify.History, f fenced) (sends, commits int) {
	wrote := map[uint32]bool{}
	for i := range h.Sends {
		s := &h.Sends[i]
		if s.Producer != f.producer || s.Outcome != verify.OK {
			continue
		}
		wrote[s.Txn] = true
		if s.Begun > f.at {
			sends++
		}
	}
	for i := range h.Txns {
		if t := &h.Txns[i]; wrote[t.ID] && t.Producer == f.producer && t.End == verify.Commit && t.Outcome == verify.OK && t.Begun > f.at {
			commits++
		}
	}
	return sends, commits
}

// TestR17ASequenceIsUsedAgainAfterAnAbort: the first sequences of a producer's next epoch
// are those of its last one, which was aborted. What has them is new and is appended, not
// taken for the aborted batch sent twice (Redpanda's #5026), also after a kill.
func TestR17ASequenceIsUsedAgainAfterAnAbort(t *testing.T) {
	for _, v := range protocols {
		t.Run(v.name, func(t *testing.T) {
			b := harness.StartBroker(t, quick()...)
			ctx := within(t, 3*time.Minute)
			c := transactor(t, b.Address, "again", v.v1)
			if r, err := kadm.NewClient(c).CreateTopic(ctx, 1, 1, nil, "again"); err != nil || r.Err != nil {
				t.Fatal(err, r.Err)
			}
			next := int64(0)
			for i := range 6 {
				if err := c.BeginTransaction(); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					r := kgo.StringRecord(fmt.Sprint(i))
					if err := c.ProduceSync(ctx, r).FirstErr(); err != nil {
						t.Fatal(err)
					}
					if r.Offset < next {
						t.Errorf("transaction %d: offset %d, which is an older record's", i, r.Offset)
					}
					next = r.Offset + 1
				}
				if err := c.EndTransaction(ctx, kgo.TransactionEndTry(i%2 == 1)); err != nil {
					t.Fatal(err)
				}
				if v.v1 { // a new instance has a new epoch, which version 2 gives to each transaction
					c = transactor(t, b.Address, "again", v.v1)
				}
				if i == 3 {
					b.Kill()
					b.Start()
				}
			}
		})
	}
}
