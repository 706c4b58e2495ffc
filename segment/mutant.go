//go:build !mutants

package segment

// mutant tells whether a seeded bug is switched on: never, outside of `make mutants`.
// The bugs stand in the code beside what they break, each behind its name, and are
// compiled away.
func mutant(string) bool { return false }
