package batch

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"

	"github.com/twmb/franz-go/pkg/kbin"
)

func TestVarintsAreThoseOfKafka(t *testing.T) {
	values := []int64{0, -1, 1, -2, 63, -64, 64, -65, 127, 128, 8191, -8192, 8192, 1 << 20, -1 << 20,
		math.MaxInt32, math.MinInt32, math.MaxInt32 + 1, math.MinInt32 - 1, 1 << 55, math.MaxInt64, math.MinInt64}
	for _, v := range values {
		p := AppendVarint(nil, v)
		if want := kbin.AppendVarlong(nil, v); !bytes.Equal(p, want) {
			t.Errorf("%d is %x, want %x", v, p, want)
		}
		if VarintSize(v) != len(p) {
			t.Errorf("size of %d is %d, want %d", v, VarintSize(v), len(p))
		}
		if got, n := Varint(append(p, 0x80)); got != v || n != len(p) {
			t.Errorf("%d reads as %d in %d bytes", v, got, n)
		}
		got, n := Varint32(append(p, 0x80))
		if fits := v == int64(int32(v)); fits != (n == len(p)) || fits && int64(got) != v {
			t.Errorf("%d reads as the 32-bit %d in %d bytes", v, got, n)
		}
		for cut := range p {
			if _, n := Varint(p[:cut]); n != 0 {
				t.Errorf("%d cut to %d bytes reads", v, cut)
			}
		}
	}
}

func TestVarintsRefuseWhatIsTooLong(t *testing.T) {
	for _, p := range [][]byte{
		bytes.Repeat([]byte{0x80}, 10),
		append(bytes.Repeat([]byte{0x80}, 10), 0),
		append(bytes.Repeat([]byte{0xff}, 9), 2),
	} {
		if v, n := Varint(p); n != 0 {
			t.Errorf("%x reads as %d", p, v)
		}
	}
	for _, p := range [][]byte{
		{0x80, 0x80, 0x80, 0x80, 0x80, 0},
		binary.AppendUvarint(nil, 1<<32),
	} {
		if v, n := Varint32(p); n != 0 {
			t.Errorf("%x reads as the 32-bit %d", p, v)
		}
	}
}
