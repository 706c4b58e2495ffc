// Package harness runs what the end-to-end tests need as real processes on loopback:
// the built varve, Apache Kafka's broker, its command-line tools, kcat, Python and
// Node.js clients, and loopback file systems. Every process is stopped by its pid when
// its test ends, and every wait has a deadline. What is missing on the machine fails the
// test with the make target that installs it.
package harness
