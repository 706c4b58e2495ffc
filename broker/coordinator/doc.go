// Package coordinator runs replicated state machines, one for each partition of an
// internal topic that this broker leads: it loads a machine's state by reading the
// partition, appends the records of each transition, and answers when they are
// committed. The machines themselves (groups, transactions) are pure and live in the
// packages below.
//
// It is not an API layer: it does not authorize, does not know which topics exist and
// does not resolve topic ids.
//
// What always holds:
//
//   - Every step of a group runs under its shard's mutex, together with the append of
//     the step's records, so that the order of steps is the order of the log.
//   - Fates of appends are told to the groups in the order of the log.
//   - A shard has at most one goroutine, and only while appends wait to be committed.
//     Members, groups and parked requests have none.
package coordinator
