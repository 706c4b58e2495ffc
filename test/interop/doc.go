// Package interop drives the built varve with unmodified clients and tools of others:
// Apache Kafka's own command-line classes, Streams and Connect, kcat and librdkafka,
// Python, Node.js and Go clients, and with raw requests of every version.
// docs/mission.md tells which test proves which promise.
//
// Run it with `make interop`; the tests have the build tag interop. Most of them share
// one broker and keep apart by the names of their topics and groups.
package interop
