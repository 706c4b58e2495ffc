package clients

import (
	"fmt"
	"io"
	"strings"
)

// Title introduces the page of a run of all suites.
const Title = `# Clients' own tests

The test suites of client libraries, as their authors wrote them, against Varve and against Apache Kafka 4.3.0, each one
node on loopback without TLS, logins or an authorizer. Written by ` + "`make clients`" + `, which fails where a test passes on Kafka
and not on Varve. A test that fails is run again by itself, on either broker, up to two times.
`

// Write prints a comparison as a section of Markdown.
func (c Comparison) Write(w io.Writer) {
	fmt.Fprintf(w, "\n## %s\n\n", c.Suite)
	fmt.Fprintf(w, "| | Kafka | Varve |\n|---|---|---|\n")
	for _, r := range []struct {
		name   string
		result Result
	}{{"pass", Passed}, {"fail", Failed}, {"skipped", Skipped}} {
		fmt.Fprintf(w, "| %s | %d | %d |\n", r.name, c.Kafka.Count(r.result), c.Varve.Count(r.result))
	}
	fmt.Fprintf(w, "\n%d tests pass on both.\n", c.Both)
	for _, part := range []struct {
		title string
		rows  []Row
	}{
		{"Pass on Kafka only", c.Broken},
		{"Pass on Varve only; on Kafka", c.VarveOnly},
		{"Fail on both; on Kafka", c.Neither},
		{"Skipped; on Kafka", c.Skipped},
		{"Passed when run again", c.Unsteady},
		{"Not run, and why", c.Left},
	} {
		writeRows(w, part.title, part.rows)
	}
}

func writeRows(w io.Writer, title string, rows []Row) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(w, "\n| %s | |\n|---|---|\n", title)
	for _, r := range rows {
		fmt.Fprintf(w, "| %s | %s |\n", cell(r.Name), cell(r.Reason))
	}
}

// shownReason bounds a reason in a table, in bytes.
const shownReason = 200

// cell makes one cell of a Markdown table of any text.
func cell(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > shownReason {
		s = strings.ToValidUTF8(s[:shownReason], "") + "…"
	}
	return strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(s)
}
