// Package coordinator runs replicated state machines, one for each partition of an
// internal topic that this broker leads: it loads a machine's state by reading the
// partition, appends the records of each transition, and answers when they are
// committed. The machines themselves (groups, transactions, share partitions) are pure and live in the
// packages below.
//
// It is not an API layer: it does not authorize, does not know which topics exist and
// does not resolve topic ids.
//
// What always holds:
//
//   - Every step of a machine runs under its shard's mutex, together with the append of
//     the step's records, so that the order of steps is the order of the log.
//   - Fates of appends are told to the machines in the order of the log.
//   - A shard has one goroutine while appends wait to be committed, and one more for each
//     transaction whose markers are being written, each request of a group to the share
//     coordinator, and each log that is being pruned. Members, groups, open transactions and
//     parked requests have none.
package coordinator
