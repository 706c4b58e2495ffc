package s3api

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/varvelog/varve/tiering/objstore"
)

// Put implements objstore.Bucket. A Put in parts whose ctx ends may take up to a second
// longer to drop them; should that fail, AbortUploads drops them later.
func (b *Bucket) Put(ctx context.Context, key string, body objstore.Body) error {
	full, err := b.key(key)
	if err != nil {
		return err
	}
	if err = ctx.Err(); err != nil {
		return fmt.Errorf("put %s: %w", key, b.classify(ctx, err))
	}
	if body.Size() <= b.options.SinglePutSize {
		err = b.putWhole(ctx, full, body)
	} else {
		err = b.putParts(ctx, full, body)
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}

// putWhole uploads body with one request.
func (b *Bucket) putWhole(ctx context.Context, key string, body objstore.Body) error {
	_, err := b.upload(ctx, body, 0, body.Size(), func(payload *Payload) (Receipt, error) {
		return b.client.PutObject(ctx, key, payload)
	})
	return err
}

// upload sends size bytes of body from start with one request. Once it returns, the
// body is read no more.
func (b *Bucket) upload(ctx context.Context, body objstore.Body, start, size int64, send func(*Payload) (Receipt, error)) (Receipt, error) {
	payload, err := newPayload(b.options, body, start, size)
	if err != nil {
		return Receipt{}, err
	}
	receipt, err := send(payload)
	if bodyErr := payload.Stop(); bodyErr != nil {
		return Receipt{}, bodyErr
	}
	if err != nil {
		return Receipt{}, b.classify(ctx, err)
	}
	return receipt, payload.verify(receipt)
}

// putParts uploads body in parts, several at once, and asks for the object's size at
// the end, for the answer to the last request does not tell it.
func (b *Bucket) putParts(ctx context.Context, key string, body objstore.Body) error {
	upload, err := b.client.CreateUpload(ctx, key)
	if err != nil {
		return b.classify(ctx, err)
	}
	receipts, err := b.sendParts(ctx, key, upload, body)
	if err != nil {
		return b.abort(ctx, key, upload, err)
	}
	if err := b.client.CompleteUpload(ctx, key, upload, receipts); err != nil {
		err = b.classify(ctx, err)
		if errors.Is(err, objstore.ErrUnavailable) || ctx.Err() != nil {
			return err // it may be completing: an abort now would race with it
		}
		return b.abort(ctx, key, upload, err)
	}
	object, err := b.client.HeadObject(ctx, key)
	if err != nil {
		return b.classify(ctx, err)
	}
	if object.Size != body.Size() {
		return fmt.Errorf("%w: sent %d bytes in parts, the object has %d", objstore.ErrMismatch, body.Size(), object.Size)
	}
	return nil
}

// sendParts uploads all parts; the first failure stops the rest. All of its goroutines
// have ended when it returns.
func (b *Bucket) sendParts(caller context.Context, key, upload string, body objstore.Body) ([]Receipt, error) {
	ctx, cancel := context.WithCancelCause(caller)
	defer cancel(nil)
	partSize := partSize(body.Size(), b.options.PartSize)
	receipts := make([]Receipt, (body.Size()+partSize-1)/partSize)
	numbers := make(chan int)
	var workers sync.WaitGroup
	for range min(b.options.PartsInFlight, len(receipts)) {
		workers.Go(func() {
			for i := range numbers {
				start := int64(i) * partSize
				size := min(partSize, body.Size()-start)
				receipt, err := b.upload(ctx, body, start, size, func(payload *Payload) (Receipt, error) {
					return b.client.UploadPart(ctx, key, upload, i+1, payload)
				})
				if err != nil {
					cancel(fmt.Errorf("part %d: %w", i+1, err))
					return
				}
				receipts[i] = receipt
			}
		})
	}
	feed(ctx, numbers, len(receipts))
	workers.Wait()
	if err := caller.Err(); err != nil {
		return nil, deadlineIsUnavailable(err)
	}
	return receipts, context.Cause(ctx)
}

// feed sends 0 to n-1 until ctx ends, and closes numbers.
func feed(ctx context.Context, numbers chan<- int, n int) {
	defer close(numbers)
	for i := range n {
		select {
		case numbers <- i:
		case <-ctx.Done():
			return
		}
	}
}

// abort drops the upload that failed with cause, even when ctx has already ended, and
// returns cause. That the parts could not be dropped changes nothing about the Put, so
// it is only mentioned: AbortUploads is for that.
func (b *Bucket) abort(ctx context.Context, key, upload string, cause error) error {
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), abortGrace)
		defer cancel()
	}
	if err := b.abortUpload(ctx, key, upload); err != nil {
		return fmt.Errorf("%w (its parts stay for now: %v)", cause, err) //nolint:errorlint // callers choose by the cause alone
	}
	return cause
}

// abortUpload drops an upload; one that is not there counts as dropped.
func (b *Bucket) abortUpload(ctx context.Context, key, upload string) error {
	err := b.client.AbortUpload(ctx, key, upload)
	if failure, ok := b.client.Failure(err); err == nil || ok && failure.Code == "NoSuchUpload" {
		return nil
	}
	return b.classify(ctx, err)
}

// AbortUploads implements objstore.Aborter.
func (b *Bucket) AbortUploads(ctx context.Context, key string) error {
	full, err := b.key(key)
	if err != nil {
		return err
	}
	uploads, err := b.client.ListUploads(ctx, full)
	if err != nil {
		return fmt.Errorf("abort uploads of %s: %w", key, b.classify(ctx, err))
	}
	var failed []error
	for _, upload := range uploads {
		if err := b.abortUpload(ctx, full, upload); err != nil {
			failed = append(failed, fmt.Errorf("abort upload %s of %s: %w", upload, key, err))
		}
	}
	return errors.Join(failed...)
}

// partSize returns the size of the parts of a body: the configured one, doubled until
// MaxParts are enough.
func partSize(size, configured int64) int64 {
	for (size+configured-1)/configured > MaxParts {
		configured *= 2
	}
	return configured
}
