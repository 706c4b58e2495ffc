//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/test/harness"
)

// Apache Kafka's other command-line tools, with the text they print of Apache Kafka
// itself, but for the numbers and addresses that must differ.

// tool runs a tool of Apache Kafka against the shared broker.
func tool(t testing.TB, stdin, class string, args ...string) string {
	t.Helper()
	return harness.Kafka(t, stdin, class, append(args, "--bootstrap-server", broker(t).Address)...)
}

func TestGroupCommandListsDescribesResetsAndDeletes(t *testing.T) {
	t.Parallel()
	topic, group := topicOf(t), topicOf(t, "g")
	create(t, topic, 1)
	produce(t, client(t), numbered(topic, 3)...)
	equal(t, "consume", tool(t, "", harness.ConsoleConsumer, "--topic", topic, "--from-beginning", "--group", group, "--max-messages", "2"),
		"value-000000\nvalue-000001\n")
	if out := tool(t, "", harness.GroupCommand, "--list"); !slices.Contains(strings.Fields(out), group) {
		t.Errorf("list:\n%s", out)
	}
	described := strings.Fields(lastLine(tool(t, "", harness.GroupCommand, "--describe", "--group", group)))
	same(t, "describe", described, []string{group, topic, "0", "2", "3", "1", "-", "-", "-"})
	state := strings.Fields(lastLine(tool(t, "", harness.GroupCommand, "--describe", "--state", "--group", group)))
	same(t, "describe --state", state, []string{group, broker(t).Address, "(0)", "-", "Empty", "0"})

	reset := strings.Fields(lastLine(tool(t, "", harness.GroupCommand, "--reset-offsets", "--group", group, "--topic", topic, "--to-earliest", "--execute")))
	same(t, "reset", reset, []string{group, topic, "0", "0"})
	again := client(t, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit())
	same(t, "resumes at 0", values(poll(t, again, 3)), []string{"value-000000", "value-000001", "value-000002"})
	again.Close()

	equal(t, "delete", strings.TrimSpace(tool(t, "", harness.GroupCommand, "--delete", "--group", group)),
		fmt.Sprintf("Deletion of requested consumer groups ('%s') was successful.", group))
	if out := tool(t, "", harness.GroupCommand, "--list"); slices.Contains(strings.Fields(out), group) {
		t.Errorf("still listed:\n%s", out)
	}
}

// TestGroupCommandShowsMembers while one consumes, and refuses to reset or delete then.
func TestGroupCommandShowsMembers(t *testing.T) {
	t.Parallel()
	topic, group := topicOf(t), topicOf(t, "g")
	create(t, topic, 2)
	member := client(t, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ClientID("member"), kgo.Balancers(kgo.RangeBalancer()))
	produce(t, client(t), &kgo.Record{Topic: topic, Value: []byte("one")})
	poll(t, member, 1)
	row := strings.Fields(lastLine(tool(t, "", harness.GroupCommand, "--describe", "--members", "--verbose", "--group", group)))
	if len(row) < 7 || row[0] != group || !strings.HasPrefix(row[1], "member-") || row[2] != "/127.0.0.1" || row[3] != "member" || row[4] != "2" {
		t.Errorf("members: %q", row)
	}
	state := strings.Fields(lastLine(tool(t, "", harness.GroupCommand, "--describe", "--state", "--group", group)))
	same(t, "state", state, []string{group, broker(t).Address, "(0)", "range", "Stable", "1"})
	out, _ := harness.TryKafka(t, "", harness.GroupCommand, "--delete", "--group", group, "--bootstrap-server", broker(t).Address)
	if !strings.Contains(out, "GroupNotEmptyException") {
		t.Errorf("delete while a member is there:\n%s", out)
	}
}

func lastLine(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1]
}

func TestConfigCommandAltersAndDescribes(t *testing.T) {
	t.Parallel()
	topic := topicOf(t)
	create(t, topic, 1)
	entity := []string{"--entity-type", "topics", "--entity-name", topic}
	config := func(args ...string) string { return tool(t, "", harness.ConfigCommand, append(args, entity...)...) }
	equal(t, "alter", config("--alter", "--add-config", "retention.ms=123456,max.message.bytes=2000000"), "Completed updating config for topic "+topic+".\n")
	equal(t, "describe", config("--describe"), "Dynamic configs for topic "+topic+` are:
  max.message.bytes=2000000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:max.message.bytes=2000000, DEFAULT_CONFIG:message.max.bytes=1048588}
  retention.ms=123456 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=123456}
`)
	out := tool(t, "", harness.TopicCommand, "--describe", "--topic", topic)
	if !regexp.MustCompile(`\tConfigs: (max.message.bytes=2000000,retention.ms=123456|retention.ms=123456,max.message.bytes=2000000)\n`).MatchString(out) {
		t.Errorf("topic describe:\n%s", out)
	}
	config("--alter", "--delete-config", "retention.ms")
	if out := config("--describe"); strings.Contains(out, "retention.ms") {
		t.Errorf("after its removal:\n%s", out)
	}
	out, err := harness.TryKafka(t, "", harness.ConfigCommand, append([]string{"--alter", "--add-config", "retention.ms=soon", "--bootstrap-server", broker(t).Address}, entity...)...)
	if err == nil || !strings.Contains(out, "InvalidConfigurationException") || !strings.Contains(out, "Invalid value soon for configuration retention.ms") {
		t.Errorf("retention.ms=soon: %v\n%s", err, out)
	}
}

func TestConfigCommandDescribesTheBroker(t *testing.T) {
	entity := []string{"--entity-type", "brokers", "--entity-name", "0"}
	equal(t, "dynamic", tool(t, "", harness.ConfigCommand, append([]string{"--describe"}, entity...)...), "Dynamic configs for broker 0 are:\n")
	all := tool(t, "", harness.ConfigCommand, append([]string{"--describe", "--all"}, entity...)...)
	for _, line := range []string{
		"  num.partitions=1 sensitive=false synonyms={DEFAULT_CONFIG:num.partitions=1}",
		"  node.id=0 sensitive=false",
		"  group.initial.rebalance.delay.ms=0 sensitive=false synonyms={STATIC_BROKER_CONFIG:group.initial.rebalance.delay.ms=0, DEFAULT_CONFIG:group.initial.rebalance.delay.ms=3000}",
	} {
		if !strings.Contains(all, line) {
			t.Errorf("no %q in\n%s", line, all)
		}
	}
	equal(t, "alter", tool(t, "", harness.ConfigCommand, append([]string{"--alter", "--add-config", "log.retention.ms=864000001"}, entity...)...),
		"Completed updating config for broker 0.\n")
	topic := topicOf(t)
	create(t, topic, 1)
	retention := describeTopic(t, broker(t).Address, topic)["retention.ms"]
	equal(t, "retention.ms of a topic", deref(retention.Value), "864000001")
	tool(t, "", harness.ConfigCommand, append([]string{"--alter", "--delete-config", "log.retention.ms"}, entity...)...)
	equal(t, "retention.ms of a topic", deref(describeTopic(t, broker(t).Address, topic)["retention.ms"].Value), "604800000")
}

func TestDeleteRecordsCommandRaisesTheLogStart(t *testing.T) {
	t.Parallel()
	topic := topicOf(t)
	create(t, topic, 1)
	produce(t, client(t), numbered(topic, 5)...)
	file := filepath.Join(t.TempDir(), "offsets.json")
	text := fmt.Sprintf(`{"partitions":[{"topic":%q,"partition":0,"offset":2}],"version":1}`, topic)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	equal(t, "delete", tool(t, "", harness.DeleteRecords, "--offset-json-file", file),
		"Executing records delete operation\nRecords delete operation completed:\npartition: "+topic+"-0\tlow_watermark: 2\n")
	same(t, "what is left", values(readAll(t, topic, 3)), []string{"value-000002", "value-000003", "value-000004"})
}

func TestGetOffsetShellKnowsTheSpecialTimes(t *testing.T) {
	t.Parallel()
	topic := topicOf(t)
	create(t, topic, 1, "remote.storage.enable=false")
	c := client(t)
	begin := time.Now().Add(-time.Minute).UnixMilli()
	for _, ms := range []int64{1000, 5000, 3000} {
		produce(t, c, &kgo.Record{Topic: topic, Value: []byte("at"), Timestamp: time.UnixMilli(begin + ms)})
	}
	for at, want := range map[string]string{"earliest": "0", "max-timestamp": "1", fmt.Sprint(begin + 2000): "1"} {
		equal(t, at, tool(t, "", harness.GetOffsetShell, "--topic", topic, "--time", at), topic+":0:"+want+"\n")
	}
}

// TestDumpLogSegmentsReadsOurFiles: log, offset index, time index and producer snapshot,
// as varve wrote them.
func TestDumpLogSegmentsReadsOurFiles(t *testing.T) {
	t.Parallel()
	topic := topicOf(t)
	create(t, topic, 1, "segment.bytes=1048576", "index.interval.bytes=1", "remote.storage.enable=false")
	c := client(t, kgo.ProducerBatchCompression(kgo.NoCompression()))
	for i := range 6 {
		produce(t, c, &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "k%d", i), Value: []byte(strings.Repeat("v", 300<<10))})
	}
	dir := filepath.Join(broker(t).Dir, topic+"-0")
	var names []string
	for _, pattern := range []string{"*.log", "*.index", "*.timeindex", "*.snapshot"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("no %s in %s (%v)", pattern, dir, err)
		}
		names = append(names, found...)
	}
	out := harness.Kafka(t, "", harness.DumpLogSegments, "--deep-iteration", "--files", strings.Join(names, ","))
	equal(t, "valid batches", strings.Count(out, "isvalid: true"), 6)
	for i := range 6 {
		if line := fmt.Sprintf("| offset: %d CreateTime: ", i); !strings.Contains(out, line) {
			t.Errorf("no %q in\n%s", line, out)
		}
	}
	if !strings.Contains(out, "producerId: ") || !regexp.MustCompile(`offset: 3 position: 0|offset: \d+ position: \d+`).MatchString(out) {
		t.Errorf("no producers or index entries in\n%s", out)
	}
	for _, complaint := range []string{"isvalid: false", "Mismatch", "mismatch", "corrupt", "Non-consecutive", "Found timestamp", "out of order"} {
		if strings.Contains(out, complaint) {
			t.Errorf("%q in\n%s", complaint, out)
		}
	}
	sane := harness.Kafka(t, "", harness.DumpLogSegments, "--index-sanity-check", "--files", names[slices.IndexFunc(names, isIndex)])
	if !strings.Contains(sane, "passed sanity check") {
		t.Errorf("sanity check:\n%s", sane)
	}
}

func isIndex(name string) bool { return strings.HasSuffix(name, ".index") }

// TestPerformanceToolsRun: a smoke test; the numbers are `make bench`'s.
func TestPerformanceToolsRun(t *testing.T) {
	t.Parallel()
	topic := topicOf(t)
	create(t, topic, 2)
	out := tool(t, "", "org.apache.kafka.tools.ProducerPerformance", "--topic", topic, "--num-records", "20000", "--record-size", "100", "--throughput", "-1")
	if !strings.Contains(out, "20000 records sent, ") {
		t.Errorf("producer:\n%s", out)
	}
	out = tool(t, "", "org.apache.kafka.tools.ConsumerPerformance", "--topic", topic, "--num-records", "20000")
	fields := strings.Split(lastLine(out), ", ")
	if len(fields) < 5 || fields[4] != "20000" {
		t.Errorf("consumer:\n%s", out)
	}
}

// TestVerifiableClientsAgree: what Apache Kafka's system tests drive.
func TestVerifiableClientsAgree(t *testing.T) {
	t.Parallel()
	topic, group := topicOf(t), topicOf(t, "g")
	create(t, topic, 2)
	sent := tool(t, "", "org.apache.kafka.tools.VerifiableProducer", "--topic", topic, "--max-messages", "500", "--acks", "-1")
	last := decode[struct{ Sent, Acked int }](t, lastLine(sent))
	equal(t, "acknowledged", last.Acked, 500)
	got := tool(t, "", "org.apache.kafka.tools.VerifiableConsumer", "--topic", topic, "--group-id", group, "--max-messages", "500", "--reset-policy", "earliest")
	consumed, committed := 0, true
	for line := range strings.Lines(got) {
		event := decode[struct {
			Name    string
			Count   int
			Success *bool
		}](t, line)
		consumed += event.Count
		committed = committed && (event.Success == nil || *event.Success)
	}
	if consumed < 500 || !committed {
		t.Errorf("consumed %d, commits succeeded: %v\n%s", consumed, committed, got)
	}
}

func decode[T any](t testing.TB, line string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(line), &v); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return v
}

// TestBrokerApiVersionsCommandEqualsKafkas: every key that we serve has exactly the range
// that Apache Kafka 4.3 has, but for servedHereOnly, and the tool finds a usable version of each.
func TestBrokerApiVersionsCommandEqualsKafkas(t *testing.T) {
	const class = "org.apache.kafka.tools.BrokerApiVersionsCommand"
	ours := apiLines(harness.Kafka(t, "", class, "--bootstrap-server", broker(t).Address))
	theirs := apiLines(harness.Kafka(t, "", class, "--bootstrap-server", apache(t).Address))
	equal(t, "keys served", len(ours), len(served))
	for key := range servedHereOnly {
		name := fmt.Sprintf("%s(%d)", key.Name(), key)
		equal(t, name, ours[name], "0 [usable: 0]")
		delete(ours, name)
	}
	for name, versions := range ours {
		equal(t, name, versions, theirs[name])
	}
}

// apiLines reads "Produce(0): 0 to 13 [usable: 13]," lines; unsupported keys are left out.
func apiLines(out string) map[string]string {
	keys := make(map[string]string)
	for line := range strings.Lines(out) {
		name, versions, ok := strings.Cut(strings.TrimRight(strings.TrimSpace(line), ","), ": ")
		if ok && strings.HasSuffix(name, ")") && versions != "UNSUPPORTED" {
			keys[name] = versions
		}
	}
	return keys
}

// TestTopicCommandAltersAndDeletes: partitions grow, a topic goes.
func TestTopicCommandAltersAndDeletes(t *testing.T) {
	t.Parallel()
	topic := topicOf(t)
	create(t, topic, 1)
	tool(t, "", harness.TopicCommand, "--alter", "--topic", topic, "--partitions", "3")
	out := tool(t, "", harness.TopicCommand, "--describe", "--topic", topic)
	equal(t, "partitions", strings.Count(out, "\tLeader: 0\tReplicas: 0\tIsr: 0\t"), 3)
	equal(t, "partition count", strings.Contains(out, "\tPartitionCount: 3\t"), true)
	tool(t, "", harness.TopicCommand, "--delete", "--topic", topic)
	if out := tool(t, "", harness.TopicCommand, "--list"); slices.Contains(strings.Fields(out), topic) {
		t.Errorf("still listed:\n%s", out)
	}
}
