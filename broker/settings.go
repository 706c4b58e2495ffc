package broker

import (
	"sync"

	"go.uber.org/zap"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/coordinator/group"
	"github.com/varvelog/varve/broker/wire"
)

// wireOptions are the limits of sockets.
func (b *Broker) wireOptions() wire.Options {
	c := b.config()
	return wire.Options{
		MaxRequestBytes: c.SocketRequestMaxBytes, MaxInFlightBytes: c.QueuedMaxRequestBytes,
		MaxIdle: c.ConnectionsMaxIdle, ShutdownTimeout: c.ShutdownTimeout,
		MaxConnections: c.MaxConnections, MaxConnectionsPerIP: c.MaxConnectionsPerIP, MaxConnectionRate: c.MaxConnectionRate,
		ConnectionOverrides: c.ConnectionOverrides,
		SendBuffer:          c.SocketSendBufferBytes, ReceiveBuffer: c.SocketReceiveBufferBytes,
		AdmitConnection: b.admitConnection,
		Logger:          b.Log,
	}
}

// consumerSettings are those of a group of the consumer protocol (KIP-848).
func (b *Broker) consumerSettings(groupID string) group.Settings {
	c := b.config().Group(b.store.Image().GroupConfigs(groupID)).Consumer
	return group.Settings{
		SessionTimeout: c.SessionTimeout.Milliseconds(), HeartbeatInterval: c.HeartbeatInterval.Milliseconds(),
		AssignmentInterval: c.AssignmentInterval.Milliseconds(), RegexRefresh: c.RegexRefreshInterval.Milliseconds(),
		MaxSize: c.MaxSize, Assignors: c.Assignors,
		Upgrade:   c.MigrationPolicy == "bidirectional" || c.MigrationPolicy == "upgrade",
		Downgrade: c.MigrationPolicy == "bidirectional" || c.MigrationPolicy == "downgrade",
	}
}

// streamsSettings are those of a group of the streams protocol (KIP-1071).
func (b *Broker) streamsSettings(groupID string) group.StreamsSettings {
	c := b.config().Group(b.store.Image().GroupConfigs(groupID)).Streams
	return group.StreamsSettings{
		SessionTimeout: c.SessionTimeout.Milliseconds(), HeartbeatInterval: c.HeartbeatInterval.Milliseconds(),
		AssignmentInterval: c.AssignmentInterval.Milliseconds(), InitialRebalanceDelay: c.InitialRebalanceDelay.Milliseconds(),
		StandbyReplicas: c.StandbyReplicas, MaxSize: c.MaxSize,
	}
}

// shareGroupSettings are those of a share group (KIP-932).
func (b *Broker) shareGroupSettings(groupID string) group.ShareSettings {
	c := b.config().Group(b.store.Image().GroupConfigs(groupID)).ShareGroups
	return group.ShareSettings{
		SessionTimeout: c.SessionTimeout.Milliseconds(), HeartbeatInterval: c.HeartbeatInterval.Milliseconds(),
		AssignmentInterval: c.AssignmentInterval.Milliseconds(), InitializeRetry: c.InitializeRetry.Milliseconds(),
		MaxSize: c.MaxSize,
	}
}

// alter applies the dynamic broker configs of an image. One that does not hold is left
// out: what was stored has been checked, but by a broker that may know more than this one.
func (b *Broker) alter(image *cluster.Image) {
	next, left := b.Config.WithStored(image.BrokerConfigs(cluster.DefaultConfigs), image.BrokerConfigs(b.Config.NodeID))
	for _, f := range left {
		b.Log.Error("a stored broker config does not hold and is left out; alter or delete it", zap.String("config", f.Key), zap.String("reason", f.Reason))
	}
	b.current.Store(next)
	b.cleaner.setRate(next.CleanerMaxBytesPerSecond)
	b.tier.SetRates(next.RemoteCopyMaxBytesPerSecond, next.RemoteFetchMaxBytesPerSecond)
	b.tier.SetConcurrency(next.RemoteFetchConcurrency, next.RemoteCopyConcurrency)
	if b.wire != nil { // else it is made with these
		b.wire.SetLimits(b.wireOptions())
	}
	b.altered.tell()
}

// news wakes those that wait for something to happen again.
type news struct {
	mu sync.Mutex
	ch chan struct{} // closed when it happens; nil: nobody waits
}

// next is closed when it happens next.
func (n *news) next() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch == nil {
		n.ch = make(chan struct{})
	}
	return n.ch
}

// tell says that it has happened.
func (n *news) tell() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch != nil {
		close(n.ch)
		n.ch = nil
	}
}
