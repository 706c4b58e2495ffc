package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/auth"
	"github.com/varvelog/varve/broker/cluster"
)

// Client quotas (KIP-546). What is wrong with a request is said as Kafka says it. Package
// auth has the rules by which quotas bind, throttle.go is where they meet requests.

// The entities that have quotas.
const (
	quotaUser     = "user"
	quotaClientID = "client-id"
	quotaIP       = "ip"
)

// quotaKeys are the quotas of each kind of entity, and the largest value of each that has
// to be a whole number (KIP-13, KIP-124, KIP-599, KIP-612). 0: any number above 0.
var (
	clientQuotaKeys = map[string]float64{
		auth.ProducerBytes.String(): math.MaxInt64, auth.ConsumerBytes.String(): math.MaxInt64,
		auth.RequestPercentage.String(): 0, auth.ControllerMutations.String(): 0,
	}
	ipQuotaKeys = map[string]float64{auth.ConnectionCreation.String(): math.MaxInt32}
)

// quotaRemainder is how far from a whole number one may be, as in Kafka.
const quotaRemainder = 1e-6

func (s *Server) describeClientQuotas(_ *call, q *kmsg.DescribeClientQuotasRequest) *kmsg.DescribeClientQuotasResponse {
	p := q.ResponseKind().(*kmsg.DescribeClientQuotasResponse)
	err := checkQuotaFilter(q.Components)
	p.ErrorCode, p.ErrorMessage = code(err), text(err)
	if err != nil {
		return p
	}
	p.Entries = []kmsg.DescribeClientQuotasResponseEntry{} // null goes with an error
	for _, quota := range s.Store.Image().Quotas() {
		if quotaMatches(quota.Entity, q) {
			p.Entries = append(p.Entries, describedQuota(quota))
		}
	}
	return p
}

// quotaMatches tells whether an entity has what the filter asks for, and, if it is strict,
// nothing else.
func quotaMatches(e cluster.QuotaEntity, q *kmsg.DescribeClientQuotasRequest) bool {
	if q.Strict && len(e) != len(q.Components) {
		return false
	}
	for _, f := range q.Components {
		name, has := e[f.EntityType]
		switch {
		case !has,
			f.MatchType == kmsg.QuotasMatchTypeDefault && name != nil,
			f.MatchType == kmsg.QuotasMatchTypeExact && (name == nil || *name != *f.Match):
			return false
		}
	}
	return true
}

func describedQuota(quota cluster.Quota) kmsg.DescribeClientQuotasResponseEntry {
	to := kmsg.NewDescribeClientQuotasResponseEntry()
	for _, kind := range slices.Sorted(maps.Keys(quota.Entity)) {
		e := kmsg.NewDescribeClientQuotasResponseEntryEntity()
		e.Type, e.Name = kind, quota.Entity[kind]
		to.Entity = append(to.Entity, e)
	}
	for _, key := range slices.Sorted(maps.Keys(quota.Limits)) {
		v := kmsg.NewDescribeClientQuotasResponseEntryValue()
		v.Key, v.Value = key, quota.Limits[key]
		to.Values = append(to.Values, v)
	}
	return to
}

// checkQuotaFilter is Kafka's rule for filters of entities.
func checkQuotaFilter(filter []kmsg.DescribeClientQuotasRequestComponent) error {
	named := make(map[string]bool)
	for _, f := range filter {
		switch {
		case f.EntityType == "":
			return refuse(kerr.InvalidRequest, "Invalid empty entity type.")
		case named[f.EntityType]:
			return refuse(kerr.InvalidRequest, fmt.Sprintf("Entity type %s cannot appear more than once in the filter.", f.EntityType))
		case f.EntityType != quotaUser && f.EntityType != quotaClientID && f.EntityType != quotaIP:
			return refuse(kerr.UnsupportedVersion, "Unsupported entity type "+f.EntityType)
		}
		named[f.EntityType] = true
		switch f.MatchType {
		case kmsg.QuotasMatchTypeExact:
			if f.Match == nil {
				return refuse(kerr.InvalidRequest, "Request specified MATCH_TYPE_EXACT, but set match string to null.")
			}
		case kmsg.QuotasMatchTypeDefault, kmsg.QuotasMatchTypeAny:
			if f.Match != nil {
				return refuse(kerr.InvalidRequest, fmt.Sprintf("Request specified match type %d, but also specified a match string.", f.MatchType))
			}
		default:
			return refuse(kerr.InvalidRequest, fmt.Sprintf("Unknown match type %d", f.MatchType))
		}
	}
	if named[quotaIP] && len(named) > 1 {
		return refuse(kerr.InvalidRequest, "Invalid entity filter component combination. IP filter component should not be used with user or clientId filter component.")
	}
	return nil
}

func (s *Server) alterClientQuotas(ctx context.Context, _ *call, q *kmsg.AlterClientQuotasRequest) *kmsg.AlterClientQuotasResponse {
	p := q.ResponseKind().(*kmsg.AlterClientQuotasResponse)
	for i := range q.Entries {
		r := kmsg.NewAlterClientQuotasResponseEntry()
		for _, e := range q.Entries[i].Entity {
			to := kmsg.NewAlterClientQuotasResponseEntryEntity()
			to.Type, to.Name = e.Type, e.Name
			r.Entity = append(r.Entity, to)
		}
		err := s.alterQuota(ctx, &q.Entries[i], q.ValidateOnly)
		r.ErrorCode, r.ErrorMessage = code(err), text(err)
		p.Entries = append(p.Entries, r)
	}
	return p
}

// alterQuota changes the quotas of an entity, and waits until this broker goes by them.
func (s *Server) alterQuota(ctx context.Context, q *kmsg.AlterClientQuotasRequestEntry, validateOnly bool) error {
	if err := checkQuotas(q); err != nil || validateOnly {
		return err
	}
	entity := make(cluster.QuotaEntity, len(q.Entity))
	for _, e := range q.Entity {
		entity[clone(e.Type)] = cloned(e.Name)
	}
	for range alterAttempts {
		old := s.Store.Image().QuotaOf(entity)
		switch err := s.Store.SetQuota(ctx, entity, old, alteredQuotas(old, q.Ops)); {
		case err == nil:
			return s.Partitions.Await(ctx, s.Store.Image().Revision())
		case !errors.Is(err, cluster.ErrConflict):
			return err
		}
	}
	return cluster.ErrConflict
}

// alteredQuotas makes new quotas of an entity's old ones.
func alteredQuotas(old map[string]float64, ops []kmsg.AlterClientQuotasRequestEntryOp) map[string]float64 {
	next := maps.Clone(old)
	if next == nil {
		next = make(map[string]float64, len(ops))
	}
	for _, op := range ops {
		if op.Remove {
			delete(next, op.Key)
			continue
		}
		next[clone(op.Key)] = op.Value
	}
	return next
}

// checkQuotas decides whether the changes to an entity are ones that there can be.
func checkQuotas(q *kmsg.AlterClientQuotasRequestEntry) error {
	named := make(map[string]bool, len(q.Ops))
	for _, op := range q.Ops {
		if named[op.Key] {
			return refuse(kerr.InvalidRequest, "Duplicate quota key "+op.Key)
		}
		named[op.Key] = true
	}
	keys, err := quotaKeysOf(q.Entity)
	if err != nil {
		return err
	}
	for _, op := range q.Ops {
		if op.Remove {
			continue
		}
		if err := checkQuota(keys, op.Key, op.Value); err != nil {
			return err
		}
	}
	return nil
}

// quotaKeysOf returns the quotas that an entity can have.
func quotaKeysOf(entity []kmsg.AlterClientQuotasRequestEntryEntity) (map[string]float64, error) {
	if len(entity) == 0 {
		return nil, refuse(kerr.InvalidRequest, "Invalid empty client quota entity")
	}
	keys := clientQuotaKeys
	for i, e := range entity {
		switch {
		case e.Type != quotaUser && e.Type != quotaClientID && e.Type != quotaIP:
			return nil, refuse(kerr.InvalidRequest, "Unhandled client quota entity type: "+e.Type)
		case slices.ContainsFunc(entity[:i], func(other kmsg.AlterClientQuotasRequestEntryEntity) bool { return other.Type == e.Type }):
			return nil, refuse(kerr.InvalidRequest, "Invalid client quota entity, duplicate entity entry "+e.Type)
		case e.Name != nil && *e.Name == "":
			return nil, refuse(kerr.InvalidRequest, fmt.Sprintf("Empty %s not supported", e.Type))
		}
		if e.Type != quotaIP {
			continue
		}
		if len(entity) > 1 {
			return nil, refuse(kerr.InvalidRequest, "Invalid quota entity combination, IP entity should not be combined with User or ClientId")
		}
		if e.Name != nil && net.ParseIP(*e.Name) == nil {
			return nil, refuse(kerr.InvalidRequest, *e.Name+" is not a valid IP.")
		}
		keys = ipQuotaKeys
	}
	return keys, nil
}

// checkQuota is Kafka's rule for the value of a quota.
func checkQuota(keys map[string]float64, key string, value float64) error {
	most, known := keys[key]
	switch {
	case !known:
		return refuse(kerr.InvalidRequest, "Invalid configuration key "+key)
	case !(value > 0): // NaN, too
		return refuse(kerr.InvalidRequest, fmt.Sprintf("Quota %s must be greater than 0", key))
	case most == 0 && math.IsInf(value, 1):
		return refuse(kerr.InvalidRequest, fmt.Sprintf("Quota %s must be a number", key))
	case most == 0:
		return nil
	case value > most:
		return refuse(kerr.InvalidRequest, fmt.Sprintf("Proposed value for %s is too large.", key))
	case math.Abs(math.Mod(value, 1)) > quotaRemainder:
		return refuse(kerr.InvalidRequest, key+" cannot be a fractional value.")
	}
	return nil
}
