package mem_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/tiering/mem"
	"github.com/varvelog/varve/tiering/objstore"
	"github.com/varvelog/varve/tiering/objstore/objstoretest"
)

var errInjected = errors.New("injected")

func TestBucketPassesTheSuite(t *testing.T) {
	objstoretest.Run(t, objstoretest.Suite{Open: func(t *testing.T) objstore.Bucket { return open(t, nil) }})
}

func open(t *testing.T, hook mem.Hook) *mem.Bucket {
	t.Helper()
	b, err := mem.New(mem.Options{Hook: hook})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// on returns a hook with one fault for one operation.
func on(op mem.Op, fault mem.Fault) mem.Hook {
	return func(o mem.Op, _ string) mem.Fault {
		if o == op {
			return fault
		}
		return mem.Fault{}
	}
}

func TestFaultBeforePutLeavesNothingAndAfterPutLeavesTheObject(t *testing.T) {
	tests := []struct {
		name   string
		fault  mem.Fault
		err    error
		stored bool
	}{
		{"before", mem.Fault{Before: errInjected}, errInjected, false},
		{"after", mem.Fault{After: errInjected}, errInjected, true},
		{"lost", mem.Fault{Lost: true}, nil, false},
		{"none", mem.Fault{}, nil, true},
	}
	for _, tt := range tests {
		b := open(t, on(mem.Put, tt.fault))
		if err := b.Put(t.Context(), "k", objstore.BytesBody("v")); !errors.Is(err, tt.err) {
			t.Errorf("%s: Put = %v, want %v", tt.name, err, tt.err)
		}
		if _, ok := b.Snapshot()["k"]; ok != tt.stored {
			t.Errorf("%s: stored = %v, want %v", tt.name, ok, tt.stored)
		}
		if b.Calls(mem.Put) != 1 {
			t.Errorf("%s: %d calls counted, want 1", tt.name, b.Calls(mem.Put))
		}
	}
}

func TestFaultsOfGetDamageOnlyWhatTheReaderSees(t *testing.T) {
	tests := []struct {
		name  string
		fault mem.Fault
		want  string
		err   error
	}{
		{"truncated", mem.Fault{Truncate: 3}, "01", io.ErrUnexpectedEOF},
		{"truncated to nothing", mem.Fault{Truncate: 99}, "", io.ErrUnexpectedEOF},
		{"flipped bit", mem.Fault{Flip: true}, "01334", nil},
		{"other object", mem.Fault{Replace: []byte("other")}, "other", nil},
	}
	for _, tt := range tests {
		b := open(t, on(mem.Get, tt.fault))
		if err := b.Put(t.Context(), "k", objstore.BytesBody("01234")); err != nil {
			t.Fatal(err)
		}
		stream, err := b.Get(t.Context(), "k", 0, 5)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(stream)
		if string(got) != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: read %q, %v; want %q, %v", tt.name, got, err, tt.want, tt.err)
		}
		if !bytes.Equal(b.Snapshot()["k"], []byte("01234")) {
			t.Errorf("%s: the stored object was damaged", tt.name)
		}
	}
}

func TestStaleFaultHidesAnObjectThatIsThere(t *testing.T) {
	stale := func(_ mem.Op, key string) mem.Fault { return mem.Fault{Stale: key == "hidden"} }
	b := open(t, stale)
	for _, key := range []string{"hidden", "shown"} {
		if err := b.Put(t.Context(), key, objstore.BytesBody("v")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Get(t.Context(), "hidden", 0, 1); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("Get = %v, want ErrNotFound", err)
	}
	if _, err := b.Head(t.Context(), "hidden"); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("Head = %v, want ErrNotFound", err)
	}
	var keys []string
	if err := b.List(t.Context(), "", func(o objstore.Object) bool { keys = append(keys, o.Key); return true }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(keys, []string{"shown"}) {
		t.Errorf("List = %q, want the one that is shown", keys)
	}
}

func TestBulkDeleteFailsInPart(t *testing.T) {
	b := open(t, func(op mem.Op, key string) mem.Fault {
		if op == mem.Delete && key == "b" {
			return mem.Fault{Before: errInjected}
		}
		return mem.Fault{}
	})
	for _, key := range []string{"a", "b", "c"} {
		if err := b.Put(t.Context(), key, objstore.BytesBody("v")); err != nil {
			t.Fatal(err)
		}
	}
	errs := b.Delete(t.Context(), []string{"a", "b", "c"})
	if len(errs) != 1 || !errors.Is(errs["b"], errInjected) {
		t.Errorf("Delete = %v, want an error for b alone", errs)
	}
	if left := b.Snapshot(); len(left) != 1 || left["b"] == nil {
		t.Errorf("%d objects left, want b alone", len(left))
	}
}

func TestHangEndsWithTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, on(mem.Head, mem.Fault{Hang: true}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err := b.Head(ctx, "k")
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, objstore.ErrUnavailable) {
			t.Errorf("Head = %v, want DeadlineExceeded and ErrUnavailable", err)
		}
	})
}

func TestWaitHoldsTheCallUntilReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		b := open(t, on(mem.Put, mem.Fault{Wait: release}))
		done := make(chan error)
		go func() { done <- b.Put(t.Context(), "k", objstore.BytesBody("v")) }()
		synctest.Wait()
		if len(b.Snapshot()) != 0 {
			t.Error("Put had its effect before it was released")
		}
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestSecondContentOfAKeyIsRecorded guards I4: also across a delete, and never for a
// repeat of the same bytes.
func TestSecondContentOfAKeyIsRecorded(t *testing.T) {
	b := open(t, nil)
	put := func(key, content string) {
		t.Helper()
		if err := b.Put(t.Context(), key, objstore.BytesBody(content)); err != nil {
			t.Fatal(err)
		}
	}
	put("same", "v")
	put("same", "v")
	put("other", "v")
	if v := b.Violations(); len(v) != 0 {
		t.Fatalf("Violations = %v for a repeat of the same bytes", v)
	}
	if errs := b.Delete(t.Context(), []string{"other"}); errs != nil {
		t.Fatal(errs)
	}
	put("other", "w")
	if v := b.Violations(); len(v) != 1 || v[0].Key != "other" {
		t.Errorf("Violations = %v, want one for %q", v, "other")
	}
}
