//go:build interop

package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/test/harness"
)

// Admin UIs, worked over varve and over Apache Kafka. What they show must be the same.
//
// Kaskade (PyPI, on librdkafka's Admin client) is one for terminals. Its screens are
// worked without one, key by key, by testdata/kaskade_ui.py. That of Quarkus's development
// mode (Maven Central, on Java's Admin client) is one for browsers: what serves its
// screens is called by testdata/QuarkusUI.java.

// underUIs are the addresses of a varve and of an Apache Kafka with few topics: a UI asks
// for the numbers of each that there is before it shows one.
var underUIs = shared(func(t testing.TB) *[]string {
	return &[]string{harness.StartBroker(t, "group.initial.rebalance.delay.ms=0").Address, harness.StartKafka(t).Address}
})

// shownStep is a step of the work, and what the UI shows then.
type shownStep struct {
	what  string
	shown any
}

func TestKaskadeShowsWhatItShowsOfApacheKafka(t *testing.T) {
	python := harness.Need(t, filepath.Join(harness.Tools(t), "kaskade", "bin", "python3"))
	varve := showsTheSame(t, "ui", 3, map[string]string{
		"flush.messages":                         "varve flushes before it acknowledges, Kafka leaves that to the operating system",
		"remote.storage.enable":                  "varve copies to its bucket unless a topic says otherwise",
		"create it again":                        "TOPIC_ALREADY_EXISTS, each in its own words",
		"create with more replicas than brokers": "INVALID_REPLICATION_FACTOR, each in its own words",
	}, python, filepath.Join("testdata", "kaskade_ui.py"))
	shows(t, varve, "list topics", `[["ui-records","3","1","1","2","1","≈60","≈30"]]`)
	shows(t, varve, "create", `"Topic Created: Created topic 'ui-made'"`)
	shows(t, varve, "edit everything", `"Topic Updated: Updated topic 'ui-made'"`)
	shows(t, varve, "delete", `"Topic Deleted: Deleted topic 'ui-made'"`)
	shows(t, varve, "notes that nobody expected", `[]`)
	shows(t, varve, "read from the earliest: notes", `[]`)
	shows(t, varve, "read a partition from an offset: notes", `[]`)
	shows(t, varve, "read two partitions: notes", `[]`)
}

func TestQuarkusUIAnswersWhatItAnswersOfApacheKafka(t *testing.T) {
	tools := harness.Tools(t)
	classes := harness.Need(t, filepath.Join(tools, "quarkus")) + "/*:" + harness.Need(t, filepath.Join(tools, "kafka")) + "/*"
	varve := showsTheSame(t, "quarkus", 1, nil, harness.NeedCommand(t, "java"), "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		harness.KafkaLogging(t), "-cp", classes, filepath.Join("testdata", "QuarkusUI.java"))
	shows(t, varve, "partitions", `[0]`)
	shows(t, varve, "create", `[{"internal":false,"name":"quarkus-made","nmsg":0,"partitionsCount":1},{"internal":false,"name":"quarkus-records","nmsg":60,"partitionsCount":1}]`)
	shows(t, varve, "delete", `[{"internal":false,"name":"quarkus-records","nmsg":60,"partitionsCount":1}]`)
}

// shows compares the answer of one step, in JSON.
func shows(t *testing.T, steps []shownStep, what, want string) {
	t.Helper()
	i := slices.IndexFunc(steps, func(s shownStep) bool { return s.what == what })
	if i < 0 {
		t.Fatalf("no step %q", what)
	}
	b, err := json.Marshal(steps[i].shown)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, what, string(b), want)
}

// showsTheSame runs a command, with a broker's address and the prefix as its last
// arguments, over varve and Apache Kafka, and compares the steps that it prints. It
// returns those over varve. known are the only steps and configs that may differ, with the
// reason, and each of them does somewhere.
func showsTheSame(t *testing.T, prefix string, partitions int32, known map[string]string, command ...string) []shownStep {
	t.Helper()
	addresses := *underUIs(t)
	outputs, failures := make([]string, 2), make([]error, 2)
	env := harness.NeedCommand(t, "env")
	var wait sync.WaitGroup
	for i, address := range addresses {
		prepareUI(t, address, prefix, partitions)
		args := append([]string{"TZ=UTC", "HOME=" + t.TempDir()}, append(command, address, prefix)...)
		wait.Go(func() {
			out, err := harness.TryOutput(t, "", env, args...)
			if outputs[i] = out; err != nil {
				failures[i] = fmt.Errorf("over %s: %w\n%s", address, err, out)
			}
		})
	}
	wait.Wait()
	if err := errors.Join(failures...); err != nil {
		t.Fatal(err)
	}
	varve, kafka := shownSteps(t, outputs[0], addresses[0]), shownSteps(t, outputs[1], addresses[1])
	if len(varve) == 0 || len(varve) != len(kafka) {
		t.Fatalf("%d steps over varve, %d over Kafka", len(varve), len(kafka))
	}
	d := differ{known: known, seen: map[string]bool{}}
	for i, v := range varve {
		equal(t, "step", v.what, kafka[i].what)
		for _, difference := range d.of(v.what, v.shown, kafka[i].shown) {
			t.Errorf("%s: %s", v.what, difference)
		}
	}
	for what := range known {
		if !d.seen[what] {
			t.Errorf("%s does not differ any more", what)
		}
	}
	return varve
}

// prepareUI gives a broker what a UI shows: a topic of sixty records, a group that has
// committed ten of each partition and has no member, and one with a member, which has read
// all.
func prepareUI(t *testing.T, address, prefix string, partitions int32) {
	t.Helper()
	topic := prefix + "-records"
	createOn(t, address, topic, partitions, "retention.ms=-1")
	var records []*kgo.Record
	for i := range int32(60) {
		records = append(records, &kgo.Record{
			Topic: topic, Partition: i % partitions,
			Key: fmt.Appendf(nil, "key-%d", i), Value: fmt.Appendf(nil, "value-%d", i),
			Timestamp: time.UnixMilli(1_700_000_000_000 + int64(i)*1000),
			Headers:   []kgo.RecordHeader{{Key: "of", Value: fmt.Appendf(nil, "h-%d", i%20)}},
		})
	}
	produce(t, clientOf(t, address, kgo.RecordPartitioner(kgo.ManualPartitioner())), records...)
	offsets := kadm.Offsets{}
	for p := range partitions {
		offsets.AddOffset(topic, p, 10, -1)
	}
	if err := kadm.NewClient(clientOf(t, address)).CommitAllOffsets(within(t), prefix+"-idle", offsets); err != nil {
		t.Fatal(err)
	}
	member := clientOf(t, address, kgo.ConsumerGroup(prefix+"-live"), kgo.ConsumeTopics(topic), kgo.ClientID("ui-member"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
	poll(t, member, len(records))
	if err := member.CommitUncommittedOffsets(within(t)); err != nil {
		t.Fatal(err)
	}
}

var madeUp = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// shownSteps reads the output of the script, without what differs from one broker to the
// next: its address and the ids of members.
func shownSteps(t *testing.T, out, address string) (steps []shownStep) {
	t.Helper()
	_, port, _ := strings.Cut(address, ":")
	out = strings.NewReplacer(address, "BROKER", `"port":`+port, `"port":0`).Replace(out)
	out = madeUp.ReplaceAllString(out, "ID")
	for _, line := range lines(out) {
		var step [2]any
		if err := json.Unmarshal([]byte(line), &step); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		steps = append(steps, shownStep{fmt.Sprint(step[0]), step[1]})
	}
	return steps
}

// differ compares answers.
type differ struct {
	known map[string]string // what may differ
	seen  map[string]bool   // what of it does
}

// of lists where two answers differ, but for what may. Configs are rows of a name and a
// value.
func (d differ) of(what string, varve, kafka any) (differences []string) {
	v, ok := varve.(map[string]any)
	k, _ := kafka.(map[string]any)
	switch {
	case what == "configurations-table":
		v, k = byName(varve), byName(kafka)
	case !ok:
		a, b := fmt.Sprint(varve), fmt.Sprint(kafka)
		if a != b && d.known[what] == "" {
			return []string{fmt.Sprintf("%s\nvarve: %s\nKafka: %s", what, a, b)}
		}
		d.seen[what] = d.seen[what] || a != b
		return nil
	}
	all := maps.Clone(v)
	maps.Copy(all, k)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		differences = append(differences, d.of(name, v[name], k[name])...)
	}
	return differences
}

func byName(table any) map[string]any {
	values := make(map[string]any)
	rows, _ := table.([]any)
	for _, row := range rows {
		if cells, ok := row.([]any); ok && len(cells) == 2 {
			values[fmt.Sprint(cells[0])] = cells[1]
		}
	}
	return values
}
