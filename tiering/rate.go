package tiering

import (
	"context"
	"sync"
	"time"
)

// rate is a token bucket of bytes. Its burst is a second's worth, so that a limit in
// bytes per second is one, and no less than one piece of a transfer.
type rate struct {
	perSecond int64 // 0: no limit
	now       func() time.Time

	mu     sync.Mutex
	tokens float64   // may be negative: what is owed. Guarded by mu.
	at     time.Time // of tokens. Guarded by mu.
}

func newRate(perSecond int64, now func() time.Time) *rate {
	return &rate{perSecond: perSecond, now: now, tokens: float64(perSecond), at: now()}
}

// wait takes n tokens and waits until they are earned, or ctx ends.
func (r *rate) wait(ctx context.Context, n int) error {
	if r.perSecond <= 0 {
		return ctx.Err()
	}
	owed := r.take(n)
	if owed <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(owed)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// take takes n tokens and returns how long it takes to earn them.
func (r *rate) take(n int) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	earned := now.Sub(r.at).Seconds() * float64(r.perSecond)
	r.tokens = min(r.tokens+max(earned, 0), float64(r.perSecond)) - float64(n)
	r.at = now
	return time.Duration(-r.tokens / float64(r.perSecond) * float64(time.Second))
}
