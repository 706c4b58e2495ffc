package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// endTxn commits or aborts a transaction. The answer comes when the decision is stored;
// the markers follow.
func (s *Server) endTxn(ctx context.Context, _ *call, q *kmsg.EndTxnRequest) *kmsg.EndTxnResponse {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return s.Transactions.End(ctx, q)
}
