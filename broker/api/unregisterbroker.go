package api

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// unregisterBroker is for brokers that are gone (KIP-500). A registration here ends with
// its broker, by its lease, so there is never one to remove.
func (s *Server) unregisterBroker(_ *call, q *kmsg.UnregisterBrokerRequest) *kmsg.UnregisterBrokerResponse {
	p := q.ResponseKind().(*kmsg.UnregisterBrokerResponse)
	err := refuse(kerr.BrokerIDNotRegistered, fmt.Sprintf("Broker ID %d is not currently registered", q.BrokerID))
	if _, alive := s.Store.Image().Broker(q.BrokerID); alive {
		err = refuse(kerr.InvalidRequest, fmt.Sprintf("Broker %d is running: stop it, and its registration ends with it", q.BrokerID))
	}
	p.ErrorCode, p.ErrorMessage = code(err), text(err)
	return p
}
