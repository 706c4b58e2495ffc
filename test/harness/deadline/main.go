// Command deadline runs a command that may hang, and ends it from outside when its time
// is over: a test that waits for ever, or that was stopped itself, cannot do that.
//
//	deadline -limit 10m -- go test -tags e2e ./test/e2e/...
//
// At the limit every process below the command is woken (SIGCONT), those whose program
// is one of -dump, and the test binaries, are told to print their goroutines (SIGQUIT),
// and all are killed. What the processes printed, as test/harness kept it, follows, and
// the verdict is "failed". Else the exit code is the command's.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/varvelog/varve/test/harness"
)

// grace is how long processes may take to print their goroutines.
const grace = 5 * time.Second

// shown is how much of a process's output is printed: a dump of a few hundred goroutines.
const shown = 256 << 10

// exitFailed is the exit code at the limit, as that of timeout(1).
const exitFailed = 124

func main() {
	limit := flag.Duration("limit", 10*time.Minute, "how long the command may take")
	dump := flag.String("dump", "varve,clocked", "programs that print their goroutines when they get SIGQUIT")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "deadline: no command")
		os.Exit(2)
	}
	code, err := run(flag.Args(), *limit, strings.Split(*dump, ","))
	if err != nil {
		fmt.Fprintln(os.Stderr, "deadline:", err)
	}
	os.Exit(code)
}

func run(command []string, limit time.Duration, dump []string) (int, error) {
	logs, err := os.MkdirTemp("", "varve-logs-")
	if err != nil {
		return 2, err
	}
	defer os.RemoveAll(logs)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), harness.LogsVariable+"="+logs)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := cmd.Start(); err != nil {
		return 2, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		return exitCode(err)
	case <-ctx.Done():
		err = errors.New("interrupted")
	case <-timer.C:
		err = fmt.Errorf("failed: %s did not end within %v", strings.Join(command, " "), limit)
	}
	fmt.Printf("deadline: %v\n", err)
	kill(cmd.Process.Pid, dump, done)
	return exitFailed, errors.Join(err, show(logs))
}

func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode(), nil
	}
	return 1, err
}

// kill ends a process and all below it, after those that can have told what they do.
// done gets a value when root has ended.
func kill(root int, dump []string, done <-chan error) {
	tree := below(root)
	var asked []int
	for _, p := range tree {
		_ = syscall.Kill(p.pid, syscall.SIGCONT) // it may have ended, here and below
		if slices.Contains(dump, p.name) || strings.HasSuffix(p.name, ".test") {
			asked = append(asked, p.pid)
		}
	}
	// The brokers first: their output goes through the test, which ends last.
	slices.Reverse(asked)
	for _, pid := range asked {
		_ = syscall.Kill(pid, syscall.SIGQUIT)
		await(pid, grace)
	}
	for _, p := range append(below(root), tree...) {
		if still(p) {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
	}
	_ = syscall.Kill(root, syscall.SIGKILL)
	select {
	case <-done: //nolint:errcheck // how it ended was decided here
	case <-time.After(grace): // a process that cannot be killed holds its output open
	}
}

// await waits until a process has ended.
func await(pid int, limit time.Duration) {
	deadline := time.Now().Add(limit)
	for tick := time.NewTicker(20 * time.Millisecond); time.Now().Before(deadline); <-tick.C {
		if p, err := read(pid); err != nil || p.state == "Z" {
			return
		}
	}
}

// process is a line of /proc.
type process struct {
	pid, parent int
	name, state string
	started     string // with pid, it tells processes apart
}

// still tells whether p is the process that it was.
func still(p process) bool {
	now, err := read(p.pid)
	return err == nil && now.started == p.started
}

// below lists root and its descendants, parents first.
func below(root int) []process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	children := map[int][]process{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, err := read(pid); err == nil {
			children[p.parent] = append(children[p.parent], p)
		}
	}
	first, err := read(root)
	if err != nil {
		return nil
	}
	tree := []process{first}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, children[tree[i].pid]...)
	}
	return tree
}

// read parses /proc/PID/stat: "pid (name) state parent ...", started is field 22.
func read(pid int) (process, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, err
	}
	open, end := strings.IndexByte(string(b), '('), strings.LastIndexByte(string(b), ')')
	if open < 0 || end < open {
		return process{}, fmt.Errorf("%q", b)
	}
	fields := strings.Fields(string(b[end+1:]))
	if len(fields) < 20 {
		return process{}, fmt.Errorf("%q", b)
	}
	parent, err := strconv.Atoi(fields[1])
	return process{pid, parent, string(b[open+1 : end]), fields[0], fields[19]}, err
}

// show prints the end of everything that processes have printed.
func show(logs string) error {
	files, err := filepath.Glob(filepath.Join(logs, "*.log"))
	if err != nil {
		return err
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if len(b) > shown {
			b = b[len(b)-shown:]
		}
		fmt.Printf("deadline: output of %s:\n%s\n", filepath.Base(name), b)
	}
	return nil
}
