package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Delegation tokens (KIP-48) are given to who has proved who they are. On a listener
// without authentication, and others there are none, Kafka refuses all four APIs.

var errNoTokens = kerr.DelegationTokenRequestNotAllowed

// noTimestamp stands in answers that have no time to tell, in milliseconds.
const noTimestamp = -1

// Who asks on a listener without authentication.
const (
	userPrincipal = "User"
	anonymous     = "ANONYMOUS"
)

func (s *Server) createDelegationToken(_ *call, q *kmsg.CreateDelegationTokenRequest) *kmsg.CreateDelegationTokenResponse {
	p := q.ResponseKind().(*kmsg.CreateDelegationTokenResponse)
	p.ErrorCode = code(errNoTokens)
	p.PrincipalType, p.PrincipalName = userPrincipal, anonymous
	if q.OwnerPrincipalType != nil && q.OwnerPrincipalName != nil && *q.OwnerPrincipalName != "" {
		p.PrincipalType, p.PrincipalName = *q.OwnerPrincipalType, *q.OwnerPrincipalName
	}
	p.TokenRequesterPrincipalType, p.TokenRequesterPrincipalName = userPrincipal, anonymous
	p.IssueTimestamp, p.ExpiryTimestamp, p.MaxTimestamp = noTimestamp, noTimestamp, noTimestamp
	p.HMAC = []byte{}
	return p
}

func (s *Server) renewDelegationToken(_ *call, q *kmsg.RenewDelegationTokenRequest) *kmsg.RenewDelegationTokenResponse {
	p := q.ResponseKind().(*kmsg.RenewDelegationTokenResponse)
	p.ErrorCode, p.ExpiryTimestamp = code(errNoTokens), noTimestamp
	return p
}

func (s *Server) expireDelegationToken(_ *call, q *kmsg.ExpireDelegationTokenRequest) *kmsg.ExpireDelegationTokenResponse {
	p := q.ResponseKind().(*kmsg.ExpireDelegationTokenResponse)
	p.ErrorCode, p.ExpiryTimestamp = code(errNoTokens), noTimestamp
	return p
}

func (s *Server) describeDelegationToken(_ *call, q *kmsg.DescribeDelegationTokenRequest) *kmsg.DescribeDelegationTokenResponse {
	p := q.ResponseKind().(*kmsg.DescribeDelegationTokenResponse)
	p.ErrorCode = code(errNoTokens)
	return p
}
