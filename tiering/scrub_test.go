package tiering_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/tiering"
	"github.com/varvelog/varve/tiering/mem"
	"github.com/varvelog/varve/tiering/objstore"
)

// scrubbed is a partition in the bucket and the tier that leads it.
func scrubbed(t *testing.T) (*world, *tiering.Tier, *tiering.Remote) {
	w := newWorld(t)
	w.opts.ScrubBytesPerSecond = 1 << 40
	l := w.filled(100)
	tier := w.tier()
	r := tier.Remote(w.id)
	w.lead(r)
	w.copyAll(r, l)
	return w, tier, r
}

// pass scrubs every object once, and one more.
func pass(t *testing.T, tier *tiering.Tier, r *tiering.Remote) (found []tiering.Finding) {
	t.Helper()
	for range len(r.Entries()) + 2 {
		f, err := tier.Scrub(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, f...)
	}
	return found
}

// TestI51TheScrubberReportsExactlyTheFaultAndDeletesNothing injects one fault after the
// other.
func TestI51TheScrubberReportsExactlyTheFaultAndDeletesNothing(t *testing.T) {
	get := func(key string, f mem.Fault) mem.Hook {
		return func(op mem.Op, k string) mem.Fault {
			if op == mem.Get && k == key {
				return f
			}
			return mem.Fault{}
		}
	}
	for _, c := range []struct {
		name string
		hook func(w *world, key, root string) mem.Hook
		want tiering.FindingKind
		root bool // the fault is the root's
	}{
		{name: "nothing", hook: func(*world, string, string) mem.Hook { return nil }},
		{name: "bit of a chunk or the tail", hook: func(_ *world, key, _ string) mem.Hook { return get(key, mem.Fault{Flip: true}) }, want: tiering.FindingCorrupt},
		{name: "missing object", hook: func(_ *world, key, _ string) mem.Hook {
			return func(_ mem.Op, k string) mem.Fault { return mem.Fault{Stale: k == key} }
		}, want: tiering.FindingMissing},
		{name: "bit of the root", hook: func(_ *world, _, root string) mem.Hook { return get(root, mem.Fault{Flip: true}) }, want: tiering.FindingCorrupt, root: true},
		{name: "missing root", hook: func(_ *world, _, root string) mem.Hook { return get(root, mem.Fault{Stale: true}) }, want: tiering.FindingMissing, root: true},
		{name: "one damaged answer", hook: func(_ *world, key, _ string) mem.Hook {
			first := true
			return func(op mem.Op, k string) mem.Fault {
				if op != mem.Get || k != key {
					return mem.Fault{}
				}
				defer func() { first = false }()
				return mem.Fault{Flip: first}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, tier, r := scrubbed(t)
			key := r.Entries()[3].Key
			status, err := r.Status(t.Context())
			w.must(err)
			root := status.Pointer.Root
			objects := len(w.bucket.Snapshot())
			w.bucket.SetHook(c.hook(w, key, root))
			found := pass(t, tier, r)
			if c.want == "" {
				if len(found) != 0 {
					t.Fatalf("found %v", found)
				}
				return
			}
			if c.root {
				key = root
			}
			if len(found) != 1 || found[0].Key != key || found[0].Kind != c.want {
				t.Fatalf("found %v, want one %s of %s", found, c.want, key)
			}
			if again := pass(t, tier, r); len(again) != 0 {
				t.Errorf("told again: %v", again)
			}
			if f := r.Findings(); len(f) != 1 || f[0].Key != key || tier.Stats().Findings != 1 {
				t.Errorf("findings %v", f)
			}
			if got := len(w.bucket.Snapshot()); got != objects {
				t.Errorf("%d objects of %d are left", got, objects)
			}
			w.bucket.SetHook(nil)
			pass(t, tier, r)
			if f := r.Findings(); len(f) != 0 || tier.Stats().Findings != 0 {
				t.Errorf("healed, and still found: %v", f)
			}
		})
	}
}

func TestTheScrubberSeesEveryByteOfASegment(t *testing.T) {
	w, _, r := scrubbed(t)
	e := r.Entries()[1]
	for _, at := range []int64{0, e.Size / 2, e.Size - 1} {
		b := slices.Clone(w.bucket.Snapshot()[e.Key])
		b[at] ^= 1
		damaged, err := mem.New(mem.Options{})
		w.must(err)
		for key, content := range w.bucket.Snapshot() {
			if key == e.Key {
				content = b
			}
			w.must(damaged.Put(t.Context(), key, objstore.BytesBody(content)))
		}
		w.store = damaged
		w.opts.CacheDir = "/cache2"
		tier := w.tier()
		other := tier.Remote(w.id)
		w.lead(other)
		found := pass(t, tier, other)
		if len(found) != 1 || found[0].Key != e.Key || found[0].Kind != tiering.FindingCorrupt {
			t.Errorf("byte %d: found %v", at, found)
		}
	}
}

func TestTheScrubberTakesAnUnreachableStoreForNoFault(t *testing.T) {
	w, tier, r := scrubbed(t)
	for _, f := range []mem.Fault{{Before: objstore.ErrUnavailable}, {Before: objstore.ErrDenied}} {
		w.bucket.SetHook(func(mem.Op, string) mem.Fault { return f })
		failed := 0
		for range len(r.Entries()) + 2 {
			found, err := tier.Scrub(t.Context())
			if len(found) > 0 {
				t.Fatal(found)
			}
			if errors.Is(err, f.Before) {
				failed++
			}
		}
		if failed < len(r.Entries()) {
			t.Errorf("%v: %d errors", f.Before, failed)
		}
	}
}

// TestTheScrubberIsNotAlarmedByWhatExpires deletes a segment while it is looked at.
func TestTheScrubberIsNotAlarmedByWhatExpires(t *testing.T) {
	w, tier, r := scrubbed(t)
	entries := r.Entries()
	first := true
	w.bucket.SetHook(func(op mem.Op, key string) mem.Fault {
		if op == mem.Head && key == entries[0].Key && first {
			first = false
			w.must(r.Expire(context.Background(), entries[2].Base))
			settle(w, r)
		}
		return mem.Fault{}
	})
	for range len(entries) + 2 {
		found, err := tier.Scrub(t.Context())
		w.must(err)
		if len(found) > 0 {
			t.Fatal(found)
		}
	}
	if first {
		t.Fatal("nothing expired meanwhile")
	}
}

func TestTheScrubberKeepsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		const rate = 1000
		w.opts.ScrubBytesPerSecond = rate
		w.opts.Now = time.Now
		l := w.filled(100)
		o := w.opts
		o.Bucket = w.bucket
		tier, err := tiering.New(o) // not run: nothing is read ahead here
		w.must(err)
		r := tier.Remote(w.id)
		w.lead(r)
		w.copyAll(r, l)
		begin := time.Now()
		pass(t, tier, r)
		stats := tier.Stats()
		took := time.Since(begin).Seconds()
		if least := float64(stats.ScrubbedBytes)/rate - 2; took < least || took > 2*least {
			t.Errorf("%d bytes in %.0f s", stats.ScrubbedBytes, took)
		}
		if stats.ScrubbedObjects < int64(len(r.Entries())) {
			t.Errorf("%d objects", stats.ScrubbedObjects)
		}
	})
}

func TestScrubbingIsOffByDefault(t *testing.T) {
	w := newWorld(t)
	l := w.filled(20)
	tier := w.tier()
	r := tier.Remote(w.id)
	w.lead(r)
	w.copyAll(r, l)
	if found, err := tier.Scrub(t.Context()); len(found) > 0 || err != nil || tier.Stats().ScrubbedObjects != 0 {
		t.Fatal(found, err)
	}
}
