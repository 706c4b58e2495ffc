//go:build e2e || chaos

package chaos

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/test/chaos/load"
	"github.com/varvelog/varve/test/harness"
	"github.com/varvelog/varve/test/verify"
)

// droppedTail is how much each log loses at least: some hundred records, far less than a
// load writes before and after.
const droppedTail = 64 << 10

// TestR43ADroppedTailIsReported is the positive control of R2: a kill that also takes what
// a page cache would have held, had acknowledgements not waited for the disk. If the
// checker passes this, it passes everything.
func TestR43ADroppedTailIsReported(t *testing.T) {
	b := harness.StartBroker(t, quick()...)
	shape := small()
	shape.Configs["segment.bytes"] = "1073741824" // the last acknowledged record lies in the only one
	l := load.Start(t, b.Address, "control", shape)
	l.Wait(ackLimit, acksBefore)
	l.Fault(verify.Disturbance{Kind: "power", Restart: true}, func() {
		b.Kill()
		for partition, last := range lastAcked(l.Recorder) {
			lastLog(func(content []byte) []byte {
				return content[:max(0, min(len(content)-droppedTail, positionOf(t, content, last)))]
			})(t, filepath.Join(b.Dir, fmt.Sprintf("control-0-%d", partition)))
		}
		b.Start()
	})
	l.Wait(ackLimit, acksBefore)
	broken := rulesOf(verify.Check(l.Finish()))
	t.Logf("broken: %v", broken)
	if !slices.Contains(broken, "C1") {
		t.Errorf("acknowledged records are lost, and only %v are said to be broken", broken)
	}
}

// lastAcked is the highest acknowledged offset of each partition.
func lastAcked(r *verify.Recorder) map[int32]int64 {
	last := make(map[int32]int64)
	r.Log(func(h *verify.History, _ int64) {
		for i := range h.Sends {
			if s := &h.Sends[i]; s.Outcome == verify.OK {
				last[s.Partition] = max(last[s.Partition], s.Offset)
			}
		}
	})
	return last
}

// positionOf is where the batch with an offset begins in a log.
func positionOf(t *testing.T, log []byte, offset int64) int {
	t.Helper()
	for rest := log; len(rest) > 0; {
		b, after, err := batch.Next(rest)
		if err != nil {
			t.Fatal(err)
		}
		if offset <= b.LastOffset() {
			return len(log) - len(rest)
		}
		rest = after
	}
	t.Fatalf("offset %d was acknowledged and is not in the log of %d bytes", offset, len(log))
	return 0
}

func rulesOf(found []verify.Violation) []string {
	var rules []string
	for _, v := range found {
		rules = append(rules, v.Rule)
	}
	slices.Sort(rules)
	return slices.Compact(rules)
}

// TestR43ALyingClientIsReported logs an acknowledgement that no broker gave, and one for
// an offset where something else lies.
func TestR43ALyingClientIsReported(t *testing.T) {
	b := harness.StartBroker(t, quick()...)
	l := load.Start(t, b.Address, "liar", load.W2())
	l.Wait(ackLimit, acksAfter)
	ticket := l.Recorder.Send(verify.Send{Value: 1 << 50, Producer: 99})
	l.Recorder.Sent(ticket, verify.OK, 17)
	if broken := rulesOf(verify.Check(l.Finish())); !slices.Contains(broken, "C1") || !slices.Contains(broken, "C4") {
		t.Errorf("only %v are said to be broken", broken)
	}
}

// TestR14KilledProducersLeaveNothingTwice kills producers (SIGKILL) while their requests
// are under way: what was acknowledged to them is there, and nothing twice.
func TestR14KilledProducersLeaveNothingTwice(t *testing.T) {
	rng := harness.Seeded(t)
	b := harness.StartBroker(t, quick()...)
	l := load.Start(t, b.Address, "r14", load.W1())
	l.Wait(ackLimit, acksBefore)
	const children = 3
	shape := load.W1()
	shape.Producers, shape.Rate, shape.Readers = 1, 500, 0
	for n, more := 1, until(t, 2*time.Second, children); more(); n++ {
		p := startChild(t, l.Spec(n, fmt.Sprintf("producer-%d", n), shape))
		pause(time.Duration(rng.Int64N(int64(time.Second))))
		l.Fault(verify.Disturbance{Kind: "kill-client", Progress: true}, func() {
			p.Kill()
			l.Wait(ackLimit, acksAfter)
		})
		if err := l.Adopt(p.Output()); err != nil {
			t.Fatal(err)
		}
	}
	finish(t, b, l, children)
}

// hangVariable makes this binary hang with a broker that never answers.
const hangVariable = "VARVE_CHAOS_HANG"

// ended returns nil for a process that runs no more, whether or not whoever inherited it
// has taken note.
func ended(pid int) error {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil //nolint:nilerr // there is no such process
	}
	if _, state, ok := strings.Cut(string(status), ") "); ok && strings.HasPrefix(state, "Z") {
		return nil
	}
	return fmt.Errorf("process %d is still there: %s", pid, status)
}

// TestHungRun is no test of its own: it is the run that
// TestR45ARunThatHangsIsEndedFromOutside ends.
func TestHungRun(t *testing.T) {
	if os.Getenv(hangVariable) == "" {
		return
	}
	b := harness.StartBroker(t)
	b.Pause(t)
	_, _ = os.Stdout.WriteString("hung with broker " + strconv.Itoa(b.Pid()) + "\n")
	select {}
}

// deadline is how long the run of TestHungRun may take: enough to start a broker.
const deadline = 20 * time.Second

// TestR45ARunThatHangsIsEndedFromOutside runs a test that waits for ever for a broker
// that stands still: the command outside ends both in time, shows what the broker did,
// and fails.
func TestR45ARunThatHangsIsEndedFromOutside(t *testing.T) {
	binary := harness.Build(t, "./test/harness/deadline")
	cmd := exec.Command(binary, "-limit", deadline.String(), "--", os.Args[0], "-test.run", "^TestHungRun$", "-test.timeout", "0", "-test.v")
	cmd.Env = append(os.Environ(), hangVariable+"=1", "VARVE_BINARY="+harness.Varve(t))
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(begin)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 124 {
		t.Errorf("the verdict is %v, not exit code 124", err)
	}
	if took > deadline+30*time.Second {
		t.Errorf("it took %v", took)
	}
	for _, sign := range []string{"deadline: failed: ", "SIGQUIT: quit", "broker.(*Broker).Run", "varve is ready"} {
		if !strings.Contains(string(out), sign) {
			t.Errorf("no %q in the output", sign)
		}
	}
	_, rest, _ := strings.Cut(string(out), "hung with broker ")
	word, _, _ := strings.Cut(rest, "\n")
	pid, err := strconv.Atoi(word)
	if err != nil {
		t.Fatalf("no broker in the output:\n%s", out)
	}
	harness.Until(t, time.Minute, "the end of the broker", func() error { return ended(pid) })
	if t.Failed() {
		t.Logf("%s", out)
	}
}
