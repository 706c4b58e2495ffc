package objstore

import (
	"context"
	"os"
)

// Local is a Bucket whose objects are files of this machine. Readers then need no
// copy: the object's own file is what sendfile(2) sends.
type Local interface {
	// OpenLocal opens the file that is the object with this key, for reading. The
	// caller closes it; it stays readable after the object was deleted. Readers share
	// no position, so they use ReadAt or offsets of their own. It fails with
	// ErrNotFound as Get does.
	OpenLocal(key string) (*os.File, error)
}

// Aborter is a Bucket where a Put that was cut off can leave parts behind that no
// reader sees and the owner pays for.
type Aborter interface {
	// AbortUploads drops every unfinished upload of exactly this key. None is no error.
	AbortUploads(ctx context.Context, key string) error
}

// Checker is a Bucket that can be tried out before it is relied on.
type Checker interface {
	// Check asks whether the bucket is there and lets us in. Its error is one sentence
	// for the operator that says what to do, and wraps the cause's sentinel.
	Check(ctx context.Context) error
}
