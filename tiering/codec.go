package tiering

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/google/uuid"

	"github.com/varvelog/varve/segment"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc is the CRC32C that every object carries.
func crc(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }

// All integers of the bucket's formats are big-endian, as Kafka's are.
type encoder struct{ b []byte }

func (e *encoder) u8(v uint8)     { e.b = append(e.b, v) }
func (e *encoder) u16(v uint16)   { e.b = binary.BigEndian.AppendUint16(e.b, v) }
func (e *encoder) u32(v uint32)   { e.b = binary.BigEndian.AppendUint32(e.b, v) }
func (e *encoder) i32(v int32)    { e.u32(uint32(v)) }
func (e *encoder) i64(v int64)    { e.b = binary.BigEndian.AppendUint64(e.b, uint64(v)) }
func (e *encoder) bytes(p []byte) { e.b = append(e.b, p...) }
func (e *encoder) str(s string)   { e.u16(uint16(len(s))); e.b = append(e.b, s...) }

var errShort = errors.New("cut short")

// decoder reads what an encoder wrote. It never allocates by a number that the bytes
// merely claim; after the first fault everything reads as zero and err says why.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) take(n int) []byte {
	if d.err != nil || n < 0 || n > len(d.b) {
		if d.err == nil {
			d.err = errShort
		}
		return nil
	}
	p := d.b[:n:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) u8() uint8 {
	if p := d.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (d *decoder) u16() uint16 {
	if p := d.take(2); p != nil {
		return binary.BigEndian.Uint16(p)
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if p := d.take(4); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

func (d *decoder) i32() int32 { return int32(d.u32()) }

func (d *decoder) i64() int64 {
	if p := d.take(8); p != nil {
		return int64(binary.BigEndian.Uint64(p))
	}
	return 0
}

func (d *decoder) str() string { return string(d.take(int(d.u16()))) }

func (d *decoder) uuid() (id uuid.UUID) {
	copy(id[:], d.take(len(id)))
	return id
}

func (d *decoder) topic() (id segment.TopicID) {
	copy(id[:], d.take(len(id)))
	return id
}

// count reads the number of items that follow, each of itemSize bytes; more than the
// rest can hold is a fault.
func (d *decoder) count(itemSize int) int {
	n := d.u32()
	if d.err == nil && int64(n)*int64(itemSize) > int64(len(d.b)) {
		d.err = errShort
		return 0
	}
	return int(n)
}

const epochStartSize = 4 + 8

func (e *encoder) epochs(starts []segment.EpochStart) {
	e.u32(uint32(len(starts)))
	for _, s := range starts {
		e.i32(s.Epoch)
		e.i64(s.Start)
	}
}

var errEpochOrder = errors.New("leader epochs are not in order")

func (d *decoder) epochs() []segment.EpochStart {
	n := d.count(epochStartSize)
	if n == 0 {
		return nil
	}
	starts := make([]segment.EpochStart, 0, n)
	for range n {
		s := segment.EpochStart{Epoch: d.i32(), Start: d.i64()}
		if k := len(starts); d.err == nil && k > 0 && (starts[k-1].Epoch >= s.Epoch || starts[k-1].Start >= s.Start) {
			d.err = errEpochOrder
		}
		starts = append(starts, s)
	}
	return starts
}
