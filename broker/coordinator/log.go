package coordinator

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varvelog/varve/segment/batch"
)

// Log is one partition of an internal topic of which this broker is the leader.
//
// Errors that wrap ErrNotLeader or ErrTooLarge are answered as such, those that wrap an
// error of the protocol as that; any other one is COORDINATOR_NOT_AVAILABLE.
type Log interface {
	// Append writes one batch, fenced by the leader epoch the coordinator was loaded in,
	// and returns at once; wait returns when it is committed, or the error that keeps it
	// from being known to be, or when its ctx ends.
	Append(leaderEpoch int32, w Write) (wait func(context.Context) error, err error)
	// Scan reads all batches up to the end that the log had when this broker became its
	// leader, and waits until that end is committed: what an earlier leader wrote above
	// the high watermark may still become so and must not be missed. The batch is valid
	// during the call of yield; an error of yield ends the scan and is returned.
	Scan(ctx context.Context, yield func(batch.Batch) error) error
}

// Write is one batch: records of no producer, records of a transaction, or the marker
// that ends one.
type Write struct {
	batch.Builder
	Records []batch.Record
	// TransactionVersion is the marker's: it says how the epoch is checked (KIP-1228).
	TransactionVersion int16
	// Guard is what records of a transaction have to show (KIP-890); 0: nothing.
	Guard int64
}

// Errors of a Log that members are told of, and of Load.
var (
	ErrNotLeader  = errors.New("not the leader of this partition in this epoch")    // NOT_COORDINATOR
	ErrTooLarge   = errors.New("records larger than the topic's max.message.bytes") // UNKNOWN_SERVER_ERROR
	ErrStaleEpoch = errors.New("leader epoch is not later than the one loaded")
	ErrUnloaded   = errors.New("partition was unloaded meanwhile")
)

// errorCode is what requests answer whose records met err.
func errorCode(err error) int16 {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrNotLeader), errors.Is(err, ErrUnloaded):
		return kerr.NotCoordinator.Code
	case errors.Is(err, ErrTooLarge):
		return kerr.UnknownServerError.Code
	}
	if k := new(kerr.Error); errors.As(err, &k) {
		return k.Code
	}
	return kerr.CoordinatorNotAvailable.Code
}
