package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The consumer protocol of KIP-848.

func (s *Server) consumerGroupHeartbeat(c *call, q *kmsg.ConsumerGroupHeartbeatRequest) func(context.Context) (*kmsg.ConsumerGroupHeartbeatResponse, error) {
	return s.Groups.ConsumerHeartbeat(client(c), q)
}

func (s *Server) consumerGroupDescribe(_ *call, q *kmsg.ConsumerGroupDescribeRequest) *kmsg.ConsumerGroupDescribeResponse {
	p := s.Groups.ConsumerDescribe(q)
	for i := range p.Groups {
		p.Groups[i].AuthorizedOperations = operations(q.IncludeAuthorizedOperations, groupOperations)
	}
	return p
}
