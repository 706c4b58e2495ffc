package wire

import "sync"

// started is a request between Start and the end of its answer.
type started struct {
	pending       Pending
	ready         <-chan struct{}
	correlationID int32
	key           int16
	frame         frame
}

// pipeline is the started requests of a connection, in order, between the goroutine that
// reads and the one that writes, which is there only while there are some. It is bounded
// by count and bytes of frames.
type pipeline struct {
	maxCount int
	maxBytes int64

	mu      sync.Mutex
	change  sync.Cond // of what the reader waits for
	queue   []started
	open    int   // queued, or popped and not done
	bytes   int64 // of their frames
	writing bool  // somebody pops
	broken  bool  // nobody waits for room any more
}

func newPipeline(maxCount int, maxBytes int64) *pipeline {
	p := &pipeline{maxCount: maxCount, maxBytes: maxBytes}
	p.change.L = &p.mu
	return p
}

// wait waits for room for one more request. It returns false once the pipeline is broken;
// waited says that there was no room at first.
func (p *pipeline) wait() (waited, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.broken && p.open > 0 && (p.open >= p.maxCount || p.bytes >= p.maxBytes) {
		waited = true
		p.change.Wait()
	}
	return waited, !p.broken
}

// push appends a request. It returns true if nobody pops: the caller then has somebody do
// it, until leave.
func (p *pipeline) push(s started) (first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = append(p.queue, s)
	p.open++
	p.bytes += int64(len(s.frame.bytes))
	first = !p.writing
	p.writing = true
	return first
}

// pop takes the first request, false if there is none.
func (p *pipeline) pop() (started, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		return started{}, false
	}
	s := p.queue[0]
	p.queue[0] = started{}
	if p.queue = p.queue[1:]; len(p.queue) == 0 {
		p.queue = nil
	}
	return s, true
}

// done says that a popped request was answered; bytes is the size of its frame.
func (p *pipeline) done(bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open--
	p.bytes -= int64(bytes)
	p.change.Signal()
}

// leave says that who pops does so no more. It returns false if there is a request, for
// which it has to stay.
func (p *pipeline) leave() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) > 0 {
		return false
	}
	p.writing = false
	p.change.Signal()
	return true
}

// drain waits until all requests have been answered or given up. The caller pushes no more.
func (p *pipeline) drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.writing {
		p.change.Wait()
	}
}

// breakUp ends every wait for room.
func (p *pipeline) breakUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = true
	p.change.Signal()
}

func (p *pipeline) empty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open == 0
}
