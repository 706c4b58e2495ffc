package vfs

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestBothFileSystemsObeyOneSuite(t *testing.T) {
	for name, f := range map[string]FS{"os": new(OS), "mem": NewMem()} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a", "b")
			check := func(err, want error) {
				t.Helper()
				if !errors.Is(err, want) {
					t.Fatalf("%v, want %v", err, want)
				}
			}
			check(f.MkdirAll(dir), nil)
			path := filepath.Join(dir, "x")
			_, err := f.Open(path, false)
			check(err, fs.ErrNotExist)
			x, err := f.Create(path)
			check(err, nil)
			_, err = f.Create(path)
			check(err, fs.ErrExist)
			_, err = x.WriteAt([]byte("hello"), 3)
			check(err, nil)
			if v, ok := x.(VectorWriter); ok {
				if n, err := v.WriteVAt([][]byte{[]byte("a"), nil, []byte("bc")}, 8); n != 3 || err != nil {
					t.Fatal(n, err)
				}
			} else {
				x.WriteAt([]byte("abc"), 8)
			}
			p := make([]byte, 20)
			if n, _ := x.ReadAt(p, 0); !bytes.Equal(p[:n], []byte("\x00\x00\x00helloabc")) {
				t.Fatalf("%q", p[:n])
			}
			check(x.Truncate(4), nil)
			if n, err := x.Size(); n != 4 || err != nil {
				t.Fatal(n, err)
			}
			check(x.Sync(), nil)
			check(f.SyncDir(dir), nil)
			check(f.SyncAll(dir), nil)
			check(x.Close(), nil)
			check(x.Close(), fs.ErrClosed)
			_, err = f.Open(dir, true)
			check(err, fs.ErrInvalid)
			check(f.Rename(path, path+"y"), nil)
			if l, err := f.List(dir); len(l) != 1 || l[0].Name() != "xy" || err != nil {
				t.Fatal(l, err)
			}
			lock, err := f.Lock(filepath.Join(dir, ".lock"))
			check(err, nil)
			_, err = f.Lock(filepath.Join(dir, ".lock"))
			check(err, ErrLocked)
			check(lock.Close(), nil)
			check(f.Remove(path+"y"), nil)
			check(f.Remove(path), fs.ErrNotExist)
			if n, err := f.Free(dir); n <= 0 || err != nil {
				t.Fatal(n, err)
			}
			check(f.RemoveAll(dir), nil)
			_, err = f.Stat(dir)
			check(err, fs.ErrNotExist)
		})
	}
}

func TestOpenFollowsNoLinkAndWaitsForNoFIFO(t *testing.T) {
	dir := t.TempDir()
	os.Symlink("/etc/passwd", filepath.Join(dir, "link"))
	syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600)
	for _, name := range []string{"link", "fifo"} {
		if _, err := new(OS).Open(filepath.Join(dir, name), true); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCrashKeepsWhatWasSyncedAndNothingElseForSure(t *testing.T) {
	lost, kept := 0, 0
	for seed := range uint64(50) {
		m := NewMem()
		m.MkdirAll("/d")
		m.SyncDir("/")
		f, _ := m.Create("/d/f")
		f.WriteAt(bytes.Repeat([]byte{1}, 1000), 0)
		f.Sync()
		m.SyncDir("/d")
		f.WriteAt(bytes.Repeat([]byte{2}, 2000), 1000)
		m.Create("/d/g")
		c := m.Crash(rand.New(rand.NewPCG(seed, 0)))
		g, err := c.Open("/d/f", true)
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 3000)
		n, _ := g.ReadAt(p, 0)
		if n < 1000 || !bytes.Equal(p[:1000], bytes.Repeat([]byte{1}, 1000)) {
			t.Fatalf("seed %d: synced bytes are gone", seed)
		}
		if _, err := c.Stat("/d/g"); err != nil {
			lost++
		} else {
			kept++
		}
		if k := m.Crash(nil); k.root.size() != 3000 {
			t.Fatal("a kill lost bytes")
		}
	}
	if lost == 0 || kept == 0 {
		t.Fatalf("names lost %d, kept %d", lost, kept)
	}
}

func TestFailedSyncIsNotMadeGoodByTheNext(t *testing.T) {
	m := NewMem()
	f, _ := m.Create("/f")
	m.SyncDir("/")
	m.SetFault(func(op Op, _ string, _ int) error {
		if op == OpSync {
			return syscall.EIO
		}
		return nil
	})
	f.WriteAt(bytes.Repeat([]byte{1}, 600), 0)
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	m.SetFault(nil)
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	gone := false
	for seed := range uint64(20) {
		g, err := m.Crash(rand.New(rand.NewPCG(seed, 0))).Open("/f", true)
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 600)
		g.ReadAt(p, 0)
		gone = gone || !bytes.Equal(p, bytes.Repeat([]byte{1}, 600))
	}
	if !gone {
		t.Fatal("a failed sync was made good")
	}
}
