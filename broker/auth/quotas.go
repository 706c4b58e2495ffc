package auth

import "net/netip"

// Kind is what a quota limits.
type Kind int8

// The kinds. Bytes and mutations are counted a second.
const (
	ProducerBytes       Kind = iota // of Produce requests (KIP-13)
	ConsumerBytes                   // of Fetch responses (KIP-13)
	RequestPercentage               // percent of one processor's time (KIP-124)
	ControllerMutations             // partitions created or deleted (KIP-599)
	ConnectionCreation              // connections of an address (KIP-612)
	kinds
)

// kindNames are the keys under which the protocol sets quotas.
var kindNames = [kinds]string{
	"producer_byte_rate", "consumer_byte_rate", "request_percentage", "controller_mutation_rate", "connection_creation_rate",
}

func (k Kind) String() string { return kindNames[k] }

// Kinds returns all kinds.
func Kinds() []Kind {
	all := make([]Kind, kinds)
	for k := range all {
		all[k] = Kind(k)
	}
	return all
}

// Part is one part of an Entity. The zero Part is not in it.
type Part struct {
	present bool
	named   bool
	name    string
}

// Default stands for everybody who has no quota of their own.
var Default = Part{present: true}

// Named stands for one.
func Named(name string) Part { return Part{present: true, named: true, name: name} }

// Entity is whom a quota binds: a user, a client id, both of them, or an address.
type Entity struct {
	User, ClientID, IP Part
}

// Quotas are limits by entity. They never change.
type Quotas struct {
	limits [kinds]map[Entity]float64
}

// NewQuotas makes Quotas of the limits of each entity, by the protocol's names. Names that
// are not known are left out: a later version may have set them.
func NewQuotas(set map[Entity]map[string]float64) *Quotas {
	q := new(Quotas)
	for e, limits := range set {
		if e.IP.named {
			e.IP.name = address(e.IP.name)
		}
		for k := range q.limits {
			limit, ok := limits[kindNames[k]]
			if !ok {
				continue
			}
			if q.limits[k] == nil {
				q.limits[k] = make(map[Entity]float64)
			}
			q.limits[k][e] = limit
		}
	}
	return q
}

// address spells an address in one way.
func address(name string) string {
	if a, err := netip.ParseAddr(name); err == nil {
		return a.Unmap().String()
	}
	return name
}

// limit is a quota together with those who share it.
type limit struct {
	rate   float64
	shared Entity
}

// ofClient finds the quota of a user's client: the first of Kafka's eight levels. A quota
// of a user is shared by all clients of the user, one of a client id by all users; a
// default is not shared by those that it applies to.
func (q *Quotas) ofClient(k Kind, user, client string) (limit, bool) {
	limits := q.limits[k]
	if len(limits) == 0 {
		return limit{}, false
	}
	u, c := Named(user), Named(client)
	both := Entity{User: u, ClientID: c}
	for _, level := range [...]struct{ entity, shared Entity }{
		{both, both},
		{Entity{User: u, ClientID: Default}, both},
		{Entity{User: u}, Entity{User: u}},
		{Entity{User: Default, ClientID: c}, both},
		{Entity{User: Default, ClientID: Default}, both},
		{Entity{User: Default}, Entity{User: u}},
		{Entity{ClientID: c}, Entity{ClientID: c}},
		{Entity{ClientID: Default}, Entity{ClientID: c}},
	} {
		if rate, ok := limits[level.entity]; ok {
			return limit{rate, level.shared}, true
		}
	}
	return limit{}, false
}

// ofAddress finds the quota of an address: its own, or the default.
func (q *Quotas) ofAddress(k Kind, ip string) (limit, bool) {
	limits := q.limits[k]
	if len(limits) == 0 {
		return limit{}, false
	}
	e := Entity{IP: Named(address(ip))}
	for _, from := range [...]Entity{e, {IP: Default}} {
		if rate, ok := limits[from]; ok {
			return limit{rate, e}, true
		}
	}
	return limit{}, false
}
