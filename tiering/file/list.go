package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/varvelog/varve/tiering/objstore"
)

// List implements objstore.Bucket. It holds the names of one directory per level in
// memory. Objects that come or go meanwhile may or may not be shown.
func (b *Bucket) List(ctx context.Context, prefix string, yield func(objstore.Object) bool) error {
	if err := objstore.CheckPrefix(prefix); err != nil {
		return err
	}
	dir, _ := splitPrefix(prefix)
	err := b.walk(ctx, dir, prefix, yield)
	if err != nil && !errors.Is(err, errStop) {
		return fmt.Errorf("list %s: %w", prefix, err)
	}
	return nil
}

// errStop carries the end that yield asked for up through the walk.
var errStop = errors.New("stop")

// splitPrefix returns the directory that holds all keys with prefix, as a key with
// '/' at its end or "", and what their next component starts with.
func splitPrefix(prefix string) (dir, start string) {
	slash := strings.LastIndexByte(prefix, '/')
	return prefix[:slash+1], prefix[slash+1:]
}

// walk yields the objects below dir whose key starts with prefix. dir is "" or ends
// with '/'.
func (b *Bucket) walk(ctx context.Context, dir, prefix string, yield func(objstore.Object) bool) error {
	names, err := b.names(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := contextError(ctx); err != nil {
			return err
		}
		key := dir + name
		switch {
		case strings.HasSuffix(name, "/"):
			if strings.HasPrefix(key, prefix) || strings.HasPrefix(prefix, key) {
				if err := b.walk(ctx, key, prefix, yield); err != nil {
					return err
				}
			}
		case strings.HasPrefix(key, prefix):
			object, err := b.Head(ctx, key)
			if errors.Is(err, objstore.ErrNotFound) {
				continue // deleted since the directory was read
			}
			if err != nil {
				return err
			}
			if !yield(object) {
				return errStop
			}
		}
	}
	return nil
}

// names returns what is in dir in the order of keys: a directory sorts with its
// slash, so "a-b" comes before "a/b" as it does in byte order. Names that are no keys
// are left out. A directory that is gone has none.
func (b *Bucket) names(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(b.root, filepath.FromSlash(dir)))
	if err = b.classify(err); err != nil && !errors.Is(err, objstore.ErrNotFound) {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		switch name := entry.Name(); {
		case objstore.CheckKey(name) != nil:
		case entry.IsDir():
			names = append(names, name+"/")
		case entry.Type()&fs.ModeType == 0:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}
