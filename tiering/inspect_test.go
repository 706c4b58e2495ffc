package tiering_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/varvelog/varve/tiering"
)

func FuzzDescribe(f *testing.F) {
	const prefix = "c/01020300-0000-0000-0000-000000000000/00000/"
	const name = "/00000000000000000000-0000000001-3ab3e7d2-cc52-4f91-ac3c-0a89d621349e"
	for _, kind := range []string{"seg", "leaf", "root"} {
		for _, magic := range []string{"VARVESEG", "VARVLEAF", "VARVROOT"} {
			f.Add(prefix+kind+name, append([]byte(magic), make([]byte, 200)...))
			f.Add(prefix+kind+name, append(make([]byte, 200), append([]byte(magic), make([]byte, 56)...)...))
		}
	}
	f.Add("no key", []byte("x"))
	f.Fuzz(func(t *testing.T, key string, p []byte) {
		n, err := tiering.Describe(key, bytes.NewReader(p), int64(len(p)), func(tiering.Document) error { return nil })
		var corrupt *tiering.CorruptError
		if err != nil && !errors.As(err, &corrupt) && !errors.Is(err, tiering.ErrNoObject) {
			t.Fatal(err)
		}
		if n < 0 || n > int64(len(p)) {
			t.Fatalf("log of %d bytes", n)
		}
	})
}
