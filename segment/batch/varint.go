package batch

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// Varints in records are those of protocol buffers, zigzag: binary.Varint. Kafka
// reads most of them as 32-bit integers.

// Sizes of the longest varints, in bytes.
const (
	maxVarintSize   = binary.MaxVarintLen64
	maxVarint32Size = binary.MaxVarintLen32
)

// uvarint reads a base 128 number of at most 64 bits from the start of p. n is its
// length in bytes, 0 where p ends before the number does or the number is too long.
func uvarint(p []byte) (u uint64, n int) {
	if len(p) > 0 && p[0] < 0x80 {
		return uint64(p[0]), 1
	}
	if len(p) > 1 && p[1] < 0x80 {
		return uint64(p[0]&0x7f) | uint64(p[1])<<7, 2
	}
	if u, n = binary.Uvarint(p); n < 0 {
		return 0, 0
	}
	return u, n
}

// Varint reads a zigzag varint of at most 64 bits from the start of p. n is its
// length in bytes, 0 where p ends before the number does or the number is too long.
func Varint(p []byte) (v int64, n int) {
	u, n := uvarint(p)
	return int64(u>>1) ^ -int64(u&1), n
}

// Varint32 reads a zigzag varint that must fit 32 bits, in at most 5 bytes. n is 0
// where it does not.
func Varint32(p []byte) (v int32, n int) {
	u, n := uvarint(p)
	if u > math.MaxUint32 || n > maxVarint32Size {
		return 0, 0
	}
	return int32(uint32(u)>>1) ^ -int32(u&1), n
}

// AppendVarint appends v as a zigzag varint.
func AppendVarint(p []byte, v int64) []byte { return binary.AppendVarint(p, v) }

// VarintSize is the size of v as a zigzag varint in bytes.
func VarintSize(v int64) int {
	return (bits.Len64(uint64(v<<1)^uint64(v>>63)|1) + 6) / 7
}
