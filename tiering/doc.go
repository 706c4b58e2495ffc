// Package tiering moves sealed segments to an object store and reads them back: the
// bucket protocol (object, footer, manifest tree, pointer commit), the copier, the
// remote log, the chunk cache and the janitor. It decides nothing about retention
// (package retention does) and knows no Kafka request.
//
// What lies in the bucket of one partition, every object written once and never
// changed:
//
//	{cluster}/{topic id}/{partition:05d}/seg/{base:020d}-{epoch:010d}-{uuid}   a segment, object.go
//	{cluster}/{topic id}/{partition:05d}/leaf/{base:020d}-{epoch:010d}-{uuid}  entries or references, node.go
//	{cluster}/{topic id}/{partition:05d}/root/{seq:020d}-{epoch:010d}-{uuid}   the manifest, root.go
//
// The pointer in the metadata store names the root that counts. What always holds:
//
//   - An object is announced by an intent before its first byte is written. A commit
//     consumes the intents of what it names; where one is gone, it fails. Taking an
//     intent away is therefore all it takes to make an object deletable.
//   - A commit compares the leader's key, the pointer and the intents in one
//     transaction, so that no leader but the current one changes anything.
//   - Committed means durable in the bucket: root, leaves and segments were written
//     before the pointer swings.
//   - An unknown outcome is a state of its own (commit.go). Until it is decided nothing
//     else is committed, and the offsets that allow deletion do not move.
//   - Nothing is deleted from the bucket but from the dead list of a committed root,
//     after a delay, and stays in that list until the store has acknowledged. The
//     exceptions are the objects of a deleted topic, and those that no commit can name
//     any more (orphans.go).
//   - A byte is handed to a reader only after the CRC of its chunk was verified.
//
// Constructors start no goroutine. Downloads are served by (*Tier).Run; everything else
// is a step that its caller repeats.
package tiering
