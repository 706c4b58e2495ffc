package broker

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

func TestCheckpointIsDueByTimeOrBytes(t *testing.T) {
	for _, c := range []struct {
		since   time.Duration
		written int64
		want    bool
	}{
		{time.Minute, 0, true},
		{time.Minute - 1, 0, false},
		{time.Second, checkpointBytes - 1, false},
		{time.Second, checkpointBytes, true},
	} {
		if got := checkpointDue(c.since, time.Minute, c.written); got != c.want {
			t.Errorf("%v and %d bytes after one: %v", c.since, c.written, got)
		}
	}
}

// TestRareWorkIsDoneHoweverOftenABrokerRestarts: and costs the same in the mean.
func TestRareWorkIsDoneHoweverOftenABrokerRestarts(t *testing.T) {
	const interval, total = 6 * time.Hour, 3000 * time.Hour
	const want = int(total / interval)
	for _, up := range []time.Duration{30 * time.Minute, 5 * time.Hour, 50 * time.Hour, total} {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(3, 3))
			done := 0
			for range total / up {
				ctx, stop := context.WithTimeout(t.Context(), up)
				if err := every(ctx, firstPause(interval, random.Float64()), interval, func(context.Context) { done++ }); err != nil {
					t.Error(err)
				}
				stop()
			}
			if done < want*9/10 || done > want*11/10 {
				t.Errorf("restarted every %v: done %d times in %v, not about %d times", up, done, total, want)
			}
		})
	}
	if got := firstPause(time.Minute, 0); got != time.Minute {
		t.Errorf("frequent work is first done after %v", got)
	}
}
