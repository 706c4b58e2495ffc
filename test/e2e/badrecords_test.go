//go:build e2e

package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/test/harness"
)

// Positions in a record batch of magic 2.
const (
	atLength, atMagic, atCRC, atAttributes, atLastDelta, atCount, atRecords = 8, 16, 17, 21, 23, 57, 61
)

// sealed corrects length and CRC of a batch that was changed.
func sealed(b []byte) []byte {
	binary.BigEndian.PutUint32(b[atLength:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[atCRC:], crc32.Checksum(b[atAttributes:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// with returns a changed copy with a right CRC.
func with(b []byte, change func([]byte)) []byte {
	b = bytes.Clone(b)
	change(b)
	return sealed(b)
}

// TestBadRecords produces batches that break the format (B11 to B23): the error code is
// the one that clients of Kafka expect, and nothing is appended.
func TestBadRecords(t *testing.T) {
	b := harness.StartBroker(t, quick()...)
	createTopic(t, b, "records", 1, map[string]string{"max.message.bytes": "1048588"})
	plain := func(o batch.Builder) []byte {
		return build(t, o, batch.Record{Timestamp: now(), Key: []byte("k"), Value: []byte("first")}, batch.Record{Timestamp: now(), Value: []byte("second")})
	}
	one := plain(batch.NoProducer)
	compressed := batch.NoProducer
	compressed.Codec = batch.LZ4
	packed := plain(compressed)
	put16 := func(at int, v uint16) func([]byte) { return func(b []byte) { binary.BigEndian.PutUint16(b[at:], v) } }
	put32 := func(at int, v uint32) func([]byte) { return func(b []byte) { binary.BigEndian.PutUint32(b[at:], v) } }
	at := func(ms int64) []byte {
		return build(t, batch.NoProducer, batch.Record{Timestamp: ms, Value: []byte("v")})
	}
	const corrupt, tooLarge, invalid, timestamp = 2, 10, 87, 32
	cases := []struct {
		name    string
		records []byte
		want    []int16
	}{
		{"B11 CRC", func() []byte { c := bytes.Clone(one); c[len(c)-1] ^= 1; return c }(), []int16{corrupt}},
		{"B12 count 3 of 2", with(one, put32(atCount, 3)), []int16{invalid, corrupt}},
		{"B12 count 1 of 2", with(one, put32(atCount, 1)), []int16{invalid, corrupt}},
		{"B12 count 0", with(one, put32(atCount, 0)), []int16{invalid}},
		{"B12 count -1", with(one, put32(atCount, math.MaxUint32)), []int16{invalid}},
		{"B12 delta 7", with(one, put32(atLastDelta, 7)), []int16{invalid}},
		{"B12 compressed, count 3", with(packed, func(b []byte) { put32(atCount, 3)(b); put32(atLastDelta, 2)(b) }), []int16{invalid, corrupt}},
		{"B12 compressed, count 2^31-1", with(packed, func(b []byte) { put32(atCount, math.MaxInt32)(b); put32(atLastDelta, math.MaxInt32-1)(b) }), []int16{invalid, corrupt}},
		{"B13 length 1 less", func() []byte { c := bytes.Clone(one); put32(atLength, uint32(len(c)-13))(c); return c }(), []int16{invalid, corrupt}},
		{"B13 length 1 more", func() []byte { c := bytes.Clone(one); put32(atLength, uint32(len(c)-11))(c); return c }(), []int16{invalid, corrupt}},
		{"B13 length -1", func() []byte { c := bytes.Clone(one); put32(atLength, math.MaxUint32)(c); return c }(), []int16{invalid, corrupt}},
		{"B13 trailing byte", append(bytes.Clone(one), 0), []int16{invalid, corrupt}},
		{"B13 trailing byte inside", sealed(append(bytes.Clone(one), 0)), []int16{invalid, corrupt}},
		{"B13 header alone", one[:atRecords], []int16{invalid, corrupt}},
		{"B13 ten bytes", one[:10], []int16{invalid, corrupt}},
		{"B13 nothing", []byte{}, []int16{invalid, corrupt}},
		{"B14 two batches", append(bytes.Clone(one), one...), []int16{invalid}},
		{"B14 magic 0", func() []byte { c := bytes.Clone(one); c[atMagic] = 0; return c }(), []int16{invalid}},
		{"B14 magic 1", func() []byte { c := bytes.Clone(one); c[atMagic] = 1; return c }(), []int16{invalid}},
		{"B14 magic 3", func() []byte { c := bytes.Clone(one); c[atMagic] = 3; return c }(), []int16{corrupt, invalid}},
		{"B15 control batch", with(one, put16(atAttributes, 0x20)), []int16{invalid}},
		{"B15 transactional", with(plain(batch.Builder{ProducerID: 5, BaseSequence: 0}), put16(atAttributes, 0x10)), []int16{invalid, 48, 53}},
		{"B16 negative sequence", plain(batch.Builder{ProducerID: 5, BaseSequence: -1}), []int16{invalid}},
		{"B16 epoch -1 with an id", plain(batch.Builder{ProducerID: 5, ProducerEpoch: -1}), []int16{invalid}},
		{"B18 codec 5", with(one, put16(atAttributes, 5)), []int16{76}},
		{"B18 codec 7", with(one, put16(atAttributes, 7)), []int16{76}},
		{"B19 in two hours", at(now() + 7_200_000), []int16{timestamp}},
		{"B19 year 9999", at(253_370_764_800_000), []int16{timestamp}},
		{"B19 greatest", at(math.MaxInt64), []int16{timestamp}},
		{"B22 too large", at0(t, 2<<20), []int16{tooLarge}},
		{"base offset 9", with(one, func(b []byte) { binary.BigEndian.PutUint64(b, 9) }), []int16{invalid, corrupt}},
	}
	for codec, zeros := range bombs(t) {
		cases = append(cases, struct {
			name    string
			records []byte
			want    []int16
		}{"B17 bomb, " + codec, zeros, []int16{tooLarge, invalid, corrupt}})
	}
	withHealthy(t, b, badMemory, func(t *testing.T) {
		r := dial(t, b)
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				p := r.produce("records", 0, c.records)
				if !slices.Contains(c.want, p.ErrorCode) || p.BaseOffset != -1 {
					t.Errorf("%d bytes: %s at offset %d, want one of %d", len(c.records), errorName(p.ErrorCode), p.BaseOffset, c.want)
				}
				if p.ErrorCode == timestamp && (len(p.ErrorRecords) != 1 || p.ErrorRecords[0].RelativeOffset != 0) {
					t.Errorf("records to blame: %+v, want the first (KIP-467)", p.ErrorRecords)
				}
			})
		}
		for range 20 { // bombs at once, on several connections
			for _, zeros := range bombs(t) {
				if err := dial(t, b).write(frame(produceRequest("records", 0, -1, zeros), 1)); err != nil {
					t.Fatal(err)
				}
			}
		}
		q := produceRequest("records", 0, 7, one)
		if p := ask[*kmsg.ProduceResponse](r, q).Topics[0].Partitions[0]; p.ErrorCode != kerr.InvalidRequiredAcks.Code {
			t.Errorf("B21 acks=7: %s", errorName(p.ErrorCode))
		}
		awaitCoordinatorTopic(t, r)
		for _, topic := range []string{"__consumer_offsets"} {
			if p := r.produce(topic, 0, one); p.ErrorCode != kerr.InvalidTopicException.Code {
				t.Errorf("B23 produce to %s: %s", topic, errorName(p.ErrorCode))
			}
		}
		if p := r.produce("records", -1, one); p.ErrorCode != kerr.UnknownTopicOrPartition.Code {
			t.Errorf("B36 partition -1: %s", errorName(p.ErrorCode))
		}
		if end := r.listOffset("records", 0, -1); end.Offset != 0 {
			t.Errorf("the log ends at %d: something was appended", end.Offset)
		}
		if p := r.produce("records", 0, one); p.ErrorCode != 0 || p.BaseOffset != 0 {
			t.Errorf("a good batch: %s at %d", errorName(p.ErrorCode), p.BaseOffset)
		}
	})
}

func at0(t *testing.T, size int) []byte {
	return build(t, batch.NoProducer, batch.Record{Timestamp: now(), Value: make([]byte, size)})
}

// awaitCoordinatorTopic makes __consumer_offsets exist.
func awaitCoordinatorTopic(t *testing.T, r *raw) { awaitCoordinator(t, r, "any") }

// bombs are batches that claim or unpack to far more than they take (B17).
func bombs(t *testing.T) map[string][]byte {
	t.Helper()
	const size = 256 << 20
	m := map[string][]byte{}
	value := make([]byte, 32<<20)
	for name, codec := range map[string]batch.Codec{"gzip": batch.Gzip, "lz4": batch.LZ4, "zstd": batch.Zstd} {
		o := batch.NoProducer
		o.Codec = codec
		m[name] = build(t, o, batch.Record{Timestamp: now(), Value: value})
	}
	wrap := func(codec uint16, payload []byte) []byte {
		b := build(t, batch.NoProducer, batch.Record{Timestamp: now(), Value: []byte("v")})[:atRecords:atRecords]
		b = append(b, payload...)
		binary.BigEndian.PutUint16(b[atAttributes:], codec)
		return sealed(b)
	}
	m["snappy that claims 4 GiB"] = wrap(2, []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, 0x61})
	encoder, err := zstd.NewWriter(nil, zstd.WithWindowSize(zstd.MaxWindowSize))
	if err != nil {
		t.Fatal(err)
	}
	defer encoder.Close()
	m["zstd with a large window"] = wrap(4, encoder.EncodeAll(make([]byte, size), nil))
	return m
}

// TestBadNames uses names that would leave a directory, a log line or a metric (B10,
// B24, B25): topics are refused, groups are just names, and no file appears anywhere.
func TestBadNames(t *testing.T) {
	b := harness.StartBroker(t, quick()...)
	createTopic(t, b, "a.b", 1, nil)
	before := entries(t, filepath.Dir(b.Dir))
	withHealthy(t, b, badMemory, func(t *testing.T) {
		r := dial(t, b)
		for _, name := range []string{"../x", ".", "..", "", strings.Repeat("x", 250), "nul\x00", "a/b", "tоpic", "\xff\xfe", "\x1b[31mred", "line\nbreak", "a_b", "C:\\x", " "} {
			create := kmsg.NewPtrCreateTopicsRequest()
			create.Version, create.TimeoutMillis = 6, 10_000
			topic := kmsg.NewCreateTopicsRequestTopic()
			topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 1, 1
			create.Topics = append(create.Topics, topic)
			if p, err := r.try(create); err != nil {
				r = dial(t, b) // refused as bad UTF-8
			} else if code := p.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode; code != kerr.InvalidTopicException.Code {
				t.Errorf("B24 create %q: %s", name, errorName(code))
			}
			m := kmsg.NewPtrMetadataRequest()
			m.Version, m.AllowAutoTopicCreation = 9, true
			wanted := kmsg.NewMetadataRequestTopic()
			wanted.Topic = &name
			m.Topics = append(m.Topics, wanted)
			if p, err := r.try(m); err != nil {
				r = dial(t, b)
			} else if code := p.(*kmsg.MetadataResponse).Topics[0].ErrorCode; code != kerr.InvalidTopicException.Code {
				t.Errorf("B24 metadata of %q: %s", name, errorName(code))
			}
		}
		awaitCoordinatorTopic(t, r)
		for _, name := range []string{"../../../etc/passwd", "/etc/passwd", "\x1b[31m", "nul\x00", "line\nbreak", "\xff", strings.Repeat("g", 32<<10-1), strings.Repeat("g", 100_000)} {
			f := kmsg.NewPtrFindCoordinatorRequest()
			f.Version, f.CoordinatorKeys = 4, []string{name}
			if _, err := r.try(f); err != nil {
				r = dial(t, b)
			}
			q := kmsg.NewPtrOffsetCommitRequest()
			q.Version, q.Group, q.Generation, q.MemberID = 8, name, -1, ""
			topic, p := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
			p.Metadata = kmsg.StringPtr(name[:min(len(name), 100)])
			topic.Topic, topic.Partitions = "a.b", append(topic.Partitions, p)
			q.Topics = append(q.Topics, topic)
			if _, err := r.try(q); err != nil {
				r = dial(t, b)
			}
			d := kmsg.NewPtrDescribeGroupsRequest()
			d.Version, d.Groups = 5, []string{name}
			if _, err := r.try(d); err != nil {
				r = dial(t, b)
			}
		}
		if _, err := b.HTTPGet("/metrics"); err != nil {
			t.Errorf("metrics: %v", err)
		}
		odd := cat(header(9999, 0, false)[:8], []byte{0, 9}, []byte("\x1b[31m\nred"))
		if err := dial(t, b).write(framed(odd)); err != nil { // is logged
			t.Error(err)
		}
	})
	if after := entries(t, filepath.Dir(b.Dir)); !slices.Equal(before, after) {
		t.Errorf("beside the data directory there is %v, before %v", after, before)
	}
	for _, e := range entries(t, b.Dir) {
		if strings.Contains(e, "passwd") || strings.ContainsAny(e, "\x1b\n") {
			t.Errorf("file %q", e)
		}
	}
	b.Kill() // names survive
	b.Start()
	awaitCoordinator(t, dial(t, b), "../../../etc/passwd")
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, fmt.Sprint(e.Name(), e.IsDir()))
	}
	return names
}
