// Package s3api is what every S3 driver does the same way: which requests make up a
// Put, a Get or a Delete, what is checked about the answers, and what their errors
// mean. A driver brings a Client, one SDK call per method. It knows no SDK itself.
//
// No request is repeated here or in a driver, save that net/http dials again when an
// idle connection turns out to be closed. Bodies are streamed from their io.ReaderAt
// and never held in memory.
package s3api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/tiering/objstore"
)

// Client is one S3 request per method, made once. Keys are whole, with the prefix.
// Errors are the SDK's own; Failure reads them.
type Client interface {
	// PutObject uploads payload as one object.
	PutObject(ctx context.Context, key string, payload *Payload) (Receipt, error)
	// CreateUpload begins a multipart upload and returns its id.
	CreateUpload(ctx context.Context, key string) (string, error)
	// UploadPart uploads payload as part number of an upload; numbers begin at 1.
	UploadPart(ctx context.Context, key, upload string, number int, payload *Payload) (Receipt, error)
	// CompleteUpload makes the object out of its parts, in order from number 1.
	CompleteUpload(ctx context.Context, key, upload string, parts []Receipt) error
	// AbortUpload drops an upload and its parts.
	AbortUpload(ctx context.Context, key, upload string) error
	// ListUploads returns the ids of all unfinished uploads of exactly this key.
	ListUploads(ctx context.Context, key string) ([]string, error)
	// GetObject asks for the bytes from first to last, both included.
	GetObject(ctx context.Context, key string, first, last int64) (Content, error)
	// HeadObject returns size and time of an object.
	HeadObject(ctx context.Context, key string) (objstore.Object, error)
	// DeleteObjects removes up to 1,000 keys with one request. The result holds, for
	// every key the store answered for, nil or its failure.
	DeleteObjects(ctx context.Context, keys []string) (map[string]*Failure, error)
	// DeleteObject removes one key.
	DeleteObject(ctx context.Context, key string) error
	// List pages through all objects with prefix in the store's order.
	List(ctx context.Context, prefix string, yield func(objstore.Object) bool) error
	// HeadBucket fails unless the bucket is there and lets us in.
	HeadBucket(ctx context.Context) error
	// CreateBucket creates the bucket.
	CreateBucket(ctx context.Context) error
	// Failure returns what the store answered, if err is an answer of the store.
	Failure(err error) (Failure, bool)
}

// Receipt is what the store says about bytes it took.
type Receipt struct {
	ETag   string
	CRC32C string // base64, "" if the store returned none
}

// Content is the answer to GetObject.
type Content struct {
	Body   io.ReadCloser
	Length int64  // Content-Length, -1 if unknown
	Range  string // Content-Range, "" if the store sent the whole object
}

// abortGrace is how much longer than its context a Put may take to drop its parts. What it cannot drop in that time waits for AbortUploads.
const abortGrace = time.Second

// Bucket is an objstore.Bucket over a Client. Drivers embed it.
type Bucket struct {
	options Options
	client  Client

	// singleDelete is set once the store has refused DeleteObjects as such.
	singleDelete atomic.Bool
}

var (
	_ objstore.Bucket  = (*Bucket)(nil)
	_ objstore.Aborter = (*Bucket)(nil)
	_ objstore.Checker = (*Bucket)(nil)
)

// New returns the Bucket of a driver. o must come from Options.Complete.
func New(o Options, client Client) *Bucket {
	b := &Bucket{options: o, client: client}
	b.singleDelete.Store(o.DeleteBatch == 1)
	return b
}

// Get implements objstore.Bucket.
func (b *Bucket) Get(ctx context.Context, key string, position, length int64) (io.ReadCloser, error) {
	full, err := b.key(key)
	if err != nil {
		return nil, err
	}
	if position < 0 || length < 1 {
		return nil, fmt.Errorf("get %s: %d bytes at %d: %w", key, length, position, objstore.ErrRange)
	}
	last := int64(math.MaxInt64)
	if position <= last-length {
		last = position + length - 1
	}
	content, err := b.client.GetObject(ctx, full, position, last)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, b.classify(ctx, err))
	}
	want, err := content.check(position, last)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("get %s: %w", key, err), content.Body.Close())
	}
	return &stream{ctx: ctx, bucket: b, body: content.Body, left: want}, nil
}

// Head implements objstore.Bucket.
func (b *Bucket) Head(ctx context.Context, key string) (objstore.Object, error) {
	full, err := b.key(key)
	if err != nil {
		return objstore.Object{}, err
	}
	object, err := b.client.HeadObject(ctx, full)
	if err != nil {
		return objstore.Object{}, fmt.Errorf("head %s: %w", key, b.classify(ctx, err))
	}
	object.Key = key
	return object, nil
}

// List implements objstore.Bucket. A store that lists out of order, or what was not
// asked for, is ErrMismatch: a sweep that trusts the order must not skip keys.
func (b *Bucket) List(ctx context.Context, prefix string, yield func(objstore.Object) bool) error {
	if err := objstore.CheckPrefix(prefix); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("list %s: %w", prefix, b.classify(ctx, err))
	}
	previous := ""
	var wrong error
	err := b.client.List(ctx, b.options.Prefix+prefix, func(object objstore.Object) bool {
		key, ok := cutPrefix(object.Key, b.options.Prefix, prefix)
		if !ok || key <= previous {
			wrong = fmt.Errorf("%w: %q listed after %q", objstore.ErrMismatch, object.Key, previous)
			return false
		}
		previous, object.Key = key, key
		return yield(object)
	})
	if err != nil {
		wrong = b.classify(ctx, err)
	}
	if wrong != nil {
		return fmt.Errorf("list %s: %w", prefix, wrong)
	}
	return nil
}

// cutPrefix returns key without the bucket's prefix if it also has the asked one.
func cutPrefix(key, own, asked string) (string, bool) {
	if len(key) < len(own)+len(asked) || key[:len(own)] != own || key[len(own):len(own)+len(asked)] != asked {
		return "", false
	}
	return key[len(own):], true
}

// Name implements objstore.Bucket.
func (b *Bucket) Name() string { return "s3://" + b.options.Bucket + "/" + b.options.Prefix }

// Check implements objstore.Checker. With Options.CreateBucket it creates the bucket.
func (b *Bucket) Check(ctx context.Context) error {
	err := b.classify(ctx, b.client.HeadBucket(ctx))
	if errors.Is(err, objstore.ErrNotFound) { // the answer to HEAD has no body to say which
		err = objstore.ErrNoBucket
	}
	if errors.Is(err, objstore.ErrNoBucket) && b.options.CreateBucket {
		err = b.create(ctx)
	}
	where := fmt.Sprintf("bucket %q at %s", b.options.Bucket, b.options.Endpoint)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, objstore.ErrNoBucket):
		return fmt.Errorf("%s: %w; create it, or let the broker create it", where, err)
	case errors.Is(err, objstore.ErrDenied):
		return fmt.Errorf("%s: %w; check access key and secret, and that their policy allows to list, read, write and delete there", where, err)
	case errors.Is(err, objstore.ErrUnavailable):
		return fmt.Errorf("%s: %w; check that the endpoint is right, up and reachable from here", where, err)
	default:
		return fmt.Errorf("%s: %w; check bucket name, region and endpoint", where, err)
	}
}

// create creates the bucket; that somebody else was faster is as good.
func (b *Bucket) create(ctx context.Context) error {
	err := b.client.CreateBucket(ctx)
	if failure, ok := b.client.Failure(err); ok && failure.Code == "BucketAlreadyOwnedByYou" {
		return nil
	}
	return b.classify(ctx, err)
}

// key returns the whole key with the bucket's prefix.
func (b *Bucket) key(key string) (string, error) {
	if err := objstore.CheckKey(key); err != nil {
		return "", err
	}
	if full := b.options.Prefix + key; len(full) <= objstore.MaxKeyLength {
		return full, nil
	}
	return "", fmt.Errorf("%w %.64q...: with the prefix longer than %d bytes", objstore.ErrBadKey, key, objstore.MaxKeyLength)
}
