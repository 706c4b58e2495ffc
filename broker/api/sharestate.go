package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator"
)

// The state of share partitions is kept by the share coordinator (KIP-932). Brokers ask
// for it; clients do not.

// inTime bounds how long an answer of the share coordinator waits to be committed.
func inTime[P kmsg.Response](s *Server, wait coordinator.Pending[P]) func(context.Context) (P, error) {
	return func(ctx context.Context) (P, error) {
		ctx, cancel := context.WithTimeout(ctx, s.Config().Shares.WriteTimeout)
		defer cancel()
		return wait(ctx)
	}
}

func (s *Server) initializeShareGroupState(_ *call, q *kmsg.InitializeShareGroupStateRequest) func(context.Context) (*kmsg.InitializeShareGroupStateResponse, error) {
	return inTime(s, s.Shares.Initialize(q))
}

func (s *Server) readShareGroupState(_ *call, q *kmsg.ReadShareGroupStateRequest) func(context.Context) (*kmsg.ReadShareGroupStateResponse, error) {
	return inTime(s, s.Shares.Read(q))
}

func (s *Server) writeShareGroupState(_ *call, q *kmsg.WriteShareGroupStateRequest) func(context.Context) (*kmsg.WriteShareGroupStateResponse, error) {
	return inTime(s, s.Shares.Write(q))
}

func (s *Server) deleteShareGroupState(_ *call, q *kmsg.DeleteShareGroupStateRequest) func(context.Context) (*kmsg.DeleteShareGroupStateResponse, error) {
	return inTime(s, s.Shares.Delete(q))
}

func (s *Server) readShareGroupStateSummary(_ *call, q *kmsg.ReadShareGroupStateSummaryRequest) func(context.Context) (*kmsg.ReadShareGroupStateSummaryResponse, error) {
	return inTime(s, s.Shares.ReadSummary(q))
}
