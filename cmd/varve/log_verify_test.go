package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/varvelog/varve/broker"
	"github.com/varvelog/varve/segment"
)

func flip(t *testing.T, path string, position int64) {
	t.Helper()
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if position < 0 {
		position += int64(len(p))
	}
	p[position] ^= 1
	if err := os.WriteFile(path, p, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestVerifyNamesWhatIsDamagedInADataDirectory damages a stopped broker's directory, one
// thing after the other, on disk and in the bucket, and dumps everything that is in it.
func TestVerifyNamesWhatIsDamagedInADataDirectory(t *testing.T) {
	b := startBroker(t)
	b.ok("", "topic", "create", "t", "--config", "segment.bytes=1048576", "--config", "local.retention.bytes=1500000")
	b.records("t", 4<<20)
	await(t, "segments in the bucket alone", func() bool {
		all := decode[[]broker.TierExplanation](b, "tier", "explain", "t", "--http", b.http)[0].Segments
		return all[0].Where == "bucket" && !slices.ContainsFunc(all, func(s broker.SegmentExplanation) bool { return !s.Active && s.Where == "local" })
	})
	verify := func(args ...string) result {
		return varve(t.Context(), "", append([]string{"log", "verify", b.dir}, args...)...)
	}
	verify().fails(t, exitFailed, "a broker runs on it: stop it, or read what may be changing with --force-read-only")
	if r := verify("--force-read-only"); r.code != exitDone {
		t.Errorf("with force: %v", r)
	}
	b.stop()
	if r := verify(); r.code != exitDone || r.out != "" || !strings.HasPrefix(r.errs, "verified 1 logs, ") {
		t.Fatalf("healthy: %v", r)
	}
	logs, err := filepath.Glob(filepath.Join(b.dir, "t-0", "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	key := func(kind string) string { // the newest
		all, err := filepath.Glob(filepath.Join(b.dir, "bucket", "*", "*", "00000", kind, "*"))
		if err != nil || len(all) == 0 {
			t.Fatal(all, err)
		}
		return all[len(all)-1]
	}
	var dumped []string
	for _, pattern := range []string{"t-0/*", "*-checkpoint", "meta.properties", "bucket/*/*/*/*/*"} {
		files, _ := filepath.Glob(filepath.Join(b.dir, pattern))
		dumped = append(dumped, files...)
	}
	if r := varve(t.Context(), "", append([]string{"log", "dump", "--json"}, dumped...)...); r.code != exitDone || len(stream[map[string]any](t, r.out)) < 50 {
		t.Errorf("dump: %d, %s", r.code, r.errs)
	}
	for _, want := range []string{`root: {"topic_id":"`, `entry: {"key":"`, `epoch: {"leader_epoch"`, `segment: {"id":"`, `chunk: {"position":0,`, "baseOffset: 0 lastOffset: "} {
		if want = strings.Replace(want, `"leader_epoch"`, `"epoch"`, 1); !strings.Contains(varve(t.Context(), "", append([]string{"log", "dump"}, dumped...)...).out, want) {
			t.Errorf("%q is not in the dump", want)
		}
	}
	object := key("seg")
	for _, c := range []struct {
		path     string
		position int64
		kind     segment.FaultKind
	}{
		{logs[len(logs)-1], 80, segment.FaultCRC},
		{filepath.Join(b.dir, "t-0", "leader-epoch-checkpoint"), 0, segment.FaultEpochFile},
		{object, 1000, "object-corrupt"},
		{object, -1, "object-corrupt"},
		{key("root"), 40, "object-corrupt"},
	} {
		flip(t, c.path, c.position)
		r := verify("--json")
		all := stream[segment.Fault](t, r.out)
		if r.code != exitFailed || !slices.ContainsFunc(all, func(f segment.Fault) bool { return f.Kind == c.kind && f.Path == c.path }) {
			t.Errorf("%s of %s: exit code %d, %+v %s", c.kind, c.path, r.code, all, r.errs)
		}
		if text := verify(); !strings.Contains(text.out, c.path+": "+string(c.kind)) {
			t.Errorf("%s", text.out)
		}
		flip(t, c.path, c.position)
	}
	if err := os.Remove(object); err != nil {
		t.Fatal(err)
	}
	r := varve(t.Context(), "", "log", "verify", filepath.Join(b.dir, "bucket"))
	if r.code != exitFailed || !strings.Contains(r.out, object+": object-missing: ") || !strings.HasSuffix(r.errs, "varve: 1 fault\n") {
		t.Errorf("a missing object: %v", r)
	}
	varve(t.Context(), "", "log", "verify", filepath.Join(b.dir, "nope")).fails(t, exitFailed, "no such file or directory")
	varve(t.Context(), "", "log", "verify").fails(t, exitUsage, "directory")
}

func FuzzDump(f *testing.F) {
	for name := range dumpers {
		f.Add(name, []byte("0\n1\nt 0 5\n"))
	}
	f.Add("0.log", []byte("0\n1\nt 0 5\n"))
	f.Fuzz(func(t *testing.T, name string, p []byte) {
		if strings.ContainsAny(name, "/\x00") || name == "" || name == "." || name == ".." || len(name) > 100 {
			t.Skip("no name of a file")
		}
		r := varve(t.Context(), "", "log", "dump", "--json", "--records", write(t, name, p))
		if r.code != exitDone && r.code != exitFailed {
			t.Fatal(r)
		}
	})
}
