//go:build race

package shape

// The race detector's builds allocate an array twice where others do once.
const raceFactor = 2
