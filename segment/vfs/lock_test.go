//go:build linux

package vfs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLockExcludesAndIsExcludedByLocksOfAProcess: those are Apache Kafka's, which holds
// the same file of a log directory. They bind even within one process.
func TestLockExcludesAndIsExcludedByLocksOfAProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".lock")
	kafka, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Close()
	set := func(kind int16) error {
		return unix.FcntlFlock(kafka.Fd(), unix.F_SETLK, &unix.Flock_t{Type: kind})
	}
	if err := set(unix.F_WRLCK); err != nil {
		t.Fatal(err)
	}
	if lock, err := new(OS).Lock(path); !errors.Is(err, ErrLocked) {
		t.Errorf("beside Kafka's lock: %v, %v", lock, err)
	}
	if err := set(unix.F_UNLCK); err != nil {
		t.Fatal(err)
	}
	lock, err := new(OS).Lock(path)
	if err != nil {
		t.Fatalf("once Kafka has gone: %v", err)
	}
	if err := set(unix.F_WRLCK); !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
		t.Errorf("Kafka's lock beside ours: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if err := set(unix.F_WRLCK); err != nil {
		t.Errorf("Kafka's lock after ours: %v", err)
	}
}
