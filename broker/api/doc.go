// Package api answers Kafka requests: one file per API key, the table of keys with
// their versions, and the one place where an error becomes a protocol code. Handlers
// translate between kmsg's structs and partitions, coordinators and metadata; what can
// be wrong in an interesting way is decided in the packages below.
package api
