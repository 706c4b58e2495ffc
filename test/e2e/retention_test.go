//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/test/harness"
	"github.com/varvelog/varve/test/stores"
	"github.com/varvelog/varve/tiering/objstore"
)

// fill produces so many bytes of text to partition 0 of a topic, with the record number
// as key, and returns how many records these were.
func fill(t *testing.T, b *harness.Broker, topic string, size int, at func(n int64) time.Time) int64 {
	t.Helper()
	c := client(t, b, kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(64<<10))
	defer c.Close()
	ctx := within(t, time.Minute)
	text := &textRecords{text: corpusText(t)}
	var failed error
	n := int64(0)
	for ; size > 0; n++ {
		_, value := text.next()
		size -= len(value)
		r := &kgo.Record{Key: fmt.Append(nil, n), Value: value}
		if at != nil {
			r.Timestamp = at(n)
		}
		c.Produce(ctx, r, func(_ *kgo.Record, err error) { failed = cmp.Or(failed, err) })
	}
	if err := cmp.Or(c.Flush(ctx), failed); err != nil {
		t.Fatalf("fill %s: %v", topic, err)
	}
	return n
}

// readAll reads partition 0 from an offset to its end, checks that offsets are dense, and
// calls yield with every record.
func readAll(t *testing.T, b *harness.Broker, topic string, from, end int64, yield func(*kgo.Record)) {
	t.Helper()
	c := client(t, b, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(from)}}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchMaxWait(500*time.Millisecond))
	defer c.Close()
	ctx := within(t, time.Minute)
	for next := from; next < end; {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatalf("read %s at %d: %v", topic, next, err)
		}
		f.EachRecord(func(r *kgo.Record) {
			if r.Offset != next {
				t.Fatalf("read %s: offset %d where %d was due", topic, r.Offset, next)
			}
			next++
			yield(r)
		})
	}
}

// readFilled is readAll for what fill wrote: the key is the number, which is the offset.
func readFilled(t *testing.T, b *harness.Broker, topic string, from, end int64) {
	t.Helper()
	readAll(t, b, topic, from, end, func(r *kgo.Record) {
		if string(r.Key) != fmt.Sprint(r.Offset) {
			t.Fatalf("%s offset %d holds record %s", topic, r.Offset, r.Key)
		}
	})
}

func alter(t *testing.T, b *harness.Broker, topic, key, value string) {
	t.Helper()
	r, err := admin(t, b).AlterTopicConfigs(within(t, time.Minute), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: key, Value: &value}}, topic)
	if err == nil {
		err = r[0].Err
	}
	if err != nil {
		t.Fatalf("set %s=%s of %s: %v", key, value, topic, err)
	}
}

// tierOf is the state of partition 0.
func tierOf(t testing.TB, b *harness.Broker, topic string) harness.Tier {
	t.Helper()
	all := b.Tiers(t, topic)
	if len(all) == 0 {
		t.Fatalf("topic %s is not there", topic)
	}
	return all[0]
}

func outOfRange(t *testing.T, r *raw, topic string, offset int64) {
	t.Helper()
	if p := r.fetch(topic, 0, offset, 1<<20); p.ErrorCode != kerr.OffsetOutOfRange.Code {
		t.Errorf("fetch of %s at %d: %s, want OFFSET_OUT_OF_RANGE", topic, offset, errorName(p.ErrorCode))
	}
}

// TestRetentionBySizeIsPerTopicAndLive trims one of two topics when its limit is set,
// reading has no say in it, and no more goes than has to (C5, C6, I24).
func TestRetentionBySizeIsPerTopicAndLive(t *testing.T) {
	store := minioAt(stores.MinIO(t).Endpoint)
	b := harness.StartBroker(t, store.sets()...)
	const size, limit = 8 << 20, 3 << 20
	ends := map[string]int64{}
	for _, topic := range []string{"trimmed", "kept"} {
		createTopic(t, b, topic, 1, tiered())
		ends[topic] = fill(t, b, topic, size, nil)
	}
	b.WaitTiered(t, time.Minute, 2<<20, "trimmed", "kept")
	for range 5 {
		readFilled(t, b, "trimmed", 0, ends["trimmed"])
	}
	if start := tierOf(t, b, "trimmed").LogStart; start != 0 {
		t.Fatalf("the log starts at %d before there is a limit", start)
	}
	before := tierOf(t, b, "trimmed")
	alter(t, b, "trimmed", "retention.bytes", fmt.Sprint(limit))
	var after harness.Tier
	harness.Until(t, time.Minute, "trimming by size", func() error {
		after = tierOf(t, b, "trimmed")
		if kept := bytesFrom(before, after.LogStart); kept > limit+1<<20+1<<17 {
			return fmt.Errorf("%d bytes are left, log start %d", kept, after.LogStart)
		}
		return nil
	})
	if kept := bytesFrom(before, after.LogStart); kept < limit {
		t.Errorf("%d bytes are left: more went than %d asks for", kept, limit)
	}
	r := dial(t, b)
	outOfRange(t, r, "trimmed", 0)
	outOfRange(t, r, "trimmed", after.LogStart-1)
	outOfRange(t, r, "trimmed", ends["trimmed"]+1)
	if first := r.listOffset("trimmed", 0, -2); first.Offset != after.LogStart {
		t.Errorf("earliest offset %d, log start %d", first.Offset, after.LogStart)
	}
	readFilled(t, b, "trimmed", after.LogStart, ends["trimmed"])
	if kept := tierOf(t, b, "kept"); kept.LogStart != 0 || kept.RemoteSegments < 6 {
		t.Errorf("the other topic was trimmed: %+v", kept)
	}
	readFilled(t, b, "kept", 0, ends["kept"])
	b.Kill() // what was trimmed stays so
	b.Start()
	outOfRange(t, dial(t, b), "trimmed", after.LogStart-1)
	readFilled(t, b, "trimmed", after.LogStart, ends["trimmed"])
	auditWalk(t, b, store.open(t))
}

// TestTieringIsTurnedOff takes a topic out of the bucket and puts it in again (KIP-950):
// whoever does not say that records may go is refused, what is on the disk stays, and a
// kill at the moment of the change changes nothing.
func TestTieringIsTurnedOff(t *testing.T) {
	store := minioAt(stores.MinIO(t).Endpoint)
	b := harness.StartBroker(t, store.sets()...)
	const topic = "withdrawn"
	createTopic(t, b, topic, 1, tiered())
	createTopic(t, b, "kept", 1, tiered())
	end := fill(t, b, topic, 6<<20, nil)
	kept := fill(t, b, "kept", 4<<20, nil)
	b.WaitTiered(t, time.Minute, 2<<20, topic, "kept")
	off, yes := "false", "true"
	change := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "remote.storage.enable", Value: &off}}
	ctx := within(t, 2*time.Minute)
	alter := func(changes ...kadm.AlterConfig) error {
		r, err := admin(t, b).AlterTopicConfigs(ctx, changes, topic)
		return cmp.Or(err, r[0].Err)
	}
	if err := alter(change...); !isError(err, kerr.InvalidConfig) {
		t.Errorf("turned off without a word of what is in the bucket: %v", err)
	}
	deletes := kadm.AlterConfig{Op: kadm.SetConfig, Name: "remote.log.delete.on.disable", Value: &yes}
	if err := alter(append(change, deletes)...); err != nil {
		t.Fatal(err)
	}
	b.Kill()
	b.Start()
	var after harness.Tier
	harness.Until(t, time.Minute, "withdrawal from the bucket", func() error {
		if after = tierOf(t, b, topic); after.RemoteSegments > 0 || after.TieredEnd != after.LocalStart {
			return fmt.Errorf("%+v", after)
		}
		return nil
	})
	if after.LogStart == 0 || after.LogStart != after.LocalStart || after.End != end {
		t.Errorf("withdrawn: %+v", after)
	}
	outOfRange(t, dial(t, b), topic, after.LogStart-1)
	readFilled(t, b, topic, after.LogStart, end)
	readFilled(t, b, "kept", 0, kept)
	auditWalk(t, b, store.open(t)) // no object is left that no manifest names
	alterAll := kadm.AlterConfig{Op: kadm.SetConfig, Name: "remote.storage.enable", Value: &yes}
	if err := alter(alterAll); err != nil {
		t.Fatal(err)
	}
	more := fill(t, b, topic, 4<<20, nil)
	b.WaitTiered(t, time.Minute, 2<<20, topic)
	again := tierOf(t, b, topic)
	if again.LogStart != after.LogStart || again.Segments[0].Base > after.LogStart {
		t.Errorf("tiered again: %+v, the log started at %d", again, after.LogStart)
	}
	readAll(t, b, topic, after.LogStart, end+more, func(r *kgo.Record) {
		if want := r.Offset % end; string(r.Key) != fmt.Sprint(want) {
			t.Fatalf("offset %d holds record %s, not %d", r.Offset, r.Key, want)
		}
	})
	auditWalk(t, b, store.open(t))
}

// bytesFrom is how many bytes of batches a partition had from an offset on.
func bytesFrom(p harness.Tier, offset int64) int64 {
	n := p.LocalBytes
	for _, s := range p.Segments {
		if s.Next > offset && s.Next <= p.LocalStart {
			n += s.Size
		}
	}
	return n
}

// TestRetentionByTimeIsPerTopicAndLive gives two topics old records; the one whose
// retention.ms is set loses them, down to the last, though nobody has read them.
func TestRetentionByTimeIsPerTopicAndLive(t *testing.T) {
	store := minioAt(stores.MinIO(t).Endpoint)
	b := harness.StartBroker(t, store.sets()...)
	old := func(int64) time.Time { return time.Now().Add(-3 * time.Hour) }
	for _, topic := range []string{"hours", "days"} {
		createTopic(t, b, topic, 1, tiered("retention.ms", "-1"))
	}
	end := fill(t, b, "hours", 3<<20, old)
	fill(t, b, "days", 3<<20, old)
	b.WaitTiered(t, time.Minute, 2<<20, "hours", "days")
	alter(t, b, "hours", "retention.ms", "7200000")
	alter(t, b, "days", "retention.ms", "172800000") // the two days of the quickstart
	harness.Until(t, time.Minute, "expiry", func() error {
		if p := tierOf(t, b, "hours"); p.LogStart != end || p.RemoteSegments != 0 {
			return fmt.Errorf("log start %d of %d, %d segments in the bucket", p.LogStart, end, p.RemoteSegments)
		}
		return nil
	})
	r := dial(t, b)
	outOfRange(t, r, "hours", end-1)
	if p := r.fetch("hours", 0, end, 1<<20); p.ErrorCode != 0 {
		t.Errorf("fetch at the end: %s", errorName(p.ErrorCode))
	}
	more := fill(t, b, "hours", 1<<20, nil)
	if p := tierOf(t, b, "hours"); p.LogStart != end || p.End != end+more {
		t.Errorf("fresh records: log start %d, end %d, want %d and %d", p.LogStart, p.End, end, end+more)
	}
	if p := tierOf(t, b, "days"); p.LogStart != 0 {
		t.Errorf("the other topic was trimmed: %+v", p)
	}
	auditWalk(t, b, store.open(t))
}

// TestDeleteRecordsAcrossTheSeam deletes up to an offset in the bucket, then up to one
// on the disk, then everything; nothing comes back over a kill (I29).
func TestDeleteRecordsAcrossTheSeam(t *testing.T) {
	store := minioAt(stores.MinIO(t).Endpoint)
	b := harness.StartBroker(t, store.sets()...)
	createTopic(t, b, "cut", 1, tiered())
	end := fill(t, b, "cut", 6<<20, nil)
	b.WaitTiered(t, time.Minute, 2<<20, "cut")
	seam := tierOf(t, b, "cut")
	if seam.LocalStart == 0 || len(seam.Segments) < 4 {
		t.Fatalf("no seam: %+v", seam)
	}
	bucket := store.open(t)
	for _, c := range []struct {
		name       string
		offset, to int64
	}{
		{"inside a segment of the bucket", seam.Segments[2].Base + 5, seam.Segments[2].Base + 5},
		{"below the start", 1, seam.Segments[2].Base + 5},
		{"on the disk", seam.LocalStart + 7, seam.LocalStart + 7},
		{"everything", -1, end},
	} {
		deleteRecords(t, b, "cut", c.offset, nil)
		b.Kill()
		b.Start()
		r := dial(t, b)
		if first := r.listOffset("cut", 0, -2); first.Offset != c.to {
			t.Errorf("%s: earliest offset %d, want %d", c.name, first.Offset, c.to)
		}
		outOfRange(t, r, "cut", c.to-1)
		readFilled(t, b, "cut", c.to, end)
		auditWalk(t, b, bucket)
	}
	deleteRecords(t, b, "cut", end+1, kerr.OffsetOutOfRange)
	harness.Until(t, time.Minute, "emptying", func() error {
		if p := tierOf(t, b, "cut"); p.RemoteSegments != 0 {
			return fmt.Errorf("%d segments in the bucket", p.RemoteSegments)
		}
		return nil
	})
	more := fill(t, b, "cut", 3<<20, nil)
	b.WaitTiered(t, time.Minute, 2<<20, "cut")
	readAll(t, b, "cut", end, end+more, func(*kgo.Record) {})
	auditWalk(t, b, bucket)
}

func deleteRecords(t *testing.T, b *harness.Broker, topic string, offset int64, want error) {
	t.Helper()
	o := kadm.Offsets{}
	o.AddOffset(topic, 0, offset, -1)
	r, err := admin(t, b).DeleteRecords(within(t, time.Minute), o)
	if err != nil {
		t.Fatal(err)
	}
	p, _ := r.Lookup(topic, 0)
	if fmt.Sprint(p.Err) != fmt.Sprint(want) {
		t.Fatalf("DeleteRecords to %d: %v, want %v", offset, p.Err, want)
	}
}

// TestDeletedTopicLeavesNothingBehind deletes a topic and makes it again at once, twice,
// once with a kill between: the new one is empty, the old one's objects and files go,
// and other topics keep theirs (I28, G21).
func TestDeletedTopicLeavesNothingBehind(t *testing.T) {
	store := minioAt(stores.MinIO(t).Endpoint)
	b := harness.StartBroker(t, store.sets()...)
	bucket := store.open(t)
	createTopic(t, b, "neighbour", 1, tiered())
	neighbour := fill(t, b, "neighbour", 4<<20, nil)
	var gone []string // prefixes of deleted incarnations
	for round := range 3 {
		createTopic(t, b, "again", 1, tiered())
		end := fill(t, b, "again", 4<<20, nil)
		b.WaitTiered(t, time.Minute, 2<<20, "again", "neighbour")
		p := tierOf(t, b, "again")
		if p.LogStart != 0 || p.End != end {
			t.Fatalf("round %d: a new topic holds [%d, %d), %d records were written", round, p.LogStart, p.End, end)
		}
		readFilled(t, b, "again", 0, end)
		gone = append(gone, strings.Join(strings.Split(p.Segments[0].Key, "/")[:2], "/")+"/")
		r, err := admin(t, b).DeleteTopics(within(t, time.Minute), "again")
		if err = cmp.Or(err, r.Error()); err != nil {
			t.Fatal(err)
		}
		if round == 1 {
			b.Kill()
			b.Start()
		}
	}
	harness.Until(t, 60*time.Second, "removal of deleted topics", func() error { return absent(within(t, time.Minute), bucket, gone) })
	harness.Until(t, time.Minute, "removal of their files", func() error {
		if left, _ := filepath.Glob(filepath.Join(b.Dir, "again-*")); len(left) > 0 {
			return fmt.Errorf("%v", left)
		}
		return nil
	})
	readFilled(t, b, "neighbour", 0, neighbour)
	auditWalk(t, b, bucket)
	if err := b.Stop(stopLimit); err != nil {
		t.Fatal(err)
	}
	auditMetadata(t, b, bucket)
	if _, err := os.Stat(filepath.Join(b.Dir, "neighbour-0")); err != nil {
		t.Error(err)
	}
}

// absent is an error if the bucket has an object below one of the prefixes.
func absent(ctx context.Context, bucket objstore.Bucket, prefixes []string) error {
	for _, prefix := range prefixes {
		n := 0
		if err := bucket.List(ctx, prefix, func(objstore.Object) bool { n++; return true }); err != nil {
			return err
		}
		if n > 0 {
			return fmt.Errorf("%d objects below %s", n, prefix)
		}
	}
	return nil
}
