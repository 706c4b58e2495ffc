package main

import (
	"strings"
	"testing"
)

func TestTargetIsMetByItsOwnSideOfTheBound(t *testing.T) {
	for _, c := range []struct {
		target        target
		first, second float64
		want          bool
	}{
		{faster(1.2), 120, 100, true},
		{faster(1.2), 119, 100, false},
		{atMost(0.25, brokerCPU), 1, 4, true},
		{atMost(0.25, brokerCPU), 1.1, 4, false},
		{limit(2, readyTime), 1.9, 1, true},
		{limit(2, readyTime), 2.1, 100, false},
	} {
		if got := c.target.met(c.first, c.second); got != c.want {
			t.Errorf("%v of %v and %v: met %v, want %v", c.target, c.first, c.second, got, c.want)
		}
	}
}

func TestReportSaysWhatIsMissedFailedAndDisturbed(t *testing.T) {
	quiet := figures{byteRate: 100, clientShare: 0.5}
	r := report{Scenarios: []outcome{
		{
			Name: "missed", Shown: []metric{byteRate}, of: &scenario{targets: []target{faster(1.2)}},
			Sides: []side{{"Varve", []figures{quiet}}, {"Kafka", []figures{quiet}}},
		},
		{
			Name: "disturbed", Shown: []metric{byteRate}, of: &scenario{},
			Sides: []side{
				{"Varve", []figures{{byteRate: 300, clientShare: 0.8, foreignCores: 0.4}}},
				{"plain GET", []figures{quiet}},
			},
		},
		{Name: "broken", Error: "it broke\nin two lines", of: &scenario{}},
	}}
	md := r.markdown()
	for _, line := range []string{
		"| missed | MiB/s | 100 | 100 | 1.00 | ≥ 1.2 × | **no** |",
		"| disturbed¹² | MiB/s | 300 | 100 (plain GET) | 3.00 |  |  |",
		"| broken | failed: it broke | | | | | |",
	} {
		if !strings.Contains(md, line+"\n") {
			t.Errorf("no line %q in\n%s", line, md)
		}
	}
}

// The rows of a later run replace those of the same name, say where they are from, and
// stand where the table of scenarios has them.
func TestMergedRowsSayTheirRun(t *testing.T) {
	row := func(name string, varve float64) outcome {
		return outcome{
			Name: name, What: "what", Shown: []metric{byteRate}, of: &scenario{},
			Sides: []side{{"Varve", []figures{{byteRate: varve}}}, {"Kafka", []figures{{byteRate: 100}}}},
		}
	}
	first, second, last := scenarios[0].name, scenarios[1].name, scenarios[2].name
	dir := t.TempDir()
	whole := report{Command: "whole", Scenarios: []outcome{row(first, 100), row(last, 300), row("no scenario any more", 1)}}
	if err := whole.write(dir); err != nil {
		t.Fatal(err)
	}
	r, err := readReport(dir)
	if err != nil {
		t.Fatal(err)
	}
	r.merge(&report{Command: "part", Machine: machine{Varve: "abc"}, Note: "Noisy.", Scenarios: []outcome{row(last, 400), row(second, 200)}})
	md := r.markdown()
	at := -1
	for _, line := range []string{
		"| " + first + " | MiB/s | 100 |", "| " + second + "³ | MiB/s | 200 |", "| " + last + "³ | MiB/s | 400 |",
		"- **" + first + "**: what.\n", "- **" + second + "**: what. At abc: `part`. Noisy.\n",
	} {
		next := strings.Index(md, line)
		if next <= at {
			t.Errorf("no line %q, or not in its place, in\n%s", line, md)
		}
		at = next
	}
	if strings.Contains(md, "no scenario") || strings.Contains(md, "| 300 |") {
		t.Errorf("an old row is left:\n%s", md)
	}
}

func TestScenariosHaveNamesAndTargetsOfShownFigures(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range scenarios {
		if seen[s.name] {
			t.Errorf("%s is there twice", s.name)
		}
		seen[s.name] = true
		for _, target := range s.targets {
			found := false
			for _, m := range s.shown {
				found = found || m == target.of
			}
			if !found {
				t.Errorf("%s: the target of %s is not shown", s.name, target.of)
			}
		}
	}
}
