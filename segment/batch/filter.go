package batch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
)

// Filter makes of b a batch with those records only that keep returns true for, as
// compaction does. Offsets, last offset delta, producer, sequence, codec and timestamp
// type stay as they are. deleteHorizon, in ms, becomes the batch's (KIP-534); 0 leaves
// the one it has or has not.
//
// Where nothing changes Filter returns b itself, otherwise a batch of the caller's.
// Where no record is left it returns a header without records, for the log to
// remember offsets and producer by; the caller may drop it. The record passed to keep
// is valid during the call only. Errors are those of Records, and ErrTimestamp where
// the delete horizon is too far from a timestamp to be encoded.
func Filter(b Batch, maxDecompressed, deleteHorizon int64, keep func(*Record) bool) (Batch, error) {
	f := filter{b: b, base: b.BaseTimestamp(), attributes: b.Attributes(), maxTimestamp: noTimestamp}
	if deleteHorizon != 0 {
		f.base = deleteHorizon
		f.attributes |= attrDeleteHorizon
	}
	err := Records(b, maxDecompressed, func(r *Record) bool {
		if keep(r) {
			f.add(r)
		}
		return f.err == nil
	})
	switch {
	case err != nil:
		return nil, err
	case f.err != nil:
		return nil, f.err
	case f.count == b.Count() && f.base == b.BaseTimestamp() && f.attributes == b.Attributes():
		return b, nil
	case f.count == 0:
		return f.empty(), nil
	}
	return f.build()
}

// filter collects the records that stay.
type filter struct {
	b            Batch
	base         int64 // base timestamp, ms
	attributes   int16
	records      []byte
	count        int32
	maxTimestamp int64 // ms
	err          error
}

func (f *filter) add(r *Record) {
	delta := r.Timestamp - f.base
	if overflows(f.base, delta) {
		f.err = fmt.Errorf("%w: timestamp %d with base timestamp %d", ErrTimestamp, r.Timestamp, f.base)
		return
	}
	f.records = appendRecord(f.records, r, delta, int32(r.Offset-f.b.BaseOffset()))
	f.maxTimestamp = max(f.maxTimestamp, r.Timestamp)
	f.count++
}

func (f *filter) build() (Batch, error) {
	b, err := compress(bytes.Clone(f.b[:HeaderSize]), f.b.Codec(), f.records)
	if err != nil {
		return nil, err
	}
	if len(b)-LogOverhead > math.MaxInt32 {
		return nil, fmt.Errorf("%w: %d bytes of records", ErrInvalid, len(b))
	}
	if f.b.LogAppendTime() {
		f.maxTimestamp = f.b.MaxTimestamp()
	}
	return f.finish(b), nil
}

// empty is the batch without records: neither codec nor delete horizon mean anything
// any more, the max timestamp still does.
func (f *filter) empty() Batch {
	f.attributes &^= attrCodec | attrDeleteHorizon
	f.base, f.maxTimestamp = noTimestamp, f.b.MaxTimestamp()
	return f.finish(bytes.Clone(f.b[:HeaderSize]))
}

// finish writes what differs into b, which begins with the header of f.b.
func (f *filter) finish(b []byte) Batch {
	out := Batch(b)
	binary.BigEndian.PutUint32(out[posLength:], uint32(len(out)-LogOverhead))
	out.setAttributes(f.attributes)
	binary.BigEndian.PutUint64(out[posBaseTimestamp:], uint64(f.base))
	binary.BigEndian.PutUint64(out[posMaxTimestamp:], uint64(f.maxTimestamp))
	binary.BigEndian.PutUint32(out[posCount:], uint32(f.count))
	out.setCRC()
	return out
}
