package tiering

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestARateIsAlteredForWhoWaits: one that was mistaken for bytes holds nobody for days.
func TestARateIsAlteredForWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRate(1, time.Now)
		begin := time.Now()
		done := make(chan error)
		go func() { done <- r.wait(t.Context(), 1_000_000) }()
		synctest.Wait()
		r.set(100_000)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 9*time.Second { // the first 100,000 are there
			t.Errorf("took %v", took)
		}
		r.set(0)
		if err := r.wait(t.Context(), 1<<30); err != nil || time.Since(begin) != 9*time.Second {
			t.Errorf("without a limit: %v after %v", err, time.Since(begin))
		}
	})
}

func TestSlotsAreAltered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlots(1)
		ctx, cancel := context.WithCancel(t.Context())
		var taken atomic.Int32
		for range 4 {
			go func() {
				if s.take(ctx) {
					taken.Add(1)
				}
			}()
			synctest.Wait()
		}
		want := func(n int32, when string) {
			t.Helper()
			if synctest.Wait(); taken.Load() != n {
				t.Errorf("%s: %d taken", when, taken.Load())
			}
		}
		want(1, "at first")
		s.set(3)
		want(3, "with three")
		s.set(2)
		s.free()
		want(3, "two of two are under way")
		s.free()
		want(4, "one of two was free")
		cancel()
		if s.take(ctx) {
			t.Error("taken after the end")
		}
	})
}

// TestDownloadsAreAlteredInNumber: as many run at a time as may, by workers of which there
// are as many as there ever had to be.
func TestDownloadsAreAlteredInNumber(t *testing.T) {
	f := newFetcher(&Tier{o: Options{FetchConcurrency: 1}})
	for i := range 4 {
		f.demand.push(&job{remote: &Remote{id: PartitionID{Partition: int32(i)}}})
		f.waiting++
	}
	take := func(want bool, when string) {
		t.Helper()
		if got := f.take() != nil; got != want {
			t.Errorf("%s: a job is taken: %v", when, got)
		}
	}
	take(true, "the first of one")
	take(false, "the second of one")
	f.setMost(2)
	select {
	case <-f.raised:
	default:
		t.Error("nobody is told that there are to be more workers")
	}
	select {
	case <-f.wake:
	default:
		t.Error("nobody is woken for what waits")
	}
	take(true, "the second of two")
	take(false, "the third of two")
	f.setMost(1)
	f.running--
	take(false, "the second of one again")
	f.running--
	take(true, "the first of one again")
}

func TestAnAlteredThrottleIsAsWideAsItMayBe(t *testing.T) {
	th := newThrottle(4)
	th.setMax(8)
	if window, _ := th.state(); window != 8 {
		t.Errorf("raised: %d", window)
	}
	th.slow()
	th.setMax(16)
	if window, _ := th.state(); window != 4 {
		t.Errorf("raised while it is cut: %d", window)
	}
	th.setMax(2)
	if window, _ := th.state(); window != 2 {
		t.Errorf("lowered: %d", window)
	}
}
