//go:build e2e

package e2e

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/test/harness"
)

const compactTopic = "compacted"

// compactSets make a broker compact all the time, slowly enough to be killed meanwhile.
func compactSets() []string {
	return append(quick(),
		"log.cleaner.backoff.ms=100",
		"log.cleaner.io.max.bytes.per.second=3000000",
		"log.cleaner.dedupe.buffer.size=1048576",
	)
}

// latest is what a compacted topic has to hold at the end: the last value of each key,
// "" for a tombstone, with its offset.
type latest map[string]*kgo.Record

// update produces n records of random keys, a tenth of them tombstones, and waits.
func (l latest) update(t *testing.T, c *kgo.Client, rng *rand.Rand, n int) {
	t.Helper()
	ctx := within(t, time.Minute)
	var failed error
	records := make([]*kgo.Record, n)
	for i := range records {
		r := &kgo.Record{Topic: compactTopic, Key: fmt.Append(nil, "key-", rng.IntN(1000))}
		if rng.IntN(10) > 0 {
			r.Value = []byte(strings.Repeat(fmt.Sprintf("%08x", rng.Uint32()), 128))
		}
		records[i] = r
		c.Produce(ctx, r, func(_ *kgo.Record, err error) { failed = cmp.Or(failed, err) })
	}
	if err := cmp.Or(c.Flush(ctx), failed); err != nil {
		t.Fatalf("produce: %v", err)
	}
	for _, r := range records {
		l[string(r.Key)] = r
	}
}

// readCompacted reads all records of the topic, in order, with gaps.
func readCompacted(t *testing.T, b *harness.Broker) []*kgo.Record {
	t.Helper()
	ends, err := admin(t, b).ListEndOffsets(within(t, time.Minute), compactTopic)
	if err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup(compactTopic, 0)
	c := client(t, b, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{compactTopic: {0: kgo.NewOffset().At(0)}}), kgo.FetchMaxWait(200*time.Millisecond))
	defer c.Close()
	ctx := within(t, time.Minute)
	var all []*kgo.Record
	for len(all) == 0 || all[len(all)-1].Offset < end.Offset-1 {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatalf("read: %v", err)
		}
		f.EachRecord(func(r *kgo.Record) {
			if n := len(all); n > 0 && all[n-1].Offset >= r.Offset {
				t.Fatalf("offset %d after %d", r.Offset, all[n-1].Offset)
			}
			all = append(all, r)
		})
	}
	return all
}

// check wants of each key the last record, unchanged, at its offset.
func (l latest) check(t *testing.T, all []*kgo.Record) {
	t.Helper()
	got := map[string]*kgo.Record{}
	for _, r := range all {
		got[string(r.Key)] = r
	}
	for key, want := range l {
		r := got[key]
		switch {
		case r == nil && want.Value == nil: // the tombstone has gone
		case r == nil:
			t.Fatalf("%s is lost; it was written at %d", key, want.Offset)
		case r.Offset != want.Offset || string(r.Value) != string(want.Value) || !r.Timestamp.Equal(want.Timestamp.Truncate(time.Millisecond)):
			t.Fatalf("%s: offset %d, %d bytes, %v; want %d, %d bytes, %v", key, r.Offset, len(r.Value), r.Timestamp, want.Offset, len(want.Value), want.Timestamp)
		}
	}
}

// TestCompactedTopic produces updates to a thousand keys through kills at any moment of
// compaction. The last record of each key is always there; at the end little else is,
// for kgo and for Kafka's console consumer, and no file of a compaction is left (C12,
// R20, U7).
func TestCompactedTopic(t *testing.T) {
	rng := harness.Seeded(t)
	b := harness.StartBroker(t, compactSets()...)
	createTopic(t, b, compactTopic, 1, map[string]string{
		"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "1000", "segment.bytes": "3145728",
	})
	c := client(t, b, kgo.RecordRetries(1000), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(64<<10))
	keyless := c.ProduceSync(within(t, time.Minute), &kgo.Record{Topic: compactTopic, Value: []byte("v")}).FirstErr()
	if !isError(keyless, kerr.InvalidRecord) {
		t.Errorf("a record without key: %v, want INVALID_RECORD", keyless)
	}
	l := latest{}
	cleaning := 0
	for round := range 6 {
		l.update(t, c, rng, 4000)
		if round%2 == 0 {
			harness.Until(t, time.Minute, "a compaction that writes", func() error {
				if len(staged(t, b, "*.cleaned")) == 0 {
					return errors.New("there is none")
				}
				return nil
			})
		} else {
			pause(time.Duration(rng.Int64N(int64(800 * time.Millisecond))))
		}
		b.Kill()
		if len(staged(t, b, "*.cleaned", "*.swap")) > 0 {
			cleaning++
		}
		b.Start()
		if left := staged(t, b, "*.swap"); len(left) > 0 {
			t.Errorf("left after a start: %v", left)
		}
		l.check(t, readCompacted(t, b))
	}
	t.Logf("%d kills of 6 met a compaction that wrote", cleaning)
	if cleaning == 0 {
		t.Error("no kill met a compaction: the run proves nothing")
	}
	if err := b.Stop(stopLimit); err != nil {
		t.Fatal(err)
	}
	b.Start("log.cleaner.io.max.bytes.per.second=1e12")
	l.update(t, c, rng, 8000)
	var all []*kgo.Record
	harness.Until(t, time.Minute, "compaction", func() error {
		all = readCompacted(t, b)
		if len(all) > 1000+6000 { // an active segment of 3 MiB holds 3,000 records
			return fmt.Errorf("%d records of 1,000 keys", len(all))
		}
		return nil
	})
	l.check(t, all)
	if err := b.Stop(stopLimit); err != nil {
		t.Fatal(err)
	}
	b.Start("log.cleaner.enable=false") // so that the number of records stays what it is
	all = readCompacted(t, b)
	printed := strings.Fields(harness.Kafka(t, "", harness.ConsoleConsumer, "--bootstrap-server", b.Address, "--topic", compactTopic,
		"--from-beginning", "--max-messages", fmt.Sprint(len(all)), "--formatter-property", "print.key=true", "--formatter-property", "print.offset=true"))
	last := map[string]string{}
	for i := 0; i+2 < len(printed); i += 3 {
		last[printed[i+1]] = printed[i]
	}
	for _, key := range slices.Sorted(maps.Keys(l)) {
		if got := last[key]; l[key].Value != nil && got != fmt.Sprintf("Offset:%d", l[key].Offset) {
			t.Fatalf("Kafka's console consumer prints of %s %q, want offset %d", key, got, l[key].Offset)
		}
	}
	if err := b.Stop(stopLimit); err != nil {
		t.Fatal(err)
	}
	b.Start()
	if left := staged(t, b, "*.cleaned", "*.swap", "*.deleted"); len(left) > 0 {
		t.Errorf("left after a clean stop and a start: %v", left)
	}
	l.check(t, readCompacted(t, b))
}

func isError(err error, want *kerr.Error) bool {
	return err != nil && strings.Contains(err.Error(), want.Message)
}

// staged lists files of the topic's directory.
func staged(t *testing.T, b *harness.Broker, patterns ...string) (all []string) {
	t.Helper()
	for _, pattern := range patterns {
		names, err := filepath.Glob(filepath.Join(b.Dir, compactTopic+"-0", pattern))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, names...)
	}
	return all
}

// TestCompactedTopicsAreNotTiered: the default of tiering does not reach them, gives way
// where a topic becomes one with nothing in the bucket yet, and who asks for both is told
// why not, at creation and by alteration.
func TestCompactedTopicsAreNotTiered(t *testing.T) {
	b := harness.StartBroker(t, quick()...)
	a := admin(t, b)
	ctx := within(t, 2*time.Minute)
	createTopic(t, b, "local", 1, map[string]string{"cleanup.policy": "compact,delete"})
	createTopic(t, b, "plain", 1, nil)
	createTopic(t, b, "copied", 1, map[string]string{"segment.bytes": "1048576"})
	fill(t, b, "copied", 3<<20, nil)
	harness.Until(t, time.Minute, "a segment in the bucket", func() error {
		if p := b.Tiers(t, "copied")[0]; p.RemoteSegments == 0 {
			return fmt.Errorf("%+v", p)
		}
		return nil
	})
	compact := "compact"
	yes := "true"
	r, err := a.CreateTopic(ctx, 1, 1, map[string]*string{"cleanup.policy": &compact, "remote.storage.enable": &yes}, "both")
	if err == nil {
		err = r.Err
	}
	if !isError(err, kerr.InvalidConfig) {
		t.Errorf("create with both: %v", err)
	}
	policy := kadm.AlterConfig{Op: kadm.SetConfig, Name: "cleanup.policy", Value: &compact}
	tiering := kadm.AlterConfig{Op: kadm.SetConfig, Name: "remote.storage.enable", Value: &yes}
	for _, c := range []struct {
		topic   string
		changes []kadm.AlterConfig
		refused bool
	}{
		{"local", []kadm.AlterConfig{tiering}, true},
		{"copied", []kadm.AlterConfig{policy}, true},
		{"plain", []kadm.AlterConfig{policy, tiering}, true},
		{"plain", []kadm.AlterConfig{policy}, false},
		{"plain", []kadm.AlterConfig{tiering}, true},
	} {
		r, err := a.AlterTopicConfigs(ctx, c.changes, c.topic)
		if err == nil {
			err = r[0].Err
		}
		if c.refused != isError(err, kerr.InvalidConfig) || !c.refused && err != nil {
			t.Errorf("alter %s by %v: %v", c.topic, c.changes, err)
		}
	}
	for _, p := range b.Tiers(t, "local") {
		if p.RemoteSegments != 0 {
			t.Errorf("a compacted topic was tiered: %+v", p)
		}
	}
}

// TestDeletedSegmentsStayForTheirDelay: files of expired segments, and of deleted topics,
// go when file.delete.delay.ms is over, and at the latest with a start.
func TestDeletedSegmentsStayForTheirDelay(t *testing.T) {
	b := harness.StartBroker(t, append(quick(), "varve.tiering.default=false", "log.segment.delete.delay.ms=3600000")...)
	createTopic(t, b, compactTopic, 1, map[string]string{"segment.bytes": "1048576", "retention.bytes": "1"})
	fill(t, b, compactTopic, 3<<20, nil)
	harness.Until(t, time.Minute, "expiry", func() error {
		if len(staged(t, b, "*.log.deleted")) < 2 || len(staged(t, b, "*.log")) > 1 { // none is about to go when the delay changes
			return fmt.Errorf("%v", staged(t, b, "*"))
		}
		return nil
	})
	alter(t, b, compactTopic, "file.delete.delay.ms", "1000") // for those that follow
	old := len(staged(t, b, "*.log.deleted"))
	fill(t, b, compactTopic, 2<<20, nil)
	harness.Until(t, time.Minute, "expiry and removal of the new ones", func() error {
		logs, deleted := staged(t, b, "*.log"), staged(t, b, "*.log.deleted")
		if len(logs) > 1 || len(deleted) != old {
			return fmt.Errorf("%v, %v", logs, deleted)
		}
		return nil
	})
	b.Kill()
	b.Start()
	if left := staged(t, b, "*.deleted"); len(left) > 0 {
		t.Errorf("left after a start: %v", left)
	}
	if r, err := admin(t, b).DeleteTopics(within(t, time.Minute), compactTopic); cmp.Or(err, r.Error()) != nil {
		t.Fatal(err, r)
	}
	harness.Until(t, time.Minute, "removal of the topic", func() error {
		if _, err := os.Stat(filepath.Join(b.Dir, compactTopic+"-0")); err == nil {
			return fmt.Errorf("its directory is still there")
		}
		left, err := filepath.Glob(filepath.Join(b.Dir, compactTopic+"-0.*"))
		if len(left) > 0 {
			return fmt.Errorf("%v, %w", left, err)
		}
		return err
	})
}

// TestOffsetsTopicIsCompacted commits offsets again and again: the topic that holds them
// shrinks to the last of each, which are all there after a kill.
func TestOffsetsTopicIsCompacted(t *testing.T) {
	b := harness.StartBroker(t, append(quick(), "offsets.topic.num.partitions=1", "offsets.topic.segment.bytes=1048576", "log.cleaner.backoff.ms=100")...)
	const partitions, commits = 100, 400
	createTopic(t, b, "committed", partitions, map[string]string{"remote.storage.enable": "false"})
	a := admin(t, b)
	ctx := within(t, 5*time.Minute)
	for n := range int64(commits) {
		all := kadm.Offsets{}
		for p := range int32(partitions) {
			all.AddOffset("committed", p, n, -1)
		}
		if err := a.CommitAllOffsets(ctx, "g", all); err != nil {
			t.Fatal(err)
		}
	}
	size := func() (n int64) {
		for _, s := range logFiles(t, b, "__consumer_offsets", 0) {
			n += s
		}
		return n
	}
	harness.Until(t, time.Minute, "compaction", func() error {
		p, err := os.ReadFile(filepath.Join(b.Dir, "cleaner-offset-checkpoint"))
		if err != nil || !strings.Contains(string(p), "__consumer_offsets 0 ") {
			return fmt.Errorf("cleaner offsets %q, %w", p, err)
		}
		if n := size(); n > 1<<20+100<<10 { // the active segment, and the rest of the others
			return fmt.Errorf("%d bytes", n)
		}
		return nil
	})
	b.Kill()
	b.Start()
	got, err := a.FetchOffsets(ctx, "g")
	if err != nil {
		t.Fatal(err)
	}
	for p := range int32(partitions) {
		if o, ok := got.Lookup("committed", p); !ok || o.At != commits-1 {
			t.Fatalf("partition %d: offset %d, want %d", p, o.At, commits-1)
		}
	}
}
