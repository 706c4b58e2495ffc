package tiering

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/varvelog/varve/tiering/objstore"
)

// guarded bounds one store call in two ways: it ends when nothing has moved for the
// request timeout, and at a deadline that leaves the timeout once per deadlineStep.
type guarded struct {
	timeout time.Duration
	timer   *time.Timer
	cancel  context.CancelFunc
}

// deadlineStep is how many bytes a call may move per request timeout: with 30 s a rate
// of 2 MB/s, below which a store counts as broken.
const deadlineStep = 64 << 20

// errNoProgress is the cause of a call that the watchdog ended.
var errNoProgress = fmt.Errorf("%w: no progress within the request timeout", objstore.ErrUnavailable)

// guard returns the context of a call that moves about size bytes. stop must be called.
func (t *Tier) guard(ctx context.Context, size int64) (context.Context, *guarded) {
	timeout := t.o.RequestTimeout
	deadline := timeout * time.Duration(1+size/deadlineStep)
	for _, limit := range []*rate{t.copyRate, t.fetchRate} {
		if perSecond := limit.limit(); perSecond > 0 { // a transfer that we hold back ourselves takes longer
			deadline += 2 * time.Duration(float64(size)/float64(perSecond)*float64(time.Second))
		}
	}
	ctx, stop := context.WithTimeoutCause(ctx, deadline, errNoProgress)
	ctx, cancel := context.WithCancelCause(ctx)
	g := &guarded{timeout: timeout}
	g.timer = time.AfterFunc(timeout, func() { cancel(errNoProgress) })
	g.cancel = func() { cancel(nil); stop() }
	return ctx, g
}

// progress says that bytes have moved.
func (g *guarded) progress() { g.timer.Reset(g.timeout) }

func (g *guarded) stop() {
	g.timer.Stop()
	g.cancel()
}

// cause is err, or why the watchdog ended the call: drivers say "canceled" for both.
func cause(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errNoProgress) && !errors.Is(err, objstore.ErrUnavailable) {
		return fmt.Errorf("%w (%w)", errNoProgress, err)
	}
	return err
}

// getAll reads exactly size bytes from position into memory.
func (t *Tier) getAll(ctx context.Context, key string, position, size int64) (p []byte, err error) {
	ctx, g := t.guard(ctx, size)
	defer g.stop()
	stream, err := t.open(ctx, key, position, size)
	if err != nil {
		return nil, cause(ctx, err)
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	p = make([]byte, size)
	for n := 0; n < len(p); {
		k := min(len(p)-n, copyBuffer)
		if _, err := io.ReadFull(stream, p[n:n+k]); err != nil {
			return nil, cause(ctx, shortRead(key, position+int64(n), err))
		}
		n += k
		g.progress()
		t.counters.getBytes.Add(int64(k))
	}
	return p, nil
}

// open begins a ranged read.
func (t *Tier) open(ctx context.Context, key string, position, size int64) (io.ReadCloser, error) {
	return t.hedge.get(ctx, func(ctx context.Context) (io.ReadCloser, error) {
		t.counters.getCalls.Add(1)
		return t.store.Get(ctx, key, position, size)
	})
}

// shortRead says where a stream ended early. Such an object is shorter than the manifest
// says, or the connection broke: asking again tells.
func shortRead(key string, position int64, err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("read %s at %d: %w: %w", key, position, objstore.ErrUnavailable, err)
	}
	return fmt.Errorf("read %s at %d: %w", key, position, err)
}

// put writes an object and makes sure that the store has all of it.
func (t *Tier) put(ctx context.Context, key string, b objstore.Body) error {
	ctx, g := t.guard(ctx, b.Size())
	defer g.stop()
	t.counters.putCalls.Add(1)
	if err := t.store.Put(ctx, key, &meteredBody{Body: b, ctx: ctx, guard: g, tier: t}); err != nil {
		return cause(ctx, err)
	}
	g.progress()
	o, err := t.store.Head(ctx, key)
	if err != nil {
		return fmt.Errorf("verify what was written: %w", cause(ctx, err))
	}
	if o.Size != b.Size() {
		return fmt.Errorf("wrote %d bytes to %s, the store has %d: %w", b.Size(), key, o.Size, objstore.ErrMismatch)
	}
	return nil
}

// meteredBody holds an upload to the copy rate and tells the watchdog that it moves.
type meteredBody struct {
	objstore.Body
	ctx   context.Context // of the Put that reads it
	guard *guarded
	tier  *Tier
}

// ReadAt implements io.ReaderAt.
func (b *meteredBody) ReadAt(p []byte, position int64) (int, error) {
	b.guard.progress()
	for waited := 0; waited < len(p); waited += copyBuffer {
		if err := b.tier.copyRate.wait(b.ctx, min(copyBuffer, len(p)-waited)); err != nil {
			return 0, err
		}
		b.guard.progress()
	}
	n, err := b.Body.ReadAt(p, position)
	b.tier.counters.putBytes.Add(int64(n))
	return n, err
}

// answers tells whether the store is there, asked for an object that it has.
func (t *Tier) answers(ctx context.Context, key string) bool {
	ctx, g := t.guard(ctx, 0)
	defer g.stop()
	_, err := t.store.Head(ctx, key)
	return err == nil
}

// delete removes keys in batches and returns those that were not removed.
func (t *Tier) delete(ctx context.Context, keys []string) map[string]error {
	failed := map[string]error{}
	for batch := range slices.Chunk(keys, deleteBatch) {
		callCtx, g := t.guard(ctx, 0)
		t.counters.deleteCalls.Add(1)
		for key, err := range t.store.Delete(callCtx, batch) {
			failed[key] = cause(callCtx, err)
		}
		g.stop()
	}
	return failed
}

// joinFailures makes one error of a partial failure, with a bounded text.
func joinFailures(failed map[string]error) error {
	const shown = 3
	keys := slices.Sorted(maps.Keys(failed))
	var errs []error
	for _, key := range keys[:min(shown, len(keys))] {
		errs = append(errs, fmt.Errorf("%s: %w", key, failed[key]))
	}
	if len(keys) > shown {
		errs = append(errs, fmt.Errorf("and %d more", len(keys)-shown))
	}
	return errors.Join(errs...)
}
