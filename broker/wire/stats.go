package wire

import "sync/atomic"

// Stats counts since New, but for what says Now. The counters are read one by one.
type Stats struct {
	ConnectionsNow int64
	Accepted       int64
	AcceptErrors   int64            // EMFILE and the like; the listener went on
	AcceptDelays   int64            // connections that waited for MaxConnectionRate
	Closed         map[string]int64 // by reason, every reason present

	RequestsNow   int64 // started and not answered
	RequestBytes  int64
	Requests      int64
	InFlightNow   int64 // bytes of MaxInFlightBytes in use
	InFlightWaits int64 // times a reader waited for it
	PipelineWaits int64 // times a reader waited for its own connection's answers

	Responses     int64
	ResponseBytes int64
	WriteCalls    int64 // sendmsg or Write
	SendfileCalls int64
	SendfileBytes int64
	CopiedBytes   int64 // bytes of files that did not leave by sendfile
	BlockedWrites int64 // times a response waited for its reader
}

// counters are Stats while they are counted.
type counters struct {
	connections, accepted, acceptErrors, acceptDelays   atomic.Int64
	closed                                              [len(reasons)]atomic.Int64
	requestsNow, requestBytes, requests                 atomic.Int64
	inFlightWaits, pipelineWaits                        atomic.Int64
	responses, responseBytes                            atomic.Int64
	writeCalls, sendfileCalls, sendfileBytes, copyBytes atomic.Int64
	blockedWrites                                       atomic.Int64
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	c := &s.counters
	closed := make(map[string]int64, len(reasons))
	for i, r := range reasons {
		closed[r.name] = c.closed[i].Load()
	}
	return Stats{
		ConnectionsNow: c.connections.Load(),
		Accepted:       c.accepted.Load(),
		AcceptErrors:   c.acceptErrors.Load(),
		AcceptDelays:   c.acceptDelays.Load(),
		Closed:         closed,
		RequestsNow:    c.requestsNow.Load(),
		RequestBytes:   c.requestBytes.Load(),
		Requests:       c.requests.Load(),
		InFlightNow:    s.budget.inUse(),
		InFlightWaits:  c.inFlightWaits.Load(),
		PipelineWaits:  c.pipelineWaits.Load(),
		Responses:      c.responses.Load(),
		ResponseBytes:  c.responseBytes.Load(),
		WriteCalls:     c.writeCalls.Load(),
		SendfileCalls:  c.sendfileCalls.Load(),
		SendfileBytes:  c.sendfileBytes.Load(),
		CopiedBytes:    c.copyBytes.Load(),
		BlockedWrites:  c.blockedWrites.Load(),
	}
}
