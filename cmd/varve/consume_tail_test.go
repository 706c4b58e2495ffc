package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvelog/varve/segment/batch"
)

// compacted rewrites the log of a stopped broker's partition as a cleaner leaves it:
// records for which keep is false go, their batches stay, empty where need be.
func compacted(t *testing.T, dir, partition string, keep func(*batch.Entry) bool) {
	t.Helper()
	path := filepath.Join(dir, partition, "00000000000000000000.log")
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for len(p) > 0 {
		b, rest, err := batch.Next(p)
		if err != nil {
			t.Fatal(err)
		}
		kept, err := (&batch.Filter{MaxDecompressed: 1 << 20}).Apply(b, false, keep)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(kept)
		p = rest
	}
	for _, suffix := range []string{".index", ".timeindex"} {
		if err := os.Remove(strings.TrimSuffix(path, ".log") + suffix); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestUntilEndStopsOverATailWithoutRecords: the end was waited for until a record there
// was handed out, and compaction had removed it.
func TestUntilEndStopsOverATailWithoutRecords(t *testing.T) {
	for _, c := range []struct {
		name string
		keep func(offset int64) bool
		want string
	}{
		{"an empty last batch", func(o int64) bool { return o < 3 }, "a\nb\nc\n"},
		{"a last batch that lost its last record", func(o int64) bool { return o < 5 }, "a\nb\nc\nd\ne\n"},
		{"nothing at all", func(int64) bool { return false }, ""},
		{"a hole before the last record", func(o int64) bool { return o == 5 }, "f\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := startBroker(t)
			b.ok("a\nb\nc\n", "produce", "t")
			b.ok("d\ne\nf\n", "produce", "t")
			b.stop()
			compacted(t, b.dir, "t-0", func(e *batch.Entry) bool { return c.keep(e.Offset) })
			again := startBrokerIn(t, b.dir)
			for _, args := range [][]string{nil, {"--isolation-level", "read_committed"}, {"--group", "g"}} {
				args = append([]string{"consume", "t", "--from-beginning", "--until-end"}, args...)
				equal(t, strings.Join(args, " "), again.ok("", args...), c.want)
			}
		})
	}
}

func TestFirstRecordPassesOverWhatHoldsNone(t *testing.T) {
	full := build(t, 10, batch.Record{Value: []byte("x")}, batch.Record{Value: []byte("y")}, batch.Record{Value: []byte("z")})
	half, err := (&batch.Filter{MaxDecompressed: 1 << 20}).Apply(full, false, func(e *batch.Entry) bool { return e.Offset == 11 })
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		p     []byte
		from  int64
		at    int64
		found bool
	}{
		{"nothing", nil, 10, 10, false},
		{"a whole batch", full, 10, 10, true},
		{"from inside", full, 12, 12, true},
		{"its record lies ahead", half, 10, 11, true},
		{"its record lies behind", half, 12, 13, false},
		{"a batch below", full, 13, 13, false},
		{"cut short", full[:70], 10, 10, false},
	} {
		if at, found := firstRecord(c.p, c.from); at != c.at || found != c.found {
			t.Errorf("%s: %d, %t", c.name, at, found)
		}
	}
}
