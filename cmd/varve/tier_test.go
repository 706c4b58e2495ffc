package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/varvelog/varve/broker"
)

func TestTierStatusShowsSegmentsMoveToTheBucket(t *testing.T) {
	b := startBroker(t)
	b.ok("", "topic", "create", "t", "--config", "segment.bytes=1048576", "--config", "local.retention.bytes=1048576")
	var in strings.Builder
	for i := range 40000 {
		fmt.Fprintf(&in, "%05d %s\n", i, strings.Repeat("x", 94))
	}
	for part := range strings.SplitAfterSeq(in.String(), "9999 "+strings.Repeat("x", 94)+"\n") {
		b.ok(part, "produce", "t")
	}
	var s broker.TierStatus
	await(t, "segments in the bucket", func() bool {
		s = decode[[]broker.TierStatus](b, "tier", "status", "t", "--http", b.http)[0]
		n := len(s.Segments)
		return s.LocalStart > 0 && n >= 3 && s.Segments[n-1].Next == s.TieredEnd && s.RemoteBytes > 2<<20
	})
	if s.Topic != "t" || s.LogStart != 0 || s.TieredEnd < s.LocalStart || s.End != 40000 || len(s.Segments) != s.RemoteSegments || s.Segments[0].Base != 0 || s.Segments[0].Key == "" {
		t.Errorf("%+v", s)
	}
	equal(t, "records from the bucket and the disk", b.ok("", "consume", "t", "--from-beginning", "--until-end"), in.String())
	d := decode[[]topicDescription](b, "topic", "describe", "t")[0].Partitions[0]
	if d.Earliest != 0 || d.EarliestLocal < s.LocalStart || d.LatestTiered < s.LocalStart-1 || d.Latest != 40000 {
		t.Errorf("describe: %+v", d)
	}
	text := b.ok("", "tier", "status", "--segments", "--http", b.http)
	for _, want := range []string{"TOPIC  PARTITION  LOG-START  LOCAL-START  TIERED-END  END    LOCAL", "\nt      0          0 ", "OBJECT", s.Segments[0].Key} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	b.fails(exitFailed, "the broker has no partition of topic nope", "tier", "status", "nope", "--http", b.http)
}

func TestTierStatusSaysWhatIsWrongWithTheAnswer(t *testing.T) {
	for _, c := range []struct {
		body string
		code int
		why  string
	}{
		{"[]", http.StatusNotFound, "/tier answers 404 Not Found: is it a varve broker's HTTP listener?"},
		{"<html>", http.StatusOK, "does not answer as a varve broker does"},
		{`[{"topic":"t","error":"bucket is away"}]`, http.StatusOK, "t-0: bucket is away"},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.code)
			fmt.Fprint(w, c.body)
		}))
		varve(t.Context(), "", "tier", "status", "--http", strings.TrimPrefix(s.URL, "http://")).fails(t, exitFailed, c.why)
		s.Close()
		varve(t.Context(), "", "tier", "status", "--http", strings.TrimPrefix(s.URL, "http://")).fails(t, exitFailed, "nobody answers at ")
	}
}

func TestTierStateInWords(t *testing.T) {
	for want, s := range map[string]broker.TierStatus{
		"ok": {}, "error": {Error: "x"}, "not tiered": {TieredEnd: -1}, "copying": {Intents: 1},
		"outcome of a commit unknown": {Uncertain: true, Intents: 1}, "2 dead objects": {DeadObjects: 2},
	} {
		if got := tierState(s); got != want {
			t.Errorf("%+v: %s, want %s", s, got, want)
		}
	}
}
