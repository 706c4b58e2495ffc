package broker

import (
	"context"
	"errors"

	"github.com/varvelog/varve/broker/coordinator"
	"github.com/varvelog/varve/broker/partition"
	"github.com/varvelog/varve/segment/batch"
)

// groupsLog is a partition of __consumer_offsets as the group coordinator sees it.
type groupsLog struct{ *partition.Partition }

// Append implements coordinator.Log.
func (l groupsLog) Append(leaderEpoch int32, w coordinator.Write) (func(context.Context) error, error) {
	b, err := w.Build(0, leaderEpoch, w.Records)
	if err != nil {
		return nil, err
	}
	a, err := l.AppendAsLeader(partition.Append{Records: b, Acks: -1, LeaderEpoch: leaderEpoch, Internal: true})
	if err != nil {
		return nil, groupsError(err)
	}
	return func(ctx context.Context) error { return groupsError(l.Wait(ctx, a)) }, nil
}

// groupsError makes an error of a partition one that the coordinator knows.
func groupsError(err error) error {
	for _, lost := range []error{partition.ErrNotLeader, partition.ErrFencedEpoch, partition.ErrClosed, partition.ErrStorage} {
		if errors.Is(err, lost) {
			return errors.Join(coordinator.ErrNotLeader, err)
		}
	}
	if errors.Is(err, partition.ErrMessageTooLarge) {
		return errors.Join(coordinator.ErrTooLarge, err)
	}
	return err
}

// Scan implements coordinator.Log. With one broker every record that a restart finds
// is committed once it is flushed, so waiting for the end of the log is a flush.
func (l groupsLog) Scan(ctx context.Context, yield func(batch.Batch) error) error {
	o := l.Offsets()
	if err := l.WaitCommitted(ctx, o.End); err != nil {
		return groupsError(err)
	}
	return groupsError(l.Partition.Scan(ctx, o.LogStart, yield))
}
