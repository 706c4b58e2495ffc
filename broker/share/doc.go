// Package share is the partition side of share groups (KIP-932): what a group has made of
// the records of a partition that this broker leads, who holds which of them until when,
// and the sessions of the members that fetch here. Who the members are, and where the
// states are stored, is the coordinator's business.
//
// State decides, as a value. Partition reads the log, lets State decide, and has every
// transition stored before it is true: an acknowledgement is answered when it was written.
// What a crash takes away are acquisitions, and with them at most one delivery that was
// not counted yet; never an acknowledgement.
//
// No goroutine belongs to a partition or a session: requests do their own work, and one
// loop of the broker gives back what is locked for too long.
package share
