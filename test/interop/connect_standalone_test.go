//go:build interop

package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/varvelog/varve/test/harness"
)

// Kafka Connect, unmodified, with the connectors that its quickstart names.

// TestStep7KafkaConnect is the step of the S09 quickstart: a worker whose two connectors
// copy test.txt to the topic connect-test and from there to test.sink.txt, to the byte;
// a line that is appended arrives in both.
func TestStep7KafkaConnect(t *testing.T) {
	t.Parallel()
	b := harness.StartBroker(t)
	dir := t.TempDir()
	write := func(name string, lines ...string) {
		t.Helper()
		appendLines(t, filepath.Join(dir, name), lines...)
	}
	write("test.txt", "foo", "bar")
	write("connect-standalone.properties", append(workerProperties(t, b, harness.FreeAddress(t)), "offset.storage.file.filename=connect.offsets")...)
	write("connect-file-source.properties", "name=local-file-source", "connector.class=FileStreamSource", "tasks.max=1", "file=test.txt", "topic=connect-test")
	write("connect-file-sink.properties", "name=local-file-sink", "connector.class=FileStreamSink", "tasks.max=1", "file=test.sink.txt", "topics=connect-test")
	worker := startIn(t, dir, "org.apache.kafka.connect.cli.ConnectStandalone",
		"connect-standalone.properties", "connect-file-source.properties", "connect-file-sink.properties")

	sink := filepath.Join(dir, "test.sink.txt")
	awaitFile(t, sink, "foo\nbar\n")
	consumer := harness.KafkaProcess(t, "", harness.ConsoleConsumer, "--bootstrap-server", b.Address, "--topic", "connect-test", "--from-beginning")
	for _, payload := range []string{"foo", "bar"} {
		equal(t, "rest of the line", consumer.WaitLine(t, `{"schema":{"type":"string","optional":false},"payload":"`+payload+`"}`, streamsLimit), "")
	}
	write("test.txt", "Another line")
	awaitFile(t, sink, "foo\nbar\nAnother line\n")
	consumer.WaitLine(t, `{"schema":{"type":"string","optional":false},"payload":"Another line"}`, streamsLimit)

	// Ctrl-C.
	if err := worker.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := worker.Wait(streamsLimit); worker.Running() {
		t.Fatal(err)
	}
	equal(t, "records", endOf(t, b, "connect-test"), 3)
}

// workerProperties are those of the quickstart's workers, with a REST listener.
func workerProperties(t *testing.T, b *harness.Broker, address string) []string {
	t.Helper()
	jars, err := filepath.Glob(filepath.Join(harness.Tools(t), "kafka", "connect-file-*.jar"))
	if err != nil || len(jars) != 1 {
		t.Fatalf("the file connectors: %v (%v)", jars, err)
	}
	return []string{
		"listeners=http://" + address,
		"bootstrap.servers=" + b.Address,
		"key.converter=org.apache.kafka.connect.json.JsonConverter",
		"value.converter=org.apache.kafka.connect.json.JsonConverter",
		"key.converter.schemas.enable=true",
		"value.converter.schemas.enable=true",
		"offset.flush.interval.ms=1000",
		"plugin.path=" + jars[0],
		"plugin.discovery=service_load", // looks into the manifests, not at each class of each jar
	}
}

// appendLines is `echo LINE >> FILE`, once a line.
func appendLines(t *testing.T, name string, lines ...string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(strings.Join(lines, "\n") + "\n"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// awaitFile waits until a file has the wanted bytes.
func awaitFile(t *testing.T, name, want string) {
	t.Helper()
	harness.Until(t, streamsLimit, name, func() error {
		got, err := os.ReadFile(name)
		if err == nil && string(got) != want {
			err = fmt.Errorf("it holds %q", got)
		}
		return err
	})
}
