package verify

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Recorder takes down a history while clients run. Every operation is logged before it
// leaves, as Info, and again when it has ended, so a client that dies in between leaves
// what it may have done. All methods may be called by several goroutines.
//
// A send takes 72 bytes and a read 40; there is room for a fixed number of both.
type Recorder struct {
	begin   time.Time
	limit   int
	journal io.Writer // nil for none; written under mu, or lines would be out of order

	mu sync.Mutex
	// What follows is guarded by mu.
	now   int64 // the last moment given
	next  int32 // the last number given
	acked int   // sends
	over  bool  // there was no room for an operation
	err   error // of the journal
	h     History
}

// DefaultLimit is how many operations a Recorder takes if it is not told otherwise:
// they and their check fit in 2 GiB.
const DefaultLimit = 10_000_000

// NewRecorder starts a history of at most limit sends and reads, 0 for DefaultLimit.
func NewRecorder(limit int) *Recorder {
	if limit == 0 {
		limit = DefaultLimit
	}
	return &Recorder{begin: time.Now(), limit: limit}
}

// NewJournal is a Recorder of a process that may be killed: what it logs is a line of a
// story in w before it returns, and Adopt takes it into the history of whoever began at
// begin. Numbers are given from first on.
func NewJournal(w io.Writer, begin time.Time, first int32) *Recorder {
	return &Recorder{begin: begin, limit: DefaultLimit, journal: w, next: first}
}

// Begin is when the history began: moment 0.
func (r *Recorder) Begin() time.Time { return r.begin }

// Adopt takes a journal into the history, up to its last whole line. Of a send and of a
// transaction there is a line for each change: the last one counts.
func (r *Recorder) Adopt(journal io.Reader) error {
	h, err := ReadStory(journal)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Sends = append(r.h.Sends, lastOf(h.Sends, func(s *Send) uint64 { return s.Value })...)
	r.h.Txns = append(r.h.Txns, lastOf(h.Txns, func(t *Txn) uint32 { return t.ID })...)
	r.h.Reads = append(r.h.Reads, h.Reads...)
	r.h.Sessions = append(r.h.Sessions, h.Sessions...)
	r.h.Assignments = append(r.h.Assignments, h.Assignments...)
	r.h.Marks = append(r.h.Marks, h.Marks...)
	r.h.Incidents = append(r.h.Incidents, h.Incidents...)
	type place struct {
		member, partition int32
		at                int64
	}
	r.h.Owners = append(r.h.Owners, lastOf(h.Owners, func(o *Owner) place { return place{o.Member, o.Partition, o.From} })...)
	r.h.Commits = append(r.h.Commits, lastOf(h.Commits, func(c *OffsetCommit) place { return place{c.Group, c.Partition, c.Begun} })...)
	return nil
}

// lastOf keeps the last element of each key, in the order of the first ones.
func lastOf[T any, K comparable](list []T, key func(*T) K) []T {
	at := map[K]int{}
	var kept []T
	for i := range list {
		k := key(&list[i])
		if n, seen := at[k]; seen {
			kept[n] = list[i]
			continue
		}
		at[k] = len(kept)
		kept = append(kept, list[i])
	}
	return kept
}

// write puts a line into the journal.
func (r *Recorder) write(verb string, body func(*line)) {
	if r.journal == nil {
		return
	}
	if err := writeLine(r.journal, verb, body); err != nil && r.err == nil {
		r.err = fmt.Errorf("journal: %w", err)
	}
}

// Now returns a moment: the nanoseconds since the beginning, and always more than the
// call before. So moments order the events of all clients, and measure time as well.
func (r *Recorder) Now() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tick()
}

func (r *Recorder) tick() int64 {
	r.now = max(r.now+1, int64(time.Since(r.begin)))
	return r.now
}

// Number returns a number that is used once: a session, a producer, a transaction.
func (r *Recorder) Number() int32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	return r.next
}

// Send logs a send that is about to leave and returns its ticket for Sent. The moment is
// the recorder's; it stays Info until Sent says more.
func (r *Recorder) Send(s Send) (ticket int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.room() {
		return -1
	}
	s.Begun, s.Outcome = r.tick(), Info
	r.h.Sends = append(r.h.Sends, s)
	r.write("send", func(l *line) { sendLine(l, &s) })
	return len(r.h.Sends) - 1
}

func (r *Recorder) room() bool {
	if r.h.Operations() >= r.limit {
		r.over = true
	}
	return !r.over
}

// Sent logs how a send ended; the offset counts for OK.
func (r *Recorder) Sent(ticket int, o Outcome, offset int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ticket < 0 {
		return
	}
	if o == OK {
		r.acked++
	}
	s := &r.h.Sends[ticket]
	s.Outcome, s.Offset, s.Ended = o, offset, r.tick()
	r.write("send", func(l *line) { sendLine(l, s) })
}

// Txn logs a transaction that begins and returns its ticket for Ending and Ended.
func (r *Recorder) Txn(t Txn) (ticket int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Txns = append(r.h.Txns, t)
	r.write("txn", func(l *line) { txnLine(l, &t) })
	return len(r.h.Txns) - 1
}

// Ending logs that the end of a transaction is about to be asked for.
func (r *Recorder) Ending(ticket int, end Ending) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &r.h.Txns[ticket]
	t.End, t.Begun = end, r.tick()
	r.write("txn", func(l *line) { txnLine(l, t) })
}

// Ended logs how a transaction has ended.
func (r *Recorder) Ended(ticket int, end Ending) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &r.h.Txns[ticket]
	t.End, t.Outcome, t.Ended = end, OK, r.tick()
	r.write("txn", func(l *line) { txnLine(l, t) })
}

// Session logs a reader and where it begins in each partition.
func (r *Recorder) Session(s Session, from map[int32]int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.tick()
	r.h.Sessions = append(r.h.Sessions, s)
	r.write("session", func(l *line) { sessionLine(l, &s) })
	for p, offset := range from {
		a := Assignment{Session: s.ID, Partition: p, From: offset, At: at}
		r.h.Assignments = append(r.h.Assignments, a)
		r.write("assign", func(l *line) { assignLine(l, &a) })
	}
}

// Mark logs what an observer sees of numbers that never go back.
func (r *Recorder) Mark(marks ...Mark) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range marks {
		r.h.Marks = append(r.h.Marks, m)
		r.write("mark", func(l *line) { markLine(l, &m) })
	}
}

// Own logs that a member was given a partition and returns its ticket for Committed.
func (r *Recorder) Own(o Owner) (ticket int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o.From = r.tick()
	r.h.Owners = append(r.h.Owners, o)
	r.write("own", func(l *line) { ownLine(l, &o) })
	return len(r.h.Owners) - 1
}

// Commit logs an offset that is about to be committed for a group, and returns its ticket
// for Committed.
func (r *Recorder) Commit(c OffsetCommit) (ticket int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.Begun = r.tick()
	r.h.Commits = append(r.h.Commits, c)
	r.write("commit", func(l *line) { commitLine(l, &c) })
	return len(r.h.Commits) - 1
}

// Committed logs that a member has committed an offset. owner is the ticket with which it
// was given the partition; same says that it did so in the generation in which it began to.
func (r *Recorder) Committed(ticket, owner int, same bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, o := &r.h.Commits[ticket], &r.h.Owners[owner]
	c.Outcome, c.Ended = OK, r.tick()
	r.write("commit", func(l *line) { commitLine(l, c) })
	if same {
		o.Used = max(o.Used, c.Begun)
		r.write("own", func(l *line) { ownLine(l, o) })
	}
}

// Incident logs what no client may ever see.
func (r *Recorder) Incident(i Incident) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Incidents = append(r.h.Incidents, i)
	r.write("incident", func(l *line) { l.word("", &i.Process); l.word("", &i.Kind) })
}

// Read logs records that one poll has returned, in order; it sets the moment.
func (r *Recorder) Read(reads ...Read) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.tick()
	for _, one := range reads {
		if !r.room() {
			return
		}
		one.At = at
		r.h.Reads = append(r.h.Reads, one)
		r.write("read", func(l *line) { readLine(l, &one) })
	}
}

// Log changes the history otherwise; at is the moment. It is not in a journal.
func (r *Recorder) Log(change func(h *History, at int64)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.h, r.tick())
}

// Acked is how many sends were acknowledged up to now.
func (r *Recorder) Acked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.acked
}

// Seen is how many records were read up to now.
func (r *Recorder) Seen() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.h.Reads)
}

// History returns what was logged. Nothing may be logged any more. A history that was
// cut off cannot be judged: that is an error.
func (r *Recorder) History() (*History, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return nil, r.err
	}
	if r.over {
		return nil, fmt.Errorf("the history has no room for more than %d operations", r.limit)
	}
	return &r.h, nil
}
