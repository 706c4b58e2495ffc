package clients

import (
	"fmt"
	"regexp"
	"strings"
)

// What librdkafka's test runner prints, without its colours:
//
//	[0081_admin / 0.1s] ================= Running test 0081_admin =================
//	[0081_admin / 0.2s] [ do_test_CreateTopics:78: what it is about: PASS (1.44s) ]
//	### Test "0081_admin (do_test_CreateAcls:1539)" failed at 0081-admin.c:1622:… ###
//	Test assertion failed: …
//	[0081_admin / 0.2s] WARN: SKIPPING TEST: why not
//	[0081_admin /103.0s] ================= Test 0081_admin PASSED =================
var (
	colours    = regexp.MustCompile(`\x1b(\[[0-9;]*m|\(B)`)
	running    = regexp.MustCompile(`=== Running test (\w+) ===`)
	finished   = regexp.MustCompile(`=== Test (\w+) PASSED ===`)
	skipping   = regexp.MustCompile(`^\[(\w+) */.*SKIPPING TEST: (.*)$`)
	subPassed  = regexp.MustCompile(`^\[(\w+) */[^]]*\] \[ (\w+):\d+.*: PASS \(`)
	subSkipped = regexp.MustCompile(`^\[(\w+) */[^]]*\] .*\[ (\w+):\d+.*: SKIP(?:PED)?:? ?(.*?) *\]?$`)
	nextLine   = regexp.MustCompile(`\[\w+ */ *[\d.]+s\].*$`) // where a line has no end
	failing    = regexp.MustCompile(`^### Test "(\w+)(?: \((\w+):[^"]*\))?" failed at (\S+) at .*: ###$`)
)

// filtered is the reason of tests that the runner leaves out because it was told to.
const filtered = "Filtered due to"

// ReadLibrdkafka reads what librdkafka's test runner prints. Subtests are named
// test/function, once where a function is called several times. The end of the process
// is the failure of whatever had not ended.
func ReadLibrdkafka(output string) Run {
	run := Run{}
	open := map[string]bool{}
	lines := strings.Split(colours.ReplaceAllString(output, ""), "\n")
	for i, line := range lines {
		line = strings.TrimSpace(line)
		if m := running.FindStringSubmatch(line); m != nil {
			open[m[1]] = true
		} else if m := finished.FindStringSubmatch(line); m != nil {
			delete(open, m[1])
			run.Merge(Run{m[1]: {Result: Passed}})
		} else if m := skipping.FindStringSubmatch(line); m != nil {
			if !strings.HasPrefix(m[2], filtered) {
				run[m[1]] = Outcome{Skipped, strings.TrimSpace(nextLine.ReplaceAllString(m[2], ""))}
			}
		} else if m := subPassed.FindStringSubmatch(line); m != nil {
			run.Merge(Run{m[1] + "/" + m[2]: {Result: Passed}})
		} else if m := subSkipped.FindStringSubmatch(line); m != nil {
			run.Merge(Run{m[1] + "/" + m[2]: {Skipped, m[3]}})
		} else if m := failing.FindStringSubmatch(line); m != nil && m[1] != "" {
			run.fail(m[1], m[2], fmt.Sprintf("%s: %s", m[3], next(lines, i)))
		}
	}
	for name := range open {
		if run[name].Result == Missing {
			run[name] = Outcome{Failed, "did not end"}
		}
	}
	return run
}

// fail notes the first failure of a test, and of the subtest it was in, if any.
func (r Run) fail(test, sub, reason string) {
	for _, name := range []string{test, test + "/" + sub} {
		if r[name].Result != Failed && !strings.HasSuffix(name, "/") {
			r[name] = Outcome{Failed, reason}
		}
	}
}

func next(lines []string, i int) string {
	if i+1 < len(lines) {
		return strings.TrimSpace(lines[i+1])
	}
	return ""
}

// declared is a row of the table in librdkafka's test.c, with the test's name and flags.
var declared = regexp.MustCompile(`(?s)\b_TEST\((\d{4})_(\w+),\s*([^,)]*)[,)]`)

// Numbers are the numbers of librdkafka's tests that need a broker, of the source of its
// test.c: not the local and not the manual ones.
func Numbers(source string) []string {
	var numbers []string
	for _, m := range declared.FindAllStringSubmatch(source, -1) {
		if strings.Contains(m[3], "TEST_F_LOCAL") || strings.Contains(m[3], "TEST_F_MANUAL") {
			continue
		}
		if len(numbers) == 0 || numbers[len(numbers)-1] != m[1] {
			numbers = append(numbers, m[1])
		}
	}
	return numbers
}

var subtest = regexp.MustCompile(`(?ms)^(?:static )?(?:void|int)\s+(\w+)\([^;{]*\)\s*\{.*?^\}`)

// Subtests are the functions of a test's source that are subtests.
func Subtests(source string) []string {
	var names []string
	for _, m := range subtest.FindAllStringSubmatch(source, -1) {
		if strings.Contains(m[0], "SUB_TEST") {
			names = append(names, m[1])
		}
	}
	return names
}
