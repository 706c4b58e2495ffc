package api

import "github.com/twmb/franz-go/pkg/kmsg"

// listTransactions lists the transactional ids that this broker coordinates (KIP-664).
func (s *Server) listTransactions(_ *call, q *kmsg.ListTransactionsRequest) *kmsg.ListTransactionsResponse {
	return s.Transactions.List(q)
}
