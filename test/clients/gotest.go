package clients

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// event is a line of `go test -json`.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// maxLine bounds a line of a test's output, in bytes.
const maxLine = 16 << 20

// ReadGoTest reads what `go test -json` prints. Tests are named package.Test/subtest,
// with the last element of the package's path. A package that fails and none of its tests
// does, by a panic for instance, is a failed test of the package's name.
func ReadGoTest(r io.Reader) (Run, error) {
	run := Run{}
	said := map[string]*strings.Builder{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("output of go test: %w: %.200s", err, lines.Bytes())
		}
		if e.Package == "" {
			continue // of the build
		}
		name := path.Base(e.Package)
		if e.Test != "" {
			name += "." + e.Test
		}
		if said[name] == nil {
			said[name] = &strings.Builder{}
		}
		switch e.Action {
		case "output":
			if telling(e.Output) {
				said[name].WriteString(e.Output)
			}
		case "pass":
			if e.Test != "" {
				run[name] = Outcome{Result: Passed}
			}
		case "fail":
			if e.Test != "" || !run.failed(name+".") {
				run[name] = Outcome{Failed, said[name].String()}
			}
		case "skip":
			if e.Test != "" {
				run[name] = Outcome{Skipped, said[name].String()}
			}
		}
	}
	return run, lines.Err()
}

// failed tells whether a test with a prefix has failed.
func (r Run) failed(prefix string) bool {
	return slices.ContainsFunc(r.Failures(), func(name string) bool { return strings.HasPrefix(name, prefix) })
}

// telling tells what a test says of itself from what go test says of it.
func telling(line string) bool {
	switch line = strings.TrimSpace(line); {
	case line == "", line == "FAIL", line == "PASS", strings.HasPrefix(line, "=== "), strings.HasPrefix(line, "--- "):
		return false
	}
	return true
}
