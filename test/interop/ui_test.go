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

// Kaskade (PyPI, MIT, on librdkafka's Admin client) is an admin UI for terminals. Its
// screens are worked without one, key by key, by testdata/kaskade_ui.py.

// shownStep is a step of the work, and what the UI shows then.
type shownStep struct {
	what  string
	shown any
}

// varveShows are what the UI shows otherwise over varve, by config or step, with the
// reason. Nothing else may differ, and each of these does somewhere.
var varveShows = map[string]string{
	"flush.messages":                         "varve flushes before it acknowledges, Kafka leaves that to the operating system",
	"remote.storage.enable":                  "varve copies to its bucket unless a topic says otherwise",
	"create it again":                        "TOPIC_ALREADY_EXISTS, each in its own words",
	"create with more replicas than brokers": "INVALID_REPLICATION_FACTOR, each in its own words",
}

// uiTopic has three partitions of twenty records each.
const (
	uiPrefix = "ui"
	uiTopic  = uiPrefix + "-records"
)

func TestAdminUIShowsWhatItShowsOfApacheKafka(t *testing.T) {
	python := harness.Need(t, filepath.Join(harness.Tools(t), "kaskade", "bin", "python3"))
	addresses := []string{broker(t).Address, apache(t).Address}
	outputs, failures := make([]string, 2), make([]error, 2)
	env := harness.NeedCommand(t, "env")
	var wait sync.WaitGroup
	for i, address := range addresses {
		prepareUI(t, address)
		home := t.TempDir()
		wait.Go(func() {
			out, err := harness.TryOutput(t, "", env,
				"TZ=UTC", "HOME="+home, python, filepath.Join("testdata", "kaskade_ui.py"), address, uiPrefix)
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
	if len(varve) != len(kafka) {
		t.Fatalf("%d steps over varve, %d over Kafka", len(varve), len(kafka))
	}
	d := differ{known: varveShows, seen: map[string]bool{}}
	for i, v := range varve {
		equal(t, "step", v.what, kafka[i].what)
		for _, difference := range d.of(v.what, v.shown, kafka[i].shown) {
			t.Errorf("%s: %s", v.what, difference)
		}
	}
	for what := range varveShows {
		if !d.seen[what] {
			t.Errorf("%s does not differ any more", what)
		}
	}
	for what, want := range map[string]string{
		"list topics":                            `[["ui-records","3","1","1","2","1","≈60","≈30"]]`,
		"create":                                 `"Topic Created: Created topic 'ui-made'"`,
		"edit everything":                        `"Topic Updated: Updated topic 'ui-made'"`,
		"delete":                                 `"Topic Deleted: Deleted topic 'ui-made'"`,
		"notes that nobody expected":             `[]`,
		"read from the earliest: notes":          `[]`,
		"read two partitions: notes":             `[]`,
		"read a partition from an offset: notes": `[]`,
	} {
		i := slices.IndexFunc(varve, func(s shownStep) bool { return s.what == what })
		if i < 0 {
			t.Errorf("no step %q", what)
			continue
		}
		equal(t, what, toJSON(t, varve[i].shown), want)
	}
}

// prepareUI gives a broker what the UI shows: a topic, a group that has read half of it
// and left, and one with a member.
func prepareUI(t *testing.T, address string) {
	t.Helper()
	createOn(t, address, uiTopic, 3, "retention.ms=-1")
	var records []*kgo.Record
	for i := range int32(60) {
		records = append(records, &kgo.Record{
			Topic: uiTopic, Partition: i % 3,
			Key: fmt.Appendf(nil, "key-%d", i), Value: fmt.Appendf(nil, "value-%d", i),
			Timestamp: time.UnixMilli(1_700_000_000_000 + int64(i)*1000),
			Headers:   []kgo.RecordHeader{{Key: "of", Value: fmt.Appendf(nil, "h-%d", i%20)}},
		})
	}
	produce(t, clientOf(t, address, kgo.RecordPartitioner(kgo.ManualPartitioner())), records...)
	offsets := kadm.Offsets{}
	for p := range int32(3) {
		offsets.AddOffset(uiTopic, p, 10, -1)
	}
	if err := kadm.NewClient(clientOf(t, address)).CommitAllOffsets(within(t), uiPrefix+"-idle", offsets); err != nil {
		t.Fatal(err)
	}
	member := clientOf(t, address, kgo.ConsumerGroup(uiPrefix+"-live"), kgo.ConsumeTopics(uiTopic), kgo.ClientID("ui-member"),
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
	out = madeUp.ReplaceAllString(strings.ReplaceAll(out, address, "BROKER"), "ID")
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

func toJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
