package tiering

import (
	"context"
	"sync"
)

// slots bound how much is done at a time. The bound may change while some is.
type slots struct {
	mu      sync.Mutex // guards what follows
	most    int
	taken   int
	changed chan struct{} // closed and replaced when a slot may be free
}

func newSlots(most int) *slots { return &slots{most: most, changed: make(chan struct{})} }

// take waits for a slot, or returns false once ctx ends.
func (s *slots) take(ctx context.Context) bool {
	for ctx.Err() == nil {
		s.mu.Lock()
		if s.taken < s.most {
			s.taken++
			s.mu.Unlock()
			return true
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return false
}

// free gives a slot back.
func (s *slots) free() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	s.wake()
}

// set changes the bound. What is under way beyond it goes on.
func (s *slots) set(most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.most != most {
		s.most = most
		s.wake()
	}
}

// bound is how much is done at a time, at most.
func (s *slots) bound() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}

// wake lets those that wait look again. Caller holds mu.
func (s *slots) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}
