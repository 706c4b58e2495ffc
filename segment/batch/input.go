package batch

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// bufferSize is how much of a decompressed batch is held at a time. Large enough
// that nearly every record lies in it whole and a decoder is called seldom, small
// enough to stay in the processor's second level cache.
const bufferSize = 64 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// input is the records of one batch as a sequence of bytes, decompressed piece by
// piece. Uncompressed records are read where they lie.
//
// Invariant: 0 <= r <= w <= len(buf); buf[r:w] is what has been read and not taken.
type input struct {
	buf  []byte
	r, w int

	codec  Codec
	src    decompressor      // nil: buf holds all there is
	left   int64             // bytes that src may still give before ErrTooLarge
	err    error             // why src gives no more: io.EOF or a wrapped sentinel
	pooled *[bufferSize]byte // buf's array, unless buf has grown
}

// open begins the records of b. At most limit bytes will be decompressed; limit does
// not bind uncompressed records. The caller must close in, even after an error.
func (in *input) open(b Batch, limit int64) error {
	return in.begin(b.Codec(), b[HeaderSize:], limit)
}

// begin is open for bytes that a codec has compressed, whatever they are.
func (in *input) begin(c Codec, src []byte, limit int64) error {
	in.codec = c
	if in.codec == None {
		in.buf, in.w = src, len(src)
		return nil
	}
	if in.codec > Zstd {
		return fmt.Errorf("%w: codec %d", ErrCompression, uint8(in.codec))
	}
	in.left = max(limit, 0)
	in.src = decompressors[in.codec].Get().(decompressor)
	in.pooled = buffers.Get().(*[bufferSize]byte)
	in.buf = in.pooled[:]
	if err := in.src.reset(src, in.left); err != nil {
		return in.explain(err)
	}
	return nil
}

// close gives decoder and buffer back; what was taken from in must not be used again.
func (in *input) close() {
	if in.src == nil {
		return
	}
	in.src.release()
	decompressors[in.codec].Put(in.src)
	buffers.Put(in.pooled)
	*in = input{}
}

// fill makes at least n bytes available, n <= len(buf), and reports whether it could.
func (in *input) fill(n int) bool {
	if in.w-in.r >= n {
		return true
	}
	if in.src == nil {
		return false
	}
	if in.r > 0 {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	for in.w < n && in.err == nil {
		in.read()
	}
	return in.w >= n
}

// read decompresses once into the free end of buf. One byte more than left is asked
// for, so that a batch of exactly the limit is not taken for a larger one.
func (in *input) read() {
	free := in.buf[in.w:]
	if int64(len(free)) > in.left {
		free = free[:in.left+1]
	}
	n, err := in.src.Read(free)
	if int64(n) > in.left {
		in.err = errOverLimit
		return
	}
	in.left -= int64(n)
	in.w += n
	switch {
	case errors.Is(err, io.EOF):
		in.err = io.EOF
	case err != nil:
		in.err = in.explain(err)
	case n == 0:
		in.err = in.explain(io.ErrNoProgress)
	}
}

var errOverLimit = fmt.Errorf("%w: its records exceed the limit for one batch", ErrTooLarge)

// explain turns what a decoder said into one of our errors.
func (in *input) explain(err error) error {
	if errors.Is(err, ErrTooLarge) || errors.Is(err, ErrInvalid) {
		return err
	}
	return fmt.Errorf("%w: the records are not valid %s: %w", ErrInvalid, in.codec, err)
}

// skip drops n bytes and reports whether there were as many.
func (in *input) skip(n int) bool {
	for n > in.w-in.r {
		n -= in.w - in.r
		in.r = in.w
		if !in.fill(1) {
			return false
		}
	}
	in.r += n
	return true
}

// take returns the next n bytes in one piece, which stay valid until the next call,
// or nil where there are less. The buffer grows with what has really arrived, not by
// the claim of n.
func (in *input) take(n int) []byte {
	for n > in.w-in.r {
		if in.src == nil {
			return nil
		}
		if have := min(n, len(in.buf)); !in.fill(have) {
			return nil
		} else if have < n {
			in.grow(n)
		}
	}
	p := in.buf[in.r : in.r+n : in.r+n]
	in.r += n
	return p
}

// grow at most doubles buf on the way to n bytes, and stays within what may come.
func (in *input) grow(n int) {
	size := min(n, 2*len(in.buf))
	if in.left < int64(size-in.w) {
		size = max(in.w+int(in.left), len(in.buf)) + 1
	}
	buf := make([]byte, size)
	in.w = copy(buf, in.buf[in.r:in.w])
	in.r = 0
	in.buf = buf
}

// size takes the varint that begins a record: the bytes of the record after it. ok is
// false where there is none, or where so many bytes cannot come within the limit.
func (in *input) size() (n int, ok bool) {
	if in.w-in.r < maxVarint32Size {
		in.fill(maxVarint32Size)
	}
	v, width := Varint32(in.buf[in.r:in.w])
	if width == 0 || v < 0 {
		return 0, false
	}
	in.r += width
	if in.src != nil && in.err == nil && int64(v)-int64(in.w-in.r) > in.left {
		in.err = errOverLimit
		return 0, false
	}
	return int(v), true
}

// failed reports whether decompression came to a bad end.
func (in *input) failed() bool { return in.err != nil && !errors.Is(in.err, io.EOF) }

// end checks that nothing follows the last record.
func (in *input) end() error {
	if in.fill(1) {
		return fmt.Errorf("%w: bytes left over after the last record", ErrInvalid)
	}
	if in.failed() {
		return in.err
	}
	return nil
}

// fault is the error of a record that could not be read, for the reason given unless
// decompression itself failed.
func (in *input) fault(record int32, reason string) error {
	if in.failed() {
		return in.err
	}
	return fmt.Errorf("%w: record %d: %s", ErrInvalid, record, reason)
}
