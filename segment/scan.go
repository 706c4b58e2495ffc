package segment

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"sync"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment/batch"
)

// crcStart is where the bytes covered by a batch's CRC begin; crcField where it lies.
const (
	crcField = 17
	crcStart = crcField + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is what a scan needs of a batch.
type header struct {
	position     int64 // bytes, in the log file
	size         int64 // bytes, of the whole batch
	base, last   int64 // offsets
	maxTimestamp int64 // ms
	epoch        int32
	crc          uint32
}

// Sizes of what a scan reads at once: a page where a few headers are looked at, more
// where every byte is.
const (
	smallRead = 4 << 10
	largeRead = 256 << 10
)

var (
	smallBuffers = sync.Pool{New: func() any { b := make([]byte, smallRead); return &b }}
	largeBuffers = sync.Pool{New: func() any { b := make([]byte, largeRead); return &b }}
)

// scanner walks the batches of a log file between two positions.
type scanner struct {
	path     string
	r        io.ReaderAt
	segment  int64 // base offset of the segment
	next     int64 // smallest base offset that may follow
	bound    int64 // one past the largest last offset there may be, 0: not known
	position int64 // of the next batch
	end      int64 // of the bytes to look at
	pool     *sync.Pool
	buf      *[]byte
	at, n    int64 // buf holds n bytes of the file from position at on
}

func (s *scanner) close() {
	if s.buf != nil {
		s.pool.Put(s.buf)
		s.buf = nil
	}
}

// view returns at least want bytes at position, as many as are buffered, or less at
// the end. want <= smallRead.
func (s *scanner) view(position, want int64) ([]byte, error) {
	want = min(want, s.end-position)
	if position < s.at || position+want > s.at+s.n {
		if s.buf == nil {
			if s.pool == nil {
				s.pool = &smallBuffers
			}
			s.buf = s.pool.Get().(*[]byte)
		}
		n := min(int64(len(*s.buf)), s.end-position)
		if m, err := s.r.ReadAt((*s.buf)[:n], position); int64(m) < n {
			s.n = 0
			if err == nil || errors.Is(err, io.EOF) {
				err = s.corrupt(position, "file is shorter than its size")
			}
			return nil, err
		}
		s.at, s.n = position, n
	}
	return (*s.buf)[position-s.at : s.n], nil
}

// enlarge goes on in large reads, from the batch that was read last.
func (s *scanner) enlarge() {
	s.close()
	s.pool, s.n = &largeBuffers, 0
}

func (s *scanner) corrupt(position int64, reason string) error {
	return &CorruptError{Path: s.path, Position: position, Reason: reason}
}

// batch reads the header of the next batch and steps over it; io.EOF at the end. Of
// the batch's structure everything is checked but its records and CRC.
func (s *scanner) batch() (header, error) {
	if s.position >= s.end {
		return header{}, io.EOF
	}
	p, err := s.view(s.position, batch.HeaderSize)
	if err != nil {
		return header{}, err
	}
	size, err := batch.PeekSize(p)
	if err != nil {
		return header{}, s.corrupt(s.position, err.Error())
	}
	if len(p) < batch.HeaderSize || size > s.end-s.position {
		return header{}, s.corrupt(s.position, "record batch is cut short")
	}
	b := batch.Batch(p[:batch.HeaderSize])
	h := header{
		position:     s.position,
		size:         size,
		base:         b.BaseOffset(),
		last:         b.BaseOffset() + int64(b.LastOffsetDelta()),
		maxTimestamp: b.MaxTimestamp(),
		epoch:        b.LeaderEpoch(),
		crc:          binary.BigEndian.Uint32(p[crcField:]),
	}
	if h.base < s.next || h.last < h.base || s.bound > 0 && h.last >= s.bound || !index.Fits(s.segment, h.last) {
		return header{}, s.corrupt(s.position, "record batch is out of order")
	}
	s.position += size
	s.next = h.last + 1
	return h, nil
}

// check compares the CRC of the batch that was read last.
func (s *scanner) check(h header) error {
	sum := uint32(0)
	for at, end := h.position+crcStart, h.position+h.size; at < end; {
		p, err := s.view(at, 1)
		if err != nil {
			return err
		}
		p = p[:min(int64(len(p)), end-at)]
		sum = crc32.Update(sum, castagnoli, p)
		at += int64(len(p))
	}
	if sum != h.crc {
		return s.corrupt(h.position, batch.ErrCorrupt.Error())
	}
	return nil
}
