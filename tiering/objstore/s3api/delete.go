package s3api

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/varvelog/varve/tiering/objstore"
)

// singleDeletesInFlight bounds the requests of one Delete on a store without
// DeleteObjects.
const singleDeletesInFlight = 8

// Delete implements objstore.Bucket. Only what the store confirmed counts as removed.
func (b *Bucket) Delete(ctx context.Context, keys []string) map[string]error {
	failed := map[string]error{}
	names := make(map[string]string, len(keys)) // from the whole key to the caller's
	for _, key := range keys {
		full, err := b.key(key)
		if err != nil {
			failed[key] = err
			continue
		}
		names[full] = key
	}
	full := make([]string, 0, len(names))
	for key := range names {
		full = append(full, key)
	}
	slices.Sort(full)
	for batch := range slices.Chunk(full, b.options.DeleteBatch) {
		for key, err := range b.deleteBatch(ctx, batch) {
			failed[names[key]] = fmt.Errorf("delete %s: %w", names[key], err)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return failed
}

// deleteBatch removes whole keys and returns an error for each that may still be there.
func (b *Bucket) deleteBatch(ctx context.Context, keys []string) map[string]error {
	if err := ctx.Err(); err != nil {
		return all(keys, b.classify(ctx, err))
	}
	if b.singleDelete.Load() {
		return b.deleteSingly(ctx, keys)
	}
	results, err := b.client.DeleteObjects(ctx, keys)
	if err != nil {
		if failure, ok := b.client.Failure(err); ok && failure.unsupported() {
			b.singleDelete.Store(true)
			return b.deleteSingly(ctx, keys)
		}
		return all(keys, b.classify(ctx, err))
	}
	failed := map[string]error{}
	for _, key := range keys {
		failure, answered := results[key]
		switch {
		case !answered:
			failed[key] = fmt.Errorf("%w: the store's answer leaves the key out", objstore.ErrMismatch)
		case failure != nil && !failure.missing():
			failed[key] = failure.classify()
		}
	}
	return failed
}

// deleteSingly removes whole keys with one request each.
func (b *Bucket) deleteSingly(ctx context.Context, keys []string) map[string]error {
	var (
		workers sync.WaitGroup
		mu      sync.Mutex
		failed  = map[string]error{} // guarded by mu
		numbers = make(chan int)
	)
	for range min(singleDeletesInFlight, len(keys)) {
		workers.Go(func() {
			for i := range numbers {
				err := b.client.DeleteObject(ctx, keys[i])
				if failure, ok := b.client.Failure(err); err == nil || ok && failure.missing() {
					continue
				}
				mu.Lock()
				failed[keys[i]] = b.classify(ctx, err)
				mu.Unlock()
			}
		})
	}
	for i := range keys {
		numbers <- i // never blocks for long: a request ends with ctx
	}
	close(numbers)
	workers.Wait()
	return failed
}

func all(keys []string, err error) map[string]error {
	failed := make(map[string]error, len(keys))
	for _, key := range keys {
		failed[key] = err
	}
	return failed
}
