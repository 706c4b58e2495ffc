package api

import "github.com/twmb/franz-go/pkg/kmsg"

// describeTransactions tells where transactional ids stand (KIP-664).
func (s *Server) describeTransactions(_ *call, q *kmsg.DescribeTransactionsRequest) *kmsg.DescribeTransactionsResponse {
	return s.Transactions.Describe(q)
}
