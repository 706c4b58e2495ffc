package broker

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/varvelog/varve/broker/partition"
	"github.com/varvelog/varve/broker/share"
)

// newShareGroups makes the side of share groups that leads partitions.
func (b *Broker) newShareGroups() *share.Manager {
	return share.NewManager(share.Options{
		Persister: b.shares, Settings: b.shareRecordSettings, Now: b.steadyNow, Wall: b.Now,
		Sessions: func() int { return b.config().ShareRecords.Sessions },
	})
}

// shareRecordSettings are how records are delivered to a share group (KIP-932).
func (b *Broker) shareRecordSettings(groupID string) share.Settings {
	c := b.config().Group(b.store.Image().GroupConfigs(groupID)).ShareRecords
	s := share.Settings{
		LockDuration: c.LockDuration, DeliveryLimit: int16(c.DeliveryLimit), MaxLocks: int64(c.MaxLocks),
		Isolation: partition.ReadUncommitted, Renew: c.Renew == "true",
	}
	if c.ReadCommitted() {
		s.Isolation = partition.ReadCommitted
	}
	s.Reset.Earliest, s.Reset.By = c.Reset()
	return s
}

// lockCheck is how late the lock of a record may be taken from a member of a share group.
const lockCheck = 100 * time.Millisecond

// expireLocks gives back the records that members of share groups have held for too long.
func (b *Broker) expireLocks(ctx context.Context) {
	if err := b.shareGroups.Expire(); err != nil && ctx.Err() == nil {
		b.Log.Warn("what share groups have given back is not stored", zap.Error(err))
	}
}
