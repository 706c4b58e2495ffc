package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/varvelog/varve/test/harness"
)

// report is everything a run found.
type report struct {
	Command   string     `json:"command"`
	Note      string     `json:"note,omitempty"`
	Sizes     string     `json:"sizes"`
	Machine   machine    `json:"machine"`
	Limits    []limitRow `json:"limits"`
	Scenarios []outcome  `json:"scenarios"`
}

// laterRun is a run after the report's own, of some scenarios: their figures compare with
// each other, and with no other row.
type laterRun struct {
	Command string `json:"command"`
	Varve   string `json:"varve"`
	Note    string `json:"note,omitempty"`
}

// merge puts the scenarios of a later run into the report, in the order of the table.
func (r *report) merge(later *report) {
	rows := make(map[string]outcome)
	for _, o := range r.Scenarios {
		rows[o.Name] = o
	}
	for _, o := range later.Scenarios {
		o.Run = &laterRun{later.Command, later.Machine.Varve, later.Note}
		rows[o.Name] = o
	}
	r.Scenarios = r.Scenarios[:0]
	for i := range scenarios {
		if o, ok := rows[scenarios[i].name]; ok {
			o.of = &scenarios[i]
			r.Scenarios = append(r.Scenarios, o)
		}
	}
}

// readReport reads what write has written.
func readReport(dir string) (*report, error) {
	b, err := os.ReadFile(filepath.Join(dir, reportName))
	if err != nil {
		return nil, err
	}
	r := new(report)
	return r, json.Unmarshal(b, r)
}

// machine is where it ran; it names no host and no path.
type machine struct {
	Cores  int     `json:"cores"`
	Memory float64 `json:"memory_gib"`
	Kernel string  `json:"kernel"`
	Go     string  `json:"go"`
	Java   string  `json:"java"`
	Varve  string  `json:"varve"`
	Kafka  string  `json:"kafka"`
}

func describeMachine(e *env) machine {
	var uts unix.Utsname
	e.check(unix.Uname(&uts))
	var info unix.Sysinfo_t
	e.check(unix.Sysinfo(&info))
	return machine{
		Cores: runtime.NumCPU(), Memory: float64(info.Totalram) * float64(info.Unit) / (1 << 30),
		Kernel: "Linux " + unix.ByteSliceToString(uts.Release[:]), Go: runtime.Version(),
		Java: javaVersion(e), Varve: varveVersion(e), Kafka: kafkaVersion(e),
	}
}

// javaVersion is the first line of java -version.
func javaVersion(e *env) string {
	line, _, _ := strings.Cut(command(e, harness.NeedCommand(e, "java"), "--version"), "\n")
	return line
}

// varveVersion is the commit that is measured.
func varveVersion(e *env) string {
	return strings.TrimSpace(command(e, "git", "-C", harness.Root(e), "describe", "--tags", "--always", "--dirty"))
}

// kafkaVersion is in the name of the broker's jar.
func kafkaVersion(e *env) string {
	jars, err := filepath.Glob(filepath.Join(harness.Tools(e), "kafka", "kafka_2.13-*.jar"))
	e.check(err)
	if len(jars) == 0 {
		e.Fatal("Apache Kafka's jars are missing: run `make tools` first")
	}
	return strings.TrimSuffix(strings.TrimPrefix(filepath.Base(jars[0]), "kafka_2.13-"), ".jar")
}

func command(e *env, name string, args ...string) string { return harness.Output(e, "", name, args...) }

// label is a metric with its unit.
func (m metric) label() string {
	if strings.Contains(string(m), " p") {
		return string(m) + " ms"
	}
	return string(m)
}

// format rounds a figure to what it is worth.
func format(v float64) string {
	switch {
	case v >= 10_000:
		return fmt.Sprintf("%.0f k", v/1000)
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// String words a target as a row's cell.
func (t target) String() string {
	sign := "≥"
	if t.most {
		sign = "≤"
	}
	if t.alone {
		return fmt.Sprintf("%s %s", sign, format(t.bound))
	}
	if t.bound < 0.1 {
		return fmt.Sprintf("%s 1/%.0f", sign, 1/t.bound)
	}
	return fmt.Sprintf("%s %.2g ×", sign, t.bound)
}

// reportName is the file with every round.
const reportName = "benchmarks.json"

const (
	// boundByClient is the share of CPU from which a row says more about the load
	// generator than about the broker.
	boundByClient = 0.7
	// disturbed is how many cores others may use before a row is marked.
	disturbed = 0.15
)

// markdown is the table.
func (r *report) markdown() string {
	var w strings.Builder
	fmt.Fprintf(&w, "# Benchmarks\n\n")
	fmt.Fprintf(&w, "Varve %s beside Apache Kafka %s, in one run, in turn (A B A B), by one load generator (franz-go, idempotent,\n", r.Machine.Varve, r.Machine.Kafka)
	fmt.Fprintf(&w, "batches of up to 1 MB, linger 5 ms unless the row says otherwise, no compression, half-compressible text), on loopback.\n")
	fmt.Fprintf(&w, "Broker CPU is user and system time of the whole broker process from /proc; GB are 10⁹ bytes of record values. Figures are\n")
	fmt.Fprintf(&w, "medians; only ratios of one run mean anything. Every round is in benchmarks.json.\n\n")
	fmt.Fprintf(&w, "- Command: `%s` (%s)\n", r.Command, r.Sizes)
	m := r.Machine
	fmt.Fprintf(&w, "- Machine: %d cores shared by broker and load generator, %.0f GiB, %s; %s; %s\n", m.Cores, m.Memory, m.Kernel, m.Go, m.Java)
	fmt.Fprintf(&w, "- Kafka: one KRaft node, 1 GiB heap, G1, its own defaults (no flush before the answer) and warm; Varve: its own defaults\n")
	fmt.Fprintf(&w, "  (`flush.messages=1`: flushed before the answer). Neither tiers but in the cold rows.\n")
	if r.Note != "" {
		fmt.Fprintf(&w, "- %s\n", r.Note)
	}
	fmt.Fprintf(&w, "\n| limit of this machine, same run | |\n|---|---|\n")
	for _, l := range r.Limits {
		fmt.Fprintf(&w, "| %s | %s %s |\n", l.Name, format(l.Value), l.Unit)
	}
	fmt.Fprintf(&w, "\n| scenario | figure | Varve | Kafka | ratio | target | met |\n|---|---|---|---|---|---|---|\n")
	for _, o := range r.Scenarios {
		o.rows(&w)
	}
	w.WriteString("\n¹ The load generator used at least 70 % of the CPU: the row shows a lower bound of what the brokers can do.\n")
	w.WriteString("² Others used the machine at the same time (more than 0.15 cores): not a quiet measurement.\n")
	if slices.ContainsFunc(r.Scenarios, func(o outcome) bool { return o.Run != nil }) {
		w.WriteString("³ Of a later run, which the list below names: its figures compare with each other only.\n")
	}
	w.WriteString("\n")
	for _, o := range r.Scenarios {
		fmt.Fprintf(&w, "- **%s**: %s.%s\n", o.Name, o.What, o.Run)
	}
	return w.String()
}

// String is the end of a scenario's line in the list.
func (l *laterRun) String() string {
	if l == nil {
		return ""
	}
	s := fmt.Sprintf(" At %s: `%s`.", l.Varve, l.Command)
	if l.Note != "" {
		s += " " + l.Note
	}
	return s
}

// rows writes one line for each figure of a scenario.
func (o *outcome) rows(w *strings.Builder) {
	if o.Error != "" {
		fmt.Fprintf(w, "| %s | failed: %s | | | | | |\n", o.Name, strings.ReplaceAll(firstLine(o.Error), "|", "\\|"))
		return
	}
	name := o.Name + o.marks()
	for _, m := range o.Shown {
		first, ok := o.Sides[0].median(m)
		second, ok2 := o.Sides[1].median(m)
		if !ok || !ok2 {
			continue
		}
		peer := format(second)
		if o.Sides[1].Name != "Kafka" {
			peer += " (" + o.Sides[1].Name + ")"
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s |\n", name, m.label(), format(first), peer, ratio(first, second), o.verdict(m, first, second))
		name = ""
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func ratio(first, second float64) string {
	switch {
	case second == 0 || first == 0:
		return "–"
	case first/second < 0.1:
		return fmt.Sprintf("1/%.0f", second/first)
	default:
		return fmt.Sprintf("%.2f", first/second)
	}
}

// verdict is the two cells target and met of one figure.
func (o *outcome) verdict(m metric, first, second float64) string {
	for _, t := range o.of.targets {
		if t.of == m {
			if t.met(first, second) {
				return t.String() + " | yes"
			}
			return t.String() + " | **no**"
		}
	}
	return " | "
}

// marks are the footnotes of a scenario.
func (o *outcome) marks() string {
	marks := ""
	if share, ok := o.Sides[0].median(clientShare); ok && share >= boundByClient {
		marks += "¹"
	}
	for _, s := range o.Sides {
		if cores, ok := s.median(foreignCores); ok && cores > disturbed {
			marks += "²"
			break
		}
	}
	if o.Run != nil {
		marks += "³"
	}
	return marks
}

func (z sizes) describe() string {
	return fmt.Sprintf("%d rounds; %d records of 100 B, %d of 1 KiB; replays of %d and, cold, %d records of 1 KiB; paced rows of %v", z.rounds, z.small, z.large, z.replay, z.cold, z.paced)
}

// write writes both files of the report.
func (r *report) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	all, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, reportName), append(all, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "benchmarks.md"), []byte(r.markdown()), 0o644)
}
