// Package batch reads and changes a Kafka record batch (magic 2, KIP-98) where it
// lies, as bytes. It is not a codec into structs: the bytes of a batch are the same
// from the producer's socket to the bucket and to the consumer's socket, save for
// base offset and partition leader epoch (and, with LogAppendTime, the timestamps).
//
//	 0  base offset             int64
//	 8  batch length            int32   bytes after this field
//	12  partition leader epoch  int32
//	16  magic                   int8    2
//	17  CRC32C                  uint32  of all that follows
//	21  attributes              int16
//	23  last offset delta       int32
//	27  base timestamp          int64   ms since the Unix epoch
//	35  max timestamp           int64
//	43  producer id             int64   -1: none
//	51  producer epoch          int16
//	53  base sequence           int32
//	57  record count            int32
//	61  records                         compressed together where attributes say so
//
// Integers are big endian. The attributes are
//
//	bits 0-2  codec
//	bit  3    timestamp type: 0 create time, 1 log append time
//	bit  4    transactional
//	bit  5    control: the records are markers of the transaction coordinator
//	bit  6    base timestamp is the delete horizon (KIP-534)
//	bits 7-15 unused
//
// What always holds: a Batch made by Next is never shorter than HeaderSize, so no
// accessor can panic on bytes from outside. No function allocates by a length that
// the bytes merely claim, but for a zstd window, and no window is above 8 MiB. No
// function starts a goroutine, and all but the setters may run side by side on the
// same bytes.
package batch

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

// Positions of the fields of a batch, each the end of the one before.
const (
	posBaseOffset      = 0
	posLength          = posBaseOffset + 8
	posLeaderEpoch     = posLength + 4
	posMagic           = posLeaderEpoch + 4
	posCRC             = posMagic + 1
	posAttributes      = posCRC + 4
	posLastOffsetDelta = posAttributes + 2
	posBaseTimestamp   = posLastOffsetDelta + 4
	posMaxTimestamp    = posBaseTimestamp + 8
	posProducerID      = posMaxTimestamp + 8
	posProducerEpoch   = posProducerID + 8
	posBaseSequence    = posProducerEpoch + 2
	posCount           = posBaseSequence + 4
	posRecords         = posCount + 4
)

// HeaderSize is the size of a batch without its records, in bytes.
const HeaderSize = posRecords

// LogOverhead is the size of base offset and batch length, in bytes: what has to
// be read to know where the next batch begins.
const LogOverhead = posLeaderEpoch

// Magic is the only batch format read and written here (KIP-98).
const Magic = 2

// Bits of the attributes.
const (
	attrCodec         = 0x07
	attrLogAppendTime = 0x08
	attrTransactional = 0x10
	attrControl       = 0x20
	attrDeleteHorizon = 0x40
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Batch is one whole record batch: a view of somebody else's bytes. A Batch made by
// Next has a length that equals the one it declares and magic 2; nothing else is
// checked.
type Batch []byte

// BaseOffset is the offset of the first record the batch was written with.
// Compaction may have removed that record since.
func (b Batch) BaseOffset() int64 { return b.int64(posBaseOffset) }

// LeaderEpoch is the epoch of the leader that appended the batch, -1 where unknown.
func (b Batch) LeaderEpoch() int32 { return b.int32(posLeaderEpoch) }

// CRC is the CRC32C the batch declares.
func (b Batch) CRC() uint32 { return binary.BigEndian.Uint32(b[posCRC:]) }

// Attributes are the raw attribute bits.
func (b Batch) Attributes() int16 { return b.int16(posAttributes) }

// Codec is the compression of the records. It may be one that does not exist.
func (b Batch) Codec() Codec { return Codec(b.Attributes() & attrCodec) }

// LogAppendTime reports whether every record's timestamp is the batch's max
// timestamp, set by the broker.
func (b Batch) LogAppendTime() bool { return b.Attributes()&attrLogAppendTime != 0 }

// Transactional reports whether the batch belongs to a transaction.
func (b Batch) Transactional() bool { return b.Attributes()&attrTransactional != 0 }

// Control reports whether the records are control records.
func (b Batch) Control() bool { return b.Attributes()&attrControl != 0 }

// DeleteHorizon returns the time in ms after which tombstones and markers of the
// batch may be removed, where compaction has set one (KIP-534).
func (b Batch) DeleteHorizon() (ms int64, ok bool) {
	if b.Attributes()&attrDeleteHorizon == 0 {
		return 0, false
	}
	return b.int64(posBaseTimestamp), true
}

// LastOffsetDelta is the distance from base offset to last offset. Compaction keeps
// it, even where it removes the last record.
func (b Batch) LastOffsetDelta() int32 { return b.int32(posLastOffsetDelta) }

// BaseTimestamp is what the records' timestamp deltas count from, in ms. It is the
// delete horizon where one is set.
func (b Batch) BaseTimestamp() int64 { return b.int64(posBaseTimestamp) }

// MaxTimestamp is the largest timestamp in ms as the batch declares it, or the
// append time where LogAppendTime holds.
func (b Batch) MaxTimestamp() int64 { return b.int64(posMaxTimestamp) }

// ProducerID is the id of an idempotent or transactional producer, -1: none.
func (b Batch) ProducerID() int64 { return b.int64(posProducerID) }

// ProducerEpoch is the producer's epoch, -1: none.
func (b Batch) ProducerEpoch() int16 { return b.int16(posProducerEpoch) }

// BaseSequence is the sequence number of the first record, -1: none.
func (b Batch) BaseSequence() int32 { return b.int32(posBaseSequence) }

// LastSequence is the sequence number of the last record, -1 where there is none.
// Sequences go on from 0 after 2^31-1 (KIP-98).
func (b Batch) LastSequence() int32 {
	base := b.BaseSequence()
	if base < 0 {
		return -1
	}
	return int32((int64(base) + int64(b.LastOffsetDelta())) & math.MaxInt32)
}

// Count is the number of records the batch declares.
func (b Batch) Count() int32 { return b.int32(posCount) }

// Size is the size of the whole batch in bytes.
func (b Batch) Size() int { return len(b) }

// LastOffset is the offset of the last record the batch was written with.
func (b Batch) LastOffset() int64 { return b.BaseOffset() + int64(b.LastOffsetDelta()) }

// NextOffset is one past LastOffset.
func (b Batch) NextOffset() int64 { return b.LastOffset() + 1 }

// CheckCRC returns ErrCorrupt where the CRC32C does not match.
func (b Batch) CheckCRC() error {
	if got, want := b.computeCRC(), b.CRC(); got != want {
		return fmt.Errorf("%w: CRC32C of the bytes is %08x, the batch declares %08x", ErrCorrupt, got, want)
	}
	return nil
}

// Assign sets base offset and partition leader epoch, both outside the CRC.
func (b Batch) Assign(baseOffset int64, leaderEpoch int32) {
	binary.BigEndian.PutUint64(b[posBaseOffset:], uint64(baseOffset))
	binary.BigEndian.PutUint32(b[posLeaderEpoch:], uint32(leaderEpoch))
}

// SetLogAppendTime stamps max timestamp, sets the timestamp type bit and recomputes
// the CRC. Base timestamp and the records stay as they are: readers take the max
// timestamp for each record. ms is in milliseconds since the Unix epoch.
func (b Batch) SetLogAppendTime(ms int64) {
	b.setAttributes(b.Attributes() | attrLogAppendTime)
	binary.BigEndian.PutUint64(b[posMaxTimestamp:], uint64(ms))
	b.setCRC()
}

func (b Batch) int16(pos int) int16 { return int16(binary.BigEndian.Uint16(b[pos:])) }
func (b Batch) int32(pos int) int32 { return int32(binary.BigEndian.Uint32(b[pos:])) }
func (b Batch) int64(pos int) int64 { return int64(binary.BigEndian.Uint64(b[pos:])) }

func (b Batch) setAttributes(a int16) { binary.BigEndian.PutUint16(b[posAttributes:], uint16(a)) }
func (b Batch) setCRC()               { binary.BigEndian.PutUint32(b[posCRC:], b.computeCRC()) }
func (b Batch) computeCRC() uint32    { return crc32.Checksum(b[posAttributes:], castagnoli) }
