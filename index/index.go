// Package index holds Kafka's three segment indexes as plain bytes: offset
// (.index), time (.timeindex) and aborted transactions (.txnindex). It knows no
// files: look-ups take an io.ReaderAt with its size, and appenders return bytes, so
// that the same code serves an index that still grows in memory, a sealed file and a
// footer read from the bucket. All integers are big-endian.
//
//	.index      8 bytes   relative offset int32, position int32
//	.timeindex 12 bytes   timestamp int64, relative offset int32
//	.txnindex  34 bytes   version int16 (0), producer id, first offset, last offset,
//	                      last stable offset int64
//
// Offsets are relative to the segment's base offset. Entries ascend; a look-up in
// bytes that do not ascend finds some entry or none, and never fails for it.
package index

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"sort"
	"sync"
)

// Sizes of one entry, in bytes.
const (
	OffsetEntry = 8
	TimeEntry   = 12
)

// Position is an entry of an offset index: the batch whose last offset is Offset
// begins at Position (bytes) in the log file. As the answer of a look-up it says that
// the batch which holds the offset asked for begins at or after Position.
type Position struct {
	Offset   int64
	Position int64
}

// Time is an entry of a time index: Timestamp (ms) was the largest in the segment when
// the entry was made, and the batch that ends with Offset was the first to hold it. So
// no record at or before Offset has a larger timestamp.
type Time struct {
	Timestamp int64
	Offset    int64
}

// Bytes is an index in memory.
type Bytes []byte

// ReadAt implements io.ReaderAt.
func (b Bytes) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Offsets is an offset index of a segment that begins at Base. Bytes of a last,
// incomplete entry are not looked at.
type Offsets struct {
	Base int64
	R    io.ReaderAt
	Size int64 // bytes
}

// Len returns the number of entries.
func (o Offsets) Len() int { return int(o.Size / OffsetEntry) }

// Entry returns entry i, 0 <= i < Len.
func (o Offsets) Entry(i int) (Position, error) {
	var e Position
	err := read(o.R, i, OffsetEntry, func(p []byte) { e = o.decode(p) })
	return e, err
}

func (o Offsets) decode(p []byte) Position {
	return Position{
		Offset:   o.Base + int64(int32(binary.BigEndian.Uint32(p))),
		Position: int64(int32(binary.BigEndian.Uint32(p[4:]))),
	}
}

// Floor returns the entry with the largest offset <= offset, or {Base, 0}.
func (o Offsets) Floor(offset int64) (Position, error) {
	e := Position{Offset: o.Base}
	err := floor(o.R, o.Len(), OffsetEntry,
		func(p []byte) bool { return o.decode(p).Offset <= offset },
		func(p []byte) { e = o.decode(p) })
	return e, err
}

// FloorPosition returns the entry with the largest position <= position, or {Base, 0}.
func (o Offsets) FloorPosition(position int64) (Position, error) {
	e := Position{Offset: o.Base}
	err := floor(o.R, o.Len(), OffsetEntry,
		func(p []byte) bool { return o.decode(p).Position <= position },
		func(p []byte) { e = o.decode(p) })
	return e, err
}

// Fits reports whether offset can be written relative to base.
func Fits(base, offset int64) bool { return offset >= base && offset-base <= math.MaxInt32 }

// AppendOffset appends an entry of a segment that begins at base. e.Offset must fit.
func AppendOffset(dst []byte, base int64, e Position) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(e.Offset-base))
	return binary.BigEndian.AppendUint32(dst, uint32(e.Position))
}

// Times is a time index of a segment that begins at Base.
type Times struct {
	Base int64
	R    io.ReaderAt
	Size int64 // bytes
}

// Len returns the number of entries.
func (t Times) Len() int { return int(t.Size / TimeEntry) }

// Entry returns entry i, 0 <= i < Len.
func (t Times) Entry(i int) (Time, error) {
	var e Time
	err := read(t.R, i, TimeEntry, func(p []byte) { e = t.decode(p) })
	return e, err
}

// Last returns the last entry, or {-1, Base}.
func (t Times) Last() (Time, error) {
	if t.Len() == 0 {
		return Time{-1, t.Base}, nil
	}
	return t.Entry(t.Len() - 1)
}

func (t Times) decode(p []byte) Time {
	return Time{
		Timestamp: int64(binary.BigEndian.Uint64(p)),
		Offset:    t.Base + int64(int32(binary.BigEndian.Uint32(p[8:]))),
	}
}

// Floor returns the entry with the largest timestamp < ts, or {-1, Base}: every record
// up to its offset has a smaller timestamp than ts.
func (t Times) Floor(ts int64) (Time, error) {
	e := Time{-1, t.Base}
	err := floor(t.R, t.Len(), TimeEntry,
		func(p []byte) bool { return t.decode(p).Timestamp < ts },
		func(p []byte) { e = t.decode(p) })
	return e, err
}

// FloorOffset returns the entry with the largest offset <= offset, or {-1, Base}.
func (t Times) FloorOffset(offset int64) (Time, error) {
	e := Time{-1, t.Base}
	err := floor(t.R, t.Len(), TimeEntry,
		func(p []byte) bool { return t.decode(p).Offset <= offset },
		func(p []byte) { e = t.decode(p) })
	return e, err
}

// AppendTime appends an entry of a segment that begins at base. e.Offset must fit.
func AppendTime(dst []byte, base int64, e Time) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.Timestamp))
	return binary.BigEndian.AppendUint32(dst, uint32(e.Offset-base))
}

// pageSize is what a look-up reads at once: a page of the file's cache. Larger would
// copy more than it saves in calls.
const pageSize = 4096

var pages = sync.Pool{New: func() any { return new([pageSize]byte) }}

func read(r io.ReaderAt, i, entry int, use func([]byte)) error {
	page := pages.Get().(*[pageSize]byte)
	defer pages.Put(page)
	p := page[:entry]
	if n, err := r.ReadAt(p, int64(i)*int64(entry)); n < entry {
		return unexpected(err)
	}
	use(p)
	return nil
}

// floor calls use with the last of n entries for which below holds; below holds for a
// prefix of them.
func floor(r io.ReaderAt, n, entry int, below func([]byte) bool, use func([]byte)) error {
	if b, ok := r.(Bytes); ok && len(b) >= n*entry {
		last(b, n, entry, below, use)
		return nil
	}
	page := pages.Get().(*[pageSize]byte)
	defer pages.Put(page)
	// below holds for entry low-1 and not for entry high.
	low, high := 0, n
	for (high-low)*entry > pageSize {
		mid := int(uint(low+high) / 2)
		p := page[:entry]
		if n, err := r.ReadAt(p, int64(mid)*int64(entry)); n < entry {
			return unexpected(err)
		}
		if below(p) {
			use(p)
			low = mid + 1
		} else {
			high = mid
		}
	}
	p := page[:(high-low)*entry]
	if n, err := r.ReadAt(p, int64(low)*int64(entry)); n < len(p) {
		return unexpected(err)
	}
	last(p, high-low, entry, below, use)
	return nil
}

func last(p []byte, n, entry int, below func([]byte) bool, use func([]byte)) {
	i := sort.Search(n, func(i int) bool { return !below(p[i*entry : (i+1)*entry]) })
	if i > 0 {
		use(p[(i-1)*entry : i*entry])
	}
}

func unexpected(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
