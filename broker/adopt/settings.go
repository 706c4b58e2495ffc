package adopt

import (
	"encoding/base64"
	"maps"
	"math"
	"slices"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/cluster/kraft"
	"github.com/varvelog/varve/broker/config"
)

// settings decides of what administrators have set.
func (s *survey) settings() {
	from := &s.meta.Settings
	s.plan.Settings = cluster.AdoptedSettings{
		GroupConfigs: s.configs("group", from.Groups, config.AlterGroup), MetricsConfigs: s.configs("client metrics", from.Metrics, config.AlterClientMetrics),
		Credentials: s.credentials(),
	}
	for _, entity := range slices.Sorted(maps.Keys(from.Quotas)) {
		q := from.Quotas[entity]
		maps.DeleteFunc(q.Limits, func(_ string, limit float64) bool { return math.IsNaN(limit) || math.IsInf(limit, 0) }) // bind nobody
		s.plan.Settings.Quotas = append(s.plan.Settings.Quotas, cluster.Quota{Entity: q.Entity, Limits: q.Limits})
	}
	for _, broker := range slices.Sorted(maps.Keys(from.Brokers)) {
		who := broker
		if who == "" {
			who = "all"
		}
		for _, name := range slices.Sorted(maps.Keys(from.Brokers[broker])) {
			s.note("a dynamic config of a broker is not adopted; set it in Varve's own settings where it is wanted: %s (brokers: %s)", name, who)
		}
	}
	if n := len(from.ACLs); n > 0 {
		s.note("%d access control entries are not adopted: Varve asks none, and whoever reaches its listeners may do everything", n)
	}
}

// configs keeps of dynamic configs those that there are here.
func (s *survey) configs(kind string, from map[string]map[string]string, alter func(map[string]string, []config.Op) (map[string]string, error)) map[string]map[string]string {
	kept := make(map[string]map[string]string, len(from))
	for _, of := range slices.Sorted(maps.Keys(from)) {
		for _, name := range slices.Sorted(maps.Keys(from[of])) {
			value := from[of][name]
			next, err := alter(kept[of], []config.Op{{Type: config.Set, Name: name, Value: &value}})
			if err != nil {
				s.note("config %s of %s %s is not adopted: %v", name, kind, of, err)
				continue
			}
			kept[of] = next
		}
	}
	return kept
}

func (s *survey) credentials() map[string]cluster.Credentials {
	all := map[string]cluster.Credentials{}
	for login, c := range s.meta.Settings.Credentials {
		mechanism, known := cluster.Mechanisms[login.Mechanism]
		if !known {
			s.note("a credential of %s is not adopted: mechanism %d is not known", login.User, login.Mechanism)
			continue
		}
		if all[login.User] == nil {
			all[login.User] = cluster.Credentials{}
		}
		all[login.User][mechanism] = credential(c)
	}
	return all
}

func credential(c kraft.Credential) cluster.Credential {
	text := base64.StdEncoding.EncodeToString
	return cluster.Credential{Iterations: c.Iterations, Salt: text(c.Salt), StoredKey: text(c.StoredKey), ServerKey: text(c.ServerKey)}
}
