package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

func TestNextCutsBatchesOneByOne(t *testing.T) {
	first, second := plain(t), build(t, NoProducer, Record{Value: []byte("x")})
	p := append(bytes.Clone(first), second...)
	b, rest, err := Next(p)
	if err != nil || !bytes.Equal(b, first) || len(rest) != len(second) {
		t.Fatalf("%d bytes, %d left, %v", len(b), len(rest), err)
	}
	if cap(b) != len(b) {
		t.Error("appending to a batch would overwrite the one after it")
	}
	b, rest, err = Next(rest)
	if err != nil || !bytes.Equal(b, second) || len(rest) != 0 {
		t.Fatalf("%d bytes, %d left, %v", len(b), len(rest), err)
	}
}

func TestNextRefusesByName(t *testing.T) {
	with := func(change func(b Batch)) []byte {
		b := plain(t)
		change(b)
		return b
	}
	length := func(n int32) func(Batch) {
		return func(b Batch) { binary.BigEndian.PutUint32(b[posLength:], uint32(n)) }
	}
	magic := func(m int8) func(Batch) { return func(b Batch) { b[posMagic] = byte(m) } }
	whole := plain(t)
	for _, c := range []struct {
		name string
		p    []byte
		want error
	}{
		{"nothing", nil, ErrTruncated},
		{"less than a length", whole[:11], ErrTruncated},
		{"a length only", whole[:12], ErrTruncated},
		{"a header only", whole[:61], ErrTruncated},
		{"one byte less", whole[:len(whole)-1], ErrTruncated},
		{"length beyond the bytes", with(length(int32(len(whole) - 11))), ErrTruncated},
		{"length of 2 GiB", with(length(1<<31 - 1)), ErrTruncated},
		{"length -1", with(length(-1)), ErrCorrupt},
		{"length -2^31", with(length(-1 << 31)), ErrCorrupt},
		{"length 0", with(length(0)), ErrCorrupt},
		{"length below any message", with(length(13)), ErrCorrupt},
		{"length below a header", with(length(48)), ErrCorrupt},
		{"magic 0", with(magic(0)), ErrMagic},
		{"magic 1", with(magic(1)), ErrMagic},
		{"magic 1, short message", with(func(b Batch) { magic(1)(b); length(22)(b) }), ErrMagic},
		{"magic 1, cut short", with(magic(1))[:17], ErrMagic},
		{"magic 3", with(magic(3)), ErrCorrupt},
		{"magic -1", with(magic(-1)), ErrCorrupt},
	} {
		b, rest, err := Next(c.p)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if b != nil || len(rest) != len(c.p) {
			t.Errorf("%s: %d bytes cut, %d left of %d", c.name, len(b), len(rest), len(c.p))
		}
	}
}

func TestPeekSizeNeedsTheFirstBytesOnly(t *testing.T) {
	b := plain(t)
	for _, n := range []int{LogOverhead, posMagic + 1, HeaderSize, len(b)} {
		if size, err := PeekSize(b[:n]); err != nil || size != int64(len(b)) {
			t.Errorf("of %d bytes: %d, %v", n, size, err)
		}
	}
}
