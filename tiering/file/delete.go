package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/varvelog/varve/tiering/objstore"
)

// Delete implements objstore.Bucket. Directories that become empty go as well; every
// directory a key was removed from is synced once, after its last key.
func (b *Bucket) Delete(ctx context.Context, keys []string) map[string]error {
	failed := map[string]error{}
	touched := map[string][]string{} // keys removed, by directory
	for _, key := range keys {
		if err := b.unlink(ctx, key); err != nil {
			failed[key] = fmt.Errorf("delete %s: %w", key, err)
			continue
		}
		dir := filepath.Dir(b.path(key))
		touched[dir] = append(touched[dir], key)
	}
	for dir, removed := range touched {
		err := b.syncDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil // the whole directory is gone
		}
		if err != nil {
			for _, key := range removed {
				failed[key] = fmt.Errorf("delete %s: %w", key, b.classify(err))
			}
		}
		b.prune(dir)
	}
	if len(failed) == 0 {
		return nil
	}
	return failed
}

// unlink removes one object; a missing one counts as removed.
func (b *Bucket) unlink(ctx context.Context, key string) error {
	if err := objstore.CheckKey(key); err != nil {
		return err
	}
	if err := contextError(ctx); err != nil {
		return err
	}
	path := b.path(key)
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		return nil // a directory of other keys: no object has this one
	}
	if err := b.classify(os.Remove(path)); err != nil && !errors.Is(err, objstore.ErrNotFound) {
		return err
	}
	return nil
}

// prune removes dir and the directories above it as long as they are empty. What
// cannot be removed stays: an empty directory is no object and harms nobody.
func (b *Bucket) prune(dir string) {
	for ; dir != b.root; dir = filepath.Dir(dir) {
		if os.Remove(dir) != nil {
			return
		}
	}
}
