package broker

import (
	"net"
	"time"

	"github.com/varvelog/varve/broker/auth"
	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/config"
)

func newLimiter(c *config.Broker) *auth.Limiter {
	return auth.NewLimiter(auth.Options{
		Windows: c.QuotaWindows, Window: c.QuotaWindow,
		MutationWindows: c.MutationWindows, MutationWindow: c.MutationWindow,
	})
}

// quotasOf reads the quotas of an image.
func quotasOf(image *cluster.Image) *auth.Quotas {
	set := make(map[auth.Entity]map[string]float64)
	for _, q := range image.Quotas() {
		set[auth.Entity{User: part(q, "user"), ClientID: part(q, "client-id"), IP: part(q, "ip")}] = q.Limits
	}
	return auth.NewQuotas(set)
}

// part is what an entity says of one type.
func part(q cluster.Quota, kind string) auth.Part {
	switch name, has := q.Entity[kind]; {
	case !has:
		return auth.Part{}
	case name == nil:
		return auth.Default
	default:
		return auth.Named(*name)
	}
}

// admitConnection holds a new connection against the quota of its address (KIP-612).
func (b *Broker) admitConnection(remote net.Addr) (wait time.Duration) {
	t, ok := remote.(*net.TCPAddr)
	if !ok || !b.limiter.Limits(auth.ConnectionCreation) {
		return 0
	}
	return b.limiter.AdmitConnection(t.IP.String(), b.Now())
}
