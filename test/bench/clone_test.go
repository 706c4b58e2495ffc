package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

func TestCloneOffsetsGivesEachPartitionItsSeedsOffset(t *testing.T) {
	var b strings.Builder
	fmt.Fprintf(&b, "0\n%d\nother-topic 3 7\n", cloneSeeds+3)
	for p := range cloneSeeds + 2 { // those above were empty
		fmt.Fprintf(&b, "recover %d %d\n", p, 100+p)
	}
	got, err := cloneOffsets(b.String(), topic{name: "recover", partitions: 2*cloneSeeds + 1})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(got, "\n")
	if want := fmt.Sprint(2*cloneSeeds + 2); lines[0] != "0" || lines[1] != want || len(lines) != 2*cloneSeeds+2+3 {
		t.Fatalf("version %s, %s entries announced, %d lines; want %s entries", lines[0], lines[1], len(lines), want)
	}
	if lines[2] != "other-topic 3 7" {
		t.Errorf("another topic's line has become %q", lines[2])
	}
	for p, line := range lines[3 : len(lines)-1] {
		if want := fmt.Sprintf("recover %d %d", p, 100+p%cloneSeeds); line != want {
			t.Errorf("line %q, want %q", line, want)
		}
	}
}

func TestCloneOffsetsWantsEverySeed(t *testing.T) {
	for _, text := range []string{"", "1\n0\n", "0\n1\nrecover 0 5\n", "0\n1\nrecover x 5\n"} {
		if got, err := cloneOffsets(text, topic{name: "recover", partitions: 2 * cloneSeeds}); err == nil {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestCloneLogsKeepsTopicIDsAndReplacesTheRest(t *testing.T) {
	dir, tp := t.TempDir(), topic{name: "recover", partitions: cloneSeeds + 2}
	var offsets strings.Builder
	for p := range tp.partitions {
		log := logOf(dir, tp, p)
		write(t, filepath.Join(log, metadataName), fmt.Sprint("id of ", p))
		if p < cloneSeeds {
			write(t, filepath.Join(log, "00.log"), fmt.Sprint("records of ", p))
			write(t, filepath.Join(log, "17.log"), "more")
			fmt.Fprintf(&offsets, "recover %d 17\n", p)
		} else {
			write(t, filepath.Join(log, "00.log"), "")
			write(t, filepath.Join(log, "00.snapshot"), "old")
		}
	}
	write(t, filepath.Join(dir, checkpointName), fmt.Sprintf("0\n%d\n%s", cloneSeeds, offsets.String()))
	err := cloneLogs(dir, tp, func(from, to string) error {
		text, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		return os.WriteFile(to, text, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	for p := cloneSeeds; p < tp.partitions; p++ {
		want := map[string]string{
			metadataName: fmt.Sprint("id of ", p),
			"00.log":     fmt.Sprint("records of ", p%cloneSeeds),
			"17.log":     "more",
		}
		if got := read(t, logOf(dir, tp, p)); !maps.Equal(got, want) {
			t.Errorf("partition %d has %q, want %q", p, got, want)
		}
	}
	if text := read(t, dir)[checkpointName]; !strings.Contains(text, fmt.Sprintf("\nrecover %d 17\n", cloneSeeds+1)) {
		t.Errorf("the last partition has no recovery point in\n%s", text)
	}
}

func TestCloneNoteCallsSealedWhatIsSealed(t *testing.T) {
	for r, want := range map[recovering]string{
		{cloned: true}:               "; segments cloned (XFS reflink): 32 partitions were produced, their files cloned into the 968 others",
		{cloned: true, sealed: true}: "; sealed segments cloned (XFS reflink): 32 partitions",
	} {
		if got := r.cloneNote(); !strings.HasPrefix(got, want) {
			t.Errorf("%+v says %q, want %q", r, got, want)
		}
	}
}

func TestExactlyNamesThePartitionThatEndsElsewhere(t *testing.T) {
	l := &filling{ends: make([]atomic.Int64, 2)}
	l.ends[1].Store(8)
	if err := l.exactly([]int64{0, 8}); err != nil {
		t.Error(err)
	}
	for _, ends := range [][]int64{{0, 7}, {0, 9}} {
		if err := l.exactly(ends); err == nil {
			t.Errorf("ends %v were taken", ends)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// read returns the files of a directory.
func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(text)
	}
	return files
}
