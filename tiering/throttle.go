package tiering

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/varvelog/varve/tiering/objstore"
)

// throttle bounds the requests that wait for an answer of the store. The bound is the
// window: it is halved where the store asks to slow down, and grows by one each time a
// whole window of requests was answered, as TCP's does. At a window of one a pause
// between requests doubles instead.
//
//	              SlowDown of a request that began after the last cut
//	┌─ window ──▶ max(window / 2, 1)
//	│             at window 1: pause ──▶ clamp(2 * pause)
//	└───────────▶ window + 1/window, up to max; pause ──▶ 0
//	              any other answer
//
// A request counts until its answer begins, not while the answer's body moves: stores
// count requests, and a stream under way needs no second turn. Reads and writes have one
// throttle each, as stores limit them apart, and so that no read waits for an upload.
type throttle struct {
	mu      sync.Mutex // guards what follows
	max     float64
	window  float64       // from 1 to max
	flying  int           // requests that wait for an answer
	serial  uint64        // of the request that began last
	cut     uint64        // requests up to this one began before the last cut
	pause   time.Duration // the last one, 0: none
	paused  bool
	changed chan struct{} // closed and replaced when a request may begin
	slowed  int64         // answers that asked to slow down
}

// Bounds of the pause: requests a second that the store is asked at least and at most,
// once one at a time are too many.
const (
	minPause = 100 * time.Millisecond
	maxPause = 5 * time.Second
)

func newThrottle(most int) *throttle {
	return &throttle{max: float64(most), window: float64(most), changed: make(chan struct{})}
}

// setMax changes the most requests. A window that is not cut is as wide as it may be.
func (t *throttle) setMax(most int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.window == t.max || t.window > float64(most) {
		t.window = float64(most)
	}
	t.max = float64(most)
	t.wake()
}

// begin waits until a request may begin, or ctx ends. Its result is for end.
func (t *throttle) begin(ctx context.Context) (uint64, error) {
	for {
		t.mu.Lock()
		if t.flying < int(t.window) && !t.paused {
			t.flying++
			t.serial++
			serial := t.serial
			t.mu.Unlock()
			return serial, nil
		}
		changed := t.changed
		t.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, ended(ctx)
		}
	}
}

// ended is the error of a call whose context has ended, as objstore.Bucket promises it.
func ended(ctx context.Context) error {
	if err := ctx.Err(); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w: %w", objstore.ErrUnavailable, ctx.Err())
}

// end says how a request was answered.
func (t *throttle) end(serial uint64, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flying--
	switch {
	case errors.Is(err, objstore.ErrSlowDown):
		t.slowed++
		if serial > t.cut { // else it was on its way when the window was cut
			t.slow()
		}
	case err == nil || !errors.Is(err, objstore.ErrUnavailable) && !errors.Is(err, context.Canceled):
		t.window = min(t.window+1/t.window, t.max)
		t.pause = 0
	}
	t.wake()
}

// slow cuts the window. Caller holds mu.
func (t *throttle) slow() {
	t.cut = t.serial
	if t.window > 1 {
		t.window = max(t.window/2, 1)
		return
	}
	t.pause = min(max(2*t.pause, minPause), maxPause)
	t.paused = true
	time.AfterFunc(t.pause, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.paused = false
		t.wake()
	})
}

// wake lets waiting requests look again. Caller holds mu.
func (t *throttle) wake() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// state returns the window and how often the store has asked to slow down.
func (t *throttle) state() (window, slowed int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return int64(t.window), t.slowed
}

// pacedBucket asks a store no faster than it wants to be asked.
type pacedBucket struct {
	bucket        objstore.Bucket
	reads, writes *throttle
}

// do makes one request.
func (t *throttle) do(ctx context.Context, request func() error) error {
	serial, err := t.begin(ctx)
	if err != nil {
		return err
	}
	err = request()
	t.end(serial, err)
	return err
}

// Put implements objstore.Bucket.
func (b *pacedBucket) Put(ctx context.Context, key string, body objstore.Body) error {
	return b.writes.do(ctx, func() error { return b.bucket.Put(ctx, key, body) })
}

// Get implements objstore.Bucket.
func (b *pacedBucket) Get(ctx context.Context, key string, position, length int64) (stream io.ReadCloser, err error) {
	err = b.reads.do(ctx, func() error {
		stream, err = b.bucket.Get(ctx, key, position, length)
		return err
	})
	return stream, err
}

// Head implements objstore.Bucket.
func (b *pacedBucket) Head(ctx context.Context, key string) (o objstore.Object, err error) {
	err = b.reads.do(ctx, func() error {
		o, err = b.bucket.Head(ctx, key)
		return err
	})
	return o, err
}

// Delete implements objstore.Bucket.
func (b *pacedBucket) Delete(ctx context.Context, keys []string) (failed map[string]error) {
	err := b.writes.do(ctx, func() error {
		failed = b.bucket.Delete(ctx, keys)
		for _, err := range failed {
			if errors.Is(err, objstore.ErrSlowDown) {
				return err
			}
		}
		return nil
	})
	if err != nil && failed == nil { // it did not begin
		failed = map[string]error{}
		for _, key := range keys {
			failed[key] = err
		}
	}
	return failed
}

// List implements objstore.Bucket.
func (b *pacedBucket) List(ctx context.Context, prefix string, yield func(objstore.Object) bool) error {
	return b.reads.do(ctx, func() error { return b.bucket.List(ctx, prefix, yield) })
}

// Name implements objstore.Bucket.
func (b *pacedBucket) Name() string { return b.bucket.Name() }
