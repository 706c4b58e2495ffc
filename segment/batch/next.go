package batch

import (
	"encoding/binary"
	"fmt"
)

// minLegacyLength is the length of an empty message of magic 0: CRC, magic,
// attributes, key and value length. Nothing shorter was ever a batch.
const minLegacyLength = 14

// Next cuts the first batch off p and returns it and what follows. It checks
// structure only, length and magic; both results are views of p. On error b is nil
// and rest is p.
//
// It returns ErrTruncated where p holds less than one batch, ErrMagic for message
// sets of magic 0 and 1, and ErrCorrupt for a length or magic that no batch has.
func Next(p []byte) (b Batch, rest []byte, err error) {
	size, err := PeekSize(p)
	if err != nil {
		return nil, p, err
	}
	if size > int64(len(p)) {
		return nil, p, fmt.Errorf("%w: %d bytes of %d", ErrTruncated, len(p), size)
	}
	return Batch(p[:size:size]), p[size:], nil
}

// PeekSize returns the size in bytes of the batch that begins with p, which need not
// hold all of it: the first LogOverhead bytes are enough for the size, 5 more for
// the check of the magic. The errors are those of Next.
func PeekSize(p []byte) (int64, error) {
	if len(p) < LogOverhead {
		return 0, fmt.Errorf("%w: %d bytes, not even a length", ErrTruncated, len(p))
	}
	length := int32(binary.BigEndian.Uint32(p[posLength:]))
	if length < minLegacyLength {
		return 0, fmt.Errorf("%w: length %d is below the minimum of %d", ErrCorrupt, length, HeaderSize-LogOverhead)
	}
	if len(p) > posMagic {
		switch magic := int8(p[posMagic]); {
		case magic == 0 || magic == 1:
			return 0, fmt.Errorf("%w: %d", ErrMagic, magic)
		case magic != Magic:
			return 0, fmt.Errorf("%w: magic %d is unknown", ErrCorrupt, magic)
		}
		if length < HeaderSize-LogOverhead {
			return 0, fmt.Errorf("%w: length %d is below the minimum of %d", ErrCorrupt, length, HeaderSize-LogOverhead)
		}
	}
	return LogOverhead + int64(length), nil
}
