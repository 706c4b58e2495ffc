package batch

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Entry is a record as compaction looks at it. Key is a view, valid during the call.
type Entry struct {
	Offset    int64
	Timestamp int64  // ms
	Key       []byte // nil: null
	Tombstone bool   // the value is null

	raw            []byte // the record's bytes after its size
	timestampDelta int64
	deltaEnd       int // raw[deltaEnd:] is what follows the timestamp delta
}

// Entries is Records for who needs keys only: what follows the value's size is not
// looked at. Errors and limits are those of Records.
func Entries(b Batch, maxDecompressed int64, yield func(*Entry) bool) error {
	return new(Entry).each(b, maxDecompressed, yield)
}

// each is Entries with e as the record.
func (e *Entry) each(b Batch, maxDecompressed int64, yield func(*Entry) bool) error {
	base, baseTimestamp, appended := b.BaseOffset(), b.BaseTimestamp(), b.LogAppendTime()
	return walk(b, maxDecompressed, func(p []byte) (more bool, reason string) {
		e.raw = p
		if reason := e.parse(base, baseTimestamp); reason != "" {
			return false, reason
		}
		if appended {
			e.Timestamp = b.MaxTimestamp()
		}
		return yield(e), ""
	})
}

// parse reads what stands before the value off e.raw. It returns what is wrong, ""
// where nothing is.
func (e *Entry) parse(base, baseTimestamp int64) (reason string) {
	s := parser{p: e.raw}
	s.byte("attributes")
	e.timestampDelta = s.varint("timestamp delta")
	e.deltaEnd = len(e.raw) - len(s.p)
	e.Offset = base + int64(s.varint32("offset delta"))
	e.Timestamp = baseTimestamp + e.timestampDelta
	e.Key = s.bytes("key")
	size := s.varint32("value size")
	if s.bad == "" && int(size) > len(s.p) {
		s.fail("value")
	}
	e.Tombstone = size < 0
	if s.bad != "" {
		return "malformed " + s.bad
	}
	return ""
}

// Filter makes of batches such with some of their records only, as compaction does. It
// keeps its buffers from one batch to the next, so it belongs to one goroutine.
type Filter struct {
	MaxDecompressed int64 // bytes that one compressed batch may expand to
	// Horizon, in ms, becomes the delete horizon of a batch that has none where a
	// tombstone is kept in it (KIP-534); 0: no batch is given one.
	Horizon int64

	b            Batch
	entry        Entry
	records      []byte // of those kept, as they lay in the batch
	rebased, out []byte
	count        int32
	maxTimestamp int64 // ms
	tombstones   bool
	sound        bool // no timestamp is too far from Horizon
}

// Apply returns b with those records only that keep returns true for. Offsets, last
// offset delta, producer, sequence, codec and timestamp type stay as they are. marker
// asks for a delete horizon though no tombstone is kept: of the marker of a
// transaction without records. Where a timestamp is too far from the horizon to be
// encoded, none is set, and what waits for it stays.
//
// Where nothing changes it returns b itself, otherwise a batch that is valid until the
// next Apply. Where no record is left it is a header without records, for the log to
// remember offsets and producer by; the caller may drop it. Errors are those of Records.
func (f *Filter) Apply(b Batch, marker bool, keep func(*Entry) bool) (Batch, error) {
	f.b, f.records, f.count, f.maxTimestamp, f.tombstones, f.sound = b, f.records[:0], 0, noTimestamp, false, true
	if err := f.entry.each(b, f.MaxDecompressed, func(e *Entry) bool {
		if keep(e) {
			f.add(e)
		}
		return true
	}); err != nil {
		return nil, err
	}
	_, has := b.DeleteHorizon()
	horizon := f.Horizon != 0 && !has && f.sound && (f.tombstones || marker)
	switch {
	case f.count == 0 && b.Count() > 0:
		return f.empty(), nil
	case f.count == b.Count() && (!horizon || f.count == 0):
		return b, nil
	}
	return f.build(horizon)
}

func (f *Filter) add(e *Entry) {
	f.records = AppendVarint(f.records, int64(len(e.raw)))
	f.records = append(f.records, e.raw...)
	f.count++
	f.maxTimestamp = max(f.maxTimestamp, e.Timestamp)
	f.tombstones = f.tombstones || e.Tombstone
	f.sound = f.sound && !overflows(f.Horizon, f.b.BaseTimestamp()+e.timestampDelta-f.Horizon)
}

// build encodes the records that were kept.
func (f *Filter) build(horizon bool) (Batch, error) {
	records, base, attributes := f.records, f.b.BaseTimestamp(), f.b.Attributes()
	if horizon {
		f.rebase()
		records, base, attributes = f.rebased, f.Horizon, attributes|attrDeleteHorizon
	}
	out, err := compress(append(f.out[:0], f.b[:HeaderSize]...), f.b.Codec(), UsualLevel, records)
	if err != nil {
		return nil, err
	}
	f.out = out
	if len(out)-LogOverhead > math.MaxInt32 {
		return nil, fmt.Errorf("%w: %d bytes of records", ErrInvalid, len(out))
	}
	if f.b.LogAppendTime() {
		f.maxTimestamp = f.b.MaxTimestamp()
	}
	return f.finish(base, attributes), nil
}

// rebase writes the records with timestamp deltas that count from the horizon.
func (f *Filter) rebase() {
	f.rebased = f.rebased[:0]
	shift := f.b.BaseTimestamp() - f.Horizon
	var e Entry
	for p := f.records; len(p) > 0; {
		size, n := Varint32(p)
		e.raw, p = p[n:n+int(size)], p[n+int(size):]
		e.parse(0, 0) // it has been parsed before
		delta := e.timestampDelta + shift
		f.rebased = AppendVarint(f.rebased, int64(1+VarintSize(delta)+len(e.raw)-e.deltaEnd))
		f.rebased = AppendVarint(append(f.rebased, e.raw[0]), delta)
		f.rebased = append(f.rebased, e.raw[e.deltaEnd:]...)
	}
}

// empty is the batch without records: neither codec nor delete horizon mean anything
// any more, the max timestamp still does.
func (f *Filter) empty() Batch {
	f.out = append(f.out[:0], f.b[:HeaderSize]...)
	f.maxTimestamp = f.b.MaxTimestamp()
	return f.finish(noTimestamp, f.b.Attributes()&^(attrCodec|attrDeleteHorizon))
}

// finish writes what differs into f.out, which begins with the header of f.b.
func (f *Filter) finish(base int64, attributes int16) Batch {
	out := Batch(f.out)
	binary.BigEndian.PutUint32(out[posLength:], uint32(len(out)-LogOverhead))
	out.setAttributes(attributes)
	binary.BigEndian.PutUint64(out[posBaseTimestamp:], uint64(base))
	binary.BigEndian.PutUint64(out[posMaxTimestamp:], uint64(f.maxTimestamp))
	binary.BigEndian.PutUint32(out[posCount:], uint32(f.count))
	out.setCRC()
	return out
}

// Placeholder returns a header without records, producer or transaction that has the
// offsets, epoch and max timestamp of b: all it says is where the log goes on.
func Placeholder(b Batch) Batch {
	p := (&Filter{b: b}).empty()
	p.setAttributes(b.Attributes() & attrLogAppendTime)
	none := NoProducer
	binary.BigEndian.PutUint64(p[posProducerID:], uint64(none.ProducerID))
	binary.BigEndian.PutUint16(p[posProducerEpoch:], uint16(none.ProducerEpoch))
	binary.BigEndian.PutUint32(p[posBaseSequence:], uint32(none.BaseSequence))
	p.setCRC()
	return p
}
