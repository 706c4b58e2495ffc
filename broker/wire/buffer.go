package wire

import (
	"math/bits"
	"sync"
)

// Frames live in buffers of a few sizes, from 1 KiB to 16 MiB by fours; larger ones are
// made and left to the collector.
const (
	minClass = 10 // 1 KiB
	classes  = 8
)

var buffers [classes]sync.Pool

// takeBuffer returns a buffer of at least size bytes. Its content is arbitrary.
func takeBuffer(size int) []byte {
	class := classOf(size)
	if class >= classes {
		return make([]byte, size)
	}
	if b, ok := buffers[class].Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 1<<(minClass+2*class))
}

// giveBuffer takes back what takeBuffer returned.
func giveBuffer(b []byte) {
	class := classOf(cap(b))
	if class < classes && cap(b) == 1<<(minClass+2*class) {
		b = b[:cap(b)]
		buffers[class].Put(&b)
	}
}

// classOf is the smallest class that holds size bytes.
func classOf(size int) int {
	if size <= 1<<minClass {
		return 0
	}
	return (bits.Len(uint(size-1)) - minClass + 1) / 2
}
