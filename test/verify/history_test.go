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

// TestCheckJudgesGoldenHistories reads testdata/*.txt: each says in its first line
// which rules it breaks, and the checker must find these and no others.
func TestCheckJudgesGoldenHistories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	good, bad := 0, 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := regexp.MustCompile(`^# breaks (.*)\n`).FindSubmatch(text)
		if want == nil {
			t.Fatalf("%s does not say what it breaks", file)
		}
		h, err := verify.ReadStory(bytes.NewReader(text))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		var rules []string
		found := verify.Check(h)
		for _, v := range found {
			rules = append(rules, v.Rule)
		}
		slices.Sort(rules)
		got := strings.Join(slices.Compact(rules), " ")
		if got == "" {
			got = "nothing"
			good++
		} else {
			bad++
		}
		if got != string(want[1]) {
			t.Errorf("%s breaks %s, the checker says %s: %v", file, want[1], got, found)
		}
	}
	if good < 10 || bad < 10 {
		t.Errorf("%d good and %d bad histories; 10 of each show what the checker can do (R44)", good, bad)
	}
}

func TestStoryIsReadBackAsWritten(t *testing.T) {
	h := &verify.History{Complete: true, Gaps: true,
		Sends: []verify.Send{{Value: 1, Producer: 2, Partition: 3, Outcome: verify.OK, Offset: 4, Begun: 5, Ended: 6}, {Value: 7}, {Value: 8, Outcome: verify.Fail}},
		Reads: []verify.Read{{Session: 1, Partition: 2, Offset: 3, Value: 4}},
	}
	var first, second bytes.Buffer
	if err := verify.WriteStory(&first, h); err != nil {
		t.Fatal(err)
	}
	again, err := verify.ReadStory(bytes.NewReader(first.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if err := verify.WriteStory(&second, again); err != nil {
		t.Fatal(err)
	}
	if first.String() != second.String() || !strings.Contains(first.String(), "ended 6 ok 4\n") {
		t.Errorf("%s\n%s", &first, &second)
	}
}

func TestStoryRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, line := range []string{"sent 1", "send 1 producer x", "read 1", "options lazy", "send 1 producer 1 partition 1 begun 1 ended 1 maybe", "send 1 producer 1 partition 1 begun 1 ended 1 ok"} {
		if _, err := verify.ReadStory(strings.NewReader(line)); err == nil {
			t.Errorf("%q was read", line)
		}
	}
}
