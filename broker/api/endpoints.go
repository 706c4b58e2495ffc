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

// reached is a broker as a client is told of it.
type reached struct {
	id   int32
	host string
	port int32
	rack *string // nil: none
}

// reachable lists the brokers that a client on connection c can reach.
func reachable(image *cluster.Image, c *wire.Conn) []reached {
	brokers := image.Brokers()
	all := make([]reached, 0, len(brokers))
	for i := range brokers {
		host, port := endpoint(&brokers[i], c)
		if port < 0 {
			continue
		}
		r := reached{id: brokers[i].ID, host: host, port: port}
		if brokers[i].Rack != "" {
			r.rack = &brokers[i].Rack
		}
		all = append(all, r)
	}
	return all
}
