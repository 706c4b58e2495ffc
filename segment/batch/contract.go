package batch

import "errors"

// Errors of parsing and validation. api maps each to one protocol code.
var (
	ErrTruncated   = errors.New("record batch is cut short")           // CORRUPT_MESSAGE
	ErrCorrupt     = errors.New("record batch CRC mismatch")           // CORRUPT_MESSAGE
	ErrMagic       = errors.New("record batch has an old magic")       // UNSUPPORTED_FOR_MESSAGE_FORMAT
	ErrInvalid     = errors.New("invalid record batch")                // INVALID_RECORD
	ErrTimestamp   = errors.New("record timestamp out of range")       // INVALID_TIMESTAMP
	ErrCompression = errors.New("unsupported compression type")        // UNSUPPORTED_COMPRESSION_TYPE
	ErrTooLarge    = errors.New("record batch decompresses too large") // MESSAGE_TOO_LARGE
)

// Codec is the compression of a batch's records: attributes bits 0-2.
type Codec uint8

// The codecs of the Kafka protocol.
const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

// Accessors (BaseOffset, LeaderEpoch, CRC, Codec, LogAppendTime() bool, Transactional,
// Control, DeleteHorizon, LastOffsetDelta, BaseTimestamp, MaxTimestamp, ProducerID,
// ProducerEpoch, BaseSequence, Count, Size, LastOffset, NextOffset, LastSequence
// (wraps at 2^31-1)) are to be written as methods of Batch.

func (b Batch) BaseOffset() int64      { panic("unbuilt") }
func (b Batch) LeaderEpoch() int32     { panic("unbuilt") }
func (b Batch) Codec() Codec           { panic("unbuilt") }
func (b Batch) Transactional() bool    { panic("unbuilt") }
func (b Batch) Control() bool          { panic("unbuilt") }
func (b Batch) LogAppendTime() bool    { panic("unbuilt") }
func (b Batch) LastOffsetDelta() int32 { panic("unbuilt") }
func (b Batch) BaseTimestamp() int64   { panic("unbuilt") }
func (b Batch) MaxTimestamp() int64    { panic("unbuilt") }
func (b Batch) ProducerID() int64      { panic("unbuilt") }
func (b Batch) ProducerEpoch() int16   { panic("unbuilt") }
func (b Batch) BaseSequence() int32    { panic("unbuilt") }
func (b Batch) LastSequence() int32    { panic("unbuilt") }
func (b Batch) Count() int32           { panic("unbuilt") }
func (b Batch) Size() int              { panic("unbuilt") }
func (b Batch) LastOffset() int64      { panic("unbuilt") }
func (b Batch) NextOffset() int64      { panic("unbuilt") }

// CheckCRC returns ErrCorrupt where the CRC32C does not match.
func (b Batch) CheckCRC() error { panic("unbuilt") }

// Assign sets base offset and partition leader epoch, both outside the CRC.
func (b Batch) Assign(baseOffset int64, leaderEpoch int32) { panic("unbuilt") }

// SetLogAppendTime stamps max timestamp, sets the timestamp type bit and recomputes the CRC.
func (b Batch) SetLogAppendTime(ms int64) { panic("unbuilt") }

// Next cuts the first batch off p: structure only (length, magic). ErrTruncated
// where p holds less than one batch.
func Next(p []byte) (b Batch, rest []byte, err error) { panic("unbuilt") }

// Rules are what a produced batch must obey.
type Rules struct {
	Compacted          bool  // every record needs a key
	LogAppendTime      bool  // timestamps are not the producer's
	Now                int64 // ms
	TimestampBeforeMax int64 // ms: message.timestamp.before.max.ms
	TimestampAfterMax  int64 // ms: message.timestamp.after.max.ms
	MaxDecompressed    int64 // bytes a compressed batch may expand to (RELIABILITY.md B17)
}

// Validate checks CRC, counts, offset deltas, sizes, timestamps and codec of a batch
// from a client, compressed ones too, in bounded memory.
func Validate(b Batch, r *Rules) error { panic("unbuilt") }

// Record is one record of a batch; its slices are views.
type Record struct {
	Offset    int64
	Timestamp int64  // ms
	Key       []byte // nil: null
	Value     []byte // nil: null
	Headers   []Header
}

// Header is one record header.
type Header struct {
	Key   string
	Value []byte // nil: null
}

// Records calls yield for each record in order until it returns false. Record and
// what it points to are valid during the call only.
func Records(b Batch, maxDecompressed int64, yield func(*Record) bool) error { panic("unbuilt") }

// Builder makes a batch from records: for internal topics, markers and tests.
type Builder struct {
	Codec         Codec
	ProducerID    int64 // -1: none; also epoch and sequence
	ProducerEpoch int16
	BaseSequence  int32
	Transactional bool
	Control       bool
}

// Build encodes records (offsets are deltas from base, 0..n-1) into one batch with CRC.
func (o Builder) Build(base int64, leaderEpoch int32, records []Record) (Batch, error) {
	panic("unbuilt")
}
