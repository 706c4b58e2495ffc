//go:build !race

package shape

const raceFactor = 1
