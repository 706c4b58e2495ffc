package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

func TestMistakesInTheCommandLineExitWithTwo(t *testing.T) {
	for _, c := range []struct{ line, why string }{
		{"", "name a command"},
		{"nonsense", `there is no command "nonsense"; see`},
		{"topic", "name a command"},
		{"topic nonsense", `there is no command "nonsense"; see`},
		{"group", "name a command"},
		{"config", "name a command"},
		{"config describe", "name a command"},
		{"tier", "name a command"},
		{"log", "name a command"},
		{"--nonsense", "unknown flag: --nonsense"},
		{"topic list x", "unknown command"},
		{"topic list --output xml", "neither text nor json"},
		{"topic list --timeout x", "invalid argument"},
		{"topic list --timeout 0s", "--timeout 0s is not above zero"},
		{"topic create", "name a topic"},
		{"topic create t --config x", "--config x is not of the form key=value"},
		{"topic create t --partitions 0", "at least one partition"},
		{"topic create t --replication-factor -3", "at least one partition and one replica"},
		{"topic create t --partitions x", "invalid argument"},
		{"topic alter t", "nothing to alter"},
		{"topic alter t --partitions -1", "not a number of partitions"},
		{"topic alter t u --partitions 1", "name one topic, not 2"},
		{"topic alter t --config a=1 --delete-config a", "set as well"},
		{"topic delete", "name a topic"},
		{"topic delete t", "nobody is there to confirm: give --yes"},
		{"produce", "name a topic"},
		{"produce t --acks 2", "--acks 2 is none of"},
		{"produce t --compression br", "--compression br is none of"},
		{"produce t --header x", "--header x is not of the form"},
		{"produce t --timestamp x", "is neither milliseconds"},
		{"produce t --partition -4", "not a partition"},
		{"produce t --key-separator=", "--key-separator is empty"},
		{"consume", "name a topic"},
		{"consume t --offset x", `offset "x" is none of`},
		{"consume t --offset 3 --from-beginning", "none of the others can be"},
		{"consume t --group g --partition 0", "none of the others can be"},
		{"consume t -n 0", "not a number of records"},
		{"consume t --partition=-1", "not a partition"},
		{"consume t --print keys", `"keys" is none of`},
		{"consume t --format %!", "--format: "},
		{"consume t --print key --output json", "--output json shows everything"},
		{"consume t --isolation-level x", "--isolation-level x is none of"},
		{"group describe", "name a group"},
		{"group delete", "name a group"},
		{"group reset-offsets g --topic t", "at least one of the flags"},
		{"group reset-offsets g --to-latest", "at least one of the flags"},
		{"group reset-offsets g --topic t --to-latest --to-earliest", "none of the others can be"},
		{"group reset-offsets g --topic t: --to-latest", "is not a partition"},
		{"group reset-offsets g --topic t --to-offset=-1", "--to-offset -1 is not an offset"},
		{"group reset-offsets g --topic t --to-datetime x", "is neither milliseconds"},
		{"config alter topic t", "nothing to alter"},
		{"config alter broker x --config a=b", `"x" is not the id of a broker`},
		{"config describe broker x", `"x" is not the id of a broker`},
		{"config describe topic", "name a topic"},
		{"tier status a b", "accepts at most 1 arg"},
		{"tier status --bootstrap-server h:1", "give --http"},
		{"tier status --http a/b:c%zz", "is not host:port"},
		{"topic list --bootstrap-server ,", "names no broker"},
		{"log dump", "name a file"},
		{"health x", "unknown command"},
		{"server --set x", "--set x is not of the form key=value"},
		{"server --set log.retention.hour=1", "did you mean"},
		{"server /no/such/server.properties", "no such file"},
	} {
		varve(t.Context(), "", strings.Fields(c.line)...).fails(t, exitUsage, c.why)
	}
}

func TestUsageGoesToStandardErrorUnlessAskedFor(t *testing.T) {
	if r := varve(t.Context(), "", "topic"); r.out != "" || !strings.Contains(r.errs, "Available Commands:") {
		t.Errorf("%v", r)
	}
	if r := varve(t.Context(), "", "topic", "--help"); r.code != exitDone || !strings.Contains(r.out, "Available Commands:") || r.errs != "" {
		t.Errorf("%v", r)
	}
}

// remote are commands that talk to a broker.
var remote = []string{
	"topic create t", "topic list", "topic describe", "topic alter t --partitions 2", "topic delete t --yes", "produce t", "consume t",
	"group list", "group describe g", "group reset-offsets g --topic t --to-latest", "group delete g",
	"config describe topic t", "config describe broker", "config alter topic t --config a=b", "config alter broker --config a=b", "health",
}

func TestNoBrokerIsSaidInASentence(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	l.Close()
	for _, line := range remote {
		varve(t.Context(), "x\n", append(strings.Fields(line), "--bootstrap-server", at)...).
			fails(t, exitFailed, "varve: no broker answers at "+at+": is `varve server` running?")
	}
}

func TestASilentListenerIsNoBroker(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, for the kernel does, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	varve(t.Context(), "", "topic", "list", "--timeout", "200ms", "--bootstrap-server", l.Addr().String()).fails(t, exitFailed, "no broker answers at ")
	t.Setenv(bootstrapVariable, l.Addr().String())
	varve(t.Context(), "", "health", "--timeout", "200ms").fails(t, exitFailed, "no broker answers at "+l.Addr().String())
}

func TestHealthAndVersion(t *testing.T) {
	b := startBroker(t)
	equal(t, "health", b.ok("", "health"), "healthy\n")
	equal(t, "health as JSON", b.ok("", "health", "--output", "json"), `{"healthy":true}`+"\n")
	equal(t, "version", varve(t.Context(), "", "version").out, "varve dev\n")
	if r := varve(t.Context(), "", "version", "--output", "json"); !strings.HasPrefix(r.out, `{"go":"go1.`) {
		t.Errorf("%v", r)
	}
}

func TestServerIsReadyServesAndStops(t *testing.T) {
	t.Setenv(bootstrapVariable, "elsewhere:1") // is no setting of a broker
	dir := t.TempDir()
	out, in := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	code := make(chan int, 1)
	args := []string{"server", "--set", "log.dirs=" + dir, "--set", "listeners=PLAINTEXT://127.0.0.1:0", "--set", "varve.http.listener=127.0.0.1:0"}
	go func() {
		code <- run(ctx, args, strings.NewReader(""), in, io.Discard)
		in.Close()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	_, rest, ok := strings.Cut(line, "varve is ready: PLAINTEXT://")
	at, _, _ := strings.Cut(rest, ",")
	if err != nil || !ok {
		t.Fatalf("ready line %q, %v", line, err)
	}
	go io.Copy(io.Discard, out) // ends with the server
	if r := varve(t.Context(), "", "health", "--bootstrap-server", at); r.code != exitDone {
		t.Errorf("%v", r)
	}
	port := at[strings.LastIndexByte(at, ':'):]
	varve(t.Context(), "", "server", "--set", "log.dirs="+filepath.Join(dir, "other"), "--set", "listeners=PLAINTEXT://127.0.0.1"+port).
		fails(t, exitFailed, "address already in use")
	varve(t.Context(), "", append(args, "--set", "log.dirs="+dir)...).fails(t, exitFailed, dir)
	cancel()
	if c := <-code; c != exitDone {
		t.Errorf("stopped with %d", c)
	}
}
