package verify

import (
	"cmp"
	"math"
	"slices"
)

// backwards checks C9: what one observer saw of a mark never falls; and a group's offset
// is, whenever it is asked for, one that a client committed last.
func backwards(v *view, add report) {
	type line struct {
		kind                MarkKind
		observer, partition int32
	}
	last := map[line]int64{}
	for _, m := range v.Marks {
		key := line{m.Kind, m.Observer, m.Partition}
		if before, seen := last[key]; seen && m.Value < before {
			add("observer %d, partition %d: %v %d after %d", m.Observer, m.Partition, m.Kind, m.Value, before)
		}
		last[key] = m.Value
	}
	v.register(add)
}

// register judges committed offsets as reads of a register: an answer is legal if a
// commit of it had begun when the answer came, and no other commit lies wholly between
// the two.
func (v *view) register(add report) {
	type cell struct{ group, partition int32 }
	commits, answers := map[cell][]OffsetCommit{}, map[cell][]Committed{}
	for _, c := range v.Commits {
		if c.Outcome == Fail {
			continue
		}
		if c.Outcome == Info {
			c.Ended = math.MaxInt64 // it may come to pass at any time
		}
		key := cell{c.Group, c.Partition}
		commits[key] = append(commits[key], c)
	}
	for _, c := range v.Committed {
		key := cell{c.Group, c.Partition}
		answers[key] = append(answers[key], c)
	}
	for key, list := range answers {
		slices.SortStableFunc(list, func(a, b Committed) int { return cmp.Compare(a.Ended, b.Ended) })
		newest := v.overwritten(list, commits[key])
		begun := commits[key]
		slices.SortStableFunc(begun, func(a, b OffsetCommit) int { return cmp.Compare(a.Begun, b.Begun) })
		latest := map[int64]int64{-1: math.MinInt64} // by offset: when its last commit ended
		for i, a := range list {
			for len(begun) > 0 && begun[0].Begun <= a.Ended {
				if ended, seen := latest[begun[0].Offset]; !seen || ended < begun[0].Ended {
					latest[begun[0].Offset] = begun[0].Ended
				}
				begun = begun[1:]
			}
			switch ended, seen := latest[a.Offset]; {
			case !seen:
				add("group %d, partition %d: offset %d, which nobody committed", a.Group, a.Partition, a.Offset)
			case ended < newest[i]:
				add("group %d, partition %d: offset %d at %d, though a commit that began at %d had replaced it", a.Group, a.Partition, a.Offset, a.Begun, newest[i])
			}
		}
	}
}

// overwritten says for each answer when the last commit began that had ended before the
// question was asked.
func (v *view) overwritten(answers []Committed, commits []OffsetCommit) []int64 {
	ended := slices.SortedFunc(slices.Values(commits), func(a, b OffsetCommit) int { return cmp.Compare(a.Ended, b.Ended) })
	order := sorted(len(answers), func(a, b int32) int { return cmp.Compare(answers[a].Begun, answers[b].Begun) })
	newest := make([]int64, len(answers))
	begun := int64(math.MinInt64)
	for _, i := range order {
		for len(ended) > 0 && ended[0].Ended < answers[i].Begun {
			begun = max(begun, ended[0].Begun)
			ended = ended[1:]
		}
		newest[i] = begun
	}
	return newest
}
