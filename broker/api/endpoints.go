package api

import (
	"net"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/wire"
)

// endpoint returns the address of a broker for a client on connection c: the one the
// broker advertises on the client's listener or, where it advertises none, the address
// that the client reached us by. So a client on the host and one in a sibling
// container each get an address that works for it.
func endpoint(b *cluster.Broker, c *wire.Conn) (host string, port int32) {
	for _, e := range b.Endpoints {
		if e.Name != c.Listener {
			continue
		}
		if e.Host != "" {
			return e.Host, e.Port
		}
		if a, ok := c.Local.(*net.TCPAddr); ok {
			return a.IP.String(), e.Port
		}
	}
	return "", -1
}

// rack returns a broker's rack for the protocol's nullable string.
func rack(b *cluster.Broker) *string {
	if b.Rack == "" {
		return nil
	}
	return &b.Rack
}

// splitHost returns the address and port of a TCP peer.
func splitHost(a net.Addr) (host string, port int) {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.IP.String(), t.Port
	}
	return a.String(), 0
}
