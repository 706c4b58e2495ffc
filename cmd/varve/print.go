package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// printer writes results: tables or lines for people, JSON for programs.
type printer struct {
	out  io.Writer
	errs io.Writer
	json bool
}

func (f *flags) printer(c *cobra.Command) *printer {
	return &printer{out: c.OutOrStdout(), errs: c.ErrOrStderr(), json: f.output == "json" || f.json}
}

// value prints v as JSON, on one line: a stream of values is a line each.
func (p *printer) value(v any) error {
	e := json.NewEncoder(p.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// list prints a JSON array, [] for no elements.
func list[T any](p *printer, v []T) error {
	if v == nil {
		v = []T{}
	}
	return p.value(v)
}

// table prints rows below a heading, in columns two spaces apart.
func (p *printer) table(heading []string, rows [][]string) error {
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(heading, "\t"))
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// note says something beside the result.
func (p *printer) note(format string, args ...any) { fmt.Fprintf(p.errs, format+"\n", args...) }

// terminal tells whether people look at w, or type into it; at worst it is /dev/null.
func terminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	i, err := f.Stat()
	return err == nil && i.Mode()&os.ModeCharDevice != 0
}

// progress shows on a terminal, and nowhere else, how far long work is.
type progress struct {
	w     io.Writer // nil: shown to nobody
	what  string
	count int64
	next  time.Time
	shown bool
}

// progressEvery is how often the line changes: often enough to look alive, too seldom
// to cost anything.
const progressEvery = 200 * time.Millisecond

// progress starts to count. Nothing is shown when what is counted is itself on the
// terminal.
func (p *printer) progress(what string, quiet bool) *progress {
	if quiet || !terminal(p.errs) {
		return &progress{}
	}
	return &progress{w: p.errs, what: what, next: time.Now().Add(progressEvery)}
}

func (p *progress) add(n int) {
	p.count += int64(n)
	if p.w == nil || time.Now().Before(p.next) {
		return
	}
	p.next = time.Now().Add(progressEvery)
	p.shown = true
	fmt.Fprintf(p.w, "\r%s %s", commas(p.count), p.what)
}

func (p *progress) end() {
	if p.shown {
		fmt.Fprintf(p.w, "\r%s %s\n", commas(p.count), p.what)
	}
}

// commas writes 1234567 as 1,234,567.
func commas(n int64) string {
	s := fmt.Sprint(n)
	start := 0
	if n < 0 {
		start = 1
	}
	for i := len(s) - 3; i > start; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size writes bytes with a unit of 1024: 1.5 MiB.
func size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1024, 0
	for v >= 1024 && unit < 4 {
		v, unit = v/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTP"[unit])
}

// number writes an offset or id; a dash for none.
func number[N ~int32 | ~int64](n N) string {
	if n < 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// dash stands in a table for what is not there.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// numbers writes ids as 0,1,2.
func numbers(ids []int32) string {
	return strings.Trim(strings.Join(strings.Fields(fmt.Sprint(ids)), ","), "[]")
}

// duration writes milliseconds as 30s or 5m0s.
func duration(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }
