package tiering_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/tiering"
	"github.com/varvelog/varve/tiering/mem"
	"github.com/varvelog/varve/tiering/objstore"
	"github.com/varvelog/varve/tiering/tieringtest"
)

// lateStore is a store whose uploads of segments, while late is set, outlive the client
// that gave them up: the object appears when release is called.
type lateStore struct {
	*mem.Bucket
	mu   sync.Mutex
	late bool
	held map[string]objstore.BytesBody
}

func (s *lateStore) Put(ctx context.Context, key string, body objstore.Body) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.late || !strings.Contains(key, "/seg/") {
		return s.Bucket.Put(ctx, key, body)
	}
	b := make(objstore.BytesBody, body.Size())
	if _, err := body.ReadAt(b, 0); err != nil {
		return err
	}
	s.held[key] = b
	return objstore.ErrUnavailable
}

// release lets the late uploads arrive and returns how many there were.
func (s *lateStore) release(w *world) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, b := range s.held {
		w.must(s.Bucket.Put(context.Background(), key, b))
	}
	s.late = false
	return len(s.held)
}

func newLateStore(w *world) *lateStore {
	s := &lateStore{Bucket: w.bucket, late: true, held: map[string]objstore.BytesBody{}}
	w.store = s
	return s
}

func sweepOrphans(w *world, r *tiering.Remote, want int) {
	w.t.Helper()
	n, err := r.SweepOrphans(w.t.Context())
	w.must(err)
	if n != want {
		w.t.Fatalf("%d orphans were swept, want %d", n, want)
	}
}

// TestI7AnUploadThatArrivesAfterItsDeletionIsSweptByListing is the leak that intents
// cannot prevent: the object of a given-up upload is announced, buried and deleted, and
// then it appears.
func TestI7AnUploadThatArrivesAfterItsDeletionIsSweptByListing(t *testing.T) {
	w := newWorld(t)
	late := newLateStore(w)
	l := w.filled(100)
	zombie := w.leader()
	if _, err := zombie.Copy(t.Context(), l, l.Offsets().End); !errors.Is(err, objstore.ErrUnavailable) {
		t.Fatal(err)
	}
	late.mu.Lock()
	late.late = false
	late.mu.Unlock()
	w.opts.CacheDir = "/cache2"
	leader := w.leader()
	w.copyAll(leader, l)
	sweepOrphans(w, leader, 0)
	settle(w, leader)
	n := late.release(w)
	if n == 0 {
		t.Fatal("no upload was late")
	}
	if got := len(w.report().Findings); got != n {
		t.Fatalf("the audit finds %d orphans, want %d", got, n)
	}
	sweepOrphans(w, leader, n)
	sweepOrphans(w, leader, 0)
	w.audit()
	w.sameBytes(leader, l)
}

// TestSweepOrphansKeepsWhatIsUnderWay lists between the upload of an object and the
// commit that names it, and commits between the first look and the listing.
func TestSweepOrphansKeepsWhatIsUnderWay(t *testing.T) {
	w := newWorld(t)
	l := w.filled(100)
	zombie := w.leader()
	w.opts.CacheDir = "/cache2"
	leader := w.leader()
	uploaded := 0
	var once sync.Once
	w.meta.SetHook(func(op tieringtest.Op, _ tiering.PartitionID) tieringtest.Fault {
		if op == tieringtest.Commit && uploaded == 0 {
			uploaded = countKeys(w, "/seg/")
			sweepOrphans(w, zombie, 0) // announced, not committed
		}
		return tieringtest.Fault{}
	})
	w.copyAll(leader, l)
	if uploaded == 0 {
		t.Fatal("nothing was uploaded before the commit")
	}
	w.fill(l, 1, 50, 43)
	w.bucket.SetHook(func(op mem.Op, _ string) mem.Fault {
		if op == mem.List { // announced after the first look, listed, and committed by now
			once.Do(func() { w.copyAll(leader, l) })
		}
		return mem.Fault{}
	})
	sweepOrphans(w, zombie, 0)
	w.sameBytes(leader, l)
	settle(w, leader)
	sweepOrphans(w, leader, 0)
	w.audit()
}

func TestSweepOrphansLeavesTheDeadListToTheJanitor(t *testing.T) {
	w := newWorld(t)
	l := w.log(300)
	w.must(l.AssignEpoch(1))
	w.fill(l, 1, 2200, 9)
	r := w.leader()
	w.copyAll(r, l)
	settle(w, r)
	entries := r.Entries()
	w.must(r.Expire(t.Context(), entries[700].Base)) // whole leaves die, with what they name
	keys := len(w.bucket.Snapshot())
	sweepOrphans(w, r, 0)
	if got := len(w.bucket.Snapshot()); got != keys {
		t.Fatalf("%d objects of %d are left", got, keys)
	}
	// A leaf that cannot be read may name anything.
	w.bucket.SetHook(func(op mem.Op, key string) mem.Fault {
		if op == mem.Get && strings.Contains(key, "/leaf/") {
			return mem.Fault{Before: objstore.ErrUnavailable}
		}
		return mem.Fault{}
	})
	if n, err := r.SweepOrphans(t.Context()); n != 0 || !errors.Is(err, objstore.ErrUnavailable) {
		t.Fatalf("swept %d, %v", n, err)
	}
}

func TestSweepOrphansDeletesNothingWithoutEveryAnswer(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name string
		meta tieringtest.Op
		from int // how often it answers before it breaks
		op   mem.Op
	}{
		{name: "intents", meta: tieringtest.Intents},
		{name: "intents after the listing", meta: tieringtest.Intents, from: 1},
		{name: "pointer", meta: tieringtest.Pointer},
		{name: "pointer after the listing", meta: tieringtest.Pointer, from: 1},
		{name: "listing", op: mem.List},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			l := w.filled(50)
			r := w.leader()
			w.copyAll(r, l)
			orphan := strings.Replace(r.Entries()[0].Key, "-0000000001-00000000", "-0000000001-ffffffff", 1)
			w.must(w.bucket.Put(t.Context(), orphan, objstore.BytesBody("x")))
			calls := 0
			w.meta.SetHook(func(op tieringtest.Op, _ tiering.PartitionID) tieringtest.Fault {
				if op == c.meta {
					if calls++; calls > c.from {
						return tieringtest.Fault{Before: broken}
					}
				}
				return tieringtest.Fault{}
			})
			w.bucket.SetHook(func(op mem.Op, _ string) mem.Fault {
				if op == c.op {
					return mem.Fault{Before: broken}
				}
				return mem.Fault{}
			})
			if n, err := r.SweepOrphans(t.Context()); n != 0 || !errors.Is(err, broken) {
				t.Fatalf("swept %d, %v", n, err)
			}
			w.meta.SetHook(nil)
			w.bucket.SetHook(nil)
			w.advance(time.Second)
			sweepOrphans(w, r, 1)
			w.audit()
		})
	}
}

func TestSweepOrphansLeavesForeignKeysAlone(t *testing.T) {
	w := newWorld(t)
	l := w.filled(50)
	r := w.leader()
	w.copyAll(r, l)
	prefix := strings.Split(r.Entries()[0].Key, "/seg/")[0]
	for _, key := range []string{prefix + "/README", prefix + "/seg/notes.txt", prefix + "/other/x", prefix + "9/seg/x"} {
		w.must(w.bucket.Put(t.Context(), key, objstore.BytesBody("mine")))
	}
	sweepOrphans(w, r, 0)
}

func TestSweepOrphansIsForLeadersThatAreReady(t *testing.T) {
	w := newWorld(t)
	if _, err := w.tier().Remote(w.id).SweepOrphans(t.Context()); !errors.Is(err, tiering.ErrNotLeading) {
		t.Fatal(err)
	}
}
