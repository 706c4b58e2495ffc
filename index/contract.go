// Package index holds Kafka's three segment indexes as plain bytes: offset
// (.index, 8-byte entries {relative offset int32, position int32}), time
// (.timeindex, 12-byte entries {timestamp int64, relative offset int32}) and
// aborted transactions (.txnindex, 34-byte entries, version 0). All integers are
// big-endian. It knows no files: look-ups take an io.ReaderAt with its size, and
// appenders return bytes, so that the same code serves an index that still grows in
// memory, a sealed file and a footer read from the bucket.
package index

import "io"

// Position is an entry of an offset index: the batch that holds Offset begins at or
// before Position (bytes) in the log file.
type Position struct {
	Offset   int64
	Position int64
}

// Time is an entry of a time index: no record before Offset has a timestamp larger
// than Timestamp (ms).
type Time struct {
	Timestamp int64
	Offset    int64
}

// AbortedTxn is an entry of an aborted-transaction index (KIP-98).
type AbortedTxn struct {
	ProducerID       int64
	FirstOffset      int64
	LastOffset       int64 // of the abort marker
	LastStableOffset int64
}

// Offsets is an offset index of a segment that begins at Base.
type Offsets struct {
	Base int64
	R    io.ReaderAt
	Size int64 // bytes
}

// Floor returns the entry with the largest offset <= offset, or {Base, 0}.
func (o Offsets) Floor(offset int64) (Position, error) { panic("unbuilt") }

// Times is a time index of a segment that begins at Base.
type Times struct {
	Base int64
	R    io.ReaderAt
	Size int64 // bytes
}

// Floor returns the entry with the largest timestamp < ts, or {-1, Base}.
func (t Times) Floor(ts int64) (Time, error) { panic("unbuilt") }
