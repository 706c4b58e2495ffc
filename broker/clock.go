package broker

import "time"

// steady is now without the jumps of a clock that is set: it goes on from where it began
// by the monotonic clock. What members of groups have to do in time is measured by it,
// lest setting the clock end every session at once.
func steady(now func() time.Time) func() time.Time {
	began := now()
	return func() time.Time { return began.Add(now().Sub(began)) }
}
