package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/varvelog/varve/broker"
	"github.com/varvelog/varve/broker/config"
)

// records are lines that fill about size bytes of a topic, in several batches.
func (b *testBroker) records(topic string, size int) {
	b.t.Helper()
	line := strings.Repeat("x", 99) + "\n"
	for ; size > 0; size -= 200_000 {
		b.ok(strings.Repeat(line, 2000), "produce", topic)
	}
}

// TestDryRunListsExactlyWhatTheChangeRemoves asks a running broker what a shorter
// retention would remove, shortens it, and compares what went.
func TestDryRunListsExactlyWhatTheChangeRemoves(t *testing.T) {
	b := startBroker(t, "log.retention.check.interval.ms=50")
	b.ok("", "topic", "create", "t", "--config", "segment.bytes=1048576")
	b.records("t", 6<<20)
	explained := func() broker.TierExplanation {
		return decode[[]broker.TierExplanation](b, "tier", "explain", "t:0", "--http", b.http)[0]
	}
	var before broker.TierExplanation
	await(t, "every sealed segment in the bucket and on disk", func() bool {
		before = explained()
		return len(before.Segments) >= 6 && !slices.ContainsFunc(before.Segments, func(s broker.SegmentExplanation) bool { return !s.Active && s.Where != "both" })
	})
	change := []string{"topic", "alter", "t", "--config", "retention.bytes=3000000", "--config", "local.retention.bytes=1500000"}
	dry := decode[[]broker.Rehearsal](b, append(change, "--dry-run", "--http", b.http)...)[0]
	if after := explained(); len(after.Segments) != len(before.Segments) {
		t.Fatalf("the dry run changed something: %+v", after)
	}
	b.ok("", change...)
	await(t, "what the dry run named", func() bool { return fmt.Sprint(gone(before, explained())) == fmt.Sprint(named(dry)) })
	if n := named(dry); len(n) < 3 || dry.Requests.Puts == 0 || dry.Requests.Deletes == 0 {
		t.Errorf("%+v", dry)
	}
	for _, x := range dry.Touched {
		if x.Setting == nil || x.Setting.From != config.FromTopic || x.Anyway || x.Setting.Value != map[string]string{"retention.bytes": "3000000", "local.retention.bytes": "1500000"}[x.Setting.Name] {
			t.Errorf("%+v by %+v", x, x.Setting)
		}
	}
	again := decode[[]broker.Rehearsal](b, append(change, "--dry-run", "--http", b.http)...)[0]
	if len(again.Touched) != 0 {
		t.Errorf("the same change again touches %+v", again.Touched)
	}
	if text := b.ok("", append(change, "--dry-run", "--http", b.http)...); text != "The change touches no segment now.\n" {
		t.Error(text)
	}
}

// gone lists what expired or left the disk between two explanations.
func gone(before, after broker.TierExplanation) []string {
	var all []string
	for _, s := range before.Segments {
		i := slices.IndexFunc(after.Segments, func(o broker.SegmentExplanation) bool { return o.Base == s.Base })
		switch {
		case i < 0:
			all = append(all, fmt.Sprintf("expire %d-%d: %d", s.Base, s.Next, s.Size))
		case s.Where == "both" && after.Segments[i].Where == "bucket":
			all = append(all, fmt.Sprintf("trim %d-%d: %d", s.Base, s.Next, s.Size))
		}
	}
	return all
}

func named(r broker.Rehearsal) []string {
	var all []string
	for _, x := range r.Touched {
		all = append(all, fmt.Sprintf("%s %d-%d: %d", x.Action, x.Base, x.Next, x.Size))
	}
	return all
}

func TestExplainAndDryRunInWords(t *testing.T) {
	b := startBroker(t, "log.retention.hours=24", "log.retention.check.interval.ms=50")
	b.ok("", "topic", "create", "t", "--config", "segment.bytes=1048576", "--config", "local.retention.ms=3600000")
	b.records("t", 3<<20)
	await(t, "every sealed segment in the bucket", func() bool {
		text := b.ok("", "tier", "explain", "t", "--http", b.http)
		return strings.Contains(text, "disk and bucket") && !strings.Contains(text, "with the next pass")
	})
	text := b.ok("", "tier", "explain", "t", "--http", b.http)
	for _, want := range []string{
		"t-0: log start 0, local start 0, tiered end ", "copies are made every 50ms, limits are applied every 50ms",
		"leaves the disk at 2", "by local.retention.ms=3600000 (topic)", "is deleted at 2", "by retention.ms=86400000 (broker: log.retention.hours)",
		"disk, active", "is sealed at 2", "by segment.ms=604800000 (default), or after ", " bytes more by segment.bytes=1048576 (topic)",
		"is copied to the bucket once it can be: it waits for being sealed, by remote.storage.enable=true (topic)",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	text = b.ok("", "topic", "alter", "t", "--config", "local.retention.ms=0", "--dry-run", "--http", b.http)
	for _, want := range []string{"trim    local.retention.ms=0 (topic)", "\ntrim: ", "requests to the bucket: 0 PUT, 0 DELETE"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	b.fails(exitFailed, "no such topic or partition", "tier", "explain", "nope", "--http", b.http)
	b.fails(exitFailed, "no such topic or partition", "tier", "explain", "t:7", "--http", b.http)
	b.fails(exitUsage, "t:x is not TOPIC or TOPIC:PARTITION", "tier", "explain", "t:x", "--http", b.http)
	b.fails(exitFailed, "retention.ms", "topic", "alter", "t", "--config", "retention.ms=soon", "--dry-run", "--http", b.http)
	b.fails(exitFailed, "remote.storage.enable", "topic", "alter", "t", "--config", "remote.storage.enable=false", "--dry-run", "--http", b.http)
	b.fails(exitUsage, "nothing to rehearse", "topic", "alter", "t", "--dry-run", "--http", b.http)
	b.fails(exitUsage, "--dry-run is of configs", "topic", "alter", "t", "--dry-run", "--partitions", "3", "--http", b.http)
	b.stop()
	b.fails(exitFailed, "nobody answers at http://"+b.http, "tier", "explain", "t", "--http", b.http)
}

func TestExplainSaysWhomToAsk(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `[{"topic":"t","partition":0,"leader":3},{"topic":"t","partition":1,"leader":-1}]`)
	}))
	defer s.Close()
	at := strings.TrimPrefix(s.URL, "http://")
	for _, args := range [][]string{{"tier", "explain", "t", "--http", at}, {"topic", "alter", "t", "--config", "retention.ms=1", "--dry-run", "--http", at}} {
		r := varve(t.Context(), "", args...)
		r.fails(t, exitFailed, "t-0 is led by broker 3: ask that one's HTTP listener (--http)")
		r.fails(t, exitFailed, "t-1 has no leader just now")
	}
}

// TestExplainAndDryRunCoverCompaction: a compacted topic says how dirty it is, and a dry
// run of another ratio lists what a pass would rewrite, and then does.
func TestExplainAndDryRunCoverCompaction(t *testing.T) {
	b := startBroker(t, "log.cleaner.backoff.ms=50")
	b.ok("", "topic", "create", "t", "--config", "cleanup.policy=compact", "--config", "segment.bytes=1048576", "--config", "min.cleanable.dirty.ratio=1")
	line := "k|" + strings.Repeat("x", 99) + "\n"
	for range 12 {
		b.ok(strings.Repeat(line, 2000), "produce", "t", "--key-separator", "|")
	}
	explained := func() broker.TierExplanation {
		return decode[[]broker.TierExplanation](b, "tier", "explain", "t", "--http", b.http)[0]
	}
	e := explained()
	c := e.Compaction
	if c == nil || c.Due || c.Ratio != 1 || c.DirtyBytes < 1<<20 || c.Bound != e.Segments[len(e.Segments)-1].Base || c.MinRatio.Value != "1" {
		t.Fatalf("%+v", c)
	}
	text := b.ok("", "tier", "explain", "t", "--http", b.http)
	for _, want := range []string{"compacted below 0; up to ", "ratio 1.00, due above min.cleanable.dirty.ratio=1 (topic)", "is compacted once it can be: the dirty ratio is 1.00, by min.cleanable.dirty.ratio=1 (topic)", "is compacted later: it is still written to"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	change := []string{"topic", "alter", "t", "--config", "min.cleanable.dirty.ratio=0.5"}
	dry := decode[[]broker.Rehearsal](b, append(change, "--dry-run", "--http", b.http)...)[0]
	if len(dry.Touched) != len(e.Segments)-1 || dry.Touched[0].Action != broker.Compact || dry.Touched[0].Setting.Value != "0.5" || dry.Touched[0].Anyway {
		t.Fatalf("%+v", dry)
	}
	b.ok("", change...)
	await(t, "the pass", func() bool { return explained().Compaction.FirstDirty == dry.Touched[len(dry.Touched)-1].Next })
}
