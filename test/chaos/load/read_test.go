package load

import (
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestErrorsThatLast(t *testing.T) {
	// The reader was given offset 429 last; 430 is aborted, and the first of its epoch.
	const next = 430
	lost := func(resetTo int64) error {
		return fmt.Errorf("fetch: %w", &kgo.ErrDataLoss{ConsumedTo: 431, ResetTo: resetTo})
	}
	for _, c := range []struct {
		name string
		err  error
		want bool
	}{
		{"sent back over aborted records", lost(430), false},
		{"sent back over a record that was given", lost(429), true},
		{"out of range", kerr.OffsetOutOfRange, true},
		{"not the leader", kerr.NotLeaderForPartition, false},
		{"connection", errors.New("connection reset"), false},
	} {
		if got := lasting(c.err, next); got != c.want {
			t.Errorf("%s: lasting is %v", c.name, got)
		}
	}
}
