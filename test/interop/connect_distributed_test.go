//go:build interop

package interop

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/varvelog/varve/test/harness"
)

// TestConnectDistributedGoesOnAfterAKill runs two workers that know each other by the
// broker only: configs, offsets and status of connectors are in three compacted topics.
// A file goes to a topic, exactly once (KIP-618), and from there to another file. The
// worker that reads the file is killed in the middle; the other goes on where it was.
func TestConnectDistributedGoesOnAfterAKill(t *testing.T) {
	t.Parallel()
	b := harness.StartBroker(t, "group.initial.rebalance.delay.ms=0")
	dir := t.TempDir()
	doomed, other := startWorker(t, b, dir, "a"), startWorker(t, b, dir, "b")
	doomed.await(t, "GET", "/connectors", nil, nil)
	other.await(t, "GET", "/connectors", nil, nil)

	source, sink := filepath.Join(dir, "source.txt"), filepath.Join(dir, "sink.txt")
	lines := someNumberedLines(0, 10)
	appendLines(t, source, lines...)
	doomed.await(t, "PUT", "/connectors/source/config", map[string]string{
		"connector.class": "FileStreamSource", "tasks.max": "1", "file": source, "topic": "lines", "exactly.once.support": "required",
		"batch.size": "10000", // more than there are: what is left over of a full batch waits for the next line
	}, nil)
	doomed.await(t, "PUT", "/connectors/sink/config", map[string]string{
		"connector.class": "FileStreamSink", "tasks.max": "1", "file": sink, "topics": "lines", "consumer.override.isolation.level": "read_committed",
	}, nil)
	awaitLines(t, sink, lines)
	internal := kadm.NewClient(clientOf(t, b.Address))
	for topic, partitions := range map[string]int{"connect-configs": 1, "connect-offsets": 25, "connect-status": 5} {
		listed, err := internal.ListTopics(within(t), topic)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "partitions of "+topic, len(listed[topic].Partitions), partitions)
		same(t, "configs of "+topic, configured(t, b, topic), []string{"cleanup.policy=compact"})
	}

	if doomed.placeOf(t, "source") == other.address {
		doomed, other = other, doomed
	}
	more := someNumberedLines(len(lines), 6000) // all are one transaction
	lines = append(lines, more...)
	appendLines(t, source, more...)
	awaitEnd(t, b, "lines", 1000)
	doomed.Kill()
	lines = append(lines, "written when nobody read")
	appendLines(t, source, lines[len(lines)-1])

	awaitLines(t, sink, lines)
	for _, name := range []string{"source", "sink"} {
		harness.Until(t, streamsLimit, "connector "+name, func() error {
			if at := other.placeOf(t, name); at != other.address {
				return fmt.Errorf("it runs on %s, not on %s", at, other.address)
			}
			return nil
		})
		harness.Until(t, streamsLimit, "the deletion of "+name, func() error {
			refused := other.rest(t, "DELETE", "/connectors/"+name, nil, nil)
			var left []string
			if err := other.rest(t, "GET", "/connectors", nil, &left); err != nil {
				return err
			}
			if slices.Contains(left, name) {
				return errors.Join(errors.New("it is still listed"), refused)
			}
			return nil
		})
	}
	if err := other.Stop(streamsLimit); other.Running() {
		t.Fatal(err)
	}

	// The source is exactly once.
	var got []string
	for _, r := range readCommitted(t, b, "lines", 1) {
		var envelope struct{ Payload string }
		if err := json.Unmarshal(r.Value, &envelope); err != nil {
			t.Fatalf("%s: %v", r.Value, err)
		}
		got = append(got, envelope.Payload)
	}
	for i := range min(len(got), len(lines)) {
		if got[i] != lines[i] {
			t.Fatalf("record %d is %q, not %q", i, got[i], lines[i])
		}
	}
	equal(t, "records", len(got), len(lines))
}

// awaitLines waits until a sink's file has all the lines. A sink is at least once: after
// a kill, lines since its last commit come again.
func awaitLines(t *testing.T, file string, want []string) {
	t.Helper()
	harness.Until(t, streamsLimit, file, func() error {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		got := slices.Compact(slices.Sorted(strings.Lines(string(text))))
		if len(got) != len(want) {
			return fmt.Errorf("%d lines of %d", len(got), len(want))
		}
		return nil
	})
}

func someNumberedLines(first, n int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf("line %d", first+i)
	}
	return lines
}

// connectWorker is a worker of a distributed Connect.
type connectWorker struct {
	*harness.Process
	address string // of its REST listener
}

// startWorker starts a worker of the group connect-cluster, with the quickstart's names
// and no more waiting for others than Connect allows.
func startWorker(t *testing.T, b *harness.Broker, dir, name string) *connectWorker {
	t.Helper()
	w := &connectWorker{address: harness.FreeAddress(t)}
	file := filepath.Join(dir, name+".properties")
	appendLines(t, file, append(workerProperties(t, b, w.address),
		"group.id=connect-cluster",
		"config.storage.topic=connect-configs", "config.storage.replication.factor=1",
		"offset.storage.topic=connect-offsets", "offset.storage.replication.factor=1",
		"status.storage.topic=connect-status", "status.storage.replication.factor=1",
		"exactly.once.source.support=enabled",
		"session.timeout.ms=6000", "heartbeat.interval.ms=1000", "scheduled.rebalance.max.delay.ms=0",
	)...)
	w.Process = startIn(t, dir, "org.apache.kafka.connect.cli.ConnectDistributed", file)
	return w
}

// placeOf is the worker on which a connector's task runs, waiting until it does.
func (w *connectWorker) placeOf(t *testing.T, connector string) string {
	t.Helper()
	var status struct {
		Connector struct{ State string }
		Tasks     []struct {
			State    string
			WorkerID string `json:"worker_id"`
		}
	}
	harness.Until(t, streamsLimit, connector, func() error {
		if err := w.rest(t, "GET", "/connectors/"+connector+"/status", nil, &status); err != nil {
			return err
		}
		if status.Connector.State != "RUNNING" || len(status.Tasks) != 1 || status.Tasks[0].State != "RUNNING" {
			return fmt.Errorf("%+v", status)
		}
		return nil
	})
	return status.Tasks[0].WorkerID
}

// await sends a request until it succeeds: a worker refuses while it starts or its group
// rebalances.
func (w *connectWorker) await(t *testing.T, method, path string, body, answer any) {
	t.Helper()
	harness.Until(t, streamsLimit, method+" "+path, func() error { return w.rest(t, method, path, body, answer) })
}

// rest sends a request to the worker's REST listener.
func (w *connectWorker) rest(t *testing.T, method, path string, body, answer any) error {
	t.Helper()
	if !w.Running() {
		t.Fatal("the worker has ended")
	}
	sent, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	q, err := http.NewRequestWithContext(t.Context(), method, "http://"+w.address+path, bytes.NewReader(sent))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/json")
	p, err := (&http.Client{Timeout: streamsLimit / 2}).Do(q)
	if err != nil {
		return err
	}
	defer p.Body.Close()
	got, err := io.ReadAll(p.Body)
	switch {
	case err != nil:
		return err
	case p.StatusCode >= http.StatusMultipleChoices:
		return fmt.Errorf("%s: %s", p.Status, got)
	case answer == nil:
		return nil
	}
	return json.Unmarshal(got, answer)
}
