package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/varvelog/varve/tiering/objstore"
)

// classify adds objstore's sentinel to an error of the file system. A file that is
// not there is a missing object only while the bucket itself is there. A full or
// failing disk is ErrUnavailable: it may be healed while the broker runs.
func (b *Bucket) classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, objstore.ErrNotFound):
		return err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		if _, rootErr := os.Stat(filepath.Join(b.root, incoming)); rootErr != nil {
			return fmt.Errorf("%w: %s is gone; is the volume mounted? (%w)", objstore.ErrNoBucket, b.root, rootErr)
		}
		return fmt.Errorf("%w (%w)", objstore.ErrNotFound, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: %w", objstore.ErrDenied, err)
	case errors.Is(err, fs.ErrExist), errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENOTEMPTY):
		return fmt.Errorf("%w: the key is a directory of other keys: %w", objstore.ErrBadKey, err)
	default:
		return fmt.Errorf("%w: %w", objstore.ErrUnavailable, err)
	}
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
