// Package share is the stored state of one share partition as a value (KIP-932): how far
// a share group has come in a partition of a topic, and what became of the records above
// that. Every step takes the value and what was asked and returns what to answer, what to
// write, and the next value. It is not a coordinator: it has no clock, lock, goroutine or
// log; and it does not know what the delivery states mean to those who fetch.
//
// What always holds:
//
//   - The batches of a State are in order, do not overlap, lie at or above the start
//     offset, and two that touch differ.
//   - Of two statements about one offset the one with the higher delivery count stands,
//     and with equal counts the one with the higher state.
//   - An older epoch than one that was seen changes nothing: leaders are fenced by the
//     leader epoch, the group by the state epoch.
//   - A State is never modified: a step makes a new one.
//
// The records are Apache Kafka's own (ShareSnapshotKey, ShareUpdateKey), so that its tools
// read ours and we read its.
package share
