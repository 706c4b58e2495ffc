package verify_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/varvelog/varve/test/verify"
)

// golden is a history in testdata: RULE_good|bad_WHAT.txt says in its first line which
// rules it breaks.
type golden struct {
	name, breaks string
	text         []byte
}

func goldens(t testing.TB) []golden {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	var list []golden
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		breaks := regexp.MustCompile(`^# breaks (.*)\n`).FindSubmatch(text)
		if breaks == nil {
			t.Fatalf("%s does not say what it breaks", file)
		}
		list = append(list, golden{filepath.Base(file), string(breaks[1]), text})
	}
	return list
}

// TestCheckJudgesGoldenHistories expects of each golden history exactly the rules that it
// says (R44).
func TestCheckJudgesGoldenHistories(t *testing.T) {
	for _, g := range goldens(t) {
		h, err := verify.ReadStory(bytes.NewReader(g.text))
		if err != nil {
			t.Fatalf("%s: %v", g.name, err)
		}
		found := verify.Check(h)
		if got := broken(found); got != g.breaks {
			t.Errorf("%s breaks %s, the checker says %s: %v", g.name, g.breaks, got, found)
		}
	}
}

// broken is the rules that violations name, or nothing.
func broken(found []verify.Violation) string {
	var rules []string
	for _, v := range found {
		rules = append(rules, v.Rule)
	}
	slices.Sort(rules)
	if rules = slices.Compact(rules); len(rules) > 0 {
		return strings.Join(rules, " ")
	}
	return "nothing"
}

// TestEachRuleHasGoldenHistories holds the goldens against the table of rules: one that
// is good and two that break the rule and nothing else.
func TestEachRuleHasGoldenHistories(t *testing.T) {
	good, bad := map[string]int{}, map[string]int{}
	for _, g := range goldens(t) {
		rule, rest, _ := strings.Cut(g.name, "_")
		if rule != "history" {
			rule = strings.ToUpper(rule)
		}
		switch {
		case strings.HasPrefix(rest, "good_") && g.breaks == "nothing":
			good[rule]++
		case strings.HasPrefix(rest, "bad_") && g.breaks == rule:
			bad[rule]++
		case strings.HasPrefix(rest, "bad_") && strings.Contains(g.breaks, rule):
		default:
			t.Errorf("%s breaks %s: its name says something else", g.name, g.breaks)
		}
	}
	for _, rule := range verify.Rules() {
		if good[rule] < 1 || bad[rule] < 2 {
			t.Errorf("%s has %d good and %d bad histories of its own", rule, good[rule], bad[rule])
		}
	}
}

func TestStoryIsReadBackAsWritten(t *testing.T) {
	for _, g := range goldens(t) {
		h, err := verify.ReadStory(bytes.NewReader(g.text))
		if err != nil {
			t.Fatalf("%s: %v", g.name, err)
		}
		first := written(t, h)
		again, err := verify.ReadStory(strings.NewReader(first))
		if err != nil {
			t.Fatalf("%s: %v", g.name, err)
		}
		if second := written(t, again); first != second {
			t.Errorf("%s:\n%s\n%s", g.name, first, second)
		}
		for line := range strings.Lines(string(g.text)) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' && !strings.Contains(first, line) {
				t.Errorf("%s: %q is not written back:\n%s", g.name, line, first)
			}
		}
	}
}

func written(t testing.TB, h *verify.History) string {
	t.Helper()
	var b bytes.Buffer
	if err := verify.WriteStory(&b, h); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestStoryRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, line := range []string{
		"sent 1", "send 1 producer x", "read 1", "options lazy", "options complete lazy",
		"send 1 producer 1 partition 1 begun 1 ended 1 maybe",
		"send 1 producer 1 partition 1 begun 1 ended 1 ok",
		"send 1 producer 4294967296 partition 1 begun 1 ended 1 info",
		"read 1 session 1 partition 1 offset 1 at", "read 1 session 1 partition 1 offset 1 later",
		"segment a base 0 next 1 size 1", "resources between goroutines 1 files 1 resident 1",
		"mark low-watermark observer 1 partition 1 value 1", "txn 1 producer 1 ended begun 1 ended 1 ok",
	} {
		if _, err := verify.ReadStory(strings.NewReader(line)); err == nil {
			t.Errorf("%q was read", line)
		}
	}
}

// FuzzStory reads any text: it is refused or is written back to the same history, and
// can be judged.
func FuzzStory(f *testing.F) {
	for _, g := range goldens(f) {
		f.Add(g.text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		h, err := verify.ReadStory(bytes.NewReader(text))
		if err != nil {
			return
		}
		verify.Check(h)
		first := written(t, h)
		again, err := verify.ReadStory(strings.NewReader(first))
		if err != nil {
			t.Fatalf("%v in\n%s", err, first)
		}
		if second := written(t, again); first != second {
			t.Errorf("%s\n%s", first, second)
		}
	})
}
