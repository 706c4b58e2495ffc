package tiering

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/tiering/mem"
	"github.com/varvelog/varve/tiering/objstore"
)

// hedged asks a store in memory through a hedger; hook says how each request fares.
func hedged(t *testing.T, share float64, hook mem.Hook) (*hedger, func() (string, error)) {
	b, err := mem.New(mem.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Put(t.Context(), "k", objstore.BytesBody("bytes")); err != nil {
		t.Fatal(err)
	}
	h := &hedger{share: share, now: time.Now}
	get := func() (string, error) {
		stream, err := h.get(t.Context(), func(ctx context.Context) (io.ReadCloser, error) { return b.Get(ctx, "k", 0, 5) })
		if err != nil {
			return "", err
		}
		p, err := io.ReadAll(stream)
		return string(p), errors.Join(err, stream.Close())
	}
	b.SetHook(func(mem.Op, string) mem.Fault { time.Sleep(20 * time.Millisecond); return mem.Fault{} }) // virtual
	for range hedgeSamples {
		if _, err := get(); err != nil {
			t.Fatal(err)
		}
	}
	b.SetHook(hook)
	return h, get
}

func TestHedgeTakesTheSecondAnswerWhereTheFirstIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		h, get := hedged(t, 0.05, func(mem.Op, string) mem.Fault {
			if calls.Add(1) == 1 {
				return mem.Fault{Hang: true}
			}
			time.Sleep(20 * time.Millisecond)
			return mem.Fault{}
		})
		begin := time.Now()
		if got, err := get(); got != "bytes" || err != nil {
			t.Fatal(got, err)
		}
		if took := time.Since(begin); took != hedgeFloor+20*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		if hedges, wins := h.stats(); hedges != 1 || wins != 1 || calls.Load() != 2 {
			t.Errorf("%d hedges, %d won, %d calls", hedges, wins, calls.Load())
		}
	})
}

func TestHedgeNeverAsksTwiceWithinTheUsualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, get := hedged(t, 1, func(mem.Op, string) mem.Fault {
			time.Sleep(hedgeFloor - time.Millisecond)
			return mem.Fault{}
		})
		for range 500 {
			if _, err := get(); err != nil {
				t.Fatal(err)
			}
		}
		if hedges, _ := h.stats(); hedges != 0 {
			t.Errorf("%d second requests", hedges)
		}
	})
}

// TestHedgesAreASmallShareOfAllRequests lets the store become slow as a whole, faster than
// the hedger can learn it.
func TestHedgesAreASmallShareOfAllRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took atomic.Int64
		took.Store(int64(time.Second))
		h, get := hedged(t, 0.05, func(mem.Op, string) mem.Fault {
			time.Sleep(time.Duration(took.Load()))
			return mem.Fault{}
		})
		const requests = 1000
		for range requests {
			took.Store(min(took.Load()*9/8, int64(time.Hour))) // for long later than what was usual
			if _, err := get(); err != nil {
				t.Fatal(err)
			}
		}
		if hedges, _ := h.stats(); hedges == 0 || hedges > requests/20+hedgeBurst {
			t.Errorf("%d second requests for %d", hedges, requests)
		}
	})
}

func TestHedgeReturnsAnErrorOnlyWhereBothFail(t *testing.T) {
	for _, c := range []struct {
		name          string
		first, second mem.Fault
		ok            bool
	}{
		{"first fails late", mem.Fault{Before: objstore.ErrUnavailable}, mem.Fault{}, true},
		{"second fails", mem.Fault{}, mem.Fault{Before: objstore.ErrUnavailable}, true},
		{"both fail", mem.Fault{Before: objstore.ErrUnavailable}, mem.Fault{Before: objstore.ErrUnavailable}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls atomic.Int64
				_, get := hedged(t, 0.05, func(mem.Op, string) mem.Fault {
					f, n := c.first, calls.Add(1)
					if n == 2 {
						f = c.second
					}
					time.Sleep(time.Second / time.Duration(n)) // the second is answered first
					return f
				})
				got, err := get()
				if c.ok && (got != "bytes" || err != nil) || !c.ok && !errors.Is(err, objstore.ErrUnavailable) {
					t.Fatal(got, err)
				}
				if calls.Load() != 2 {
					t.Fatalf("%d calls", calls.Load())
				}
			})
		})
	}
}

// TestHedgedStreamsAreAllClosed counts the streams that requests opened: what nobody
// wants is closed too, whoever comes first.
func TestHedgedStreamsAreAllClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hedger{share: 1, now: time.Now, count: hedgeSamples, budget: hedgeBurst}
		var open, calls atomic.Int64
		request := func(context.Context) (io.ReadCloser, error) {
			if calls.Add(1)%2 == 1 {
				time.Sleep(hedgeFloor + 10*time.Millisecond)
			} else {
				time.Sleep(10 * time.Millisecond) // the very moment
			}
			open.Add(1)
			return &counted{Reader: strings.NewReader("bytes"), open: &open}, nil
		}
		for range 200 {
			stream, err := h.get(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.Close(); err != nil {
				t.Fatal(err)
			}
			if n := open.Load(); n != 0 {
				t.Fatalf("%d streams are open", n)
			}
		}
	})
}

type counted struct {
	io.Reader
	open *atomic.Int64
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return nil
}

func TestHedgingIsOffByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, get := hedged(t, 0, func(mem.Op, string) mem.Fault {
			time.Sleep(time.Hour)
			return mem.Fault{}
		})
		if _, err := get(); err != nil {
			t.Fatal(err)
		}
		if hedges, _ := h.stats(); hedges != 0 {
			t.Errorf("%d second requests", hedges)
		}
	})
}
