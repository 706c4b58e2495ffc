package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/varvelog/varve/tiering/objstore"
)

// Put implements objstore.Bucket: write aside, sync, rename, sync the directory.
func (b *Bucket) Put(ctx context.Context, key string, body objstore.Body) error {
	if err := objstore.CheckKey(key); err != nil {
		return err
	}
	if err := b.put(ctx, key, body); err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}

func (b *Bucket) put(ctx context.Context, key string, body objstore.Body) error {
	if err := contextError(ctx); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Join(b.root, incoming), "put-*")
	if err != nil {
		return b.classify(err)
	}
	if err := b.fill(ctx, f, body); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := b.publish(f.Name(), b.path(key)); err != nil {
		err = b.classify(err)
		if removeErr := os.Remove(f.Name()); !errors.Is(removeErr, fs.ErrNotExist) {
			err = errors.Join(err, removeErr)
		}
		return err
	}
	return nil
}

// fill writes all of body to f, syncs it and closes it in every case.
func (b *Bucket) fill(ctx context.Context, f *os.File, body objstore.Body) error {
	err := b.copy(ctx, f, body)
	if err == nil && !b.noSync {
		err = b.classify(f.Sync())
	}
	if closeErr := f.Close(); err == nil {
		err = b.classify(closeErr)
	}
	return err
}

// copy writes all of body to f and looks at ctx between buffers.
func (b *Bucket) copy(ctx context.Context, f *os.File, body objstore.Body) error {
	buffer := b.buffers.Get().(*[]byte)
	defer b.buffers.Put(buffer)
	for position, size := int64(0), body.Size(); position < size; {
		piece := (*buffer)[:min(bufferSize, size-position)]
		n, err := body.ReadAt(piece, position)
		if ctxErr := contextError(ctx); ctxErr != nil {
			return ctxErr
		}
		if n < len(piece) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read body at %d: %w", position+int64(n), err)
		}
		if _, err := f.Write(piece); err != nil {
			return b.classify(err)
		}
		position += int64(n)
	}
	return contextError(ctx)
}

// publish gives the file its name, durably. Delete prunes directories that became
// empty, so the one just made may be gone before the rename; each round is then
// another Delete's doing, and a few rounds are plenty.
func (b *Bucket) publish(from, to string) error {
	const rounds = 8
	dir := filepath.Dir(to)
	var err error
	for range rounds {
		if err = b.makeDir(dir); err != nil {
			return err
		}
		if err = os.Rename(from, to); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return err
	}
	return b.syncDir(dir)
}

// makeDir makes dir and the directories above it up to the root, each durably. The
// root itself is not made: without it the volume is not mounted.
func (b *Bucket) makeDir(dir string) error {
	err := os.Mkdir(dir, 0o755)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil // a file of that name fails the rename
	case errors.Is(err, fs.ErrNotExist) && dir != b.root:
		if err := b.makeDir(filepath.Dir(dir)); err != nil {
			return err
		}
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	case err != nil:
		return err
	}
	if err := b.syncDir(filepath.Dir(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// syncDir makes the names in dir durable.
func (b *Bucket) syncDir(dir string) error {
	if b.noSync {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
