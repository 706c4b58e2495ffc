package share

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestCombineLetsTheLaterDeliveryStand(t *testing.T) {
	b := func(first, last int64, state int8, count int16) Batch { return Batch{first, last, state, count} }
	tests := map[string]struct {
		start    int64
		old, new []Batch
		want     []Batch
	}{
		"nothing":                       {start: 5},
		"what is below the start goes":  {start: 10, old: []Batch{b(0, 9, 2, 1)}},
		"the start cuts a batch":        {start: 5, old: []Batch{b(0, 9, 2, 1)}, want: []Batch{b(5, 9, 2, 1)}},
		"no start cuts nothing":         {start: None, old: []Batch{b(0, 9, 2, 1)}, want: []Batch{b(0, 9, 2, 1)}},
		"equal ones that touch are one": {old: []Batch{b(0, 4, 2, 1)}, new: []Batch{b(5, 9, 2, 1)}, want: []Batch{b(0, 9, 2, 1)}},
		"others are not":                {old: []Batch{b(0, 4, 2, 1)}, new: []Batch{b(5, 9, 0, 1)}, want: []Batch{b(0, 4, 2, 1), b(5, 9, 0, 1)}},
		"a gap stays":                   {old: []Batch{b(0, 3, 2, 1)}, new: []Batch{b(5, 9, 2, 1)}, want: []Batch{b(0, 3, 2, 1), b(5, 9, 2, 1)}},
		"more deliveries stand":         {old: []Batch{b(0, 9, 4, 1)}, new: []Batch{b(3, 5, 0, 2)}, want: []Batch{b(0, 2, 4, 1), b(3, 5, 0, 2), b(6, 9, 4, 1)}},
		"fewer do not":                  {old: []Batch{b(0, 9, 0, 2)}, new: []Batch{b(3, 12, 4, 1)}, want: []Batch{b(0, 9, 0, 2), b(10, 12, 4, 1)}},
		"then the higher state":         {old: []Batch{b(0, 9, 0, 1)}, new: []Batch{b(0, 4, 2, 1)}, want: []Batch{b(0, 4, 2, 1), b(5, 9, 0, 1)}},
		"to the last offset there is":   {old: []Batch{b(5, 1<<63-1, 2, 1)}, new: []Batch{b(7, 1<<63-1, 4, 1)}, want: []Batch{b(5, 6, 2, 1), b(7, 1<<63-1, 4, 1)}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Combine(tt.start, tt.old, tt.new); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// naive says for each offset below 64 what stands, the long way.
func naive(start int64, batches []Batch) (said [64]*Batch) {
	for i := range batches {
		for o := max(batches[i].First, start, 0); o <= batches[i].Last; o++ {
			if said[o] == nil || batches[i].outranks(*said[o]) {
				said[o] = &batches[i]
			}
		}
	}
	return said
}

func TestCombineSaysOfEachOffsetWhatANaiveModelSays(t *testing.T) {
	for seed := range uint64(1000) {
		r := rand.New(rand.NewPCG(seed, 1))
		lists := make([][]Batch, 2)
		for i := range lists {
			for range r.IntN(9) {
				first := r.Int64N(60)
				lists[i] = append(lists[i], Batch{first, first + r.Int64N(60-first), int8(2 * r.IntN(3)), int16(r.IntN(3))})
			}
		}
		start := r.Int64N(30) - 1
		got := Combine(start, lists...)
		want := naive(start, slices.Concat(lists...))
		back := naive(start, got)
		for o := range want {
			if (want[o] == nil) != (back[o] == nil) || want[o] != nil && !want[o].agrees(*back[o]) {
				t.Fatalf("seed %d: offset %d of %v and %v from %d: %v, want %v, in %v", seed, o, lists[0], lists[1], start, back[o], want[o], got)
			}
		}
		for i := 1; i < len(got); i++ {
			if before, b := got[i-1], got[i]; b.First <= before.Last || b.First == before.Last+1 && b.agrees(before) {
				t.Fatalf("seed %d: %v overlap, or should be one: %v", seed, got[i-1:i+1], got)
			}
		}
	}
}
