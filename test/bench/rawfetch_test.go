package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

// batch returns the bytes of a record batch as far as batches looks at it.
func rawBatch(base int64, lastDelta int32, size int) []byte {
	b := make([]byte, size)
	binary.BigEndian.PutUint64(b, uint64(base))
	binary.BigEndian.PutUint32(b[8:], uint32(size-12))
	binary.BigEndian.PutUint32(b[23:], uint32(lastDelta))
	return b
}

func TestBatchesAreWalkedUpToOneThatIsCutOff(t *testing.T) {
	whole := append(rawBatch(10, 4, 80), rawBatch(15, 0, 61)...)
	for _, c := range []struct {
		name  string
		bytes []byte
		ends  []int64
	}{
		{"nothing", nil, nil},
		{"two batches", whole, []int64{15, 16}},
		{"the second cut in its header", whole[:80+20], []int64{15}},
		{"the second cut in its records", whole[:80+40], []int64{15}},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := bufio.NewReader(bytes.NewReader(append(slices.Clone(c.bytes), "next"...)))
			r := fetchReader{in: in, left: len(c.bytes)}
			var ends []int64
			r.batches(len(c.bytes), func(next int64) { ends = append(ends, next) })
			if r.err != nil || !slices.Equal(ends, c.ends) {
				t.Errorf("ends %v, error %v, want %v", ends, r.err, c.ends)
			}
			if rest, err := in.Peek(4); err != nil || string(rest) != "next" || r.left != 0 {
				t.Errorf("stopped at %q, %v, with %d left", rest, err, r.left)
			}
		})
	}
}
