package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Rules are what a produced batch must obey.
type Rules struct {
	Compacted          bool  // every record needs a key
	LogAppendTime      bool  // timestamps are not the producer's
	Now                int64 // ms
	TimestampBeforeMax int64 // ms: message.timestamp.before.max.ms
	TimestampAfterMax  int64 // ms: message.timestamp.after.max.ms
	MaxDecompressed    int64 // bytes a compressed batch may expand to; 0: no compressed batch passes
}

// Validate checks a batch from a client, cut off by Next: CRC, counts, offset deltas,
// sizes, timestamps and codec, compressed ones too. It holds at most 64 KiB of
// decompressed records at a time, and beside it what the codec needs: a Snappy block
// (at most MaxDecompressed), an LZ4 block (4 MiB) or a zstd window (8 MiB).
//
// The rules are those of Kafka's LogValidator, and stricter in what no client writes:
//   - offset deltas other than 0..n-1, where Kafka rewrites the batch: batches are
//     stored as they came;
//   - the log append time bit, whatever the topic's timestamp type, a delete horizon
//     (KIP-534), and a transactional batch without producer id;
//   - a producer id without epoch, which Kafka refuses later;
//   - compressed records whose size is not that of their fields, or whose timestamp
//     overflows, and compressed bytes that go on behind the records.
//
// Validate changes b in one case, as Kafka does: a max timestamp that is not the
// largest of the records' (some clients leave it at 0 or -1) is corrected, and the
// CRC with it, unless r.LogAppendTime says that SetLogAppendTime will follow.
// Retention and the time index rely on it.
//
// It returns ErrTruncated, ErrCorrupt and ErrMagic as Next and CheckCRC do,
// ErrCompression for a codec that does not exist, ErrTooLarge beyond
// MaxDecompressed, ErrTimestamp for a timestamp out of bounds, and ErrInvalid for
// all else. Of several faults of records a timestamp is named first, as in Kafka.
func Validate(b Batch, r *Rules) error {
	if err := b.checkFrame(); err != nil {
		return err
	}
	if err := b.CheckCRC(); err != nil {
		return err
	}
	if err := b.checkHeader(); err != nil {
		return err
	}
	maxTimestamp, err := checkRecords(b, r)
	if err != nil {
		return err
	}
	if !r.LogAppendTime && maxTimestamp != b.MaxTimestamp() {
		binary.BigEndian.PutUint64(b[posMaxTimestamp:], uint64(maxTimestamp))
		b.setCRC()
	}
	return nil
}

// checkFrame makes sure that b is what Next would return.
func (b Batch) checkFrame() error {
	_, rest, err := Next(b)
	if err == nil && len(rest) > 0 {
		return fmt.Errorf("%w: %d bytes after the batch", ErrInvalid, len(rest))
	}
	return err
}

// checkHeader checks what the header of a client's batch says about itself.
func (b Batch) checkHeader() error {
	switch count, delta := b.Count(), b.LastOffsetDelta(); {
	case b.Codec() > Zstd:
		return fmt.Errorf("%w: codec %d", ErrCompression, uint8(b.Codec()))
	case count <= 0:
		return fmt.Errorf("%w: record count %d", ErrInvalid, count)
	case int64(delta) != int64(count)-1:
		return fmt.Errorf("%w: last offset delta %d with %d records", ErrInvalid, delta, count)
	case b.Control():
		return fmt.Errorf("%w: clients are not allowed to write control records", ErrInvalid)
	case b.Attributes()&attrDeleteHorizon != 0:
		return fmt.Errorf("%w: clients are not allowed to set a delete horizon", ErrInvalid)
	case b.LogAppendTime():
		return fmt.Errorf("%w: clients are not allowed to set the timestamp type to log append time", ErrTimestamp)
	}
	switch id := b.ProducerID(); {
	case id < 0 && b.Transactional():
		return fmt.Errorf("%w: a transactional batch without producer id", ErrInvalid)
	case id < 0: // without an id, some clients leave epoch and sequence at 0
		return nil
	case b.ProducerEpoch() < 0:
		return fmt.Errorf("%w: producer epoch %d with producer id %d", ErrInvalid, b.ProducerEpoch(), id)
	case b.BaseSequence() < 0:
		return fmt.Errorf("%w: sequence %d with producer id %d", ErrInvalid, b.BaseSequence(), id)
	}
	return nil
}

// noTimestamp is the timestamp of a record that has none.
const noTimestamp = -1

// checkRecords walks the records and returns their largest timestamp in ms.
func checkRecords(b Batch, r *Rules) (maxTimestamp int64, err error) {
	var in input
	defer in.close()
	if err := in.open(b, r.MaxDecompressed); err != nil {
		return 0, err
	}
	c := recordChecker{in: &in, base: b.BaseTimestamp(), compacted: r.Compacted, oldest: math.MinInt64, newest: math.MaxInt64}
	if !r.LogAppendTime {
		c.oldest, c.newest = subSaturated(r.Now, r.TimestampBeforeMax), addSaturated(r.Now, r.TimestampAfterMax)
	}
	maxTimestamp = noTimestamp
	var refused *RecordErrors
	for i := range b.Count() {
		timestamp, fault := c.next(i)
		switch {
		case fault == nil:
			maxTimestamp = max(maxTimestamp, timestamp)
		case errors.Is(fault, errUnkeyed), errors.Is(fault, errMistimed):
			if refused == nil {
				refused = &RecordErrors{Oldest: c.oldest, Newest: c.newest}
			}
			refused.add(i, fault)
		default:
			return 0, fault
		}
	}
	if err := in.end(); err != nil {
		return 0, err
	}
	if refused != nil {
		return 0, refused
	}
	return maxTimestamp, nil
}

func addSaturated(a, b int64) int64 {
	if b > 0 && a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

func subSaturated(a, b int64) int64 {
	if b > 0 && a < math.MinInt64+b {
		return math.MinInt64
	}
	return a - b
}
