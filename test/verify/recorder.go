package verify

import (
	"fmt"
	"sync"
	"time"
)

// Recorder takes down a history while clients run. Every operation is logged before it
// leaves, as Info, and again when it has ended, so a client that dies in between leaves
// what it may have done. All methods may be called by several goroutines.
//
// A send takes 72 bytes and a read 40; there is room for a fixed number of both.
type Recorder struct {
	begin time.Time
	limit int

	mu sync.Mutex
	// What follows is guarded by mu.
	now   int64 // the last moment given
	next  int32 // the last number given
	acked int   // sends
	over  bool  // there was no room for an operation
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

// Now returns a moment: the nanoseconds since the beginning, and always more than the
// call before. So moments order the events of all clients, and measure time as well.
func (r *Recorder) Now() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tick()
}

// Moment is the moment of a time that another process took down, as exact as the
// machine's clock.
func (r *Recorder) Moment(t time.Time) int64 { return int64(t.Sub(r.begin)) }

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
	}
}

// Log changes the history otherwise; at is the moment.
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
	if r.over {
		return nil, fmt.Errorf("the history has no room for more than %d operations", r.limit)
	}
	return &r.h, nil
}
