// Package e2e proves the promises of a running broker: the built varve as a process,
// real clients, a real MinIO, killed and restarted. Its tests carry the build tag e2e
// and run by `make e2e`. A run prints its seed, and VARVE_E2E_SEED repeats it;
// VARVE_E2E_BYTES is the size of the data set of TestReplayFromBucket.
package e2e
