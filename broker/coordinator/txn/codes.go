package txn

import "github.com/twmb/franz-go/pkg/kerr"

// Codes of the protocol that a transactional id answers.
var (
	invalidTxnState          = kerr.InvalidTxnState.Code
	invalidProducerIDMapping = kerr.InvalidProducerIDMapping.Code
	concurrentTransactions   = kerr.ConcurrentTransactions.Code
	producerFenced           = kerr.ProducerFenced.Code
	transactionAbortable     = kerr.TransactionAbortable.Code
)
