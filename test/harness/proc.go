package harness

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Memory returns the resident bytes of the process: all of it, and the part that is
// its own rather than pages of files, as /proc says.
func (p *Process) Memory(t testing.TB) (resident, own int64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	return statusField(t, b, "VmRSS"), statusField(t, b, "RssAnon")
}

// statusField returns a field of /proc/PID/status that is given in kB, in bytes.
func statusField(t testing.TB, status []byte, name string) int64 {
	t.Helper()
	for line := range bytes.Lines(status) {
		value, found := bytes.CutPrefix(line, []byte(name+":"))
		if !found {
			continue
		}
		n, err := strconv.ParseInt(string(bytes.TrimSuffix(bytes.TrimSpace(value), []byte(" kB"))), 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return n << 10
	}
	t.Fatalf("/proc/PID/status has no %s:\n%s", name, status)
	return 0
}

// OpenFiles returns how many descriptors the process holds.
func (p *Process) OpenFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// OpenSockets returns how many of them are sockets.
func (p *Process) OpenSockets(t testing.TB) int {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", p.Pid())
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasPrefix(target, "socket:") {
			n++
		}
	}
	return n
}
