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
	if b.Codec() == None {
		return b[HeaderSize:], nil
	}
	var in input
	defer in.close()
	if err := in.open(b, limit); err != nil {
		return nil, err
	}
	var records []byte
	for in.fill(1) {
		records = append(records, in.buf[in.r:in.w]...)
		in.r = in.w
	}
	if in.failed() {
		return nil, in.err
	}
	return records, nil
}
