//go:build e2e

package e2e

import (
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// TestShareFetchWaitsForNoMoreStatesThanItNeeds: as with Kafka, whose share partitions
// become ready one by one, a session's first fetch that finds records in one is answered
// with those; the others have their turn. A fetch that finds none asks for all states.
func TestShareFetchWaitsForNoMoreStatesThanItNeeds(t *testing.T) {
	const partitions = 3
	b := harness.StartBroker(t, quick()...)
	c := client(t, b, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for _, test := range []struct {
		topic string
		in    []int32 // partitions with a record
		first int     // partitions with records in the first answer
	}{
		{"records-in-all", []int32{0, 1, 2}, 1},
		{"records-in-the-last", []int32{2}, 1},
		{"records-in-none", nil, 0},
	} {
		t.Run(test.topic, func(t *testing.T) {
			createTopic(t, b, test.topic, partitions, nil)
			for _, p := range test.in {
				if err := c.ProduceSync(within(t, time.Minute), &kgo.Record{Topic: test.topic, Partition: p, Value: []byte("x")}).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			topics, err := kadm.NewClient(c).ListTopics(within(t, time.Minute), test.topic)
			if err != nil {
				t.Fatal(err)
			}
			s := &sharing{t: t, b: b, c: c, group: test.topic, topic: topics[test.topic].ID}
			for i := range int32(partitions) {
				s.initialize(i, 0)
			}
			var all []int32
			for epoch := range int32(partitions) {
				got := s.fetchAll("m", epoch, partitions)
				if epoch == 0 && len(got) != test.first || len(got) > 1 {
					t.Errorf("answer %d has records of partitions %v", epoch, got)
				}
				all = append(all, got...)
			}
			if slices.Sort(all); !slices.Equal(all, test.in) {
				t.Errorf("records came of partitions %v, want %v", all, test.in)
			}
		})
	}
}

// fetchAll fetches from all partitions and returns those of which records were acquired.
func (s *sharing) fetchAll(member string, epoch, partitions int32) (acquired []int32) {
	s.t.Helper()
	q := kmsg.NewPtrShareFetchRequest()
	q.GroupID, q.MemberID, q.ShareSessionEpoch = &s.group, &member, epoch
	q.MaxWaitMillis, q.MinBytes, q.MaxRecords, q.BatchSize = 100, 1, 500, 500
	if epoch == 0 {
		of := kmsg.ShareFetchRequestTopic{TopicID: s.topic}
		for i := range partitions {
			of.Partitions = append(of.Partitions, kmsg.ShareFetchRequestTopicPartition{Partition: i})
		}
		q.Topics = append(q.Topics, of)
	}
	p := s.ask(q).(*kmsg.ShareFetchResponse)
	if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
		s.t.Fatalf("share fetch: %v", err)
	}
	for _, t := range p.Topics {
		for _, at := range t.Partitions {
			if err := kerr.ErrorForCode(at.ErrorCode); err != nil {
				s.t.Fatalf("share fetch of partition %d: %v", at.Partition, err)
			}
			if len(at.AcquiredRecords) > 0 {
				acquired = append(acquired, at.Partition)
			}
		}
	}
	return acquired
}
