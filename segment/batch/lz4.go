package batch

import (
	"encoding/binary"
	"errors"
	"io"
	"math/bits"

	"github.com/pierrec/lz4/v4"
)

// LZ4 records are one LZ4 frame, of which Kafka's readers know this much:
//
//	magic            4  0x184D2204
//	FLG              1  version 01, then bits: blocks independent (must be 1), block
//	                    checksum, content size, content checksum, reserved (0), dictionary (0)
//	BD               1  bits 4-6: largest block, 4 to 7 for 64 KiB, 256 KiB, 1 MiB, 4 MiB
//	content size     8  where FLG says so; not checked
//	header checksum  1  second byte of XXH32 from FLG on
//	blocks              each a size uint32, top bit: not compressed; the bytes; XXH32
//	                    of them where FLG says so
//	end              4  a size of 0
//	content checksum 4  where FLG says so; not checked, as in Kafka: the CRC of the
//	                    batch covers the same bytes
//
// Integers are little endian.
const (
	lz4Magic           = 0x184D2204
	lz4VersionMask     = 0xC0
	lz4Version         = 0x40
	lz4Independent     = 0x20
	lz4BlockChecksum   = 0x10
	lz4ContentSize     = 0x08
	lz4ContentChecksum = 0x04
	lz4Reserved        = 0x03
	lz4Uncompressed    = 1 << 31

	// lz4MaxRatio: one byte of a block adds at most 255 bytes to a match.
	lz4MaxRatio = 255
)

var (
	errLZ4Magic       = errors.New("no frame magic")
	errLZ4Unsupported = errors.New("frame of another version, with dependent blocks or with a dictionary")
	errLZ4Header      = errors.New("header checksum mismatch")
	errLZ4Block       = errors.New("corrupt block")
	errLZ4Checksum    = errors.New("block checksum mismatch")
	errLZ4Trailing    = errors.New("bytes after the end of the frame")
)

// lz4Reader decompresses one frame block by block.
type lz4Reader struct {
	src      []byte
	flags    byte
	maxBlock int    // bytes
	done     bool   // the end was read
	buf      []byte // the block's
	rest     []byte // not read yet: of buf, or of src for a block not compressed
}

func (z *lz4Reader) reset(src []byte, _ int64) error {
	z.rest, z.done = nil, false
	if len(src) < 7 {
		return io.ErrUnexpectedEOF
	}
	if binary.LittleEndian.Uint32(src) != lz4Magic {
		return errLZ4Magic
	}
	flags, descriptor := src[4], src[5]
	blockSize := descriptor >> 4
	if flags&lz4VersionMask != lz4Version || flags&lz4Independent == 0 || flags&lz4Reserved != 0 ||
		descriptor&0x8F != 0 || blockSize < 4 {
		return errLZ4Unsupported
	}
	header := 6
	if flags&lz4ContentSize != 0 {
		header += 8
	}
	if len(src) <= header {
		return io.ErrUnexpectedEOF
	}
	if byte(xxh32(src[4:header])>>8) != src[header] {
		return errLZ4Header
	}
	z.flags, z.maxBlock, z.src = flags, 1<<(8+2*int(blockSize)), src[header+1:]
	return nil
}

func (z *lz4Reader) Read(p []byte) (int, error) {
	for len(z.rest) == 0 {
		if z.done {
			return 0, io.EOF
		}
		if err := z.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, z.rest)
	z.rest = z.rest[n:]
	return n, nil
}

// next decompresses the next block into rest, or finds the end.
func (z *lz4Reader) next() error {
	word, ok := z.word()
	if !ok {
		return io.ErrUnexpectedEOF
	}
	if word == 0 {
		return z.end()
	}
	size := int(word &^ lz4Uncompressed)
	if size > z.maxBlock {
		return errLZ4Block
	}
	if size > len(z.src) {
		return io.ErrUnexpectedEOF
	}
	block := z.src[:size]
	z.src = z.src[size:]
	if z.flags&lz4BlockChecksum != 0 {
		sum, ok := z.word()
		if !ok {
			return io.ErrUnexpectedEOF
		}
		if sum != xxh32(block) {
			return errLZ4Checksum
		}
	}
	if word&lz4Uncompressed != 0 {
		z.rest = block
		return nil
	}
	if room := min(z.maxBlock, lz4MaxRatio*size); cap(z.buf) < room {
		z.buf = make([]byte, room)
	}
	buf := z.buf[:min(cap(z.buf), z.maxBlock)]
	n, err := lz4.UncompressBlock(block, buf)
	if err != nil {
		return errLZ4Block
	}
	z.rest = buf[:n]
	return nil
}

func (z *lz4Reader) end() error {
	if z.flags&lz4ContentChecksum != 0 {
		if _, ok := z.word(); !ok {
			return io.ErrUnexpectedEOF
		}
	}
	if len(z.src) > 0 {
		return errLZ4Trailing
	}
	z.done = true
	return nil
}

// word takes 4 bytes; ok is false where there are less.
func (z *lz4Reader) word() (v uint32, ok bool) {
	if len(z.src) < 4 {
		return 0, false
	}
	v = binary.LittleEndian.Uint32(z.src)
	z.src = z.src[4:]
	return v, true
}

func (z *lz4Reader) release() {
	z.src, z.rest = nil, nil
	if cap(z.buf) > maxIdleBlock {
		z.buf = nil
	}
}

// The primes of XXH32.
const (
	xxPrime1 = 2654435761
	xxPrime2 = 2246822519
	xxPrime3 = 3266489917
	xxPrime4 = 668265263
	xxPrime5 = 374761393
)

// xxh32 is the XXH32 hash of p with seed 0.
func xxh32(p []byte) uint32 {
	n := uint32(len(p))
	h := uint32(xxPrime5)
	if len(p) >= 16 {
		// Runtime values: constant folding would overflow.
		v1, v2, v3, v4 := uint32(xxPrime1), uint32(xxPrime2), uint32(0), uint32(0)
		v1 += v2
		v4 -= xxPrime1
		for ; len(p) >= 16; p = p[16:] {
			v1 = xxRound(v1, binary.LittleEndian.Uint32(p))
			v2 = xxRound(v2, binary.LittleEndian.Uint32(p[4:]))
			v3 = xxRound(v3, binary.LittleEndian.Uint32(p[8:]))
			v4 = xxRound(v4, binary.LittleEndian.Uint32(p[12:]))
		}
		h = bits.RotateLeft32(v1, 1) + bits.RotateLeft32(v2, 7) + bits.RotateLeft32(v3, 12) + bits.RotateLeft32(v4, 18)
	}
	h += n
	for ; len(p) >= 4; p = p[4:] {
		h = bits.RotateLeft32(h+binary.LittleEndian.Uint32(p)*xxPrime3, 17) * xxPrime4
	}
	for _, c := range p {
		h = bits.RotateLeft32(h+uint32(c)*xxPrime5, 11) * xxPrime1
	}
	h = (h ^ h>>15) * xxPrime2
	h = (h ^ h>>13) * xxPrime3
	return h ^ h>>16
}

func xxRound(acc, lane uint32) uint32 {
	return bits.RotateLeft32(acc+lane*xxPrime2, 13) * xxPrime1
}
