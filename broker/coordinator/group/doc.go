// Package group is a group, of the classic, the consumer (KIP-848) or the streams protocol
// (KIP-1071), with its committed offsets, as a value: every method takes a moment and a
// request and returns what to answer and what to append. It is not a coordinator: it has no clock, lock,
// goroutine or log, and randomness arrives as an argument.
//
// What always holds:
//
//   - A committed offset is visible to Fetch only after its record is committed, and
//     commits of one partition become visible in the order of their records.
//   - The generation never goes back, and the members of one generation get their
//     assignments from that generation's leader only (KIP-62).
//   - In the consumer protocol no partition is given to a member before the one who
//     had it has said that it is revoked, or has left or been fenced; epochs never go
//     back; answers wait until the records that they rest on are committed. So it is with
//     the tasks of the streams protocol, of which a process also has each in one role only.
//   - What a group of a later process reads back from the records is the membership
//     of the last stored generation and every offset that was acknowledged.
//   - Every request is answered at most once.
//
// The records are Apache Kafka's own (GroupMetadata, OffsetCommit, ConsumerGroup…), so that its tools
// read ours and we read its.
package group
