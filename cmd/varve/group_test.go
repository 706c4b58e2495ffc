package main

import (
	"strings"
	"testing"
)

func TestGroupFromFirstOffsetToDelete(t *testing.T) {
	b := startBroker(t)
	b.ok("", "topic", "create", "t", "--partitions", "2")
	b.ok("a\nb\nc\nd\n", "produce", "t", "--partition", "0", "--timestamp", "1700000000000")
	equal(t, "no groups", b.ok("", "group", "list"), "GROUP  STATE  PROTOCOL\n")
	b.ok("", "consume", "t", "--group", "g", "--from-beginning", "-n", "3")
	equal(t, "list", b.ok("", "group", "list"), "GROUP  STATE  PROTOCOL\ng      Empty  consumer\n")
	if all := decode[[]listedGroup](b, "group", "list"); len(all) != 1 || all[0] != (listedGroup{"g", "Empty", "consumer"}) {
		t.Errorf("list as JSON: %v", all)
	}
	described := b.ok("", "group", "describe", "g")
	for _, want := range []string{"Group: g  State: Empty  Protocol: -  Coordinator: 0  Members: 0\n", "\nt      0          3               4               1    -            -     -\n"} {
		if !strings.Contains(described, want) {
			t.Errorf("%q is not in\n%s", want, described)
		}
	}
	b.fails(exitFailed, "group nope: GROUP_ID_NOT_FOUND", "group", "describe", "nope")

	for _, c := range []struct {
		args []string
		want int64
	}{
		{[]string{"--to-earliest"}, 0},
		{[]string{"--to-latest"}, 4},
		{[]string{"--to-offset", "2"}, 2},
		{[]string{"--to-offset", "200"}, 4},
		{[]string{"--shift-by", "-2"}, 1},
		{[]string{"--shift-by", "5"}, 4},
		{[]string{"--to-datetime", "2023-11-14T22:13:20Z"}, 0},
		{[]string{"--to-datetime", "1700000000001"}, 4},
	} {
		args := append([]string{"group", "reset-offsets", "g", "--topic", "t:0", "--output", "json"}, c.args...)
		r := stream[struct {
			Executed   bool
			Partitions []resetPartition
		}](t, b.ok("", args...))[0]
		if r.Executed || len(r.Partitions) != 1 || r.Partitions[0].Old != 3 || r.Partitions[0].New != c.want {
			t.Errorf("%v: %+v", c.args, r)
		}
	}
	r := b.run("", "group", "reset-offsets", "g", "--topic", "t:0", "--to-offset", "1")
	equal(t, "dry run", r.out, "TOPIC  PARTITION  OLD-OFFSET  NEW-OFFSET\nt      0          3           1\n")
	if !strings.Contains(r.errs, "give --execute") {
		t.Errorf("a dry run says so: %s", r.errs)
	}
	equal(t, "all topics", b.ok("", "group", "reset-offsets", "g", "--all-topics", "--to-offset", "1", "--execute")[:42], "TOPIC  PARTITION  OLD-OFFSET  NEW-OFFSET\nt")
	equal(t, "read again", b.ok("", "consume", "t", "--group", "g", "--until-end"), "b\nc\nd\n")
	b.ok("", "group", "reset-offsets", "new", "--topic", "t", "--to-latest", "--execute")
	equal(t, "a new group begins there", b.ok("", "consume", "t", "--group", "new", "--from-beginning", "--until-end"), "")
	b.fails(exitFailed, "group has no offset of t-1 to shift", "group", "reset-offsets", "fresh", "--topic", "t:1", "--shift-by", "1")
	b.fails(exitFailed, "UNKNOWN_TOPIC_OR_PARTITION", "group", "reset-offsets", "g", "--topic", "nope", "--to-latest")
	b.fails(exitFailed, "topic t has no partition 9", "group", "reset-offsets", "g", "--topic", "t:9", "--to-latest")

	equal(t, "delete", b.ok("", "group", "delete", "g"), "Deleted group g.\n")
	b.fails(exitFailed, "delete group g: GROUP_ID_NOT_FOUND", "group", "delete", "g")
}

func TestGroupWithMembersIsNeitherResetNorDeleted(t *testing.T) {
	b := startBroker(t)
	b.ok("a\n", "produce", "t")
	stop := b.follow("consume", "t", "--group", "g", "--from-beginning")
	await(t, "a member", func() bool {
		r := b.run("", "group", "list")
		return strings.Contains(r.out, "Stable")
	})
	b.fails(exitFailed, "group g has 1 members (state Stable): stop its consumers first", "group", "reset-offsets", "g", "--topic", "t", "--to-latest", "--execute")
	b.fails(exitFailed, "delete group g: NON_EMPTY_GROUP", "group", "delete", "g")
	if r := stop(); r.code != exitDone {
		t.Errorf("%v", r)
	}
	b.ok("", "group", "delete", "g")
}

// The topic that is made anew begins at leader epoch 0 again, as the deleted one did.
func TestGroupsBeginAnewWhenTheirTopicIsDeleted(t *testing.T) {
	b := startBroker(t)
	b.ok("", "topic", "create", "t")
	b.ok("a\nb\n", "produce", "t")
	equal(t, "before", b.ok("", "consume", "t", "--group", "g", "--from-beginning", "-n", "2"), "a\nb\n")
	b.ok("", "topic", "delete", "__consumer_offsets", "--yes")
	equal(t, "no groups", b.ok("", "group", "list"), "GROUP  STATE  PROTOCOL\n")
	equal(t, "after", b.ok("", "consume", "t", "--group", "g", "--from-beginning", "-n", "2"), "a\nb\n")
}
