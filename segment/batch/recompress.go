package batch

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Recompress returns b with its records compressed by c at a level, one of Kafka's for that
// codec or UsualLevel, in memory of its own, or b
// itself where they are, at whatever level. The rest of the batch stays, but for its CRC. b must have passed
// Validate, and limit is that of its rules: so many bytes at most are decompressed, and
// all of them are held.
//
// It returns ErrTooLarge beyond the limit, ErrInvalid for a batch that has not passed, and
// ErrCompression for a codec that does not exist.
func Recompress(b Batch, c Codec, level int, limit int64) (Batch, error) {
	if b.Codec() == c {
		return b, nil
	}
	records, err := decompress(b, limit)
	if err != nil {
		return nil, err
	}
	header := make([]byte, HeaderSize, len(b))
	copy(header, b)
	p, err := compress(header, c, level, records)
	if err != nil {
		return nil, err
	}
	if len(p)-LogOverhead > math.MaxInt32 {
		return nil, fmt.Errorf("%w: %d bytes of records", ErrInvalid, len(p))
	}
	out := Batch(p)
	binary.BigEndian.PutUint32(out[posLength:], uint32(len(out)-LogOverhead))
	out.setAttributes(b.Attributes()&^attrCodec | int16(c))
	out.setCRC()
	return out, nil
}

// decompress returns the records of a batch as they lie in one that is not compressed:
// those of such a batch where they are.
func decompress(b Batch, limit int64) ([]byte, error) {
	return Decompress(b.Codec(), b[HeaderSize:], limit)
}

// Decompress returns what c has compressed into src, in memory of its own, and src itself
// where c is None. What requests carry beside batches (KIP-714) is compressed as records
// are. No more is allocated than what truly came out, at most limit bytes, and twice that
// while it grows.
//
// It returns ErrTooLarge beyond the limit, ErrInvalid for what c has not compressed, and
// ErrCompression for a codec that does not exist.
func Decompress(c Codec, src []byte, limit int64) ([]byte, error) {
	if c == None {
		return src, nil
	}
	var in input
	defer in.close()
	if err := in.begin(c, src, limit); err != nil {
		return nil, err
	}
	var out []byte
	for in.fill(1) {
		out = append(out, in.buf[in.r:in.w]...)
		in.r = in.w
	}
	if in.failed() {
		return nil, in.err
	}
	return out, nil
}
