package batch

import (
	"encoding/binary"
	"fmt"
)

// A control record says what it is in its key,
//
//	version  int16  0
//	type     int16  ControlType
//
// and that of a transaction's end has the value (KIP-98)
//
//	version            int16  0
//	coordinator epoch  int32
//
// A reader accepts later versions, which may only append fields.
const (
	controlKeySize  = 4
	markerValueSize = 6
)

// ControlType is what a control record means.
type ControlType int16

// The control types of partitions; types above belong to KRaft and are skipped by
// whoever does not know them.
const (
	ControlAbort  ControlType = 0
	ControlCommit ControlType = 1
)

// Marker is the record that ends a transaction in one partition.
type Marker struct {
	Commit           bool // false: abort
	CoordinatorEpoch int32
}

// Type is the marker's control type.
func (m Marker) Type() ControlType {
	if m.Commit {
		return ControlCommit
	}
	return ControlAbort
}

// Record encodes the marker. timestamp is in ms.
func (m Marker) Record(timestamp int64) Record {
	key := make([]byte, controlKeySize)
	binary.BigEndian.PutUint16(key[2:], uint16(m.Type()))
	value := make([]byte, markerValueSize)
	binary.BigEndian.PutUint32(value[2:], uint32(m.CoordinatorEpoch))
	return Record{Timestamp: timestamp, Key: key, Value: value}
}

// Build makes the control batch of one marker, as the leader of a partition writes it
// for the producer whose transaction ends. timestamp is in ms.
func (m Marker) Build(base int64, leaderEpoch int32, producerID int64, producerEpoch int16, timestamp int64) (Batch, error) {
	o := Builder{ProducerID: producerID, ProducerEpoch: producerEpoch, BaseSequence: -1, Transactional: true, Control: true}
	return o.Build(base, leaderEpoch, []Record{m.Record(timestamp)})
}

// ParseControlType reads what a control record's key says. It returns ErrInvalid for
// a key that is none.
func ParseControlType(key []byte) (ControlType, error) {
	if len(key) < controlKeySize {
		return 0, fmt.Errorf("%w: control record with a key of %d bytes", ErrInvalid, len(key))
	}
	if version := int16(binary.BigEndian.Uint16(key)); version < 0 {
		return 0, fmt.Errorf("%w: control record key of version %d", ErrInvalid, version)
	}
	return ControlType(binary.BigEndian.Uint16(key[2:])), nil
}

// ParseMarker reads the marker from a record of a control batch. It returns
// ErrInvalid where the record is not one.
func ParseMarker(r *Record) (Marker, error) {
	t, err := ParseControlType(r.Key)
	if err != nil {
		return Marker{}, err
	}
	if t != ControlCommit && t != ControlAbort {
		return Marker{}, fmt.Errorf("%w: control type %d does not end a transaction", ErrInvalid, t)
	}
	if len(r.Value) < markerValueSize {
		return Marker{}, fmt.Errorf("%w: transaction marker with a value of %d bytes", ErrInvalid, len(r.Value))
	}
	if version := int16(binary.BigEndian.Uint16(r.Value)); version < 0 {
		return Marker{}, fmt.Errorf("%w: transaction marker of version %d", ErrInvalid, version)
	}
	return Marker{Commit: t == ControlCommit, CoordinatorEpoch: int32(binary.BigEndian.Uint32(r.Value[2:]))}, nil
}

// ReadMarker returns the marker of a control batch.
func ReadMarker(b Batch) (m Marker, err error) {
	if !b.Control() || b.Count() != 1 || b.Codec() != None {
		return Marker{}, fmt.Errorf("%w: not a control batch of one record", ErrInvalid)
	}
	var parseErr error
	err = Records(b, 0, func(r *Record) bool {
		m, parseErr = ParseMarker(r)
		return true
	})
	if err == nil {
		err = parseErr
	}
	return m, err
}
