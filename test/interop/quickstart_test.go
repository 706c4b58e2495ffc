//go:build interop

package interop

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/test/harness"
)

// The steps of the two quickstarts (MISSION.md 1.3), typed as they stand there, with
// --bootstrap-server in the place of --zookeeper and --broker-list. The broker has its
// defaults but for the port.

var quickstart = shared(func(t testing.TB) *harness.Broker { return harness.StartBroker(t) })

// TestStep1GetOneStaticBinary: no ZooKeeper, no JVM, no shared library.
func TestStep1GetOneStaticBinary(t *testing.T) {
	f, err := elf.Open(harness.Varve(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the binary asks for a dynamic linker")
		}
	}
	if libraries, err := f.ImportedLibraries(); len(libraries) > 0 {
		t.Errorf("the binary needs %v (%v)", libraries, err)
	}
}

// TestStep2StartServesOnPort9092AsNodeZero starts with no more than a directory. It runs
// only where nobody else has the port.
func TestStep2StartServesOnPort9092AsNodeZero(t *testing.T) {
	if l, err := net.Listen("tcp", ":9092"); err != nil {
		t.Skipf("port 9092 is taken: %v", err)
	} else {
		l.Close()
	}
	cmd := exec.Command(harness.Varve(t), "server", "--set", "log.dirs="+t.TempDir())
	cmd.Env = []string{"HOME=" + t.TempDir()}
	p := harness.StartProcess(t, "varve", cmd)
	ready := p.WaitLine(t, "varve is ready", testLimit)
	if !strings.Contains(ready, "node 0 of cluster") {
		t.Errorf("ready line: %q", ready)
	}
	c, err := net.Dial("tcp", "localhost:9092") // at once: the ready line is a promise
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	out := harness.Kcat(t, "", "-L", "-b", "localhost:9092")
	if !strings.Contains(out, "broker 0 at ") {
		t.Errorf("kcat -L:\n%s", out)
	}
}

// TestStep2StartReadsTheQuickstartsProperties starts with the server.properties that the
// 2.7 quickstart's tarball holds.
func TestStep2StartReadsTheQuickstartsProperties(t *testing.T) {
	example, err := os.ReadFile(filepath.Join(harness.Root(t), "broker", "config", "testdata", "quickstart-2.7.properties"))
	if err != nil {
		t.Fatal(err)
	}
	dir, address := t.TempDir(), harness.FreeAddress(t)
	file := filepath.Join(dir, "server.properties")
	text := string(example) + "\nlog.dirs=" + filepath.Join(dir, "kafka-logs") + "\nlisteners=PLAINTEXT://" + address + "\nvarve.http.listener=\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(harness.Varve(t), "server", file)
	cmd.Env = []string{"HOME=" + dir}
	p := harness.StartProcess(t, "varve", cmd)
	p.WaitLine(t, "varve is ready", testLimit)
	if out := harness.Kcat(t, "", "-L", "-b", address); !strings.Contains(out, "broker 0 at "+address) {
		t.Errorf("kcat -L:\n%s", out)
	}
}

// TestStep3To5TheQuickstarts goes through both: create, list, describe, produce, consume,
// type more and see it at once, and consume all again.
func TestStep3To5TheQuickstarts(t *testing.T) {
	server := []string{"--bootstrap-server", quickstart(t).Address}
	run := func(stdin, class string, args ...string) string {
		t.Helper()
		return harness.Kafka(t, stdin, class, append(args, server...)...)
	}

	// Step 3: S09 names the counts, S27 leaves them to the broker.
	equal(t, "create", run("", harness.TopicCommand, "--create", "--replication-factor", "1", "--partitions", "1", "--topic", "test"), "Created topic test.\n")
	equal(t, "create", run("", harness.TopicCommand, "--create", "--topic", "quickstart-events"), "Created topic quickstart-events.\n")
	equal(t, "list", run("", harness.TopicCommand, "--list"), "quickstart-events\ntest\n")
	described := run("", harness.TopicCommand, "--describe", "--topic", "quickstart-events")
	want := regexp.MustCompile(`^Topic: quickstart-events\tTopicId: [\w-]{22}\tPartitionCount: 1\tReplicationFactor: 1\tConfigs: \n` +
		`\tTopic: quickstart-events\tPartition: 0\tLeader: 0\tReplicas: 0\tIsr: 0\tElr: \tLastKnownElr: \n$`)
	if !want.MatchString(described) {
		t.Errorf("describe:\n%s", described)
	}

	// Steps 4 and 5, as S09 has them and as S27 has them.
	for topic, lines := range map[string][]string{
		"test":              {"This is a message", "This is another message"},
		"quickstart-events": {"This is my first event", "This is my second event"},
	} {
		run(strings.Join(lines, "\n")+"\n", harness.ConsoleProducer, "--topic", topic)
		consumer := harness.KafkaProcess(t, "", harness.ConsoleConsumer, append([]string{"--from-beginning", "--topic", topic}, server...)...)
		for _, line := range lines {
			equal(t, "rest of the line", consumer.WaitLine(t, line, testLimit), "")
		}
		// The producer's terminal again: the consumer's shows it at once.
		produce(t, clientOf(t, quickstart(t).Address), &kgo.Record{Topic: topic, Value: []byte("typed later")})
		consumer.WaitLine(t, "typed later", testLimit)
		if err := consumer.Signal(syscall.SIGINT); err != nil { // Ctrl-C
			t.Fatal(err)
		}
		_ = consumer.Wait(testLimit) // exit code 130
		again := run("", harness.ConsoleConsumer, "--from-beginning", "--topic", topic, "--max-messages", "3")
		equal(t, "consumed again", again, strings.Join(append(slices.Clone(lines), "typed later"), "\n")+"\n")
	}

	// Every run of the console consumer was a group of its own.
	groups := strings.Fields(run("", harness.GroupCommand, "--list"))
	if len(groups) != 4 || slices.ContainsFunc(groups, func(g string) bool { return !strings.HasPrefix(g, "console-consumer-") }) {
		t.Errorf("groups: %v", groups)
	}
}

// TestStep3ReplicationFactorThreeNeedsThreeBrokers (step 6a on one broker).
func TestStep3ReplicationFactorThreeNeedsThreeBrokers(t *testing.T) {
	out, err := harness.TryKafka(t, "", harness.TopicCommand, "--create", "--replication-factor", "3", "--partitions", "1",
		"--topic", "my-replicated-topic", "--bootstrap-server", quickstart(t).Address)
	if err == nil || !strings.Contains(out, "replication factor 3 is larger than the number of brokers, 1") {
		t.Errorf("%v:\n%s", err, out)
	}
}

// TestStep3dCommandsWithoutArgumentsPrintUsage: ours as well.
func TestStep3dCommandsWithoutArgumentsPrintUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"topic"}, {"group"}} {
		cmd := exec.Command(harness.Varve(t), args...)
		cmd.Env = []string{"HOME=" + t.TempDir()}
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "Usage:") {
			t.Errorf("varve %v: %v\n%s", args, err, out)
		}
	}
}

// TestStep9StopAndWipe: SIGINT and SIGTERM stop cleanly, which the next start sees by
// having nothing to recover; over a wiped directory a start is a new, empty cluster,
// which leaves the old cluster's bucket alone.
func TestStep9StopAndWipe(t *testing.T) {
	bucket := t.TempDir()
	b := harness.StartBroker(t, "varve.bucket=file:"+bucket, "remote.log.manager.task.interval.ms=50")
	createOn(t, b.Address, "quickstart-events", 1, "segment.bytes=1048576")
	c := clientOf(t, b.Address, kgo.ProducerBatchCompression(kgo.NoCompression()))
	for i := range 3 {
		produce(t, c, &kgo.Record{Topic: "quickstart-events", Value: make([]byte, 900<<10), Headers: []kgo.RecordHeader{{Key: fmt.Sprint(i)}}})
	}
	harness.Until(t, testLimit, "segments in the bucket", func() error {
		tiers, err := b.TryTiers("quickstart-events")
		if err == nil && (len(tiers) == 0 || tiers[0].RemoteSegments < 2) {
			err = fmt.Errorf("%+v", tiers)
		}
		return err
	})
	for _, signal := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		if err := b.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if err := b.Wait(testLimit); err != nil {
			t.Errorf("%v: %v\n%s", signal, err, b.Output())
		}
		if _, err := os.Stat(filepath.Join(b.Dir, ".kafka_cleanshutdown")); err != nil {
			t.Errorf("%v: no mark of a clean stop: %v", signal, err)
		}
		b.Start()
		if strings.Contains(b.Output(), "recovered a log") {
			t.Errorf("after %v:\n%s", signal, b.Output())
		}
	}
	first := strings.Fields(cluster(t, b))
	same(t, "topics", first[1:], []string{"quickstart-events"})
	if err := b.Stop(testLimit); err != nil {
		t.Fatal(err)
	}

	// rm -rf /tmp/kafka-logs
	before := files(t, bucket)
	wiped := harness.StartBroker(t, "varve.bucket=file:"+bucket)
	second := strings.Fields(cluster(t, wiped))
	if len(second) != 1 || second[0] == first[0] {
		t.Errorf("after wiping: cluster and topics %v, before %v", second, first)
	}
	createOn(t, wiped.Address, "quickstart-events", 1)
	produce(t, clientOf(t, wiped.Address), numbered("quickstart-events", 3)...)
	for _, f := range before {
		if !slices.Contains(files(t, bucket), f) {
			t.Errorf("%s of the old cluster has gone from the bucket", f)
		}
	}
}

// cluster tells a broker's cluster id and its topics.
func cluster(t *testing.T, b *harness.Broker) string {
	t.Helper()
	p, err := clientOf(t, b.Address).Request(within(t), metadataRequest())
	if err != nil {
		t.Fatal(err)
	}
	m := metadataOf(p)
	out := []string{deref(m.ClusterID)}
	for _, topic := range m.Topics {
		if !topic.IsInternal {
			out = append(out, deref(topic.Topic))
		}
	}
	return strings.Join(out, " ")
}

// files lists the files below a directory with their sizes.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) { // a running broker's: it had another name until now
			return nil
		}
		if err == nil {
			all = append(all, fmt.Sprintf("%s (%d bytes)", path, info.Size()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
