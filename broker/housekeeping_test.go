package broker

import (
	"testing"
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
