//go:build e2e || chaos

package chaos

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/varvelog/varve/test/chaos/load"
	"github.com/varvelog/varve/test/harness"
	"github.com/varvelog/varve/test/verify"
)

func TestMain(m *testing.M) { harness.Main(m) }

// durationVariable is how long each test goes on with its faults; short ones without.
const durationVariable = "VARVE_CHAOS_DURATION"

// until returns a condition that holds until faults have gone on for short, or for what
// durationVariable says, and so often.
func until(t *testing.T, short time.Duration, rounds int) func() bool {
	t.Helper()
	d, err := time.ParseDuration(cmp.Or(os.Getenv(durationVariable), short.String()))
	if err != nil {
		t.Fatal(err)
	}
	begin, done := time.Now(), 0
	return func() bool {
		done++
		return done <= rounds || time.Since(begin) < d
	}
}

// quick makes the background work of a broker visible within a test.
func quick(more ...string) []string {
	return append([]string{
		"remote.log.manager.task.interval.ms=200",
		"log.retention.check.interval.ms=300",
		"log.flush.offset.checkpoint.interval.ms=500",
		"group.initial.rebalance.delay.ms=0",
	}, more...)
}

// pause is a part of the schedule of faults; nothing relies on what happens meanwhile.
func pause(d time.Duration) { <-time.After(d) }

// acksBefore and acksAfter are what a load has to do before the first fault, so that the
// run proves something (C20), and after each, so that the next one meets it at work.
const (
	acksBefore = 1000
	acksAfter  = 200
	ackLimit   = time.Minute
)

// finish ends a load, judges its history and returns it.
func finish(t *testing.T, b *harness.Broker, l *load.Load, faults int) *verify.History {
	t.Helper()
	h := l.Finish()
	h.Expect = &verify.Expect{Faults: faults, Before: acksBefore}
	h.Incidents = append(h.Incidents, verify.Health("varve", b.Output())...)
	t.Logf("%d faults, %d sends, %d reads", len(h.Faults), len(h.Sends), len(h.Reads))
	judge(t, h)
	return h
}

// judge applies the rules and leaves the history of a bad run behind.
func judge(t *testing.T, h *verify.History) {
	t.Helper()
	found := verify.Check(h)
	if len(found) == 0 {
		return
	}
	for _, v := range found {
		t.Error(v)
	}
	name := filepath.Join(os.TempDir(), fmt.Sprintf("varve-history-%d.txt", time.Now().UnixNano()))
	f, err := os.Create(name)
	if err == nil {
		err = errors.Join(verify.WriteStory(f, h), f.Close())
	}
	t.Logf("the history is in %s (%v)", name, err)
}
