package verify

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Stories are histories as text, one event a line, for golden files and for the
// histories that runs leave behind. What stands in brackets may be missing, and means
// none; OUTCOME is info, fail or ok.
//
//	options [complete] [idempotent] [gaps] [compacted]
//	limits delete-retention N grace N
//	expect faults N before N during N
//	send VALUE producer N partition N begun N ended N info|fail|ok OFFSET [txn N] [key N] [from VALUE] [tombstone]
//	read VALUE session N partition N offset N [at N] [txn N]
//	session N [committed] [final]
//	assign session N partition N from OFFSET at N
//	txn N producer N open|commit|abort begun N ended N OUTCOME
//	commit group N partition N offset N begun N ended N OUTCOME
//	committed group N partition N offset N begun N ended N
//	own PARTITION member N [generation N] from N used N
//	mark KIND observer N partition N value N
//	balance snapshot N account N amount N
//	batch replica N partition N base N next N crc N
//	manifest NAME start N local N end N, followed by its lines of
//	segment KEY base N next N size N [digest HEX]
//	object KEY size N age N [digest HEX]
//	fault KIND begun N ended N [restart] [progress]
//	incident PROCESS KIND
//	allow KIND
//	resources before|after goroutines N files N resident N
//	heap at N bytes N
//	input PARTITION
//
// Lines that begin with # are comments.

// event is one kind of line. read parses a line into the history; write writes all
// lines of the kind.
type event struct {
	verb  string
	read  func(h *History, l *line)
	write func(h *History, w io.Writer)
}

// events is every kind of line, in the order in which they are written.
var events = []event{
	once("options", func(*History) bool { return true }, optionsLine),
	once("limits", func(h *History) bool { return h.DeleteRetention != 0 || h.Grace != 0 }, func(l *line, h *History) {
		number(l, "delete-retention", &h.DeleteRetention)
		number(l, "grace", &h.Grace)
	}),
	once("expect", func(h *History) bool { return h.Expect != nil }, expectLine),
	list("input", func(h *History) *[]int32 { return &h.Inputs }, func(l *line, p *int32) { number(l, "", p) }),
	list("allow", func(h *History) *[]string { return &h.Allowed }, func(l *line, s *string) { l.word("", s) }),
	list("session", func(h *History) *[]Session { return &h.Sessions }, sessionLine),
	list("assign", func(h *History) *[]Assignment { return &h.Assignments }, assignLine),
	list("txn", func(h *History) *[]Txn { return &h.Txns }, txnLine),
	list("send", func(h *History) *[]Send { return &h.Sends }, sendLine),
	list("read", func(h *History) *[]Read { return &h.Reads }, readLine),
	list("commit", func(h *History) *[]OffsetCommit { return &h.Commits }, commitLine),
	list("committed", func(h *History) *[]Committed { return &h.Committed }, committedLine),
	list("own", func(h *History) *[]Owner { return &h.Owners }, ownLine),
	list("mark", func(h *History) *[]Mark { return &h.Marks }, markLine),
	list("balance", func(h *History) *[]Balance { return &h.Balances }, balanceLine),
	list("batch", func(h *History) *[]Batch { return &h.Batches }, batchLine),
	{"manifest", readManifest, writeManifests},
	{"segment", readSegment, func(*History, io.Writer) {}}, // written with its manifest
	list("object", func(h *History) *[]Object { return &h.Objects }, objectLine),
	list("fault", func(h *History) *[]Disturbance { return &h.Faults }, faultLine),
	list("incident", func(h *History) *[]Incident { return &h.Incidents }, func(l *line, i *Incident) { l.word("", &i.Process); l.word("", &i.Kind) }),
	{"resources", readResources, writeResources},
	list("heap", func(h *History) *[]HeapSample { return &h.Heap }, func(l *line, s *HeapSample) { number(l, "at", &s.At); number(l, "bytes", &s.Bytes) }),
}

// once is a line that stands for fields of the history itself.
func once(verb string, has func(*History) bool, body func(*line, *History)) event {
	return event{verb, func(h *History, l *line) { body(l, h) }, func(h *History, w io.Writer) {
		if has(h) {
			_ = writeLine(w, verb, func(l *line) { body(l, h) })
		}
	}}
}

// list is a line for each element of a list.
func list[T any](verb string, of func(*History) *[]T, body func(*line, *T)) event {
	return event{verb, func(h *History, l *line) {
		var x T
		body(l, &x)
		*of(h) = append(*of(h), x)
	}, func(h *History, w io.Writer) {
		for i := range *of(h) {
			_ = writeLine(w, verb, func(l *line) { body(l, &(*of(h))[i]) })
		}
	}}
}

// ReadStory parses a story.
func ReadStory(r io.Reader) (*History, error) {
	h := &History{}
	verbs := map[string]*event{}
	for i := range events {
		verbs[events[i].verb] = &events[i]
	}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		words := strings.Fields(lines.Text())
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		l := &line{words: words[1:]}
		if e := verbs[words[0]]; e != nil {
			e.read(h, l)
		} else {
			l.fail("no event %q", words[0])
		}
		if len(l.words) > 0 {
			l.fail("%q is too much", l.words[0])
		}
		if l.err != nil {
			return nil, fmt.Errorf("line %d: %q: %w", n, lines.Text(), l.err)
		}
	}
	return h, lines.Err()
}

// WriteStory writes what ReadStory reads.
func WriteStory(w io.Writer, h *History) error {
	b := bufio.NewWriter(w)
	for _, e := range events {
		e.write(h, b)
	}
	return b.Flush()
}

// writeLine writes a whole line at once. Errors of a buffer are found when it is flushed.
func writeLine(w io.Writer, verb string, body func(*line)) error {
	l := &line{writing: true, words: []string{verb}}
	body(l)
	_, err := fmt.Fprintln(w, strings.Join(l.words, " "))
	return err
}

// line is the words of a line, that are left to be read or that were written: one
// function says what a line of its kind has, for both.
type line struct {
	writing bool
	words   []string
	err     error
}

func (l *line) fail(format string, args ...any) {
	if l.err == nil {
		l.err = fmt.Errorf(format, args...)
	}
}

// next takes a word.
func (l *line) next() string {
	if len(l.words) == 0 {
		l.fail("the line ends too early")
		return ""
	}
	w := l.words[0]
	l.words = l.words[1:]
	return w
}

// name is a word that has to be there.
func (l *line) name(name string) {
	switch {
	case name == "":
	case l.writing:
		l.words = append(l.words, name)
	default:
		if w := l.next(); w != name {
			l.fail("%q instead of %q", w, name)
		}
	}
}

// has tells whether a part that may be missing is there.
func (l *line) has(name string, set bool) bool {
	if l.writing {
		return set
	}
	return len(l.words) > 0 && l.words[0] == name
}

// word is a text without blanks.
func (l *line) word(name string, s *string) {
	l.name(name)
	if !l.writing {
		*s = l.next()
		return
	}
	text := strings.Join(strings.Fields(*s), "_")
	if text == "" {
		text = "-"
	}
	l.words = append(l.words, text)
}

// flag is a word that is there or not.
func (l *line) flag(name string, set *bool) {
	if l.has(name, *set) {
		l.name(name)
		*set = true
	}
}

// number is a number after its name.
func number[T int | int32 | int64 | uint32 | uint64](l *line, name string, n *T) {
	l.name(name)
	if l.writing {
		l.words = append(l.words, fmt.Sprint(*n))
		return
	}
	w := l.next()
	var err error
	switch p := any(n).(type) {
	case *uint64:
		*p, err = strconv.ParseUint(w, 10, 64)
	case *uint32:
		var u uint64
		u, err = strconv.ParseUint(w, 10, 32)
		*p = uint32(u)
	case *int32:
		var i int64
		i, err = strconv.ParseInt(w, 10, 32)
		*p = int32(i)
	case *int64:
		*p, err = strconv.ParseInt(w, 10, 64)
	case *int:
		*p, err = strconv.Atoi(w)
	}
	if err != nil {
		l.fail("%s: %w", name, err)
	}
}

// optional is a number that is left out where it is 0.
func optional[T int32 | int64 | uint32 | uint64](l *line, name string, n *T) {
	if l.has(name, *n != 0) {
		number(l, name, n)
	}
}

// choice is one of several words, by its number.
func choice[T ~uint8](l *line, names []string, c *T) {
	if l.writing {
		l.words = append(l.words, names[*c])
		return
	}
	w := l.next()
	for i, name := range names {
		if w == name {
			*c = T(i)
			return
		}
	}
	l.fail("%q is none of %v", w, names)
}

func outcome(l *line, o *Outcome) { choice(l, []string{"info", "ok", "fail"}, o) }

func optionsLine(l *line, h *History) {
	l.flag("complete", &h.Complete)
	l.flag("idempotent", &h.Idempotent)
	l.flag("gaps", &h.Gaps)
	l.flag("compacted", &h.Compacted)
}

func expectLine(l *line, h *History) {
	if !l.writing {
		h.Expect = &Expect{}
	}
	number(l, "faults", &h.Expect.Faults)
	number(l, "before", &h.Expect.Before)
	number(l, "during", &h.Expect.During)
}

func sendLine(l *line, s *Send) {
	number(l, "", &s.Value)
	number(l, "producer", &s.Producer)
	number(l, "partition", &s.Partition)
	number(l, "begun", &s.Begun)
	number(l, "ended", &s.Ended)
	if outcome(l, &s.Outcome); s.Outcome == OK {
		number(l, "", &s.Offset)
	}
	optional(l, "txn", &s.Txn)
	optional(l, "key", &s.Key)
	optional(l, "from", &s.From)
	l.flag("tombstone", &s.Tombstone)
}

func readLine(l *line, r *Read) {
	number(l, "", &r.Value)
	number(l, "session", &r.Session)
	number(l, "partition", &r.Partition)
	number(l, "offset", &r.Offset)
	optional(l, "at", &r.At)
	optional(l, "txn", &r.Txn)
}

func sessionLine(l *line, s *Session) {
	number(l, "", &s.ID)
	l.flag("committed", &s.Committed)
	l.flag("final", &s.Final)
}

func assignLine(l *line, a *Assignment) {
	number(l, "session", &a.Session)
	number(l, "partition", &a.Partition)
	number(l, "from", &a.From)
	number(l, "at", &a.At)
}

func txnLine(l *line, t *Txn) {
	number(l, "", &t.ID)
	number(l, "producer", &t.Producer)
	choice(l, []string{"open", "commit", "abort"}, &t.End)
	number(l, "begun", &t.Begun)
	number(l, "ended", &t.Ended)
	outcome(l, &t.Outcome)
}

func commitLine(l *line, c *OffsetCommit) {
	number(l, "group", &c.Group)
	number(l, "partition", &c.Partition)
	number(l, "offset", &c.Offset)
	number(l, "begun", &c.Begun)
	number(l, "ended", &c.Ended)
	outcome(l, &c.Outcome)
}

func committedLine(l *line, c *Committed) {
	number(l, "group", &c.Group)
	number(l, "partition", &c.Partition)
	number(l, "offset", &c.Offset)
	number(l, "begun", &c.Begun)
	number(l, "ended", &c.Ended)
}

func ownLine(l *line, o *Owner) {
	number(l, "", &o.Partition)
	number(l, "member", &o.Member)
	optional(l, "generation", &o.Generation)
	number(l, "from", &o.From)
	number(l, "used", &o.Used)
}

func markLine(l *line, m *Mark) {
	choice(l, markNames[:], &m.Kind)
	number(l, "observer", &m.Observer)
	number(l, "partition", &m.Partition)
	number(l, "value", &m.Value)
}

func balanceLine(l *line, b *Balance) {
	number(l, "snapshot", &b.Snapshot)
	number(l, "account", &b.Account)
	number(l, "amount", &b.Amount)
}

func batchLine(l *line, b *Batch) {
	number(l, "replica", &b.Replica)
	number(l, "partition", &b.Partition)
	number(l, "base", &b.Base)
	number(l, "next", &b.Next)
	number(l, "crc", &b.CRC)
}

func objectLine(l *line, o *Object) {
	l.word("", &o.Key)
	number(l, "size", &o.Size)
	number(l, "age", &o.Age)
	digest(l, &o.Digest)
}

func digest(l *line, d *string) {
	if l.has("digest", *d != "") {
		l.word("digest", d)
	}
}

func faultLine(l *line, f *Disturbance) {
	l.word("", &f.Kind)
	number(l, "begun", &f.Begun)
	number(l, "ended", &f.Ended)
	l.flag("restart", &f.Restart)
	l.flag("progress", &f.Progress)
}

func manifestLine(l *line, p *Partition) {
	l.word("", &p.Name)
	number(l, "start", &p.LogStart)
	number(l, "local", &p.LocalStart)
	number(l, "end", &p.End)
}

func segmentLine(l *line, s *Segment) {
	l.word("", &s.Key)
	number(l, "base", &s.Base)
	number(l, "next", &s.Next)
	number(l, "size", &s.Size)
	digest(l, &s.Digest)
}

func readManifest(h *History, l *line) {
	var p Partition
	manifestLine(l, &p)
	h.Manifests = append(h.Manifests, p)
}

func readSegment(h *History, l *line) {
	var s Segment
	segmentLine(l, &s)
	if len(h.Manifests) == 0 {
		l.fail("a segment without a manifest")
		return
	}
	p := &h.Manifests[len(h.Manifests)-1]
	p.Segments = append(p.Segments, s)
}

func writeManifests(h *History, w io.Writer) {
	for i := range h.Manifests {
		p := &h.Manifests[i]
		_ = writeLine(w, "manifest", func(l *line) { manifestLine(l, p) })
		for j := range p.Segments {
			_ = writeLine(w, "segment", func(l *line) { segmentLine(l, &p.Segments[j]) })
		}
	}
}

func resourcesLine(l *line, r *Resources) {
	number(l, "goroutines", &r.Goroutines)
	number(l, "files", &r.Files)
	number(l, "resident", &r.Resident)
}

func readResources(h *History, l *line) {
	r := &Resources{}
	switch w := l.next(); w {
	case "before":
		h.Before = r
	case "after":
		h.After = r
	default:
		l.fail("%q is neither before nor after", w)
	}
	resourcesLine(l, r)
}

func writeResources(h *History, w io.Writer) {
	for _, r := range []struct {
		when string
		held *Resources
	}{{"before", h.Before}, {"after", h.After}} {
		if r.held != nil {
			_ = writeLine(w, "resources "+r.when, func(l *line) { resourcesLine(l, r.held) })
		}
	}
}
