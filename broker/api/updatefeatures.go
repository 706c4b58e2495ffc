package api

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/cluster"
)

// Kinds of updates (KIP-584).
const (
	upgrade         = 1
	safeDowngrade   = 2
	unsafeDowngrade = 3
)

// updateFeatures sets the levels of features, all or none.
func (s *Server) updateFeatures(ctx context.Context, c *call, q *kmsg.UpdateFeaturesRequest) *kmsg.UpdateFeaturesResponse {
	p := q.ResponseKind().(*kmsg.UpdateFeaturesResponse)
	ctx, cancel := withTimeout(ctx, q.TimeoutMillis)
	defer cancel()
	if err := s.setFeatures(ctx, updates(q), q.ValidateOnly); err != nil {
		p.ErrorCode = code(err)
		p.ErrorMessage = kmsg.StringPtr("The update failed for all features since the following feature had an error: " + err.Error())
		return p
	}
	if c.Version > 1 {
		return p // the outcome of one is that of all
	}
	for i := range q.FeatureUpdates {
		r := kmsg.NewUpdateFeaturesResponseResult()
		r.Feature = q.FeatureUpdates[i].Feature
		p.Results = append(p.Results, r)
	}
	return p
}

// updates are those of a request, in the terms of its newer versions.
func updates(q *kmsg.UpdateFeaturesRequest) []kmsg.UpdateFeaturesRequestFeatureUpdate {
	all := append([]kmsg.UpdateFeaturesRequestFeatureUpdate{}, q.FeatureUpdates...)
	for i := range all {
		if q.Version > 0 {
			continue
		}
		all[i].UpgradeType = upgrade
		if all[i].AllowDowngrade {
			all[i].UpgradeType = safeDowngrade
		}
	}
	return all
}

func (s *Server) setFeatures(ctx context.Context, updates []kmsg.UpdateFeaturesRequestFeatureUpdate, validateOnly bool) error {
	for range alterAttempts {
		old := s.Store.Image().Features()
		next, err := updated(old, updates)
		if err != nil || validateOnly || maps.Equal(old, next) {
			return err
		}
		if err := s.Store.SetFeatures(ctx, old, next); !errors.Is(err, cluster.ErrConflict) {
			return err
		}
	}
	return cluster.ErrConflict
}

// updated makes new levels of those that were set.
func updated(set map[string]int16, updates []kmsg.UpdateFeaturesRequestFeatureUpdate) (map[string]int16, error) {
	next := maps.Clone(set)
	if next == nil {
		next = make(map[string]int16)
	}
	for i := range updates {
		u := &updates[i]
		f, why := checkUpdate(u, set)
		if why != "" {
			return nil, refuse(kerr.InvalidUpdateVersion, fmt.Sprintf("Invalid update version %d for feature %s. %s", u.MaxVersionLevel, u.Feature, why))
		}
		next[f.name] = u.MaxVersionLevel
	}
	return next, nil
}

// checkUpdate finds the feature of an update and holds the update against it. It returns
// why not, or nothing.
func checkUpdate(u *kmsg.UpdateFeaturesRequestFeatureUpdate, set map[string]int16) (f *feature, why string) {
	for i := range features {
		if features[i].name == u.Feature {
			f = &features[i]
		}
	}
	switch level := u.MaxVersionLevel; {
	case u.UpgradeType < upgrade || u.UpgradeType > unsafeDowngrade:
		return nil, "The controller does not support the given upgrade type."
	case level < 0:
		return nil, "A feature version cannot be less than 0."
	case f == nil:
		return nil, "This version of varve does not have the feature."
	case level < f.min || level > f.max:
		return nil, fmt.Sprintf("This version of varve serves levels %d to %d.", f.min, f.max)
	case level < f.level(set) && u.UpgradeType == upgrade:
		return nil, "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade."
	case level > f.level(set) && u.UpgradeType != upgrade:
		return nil, "Can't downgrade to a newer version."
	}
	return f, ""
}
