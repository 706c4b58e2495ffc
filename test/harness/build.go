package harness

import (
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

var binary struct {
	once sync.Once
	path string
	out  []byte
	err  error
}

// Varve builds cmd/varve from the working tree, once a test process, and returns the
// binary's path. VARVE_RACE=1 builds it with the race detector; VARVE_BINARY names one
// that is built already.
func Varve(t testing.TB) string {
	t.Helper()
	if built := os.Getenv("VARVE_BINARY"); built != "" {
		return Need(t, built)
	}
	binary.once.Do(func() {
		dir, err := os.MkdirTemp("", "varve-bin-")
		if err != nil {
			binary.err = err
			return
		}
		binary.path = filepath.Join(dir, "varve")
		args, cgo := []string{"build", "-o", binary.path}, "CGO_ENABLED=0" // static, as `make build` makes it
		if os.Getenv("VARVE_RACE") == "1" {
			args, cgo = append(args, "-race"), "CGO_ENABLED=1" // the detector needs it
		}
		cmd := exec.Command("go", append(args, "./cmd/varve")...)
		cmd.Dir = Root(t)
		cmd.Env = append(os.Environ(), cgo)
		binary.out, binary.err = cmd.CombinedOutput()
	})
	if binary.err != nil {
		t.Fatalf("build varve: %v\n%s", binary.err, binary.out)
	}
	return binary.path
}

// Main runs a package's tests, then what is to be done after all of them, and removes
// the binary they built.
func Main(m *testing.M, after ...func()) {
	code := m.Run()
	for _, f := range after {
		f()
	}
	if binary.path != "" {
		os.RemoveAll(filepath.Dir(binary.path))
	}
	os.Exit(code)
}
