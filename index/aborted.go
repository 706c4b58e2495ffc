package index

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// AbortedTxn is an entry of an aborted-transaction index (KIP-98).
type AbortedTxn struct {
	ProducerID       int64
	FirstOffset      int64
	LastOffset       int64 // of the abort marker
	LastStableOffset int64
}

// AbortedEntry is the size of one entry, in bytes.
const AbortedEntry = 2 + 4*8

// ErrAborted says that the bytes are not an aborted-transaction index.
var ErrAborted = errors.New("corrupt aborted transaction index")

// Append appends the entry.
func (a AbortedTxn) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, 0)
	dst = binary.BigEndian.AppendUint64(dst, uint64(a.ProducerID))
	dst = binary.BigEndian.AppendUint64(dst, uint64(a.FirstOffset))
	dst = binary.BigEndian.AppendUint64(dst, uint64(a.LastOffset))
	return binary.BigEndian.AppendUint64(dst, uint64(a.LastStableOffset))
}

// ParseAborted decodes an index. Where it meets an entry of another version, one out
// of order, or an incomplete one, it returns the entries before it and ErrAborted.
func ParseAborted(p []byte) ([]AbortedTxn, error) {
	var txns []AbortedTxn
	if len(p) >= AbortedEntry {
		txns = make([]AbortedTxn, 0, len(p)/AbortedEntry)
	}
	for last := int64(-1); len(p) > 0; p = p[AbortedEntry:] {
		if len(p) < AbortedEntry {
			return txns, fmt.Errorf("%w: %d bytes after the last entry", ErrAborted, len(p))
		}
		a := AbortedTxn{
			ProducerID:       int64(binary.BigEndian.Uint64(p[2:])),
			FirstOffset:      int64(binary.BigEndian.Uint64(p[10:])),
			LastOffset:       int64(binary.BigEndian.Uint64(p[18:])),
			LastStableOffset: int64(binary.BigEndian.Uint64(p[26:])),
		}
		if v := binary.BigEndian.Uint16(p); v != 0 {
			return txns, fmt.Errorf("%w: version %d", ErrAborted, v)
		}
		if a.FirstOffset < 0 || a.LastOffset < a.FirstOffset || a.LastOffset <= last {
			return txns, fmt.Errorf("%w: entry [%d, %d] after %d", ErrAborted, a.FirstOffset, a.LastOffset, last)
		}
		last = a.LastOffset
		txns = append(txns, a)
	}
	return txns, nil
}

// Overlapping appends to dst the transactions that overlap [from, to). done says that
// no later entry, of this index or of a later segment's, can overlap.
func Overlapping(dst, txns []AbortedTxn, from, to int64) (overlapping []AbortedTxn, done bool) {
	for _, t := range txns {
		if t.LastOffset >= from && t.FirstOffset < to {
			dst = append(dst, t)
		}
		if t.LastStableOffset >= to {
			return dst, true
		}
	}
	return dst, false
}
