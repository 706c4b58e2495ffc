package txn

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/segment/batch"
)

// The records of __transaction_state. Strings of the key are an int16 length and bytes;
// the value is flexible: lengths are varints of length + 1, and tagged fields follow.
//
//	key    type              int16  0
//	       transactional id  string
//
//	value  version           int16  0 or 1, we write 1; 0 has no tags, and lengths of fixed size
//	       producer id       int64
//	       producer epoch    int16
//	       timeout           int32  ms
//	       state             int8
//	       topics            nullable array, null in state Empty, each:
//	         topic           string
//	         partitions      array of int32
//	       updated           int64  ms
//	       started           int64  ms
//	       tag 0: previous producer id  int64, 1: next producer id  int64,
//	           2: client's transaction version  int16, 3: next producer epoch  int16 (KIP-939)
const (
	keyTransaction = 0
	valueVersion   = 1
)

// ErrRecord is returned for a record that has our key and cannot be read.
var ErrRecord = errors.New("malformed transaction record")

// Record is what stores m for a transactional id; a tombstone in state Dead.
func Record(now int64, id string, m *Metadata) batch.Record {
	key := kmsg.TxnMetadataKey{Version: keyTransaction, TransactionalID: id}
	r := batch.Record{Timestamp: now, Key: key.AppendTo(nil)}
	if m.State != Dead {
		r.Value = m.value()
	}
	return r
}

func (m *Metadata) value() []byte {
	v := kmsg.TxnMetadataValue{
		Version:    valueVersion,
		ProducerID: m.ProducerID, ProducerEpoch: m.ProducerEpoch, TimeoutMillis: m.Timeout,
		State: kmsg.TransactionState(m.State), LastUpdateTimestamp: m.Updated, StartTimestamp: m.Started,
		PreviousProducerID: m.PrevProducerID, NextProducerID: m.NextProducerID,
		ClientTransactionVersion: int16(m.ClientVersion), NextProducerEpoch: None,
	}
	if m.State != Empty {
		v.Topics = []kmsg.TxnMetadataValueTopic{}
	}
	for _, tp := range m.Sorted() {
		if n := len(v.Topics); n == 0 || v.Topics[n-1].Topic != tp.Topic {
			v.Topics = append(v.Topics, kmsg.TxnMetadataValueTopic{Topic: tp.Topic})
		}
		t := &v.Topics[len(v.Topics)-1]
		t.Partitions = append(t.Partitions, tp.Partition)
	}
	return v.AppendTo(nil)
}

// Replay makes transactional ids from the records of one partition, in the order of the
// log.
type Replay map[string]*Transaction

// Record applies a record. Keys of other types are skipped; ErrRecord means that one of
// ours is damaged.
func (p Replay) Record(key, value []byte) error {
	if len(key) < 2 {
		return fmt.Errorf("%w: key of %d bytes", ErrRecord, len(key))
	}
	if binary.BigEndian.Uint16(key) != keyTransaction {
		return nil
	}
	var k kmsg.TxnMetadataKey
	if err := k.ReadFrom(key); err != nil {
		return fmt.Errorf("%w: key: %w", ErrRecord, err)
	}
	if value == nil {
		delete(p, k.TransactionalID)
		return nil
	}
	m, err := parse(value)
	if err != nil {
		return fmt.Errorf("value of %q: %w", k.TransactionalID, err)
	}
	p[k.TransactionalID] = &Transaction{id: k.TransactionalID, m: m}
	return nil
}

func parse(p []byte) (Metadata, error) {
	if len(p) < 2 || binary.BigEndian.Uint16(p) > valueVersion {
		return Metadata{}, fmt.Errorf("%w: %d bytes, or of a version that is not known", ErrRecord, len(p))
	}
	var v kmsg.TxnMetadataValue
	if err := v.ReadFrom(p); err != nil {
		return Metadata{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	m := Metadata{
		ProducerID: v.ProducerID, PrevProducerID: v.PreviousProducerID, NextProducerID: v.NextProducerID,
		ProducerEpoch: v.ProducerEpoch, LastEpoch: None, Timeout: v.TimeoutMillis, State: State(v.State),
		Started: v.StartTimestamp, Updated: v.LastUpdateTimestamp, ClientVersion: Version(v.ClientTransactionVersion),
	}
	if m.State < Empty || m.State > CompleteAbort {
		return Metadata{}, fmt.Errorf("%w: state %d is never stored", ErrRecord, v.State)
	}
	if m.ProducerID < 0 || m.ProducerEpoch < 0 {
		return Metadata{}, fmt.Errorf("%w: producer %d, epoch %d", ErrRecord, m.ProducerID, m.ProducerEpoch)
	}
	if m.State == Empty {
		return m, nil
	}
	m.Partitions = map[Partition]struct{}{}
	for _, t := range v.Topics {
		for _, partition := range t.Partitions {
			m.Partitions[Partition{t.Topic, partition}] = struct{}{}
		}
	}
	return m, nil
}
