//go:build linux

package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// OS is the operating system's file system. The zero value is ready; it must not be
// copied.
type OS struct {
	mu sync.Mutex
	// dirs holds one descriptor per directory given to SyncAll, kept for the life of
	// the process: syncfs(2) reports the write-back errors that arose since its
	// descriptor was opened or last asked.
	dirs map[string]int
}

// osFile uses the descriptor directly: a regular file never needs the poller, and
// its users count references before they close it.
type osFile struct {
	fd   int
	name string
}

// retry calls f again while a signal interrupts it.
func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// syncError is pathError for a sync.
func syncError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return pathError(op, name, fmt.Errorf("%w: %w", ErrSync, err))
}

func (o *OS) open(name string, flags int) (File, error) {
	var fd int
	// O_NONBLOCK: opening a FIFO must not wait for its other end.
	err := retry(func() (err error) {
		fd, err = unix.Open(name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o644)
		return err
	})
	if errors.Is(err, unix.ELOOP) {
		return nil, pathError("open", name, fmt.Errorf("is a symbolic link: %w", fs.ErrInvalid))
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, pathError("stat", name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return nil, pathError("open", name, fmt.Errorf("is not a regular file: %w", fs.ErrInvalid))
	}
	return &osFile{fd: fd, name: name}, nil
}

// Create implements FS.
func (o *OS) Create(name string) (File, error) {
	return o.open(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
}

// Open implements FS.
func (o *OS) Open(name string, readOnly bool) (File, error) {
	if readOnly {
		return o.open(name, unix.O_RDONLY)
	}
	return o.open(name, unix.O_RDWR)
}

// Remove implements FS.
func (o *OS) Remove(name string) error { return os.Remove(name) }

// RemoveAll implements FS.
func (o *OS) RemoveAll(name string) error { return os.RemoveAll(name) }

// Rename implements FS.
func (o *OS) Rename(oldName, newName string) error { return os.Rename(oldName, newName) }

// Link gives a file a second name. It is no part of FS: a file in memory has one.
func (o *OS) Link(oldName, newName string) error { return os.Link(oldName, newName) }

// MkdirAll implements FS.
func (o *OS) MkdirAll(name string) error { return os.MkdirAll(name, 0o755) }

// List implements FS.
func (o *OS) List(dir string) ([]fs.DirEntry, error) { return os.ReadDir(dir) }

// Stat implements FS.
func (o *OS) Stat(name string) (fs.FileInfo, error) { return os.Lstat(name) }

// SyncDir implements FS.
func (o *OS) SyncDir(dir string) error {
	fd, err := openDir(dir)
	if err != nil {
		return err
	}
	err = retry(func() error { return unix.Fsync(fd) })
	return errors.Join(syncError("fsync", dir, err), pathError("close", dir, unix.Close(fd)))
}

func openDir(dir string) (fd int, err error) {
	err = retry(func() (err error) {
		fd, err = unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		return err
	})
	return fd, pathError("open", dir, err)
}

// SyncAll implements FS. The first call for a directory opens the descriptor that
// later errors are reported through, so it should come before the first write.
func (o *OS) SyncAll(dir string) error {
	dir = filepath.Clean(dir)
	o.mu.Lock()
	fd, ok := o.dirs[dir]
	if !ok {
		var err error
		if fd, err = openDir(dir); err != nil {
			o.mu.Unlock()
			return err
		}
		if o.dirs == nil {
			o.dirs = make(map[string]int)
		}
		o.dirs[dir] = fd
	}
	o.mu.Unlock()
	return syncError("syncfs", dir, retry(func() error { return unix.Syncfs(fd) }))
}

// osLock is a held lock of the whole file, of the open file description: it goes with
// the descriptor, so also with the process. It excludes the locks that processes hold by
// fcntl(2), which is how a Java virtual machine locks: Apache Kafka does not start on a
// directory of ours, nor we on one of its.
type osLock struct{ *osFile }

// Lock implements FS.
func (o *OS) Lock(name string) (io.Closer, error) {
	f, err := o.open(name, unix.O_RDWR|unix.O_CREAT)
	if err != nil {
		return nil, err
	}
	l := osLock{f.(*osFile)}
	whole := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	err = retry(func() error { return unix.FcntlFlock(uintptr(l.fd), unix.F_OFD_SETLK, &whole) })
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) { // POSIX has either
		err = ErrLocked
	}
	if err != nil {
		return nil, errors.Join(pathError("lock", name, err), l.Close())
	}
	return l, nil
}

// Free implements FS.
func (o *OS) Free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Statfs(dir, &st) }); err != nil {
		return 0, pathError("statfs", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

func (f *osFile) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		m, err := unix.Pread(f.fd, p[n:], off+int64(n))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return n, pathError("read", f.name, err)
		}
		if m == 0 {
			return n, io.EOF
		}
		n += m
	}
	return n, nil
}

func (f *osFile) WriteAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		m, err := unix.Pwrite(f.fd, p[n:], off+int64(n))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && m == 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			return n, pathError("write", f.name, err)
		}
		n += m
	}
	return n, nil
}

func (f *osFile) Sync() error {
	return syncError("fdatasync", f.name, retry(func() error { return unix.Fdatasync(f.fd) }))
}

func (f *osFile) Truncate(size int64) error {
	return pathError("truncate", f.name, retry(func() error { return unix.Ftruncate(f.fd, size) }))
}

func (f *osFile) Size() (int64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return 0, pathError("stat", f.name, err)
	}
	return st.Size, nil
}

// Preallocate implements Preallocator; where the file system cannot, it does nothing.
func (f *osFile) Preallocate(size int64) error {
	err := retry(func() error { return unix.Fallocate(f.fd, unix.FALLOC_FL_KEEP_SIZE, 0, size) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return pathError("fallocate", f.name, err)
}

// WriteBack implements WriteBacker; where the file system cannot, it does nothing. The
// kernel tells an error of write-back once: who waits here may be the one who is told.
func (f *osFile) WriteBack(from, to int64) error {
	err := syncRange(f.fd, 0, from, unix.SYNC_FILE_RANGE_WAIT_BEFORE)
	if err == nil {
		err = syncRange(f.fd, from, to, unix.SYNC_FILE_RANGE_WRITE)
	}
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return syncError("sync_file_range", f.name, err)
}

func syncRange(fd int, from, to int64, flags int) error {
	if from >= to { // 0 bytes are all there are
		return nil
	}
	return retry(func() error { return unix.SyncFileRange(fd, from, to-from, flags) })
}

// Close must not run beside another use of the file. An interrupted close has closed.
func (f *osFile) Close() error {
	fd := f.fd
	f.fd = -1
	if fd < 0 {
		return pathError("close", f.name, fs.ErrClosed)
	}
	if err := unix.Close(fd); err != nil && !errors.Is(err, unix.EINTR) {
		return pathError("close", f.name, err)
	}
	return nil
}

func (f *osFile) Fd() (int, bool) { return f.fd, true }
func (f *osFile) Name() string    { return f.name }

// maxVectors is IOV_MAX, the buffers of one pwritev(2).
const maxVectors = 1024

var vectors = sync.Pool{New: func() any { v := make([]unix.Iovec, 0, 16); return &v }}

// WriteVAt implements VectorWriter.
func (f *osFile) WriteVAt(p [][]byte, off int64) (n int, err error) {
	v := vectors.Get().(*[]unix.Iovec)
	defer func() { clear((*v)[:cap(*v)]); vectors.Put(v) }()
	for len(p) > 0 {
		run := min(len(p), maxVectors)
		*v = (*v)[:0]
		size := 0
		for _, b := range p[:run] {
			if len(b) > 0 {
				iov := unix.Iovec{Base: &b[0]}
				iov.SetLen(len(b))
				*v = append(*v, iov)
				size += len(b)
			}
		}
		if size == 0 {
			p = p[run:]
			continue
		}
		m, errno := pwritev(f.fd, *v, off+int64(n))
		if errno == unix.EINTR {
			continue
		}
		if errno == 0 && m == 0 {
			return n, pathError("write", f.name, io.ErrShortWrite)
		}
		if errno != 0 {
			return n, pathError("write", f.name, errno)
		}
		n += m
		if m == size {
			p = p[run:]
			continue
		}
		// Cut short, as by a full disk: write the rest buffer by buffer, which
		// brings the error to light.
		for _, b := range p[:run] {
			if m >= len(b) {
				m -= len(b)
				continue
			}
			w, err := f.WriteAt(b[m:], off+int64(n))
			n, m = n+w, 0
			if err != nil {
				return n, err
			}
		}
		p = p[run:]
	}
	return n, nil
}

func pwritev(fd int, v []unix.Iovec, off int64) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_PWRITEV, uintptr(fd), uintptr(unsafe.Pointer(&v[0])), uintptr(len(v)), uintptr(off), uintptr(off>>32), 0)
	return int(n), errno
}
