package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/varvelog/varve/test/harness"
)

// rows is how many rows the reliability programme has: R1 to R45.
const rows = 45

// states are what the last column begins with.
var states = regexp.MustCompile(`^(shown|in part|open|needs several brokers)\b`)

// TestReliabilityNamesTestsThatExist holds docs/reliability.md against the sources: each
// row is there once, what it names exists, and what is named after a row stands in it.
func TestReliabilityNamesTestsThatExist(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(harness.Root(t), "docs", "reliability.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests := harness.Tests(t)
	seen := map[string]bool{}
	named := map[string]string{} // test: row
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 || !regexp.MustCompile(`^R\d+$`).MatchString(strings.TrimSpace(cells[1])) {
			continue
		}
		row := strings.TrimSpace(cells[1])
		if seen[row] || len(cells) != 8 {
			t.Errorf("row %s is there twice, or has %d cells", row, len(cells)-2)
			continue
		}
		seen[row] = true
		list := regexp.MustCompile("`((Test|Fuzz)\\w+)`").FindAllStringSubmatch(cells[4], -1)
		for _, m := range list {
			named[m[1]] = row
			if _, exists := tests[m[1]]; !exists {
				t.Errorf("%s names %s, which is no test", row, m[1])
			}
		}
		state := strings.TrimSpace(cells[6])
		if shown := strings.HasPrefix(state, "shown") || strings.HasPrefix(state, "in part"); !states.MatchString(state) || shown != (len(list) > 0) {
			t.Errorf("%s is %q with %d tests", row, state, len(list))
		}
	}
	for i := range rows {
		if row := fmt.Sprintf("R%d", i+1); !seen[row] {
			t.Errorf("row %s is missing", row)
		}
	}
	for name, pkg := range tests {
		if row := regexp.MustCompile(`^TestR\d+`).FindString(name); row != "" && pkg == "chaos" && named[name] == "" {
			t.Errorf("%s stands in no row", name)
		}
	}
}
