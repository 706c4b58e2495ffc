package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The consumer protocol of KIP-848.

func (s *Server) consumerGroupHeartbeat(c *call, q *kmsg.ConsumerGroupHeartbeatRequest) func(context.Context) (*kmsg.ConsumerGroupHeartbeatResponse, error) {
	if !s.consumerProtocol() {
		p := q.ResponseKind().(*kmsg.ConsumerGroupHeartbeatResponse)
		p.ErrorCode = kerr.UnsupportedVersion.Code
		return func(context.Context) (*kmsg.ConsumerGroupHeartbeatResponse, error) { return p, nil }
	}
	return s.Groups.ConsumerHeartbeat(client(c), q)
}

// consumerProtocol tells whether it is switched on, by feature.
func (s *Server) consumerProtocol() bool {
	return featureLevel(groupVersion, s.Store.Image().Features()) > 0
}

func (s *Server) consumerGroupDescribe(_ *call, q *kmsg.ConsumerGroupDescribeRequest) *kmsg.ConsumerGroupDescribeResponse {
	if !s.consumerProtocol() {
		return withoutProtocol(q)
	}
	p := s.Groups.ConsumerDescribe(q)
	for i := range p.Groups {
		p.Groups[i].AuthorizedOperations = operations(q.IncludeAuthorizedOperations, groupOperations)
	}
	return p
}

// withoutProtocol answers for groups of a protocol that is switched off.
func withoutProtocol(q *kmsg.ConsumerGroupDescribeRequest) *kmsg.ConsumerGroupDescribeResponse {
	p := q.ResponseKind().(*kmsg.ConsumerGroupDescribeResponse)
	for _, id := range q.Groups {
		r := kmsg.NewConsumerGroupDescribeResponseGroup()
		r.Group, r.ErrorCode = id, kerr.UnsupportedVersion.Code
		p.Groups = append(p.Groups, r)
	}
	return p
}

// alterGroup changes the configs of a group, which need not exist yet.
func (s *Server) alterGroup(ctx context.Context, name string, validateOnly bool, next change) error {
	if err := checkGroupResource(name); err != nil {
		return err
	}
	old := s.Store.Image().GroupConfigs(name)
	configs, err := next(old)
	if err != nil {
		return err
	}
	if err := s.Config().CheckGroup(configs); err != nil || validateOnly {
		return err
	}
	return s.Store.SetGroupConfigs(ctx, name, old, configs)
}

// maxGroupResource keeps the key of a group's configs in the metadata short.
const maxGroupResource = 1 << 10

func checkGroupResource(name string) error {
	switch {
	case name == "":
		return refuse(kerr.InvalidRequest, "Default group resources are not allowed.")
	case len(name) > maxGroupResource:
		return refuse(kerr.InvalidRequest, "The name of a group with configs can't be longer than 1024 bytes.")
	}
	return nil
}
