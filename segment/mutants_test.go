//go:build mutants

package segment

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// mutants are the seeded storage bugs (R43), each with the test that has to catch it.
var mutants = []struct{ bug, test string }{
	{"acknowledge without a sync", "TestCrashAtEveryStep"},
	{"ignore a failed sync", "TestBrokenDiskTakesItsDirectoryOffline"},
	{"do not sync names", "TestCrashAtEveryStep"},
	{"leave leader epochs to the stop", "TestLeaderEpochsAreDurableBeforeTheirRecords"},
	{"recover without CRCs", "TestRecoverFindsEveryFlippedByteAboveTheRecoveryPoint"},
	{"leave a torn tail in the file", "TestRecoverKeepsWholeBatchesOfATornTail"},
	{"keep segments behind a gap", "TestRecoverDropsSegmentsBehindAGap"},
	{"believe the cache after a failed sync", "TestFailedSyncIsNotBelievedAfterARestart"},
	{"truncate below the recovery point", "TestCrashAtEveryStep"},
	{"believe the checkpoint of a deleted log", "TestLogOfADeletedNameStartsAnew"},
	{"let the other logs of a broken disk go on", "TestBrokenDiskTakesItsDirectoryOffline"},
	{"go on after a failed write", "TestBrokenWriteFailsTheLogAndKeepsWhatWasThere"},
	{"leave half a batch behind a failed write", "TestBrokenWriteFailsTheLogAndKeepsWhatWasThere"},
	{"index the end of a batch", "TestReadEqualsNaiveModel"},
}

// bugVariable names the seeded bug of a child process.
const bugVariable = "VARVE_MUTANT"

func init() { mutation = os.Getenv(bugVariable) }

// TestEveryMutantIsCaught runs each bug's test with the bug, at most three times, and
// prints what caught it; and once without, for a test that always fails catches nothing.
func TestEveryMutantIsCaught(t *testing.T) {
	if mutation != "" {
		return // a child process, that was asked for another test
	}
	run := func(bug, test string) (string, error) {
		cmd := exec.Command(os.Args[0], "-test.run", "^"+test+"$", "-test.count=1", "-test.timeout=2m")
		cmd.Env = append(os.Environ(), bugVariable+"="+bug)
		out, err := cmd.CombinedOutput()
		if err == nil && strings.Contains(string(out), "no tests to run") {
			t.Fatalf("there is no %s", test)
		}
		return string(out), err
	}
	sound := map[string]bool{}
	for _, m := range mutants {
		if !sound[m.test] {
			if out, err := run("none", m.test); err != nil {
				t.Fatalf("%s fails without a bug: %s", m.test, out)
			}
			sound[m.test] = true
		}
		begin, caught := time.Now(), 0
		for try := 1; try <= 3 && caught == 0; try++ {
			if _, err := run(m.bug, m.test); err != nil {
				caught = try
			}
		}
		if caught == 0 {
			t.Errorf("%-45s survived %s", m.bug, m.test)
			continue
		}
		t.Logf("%-45s caught by %s in run %d (%v)", m.bug, m.test, caught, time.Since(begin).Round(time.Millisecond))
	}
	if len(mutants) < 10 {
		t.Errorf("%d mutants, at least 10 are wanted", len(mutants))
	}
}
