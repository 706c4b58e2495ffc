package harness

import (
	"testing"
	"time"
)

// pollEvery is the pause between two looks of Until: short beside what is waited for,
// and cheap for the machine.
const pollEvery = 20 * time.Millisecond

// Until asks again and again until check returns nil, and fails the test with its last
// error when the limit has passed.
func Until(t testing.TB, limit time.Duration, what string, check func() error) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	pause := time.NewTicker(pollEvery)
	defer pause.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-pause.C:
		case <-deadline.C:
			t.Fatalf("%s: not within %v: %v", what, limit, err)
		}
	}
}
