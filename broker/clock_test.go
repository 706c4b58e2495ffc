package broker

import (
	"testing"
	"time"
	"unsafe"
)

// wallSet is t as the system's clock would tell it had somebody set it d ahead: the wall
// time differs and the monotonic time, the second word of a time.Time, does not.
func wallSet(t time.Time, d time.Duration) time.Time {
	set := t.Add(d)
	(*[2]uint64)(unsafe.Pointer(&set))[1] = (*[2]uint64)(unsafe.Pointer(&t))[1]
	return set
}

func TestSteadyClockIgnoresThatTheClockWasSet(t *testing.T) {
	begin := time.Now()
	at := begin
	now := steady(func() time.Time { return at })
	for _, c := range []struct {
		name     string
		set      time.Duration
		runs, is time.Duration
	}{
		{"as it began", 0, 0, 0},
		{"a second later", 0, time.Second, time.Second},
		{"set an hour ahead", time.Hour, 2 * time.Second, 2 * time.Second},
		{"set a day back", -24 * time.Hour, 3 * time.Second, 3 * time.Second},
	} {
		at = wallSet(begin.Add(c.runs), c.set)
		if wall := at.Round(0).Sub(begin.Round(0)); wall != c.set+c.runs {
			t.Fatalf("%s: the wall clock of the test moved by %v, want %v", c.name, wall, c.set+c.runs)
		}
		if got := now().Round(0).Sub(begin.Round(0)); got != c.is {
			t.Errorf("%s: moved by %v, want %v", c.name, got, c.is)
		}
	}
}
