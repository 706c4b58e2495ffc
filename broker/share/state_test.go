package share

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var epoch = time.Unix(1000, 0)

func at(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }

// text shows a state: start, then each span as "first-last state count member".
func (s *State) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d:", s.start)
	for _, p := range s.spans {
		fmt.Fprintf(&b, " %d-%d", p.first, p.next-1)
		switch {
		case p.state == Available:
			fmt.Fprintf(&b, "av%d", p.deliveries)
		case p.state == Acquired:
			fmt.Fprintf(&b, "%s%d", p.member, p.deliveries)
		default:
			b.WriteString("x")
		}
		if p.change != nil {
			b.WriteString("*")
		}
	}
	return b.String()
}

func want(member string, from, records int64) Wanted {
	return Wanted{Member: member, From: from, Records: records, Locks: 100, Deadline: at(30)}
}

func batches(bounds ...int64) []Batch { // pairs: first, next
	var all []Batch
	for i := 0; i < len(bounds); i += 2 {
		all = append(all, Batch{First: bounds[i], Next: bounds[i+1]})
	}
	return all
}

func TestAcquireTakesWholeBatchesUpToTheLimit(t *testing.T) {
	s, _ := Load(0, nil)
	got := s.Acquire(want("a", 0, 12), batches(0, 10, 10, 20, 20, 30))
	if fmt.Sprint(got) != "[{0 20 1 1}]" || s.text() != "0: 0-19a1" {
		t.Fatalf("acquired %v, state %s", got, s.text())
	}
	if next, ok := s.Next(100); next != 20 || !ok {
		t.Fatalf("next %d %v", next, ok)
	}
}

func TestAcquireStrictStopsAtTheRecord(t *testing.T) { // KIP-1206
	s, _ := Load(0, nil)
	w := want("a", 0, 12)
	w.Strict = true
	got := s.Acquire(w, batches(0, 10, 10, 20, 20, 30))
	if fmt.Sprint(got) != "[{0 12 1 1}]" {
		t.Fatalf("acquired %v", got)
	}
	w.Member, w.From, w.Records = "b", 12, 1
	if got = s.Acquire(w, batches(10, 20)); fmt.Sprint(got) != "[{12 13 1 1}]" || s.text() != "0: 0-11a1 12-12b1" {
		t.Fatalf("acquired %v, state %s", got, s.text())
	}
}

func TestAcquireStrictStopsWhereLocksAreUsedUp(t *testing.T) {
	s, _ := Load(0, nil)
	w := want("a", 0, 100)
	w.Strict, w.Locks = true, 10
	if got := s.Acquire(w, batches(0, 25)); fmt.Sprint(got) != "[{0 10 1 1}]" {
		t.Fatalf("acquired %v", got)
	}
}

func TestAcquireCutsRunsAtBatchesOfTheSizeAskedFor(t *testing.T) {
	s, _ := Load(0, nil)
	w := want("a", 0, 100)
	w.Batch = 10
	got := s.Acquire(w, batches(0, 6, 6, 12, 12, 18, 18, 40, 40, 41))
	if fmt.Sprint(got) != "[{0 12 1 1} {12 40 1 1} {40 41 1 1}]" {
		t.Fatalf("acquired %v", got)
	}
}

func TestAcquireLeavesNewRecordsWhereLocksAreUsedUp(t *testing.T) {
	s, _ := Load(0, nil)
	w := want("a", 0, 100)
	w.Locks = 10
	s.Acquire(w, batches(0, 5, 5, 10, 10, 15))
	if s.text() != "0: 0-9a1" {
		t.Fatal(s.text())
	}
	if _, ok := s.Next(10); ok {
		t.Fatal("there is something to acquire beyond the limit of locks")
	}
	commit(t, s, "a", Ack{3, 4, []AckType{Release}})
	if next, ok := s.Next(10); next != 3 || !ok {
		t.Fatalf("what was released is not next: %d %v", next, ok)
	}
	w.Member, w.From = "b", 3
	if got := s.Acquire(w, batches(0, 5, 5, 10, 10, 15)); fmt.Sprint(got) != "[{3 4 1 2}]" {
		t.Fatalf("acquired %v", got)
	}
}

func TestAcquirePassesOverWhatIsNotThere(t *testing.T) {
	s, _ := Load(0, nil)
	all := batches(5, 10, 10, 11, 11, 14, 20, 22) // 0-4 and 14-19 were compacted away
	all[1].Hidden = true                          // a marker
	got := s.Acquire(want("a", 0, 100), all)
	if fmt.Sprint(got) != "[{5 10 1 1} {11 14 1 1} {20 22 1 1}]" {
		t.Fatalf("acquired %v", got)
	}
	if s.text() != "5: 5-9a1 10-10x 11-13a1 14-19x 20-21a1" {
		t.Fatal(s.text())
	}
	commit(t, s, "a", Ack{5, 10, []AckType{Accept}})
	if s.Start() != 11 {
		t.Fatalf("start %d, want 11: a marker is not waited for", s.Start())
	}
}

func TestARecordIsDeliveredUntilTheLimit(t *testing.T) {
	s, _ := Load(0, nil)
	for delivery := int16(1); delivery <= 3; delivery++ {
		got := s.Acquire(want("a", 0, 1), batches(0, 1))
		if len(got) != 1 || got[0].Deliveries != delivery {
			t.Fatalf("delivery %d: %v", delivery, got)
		}
		c := s.Expire(at(30), 3)
		s.Commit(c)
	}
	if s.Start() != 1 || s.End() != 1 {
		t.Fatalf("after three deliveries: %s", s.text())
	}
}

// TestTheLastDeliveryIsOfOneRecordAlone: neither those before it nor those after it are acquired
// with it, lest they count as delivered when it kills its reader.
func TestTheLastDeliveryIsOfOneRecordAlone(t *testing.T) {
	s, err := Load(0, []Range{{First: 0, Next: 5, State: Available, Deliveries: 1}, {First: 5, Next: 6, State: Available, Deliveries: 4}})
	if err != nil {
		t.Fatal(err)
	}
	w := want("a", 0, 100)
	w.Limit = 5
	for _, want := range []string{"[{0 5 1 2}]", "[{5 6 1 5}]", "[{6 10 1 1}]"} {
		w.From, _ = s.Next(100)
		if got := s.Acquire(w, batches(0, 10)); fmt.Sprint(got) != want {
			t.Fatalf("acquired %v, want %s", got, want)
		}
	}
}

// TestARecordThatKillsItsReadersTakesNoOthersWithIt: what was often delivered and not accepted
// is delivered in ever smaller parts, and the last time one by one.
func TestARecordThatKillsItsReadersTakesNoOthersWithIt(t *testing.T) {
	const poison, size = 37, 64
	for _, limit := range []int16{3, 4, 5, 10} {
		s, _ := Load(0, nil)
		accepted := map[int64]bool{}
		for s.Start() < size {
			from, _ := s.Next(100)
			w := want("a", from, size)
			w.Limit = limit
			got := s.Acquire(w, batches(0, size))
			var acks []Ack
			for _, r := range got {
				if r.First <= poison && poison < r.Next {
					acks = nil
					break
				}
				acks = append(acks, Ack{r.First, r.Next, []AckType{Accept}})
			}
			if acks == nil { // whoever has it dies
				s.Commit(s.Release("a", limit, false))
				continue
			}
			commit(t, s, "a", acks...)
			for _, ack := range acks {
				for o := ack.First; o < ack.Next; o++ {
					accepted[o] = true
				}
			}
		}
		if len(accepted) != size-1 || accepted[poison] {
			t.Errorf("limit %d: %d of %d records were accepted", limit, len(accepted), size-1)
		}
	}
}

func TestLocksExpireAtTheirDeadline(t *testing.T) {
	s, _ := Load(0, nil)
	s.Acquire(want("a", 0, 1), batches(0, 10))
	if c := s.Expire(at(29), 5); c != nil {
		t.Fatalf("expired early: %v", c.Ranges)
	}
	if !s.NextDeadline().Equal(at(30)) {
		t.Fatalf("deadline %v", s.NextDeadline())
	}
	if c, err := s.Acknowledge("a", []Ack{{0, 4, []AckType{Renew}}}, 5, at(50)); c != nil || err != nil { // KIP-1222
		t.Fatalf("renewing: %v %v", c, err)
	}
	s.Commit(s.Expire(at(30), 5))
	if s.text() != "0: 0-3a1 4-9av1" {
		t.Fatal(s.text())
	}
}

func TestAcknowledgeAllOrNothing(t *testing.T) {
	fresh := func() *State {
		s, _ := Load(10, nil)
		s.Raise(5)
		s.Acquire(want("a", 10, 10), batches(10, 20))
		s.Acquire(want("b", 20, 10), batches(20, 30))
		return s
	}
	accept := []AckType{Accept}
	for name, c := range map[string]struct {
		acks []Ack
		want error
	}{
		"another member's":    {[]Ack{{10, 20, accept}, {20, 21, accept}}, ErrRecordState},
		"never acquired":      {[]Ack{{28, 31, accept}}, ErrRequest},
		"out of order":        {[]Ack{{15, 16, accept}, {12, 13, accept}}, ErrRequest},
		"twice":               {[]Ack{{15, 16, accept}, {15, 16, accept}}, ErrRequest},
		"backwards":           {[]Ack{{15, 15, accept}}, ErrRequest},
		"too few types":       {[]Ack{{10, 13, []AckType{Accept, Reject}}}, ErrRequest},
		"none":                {[]Ack{{10, 13, nil}}, ErrRequest},
		"below the start":     {[]Ack{{5, 8, accept}}, ErrRecordState},
		"over the start":      {[]Ack{{5, 12, accept}}, ErrRecordState},
		"below the log start": {[]Ack{{0, 5, accept}}, nil},
		"one for each record": {[]Ack{{10, 13, []AckType{Accept, Release, Reject}}}, nil},
	} {
		s := fresh()
		before := s.text()
		_, err := s.Acknowledge("a", c.acks, 5, at(60))
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if err != nil && s.text() != before {
			t.Errorf("%s: refused and changed: %s", name, s.text())
		}
	}
}

func TestAChangeIsNotTrueBeforeItIsWritten(t *testing.T) {
	s, _ := Load(0, nil)
	s.Acquire(want("a", 0, 10), batches(0, 10))
	c, err := s.Acknowledge("a", []Ack{{0, 5, []AckType{Accept}}, {5, 10, []AckType{Release}}}, 5, at(60))
	if err != nil {
		t.Fatal(err)
	}
	if c.Start != 0 || c.Complete != 5 || fmt.Sprint(c.Ranges) != "[{0 5 2 1} {5 10 0 1}]" {
		t.Fatalf("to write: %+v", c)
	}
	if _, err := s.Acknowledge("a", []Ack{{0, 1, []AckType{Accept}}}, 5, at(60)); !errors.Is(err, ErrRecordState) {
		t.Fatalf("acknowledged twice: %v", err)
	}
	if next, _ := s.Next(100); next != 10 {
		t.Fatalf("next %d: what is being released is given away", next)
	}
	if late := s.Expire(at(99), 5); late != nil {
		t.Fatalf("a lock expired during the write: %v", late.Ranges)
	}
	s.Revert(c)
	if s.text() != "0: 0-9a1" {
		t.Fatalf("reverted: %s", s.text())
	}
	c, _ = s.Acknowledge("a", []Ack{{0, 10, []AckType{Accept, Reject, Release, Gap, Accept, Accept, Accept, Accept, Accept, Accept}}}, 5, at(60))
	s.Commit(c)
	if s.text() != "2: 2-2av1 3-3x 4-9x" || c.Start != 0 || c.Complete != 9 {
		t.Fatalf("%s, complete %d", s.text(), c.Complete)
	}
}

func TestTheLogStartTakesRecordsAway(t *testing.T) {
	s, _ := Load(0, nil)
	s.Acquire(want("a", 0, 10), batches(0, 10))
	c, _ := s.Acknowledge("a", []Ack{{0, 3, []AckType{Accept}}}, 5, at(60))
	s.Raise(5)
	s.Commit(c)
	if s.text() != "5: 5-9a1" {
		t.Fatal(s.text())
	}
	if _, err := s.Acknowledge("a", []Ack{{0, 10, []AckType{Accept}}}, 5, at(60)); err != nil {
		t.Fatalf("acknowledging over the log start: %v", err)
	}
	s.Raise(50)
	if s.Start() != 50 || s.End() != 50 || len(s.spans) != 0 {
		t.Fatal(s.text())
	}
	if got := s.Acquire(want("b", 50, 1), batches(50, 51)); len(got) != 1 {
		t.Fatalf("acquired %v", got)
	}
}

func TestAClosedSessionGivesBackWithoutCounting(t *testing.T) {
	s, _ := Load(0, nil)
	s.Acquire(want("a", 0, 10), batches(0, 10))
	s.Commit(s.Release("a", 1, true))
	if s.text() != "0: 0-9av0" {
		t.Fatal(s.text())
	}
	s.Acquire(want("a", 0, 10), batches(0, 10))
	s.Commit(s.Release("a", 2, false))
	if s.text() != "0: 0-9av1" {
		t.Fatal(s.text())
	}
}

func TestLoadRefusesWhatIsNeverStored(t *testing.T) {
	for name, ranges := range map[string][]Range{
		"overlapping":  {{0, 5, Available, 1}, {4, 6, Available, 1}},
		"out of order": {{5, 6, Available, 1}, {0, 5, Available, 1}},
		"acquired":     {{0, 5, Acquired, 1}},
		"unknown":      {{0, 5, 3, 1}},
	} {
		if s, err := Load(0, ranges); err == nil {
			t.Errorf("%s: loaded as %s", name, s.text())
		}
	}
	s, err := Load(10, []Range{{0, 12, Acknowledged, 1}, {15, 20, Archived, 2}, {20, 22, Available, 3}})
	if err != nil || s.text() != "12: 12-14av0 15-19x 20-21av3" {
		t.Fatalf("%v %s", err, s.text())
	}
}

func commit(t *testing.T, s *State, member string, acks ...Ack) {
	t.Helper()
	c, err := s.Acknowledge(member, acks, 5, at(60))
	if err != nil {
		t.Fatal(err)
	}
	s.Commit(c)
}

// record is a record of the model: what State says of it, one by one.
type record struct {
	state    RecordState
	count    int16
	member   string
	deadline time.Time
	change   *modelChange
}

type modelChange struct {
	c  *Change
	to map[int64]record
}

// model is the naive share partition: a record for each offset.
type model struct {
	records []record
	hidden  []bool
	raised  int64 // the log start
	acked   map[int64]bool
	stored  []record
}

const (
	modelSize  = 60
	modelLimit = 3
)

// TestStateIsWhatAModelOfSingleRecordsSays drives State and the model with the same random
// steps and compares every offset after each; a crash makes State anew of what was written.
func TestStateIsWhatAModelOfSingleRecordsSays(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 7))
		m := &model{records: make([]record, modelSize), hidden: make([]bool, modelSize), acked: map[int64]bool{}}
		m.stored = make([]record, modelSize)
		log := m.log(r)
		s, _ := Load(0, nil)
		var open []*modelChange
		var stored storage
		now := 0
		for step := range 150 {
			now += r.IntN(3)
			what := ""
			member := string(rune('a' + r.IntN(3)))
			switch r.IntN(9) {
			case 0, 1, 2:
				what = "acquire " + member
				m.acquire(t, r, s, log, member, at(now+5))
			case 3, 4:
				what = "acknowledge " + member
				if c := m.acknowledge(t, r, s, member, at(now+5)); c != nil {
					open = append(open, c)
					stored.begin(r, c.c)
				}
			case 5:
				what = "expire"
				m.expire(at(now))
				if c := s.Expire(at(now), modelLimit); c != nil {
					s.Commit(c)
					stored.begin(r, c)
					stored.commit(c)
				}
			case 6, 7:
				if len(open) == 0 {
					continue
				}
				c := open[0]
				open = open[1:]
				if r.IntN(4) == 0 {
					what = "revert"
					s.Revert(c.c)
					m.settle(c, false)
				} else {
					what = "commit"
					stored.commit(c.c)
					s.Commit(c.c)
					m.settle(c, true)
				}
			case 8:
				switch r.IntN(4) {
				case 0:
					what = "crash"
					open = nil
					stored.recall()
					var err error
					if s, err = Load(stored.start, stored.ranges()); err != nil {
						t.Fatal(err)
					}
					s.Raise(m.raised)
					m.crash(&stored)
				case 1:
					what = "log start"
					m.raised = min(modelSize, m.raised+int64(r.IntN(4)))
					s.Raise(m.raised)
				default:
					what = "leave " + member
					if c := s.Release(member, modelLimit, false); c != nil {
						open = append(open, m.leave(member, c))
						stored.begin(r, c)
					}
				}
			}
			if diff := m.diff(s); diff != "" {
				t.Fatalf("seed %d, step %d, %s: %s\n%s", seed, step, what, diff, s.text())
			}
		}
	}
}

// log cuts the offsets into batches, some hidden, some missing.
func (m *model) log(r *rand.Rand) []Batch {
	var all []Batch
	for at := int64(0); at < modelSize; {
		next := min(modelSize, at+1+r.Int64N(6))
		hidden, missing := r.IntN(8) == 0, r.IntN(10) == 0
		for i := at; i < next; i++ {
			m.hidden[i] = hidden || missing
		}
		if !missing {
			all = append(all, Batch{First: at, Next: next, Hidden: hidden})
		}
		at = next
	}
	return all
}

func (m *model) acquire(t *testing.T, r *rand.Rand, s *State, log []Batch, member string, deadline time.Time) {
	from, ok := s.Next(25)
	if !ok {
		return
	}
	i := slices.IndexFunc(log, func(b Batch) bool { return b.Next > from })
	if i < 0 {
		return
	}
	read := log[i:min(len(log), i+1+r.IntN(4))]
	w := Wanted{Member: member, From: from, Records: 1 + r.Int64N(8), Strict: r.IntN(2) == 0, Batch: r.Int64N(5), Locks: 25, Limit: modelLimit, Deadline: deadline}
	got := s.Acquire(w, read)
	given := int64(0)
	for _, g := range got {
		for o := g.First; o < g.Next; o++ {
			given++
			x := &m.records[o]
			switch {
			case m.hidden[o]:
				t.Fatalf("offset %d is not there and was delivered", o)
			case x.state != Available || x.change != nil || o < m.raised:
				t.Fatalf("offset %d was delivered while %+v", o, *x)
			case m.acked[o]:
				t.Fatalf("offset %d was delivered after it was accepted", o)
			}
			*x = record{state: Acquired, count: x.count + 1, member: member, deadline: deadline}
			if x.count != g.Deliveries || x.count > modelLimit {
				t.Fatalf("offset %d: delivery %d told as %d", o, x.count, g.Deliveries)
			}
		}
	}
	if w.Strict && given > w.Records {
		t.Fatalf("%d records for %d", given, w.Records)
	}
	// What is hidden was archived as far as the pass has come: take that over from State.
	for o := from; o < s.End(); o++ {
		if m.hidden[o] && m.records[o].state == Available && m.records[o].change == nil && stateOf(s, o).state == Archived {
			m.records[o] = record{state: Archived}
		}
	}
}

func (m *model) acknowledge(t *testing.T, r *rand.Rand, s *State, member string, deadline time.Time) *modelChange {
	var acks []Ack
	allowed := true
	kinds := map[int64]AckType{}
	for o := max(0, s.Start()-2+r.Int64N(6)); o < s.End() && len(acks) < 4; {
		next := min(s.End(), o+1+r.Int64N(5))
		a := Ack{First: o, Next: next}
		for i := o; i < next; i++ {
			a.Types = append(a.Types, AckType(r.IntN(5)))
		}
		if r.IntN(2) == 0 {
			a.Types = a.Types[:1]
		}
		own := true
		for i := o; i < next; i++ {
			kinds[i] = a.Types[min(int(i-o), len(a.Types)-1)]
			x := m.records[i]
			own = own && (i < m.raised || x.state == Acquired && x.member == member && x.change == nil)
		}
		if own || r.IntN(10) == 0 {
			acks = append(acks, a)
			allowed = allowed && own
		} else {
			for i := o; i < next; i++ {
				delete(kinds, i)
			}
		}
		o = next + r.Int64N(4)
	}
	if len(acks) == 0 {
		return nil
	}
	c, err := s.Acknowledge(member, acks, modelLimit, deadline)
	if (err == nil) != allowed {
		t.Fatalf("acknowledging %v as %s: %v, the model allows it: %v\n%s", acks, member, err, allowed, s.text())
	}
	if err != nil {
		return nil
	}
	change := &modelChange{c: c, to: map[int64]record{}}
	for o, kind := range kinds {
		x := &m.records[o]
		if o < s.Start() {
			continue
		}
		switch kind {
		case Renew:
			x.deadline = deadline
			continue
		case Release:
			change.to[o] = record{state: returned(x.count, modelLimit), count: x.count}
		case Accept:
			change.to[o] = record{state: Acknowledged, count: x.count}
		default:
			change.to[o] = record{state: Archived, count: x.count}
		}
		x.change = change
	}
	if c == nil {
		return nil
	}
	return change
}

// leave gives back what a member holds.
func (m *model) leave(member string, c *Change) *modelChange {
	change := &modelChange{c: c, to: map[int64]record{}}
	for o := range m.records {
		if x := &m.records[o]; x.state == Acquired && x.change == nil && x.member == member && int64(o) >= m.raised {
			change.to[int64(o)] = record{state: returned(x.count, modelLimit), count: x.count}
			x.change = change
		}
	}
	return change
}

func (m *model) expire(now time.Time) {
	for o := range m.records {
		if x := &m.records[o]; x.state == Acquired && x.change == nil && !x.deadline.After(now) {
			*x = record{state: returned(x.count, modelLimit), count: x.count}
		}
	}
}

func (m *model) settle(c *modelChange, written bool) {
	for o, to := range c.to {
		if m.records[o].change != c {
			continue
		}
		m.records[o].change = nil
		if written {
			m.records[o] = to
			if to.state == Acknowledged {
				m.acked[o] = true
			}
		}
	}
}

// crash leaves of the model what is stored.
func (m *model) crash(st *storage) {
	for o := range m.records {
		m.records[o] = st.record(int64(o))
	}
}

// storage is what a coordinator would keep: the writes in the order of the changes, and of
// each whether it has come about. Nobody may know that: an answer can be lost.
type storage struct {
	writes []*write
	start  int64
	all    map[int64]record
}

type write struct {
	c    *Change
	done bool
}

// begin notes a write of unknown fate.
func (st *storage) begin(r *rand.Rand, c *Change) {
	st.writes = append(st.writes, &write{c, r.IntN(2) == 0})
}

func (st *storage) commit(c *Change) {
	for _, w := range st.writes {
		w.done = w.done || w.c == c
	}
}

// recall makes start and all of the writes.
func (st *storage) recall() {
	st.start, st.all = 0, map[int64]record{}
	for _, w := range st.writes {
		if w.done {
			st.write(w.c)
		}
	}
}

// write goes by the coordinator's rules: below the start nothing is kept, and of an offset
// the later delivery stands.
func (st *storage) write(c *Change) {
	st.start = c.Start
	maps.DeleteFunc(st.all, func(o int64, _ record) bool { return o < c.Start })
	for _, r := range c.Ranges {
		for o := r.First; o < r.Next; o++ {
			if was, ok := st.all[o]; !ok || cmp.Or(cmp.Compare(r.Deliveries, was.count), cmp.Compare(r.State, was.state)) > 0 {
				st.all[o] = record{state: r.State, count: r.Deliveries}
			}
		}
	}
}

func (st *storage) record(o int64) record {
	if o < st.start {
		return record{state: Archived}
	}
	return st.all[o]
}

func (st *storage) ranges() []Range {
	var all []Range
	for o := int64(0); o < modelSize; o++ {
		if x, ok := st.all[o]; ok && o >= st.start {
			all = append(all, Range{First: o, Next: o + 1, State: x.state, Deliveries: x.count})
		}
	}
	return all
}

func stateOf(s *State, o int64) span {
	if o < s.start {
		return span{state: Archived}
	}
	if i := s.index(o); i < len(s.spans) {
		return s.spans[i]
	}
	return span{}
}

// diff compares every offset and checks the invariant.
func (m *model) diff(s *State) string {
	at := s.start
	for i, p := range s.spans {
		if p.first != at || p.next <= p.first {
			return fmt.Sprintf("span %d is [%d, %d) after %d", i, p.first, p.next, at)
		}
		if i > 0 && s.spans[i-1].same(&p) {
			return fmt.Sprintf("spans %d and %d say the same", i-1, i)
		}
		at = p.next
	}
	if at != s.end {
		return fmt.Sprintf("the last span ends at %d, not at %d", at, s.end)
	}
	for o := range m.records {
		x, p := m.records[o], stateOf(s, int64(o))
		if int64(o) < s.start {
			if !x.state.done() && int64(o) >= m.raised {
				return fmt.Sprintf("offset %d is lost: %+v below the start %d", o, x, s.start)
			}
			continue
		}
		same := x.state == p.state || x.state.done() && p.state.done()
		if !x.state.done() {
			same = same && x.count == p.deliveries && x.member == p.member && x.deadline.Equal(p.deadline) && (x.change == nil) == (p.change == nil)
		}
		if !same {
			return fmt.Sprintf("offset %d: model %+v, state %+v", o, x, p)
		}
	}
	return ""
}
