package txn

import (
	"bufio"
	"embed"
	"fmt"
	"path"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
)

//go:embed testdata/stories
var stories embed.FS

// TestStories runs the scripts of testdata/stories. A line is a step and what it answers:
//
//	init [id/epoch] [timeout]      add id/epoch topic-partition...   v0 in front: an older client
//	end id/epoch commit|abort      verify id/epoch topic-partition
//	abort                          in the producer's place
//	complete                       the markers are written
//	expire age                     timeout? (TimedOut)
//	lost                           in front of a step: its record is not committed
//	pending                        in front of a step: its record stays on its way
//	written                        it arrives
//	reload                         what the log holds is read again
//	at ms                          moves the clock
//
// The answer is the code's name, or ok; then, after a slash, the state with producer and
// epoch as it is then.
func TestStories(t *testing.T) {
	files, err := stories.ReadDir("testdata/stories")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(file.Name(), ".txt"), func(t *testing.T) {
			script, err := stories.ReadFile(path.Join("testdata/stories", file.Name()))
			if err != nil {
				t.Fatal(err)
			}
			s := &story{t: t, id: "x", ids: 100, x: New("x", 100, 0)}
			lines := bufio.NewScanner(strings.NewReader(string(script)))
			for n := 1; lines.Scan(); n++ {
				line, _, _ := strings.Cut(lines.Text(), "#")
				if line = strings.TrimSpace(line); line == "" {
					continue
				}
				step, want, _ := strings.Cut(line, "->")
				got := s.run(strings.Fields(step))
				if want = strings.TrimSpace(want); got != want {
					t.Fatalf("line %d: %s\n got %s\nwant %s", n, strings.TrimSpace(step), got, want)
				}
			}
		})
	}
}

type story struct {
	t   *testing.T
	id  string
	now int64
	ids int64 // last producer id
	x   *Transaction
}

func (s *story) run(words []string) string {
	verb := words[0]
	switch verb {
	case "lost", "pending":
		return s.answer(s.step(words[1:]), verb)
	case "at":
		s.now = s.number(words[1])
		return ""
	case "written":
		s.x.Written(true)
		return s.state()
	case "epoch":
		s.x.m.ProducerEpoch = int16(s.number(words[1]))
		return ""
	case "reload":
		replay := Replay{}
		if r := Record(s.now, s.id, &s.x.m); s.x.Stored() {
			if err := replay.Record(r.Key, r.Value); err != nil {
				s.t.Fatal(err)
			}
		}
		s.x = replay[s.id]
		return s.state()
	case "timeout?":
		return fmt.Sprint(s.x.TimedOut(s.now))
	case "verify":
		if code := s.x.Verify(s.producer(words[1]), s.partition(words[2])); code != 0 {
			return kerr.TypedErrorForCode(code).Message
		}
		return "ok"
	}
	return s.answer(s.step(words), "")
}

func (s *story) step(words []string) Step {
	version := V2
	if words[0] == "v0" {
		version, words = V0, words[1:]
	}
	do := func(fresh int64) Step {
		switch words[0] {
		case "init":
			p, timeout := Producer{None, None}, int32(60_000)
			for _, w := range words[1:] {
				if strings.Contains(w, "/") {
					p = s.producer(w)
				} else {
					timeout = int32(s.number(w))
				}
			}
			return s.x.Init(s.now, timeout, p, fresh)
		case "add":
			var partitions []Partition
			for _, w := range words[2:] {
				partitions = append(partitions, s.partition(w))
			}
			return s.x.AddPartitions(s.now, s.producer(words[1]), partitions, version)
		case "end":
			return s.x.End(s.now, s.producer(words[1]), words[2] == "commit", version, fresh)
		case "abort":
			return s.x.Abort(s.now, fresh)
		case "complete":
			return s.x.Complete(s.now)
		case "expire":
			return s.x.Expire(s.now, s.number(words[1]))
		}
		s.t.Fatalf("no step %q", words[0])
		return Step{}
	}
	step := do(None)
	if step.NeedsProducerID {
		s.ids++
		step = do(s.ids)
	}
	return step
}

func (s *story) answer(step Step, fate string) string {
	if step.Write == nil {
		if step.Code != 0 {
			return kerr.TypedErrorForCode(step.Code).Message
		}
		return "ok"
	}
	if fate == "pending" {
		return "on its way"
	}
	s.x.Written(fate != "lost")
	return s.state()
}

func (s *story) state() string {
	m := s.x.Metadata()
	var partitions []string
	for _, tp := range m.Sorted() {
		partitions = append(partitions, fmt.Sprintf("%s-%d", tp.Topic, tp.Partition))
	}
	return strings.TrimSpace(fmt.Sprintf("%v %d/%d %s", m.State, m.ProducerID, m.ProducerEpoch, strings.Join(partitions, " ")))
}

func (s *story) producer(w string) Producer {
	id, epoch, _ := strings.Cut(w, "/")
	return Producer{s.number(id), int16(s.number(epoch))}
}

func (s *story) partition(w string) Partition {
	i := strings.LastIndexByte(w, '-')
	return Partition{w[:i], int32(s.number(w[i+1:]))}
}

func (s *story) number(w string) int64 {
	n, err := strconv.ParseInt(w, 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}
