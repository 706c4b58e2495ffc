//go:build e2e

package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/test/harness"
	"github.com/varvelog/varve/test/stores"
)

// stamped is a record as a naive scan finds it.
type stamped struct {
	offset, timestamp int64
	epoch             int32
}

// scan reads a whole partition.
func scan(t *testing.T, b *harness.Broker, topic string, end int64) []stamped {
	t.Helper()
	var all []stamped
	readAll(t, b, topic, 0, end, func(r *kgo.Record) {
		all = append(all, stamped{r.Offset, r.Timestamp.UnixMilli(), r.LeaderEpoch})
	})
	return all
}

// scattered fills a topic with batches of every codec whose timestamps rise on the
// whole, and fall and repeat often.
func scattered(t *testing.T, r *raw, rng *rand.Rand, topic string, size int) (end int64) {
	t.Helper()
	text := &textRecords{text: corpusText(t)}
	clock := now() - 3_600_000
	for size > 0 {
		var records []batch.Record
		for range 1 + rng.IntN(20) {
			clock += rng.Int64N(30)
			_, value := text.next()
			size -= len(value)
			at := clock
			switch rng.IntN(10) {
			case 0:
				at -= rng.Int64N(20_000)
			case 1:
				at += rng.Int64N(20_000)
			}
			records = append(records, batch.Record{Timestamp: at, Value: value})
		}
		o := batch.NoProducer
		o.Codec = batch.Codec(rng.IntN(5))
		p := r.produce(topic, 0, build(t, o, records...))
		if p.ErrorCode != 0 {
			t.Fatal(errorName(p.ErrorCode))
		}
		end = p.BaseOffset + int64(len(records))
	}
	return end
}

// TestListOffsetsEqualsANaiveScan asks for offsets by time and by name while most of the
// log is in the bucket, and holds the answers against a scan of all records (I34).
func TestListOffsetsEqualsANaiveScan(t *testing.T) {
	rng := harness.Seeded(t)
	store := minioAt(stores.MinIO(t).Endpoint)
	b := harness.StartBroker(t, store.sets()...)
	createTopic(t, b, "times", 1, tiered())
	r := dial(t, b)
	end := scattered(t, r, rng, "times", 12<<20)
	b.WaitTiered(t, time.Minute, 2<<20, "times")
	tier := tierOf(t, b, "times")
	if len(tier.Segments) < 3 || tier.LocalStart == 0 || tier.LocalStart == tier.End {
		t.Fatalf("no seam: %d segments, local start %d", len(tier.Segments), tier.LocalStart)
	}
	all := scan(t, b, "times", end)

	newest := all[0]
	for _, s := range all {
		if s.timestamp > newest.timestamp {
			newest = s
		}
	}
	for _, c := range []struct {
		name                      string
		ask, wantOffset, wantTime int64
	}{
		{"latest", -1, end, -1},
		{"earliest", -2, 0, -1},
		{"max timestamp (KIP-734)", -3, newest.offset, newest.timestamp},
		{"earliest local (KIP-405)", -4, tier.LocalStart, -1},
		{"latest tiered (KIP-1005)", -5, tier.TieredEnd - 1, -1},
		{"earliest pending upload (KIP-1023)", -6, tier.TieredEnd, -1},
		{"after everything", newest.timestamp + 1, -1, -1},
	} {
		if p := r.listOffset("times", 0, c.ask); p.ErrorCode != 0 || p.Offset != c.wantOffset || p.Timestamp != c.wantTime {
			t.Errorf("%s: offset %d at %d (%s), want %d at %d", c.name, p.Offset, p.Timestamp, errorName(p.ErrorCode), c.wantOffset, c.wantTime)
		}
	}
	if p := r.listOffset("times", 0, -7); p.ErrorCode != kerr.UnsupportedVersion.Code {
		t.Errorf("timestamp -7: %s", errorName(p.ErrorCode))
	}
	wrong := 0
	for range 3000 {
		ask := all[rng.IntN(len(all))].timestamp + rng.Int64N(5) - 2
		want := stamped{offset: -1, timestamp: -1}
		for _, s := range all {
			if s.timestamp >= ask {
				want = s
				break
			}
		}
		if p := r.listOffset("times", 0, ask); p.ErrorCode != 0 || p.Offset != want.offset || p.Timestamp != want.timestamp {
			if wrong++; wrong < 10 {
				t.Errorf("time %d: offset %d at %d (%s), the scan says %d at %d", ask, p.Offset, p.Timestamp, errorName(p.ErrorCode), want.offset, want.timestamp)
			}
		}
	}
}

// TestFetchAtEveryOffset fetches at offsets of both tiers, most of them inside batches,
// with limits from one byte up: the answer begins with the whole batch that holds the
// offset, and the bytes are those that the other limits gave (I30, I40).
func TestFetchAtEveryOffset(t *testing.T) {
	rng := harness.Seeded(t)
	store := minioAt(stores.MinIO(t).Endpoint)
	b := harness.StartBroker(t, store.sets()...)
	createTopic(t, b, "every", 1, tiered())
	r := dial(t, b)
	end := scattered(t, r, rng, "every", 6<<20)
	b.WaitTiered(t, time.Minute, 2<<20, "every")
	if p := tierOf(t, b, "every"); p.LocalStart == 0 {
		t.Fatalf("no seam: %+v", p)
	}
	first := map[int64][]byte{} // first batch of an answer by its base offset
	for offset := range end {
		limit := int32(1) << rng.IntN(18)
		p := r.fetch("every", 0, offset, limit)
		for range 100 { // a cold answer may be empty when its time is over
			if len(p.RecordBatches) > 0 || p.ErrorCode != 0 {
				break
			}
			p = r.fetch("every", 0, offset, limit)
		}
		if p.ErrorCode != 0 || len(p.RecordBatches) < batch.HeaderSize {
			t.Fatalf("offset %d, limit %d: %s, %d bytes", offset, limit, errorName(p.ErrorCode), len(p.RecordBatches))
		}
		one, _, err := batch.Next(p.RecordBatches)
		if err != nil {
			t.Fatalf("offset %d, limit %d: %v", offset, limit, err)
		}
		if one.BaseOffset() > offset || one.LastOffset() < offset {
			t.Fatalf("offset %d, limit %d: the first batch is [%d, %d]", offset, limit, one.BaseOffset(), one.LastOffset())
		}
		if err := one.CheckCRC(); err != nil {
			t.Fatalf("offset %d: %v", offset, err)
		}
		if before, seen := first[one.BaseOffset()]; seen && !bytes.Equal(before, one) {
			t.Fatalf("offset %d: the batch at %d has other bytes than before", offset, one.BaseOffset())
		}
		first[one.BaseOffset()] = bytes.Clone(one)
		if extra := int32(len(p.RecordBatches)) - limit; extra > int32(len(one)) {
			t.Fatalf("offset %d: %d bytes came for a limit of %d and a first batch of %d", offset, len(p.RecordBatches), limit, len(one))
		}
	}
	t.Logf("%d offsets in %d batches", end, len(first))
}

// TestOffsetForLeaderEpochAfterRestarts kills the broker between appends, which raises
// the epoch each time, and compares the end of every epoch with a scan (KIP-101, I35).
func TestOffsetForLeaderEpochAfterRestarts(t *testing.T) {
	store := minioAt(stores.MinIO(t).Endpoint)
	b := harness.StartBroker(t, store.sets()...)
	createTopic(t, b, "epochs", 1, tiered())
	end := int64(0)
	for i := range 5 {
		end += fill(t, b, "epochs", 700<<10*(i%3), nil) // the second and fourth epochs are the larger
		end += fill(t, b, "epochs", 100, nil)
		b.Kill()
		b.Start()
	}
	fill(t, b, "epochs", 1<<20, nil)
	b.WaitTiered(t, time.Minute, 2<<20, "epochs")
	r := dial(t, b)
	end = r.listOffset("epochs", 0, -1).Offset
	all := scan(t, b, "epochs", end)
	current := r.listOffset("epochs", 0, -1).LeaderEpoch
	if tier := tierOf(t, b, "epochs"); tier.LocalStart == 0 || current < 5 || all[len(all)-1].epoch != current {
		t.Fatalf("local start %d, epoch %d, the last record's %d", tier.LocalStart, current, all[len(all)-1].epoch)
	}
	for epoch := int32(0); epoch <= current; epoch++ {
		wantEpoch, wantEnd := int32(-1), end
		for _, s := range all { // the largest epoch up to the one asked for, and where the next begins
			if s.epoch > epoch {
				wantEnd = s.offset
				break
			}
			wantEpoch = s.epoch
		}
		q := kmsg.NewPtrOffsetForLeaderEpochRequest()
		q.Version, q.ReplicaID = 4, -1
		topic, p := kmsg.NewOffsetForLeaderEpochRequestTopic(), kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		p.LeaderEpoch, p.CurrentLeaderEpoch = epoch, -1
		topic.Topic, topic.Partitions = "epochs", append(topic.Partitions, p)
		q.Topics = append(q.Topics, topic)
		got := ask[*kmsg.OffsetForLeaderEpochResponse](r, q).Topics[0].Partitions[0]
		if got.ErrorCode != 0 || got.LeaderEpoch != wantEpoch || got.EndOffset != wantEnd {
			t.Errorf("epoch %d: ends at %d in epoch %d (%s), the scan says %d in %d", epoch, got.EndOffset, got.LeaderEpoch, errorName(got.ErrorCode), wantEnd, wantEpoch)
		}
	}
}

// TestLargeBatches holds max.message.bytes, live, and reads batches that are larger than
// every limit of the reader, from the disk and from the bucket (KIP-74).
func TestLargeBatches(t *testing.T) {
	store := minioAt(stores.MinIO(t).Endpoint)
	b := harness.StartBroker(t, store.sets()...)
	createTopic(t, b, "large", 1, tiered("max.message.bytes", "100000"))
	r := dial(t, b)
	large := func(size int) []byte {
		return build(t, batch.NoProducer, batch.Record{Timestamp: now(), Value: bytes.Repeat([]byte("x"), size)})
	}
	exact := large(100_000 - 80)
	for len(exact) != 100_000 {
		exact = large(100_000 - 80 + 100_000 - len(exact))
	}
	for _, c := range []struct {
		records []byte
		want    int16
	}{{exact, 0}, {large(100_000), kerr.MessageTooLarge.Code}, {large(3 << 20), kerr.MessageTooLarge.Code}} {
		if p := r.produce("large", 0, c.records); p.ErrorCode != c.want {
			t.Errorf("a batch of %d bytes: %s, want %s", len(c.records), errorName(p.ErrorCode), errorName(c.want))
		}
	}
	alter(t, b, "large", "max.message.bytes", "4000000")
	harness.Until(t, time.Minute, "the new limit", func() error {
		if p := r.produce("large", 0, large(3<<20)); p.ErrorCode != 0 {
			return kerr.ErrorForCode(p.ErrorCode)
		}
		return nil
	})
	for range 3 {
		if p := r.produce("large", 0, large(3<<20)); p.ErrorCode != 0 {
			t.Fatal(errorName(p.ErrorCode))
		}
	}
	end := r.listOffset("large", 0, -1).Offset
	read := func(what string) {
		for offset := range end {
			q := fetchRequest("large", 0, offset, 1, 1)
			harness.Until(t, time.Minute, fmt.Sprintf("%s read of offset %d", what, offset), func() error {
				p := ask[*kmsg.FetchResponse](r, q).Topics[0].Partitions[0]
				if p.ErrorCode != 0 || len(p.RecordBatches) < batch.HeaderSize {
					return fmt.Errorf("%s, %d bytes", errorName(p.ErrorCode), len(p.RecordBatches))
				}
				if size := int(binary.BigEndian.Uint32(p.RecordBatches[8:])) + 12; size != len(p.RecordBatches) {
					return fmt.Errorf("a batch of %d bytes, %d came", size, len(p.RecordBatches))
				}
				return nil
			})
		}
	}
	read("hot")
	b.WaitTiered(t, time.Minute, 4<<20, "large")
	if p := tierOf(t, b, "large"); p.LocalStart == 0 {
		t.Fatalf("nothing is cold: %+v", p)
	}
	read("cold")
}
