package file_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/varvelog/varve/tiering/file"
	"github.com/varvelog/varve/tiering/objstore"
	"github.com/varvelog/varve/tiering/objstore/objstoretest"
)

func TestBucketPassesTheSuite(t *testing.T) {
	objstoretest.Run(t, objstoretest.Suite{Open: func(t *testing.T) objstore.Bucket {
		return open(t, file.Options{Dir: filepath.Join(t.TempDir(), "bucket"), NoSync: true})
	}})
}

func TestBucketPassesTheSuiteWithSync(t *testing.T) {
	objstoretest.Run(t, objstoretest.Suite{Keys: 1100, Open: func(t *testing.T) objstore.Bucket {
		return open(t, file.Options{Dir: filepath.Join(t.TempDir(), "bucket")})
	}})
}

func open(t *testing.T, o file.Options) *file.Bucket {
	t.Helper()
	b, err := file.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t *testing.T, b objstore.Bucket, key string) {
	t.Helper()
	if err := b.Put(t.Context(), key, objstoretest.Bytes(100, 1)); err != nil {
		t.Fatal(err)
	}
}

func TestNewRemovesWhatACutOffPutLeft(t *testing.T) {
	dir := t.TempDir()
	put(t, open(t, file.Options{Dir: dir}), "kept")
	torn := filepath.Join(dir, ".incoming", "put-123")
	if err := os.WriteFile(torn, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := open(t, file.Options{Dir: dir})
	if _, err := os.Stat(torn); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the torn file is still there: %v", err)
	}
	if _, err := b.Head(t.Context(), "kept"); err != nil {
		t.Error(err)
	}
}

// A volume that is not mounted must not look like objects that were deleted.
func TestMissingRootIsErrNoBucketAndNeverErrNotFound(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	b := open(t, file.Options{Dir: dir})
	put(t, b, "a/b")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil { // the mount point without its volume
		t.Fatal(err)
	}
	ctx := t.Context()
	_, getErr := b.Get(ctx, "a/b", 0, 1)
	_, headErr := b.Head(ctx, "a/b")
	_, openErr := b.OpenLocal("a/b")
	calls := map[string]error{
		"Get": getErr, "Head": headErr, "OpenLocal": openErr,
		"Put":    b.Put(ctx, "a/c", objstoretest.Bytes(1, 1)),
		"Delete": b.Delete(ctx, []string{"a/b"})["a/b"],
		"List":   b.List(ctx, "a/", func(objstore.Object) bool { return true }),
		"Check":  b.Check(ctx),
	}
	for name, err := range calls {
		if !errors.Is(err, objstore.ErrNoBucket) || errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("%s = %v, want ErrNoBucket", name, err)
		}
	}
}

func TestDeleteReportsEachKeyThatStays(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may remove files from a read-only directory")
	}
	dir := t.TempDir()
	b := open(t, file.Options{Dir: dir})
	put(t, b, "locked/a")
	put(t, b, "free/b")
	if err := os.Chmod(filepath.Join(dir, "locked"), 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "locked"), 0o700) })
	errs := b.Delete(t.Context(), []string{"locked/a", "free/b"})
	if len(errs) != 1 || !errors.Is(errs["locked/a"], objstore.ErrDenied) {
		t.Errorf("Delete = %v, want ErrDenied for locked/a alone", errs)
	}
}

func TestKeyAndDirectoryOfOneNameExclude(t *testing.T) {
	b := open(t, file.Options{Dir: t.TempDir()})
	put(t, b, "a/b")
	put(t, b, "f")
	if err := b.Put(t.Context(), "a", objstoretest.Bytes(1, 1)); !errors.Is(err, objstore.ErrBadKey) {
		t.Errorf("Put over a directory = %v, want ErrBadKey", err)
	}
	if err := b.Put(t.Context(), "f/g", objstoretest.Bytes(1, 1)); err == nil {
		t.Error("Put below a file succeeded")
	}
	if errs := b.Delete(t.Context(), []string{"a"}); errs != nil {
		t.Errorf("Delete = %v", errs)
	}
	if _, err := b.Head(t.Context(), "a/b"); err != nil {
		t.Errorf("Delete of a directory's name took the object in it: %v", err)
	}
}

func TestFailedPutLeavesNoFileBehind(t *testing.T) {
	dir := t.TempDir()
	b := open(t, file.Options{Dir: dir})
	body := objstoretest.FailingBody{Bytes: objstoretest.Bytes(1<<20, 1), FailAt: 1 << 19}
	if err := b.Put(t.Context(), "k", body); !errors.Is(err, objstoretest.ErrBody) {
		t.Fatalf("Put = %v, want the body's error", err)
	}
	entries, err := os.ReadDir(filepath.Join(dir, ".incoming"))
	if err != nil || len(entries) != 0 {
		t.Errorf("%d files left, %v", len(entries), err)
	}
}

// Delete prunes the directory another Put has just made; the Put must still succeed.
func TestPutAndDeleteInOneDirectoryDoNotDisturbEachOther(t *testing.T) {
	b := open(t, file.Options{Dir: t.TempDir(), NoSync: true})
	var workers sync.WaitGroup
	for _, key := range []string{"deep/er/a", "deep/er/b", "deep/c"} {
		workers.Go(func() {
			for range 500 {
				if err := b.Put(t.Context(), key, objstoretest.Bytes(10, 1)); err != nil {
					t.Error(err)
					return
				}
				if errs := b.Delete(t.Context(), []string{key}); errs != nil {
					t.Error(errs)
					return
				}
			}
		})
	}
	workers.Wait()
}

func TestDeletePrunesEmptyDirectories(t *testing.T) {
	dir := t.TempDir()
	b := open(t, file.Options{Dir: dir})
	put(t, b, "a/b/c")
	put(t, b, "a/d")
	if errs := b.Delete(t.Context(), []string{"a/b/c"}); errs != nil {
		t.Fatal(errs)
	}
	if _, err := os.Stat(filepath.Join(dir, "a", "b")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the empty directory stayed: %v", err)
	}
	if _, err := b.Head(t.Context(), "a/d"); err != nil {
		t.Error(err)
	}
}

func TestListLeavesOutWhatIsNoObject(t *testing.T) {
	dir := t.TempDir()
	b := open(t, file.Options{Dir: dir})
	put(t, b, "real")
	for _, name := range []string{"has space", ".hidden"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	var keys []string
	if err := b.List(t.Context(), "", func(o objstore.Object) bool { keys = append(keys, o.Key); return true }); err != nil {
		t.Fatal(err)
	}
	if len(keys) != 1 || keys[0] != "real" {
		t.Errorf("List = %q, want the one object", keys)
	}
}
