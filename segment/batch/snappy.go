package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/s2"
)

// Snappy records are framed as snappy-java does (after its author, "xerial"),
//
//	 0  magic               8  0x82 "SNAPPY" 0
//	 8  version             4  1
//	12  compatible version  4  1
//	16  chunks                 each a length int32 and a Snappy block
//
// or, by clients in other languages, are one bare Snappy block. No block begins with
// the magic: its third element would copy from before the start.
const (
	xerialMagic      = "\x82SNAPPY\x00"
	xerialHeaderSize = len(xerialMagic) + 8
	xerialChunk      = 32 << 10 // uncompressed, as snappy-java cuts it
)

var (
	errSnappyBlock  = errors.New("corrupt block")
	errSnappyLength = errors.New("block declares another length than it has")
	errSnappyChunk  = errors.New("chunk does not fit the batch")
)

// snappyReader decompresses block by block. A block can only be decompressed whole:
// it is measured first, so that no more than it truly holds is allocated.
type snappyReader struct {
	src   []byte
	bare  bool   // src is one block without a frame
	limit int64  // bytes that may still be decompressed
	buf   []byte // the block's
	rest  []byte // of buf: not read yet
}

func (s *snappyReader) reset(src []byte, limit int64) error {
	s.limit, s.rest = limit, nil
	s.bare = !bytes.HasPrefix(src, []byte(xerialMagic))
	if !s.bare {
		if len(src) < xerialHeaderSize {
			return io.ErrUnexpectedEOF
		}
		src = src[xerialHeaderSize:]
	}
	s.src = src
	return nil
}

func (s *snappyReader) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if len(s.src) == 0 {
			return 0, io.EOF
		}
		if err := s.next(); err != nil {
			s.src = nil
			return 0, err
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// next decompresses the next block into rest.
func (s *snappyReader) next() error {
	block := s.src
	s.src = nil
	if !s.bare {
		if len(block) < 4 {
			return io.ErrUnexpectedEOF
		}
		size := int64(binary.BigEndian.Uint32(block))
		if size > int64(len(block)-4) {
			return errSnappyChunk
		}
		block, s.src = block[4:4+size], block[4+size:]
	}
	size, err := snappySize(block)
	if err != nil {
		return err
	}
	if size > s.limit {
		return fmt.Errorf("%w: a Snappy block of %d bytes, of which %d are allowed", ErrTooLarge, size, s.limit)
	}
	s.limit -= size
	if int64(cap(s.buf)) < size {
		s.buf = make([]byte, size)
	}
	s.rest, err = s2.Decode(s.buf[:0:cap(s.buf)], block)
	if err != nil {
		return errSnappyBlock
	}
	return nil
}

// maxIdleBlock is the largest block buffer kept between batches, in bytes: what a
// batch of the default max.message.bytes rarely exceeds.
const maxIdleBlock = 1 << 20

func (s *snappyReader) release() {
	s.src, s.rest = nil, nil
	if cap(s.buf) > maxIdleBlock {
		s.buf = nil
	}
}

// snappySize walks the elements of a block and returns the number of bytes they
// stand for. That number must be the one the block declares: the declared length is
// what a decoder allocates, and it may be a lie (CVE-2023-34455). S2's extension of
// the format, a copy of offset 0, is refused, as Snappy's own decoders would.
func snappySize(block []byte) (int64, error) {
	declared, n := binary.Uvarint(block)
	if n <= 0 || n > 5 || declared > 1<<32-1 {
		return 0, errSnappyBlock
	}
	var size int64
	for p := block[n:]; len(p) > 0; {
		tag := p[0]
		length, width := int64(tag>>2)+1, 1
		switch tag & 3 {
		case 0: // literal: lengths above 60 follow in 1 to 4 bytes
			if extra := int(tag>>2) - 59; extra > 0 {
				if len(p) < 1+extra {
					return 0, errSnappyBlock
				}
				var le [4]byte
				copy(le[:], p[1:1+extra])
				length, width = int64(binary.LittleEndian.Uint32(le[:]))+1, 1+extra
			}
			if length > int64(len(p)-width) {
				return 0, errSnappyBlock
			}
			width += int(length)
		case 1: // copy of 4 to 11 bytes, offset of 11 bits
			length, width = int64(tag>>2&7)+4, 2
			if len(p) < width || tag>>5 == 0 && p[1] == 0 {
				return 0, errSnappyBlock
			}
		case 2: // copy, offset of 16 bits
			width = 3
		case 3: // copy, offset of 32 bits
			width = 5
		}
		if len(p) < width {
			return 0, errSnappyBlock
		}
		size += length
		p = p[width:]
	}
	if size != int64(declared) {
		return 0, errSnappyLength
	}
	return size, nil
}

// appendSnappy appends src in snappy-java's frame, which every client reads.
func appendSnappy(dst, src []byte) []byte {
	dst = append(dst, xerialMagic...)
	dst = binary.BigEndian.AppendUint32(dst, 1)
	dst = binary.BigEndian.AppendUint32(dst, 1)
	for len(src) > 0 {
		chunk := src[:min(len(src), xerialChunk)]
		src = src[len(chunk):]
		block := s2.EncodeSnappy(nil, chunk)
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(block)))
		dst = append(dst, block...)
	}
	return dst
}
