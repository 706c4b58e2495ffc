package wire

import (
	"context"
	"sync"
)

// budget is the bytes that frames of all connections may hold together.
//
// Frames grow as they arrive, so several half-read ones could use it up and wait for each
// other. One reader at a time may therefore go over the limit until its frame is whole:
// what is held is at most the limit and one frame.
type budget struct {
	limit int64

	mu       sync.Mutex
	used     int64
	over     *frameReader  // who may go over the limit, nil: nobody does
	released chan struct{} // closed and replaced when bytes or over come free and someone waits
	waiting  int
}

// reserve waits until n more bytes may be held. waited says that it had to.
func (b *budget) reserve(ctx context.Context, n int, who *frameReader) (waited bool, err error) {
	b.mu.Lock()
	for {
		if b.over == nil && b.used+int64(n) > b.limit {
			b.over = who
		}
		if b.over == who || b.used+int64(n) <= b.limit {
			b.used += int64(n)
			b.mu.Unlock()
			return waited, nil
		}
		if b.released == nil {
			b.released = make(chan struct{})
		}
		released := b.released
		b.waiting++
		b.mu.Unlock()
		waited = true
		select {
		case <-released:
			err = nil
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		b.mu.Lock()
		b.waiting--
		if err != nil {
			b.mu.Unlock()
			return waited, err
		}
	}
}

// release gives n bytes back.
func (b *budget) release(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= int64(n)
	b.wake()
}

// whole says that who has its frame, or has given it up, and needs to go over no more.
func (b *budget) whole(who *frameReader) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over == who {
		b.over = nil
		b.wake()
	}
}

func (b *budget) wake() {
	if b.waiting > 0 && b.released != nil {
		close(b.released)
		b.released = nil
	}
}

func (b *budget) inUse() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}
