package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// QuotaEntity is whom quotas bind: names by type (user, client-id, ip). nil is the default
// of the type.
type QuotaEntity map[string]*string

// key spells an entity in one way: encoding/json sorts the types.
func (e QuotaEntity) key() string { return encode(e) }

// Quota is the quotas of an entity, by name. It never changes; do not write to it.
type Quota struct {
	Entity QuotaEntity        `json:"entity"`
	Limits map[string]float64 `json:"limits"`
}

func (q Quota) equal(o Quota) bool { return maps.Equal(q.Limits, o.Limits) } // under one key

// Quotas returns all quotas, in the order of their entities.
func (i *Image) Quotas() []Quota {
	all := make([]Quota, 0, len(i.quotas))
	for _, key := range slices.Sorted(maps.Keys(i.quotas)) {
		all = append(all, i.quotas[key])
	}
	return all
}

// QuotaOf returns the quotas of an entity itself. Nil: none.
func (i *Image) QuotaOf(e QuotaEntity) map[string]float64 { return i.quotas[e.key()].Limits }

// maxQuotaEntity bounds the names in an entity, in bytes: etcd takes no key above 1.5 MiB.
const maxQuotaEntity = 8 << 10

// SetQuota replaces the quotas of an entity if they are still those of from; otherwise it
// returns ErrConflict. None: the entity has no quotas of its own any more.
func (s *Store) SetQuota(ctx context.Context, e QuotaEntity, from, to map[string]float64) error {
	key := e.key()
	if len(e) == 0 || len(key) > maxQuotaEntity {
		return fmt.Errorf("%w: an entity with quotas has from 1 to %d bytes", ErrInvalid, maxQuotaEntity)
	}
	return setMap(ctx, s, quotasRoot+key, "quotas of "+key, from, to)
}

func (s *state) putQuota(key, entity string, kv *mvccpb.KeyValue) error {
	var q Quota
	if err := json.Unmarshal([]byte(entity), &q.Entity); err != nil {
		return fmt.Errorf("%w: key %q: %w", ErrCorrupt, key, err)
	}
	if err := decode(key, kv.Value, &q.Limits); err != nil {
		return err
	}
	s.quotas[entity] = q
	s.touchedQuotas = true
	return nil
}
