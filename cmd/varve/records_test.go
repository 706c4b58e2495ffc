package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestConsumePrintsWhatProduceWrote(t *testing.T) {
	b := startBroker(t)
	b.ok("", "topic", "create", "t", "--partitions", "2")
	b.ok("k1|v1\nk2|NULL\nNULL|v3\n", "produce", "t", "--key-separator", "|", "--null", "NULL", "--header", "h=1", "--header", "h=2",
		"--partition", "1", "--timestamp", "2023-11-14T22:13:20Z")
	equal(t, "values", b.ok("", "consume", "t", "--from-beginning", "--until-end"), "v1\nnull\nv3\n")
	equal(t, "fields", b.ok("", "consume", "t", "--from-beginning", "--until-end", "--print", "key,headers,timestamp,partition,offset"),
		"CreateTime:1700000000000\tPartition:1\tOffset:0\th:1,h:2\tk1\tv1\n"+
			"CreateTime:1700000000000\tPartition:1\tOffset:1\th:1,h:2\tk2\tnull\n"+
			"CreateTime:1700000000000\tPartition:1\tOffset:2\th:1,h:2\tnull\tv3\n")
	equal(t, "format", b.ok("", "consume", "t", "--from-beginning", "--until-end", "--format", `%t/%p/%o:%k=%v\n`), "t/1/0:k1=v1\nt/1/1:k2=\nt/1/2:=v3\n")
	equal(t, "JSON", b.ok("", "consume", "t", "--from-beginning", "-n", "2", "--output", "json"),
		`{"topic":"t","partition":1,"offset":0,"leader_epoch":0,"timestamp":1700000000000,"log_append_time":false,"headers":[{"key":"h","value":"1"},{"key":"h","value":"2"}],"key":"k1","value":"v1"}`+"\n"+
			`{"topic":"t","partition":1,"offset":1,"leader_epoch":0,"timestamp":1700000000000,"log_append_time":false,"headers":[{"key":"h","value":"1"},{"key":"h","value":"2"}],"key":"k2","value":null}`+"\n")
}

func TestProduceKeepsBytesUnderEveryCodecAndAck(t *testing.T) {
	b := startBroker(t)
	b.ok("", "topic", "create", "t")
	line := "<&>\t\xff\xfe " + strings.Repeat("x", 100)
	var want string
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		for _, acks := range []string{"all", "1", "0"} {
			b.ok(line+"\n\n", "produce", "t", "--compression", codec, "--acks", acks)
			want += line + "\n\n"
		}
	}
	equal(t, "values", b.ok("", "consume", "t", "--from-beginning", "-n", "30"), want)
	if r := stream[jsonRecord](t, b.ok("", "consume", "t", "--from-beginning", "-n", "2", "--output", "json")); r[1].Value != "" || fmt.Sprint(r[0].Value)[:11] != "map[base64:" {
		t.Errorf("JSON of bytes: %v", r)
	}
}

func TestProduceTellsOffsetsAsJSON(t *testing.T) {
	b := startBroker(t)
	out := b.ok("a\nb\n", "produce", "made-by-this", "--output", "json")
	r := stream[writtenRecord](t, out)
	if len(r) != 2 || r[1].Line != 2 || r[1].Offset != 1 || r[1].Topic != "made-by-this" || r[1].Timestamp < 1 {
		t.Errorf("written: %s", out)
	}
}

func TestProduceNamesLinesThatWereRefused(t *testing.T) {
	b := startBroker(t)
	b.ok("", "topic", "create", "t", "--config", "max.message.bytes=600")
	in := strings.Repeat(strings.Repeat("x", 700)+"\n", 12)
	r := b.run("fits\n"+in, "produce", "t")
	r.fails(t, exitFailed, "12 of 13 records were not acknowledged")
	for _, want := range []string{"line 2 was not acknowledged: ", "MESSAGE_TOO_LARGE", "line 11 was not acknowledged: ", "… and 2 more"} {
		if !strings.Contains(r.errs, want) || strings.Contains(r.errs, "line 12 was") {
			t.Errorf("%q is not in\n%s", want, r.errs)
		}
	}
	equal(t, "values", b.ok("", "consume", "t", "--from-beginning", "--until-end"), "fits\n")
	b.run("k|v\nno separator\nk|w\n", "produce", "t", "--key-separator", "|").fails(t, exitFailed, `line 2: no key separator "|" in "no separator"`)
	equal(t, "values", b.ok("", "consume", "t", "--from-beginning", "--until-end"), "fits\nv\n")
	r = b.run("x\n", "produce", "t", "--partition", "7", "--timeout", "5s")
	r.fails(t, exitFailed, "1 of 1 records were not acknowledged")
}

func TestConsumeBeginsWhereItIsTold(t *testing.T) {
	b := startBroker(t)
	b.ok("", "topic", "create", "t", "--partitions", "2")
	for i := range 10 {
		b.ok(fmt.Sprintf("%d\n", i), "produce", "t", "--partition", "0", "--timestamp", fmt.Sprint(1700000000000+i*1000))
	}
	b.ok("a\nb\n", "produce", "t", "--partition", "1", "--timestamp", "1600000000000")
	values := func(from, to int) (s string) {
		for i := from; i < to; i++ {
			s += fmt.Sprintln(i)
		}
		return s
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--offset", "4"}, values(4, 10)},
		{[]string{"--offset", "4", "-n", "2"}, values(4, 6)},
		{[]string{"--offset", "earliest"}, values(0, 10)},
		{[]string{"--offset", "latest"}, ""},
		{[]string{}, ""},
		{[]string{"--offset", "-3"}, values(7, 10)},
		{[]string{"--offset", "-300"}, values(0, 10)},
		{[]string{"--offset", "@1700000004500"}, values(5, 10)},
		{[]string{"--offset", "@2023-11-14T22:13:28Z"}, values(8, 10)},
		{[]string{"--offset", "@2050-01-01"}, ""},
	} {
		args := append([]string{"consume", "t", "--partition", "0", "--until-end"}, c.args...)
		equal(t, strings.Join(args, " "), b.ok("", args...), c.want)
	}
	if got := strings.Fields(b.ok("", "consume", "t", "--offset", "-1", "--until-end")); len(got) != 2 || !slices.Contains(got, "9") || !slices.Contains(got, "b") {
		t.Errorf("last of each partition: %v", got)
	}
	r := b.run("", "consume", "t", "--offset", "100", "--until-end")
	if r.code != exitDone || !strings.Contains(r.errs, "t-0: offset 100 is not there, reading from 10\nt-1: offset 100 is not there, reading from 2\n") {
		t.Errorf("offset beyond the end: %v", r)
	}
	b.fails(exitFailed, "topic t has no partition 2: it has 2", "consume", "t", "--partition", "2")
	b.fails(exitFailed, "topic nope: UNKNOWN_TOPIC_OR_PARTITION", "consume", "nope")
	if got := b.ok("", "topic", "list"); got != "t\n" {
		t.Errorf("reading made a topic: %s", got)
	}
}

// follow starts a command that runs until stop interrupts it.
func (b *testBroker) follow(args ...string) (stop func() result) {
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan result, 1)
	go func() { done <- varve(ctx, "", append(args, "--bootstrap-server", b.at)...) }()
	return func() result { cancel(); return <-done }
}

func TestConsumeInterruptedCommitsAndSucceeds(t *testing.T) {
	b := startBroker(t)
	b.ok("a\nb\nc\n", "produce", "t")
	stop := b.follow("consume", "t", "--group", "g", "--from-beginning")
	await(t, "a member with a commit", func() bool {
		r := b.run("", "group", "describe", "g", "--output", "json")
		if r.code != exitDone {
			return false
		}
		g := stream[[]groupDescription](t, r.out)[0][0]
		return g.State == "Stable" && len(g.Members) == 1 && len(g.Partitions) == 1 && g.Partitions[0].Current == 3 && g.Partitions[0].Member == g.Members[0].ID
	})
	r := stop()
	if r.code != exitDone || r.out != "a\nb\nc\n" {
		t.Errorf("interrupted: %v", r)
	}
	b.ok("d\n", "produce", "t")
	equal(t, "the group goes on", b.ok("", "consume", "t", "--group", "g", "--until-end"), "d\n")
	equal(t, "and has nothing more", b.ok("", "consume", "t", "--group", "g", "--until-end"), "")
}

func TestConsumeCommitsOnlyWhatItPrinted(t *testing.T) {
	b := startBroker(t)
	b.ok("1\n2\n3\n4\n5\n", "produce", "t")
	equal(t, "two", b.ok("", "consume", "t", "--group", "g", "--from-beginning", "-n", "2"), "1\n2\n")
	equal(t, "the next two", b.ok("", "consume", "t", "--group", "g", "-n", "2"), "3\n4\n")
	equal(t, "the rest", b.ok("", "consume", "t", "--group", "g", "--until-end"), "5\n")
}

func TestProduceGivesUpWhenTheBrokerHasGone(t *testing.T) {
	b := startBroker(t)
	b.ok("", "topic", "create", "t")
	in, typed := io.Pipe()
	printed, out := io.Pipe()
	var errs bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- run(t.Context(), []string{"produce", "t", "--output", "json", "--timeout", "500ms", "--bootstrap-server", b.at}, in, out, &errs)
		out.Close()
	}()
	fmt.Fprintln(typed, "heard")
	if line, err := bufio.NewReader(printed).ReadString('\n'); err != nil || !strings.Contains(line, `"offset":0`) {
		t.Fatalf("%s, %v", line, err)
	}
	b.stop()
	fmt.Fprintln(typed, "not heard")
	typed.Close()
	go io.Copy(io.Discard, printed)
	result{[]string{"produce"}, <-code, "", errs.String()}.fails(t, exitFailed, "1 of 2 records were not acknowledged")
}
