package tiering

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"
)

// hedger asks a second time for what should have been here by now, and takes the answer
// that begins first: one slow node of a store is seldom asked twice in a row. How many
// second requests there may be is a share of all requests, so that a store that is slow
// as a whole is not asked twice for everything.
type hedger struct {
	share float64 // second requests per request, 0: none
	now   func() time.Time

	mu     sync.Mutex
	recent [hedgeSamples]time.Duration // from requests to the begin of their answers; a ring
	count  int                         // of answers so far
	budget float64                     // second requests that may be made now
	hedges int64
	wins   int64 // second requests that were answered first
}

const (
	// hedgeSamples is how many answers say what is usual. The first so many are never hedged.
	hedgeSamples = 64
	// hedgeBurst bounds the second requests that are saved up.
	hedgeBurst = 4
	// hedgeFloor is the shortest wait: below it a second request gains nothing a consumer
	// could notice, and on a busy machine our own scheduling delays look like a slow store.
	hedgeFloor = 50 * time.Millisecond
)

// delay returns after how long a request is late: twice what 19 of 20 took. ok is false
// where no second request may be made.
func (h *hedger) delay() (d time.Duration, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.share <= 0 || h.count < hedgeSamples {
		return 0, false
	}
	sorted := h.recent
	slices.Sort(sorted[:])
	return max(2*sorted[hedgeSamples*95/100], hedgeFloor), true
}

// answered learns from an answer that began after d.
func (h *hedger) answered(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.recent[h.count%hedgeSamples] = d
	h.count++
	h.budget = min(h.budget+h.share, hedgeBurst)
}

// take tells whether a second request may be made, and counts it.
func (h *hedger) take() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.budget < 1 {
		return false
	}
	h.budget--
	h.hedges++
	return true
}

func (h *hedger) won() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wins++
}

// stats returns the second requests, and those that were answered first.
func (h *hedger) stats() (hedges, wins int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.hedges, h.wins
}

// answer is what one of two requests has brought.
type answer struct {
	stream io.ReadCloser
	err    error
	second bool
}

// get makes a request, and a second one where the first is late. The stream that it
// returns must be closed; by then both requests have ended.
func (h *hedger) get(ctx context.Context, request func(context.Context) (io.ReadCloser, error)) (io.ReadCloser, error) {
	delay, ok := h.delay()
	if !ok {
		return h.timed(ctx, request)
	}
	r := race{answers: make(chan answer, 2)}
	r.start(ctx, func(ctx context.Context) (io.ReadCloser, error) { return h.timed(ctx, request) }, false)
	late := time.NewTimer(delay)
	defer late.Stop()
	var first answer
	select {
	case first = <-r.answers:
		return r.finish(first)
	case <-late.C:
	}
	if h.take() {
		r.start(ctx, func(ctx context.Context) (io.ReadCloser, error) { return h.timed(ctx, request) }, true)
	}
	first = <-r.answers // each request ends with ctx at the latest
	if first.err != nil && r.started == 2 {
		if other := <-r.answers; other.err == nil {
			first = other
		}
	}
	if first.second && first.err == nil {
		h.won()
	}
	return r.finish(first)
}

// timed makes a request and learns from its answer.
func (h *hedger) timed(ctx context.Context, request func(context.Context) (io.ReadCloser, error)) (io.ReadCloser, error) {
	begin := h.now()
	stream, err := request(ctx)
	if err == nil {
		h.answered(h.now().Sub(begin))
	}
	return stream, err
}

// race is one request, or two for the same bytes.
type race struct {
	answers chan answer
	started int
	cancel  [2]context.CancelFunc
	running sync.WaitGroup
	mu      sync.Mutex
	decided bool // whoever comes now closes what it got. Guarded by mu.
}

func (r *race) start(ctx context.Context, request func(context.Context) (io.ReadCloser, error), second bool) {
	ctx, r.cancel[r.started] = context.WithCancel(ctx)
	r.started++
	r.running.Go(func() {
		stream, err := request(ctx)
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.decided && err == nil {
			_ = stream.Close() // nobody wants it
			return
		}
		r.answers <- answer{stream, err, second}
	})
}

// finish ends the race with the answer that counts. The other request is cancelled.
func (r *race) finish(first answer) (io.ReadCloser, error) {
	r.mu.Lock()
	r.decided = true
	select {
	case other := <-r.answers: // it came in just now
		if other.err == nil {
			_ = other.stream.Close()
		}
	default:
	}
	r.mu.Unlock()
	if r.started == 2 {
		loser := 1
		if first.second {
			loser = 0
		}
		r.cancel[loser]()
	}
	if first.err != nil {
		r.end()
		return nil, first.err
	}
	return &racedStream{first.stream, r}, nil
}

// end waits for both requests.
func (r *race) end() {
	for _, cancel := range r.cancel[:r.started] {
		cancel()
	}
	r.running.Wait()
}

// racedStream is the stream that came first.
type racedStream struct {
	io.ReadCloser
	race *race
}

// Close implements io.Closer.
func (s *racedStream) Close() error {
	err := s.ReadCloser.Close()
	s.race.end()
	return err
}
