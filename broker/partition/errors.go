package partition

import (
	"errors"
	"fmt"

	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/tiering"
)

// Errors that api maps to protocol codes, one each. Errors of package batch
// (validation) pass through as they are.
var (
	ErrNotLeader            = errors.New("not the leader of this partition")           // NOT_LEADER_OR_FOLLOWER
	ErrFencedEpoch          = errors.New("leader epoch is older than the partition's") // FENCED_LEADER_EPOCH
	ErrUnknownEpoch         = errors.New("leader epoch is newer than the partition's") // UNKNOWN_LEADER_EPOCH
	ErrOffsetOutOfRange     = errors.New("offset out of range")
	ErrOffsetNotAvailable   = errors.New("high watermark has not reached the leader's epoch yet") // OFFSET_NOT_AVAILABLE
	ErrNotEnoughReplicas    = errors.New("not enough in-sync replicas")
	ErrOutOfOrderSequence   = errors.New("out of order sequence number")
	ErrInvalidProducerEpoch = errors.New("producer epoch is older than the current one")
	ErrInvalidTxnState      = errors.New("batch outside of the producer's open transaction")  // INVALID_TXN_STATE
	ErrCoordinatorFenced    = errors.New("transaction marker of an older coordinator")        // TRANSACTION_COORDINATOR_FENCED
	ErrPolicy               = errors.New("cleanup.policy does not allow to delete records")   // POLICY_VIOLATION
	ErrMessageTooLarge      = errors.New("record batch larger than max.message.bytes")        // MESSAGE_TOO_LARGE
	ErrStorage              = errors.New("log has failed")                                    // KAFKA_STORAGE_ERROR
	ErrCorrupt              = errors.New("records on disk are damaged")                       // CORRUPT_MESSAGE
	ErrClosed               = errors.New("partition is closed")                               // NOT_LEADER_OR_FOLLOWER
	ErrRemote               = errors.New("tiered records cannot be read or changed just now") // KAFKA_STORAGE_ERROR, to be retried

	// ErrUnknownProducerID and ErrDuplicateSequence are Kafka's for producers before
	// KIP-360; a partition answers ErrOutOfOrderSequence in their place.
	ErrUnknownProducerID = errors.New("unknown producer id")
	ErrDuplicateSequence = errors.New("duplicate sequence number")
)

// logError says what an error of the log means for a request.
func logError(err error) error {
	var damage *segment.CorruptError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &damage):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	case errors.Is(err, segment.ErrClosed):
		return fmt.Errorf("%w: %w", ErrClosed, err)
	case errors.Is(err, segment.ErrOutOfRange):
		return fmt.Errorf("%w: %w", ErrOffsetOutOfRange, err)
	default:
		return fmt.Errorf("%w: %w", ErrStorage, err)
	}
}

// remoteError says what an error of the remote log means for a request.
func remoteError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, tiering.ErrFenced), errors.Is(err, tiering.ErrNotLeading):
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	case errors.Is(err, segment.ErrOutOfRange):
		return fmt.Errorf("%w: %w", ErrOffsetOutOfRange, err)
	default:
		return fmt.Errorf("%w: %w", ErrRemote, err)
	}
}
