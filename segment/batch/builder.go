package batch

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Builder makes a batch from records: for internal topics, markers and tests.
type Builder struct {
	Codec         Codec
	ProducerID    int64 // -1: none; also epoch and sequence
	ProducerEpoch int16
	BaseSequence  int32
	Transactional bool
	Control       bool
}

// Build encodes records (offsets are deltas from base, 0..n-1) into one batch with CRC.
func (o Builder) Build(base int64, leaderEpoch int32, records []Record) (Batch, error) {
	if len(records) == 0 || len(records) > math.MaxInt32 {
		return nil, fmt.Errorf("%w: %d records", ErrInvalid, len(records))
	}
	b := Batch(make([]byte, HeaderSize, HeaderSize+64*len(records)))
	baseTimestamp, maxTimestamp := records[0].Timestamp, records[0].Timestamp
	for i := range records {
		r := &records[i]
		maxTimestamp = max(maxTimestamp, r.Timestamp)
		b = appendRecord(b, r, r.Timestamp-baseTimestamp, int32(i))
	}
	b.Assign(base, leaderEpoch)
	binary.BigEndian.PutUint32(b[posLength:], uint32(len(b)-LogOverhead))
	b[posMagic] = Magic
	attributes := int16(o.Codec)
	if o.Transactional {
		attributes |= attrTransactional
	}
	if o.Control {
		attributes |= attrControl
	}
	b.setAttributes(attributes)
	binary.BigEndian.PutUint32(b[posLastOffsetDelta:], uint32(len(records)-1))
	binary.BigEndian.PutUint64(b[posBaseTimestamp:], uint64(baseTimestamp))
	binary.BigEndian.PutUint64(b[posMaxTimestamp:], uint64(maxTimestamp))
	binary.BigEndian.PutUint64(b[posProducerID:], uint64(o.ProducerID))
	binary.BigEndian.PutUint16(b[posProducerEpoch:], uint16(o.ProducerEpoch))
	binary.BigEndian.PutUint32(b[posBaseSequence:], uint32(o.BaseSequence))
	binary.BigEndian.PutUint32(b[posCount:], uint32(len(records)))
	b.setCRC()
	return b, nil
}
