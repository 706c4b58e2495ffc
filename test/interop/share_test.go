//go:build interop

package interop

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// Share groups (KIP-932), by clients that have them: Apache Kafka's own and franz-go's.

const (
	consoleShareConsumer    = "org.apache.kafka.tools.consumer.ConsoleShareConsumer"
	verifiableShareConsumer = "org.apache.kafka.tools.VerifiableShareConsumer"
	shareConsumerPerf       = "org.apache.kafka.tools.ShareConsumerPerformance"
)

// shareConfigs sets configs of a share group: pairs of name and value.
func shareConfigs(t testing.TB, c *kgo.Client, group string, pairs ...string) {
	t.Helper()
	q := kmsg.NewPtrIncrementalAlterConfigsRequest()
	of := kmsg.NewIncrementalAlterConfigsRequestResource()
	of.ResourceType, of.ResourceName = kmsg.ConfigResourceTypeGroupConfig, group
	for i := 0; i < len(pairs); i += 2 {
		set := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		set.Name, set.Value = pairs[i], &pairs[i+1]
		of.Configs = append(of.Configs, set)
	}
	q.Resources = append(q.Resources, of)
	p, err := q.RequestWith(within(t), c)
	if err == nil {
		err = kerr.ErrorForCode(p.Resources[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("configs of %s: %v", group, err)
	}
}

// TestConsoleShareConsumersShareATopic: kafka-console-share-consumer reads what was there
// before it, rejects, releases and accepts, and what was accepted is not read again.
func TestConsoleShareConsumersShareATopic(t *testing.T) {
	t.Parallel()
	topic, group := topicOf(t), topicOf(t, "g")
	create(t, topic, 1)
	produce(t, client(t), numbered(topic, 4)...)
	tool(t, "", harness.ConfigCommand, "--alter", "--entity-type", "groups", "--entity-name", group, "--add-config", "share.auto.offset.reset=earliest")
	read := func(args ...string) string {
		t.Helper()
		return tool(t, "", consoleShareConsumer, append([]string{"--topic", topic, "--group", group, "--formatter-property", "print.delivery=true"}, args...)...)
	}
	equal(t, "released", read("--max-messages", "4", "--release"),
		"Delivery:1\tvalue-000000\nDelivery:1\tvalue-000001\nDelivery:1\tvalue-000002\nDelivery:1\tvalue-000003\n")
	// How often the client has fetched ahead, and given back what it had, is its own business.
	if out := read("--max-messages", "1", "--reject"); strings.HasPrefix(out, "Delivery:1\t") || !strings.HasSuffix(out, "\tvalue-000000\n") {
		t.Errorf("rejected: %q", out)
	}
	accepted := strings.Split(strings.TrimSpace(read("--max-messages", "3")), "\n")
	for i, line := range accepted {
		if !strings.HasSuffix(line, fmt.Sprintf("value-%06d", i+1)) {
			t.Errorf("accepted: %q", accepted)
		}
	}
	produce(t, client(t), &kgo.Record{Topic: topic, Value: []byte("the last")})
	equal(t, "what is new", read("--max-messages", "1"), "Delivery:1\tthe last\n")
	if out := tool(t, "", shareCommand, "--describe", "--group", group); !strings.Contains(out, topic) {
		t.Errorf("describe:\n%s", out)
	}
}

// TestVerifiableShareConsumersDivideATopic: two of Apache Kafka's verifiable share
// consumers read one partition together and acknowledge each record once.
func TestVerifiableShareConsumersDivideATopic(t *testing.T) {
	t.Parallel()
	topic, group := topicOf(t), topicOf(t, "g")
	create(t, topic, 1)
	const total = 4000
	shareConfigs(t, client(t), group, "share.auto.offset.reset", "earliest")
	member := func() *harness.Process {
		return harness.KafkaProcess(t, "", verifiableShareConsumer, "--bootstrap-server", broker(t).Address,
			"--topic", topic, "--group-id", group, "--acknowledgement-mode", "sync")
	}
	members := []*harness.Process{member(), member()}
	for _, m := range members {
		m.WaitLine(t, `{"timestamp"`, testLimit)
	}
	c := client(t)
	for i := range 40 {
		produce(t, c, numbered(topic, total)[i*100:(i+1)*100]...)
	}
	var counts []int
	harness.Until(t, testLimit, "acknowledgement of everything", func() error {
		counts = counts[:0]
		for _, m := range members {
			n, err := acknowledged(m.Output())
			if err != nil {
				return err
			}
			counts = append(counts, n)
		}
		if n := sum(counts); n < total {
			return fmt.Errorf("%v of %d", counts, total)
		}
		return nil
	})
	if sum(counts) != total {
		t.Errorf("%v are %d acknowledgements of %d records", counts, sum(counts), total)
	}
	for _, m := range members {
		if err := m.Stop(testLimit); err != nil && m.Running() {
			t.Fatal(err)
		}
	}
}

// acknowledged adds up the events of a verifiable share consumer.
func acknowledged(out string) (n int, err error) {
	lines := bufio.NewScanner(strings.NewReader(out))
	for lines.Scan() {
		var event struct {
			Name    string
			Count   int
			Success bool
			Error   string
		}
		if json.Unmarshal(lines.Bytes(), &event) != nil || event.Name != "offsets_acknowledged" {
			continue // a line that is not whole yet, or another event
		}
		if !event.Success {
			return n, fmt.Errorf("an acknowledgement failed: %s", event.Error)
		}
		n += event.Count
	}
	return n, lines.Err()
}

// TestShareConsumerPerformance: kafka-share-consumer-perf-test reads what it is told to.
func TestShareConsumerPerformance(t *testing.T) {
	t.Parallel()
	topic, group := topicOf(t), topicOf(t, "g")
	create(t, topic, 2)
	const total = 20_000
	produce(t, client(t), numbered(topic, total)...)
	shareConfigs(t, client(t), group, "share.auto.offset.reset", "earliest")
	out := tool(t, "", shareConsumerPerf, "--topic", topic, "--group", group, "--num-records", fmt.Sprint(total), "--threads", "2", "--timeout", "60000")
	t.Log(out)
	if fields := strings.Split(lastLine(out), ","); len(fields) < 5 || !slices.Contains(fieldsOf(fields), fmt.Sprint(total)) {
		t.Errorf("read other than %d records:\n%s", total, out)
	}
}

func fieldsOf(all []string) []string {
	trimmed := make([]string, len(all))
	for i, f := range all {
		trimmed[i] = strings.TrimSpace(f)
	}
	return trimmed
}

// TestFranzGoShareMembersOverKills: members of franz-go's share consumer accept, release,
// reject and hold records until their locks expire, while the broker is killed. Each
// record is accepted or rejected once, as far as members were answered, and not delivered
// after another kill.
func TestFranzGoShareMembersOverKills(t *testing.T) {
	t.Parallel()
	b := harness.StartBroker(t, "group.initial.rebalance.delay.ms=0", "group.share.min.record.lock.duration.ms=1000", "group.share.max.delivery.count.limit=25")
	topic, group := topicOf(t), topicOf(t, "g")
	createOn(t, b.Address, topic, 2)
	const total, kills = 600, 3
	setup := clientOf(t, b.Address)
	shareConfigs(t, setup, group, "share.auto.offset.reset", "earliest", "share.record.lock.duration.ms", "1000", "share.delivery.count.limit", "25") // a slow machine loses locks
	produce(t, setup, numbered(topic, total)...)

	s := &shareRun{done: map[string]bool{}, unknown: map[string]bool{}}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for i := range 3 {
		running.Go(func() { s.member(ctx, t, b.Address, group, topic, i) })
	}
	defer running.Wait()
	defer stop()
	for k := range kills {
		harness.Until(t, testLimit, "progress", func() error {
			if n := s.count(); n < (k+1)*total/(kills+2) {
				return fmt.Errorf("%d records are done", n)
			}
			return nil
		})
		b.Kill()
		b.Start()
	}
	harness.Until(t, 2*testLimit, "everything done", func() error {
		if n := s.count(); n < total {
			return fmt.Errorf("%d of %d records are done", n, total)
		}
		return nil
	})
	stop()
	running.Wait()
	for _, fault := range s.faults {
		t.Error(fault)
	}
	b.Kill()
	b.Start()
	last := clientOf(t, b.Address, kgo.ShareGroup(group), kgo.ConsumeTopics(topic))
	end := clientOf(t, b.Address, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	produce(t, end, &kgo.Record{Topic: topic, Value: []byte("end")}, &kgo.Record{Topic: topic, Partition: 1, Value: []byte("end")})
	for _, r := range pollUntil(t, last, "end", 2) { // what lies before would come before
		if s.done[string(r.Value)] {
			t.Errorf("%s is done and was delivered for the %d. time", r.Value, r.DeliveryCount())
		}
	}
	t.Logf("%d deliveries of %d records; %d were held until their locks ran out, of %d the answer was lost", s.deliveries, total, s.held, len(s.unknown))
	if s.held == 0 || s.released == 0 {
		t.Errorf("%d records were held, %d released: the run proves little", s.held, s.released)
	}
}

// shareRun is what the members of a share group have done together.
type shareRun struct {
	mu                sync.Mutex
	done              map[string]bool // answered as accepted or rejected
	unknown           map[string]bool // accepted or rejected, and nobody knows: the broker was killed
	polls, deliveries int
	held, released    int
	faults            []string
}

func (s *shareRun) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.done)
	for value := range s.unknown {
		if !s.done[value] {
			n++
		}
	}
	return n
}

// member consumes until ctx ends: of each poll it waits for the outcome before the next.
func (s *shareRun) member(ctx context.Context, t *testing.T, address, group, topic string, number int) {
	var mu sync.Mutex
	failed := map[int32]error{} // of partitions with an acknowledgement that failed since
	c, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ShareGroup(group), kgo.ConsumeTopics(topic),
		kgo.ShareMaxRecords(20), kgo.ShareMaxRecordsStrict(), kgo.FetchMaxWait(200*time.Millisecond), kgo.MetadataMinAge(50*time.Millisecond),
		kgo.ShareAckCallback(func(_ *kgo.Client, results kgo.ShareAckResults) {
			mu.Lock()
			defer mu.Unlock()
			for _, r := range results {
				failed[r.Partition] = cmp.Or(failed[r.Partition], r.Err)
			}
		}))
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	for turn := number; ctx.Err() == nil; turn++ {
		fetches := c.PollFetches(ctx)
		records := fetches.Records()
		s.add(&s.deliveries, len(records))
		kinds := make([]kgo.AckStatus, len(records))
		for i, r := range records {
			switch kinds[i] = kgo.AckAccept; {
			case i == 0 && s.mayHold():
				hold(ctx, r) // its lock, and those of the records beside it, run out
			case (turn+i)%10 == 0:
				kinds[i] = kgo.AckRelease
				s.add(&s.released, 1)
			case (turn+i)%25 == 1:
				kinds[i] = kgo.AckReject
			}
			r.Ack(kinds[i])
		}
		if err := c.FlushAcks(ctx); err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("flush: %v", err)
			}
			return
		}
		mu.Lock()
		s.settle(records, kinds, failed)
		clear(failed)
		mu.Unlock()
	}
}

// mayHold picks one of twenty polls, and four of them in all.
func (s *shareRun) mayHold() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.polls++
	if s.polls%20 != 5 || s.held == 4 {
		return false
	}
	s.held++
	return true
}

// hold waits until the lock of a record has run out by the client's reckoning.
func hold(ctx context.Context, r *kgo.Record) {
	ctx, cancel := context.WithDeadline(ctx, r.AcquisitionDeadline().Add(200*time.Millisecond))
	defer cancel()
	<-ctx.Done()
}

func (s *shareRun) add(to *int, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*to += n
}

// settle takes over what was acknowledged. Where a lock has run out nothing was; any other
// failure comes of a kill, and the answer may have been lost on its way.
func (s *shareRun) settle(records []*kgo.Record, kinds []kgo.AckStatus, failed map[int32]error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, r := range records {
		err := failed[r.Partition]
		switch value := string(r.Value); {
		case kinds[i] == kgo.AckRelease, errors.Is(err, kerr.InvalidRecordState):
		case err != nil:
			s.unknown[value] = true
		case s.done[value]:
			s.faults = append(s.faults, value+" was accepted twice")
		default:
			s.done[value] = true
		}
	}
}

// pollUntil polls until n records of a value have come, and returns all.
func pollUntil(t testing.TB, c *kgo.Client, value string, n int) (all []*kgo.Record) {
	t.Helper()
	for n > 0 {
		for _, r := range poll(t, c, 1) {
			if all = append(all, r); string(r.Value) == value {
				n--
			}
		}
	}
	return all
}
