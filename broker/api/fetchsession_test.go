package api

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/partition"
	"github.com/varvelog/varve/segment"
)

// fetchOf builds a request of version 12 for partitions of topic "t".
func fetchOf(session, epoch int32, offsets map[int32]int64, forget ...int32) *kmsg.FetchRequest {
	q := kmsg.NewPtrFetchRequest()
	q.Version, q.SessionID, q.SessionEpoch = 12, session, epoch
	t := kmsg.NewFetchRequestTopic()
	t.Topic = "t"
	for i := int32(0); i < 10; i++ {
		if offset, ok := offsets[i]; ok {
			p := kmsg.NewFetchRequestTopicPartition()
			p.Partition, p.FetchOffset, p.PartitionMaxBytes = i, offset, 1000
			t.Partitions = append(t.Partitions, p)
		}
	}
	if len(t.Partitions) > 0 {
		q.Topics = append(q.Topics, t)
	}
	if len(forget) > 0 {
		f := kmsg.NewFetchRequestForgottenTopic()
		f.Topic, f.Partitions = "t", forget
		q.ForgottenTopics = append(q.ForgottenTopics, f)
	}
	return q
}

func indexes(parts []*fetchPart) []int32 {
	var all []int32
	for _, p := range parts {
		all = append(all, p.index)
	}
	return all
}

func equal[T comparable](a, b []T) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestFetchSessionLife(t *testing.T) { // KIP-227
	now := time.Unix(1000, 0)
	c := newFetchSessions(2, func() time.Time { return now })

	s, parts, full, err := c.settle(fetchOf(0, initialEpoch, map[int32]int64{0: 5, 1: 6, 2: 7}))
	if err != nil || s == nil || !full || !equal(indexes(parts), []int32{0, 1, 2}) {
		t.Fatalf("new session: %v, parts %v, full %v, %v", s, indexes(parts), full, err)
	}
	c.done(s)
	s2, parts, full, err := c.settle(fetchOf(s.id, 1, map[int32]int64{1: 9, 4: 1}, 0))
	if err != nil || s2 != s || full || !equal(indexes(parts), []int32{1, 2, 4}) || parts[0].offset != 9 {
		t.Fatalf("incremental: parts %v, full %v, %v", indexes(parts), full, err)
	}
	if _, _, _, err := c.settle(fetchOf(s.id, 2, nil)); !errors.Is(err, kerr.InvalidFetchSessionEpoch) {
		t.Errorf("a second request beside one under way: %v", err)
	}
	c.done(s)
	if _, _, _, err := c.settle(fetchOf(s.id, 1, nil)); !errors.Is(err, kerr.InvalidFetchSessionEpoch) {
		t.Errorf("an epoch used twice: %v", err)
	}
	if _, _, _, err := c.settle(fetchOf(s.id+1, 1, nil)); !errors.Is(err, kerr.FetchSessionIDNotFound) {
		t.Errorf("unknown session: %v", err)
	}
	if _, _, _, err := c.settle(fetchOf(s.id, finalEpoch, nil)); err != nil {
		t.Errorf("closing: %v", err)
	}
	if _, _, _, err := c.settle(fetchOf(s.id, 2, nil)); !errors.Is(err, kerr.FetchSessionIDNotFound) {
		t.Errorf("a closed session: %v", err)
	}
}

func TestFetchSessionTakesTheLastOfAPartitionAndStartsWithNone(t *testing.T) {
	c := newFetchSessions(2, time.Now)
	twice := fetchOf(0, initialEpoch, map[int32]int64{0: 5})
	twice.Topics = append(twice.Topics, fetchOf(0, initialEpoch, map[int32]int64{0: 7}).Topics...)
	if s, parts, _, _ := c.settle(twice); s == nil || !equal(indexes(parts), []int32{0}) || parts[0].offset != 7 {
		t.Errorf("a partition twice: %v, parts %v", s, indexes(parts))
	}
	s, _, _, _ := c.settle(fetchOf(0, initialEpoch, nil))
	if s == nil {
		t.Fatal("no session for a request without partitions")
	}
	c.done(s)
	if s, parts, full, err := c.settle(fetchOf(s.id, 1, nil)); s != nil || len(parts) > 0 || !full || err != nil {
		t.Errorf("a session that goes on without partitions: %v, parts %v, full %v, %v", s, indexes(parts), full, err)
	}
}

func TestFetchSessionSlotsAreBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	c := newFetchSessions(1, func() time.Time { return now })
	open := func() *fetchSession {
		s, _, _, err := c.settle(fetchOf(0, initialEpoch, map[int32]int64{0: 0}))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := open()
	if open() != nil {
		t.Error("a second session was cached in one slot")
	}
	now = now.Add(evictAfter)
	if s := open(); s == nil || s == first {
		t.Error("an idle session was not evicted for a new one")
	}
}

func TestFetchSessionEpochWrapsToOne(t *testing.T) {
	c := newFetchSessions(1, time.Now)
	s, _, _, _ := c.settle(fetchOf(0, initialEpoch, map[int32]int64{0: 0}))
	c.done(s)
	s.epoch = 1<<31 - 1
	if _, _, _, err := c.settle(fetchOf(s.id, 1<<31-1, nil)); err != nil || s.epoch != 1 {
		t.Errorf("after the largest epoch comes %d, %v", s.epoch, err)
	}
}

// Only what a consumer does not know is sent, and a partition that filled an incremental
// response goes to the end of the line.
func TestFetchSessionTellsNewsAndRotates(t *testing.T) {
	c := newFetchSessions(1, time.Now)
	s, parts, _, _ := c.settle(fetchOf(0, initialEpoch, map[int32]int64{0: 0, 1: 0, 2: 0}))
	result := func(highWatermark, size int64) fetched {
		return fetched{ReadResult: partition.ReadResult{Records: segment.Records{Size: size}, Offsets: partition.Offsets{HighWatermark: highWatermark}}}
	}
	sent, _ := s.news(parts, []fetched{result(10, 100), result(10, 0), result(10, 0)}, true)
	if !equal(indexes(sent), []int32{0, 1, 2}) {
		t.Errorf("a full answer has %v", indexes(sent))
	}
	if !equal(indexes(s.parts), []int32{0, 1, 2}) {
		t.Errorf("order is %v after a full answer, want the one that was asked for", indexes(s.parts))
	}
	sent, _ = s.news(s.parts, []fetched{result(10, 100), result(10, 0), result(10, 0)}, false)
	if !equal(indexes(sent), []int32{0}) {
		t.Errorf("news are %v, want the partition with records", indexes(sent))
	}
	if !equal(indexes(s.parts), []int32{1, 2, 0}) {
		t.Errorf("order is %v, want the partition with records last", indexes(s.parts))
	}
	failed := result(10, 0)
	failed.err = kerr.NotLeaderForPartition
	sent, _ = s.news(s.parts, []fetched{result(10, 0), result(11, 0), failed}, false)
	if !equal(indexes(sent), []int32{2, 0}) {
		t.Errorf("news are %v, want the moved high watermark and the error", indexes(sent))
	}
	sent, _ = s.news(s.parts, []fetched{result(10, 0), result(11, 0), result(10, 0)}, false)
	if !equal(indexes(sent), []int32{0}) {
		t.Errorf("news are %v, want the partition that recovered from its error", indexes(sent))
	}
}
