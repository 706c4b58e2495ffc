package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func crcOf(p []byte) uint32 { return crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)) }

// header is a batch with a different value in every field.
func header() (kmsg.RecordBatch, Batch) {
	k := kmsg.RecordBatch{
		FirstOffset: 0x0102030405060708, Length: HeaderSize - LogOverhead, PartitionLeaderEpoch: 0x11121314, Magic: 2,
		CRC: 0x21222324, Attributes: 0x0074, LastOffsetDelta: 0x31323334, FirstTimestamp: 0x4142434445464748,
		MaxTimestamp: 0x5152535455565758, ProducerID: 0x6162636465666768, ProducerEpoch: 0x7172,
		FirstSequence: 0x11223344, NumRecords: 0x22334455,
	}
	return k, Batch(k.AppendTo(nil))
}

func TestAccessorsReadTheFieldsOfKIP98(t *testing.T) {
	k, b := header()
	if len(b) != HeaderSize {
		t.Fatalf("kmsg's header has %d bytes, HeaderSize is %d", len(b), HeaderSize)
	}
	for _, c := range []struct {
		field     string
		got, want any
	}{
		{"base offset", b.BaseOffset(), k.FirstOffset},
		{"leader epoch", b.LeaderEpoch(), k.PartitionLeaderEpoch},
		{"CRC", b.CRC(), uint32(k.CRC)},
		{"attributes", b.Attributes(), k.Attributes},
		{"codec", b.Codec(), Zstd},
		{"log append time", b.LogAppendTime(), false},
		{"transactional", b.Transactional(), true},
		{"control", b.Control(), true},
		{"last offset delta", b.LastOffsetDelta(), k.LastOffsetDelta},
		{"base timestamp", b.BaseTimestamp(), k.FirstTimestamp},
		{"max timestamp", b.MaxTimestamp(), k.MaxTimestamp},
		{"producer id", b.ProducerID(), k.ProducerID},
		{"producer epoch", b.ProducerEpoch(), k.ProducerEpoch},
		{"base sequence", b.BaseSequence(), k.FirstSequence},
		{"count", b.Count(), k.NumRecords},
		{"size", b.Size(), HeaderSize},
		{"last offset", b.LastOffset(), k.FirstOffset + int64(k.LastOffsetDelta)},
		{"next offset", b.NextOffset(), k.FirstOffset + int64(k.LastOffsetDelta) + 1},
	} {
		if c.got != c.want {
			t.Errorf("%s is %v, want %v", c.field, c.got, c.want)
		}
	}
	if ms, ok := b.DeleteHorizon(); !ok || ms != k.FirstTimestamp {
		t.Errorf("delete horizon is %d, %v (KIP-534)", ms, ok)
	}
	b.setAttributes(0x0008)
	if _, ok := b.DeleteHorizon(); ok || !b.LogAppendTime() || b.Transactional() || b.Control() || b.Codec() != None {
		t.Error("attributes 0x0008 are log append time and nothing else")
	}
}

func TestAccessorsDoNotAllocate(t *testing.T) {
	_, b := header()
	var sum int64
	if n := testing.AllocsPerRun(100, func() {
		sum += b.BaseOffset() + b.NextOffset() + b.MaxTimestamp() + int64(b.LastSequence()) + int64(b.Codec())
		b.Assign(sum, 3)
		b.SetLogAppendTime(sum)
		if b.CheckCRC() != nil {
			t.Fatal("CRC")
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestLastSequenceWrapsAfterMaxInt32KIP98(t *testing.T) {
	for _, c := range []struct{ base, delta, want int32 }{
		{-1, 9, -1},
		{0, 0, 0},
		{5, 9, 14},
		{math.MaxInt32, 0, math.MaxInt32},
		{math.MaxInt32, 1, 0},
		{math.MaxInt32 - 2, 5, 2},
	} {
		_, b := header()
		binary.BigEndian.PutUint32(b[posBaseSequence:], uint32(c.base))
		binary.BigEndian.PutUint32(b[posLastOffsetDelta:], uint32(c.delta))
		if got := b.LastSequence(); got != c.want {
			t.Errorf("base %d, delta %d: %d, want %d", c.base, c.delta, got, c.want)
		}
	}
}

func TestAssignLeavesCRCAndRecords(t *testing.T) {
	b := plain(t)
	before := bytes.Clone(b)
	b.Assign(42, 7)
	if b.BaseOffset() != 42 || b.LeaderEpoch() != 7 || b.LastOffset() != 44 {
		t.Errorf("%+v", Describe(b))
	}
	if err := b.CheckCRC(); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(b[posMagic:], before[posMagic:]) || !bytes.Equal(b[posLength:posLeaderEpoch], before[posLength:posLeaderEpoch]) {
		t.Error("more than base offset and leader epoch changed")
	}
}

func TestSetLogAppendTimeStampsEveryRecord(t *testing.T) {
	for _, codec := range codecs {
		o := NoProducer
		o.Codec = codec
		b := build(t, o, Record{Timestamp: 1}, Record{Timestamp: 2})
		b.SetLogAppendTime(77)
		if err := b.CheckCRC(); err != nil {
			t.Error(err)
		}
		if b.Codec() != codec || b.BaseTimestamp() != 1 || b.MaxTimestamp() != 77 {
			t.Errorf("%+v", Describe(b))
		}
		for _, r := range collect(t, b) {
			if r.Timestamp != 77 {
				t.Errorf("record %d has timestamp %d", r.Offset, r.Timestamp)
			}
		}
	}
}

func TestCheckCRCFindsEveryFlippedBit(t *testing.T) {
	b := plain(t)
	for pos := range b {
		for bit := range 8 {
			b[pos] ^= 1 << bit
			err := b.CheckCRC()
			if outside := pos < posCRC; outside != (err == nil) {
				t.Fatalf("byte %d bit %d: %v", pos, bit, err)
			}
			if err != nil && !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			b[pos] ^= 1 << bit
		}
	}
}

func TestDescribeHasEveryField(t *testing.T) {
	_, b := header()
	d := Describe(b)
	want := Description{
		BaseOffset: b.BaseOffset(), LastOffset: b.LastOffset(), Count: b.Count(), Size: HeaderSize, LeaderEpoch: b.LeaderEpoch(),
		CRC: b.CRC(), CRCValid: false, Attributes: 0x74, Codec: "zstd", Transactional: true, Control: true,
		DeleteHorizon: b.BaseTimestamp(), LastOffsetDelta: b.LastOffsetDelta(), BaseTimestamp: b.BaseTimestamp(),
		MaxTimestamp: b.MaxTimestamp(), ProducerID: b.ProducerID(), ProducerEpoch: b.ProducerEpoch(),
		BaseSequence: b.BaseSequence(), LastSequence: b.LastSequence(),
	}
	if d != want {
		t.Errorf("%+v\n%+v", d, want)
	}
	const line = "baseOffset: 0 lastOffset: 2 count: 3 baseSequence: -1 lastSequence: -1 producerId: -1 producerEpoch: -1 " +
		"partitionLeaderEpoch: 0 isTransactional: false isControl: false deleteHorizonMs: none CreateTime: 3000 size: 98 magic: 2 " +
		"compresscodec: none crc: 4131794753 isvalid: true"
	if got := Describe(plain(t)).String(); got != line {
		t.Errorf("%s\n%s", got, line)
	}
}
