package mem

import (
	"bytes"
	"context"
	"io"
	"slices"
)

// Op is an operation as hooks and counters see it.
type Op string

// The operations. Entry is one object of a listing: its hook can hide it.
const (
	Put    Op = "put"
	Get    Op = "get"
	Head   Op = "head"
	Delete Op = "delete"
	List   Op = "list"
	Entry  Op = "entry"
)

// Hook decides what happens to an operation. It is called without any lock held, may
// block, may call the Bucket, and must be safe for concurrent use. The key of List is
// its prefix. Delete asks once per key.
type Hook func(op Op, key string) Fault

// Fault is what befalls one operation; the zero value is none. Faults combine: first
// the waiting, then Before, then the effect with its damage, then After.
type Fault struct {
	// Wait holds the operation until the channel is closed or its context ends; nil
	// does not wait.
	Wait <-chan struct{}
	// Hang holds the operation until its context ends.
	Hang bool
	// Before fails the operation without effect.
	Before error
	// After fails Put or Delete after the effect: the outcome the caller cannot know.
	After error
	// Lost lets Put or Delete succeed without effect.
	Lost bool
	// Stale lets Get and Head not find an object that is there, and a listing omit
	// the Entry.
	Stale bool
	// Truncate cuts that many bytes off the end of a Get's stream, which then fails
	// with io.ErrUnexpectedEOF; all of them if there are fewer.
	Truncate int
	// Flip flips the lowest bit of the byte in the middle of what a Get returns or a
	// Put stores.
	Flip bool
	// Replace is what a Get returns instead of the object's bytes, unless nil.
	Replace []byte
}

// SetHook replaces the hook; nil heals the store.
func (b *Bucket) SetHook(hook Hook) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hook = hook
}

// begin counts the operation, asks the hook and carries out what precedes the effect.
func (b *Bucket) begin(ctx context.Context, op Op, key string) (Fault, error) {
	if err := contextError(ctx); err != nil {
		return Fault{}, err
	}
	b.mu.Lock()
	b.calls[op]++
	hook := b.hook
	b.mu.Unlock()
	if hook == nil {
		return Fault{}, nil
	}
	fault := hook(op, key)
	if fault.Hang {
		<-ctx.Done()
	}
	if fault.Wait != nil {
		select {
		case <-fault.Wait:
		case <-ctx.Done():
		}
	}
	if err := contextError(ctx); err != nil {
		return Fault{}, err
	}
	return fault, fault.Before
}

// damage returns content with the fault's flipped bit; content itself stays whole.
func (f Fault) damage(content []byte) []byte {
	if !f.Flip || len(content) == 0 {
		return content
	}
	content = slices.Clone(content)
	content[len(content)/2] ^= 1
	return content
}

// stream returns what a Get of content delivers under the fault.
func (f Fault) stream(ctx context.Context, content []byte) io.ReadCloser {
	if f.Replace != nil {
		content = bytes.Clone(f.Replace)
	}
	content = f.damage(content)
	if f.Truncate == 0 {
		return newStream(ctx, content, nil)
	}
	return newStream(ctx, content[:max(0, len(content)-f.Truncate)], io.ErrUnexpectedEOF)
}
