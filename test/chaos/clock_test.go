//go:build e2e || chaos

package chaos

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/varvelog/varve/test/chaos/load"
	"github.com/varvelog/varve/test/harness"
	"github.com/varvelog/varve/test/verify"
)

// clockedBroker is a broker whose clock the test sets.
type clockedBroker struct {
	*harness.Broker
	t    *testing.T
	file string
}

func startClocked(t *testing.T, sets ...string) *clockedBroker {
	t.Helper()
	c := &clockedBroker{t: t, file: filepath.Join(t.TempDir(), "offset")}
	c.set(0)
	c.Broker = harness.StartBrokerOf(t, harness.Build(t, "./test/chaos/clocked"), []string{"CLOCK_OFFSET_FILE=" + c.file}, sets...)
	return c
}

// set puts the clock off by d from the machine's, all at once.
func (c *clockedBroker) set(d time.Duration) {
	c.t.Helper()
	next := c.file + ".next"
	if err := os.WriteFile(next, []byte(d.String()), 0o600); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Rename(next, c.file); err != nil {
		c.t.Fatal(err)
	}
}

// TestR37ClockJumps sets the broker's clock forwards and backwards under producers,
// readers and a group, with a kill under each wrong time: nothing is lost, doubled or
// deleted, and nobody is thrown out of a group for good.
func TestR37ClockJumps(t *testing.T) {
	jumps := []time.Duration{time.Hour, -50 * time.Minute, 6 * 24 * time.Hour, 2 * time.Second, -2 * time.Second, 2 * time.Second, -2 * time.Second, 0}
	b := startClocked(t, quick()...)
	shape := small()
	shape.Members = 2
	l := load.Start(t, b.Address, "r37", shape)
	l.Wait(ackLimit, acksBefore)
	for more := until(t, time.Second, 1); more(); {
		for i, d := range jumps {
			l.Fault(verify.Disturbance{Kind: "clock", Restart: true}, func() {
				b.set(d)
				if i%3 == 0 {
					b.Kill()
					b.Start()
				}
				pause(300 * time.Millisecond)
			})
			l.Wait(ackLimit, acksAfter)
		}
	}
	finish(t, b.Broker, l, len(jumps))
}
