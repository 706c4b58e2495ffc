package tiering

import (
	"encoding/binary"
	"math"

	"github.com/google/uuid"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment"
)

// A segment's object. The log's bytes come first and unchanged, so that a range of the
// object equals a range of the local file; what follows is the tail, read with one
// exact GET because the manifest entry knows both sizes.
//
//	0            log bytes               size: Size of the entry
//	             offset index            8 each   {relative offset int32, position int32}
//	             time index             12 each   {timestamp int64, relative offset int32}
//	             aborted transactions   34 each   all that overlap the segment (Kafka's .txnindex)
//	             producer snapshot                at the segment's next offset (Kafka's .snapshot)
//	             leader epochs           4 + 12 each   {count} {epoch int32, first offset int64}
//	             chunk table             4 + 32 each   {count} {position int64, size uint32,
//	                                              base offset int64, running max timestamp int64, CRC32C}
//	             footer                 68 + 24 each
//	             trailer                64
//
// Footer:
//
//	 0  topic id          16
//	16  partition          4  int32
//	20  leader epoch       4  int32   of the copy
//	24  base offset        8  int64
//	32  next offset        8  int64
//	40  log size           8  int64   bytes
//	48  max timestamp      8  int64   ms, -1: none
//	56  compaction epoch   4  uint32
//	60  log CRC32C         4  uint32
//	64  section count      4  uint32
//	68  sections          24 each     {kind uint32, CRC32C, position int64, size int64}
//
// Trailer, the last 64 bytes of the object:
//
//	 0  magic              8  "VARVESEG"
//	 8  version            4  uint32  1
//	12  footer CRC32C      4
//	16  footer position    8  int64   in the object
//	24  footer size        8  int64
//	32  object size        8  int64
//	40  id                16  the uuid of the key
//	56  reserved           4  0
//	60  CRC32C             4  of the 60 bytes before
const (
	objectMagic   = "VARVESEG"
	objectVersion = 1
	trailerSize   = 64

	footerHeaderSize  = 68
	footerSectionSize = 24
	chunkSize         = 8 + 4 + 8 + 8 + 4
)

// The sections of a tail. The numbers are part of the format; readers skip unknown ones.
const (
	sectionOffsets uint32 = iota + 1
	sectionTimes
	sectionAborted
	sectionSnapshot
	sectionEpochs
	sectionChunks
)

// chunk is a run of whole batches that is fetched, verified and cached as one.
type chunk struct {
	position     int64 // bytes, in the log
	size         int64 // bytes, > 0
	base         int64 // base offset of its first batch
	maxTimestamp int64 // ms: largest of the segment up to the end of this chunk; -1: none
	crc          uint32
}

func (c chunk) end() int64 { return c.position + c.size }

// footer is what a segment's object says of itself.
type footer struct {
	partition    PartitionID
	epoch        int32
	base, next   int64
	size         int64 // of the log
	maxTimestamp int64
	compaction   uint32
	logCRC       uint32
}

// tail is the decoded tail of one segment's object. It is immutable; its slices are
// views of the bytes it was decoded from.
type tail struct {
	footer
	chunks   []chunk
	offsets  []byte // offset index
	times    []byte // time index
	aborted  []index.AbortedTxn
	snapshot []byte
	epochs   []segment.EpochStart
	memory   int64 // bytes held, for the cache's bound
}

// encodeTail returns the bytes that follow the log of t's segment.
func encodeTail(t *tail, id uuid.UUID) []byte {
	var e, sections encoder
	count := uint32(0)
	section := func(number uint32, write func()) {
		begin := len(e.b)
		write()
		sections.u32(number)
		sections.u32(crc(e.b[begin:]))
		sections.i64(t.size + int64(begin))
		sections.i64(int64(len(e.b) - begin))
		count++
	}
	section(sectionOffsets, func() { e.bytes(t.offsets) })
	section(sectionTimes, func() { e.bytes(t.times) })
	section(sectionAborted, func() { e.aborted(t.aborted) })
	section(sectionSnapshot, func() { e.bytes(t.snapshot) })
	section(sectionEpochs, func() { e.epochs(t.epochs) })
	section(sectionChunks, func() { e.chunks(t.chunks) })

	begin := len(e.b)
	e.bytes(t.partition.Topic[:])
	e.i32(t.partition.Partition)
	e.i32(t.epoch)
	e.i64(t.base)
	e.i64(t.next)
	e.i64(t.size)
	e.i64(t.maxTimestamp)
	e.u32(t.compaction)
	e.u32(t.logCRC)
	e.u32(count)
	e.bytes(sections.b)
	footerSize := len(e.b) - begin

	trailer := len(e.b)
	e.bytes([]byte(objectMagic))
	e.u32(objectVersion)
	e.u32(crc(e.b[begin : begin+footerSize]))
	e.i64(t.size + int64(begin))
	e.i64(int64(footerSize))
	e.i64(t.size + int64(trailer) + trailerSize)
	e.bytes(id[:])
	e.u32(0)
	e.u32(crc(e.b[trailer:]))
	return e.b
}

func (e *encoder) aborted(txns []index.AbortedTxn) {
	for _, t := range txns {
		e.b = t.Append(e.b)
	}
}

func (e *encoder) chunks(chunks []chunk) {
	e.u32(uint32(len(chunks)))
	for _, c := range chunks {
		e.i64(c.position)
		e.u32(uint32(c.size))
		e.i64(c.base)
		e.i64(c.maxTimestamp)
		e.u32(c.crc)
	}
}

// trailer is the decoded end of an object.
type trailer struct {
	footerPosition int64
	footerSize     int64
	footerCRC      uint32
	id             uuid.UUID
}

// decodeTrailer reads the last trailerSize bytes of an object of objectSize bytes.
func decodeTrailer(key string, p []byte, objectSize int64) (trailer, error) {
	if len(p) != trailerSize {
		return trailer{}, corrupt(key, "trailer of %d bytes", len(p))
	}
	if string(p[:len(objectMagic)]) != objectMagic {
		return trailer{}, corrupt(key, "trailer has no magic")
	}
	if crc(p[:trailerSize-4]) != binary.BigEndian.Uint32(p[trailerSize-4:]) {
		return trailer{}, corrupt(key, "trailer CRC mismatch")
	}
	d := decoder{b: p[len(objectMagic):]}
	version := d.u32()
	t := trailer{footerCRC: d.u32(), footerPosition: d.i64(), footerSize: d.i64()}
	size := d.i64()
	t.id = d.uuid()
	switch {
	case version != objectVersion:
		return trailer{}, corrupt(key, "version %d, this broker reads %d", version, objectVersion)
	case size != objectSize:
		return trailer{}, corrupt(key, "trailer says %d bytes, the object has %d", size, objectSize)
	case t.footerPosition < 0 || t.footerSize < footerHeaderSize ||
		t.footerPosition > objectSize-trailerSize-t.footerSize ||
		t.footerPosition+t.footerSize != objectSize-trailerSize:
		return trailer{}, corrupt(key, "footer at %d, %d bytes, does not end at the trailer", t.footerPosition, t.footerSize)
	}
	return t, nil
}

// decodeTail reads p, the last bytes of an object that begins tailPosition bytes before
// them, and checks every checksum and every rule of the format. It keeps p.
func decodeTail(key string, p []byte, tailPosition int64) (*tail, uuid.UUID, error) {
	fail := func(err error) (*tail, uuid.UUID, error) { return nil, uuid.UUID{}, err }
	if len(p) < footerHeaderSize+trailerSize || tailPosition < 0 || tailPosition > math.MaxInt64-int64(len(p)) {
		return fail(corrupt(key, "tail of %d bytes at %d", len(p), tailPosition))
	}
	objectSize := tailPosition + int64(len(p))
	end, err := decodeTrailer(key, p[len(p)-trailerSize:], objectSize)
	if err != nil {
		return fail(err)
	}
	if end.footerPosition < tailPosition {
		return fail(corrupt(key, "footer at %d lies in the log", end.footerPosition))
	}
	foot := p[end.footerPosition-tailPosition : len(p)-trailerSize]
	if crc(foot) != end.footerCRC {
		return fail(corrupt(key, "footer CRC mismatch"))
	}
	d := decoder{b: foot}
	t := &tail{memory: int64(len(p))}
	t.partition.Topic = d.topic()
	t.partition.Partition = d.i32()
	t.epoch = d.i32()
	t.base = d.i64()
	t.next = d.i64()
	t.size = d.i64()
	t.maxTimestamp = d.i64()
	t.compaction = d.u32()
	t.logCRC = d.u32()
	sections := d.count(footerSectionSize)
	if d.err != nil {
		return fail(corrupt(key, "footer: %v", d.err))
	}
	if t.size != tailPosition || t.base < 0 || t.next <= t.base {
		return fail(corrupt(key, "footer says offsets [%d, %d) in %d bytes", t.base, t.next, t.size))
	}
	for range sections {
		number, sum, position, size := d.u32(), d.u32(), d.i64(), d.i64()
		if d.err != nil || position < tailPosition || size < 0 || position > end.footerPosition-size {
			return fail(corrupt(key, "section %d at %d, %d bytes, lies outside the tail", number, position, size))
		}
		body := p[position-tailPosition : position-tailPosition+size : position-tailPosition+size]
		if crc(body) != sum {
			return fail(corruptAt(key, position, "CRC mismatch of section %d", number))
		}
		if err := t.decodeSection(number, body); err != nil {
			return fail(corruptAt(key, position, "section %d: %v", number, err))
		}
	}
	if err := t.check(); err != nil {
		return fail(corrupt(key, "%v", err))
	}
	return t, end.id, nil
}

func (t *tail) decodeSection(number uint32, p []byte) error {
	d := decoder{b: p}
	switch number {
	case sectionOffsets:
		t.offsets = p
	case sectionTimes:
		t.times = p
	case sectionAborted:
		t.aborted, d.err = index.ParseAborted(p)
		t.memory += int64(len(t.aborted)) * 32
	case sectionSnapshot:
		t.snapshot = p
	case sectionEpochs:
		t.epochs = d.epochs()
	case sectionChunks:
		t.chunks = d.chunks()
		t.memory += int64(len(t.chunks)) * 40
	}
	return d.err
}

func (d *decoder) chunks() []chunk {
	n := d.count(chunkSize)
	if n == 0 {
		return nil
	}
	chunks := make([]chunk, n)
	for i := range chunks {
		chunks[i] = chunk{position: d.i64(), size: int64(d.u32()), base: d.i64(), maxTimestamp: d.i64(), crc: d.u32()}
	}
	return chunks
}

// check verifies what the sections promise to each other: the chunks tile the log, the
// offsets ascend, the indexes are whole.
func (t *tail) check() error {
	position, offset, newest := int64(0), t.base, int64(-1)
	for i, c := range t.chunks {
		switch {
		case c.position != position || c.size <= 0 || c.size > t.size-position:
			return ruleError("chunk %d lies at %d, %d bytes, expected at %d", i, c.position, c.size, position)
		case c.base < offset || c.base >= t.next || i == 0 && c.base != t.base:
			return ruleError("chunk %d begins at offset %d, expected at least %d", i, c.base, offset)
		case c.maxTimestamp < newest:
			return ruleError("running max timestamp of chunk %d goes back", i)
		}
		position, offset, newest = c.end(), c.base+1, c.maxTimestamp
	}
	if position != t.size {
		return ruleError("chunks end at %d of %d bytes", position, t.size)
	}
	if newest != t.maxTimestamp {
		return ruleError("max timestamp %d, chunks say %d", t.maxTimestamp, newest)
	}
	if len(t.offsets)%index.OffsetEntry != 0 || len(t.times)%index.TimeEntry != 0 {
		return ruleError("an index is cut short")
	}
	last := int64(-1)
	for p := t.offsets; len(p) > 0; p = p[index.OffsetEntry:] {
		at := int64(int32(binary.BigEndian.Uint32(p[4:])))
		if at <= last || at >= t.size {
			return ruleError("offset index points to %d after %d", at, last)
		}
		last = at
	}
	return nil
}
