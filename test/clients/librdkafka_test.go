//go:build clients

package clients

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/test/harness"
)

// testLimit bounds one process of librdkafka's test runner.
const testLimit = 20 * time.Minute

// longest is a test that takes more than ten minutes where its consumers are of the later
// protocol, most of them waiting. It starts first.
const longest = "0113"

// atOnce is how many processes run at one broker at a time. The tests mostly wait, those
// of share groups more than others.
const (
	atOnce      = 4
	atOnceShare = 6
)

// only are the numbers of the tests that are run, where some are named.
var only = flag.String("only", "", "numbers of librdkafka's tests to run, separated by commas; all without")

// delay is Kafka's default: tests that start several members at once expect them to be in
// the first rebalance together.
const delay = "group.initial.rebalance.delay.ms=3000"

// librdkafka is librdkafka's test suite, built, with what its tests ask for.
type librdkafka struct {
	dir      string // of its tests
	kafka    string // of Apache Kafka's scripts
	protocol string // of its consumers
	scenario string // of its tests
	share    bool   // run the tests of share groups, and no others
}

// TestLibrdkafka runs those of librdkafka's tests that need a broker.
func TestLibrdkafka(t *testing.T) {
	l := newLibrdkafka(t)
	kafka, varve := both(t, l.suite(), delay)
	judge(t, l.compare("librdkafka", kafka, varve))
}

// TestLibrdkafkaConsumerProtocol runs them with consumers of the protocol of KIP-848.
func TestLibrdkafkaConsumerProtocol(t *testing.T) {
	l := newLibrdkafka(t)
	l.protocol = "consumer"
	kafka, varve := both(t, l.suite(), delay)
	judge(t, l.compare("librdkafka, group.protocol=consumer", kafka, varve))
}

// TestLibrdkafkaWithoutAutoCreation runs those that want no topics created by themselves.
func TestLibrdkafkaWithoutAutoCreation(t *testing.T) {
	l := newLibrdkafka(t)
	l.scenario = "noautocreate"
	kafka, varve := both(t, l.suite(), delay, "auto.create.topics.enable=false")
	judge(t, Compare("librdkafka, auto.create.topics.enable=false", kafka, varve))
}

// TestLibrdkafkaShareGroups runs those of share groups (KIP-932), which want to set shorter
// locks than brokers let groups have by default. Each takes minutes, most of them waiting.
func TestLibrdkafkaShareGroups(t *testing.T) {
	l := newLibrdkafka(t)
	l.share = true
	kafka, varve := both(t, l.suite(), delay, "group.share.min.record.lock.duration.ms=1000")
	judge(t, l.compare("librdkafka, share groups", kafka, varve))
}

func (l *librdkafka) compare(name string, kafka, varve Run) Comparison {
	c := Compare(name, kafka, varve)
	c.Left = l.left()
	return c
}

// left are tests that are not run, by number, and why.
func (l *librdkafka) left() []Row {
	switch {
	case l.share:
		return []Row{{"0190", "metrics of share consumers: it is started by hand, with a plugin in the broker that writes them to a topic"}}
	case l.protocol == "consumer":
		return []Row{{"0118", "which of its two consumers joins first decides, over either broker, and that is left to chance"}}
	}
	return nil
}

// The first and the last test of share groups.
const firstShare, lastShare = "0170", "0190"

// leaves tells whether a test is not run.
func (l *librdkafka) leaves(number string) bool {
	return (firstShare <= number && number <= lastShare) != l.share ||
		slices.ContainsFunc(l.left(), func(r Row) bool { return r.Name == number }) ||
		*only != "" && !slices.Contains(strings.Split(*only, ","), number)
}

// split are tests that are run subtest by subtest: one that fails ends its process, and
// hides those that come after it. 0081 has some that need an authorizer.
var split = map[string]string{"0081": "0081-admin.c"}

func newLibrdkafka(t *testing.T) *librdkafka {
	t.Helper()
	l := &librdkafka{
		dir:      filepath.Join(harness.Tools(t), "librdkafka", "tests"),
		kafka:    scripts(t),
		protocol: "classic",
		scenario: "default",
	}
	harness.Need(t, filepath.Join(l.dir, "test-runner"))
	t.Cleanup(func() {
		for _, pattern := range []string{"stats_*.json", "rdkafkatest_*.offset"} {
			left, _ := filepath.Glob(filepath.Join(l.dir, pattern))
			for _, file := range left {
				os.Remove(file)
			}
		}
	})
	return l
}

// scripts makes a directory like that of Apache Kafka's distribution.
func scripts(t *testing.T) string {
	t.Helper()
	dir, jars := t.TempDir(), filepath.Join(harness.Tools(t), "kafka")
	for script, class := range map[string]string{
		"kafka-topics.sh":    harness.TopicCommand,
		"kafka-acls.sh":      "org.apache.kafka.tools.AclCommand",
		"kafka-run-class.sh": "",
	} {
		text := fmt.Sprintf("#!/bin/sh\nexec java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 %s -cp \"%s/*:$CLASSPATH\" %s \"$@\"\n",
			harness.KafkaLogging(t), jars, class)
		write(t, filepath.Join(dir, "bin", script), text, 0o755)
	}
	clients, err := filepath.Glob(filepath.Join(jars, "kafka-clients-*[0-9].jar"))
	if err != nil || len(clients) != 1 {
		t.Fatalf("kafka-clients in %s: %v, %v", jars, clients, err)
	}
	libs := filepath.Join(dir, "libs")
	if err := os.Mkdir(libs, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(clients[0], filepath.Join(libs, filepath.Base(clients[0]))); err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// part is what one process runs: a test by its number, or one subtest of it.
type part struct{ number, subtest string }

// suite is its tests, one or a subtest of it a process.
func (l *librdkafka) suite() suite {
	return suite{
		whole: l.run,
		process: func(name string) string {
			number := name[:4]
			if _, sub, found := strings.Cut(name, "/"); found && split[number] != "" {
				return number + "/" + sub
			}
			return number
		},
		again: func(ctx context.Context, t *testing.T, address, process string) Run {
			number, sub, _ := strings.Cut(process, "/")
			return l.runPart(ctx, t, address, part{number, sub})
		},
	}
}

func (l *librdkafka) run(ctx context.Context, t *testing.T, address string) Run {
	parts := make(chan part)
	go func() {
		defer close(parts)
		for _, p := range l.parts(t) {
			parts <- p
		}
	}()
	run := Run{}
	var mu sync.Mutex
	var wait sync.WaitGroup
	most := atOnce
	if l.share {
		most = atOnceShare
	}
	for range most {
		wait.Go(func() {
			for p := range parts {
				one := l.runPart(ctx, t, address, p)
				mu.Lock()
				run.Merge(one)
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	return run
}

// parts is the whole suite.
func (l *librdkafka) parts(t *testing.T) []part {
	var parts []part
	for _, number := range Numbers(l.source(t, "test.c")) {
		if l.leaves(number) {
			continue
		}
		if split[number] == "" {
			parts = append(parts, part{number: number})
			continue
		}
		for _, sub := range Subtests(l.source(t, split[number])) {
			parts = append(parts, part{number, sub})
		}
	}
	if i := slices.IndexFunc(parts, func(p part) bool { return p.number == longest }); i > 0 {
		parts[0], parts[i] = parts[i], parts[0]
	}
	return parts
}

// source is the text of files of the suite.
func (l *librdkafka) source(t *testing.T, pattern string) string {
	files, err := filepath.Glob(filepath.Join(l.dir, pattern))
	if err != nil || len(files) == 0 {
		t.Errorf("%s in %s: %v", pattern, l.dir, err)
	}
	var text strings.Builder
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
		}
		text.Write(b)
	}
	return text.String()
}

// whole tells whether a test is run in full: the quick mode leaves out subtests that do
// not call themselves quick, and makes the others shorter.
func (l *librdkafka) whole(t *testing.T, number string) bool {
	return strings.Contains(l.source(t, number+"-*.c*"), "SUB_TEST(")
}

// runPart runs one process of the test runner. Its exit code says nothing that its
// output does not.
func (l *librdkafka) runPart(ctx context.Context, t *testing.T, address string, p part) Run {
	ctx, cancel := context.WithTimeout(ctx, testLimit)
	defer cancel()
	conf := filepath.Join(t.TempDir(), "test.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, "metadata.broker.list=%s\ntest.timeout.multiplier=2\n", address), 0o644); err != nil {
		t.Error(err)
		return nil
	}
	args := []string{"-L", "-p1"}
	if !l.whole(t, p.number) {
		args = append(args, "-Q")
	}
	cmd := exec.CommandContext(ctx, "./test-runner", args...)
	cmd.Dir = l.dir
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = append(os.Environ(),
		"LD_LIBRARY_PATH=../src:../src-cpp",
		"RDKAFKA_TEST_CONF="+conf,
		"TESTS="+p.number,
		"TEST_KAFKA_VERSION=4.3.0",
		"TEST_CONSUMER_GROUP_PROTOCOL="+l.protocol,
		"TEST_SCENARIO="+l.scenario,
		"KAFKA_PATH="+l.kafka,
		"BROKERS="+address,
	)
	if p.subtest != "" {
		cmd.Env = append(cmd.Env, "SUBTESTS="+p.subtest)
	}
	out, err := cmd.CombinedOutput()
	if failed := (*exec.ExitError)(nil); err != nil && !errors.As(err, &failed) {
		t.Errorf("librdkafka %s: %v", p.number, err)
	}
	// What differs from run to run is of no interest on a page.
	run := ReadLibrdkafka(strings.NewReplacer(filepath.Join(l.kafka, "bin")+"/", "", address, "BROKER").Replace(string(out)))
	if p.subtest != "" {
		maps.DeleteFunc(run, func(name string, _ Outcome) bool { return !strings.HasSuffix(name, "/"+p.subtest) })
	}
	return run
}
