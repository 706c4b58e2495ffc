package tiering

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"sync"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
)

const (
	// scanBuffer holds what the verified pass looks at: large enough that a read costs
	// little beside its CRC, small enough that a copy in flight costs no memory to speak of.
	scanBuffer = 256 << 10
	// indexInterval is Kafka's default index.interval.bytes. The bucket's index is made
	// anew during the pass, so a damaged local index never gets there.
	indexInterval = 4096
	// crcBegin is where the bytes begin that a batch's CRC covers: after the CRC itself.
	crcBegin = 21
)

var scanBuffers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, scanBuffer) }}

// scan is the verified pass over a sealed log file of size bytes: every batch's CRC,
// offsets without gap from base to next, leader epochs that never fall. What it returns
// is a tail but for identity, aborted transactions and snapshot; the chunks hold at most
// chunkBytes or one batch. A fault is a *CorruptError that calls the segment key.
func scan(ctx context.Context, key string, log io.ReaderAt, size, base, next, chunkBytes int64) (*tail, error) {
	r := scanBuffers.Get().(*bufio.Reader)
	defer func() { r.Reset(nil); scanBuffers.Put(r) }()
	r.Reset(io.NewSectionReader(log, 0, size))

	s := scanner{key: key, chunkBytes: chunkBytes, indexed: 0, newestOffset: base}
	s.t = &tail{footer: footer{base: base, next: base, size: size, maxTimestamp: -1}}
	for s.position < size {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := s.batch(r, size); err != nil {
			return nil, err
		}
	}
	if s.t.next != next {
		return nil, corrupt(key, "records end at offset %d, expected %d", s.t.next, next)
	}
	if size == 0 {
		return nil, corrupt(key, "segment is empty")
	}
	s.closeChunk()
	s.indexTime()
	s.t.logCRC = s.logCRC
	return s.t, nil
}

// scanner is the state of one pass.
type scanner struct {
	t          *tail
	key        string
	chunkBytes int64

	position     int64  // bytes verified
	indexed      int64  // position of the last index entry
	newestOffset int64  // last offset of the batch with the largest timestamp
	newestTime   int64  // timestamp of the last time index entry
	logCRC       uint32 // of [0, position)
	current      chunk  // open chunk, size 0: none
}

// batch verifies the batch at s.position and accounts for it.
func (s *scanner) batch(r *bufio.Reader, size int64) error {
	header, err := r.Peek(batch.HeaderSize)
	if err != nil {
		return s.readError(err)
	}
	b := batch.Batch(header)
	base, last := b.BaseOffset(), b.LastOffset()
	length := int64(int32(binary.BigEndian.Uint32(header[8:]))) + batch.LogOverhead
	epoch, newest := b.LeaderEpoch(), b.MaxTimestamp()
	sum := binary.BigEndian.Uint32(header[17:])
	switch {
	case header[16] != 2:
		return corruptAt(s.key, s.position, "batch has magic %d", header[16])
	case length < batch.HeaderSize || length > size-s.position:
		return corruptAt(s.key, s.position, "batch of %d bytes, %d are left", length, size-s.position)
	case base != s.t.next || last < base:
		return corruptAt(s.key, s.position, "batch holds offsets %d to %d, expected %d next", base, last, s.t.next)
	}
	if n := len(s.t.epochs); n > 0 && epoch < s.t.epochs[n-1].Epoch {
		return corruptAt(s.key, s.position, "leader epoch %d after %d", epoch, s.t.epochs[n-1].Epoch)
	} else if n == 0 || epoch > s.t.epochs[n-1].Epoch {
		s.t.epochs = append(s.t.epochs, segment.EpochStart{Epoch: epoch, Start: base})
	}

	if s.current.size > 0 && s.current.size+length > s.chunkBytes {
		s.closeChunk()
	}
	if s.current.size == 0 {
		s.current = chunk{position: s.position, base: base}
	}
	got, err := s.checksum(r, length)
	if err != nil {
		return err
	}
	if got != sum {
		return corruptAt(s.key, s.position, "batch CRC mismatch")
	}
	s.current.size += length
	if newest > s.t.maxTimestamp {
		s.t.maxTimestamp, s.newestOffset = newest, last
	}
	if s.position-s.indexed > indexInterval {
		s.t.offsets = index.AppendOffset(s.t.offsets, s.t.base, index.Position{Offset: last, Position: s.position})
		s.indexTime()
		s.indexed = s.position
	}
	s.position += length
	s.t.next = last + 1
	return nil
}

// checksum consumes a batch of length bytes and returns the CRC32C of what its CRC
// covers; the CRCs of chunk and log go on.
func (s *scanner) checksum(r *bufio.Reader, length int64) (uint32, error) {
	sum, skip := uint32(0), crcBegin
	for length > 0 {
		p, err := r.Peek(int(min(length, int64(max(r.Buffered(), batch.HeaderSize)))))
		if err != nil {
			return 0, s.readError(err)
		}
		s.current.crc = crc32.Update(s.current.crc, castagnoli, p)
		s.logCRC = crc32.Update(s.logCRC, castagnoli, p)
		sum = crc32.Update(sum, castagnoli, p[min(skip, len(p)):])
		skip -= min(skip, len(p))
		length -= int64(len(p))
		if _, err := r.Discard(len(p)); err != nil {
			return 0, s.readError(err)
		}
	}
	return sum, nil
}

func (s *scanner) closeChunk() {
	s.current.maxTimestamp = s.t.maxTimestamp
	s.t.chunks = append(s.t.chunks, s.current)
	s.current = chunk{}
}

// indexTime appends to the time index as Kafka does: only where the largest timestamp rose.
func (s *scanner) indexTime() {
	if s.t.maxTimestamp < 0 || len(s.t.times) > 0 && s.t.maxTimestamp <= s.newestTime {
		return
	}
	s.newestTime = s.t.maxTimestamp
	s.t.times = index.AppendTime(s.t.times, s.t.base, index.Time{Timestamp: s.t.maxTimestamp, Offset: s.newestOffset})
}

// readError turns the end of the file inside a batch into corruption; other errors of
// the disk stay what they are.
func (s *scanner) readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return corruptAt(s.key, s.position, "file ends inside a batch")
	}
	return err
}

// body is an object as it is uploaded: the log file's bytes, then the tail. It holds no
// copy of the log.
type body struct {
	log  io.ReaderAt
	size int64 // of the log
	tail []byte
}

// Size implements objstore.Body.
func (b *body) Size() int64 { return b.size + int64(len(b.tail)) }

// ReadAt implements io.ReaderAt across the border of log and tail.
func (b *body) ReadAt(p []byte, position int64) (int, error) {
	n := 0
	if position < b.size {
		want := min(int64(len(p)), b.size-position)
		got, err := b.log.ReadAt(p[:want], position)
		n = got
		if int64(got) < want {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
	if n == len(p) {
		return n, nil
	}
	at := position + int64(n) - b.size
	if at >= int64(len(b.tail)) {
		return n, io.EOF
	}
	m := copy(p[n:], b.tail[at:])
	if n += m; n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
