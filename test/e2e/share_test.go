//go:build e2e

package e2e

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/test/harness"
)

// sharing is a share group's view of partition 0 of a topic, at the level of requests: a
// test says what each member fetches and acknowledges.
type sharing struct {
	t     *testing.T
	b     *harness.Broker
	c     *kgo.Client
	group string
	topic [16]byte
}

// shareTopic makes a group that begins at the earliest record of a topic.
func shareTopic(t *testing.T, b *harness.Broker, group, topic string, configs ...string) *sharing {
	t.Helper()
	s := &sharing{t: t, b: b, c: client(t, b), group: group}
	configs = append(configs, "share.auto.offset.reset", "earliest")
	q := kmsg.NewPtrIncrementalAlterConfigsRequest()
	of := kmsg.NewIncrementalAlterConfigsRequestResource()
	of.ResourceType, of.ResourceName = kmsg.ConfigResourceTypeGroupConfig, group
	for i := 0; i < len(configs); i += 2 {
		set := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		set.Name, set.Value = configs[i], &configs[i+1]
		of.Configs = append(of.Configs, set)
	}
	q.Resources = append(q.Resources, of)
	if err := kerr.ErrorForCode(s.ask(q).(*kmsg.IncrementalAlterConfigsResponse).Resources[0].ErrorCode); err != nil {
		t.Fatalf("configs of %s: %v", group, err)
	}
	topics, err := kadm.NewClient(s.c).ListTopics(within(t, time.Minute), topic)
	if err != nil {
		t.Fatal(err)
	}
	s.topic = topics[topic].ID
	s.initialize(0, -1)
	return s
}

// ask sends a request to the broker, again until it is there.
func (s *sharing) ask(q kmsg.Request) kmsg.Response {
	s.t.Helper()
	var p kmsg.Response
	harness.Until(s.t, time.Minute, kmsg.NameForKey(q.Key()), func() (err error) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		p, err = s.c.Broker(0).Request(ctx, q)
		return err
	})
	return p
}

// initialize is what the group coordinator does when a member subscribes, for one
// partition; start -1 leaves the first offset to the group's configs.
func (s *sharing) initialize(partition int32, start int64) {
	s.t.Helper()
	harness.Until(s.t, time.Minute, "share coordinator", func() error {
		q := kmsg.NewPtrFindCoordinatorRequest()
		q.CoordinatorType = 2
		q.CoordinatorKeys = []string{fmt.Sprintf("%s:%s:%d", s.group, base64.RawURLEncoding.EncodeToString(s.topic[:]), partition)}
		s.ask(q)
		i := kmsg.NewPtrInitializeShareGroupStateRequest()
		i.GroupID = s.group
		at := kmsg.NewInitializeShareGroupStateRequestTopicPartition()
		at.Partition, at.StartOffset = partition, start
		i.Topics = []kmsg.InitializeShareGroupStateRequestTopic{{TopicID: s.topic, Partitions: []kmsg.InitializeShareGroupStateRequestTopicPartition{at}}}
		return kerr.ErrorForCode(s.ask(i).(*kmsg.InitializeShareGroupStateResponse).Topics[0].Partitions[0].ErrorCode)
	})
}

// shareReader is a member of the group with its session.
type shareReader struct {
	*sharing
	id    string
	epoch int32
}

func (s *sharing) member(id string) *shareReader { return &shareReader{sharing: s, id: id} }

// fetch acquires up to most records, exactly, and returns offsets with their delivery
// counts. The bytes that came are checked: whole batches that hold what was acquired.
func (r *shareReader) fetch(most int32) (acquired map[int64]int16) {
	r.t.Helper()
	q := kmsg.NewPtrShareFetchRequest()
	q.GroupID, q.MemberID, q.ShareSessionEpoch = &r.group, &r.id, r.epoch
	q.MaxWaitMillis, q.MinBytes, q.MaxRecords, q.BatchSize, q.ShareAcquireMode = 500, 1, most, most, 1
	if r.epoch == 0 {
		q.Topics = []kmsg.ShareFetchRequestTopic{{TopicID: r.topic, Partitions: []kmsg.ShareFetchRequestTopicPartition{{}}}}
	}
	p := r.ask(q).(*kmsg.ShareFetchResponse)
	if err := kerr.ErrorForCode(p.ErrorCode); errors.Is(err, kerr.ShareSessionNotFound) || errors.Is(err, kerr.InvalidShareSessionEpoch) {
		r.epoch = 0 // the broker was restarted, or never saw the last answer
		return nil
	} else if err != nil {
		r.t.Fatalf("share fetch: %v", err)
	}
	r.epoch++
	acquired = map[int64]int16{}
	for _, t := range p.Topics {
		for _, at := range t.Partitions {
			if err := kerr.ErrorForCode(at.ErrorCode); err != nil {
				r.t.Fatalf("share fetch: %v", err)
			}
			held := map[int64]bool{}
			for rest := at.Records; len(rest) > 0; {
				b, more, err := batch.Next(rest)
				if err == nil {
					err = b.CheckCRC()
				}
				if err != nil {
					r.t.Fatalf("share fetch: %v", err)
				}
				for o := b.BaseOffset(); o < b.NextOffset(); o++ {
					held[o] = true
				}
				rest = more
			}
			for _, a := range at.AcquiredRecords {
				for o := a.FirstOffset; o <= a.LastOffset; o++ {
					if acquired[o] = a.DeliveryCount; !held[o] {
						r.t.Fatalf("offset %d was acquired and did not come", o)
					}
				}
			}
		}
	}
	return acquired
}

// ack acknowledges offsets one by one, and tells whether they all were.
func (r *shareReader) ack(kinds map[int64]int8) bool {
	r.t.Helper()
	q := kmsg.NewPtrShareAcknowledgeRequest()
	q.GroupID, q.MemberID, q.ShareSessionEpoch = &r.group, &r.id, r.epoch
	var at kmsg.ShareAcknowledgeRequestTopicPartition
	for _, o := range sortedOffsets(kinds) {
		at.AcknowledgementBatches = append(at.AcknowledgementBatches, kmsg.ShareAcknowledgeRequestTopicPartitionAcknowledgementBatch{
			FirstOffset: o, LastOffset: o, AcknowledgeTypes: []int8{kinds[o]},
		})
	}
	q.Topics = []kmsg.ShareAcknowledgeRequestTopic{{TopicID: r.topic, Partitions: []kmsg.ShareAcknowledgeRequestTopicPartition{at}}}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	answer, err := r.c.Broker(0).Request(ctx, q)
	if err != nil {
		return false // nobody knows
	}
	p := answer.(*kmsg.ShareAcknowledgeResponse)
	if p.ErrorCode != 0 {
		r.epoch = 0
		return false
	}
	r.epoch++
	return p.Topics[0].Partitions[0].ErrorCode == 0
}

func sortedOffsets(kinds map[int64]int8) []int64 {
	var all []int64
	for o := range kinds {
		all = append(all, o)
	}
	slices.Sort(all)
	return all
}

// writeNumbers produces count records, each its number, in batches of per.
func writeNumbers(t *testing.T, b *harness.Broker, topic string, count, per, size int) {
	t.Helper()
	c := client(t, b, kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer c.Close()
	ctx := within(t, time.Minute)
	for at := 0; at < count; at += per {
		var records []*kgo.Record
		for i := at; i < min(count, at+per); i++ {
			records = append(records, &kgo.Record{Value: fmt.Appendf(make([]byte, 0, size), "%0*d", size, i)})
		}
		if err := c.ProduceSync(ctx, records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestShareGroupOverKills: the broker is killed while members hold records and
// acknowledge others. What was answered as accepted is never delivered again, and all
// else is, until everything is accepted (KIP-932).
func TestShareGroupOverKills(t *testing.T) {
	b := harness.StartBroker(t, append(quick(), "group.share.min.record.lock.duration.ms=1000", "group.share.max.delivery.count.limit=25")...)
	createTopic(t, b, "shared", 1, nil)
	const total = 400
	writeNumbers(t, b, "shared", total, 10, 10)
	s := shareTopic(t, b, "g", "shared", "share.record.lock.duration.ms", "1000", "share.delivery.count.limit", "25") // one delivery in four leads to nothing, and more on a slow machine
	r := harness.Seeded(t)
	readers := []*shareReader{s.member("a"), s.member("b"), s.member("c")}
	accepted := map[int64]bool{}
	deliveries, kills, turn := 0, 0, 0
	harness.Until(t, 3*time.Minute, "acceptance of every record", func() error {
		turn++
		m := readers[turn%len(readers)]
		kinds := map[int64]int8{}
		for o := range m.fetch(int32(1 + r.IntN(40))) {
			deliveries++
			if accepted[o] {
				t.Fatalf("offset %d was accepted and is delivered again", o)
			}
			switch r.IntN(8) {
			case 0:
				kinds[o] = 2 // release
			case 1: // held until the lock expires
			default:
				kinds[o] = 1
			}
		}
		killing := kills < 4 && turn%7 == 0
		if killing && turn%2 == 0 { // with what was just acquired
			b.Kill()
			kills++
			b.Start()
			return errors.New("killed")
		}
		if len(kinds) > 0 {
			done := m.ack(kinds)
			for o, kind := range kinds {
				if kind == 1 && done {
					accepted[o] = true
				}
			}
		}
		if killing { // right after the answer
			b.Kill()
			kills++
			b.Start()
		}
		for o := range int64(total) {
			if !accepted[o] {
				return fmt.Errorf("%d accepted of %d; offset %d not yet", len(accepted), total, o)
			}
		}
		return nil
	})
	t.Logf("%d deliveries of %d records over %d kills", deliveries, total, kills)
	if kills == 0 {
		t.Error("everything was accepted before the first kill: the run proves nothing")
	}
	if again := readers[0].fetch(100); len(again) > 0 {
		t.Errorf("delivered after everything was accepted: %v", again)
	}
}

// TestShareGroupReadsTheBucket: a share group begins at records that have left the disk.
func TestShareGroupReadsTheBucket(t *testing.T) {
	b := harness.StartBroker(t, quick()...)
	createTopic(t, b, "cold", 1, tiered())
	const total, size = 6000, 1000
	writeNumbers(t, b, "cold", total, 50, size)
	b.WaitTiered(t, time.Minute, 2<<20, "cold")
	local := b.Tiers(t, "cold")[0].LocalStart
	if local < total/2 {
		t.Fatalf("the disk begins at %d of %d: the test proves nothing", local, total)
	}
	s := shareTopic(t, b, "g", "cold")
	m := s.member("a")
	seen := 0
	harness.Until(t, 2*time.Minute, "reading everything", func() error {
		kinds := map[int64]int8{}
		for o, count := range m.fetch(500) {
			if kinds[o] = 1; count != 1 {
				t.Fatalf("offset %d is delivered for the %d. time", o, count)
			}
		}
		if len(kinds) > 0 && m.ack(kinds) {
			seen += len(kinds)
		}
		if seen < total {
			return fmt.Errorf("%d of %d", seen, total)
		}
		return nil
	})
}

// TestShareGroupOfCommittedRecords: with share.isolation.level=read_committed, nothing of
// an open or aborted transaction is delivered, and no marker is waited for.
func TestShareGroupOfCommittedRecords(t *testing.T) {
	b := harness.StartBroker(t, quick()...)
	createTopic(t, b, "txn", 1, nil)
	p := client(t, b, kgo.TransactionalID("x"), kgo.DefaultProduceTopic("txn"))
	ctx := within(t, time.Minute)
	write := func(n int, end kgo.TransactionEndTry) {
		t.Helper()
		if err := p.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for range n {
			if err := p.ProduceSync(ctx, kgo.StringRecord("x")).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.EndTransaction(ctx, end); err != nil {
			t.Fatal(err)
		}
	}
	write(3, kgo.TryAbort)  // 0 to 2, marker 3
	write(3, kgo.TryCommit) // 4 to 6, marker 7
	s := shareTopic(t, b, "committed", "txn", "share.isolation.level", "read_committed")
	all := shareTopic(t, b, "all", "txn")
	for _, c := range []struct {
		of   *sharing
		want string
	}{{s, "[4 5 6]"}, {all, "[0 1 2 4 5 6]"}} {
		m := c.of.member("a")
		kinds := map[int64]int8{}
		harness.Until(t, time.Minute, "records of "+c.of.group, func() error {
			for o := range m.fetch(100) {
				kinds[o] = 1
			}
			if got := fmt.Sprint(sortedOffsets(kinds)); got != c.want {
				return fmt.Errorf("delivered %s, want %s", got, c.want)
			}
			return nil
		})
		if !m.ack(kinds) {
			t.Errorf("%s: not acknowledged", c.of.group)
		}
	}
	write(1, kgo.TryCommit) // 8
	b8, got := s.member("b"), map[int64]int16(nil)
	harness.Until(t, time.Minute, "a record behind the markers", func() error { // its own is written some time after the answer
		if got = b8.fetch(10); len(got) == 0 {
			return errors.New("none")
		}
		return nil
	})
	if len(got) != 1 || got[8] != 1 {
		t.Errorf("after the markers: %v", got)
	}
}
