package coordinator

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator/group"
)

// StreamsAnswer is the answer to a heartbeat of the streams protocol, with the internal
// topics that the group waits for: they are for the caller to make.
type StreamsAnswer struct {
	Response *kmsg.StreamsGroupHeartbeatResponse
	Missing  []group.NewTopic
}

// StreamsHeartbeat handles StreamsGroupHeartbeat v0 (KIP-1071).
func (g *Groups) StreamsHeartbeat(c Client, r *kmsg.StreamsGroupHeartbeatRequest) Pending[StreamsAnswer] {
	version := r.Version
	refused := func(f *group.Refusal) StreamsAnswer {
		return StreamsAnswer{Response: group.StreamsHeartbeatError(version, f)}
	}
	if f := group.ValidateStreamsHeartbeat(r); f != nil {
		return done(refused(f))
	}
	now := g.now()
	s, code := g.enter(r.Group)
	if code != 0 {
		return done(refused(&group.Refusal{Code: code}))
	}
	defer s.mu.Unlock()
	e := s.groups[r.Group]
	if e == nil {
		if r.MemberEpoch != 0 {
			what := "Streams group "
			if r.MemberEpoch < 0 { // as Kafka has it
				what = "Group "
			}
			return done(refused(&group.Refusal{Code: kerr.GroupIDNotFound.Code, Message: what + r.Group + " not found."}))
		}
		e = s.create(now, r.Group)
	}
	w := s.ticket(func(code int16) kmsg.Response {
		return group.StreamsHeartbeatError(version, &group.Refusal{Code: code})
	})
	s.step(now, e, e.StreamsHeartbeat(now, w.ticket, c, r))
	return func(ctx context.Context) (StreamsAnswer, error) {
		reply, err := w.wait(ctx)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return refused(&group.Refusal{Code: kerr.CoordinatorNotAvailable.Code}), nil
		case err != nil:
			return StreamsAnswer{}, err
		}
		return StreamsAnswer{Response: reply.Response.(*kmsg.StreamsGroupHeartbeatResponse), Missing: reply.Missing}, nil
	}
}

// StreamsDescribe handles StreamsGroupDescribe v0. Authorized operations are for the
// caller.
func (g *Groups) StreamsDescribe(r *kmsg.StreamsGroupDescribeRequest) *kmsg.StreamsGroupDescribeResponse {
	response := kmsg.NewPtrStreamsGroupDescribeResponse()
	response.Version = r.Version
	for _, id := range r.Groups {
		response.Groups = append(response.Groups, g.streamsDescribe(id))
	}
	return response
}

func (g *Groups) streamsDescribe(id string) kmsg.StreamsGroupDescribeResponseGroup {
	if id == "" {
		return group.StreamsDescribeError(id, kerr.InvalidGroupID.Code, "")
	}
	s, code := g.enter(id)
	if code != 0 {
		return group.StreamsDescribeError(id, code, "")
	}
	defer s.mu.Unlock()
	if e := s.groups[id]; e != nil {
		return e.StreamsDescribe()
	}
	return group.StreamsDescribeError(id, kerr.GroupIDNotFound.Code, "Group "+id+" not found.")
}
