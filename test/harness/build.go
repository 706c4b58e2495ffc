package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// Root is the module's directory.
func Root(t testing.TB) string {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("no caller information")
	}
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// Tools is where `make tools` installs: $VARVE_TOOLS, or .tools in the module.
func Tools(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("VARVE_TOOLS"); dir != "" {
		return dir
	}
	return filepath.Join(Root(t), ".tools")
}

// Need fails the test where a file that `make tools` installs is missing.
func Need(t testing.TB, path string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s is missing: run `make tools` first", path)
	}
	return path
}

// NeedCommand is Need for a command in PATH.
func NeedCommand(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: run `make tools` first", name)
	}
	return path
}

// built are the commands that were built, in a directory of their own.
var built struct {
	mu    sync.Mutex
	dir   string             // guarded by mu
	paths map[string]command // by package; guarded by mu
}

type command struct {
	path string
	err  error
}

// Varve builds cmd/varve from the working tree, once a test process, and returns the
// binary's path. VARVE_RACE=1 builds it with the race detector; VARVE_BINARY names one
// that is built already.
func Varve(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("VARVE_BINARY"); path != "" {
		return Need(t, path)
	}
	return Build(t, "./cmd/varve")
}

// Build builds a command of the module, once a test process, and returns the binary's
// path. pkg is relative to the module, as in "./cmd/varve".
func Build(t testing.TB, pkg string) string {
	t.Helper()
	built.mu.Lock()
	defer built.mu.Unlock()
	b, done := built.paths[pkg]
	if !done {
		b.path, b.err = build(Root(t), pkg)
		if built.paths == nil {
			built.paths = map[string]command{}
		}
		built.paths[pkg] = b
	}
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b.path
}

// build is called with built.mu held.
func build(root, pkg string) (string, error) {
	if built.dir == "" {
		dir, err := os.MkdirTemp("", "varve-bin-")
		if err != nil {
			return "", err
		}
		built.dir = dir
	}
	path := filepath.Join(built.dir, filepath.Base(pkg))
	args, cgo := []string{"build", "-o", path}, "CGO_ENABLED=0" // static, as `make build` makes it
	if os.Getenv("VARVE_RACE") == "1" {
		args, cgo = append(args, "-race"), "CGO_ENABLED=1" // the detector needs it
	}
	cmd := exec.Command("go", append(args, pkg)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return path, nil
}

// Main runs a package's tests, then what is to be done after all of them, and removes
// the binary they built.
func Main(m *testing.M, after ...func()) {
	code := m.Run()
	for _, f := range after {
		f()
	}
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}
