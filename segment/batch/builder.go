package batch

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Builder makes a batch from records: for internal topics, markers and tests. Beware
// that the zero Builder names producer id 0; NoProducer names none.
type Builder struct {
	Codec         Codec
	ProducerID    int64 // -1: none; also epoch and sequence
	ProducerEpoch int16
	BaseSequence  int32
	Transactional bool
	Control       bool
	LogAppendTime int64 // ms: stamps every record, with the timestamp type bit; 0: the records' own
	DeleteHorizon int64 // ms: becomes the base timestamp (KIP-534); 0: none
}

// NoProducer is the Builder of plain records: no codec, no producer.
var NoProducer = Builder{ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1}

// Build encodes records (offsets are deltas from base, 0..n-1) into one batch with
// CRC. The batch is the caller's. It returns ErrInvalid for no records or for more
// than a batch can hold, ErrTimestamp for timestamps too far apart to be encoded, and
// ErrCompression for a codec that does not exist.
func (o Builder) Build(base int64, leaderEpoch int32, records []Record) (Batch, error) {
	if len(records) == 0 || len(records) > math.MaxInt32 {
		return nil, fmt.Errorf("%w: %d records", ErrInvalid, len(records))
	}
	baseTimestamp := records[0].Timestamp
	if o.DeleteHorizon != 0 {
		baseTimestamp = o.DeleteHorizon
	}
	b := make(Batch, HeaderSize, HeaderSize+sizeHint(records))
	maxTimestamp := records[0].Timestamp
	for i := range records {
		r := &records[i]
		delta := r.Timestamp - baseTimestamp
		if overflows(baseTimestamp, delta) {
			return nil, fmt.Errorf("%w: record %d: timestamp %d with base timestamp %d", ErrTimestamp, i, r.Timestamp, baseTimestamp)
		}
		maxTimestamp = max(maxTimestamp, r.Timestamp)
		b = appendRecord(b, r, delta, int32(i))
	}
	if o.LogAppendTime != 0 {
		maxTimestamp = o.LogAppendTime
	}
	if o.Codec != None {
		var err error
		header := make(Batch, HeaderSize, HeaderSize+len(b)/2)
		if b, err = compress(header, o.Codec, UsualLevel, b[HeaderSize:]); err != nil {
			return nil, err
		}
	}
	if len(b)-LogOverhead > math.MaxInt32 {
		return nil, fmt.Errorf("%w: %d bytes of records", ErrInvalid, len(b))
	}
	o.putHeader(b, int32(len(records)), baseTimestamp, maxTimestamp)
	b.Assign(base, leaderEpoch)
	b.setCRC()
	return b, nil
}

// putHeader writes all of the header but what Assign and setCRC write.
func (o Builder) putHeader(b Batch, count int32, baseTimestamp, maxTimestamp int64) {
	binary.BigEndian.PutUint32(b[posLength:], uint32(len(b)-LogOverhead))
	b[posMagic] = Magic
	b.setAttributes(o.attributes())
	binary.BigEndian.PutUint32(b[posLastOffsetDelta:], uint32(count-1))
	binary.BigEndian.PutUint64(b[posBaseTimestamp:], uint64(baseTimestamp))
	binary.BigEndian.PutUint64(b[posMaxTimestamp:], uint64(maxTimestamp))
	binary.BigEndian.PutUint64(b[posProducerID:], uint64(o.ProducerID))
	binary.BigEndian.PutUint16(b[posProducerEpoch:], uint16(o.ProducerEpoch))
	binary.BigEndian.PutUint32(b[posBaseSequence:], uint32(o.BaseSequence))
	binary.BigEndian.PutUint32(b[posCount:], uint32(count))
}

func (o Builder) attributes() int16 {
	a := int16(o.Codec)
	for _, bit := range []struct {
		set  bool
		attr int16
	}{
		{o.LogAppendTime != 0, attrLogAppendTime},
		{o.Transactional, attrTransactional},
		{o.Control, attrControl},
		{o.DeleteHorizon != 0, attrDeleteHorizon},
	} {
		if bit.set {
			a |= bit.attr
		}
	}
	return a
}

// sizeHint is about what records take when encoded, in bytes.
func sizeHint(records []Record) int {
	const overhead = 16
	size := 0
	for i := range records {
		r := &records[i]
		size += overhead + len(r.Key) + len(r.Value)
		for j := range r.Headers {
			size += 4 + len(r.Headers[j].Key) + len(r.Headers[j].Value)
		}
	}
	return size
}
