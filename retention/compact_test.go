package retention

import (
	"math"
	"testing"

	"github.com/varvelog/varve/segment"
)

// sealedTail is a log of sealed segments of 10 records and 100 bytes each, from offset 0
// on, whose newest records are of the times (ms) given, and an active one.
func sealedTail(now int64, times ...int64) Tail {
	t := Tail{Now: now, Stable: math.MaxInt64}
	for i, at := range times {
		t.Segments = append(t.Segments, Segment{Base: int64(10 * i), Next: int64(10*i + 10), Size: 100, MaxTimestamp: at, Modified: at, Sealed: true})
	}
	n := int64(10 * len(times))
	t.Segments = append(t.Segments, Segment{Base: n, Next: n + 5, Size: 50, MaxTimestamp: now, Modified: now})
	return t
}

func TestDirtinessFollowsKafkasRules(t *testing.T) {
	never := Compaction{MaxLagMs: math.MaxInt64, MinDirtyRatio: 1}
	for name, c := range map[string]struct {
		rules  Compaction
		change func(*Tail)
		want   Dirt
	}{
		"all is dirty at first": {rules: Compaction{MaxLagMs: math.MaxInt64, MinDirtyRatio: 0.5},
			want: Dirt{Bound: 40, DirtyBytes: 400, Due: true, By: keyMinRatio}},
		"a ratio that is just reached is not exceeded": {rules: Compaction{MaxLagMs: math.MaxInt64, MinDirtyRatio: 0.5},
			change: func(t *Tail) { t.FirstDirty = 20 }, want: Dirt{FirstDirty: 20, Bound: 40, CleanBytes: 200, DirtyBytes: 200}},
		"the segment with the last stable offset stays": {rules: never,
			change: func(t *Tail) { t.Stable = 25 }, want: Dirt{Bound: 20, DirtyBytes: 200}},
		"min.compaction.lag.ms": {rules: Compaction{MinLagMs: 500, MaxLagMs: math.MaxInt64, MinDirtyRatio: 1},
			want: Dirt{Bound: 30, DirtyBytes: 300}},
		"a timestamp in the future is not young for ever (B19)": {rules: Compaction{MinLagMs: 500, MaxLagMs: math.MaxInt64, MinDirtyRatio: 1},
			change: func(t *Tail) { t.Segments[0].MaxTimestamp = math.MaxInt64 }, want: Dirt{Bound: 30, DirtyBytes: 300}},
		"max.compaction.lag.ms": {rules: Compaction{MaxLagMs: 1500, MinDirtyRatio: 1},
			change: func(t *Tail) { t.FirstTimestamp = func(base int64) int64 { return 8000 + base*10 } },
			want:   Dirt{Bound: 40, DirtyBytes: 400, Due: true, By: keyMaxLag, DelayMs: 500}},
		"max.compaction.lag.ms of what is clean": {rules: Compaction{MaxLagMs: 1500, MinDirtyRatio: 1},
			change: func(t *Tail) {
				t.FirstDirty, t.FirstTimestamp = 30, func(base int64) int64 { return 8000 + base*50 }
			},
			want: Dirt{FirstDirty: 30, Bound: 40, CleanBytes: 300, DirtyBytes: 100}},
		"a checkpoint below the first offset": {rules: never,
			change: func(t *Tail) { t.Segments = t.Segments[2:]; t.FirstDirty = 5 }, want: Dirt{FirstDirty: 20, Bound: 40, DirtyBytes: 200}},
		"a checkpoint above the active segment is of another log": {rules: never,
			change: func(t *Tail) { t.FirstDirty = 1000 }, want: Dirt{Bound: 40, DirtyBytes: 400}},
		"nothing but an active segment": {rules: Compaction{},
			change: func(t *Tail) { t.Segments = t.Segments[4:]; t.FirstDirty = 40 }, want: Dirt{FirstDirty: 40, Bound: 40}},
		"tombstones that may go": {rules: never,
			change: func(t *Tail) { t.FirstDirty, t.Horizon = 40, 10_000 }, want: Dirt{FirstDirty: 40, Bound: 40, CleanBytes: 400, Due: true, By: keyDeleteRetention}},
		"tombstones that may not go yet": {rules: never,
			change: func(t *Tail) { t.FirstDirty, t.Horizon = 40, 10_001 }, want: Dirt{FirstDirty: 40, Bound: 40, CleanBytes: 400}},
	} {
		tail := sealedTail(10_000, 8000, 8500, 9000, 9900)
		if c.change != nil {
			c.change(&tail)
		}
		if got := Dirtiness(c.rules, tail); got != c.want {
			t.Errorf("%s:\n got  %+v\n want %+v", name, got, c.want)
		}
	}
}

func TestTheFilthiestGoesFirst(t *testing.T) {
	late := Dirt{DirtyBytes: 1, CleanBytes: 99, DelayMs: 5}
	dirty, clean := Dirt{DirtyBytes: 90, CleanBytes: 10}, Dirt{DirtyBytes: 60, CleanBytes: 40}
	if Filthiest(late, dirty) >= 0 || Filthiest(dirty, clean) >= 0 || Filthiest(clean, clean) != 0 {
		t.Error("a log that waits for longer than it may comes first, then the dirtiest")
	}
}

func TestGroupsFitOneSegment(t *testing.T) {
	at := func(base, next, size int64) segment.Info {
		return segment.Info{Base: base, Next: next, Size: size, Sealed: true}
	}
	for name, c := range map[string]struct {
		segments []segment.Info
		end      int64
		want     []int // segments of each group
	}{
		"by size":             {[]segment.Info{at(0, 10, 40), at(10, 20, 50), at(20, 30, 20), at(30, 40, 80)}, 40, []int{2, 2}},
		"one that is larger":  {[]segment.Info{at(0, 10, 400), at(10, 20, 50)}, 20, []int{1, 1}},
		"by offsets":          {[]segment.Info{at(0, 10, 1), at(10, math.MaxInt32+1, 1), at(math.MaxInt32+1, math.MaxInt32+5, 1)}, math.MaxInt64, []int{2, 1}},
		"up to the end":       {[]segment.Info{at(0, 10, 1), at(10, 20, 1), at(20, 30, 1)}, 15, []int{2}},
		"not the active one":  {[]segment.Info{at(0, 10, 1), {Base: 10, Next: 20, Size: 1}}, 20, []int{1}},
		"nothing":             {nil, 20, nil},
		"nothing below base0": {[]segment.Info{at(10, 20, 1)}, 10, nil},
	} {
		groups := Group(Limits{100}, c.segments, c.end)
		var got []int
		for _, g := range groups {
			got = append(got, len(g))
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s: %v, want %v", name, got, c.want)
			}
		}
	}
}
