// Package vfs is the file system as the log sees it: the operating system's, or
// one in memory that can be crashed. It is not a general abstraction over
// storage: it holds just what a segmented log and a chunk cache need.
//
// Durability is explicit. A write is durable once Sync of its file, or SyncAll of
// its file system, has returned nil; a created, renamed or removed name is durable
// once SyncDir of its directory has returned nil. After a failed Sync nothing is
// known of the file, and no caller tries again (fsyncgate): its error is told from all
// others by ErrSync.
package vfs

import (
	"errors"
	"io"
	"io/fs"
)

// File is an open file. ReadAt and WriteAt may be called from many goroutines.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer

	// Sync makes the file's bytes and size durable (fdatasync).
	Sync() error
	// Truncate sets the size in bytes.
	Truncate(size int64) error
	// Size returns the size in bytes.
	Size() (int64, error)
	// Fd returns the descriptor that sendfile(2) reads from. ok is false where the
	// bytes have to be copied instead, as from a file in memory.
	Fd() (fd int, ok bool)
	// Name returns the path the file was opened by.
	Name() string
}

// FS is a file system. Paths are the operating system's. Errors satisfy
// errors.Is with fs.ErrNotExist, fs.ErrExist and the syscall errors
// (ENOSPC, EIO) where those apply.
type FS interface {
	// Create makes a new file for reading and writing; fs.ErrExist where the name is taken.
	Create(name string) (File, error)
	// Open opens a regular file for reading and writing, or for reading where
	// readOnly. It does not follow a symbolic link and refuses what is not a
	// regular file.
	Open(name string, readOnly bool) (File, error)
	// Remove unlinks a file or an empty directory.
	Remove(name string) error
	// RemoveAll removes a directory and what is in it.
	RemoveAll(name string) error
	// Rename replaces newName atomically.
	Rename(oldName, newName string) error
	// MkdirAll makes a directory and its parents.
	MkdirAll(name string) error
	// List returns the entries of a directory, sorted by name.
	List(dir string) ([]fs.DirEntry, error)
	// Stat describes a name, without following a symbolic link.
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the entries of a directory durable.
	SyncDir(dir string) error
	// SyncAll makes durable every write to the file system that holds dir (syncfs).
	// It reports write-back errors that arose since the last call.
	SyncAll(dir string) error
	// Lock takes an exclusive lock on a file that it creates when missing, and
	// returns ErrLocked at once when another process or holder has it: of Varve, or
	// Apache Kafka by the same name.
	Lock(name string) (io.Closer, error)
	// Free returns the bytes that a file in dir can still grow by.
	Free(dir string) (int64, error)
}

// ErrLocked says that another process or holder has the lock.
var ErrLocked = errors.New("file is locked")

// ErrSync is in the error of every sync that was tried and failed, whatever its cause.
var ErrSync = errors.New("sync failed")

// Preallocator is a File that can set blocks aside: Preallocate reserves space up
// to size bytes without changing the file's size, and Truncate gives back what lies
// beyond the size it sets.
type Preallocator interface {
	Preallocate(size int64) error
}

// VectorWriter is a File that writes several buffers at one place with one call.
type VectorWriter interface {
	// WriteVAt writes the buffers of p one after the other from position off on.
	WriteVAt(p [][]byte, off int64) (int, error)
}

// WriteBacker is a File whose bytes can go to the disk before a Sync has to wait for
// them. It makes nothing durable.
type WriteBacker interface {
	// WriteBack waits until the bytes below from have been written, of all that was
	// begun, and begins to write those of [from, to). Its error is that of a failed sync.
	WriteBack(from, to int64) error
}
