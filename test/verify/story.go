package verify

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Stories are histories as text, one event a line, for golden files and for the
// histories that a failed run leaves behind:
//
//	options complete idempotent gaps
//	send VALUE producer N partition N begun N ended N ok OFFSET
//	send VALUE producer N partition N begun N ended N info|fail
//	read VALUE session N partition N offset N
//
// Lines that begin with # are comments.

// ReadStory parses a story.
func ReadStory(r io.Reader) (*History, error) {
	h := &History{}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if err := h.line(line); err != nil {
			return nil, fmt.Errorf("line %d: %q: %w", n, line, err)
		}
	}
	return h, lines.Err()
}

func (h *History) line(line string) error {
	verb, _, _ := strings.Cut(line, " ")
	switch verb {
	case "options":
		return h.options(strings.Fields(line)[1:])
	case "send":
		return h.send(line)
	case "read":
		var r Read
		_, err := fmt.Sscanf(line, "read %d session %d partition %d offset %d", &r.Value, &r.Session, &r.Partition, &r.Offset)
		h.Reads = append(h.Reads, r)
		return err
	}
	return fmt.Errorf("no event %q", verb)
}

func (h *History) options(words []string) error {
	for _, w := range words {
		switch w {
		case "complete":
			h.Complete = true
		case "idempotent":
			h.Idempotent = true
		case "gaps":
			h.Gaps = true
		default:
			return fmt.Errorf("no option %q", w)
		}
	}
	return nil
}

func (h *History) send(line string) error {
	var s Send
	var outcome string
	_, err := fmt.Sscanf(line, "send %d producer %d partition %d begun %d ended %d %s", &s.Value, &s.Producer, &s.Partition, &s.Begun, &s.Ended, &outcome)
	if err != nil {
		return err
	}
	switch outcome {
	case "ok":
		s.Outcome = OK
		_, err = fmt.Sscanf(line[strings.LastIndex(line, " ok ")+1:], "ok %d", &s.Offset)
	case "fail":
		s.Outcome = Fail
	case "info":
	default:
		err = fmt.Errorf("no outcome %q", outcome)
	}
	h.Sends = append(h.Sends, s)
	return err
}

// WriteStory writes what ReadStory reads.
func WriteStory(w io.Writer, h *History) error {
	b := bufio.NewWriter(w)
	b.WriteString("options")
	for _, o := range []struct {
		set  bool
		name string
	}{{h.Complete, "complete"}, {h.Idempotent, "idempotent"}, {h.Gaps, "gaps"}} {
		if o.set {
			b.WriteString(" " + o.name)
		}
	}
	b.WriteString("\n")
	for _, s := range h.Sends {
		fmt.Fprintf(b, "send %d producer %d partition %d begun %d ended %d %v", s.Value, s.Producer, s.Partition, s.Begun, s.Ended, s.Outcome)
		if s.Outcome == OK {
			fmt.Fprintf(b, " %d", s.Offset)
		}
		b.WriteString("\n")
	}
	for _, r := range h.Reads {
		fmt.Fprintf(b, "read %d session %d partition %d offset %d\n", r.Value, r.Session, r.Partition, r.Offset)
	}
	return b.Flush()
}
