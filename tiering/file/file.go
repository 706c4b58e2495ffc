// Package file is an object store in a directory: the embedded default, and a bucket
// on any mounted file system. An object is one file, its path below the root is its
// key. It is not shared storage: two processes may read one root, one writes.
//
// An object appears by rename(2) after its bytes were synced, and is never modified;
// after Put returned nil it survives a crash. Open files outlive their object.
package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/varvelog/varve/tiering/objstore"
)

// incoming is the directory below the root where objects are written before they get
// their name. No key starts with a dot, so none can name it. It also marks the root
// as a bucket: without it a volume is not mounted.
const incoming = ".incoming"

// Mark is the name by which a root is told from other directories.
const Mark = incoming

// bufferSize is the unit of copying, in bytes: large enough that system calls do not
// count, small enough that a cancelled Put stops at once.
const bufferSize = 256 << 10

// Options says where the bucket is.
type Options struct {
	// Dir is the root. It is created, but not its parent.
	Dir string
	// NoSync leaves out every fsync. An object may then be torn after a crash; for
	// tests and for file systems that sync by themselves.
	NoSync bool
}

// Bucket is an objstore.Bucket and objstore.Local in a directory.
type Bucket struct {
	root    string // absolute
	noSync  bool
	buffers sync.Pool // of *[]byte, bufferSize long
}

var (
	_ objstore.Bucket  = (*Bucket)(nil)
	_ objstore.Local   = (*Bucket)(nil)
	_ objstore.Checker = (*Bucket)(nil)
)

// Open opens the bucket in dir to be read: it creates and removes nothing.
func Open(dir string) (*Bucket, error) {
	root, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("object store directory: %w", err)
	}
	if _, err := os.Stat(filepath.Join(root, incoming)); err != nil {
		return nil, fmt.Errorf("object store directory %s: %w", dir, err)
	}
	b := &Bucket{root: root}
	b.buffers.New = func() any { p := make([]byte, bufferSize); return &p }
	return b, nil
}

// New opens the bucket in o.Dir, creates it if there is none, and removes what Puts
// that were cut off left behind.
func New(o Options) (*Bucket, error) {
	if o.Dir == "" {
		return nil, errors.New("object store directory: no directory given")
	}
	root, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("object store directory: %w", err)
	}
	b := &Bucket{
		root:    root,
		noSync:  o.NoSync,
		buffers: sync.Pool{New: func() any { buffer := make([]byte, bufferSize); return &buffer }},
	}
	if err := b.create(); err != nil {
		return nil, fmt.Errorf("object store directory: %w", err)
	}
	return b, nil
}

// create makes root and incoming, both durably, and empties incoming.
func (b *Bucket) create() error {
	for _, dir := range []string{b.root, filepath.Join(b.root, incoming)} {
		err := os.Mkdir(dir, 0o755)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := b.syncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	torn, err := os.ReadDir(filepath.Join(b.root, incoming))
	if err != nil {
		return err
	}
	for _, entry := range torn {
		if err := os.Remove(filepath.Join(b.root, incoming, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// Get implements objstore.Bucket.
func (b *Bucket) Get(ctx context.Context, key string, position, length int64) (io.ReadCloser, error) {
	if err := contextError(ctx); err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	f, size, err := b.open(key)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	if position < 0 || position >= size || length < 1 {
		return nil, errors.Join(
			fmt.Errorf("get %s at %d, %d bytes of %d: %w", key, position, length, size, objstore.ErrRange),
			f.Close())
	}
	length = min(length, size-position)
	return &stream{ctx: ctx, file: f, rest: io.NewSectionReader(f, position, length), left: length}, nil
}

// OpenLocal implements objstore.Local.
func (b *Bucket) OpenLocal(key string) (*os.File, error) {
	f, _, err := b.open(key)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", key, err)
	}
	return f, nil
}

// open opens the file of an object and returns its size.
func (b *Bucket) open(key string) (*os.File, int64, error) {
	if err := objstore.CheckKey(key); err != nil {
		return nil, 0, err
	}
	f, err := os.Open(b.path(key))
	if err != nil {
		return nil, 0, b.classify(err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = objstore.ErrNotFound // a directory of other keys
	}
	if err != nil {
		return nil, 0, errors.Join(b.classify(err), f.Close())
	}
	return f, info.Size(), nil
}

// Head implements objstore.Bucket.
func (b *Bucket) Head(ctx context.Context, key string) (objstore.Object, error) {
	if err := objstore.CheckKey(key); err != nil {
		return objstore.Object{}, err
	}
	if err := contextError(ctx); err != nil {
		return objstore.Object{}, fmt.Errorf("head %s: %w", key, err)
	}
	info, err := os.Lstat(b.path(key))
	if err == nil && !info.Mode().IsRegular() {
		err = objstore.ErrNotFound
	}
	if err != nil {
		return objstore.Object{}, fmt.Errorf("head %s: %w", key, b.classify(err))
	}
	return objstore.Object{Key: key, Size: info.Size(), Modified: info.ModTime()}, nil
}

// Check implements objstore.Checker.
func (b *Bucket) Check(ctx context.Context) error {
	if err := contextError(ctx); err != nil {
		return err
	}
	probe, err := os.CreateTemp(filepath.Join(b.root, incoming), "check-*")
	if err != nil {
		return fmt.Errorf("object store directory %s: %w; make it writable for the broker or choose another", b.root, b.classify(err))
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// Name implements objstore.Bucket.
func (b *Bucket) Name() string { return "file://" + filepath.ToSlash(b.root) }

// path is the file of a key that passed CheckKey, and so lies below the root.
func (b *Bucket) path(key string) string { return filepath.Join(b.root, filepath.FromSlash(key)) }

// stream is the body of a Get.
type stream struct {
	ctx  context.Context // of the Get, which governs its stream
	file *os.File
	rest *io.SectionReader
	left int64 // bytes not read yet
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	if err := contextError(s.ctx); err != nil {
		return 0, err
	}
	n, err := s.rest.Read(p)
	s.left -= int64(n)
	if errors.Is(err, io.EOF) && s.left > 0 {
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}

// Close implements io.Closer.
func (s *stream) Close() error { return s.file.Close() }
