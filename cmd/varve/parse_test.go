package main

import (
	"errors"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

func isUsage(err error) bool {
	var u usageError
	return errors.As(err, &u)
}

func TestParsePlaceReadsOffsetsEndsAndTimes(t *testing.T) {
	for _, c := range []struct {
		in   string
		want place
		bad  bool
	}{
		{in: "earliest", want: place{kind: atEarliest}},
		{in: "beginning", want: place{kind: atEarliest}},
		{in: "latest", want: place{kind: atLatest}},
		{in: "end", want: place{kind: atLatest}},
		{in: "0", want: place{atOffset, 0}},
		{in: "42", want: place{atOffset, 42}},
		{in: "9223372036854775807", want: place{atOffset, 1<<63 - 1}},
		{in: "-3", want: place{atLast, 3}},
		{in: "-0", want: place{atLast, 0}},
		{in: "@1700000000000", want: place{atTime, 1700000000000}},
		{in: "@2023-11-14T22:13:20Z", want: place{atTime, 1700000000000}},
		{in: "@2023-11-14T23:13:20+01:00", want: place{atTime, 1700000000000}},
		{in: "@2023-11-14", want: place{atTime, 1699920000000}},
		{in: "", bad: true},
		{in: "@", bad: true},
		{in: "@yesterday", bad: true},
		{in: "@-5", bad: true},
		{in: "@1969-12-31", bad: true},
		{in: "1.5", bad: true},
		{in: "9223372036854775808", bad: true},
		{in: "-9223372036854775808", bad: true},
	} {
		got, err := parsePlace(c.in)
		if c.bad != isUsage(err) || err == nil && got != c.want {
			t.Errorf("parsePlace(%q) = %v, %v", c.in, got, err)
		}
	}
}

func TestPlaceLiesAlwaysInThePartition(t *testing.T) {
	some := bounds{earliest: 10, latest: 20, present: 15, byTime: 13}
	none := bounds{earliest: 10, latest: 20, present: -1, byTime: -1}
	for _, c := range []struct {
		name string
		p    place
		b    bounds
		want int64
		ok   bool
	}{
		{"earliest", place{kind: atEarliest}, some, 10, true},
		{"latest", place{kind: atLatest}, some, 20, true},
		{"offset", place{atOffset, 12}, some, 12, true},
		{"offset at the end", place{atOffset, 20}, some, 20, true},
		{"offset before", place{atOffset, 3}, some, 10, false},
		{"offset behind", place{atOffset, 21}, some, 20, false},
		{"last", place{atLast, 4}, some, 16, true},
		{"last of more than there is", place{atLast, 1 << 62}, some, 10, true},
		{"time", place{atTime, 1}, some, 13, true},
		{"time after all", place{atTime, 1}, none, 20, true},
		{"time of a record that went", place{atTime, 1}, bounds{10, 20, -1, 5}, 10, true},
		{"shift forward", place{atShift, 3}, some, 18, true},
		{"shift back", place{atShift, -5}, some, 10, true},
		{"shift too far back", place{atShift, -6}, some, 10, false},
		{"shift too far", place{atShift, 1<<63 - 1}, some, 20, false},
		{"shift from nowhere", place{atShift, 1}, none, 20, false},
	} {
		if got, ok := c.p.in(c.b); got != c.want || ok != c.ok {
			t.Errorf("%s: %d, %t, want %d, %t", c.name, got, ok, c.want, c.ok)
		}
	}
}

func TestReadPlanEndsWhereThePartitionEndedAtTheStart(t *testing.T) {
	p := newReadPlan(place{atOffset, 5}, true, map[int32]bounds{
		0: {earliest: 0, latest: 7, present: -1},
		1: {earliest: 6, latest: 6, present: -1},  // empty: nothing to wait for
		2: {earliest: 0, latest: 9, present: 8},   // a group goes on where it was
		3: {earliest: 0, latest: 9, present: 100}, // and is at the end already
	})
	if want := map[int32]int64{0: 5, 1: 6, 2: 8, 3: 9}; !reflect.DeepEqual(p.from, want) {
		t.Errorf("from %v, want %v", p.from, want)
	}
	if want := []moved{{1, 5, 6}}; !reflect.DeepEqual(p.moved, want) {
		t.Errorf("moved %v, want %v", p.moved, want)
	}
	for _, step := range []struct {
		partition int32
		next      int64
		done      bool
	}{{0, 6, false}, {2, 9, false}, {1, 100, false}, {0, 7, true}} {
		if p.reached(step.partition, step.next); p.done() != step.done {
			t.Errorf("after %v: done is %t", step, p.done())
		}
	}
	if newReadPlan(place{kind: atLatest}, false, map[int32]bounds{0: {present: -1}}).done() {
		t.Error("a reader without end is done")
	}
}

func TestParsePairsSplitAtTheFirstEqualSign(t *testing.T) {
	configs, err := parseConfigs([]string{"a=b", "c=d=e", "f="})
	if want := map[string]string{"a": "b", "c": "d=e", "f": ""}; err != nil || !reflect.DeepEqual(configs, want) {
		t.Errorf("configs %v, %v", configs, err)
	}
	for _, bad := range [][]string{{"a"}, {"=b"}, {""}, {"a=1", "a=2"}} {
		if _, err := parseConfigs(bad); !isUsage(err) {
			t.Errorf("parseConfigs(%q): %v", bad, err)
		}
	}
	headers, err := parseHeaders([]string{"a=1", "a=2=3"})
	want := []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2=3")}}
	if err != nil || !reflect.DeepEqual(headers, want) {
		t.Errorf("headers %v, %v", headers, err)
	}
	if _, err := parseHeaders([]string{"x"}); !isUsage(err) {
		t.Errorf("header without value: %v", err)
	}
}

func TestParseTopicPartitions(t *testing.T) {
	for _, c := range []struct {
		in   string
		want topicPartitions
		bad  bool
	}{
		{in: "t", want: topicPartitions{topic: "t"}},
		{in: "t:0", want: topicPartitions{"t", []int32{0}}},
		{in: "t:2,0", want: topicPartitions{"t", []int32{2, 0}}},
		{in: "", bad: true}, {in: ":1", bad: true}, {in: "t:", bad: true}, {in: "t:x", bad: true}, {in: "t:-1", bad: true}, {in: "t:1,", bad: true},
	} {
		if got, err := parseTopicPartitions(c.in); c.bad != isUsage(err) || err == nil && !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %v, %v", c.in, got, err)
		}
	}
}

func TestParseFields(t *testing.T) {
	for _, c := range []struct {
		in   string
		want fields
		bad  bool
	}{
		{in: "", want: fields{value: true}},
		{in: "key,offset", want: fields{key: true, offset: true}},
		{in: "key, headers,timestamp,partition,offset,value", want: fields{true, true, true, true, true, true}},
		{in: "keys", bad: true}, {in: "key,", bad: true},
	} {
		if got, err := parseFields(c.in); c.bad != isUsage(err) || err == nil && got != c.want {
			t.Errorf("%q: %v, %v", c.in, got, err)
		}
	}
}

func TestNamesOfAcksCodecsAndIsolationLevels(t *testing.T) {
	for _, s := range []string{"all", "-1", "1", "0"} {
		if _, err := parseAcks(s); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		if _, err := parseCodec(s); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []string{"read_committed", "read_uncommitted"} {
		if _, err := parseIsolation(s); err != nil {
			t.Error(err)
		}
	}
	_, err1 := parseAcks("2")
	_, err2 := parseCodec("br")
	_, err3 := parseIsolation("")
	if !isUsage(err1) || !isUsage(err2) || !isUsage(err3) {
		t.Error(err1, err2, err3)
	}
}

func TestUnescapeReadsTabs(t *testing.T) {
	if got, err := unescape("f", `a\t\n\r\0\\b`); err != nil || got != "a\t\n\r\x00\\b" {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{`\`, `\x`} {
		if _, err := unescape("f", bad); !isUsage(err) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestTemplateSplitsKeysAndReadsNulls(t *testing.T) {
	keyed := template{topic: "t", separator: []byte("::"), null: []byte("-")}
	for _, c := range []struct{ line, key, value string }{
		{"k::v", "k", "v"}, {"k::v::w", "k", "v::w"}, {"::v", "", "v"}, {"k::", "k", ""}, {"-::-", "null", "null"}, {"k::-", "k", "null"},
	} {
		r, err := keyed.record([]byte(c.line))
		if err != nil || string(appendNullable(nil, r.Key)) != c.key || string(appendNullable(nil, r.Value)) != c.value {
			t.Errorf("%q: %v, %v", c.line, r, err)
		}
	}
	if _, err := keyed.record([]byte("no separator")); err == nil {
		t.Error("a line without separator was taken")
	}
	plain := template{topic: "t"}
	if r, err := plain.record([]byte{}); err != nil || r.Key != nil || r.Value == nil {
		t.Errorf("an empty line is an empty value: %v, %v", r, err)
	}
}

func TestSeedsHaveKafkasPort(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string
		http string
	}{
		{"localhost:9092", []string{"localhost:9092"}, "localhost:8092"},
		{"a, b:1 ,", []string{"a:9092", "b:1"}, "a:8092"},
		{"[::1]:19092", []string{"[::1]:19092"}, "[::1]:18092"},
		{"::1", []string{"[::1]:9092"}, "[::1]:8092"},
		{"", nil, ""},
		{"a:500", []string{"a:500"}, ""},
	} {
		f := flags{bootstrap: c.in}
		if got, err := f.seeds(); isUsage(err) != (c.want == nil) || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %v, %v", c.in, got, err)
		}
		if got, err := f.httpAddress(); isUsage(err) != (c.http == "") || got != c.http {
			t.Errorf("HTTP beside %q: %s, %v", c.in, got, err)
		}
	}
}

func TestNumbersForPeople(t *testing.T) {
	for want, got := range map[string]string{
		"0": commas(0), "999": commas(999), "1,000": commas(1000), "-1,234,567": commas(-1234567), "-123": commas(-123),
		"1023 B": size(1023), "1.0 KiB": size(1024), "1.5 MiB": size(3 << 19), "2.0 PiB": size(2 << 50),
		"-": number(int64(-1)), "7": number(int32(7)), "0,1,2": numbers([]int32{0, 1, 2}),
		"2023-11-14T22:13:20.000Z": millis(1700000000000),
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// FuzzParse holds the parsers of arguments to what they promise: usage errors only.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"earliest", "-3", "@2023-11-14T22:13:20Z", "t:0,1", "key,value", `\t`, "a=b", "::1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err1 := parsePlace(s)
		_, err2 := parseTopicPartitions(s)
		_, err3 := parseFields(s)
		_, err4 := unescape("f", s)
		_, err5 := parseConfigs([]string{s})
		_, err6 := (&flags{bootstrap: s}).seeds()
		for _, err := range []error{err1, err2, err3, err4, err5, err6} {
			if err != nil && !isUsage(err) {
				t.Error(err)
			}
		}
		for _, b := range []bounds{{0, 0, -1, -1}, {5, 9, 7, 6}, {5, 9, 7, 100}} {
			if at, _ := p.in(b); at < b.earliest || at > b.latest {
				t.Errorf("%v in %v is %d", p, b, at)
			}
		}
	})
}
