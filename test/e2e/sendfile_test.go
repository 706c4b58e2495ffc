//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/test/harness"
	"github.com/varvelog/varve/test/stores"
)

// TestFetchLeavesBySendfile traces the system calls of the broker while a consumer reads
// a hot log, and then a cold one that is cached: the bytes of the records leave by
// sendfile and are not read or written by the process itself.
func TestFetchLeavesBySendfile(t *testing.T) {
	harness.NeedCommand(t, "strace")
	store := minioAt(stores.MinIO(t).Endpoint)
	b := harness.StartBroker(t, store.sets()...)
	const size = 24 << 20
	createTopic(t, b, "hot", 1, map[string]string{"segment.bytes": "4194304", "remote.storage.enable": "false"})
	createTopic(t, b, "cold", 1, tiered())
	for _, topic := range []string{"hot", "cold"} {
		end := fill(t, b, topic, size, nil)
		if topic == "cold" {
			b.WaitTiered(t, time.Minute, 2<<20, topic)
		}
		count := func(r *kgo.Record) {}
		readAll(t, b, topic, 0, end, count) // the cache is filled after this
		tr := startTrace(t, b.Pid())
		readAll(t, b, topic, 0, end, count)
		calls := tr.stop(t)
		t.Logf("%s: %d MiB of values; %v", topic, size>>20, calls)
		if sent := calls.sendfile; sent < size || sent > size*5/4 {
			t.Errorf("%s: %d bytes left by sendfile, the values are %d", topic, sent, size)
		}
		if read := calls.fileRead; read > size/50 {
			t.Errorf("%s: the broker read %d bytes of files; positions and headers take less than 2 %% of %d", topic, read, size)
		}
		if wrote := calls.socketWrite; wrote > size/50 {
			t.Errorf("%s: the broker wrote %d bytes to sockets; headers take less than 2 %% of %d", topic, wrote, size)
		}
	}
}

// trace is a running strace.
type trace struct {
	cmd  *exec.Cmd
	file string
	done chan error
}

// startTrace attaches to a process and returns when its calls are seen.
func startTrace(t *testing.T, pid int) *trace {
	t.Helper()
	tr := &trace{file: filepath.Join(t.TempDir(), "calls"), done: make(chan error, 1)}
	tr.cmd = exec.Command("strace", "-f", "-y", "-s", "0", "-o", tr.file, "-p", strconv.Itoa(pid),
		"-e", "trace=sendfile,splice,copy_file_range,read,pread64,readv,preadv,write,writev,sendto,sendmsg")
	errs, err := tr.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.cmd.Process.Kill() }) // it has ended if all went well
	attached := make(chan struct{})
	go func() {
		lines := bufio.NewScanner(errs)
		for lines.Scan() {
			if attached != nil && strings.Contains(lines.Text(), "attached") {
				close(attached)
				attached = nil
			}
		}
		tr.done <- tr.cmd.Wait()
	}()
	select {
	case <-attached:
	case err := <-tr.done:
		t.Fatalf("strace ended: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("strace does not attach")
	}
	return tr
}

// calls are bytes that a traced process moved.
type calls struct {
	sendfile, fileRead, socketWrite, socketRead, other int64
}

func (c calls) String() string {
	return fmt.Sprintf("%d bytes by sendfile, %d read from files, %d written to sockets, %d read from sockets", c.sendfile, c.fileRead, c.socketWrite, c.socketRead)
}

// stop detaches and adds up.
func (tr *trace) stop(t *testing.T) calls {
	t.Helper()
	if err := tr.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-tr.done // strace passes the signal's status on
	f, err := os.Open(tr.file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var c calls
	waiting := map[string]string{} // call that a thread has begun
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		thread, call, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		call = strings.TrimSpace(call)
		if begun, _, unfinished := strings.Cut(call, "<unfinished ...>"); unfinished {
			waiting[thread] = begun
			continue
		}
		if _, rest, resumed := strings.Cut(call, " resumed>"); resumed {
			call = waiting[thread] + rest
		}
		c.add(call)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return c
}

// callForm is the name of a call, what its first descriptor is, and what it returned.
var callForm = regexp.MustCompile(`^(\w+)\(\d+<([^>]*)>?.* = (\d+)$`)

func (c *calls) add(call string) {
	m := callForm.FindStringSubmatch(call)
	if m == nil {
		return // an error, a signal or an exit
	}
	n, err := strconv.ParseInt(m[3], 10, 64)
	if err != nil {
		return
	}
	socket := strings.HasPrefix(m[2], "socket:") || strings.HasPrefix(m[2], "TCP")
	switch name := m[1]; {
	case name == "sendfile":
		c.sendfile += n
	case strings.Contains(name, "read") && socket:
		c.socketRead += n
	case strings.Contains(name, "read") && strings.HasPrefix(m[2], "/"):
		c.fileRead += n
	case socket:
		c.socketWrite += n
	default:
		c.other += n
	}
}
