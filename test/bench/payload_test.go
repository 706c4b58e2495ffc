package main

import (
	"bytes"
	"compress/flate"
	"hash/crc32"
	"testing"
)

func TestTextIsTheSameInEveryRunAndHalfCompressible(t *testing.T) {
	const want = 0x3ce565be
	if got := crc32.ChecksumIEEE(text); got != want {
		t.Errorf("checksum %#x, want %#x: figures of older runs had other data", got, want)
	}
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if share := float64(b.Len()) / float64(len(text)); share < 0.35 || share > 0.65 {
		t.Errorf("compresses to %.2f of its size, want about a half", share)
	}
}

func TestValueHasItsSizeWhereverItIsCut(t *testing.T) {
	for _, size := range []int{100, 200, 1024} {
		for _, i := range []int{0, 1, 529, 1_000_000_000} {
			if v := value(i, size); len(v) != size || cap(v) != size {
				t.Errorf("value(%d, %d) has length %d and capacity %d", i, size, len(v), cap(v))
			}
		}
	}
}
