// Command bench measures Varve and Apache Kafka side by side: one run, one machine, one
// load generator, in turn (A B A B). It writes medians, ratios and whether each target
// is met to docs/benchmarks.md, and every single figure to docs/benchmarks.json.
//
//	make bench                             # everything, about half an hour
//	go run ./test/bench -quick             # small sizes, one round: does it work?
//	go run ./test/bench -run 'produce|e2e' # some scenarios, to the terminal only
//
// Figures of different runs do not compare: machines are shared and noisy. Only the
// ratio of two medians of one run means something, so that is what targets are about.
// Nothing here is a test: a missed target is reported, never a failure.
//
// The data are deterministic. Everything lies in one temporary directory that is removed.
package main
