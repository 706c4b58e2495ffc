// Package txn is one transactional id as a value (KIP-98): which producer holds it, and
// where its transaction stands. Every method takes a moment and what was asked and
// returns what to answer and what to write. It is not a coordinator: it has no clock,
// lock, goroutine or log, and producer ids arrive as arguments.
//
// What always holds:
//
//   - One step at a time: until the fate of a step's record is told (Written), every other
//     step is answered CONCURRENT_TRANSACTIONS.
//   - A transaction that is prepared is completed in the direction in which it was
//     prepared, whatever is asked and whoever coordinates it.
//   - The epoch of a producer never goes back; a new producer id begins at epoch 0.
//   - The epoch that a marker carries is later than any that wrote records of the
//     transaction, save for clients before transactions of version 2 (KIP-890).
//
// The records are Apache Kafka's own (TransactionLogKey, TransactionLogValue), so that
// its tools read ours and we read its.
package txn
