package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Without an authorizer there are no ACLs to describe, create or delete: the three APIs
// answer as Kafka does where authorizer.class.name is not set.

var (
	errNoACLs       = refuse(kerr.SecurityDisabled, "No Authorizer is configured on the broker")
	errNoAuthorizer = refuse(kerr.SecurityDisabled, "No Authorizer is configured.")
)

func (s *Server) describeACLs(_ *call, q *kmsg.DescribeACLsRequest) *kmsg.DescribeACLsResponse {
	p := q.ResponseKind().(*kmsg.DescribeACLsResponse)
	p.ErrorCode, p.ErrorMessage = code(errNoACLs), text(errNoACLs)
	return p
}

func (s *Server) createACLs(_ *call, q *kmsg.CreateACLsRequest) *kmsg.CreateACLsResponse {
	p := q.ResponseKind().(*kmsg.CreateACLsResponse)
	for range q.Creations {
		r := kmsg.NewCreateACLsResponseResult()
		r.ErrorCode, r.ErrorMessage = code(errNoAuthorizer), text(errNoAuthorizer)
		p.Results = append(p.Results, r)
	}
	return p
}

func (s *Server) deleteACLs(_ *call, q *kmsg.DeleteACLsRequest) *kmsg.DeleteACLsResponse {
	p := q.ResponseKind().(*kmsg.DeleteACLsResponse)
	for range q.Filters {
		r := kmsg.NewDeleteACLsResponseResult()
		r.ErrorCode, r.ErrorMessage = code(errNoAuthorizer), text(errNoAuthorizer)
		p.Results = append(p.Results, r)
	}
	return p
}
