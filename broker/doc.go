// Package broker is a whole Varve broker: the one place where log directories,
// metadata, bucket, partitions, coordinators and listeners are put together, and the
// only package that starts long-lived goroutines (run.go). It decides nothing that a
// package below could decide.
package broker
