// Package chaos mistreats built brokers while clients run, and judges what the clients
// saw: the rows of the reliability plan (R1 to R45) that a process can be put through
// from outside. Each test is named after its row; docs/reliability.md lists them all.
//
// `make e2e` runs them short, `make chaos DURATION=10m` gives each of them that time.
// What happens at random follows from a printed seed.
package chaos
