package broker

import (
	"context"

	"github.com/varvelog/varve/broker/api"
	"github.com/varvelog/varve/broker/coordinator"
)

// newShares makes the share coordinator. Share partitions are spread over as many
// partitions as __share_group_state has, whatever
// share.coordinator.state.topic.num.partitions says by now.
func (b *Broker) newShares() *coordinator.Shares {
	c := b.config().Shares
	partitions := c.Partitions
	if t, ok := b.store.Image().Topic(api.ShareTopic); ok {
		partitions = int32(len(t.Partitions))
	}
	return coordinator.NewShares(coordinator.ShareOptions{
		Partitions: partitions, Now: b.steadyNow, Metadata: coordinator.NewTopics(b.store.Image).Metadata,
		UpdatesPerSnapshot: c.UpdatesPerSnapshot, Cold: c.Cold, Prune: c.Prune,
	})
}

// End implements coordinator.PrunableLog.
func (l coordinatorLog) End() int64 { return l.Offsets().End }

// DeleteBefore implements coordinator.PrunableLog.
func (l coordinatorLog) DeleteBefore(ctx context.Context, offset int64) error {
	_, err := l.DeleteRecords(ctx, offset)
	return coordinatorError(err)
}
