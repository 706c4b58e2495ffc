package harness

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clientLimit bounds one run of a client program; a JVM takes about two seconds to start.
const clientLimit = 5 * time.Minute

// Output runs a program with the given standard input and returns its standard output.
func Output(t testing.TB, stdin string, name string, args ...string) string {
	t.Helper()
	out, err := TryOutput(t, stdin, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, tail(out))
	}
	return out
}

// TryOutput is Output for programs that may fail: it returns both streams in that case.
func TryOutput(t testing.TB, stdin string, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), clientLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.Output()
	if err != nil {
		return string(out) + stderr(err), err
	}
	return string(out), nil
}

// kafkaArgs are the JVM's arguments to run a class of Apache Kafka.
func kafkaArgs(t testing.TB, class string, args ...string) []string {
	t.Helper()
	jars := filepath.Join(Tools(t), "kafka")
	Need(t, jars)
	return append([]string{"-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", KafkaLogging(t), "-cp", filepath.Join(jars, "*"), class}, args...)
}

// KafkaLogging is the JVM's argument that makes Apache Kafka log to standard error only.
func KafkaLogging(t testing.TB) string {
	return "-Dlog4j2.configurationFile=" + filepath.Join(Root(t), "test", "tools", "kafka", "log4j2.properties")
}

// Kafka runs a tool of Apache Kafka by its class and returns what it prints.
func Kafka(t testing.TB, stdin, class string, args ...string) string {
	t.Helper()
	return Output(t, stdin, NeedCommand(t, "java"), kafkaArgs(t, class, args...)...)
}

// TryKafka is Kafka for calls that may fail.
func TryKafka(t testing.TB, stdin, class string, args ...string) (string, error) {
	t.Helper()
	return TryOutput(t, stdin, NeedCommand(t, "java"), kafkaArgs(t, class, args...)...)
}

// KafkaProcess starts a tool of Apache Kafka that goes on until it is stopped.
func KafkaProcess(t testing.TB, stdin string, class string, args ...string) *Process {
	t.Helper()
	cmd := exec.Command(NeedCommand(t, "java"), kafkaArgs(t, class, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	return StartProcess(t, class, cmd)
}

// KafkaCommand is a tool of Apache Kafka for a caller that reads its output as it comes.
func KafkaCommand(ctx context.Context, t testing.TB, class string, args ...string) *exec.Cmd {
	t.Helper()
	return exec.CommandContext(ctx, NeedCommand(t, "java"), kafkaArgs(t, class, args...)...)
}

// The tools of Apache Kafka that the quickstarts use.
const (
	TopicCommand    = "org.apache.kafka.tools.TopicCommand"
	ConsoleProducer = "org.apache.kafka.tools.ConsoleProducer"
	ConsoleConsumer = "org.apache.kafka.tools.consumer.ConsoleConsumer"
	GroupCommand    = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
	GetOffsetShell  = "org.apache.kafka.tools.GetOffsetShell"
	DeleteRecords   = "org.apache.kafka.tools.DeleteRecordsCommand"
	DumpLogSegments = "org.apache.kafka.tools.DumpLogSegments"
	ConfigCommand   = "kafka.admin.ConfigCommand"
)

// Kcat runs kcat.
func Kcat(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	return Output(t, stdin, NeedCommand(t, "kcat"), args...)
}

// Python runs a script of the calling package with the Python clients of `make tools`.
func Python(t testing.TB, stdin, script string, args ...string) string {
	t.Helper()
	python := Need(t, filepath.Join(Tools(t), "python", "bin", "python3"))
	return Output(t, stdin, python, append([]string{script}, args...)...)
}
