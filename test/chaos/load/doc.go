// Package load is what clients do while a broker is mistreated: the loads of the
// reliability plan (W1 to W10), on kgo, written down as a history for package verify.
//
// A load goes on through everything that befalls the broker: clients reconnect and retry
// by themselves, and no outcome is an error of the load. What it was not told about a
// send stays unknown in the history. Values are numbers, and the rest of a record follows
// from its number, so a reader finds every changed byte.
package load
