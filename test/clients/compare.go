package clients

import (
	"maps"
	"slices"
	"strings"
)

// Result is how a test ended.
type Result int

// Results; the zero value is of a test that was never heard of.
const (
	Missing Result = iota
	Skipped
	Failed
	Passed
)

// Outcome is the result of one test, and why where it did not pass. One that passed and
// has a reason failed before for that reason.
type Outcome struct {
	Result Result
	Reason string
}

// Run is one run of a suite against one broker: outcomes by the names of tests.
type Run map[string]Outcome

// Merge takes over the outcomes of a part of the suite that was run by itself. Where both
// have a test, the worse result stands: the parts of a test fail it one by one.
func (r Run) Merge(part Run) {
	for name, o := range part {
		if old, ok := r[name]; !ok || o.Result != Passed && old.Result != Failed {
			r[name] = o
		}
	}
}

// Failures are the tests that failed, sorted.
func (r Run) Failures() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(r)) {
		if r[name].Result == Failed {
			names = append(names, name)
		}
	}
	return names
}

// Count is how many tests ended in a result.
func (r Run) Count(result Result) int {
	n := 0
	for _, o := range r {
		if o.Result == result {
			n++
		}
	}
	return n
}

// Row is one test in a comparison. Reason says why it did not pass.
type Row struct {
	Name   string
	Reason string
}

// Comparison sorts the tests of a suite by what became of them on both brokers.
type Comparison struct {
	Suite        string
	Kafka, Varve Run

	Both      int   // pass on both
	Neither   []Row // fail on Kafka, and do not pass on varve; with Kafka's reason
	Skipped   []Row // skipped on Kafka; with its reason
	VarveOnly []Row // pass on varve, and not on Kafka; with Kafka's reason
	Broken    []Row // pass on Kafka, and not on varve; with varve's reason
	Unsteady  []Row // failed and passed when they were run again; with the broker and the first reason
	Left      []Row // were not run at all, and why; the caller says so
}

// Compare compares two runs of one suite.
func Compare(suite string, kafka, varve Run) Comparison {
	c := Comparison{Suite: suite, Kafka: kafka, Varve: varve}
	names := maps.Clone(kafka)
	maps.Copy(names, varve)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		k, v := kafka[name], varve[name]
		if k.Result == Passed && k.Reason != "" {
			c.Unsteady = append(c.Unsteady, Row{name, "Kafka: " + k.Reason})
		}
		if v.Result == Passed && v.Reason != "" {
			c.Unsteady = append(c.Unsteady, Row{name, "Varve: " + v.Reason})
		}
		switch {
		case k.Result == Passed && v.Result == Passed:
			c.Both++
		case k.Result == Passed:
			c.Broken = append(c.Broken, Row{name, v.why()})
		case v.Result == Passed:
			c.VarveOnly = append(c.VarveOnly, Row{name, k.why()})
		case k.Result == Skipped:
			c.Skipped = append(c.Skipped, Row{name, k.why()})
		default:
			c.Neither = append(c.Neither, Row{name, k.why()})
		}
	}
	return c
}

// attempts is how often a test may fail on one broker before it counts: the suites wait
// for times, and the machine has other work.
const attempts = 3

// Doubtful are the processes that are worth another run, sorted: those with a test that
// passes on the other broker, and here failed or did not come to run. What fails on both
// says nothing of either. process tells which process runs a test, or "".
func (r Run) Doubtful(other Run, process func(name string) string) []string {
	var doubtful []string
	for name, o := range other {
		here := r[name].Result
		if p := process(name); p != "" && o.Result == Passed && (here == Failed || here == Missing) {
			doubtful = append(doubtful, p)
		}
	}
	slices.Sort(doubtful)
	return slices.Compact(doubtful)
}

// Steady takes from another run what passes now, with the reason why it had not, and
// what had not run.
func (r Run) Steady(again Run) {
	for _, name := range slices.Sorted(maps.Keys(again)) { // a test before its subtests
		before, ran := r[name]
		switch {
		case before.Result == Passed:
		case again[name].Result == Passed && ran:
			r[name] = Outcome{Passed, before.why()}
		case !ran:
			test, _, _ := strings.Cut(name, "/")
			r[name] = Outcome{again[name].Result, r[test].Reason}
		}
	}
}

// why is the reason of an outcome that is not a pass.
func (o Outcome) why() string {
	switch {
	case o.Reason != "":
		return o.Reason
	case o.Result == Missing:
		return "did not run"
	case o.Result == Skipped:
		return "skipped"
	}
	return "failed"
}
