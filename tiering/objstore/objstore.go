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
	// ErrDenied: credentials or policy refuse the call. Trying again does not help.
	ErrDenied = errors.New("object store access denied")
	// ErrMismatch: the store returned or received other bytes than asked for.
	ErrMismatch = errors.New("object store returned other bytes")
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
// All methods may be called concurrently.
type Bucket interface {
	// Put writes an object whole: after nil it exists with exactly body's bytes.
	// Bodies above PartSize go up in equal parts. A failed Put leaves no readable
	// object, or the whole one (outcome unknown), never a part of it.
	Put(ctx context.Context, key string, body Body) error
	// Get reads length bytes from position into a stream that the caller closes. It
	// fails with ErrNotFound or ErrRange; a range that crosses the end is cut there.
	// A short body surfaces from Read as io.ErrUnexpectedEOF.
	Get(ctx context.Context, key string, position, length int64) (io.ReadCloser, error)
	// Head returns the object's size.
	Head(ctx context.Context, key string) (Object, error)
	// Delete removes keys; a missing key counts as removed. It returns one error per
	// key that was not removed, keyed by it, and a nil map when all are gone.
	Delete(ctx context.Context, keys []string) map[string]error
	// List calls yield with every object whose key starts with prefix, in key order,
	// until yield returns false.
	List(ctx context.Context, prefix string, yield func(Object) bool) error
	// Name describes the store for people: "s3://bucket/prefix", "file:///dir".
	Name() string
}

// BytesBody is a Body over bytes in memory.
type BytesBody []byte

// ReadAt implements io.ReaderAt.
func (b BytesBody) ReadAt(p []byte, position int64) (int, error) {
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
