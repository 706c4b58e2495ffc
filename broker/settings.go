package broker

import (
	"go.uber.org/zap"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/wire"
)

// wireOptions are the limits of sockets.
func (b *Broker) wireOptions() wire.Options {
	c := b.config()
	return wire.Options{
		MaxRequestBytes: c.SocketRequestMaxBytes, MaxInFlightBytes: c.QueuedMaxRequestBytes,
		MaxIdle: c.ConnectionsMaxIdle, ShutdownTimeout: c.ShutdownTimeout,
		MaxConnections: c.MaxConnections, MaxConnectionsPerIP: c.MaxConnectionsPerIP, MaxConnectionRate: c.MaxConnectionRate,
		SendBuffer: c.SocketSendBufferBytes, ReceiveBuffer: c.SocketReceiveBufferBytes,
		Logger: b.Log,
	}
}

// alter applies the dynamic broker configs of an image. It tells whether it could: what
// was stored has been checked, but by a broker that may know more than this one.
func (b *Broker) alter(image *cluster.Image) bool {
	next, err := b.Config.WithDynamic(image.BrokerConfigs(cluster.DefaultConfigs), image.BrokerConfigs(b.Config.NodeID))
	if err != nil {
		b.Log.Error("stored broker configs do not hold and are left out", zap.Error(err))
		return false
	}
	b.current.Store(next)
	return true
}
