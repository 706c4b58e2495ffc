package coordinator

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator/group"
)

// ConsumerHeartbeat handles ConsumerGroupHeartbeat v0-v1 (KIP-848).
func (g *Groups) ConsumerHeartbeat(c Client, r *kmsg.ConsumerGroupHeartbeatRequest) Pending[*kmsg.ConsumerGroupHeartbeatResponse] {
	version := r.Version
	refuse := func(f *group.Refusal) Pending[*kmsg.ConsumerGroupHeartbeatResponse] {
		return done(group.ConsumerHeartbeatError(version, f))
	}
	if f := group.ValidateConsumerHeartbeat(r, g.settings(r.Group).Assignors); f != nil {
		return refuse(f)
	}
	fresh, now := g.fresh(), g.now()
	s, code := g.enter(r.Group)
	if code != 0 {
		return refuse(&group.Refusal{Code: code})
	}
	defer s.mu.Unlock()
	e := s.groups[r.Group]
	if e == nil {
		if r.MemberEpoch != 0 {
			return refuse(&group.Refusal{Code: kerr.GroupIDNotFound.Code, Message: "Group " + r.Group + " not found."})
		}
		e = s.create(now, r.Group)
	}
	w := s.ticket(func(code int16) kmsg.Response {
		return group.ConsumerHeartbeatError(version, &group.Refusal{Code: code})
	})
	s.step(now, e, e.ConsumerHeartbeat(now, w.ticket, c, fresh, r))
	return await(w, func() *kmsg.ConsumerGroupHeartbeatResponse {
		return group.ConsumerHeartbeatError(version, &group.Refusal{Code: kerr.CoordinatorNotAvailable.Code})
	})
}

func (g *Groups) settings(groupID string) group.Settings {
	if g.limits.Consumer == nil {
		return group.DefaultSettings
	}
	return g.limits.Consumer(groupID)
}

// ConsumerDescribe handles ConsumerGroupDescribe v0-v1. Authorized operations are for
// the caller.
func (g *Groups) ConsumerDescribe(r *kmsg.ConsumerGroupDescribeRequest) *kmsg.ConsumerGroupDescribeResponse {
	response := kmsg.NewPtrConsumerGroupDescribeResponse()
	response.Version = r.Version
	for _, id := range r.Groups {
		response.Groups = append(response.Groups, g.consumerDescribe(id))
	}
	return response
}

func (g *Groups) consumerDescribe(id string) kmsg.ConsumerGroupDescribeResponseGroup {
	if id == "" {
		return group.ConsumerDescribeError(id, kerr.InvalidGroupID.Code, "")
	}
	s, code := g.enter(id)
	if code != 0 {
		return group.ConsumerDescribeError(id, code, "")
	}
	defer s.mu.Unlock()
	if e := s.groups[id]; e != nil {
		return e.ConsumerDescribe(g.settings(id).Assignors[0])
	}
	return group.ConsumerDescribeError(id, kerr.GroupIDNotFound.Code, "Group "+id+" not found.")
}

// match has patterns of a group matched beside its shard.
func (s *shard) match(e *entry, m *group.Match) {
	s.running.Go(func() {
		err := m.Find(func(part func()) error { return s.g.turn(s.life, part) })
		if err != nil || s.enter() != 0 {
			return // unloaded: the next coordinator begins again
		}
		defer s.mu.Unlock()
		now := s.now()
		s.step(now, e, e.Matched(now, m))
	})
}

// turn runs a part of matching. One runs at a time, so that patterns take one processor at
// the most, and who waits comes in turn, so that no group's patterns keep out another's.
func (g *Groups) turn(life context.Context, part func()) error {
	select {
	case g.turns <- struct{}{}:
		defer func() { <-g.turns }()
		part()
		return life.Err()
	case <-life.Done():
		return life.Err()
	}
}
