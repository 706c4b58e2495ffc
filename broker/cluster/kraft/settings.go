package kraft

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/varvelog/varve/segment"
)

// Settings are what administrators have set, beside the configs of topics.
type Settings struct {
	Groups      map[string]map[string]string // dynamic configs, by group
	Metrics     map[string]map[string]string // subscriptions to clients' metrics (KIP-714), by name
	Brokers     map[string]map[string]string // dynamic configs, by id; "" is all brokers
	Quotas      map[string]Quota             // by entity, spelt in one way (KIP-546)
	Credentials map[Login]Credential         // SCRAM (KIP-900)
	ACLs        map[segment.TopicID]struct{} // ids only: nobody here enforces one
}

// Quota is the quotas of an entity: names by type, nil is the default of the type.
type Quota struct {
	Entity map[string]*string
	Limits map[string]float64
}

// Login is who proves to be a user by which mechanism, numbered as in the protocol.
type Login struct {
	User      string
	Mechanism int8
}

// Credential verifies a password (RFC 5802).
type Credential struct {
	Iterations                 int32
	Salt, StoredKey, ServerKey []byte
}

func newSettings() Settings {
	return Settings{
		Groups: map[string]map[string]string{}, Metrics: map[string]map[string]string{}, Brokers: map[string]map[string]string{},
		Quotas: map[string]Quota{}, Credentials: map[Login]Credential{}, ACLs: map[segment.TopicID]struct{}{},
	}
}

// Resource types of a config record.
const (
	topicResource         = 2
	brokerResource        = 4
	clientMetricsResource = 16
	groupResource         = 32
)

func (m *Metadata) config(r *reader) {
	kind := r.byte()
	resource, name := r.string(), r.string()
	value, null := r.nullable()
	if r.bad {
		return
	}
	var of map[string]map[string]string
	switch kind {
	case topicResource:
		if t := m.Topics[resource]; t != nil {
			set(t.Configs, name, value, null)
		}
		return
	case brokerResource:
		of = m.Settings.Brokers
	case clientMetricsResource:
		of = m.Settings.Metrics
	case groupResource:
		of = m.Settings.Groups
	default:
		return
	}
	if of[resource] == nil {
		of[resource] = map[string]string{}
	}
	set(of[resource], name, value, null)
	if len(of[resource]) == 0 {
		delete(of, resource)
	}
}

func set[V any](values map[string]V, name string, value V, remove bool) {
	if remove {
		delete(values, name)
	} else {
		values[name] = value
	}
}

func (s *Settings) quota(r *reader) {
	entity := map[string]*string{}
	for n := r.length(); n > 0 && !r.bad; n-- {
		kind := r.string()
		name, null := r.nullable()
		r.tags(func(uint64, *reader) {})
		if entity[kind] = &name; null {
			entity[kind] = nil
		}
	}
	key, value, remove := r.string(), math.Float64frombits(uint64(r.int64())), r.byte() != 0
	if r.bad || len(entity) == 0 {
		return
	}
	spelt := spell(entity)
	q, ok := s.Quotas[spelt]
	if !ok {
		q = Quota{entity, map[string]float64{}}
		s.Quotas[spelt] = q
	}
	if set(q.Limits, key, value, remove); len(q.Limits) == 0 {
		delete(s.Quotas, spelt)
	}
}

// spell writes an entity in one way.
func spell(entity map[string]*string) string {
	var b strings.Builder
	for _, kind := range slices.Sorted(maps.Keys(entity)) {
		fmt.Fprintf(&b, "%q", kind)
		if name := entity[kind]; name != nil {
			fmt.Fprintf(&b, "=%q", *name)
		}
	}
	return b.String()
}

func (s *Settings) credential(r *reader) {
	login := Login{r.string(), int8(r.byte())}
	c := Credential{Salt: r.bytes(), StoredKey: r.bytes(), ServerKey: r.bytes(), Iterations: r.int32()}
	if !r.bad {
		s.Credentials[login] = c
	}
}

func (s *Settings) removeCredential(r *reader) {
	if login := (Login{r.string(), int8(r.byte())}); !r.bad {
		delete(s.Credentials, login)
	}
}
