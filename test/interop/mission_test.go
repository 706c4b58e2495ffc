package interop

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/varvelog/varve/test/harness"
)

// TestMissionNamesTestsThatExist holds docs/mission.md against the sources: what it names
// exists, and it names every test of this package.
func TestMissionNamesTestsThatExist(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(harness.Root(t), "docs", "mission.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests := harness.Tests(t)
	named := make(map[string]bool)
	for _, m := range regexp.MustCompile("`(Test\\w+)`").FindAllSubmatch(page, -1) {
		named[string(m[1])] = true
		if tests[string(m[1])] == "" {
			t.Errorf("docs/mission.md names %s, which is no test", m[1])
		}
	}
	for name, directory := range tests {
		if directory == "interop" && !named[name] {
			t.Errorf("docs/mission.md does not name %s", name)
		}
	}
}
