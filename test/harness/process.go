package harness

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is a running program whose output is watched and kept.
type Process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended

	mu    sync.Mutex
	out   bytes.Buffer
	file  *os.File    // of LogsVariable, nil without it; guarded by mu
	lines chan string // of standard output, until somebody stops reading
	err   error
}

// StartProcess starts cmd. It is killed when the test ends, if it still runs then, and
// its output is shown if the test has failed. A panic or a data race in it is a failure.
func StartProcess(t testing.TB, name string, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{name: name, cmd: cmd, done: make(chan struct{}), lines: make(chan string, 64)}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = writerFunc(p.keep)
	if p.file, err = processLog(name); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		p.read(stdout)
		p.err = cmd.Wait()
		p.endLog()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Kill()
		for _, sign := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: "} {
			if strings.Contains(p.Output(), sign) {
				t.Errorf("%s printed %q", name, sign)
			}
		}
		if t.Failed() {
			t.Logf("output of %s:\n%s", name, tail(p.Output()))
		}
	})
	return p
}

type writerFunc func([]byte)

func (f writerFunc) Write(b []byte) (int, error) { f(b); return len(b), nil }

func (p *Process) keep(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out.Write(b)
	if p.file != nil {
		_, _ = p.file.Write(b) // a copy, for whoever comes too late to ask
	}
}

// LogsVariable names a directory that takes copies of all output of all processes: what
// a run that hangs had to say is read there when it has been killed.
const LogsVariable = "VARVE_PROCESS_LOGS"

func processLog(name string) (*os.File, error) {
	dir := os.Getenv(LogsVariable)
	if dir == "" {
		return nil, nil
	}
	return os.CreateTemp(dir, strings.NewReplacer("/", "_", " ", "_").Replace(name)+"-*.log")
}

// endLog says how the process has ended.
func (p *Process) endLog() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file != nil {
		fmt.Fprintf(p.file, "process %d ended: %v\n", p.Pid(), p.err)
		p.file.Close()
		p.file = nil
	}
}

func (p *Process) read(r io.Reader) {
	defer close(p.lines)
	s := bufio.NewScanner(r)
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		p.keep(append(s.Bytes(), '\n'))
		select {
		case p.lines <- s.Text():
		default: // nobody waits for a line any more
		}
	}
}

// Pid returns the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Output returns what was printed so far, both streams.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// WaitLine waits for a line of standard output with the given prefix and returns the rest of it.
func (p *Process) WaitLine(t testing.TB, prefix string, limit time.Duration) string {
	t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				<-p.done
				t.Fatalf("%s ended (%v) before it printed %q:\n%s", p.name, p.err, prefix, tail(p.Output()))
			}
			if rest, found := strings.CutPrefix(line, prefix); found {
				return rest
			}
		case <-timer.C:
			t.Fatalf("%s did not print %q within %v:\n%s", p.name, prefix, limit, tail(p.Output()))
		}
	}
}

// Kill ends the process as a power switch would: SIGKILL. It returns when it has gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Pause stops the process where it is (SIGSTOP) until Resume, and waits until it stands.
func (p *Process) Pause(t testing.TB) {
	t.Helper()
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	Until(t, time.Minute, "a standing process", func() error {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid()))
		if err != nil {
			return err
		}
		if _, state, _ := strings.Cut(string(b), ") "); !strings.HasPrefix(state, "T") {
			return fmt.Errorf("it is in state %.1s", state)
		}
		return nil
	})
}

// Resume lets a paused process go on.
func (p *Process) Resume(t testing.TB) {
	t.Helper()
	if err := p.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// Stop asks the process to end (SIGTERM) and waits for it.
func (p *Process) Stop(limit time.Duration) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	return p.Wait(limit)
}

// Wait waits for the end of the process and returns how it ended.
func (p *Process) Wait(limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.err
	case <-timer.C:
		return fmt.Errorf("%s did not end within %v", p.name, limit)
	}
}

// Bounds of what dump waits for and prints: some hundreds of goroutines.
const (
	dumpLimit = 10 * time.Second
	dumpBytes = 128 << 10
)

// dump ends a Go process, which may stand, and logs what its goroutines did: a test that
// has waited in vain for a broker shows why.
func (p *Process) dump(t testing.TB) {
	t.Helper()
	before := len(p.Output())
	_ = p.Signal(syscall.SIGQUIT) // it may have ended
	_ = p.Signal(syscall.SIGCONT)
	_ = p.Wait(dumpLimit)
	out := p.Output()[before:]
	t.Logf("goroutines of %s:\n%s", p.name, out[:min(len(out), dumpBytes)])
}

// Running tells whether the process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// shownOutput is how many bytes of a process's output a failed test prints.
const shownOutput = 8 << 10

func tail(s string) string {
	if len(s) > shownOutput {
		return "…" + s[len(s)-shownOutput:]
	}
	return s
}
