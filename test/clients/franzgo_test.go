//go:build clients

package clients

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/test/harness"
)

// TestFranzGo runs the tests of franz-go in the versions that go.mod names, transactions
// and groups included. Most tests of kgo and all of kadm need no broker.
func TestFranzGo(t *testing.T) {
	kafka, varve := both(t, suite{
		whole: func(ctx context.Context, t *testing.T, address string) Run { return goTest(ctx, t, address, ".") },
		process: func(name string) string {
			_, test, found := strings.Cut(name, ".")
			if !found {
				return "" // a package: whatever it was, it was not a test
			}
			test, _, _ = strings.Cut(test, "/")
			return test
		},
		again: func(ctx context.Context, t *testing.T, address, test string) Run {
			return goTest(ctx, t, address, "^"+test+"$")
		},
	})
	judge(t, Compare("franz-go: kgo and kadm", kafka, varve))
}

// goTest runs the tests of franz-go that match a pattern.
func goTest(ctx context.Context, t *testing.T, address, pattern string) Run {
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-json", "-timeout=15m", "-run", pattern,
		"github.com/twmb/franz-go/pkg/kgo/...", "github.com/twmb/franz-go/pkg/kadm/...")
	cmd.Dir = harness.Root(t)
	cmd.Env = append(os.Environ(),
		"KGO_SEEDS="+address,
		"KGO_TEST_RF=1",
		"KGO_TEST_RECORDS=50000", // of 500,000: each is consumed by dozens of groups
		"KGO_TEST_MAX_TOPIC_PARTS=7",
		"KGO_LOG_LEVEL=none",
	)
	cmd.WaitDelay = time.Minute
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if failed := (*exec.ExitError)(nil); err != nil && !errors.As(err, &failed) {
		t.Errorf("go test: %v", err)
	}
	run, err := ReadGoTest(bytes.NewReader(out))
	if err != nil || len(run) == 0 {
		t.Errorf("go test: %v\n%s", err, problems.Bytes())
	}
	return run
}
