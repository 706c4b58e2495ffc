package share

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

func TestSessionsFollowTheirEpochs(t *testing.T) {
	now := epoch
	s := NewSessions(func() int { return 2 }, func() time.Time { return now })
	from := Peer{"c", t.Context()}
	a, b, c := Member{"g", "a"}, Member{"g", "b"}, Member{"h", "c"}
	p := func(i int32) TopicPartition { return TopicPartition{Index: i} }
	for i, step := range []struct {
		member      Member
		epoch       int32
		ack         bool
		add, forget []TopicPartition
		want        error
		parts       string
		later       time.Duration
	}{
		{a, 1, false, nil, nil, kerr.ShareSessionNotFound, "", 0},
		{a, FinalEpoch, false, nil, nil, kerr.ShareSessionNotFound, "", 0},
		{a, InitialEpoch, true, nil, nil, kerr.InvalidShareSessionEpoch, "", 0},
		{a, InitialEpoch, false, []TopicPartition{p(0), p(1), p(1)}, nil, nil, "1 0 ", 0},
		{a, 1, false, []TopicPartition{p(2)}, []TopicPartition{p(0)}, nil, "1 2 ", 0},
		{a, 2, true, nil, nil, nil, "", 0},
		{a, 2, true, nil, nil, kerr.InvalidShareSessionEpoch, "", 0},
		{a, 3, false, nil, nil, nil, "1 2 ", 0},
		{b, InitialEpoch, false, []TopicPartition{p(0)}, nil, nil, "0 ", 0},
		{c, InitialEpoch, false, []TopicPartition{p(0)}, nil, kerr.ShareSessionLimitReached, "", 0},
		{b, 1, false, nil, nil, nil, "0 ", evictAfter},
		{c, InitialEpoch, false, []TopicPartition{p(0)}, nil, nil, "0 ", 0}, // a was idle
		{a, 4, false, nil, nil, kerr.ShareSessionNotFound, "", 0},
		{b, 2, false, nil, []TopicPartition{p(0)}, nil, "", 0},
		{b, FinalEpoch, true, nil, nil, nil, "", 0},
	} {
		now = now.Add(step.later)
		var parts []TopicPartition
		var err error
		if step.ack {
			err = s.Acknowledge(step.member, step.epoch)
		} else {
			parts, _, err = s.Fetch(from, step.member, step.epoch, step.add, step.forget)
		}
		text := ""
		for _, x := range parts {
			text += fmt.Sprint(x.Index, " ")
		}
		if !errors.Is(err, step.want) || text != step.parts {
			t.Errorf("step %d: %q, %v; want %q, %v", i, text, err, step.parts, step.want)
		}
	}
	s.Close(b)
	if s.serves("g") || !s.serves("h") || s.Count() != 1 {
		t.Errorf("%d sessions are left", s.Count())
	}
}

// TestASessionOfManyPartitionsIsNoLongWork: sessions are settled under one lock, and a request
// of a megabyte names 170,000 partitions. Compared with one another they would take minutes.
func TestASessionOfManyPartitionsIsNoLongWork(t *testing.T) {
	s := NewSessions(func() int { return 1 }, time.Now)
	from, m := Peer{"c", t.Context()}, Member{"g", "a"}
	many := make([]TopicPartition, 200_000)
	for i := range many {
		many[i].Index = int32(i)
	}
	began := time.Now()
	parts, _, err := s.Fetch(from, m, InitialEpoch, many, nil)
	if err != nil || len(parts) != len(many) {
		t.Fatalf("%d partitions, %v", len(parts), err)
	}
	if parts, _, err = s.Fetch(from, m, 1, many, many[1:]); err != nil || len(parts) != 1 || parts[0] != many[0] {
		t.Fatalf("%d partitions, %v", len(parts), err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
}
