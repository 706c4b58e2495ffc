package tiering

import (
	"context"
	"sync"
	"time"
)

// rate is a token bucket of bytes. Its burst is a second's worth, so that a limit in
// bytes per second is one, and no less than one piece of a transfer.
type rate struct {
	now func() time.Time

	mu        sync.Mutex    // guards what follows
	perSecond int64         // 0: no limit
	tokens    float64       // may be negative: what is owed
	at        time.Time     // of tokens
	changed   chan struct{} // closed and replaced when the limit changes
}

func newRate(perSecond int64, now func() time.Time) *rate {
	return &rate{perSecond: perSecond, now: now, tokens: float64(perSecond), at: now(), changed: make(chan struct{})}
}

// limit is the bytes a second, 0: any number.
func (r *rate) limit() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.perSecond
}

// set changes the limit. What is owed by the one before is forgotten.
func (r *rate) set(perSecond int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.perSecond != perSecond {
		r.perSecond, r.tokens, r.at = perSecond, float64(perSecond), r.now()
		close(r.changed)
		r.changed = make(chan struct{})
	}
}

// wait takes n tokens and waits until they are earned, or ctx ends. Where the limit changes
// meanwhile they are taken by the new one.
func (r *rate) wait(ctx context.Context, n int) error {
	for ctx.Err() == nil {
		owed, changed := r.take(n)
		if owed <= 0 {
			break
		}
		timer := time.NewTimer(owed)
		select {
		case <-timer.C:
			return nil
		case <-changed:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
		}
	}
	return ctx.Err()
}

// take takes n tokens and returns how long it takes to earn them, 0 or less: they are, and
// what is closed when the limit changes.
func (r *rate) take(n int) (time.Duration, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.perSecond <= 0 {
		return 0, nil
	}
	now := r.now()
	earned := now.Sub(r.at).Seconds() * float64(r.perSecond)
	r.tokens = min(r.tokens+max(earned, 0), float64(r.perSecond)) - float64(n)
	r.at = now
	return time.Duration(-r.tokens / float64(r.perSecond) * float64(time.Second)), r.changed
}
