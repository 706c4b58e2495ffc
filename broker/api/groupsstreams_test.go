package api

import (
	"testing"

	"github.com/varvelog/varve/broker/coordinator/group"
)

// An application whose internal topics have more partitions than one request may create
// gets them in portions; it got none.
func TestInternalTopicsAreMadeInPortions(t *testing.T) {
	of := func(partitions ...int32) (all []group.NewTopic) {
		for _, n := range partitions {
			all = append(all, group.NewTopic{Partitions: n})
		}
		return all
	}
	for _, c := range []struct {
		missing []group.NewTopic
		want    int
	}{
		{nil, 0},
		{of(maxNewPartitions), 1},
		{of(1, 2, 3), 3},
		{of(maxNewPartitions-1, 1, 1), 2},
		{of(6000, 6000, 1), 1},
		{of(maxNewPartitions+1, 1), 1}, // which is refused with its reason
	} {
		if got := len(portion(c.missing)); got != c.want {
			t.Errorf("%v: %d topics, want %d", c.missing, got, c.want)
		}
	}
}
