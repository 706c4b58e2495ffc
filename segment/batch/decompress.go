package batch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow is the largest zstd window accepted, in bytes: what the format asks every
// decoder to support (RFC 8878, 3.1.1.1.2). A frame may claim one up to 3.75 TiB.
const maxWindow = 8 << 20

// decompressor reads the records of one compressed batch.
type decompressor interface {
	io.Reader
	// reset begins src. It must not allocate more than limit by what src claims.
	reset(src []byte, limit int64) error
	// release forgets src and what was allocated beyond the usual.
	release()
}

// decompressors holds idle decompressors by codec. None starts a goroutine, so the
// garbage collector may take them.
var decompressors = [...]sync.Pool{
	Gzip:   {New: func() any { return new(gzipReader) }},
	Snappy: {New: func() any { return new(snappyReader) }},
	LZ4:    {New: func() any { return new(lz4Reader) }},
	Zstd:   {New: func() any { return newZstdReader() }},
}

// gzipReader reads RFC 1952, one or more members.
type gzipReader struct {
	src bytes.Reader
	gzip.Reader
}

func (z *gzipReader) reset(src []byte, _ int64) error {
	z.src.Reset(src)
	if err := z.Reset(&z.src); err != nil {
		return cutShort(err)
	}
	return nil
}

func (z *gzipReader) release() { z.src.Reset(nil) }

// zstdReader reads RFC 8878 without dictionaries.
type zstdReader struct {
	src     bytes.Reader
	decoder *zstd.Decoder
}

func newZstdReader() *zstdReader {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		panic(fmt.Sprintf("batch: zstd options: %v", err))
	}
	return &zstdReader{decoder: d}
}

func (z *zstdReader) reset(src []byte, _ int64) error {
	z.src.Reset(src)
	return z.decoder.Reset(&z.src)
}

func (z *zstdReader) Read(p []byte) (int, error) {
	n, err := z.decoder.Read(p)
	if errors.Is(err, zstd.ErrWindowSizeExceeded) {
		err = fmt.Errorf("%w: zstd window above %d bytes", ErrTooLarge, maxWindow)
	}
	return n, err
}

func (z *zstdReader) release() {
	z.src.Reset(nil)
	if z.decoder.Reset(nil) != nil {
		panic("batch: zstd decoder closed while in use")
	}
}

// cutShort makes of an end of input where none may be an error that is not mistaken
// for the end of the records.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
