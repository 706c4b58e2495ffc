// Package telemetry receives the metrics that clients push (KIP-714): it tells each client
// what it is subscribed to, takes its pushes, and keeps the newest value of each metric for
// the broker's own metrics endpoint.
//
// It is not the requests, which are package api's, and not what Prometheus reads, which
// is package broker's. It starts no goroutine and reads no clock.
//
// Subscriptions are answered and pushes refused by the rules of Apache Kafka's
// ClientMetricsManager. What a push contains has bounds of its own: what is decompressed,
// how large one metric is, how many series a client and all of them have, how long one
// is. What exceeds them is left out and counted; the client is not refused for it, since
// one that is told INVALID_RECORD never pushes again.
//
// Clients are asked for cumulative values, where Apache Kafka asks for deltas: that is
// what Prometheus keeps, a push that is lost loses nothing, and a total is right again
// after the client has gone to another broker or this one was restarted. Deltas are
// summed where a client sends them none the less.
package telemetry
