package interop

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/varvelog/varve/test/harness"
)

// TestMissionNamesTestsThatExist holds docs/mission.md against the sources of this package.
func TestMissionNamesTestsThatExist(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(harness.Root(t), "docs", "mission.md"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	defined := make(map[string]bool)
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`).FindAllSubmatch(source, -1) {
			defined[string(m[1])] = true
		}
	}
	named := make(map[string]bool)
	for _, m := range regexp.MustCompile("`(Test\\w+)`").FindAllSubmatch(page, -1) {
		named[string(m[1])] = true
		if !defined[string(m[1])] {
			t.Errorf("docs/mission.md names %s, which is no test here", m[1])
		}
	}
	for name := range defined {
		if !named[name] {
			t.Errorf("docs/mission.md does not name %s", name)
		}
	}
}
