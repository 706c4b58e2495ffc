package main

import (
	"regexp"
	"strings"
	"testing"
)

func TestTopicFromCreateToDelete(t *testing.T) {
	b := startBroker(t)
	equal(t, "create", b.ok("", "topic", "create", "t", "--partitions", "2", "--replication-factor", "1", "--config", "segment.bytes=1048576"), "Created topic t.\n")
	b.fails(exitFailed, "create topic t: TOPIC_ALREADY_EXISTS", "topic", "create", "t")
	equal(t, "create --if-not-exists", b.ok("", "topic", "create", "t", "--if-not-exists"), "Topic t exists.\n")
	b.fails(exitFailed, "INVALID_REPLICATION_FACTOR", "topic", "create", "u", "--replication-factor", "2")
	b.fails(exitFailed, "INVALID_CONFIG", "topic", "create", "u", "--config", "no.such.key=1")
	b.fails(exitFailed, "INVALID_TOPIC_EXCEPTION", "topic", "create", "a/b")
	b.ok("", "topic", "create", "a", "b")
	equal(t, "list", b.ok("", "topic", "list"), "a\nb\nt\n")
	if all := decode[[]listedTopic](b, "topic", "list"); len(all) != 3 || all[2].Topic != "t" || all[2].Partitions != 2 || len(all[2].ID) != 22 {
		t.Errorf("list as JSON: %v", all)
	}
	created := decode[[]createdTopic](b, "topic", "create", "c", "--partitions", "3")
	if len(created) != 1 || !created[0].Created || created[0].Partitions != 3 || created[0].ReplicationFactor != 1 {
		t.Errorf("create as JSON: %v", created)
	}

	b.ok("one\ntwo\n", "produce", "t", "--partition", "1")
	described := b.ok("", "topic", "describe", "t")
	for i, want := range []string{
		`^Topic: t\tTopicId: \S{22}\tPartitionCount: 2\tReplicationFactor: 1\tConfigs: .*segment\.bytes=1048576`,
		`^\tTopic: t\tPartition: 0\tLeader: 0\tReplicas: 0\tIsr: 0\tEarliest: 0\tEarliestLocal: 0\tLatestTiered: -\tLatest: 0$`,
		`^\tTopic: t\tPartition: 1\tLeader: 0\tReplicas: 0\tIsr: 0\tEarliest: 0\tEarliestLocal: 0\tLatestTiered: -\tLatest: 2$`,
	} {
		if line := strings.Split(described, "\n")[i]; !regexp.MustCompile(want).MatchString(line) {
			t.Errorf("describe, line %d: %s", i, line)
		}
	}
	if all := strings.Count(b.ok("", "topic", "describe"), "PartitionCount"); all != 4 {
		t.Errorf("describe shows %d topics", all)
	}

	equal(t, "alter", b.ok("", "topic", "alter", "t", "--partitions", "3", "--config", "retention.ms=3600000", "--delete-config", "segment.bytes"), "Altered topic t.\n")
	d := decode[[]topicDescription](b, "topic", "describe", "t")
	if len(d) != 1 || len(d[0].Partitions) != 3 || d[0].Configs["retention.ms"] != "3600000" || d[0].Configs["segment.bytes"] != "" || d[0].Partitions[1].Latest != 2 {
		t.Errorf("describe after alter: %v", d)
	}
	b.fails(exitFailed, "INVALID_PARTITIONS", "topic", "alter", "t", "--partitions", "1")
	b.fails(exitFailed, "INVALID_CONFIG", "topic", "alter", "t", "--config", "retention.ms=x")
	b.fails(exitFailed, "UNKNOWN_TOPIC_OR_PARTITION", "topic", "alter", "nope", "--partitions", "4")
	b.fails(exitFailed, "UNKNOWN_TOPIC_OR_PARTITION", "topic", "describe", "nope")

	b.fails(exitUsage, "give --yes", "topic", "delete", "t")
	equal(t, "delete", b.ok("", "topic", "delete", "t", "a", "--yes"), "Deleted topic a.\nDeleted topic t.\n")
	b.fails(exitFailed, "UNKNOWN_TOPIC_OR_PARTITION", "topic", "delete", "t", "--yes")
	equal(t, "delete --if-exists", b.ok("", "topic", "delete", "t", "b", "--yes", "--if-exists", "--output", "json"), `{"deleted":["b"]}`+"\n")
	equal(t, "list", b.ok("", "topic", "list"), "c\n")
}

func TestTopicDescribeShowsThatSomeAreUnknownAndTheOthers(t *testing.T) {
	b := startBroker(t)
	b.ok("", "topic", "create", "there")
	r := b.run("", "topic", "describe", "there", "nope")
	r.fails(t, exitFailed, "topic nope: UNKNOWN_TOPIC_OR_PARTITION")
	if !strings.HasPrefix(r.out, "Topic: there\t") {
		t.Errorf("described: %s", r.out)
	}
}

func TestTopicListLeavesTheBrokersOwnOut(t *testing.T) {
	b := startBroker(t)
	b.ok("x\n", "produce", "t")
	b.ok("", "consume", "t", "--group", "g", "--from-beginning", "-n", "1")
	equal(t, "list", b.ok("", "topic", "list"), "t\n")
	equal(t, "list --internal", b.ok("", "topic", "list", "--internal"), "__consumer_offsets\nt\n")
}
