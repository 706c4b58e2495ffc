package segment

import (
	"errors"
	"io"
	"sync/atomic"

	"github.com/varvelog/varve/segment/vfs"
)

// File is an open file shared by readers: it is closed when its last reference goes,
// so a file may be unlinked while it is being sent.
type File struct {
	f    vfs.File
	refs atomic.Int32 // 0: closed
}

// NewFile takes over f with one reference, the caller's.
func NewFile(f vfs.File) *File {
	s := &File{f: f}
	s.refs.Store(1)
	return s
}

// Acquire adds a reference; false once the file is closed.
func (f *File) Acquire() bool {
	for {
		n := f.refs.Load()
		if n == 0 {
			return false
		}
		if f.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release gives one reference back. What was written is synced elsewhere, so an error
// of close has nothing to say.
func (f *File) Release() {
	switch n := f.refs.Add(-1); {
	case n == 0:
		_ = f.f.Close()
	case n < 0:
		panic("segment: file released once too often: " + f.f.Name())
	}
}

// Fd returns the descriptor for sendfile(2); valid while a reference is held.
func (f *File) Fd() (fd int, ok bool) { return f.f.Fd() }

// ReadAt implements io.ReaderAt; a reference must be held.
func (f *File) ReadAt(p []byte, position int64) (int, error) { return f.f.ReadAt(p, position) }

// Region is a run of whole batches in one file, kept open by a reference.
type Region struct {
	File     *File
	Position int64 // bytes
	Size     int64 // bytes
}

// Records is what a read found: whole batches in offset order. The first may begin
// below the offset asked for. Release it exactly once.
type Records struct {
	Regions []Region
	Size    int64 // bytes
}

// Release gives the files back.
func (r *Records) Release() {
	for i := range r.Regions {
		r.Regions[i].File.Release()
	}
	*r = Records{}
}

// Bytes copies the records out: the fallback for connections without sendfile, and
// for readers inside the broker.
func (r *Records) Bytes() ([]byte, error) {
	p := make([]byte, 0, r.Size)
	for _, g := range r.Regions {
		p = p[:len(p)+int(g.Size)]
		if n, err := g.File.ReadAt(p[len(p)-int(g.Size):], g.Position); n < int(g.Size) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return p, nil
}
