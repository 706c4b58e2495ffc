package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/varvelog/varve/broker"
	"github.com/varvelog/varve/broker/config"
)

// limit bounds every wait of the tests.
const limit = 30 * time.Second

// testBroker is a broker in this process, over a temporary directory.
type testBroker struct {
	t    *testing.T
	dir  string
	at   string // host:port
	http string
	stop func() // and close; once
}

func startBroker(t *testing.T, sets ...string) *testBroker {
	t.Helper()
	return startBrokerIn(t, t.TempDir(), sets...)
}

// startBrokerIn is startBroker over a directory, of a broker before it perhaps.
func startBrokerIn(t *testing.T, dir string, sets ...string) *testBroker {
	t.Helper()
	b := &testBroker{t: t, dir: dir}
	cfg, _, err := config.Load(config.Sources{Sets: append([]string{
		"log.dirs=" + b.dir, "listeners=PLAINTEXT://127.0.0.1:0", "varve.http.listener=127.0.0.1:0",
		"offsets.topic.num.partitions=2", "group.initial.rebalance.delay.ms=0", "remote.log.manager.task.interval.ms=50",
	}, sets...)})
	if err != nil {
		t.Fatal(err)
	}
	opened, err := broker.Open(t.Context(), broker.Options{Config: cfg, Log: zap.NewNop(), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- opened.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	case <-time.After(limit):
		t.Fatal("the broker is not ready")
	}
	b.at, b.http = opened.Address("PLAINTEXT"), opened.HTTPAddress()
	b.stop = sync.OnceFunc(func() {
		cancel()
		<-ended
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(b.stop)
	return b
}

// result is how a command ended.
type result struct {
	args      []string
	code      int
	out, errs string
}

// varve runs a command.
func varve(ctx context.Context, in string, args ...string) result {
	var out, errs bytes.Buffer
	code := run(ctx, args, strings.NewReader(in), &out, &errs)
	return result{args, code, out.String(), errs.String()}
}

// run runs a command against the broker.
func (b *testBroker) run(in string, args ...string) result {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), limit)
	defer cancel()
	return varve(ctx, in, append(args, "--bootstrap-server", b.at)...)
}

// ok runs a command that has to succeed and returns what it printed.
func (b *testBroker) ok(in string, args ...string) string {
	b.t.Helper()
	r := b.run(in, args...)
	if r.code != exitDone {
		b.t.Fatalf("varve %s: exit code %d\n%s%s", strings.Join(args, " "), r.code, r.out, r.errs)
	}
	return r.out
}

// fails runs a command that has to fail with a code, saying why in one piece.
func (b *testBroker) fails(code int, why string, args ...string) {
	b.t.Helper()
	b.run("", args...).fails(b.t, code, why)
}

func (r result) fails(t *testing.T, code int, why string) {
	t.Helper()
	if r.code != code || !strings.Contains(r.errs, why) || strings.Contains(r.errs, "goroutine ") {
		t.Errorf("varve %s: exit code %d, want %d and %q in\n%s", strings.Join(r.args, " "), r.code, code, why, r.errs)
	}
}

// decode runs a command with --output json and decodes what it prints.
func decode[T any](b *testBroker, args ...string) T {
	b.t.Helper()
	var v T
	out := b.ok("", append(args, "--output", "json")...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		b.t.Fatalf("varve %s: %v in\n%s", strings.Join(args, " "), err, out)
	}
	return v
}

// stream decodes JSON values that follow one another.
func stream[T any](t *testing.T, text string) []T {
	t.Helper()
	var all []T
	for d := json.NewDecoder(strings.NewReader(text)); ; {
		var v T
		err := d.Decode(&v)
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		all = append(all, v)
	}
}

// await repeats do until it holds; each turn asks the broker, which is what takes time.
func await(t *testing.T, what string, do func() bool) {
	t.Helper()
	for begin := time.Now(); !do(); {
		if time.Since(begin) > limit {
			t.Fatal("waited in vain for " + what)
		}
	}
}

func equal(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n%s\nwant\n%s", what, got, want)
	}
}
