// Package clients runs clients' own test suites, as their authors wrote them, against
// the built varve and against Apache Kafka, and compares test by test: franz-go's kgo
// and kadm, and librdkafka's. A test that passes on Kafka and not on varve is a failure,
// unless the known list says why; an entry of that list that is not true any more is a
// failure, too.
//
// Run it with `make clients`, which takes about half an hour and writes docs/clients.md;
// the runs have the build tag clients. What compares them has not, and is tested with all
// packages.
package clients
