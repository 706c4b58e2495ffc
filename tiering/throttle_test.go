package tiering

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/tiering/mem"
	"github.com/varvelog/varve/tiering/objstore"
)

func TestThrottleHalvesOnceARoundAndGrowsByOneAWindow(t *testing.T) {
	th := newThrottle(16)
	begin := func(n int) []uint64 {
		serials := make([]uint64, n)
		for i := range serials {
			var err error
			if serials[i], err = th.begin(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		return serials
	}
	end := func(serials []uint64, err error) {
		for _, s := range serials {
			th.end(s, err)
		}
	}
	want := func(window int64) {
		t.Helper()
		if got, _ := th.state(); got != window {
			t.Fatalf("window %d, want %d", got, window)
		}
	}
	end(begin(16), nil)
	want(16)
	all := begin(16)
	end(all, fmt.Errorf("get: %w", objstore.ErrSlowDown)) // one cut, though 16 were refused
	want(8)
	end(begin(8), objstore.ErrUnavailable) // says nothing about the rate
	want(8)
	for window := int64(8); window < 16; window++ {
		want(window)
		end(begin(int(window)), objstore.ErrNotFound) // an answer like any other
		end(begin(1), nil)
	}
	want(16)
	if _, slowed := th.state(); slowed != 16 {
		t.Fatalf("%d answers asked to slow down", slowed)
	}
}

func TestThrottlePausesLongerAndLongerAtAWindowOfOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(1)
		ask := func(err error) time.Duration {
			begin := time.Now()
			s, waitErr := th.begin(t.Context())
			if waitErr != nil {
				t.Fatal(waitErr)
			}
			th.end(s, err)
			return time.Since(begin)
		}
		want := []int64{0, 100, 200, 400, 800, 1600, 3200, 5000, 5000}
		for i, want := range want {
			if got := ask(objstore.ErrSlowDown); got.Milliseconds() != want {
				t.Fatalf("request %d waited %v, want %d ms", i, got, want)
			}
		}
		if got := ask(nil); got != maxPause {
			t.Fatalf("waited %v", got)
		}
		if got := ask(objstore.ErrSlowDown); got != 0 {
			t.Fatalf("after an answer waited %v", got)
		}
		if got := ask(nil); got != minPause {
			t.Fatalf("after an answer the pause begins at %v", got)
		}
		synctest.Wait()
	})
}

// TestThrottleFindsTheRateOfTheStore has 32 clients ask a store that takes 8 requests at
// a time and refuses the rest.
func TestThrottleFindsTheRateOfTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit, each, clients = 8, 200, 32
		var mu sync.Mutex
		flying, refused, answered := 0, 0, 0
		bucket, err := mem.New(mem.Options{Hook: func(mem.Op, string) mem.Fault {
			mu.Lock()
			flying++
			over := flying > limit
			mu.Unlock()
			time.Sleep(20 * time.Millisecond) // virtual
			mu.Lock()
			defer mu.Unlock()
			flying--
			if over {
				refused++
				return mem.Fault{Before: objstore.ErrSlowDown}
			}
			answered++
			return mem.Fault{}
		}})
		if err != nil {
			t.Fatal(err)
		}
		b := &pacedBucket{bucket, newThrottle(64), newThrottle(64)}
		begin := time.Now()
		var all sync.WaitGroup
		for range clients {
			all.Go(func() {
				for done := 0; done < each; {
					if _, err := b.Head(t.Context(), "k"); !errors.Is(err, objstore.ErrSlowDown) {
						done++
					}
				}
			})
		}
		all.Wait()
		if share := float64(refused) / float64(answered); share > 0.25 {
			t.Errorf("%d refused of %d", refused, refused+answered)
		}
		ideal := each * clients / limit * 20 * time.Millisecond
		if took := time.Since(begin); took > 2*ideal {
			t.Errorf("it took %v, at the store's own rate %v", took, ideal)
		}
	})
}

func TestThrottleEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(1)
		if _, err := th.begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := th.begin(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, objstore.ErrUnavailable) {
			t.Fatal(err)
		}
		b := &pacedBucket{nil, th, th}
		if failed := b.Delete(ctx, []string{"a", "b"}); len(failed) != 2 {
			t.Fatalf("%v", failed)
		}
	})
}
