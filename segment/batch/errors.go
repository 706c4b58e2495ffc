package batch

import (
	"errors"
	"fmt"
)

// Errors of parsing and validation; what is returned wraps one of them with the
// reason. api maps each to one protocol code.
var (
	ErrTruncated   = errors.New("record batch is cut short")           // CORRUPT_MESSAGE
	ErrCorrupt     = errors.New("corrupt record batch")                // CORRUPT_MESSAGE
	ErrMagic       = errors.New("record batch has an old magic")       // UNSUPPORTED_FOR_MESSAGE_FORMAT
	ErrInvalid     = errors.New("invalid record batch")                // INVALID_RECORD
	ErrTimestamp   = errors.New("record timestamp out of range")       // INVALID_TIMESTAMP
	ErrCompression = errors.New("unsupported compression type")        // UNSUPPORTED_COMPRESSION_TYPE
	ErrTooLarge    = errors.New("record batch decompresses too large") // MESSAGE_TOO_LARGE
)

// RecordErrors says which records of a batch break a rule of the topic although each is
// well formed, so that a client can send the others again (KIP-467). It wraps
// ErrTimestamp where a timestamp is out of range, else ErrInvalid.
type RecordErrors struct {
	Unkeyed  []int32 // index in the batch, ascending: no key on a compacted topic
	Mistimed []int32 // the same: a timestamp outside of [Oldest, Newest]

	Oldest, Newest int64 // ms, inclusive
}

func (e *RecordErrors) add(i int32, fault error) {
	if errors.Is(fault, errMistimed) {
		e.Mistimed = append(e.Mistimed, i)
	} else {
		e.Unkeyed = append(e.Unkeyed, i)
	}
}

func (e *RecordErrors) Error() string {
	if n := len(e.Mistimed); n > 0 {
		return fmt.Sprintf("%v: %d of the batch, the first is record %d: not within [%d, %d]", ErrTimestamp, n, e.Mistimed[0], e.Oldest, e.Newest)
	}
	return fmt.Sprintf("%v: %d records without key, the first is record %d: a compacted topic does not accept them", ErrInvalid, len(e.Unkeyed), e.Unkeyed[0])
}

// Unwrap lets the error be classified as Kafka does: a wrong timestamp goes first.
func (e *RecordErrors) Unwrap() error {
	if len(e.Mistimed) > 0 {
		return ErrTimestamp
	}
	return ErrInvalid
}
