// Package mem is an object store in memory with faults on demand. It is for tests: it
// records what was asked of it, remembers the content of every key ever written, and
// does to a call whatever its Hook says. It keeps nothing across a restart and has no
// bound.
//
// A key's second, different content is recorded as a Violation (invariant I4 of
// tiering), for keys are unique per attempt.
package mem

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/varvelog/varve/tiering/objstore"
)

// Options says how a Bucket behaves; the zero value is a healthy store.
type Options struct {
	// Hook is asked before every operation; nil means no fault ever.
	Hook Hook
	// Name is what Bucket.Name returns; "mem://" if empty.
	Name string
}

// Bucket is an objstore.Bucket in memory.
type Bucket struct {
	name string

	mu         sync.Mutex
	hook       Hook                         // guarded by mu
	objects    map[string]stored            // guarded by mu
	written    map[string][sha256.Size]byte // first content of every key ever written; guarded by mu
	violations []Violation                  // guarded by mu
	calls      map[Op]int                   // guarded by mu
	clock      time.Time                    // advances by one second per write; guarded by mu
}

// stored is one object. Its bytes are never modified, so readers share them.
type stored struct {
	body     []byte
	modified time.Time
}

// Violation says that a key was written with two contents.
type Violation struct {
	Key           string
	First, Second [sha256.Size]byte // SHA-256 of the two contents
}

// New returns an empty Bucket. The error is always nil; it is there because every
// driver's New has one.
func New(o Options) (*Bucket, error) {
	if o.Name == "" {
		o.Name = "mem://"
	}
	return &Bucket{
		name:    o.Name,
		hook:    o.Hook,
		objects: map[string]stored{},
		written: map[string][sha256.Size]byte{},
		calls:   map[Op]int{},
		clock:   time.Unix(0, 0).UTC(),
	}, nil
}

// Put implements objstore.Bucket.
func (b *Bucket) Put(ctx context.Context, key string, body objstore.Body) error {
	if err := objstore.CheckKey(key); err != nil {
		return err
	}
	fault, err := b.begin(ctx, Put, key)
	if err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	content, err := readBody(ctx, body)
	if err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	if !fault.Lost {
		b.store(key, fault.damage(content))
	}
	if fault.After != nil {
		return fmt.Errorf("put %s: %w", key, fault.After)
	}
	return nil
}

// Get implements objstore.Bucket.
func (b *Bucket) Get(ctx context.Context, key string, position, length int64) (io.ReadCloser, error) {
	if err := objstore.CheckKey(key); err != nil {
		return nil, err
	}
	fault, err := b.begin(ctx, Get, key)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	object, ok := b.lookup(key)
	if !ok || fault.Stale {
		return nil, fmt.Errorf("get %s: %w", key, objstore.ErrNotFound)
	}
	size := int64(len(object.body))
	if position < 0 || position >= size || length < 1 {
		return nil, fmt.Errorf("get %s at %d, %d bytes of %d: %w", key, position, length, size, objstore.ErrRange)
	}
	content := object.body[position : position+min(length, size-position)]
	return fault.stream(ctx, content), nil
}

// Head implements objstore.Bucket.
func (b *Bucket) Head(ctx context.Context, key string) (objstore.Object, error) {
	if err := objstore.CheckKey(key); err != nil {
		return objstore.Object{}, err
	}
	fault, err := b.begin(ctx, Head, key)
	if err != nil {
		return objstore.Object{}, fmt.Errorf("head %s: %w", key, err)
	}
	object, ok := b.lookup(key)
	if !ok || fault.Stale {
		return objstore.Object{}, fmt.Errorf("head %s: %w", key, objstore.ErrNotFound)
	}
	return describe(key, object), nil
}

// Delete implements objstore.Bucket. The hook is asked once per key, so a bulk delete
// can fail in part.
func (b *Bucket) Delete(ctx context.Context, keys []string) map[string]error {
	var failed map[string]error
	for _, key := range keys {
		if err := b.remove(ctx, key); err != nil {
			if failed == nil {
				failed = map[string]error{}
			}
			failed[key] = err
		}
	}
	return failed
}

func (b *Bucket) remove(ctx context.Context, key string) error {
	if err := objstore.CheckKey(key); err != nil {
		return err
	}
	fault, err := b.begin(ctx, Delete, key)
	if err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	if !fault.Lost {
		b.mu.Lock()
		delete(b.objects, key)
		b.mu.Unlock()
	}
	if fault.After != nil {
		return fmt.Errorf("delete %s: %w", key, fault.After)
	}
	return nil
}

// List implements objstore.Bucket. It shows the keys of the moment it was called.
func (b *Bucket) List(ctx context.Context, prefix string, yield func(objstore.Object) bool) error {
	if err := objstore.CheckPrefix(prefix); err != nil {
		return err
	}
	if _, err := b.begin(ctx, List, prefix); err != nil {
		return fmt.Errorf("list %s: %w", prefix, err)
	}
	for _, object := range b.matching(prefix) {
		fault, err := b.begin(ctx, Entry, object.Key)
		if err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		if fault.Stale {
			continue
		}
		if !yield(object) {
			return nil
		}
	}
	return nil
}

// Check implements objstore.Checker: memory is always there.
func (b *Bucket) Check(ctx context.Context) error { return contextError(ctx) }

// Name implements objstore.Bucket.
func (b *Bucket) Name() string { return b.name }

// Snapshot returns the contents as they are now, for auditors. The byte slices are
// the store's own and must not be modified.
func (b *Bucket) Snapshot() map[string][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	contents := make(map[string][]byte, len(b.objects))
	for key, object := range b.objects {
		contents[key] = object.body
	}
	return contents
}

// Violations returns every second content a key was written with, in order.
func (b *Bucket) Violations() []Violation {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.violations)
}

// Calls returns how often an operation began, failed ones included.
func (b *Bucket) Calls(op Op) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls[op]
}

func (b *Bucket) lookup(key string) (stored, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	object, ok := b.objects[key]
	return object, ok
}

func (b *Bucket) store(key string, content []byte) {
	sum := sha256.Sum256(content)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clock = b.clock.Add(time.Second)
	b.objects[key] = stored{body: content, modified: b.clock}
	if first, ok := b.written[key]; !ok {
		b.written[key] = sum
	} else if first != sum {
		b.violations = append(b.violations, Violation{Key: key, First: first, Second: sum})
	}
}

func (b *Bucket) matching(prefix string) []objstore.Object {
	b.mu.Lock()
	defer b.mu.Unlock()
	var objects []objstore.Object
	for _, key := range slices.Sorted(maps.Keys(b.objects)) {
		if strings.HasPrefix(key, prefix) {
			objects = append(objects, describe(key, b.objects[key]))
		}
	}
	return objects
}

func describe(key string, object stored) objstore.Object {
	return objstore.Object{Key: key, Size: int64(len(object.body)), Modified: object.modified}
}

// readBody copies body, looking at ctx between pieces.
func readBody(ctx context.Context, body objstore.Body) ([]byte, error) {
	const piece = 64 << 10
	content := make([]byte, body.Size())
	for position := 0; position < len(content); {
		n, err := body.ReadAt(content[position:min(position+piece, len(content))], int64(position))
		position += n
		if ctxErr := contextError(ctx); ctxErr != nil {
			return nil, ctxErr
		}
		if errors.Is(err, io.EOF) && position < len(content) {
			return nil, fmt.Errorf("read body: %w", io.ErrUnexpectedEOF)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read body: %w", err)
		}
	}
	return content, nil
}

// contextError is ctx.Err() as objstore.Bucket promises it: a deadline is
// ErrUnavailable too.
func contextError(ctx context.Context) error {
	err := ctx.Err()
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", objstore.ErrUnavailable, err)
	}
	return err
}

// stream is the body of a Get, with the fault's damage done to it.
type stream struct {
	ctx context.Context // of the Get, which governs its stream
	io.Reader
	end error // instead of io.EOF
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	if err := contextError(s.ctx); err != nil {
		return 0, err
	}
	n, err := s.Reader.Read(p)
	if errors.Is(err, io.EOF) && s.end != nil {
		err = s.end
	}
	return n, err
}

// Close implements io.Closer.
func (s *stream) Close() error { return nil }

func newStream(ctx context.Context, content []byte, end error) io.ReadCloser {
	return &stream{ctx: ctx, Reader: bytes.NewReader(content), end: end}
}
