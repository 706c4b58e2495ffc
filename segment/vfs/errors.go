//go:build linux

package vfs

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

// Full reports whether err says that a disk, or a quota of it, has no room for what was
// to be written. What was there is as good as before, and there may be room later. A
// failed sync is never just that: nobody knows what it has lost.
func Full(err error) bool {
	return !errors.Is(err, ErrSync) && (errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT))
}

// brokenDisk are the errors of a disk, or a file system, that does not work.
var brokenDisk = []error{ErrSync, unix.EIO, unix.EROFS, unix.ENXIO, unix.ENODEV, unix.ESTALE, unix.EUCLEAN}

// Broken reports whether err says that the disk has failed, so that nothing on it can
// be relied on: any failed sync, and errors of input and output.
func Broken(err error) bool {
	return slices.ContainsFunc(brokenDisk, func(cause error) bool { return errors.Is(err, cause) })
}
