//go:build linux

package vfs

import "testing"

func TestDirtyIsWhatWaitsForTheDisk(t *testing.T) {
	for _, c := range []struct {
		text  string
		bytes int64
		ok    bool
	}{
		{"MemTotal: 1 kB\nDirty:      40 kB\nWriteback:   2 kB\nWritebackTmp: 7 kB\n", 42 << 10, true},
		{"MemTotal: 1 kB\nDirty: 0 kB\nWriteback: 0 kB\n", 0, true},
		{"", 0, false},
		{"MemTotal: 1 kB\nDirty: 40 kB\n", 0, false},
		{"MemTotal: 1 kB\nDirty: 40 kB\nWriteback: 2", 0, false},
		{"MemTotal: 1 kB\nDirty: 40 kB\nWriteback: -2 kB\n", 0, false},
		{"MemTotal: 1 kB\nDirty: 40 pages\nWriteback: 2 kB\n", 0, false},
		{"MemTotal: 1 kB\nDirty: 99999999999999999999 kB\nWriteback: 2 kB\n", 0, false},
	} {
		if bytes, ok := parseDirty([]byte(c.text)); bytes != c.bytes || ok != c.ok {
			t.Errorf("%q: %d, %v", c.text, bytes, ok)
		}
	}
}

func TestDirtyIsKnownAndCheap(t *testing.T) {
	var o OS
	if _, ok := o.Dirty(); !ok {
		t.Fatalf("%s does not tell what is dirty", meminfo)
	}
	if n := testing.AllocsPerRun(100, func() { o.Dirty() }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDirty(f *testing.F) {
	f.Add([]byte("MemTotal: 1 kB\nDirty: 40 kB\nWriteback: 2 kB\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if n, ok := parseDirty(text); n < 0 || !ok && n != 0 {
			t.Fatalf("%d, %v", n, ok)
		}
	})
}
