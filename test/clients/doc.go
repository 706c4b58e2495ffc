// Package clients runs clients' own test suites, as their authors wrote them, against
// the built varve and against Apache Kafka, and compares test by test: franz-go's kgo
// and kadm, and librdkafka's. A test that passes on Kafka and not on varve is a failure.
//
// Run it with `make clients`, which takes about forty minutes and writes docs/clients.md;
// the runs have the build tag clients. What compares them has not, and is tested with all
// packages.
package clients
