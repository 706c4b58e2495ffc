//go:build interop

package interop

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/test/harness"
)

// partitionState is what a client can see of a partition.
type partitionState struct {
	Topic          string
	Partition      int32
	Start, End     int64
	Records        []string // every record with all it has, in order
	ReadCommitted  []int64  // offsets
	GroupPosition  int64
	TopicID        string
	FirstAtOrAfter int64 // offset, of a timestamp in the middle
	CleanupPolicy  string
}

const adoptGroup = "billing"

// fillKafka writes what there is to adopt: segments, codecs, keys and headers, null
// values, a transaction that was committed and one that was aborted, deleted records, a
// deleted topic, a group's positions.
func fillKafka(t *testing.T, address string) {
	t.Helper()
	ctx := within(t)
	client := func(opts ...kgo.Opt) *kgo.Client {
		t.Helper()
		c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(address), kgo.RecordPartitioner(kgo.ManualPartitioner())}, opts...)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	admin := kadm.NewClient(client())
	value := func(s string) *string { return &s }
	for topic, configs := range map[string]map[string]*string{
		"orders": {"segment.bytes": value("1048576"), "retention.ms": value("-1")},
		"state":  {"cleanup.policy": value("compact"), "segment.bytes": value("1048576")},
		"gone":   nil,
	} {
		r, err := admin.CreateTopics(ctx, 3, 1, configs, topic)
		ok(err)
		ok(r.Error())
	}
	random := rand.NewChaCha8([32]byte{1})
	for i, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		c := client(kgo.ProducerBatchCompression(codec))
		for n := range 1500 {
			text := make([]byte, 900)
			random.Read(text)
			r := &kgo.Record{
				Topic: "orders", Partition: int32(n % 3), Key: fmt.Appendf(nil, "key-%d", n%97), Value: text,
				Timestamp: time.UnixMilli(1_700_000_000_000 + int64(i)*1_000_000 + int64(n)*10), Headers: []kgo.RecordHeader{{Key: "codec", Value: []byte{byte(i)}}},
			}
			if n%13 == 0 {
				r.Value = nil
			}
			c.Produce(ctx, r, nil)
			state := *r
			state.Topic = "state"
			c.Produce(ctx, &state, nil)
		}
		ok(c.Flush(ctx))
	}
	for i, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		c := client(kgo.TransactionalID(fmt.Sprint("txn-", i)), kgo.TransactionTimeout(longTransaction))
		ok(c.BeginTransaction())
		for p := range int32(3) {
			ok(c.ProduceSync(ctx, &kgo.Record{Topic: "orders", Partition: p, Value: fmt.Appendf(nil, "transaction %v", end)}).FirstErr())
		}
		ok(c.EndTransaction(ctx, end))
	}
	_, err := admin.DeleteRecords(ctx, kadm.Offsets{"orders": {1: {Topic: "orders", Partition: 1, At: 321}}})
	ok(err)
	r, err := admin.DeleteTopics(ctx, "gone")
	ok(err)
	ok(r.Error())
	offsets := kadm.Offsets{}
	for p := range int32(3) {
		offsets.AddOffset("orders", p, 1000+int64(p), -1)
	}
	committed, err := admin.CommitOffsets(ctx, adoptGroup, offsets)
	ok(err)
	ok(committed.Error())
	harness.Until(t, testLimit, "markers, and the end of a topic", func() error { // Kafka answers before
		topics, err := admin.ListTopics(ctx)
		if err != nil {
			return err
		}
		ends, err := admin.ListEndOffsets(ctx, "orders")
		if err != nil {
			return err
		}
		stable, err := admin.ListCommittedOffsets(ctx, "orders")
		if err == nil && (topics.Has("gone") || fmt.Sprint(stable.Offsets()) != fmt.Sprint(ends.Offsets())) {
			err = fmt.Errorf("topics %v, stable to %v of %v", topics.Names(), stable.Offsets(), ends.Offsets())
		}
		return err
	})
}

// observe reads everything that a client can see.
func observe(t *testing.T, address string) []partitionState {
	t.Helper()
	ctx := within(t)
	c, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	admin := kadm.NewClient(c)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	topics, err := admin.ListTopics(ctx)
	must(err)
	starts, err := admin.ListStartOffsets(ctx, topics.Names()...)
	must(err)
	ends, err := admin.ListEndOffsets(ctx, topics.Names()...)
	must(err)
	middle, err := admin.ListOffsetsAfterMilli(ctx, 1_700_002_005_000, topics.Names()...)
	must(err)
	var positions kadm.OffsetResponses
	for wait := time.NewTicker(100 * time.Millisecond); ; <-wait.C { // the coordinator loads
		if positions, err = admin.FetchOffsets(ctx, adoptGroup); err == nil {
			break
		}
	}
	configs, err := admin.DescribeTopicConfigs(ctx, topics.Names()...)
	must(err)
	var all []partitionState
	for _, p := range topics.TopicsList().IntoSet().Sorted() {
		for _, i := range p.Partitions {
			s := partitionState{Topic: p.Topic, Partition: i, TopicID: topics[p.Topic].ID.String(), GroupPosition: -1}
			a, _ := starts.Lookup(p.Topic, i)
			e, _ := ends.Lookup(p.Topic, i)
			m, _ := middle.Lookup(p.Topic, i)
			s.Start, s.End, s.FirstAtOrAfter = a.Offset, e.Offset, m.Offset
			if o, ok := positions.Lookup(p.Topic, i); ok {
				s.GroupPosition = o.At
			}
			for _, r := range configs {
				for _, k := range r.Configs {
					if r.Name == p.Topic && k.Key == "cleanup.policy" {
						s.CleanupPolicy = k.MaybeValue()
					}
				}
			}
			for _, r := range drain(ctx, t, address, p.Topic, i, s.Start, s.End, kgo.ReadUncommitted()) {
				s.Records = append(s.Records, fmt.Sprintf("%d at %d by %d/%d epoch %d attrs %v: %x %x = %q %x", r.Offset, r.Timestamp.UnixMilli(),
					r.ProducerID, r.ProducerEpoch, r.LeaderEpoch, r.Attrs, r.Key, sha256.Sum256(r.Value), r.Headers, len(r.Value)))
			}
			for _, r := range drain(ctx, t, address, p.Topic, i, s.Start, s.End, kgo.ReadCommitted()) {
				s.ReadCommitted = append(s.ReadCommitted, r.Offset)
			}
			all = append(all, s)
		}
	}
	return all
}

// drain reads a partition from start to end, control records included.
func drain(ctx context.Context, t *testing.T, address, topic string, partition int32, start, end int64, isolation kgo.IsolationLevel) []*kgo.Record {
	t.Helper()
	if start >= end {
		return nil
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.FetchIsolationLevel(isolation), kgo.KeepControlRecords(), kgo.FetchMaxWait(200*time.Millisecond),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(start)}}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var all []*kgo.Record
	for len(all) == 0 || all[len(all)-1].Offset < end-1 {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatalf("read %s-%d after %d records of [%d, %d): %v", topic, partition, len(all), start, end, err)
		}
		all = append(all, f.Records()...)
	}
	return all
}

// contents is every file of a directory with what is in it.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		p, err := os.ReadFile(path)
		all[path] = fmt.Sprintf("%d %x", len(p), sha256.Sum256(p))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestAdoptsADirectoryThatApacheKafkaWrote fills an Apache Kafka broker, stops it, adopts
// its directory, and reads the same records, offsets, timestamps, epochs and group
// positions from Varve with kgo and kcat. Kafka's directory stays as it was, to the byte.
func TestAdoptsADirectoryThatApacheKafkaWrote(t *testing.T) {
	k := harness.StartKafka(t, "transaction.state.log.num.partitions=3", "offsets.topic.num.partitions=50", "log.cleaner.enable=false")
	fillKafka(t, k.Address)
	before := observe(t, k.Address)
	target := filepath.Join(t.TempDir(), "data")
	varve := harness.Varve(t)
	adopt := func(args ...string) (string, error) {
		return harness.TryOutput(t, "", varve, append([]string{"log", "adopt", k.Dir, "--set", "log.dirs=" + target, "--set", "node.id=0"}, args...)...)
	}
	if out, err := adopt(); err == nil || !strings.Contains(out, "Kafka still runs on it, or did not stop cleanly") {
		t.Fatalf("while Kafka runs: %v\n%s", err, out)
	}
	stopCleanly(t, k)
	original := contents(t, k.Dir)
	if out, err := adopt("--set", "node.id=7"); err == nil || !strings.Contains(out, "set node.id=0") {
		t.Fatalf("as another node: %v\n%s", err, out)
	}
	if out, err := adopt("--dry-run"); err != nil || !strings.Contains(out, "orders") {
		t.Fatalf("dry run: %v\n%s", err, out)
	}
	if _, err := os.Stat(target); err == nil {
		t.Fatal("the dry run made a directory")
	}
	if out, err := adopt(); err != nil {
		t.Fatalf("adopt: %v\n%s", err, out)
	}
	if sealed, err := filepath.Glob(filepath.Join(target, "orders-0", "*.log")); err != nil || len(sealed) < 3 || !sameFile(t, sealed[0], filepath.Join(k.Dir, "orders-0", filepath.Base(sealed[0]))) {
		t.Errorf("sealed segments are not linked: %v, %v", sealed, err)
	}
	if out, err := adopt(); err == nil || !strings.Contains(out, "is not empty") {
		t.Fatalf("adopted twice: %v\n%s", err, out)
	}
	if out, err := harness.TryOutput(t, "", varve, "log", "verify", target); err != nil {
		t.Errorf("verify what was adopted: %v\n%s", err, out)
	}

	b := harness.StartBroker(t, "log.dirs="+target, "node.id=0", "group.initial.rebalance.delay.ms=0")
	after := observe(t, b.Address)
	compareAdopted(t, before, after)

	lines := harness.Kcat(t, "", "-b", b.Address, "-C", "-t", "orders", "-p", "0", "-o", "beginning", "-e", "-q", "-f", "%o %T %k\n")
	if n := strings.Count(lines, "\n"); n != 2501 { // 5 codecs of 500 and a committed transaction: kcat reads committed
		t.Errorf("kcat read %d records of orders-0", n)
	}
	continueAdopted(t, b.Address)
	if now := contents(t, k.Dir); fmt.Sprint(now) != fmt.Sprint(original) {
		t.Error("Kafka's directory was changed")
	}
}

func stopCleanly(t *testing.T, k *harness.ApacheKafka) {
	t.Helper()
	if err := k.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := k.Wait(testLimit); err != nil && k.Running() {
		t.Fatal(err)
	}
}

// adopted stops an Apache Kafka broker cleanly and adopts its directory.
func adopted(t *testing.T, k *harness.ApacheKafka) (dir string) {
	t.Helper()
	stopCleanly(t, k)
	dir = filepath.Join(t.TempDir(), "data")
	if out, err := harness.TryOutput(t, "", harness.Varve(t), "log", "adopt", k.Dir, "--set", "log.dirs="+dir, "--set", "node.id=0"); err != nil {
		t.Fatalf("adopt: %v\n%s", err, out)
	}
	return dir
}

func sameFile(t *testing.T, x, y string) bool {
	t.Helper()
	a, err := os.Stat(x)
	b, err2 := os.Stat(y)
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	return os.SameFile(a, b)
}

// compareAdopted compares all but what has to differ: Kafka's topics that are left behind.
func compareAdopted(t *testing.T, before, after []partitionState) {
	t.Helper()
	find := func(s partitionState) *partitionState {
		i := slices.IndexFunc(after, func(o partitionState) bool { return o.Topic == s.Topic && o.Partition == s.Partition })
		if i < 0 {
			return nil
		}
		return &after[i]
	}
	records := 0
	for _, want := range before {
		got := find(want)
		if got == nil {
			t.Errorf("%s-%d is not there", want.Topic, want.Partition)
			continue
		}
		records += len(want.Records)
		for i := range min(len(want.Records), len(got.Records)) {
			if want.Records[i] != got.Records[i] {
				t.Fatalf("%s-%d:\n%s\nwant\n%s", want.Topic, want.Partition, got.Records[i], want.Records[i])
			}
		}
		if fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", want) {
			t.Errorf("%s-%d: start %d, end %d, %d records, %d committed, group at %d, id %s, at or after %d, policy %s\nwant %d, %d, %d, %d, %d, %s, %d, %s", want.Topic, want.Partition,
				got.Start, got.End, len(got.Records), len(got.ReadCommitted), got.GroupPosition, got.TopicID, got.FirstAtOrAfter, got.CleanupPolicy,
				want.Start, want.End, len(want.Records), len(want.ReadCommitted), want.GroupPosition, want.TopicID, want.FirstAtOrAfter, want.CleanupPolicy)
		}
	}
	if records < 14_000 {
		t.Errorf("only %d records were compared", records)
	}
}

// continueAdopted goes on where Kafka left off: the group reads from its positions, and
// producers get ids that Kafka has not given out.
func continueAdopted(t *testing.T, address string) {
	t.Helper()
	ctx := within(t)
	c, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumerGroup(adoptGroup), kgo.ConsumeTopics("orders"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	first := map[int32]int64{}
	for len(first) < 3 {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		f.EachRecord(func(r *kgo.Record) {
			if _, seen := first[r.Partition]; !seen {
				first[r.Partition] = r.Offset
			}
		})
	}
	for p, at := range first {
		if at != 1000+int64(p) {
			t.Errorf("the group goes on at %d of partition %d", at, p)
		}
	}
	r := c.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: []byte("after")})
	if err := r.FirstErr(); err != nil {
		t.Fatal(err)
	}
	id, _, err := c.ProducerID(ctx)
	if err != nil || id < 1000 {
		t.Errorf("producer id %d, %v: Kafka had given out the first block of 1000", id, err)
	}
}
