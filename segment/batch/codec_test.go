package batch

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// record0 is one record of 40 bytes value, compressible.
func record0() []byte { return raw("\x00", 0, 0, -1, 40, strings.Repeat("ab", 20), 0) }

func TestXXH32IsThatOfTheSpecification(t *testing.T) {
	for text, want := range map[string]uint32{
		"":    0x02CC5D05,
		"a":   0x550D7456,
		"abc": 0x32D153FF,
		"Nobody inspects the spammish repetition": 0xE2293B2F,
	} {
		if got := xxh32([]byte(text)); got != want {
			t.Errorf("%q: %08x, want %08x", text, got, want)
		}
	}
}

func TestSnappyBothFramings(t *testing.T) {
	p := bytes.Repeat(record0(), 1)
	bare := s2.EncodeSnappy(nil, p)
	if err := Validate(wrap(Snappy, 1, bare), lenient()); err != nil {
		t.Errorf("bare block: %v", err)
	}
	framed := appendSnappy(nil, p)
	if err := Validate(wrap(Snappy, 1, framed), lenient()); err != nil {
		t.Errorf("xerial frame: %v", err)
	}
}

// lz4Frame writes a frame with any flags around blocks.
func lz4Frame(flags, descriptor byte, contentSize []byte, body ...[]byte) []byte {
	p := binary.LittleEndian.AppendUint32(nil, lz4Magic)
	p = append(p, flags, descriptor)
	p = append(p, contentSize...)
	p = append(p, byte(xxh32(p[4:])>>8))
	return append(p, bytes.Join(body, nil)...)
}

func TestLZ4FramesThatKafkaReads(t *testing.T) {
	data := record0()
	block := make([]byte, 100)
	n, err := lz4.CompressBlock(data, block, nil)
	if err != nil || n == 0 {
		t.Fatal(n, err)
	}
	block = block[:n]
	size := func(n int) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(n)) }
	sum := func(p []byte) []byte { return size(int(xxh32(p))) }
	const value = 64<<10 + 1 - 11 // so that the record takes one byte more than a block of 64 KiB
	stored64 := raw("\x00", 0, 0, -1, value, strings.Repeat("v", value), 0)
	stored := binary.LittleEndian.AppendUint32(nil, uint32(len(data))|lz4Uncompressed)
	end := size(0)
	header := lz4Frame(0x60, 0x40, nil)
	brokenHeader := bytes.Clone(header)
	brokenHeader[6]++
	for _, c := range []struct {
		name string
		p    []byte
		ok   bool
	}{
		{"plain", lz4Frame(0x60, 0x40, nil, size(n), block, end), true},
		{"stored", lz4Frame(0x60, 0x70, nil, stored, data, end), true},
		{"two blocks", lz4Frame(0x60, 0x40, nil, size(10|lz4Uncompressed), data[:10], size((len(data)-10)|lz4Uncompressed), data[10:], end), true},
		{"block checksum", lz4Frame(0x70, 0x50, nil, size(n), block, sum(block), end), true},
		{"content size", lz4Frame(0x68, 0x60, make([]byte, 8), size(n), block, end), true},
		{"content checksum", lz4Frame(0x64, 0x40, nil, size(n), block, end, sum(data)), true},
		{"block checksum wrong", lz4Frame(0x70, 0x40, nil, size(n), block, sum(data), end), false},
		{"block checksum missing", lz4Frame(0x70, 0x40, nil, size(n), block), false},
		{"header checksum wrong", slices.Concat(brokenHeader, size(n), block, end), false},
		{"version 2", lz4Frame(0xA0, 0x40, nil, size(n), block, end), false},
		{"dependent blocks", lz4Frame(0x40, 0x40, nil, size(n), block, end), false},
		{"dictionary", lz4Frame(0x61, 0x40, make([]byte, 4), size(n), block, end), false},
		{"block size 3", lz4Frame(0x60, 0x30, nil, size(n), block, end), false},
		{"descriptor reserved bit", lz4Frame(0x60, 0xC0, nil, size(n), block, end), false},
		{"block larger than declared", lz4Frame(0x60, 0x40, nil, size((64<<10+1)|lz4Uncompressed), stored64, end), false},
		{"block as large as declared", lz4Frame(0x60, 0x50, nil, size((64<<10+1)|lz4Uncompressed), stored64, end), true},
		{"block beyond the batch", lz4Frame(0x60, 0x40, nil, size(n+1), block), false},
		{"no end", lz4Frame(0x60, 0x40, nil, size(n), block), false},
		{"content checksum missing", lz4Frame(0x64, 0x40, nil, size(n), block, end), false},
		{"a second frame", slices.Concat(lz4Frame(0x60, 0x40, nil, size(n), block, end), lz4Frame(0x60, 0x40, nil, end)), false},
		{"legacy magic", append([]byte{0x02, 0x21, 0x4C, 0x18}, header[4:]...), false},
		{"skippable frame", append([]byte{0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0}, header...), false},
		{"block is no LZ4", lz4Frame(0x60, 0x40, nil, size(4), []byte{0x0f, 0xff, 0xff, 0xff}, end), false},
		{"header only", header, false},
		{"header cut", header[:5], false},
	} {
		err := Validate(wrap(LZ4, 1, c.p), lenient())
		if c.ok != (err == nil) || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestSnappyBlocksThatAreNone(t *testing.T) {
	data := record0()
	good := s2.EncodeSnappy(nil, data)
	xerial := func(chunks ...[]byte) []byte {
		p := append([]byte(xerialMagic), 0, 0, 0, 1, 0, 0, 0, 1)
		for _, c := range chunks {
			p = append(binary.BigEndian.AppendUint32(p, uint32(len(c))), c...)
		}
		return p
	}
	for _, c := range []struct {
		name string
		p    []byte
		want error
	}{
		{"bare", good, nil},
		{"two chunks", xerial(s2.EncodeSnappy(nil, data[:5]), s2.EncodeSnappy(nil, data[5:])), nil},
		{"an empty chunk", xerial([]byte{0}, good), nil},
		{"length lie, 4 GiB", append([]byte{0xff, 0xff, 0xff, 0xff, 0x0f}, good[1:]...), ErrInvalid},
		{"length lie, one more", append([]byte{good[0] + 1}, good[1:]...), ErrInvalid},
		{"length lie, one less", append([]byte{good[0] - 1}, good[1:]...), ErrInvalid},
		{"length of 6 bytes", append([]byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x01}, good[1:]...), ErrInvalid},
		{"length of 33 bits", append([]byte{0xff, 0xff, 0xff, 0xff, 0x1f}, good[1:]...), ErrInvalid},
		{"length cut", []byte{0x80}, ErrInvalid},
		{"literal beyond the block", []byte{5, 4 << 2, 'a'}, ErrInvalid},
		{"long literal beyond the block", []byte{5, 63 << 2, 0xff, 0xff, 0xff, 0xff}, ErrInvalid},
		{"long literal's length cut", []byte{5, 63 << 2, 0xff}, ErrInvalid},
		{"copy cut", []byte{5, 0 << 2, 'a', 2 | 3<<2, 1}, ErrInvalid},
		{"copy of 4 bytes' offset cut", []byte{5, 0 << 2, 'a', 3 | 3<<2, 1, 0, 0}, ErrInvalid},
		{"copy from before the start", []byte{5, 0 << 2, 'a', 2 | 3<<2, 9, 0}, ErrInvalid},
		{"copy from offset 0", []byte{5, 0 << 2, 'a', 1, 0}, ErrInvalid},
		{"long copy from offset 0", []byte{5, 0 << 2, 'a', 2 | 3<<2, 0, 0}, ErrInvalid},
		{"S2 block", s2.Encode(nil, bytes.Repeat([]byte("abcdefghij"), 1000)), ErrInvalid},
		{"frame without chunks", xerial(), ErrInvalid},
		{"frame cut in the header", []byte(xerialMagic), ErrInvalid},
		{"chunk length cut", append(xerial(good), 0, 0), ErrInvalid},
		{"chunk length -1", append(xerial(), 0xff, 0xff, 0xff, 0xff), ErrInvalid},
		{"chunk beyond the batch", xerial(good)[:len(xerial(good))-1], ErrInvalid},
	} {
		if err := Validate(wrap(Snappy, 1, c.p), lenient()); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestSnappyRefusesRepeatsOfS2(t *testing.T) {
	for _, p := range [][]byte{
		{9, 0 << 2, 'a', 1, 1, 1, 0},
		s2.Encode(nil, bytes.Repeat([]byte("abcdefghij"), 1000)),
	} {
		if _, err := s2.Decode(nil, p); err != nil {
			t.Errorf("%x is no S2: %v", p, err)
		}
		if n, err := snappySize(p); err == nil {
			t.Errorf("%x has %d bytes", p, n)
		}
	}
}

func TestCompressedRecordsCutAnywhereAreRefused(t *testing.T) {
	records := samples()["many"][:200]
	for _, codec := range codecs[1:] {
		o := NoProducer
		o.Codec = codec
		whole := build(t, o, records...)[HeaderSize:]
		for cut := range whole {
			if err := Validate(wrap(codec, 200, whole[:cut]), lenient()); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s cut to %d of %d bytes: %v", codec, cut, len(whole), err)
			}
		}
		if err := Validate(wrap(codec, 200, append(bytes.Clone(whole), 1, 2, 3)), lenient()); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s with bytes behind: %v", codec, err)
		}
	}
}

func TestCompressedByAnotherCodecIsRefused(t *testing.T) {
	for _, said := range codecs[1:] {
		for _, used := range codecs {
			p, err := compress(nil, used, UsualLevel, record0())
			if err != nil {
				t.Fatal(err)
			}
			if err := Validate(wrap(said, 1, p), lenient()); said != used && !errors.Is(err, ErrInvalid) {
				t.Errorf("%s is said, %s is used: %v", said, used, err)
			}
		}
	}
}

func TestZstdWindowAbove8MiBIsRefusedB17(t *testing.T) {
	for _, c := range []struct {
		name string
		log  int
		want error
	}{
		{"8 MiB", 23, nil},
		{"16 MiB", 24, ErrTooLarge},
		{"2 GiB", 31, ErrTooLarge},
		{"128 GiB", 37, ErrTooLarge},
	} {
		p := zstdFrame(c.log, zstdRaw(record0(), true))
		if err := Validate(wrap(Zstd, 1, p), lenient()); !errors.Is(err, c.want) {
			t.Errorf("window of %s: %v, want %v", c.name, err, c.want)
		}
	}
}

// zstdFrame writes a frame with a window of 1<<log bytes around blocks.
func zstdFrame(log int, blocks ...[]byte) []byte {
	p := []byte{0x28, 0xB5, 0x2F, 0xFD, 0x00, byte(log-10) << 3}
	return append(p, bytes.Join(blocks, nil)...)
}

func zstdBlock(kind, size int, last bool) []byte {
	h := uint32(size)<<3 | uint32(kind)<<1
	if last {
		h |= 1
	}
	return []byte{byte(h), byte(h >> 8), byte(h >> 16)}
}

func zstdRaw(p []byte, last bool) []byte   { return append(zstdBlock(0, len(p), last), p...) }
func zstdZeros(size int, last bool) []byte { return append(zstdBlock(1, size, last), 0) }

// bombs are small batches that hold n bytes of zeros behind prefix.
func bombs(t *testing.T, prefix []byte, n int) map[string]Batch {
	t.Helper()
	const piece = 4 << 20
	zeros := make([]byte, piece)

	var member bytes.Buffer
	w := gzip.NewWriter(&member)
	if _, err := w.Write(zeros); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	var head bytes.Buffer
	w.Reset(&head)
	if _, err := w.Write(prefix); err != nil || w.Close() != nil {
		t.Fatal(err)
	}

	lz4Block := make([]byte, lz4.CompressBlockBound(piece))
	size, err := lz4.CompressBlock(zeros, lz4Block, nil)
	if err != nil {
		t.Fatal(err)
	}
	lz4Body := binary.LittleEndian.AppendUint32(nil, uint32(len(prefix))|lz4Uncompressed)
	lz4Body = append(lz4Body, prefix...)
	for range n / piece {
		lz4Body = binary.LittleEndian.AppendUint32(lz4Body, uint32(size))
		lz4Body = append(lz4Body, lz4Block[:size]...)
	}

	const zstdPiece = 128 << 10
	zstdBlocks := [][]byte{zstdRaw(prefix, false)}
	for range n/zstdPiece - 1 {
		zstdBlocks = append(zstdBlocks, zstdZeros(zstdPiece, false))
	}
	zstdBlocks = append(zstdBlocks, zstdZeros(zstdPiece, true))

	chunk := func(p []byte) []byte {
		b := s2.EncodeSnappy(nil, p)
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
	}
	xerial := append([]byte(xerialMagic), 0, 0, 0, 1, 0, 0, 0, 1)
	xerial = append(append(xerial, chunk(prefix)...), bytes.Repeat(chunk(zeros), min(n, 256<<20)/piece)...)

	bare := slices.Concat(prefix, make([]byte, min(n, 256<<20)))

	return map[string]Batch{
		"gzip":                  wrap(Gzip, 1, append(head.Bytes(), bytes.Repeat(member.Bytes(), n/piece)...)),
		"snappy, xerial":        wrap(Snappy, 1, xerial),
		"snappy, bare":          wrap(Snappy, 1, s2.EncodeSnappy(nil, bare)),
		"snappy, declared only": wrap(Snappy, 1, append(binary.AppendUvarint(nil, uint64(n)), 0, 'a')),
		"lz4":                   wrap(LZ4, 1, lz4Frame(0x60, 0x70, nil, lz4Body, []byte{0, 0, 0, 0})),
		"zstd, small window":    wrap(Zstd, 1, zstdFrame(17, zstdBlocks...)),
		"zstd, 8 MiB window":    wrap(Zstd, 1, zstdFrame(23, zstdBlocks...)),
	}
}

// allocated returns how many bytes f allocates, with no decoder idle before.
func allocated(f func()) int64 {
	runtime.GC()
	runtime.GC() // the first only ages the pools
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

func TestDecompressionBombsStayWithinTheLimitB17(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates beside us, and takes its time over 1 GiB")
	}
	const (
		gib   = 1 << 30
		limit = 16 << 20
		// What a decoder may need beside the limit: a zstd window and block or an LZ4
		// block, and the buffer of 64 KiB.
		decoder = maxWindow + 2<<20
	)
	record := func(size int) []byte {
		body := raw("\x00", 0, 0, -1, size)[1:]
		return append(AppendVarint(nil, int64(len(body)+size+1)), body...)
	}
	shapes := map[string][]byte{
		"a record of 1 GiB":     record(gib - 1),
		"a record of 2 GiB":     record(math.MaxInt32 - 100),
		"a record of the limit": record(limit - 100), // and zeros, which are no record, behind it
		"zeros":                 {0},
	}
	rules := lenient()
	rules.MaxDecompressed = limit
	for shape, prefix := range shapes {
		for name, b := range bombs(t, prefix, gib) {
			var err error
			if n := allocated(func() { err = Validate(b, rules) }); n > limit+decoder {
				t.Errorf("Validate, %s, %s: %d bytes allocated", shape, name, n)
			}
			if !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrInvalid) {
				t.Errorf("Validate, %s, %s: %v", shape, name, err)
			}
			if shape == "a record of 1 GiB" && name != "snappy, declared only" && !errors.Is(err, ErrTooLarge) {
				t.Errorf("Validate, %s, %s: %v", shape, name, err)
			}
			// Records holds a record in one piece, which is copied as it grows, but not for a
			// claim above the limit.
			bound := int64(decoder)
			if shape == "a record of the limit" {
				bound += 3 * limit
			}
			if n := allocated(func() { err = Records(b, limit, func(*Record) bool { return true }) }); n > bound {
				t.Errorf("Records, %s, %s: %d bytes allocated", shape, name, n)
			}
			if !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrInvalid) {
				t.Errorf("Records, %s, %s: %v", shape, name, err)
			}
		}
	}
}

func TestTheLimitIsExact(t *testing.T) {
	for _, codec := range codecs[1:] {
		for _, value := range []int{10, bufferSize - 20, 5 * bufferSize} {
			o := NoProducer
			o.Codec = codec
			b := build(t, o, Record{Value: make([]byte, value)}, Record{Value: make([]byte, value)})
			o.Codec = None
			size := int64(len(build(t, o, Record{Value: make([]byte, value)}, Record{Value: make([]byte, value)})) - HeaderSize)
			for _, c := range []struct {
				limit int64
				want  error
			}{{size, nil}, {size + 1, nil}, {math.MaxInt64, nil}, {size - 1, ErrTooLarge}, {1, ErrTooLarge}, {0, ErrTooLarge}, {-1, ErrTooLarge}} {
				r := lenient()
				r.MaxDecompressed = c.limit
				if err := Validate(b, r); !errors.Is(err, c.want) {
					t.Errorf("Validate, %s, %d bytes, limit %d: %v, want %v", codec, size, c.limit, err, c.want)
				}
				if err := Records(b, c.limit, func(*Record) bool { return true }); !errors.Is(err, c.want) {
					t.Errorf("Records, %s, %d bytes, limit %d: %v, want %v", codec, size, c.limit, err, c.want)
				}
			}
		}
	}
}

func TestManySmallRecordsBeyondTheLimitB17(t *testing.T) {
	records := make([]Record, 300_000)
	rules := lenient()
	rules.MaxDecompressed = 1 << 20
	for _, codec := range codecs[1:] {
		o := NoProducer
		o.Codec = codec
		b := build(t, o, records...)
		var err error
		if n := allocated(func() { err = Validate(b, rules) }); n > rules.MaxDecompressed+4<<20 {
			t.Errorf("%s: %d bytes allocated", codec, n)
		}
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", codec, err)
		}
	}
}

// TestFramesOfOtherEncoders: what clients in the field write, beside our own settings.
func TestFramesOfOtherEncoders(t *testing.T) {
	records := samples()["many"]
	p := []byte(build(t, NoProducer, records...)[HeaderSize:])
	for name, c := range map[string]struct {
		codec Codec
		p     func() []byte
	}{
		"kgo lz4":    {LZ4, func() []byte { return stream(t, func(w *bytes.Buffer) streamWriter { return lz4.NewWriter(w) }, p) }},
		"kgo snappy": {Snappy, func() []byte { return s2.EncodeSnappy(nil, p) }},
		"kgo gzip":   {Gzip, func() []byte { return stream(t, func(w *bytes.Buffer) streamWriter { return gzip.NewWriter(w) }, p) }},
		"kgo zstd": {Zstd, func() []byte {
			w, err := zstd.NewWriter(nil, zstd.WithWindowSize(64<<10), zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true))
			if err != nil {
				t.Fatal(err)
			}
			return w.EncodeAll(p, nil)
		}},
		"streamed zstd": {Zstd, func() []byte {
			return stream(t, func(w *bytes.Buffer) streamWriter {
				e, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
				if err != nil {
					t.Fatal(err)
				}
				return e
			}, p)
		}},
	} {
		if err := Validate(wrap(c.codec, int32(len(records)), c.p()), lenient()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func stream(t *testing.T, open func(*bytes.Buffer) streamWriter, p []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := open(&out)
	if _, err := w.Write(p); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestSnappyBlockOfTheFormatsExample(t *testing.T) {
	// Literal "Wikipedia is a free, web-based, collaborative, multilingual encyclopedia
	// project.", from a Snappy of another origin.
	p, err := hex.DecodeString("51f05057696b697065646961206973206120667265652c207765622d62617365642c20636f6c6c61626f7261746976652c206d756c74696c696e6775616c20656e6379636c6f70656469612070726f6a6563742e")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := snappySize(p); err != nil || n != 81 {
		t.Errorf("%d, %v", n, err)
	}
}
