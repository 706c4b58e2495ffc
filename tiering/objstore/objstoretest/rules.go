package objstoretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/tiering/objstore"
)

// patience bounds calls that must return promptly: long against a busy machine, short
// against any time-out of a driver.
const patience = 10 * time.Second

func testPutGet(t *testing.T, s Suite, b objstore.Bucket) {
	sizes := []int64{0, 1, 4095, s.PartSize - 1, s.PartSize, s.PartSize + 1, 2*s.PartSize + 7}
	for _, size := range sizes {
		key := fmt.Sprintf("put/%d", size)
		body := Bytes(size, 1)
		mustPut(t, b, key, body)
		if object := mustHead(t, b, key); object.Size != size || object.Key != key {
			t.Errorf("Head = %q of %d bytes, want %q of %d", object.Key, object.Size, key, size)
		}
		if size > 0 && !bytes.Equal(mustGet(t, b, key, 0, size), body) {
			t.Errorf("%d bytes came back changed", size)
		}
	}
}

func testPutTwice(t *testing.T, _ Suite, b objstore.Bucket) {
	body := Bytes(5000, 2)
	mustPut(t, b, "twice", body)
	mustPut(t, b, "twice", body)
	if !bytes.Equal(mustGet(t, b, "twice", 0, 5000), body) {
		t.Error("the bytes came back changed")
	}
	if keys := mustList(t, b, ""); !slices.Equal(keys, []string{"twice"}) {
		t.Errorf("List = %q, want one key", keys)
	}
}

func testRanges(t *testing.T, _ Suite, b objstore.Bucket) {
	const size = 10_000
	body := Bytes(size, 3)
	mustPut(t, b, "ranges", body)
	tests := []struct {
		name             string
		position, length int64
		want             []byte
		err              error
	}{
		{"first byte", 0, 1, body[:1], nil},
		{"beginning", 0, 4096, body[:4096], nil},
		{"middle", 1234, 4321, body[1234 : 1234+4321], nil},
		{"to the end", size - 10, 10, body[size-10:], nil},
		{"crossing the end", size - 10, 4096, body[size-10:], nil},
		{"much longer than the object", 0, 1 << 40, body, nil},
		{"last byte", size - 1, 1, body[size-1:], nil},
		{"at the end", size, 1, nil, objstore.ErrRange},
		{"past the end", size + 100, 10, nil, objstore.ErrRange},
		{"no length", 10, 0, nil, objstore.ErrRange},
		{"negative position", -1, 10, nil, objstore.ErrRange},
		{"overflowing", 1<<63 - 2, 1<<63 - 1, nil, objstore.ErrRange},
	}
	for _, tt := range tests {
		got, err := get(b, "ranges", tt.position, tt.length)
		if !errors.Is(err, tt.err) || !bytes.Equal(got, tt.want) {
			t.Errorf("%s: Get(%d, %d) = %d bytes, %v; want %d bytes, %v",
				tt.name, tt.position, tt.length, len(got), err, len(tt.want), tt.err)
		}
	}
}

func testEmptyObject(t *testing.T, _ Suite, b objstore.Bucket) {
	mustPut(t, b, "empty", objstore.BytesBody{})
	if _, err := get(b, "empty", 0, 10); !errors.Is(err, objstore.ErrRange) {
		t.Errorf("Get = %v, want ErrRange", err)
	}
	if keys := mustList(t, b, ""); !slices.Equal(keys, []string{"empty"}) {
		t.Errorf("List = %q, want the empty object", keys)
	}
}

func testMissing(t *testing.T, _ Suite, b objstore.Bucket) {
	mustPut(t, b, "dir/there", Bytes(1, 4))
	for _, key := range []string{"nothing", "dir/nothing", "dir/sub/nothing"} {
		if _, err := get(b, key, 0, 1); !errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("Get(%q) = %v, want ErrNotFound", key, err)
		}
		if _, err := b.Head(t.Context(), key); !errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("Head(%q) = %v, want ErrNotFound", key, err)
		}
	}
	if keys := mustList(t, b, "nothing/"); len(keys) != 0 {
		t.Errorf("List = %q, want none", keys)
	}
}

func testBadKeys(t *testing.T, _ Suite, b objstore.Bucket) {
	ctx := t.Context()
	for _, key := range []string{"", "/a", "a/", "a//b", "../a", "a/../../b", "a/.hidden", "a b", "a\x00b", strings.Repeat("a", 300)} {
		if err := b.Put(ctx, key, Bytes(1, 5)); !errors.Is(err, objstore.ErrBadKey) {
			t.Errorf("Put(%.20q) = %v, want ErrBadKey", key, err)
		}
		if _, err := b.Get(ctx, key, 0, 1); !errors.Is(err, objstore.ErrBadKey) {
			t.Errorf("Get(%.20q) = %v, want ErrBadKey", key, err)
		}
		if _, err := b.Head(ctx, key); !errors.Is(err, objstore.ErrBadKey) {
			t.Errorf("Head(%.20q) = %v, want ErrBadKey", key, err)
		}
		if errs := b.Delete(ctx, []string{key}); !errors.Is(errs[key], objstore.ErrBadKey) {
			t.Errorf("Delete(%.20q) = %v, want ErrBadKey", key, errs)
		}
	}
	if err := b.List(ctx, "../", func(objstore.Object) bool { return true }); !errors.Is(err, objstore.ErrBadKey) {
		t.Errorf("List = %v, want ErrBadKey", err)
	}
}

func testLegalKeys(t *testing.T, _ Suite, b objstore.Bucket) {
	keys := []string{
		"ABCabc019-_.x",
		"c1/AbC_d-E0/00000/seg/00000000000000000000-0000000000-5f0c9a2e-1111-4222-8333-444455556666",
		"c1/AbC_d-E0/00000/root/00000000000000000001-0000000000.v1",
		strings.Repeat("n", 200) + "/" + strings.Repeat("m", 200),
	}
	for i, key := range keys {
		mustPut(t, b, key, Bytes(int64(10+i), byte(i)))
	}
	for i, key := range keys {
		if got := mustGet(t, b, key, 0, 100); !bytes.Equal(got, Bytes(int64(10+i), byte(i))) {
			t.Errorf("%q holds other bytes", key)
		}
	}
	slices.Sort(keys)
	if listed := mustList(t, b, ""); !slices.Equal(listed, keys) {
		t.Errorf("List = %q, want %q", listed, keys)
	}
}

func testDelete(t *testing.T, _ Suite, b objstore.Bucket) {
	for _, key := range []string{"d/1", "d/2", "d/3", "e/4"} {
		mustPut(t, b, key, Bytes(10, 6))
	}
	if errs := b.Delete(t.Context(), []string{"d/1", "d/missing", "e/4", "none/at/all"}); errs != nil {
		t.Fatalf("Delete = %v, want nil", errs)
	}
	if keys := mustList(t, b, ""); !slices.Equal(keys, []string{"d/2", "d/3"}) {
		t.Errorf("List = %q after Delete", keys)
	}
	if errs := b.Delete(t.Context(), []string{"d/1"}); errs != nil {
		t.Errorf("Delete again = %v, want nil", errs)
	}
	if errs := b.Delete(t.Context(), nil); errs != nil {
		t.Errorf("Delete of nothing = %v, want nil", errs)
	}
	errs := b.Delete(t.Context(), []string{"d/2", "../d/3"})
	if len(errs) != 1 || !errors.Is(errs["../d/3"], objstore.ErrBadKey) {
		t.Errorf("Delete with one bad key = %v, want that one", errs)
	}
	if keys := mustList(t, b, ""); !slices.Equal(keys, []string{"d/3"}) {
		t.Errorf("List = %q: a bad key kept the good one from going", keys)
	}
	mustPut(t, b, "e/4", Bytes(10, 6)) // the name is free again, and so is its directory
}

func testListOrder(t *testing.T, _ Suite, b objstore.Bucket) {
	// '-' < '.' < '/' < digits < capitals < '_' < small letters.
	keys := []string{"a-b", "a.b", "a/-", "a/0", "a/A", "a/_", "a/a/b", "a/b", "a0", "aA", "a_", "ab/c", "b"}
	for _, key := range slices.Backward(keys) {
		mustPut(t, b, key, Bytes(int64(len(key)), 7))
	}
	for _, prefix := range []string{"", "a", "a/", "a/a", "a/a/", "ab", "b", "a-", "c"} {
		var want []string
		for _, key := range keys {
			if strings.HasPrefix(key, prefix) {
				want = append(want, key)
			}
		}
		if got := mustList(t, b, prefix); !slices.Equal(got, want) {
			t.Errorf("List(%q) = %q, want %q", prefix, got, want)
		}
	}
	err := b.List(t.Context(), "", func(o objstore.Object) bool {
		if o.Size != int64(len(o.Key)) {
			t.Errorf("List says %q has %d bytes, want %d", o.Key, o.Size, len(o.Key))
		}
		return true
	})
	if err != nil {
		t.Error(err)
	}
}

func testMany(t *testing.T, s Suite, b objstore.Bucket) {
	keys := putMany(t, b, s.Keys)
	if got := mustList(t, b, "many/"); !slices.Equal(got, keys) {
		t.Errorf("List = %d keys, want %d in order", len(got), len(keys))
	}
	keep := keys[len(keys)/2]
	gone := slices.Concat(keys[:len(keys)/2], keys[len(keys)/2+1:], []string{"many/missing"})
	if errs := b.Delete(t.Context(), gone); errs != nil {
		t.Fatalf("Delete of %d keys left %d", len(gone), len(errs))
	}
	if left := mustList(t, b, ""); !slices.Equal(left, []string{keep}) {
		t.Errorf("%d keys left, want the one that was kept", len(left))
	}
}

func testListStops(t *testing.T, _ Suite, b objstore.Bucket) {
	putMany(t, b, 5)
	calls := 0
	err := b.List(t.Context(), "", func(objstore.Object) bool { calls++; return calls < 2 })
	if err != nil || calls != 2 {
		t.Errorf("List = %v after %d calls, want nil after 2", err, calls)
	}
}

func testConcurrency(t *testing.T, s Suite, b objstore.Bucket) {
	shared := Bytes(s.PartSize/2, 8)
	mustPut(t, b, "shared", shared)
	var workers sync.WaitGroup
	for w := range 16 {
		workers.Go(func() {
			for i := range 4 {
				key := fmt.Sprintf("worker/%d/%d", w, i)
				body := Bytes(int64(1000*w+i+1), byte(w))
				if err := b.Put(t.Context(), key, body); err != nil {
					t.Error(err)
					return
				}
				if got, err := get(b, key, 0, 1<<20); err != nil || !bytes.Equal(got, body) {
					t.Errorf("%s: got %d bytes, %v", key, len(got), err)
				}
				position := int64(w * 100)
				if got, err := get(b, "shared", position, 500); err != nil || !bytes.Equal(got, shared[position:position+500]) {
					t.Errorf("shared at %d: got %d bytes, %v", position, len(got), err)
				}
				if i%2 == 0 {
					if errs := b.Delete(t.Context(), []string{key}); errs != nil {
						t.Error(errs)
					}
				}
			}
		})
	}
	workers.Wait()
	if keys := mustList(t, b, "worker/"); len(keys) != 32 {
		t.Errorf("%d keys left, want 32", len(keys))
	}
}

func testCancelled(t *testing.T, _ Suite, b objstore.Bucket) {
	mustPut(t, b, "there", Bytes(10, 9))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	calls := map[string]func() error{
		"Put": func() error { return b.Put(ctx, "new", Bytes(10, 9)) },
		"Get": func() error {
			stream, err := b.Get(ctx, "there", 0, 10)
			if err == nil {
				_, err = io.ReadAll(stream)
				stream.Close()
			}
			return err
		},
		"Head":   func() error { _, err := b.Head(ctx, "there"); return err },
		"Delete": func() error { return b.Delete(ctx, []string{"there"})["there"] },
		"List":   func() error { return b.List(ctx, "", func(objstore.Object) bool { return true }) },
	}
	for name, call := range calls {
		within(t, name, func() {
			if err := call(); !errors.Is(err, context.Canceled) {
				t.Errorf("%s = %v, want context.Canceled", name, err)
			}
		})
	}
	if keys := mustList(t, b, ""); !slices.Equal(keys, []string{"there"}) {
		t.Errorf("List = %q after calls that were cancelled before they began", keys)
	}
}

func testDeadline(t *testing.T, s Suite, b objstore.Bucket) {
	for _, size := range []int64{1000, 2*s.PartSize + 7} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		within(t, "Put", func() {
			err := b.Put(ctx, "late", WaitingBody{BytesBody: Bytes(size, 10), Ctx: ctx})
			if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, objstore.ErrUnavailable) {
				t.Errorf("Put of %d bytes = %v, want DeadlineExceeded and ErrUnavailable", size, err)
			}
		})
		cancel()
	}
}

func testFailingBody(t *testing.T, s Suite, b objstore.Bucket) {
	tests := []struct{ size, failAt int64 }{
		{5000, 0},
		{5000, 4999},
		{2*s.PartSize + 7, 10},
		{2*s.PartSize + 7, s.PartSize + 10},
		{2*s.PartSize + 7, 2*s.PartSize + 6},
	}
	for i, tt := range tests {
		key := fmt.Sprintf("failing/%d", i)
		err := b.Put(t.Context(), key, FailingBody{Bytes: Bytes(tt.size, 11), FailAt: tt.failAt})
		if !errors.Is(err, ErrBody) {
			t.Errorf("Put of %d bytes that fail at %d = %v, want the body's own error", tt.size, tt.failAt, err)
		}
		assertMissing(t, b, key)
		mustPut(t, b, key, Bytes(tt.size, 11)) // nothing of the attempt stands in the way
	}
}

func testShortBody(t *testing.T, s Suite, b objstore.Bucket) {
	for i, size := range []int64{5000, 2*s.PartSize + 7} {
		key := fmt.Sprintf("short/%d", i)
		err := b.Put(t.Context(), key, ShortBody{BytesBody: Bytes(size-1, 12), Promised: size})
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Put of a body one byte short of %d = %v, want io.ErrUnexpectedEOF", size, err)
		}
		assertMissing(t, b, key)
	}
}

func testAbortNone(t *testing.T, _ Suite, b objstore.Bucket) {
	aborter, ok := b.(objstore.Aborter)
	if !ok {
		t.Skip("nothing is ever left to abort")
	}
	mustPut(t, b, "done", Bytes(10, 13))
	for _, key := range []string{"done", "never"} {
		if err := aborter.AbortUploads(t.Context(), key); err != nil {
			t.Errorf("AbortUploads(%q) = %v, want nil", key, err)
		}
	}
	mustHead(t, b, "done")
}

func testLocal(t *testing.T, _ Suite, b objstore.Bucket) {
	local, ok := b.(objstore.Local)
	if !ok {
		t.Skip("objects are not files of this machine")
	}
	body := Bytes(5000, 14)
	mustPut(t, b, "local/file", body)
	f, err := local.OpenLocal("local/file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if errs := b.Delete(t.Context(), []string{"local/file"}); errs != nil {
		t.Fatal(errs)
	}
	got := make([]byte, 5000)
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, body) {
		t.Errorf("an open file does not outlive its object: %v", err)
	}
	if _, err := local.OpenLocal("local/file"); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("OpenLocal = %v, want ErrNotFound", err)
	}
	if _, err := local.OpenLocal("../local"); !errors.Is(err, objstore.ErrBadKey) {
		t.Errorf("OpenLocal = %v, want ErrBadKey", err)
	}
}

func testCheck(t *testing.T, _ Suite, b objstore.Bucket) {
	checker, ok := b.(objstore.Checker)
	if !ok {
		t.Skip("nothing to check")
	}
	if err := checker.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func testName(t *testing.T, _ Suite, b objstore.Bucket) {
	if b.Name() == "" {
		t.Error("the bucket has no name")
	}
}

// putMany puts n small objects, 16 at a time, and returns their keys in order.
func putMany(t *testing.T, b objstore.Bucket, n int) []string {
	t.Helper()
	keys := make([]string, n)
	next := make(chan string)
	var workers sync.WaitGroup
	for range 16 {
		workers.Go(func() {
			for key := range next {
				if err := b.Put(t.Context(), key, objstore.BytesBody(key)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range keys {
		keys[i] = fmt.Sprintf("many/%03d/%06d", i/500, i)
		next <- keys[i]
	}
	close(next)
	workers.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return keys
}

func mustPut(t *testing.T, b objstore.Bucket, key string, body objstore.Body) {
	t.Helper()
	if err := b.Put(t.Context(), key, body); err != nil {
		t.Fatalf("Put(%.60q, %d bytes) = %v", key, body.Size(), err)
	}
}

func mustHead(t *testing.T, b objstore.Bucket, key string) objstore.Object {
	t.Helper()
	object, err := b.Head(t.Context(), key)
	if err != nil {
		t.Fatalf("Head(%.60q) = %v", key, err)
	}
	return object
}

func mustGet(t *testing.T, b objstore.Bucket, key string, position, length int64) []byte {
	t.Helper()
	got, err := get(b, key, position, length)
	if err != nil {
		t.Fatalf("Get(%.60q, %d, %d) = %v", key, position, length, err)
	}
	return got
}

func get(b objstore.Bucket, key string, position, length int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	stream, err := b.Get(ctx, key, position, length)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(stream)
	return got, errors.Join(err, stream.Close())
}

func mustList(t *testing.T, b objstore.Bucket, prefix string) []string {
	t.Helper()
	var keys []string
	err := b.List(t.Context(), prefix, func(o objstore.Object) bool {
		keys = append(keys, o.Key)
		return true
	})
	if err != nil {
		t.Fatalf("List(%q) = %v", prefix, err)
	}
	return keys
}

func assertMissing(t *testing.T, b objstore.Bucket, key string) {
	t.Helper()
	if _, err := b.Head(t.Context(), key); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("Head(%q) = %v after a failed Put, want ErrNotFound", key, err)
	}
	if keys := mustList(t, b, key); len(keys) != 0 {
		t.Errorf("List = %q after a failed Put", keys)
	}
}

// within fails the test if call takes longer than patience.
func within(t *testing.T, what string, call func()) {
	t.Helper()
	began := time.Now()
	call()
	if took := time.Since(began); took > patience {
		t.Errorf("%s took %v, want at most %v", what, took, patience)
	}
}
