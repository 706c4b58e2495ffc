package partition

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/retention"
	"github.com/varvelog/varve/tiering"
)

// work runs the background work of the partition until nothing is left to do at this
// moment, in the order of the broker's loops.
func (h *house) work() {
	h.t.Helper()
	for {
		h.must(h.p.Retain(h.t.Context(), h.now()))
		h.flush()
		n, err := h.p.Copy(h.t.Context())
		h.must(err)
		if n == 0 {
			return
		}
	}
}

// sweep removes what is dead until nothing is, as the sweeper does over time.
func (h *house) sweep() {
	h.t.Helper()
	for range 2 {
		h.pass(2 * time.Minute)
		h.must(h.p.Sweep(h.t.Context()))
	}
}

// differences are the effects by which one state became the other.
func differences(before, after []retention.Segment) []string {
	now := map[int64]retention.Segment{}
	for _, x := range after {
		now[x.Base] = x
	}
	var all []string
	for _, x := range before {
		y, there := now[x.Base]
		note := func(a retention.Action) {
			all = append(all, fmt.Sprintf("%s [%d,%d) %d bytes", a, x.Base, x.Next, x.Size))
		}
		if !there || y.Sealed && !x.Sealed {
			if !x.Sealed {
				note(retention.Roll)
			}
		}
		switch {
		case !there:
			note(retention.Expire)
			continue
		case y.Tiered && !x.Tiered:
			note(Copy)
		}
		if x.Local && !y.Local {
			note(retention.Trim)
		}
	}
	slices.Sort(all)
	return all
}

func told(effects []retention.Effect) []string {
	var all []string
	for _, e := range effects {
		all = append(all, fmt.Sprintf("%s [%d,%d) %d bytes", e.Action, e.Base, e.Next, e.Size))
	}
	slices.Sort(all)
	return all
}

// TestRehearsalNamesExactlyWhatTheChangeTouches makes partitions by chance, asks what a
// change of their settings would do, makes it, and compares: segments, bytes, requests.
func TestRehearsalNamesExactlyWhatTheChangeTouches(t *testing.T) {
	touched := map[retention.Action]int{}
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 7))
		limit := func(n int64) int64 { return r.Int64N(n+n/4) - n/4 }
		h := newHouse(t, tiered())
		h.config.SegmentAge = 1 << 60
		h.config.LocalRetentionBytes = r.Int64N(20 << 10)
		h.p.SetConfig(h.config)
		for range 5 + r.IntN(25) {
			h.produce(plain(t, 10, h.clock.Load()-r.Int64N(5000), 90))
			h.pass(time.Duration(r.IntN(1000)) * time.Millisecond)
			if r.IntN(8) == 0 {
				h.work()
			}
		}
		if r.IntN(2) == 0 {
			h.work()
		}
		h.sweep()
		c := h.config
		c.RetentionMs, c.RetentionBytes = max(-1, limit(300_000)), max(-1, limit(40<<10))
		c.LocalRetentionMs, c.LocalRetentionBytes = max(-2, limit(300_000)), max(-2, limit(20<<10))
		c.CleanupDelete = r.IntN(8) > 0

		rehearsed, err := h.p.Rehearse(t.Context(), c, h.now())
		h.must(err)
		before, stats := h.p.retentionState(h.p.Offsets(), h.now()).Segments, h.tiers.Stats()
		h.p.SetConfig(c)
		h.work()
		got := differences(before, h.p.retentionState(h.p.Offsets(), h.now()).Segments)
		if want := told(rehearsed.Effects); !slices.Equal(got, want) {
			t.Fatalf("seed %d: the change touched\n%q\nthe rehearsal named\n%q", seed, got, want)
		}
		h.sweep()
		now := h.tiers.Stats()
		requests := tiering.Requests{Puts: int(now.PutCalls - stats.PutCalls), Deletes: int(now.DeleteCalls - stats.DeleteCalls)}
		if requests != rehearsed.Requests {
			t.Fatalf("seed %d: the change took %+v, the rehearsal said %+v for %q", seed, requests, rehearsed.Requests, got)
		}
		for _, e := range rehearsed.Effects {
			touched[e.Action]++
		}
	}
	for _, a := range []retention.Action{retention.Expire, retention.Trim, retention.Roll, Copy} {
		if touched[a] < 10 {
			t.Errorf("only %d segments saw %s: the test says little", touched[a], a)
		}
	}
}

func TestRehearsalOfTheSettingsAsTheyAreFindsNothingAfterWork(t *testing.T) {
	h := newHouse(t, tiered())
	h.fill(20)
	h.work()
	r, err := h.p.Rehearse(t.Context(), h.config, h.now())
	h.must(err)
	if len(r.Effects) > 0 || r.Requests != (tiering.Requests{}) {
		t.Errorf("%+v", r)
	}
}

func TestExplainNamesWhatHoldsASegment(t *testing.T) {
	type seen struct {
		tiered, local bool
		copy          tiering.Standing
		action        retention.Action
		by            string
	}
	explain := func(h *house) []seen {
		var all []seen
		for _, x := range h.p.Explain(h.now()).Segments {
			action, v := x.Reason.Next()
			all = append(all, seen{x.Tiered, x.Local, x.Copy, action, v.By + string(v.Held)})
		}
		return all
	}
	expect := func(t *testing.T, got []seen, want ...seen) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("got\n%+v\nwant\n%+v", got, want)
		}
	}
	timed := func(c *config.Topic) {
		c.RetentionMs, c.LocalRetentionBytes, c.LocalRetentionMs = 3_600_000, -2, 60_000
	}
	t.Run("before the copy, in the bucket, and gone from the disk", func(t *testing.T) {
		c := tiered()
		timed(&c)
		h := newHouse(t, c)
		h.fill(6)
		expect(t, explain(h), // nobody has read the remote log yet, the copier cannot judge
			seen{false, true, "", retention.Trim, "local.retention.ms"},
			seen{false, true, "", retention.Trim, "local.retention.ms"})
		_, err := h.p.Rehearse(t.Context(), c, h.now())
		h.must(err)
		expect(t, explain(h),
			seen{false, true, tiering.CopyNow, retention.Trim, "local.retention.ms"},
			seen{false, true, tiering.WaitSealed, retention.Trim, "local.retention.ms"})
		h.work()
		expect(t, explain(h),
			seen{true, true, tiering.Copied, retention.Trim, "local.retention.ms"},
			seen{false, true, tiering.WaitSealed, retention.Trim, "local.retention.ms"})
		h.pass(2 * time.Minute)
		h.work()
		expect(t, explain(h),
			seen{true, false, tiering.Copied, retention.Expire, "retention.ms"},
			seen{false, true, tiering.WaitSealed, retention.Keep, "local.retention.ms" + string(retention.HeldActive)})
	})
	t.Run("an open transaction holds the copy", func(t *testing.T) {
		h := newHouse(t, tiered())
		h.produce(sent{id: 1, n: 1, txn: true}.batch(t, 0))
		h.fill(12)
		h.must(h.p.Retain(t.Context(), h.now()))
		e := h.p.Explain(h.now()).Segments
		if e[0].Copy != tiering.WaitBound || e[0].Bound != BoundLastStable || e[1].Copy != tiering.WaitOrder {
			t.Errorf("%+v, %+v", e[0], e[1])
		}
	})
	t.Run("the active segment says when it is sealed", func(t *testing.T) {
		h := newHouse(t, tiered())
		h.produce(plain(t, 1, h.clock.Load(), 90))
		e := h.p.Explain(h.now()).Segments
		if last := e[len(e)-1]; !last.Rolls.Equal(h.now().Add(h.config.SegmentAge)) || last.Room != h.config.SegmentBytes-last.Size {
			t.Errorf("%+v", last)
		}
	})
}
