package broker

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varvelog/varve/broker/coordinator"
	"github.com/varvelog/varve/broker/partition"
	"github.com/varvelog/varve/segment/batch"
)

// coordinatorLog is a partition of an internal topic as its coordinator sees it, and any
// partition as markers of transactions do.
type coordinatorLog struct{ *partition.Partition }

// Append implements coordinator.Log.
func (l coordinatorLog) Append(leaderEpoch int32, w coordinator.Write) (func(context.Context) error, error) {
	b, err := w.Build(0, leaderEpoch, w.Records)
	if err != nil {
		return nil, err
	}
	a, err := l.AppendAsLeader(partition.Append{
		Records: b, Acks: -1, LeaderEpoch: leaderEpoch, Internal: true,
		Guard: partition.Guard(w.Guard), TransactionVersion: w.TransactionVersion,
	})
	if err != nil {
		return nil, coordinatorError(err)
	}
	return func(ctx context.Context) error { return coordinatorError(l.Wait(ctx, a)) }, nil
}

// coordinatorError makes an error of a partition one that the coordinator knows.
func coordinatorError(err error) error {
	for _, lost := range []error{partition.ErrNotLeader, partition.ErrFencedEpoch, partition.ErrClosed, partition.ErrStorage} {
		if errors.Is(err, lost) {
			return errors.Join(coordinator.ErrNotLeader, err)
		}
	}
	for _, said := range []struct{ err, as error }{
		{partition.ErrMessageTooLarge, coordinator.ErrTooLarge},
		{partition.ErrInvalidProducerEpoch, kerr.InvalidProducerEpoch},
		{partition.ErrInvalidTxnState, kerr.InvalidTxnState},
		{partition.ErrCoordinatorFenced, kerr.TransactionCoordinatorFenced},
	} {
		if errors.Is(err, said.err) {
			return errors.Join(said.as, err)
		}
	}
	return err
}

// Scan implements coordinator.Log. With one broker every record that a restart finds
// is committed once it is flushed, so waiting for the end of the log is a flush.
func (l coordinatorLog) Scan(ctx context.Context, yield func(batch.Batch) error) error {
	o := l.Offsets()
	if err := l.WaitCommitted(ctx, o.End); err != nil {
		return coordinatorError(err)
	}
	return coordinatorError(l.Partition.Scan(ctx, o.LogStart, yield))
}
