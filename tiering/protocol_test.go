package tiering_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/tiering"
	"github.com/varvelog/varve/tiering/mem"
	"github.com/varvelog/varve/tiering/objstore"
	"github.com/varvelog/varve/tiering/tieringtest"
)

func TestCopyPutsEverySealedSegmentBelowTheBoundAndReadsBackTheSame(t *testing.T) {
	w := newWorld(t)
	l := w.filled(200)
	r := w.leader()
	n := w.copyAll(r, l)
	if sealed := len(l.Segments()) - 1; n != sealed || n < 5 {
		t.Fatalf("copied %d of %d segments", n, sealed)
	}
	if o := r.Offsets(); !o.Known || o.Start != 0 || o.End != l.Offsets().End || o.Segments != n || o.Bytes != l.Size() {
		t.Fatalf("offsets %+v, log of %d bytes to %d", o, l.Size(), l.Offsets().End)
	}
	w.sameBytes(r, l)
	if report := w.audit(); report.Segments != n {
		t.Fatalf("audit saw %d segments", report.Segments)
	}
}

func TestI1NothingAtOrAboveTheBoundIsEverInTheBucket(t *testing.T) {
	w := newWorld(t)
	l := w.filled(120)
	r := w.leader()
	for bound := int64(0); bound <= l.Offsets().End; bound += 7 {
		for {
			n, err := r.Copy(t.Context(), l, bound)
			w.must(err)
			if n == 0 {
				break
			}
		}
		for _, e := range r.Entries() {
			if e.Next > bound {
				t.Fatalf("I1: entry [%d, %d) with bound %d", e.Base, e.Next, bound)
			}
		}
		for key := range w.bucket.Snapshot() {
			var base int64
			if i := strings.Index(key, "/seg/"); i >= 0 {
				if _, err := fmt.Sscanf(key[i+5:i+25], "%d", &base); err != nil || base >= bound {
					t.Fatalf("I1: %s with bound %d (%v)", key, bound, err)
				}
			}
		}
	}
}

func TestI5AndI8AZombieLeaderChangesNothing(t *testing.T) {
	w := newWorld(t)
	l := w.filled(100)
	zombie := w.leader()
	// The zombie is stopped right before its transaction.
	hold, reached := make(chan struct{}), make(chan struct{}, 1)
	first := true
	w.meta.SetHook(func(op tieringtest.Op, _ tiering.PartitionID) tieringtest.Fault {
		if op == tieringtest.Commit && first {
			first = false
			reached <- struct{}{}
			return tieringtest.Fault{Wait: hold}
		}
		return tieringtest.Fault{}
	})
	failed := make(chan error)
	go func() {
		_, err := zombie.Copy(t.Context(), l, l.Offsets().End)
		failed <- err
	}()
	<-reached
	w.opts.CacheDir = "/cache2"
	leader := w.leader()
	w.copyAll(leader, l)
	close(hold)
	if err := <-failed; !errors.Is(err, tiering.ErrFenced) {
		t.Fatalf("I5: zombie's commit: %v", err)
	}
	if _, err := zombie.Copy(t.Context(), l, l.Offsets().End); !errors.Is(err, tiering.ErrNotLeading) {
		t.Fatalf("zombie's next copy: %v", err)
	}
	if err := zombie.Ready(t.Context()); err != nil && !errors.Is(err, tiering.ErrFenced) {
		t.Fatal(err)
	}
	w.sameBytes(leader, l)
	w.advance(2 * time.Minute)
	_, err := leader.Sweep(t.Context())
	w.must(err)
	w.sameBytes(leader, l)
	w.audit()
}

// TestI9AnUnknownOutcomeStopsEverythingUntilDecided drops the reply of a commit before
// and after it was applied, for as long as the store does not answer.
func TestI9AnUnknownOutcomeStopsEverythingUntilDecided(t *testing.T) {
	for _, applied := range []bool{false, true} {
		t.Run(fmt.Sprintf("applied=%v", applied), func(t *testing.T) {
			w := newWorld(t)
			l := w.filled(100)
			r := w.leader()
			down, dropped := true, false
			w.meta.SetHook(func(op tieringtest.Op, _ tiering.PartitionID) tieringtest.Fault {
				if op != tieringtest.Commit || !down {
					return tieringtest.Fault{}
				}
				if applied && !dropped {
					dropped = true
					return tieringtest.Fault{After: tiering.ErrUnknownOutcome}
				}
				return tieringtest.Fault{Before: tiering.ErrUnknownOutcome}
			})
			before := w.commits
			if _, err := r.Copy(t.Context(), l, l.Offsets().End); !errors.Is(err, tiering.ErrUnknownOutcome) {
				t.Fatalf("copy: %v", err)
			}
			objects := len(w.bucket.Snapshot())
			for range 3 {
				if _, err := r.Copy(t.Context(), l, l.Offsets().End); !errors.Is(err, tiering.ErrUnknownOutcome) {
					t.Fatalf("I9: copy while unknown: %v", err)
				}
				if err := r.Expire(t.Context(), 5); !errors.Is(err, tiering.ErrUnknownOutcome) {
					t.Fatalf("I9: expire while unknown: %v", err)
				}
				if _, err := r.Sweep(t.Context()); !errors.Is(err, tiering.ErrUnknownOutcome) {
					t.Fatalf("I9: sweep while unknown: %v", err)
				}
			}
			if o := r.Offsets(); o.End != 0 {
				t.Fatalf("I9: tiered end moved to %d", o.End)
			}
			if n := len(w.bucket.Snapshot()); n != objects {
				t.Fatalf("I9: %d objects became %d", objects, n)
			}
			down = false
			w.copyAll(r, l)
			if w.commits <= before {
				t.Fatal("nothing was committed")
			}
			bases := map[int64]bool{}
			for _, e := range r.Entries() {
				if bases[e.Base] {
					t.Fatalf("I10: entry %d twice", e.Base)
				}
				bases[e.Base] = true
			}
			w.sameBytes(r, l)
			settle(w, r)
			w.audit()
		})
	}
}

// settle sweeps until nothing is left to be deleted.
func settle(w *world, r *tiering.Remote) {
	w.t.Helper()
	for range 3 {
		w.advance(2 * w.opts.DeleteDelay)
		_, err := r.Sweep(w.t.Context())
		w.must(err)
	}
}

// TestUnknownOutcomeThatAnotherLeaderSuperseded is Race 2: our root is an ancestor of the
// pointer's by the time we can ask.
func TestUnknownOutcomeThatAnotherLeaderSuperseded(t *testing.T) {
	w := newWorld(t)
	l := w.filled(200)
	old := w.leader()
	dropped := false
	w.meta.SetHook(func(op tieringtest.Op, _ tiering.PartitionID) tieringtest.Fault {
		switch {
		case op == tieringtest.Commit && !dropped:
			dropped = true
			return tieringtest.Fault{After: tiering.ErrUnknownOutcome}
		case op == tieringtest.Commit:
			return tieringtest.Fault{Before: tiering.ErrUnknownOutcome}
		}
		return tieringtest.Fault{}
	})
	if _, err := old.Copy(t.Context(), l, 60); !errors.Is(err, tiering.ErrUnknownOutcome) {
		t.Fatal(err)
	}
	w.meta.SetHook(nil)
	w.opts.CacheDir = "/cache2"
	leader := w.leader()
	w.copyAll(leader, l)
	if err := old.Ready(t.Context()); err != nil && !errors.Is(err, tiering.ErrFenced) {
		t.Fatal(err)
	}
	if o := old.Offsets(); o.End != leader.Offsets().End {
		t.Fatalf("old leader sees end %d", o.End)
	}
	w.sameBytes(old, l)
	settle(w, leader)
	w.audit()
}

func TestI11OnlyTheContiguousPrefixIsCommitted(t *testing.T) {
	for k := range 3 {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			w := newWorld(t)
			l := w.filled(100)
			r := w.leader()
			broken := l.Segments()[k].Base
			w.bucket.SetHook(func(op mem.Op, key string) mem.Fault {
				if op == mem.Put && strings.Contains(key, fmt.Sprintf("/seg/%020d-", broken)) {
					return mem.Fault{Before: objstore.ErrUnavailable}
				}
				return mem.Fault{}
			})
			for range 4 {
				n, err := r.Copy(t.Context(), l, l.Offsets().End)
				if !errors.Is(err, objstore.ErrUnavailable) {
					t.Fatalf("copied %d: %v", n, err)
				}
				if end := r.Offsets().End; end > broken {
					t.Fatalf("I11: end %d above the failed segment %d", end, broken)
				}
			}
			if end := r.Offsets().End; end != broken {
				t.Fatalf("end %d, the prefix ends at %d", end, broken)
			}
			w.bucket.SetHook(nil)
			w.copyAll(r, l)
			w.sameBytes(r, l)
			settle(w, r)
			w.audit()
		})
	}
}

// TestIntentsAreBoundedWhileTheStoreIsAway fails every call for hours, before the first
// commit and after it, and heals.
func TestIntentsAreBoundedWhileTheStoreIsAway(t *testing.T) {
	for _, committed := range []bool{false, true} {
		for name, fault := range map[string]mem.Fault{
			"without effect": {Before: objstore.ErrUnavailable},
			"after effect":   {After: objstore.ErrUnavailable},
		} {
			t.Run(fmt.Sprintf("%s, committed before %v", name, committed), func(t *testing.T) {
				w := newWorld(t)
				l := w.filled(100)
				r := w.leader()
				if committed {
					w.copyAll(r, l)
					w.fill(l, 1, 100, 43)
				}
				w.bucket.SetHook(func(mem.Op, string) mem.Fault { return fault })
				for i := range 300 {
					w.advance(30 * time.Second)
					if _, err := r.Copy(t.Context(), l, l.Offsets().End); !errors.Is(err, objstore.ErrUnavailable) {
						t.Fatalf("copy %d: %v", i, err)
					}
					_ = r.Expire(t.Context(), 1) // fails as well
				}
				in, err := w.meta.Intents(t.Context(), w.id)
				w.must(err)
				if len(in) > 80 {
					t.Errorf("%d intents after 300 failures", len(in))
				}
				w.mustHeal(r, l)
			})
		}
	}
}

// TestCopyingGoesOnAsSoonAsTheStoreIsBack fails so many uploads within one moment that no
// more may be announced, and heals the store.
func TestCopyingGoesOnAsSoonAsTheStoreIsBack(t *testing.T) {
	w := newWorld(t)
	l := w.filled(100)
	r := w.leader()
	w.copyAll(r, l)
	w.fill(l, 1, 100, 43)
	w.bucket.SetHook(func(op mem.Op, _ string) mem.Fault {
		if op == mem.Put { // it answers, and takes nothing: burying fails as well
			return mem.Fault{Before: objstore.ErrUnavailable}
		}
		return mem.Fault{}
	})
	for i := range 300 {
		if _, err := r.Copy(t.Context(), l, l.Offsets().End); !errors.Is(err, objstore.ErrUnavailable) {
			t.Fatalf("copy %d: %v", i, err)
		}
	}
	in, err := w.meta.Intents(t.Context(), w.id)
	w.must(err)
	if len(in) < 64 || len(in) > 90 {
		t.Fatalf("%d intents after 300 failures", len(in))
	}
	w.bucket.SetHook(nil)
	for range 300 {
		w.advance(2 * time.Minute) // where even the burials were too many, age decides
		if _, err := r.Copy(t.Context(), l, l.Offsets().End); err == nil {
			break
		}
	}
	w.copyAll(r, l)
	w.sameBytes(r, l)

	// The store is away altogether, and comes back before anything has aged.
	w.fill(l, 1, 100, 44)
	w.bucket.SetHook(func(mem.Op, string) mem.Fault { return mem.Fault{Before: objstore.ErrUnavailable} })
	for range 300 {
		_, err := r.Copy(t.Context(), l, l.Offsets().End)
		if !errors.Is(err, objstore.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	w.mustHeal(r, l)
}

func TestI13ACorruptSegmentIsNeverUploaded(t *testing.T) {
	w := newWorld(t)
	l := w.filled(100)
	bad := l.Segments()[2]
	path := fmt.Sprintf("/data/t-3/%020d.log", bad.Base)
	f, err := w.fs.Open(path, false)
	w.must(err)
	_, err = f.WriteAt([]byte{0xff}, bad.Size/2)
	w.must(err)
	w.must(f.Close())
	r := w.leader()
	var corrupt *tiering.CorruptError
	for range 3 {
		if _, err = r.Copy(t.Context(), l, l.Offsets().End); !errors.As(err, &corrupt) {
			t.Fatalf("copy of a corrupt segment: %v", err)
		}
	}
	if end := r.Offsets().End; end != bad.Base {
		t.Fatalf("I13: tiered end %d, the corrupt segment begins at %d", end, bad.Base)
	}
	for key := range w.bucket.Snapshot() {
		if strings.Contains(key, fmt.Sprintf("/seg/%020d-", bad.Base)) {
			t.Fatalf("I13: %s", key)
		}
	}
}

// TestEveryStepSurvivesEveryFault fails each call of copy, expire and sweep in turn,
// before and after its effect, goes on with a new broker as after a crash (I18, I21),
// and expects everything to converge.
func TestEveryStepSurvivesEveryFault(t *testing.T) {
	t.Run("copy, expire, sweep", func(t *testing.T) { survivesEveryFault(t, false) })
	t.Run("copy, expire, withdraw, copy, sweep", func(t *testing.T) { survivesEveryFault(t, true) })
}

func survivesEveryFault(t *testing.T, withdraw bool) {
	story := func(w *world, r *tiering.Remote, l *segment.Log) error {
		var errs []error
		step := func(err error) { errs = append(errs, err) }
		step(r.Load(w.t.Context()))
		step(r.Ready(w.t.Context()))
		for range 4 {
			_, err := r.Copy(w.t.Context(), l, l.Offsets().End)
			step(err)
		}
		step(r.Expire(w.t.Context(), 70))
		if withdraw {
			step(r.Withdraw(w.t.Context(), 70))
			_, err := r.Copy(w.t.Context(), l, l.Offsets().End)
			step(err)
		}
		w.advance(2 * w.opts.DeleteDelay)
		_, err := r.Sweep(w.t.Context())
		step(err)
		return errors.Join(errs...)
	}
	calls := func(w *world) int { // how many calls an undisturbed story makes
		l := w.filled(60)
		n := 0
		w.bucket.SetHook(func(mem.Op, string) mem.Fault { n++; return mem.Fault{} })
		w.meta.SetHook(func(tieringtest.Op, tiering.PartitionID) tieringtest.Fault { n++; return tieringtest.Fault{} })
		w.opts.CopyConcurrency = 1
		r := w.tier().Remote(w.id)
		r.Lead(w.meta.Elect(w.id))
		w.must(story(w, r, l))
		return n
	}(newWorld(t))
	if calls < 30 {
		t.Fatalf("the story makes only %d calls", calls)
	}
	for _, after := range []bool{false, true} {
		for _, crash := range []bool{false, true} {
			for k := range calls {
				w := newWorld(t)
				w.opts.CopyConcurrency = 1
				l := w.filled(60)
				n := 0
				hit := func() bool { n++; return n == k+1 }
				w.bucket.SetHook(func(op mem.Op, _ string) mem.Fault {
					switch {
					case !hit():
						return mem.Fault{}
					case after && (op == mem.Put || op == mem.Delete):
						return mem.Fault{After: objstore.ErrUnavailable}
					default:
						return mem.Fault{Before: objstore.ErrUnavailable}
					}
				})
				w.meta.SetHook(func(tieringtest.Op, tiering.PartitionID) tieringtest.Fault {
					switch {
					case !hit():
						return tieringtest.Fault{}
					case after:
						return tieringtest.Fault{After: tiering.ErrUnknownOutcome}
					default:
						return tieringtest.Fault{Before: tiering.ErrUnknownOutcome}
					}
				})
				r := w.tier().Remote(w.id)
				r.Lead(w.meta.Elect(w.id))
				_ = story(w, r, l) // fails somewhere, or recovers by itself
				w.bucket.SetHook(nil)
				w.meta.SetHook(nil)
				if crash {
					w.opts.CacheDir = "/cache2"
					r = w.leader()
				}
				w.must(r.Load(t.Context()))
				w.must(r.Ready(t.Context()))
				w.copyAll(r, l)
				w.must(r.Ready(t.Context()))
				w.must(r.Expire(t.Context(), 70))
				settle(w, r)
				if o := r.Offsets(); o.Start != 70 || o.End != l.Offsets().End {
					t.Fatalf("after=%v crash=%v call %d: offsets %+v", after, crash, k, o)
				}
				w.sameBytes(r, l)
				w.audit()
				if in, err := w.meta.Intents(t.Context(), w.id); err != nil || len(in) > 0 {
					t.Errorf("I7: intents left: %v, %v", in, err)
				}
				if t.Failed() {
					t.Fatalf("after=%v crash=%v call %d", after, crash, k)
				}
			}
		}
	}
}

func TestI14AHungStoreEndsWithinTheDeadlineAndIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // what is well takes no time, however slow the machine is
		w := newWorld(t)
		w.opts.RequestTimeout = 30 * time.Millisecond
		l := w.filled(60)
		r := w.leader()
		w.bucket.SetHook(func(op mem.Op, _ string) mem.Fault { return mem.Fault{Hang: op == mem.Put} })
		if _, err := r.Copy(t.Context(), l, l.Offsets().End); !errors.Is(err, objstore.ErrUnavailable) {
			t.Fatalf("I14: %v", err)
		}
		w.bucket.SetHook(nil)
		w.copyAll(r, l)
		w.sameBytes(r, l)
	})
}

func TestExpireMovesEntriesToTheDeadListAndSweepDeletesThemAfterTheDelay(t *testing.T) {
	w := newWorld(t)
	l := w.filled(200)
	r := w.leader()
	w.copyAll(r, l)
	entries := r.Entries()
	start := entries[3].Base + 1 // in the middle of the fourth
	w.must(r.Expire(t.Context(), start))
	if got := r.Entries(); got[0].Base != entries[3].Base || r.Offsets().Start != start {
		t.Fatalf("first entry %+v, offsets %+v", got[0], r.Offsets())
	}
	if _, err := read(t.Context(), r, start-1, 1<<40, 1000, true); !errors.Is(err, segment.ErrOutOfRange) {
		t.Fatalf("read below start: %v", err)
	}
	if n, err := r.Sweep(t.Context()); n != 0 || err != nil {
		t.Fatalf("I22: swept %d before the delay, %v", n, err)
	}
	w.advance(2 * time.Minute)
	// I27: what the store refuses stays, and nothing else.
	refused := entries[1].Key
	w.bucket.SetHook(func(op mem.Op, key string) mem.Fault {
		if op == mem.Delete && key == refused {
			return mem.Fault{Before: objstore.ErrDenied}
		}
		return mem.Fault{}
	})
	if _, err := r.Sweep(t.Context()); !errors.Is(err, objstore.ErrDenied) {
		t.Fatalf("sweep: %v", err)
	}
	status, err := r.Status(t.Context())
	w.must(err)
	var dead []string
	for _, d := range status.Dead {
		if strings.Contains(d.Key, "/seg/") {
			dead = append(dead, d.Key)
		}
	}
	if len(dead) != 1 || dead[0] != refused {
		t.Fatalf("I27: dead list %v, refused %s", dead, refused)
	}
	w.bucket.SetHook(nil)
	settle(w, r)
	for key := range w.bucket.Snapshot() {
		for _, e := range entries[:3] {
			if key == e.Key {
				t.Fatalf("%s is still there", key)
			}
		}
	}
	w.sameBytes(r, l)
	w.audit()
	// At rest: nothing but live segments, the root and the one before it at most.
	if roots := countKeys(w, "/root/"); roots > 2 {
		t.Fatalf("%d roots at rest", roots)
	}
	before := w.commits
	settle(w, r)
	if w.commits != before {
		t.Fatalf("an idle partition commits: %d", w.commits-before)
	}
}

// TestWithdrawEmptiesTheBucketAndCopyingBeginsAnew: KIP-950.
func TestWithdrawEmptiesTheBucketAndCopyingBeginsAnew(t *testing.T) {
	w := newWorld(t)
	w.opts.DeleteDelay = time.Second
	l := w.log(300)
	w.must(l.AssignEpoch(1))
	w.fill(l, 1, 2200, 9) // more than a root has room for: leaves
	r := w.leader()
	w.must(r.Withdraw(t.Context(), 0)) // nothing is there
	n := w.copyAll(r, l)
	half := r.Entries()[n/2].Base
	w.must(r.Expire(t.Context(), half))
	w.must(r.Withdraw(t.Context(), half))
	if o := r.Offsets(); o.Start != half || o.End != half || o.Segments != 0 || len(r.Entries()) != 0 {
		t.Fatalf("withdrawn: %+v", o)
	}
	if b, err := read(t.Context(), r, half, 1<<40, 1000, true); len(b) > 0 || err != nil {
		t.Errorf("read of what was withdrawn: %d bytes, %v", len(b), err)
	}
	settle(w, r)
	if got := countKeys(w, "/seg/") + countKeys(w, "/leaf/") + countKeys(w, "/node/"); got != 0 {
		t.Errorf("%d objects left", got)
	}
	w.audit()
	w.opts.CacheDir = "/cache2"
	r = w.leader() // by what the bucket and the metadata say
	if again := w.copyAll(r, l); again != n-n/2 {
		t.Errorf("%d segments were copied anew, of %d", again, n-n/2)
	}
	w.sameBytes(r, l)
	settle(w, r)
	w.audit()
}

func countKeys(w *world, part string) (n int) {
	for key := range w.bucket.Snapshot() {
		if strings.Contains(key, part) {
			n++
		}
	}
	return n
}

func TestI29DeleteRecordsBeyondTheTieredEndEmptiesTheListAndCopyingGoesOn(t *testing.T) {
	w := newWorld(t)
	l := w.filled(100)
	r := w.leader()
	half := l.Segments()[len(l.Segments())/2].Base
	for {
		n, err := r.Copy(t.Context(), l, half)
		w.must(err)
		if n == 0 {
			break
		}
	}
	start := half + 3
	w.must(r.Expire(t.Context(), start))
	if o := r.Offsets(); o.Start != start || o.End != start || o.Segments != 0 {
		t.Fatalf("I29: %+v", o)
	}
	// A leader change cannot resurrect what was deleted.
	w.opts.CacheDir = "/cache2"
	r = w.leader()
	if o := r.Offsets(); o.Start != start || o.End != start {
		t.Fatalf("I29 after a leader change: %+v", o)
	}
	w.copyAll(r, l)
	if first := r.Entries()[0]; first.Base > start || first.Next <= start {
		t.Fatalf("I29: first entry [%d, %d), start %d", first.Base, first.Next, start)
	}
	w.sameBytes(r, l)
	settle(w, r)
	w.audit()
}

// TestALeaderThatRolledElsewhereContinuesTheRemoteLog: segments of replicas do not end at
// the same offsets, so the new leader copies the rest of one from the middle on.
func TestALeaderThatRolledElsewhereContinuesTheRemoteLog(t *testing.T) {
	w := newWorld(t)
	l := w.filled(120)
	r := w.leader()
	_, err := r.Copy(t.Context(), l, l.Segments()[2].Next)
	w.must(err)
	other := w.logAt("other-3", 9100, 0)
	w.must(other.AssignEpoch(1))
	w.fill(other, 1, 120, 42) // the same batches, in larger segments
	w.opts.CacheDir = "/cache2"
	leader := w.leader()
	end := leader.Offsets().End
	if slices.ContainsFunc(other.Segments(), func(s segment.Info) bool { return s.Next == end }) {
		t.Fatal("a segment of the other replica ends where the remote log does: the test tests nothing")
	}
	w.copyAll(leader, other)
	w.sameBytes(leader, l)
	w.audit()
}

func TestI25NothingIsDoneBeforeTheRootWasReadInThisEpoch(t *testing.T) {
	w := newWorld(t)
	l := w.filled(60)
	w.copyAll(w.leader(), l)
	w.opts.CacheDir = "/cache2"
	r := w.tier().Remote(w.id)
	check := func(when string) {
		t.Helper()
		if _, err := r.Copy(t.Context(), l, 1000); !errors.Is(err, tiering.ErrNotLeading) {
			t.Fatalf("I25 %s: copy: %v", when, err)
		}
		if err := r.Expire(t.Context(), 50); !errors.Is(err, tiering.ErrNotLeading) {
			t.Fatalf("I25 %s: expire: %v", when, err)
		}
		if _, err := r.Sweep(t.Context()); !errors.Is(err, tiering.ErrNotLeading) {
			t.Fatalf("I25 %s: sweep: %v", when, err)
		}
	}
	check("before Lead")
	r.Lead(w.meta.Elect(w.id))
	check("before Load")
	w.must(r.Load(t.Context()))
	if o := r.Offsets(); !o.Known || o.Bytes != -1 {
		t.Fatalf("I23: bytes are %d before the root was read", o.Bytes)
	}
	w.bucket.SetHook(func(mem.Op, string) mem.Fault { return mem.Fault{Before: objstore.ErrUnavailable} })
	if err := r.Ready(t.Context()); !errors.Is(err, objstore.ErrUnavailable) {
		t.Fatal(err)
	}
	check("with the bucket down")
	w.bucket.SetHook(nil)
	w.must(r.Ready(t.Context()))
	w.must(r.Expire(t.Context(), 50))
	r.Resign()
	check("after Resign")
}

func TestDeletePartitionRemovesOnlyItsOwnObjects(t *testing.T) {
	w := newWorld(t)
	l := w.filled(60)
	tier := w.tier()
	r := tier.Remote(w.id)
	w.lead(r)
	w.copyAll(r, l)
	other := w.id
	other.Topic[0]++ // the topic of the same name that was created again (I28)
	w.must(w.bucket.Put(t.Context(), "cluster-2/x", objstore.BytesBody("theirs")))
	o := tier.Remote(other)
	o.Lead(w.meta.Elect(other))
	w.must(o.Load(t.Context()))
	w.must(o.Ready(t.Context()))
	w.meta.SetOnCommit(nil)
	_, err := o.Copy(t.Context(), l, l.Offsets().End)
	w.must(err)
	before := len(w.bucket.Snapshot())

	failed := false
	w.bucket.SetHook(func(op mem.Op, key string) mem.Fault {
		if op == mem.Delete && !failed {
			failed = true
			return mem.Fault{Before: objstore.ErrUnavailable}
		}
		return mem.Fault{}
	})
	if err := tier.DeletePartition(t.Context(), w.id); !errors.Is(err, objstore.ErrUnavailable) {
		t.Fatalf("delete: %v", err)
	}
	w.must(tier.DeletePartition(t.Context(), w.id))
	left := w.bucket.Snapshot()
	for key := range left {
		if p, ok := tiering.ParsePartition(key); ok && p == w.id {
			t.Fatalf("%s is left", key)
		}
	}
	if len(left) == 0 || len(left) >= before {
		t.Fatalf("%d objects left of %d", len(left), before)
	}
	w.sameBytes(o, l)
	if p, err := w.meta.Pointer(t.Context(), w.id); err != nil || p.Root != "" {
		t.Fatalf("pointer %+v, %v", p, err)
	}
}

func TestManyCommitsMakeATreeOfBoundedRoots(t *testing.T) {
	w := newWorld(t)
	w.opts.DeleteDelay = time.Second
	l := w.log(300)
	w.must(l.AssignEpoch(1))
	w.fill(l, 1, 2200, 9)
	r := w.leader()
	n := w.copyAll(r, l)
	if n < 1000 {
		t.Fatalf("only %d segments", n)
	}
	status, err := r.Status(t.Context())
	w.must(err)
	if status.Pointer.RootSize > 64<<10 || countKeys(w, "/leaf/") < 3 {
		t.Fatalf("root of %d bytes, %d leaves", status.Pointer.RootSize, countKeys(w, "/leaf/"))
	}
	settle(w, r)
	// A new broker reads the tree from the bucket.
	w.opts.CacheDir = "/cache2"
	r = w.leader()
	if len(r.Entries()) != n {
		t.Fatalf("%d entries, %d were copied", len(r.Entries()), n)
	}
	w.sameBytes(r, l)
	entries := r.Entries()
	for _, at := range []int{100, 300, 700} { // within the first leaf, past it, past the second
		w.must(r.Expire(t.Context(), entries[at].Base))
		settle(w, r)
		if got := countKeys(w, "/seg/"); got != n-at {
			t.Fatalf("%d segments left after %d of %d expired", got, at, n)
		}
		w.audit()
		w.sameBytes(r, l)
	}
	w.must(r.Expire(t.Context(), entries[n-1].Next))
	settle(w, r)
	if got := countKeys(w, "/seg/") + countKeys(w, "/leaf/"); got != 0 {
		t.Fatalf("%d segments and leaves left", got)
	}
	w.audit()
}
