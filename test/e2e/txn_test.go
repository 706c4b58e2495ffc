//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/test/harness"
	"github.com/varvelog/varve/test/stores"
)

// ends are the offsets of a partition that readers of either isolation may reach.
func ends(t testing.TB, a *kadm.Client, topic string, partition int32) (stable, high int64) {
	t.Helper()
	ctx := within(t, time.Minute)
	committed, err := a.ListCommittedOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	all, err := a.ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := committed.Lookup(topic, partition)
	h, _ := all.Lookup(topic, partition)
	if err := errors.Join(s.Err, h.Err); err != nil {
		t.Fatal(err)
	}
	return s.Offset, h.Offset
}

// readTo reads a partition up to an offset, and returns values in order.
func readTo(t testing.TB, b *harness.Broker, topic string, partition int32, from, to int64, level kgo.IsolationLevel) []string {
	t.Helper()
	c := client(t, b, kgo.FetchIsolationLevel(level), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(from)}}))
	defer c.Close()
	ctx := within(t, time.Minute)
	var values []string
	for next := from; next < to; {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("at offset %d of %d: %v", next, to, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			next = r.Offset + 1
			if !r.Attrs.IsControl() {
				values = append(values, string(r.Value))
			}
		})
	}
	return values
}

// TestTxnIsReadAllOrNotAtAll: G10, G11; with the broker killed at rest as well.
func TestTxnIsReadAllOrNotAtAll(t *testing.T) {
	b := harness.StartBroker(t, quick()...)
	createTopic(t, b, "txn", 2, nil)
	a := admin(t, b)
	p := client(t, b, kgo.TransactionalID("x"), kgo.TransactionTimeout(10*time.Minute), kgo.DefaultProduceTopic("txn"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	ctx := within(t, 3*time.Minute)
	write := func(values ...string) {
		t.Helper()
		for i, v := range values {
			if err := p.ProduceSync(ctx, &kgo.Record{Partition: int32(i % 2), Value: []byte(v)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	end := func(commit kgo.TransactionEndTry) {
		t.Helper()
		if err := p.EndTransaction(ctx, commit); err != nil {
			t.Fatal(err)
		}
	}
	begin := func() {
		t.Helper()
		if err := p.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
	}
	settled := func() {
		t.Helper()
		harness.Until(t, time.Minute, "the last stable offset at the end", func() error {
			for partition := range int32(2) {
				if stable, high := ends(t, a, "txn", partition); stable != high {
					return fmt.Errorf("partition %d: %d, end %d", partition, stable, high)
				}
			}
			return nil
		})
	}

	begin()
	write("a", "b", "c")
	if stable, high := ends(t, a, "txn", 0); stable != 0 || high != 2 {
		t.Errorf("open: last stable offset %d, high watermark %d", stable, high)
	}
	end(kgo.TryCommit)
	settled()
	begin()
	write("x", "y")
	b.Kill() // the transaction is open, and stays so
	b.Start()
	write("z")
	end(kgo.TryAbort)
	settled()
	begin()
	write("d", "e")
	end(kgo.TryCommit)
	settled()
	for range 2 {
		for partition, want := range [][]string{{"a", "c", "d"}, {"b", "e"}} {
			_, high := ends(t, a, "txn", int32(partition))
			if got := readTo(t, b, "txn", int32(partition), 0, high, kgo.ReadCommitted()); !slices.Equal(got, want) {
				t.Errorf("partition %d, committed: %v, want %v", partition, got, want)
			}
			dirty := readTo(t, b, "txn", int32(partition), 0, high, kgo.ReadUncommitted())
			if !slices.Contains(dirty, []string{"x", "y"}[partition]) {
				t.Errorf("partition %d, uncommitted: %v", partition, dirty)
			}
		}
		b.Kill()
		b.Start()
	}
}

// TestTxnOfVersion2NeedsNoVerification: without transaction.partition.verification.enable
// what older clients send is not verified; those whose transactions the broker adds
// partitions to (KIP-890) end them in every partition still.
func TestTxnOfVersion2NeedsNoVerification(t *testing.T) {
	b := harness.StartBroker(t, append(quick(), "transaction.partition.verification.enable=false")...)
	createTopic(t, b, "in", 1, nil)
	createTopic(t, b, "out", 1, nil)
	ctx := within(t, 3*time.Minute)
	if err := client(t, b, kgo.DefaultProduceTopic("in")).ProduceSync(ctx, kgo.StringRecord("v")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	s, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(b.Address), kgo.TransactionalID("unverified"), kgo.DefaultProduceTopic("out"),
		kgo.ConsumerGroup("copy"), kgo.ConsumeTopics("in"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Client().Ping(ctx); err != nil { // or it would not know what the broker offers, and begin an older one
		t.Fatal(err)
	}
	if err := s.Begin(); err != nil {
		t.Fatal(err)
	}
	if n := s.PollFetches(ctx).NumRecords(); n != 1 {
		t.Fatalf("%d records", n)
	}
	if err := s.ProduceSync(ctx, kgo.StringRecord("v")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if committed, err := s.End(ctx, kgo.TryCommit); err != nil || !committed {
		t.Fatalf("committed: %v, %v", committed, err)
	}
	a := admin(t, b)
	harness.Until(t, time.Minute, "the end of the transaction", func() error {
		offsets, err := a.FetchOffsets(ctx, "copy")
		if err != nil {
			return err
		}
		if o, ok := offsets.Lookup("in", 0); !ok || o.At != 1 {
			return fmt.Errorf("committed offset %+v", o)
		}
		if stable, high := ends(t, a, "out", 0); stable != 2 || high != 2 {
			return fmt.Errorf("last stable offset %d, end %d: want the record and its marker", stable, high)
		}
		return nil
	})
}

// TestTxnOfADeadClientEnds: R16, its records hold up readers for its timeout and a check.
func TestTxnOfADeadClientEnds(t *testing.T) {
	b := harness.StartBroker(t, append(quick(), "transaction.abort.timed.out.transaction.cleanup.interval.ms=500")...)
	createTopic(t, b, "dead", 1, nil)
	a := admin(t, b)
	const timeout = 2 * time.Second
	p := client(t, b, kgo.TransactionalID("dead"), kgo.DefaultProduceTopic("dead"), kgo.TransactionTimeout(timeout))
	if err := p.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if err := p.ProduceSync(within(t, time.Minute), kgo.StringRecord("v")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if stable, _ := ends(t, a, "dead", 0); stable != 0 && time.Since(begun) < timeout {
		t.Errorf("last stable offset %d of an open transaction", stable)
	}
	harness.Until(t, time.Minute, "the end of the transaction", func() error {
		if stable, high := ends(t, a, "dead", 0); stable != high || high != 2 {
			return fmt.Errorf("last stable offset %d, end %d", stable, high)
		}
		return nil
	})
	if err := p.ProduceSync(within(t, time.Minute), kgo.StringRecord("late")).FirstErr(); err == nil {
		t.Error("a record of a transaction that has ended was acknowledged")
	}
}

// TestTxnRequestsAreRefused: traps of transactions, each with the code that clients expect.
func TestTxnRequestsAreRefused(t *testing.T) {
	b := harness.StartBroker(t, quick()...)
	createTopic(t, b, "t", 1, nil)
	c := client(t, b)
	ctx := within(t, time.Minute)
	if _, err := kmsg.NewPtrFindCoordinatorRequest().RequestWith(ctx, c); err != nil {
		t.Fatal(err)
	}
	id := "x"
	initialize := func(timeout int32) *kmsg.InitProducerIDResponse {
		q := kmsg.NewPtrInitProducerIDRequest()
		q.TransactionalID, q.TransactionTimeoutMillis = &id, timeout
		var r *kmsg.InitProducerIDResponse
		harness.Until(t, time.Minute, "an answer to InitProducerId", func() (err error) {
			if r, err = q.RequestWith(ctx, c); err == nil && (r.ErrorCode == kerr.CoordinatorLoadInProgress.Code || r.ErrorCode == kerr.ConcurrentTransactions.Code || r.ErrorCode == kerr.NotCoordinator.Code) {
				err = kerr.ErrorForCode(r.ErrorCode)
			}
			return err
		})
		return r
	}
	if r := initialize(900_001); r.ErrorCode != kerr.InvalidTransactionTimeout.Code {
		t.Errorf("timeout above transaction.max.timeout.ms: %v", kerr.ErrorForCode(r.ErrorCode))
	}
	p := initialize(60_000)
	if p.ErrorCode != 0 {
		t.Fatal(kerr.ErrorForCode(p.ErrorCode))
	}
	for _, x := range []struct {
		name    string
		version int16
		id      *string
		epoch   int16
		want    []*kerr.Error
	}{
		{"B15: no transactional id", 12, nil, p.ProducerEpoch, []*kerr.Error{kerr.TransactionalIDAuthorizationFailed}},
		{"verified, not added, newer", 11, &id, p.ProducerEpoch, []*kerr.Error{kerr.TransactionAbortable}},
		{"verified, not added", 9, &id, p.ProducerEpoch, []*kerr.Error{kerr.InvalidTxnState}},
		{"an epoch that nobody has", 9, &id, p.ProducerEpoch + 1, []*kerr.Error{kerr.InvalidProducerEpoch}},
		{"added by the broker", 12, &id, p.ProducerEpoch, []*kerr.Error{nil}},
		{"the same again", 12, &id, p.ProducerEpoch, []*kerr.Error{nil}},
		{"added by the broker for an epoch that nobody has", 12, &id, p.ProducerEpoch + 1, []*kerr.Error{kerr.InvalidProducerEpoch}},
	} {
		if code := produceTxn(ctx, t, c, x.version, x.id, p.ProducerID, x.epoch, 0); !slices.Contains(x.want, kerr.TypedErrorForCode(code)) {
			t.Errorf("%s: %v, want %v", x.name, kerr.ErrorForCode(code), x.want)
		}
	}
	for name, q := range map[string]*kmsg.EndTxnRequest{
		"another producer": {Version: 5, TransactionalID: id, ProducerID: p.ProducerID + 1, ProducerEpoch: p.ProducerEpoch},
		"another epoch":    {Version: 5, TransactionalID: id, ProducerID: p.ProducerID, ProducerEpoch: p.ProducerEpoch + 5},
		"an unknown id":    {Version: 5, TransactionalID: "nobody", ProducerID: p.ProducerID, ProducerEpoch: p.ProducerEpoch},
		"no id":            {Version: 5, ProducerID: p.ProducerID, ProducerEpoch: p.ProducerEpoch},
	} {
		want := map[string]*kerr.Error{
			"another producer": kerr.InvalidProducerIDMapping, "another epoch": kerr.ProducerFenced,
			"an unknown id": kerr.InvalidProducerIDMapping, "no id": kerr.InvalidRequest,
		}[name]
		r, err := q.RequestWith(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		if r.ErrorCode != want.Code {
			t.Errorf("EndTxn, %s: %v, want %v", name, kerr.ErrorForCode(r.ErrorCode), want)
		}
	}
}

// produceTxn sends one record of a transaction and returns its code.
func produceTxn(ctx context.Context, t testing.TB, c *kgo.Client, version int16, id *string, producerID int64, epoch int16, sequence int32) int16 {
	t.Helper()
	m, err := kadm.NewClient(c).ListTopics(ctx, "t")
	if err != nil {
		t.Fatal(err)
	}
	q := kmsg.NewPtrProduceRequest()
	q.Acks, q.TimeoutMillis, q.TransactionID = -1, 10_000, id
	to := kmsg.NewProduceRequestTopic()
	to.Topic, to.TopicID = "t", m["t"].ID
	partition := kmsg.NewProduceRequestTopicPartition()
	partition.Records = txnBatch(t, producerID, epoch, sequence)
	to.Partitions = append(to.Partitions, partition)
	q.Topics = append(q.Topics, to)
	r, err := c.Broker(0).Request(ctx, &pinned{q, version})
	if err != nil {
		t.Fatal(err)
	}
	return r.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode
}

// pinned is a request in a version of its own choice.
type pinned struct {
	*kmsg.ProduceRequest
	at int16
}

func (p *pinned) MaxVersion() int16        { return p.at }
func (p *pinned) SetVersion(version int16) { p.ProduceRequest.SetVersion(min(version, p.at)) }

// TestTxnTieredReads: R29, I33. The partition is read whole, from offsets of the bucket across
// the seam, and from offsets of the disk; no value of an aborted transaction is seen, and no
// other is missed.
func TestTxnTieredReads(t *testing.T) {
	store := minioAt(stores.MinIO(t).Endpoint)
	b := harness.StartBroker(t, store.sets()...)
	createTopic(t, b, "tiered", 1, tiered("local.retention.bytes", "2097152"))
	a := admin(t, b)
	rng := harness.Seeded(t)
	p := client(t, b, kgo.TransactionalID("tiered"), kgo.DefaultProduceTopic("tiered"),
		kgo.ProducerBatchCompression(kgo.NoCompression())) // or nothing would leave the disk
	ctx := within(t, 2*time.Minute)
	var want []string
	padding := strings.Repeat("x", 16<<10)
	for n := range 60 {
		if err := p.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		var values []string
		for i := range 1 + rng.IntN(15) {
			v := fmt.Sprintf("%d-%d-", n, i)
			values = append(values, v)
			p.Produce(ctx, kgo.StringRecord(v+padding), func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("%s: %v", v, err)
				}
			})
		}
		if err := p.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		commit := kgo.TransactionEndTry(n%5 != 3)
		if err := p.EndTransaction(ctx, commit); err != nil {
			t.Fatal(err)
		}
		if commit == kgo.TryCommit {
			want = append(want, values...)
		}
	}
	b.WaitTiered(t, time.Minute, 3<<20, "tiered")
	seam := b.Tiers(t, "tiered")[0].LocalStart
	_, high := ends(t, a, "tiered", 0)
	short := func(values []string) []string {
		for i, v := range values {
			values[i] = strings.TrimRight(v, "x")
		}
		return values
	}
	if got := short(readTo(t, b, "tiered", 0, 0, high, kgo.ReadCommitted())); !slices.Equal(got, want) {
		missing := slices.DeleteFunc(slices.Clone(want), func(v string) bool { return slices.Contains(got, v) })
		t.Errorf("%d values, want %d; missing: %v", len(got), len(want), missing)
	}
	for i := range 20 {
		from := rng.Int64N(seam)
		if i%2 == 1 {
			from = seam + rng.Int64N(high-seam)
		}
		got := short(readTo(t, b, "tiered", 0, from, high, kgo.ReadCommitted()))
		if len(got) > len(want) || !slices.Equal(got, want[len(want)-len(got):]) {
			t.Errorf("from offset %d: %d values, which are not the last ones", from, len(got))
		}
	}
}

const (
	copierEnv     = "VARVE_E2E_COPIER"
	copyInput     = "copy-in"
	copyOutput    = "copy-out"
	copyBatch     = 100 // records of a transaction
	copyPartition = 3
)

// TestTxnExactlyOnceCopy: G13, C10. Copiers read one topic and write another in
// transactions, with the offsets; they and the broker are killed again and again. Every
// record of the input is in the output once. VARVE_E2E_COPY sets how many records there
// are, 10,000 by default.
func TestTxnExactlyOnceCopy(t *testing.T) {
	if address := os.Getenv(copierEnv); address != "" {
		copier(t, address)
		return
	}
	records := int(envBytes(t, "VARVE_E2E_COPY", 10_000))
	rng := harness.Seeded(t)
	b := harness.StartBroker(t, append(quick(),
		"transaction.abort.timed.out.transaction.cleanup.interval.ms=500",
		"group.min.session.timeout.ms=1000")...)
	createTopic(t, b, copyInput, copyPartition, nil)
	createTopic(t, b, copyOutput, copyPartition, nil)
	fill := client(t, b, kgo.DefaultProduceTopic(copyInput))
	for i := range records {
		fill.Produce(context.Background(), kgo.StringRecord(strconv.Itoa(i)), nil)
	}
	if err := fill.Flush(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}

	start := func() *harness.Process {
		cmd := exec.Command(os.Args[0], "-test.run=^TestTxnExactlyOnceCopy$", "-test.v")
		cmd.Env = append(os.Environ(), copierEnv+"="+b.Address)
		return harness.StartProcess(t, "copier", cmd)
	}
	copiers := []*harness.Process{start(), start()}
	a := admin(t, b)
	clientKills, brokerKills := 0, 0
	for i := 0; i < 8; i++ {
		pause(time.Duration(500+rng.Int64N(1000)) * time.Millisecond)
		if rng.IntN(2) == 0 || i == 0 {
			n := rng.IntN(len(copiers))
			copiers[n].Kill()
			copiers[n] = start()
			clientKills++
		} else {
			b.Kill()
			b.Start()
			brokerKills++
		}
	}
	deadline := time.Duration(records/50)*time.Second/10 + 2*time.Minute
	harness.Until(t, deadline, "the copy to end", func() error {
		ctx := within(t, time.Minute)
		committed, err := a.FetchOffsets(ctx, "copiers")
		if err != nil {
			return err
		}
		inputs, err := a.ListEndOffsets(ctx, copyInput)
		if err != nil {
			return err
		}
		left := int64(0)
		inputs.Each(func(o kadm.ListedOffset) {
			at, _ := committed.Lookup(copyInput, o.Partition)
			left += o.Offset - max(at.At, 0)
		})
		if left > 0 {
			return fmt.Errorf("%d records are left", left)
		}
		return nil
	})
	for _, c := range copiers {
		c.Kill()
	}
	t.Logf("%d records, %d kills of copiers, %d of the broker", records, clientKills, brokerKills)

	seen := make([]int, records)
	for partition := range int32(copyPartition) {
		var high int64
		harness.Until(t, time.Minute, "the end of what the killed copiers had open", func() error {
			var stable int64
			if stable, high = ends(t, a, copyOutput, partition); stable != high {
				return fmt.Errorf("last stable offset %d, end %d", stable, high)
			}
			return nil
		})
		for _, v := range readTo(t, b, copyOutput, partition, 0, high, kgo.ReadCommitted()) {
			n, err := strconv.Atoi(v)
			if err != nil || n < 0 || n >= records {
				t.Fatalf("value %q is not of the input", v)
			}
			seen[n]++
		}
	}
	missing, extra := 0, 0
	for _, n := range seen {
		missing += max(0, 1-n)
		extra += max(0, n-1)
	}
	if missing+extra > 0 {
		t.Errorf("%d of %d records are missing, %d are there more than once", missing, records, extra)
	}
}

// copier copies until it is killed. A session that cannot begin a transaction, for its last
// one has timed out, is followed by another.
func copier(t *testing.T, address string) {
	for {
		copySome(t, address)
	}
}

// copySome copies with one session, until that cannot begin.
func copySome(t *testing.T, address string) {
	s, err := kgo.NewGroupTransactSession(
		kgo.SeedBrokers(address), kgo.TransactionalID(fmt.Sprintf("copier-%d", os.Getpid())),
		kgo.TransactionTimeout(3*time.Second), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumerGroup("copiers"), kgo.ConsumeTopics(copyInput), kgo.SessionTimeout(2*time.Second), kgo.HeartbeatInterval(300*time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DefaultProduceTopic(copyOutput),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
	)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := context.Background()
	for {
		fetches := s.PollRecords(ctx, copyBatch)
		if err := s.Begin(); err != nil {
			t.Logf("begin: %v", err)
			return
		}
		commit := kgo.TryCommit
		promise := kgo.AbortingFirstErrPromise(s.Client())
		fetches.EachRecord(func(r *kgo.Record) {
			s.Produce(ctx, &kgo.Record{Key: r.Key, Value: r.Value}, promise.Promise())
		})
		if promise.Err() != nil {
			commit = kgo.TryAbort
		}
		if _, err := s.End(ctx, commit); err != nil {
			t.Logf("end: %v", err) // the broker may just have been killed; what is read again is written again
		}
	}
}

// txnBatch is one record of a transaction.
func txnBatch(t testing.TB, producerID int64, epoch int16, sequence int32) []byte {
	t.Helper()
	b, err := batch.Builder{ProducerID: producerID, ProducerEpoch: epoch, BaseSequence: sequence, Transactional: true}.
		Build(0, -1, []batch.Record{{Timestamp: time.Now().UnixMilli(), Value: []byte("v")}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}
