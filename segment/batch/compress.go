package batch

import (
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// UsualLevel is the level of any codec at which the broker compresses unless it is told
// another. Of zstd it is a level that stands for the usual one, of the others it is none.
const UsualLevel = 0

// writers are pools of what compresses, by codec and by the level in its own terms.
var (
	gzipWriters [gzip.BestCompression + 1]sync.Pool // 0: the usual level
	lz4Writers  [len(lz4Levels)]sync.Pool
	zstdWriters [zstd.SpeedBestCompression + 1]sync.Pool
)

// lz4Levels are the levels of the lz4 library; it has no more than nine.
var lz4Levels = [...]lz4.CompressionLevel{
	lz4.Fast, lz4.Level1, lz4.Level2, lz4.Level3, lz4.Level4, lz4.Level5, lz4.Level6, lz4.Level7, lz4.Level8, lz4.Level9,
}

// Kafka's default levels, at which its clients and brokers compress without being told.
const (
	kafkaLZ4Level  = 9 // lz4's fast compressor, though those below it are slower
	kafkaZstdLevel = 3
)

// compress appends src, compressed by c at a level, to dst. Levels are those of Kafka's
// configs, compression.gzip.level and so on: one that the codec does not have is the next
// that it has.
func compress(dst []byte, c Codec, level int, src []byte) ([]byte, error) {
	switch c {
	case None:
		return append(dst, src...), nil
	case Gzip:
		pool, newWriter := gzipAt(level)
		w := take(pool, newWriter)
		defer pool.Put(w)
		return appendStream(dst, w, src)
	case Snappy:
		return appendSnappy(dst, src), nil
	case LZ4:
		at := lz4At(level)
		w := take(&lz4Writers[at], func() *lz4.Writer { return newLZ4Writer(lz4Levels[at]) })
		defer lz4Writers[at].Put(w)
		return appendStream(dst, w, src)
	case Zstd:
		at := zstdAt(level)
		w := take(&zstdWriters[at], func() *zstd.Encoder { return newZstdWriter(at) })
		defer zstdWriters[at].Put(w)
		return w.EncodeAll(src, dst), nil
	}
	return nil, fmt.Errorf("%w: %s", ErrCompression, c)
}

// take takes a writer from a pool, or makes one.
func take[W any](pool *sync.Pool, newWriter func() W) W {
	if w, ok := pool.Get().(W); ok {
		return w
	}
	return newWriter()
}

func gzipAt(level int) (*sync.Pool, func() *gzip.Writer) {
	if level < gzip.BestSpeed {
		return &gzipWriters[0], func() *gzip.Writer { return gzip.NewWriter(nil) }
	}
	level = min(level, gzip.BestCompression)
	return &gzipWriters[level], func() *gzip.Writer {
		w, err := gzip.NewWriterLevel(nil, level)
		if err != nil {
			panic(fmt.Sprintf("batch: gzip level %d: %v", level, err))
		}
		return w
	}
}

// lz4At is the place in lz4Levels of Kafka's level.
func lz4At(level int) int {
	if level <= UsualLevel || level == kafkaLZ4Level {
		return 0
	}
	return min(level, len(lz4Levels)-1)
}

func zstdAt(level int) zstd.EncoderLevel {
	if level == UsualLevel {
		level = kafkaZstdLevel
	}
	return zstd.EncoderLevelFromZstd(level)
}

// newLZ4Writer writes frames of independent 64 KiB blocks without checksums, as
// Kafka's own client does.
func newLZ4Writer(level lz4.CompressionLevel) *lz4.Writer {
	w := lz4.NewWriter(nil)
	err := w.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false), lz4.ConcurrencyOption(1), lz4.CompressionLevelOption(level))
	if err != nil {
		panic(fmt.Sprintf("batch: lz4 options: %v", err))
	}
	return w
}

func newZstdWriter(level zstd.EncoderLevel) *zstd.Encoder {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(maxWindow/8), zstd.WithEncoderLevel(level))
	if err != nil {
		panic(fmt.Sprintf("batch: zstd options: %v", err))
	}
	return w
}

// streamWriter is what gzip and lz4 writers have in common.
type streamWriter interface {
	io.WriteCloser
	Reset(io.Writer)
}

func appendStream(dst []byte, w streamWriter, src []byte) ([]byte, error) {
	out := appender{dst}
	w.Reset(&out)
	if _, err := w.Write(src); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.p, nil
}

// appender is a byte slice as an io.Writer.
type appender struct{ p []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.p = append(a.p, p...)
	return len(p), nil
}
