// Package stores runs real S3 servers for tests: MinIO and versitygw, each on free
// loopback ports over a temporary directory, and a reverse proxy that hurts requests on
// their way to one. A server is ready when its function returns and gone, by its
// process id, when the test ends.
//
// The programs are looked for in bin of the directory that VARVE_TOOLS names, else of
// .tools in the module. A missing program fails the test; nothing is skipped.
package stores

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Credentials and region of every Store.
const (
	AccessKeyID     = "varve-access"
	SecretAccessKey = "varve-secret-key"
	Region          = "us-east-1"
	// KMSKeyID is a KMS key the MinIO server has.
	KMSKeyID = "varve-kms-key"
)

// readyTimeout bounds the start of a server; it takes well below a second when the
// machine is idle.
const readyTimeout = 60 * time.Second

// Store is a running S3 server.
type Store struct {
	// Endpoint is "http://127.0.0.1:port".
	Endpoint string
	// Dir is where the server keeps its data.
	Dir string
	// Pid is the server's process id.
	Pid int

	process *process
	command func() *exec.Cmd // the same server once more
}

// Stop kills the server; its data and its address stay. Stopping twice is harmless.
func (s *Store) Stop() { s.process.stop() }

// Start starts a stopped server again over the same data, at the same address.
func (s *Store) Start(t testing.TB) {
	t.Helper()
	command := s.command()
	s.process = launch(t, command)
	if !s.process.ready(s.Endpoint) {
		s.process.stop()
		t.Fatalf("the server does not start again:\n%s", s.process.output)
	}
	s.Pid = command.Process.Pid
}

// MinIO starts a MinIO server.
func MinIO(t testing.TB) *Store {
	t.Helper()
	dir := t.TempDir()
	return start(t, dir, 2, func(ports []string) *exec.Cmd {
		command := exec.Command(tool(t, "minio"), "server", "--quiet", "--address", ports[0], "--console-address", ports[1], dir)
		command.Env = append(os.Environ(),
			"MINIO_ROOT_USER="+AccessKeyID, "MINIO_ROOT_PASSWORD="+SecretAccessKey,
			"MINIO_KMS_SECRET_KEY="+KMSKeyID+":QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVoxMjM0NTY=",
			"MINIO_BROWSER=off", "MINIO_UPDATE=off", "MINIO_CALLHOME_ENABLE=off")
		return command
	})
}

// VersityGW starts a versitygw server over its posix backend.
func VersityGW(t testing.TB) *Store {
	t.Helper()
	dir := t.TempDir()
	return start(t, dir, 1, func(ports []string) *exec.Cmd {
		return exec.Command(tool(t, "versitygw"), "--quiet", "--port", ports[0], "--access", AccessKeyID,
			"--secret", SecretAccessKey, "--region", Region, "--keep-alive", "posix", dir)
	})
}

// tool returns the path of a program.
func tool(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("VARVE_TOOLS")
	if dir == "" {
		dir = filepath.Join(moduleRoot(t), ".tools")
	}
	path := filepath.Join(dir, "bin", name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s is not there (%v): run `make tools`", name, err)
	}
	return path
}

// moduleRoot returns the directory of go.mod, above the test's own.
func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test's directory")
		}
		dir = parent
	}
}

// start runs the command that describe returns for free ports and waits until it
// serves. Somebody may take a port in between, so it tries a few times.
func start(t testing.TB, dir string, ports int, describe func(addresses []string) *exec.Cmd) *Store {
	t.Helper()
	var output string
	for range 3 {
		addresses := freeAddresses(t, ports)
		command := describe(addresses)
		process := launch(t, command)
		endpoint := "http://" + addresses[0]
		if process.ready(endpoint) {
			return &Store{
				Endpoint: endpoint, Dir: dir, Pid: command.Process.Pid, process: process,
				command: func() *exec.Cmd { return describe(addresses) },
			}
		}
		process.stop()
		output = process.output.String()
	}
	t.Fatalf("the server does not start:\n%s", output)
	return nil
}

// freeAddresses returns n loopback addresses whose ports were free a moment ago.
func freeAddresses(t testing.TB, n int) []string {
	t.Helper()
	addresses := make([]string, n)
	for i := range addresses {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // after all are chosen, so that they differ
		addresses[i] = l.Addr().String()
	}
	return addresses
}

// process is a child of the test.
type process struct {
	command *exec.Cmd
	output  *safeBuffer
	exited  chan struct{} // closed when it has ended and was waited for
	once    sync.Once
}

// launch starts command; the test's end stops it.
func launch(t testing.TB, command *exec.Cmd) *process {
	t.Helper()
	p := &process{command: command, output: &safeBuffer{}, exited: make(chan struct{})}
	command.Stdout, command.Stderr = p.output, p.output
	dieWithParent(command)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		_ = command.Wait() // killed by us, or seen by ready
	}()
	t.Cleanup(p.stop)
	return p
}

// ready polls the server until it serves; false if it ends or takes too long.
func (p *process) ready(endpoint string) bool {
	client := &http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	pause := time.NewTicker(3 * time.Millisecond)
	defer pause.Stop()
	deadline := time.NewTimer(readyTimeout)
	defer deadline.Stop()
	for {
		if serves(client, endpoint) {
			return true
		}
		select {
		case <-pause.C:
		case <-p.exited:
			return false
		case <-deadline.C:
			return false
		}
	}
}

// serves asks for the list of buckets without a signature. Only a server that is ready
// refuses that; MinIO's own health check answers before its users are loaded.
func serves(client *http.Client, endpoint string) bool {
	response, err := client.Get(endpoint + "/")
	if err != nil {
		return false
	}
	return response.Body.Close() == nil && response.StatusCode == http.StatusForbidden
}

// stop kills the process and waits for its end.
func (p *process) stop() {
	p.once.Do(func() {
		_ = p.command.Process.Kill() // it may have ended already
		<-p.exited
	})
}

// safeBuffer keeps the last output of a process for a test that fails.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu; bounded by maxOutput
}

const maxOutput = 64 << 10

// Write implements io.Writer.
func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.buf.Len() < maxOutput {
		b.buf.Write(p)
	}
	return len(p), nil
}

// String returns what was written.
func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// String describes the store.
func (s *Store) String() string { return fmt.Sprintf("%s (pid %d)", s.Endpoint, s.Pid) }
