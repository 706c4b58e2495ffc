//go:build interop

package interop

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// featureEvery is how many requests of a transaction pass before transaction.version changes.
const featureEvery = 23

// changingFeature is a broker whose transaction.version is lowered to 1 and raised to 2 again
// beside a client that copies a topic in transactions (KIP-890). It changes at a request
// of a transaction, whose connection is cut then, before or after it is done: clients learn
// of features when they connect.
type changingFeature struct {
	address string // past the proxy
	proxy   *harness.KafkaProxy

	mu      sync.Mutex // guards what follows
	passed  int
	changes int // the feature is low after an odd number
	failed  error
	ends    []int16 // the versions of EndTxn, without repetitions
}

func startChangingFeature(t *testing.T) *changingFeature {
	t.Helper()
	address := harness.FreeAddress(t)
	f := &changingFeature{address: address, proxy: harness.StartKafkaProxy(t, address)}
	harness.StartBroker(t, "listeners=PLAINTEXT://"+address, "advertised.listeners=PLAINTEXT://"+f.proxy.Address)
	return f
}

func (f *changingFeature) decide(r harness.Request) harness.Action {
	switch kmsg.Key(r.Key) {
	case kmsg.Produce, kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn, kmsg.TxnOffsetCommit, kmsg.EndTxn:
	default:
		return harness.Pass
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.ends); kmsg.Key(r.Key) == kmsg.EndTxn && (n == 0 || f.ends[n-1] != r.Version) {
		f.ends = append(f.ends, r.Version)
	}
	if f.passed++; f.passed%featureEvery != 0 {
		return harness.Pass
	}
	f.failed = errors.Join(f.failed, f.change())
	return []harness.Action{harness.CutAnswer, harness.CutBefore}[f.changes/2%2]
}

// change lowers the feature, or raises it where it is low, past the proxy.
func (f *changingFeature) change() error {
	const safeDowngrade, upgrade = 2, 1
	level, kind := int16(1), int8(safeDowngrade)
	if f.changes%2 == 1 {
		level, kind = 2, upgrade
	}
	f.changes++
	c, err := dialFor(f.address)
	if err != nil {
		return err
	}
	defer c.Close()
	q := kmsg.NewPtrUpdateFeaturesRequest()
	q.Version, q.TimeoutMillis = 2, int32(rawLimit.Milliseconds())
	q.FeatureUpdates = append(q.FeatureUpdates, featureUpdate("transaction.version", level, kind))
	p, err := c.exchange(q)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(p.(*kmsg.UpdateFeaturesResponse).ErrorCode)
}

// TestTxnFeatureChangesUnderAClient lowers and raises transaction.version beside a client that
// lives through it: the copy has every record once, and nothing is left open.
func TestTxnFeatureChangesUnderAClient(t *testing.T) {
	t.Parallel()
	const n = 1500
	for _, test := range []struct {
		client string
		copies func(t *testing.T, address, in, out string, n int)
		low    bool // the feature is low at first
		sends  []int16
	}{
		{"java", copyByJava, false, []int16{5, 4, 5, 4}},
		{"kgo", copyByKgo, true, []int16{4, 5}}, // it follows upwards only
	} {
		t.Run(test.client, func(t *testing.T) {
			f := startChangingFeature(t)
			if test.low {
				if err := f.change(); err != nil {
					t.Fatal(err)
				}
			}
			in, out := topicOf(t, "in"), topicOf(t, "out")
			createOn(t, f.address, in, 1)
			createOn(t, f.address, out, 1)
			produce(t, clientOf(t, f.address), numbered(in, n)...)
			f.proxy.Inject(f.decide)
			test.copies(t, f.proxy.Address, in, out, n)

			f.mu.Lock()
			changes, ends, failed := f.changes, f.ends, f.failed
			f.mu.Unlock()
			t.Logf("%d changes; versions of EndTxn: %v", changes, ends)
			if failed != nil || len(ends) < len(test.sends) || !slices.Equal(ends[:len(test.sends)], test.sends) {
				t.Errorf("%d changes (%v); versions of EndTxn: %v, want %v and so on", changes, failed, ends, test.sends)
			}
			mustBeCopied(t, f.address, out, n)
		})
	}
}

func copyByJava(t *testing.T, address, in, out string, _ int) {
	t.Helper()
	copied := harness.Kafka(t, "", messageCopier, "--broker-list", address, "--input-topic", in, "--input-partition", "0", "--output-topic", out,
		"--consumer-group", "copiers", "--transactional-id", "copier", "--transaction-size", "20", "--enable-random-aborts", "--use-group-metadata")
	if !strings.Contains(copied, "ShutdownComplete") {
		t.Fatalf("the copier:\n%s", copied)
	}
}

func copyByKgo(t *testing.T, address, in, out string, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*testLimit)
	defer cancel()
	s, err := kgo.NewGroupTransactSession(
		kgo.SeedBrokers(address), kgo.TransactionalID("copier"), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumerGroup("copiers"),
		kgo.ConsumeTopics(in), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DefaultProduceTopic(out))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a := kadm.NewClient(s.Client())
	for {
		// An end whose answer was lost may be one all the same: what counts are the offsets.
		offsets, err := a.FetchOffsets(ctx, "copiers")
		if err != nil {
			t.Fatal(err)
		}
		if at, ok := offsets.Lookup(in, 0); ok && at.At == int64(n) {
			return
		}
		poll, stop := context.WithTimeout(ctx, time.Second)
		fetches := s.PollRecords(poll, 20)
		stop()
		if err := s.Begin(); err != nil {
			t.Fatal(err)
		}
		promise := kgo.AbortingFirstErrPromise(s.Client())
		fetches.EachRecord(func(r *kgo.Record) {
			s.Produce(ctx, &kgo.Record{Key: r.Key, Value: r.Value}, promise.Promise())
		})
		if _, err := s.End(ctx, promise.Err() == nil); err != nil {
			t.Logf("end: %v", err)
		}
	}
}

// mustBeCopied reads what is committed to the end.
func mustBeCopied(t *testing.T, address, topic string, n int) {
	t.Helper()
	c := clientOf(t, address, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	a := kadm.NewClient(c)
	var end int64
	harness.Until(t, testLimit, "the end of every transaction", func() error {
		ends, err := a.ListEndOffsets(t.Context(), topic)
		if err != nil {
			return err
		}
		stable, err := a.ListCommittedOffsets(t.Context(), topic)
		if err != nil {
			return err
		}
		o, _ := ends.Lookup(topic, 0)
		if s, _ := stable.Lookup(topic, 0); s.Offset != o.Offset || o.Offset == 0 {
			return fmt.Errorf("last stable offset %d, end %d", s.Offset, o.Offset)
		}
		end = o.Offset
		return nil
	})
	var got []string
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for next := int64(0); next < end; {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("at offset %d of %d: %v", next, end, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if next = r.Offset + 1; !r.Attrs.IsControl() {
				got = append(got, string(r.Value))
			}
		})
	}
	want := make([]string, n)
	for i := range want {
		want[i] = fmt.Sprintf("value-%06d", i)
	}
	slices.Sort(got)
	same(t, "the copy of "+strconv.Itoa(n)+" records", got, want)
}
