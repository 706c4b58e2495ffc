package coordinator

import (
	"context"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator/group"
)

// ShareHeartbeat handles ShareGroupHeartbeat v1 (KIP-932).
func (g *Groups) ShareHeartbeat(c Client, r *kmsg.ShareGroupHeartbeatRequest) Pending[*kmsg.ShareGroupHeartbeatResponse] {
	version := r.Version
	refuse := func(f *group.Refusal) Pending[*kmsg.ShareGroupHeartbeatResponse] {
		return done(group.ShareHeartbeatError(version, f))
	}
	if f := group.ValidateShareHeartbeat(r); f != nil {
		return refuse(f)
	}
	now := g.now()
	s, code := g.enter(r.GroupID)
	if code != 0 {
		return refuse(&group.Refusal{Code: code})
	}
	defer s.mu.Unlock()
	e := s.groups[r.GroupID]
	if e == nil {
		if r.MemberEpoch != 0 {
			return refuse(&group.Refusal{Code: kerr.GroupIDNotFound.Code, Message: "Share group " + r.GroupID + " not found."})
		}
		e = s.create(now, r.GroupID)
	}
	w := s.ticket(func(code int16) kmsg.Response {
		return group.ShareHeartbeatError(version, &group.Refusal{Code: code})
	})
	s.step(now, e, e.ShareHeartbeat(now, w.ticket, c, r))
	return await(w, func() *kmsg.ShareGroupHeartbeatResponse {
		return group.ShareHeartbeatError(version, &group.Refusal{Code: kerr.CoordinatorNotAvailable.Code})
	})
}

// ShareDescribe handles ShareGroupDescribe v1. Authorized operations are for the caller.
func (g *Groups) ShareDescribe(r *kmsg.ShareGroupDescribeRequest) *kmsg.ShareGroupDescribeResponse {
	response := kmsg.NewPtrShareGroupDescribeResponse()
	response.Version = r.Version
	for _, id := range r.GroupIDs {
		response.Groups = append(response.Groups, g.shareDescribe(id))
	}
	return response
}

func (g *Groups) shareDescribe(id string) kmsg.ShareGroupDescribeResponseGroup {
	if id == "" {
		return group.ShareDescribeError(id, kerr.InvalidGroupID.Code, "")
	}
	s, code := g.enter(id)
	if code != 0 {
		return group.ShareDescribeError(id, code, "")
	}
	defer s.mu.Unlock()
	if e := s.groups[id]; e != nil {
		return e.ShareDescribe()
	}
	return group.ShareDescribeError(id, kerr.GroupIDNotFound.Code, "Group "+id+" not found.")
}

// SharePartitions lists the partitions of a share group that were initialized, by topic
// id: none for a group that is not there, or of another type.
func (g *Groups) SharePartitions(id string) (map[group.TopicID][]int32, int16) {
	s, code := g.enter(id)
	if code != 0 {
		return nil, code
	}
	defer s.mu.Unlock()
	if e := s.groups[id]; e != nil {
		return maps.Clone(e.SharePartitions()), 0
	}
	return nil, 0
}

// AlterShareOffsets handles AlterShareGroupOffsets v0. A group that does not exist is made.
func (g *Groups) AlterShareOffsets(r *kmsg.AlterShareGroupOffsetsRequest) Pending[*kmsg.AlterShareGroupOffsetsResponse] {
	version := r.Version
	refused := func(code int16) *kmsg.AlterShareGroupOffsetsResponse {
		return group.AlterShareOffsetsError(version, &group.Refusal{Code: code})
	}
	if r.GroupID == "" || !group.ValidID(r.GroupID) {
		return done(refused(kerr.InvalidGroupID.Code))
	}
	now := g.now()
	s, code := g.enter(r.GroupID)
	if code != 0 {
		return done(refused(code))
	}
	defer s.mu.Unlock()
	e := s.groups[r.GroupID]
	if e == nil {
		e = s.create(now, r.GroupID)
	}
	w := s.ticket(func(code int16) kmsg.Response { return refused(code) })
	s.step(now, e, e.AlterShareOffsets(now, w.ticket, r))
	return await(w, func() *kmsg.AlterShareGroupOffsetsResponse { return refused(kerr.CoordinatorNotAvailable.Code) })
}

// DeleteShareOffsets handles DeleteShareGroupOffsets v0.
func (g *Groups) DeleteShareOffsets(r *kmsg.DeleteShareGroupOffsetsRequest) Pending[*kmsg.DeleteShareGroupOffsetsResponse] {
	version := r.Version
	refused := func(code int16, message string) *kmsg.DeleteShareGroupOffsetsResponse {
		return group.DeleteShareOffsetsError(version, &group.Refusal{Code: code, Message: message})
	}
	if r.GroupID == "" {
		return done(refused(kerr.InvalidGroupID.Code, ""))
	}
	now := g.now()
	s, code := g.enter(r.GroupID)
	if code != 0 {
		return done(refused(code, ""))
	}
	defer s.mu.Unlock()
	e := s.groups[r.GroupID]
	if e == nil {
		return done(refused(kerr.GroupIDNotFound.Code, "Group "+r.GroupID+" not found."))
	}
	w := s.ticket(func(code int16) kmsg.Response { return refused(code, "") })
	s.step(now, e, e.DeleteShareOffsets(now, w.ticket, r))
	return await(w, func() *kmsg.DeleteShareGroupOffsetsResponse { return refused(kerr.CoordinatorNotAvailable.Code, "") })
}

// persist has the share coordinator do what a group wants of it, in a goroutine that ends
// with the shard, and tells the group what became of it. The caller holds the lock.
func (s *shard) persist(e *entry, p group.Persist) {
	s.running.Go(func() {
		failed := s.g.persist(s.life, p)
		if s.life.Err() != nil || s.enter() != 0 {
			return // whoever waits was told, and the next coordinator begins again
		}
		defer s.mu.Unlock()
		now := s.now()
		s.step(now, e, p.Done(e.Group, now, failed))
	})
}

// persist returns why it was not done. A share coordinator that is loading is waited for.
func (g *Groups) persist(ctx context.Context, p group.Persist) *group.Refusal {
	failed := func(code int16) *group.Refusal {
		return &group.Refusal{Code: code, Message: kerr.TypedErrorForCode(code).Description}
	}
	if g.o.Shares == nil {
		return failed(kerr.CoordinatorNotAvailable.Code)
	}
	ctx, cancel := context.WithTimeout(ctx, g.o.SharePersist)
	defer cancel()
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		switch code := g.o.Shares.do(ctx, p); code {
		case 0:
			return nil
		case kerr.CoordinatorLoadInProgress.Code, kerr.NotCoordinator.Code: // its topic may just have been made
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
				continue
			case <-ctx.Done():
				timer.Stop()
				return failed(code)
			}
		default:
			return failed(code)
		}
	}
}

// do does what a group wants, and returns the first code that is not 0.
func (c *Shares) do(ctx context.Context, p group.Persist) (code int16) {
	note := func(of int16) {
		if code == 0 {
			code = of
		}
	}
	var err error
	if p.Initialize != nil {
		var r *kmsg.InitializeShareGroupStateResponse
		if r, err = c.Initialize(p.Initialize)(ctx); err == nil {
			for _, t := range r.Topics {
				for _, x := range t.Partitions {
					note(x.ErrorCode)
				}
			}
		}
	} else {
		var r *kmsg.DeleteShareGroupStateResponse
		if r, err = c.Delete(p.Delete)(ctx); err == nil {
			for _, t := range r.Topics {
				for _, x := range t.Partitions {
					note(x.ErrorCode)
				}
			}
		}
	}
	if err != nil { // ctx has ended
		return kerr.CoordinatorNotAvailable.Code
	}
	return code
}
