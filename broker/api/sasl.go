package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// No listener authenticates by SASL, so nobody is at a point where its APIs have a place.

var errNoSASL = refuse(kerr.IllegalSaslState, "This listener does not authenticate by SASL.")

func (s *Server) saslHandshake(_ *call, q *kmsg.SASLHandshakeRequest) *kmsg.SASLHandshakeResponse {
	p := q.ResponseKind().(*kmsg.SASLHandshakeResponse)
	p.ErrorCode = code(errNoSASL)
	return p
}

func (s *Server) saslAuthenticate(_ *call, q *kmsg.SASLAuthenticateRequest) *kmsg.SASLAuthenticateResponse {
	p := q.ResponseKind().(*kmsg.SASLAuthenticateResponse)
	p.ErrorCode, p.ErrorMessage = code(errNoSASL), text(errNoSASL)
	return p
}
