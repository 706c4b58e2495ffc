// Package segment is the log of one replica on one disk: Kafka's directory layout
// and file formats, byte for byte. It appends, reads, rolls, seals, flushes and
// recovers; it knows nothing of leaders, groups or buckets.
//
//	<log dir>/meta.properties                     cluster, node and directory id
//	          recovery-point-offset-checkpoint    flushed ends, per partition
//	          log-start-offset-checkpoint         log starts, where not a segment's base
//	          cleaner-offset-checkpoint           where the part begins that is not compacted yet
//	          .lock .kafka_cleanshutdown
//	          <topic>-<partition>/partition.metadata        topic id
//	                              leader-epoch-checkpoint   where each epoch begins
//	                              <base offset>.log         record batches
//	                              <base offset>.index       offset -> position
//	                              <base offset>.timeindex   timestamp -> offset
//	                              <base offset>.txnindex    aborted transactions
//	                              <offset>.snapshot         producers as of offset
//	                              *.cleaned *.swap          of a compaction under way (swap.go)
//	                              *.deleted                 to be unlinked (remove.go)
//
// What always holds: a log is one run of batches whose offsets ascend; what recovery
// keeps is a prefix of what was appended, and everything below FlushedEnd is in it.
// After a failed write or sync a log refuses everything until it is opened anew; a full
// disk it merely refuses to append to. See failure.go.
//
// Locks, in the order they are taken: Log.removing (whoever removes or replaces
// segments), Log.mu (one appender), segment.mu (its open
// files and index tail), Log.pub (what readers and the committer see), Committer.mu.
package segment

import (
	"errors"
	"fmt"
)

// TopicID is a topic's unique id (KIP-516).
type TopicID [16]byte

// Errors that callers choose by.
var (
	// ErrOutOfRange: the offset lies below the local log start or above the bound.
	ErrOutOfRange = errors.New("offset out of range")
	// ErrFailed: an earlier write or sync failed; reopen the log.
	ErrFailed = errors.New("log has failed")
	// ErrNoSpace: the disk is full. Nothing has changed, and the log goes on.
	ErrNoSpace = errors.New("log directory is full")
	// ErrClosed: the log was closed or deleted.
	ErrClosed = errors.New("log is closed")
	// ErrForeign: the directory belongs to another cluster or broker, or the log to
	// another topic of the same name.
	ErrForeign = errors.New("log directory belongs to another broker or cluster")
	// ErrOutOfOrder: appended batches do not follow the log end, or one another.
	ErrOutOfOrder = errors.New("record batches are out of order")
)

// CorruptError tells what is wrong with which file.
type CorruptError struct {
	Path     string
	Position int64 // bytes, -1: the file as a whole
	Reason   string
}

func (e *CorruptError) Error() string {
	if e.Position < 0 {
		return fmt.Sprintf("%s: %s", e.Path, e.Reason)
	}
	return fmt.Sprintf("%s at position %d: %s", e.Path, e.Position, e.Reason)
}
