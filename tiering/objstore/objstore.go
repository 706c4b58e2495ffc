// Package objstore is an object store as tiering sees it: immutable objects under
// keys. It knows nothing of segments. Drivers live beside it, one package each, and
// pass the suite in objstoretest.
//
// No object is ever written with two contents: keys are unique per attempt, so a
// Put that is repeated writes the same bytes.
package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Errors that callers choose by. Every error of a Bucket wraps one of them, or the
// context's, or is permanent and unknown.
var (
	// ErrNotFound: no object has that key.
	ErrNotFound = errors.New("object not found")
	// ErrRange: the range begins at or past the end of the object.
	ErrRange = errors.New("range not satisfiable")
	// ErrUnavailable: the store did not answer, or asked to come back later (5xx,
	// SlowDown, refused, reset, deadline). The outcome of a write is unknown.
	ErrUnavailable = errors.New("object store unavailable")
	// ErrSlowDown: the store did nothing and wants fewer requests. It is ErrUnavailable too.
	ErrSlowDown = fmt.Errorf("%w: it asks to slow down", ErrUnavailable)
	// ErrDenied: credentials or policy refuse the call. Trying again does not help.
	ErrDenied = errors.New("object store access denied")
	// ErrMismatch: the store returned or received other bytes than asked for.
	ErrMismatch = errors.New("object store returned other bytes")
	// ErrNoBucket: the bucket itself (or the directory) is not there. It says nothing
	// about the objects: a volume that is not mounted must not look like lost data.
	ErrNoBucket = errors.New("bucket does not exist")
	// ErrBadKey: the key or prefix breaks the rules of CheckKey.
	ErrBadKey = errors.New("illegal object key")
)

// Object describes one object of a listing or a Head.
type Object struct {
	Key      string
	Size     int64     // bytes
	Modified time.Time // the store's clock; for people, never for decisions
}

// Body is what Put uploads: a source of known size that can be read again from any
// position, so that a failed part is repeated without a buffer.
type Body interface {
	io.ReaderAt
	Size() int64
}

// Bucket is an object store. Every call ends within ctx; drivers add no retry of
// their own beyond one reconnect, for the caller knows what a repeat means.
// All methods may be called concurrently. A call whose ctx has ended returns an
// error that wraps ctx.Err(); where that is the deadline it is ErrUnavailable too.
//
// Keys obey CheckKey, and no key is a directory of another: beside "a/b" there is
// no "a/b/c". Optional abilities are Local, Aborter and Checker.
type Bucket interface {
	// Put writes an object whole: after nil it exists with exactly body's bytes.
	// Large bodies may go up in equal parts. A failed Put leaves no readable object,
	// or the whole one (outcome unknown), never a part of it. An error of body itself
	// is returned as it is; body is not read after Put has returned.
	Put(ctx context.Context, key string, body Body) error
	// Get reads length bytes from position into a stream that the caller closes. It
	// fails with ErrNotFound or ErrRange; a range that crosses the end is cut there.
	// A short body surfaces from Read as io.ErrUnexpectedEOF. ctx governs the stream
	// until it is closed. A negative position or a length below 1 is ErrRange.
	Get(ctx context.Context, key string, position, length int64) (io.ReadCloser, error)
	// Head returns the object's size.
	Head(ctx context.Context, key string) (Object, error)
	// Delete removes keys; a missing key counts as removed. It returns one error per
	// key that was not removed, keyed by it, and a nil map when all are gone.
	Delete(ctx context.Context, keys []string) map[string]error
	// List calls yield with every object whose key starts with prefix, in byte order
	// of the keys, until yield returns false.
	List(ctx context.Context, prefix string, yield func(Object) bool) error
	// Name describes the store for people: "s3://bucket/prefix", "file:///dir".
	Name() string
}

// BytesBody is a Body over bytes in memory.
type BytesBody []byte

// ReadAt implements io.ReaderAt.
func (b BytesBody) ReadAt(p []byte, position int64) (int, error) {
	if position < 0 {
		return 0, errors.New("read at a negative position")
	}
	if position >= int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[position:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Size implements Body.
func (b BytesBody) Size() int64 { return int64(len(b)) }
