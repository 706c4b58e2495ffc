package verify

import (
	"cmp"
	"fmt"
	"slices"
)

// Outcome is how a send ended.
type Outcome uint8

// The outcomes. A send that never ended is Info.
const (
	Info Outcome = iota // unknown: it may be in the log, once
	OK                  // acknowledged, with an offset
	Fail                // refused: it is not in the log
)

// String implements fmt.Stringer.
func (o Outcome) String() string { return [...]string{"info", "ok", "fail"}[o] }

// Send is one record that a producer tried to append.
type Send struct {
	Value     uint64 // unique in the history
	Partition int32
	Producer  int32
	Outcome   Outcome
	Offset    int64 // of OK
	// Begun and Ended are moments of one monotonic clock; Ended counts for OK only.
	Begun, Ended int64
}

// Read is one record as a reader was given it. Reads of one session are logged in the
// order in which they came.
type Read struct {
	Session   int32 // one reader from one assignment on, without a seek
	Partition int32
	Offset    int64
	Value     uint64
}

// History is everything that clients did and saw.
type History struct {
	Sends []Send
	Reads []Read
	// Complete says that some session has read every partition from its beginning to
	// its end after the last send had ended: what it did not see is lost.
	Complete bool
	// Idempotent says that all producers are: a value at two offsets is a fault.
	Idempotent bool
	// Gaps says that offsets without records are legal: retention, compaction, markers.
	Gaps bool
}

// Violation is one fault of a history.
type Violation struct {
	Rule   string // of the reliability plan: "C1"
	Detail string
}

// String implements fmt.Stringer.
func (v Violation) String() string { return v.Rule + ": " + v.Detail }

// place is an offset of a partition.
type place struct {
	partition int32
	offset    int64
}

// Check applies every rule and returns what breaks them, at most 20 of each rule.
func Check(h *History) []Violation {
	c := checker{h: h, sends: make(map[uint64]*Send, len(h.Sends)), at: map[place]uint64{}, places: map[uint64]place{}, count: map[string]int{}}
	c.index()
	c.lost()
	c.order()
	c.sessions()
	return c.found
}

type checker struct {
	h      *History
	sends  map[uint64]*Send
	at     map[place]uint64 // what was read where
	places map[uint64]place // where each value was read first
	found  []Violation
	count  map[string]int
}

const maxPerRule = 20

func (c *checker) add(rule, format string, args ...any) {
	if c.count[rule]++; c.count[rule] <= maxPerRule {
		c.found = append(c.found, Violation{rule, fmt.Sprintf(format, args...)})
	}
}

// index files sends and reads, and finds what contradicts itself: one value at two
// offsets (C2), one offset with two values (C4), a value that nobody sent or that was
// refused (C1, for what is read instead of it is lost).
func (c *checker) index() {
	for i := range c.h.Sends {
		s := &c.h.Sends[i]
		if c.sends[s.Value] != nil {
			c.add("history", "value %d was sent twice", s.Value)
		}
		c.sends[s.Value] = s
	}
	for _, r := range c.h.Reads {
		p := place{r.Partition, r.Offset}
		if other, seen := c.at[p]; seen && other != r.Value {
			c.add("C4", "partition %d offset %d holds %d and %d", r.Partition, r.Offset, other, r.Value)
		}
		c.at[p] = r.Value
		first, seen := c.places[r.Value]
		if !seen {
			c.places[r.Value] = p
			c.origin(r)
		} else if first != p && c.h.Idempotent {
			c.add("C2", "value %d is at partition %d offset %d and at partition %d offset %d",
				r.Value, first.partition, first.offset, p.partition, p.offset)
		}
	}
}

// origin checks the first sight of a value against its send.
func (c *checker) origin(r Read) {
	s := c.sends[r.Value]
	switch {
	case s == nil:
		c.add("C1", "partition %d offset %d holds %d, which nobody sent", r.Partition, r.Offset, r.Value)
	case s.Outcome == Fail:
		c.add("C1", "value %d was refused and is at partition %d offset %d", r.Value, r.Partition, r.Offset)
	case s.Partition != r.Partition:
		c.add("C1", "value %d was sent to partition %d and is in partition %d", r.Value, s.Partition, r.Partition)
	case s.Outcome == OK && s.Offset != r.Offset && c.h.Idempotent:
		c.add("C4", "value %d was acknowledged at partition %d offset %d and is at %d", r.Value, s.Partition, s.Offset, r.Offset)
	}
}

// lost finds acknowledged records that were not read (C1): below the highest offset
// that was read always, anywhere after a complete read.
func (c *checker) lost() {
	highest := map[int32]int64{}
	for _, r := range c.h.Reads {
		highest[r.Partition] = max(highest[r.Partition], r.Offset+1)
	}
	acked := map[place]uint64{}
	for i := range c.h.Sends {
		s := &c.h.Sends[i]
		if s.Outcome != OK {
			continue
		}
		p := place{s.Partition, s.Offset}
		if other, taken := acked[p]; taken {
			c.add("C4", "partition %d offset %d was acknowledged for %d and for %d", s.Partition, s.Offset, other, s.Value)
		}
		acked[p] = s.Value
		if _, read := c.places[s.Value]; !read && (c.h.Complete || s.Offset < highest[s.Partition]) {
			c.add("C1", "value %d was acknowledged at partition %d offset %d and is lost (read up to %d)",
				s.Value, s.Partition, s.Offset, highest[s.Partition])
		}
	}
}

// order checks C3: a send that ended before another began lies below it, and the
// records of one idempotent producer lie in the order of its sends, acknowledged or not.
func (c *checker) order() {
	byPartition := map[int32][]*Send{}
	byProducer := map[[2]int32][]*Send{}
	for i := range c.h.Sends {
		s := &c.h.Sends[i]
		if s.Outcome == OK {
			byPartition[s.Partition] = append(byPartition[s.Partition], s)
		}
		if _, read := c.places[s.Value]; read || s.Outcome == OK {
			key := [2]int32{s.Producer, s.Partition}
			byProducer[key] = append(byProducer[key], s)
		}
	}
	for _, sends := range byPartition {
		c.realTime(sends)
	}
	if !c.h.Idempotent {
		return
	}
	for _, sends := range byProducer { // logged in the order of sending
		for i := 1; i < len(sends); i++ {
			if a, b := c.offset(sends[i-1]), c.offset(sends[i]); a >= b {
				c.add("C3", "producer %d sent %d before %d, at partition %d offsets %d and %d",
					sends[i].Producer, sends[i-1].Value, sends[i].Value, sends[i].Partition, a, b)
			}
		}
	}
}

func (c *checker) offset(s *Send) int64 {
	if s.Outcome == OK {
		return s.Offset
	}
	return c.places[s.Value].offset
}

// realTime walks the sends of one partition by the moment they began, and keeps the
// highest offset that had been acknowledged by then.
func (c *checker) realTime(sends []*Send) {
	begun := slices.SortedFunc(slices.Values(sends), func(a, b *Send) int { return cmp.Compare(a.Begun, b.Begun) })
	ended := slices.SortedFunc(slices.Values(sends), func(a, b *Send) int { return cmp.Compare(a.Ended, b.Ended) })
	var highest *Send
	for _, s := range begun {
		for len(ended) > 0 && ended[0].Ended < s.Begun {
			if highest == nil || ended[0].Offset > highest.Offset {
				highest = ended[0]
			}
			ended = ended[1:]
		}
		if highest != nil && highest.Offset >= s.Offset {
			c.add("C3", "value %d was acknowledged at partition %d offset %d before %d was sent, which is at %d",
				highest.Value, s.Partition, highest.Offset, s.Value, s.Offset)
		}
	}
}

// sessions checks C8: within a session offsets rise, and skip nothing.
func (c *checker) sessions() {
	last := map[[2]int32]int64{}
	for _, r := range c.h.Reads {
		key := [2]int32{r.Session, r.Partition}
		before, seen := last[key]
		last[key] = r.Offset
		switch {
		case !seen:
		case r.Offset <= before:
			c.add("C8", "session %d, partition %d: offset %d after %d", r.Session, r.Partition, r.Offset, before)
		case r.Offset > before+1 && !c.h.Gaps:
			c.add("C8", "session %d, partition %d: offset %d after %d skips records", r.Session, r.Partition, r.Offset, before)
		}
	}
}
