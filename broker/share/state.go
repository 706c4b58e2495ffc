package share

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"
)

// RecordState is what a share group has made of a record, numbered as it is stored.
//
//	           acquire                 accept
//	Available ---------> Acquired ----------------> Acknowledged
//	    ^                 | |  reject, gap, or the
//	    +-----------------+ |  limit of deliveries
//	  release, lock expired +--------------------> Archived
//
// What is not there to be delivered (control batches, aborted transactions, offsets that
// compaction has emptied) goes from Available to Archived.
type RecordState int8

// The states, as WriteShareGroupState numbers them; Acquired is never stored.
const (
	Available    RecordState = 0
	Acquired     RecordState = 1
	Acknowledged RecordState = 2
	Archived     RecordState = 4
)

// done tells whether nobody is to see the record any more.
func (s RecordState) done() bool { return s == Acknowledged || s == Archived }

// AckType is what a consumer says of a record.
type AckType int8

// The types of the protocol.
const (
	Gap     AckType = 0 // there is no such record
	Accept  AckType = 1
	Release AckType = 2
	Reject  AckType = 3
	Renew   AckType = 4 // KIP-1222: not done yet, hold it for longer
)

// Ack acknowledges the records of [First, Next). Types has one element for all of them
// or one for each.
type Ack struct {
	First, Next int64
	Types       []AckType
}

// Range is records of one state, [First, Next).
type Range struct {
	First, Next int64
	State       RecordState
	Deliveries  int16
}

// Errors of acknowledgements.
var (
	ErrRecordState = errors.New("the record is not acquired by this member")
	ErrRequest     = errors.New("invalid acknowledgement")
)

// Batch is a batch of the log as Acquire needs to know it.
type Batch struct {
	First, Next int64
	Hidden      bool // a control batch, or one of an aborted transaction: never delivered
}

// State is what a share group has made of one partition: a value that only its methods
// change, without clock, log or lock.
//
//	    start                               end
//	done  |  spans: each offset has a state  |  never delivered
//
// Invariant: the spans cover [start, end) in order and without holes, none is empty, and
// the first of them is not done or is being changed. Two neighbours that say the same are
// one.
//
// What is done above a record that is not is no lock, and is remembered run by run, here and
// where it is stored: runs differ in their fate and their count of deliveries. A record may be
// held for as long as its member renews it (KIP-1222), so there is nothing new to acquire
// while there are more than spansPerLock spans for each lock.
type State struct {
	start, end int64
	gone       int64 // the log start, as far as it is known: what lies below is nobody's
	spans      []span
}

// spansPerLock leaves room for each record in flight between two that are done. Kafka has as
// many locks as there are offsets between the first record in flight and the last, so this
// stops later than Kafka does.
const spansPerLock = 2

// span is [first, next) in one state.
type span struct {
	first, next int64
	state       RecordState
	deliveries  int16
	member      string    // of Acquired: who holds it
	deadline    time.Time // of Acquired: when the lock expires
	change      *Change   // a write under way that decides what becomes of it; nil: none
	to          RecordState
	toCount     int16
}

// same tells whether two spans differ in nothing but their offsets.
func (a *span) same(b *span) bool {
	return a.state == b.state && a.deliveries == b.deliveries && a.member == b.member &&
		a.deadline.Equal(b.deadline) && a.change == b.change && a.to == b.to && a.toCount == b.toCount
}

// inFlight tells whether the records count against the limit of record locks.
func (a *span) inFlight() bool { return !a.state.done() }

// Change is a transition that holds once it is written: until Commit or Revert its
// records can neither be acquired nor acknowledged, and their locks do not expire.
type Change struct {
	Ranges []Range // what to write, in order
	// Start goes with it: the start before the change. Below the start nothing is kept of what
	// is stored, so it passes no record whose own change may still fail, and never goes back.
	Start int64
	// Complete is how many records at or above Start are done once all changes under way are
	// written (KIP-1226).
	Complete int64
}

// Load makes a State of what is stored. Offsets between the ranges are available. It
// returns an error for ranges that overlap, are out of order, or have no state that is
// ever stored; below start they are cut off.
func Load(start int64, ranges []Range) (*State, error) {
	s := &State{start: start, end: start}
	for _, r := range ranges {
		r.First = max(r.First, start)
		if r.First >= r.Next {
			continue
		}
		if r.First < s.end {
			return nil, fmt.Errorf("stored states overlap or are out of order at offset %d", r.First)
		}
		if r.State != Available && !r.State.done() {
			return nil, fmt.Errorf("stored state %d of offset %d is unknown", r.State, r.First)
		}
		s.append(span{first: s.end, next: r.First})
		s.append(settled(r.First, r.Next, r.State, r.Deliveries))
	}
	s.advance()
	return s, nil
}

// Start is the first offset that is not done.
func (s *State) Start() int64 { return s.start }

// End is one past the last offset that was ever acquired.
func (s *State) End() int64 { return s.end }

// settled is a span that nobody holds.
func settled(first, next int64, state RecordState, deliveries int16) span {
	return span{first: first, next: next, state: state, deliveries: deliveries}
}

// append adds a span at the end, as part of the last one where they say the same.
func (s *State) append(p span) {
	if p.first >= p.next {
		return
	}
	s.spans = join(s.spans, p)
	s.end = p.next
}

func join(spans []span, p span) []span {
	if n := len(spans); n > 0 && spans[n-1].same(&p) {
		spans[n-1].next = p.next
		return spans
	}
	return append(spans, p)
}

// advance raises the start over what is done.
func (s *State) advance() {
	n := 0
	for n < len(s.spans) && s.spans[n].state.done() && s.spans[n].change == nil {
		n++
	}
	if n == 0 {
		return
	}
	s.start = s.spans[n-1].next
	s.spans = slices.Delete(s.spans, 0, n)
}

// Raise moves the start up to the log start: what lies below is gone, whoever holds it.
func (s *State) Raise(logStart int64) {
	s.gone = max(s.gone, logStart)
	if logStart <= s.start {
		return
	}
	s.start, s.end = logStart, max(s.end, logStart)
	n := 0
	for n < len(s.spans) && s.spans[n].next <= logStart {
		n++
	}
	s.spans = slices.Delete(s.spans, 0, n)
	if len(s.spans) > 0 {
		s.spans[0].first = max(s.spans[0].first, logStart)
	}
	s.advance()
}

// index is the position of the span that holds offset, or of the first above it.
func (s *State) index(offset int64) int {
	return sort.Search(len(s.spans), func(i int) bool { return s.spans[i].next > offset })
}

// InFlight is how many records are acquired or wait to be delivered again.
func (s *State) InFlight() int64 {
	var n int64
	for i := range s.spans {
		if s.spans[i].inFlight() {
			n += s.spans[i].next - s.spans[i].first
		}
	}
	return n
}

// Next is the first offset that can be acquired. It returns false where there is none:
// all that is in flight is held, and locks are as many as may be, or spans.
func (s *State) Next(locks int64) (int64, bool) {
	for i := range s.spans {
		if p := &s.spans[i]; p.state == Available && p.change == nil {
			return p.first, true
		}
	}
	return s.end, s.InFlight() < locks && int64(len(s.spans)) <= spansPerLock*locks
}

// Wanted says who acquires how much.
type Wanted struct {
	Member   string
	From     int64     // what was read begins here: a Next
	Records  int64     // stop at the end of the batch that reaches it, or exactly there if Strict
	Strict   bool      // KIP-1206
	Batch    int64     // how long a run of acquired records should be, 0: as long as it is
	Locks    int64     // how many records may be in flight
	Limit    int16     // how often a record is delivered, 0: as often as it takes
	Deadline time.Time // when the locks expire
}

// Acquire gives member what is available in batches, which is everything that the log has
// from w.From to the end of the last of them: offsets in none of them are archived, as are
// the hidden ones. It returns what was acquired, in order, with the count of this delivery.
func (s *State) Acquire(w Wanted, batches []Batch) []Range {
	a := acquisition{State: s, Wanted: w, room: w.Locks - s.InFlight(), at: max(w.From, s.start)}
	a.out = append(a.out, s.spans[:s.index(a.at)]...)
	a.left = slices.Clone(s.spans[len(a.out):])
	if len(a.left) > 0 && a.left[0].first < a.at { // cut the span that a.at lies in
		head := a.left[0]
		head.next = a.at
		a.out = append(a.out, head)
		a.left[0].first = a.at
	}
	if len(a.left) == 0 && s.end < a.at { // nobody was given what lies between
		a.emit(span{first: s.end, next: a.at})
	}
	for _, b := range batches {
		if b.Next <= a.at {
			continue
		}
		if a.taken >= w.Records {
			break
		}
		a.archive(b.First)
		if b.Hidden {
			a.archive(b.Next)
			continue
		}
		if !a.take(b.Next, b.Next-b.First) {
			break
		}
		a.boundary()
	}
	for _, p := range a.left {
		a.emit(p)
	}
	s.spans = a.out
	if len(a.out) > 0 {
		s.end = a.out[len(a.out)-1].next
	}
	s.advance()
	return a.acquired
}

// acquisition is one pass of Acquire over the spans.
type acquisition struct {
	*State
	Wanted
	at       int64  // all below has been dealt with
	left     []span // from at on, a copy
	out      []span // below at
	room     int64  // how many more records may come in flight
	taken    int64
	acquired []Range
	full     bool // the last of acquired is long enough, and ends where a batch does
}

func (a *acquisition) emit(p span) {
	if p.first < p.next {
		a.out = join(a.out, p)
	}
}

// part cuts off what the spans say of [at, to): at most one span of it. fresh tells that
// nothing was ever acquired there.
func (a *acquisition) part(to int64) (p span, fresh bool) {
	if len(a.left) == 0 {
		return span{first: a.at, next: to}, true
	}
	p = a.left[0]
	if p.next <= to {
		a.left = a.left[1:]
		return p, false
	}
	p.next = to
	a.left[0].first = to
	return p, false
}

// archive goes up to to: what is available on the way is not there to be delivered.
func (a *acquisition) archive(to int64) {
	for a.at < to {
		p, _ := a.part(to)
		if p.state == Available && p.change == nil {
			p = settled(p.first, p.next, Archived, 0)
		}
		a.emit(p)
		a.at = p.next
	}
}

// alone is how many of the records that come next may be acquired, and no others with them;
// 0: any number may. size is that of their batch.
//
// Whoever acquires what kills its readers takes all that it has acquired with it. So from half
// of the limit of deliveries on it gets ever smaller parts, and for the last delivery a single
// record: what dies at the limit dies alone. The numbers are Kafka's.
func (a *acquisition) alone(size int64) int64 {
	if len(a.left) == 0 {
		return 0
	}
	p, from := &a.left[0], max(2, (a.Limit+1)/2)
	switch {
	case a.Limit == 0 || p.state != Available || p.change != nil || p.deliveries < from:
		return 0
	case p.deliveries >= a.Limit-1:
		return 1
	}
	return max(1, max(size, p.next-p.first)>>(p.deliveries-from+1))
}

// take acquires what is available up to to, of a batch of a size. It returns false where a
// limit was reached before that.
func (a *acquisition) take(to, size int64) bool {
	for a.at < to {
		bound := to
		if a.Strict {
			if a.taken >= a.Records {
				return false
			}
			bound = min(to, a.at+a.Records-a.taken)
		}
		if len(a.left) == 0 {
			if a.room <= 0 {
				return false
			}
			if a.Strict {
				bound = min(bound, a.at+a.room)
			}
		}
		alone := a.alone(size)
		if alone > 0 {
			if a.taken > 0 {
				return false
			}
			bound = min(bound, a.at+alone)
		}
		p, fresh := a.part(bound)
		if p.state == Available && p.change == nil {
			p.state, p.member, p.deadline = Acquired, a.Member, a.Deadline
			p.deliveries++
			a.note(p)
			if fresh {
				a.room -= p.next - p.first
			}
		}
		a.emit(p)
		a.at = p.next
		if alone > 0 {
			return false
		}
	}
	return true
}

// note adds what was just acquired to the answer.
func (a *acquisition) note(p span) {
	a.taken += p.next - p.first
	if n := len(a.acquired); n > 0 && !a.full {
		if last := &a.acquired[n-1]; last.Next == p.first && last.Deliveries == p.deliveries {
			last.Next = p.next
			return
		}
	}
	a.full = false
	a.acquired = append(a.acquired, Range{First: p.first, Next: p.next, State: Acquired, Deliveries: p.deliveries})
}

// boundary ends the run of acquired records where it is long enough: a batch ends here.
func (a *acquisition) boundary() {
	if n := len(a.acquired); a.Batch > 0 && n > 0 {
		a.full = a.acquired[n-1].Next-a.acquired[n-1].First >= a.Batch
	}
}

// edit is what is to become of the acquired records of [first, next).
type edit struct {
	first, next int64
	kind        AckType
}

// Acknowledge begins a member's acknowledgements: all of them or none. limit is how often
// a record may be delivered. The change is nil where there is nothing to write; locks that
// are renewed last until deadline at once.
//
// It returns ErrRecordState where a record is not acquired, by another member, or being
// changed or done already, and ErrRequest for acks out of order or beyond what was ever
// acquired. What lies below the log start is passed over.
func (s *State) Acknowledge(member string, acks []Ack, limit int16, deadline time.Time) (*Change, error) {
	edits, err := s.edits(acks)
	if err != nil {
		return nil, err
	}
	for _, e := range edits {
		for i := s.index(e.first); i < len(s.spans) && s.spans[i].first < e.next; i++ {
			if p := &s.spans[i]; p.state != Acquired || p.member != member || p.change != nil {
				return nil, fmt.Errorf("%w: offset %d", ErrRecordState, max(p.first, e.first))
			}
		}
	}
	c := &Change{}
	s.rewrite(edits, func(p *span, kind AckType) {
		switch kind {
		case Renew:
			p.deadline = deadline
		case Release:
			c.mark(p, returned(p.deliveries, limit), p.deliveries)
		case Accept:
			c.mark(p, Acknowledged, p.deliveries)
		default:
			c.mark(p, Archived, p.deliveries)
		}
	})
	return s.begin(c), nil
}

// returned is the state of a record that was delivered often and not accepted.
func returned(deliveries, limit int16) RecordState {
	if deliveries >= limit {
		return Archived
	}
	return Available
}

// edits checks acks and makes runs of one type of them, without what lies below the log
// start.
func (s *State) edits(acks []Ack) ([]edit, error) {
	var edits []edit
	last := int64(-1) << 62
	for _, a := range acks {
		switch {
		case a.First >= a.Next || a.First < last:
			return nil, fmt.Errorf("%w: offsets %d to %d are out of order", ErrRequest, a.First, a.Next-1)
		case len(a.Types) != 1 && int64(len(a.Types)) != a.Next-a.First:
			return nil, fmt.Errorf("%w: %d types for %d records", ErrRequest, len(a.Types), a.Next-a.First)
		case a.Next > s.end && a.Next > s.start && len(s.spans) > 0:
			return nil, fmt.Errorf("%w: offset %d was never acquired", ErrRequest, a.Next-1)
		case a.Next > s.end:
			return nil, fmt.Errorf("%w: offset %d", ErrRecordState, a.Next-1)
		case max(a.First, s.gone) < min(a.Next, s.start):
			return nil, fmt.Errorf("%w: offset %d is done", ErrRecordState, max(a.First, s.gone))
		}
		last = a.Next
		if len(a.Types) == 1 {
			edits = s.addEdit(edits, edit{a.First, a.Next, a.Types[0]})
			continue
		}
		for i, kind := range a.Types {
			edits = s.addEdit(edits, edit{a.First + int64(i), a.First + int64(i) + 1, kind})
		}
	}
	return edits, nil
}

func (s *State) addEdit(edits []edit, e edit) []edit {
	if e.first = max(e.first, s.start); e.first >= e.next {
		return edits
	}
	if n := len(edits); n > 0 && edits[n-1].next == e.first && edits[n-1].kind == e.kind {
		edits[n-1].next = e.next
		return edits
	}
	return append(edits, e)
}

// rewrite passes over the spans once and lets do change the parts that edits name, in order.
func (s *State) rewrite(edits []edit, do func(*span, AckType)) {
	if len(edits) == 0 {
		return
	}
	out := make([]span, 0, len(s.spans)+len(edits))
	for _, p := range s.spans {
		for len(edits) > 0 && edits[0].first < p.next {
			e := edits[0]
			if p.first < e.first {
				head := p
				head.next, p.first = e.first, e.first
				out = join(out, head)
			}
			part := p
			part.next = min(p.next, e.next)
			do(&part, e.kind)
			out = join(out, part)
			p.first = part.next
			if e.next > part.next {
				break // the edit goes on in the next span
			}
			edits = edits[1:]
		}
		if p.first < p.next {
			out = join(out, p)
		}
	}
	s.spans = out
}

// mark says what becomes of a span when the change is written.
func (c *Change) mark(p *span, to RecordState, count int16) {
	p.change, p.to, p.toCount = c, to, count
	if n := len(c.Ranges); n > 0 {
		if last := &c.Ranges[n-1]; last.Next == p.first && last.State == to && last.Deliveries == count {
			last.Next = p.next
			return
		}
	}
	c.Ranges = append(c.Ranges, Range{First: p.first, Next: p.next, State: to, Deliveries: count})
}

// begin completes a change whose spans are marked; nil: there is nothing to change.
func (s *State) begin(c *Change) *Change {
	if len(c.Ranges) == 0 {
		return nil
	}
	c.Start = s.start
	for i := range s.spans {
		p := &s.spans[i]
		if p.state.done() || p.change != nil && p.to.done() {
			c.Complete += p.next - p.first
		}
	}
	return c
}

// Release begins to give back what a member holds. Where the records were never handed to
// it, as a member says that closes its session, this was no delivery: uncounted.
func (s *State) Release(member string, limit int16, uncounted bool) *Change {
	return s.change(func(p *span) bool { return p.member == member }, limit, uncounted)
}

// Expire begins to give back what is locked past now.
func (s *State) Expire(now time.Time, limit int16) *Change {
	return s.change(func(p *span) bool { return !p.deadline.After(now) }, limit, false)
}

// change begins to give back the acquired spans that are chosen.
func (s *State) change(chosen func(*span) bool, limit int16, uncounted bool) *Change {
	c := &Change{}
	for i := range s.spans {
		p := &s.spans[i]
		switch {
		case p.state != Acquired || p.change != nil || !chosen(p):
		case uncounted:
			c.mark(p, Available, p.deliveries-1)
		default:
			c.mark(p, returned(p.deliveries, limit), p.deliveries)
		}
	}
	return s.begin(c)
}

// Commit makes a change true: it has been written.
func (s *State) Commit(c *Change) {
	s.settle(c, func(p *span) {
		*p = settled(p.first, p.next, p.to, p.toCount)
	})
	s.advance()
}

// Revert takes a change back: it could not be written, and its records are held as before.
func (s *State) Revert(c *Change) {
	s.settle(c, func(p *span) { p.change, p.to, p.toCount = nil, 0, 0 })
}

func (s *State) settle(c *Change, do func(*span)) {
	out := s.spans[:0]
	for _, p := range s.spans {
		if p.change == c {
			do(&p)
		}
		out = join(out, p)
	}
	clear(s.spans[len(out):])
	s.spans = out
}

// NextDeadline is when the first lock expires, zero: none is held.
func (s *State) NextDeadline() time.Time {
	var first time.Time
	for i := range s.spans {
		if p := &s.spans[i]; p.state == Acquired && p.change == nil && (first.IsZero() || p.deadline.Before(first)) {
			first = p.deadline
		}
	}
	return first
}
