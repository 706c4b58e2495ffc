//go:build interop

package interop

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
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

// The concepts and guarantees of the two documents: MISSION.md 1.1, rows C1 to C24 as
// far as one broker without transactions has them.

// TestC1TopicHasManyProducersAndConsumers: three of each at once; every consumer sees
// the union, once each.
func TestC1TopicHasManyProducersAndConsumers(t *testing.T) {
	const each = 1000
	topic := topicOf(t)
	create(t, topic, 3)
	ctx := within(t)
	var g sync.WaitGroup
	for p := range 3 {
		c := client(t)
		g.Go(func() {
			for i := range each {
				c.Produce(ctx, &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "%d-%d", p, i)}, func(_ *kgo.Record, err error) {
					if err != nil {
						t.Errorf("produce: %v", err)
					}
				})
			}
			if err := c.Flush(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	seen := make([][]string, 3)
	for i := range seen {
		c := client(t, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		g.Go(func() { seen[i] = values(poll(t, c, 3*each)) })
	}
	g.Wait()
	for _, got := range seen {
		slices.Sort(got)
		equal(t, "records", len(got), 3*each)
		equal(t, "different records", len(slices.Compact(got)), 3*each)
	}
}

// TestC2PartitionedAppendOnlyLog: ten thousand records in four partitions, read twice:
// the same bytes, offsets dense from 0.
func TestC2PartitionedAppendOnlyLog(t *testing.T) {
	const n = 10_000
	topic := topicOf(t)
	create(t, topic, 4)
	produce(t, client(t, kgo.RecordPartitioner(kgo.RoundRobinPartitioner())), numbered(topic, n)...)
	first, second := readAll(t, topic, n), readAll(t, topic, n)
	equal(t, "reads", digest(first), digest(second))
	next := make(map[int32]int64)
	for _, r := range first {
		equal(t, fmt.Sprintf("offset in partition %d", r.Partition), r.Offset, next[r.Partition])
		next[r.Partition]++
	}
	equal(t, "partitions", len(next), 4)
}

// digest hashes records with all their parts, partition by partition.
func digest(records []*kgo.Record) string {
	sorted := slices.Clone(records)
	slices.SortStableFunc(sorted, func(a, b *kgo.Record) int { return int(a.Partition - b.Partition) })
	h := sha256.New()
	for _, r := range sorted {
		fmt.Fprintf(h, "%d %d %d %q %q %q\n", r.Partition, r.Offset, r.Timestamp.UnixMilli(), r.Key, r.Value, r.Headers)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// TestC3OffsetsCountFromZeroWithoutGaps.
func TestC3OffsetsCountFromZeroWithoutGaps(t *testing.T) {
	topic := topicOf(t)
	create(t, topic, 1)
	records := numbered(topic, 137)
	produce(t, client(t), records...)
	for i, r := range readAll(t, topic, len(records)) {
		equal(t, "offset", r.Offset, int64(i))
	}
	equal(t, "latest", listOffset(t, topic, -1), 137)
	equal(t, "earliest", listOffset(t, topic, -2), 0)
}

// listOffset asks for an offset of partition 0 by time.
func listOffset(t testing.TB, topic string, timestamp int64) int64 {
	t.Helper()
	p := ask[*kmsg.ListOffsetsResponse](t, dial(t, broker(t).Address), 9, listRequest(topic, 0, timestamp)).Topics[0].Partitions[0]
	refusedWith(t, fmt.Sprintf("ListOffsets at %d", timestamp), p.ErrorCode, nil)
	return p.Offset
}

// TestC4EventHasKeyValueTimestampAndHeaders: the very event of the document, with a
// header without value and one name twice; read with kcat and with kgo.
func TestC4EventHasKeyValueTimestampAndHeaders(t *testing.T) {
	topic := topicOf(t)
	create(t, topic, 1, "retention.ms=-1")
	at := time.Date(2020, time.June, 25, 14, 6, 0, 0, time.UTC)
	event := &kgo.Record{
		Topic: topic, Key: []byte("Alice"), Value: []byte("Made a payment of $200 to Bob"), Timestamp: at,
		Headers: []kgo.RecordHeader{{Key: "source", Value: []byte("bank")}, {Key: "note"}, {Key: "source", Value: []byte("app")}},
	}
	produce(t, client(t), event)
	got := readAll(t, topic, 1)[0]
	equal(t, "key", string(got.Key), "Alice")
	equal(t, "value", string(got.Value), "Made a payment of $200 to Bob")
	equal(t, "timestamp", got.Timestamp.UnixMilli(), at.UnixMilli())
	equal(t, "headers", fmt.Sprintf("%q", got.Headers), fmt.Sprintf("%q", event.Headers))
	equal(t, "null header", got.Headers[1].Value == nil, true)
	out := harness.Kcat(t, "", "-C", "-b", broker(t).Address, "-t", topic, "-e", "-q", "-f", "%k|%s|%T|%h\n")
	equal(t, "kcat", out, fmt.Sprintf("Alice|Made a payment of $200 to Bob|%d|source=bank,note=NULL,source=app\n", at.UnixMilli()))
}

// TestC5RetentionDoesNotDependOnConsumption: a record is there until its time however
// often it was read, and gone after it though nobody read it.
func TestC5RetentionDoesNotDependOnConsumption(t *testing.T) {
	topic := topicOf(t)
	const limit = 8 * time.Second // long enough to read five times before it
	create(t, topic, 1, fmt.Sprintf("retention.ms=%d", limit.Milliseconds()), "segment.ms=1000")
	produced := time.Now()
	produce(t, client(t), &kgo.Record{Topic: topic, Value: []byte("read")}, &kgo.Record{Topic: topic, Value: []byte("unread")})
	for range 5 {
		equal(t, "value", string(readAll(t, topic, 1)[0].Value), "read")
	}
	if earliest := listOffset(t, topic, -2); time.Since(produced) < limit {
		equal(t, "earliest, before the limit", earliest, 0)
	}
	harness.Until(t, testLimit, "expiry", func() error {
		if at := listOffset(t, topic, -2); at != 2 {
			return fmt.Errorf("earliest is %d", at)
		}
		return nil
	})
	if kept := time.Since(produced); kept < limit {
		t.Errorf("discarded after %v", kept)
	}
	p := ask[*kmsg.FetchResponse](t, dial(t, broker(t).Address), 12, fetchRequest(topic, [16]byte{}, 0, 0)).Topics[0].Partitions[0]
	refusedWith(t, "fetch below", p.ErrorCode, kerr.OffsetOutOfRange)
	produce(t, client(t), &kgo.Record{Topic: topic, Value: []byte("next")})
	equal(t, "the log goes on", listOffset(t, topic, -1), 3)
}

// TestC6RetentionIsPerTopicAndLive: of two topics only the one with a limit is trimmed,
// until the other gets one.
func TestC6RetentionIsPerTopicAndLive(t *testing.T) {
	limited, kept := topicOf(t, "limited"), topicOf(t, "kept")
	create(t, limited, 1, "segment.bytes=1048576", "retention.bytes=1048576")
	create(t, kept, 1, "segment.bytes=1048576", "retention.bytes=-1", "retention.ms=-1")
	for _, topic := range []string{limited, kept} {
		fill(t, topic, 6)
	}
	trimmed := func(topic string) func() error {
		return func() error {
			if at := listOffset(t, topic, -2); at < 3 {
				return fmt.Errorf("earliest is %d", at)
			}
			return nil
		}
	}
	harness.Until(t, testLimit, "trim by size", trimmed(limited))
	equal(t, "earliest of the other", listOffset(t, kept, -2), 0)
	alter := ask[*kmsg.IncrementalAlterConfigsResponse](t, dial(t, broker(t).Address), 1, alterRequest(kept, kmsg.IncrementalAlterConfigOpSet, "retention.bytes", "1048576"))
	refusedWith(t, "alter", alter.Resources[0].ErrorCode, nil)
	harness.Until(t, testLimit, "trim after the change", trimmed(kept))
}

// fill produces n records of 600 kB, each a batch of its own: a segment of 1 MiB holds
// one. It returns their values' digests in order.
func fill(t testing.TB, topic string, n int) {
	t.Helper()
	c := client(t, kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer c.Close()
	for i := range n {
		produce(t, c, &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "%d", i), Value: []byte(strings.Repeat(fmt.Sprintf("%06d ", i), 600<<10/7))})
	}
}

// TestC7PermanentStorage: kept forever, mostly in the bucket: offset 0 is readable after
// a restart, with the segments gone from the disk and no chunk in the cache.
func TestC7PermanentStorage(t *testing.T) {
	b := harness.StartBroker(t, "remote.log.manager.task.interval.ms=100", "log.retention.check.interval.ms=100", "log.segment.delete.delay.ms=0")
	topic := topicOf(t)
	createOn(t, b.Address, topic, 1, "retention.ms=-1", "retention.bytes=-1", "segment.bytes=1048576", "local.retention.bytes=1048576")
	c := clientOf(t, b.Address, kgo.ProducerBatchCompression(kgo.NoCompression()))
	var written []*kgo.Record
	for i := range 12 {
		written = append(written, &kgo.Record{Topic: topic, Value: []byte(strings.Repeat(fmt.Sprintf("%06d ", i), 600<<10/7))})
		produce(t, c, written[i])
	}
	b.WaitTiered(t, testLimit, 3<<20, topic)
	if err := b.Stop(testLimit); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(b.Dir, topic+"-0", "00000000000000000000.log")); !os.IsNotExist(err) {
		t.Errorf("the first segment is still on the disk: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(b.Dir, "cache")); err != nil {
		t.Fatal(err)
	}
	b.Start()
	reader := clientOf(t, b.Address, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	got := poll(t, reader, len(written))
	equal(t, "first offset", got[0].Offset, 0)
	equal(t, "records", digest(got), digest(written))
}

// TestC9ConsumerControlsItsPosition: to the end, back to 5, to the end again; and an old
// offset, once committed, is where the group goes on.
func TestC9ConsumerControlsItsPosition(t *testing.T) {
	topic, group := topicOf(t), topicOf(t, "g")
	create(t, topic, 1)
	records := numbered(topic, 20)
	produce(t, client(t), records...)
	at := func(offset int64) map[string]map[int32]kgo.EpochOffset {
		return map[string]map[int32]kgo.EpochOffset{topic: {0: {Epoch: -1, Offset: offset}}}
	}
	c := client(t, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	same(t, "from the beginning", values(poll(t, c, 20)), values(records))
	c.SetOffsets(at(5))
	same(t, "from 5", values(poll(t, c, 15)), values(records[5:]))
	c.SetOffsets(at(20))
	produce(t, client(t), &kgo.Record{Topic: topic, Value: []byte("new")})
	same(t, "from the end", values(poll(t, c, 1)), []string{"new"})

	member := client(t, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	poll(t, member, 21)
	if err := member.CommitUncommittedOffsets(within(t)); err != nil {
		t.Fatal(err)
	}
	member.Close()
	var back kadm.Offsets
	back.Add(kadm.Offset{Topic: topic, Partition: 0, At: 7, LeaderEpoch: -1, Metadata: "rewound"})
	if err := kadm.NewClient(client(t)).CommitAllOffsets(within(t), group, back); err != nil {
		t.Fatal(err)
	}
	again := client(t, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic))
	equal(t, "resumes at", poll(t, again, 1)[0].Offset, 7)
}

// TestC10TailingDisturbsNobody: a reader comes and goes beside a group; the group's
// generation and assignment stay, and it misses nothing.
func TestC10TailingDisturbsNobody(t *testing.T) {
	topic, group := topicOf(t), topicOf(t, "g")
	create(t, topic, 2)
	produce(t, client(t, kgo.RecordPartitioner(kgo.ManualPartitioner())), numbered(topic, 30)...)
	member := client(t, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	poll(t, member, 30)
	before := describeGroup(t, group)
	for range 2 {
		out := harness.Kcat(t, "", "-C", "-b", broker(t).Address, "-t", topic, "-p", "0", "-o", "-10", "-e", "-q")
		equal(t, "last ten", strings.Count(out, "value-"), 10)
		equal(t, "the first of them", strings.HasPrefix(out, "value-000020\n"), true)
	}
	produce(t, client(t, kgo.RecordPartitioner(kgo.ManualPartitioner())), numbered(topic, 5)...)
	equal(t, "the group reads on", len(poll(t, member, 5)), 5)
	after := describeGroup(t, group)
	equal(t, "group", fmt.Sprint(after), fmt.Sprint(before))
}

// describeGroup tells who has what.
func describeGroup(t testing.TB, group string) []string {
	t.Helper()
	groups, err := kadm.NewClient(client(t)).DescribeGroups(within(t), group)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{groups[group].State}
	for _, m := range groups[group].Members {
		if a, ok := m.Assigned.AsConsumer(); ok {
			out = append(out, fmt.Sprint(m.MemberID, a.Topics))
		}
	}
	return out
}

// TestC11ReplayIsTheSameForEverybody: ten readers at once, before and after the segments
// went to the bucket.
func TestC11ReplayIsTheSameForEverybody(t *testing.T) {
	topic := topicOf(t)
	create(t, topic, 1, "segment.bytes=1048576", "local.retention.bytes=1048576")
	fill(t, topic, 8)
	want := digest(readAll(t, topic, 8))
	replay := func(when string) {
		var g sync.WaitGroup
		for range 10 {
			g.Go(func() { equal(t, when, digest(readAll(t, topic, 8)), want) })
		}
		g.Wait()
	}
	replay("from the disk")
	harness.Until(t, testLimit, "the bucket", func() error {
		local := listOffset(t, topic, -4)
		if local < 5 {
			return fmt.Errorf("earliest local offset is %d", local)
		}
		return nil
	})
	replay("from the bucket")
}

// TestC14ProducerChoosesThePartition: in turn, evenly; or the one that it names.
func TestC14ProducerChoosesThePartition(t *testing.T) {
	topic := topicOf(t)
	create(t, topic, 4)
	const n = 4000
	produce(t, client(t, kgo.RecordPartitioner(kgo.RoundRobinPartitioner())), numbered(topic, n)...)
	count := make(map[int32]int)
	for _, r := range readAll(t, topic, n) {
		count[r.Partition]++
	}
	for p := range int32(4) {
		if got := count[p]; got < n/4*95/100 || got > n/4*105/100 {
			t.Errorf("partition %d has %d of %d", p, got, n)
		}
	}
	named := &kgo.Record{Topic: topic, Partition: 2, Value: []byte("here")}
	produce(t, client(t, kgo.RecordPartitioner(kgo.ManualPartitioner())), named)
	equal(t, "partition", named.Partition, 2)
	equal(t, "offset", named.Offset, int64(count[2]))
}

// TestC15OneProducersOrderSurvivesLostConnections: an idempotent producer with five
// requests in flight, whose connections break again and again: strictly increasing, no
// duplicate, no gap (KIP-98).
func TestC15OneProducersOrderSurvivesLostConnections(t *testing.T) {
	const n = 5000
	topic := topicOf(t)
	create(t, topic, 1)
	ctx, breaker := within(t), &breaker{}
	c := client(t, kgo.Dialer(breaker.dial), kgo.ProducerBatchMaxBytes(2000), kgo.RetryBackoffFn(func(int) time.Duration { return 5 * time.Millisecond }))
	var g sync.WaitGroup
	for i, r := range numbered(topic, n) {
		g.Add(1)
		c.Produce(ctx, r, func(_ *kgo.Record, err error) {
			defer g.Done()
			if err != nil {
				t.Errorf("produce %d: %v", i, err)
			}
			if i%250 == 249 { // with later ones under way
				breaker.cut()
			}
		})
	}
	g.Wait()
	if breaker.broken < 5 {
		t.Fatalf("only %d connections were cut", breaker.broken)
	}
	for i, r := range readAll(t, topic, n) {
		if string(r.Value) != fmt.Sprintf("value-%06d", i) || r.Offset != int64(i) {
			t.Fatalf("offset %d has %s, wanted number %d", r.Offset, r.Value, i)
		}
	}
	equal(t, "latest", listOffset(t, topic, -1), n)
}

// breaker dials, and cuts what it has dialled.
type breaker struct {
	mu     sync.Mutex
	open   []net.Conn
	broken int
}

func (b *breaker) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err == nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.open = append(b.open, c)
	}
	return c, err
}

func (b *breaker) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.open {
		if c.Close() == nil {
			b.broken++
		}
	}
	b.open = nil
}

// TestC16ConsumersSeeTheLogsOrder: what the producer was told and what a consumer reads
// are the same (offset, value) stream, across the seam between bucket and disk.
func TestC16ConsumersSeeTheLogsOrder(t *testing.T) {
	topic := topicOf(t)
	create(t, topic, 1, "segment.bytes=1048576", "local.retention.bytes=1048576")
	c := client(t, kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(100_000))
	var written []*kgo.Record
	for i := range 3000 {
		written = append(written, &kgo.Record{Topic: topic, Value: []byte(strings.Repeat(fmt.Sprintf("%06d ", i), 1500/7))})
	}
	produce(t, c, written...)
	harness.Until(t, testLimit, "a seam", func() error {
		if local := listOffset(t, topic, -4); local <= 0 {
			return fmt.Errorf("earliest local offset is %d", local)
		}
		return nil
	})
	got := readAll(t, topic, len(written))
	equal(t, "stream", digest(got), digest(written))
	if local := listOffset(t, topic, -4); local <= 0 || local >= 3000 {
		t.Errorf("there is no seam: earliest local offset is %d", local)
	}
}

// member is a group member that tells what it was assigned.
func member(t testing.TB, group, topic string) *kgo.Client {
	t.Helper()
	return client(t, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.Balancers(kgo.RangeBalancer()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(30*time.Second), kgo.HeartbeatInterval(200*time.Millisecond))
}

// assigned waits until a group is stable and each of its members, of which there are
// want, has as many partitions as it says, in descending order.
func assigned(t testing.TB, group string, want ...int) {
	t.Helper()
	admin := kadm.NewClient(client(t))
	harness.Until(t, testLimit, "assignment of "+group, func() error {
		groups, err := admin.DescribeGroups(within(t), group)
		if err != nil {
			return err
		}
		var got []int
		for _, m := range groups[group].Members {
			n := 0
			if a, ok := m.Assigned.AsConsumer(); ok {
				for _, topic := range a.Topics {
					n += len(topic.Partitions)
				}
			}
			got = append(got, n)
		}
		slices.SortFunc(got, func(a, b int) int { return b - a })
		if groups[group].State != "Stable" || !slices.Equal(got, want) {
			return fmt.Errorf("%s with %v", groups[group].State, got)
		}
		return nil
	})
}

// collect counts what members are given until n different records have come.
func collect(t testing.TB, n int, members ...*kgo.Client) (seen map[string]int, byMember []map[int32]bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	var mu sync.Mutex
	seen, byMember = make(map[string]int), make([]map[int32]bool, len(members))
	var g sync.WaitGroup
	for i, m := range members {
		byMember[i] = make(map[int32]bool)
		g.Go(func() {
			for ctx.Err() == nil {
				m.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
					mu.Lock()
					defer mu.Unlock()
					seen[string(r.Value)]++
					byMember[i][r.Partition] = true
					if len(seen) >= n {
						cancel()
					}
				})
			}
		})
	}
	g.Wait()
	return seen, byMember
}

// TestC18GroupsAreQueuesAndPublishSubscribe is the picture in the document: partitions
// P0 to P3, group A with two members and B with four. Each record comes once to each
// group; a member of A has two partitions, one of B has one.
func TestC18GroupsAreQueuesAndPublishSubscribe(t *testing.T) {
	topic := topicOf(t)
	create(t, topic, 4)
	groups := map[string]int{topicOf(t, "A"): 2, topicOf(t, "B"): 4}
	members := make(map[string][]*kgo.Client)
	for group, n := range groups {
		for range n {
			members[group] = append(members[group], member(t, group, topic))
		}
	}
	assigned(t, topicOf(t, "A"), 2, 2)
	assigned(t, topicOf(t, "B"), 1, 1, 1, 1)
	produce(t, client(t, kgo.RecordPartitioner(kgo.RoundRobinPartitioner())), numbered(topic, 400)...)
	for group, n := range groups {
		seen, owned := collect(t, 400, members[group]...)
		equal(t, group+": records", len(seen), 400)
		for value, times := range seen {
			if times != 1 {
				t.Errorf("%s: %s came %d times", group, value, times)
			}
		}
		for _, partitions := range owned {
			equal(t, group+": partitions of a member", len(partitions), 4/n)
		}
	}
}

// TestC19APartitionBelongsToOneMember: of five members on four partitions one is idle,
// and takes over when another dies.
func TestC19APartitionBelongsToOneMember(t *testing.T) {
	topic, group := topicOf(t), topicOf(t, "g")
	create(t, topic, 4)
	var members []*kgo.Client
	for range 5 {
		members = append(members, member(t, group, topic))
	}
	assigned(t, group, 1, 1, 1, 1, 0)
	produce(t, client(t, kgo.RecordPartitioner(kgo.RoundRobinPartitioner())), numbered(topic, 40)...)
	_, owned := collect(t, 40, members...)
	for _, m := range members { // whoever ended the collecting committed nothing of it, and all are to be assigned anew
		if err := m.CommitUncommittedOffsets(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	owner := slices.IndexFunc(owned, func(p map[int32]bool) bool { return len(p) == 1 })
	members[owner].CloseAllowingRebalance()
	assigned(t, group, 1, 1, 1, 1)
	members = slices.Delete(members, owner, owner+1)
	more := numbered(topic, 80)[40:]
	produce(t, client(t, kgo.RecordPartitioner(kgo.RoundRobinPartitioner())), more...)
	_, owned = collect(t, 40, members...)
	for _, partitions := range owned {
		if len(partitions) != 1 {
			t.Errorf("a member has partitions %v", partitions)
		}
	}
}

// TestC20OrderIsPerPartition: in one partition all records are in the order they were
// produced in; of four, each one's are.
func TestC20OrderIsPerPartition(t *testing.T) {
	for _, partitions := range []int32{1, 4} {
		topic := topicOf(t, fmt.Sprint(partitions))
		create(t, topic, partitions)
		produce(t, client(t, kgo.RecordPartitioner(kgo.RoundRobinPartitioner())), numbered(topic, 2000)...)
		last := make(map[int32]string)
		for _, r := range readAll(t, topic, 2000) {
			if string(r.Value) <= last[r.Partition] {
				t.Fatalf("partition %d: %s after %s", r.Partition, r.Value, last[r.Partition])
			}
			last[r.Partition] = string(r.Value)
		}
		equal(t, "partitions", len(last), int(partitions))
	}
}
