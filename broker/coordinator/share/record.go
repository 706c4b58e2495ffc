package share

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kbin"

	"github.com/varvelog/varve/segment/batch"
)

// The records of __share_group_state. The string of a key is an int16 length and bytes;
// values are flexible: the count of an array is a varint of count + 1, and tagged fields
// follow each structure.
//
//	key       type            int16  0: snapshot, 1: update
//	          group id        string
//	          topic id        uuid
//	          partition       int32
//
//	snapshot  version         int16  0
//	          snapshot epoch  int32
//	          state epoch     int32
//	          leader epoch    int32
//	          start offset    int64  -1: not known
//	          created         int64  ms
//	          written         int64  ms
//	          batches         array
//	          tag 0: delivery complete count  int32, left out where it is -1
//
//	update    version         int16  0
//	          snapshot epoch  int32
//	          leader epoch    int32
//	          start offset    int64  -1: as before
//	          batches         array
//	          tag 0: delivery complete count  int32, left out where it is -1
//
//	batch     first, last     int64
//	          state           int8
//	          count           int16
const (
	snapshotType = 0
	updateType   = 1

	valueVersion  = 0
	completeTag   = 0
	completeBytes = 4
)

// ErrRecord is returned for a record that has a key of ours and cannot be read.
var ErrRecord = errors.New("malformed share state record")

func key(kind int16, k Key) []byte {
	p := kbin.AppendInt16(nil, kind)
	p = kbin.AppendString(p, k.Group)
	p = kbin.AppendUuid(p, k.Topic)
	return kbin.AppendInt32(p, k.Partition)
}

func snapshot(now int64, k Key, s *State) []batch.Record {
	v := kbin.AppendInt16(nil, valueVersion)
	v = kbin.AppendInt32(v, s.SnapshotEpoch)
	v = kbin.AppendInt32(v, s.StateEpoch)
	v = kbin.AppendInt32(v, s.LeaderEpoch)
	v = kbin.AppendInt64(v, s.StartOffset)
	v = kbin.AppendInt64(v, s.Created)
	v = kbin.AppendInt64(v, s.Written)
	v = appendBatches(v, s.Batches, s.DeliveryComplete)
	return []batch.Record{{Timestamp: now, Key: key(snapshotType, k), Value: v}}
}

func update(now int64, k Key, snapshotEpoch int32, u Update) []batch.Record {
	v := kbin.AppendInt16(nil, valueVersion)
	v = kbin.AppendInt32(v, snapshotEpoch)
	v = kbin.AppendInt32(v, u.LeaderEpoch)
	v = kbin.AppendInt64(v, u.StartOffset)
	v = appendBatches(v, u.Batches, u.DeliveryComplete)
	return []batch.Record{{Timestamp: now, Key: key(updateType, k), Value: v}}
}

// appendBatches is the end that both values have.
func appendBatches(p []byte, batches []Batch, complete int32) []byte {
	p = kbin.AppendCompactArrayLen(p, len(batches))
	for _, b := range batches {
		p = kbin.AppendInt64(p, b.First)
		p = kbin.AppendInt64(p, b.Last)
		p = kbin.AppendInt8(p, b.DeliveryState)
		p = kbin.AppendInt16(p, b.DeliveryCount)
		p = kbin.AppendUvarint(p, 0)
	}
	if complete == None {
		return kbin.AppendUvarint(p, 0)
	}
	p = kbin.AppendUvarint(p, 1)
	p = kbin.AppendUvarint(p, completeTag)
	p = kbin.AppendUvarint(p, completeBytes)
	return kbin.AppendInt32(p, complete)
}

// Replay makes share partitions from the records of one partition, in the order of the
// log.
type Replay map[Key]*State

// Record applies a record and tells which share partition it is about and whether it was
// a snapshot of it, or its end. Keys of other types are skipped: ours is false. An update
// without the snapshot it is of is skipped too: that lay before the log's start, and so
// its share partition was deleted. ErrRecord means that one of ours is damaged.
func (p Replay) Record(recordKey, value []byte) (k Key, snapshot, ours bool, err error) {
	if len(recordKey) < 2 {
		return k, false, false, fmt.Errorf("%w: key of %d bytes", ErrRecord, len(recordKey))
	}
	kind := int16(binary.BigEndian.Uint16(recordKey))
	if kind != snapshotType && kind != updateType {
		return k, false, false, nil
	}
	if k, err = parseKey(recordKey[2:]); err != nil {
		return k, false, false, err
	}
	switch {
	case kind == snapshotType && value == nil:
		delete(p, k)
	case kind == snapshotType:
		s, err := parseSnapshot(value)
		if err != nil {
			return k, false, false, fmt.Errorf("snapshot of %v: %w", k, err)
		}
		s.Leaders, s.Groups = s.LeaderEpoch, s.StateEpoch
		if before := p[k]; before != nil {
			s.Leaders, s.Groups = max(before.Leaders, s.Leaders), max(before.Groups, s.Groups)
		}
		p[k] = s
	case value != nil:
		u, err := parseUpdate(value)
		if err != nil {
			return k, false, false, fmt.Errorf("update of %v: %w", k, err)
		}
		if s := p[k]; s != nil {
			p[k] = s.apply(u)
		}
	}
	return k, kind == snapshotType, true, nil
}

func parseKey(p []byte) (k Key, err error) {
	r := kbin.Reader{Src: p}
	k = Key{Group: r.String(), Topic: r.Uuid(), Partition: r.Int32()}
	if !r.Ok() || len(r.Src) > 0 || k.Partition < 0 {
		return k, fmt.Errorf("%w: key of %d bytes", ErrRecord, len(p)+2)
	}
	return k, nil
}

func parseSnapshot(p []byte) (*State, error) {
	r, err := versioned(p)
	if err != nil {
		return nil, err
	}
	s := &State{SnapshotEpoch: r.Int32(), StateEpoch: r.Int32(), LeaderEpoch: r.Int32(), StartOffset: r.Int64(), Created: r.Int64(), Written: r.Int64()}
	batches, complete, err := parseBatches(r)
	s.Batches, s.DeliveryComplete = Combine(s.StartOffset, batches), complete
	return s, err
}

func parseUpdate(p []byte) (u Update, err error) {
	r, err := versioned(p)
	if err != nil {
		return u, err
	}
	r.Int32() // snapshot epoch: it is of the snapshot before
	u.StateEpoch, u.LeaderEpoch, u.StartOffset = None, r.Int32(), r.Int64()
	u.Batches, u.DeliveryComplete, err = parseBatches(r)
	return u, err
}

// versioned begins to read a value.
func versioned(p []byte) (*kbin.Reader, error) {
	r := &kbin.Reader{Src: p}
	if version := r.Int16(); !r.Ok() || version != valueVersion {
		return nil, fmt.Errorf("%w: %d bytes, or of a version that is not known", ErrRecord, len(p))
	}
	return r, nil
}

// parseBatches reads the end that both values have. A count is believed one batch at a
// time.
func parseBatches(r *kbin.Reader) (batches []Batch, complete int32, err error) {
	for n := r.CompactArrayLen(); n > 0 && r.Ok(); n-- {
		b := Batch{First: r.Int64(), Last: r.Int64(), DeliveryState: r.Int8(), DeliveryCount: r.Int16()}
		skipTags(r, nil)
		if r.Ok() && b.Last < b.First {
			return nil, None, fmt.Errorf("%w: a batch from %d to %d", ErrRecord, b.First, b.Last)
		}
		batches = append(batches, b)
	}
	complete = None
	skipTags(r, func(field *kbin.Reader) { complete = field.Int32() })
	if !r.Ok() || len(r.Src) > 0 {
		return nil, None, fmt.Errorf("%w: value cut short, or with bytes left", ErrRecord)
	}
	return batches, complete, nil
}

// skipTags reads tagged fields: the one of tag 0 by zero, where that is given.
func skipTags(r *kbin.Reader, zero func(*kbin.Reader)) {
	for n := r.Uvarint(); n > 0 && r.Ok(); n-- {
		tag, size := r.Uvarint(), r.Uvarint()
		if size > uint32(len(r.Src)) {
			r.Span(len(r.Src) + 1) // makes r bad
			return
		}
		field := kbin.Reader{Src: r.Span(int(size))}
		if tag != completeTag || zero == nil {
			continue
		}
		if zero(&field); !field.Ok() {
			r.Span(len(r.Src) + 1)
		}
	}
}

// IsSnapshot tells of a key that Step.Records has whether it is a snapshot's, or the end
// of a share partition.
func IsSnapshot(key []byte) bool { return binary.BigEndian.Uint16(key) == snapshotType }
