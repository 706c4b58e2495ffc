//go:build mutants

package segment

// mutation is the seeded bug that is switched on, of the list in mutants_test.go.
var mutation string

func mutant(name string) bool { return mutation == name }
