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
			if v, ok := x.(WriteBacker); ok {
				for _, to := range []int64{0, 5, 11, 11, 1 << 20} {
					check(v.WriteBack(min(to/2, 5), to), nil)
				}
				if n, err := x.Size(); n != 11 || err != nil {
					t.Fatal(n, err)
				}
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
			if v, ok := x.(WriteBacker); ok {
				if err := v.WriteBack(0, 1); !errors.Is(err, ErrSync) {
					t.Fatalf("write-back of a closed file: %v", err)
				}
			}
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
		if k := m.Crash(nil); k.disk.used != 3000 {
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

func TestInjectedFaultsHitWhatTheyName(t *testing.T) {
	m := NewMem()
	check := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	m.MkdirAll("/a")
	m.MkdirAll("/b")
	a, _ := m.Create("/a/0.log")
	b, _ := m.Create("/b/0.log")
	write := func(f File) error { _, err := f.WriteAt([]byte("0123"), 0); return err }
	for _, pattern := range []string{"/a", "/a/", "/a/0.log", "/a/*.log", "/?/0.log"} {
		heal := m.Inject(Fault{Op: OpWrite, Path: pattern, Err: syscall.EIO})
		check(pattern, write(a), syscall.EIO)
		if pattern != "/?/0.log" {
			check(pattern+" elsewhere", write(b), nil)
		}
		check(pattern+" other operation", a.Sync(), nil)
		heal()
		check(pattern+" healed", write(a), nil)
	}
	m.Inject(Fault{Op: OpWrite, Path: "*.log", Skip: 1, Times: 2, Err: syscall.ENOSPC})
	for i, want := range []error{nil, syscall.ENOSPC, syscall.ENOSPC, nil} {
		check("write "+string(rune('0'+i)), write(b), want)
	}
	waited := 0
	heal := m.Inject(Fault{Op: OpRead, Wait: func() { waited++ }})
	a.ReadAt(make([]byte, 4), 0)
	heal()
	a.ReadAt(make([]byte, 4), 0)
	if waited != 1 {
		t.Errorf("a slow disk was waited for %d times, want 1", waited)
	}
}

// A disk that lies loses what it said was safe, and keeps it over a mere kill.
func TestLyingSyncMakesNothingDurable(t *testing.T) {
	m := NewMem()
	f, _ := m.Create("/f")
	m.SyncDir("/")
	heal := m.Inject(Fault{Lie: true})
	f.WriteAt([]byte("x"), 0)
	if err := errors.Join(f.Sync(), m.SyncAll("/"), m.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	size := func(m *Mem) int64 { i, _ := m.Stat("/f"); return i.Size() }
	lost := 0
	for seed := range uint64(20) {
		lost += 1 - int(size(m.Crash(rand.New(rand.NewPCG(seed, 0)))))
	}
	if lost == 0 || size(m.Crash(nil)) != 1 {
		t.Errorf("lost %d of 20 at power cuts, %d bytes left by a kill", lost, size(m.Crash(nil)))
	}
	heal()
	f.Sync()
	for seed := range uint64(20) {
		if size(m.Crash(rand.New(rand.NewPCG(seed, 0)))) != 1 {
			t.Fatal("an honest sync later saves what only a lie covered")
		}
	}
}

func TestMountsFillUpAndSyncByThemselves(t *testing.T) {
	m := NewMem()
	m.Mount("/a", 100)
	m.Mount("/b", 100)
	a, _ := m.Create("/a/f")
	b, _ := m.Create("/b/f")
	if n, err := a.WriteAt(make([]byte, 150), 0); n != 100 || !errors.Is(err, syscall.ENOSPC) || !Full(err) || Broken(err) {
		t.Fatal(n, err)
	}
	if n, err := b.WriteAt(make([]byte, 60), 0); n != 60 || err != nil {
		t.Fatal(n, err)
	}
	m.SyncAll("/b")
	heal := m.Inject(Fault{Op: OpSyncAll, Path: "/a", Err: syscall.ENOSPC})
	if err := m.SyncAll("/a"); !errors.Is(err, ErrSync) || Full(err) || !Broken(err) {
		t.Fatalf("a failed sync is a broken disk, not a full one: %v", err)
	}
	heal()
	for seed := range uint64(20) {
		c := m.Crash(rand.New(rand.NewPCG(seed, 1)))
		if i, err := c.Stat("/b/f"); err != nil || i.Size() != 60 {
			t.Fatal(i, err)
		}
	}
	for _, makeRoom := range []func() error{func() error { return a.Truncate(40) }, func() error { return m.Remove("/a/f") }} {
		before, _ := m.Free("/a")
		if err := makeRoom(); err != nil {
			t.Fatal(err)
		}
		if after, _ := m.Free("/a/x"); after <= before {
			t.Fatalf("%d bytes free, then %d", before, after)
		}
	}
}
