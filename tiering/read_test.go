package tiering_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
	"github.com/varvelog/varve/tiering"
	"github.com/varvelog/varve/tiering/file"
	"github.com/varvelog/varve/tiering/mem"
	"github.com/varvelog/varve/tiering/objstore"
)

// TestI30ReadsAreTheSameFromBothTiers compares every offset at several sizes and bounds.
// The remote answer may be shorter, where the rest has not been fetched, never other.
func TestI30ReadsAreTheSameFromBothTiers(t *testing.T) {
	for _, kind := range []string{"chunk cache", "local objects"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			l := w.filled(80)
			if kind == "local objects" {
				w.useFiles()
			}
			r := w.leader()
			w.copyAll(r, l)
			end := r.Offsets().End
			for offset := int64(0); offset <= end; offset++ {
				for _, size := range []int64{1, 100, 700, 3000, 20000} {
					for _, bound := range []int64{end, offset + 1, offset + 9} {
						for _, one := range []bool{true, false} {
							bound := min(bound, end)
							records, err := l.Read(offset, bound, size, one)
							w.must(err)
							want, err := records.Bytes()
							w.must(err)
							records.Release()
							got, err := read(t.Context(), r, offset, bound, size, one)
							w.must(err)
							if !bytes.HasPrefix(want, got) || len(got) == 0 && len(want) > 0 {
								t.Fatalf("I30: offset %d, bound %d, size %d, one %v: %d bytes, local %d", offset, bound, size, one, len(got), len(want))
							}
							if int64(len(got)) > size && !one {
								t.Fatalf("I40: %d bytes, at most %d", len(got), size)
							}
						}
					}
				}
			}
			if _, err := read(t.Context(), r, end+1, end+1, 100, true); !errors.Is(err, segment.ErrOutOfRange) {
				t.Fatalf("read above the end: %v", err)
			}
		})
	}
}

// useFiles replaces the bucket by a directory, whose objects are served in place.
func (w *world) useFiles() {
	w.t.Helper()
	b, err := file.New(file.Options{Dir: w.t.TempDir(), NoSync: true})
	w.must(err)
	w.store = b
	w.meta.SetOnCommit(nil)
	w.opts.FS, w.opts.CacheDir = &vfs.OS{}, w.t.TempDir()
}

func TestI30EveryByteOfAReplayAtAnySize(t *testing.T) {
	w := newWorld(t)
	l := w.filled(300)
	r := w.leader()
	w.copyAll(r, l)
	want := w.localBytes(l, 0, r.Offsets().End)
	for _, size := range []int64{1, 500, 4000, 60000} {
		w.opts.CacheDir = fmt.Sprintf("/cache-%d", size)
		fresh := w.tier().Remote(w.id)
		w.must(fresh.Load(t.Context())) // a follower: it reads without leading
		got, err := readAll(t.Context(), fresh, 0, r.Offsets().End, size)
		w.must(err)
		if !bytes.Equal(got, want) {
			t.Fatalf("size %d: %d bytes, local %d", size, len(got), len(want))
		}
	}
}

func TestReadBeforeLoadIsUnknown(t *testing.T) {
	w := newWorld(t)
	r := w.tier().Remote(w.id)
	if _, err := r.Read(0, 10, 100, true, segment.NewWaiter()); !errors.Is(err, tiering.ErrUnknown) {
		t.Fatal(err)
	}
	w.must(r.Load(t.Context()))
	if records, err := r.Read(0, 10, 100, true, segment.NewWaiter()); err != nil || records.Size != 0 {
		t.Fatalf("read of an empty remote log: %+v, %v", records, err)
	}
}

func TestI31ReadersSurviveEvictionAndDeletion(t *testing.T) {
	w := newWorld(t)
	l := w.filled(100)
	r := w.leader()
	w.copyAll(r, l)
	first := r.Entries()[0]
	want := w.localBytes(l, 0, first.Next)
	if _, err := read(t.Context(), r, 0, first.Next, 1<<20, true); err != nil {
		t.Fatal(err)
	}
	records, err := r.Read(0, first.Next, 1<<20, true, segment.NewWaiter())
	w.must(err)
	w.must(r.Expire(t.Context(), first.Next))
	settle(w, r)
	got, err := records.Bytes()
	w.must(err)
	if !bytes.HasPrefix(want, got) || len(got) == 0 {
		t.Fatal("I31: a reader's bytes changed under it")
	}
	records.Release()
	if _, err := read(t.Context(), r, 0, first.Next, 100, true); !errors.Is(err, segment.ErrOutOfRange) {
		t.Fatalf("I31: read of a deleted segment: %v", err)
	}
}

// TestI31AReaderThatMeetsAMissingObjectReloadsTheRoot: a follower still holds the root of
// before, in which the object was.
func TestI31AReaderThatMeetsAMissingObjectReloadsTheRoot(t *testing.T) {
	w := newWorld(t)
	l := w.filled(100)
	leader := w.leader()
	w.copyAll(leader, l)
	w.opts.CacheDir = "/cache2"
	follower := w.tier().Remote(w.id)
	w.must(follower.Load(t.Context()))
	end := follower.Offsets().End
	if _, err := read(t.Context(), follower, end-1, end, 100, true); err != nil { // it has the tree now
		t.Fatal(err)
	}
	entries := leader.Entries()
	w.must(leader.Expire(t.Context(), entries[2].Base))
	settle(w, leader)
	if _, err := read(t.Context(), follower, 0, end, 100, true); !errors.Is(err, segment.ErrOutOfRange) {
		t.Fatalf("I31: %v", err)
	}
	got, err := readAll(t.Context(), follower, entries[2].Base, end, 3000)
	w.must(err)
	if !bytes.Equal(got, w.localBytes(l, entries[2].Base, end)) {
		t.Fatal("I31: the follower does not go on")
	}
	// What the root does name and the store does not have is an error, not an end.
	w.bucket.Delete(t.Context(), []string{entries[5].Key})
	w.opts.CacheDir = "/cache3"
	fresh := w.tier().Remote(w.id)
	w.must(fresh.Load(t.Context()))
	if _, err := read(t.Context(), fresh, entries[5].Base, end, 100, true); !errors.Is(err, tiering.ErrMissing) {
		t.Fatalf("read of a lost object: %v", err)
	}
	report := w.report()
	if !slices.ContainsFunc(report.Findings, func(f tiering.Finding) bool {
		return f.Kind == tiering.FindingMissing && f.Key == entries[5].Key
	}) {
		t.Fatalf("I51: findings %v", report.Findings)
	}
}

func TestI36ACorruptedChunkIsFetchedAgainOnceAndThenAnError(t *testing.T) {
	for _, times := range []int{1, 100} {
		t.Run(fmt.Sprint(times), func(t *testing.T) {
			w := newWorld(t)
			l := w.filled(60)
			r := w.leader()
			w.copyAll(r, l)
			entry := r.Entries()[0]
			// The tail first, whole.
			if _, err := read(t.Context(), r, entry.Next-1, entry.Next, 1<<20, true); err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			left := times
			w.bucket.SetHook(func(op mem.Op, key string) mem.Fault {
				mu.Lock()
				defer mu.Unlock()
				if op == mem.Get && key == entry.Key && left > 0 {
					left--
					return mem.Fault{Flip: true}
				}
				return mem.Fault{}
			})
			want := w.localBytes(l, 0, entry.Next)
			got, err := read(t.Context(), r, 0, entry.Next, 1<<20, true)
			if times == 1 {
				if err != nil || len(got) == 0 || !bytes.HasPrefix(want, got) {
					t.Fatalf("I36: %d bytes, %v", len(got), err)
				}
				return
			}
			var corrupt *tiering.CorruptError
			if !errors.As(err, &corrupt) || corrupt.Key != entry.Key {
				t.Fatalf("I36: %v", err)
			}
			w.bucket.SetHook(nil)
			w.advance(time.Minute)
			if got, err := read(t.Context(), r, 0, entry.Next, 1<<20, true); err != nil || len(got) == 0 || !bytes.HasPrefix(want, got) {
				t.Fatalf("after healing: %v", err)
			}
		})
	}
}

func TestI36ACorruptedLocalObjectIsAnErrorNeverData(t *testing.T) {
	w := newWorld(t)
	l := w.filled(60)
	w.useFiles()
	r := w.leader()
	w.copyAll(r, l)
	entry := r.Entries()[1]
	object, err := w.store.(objstore.Local).OpenLocal(entry.Key)
	w.must(err)
	path := object.Name()
	w.must(object.Close())
	f, err := w.opts.FS.Open(path, false)
	w.must(err)
	_, err = f.WriteAt([]byte{0x55, 0xaa}, entry.Size/2)
	w.must(err)
	w.must(f.Close())
	var corrupt *tiering.CorruptError
	if got, err := readAll(t.Context(), r, entry.Base, entry.Next, 1<<20); !errors.As(err, &corrupt) || corrupt.Key != entry.Key {
		t.Fatalf("I36: %d bytes, %v", len(got), err)
	}
	if _, err := readAll(t.Context(), r, entry.Next, r.Offsets().End, 1<<20); err != nil {
		t.Fatalf("the other objects: %v", err)
	}
}

func TestCorruptedTailRootAndLeafAreErrorsNeverData(t *testing.T) {
	for _, part := range []string{"/seg/", "/root/", "/leaf/"} {
		t.Run(part, func(t *testing.T) {
			w := newWorld(t)
			l := w.log(300)
			w.must(l.AssignEpoch(1))
			w.fill(l, 1, 700, 5)
			r := w.leader()
			w.copyAll(r, l)
			w.bucket.SetHook(func(op mem.Op, key string) mem.Fault {
				return mem.Fault{Flip: op == mem.Get && strings.Contains(key, part)}
			})
			w.opts.CacheDir = "/cache2"
			fresh := w.tier().Remote(w.id)
			w.must(fresh.Load(t.Context()))
			var corrupt *tiering.CorruptError
			if _, err := read(t.Context(), fresh, 0, 10, 100, true); !errors.As(err, &corrupt) {
				t.Fatalf("read: %v", err)
			}
		})
	}
}

func TestReadGetsTheErrorOfTheBucketAndMayTryAgain(t *testing.T) {
	w := newWorld(t)
	l := w.filled(60)
	w.copyAll(w.leader(), l)
	w.opts.CacheDir = "/cache2"
	r := w.tier().Remote(w.id)
	w.must(r.Load(t.Context()))
	w.bucket.SetHook(func(op mem.Op, _ string) mem.Fault {
		if op == mem.Get {
			return mem.Fault{Before: objstore.ErrUnavailable}
		}
		return mem.Fault{}
	})
	for range 3 {
		if _, err := read(t.Context(), r, 0, 10, 100, true); !errors.Is(err, objstore.ErrUnavailable) {
			t.Fatal(err)
		}
		w.advance(time.Minute)
	}
	w.bucket.SetHook(nil)
	w.sameBytes(r, l)
}

func TestI38OneGetHoweverManyWait(t *testing.T) {
	w := newWorld(t)
	w.opts.ReadAheadBytes = 1 // none
	l := w.filled(60)
	r := w.leader()
	w.copyAll(r, l)
	entry := r.Entries()[0]
	if _, err := read(t.Context(), r, entry.Next-1, entry.Next, 1<<20, true); err != nil {
		t.Fatal(err)
	}
	gets, hold := w.bucket.Calls(mem.Get), make(chan struct{})
	w.bucket.SetHook(func(op mem.Op, _ string) mem.Fault { return mem.Fault{Wait: hold} })
	ctx, cancel := context.WithCancel(t.Context())
	var waiting, done sync.WaitGroup
	for i := range 20 {
		waiting.Add(1)
		done.Go(func() {
			c := t.Context()
			if i == 0 {
				c = ctx // the first goes away before the bytes come
			}
			waiter := segment.NewWaiter()
			_, err := r.Read(0, entry.Next, 100, true, waiter)
			waiting.Done()
			if !errors.Is(err, tiering.ErrNotReady) {
				t.Errorf("read: %v", err)
				return
			}
			b, err := read(c, r, 0, entry.Next, 100, true)
			if i == 0 && errors.Is(err, context.Canceled) {
				return
			}
			if err != nil || len(b) == 0 {
				t.Errorf("I38: reader %d: %v", i, err)
			}
		})
	}
	waiting.Wait()
	cancel()
	close(hold)
	done.Wait()
	if n := w.bucket.Calls(mem.Get) - gets; n != 1 {
		t.Fatalf("I38: %d GETs", n)
	}
}

func TestI37TheCacheKeepsItsBudgetUnderManyReaders(t *testing.T) {
	w := newWorld(t)
	w.opts.CacheBytes, w.opts.ReadAheadBytes = 12000, 6000
	l := w.filled(300)
	tier := w.tier()
	r := tier.Remote(w.id)
	w.lead(r)
	w.copyAll(r, l)
	end := r.Offsets().End
	want := w.localBytes(l, 0, end)
	stop := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if s := tier.Stats(); s.CacheBytes > 12000 {
				t.Errorf("I37: %d bytes in the cache", s.CacheBytes)
				return
			}
		}
	}()
	var readers sync.WaitGroup
	for i := range 8 {
		readers.Go(func() {
			x := rand.New(rand.NewPCG(uint64(i), 3))
			if i == 0 {
				got, err := readAll(t.Context(), r, 0, end, 3000)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("replay: %d of %d bytes, %v", len(got), len(want), err)
				}
				return
			}
			for range 60 {
				at := x.Int64N(end)
				got, err := read(t.Context(), r, at, end, 1000, true)
				if errors.Is(err, tiering.ErrBusy) {
					continue
				}
				if err != nil || !bytes.Contains(want, got) || len(got) == 0 {
					t.Errorf("at %d: %d bytes, %v", at, len(got), err)
				}
			}
		})
	}
	readers.Wait()
	close(stop)
	<-watched
	if s := tier.Stats(); s.Evictions == 0 {
		t.Error("nothing was evicted: the test tests nothing")
	}
}

func TestSequentialReadersFetchAheadAcrossSegmentsInFewGets(t *testing.T) {
	w := newWorld(t)
	l := w.filled(300)
	r := w.leader()
	w.copyAll(r, l)
	gets := w.bucket.Calls(mem.Get)
	if _, err := readAll(t.Context(), r, 0, r.Offsets().End, 1000); err != nil {
		t.Fatal(err)
	}
	segments, chunks := len(r.Entries()), int(l.Size()/1500)
	if n := w.bucket.Calls(mem.Get) - gets; n > segments+chunks || n < segments*2 {
		t.Fatalf("%d GETs for %d segments of %d chunks", n, segments, chunks)
	}
}

// timeStory is a log with equal, falling and missing timestamps and aborted transactions.
func timeStory(w *world) *segment.Log {
	l := w.log(2500)
	r := rand.New(rand.NewPCG(7, 7))
	for i := range 150 {
		w.must(l.AssignEpoch(int32(1 + i/40)))
		end := l.Offsets().End
		records := make([]batch.Record, 1+r.IntN(5))
		for k := range records {
			records[k] = batch.Record{Timestamp: 1000 + r.Int64N(40)*10 + int64(i), Value: make([]byte, r.IntN(60))}
		}
		b, err := batch.NoProducer.Build(end, int32(1+i/40), records)
		w.must(err)
		_, err = l.Append([]batch.Batch{b})
		w.must(err)
		if i%9 == 8 {
			first := max(0, end-int64(r.IntN(60)))
			w.must(l.AppendAborted(index.AbortedTxn{
				ProducerID: int64(i), FirstOffset: first, LastOffset: end + int64(len(records)) - 1, LastStableOffset: 0,
			}))
		}
	}
	w.must(l.Roll())
	return l
}

func TestI34I35LookupsAreTheSameFromBothTiers(t *testing.T) {
	w := newWorld(t)
	l := timeStory(w)
	r := w.leader()
	w.copyAll(r, l)
	end := r.Offsets().End
	ctx := t.Context()
	for ts := int64(900); ts < 1700; ts += 3 {
		for _, bound := range []int64{end, end / 2, 17} {
			want, wantOK, err := l.FirstAtOrAfter(ts, bound)
			w.must(err)
			got, ok, err := r.FirstAtOrAfter(ctx, ts, bound)
			w.must(err)
			if ok != wantOK || got != want {
				t.Fatalf("I34: first at or after %d below %d: %+v %v, local %+v %v", ts, bound, got, ok, want, wantOK)
			}
		}
	}
	for bound := int64(0); bound <= end; bound += 5 {
		want, wantOK, err := l.MaxTimestamp(bound)
		w.must(err)
		got, ok, err := r.MaxTimestamp(ctx, bound)
		w.must(err)
		if ok != wantOK || got != want {
			t.Fatalf("I34: largest below %d: %+v %v, local %+v %v", bound, got, ok, want, wantOK)
		}
	}
	for epoch := int32(-1); epoch < 8; epoch++ {
		wantEpoch, wantEnd := l.EpochEnd(epoch)
		gotEpoch, gotEnd, err := r.EpochEnd(ctx, epoch)
		w.must(err)
		if gotEpoch != wantEpoch || gotEnd != wantEnd {
			t.Fatalf("I35: epoch %d ends at %d %d, local %d %d", epoch, gotEpoch, gotEnd, wantEpoch, wantEnd)
		}
	}
	for from := int64(0); from < end; from += 13 {
		for _, to := range []int64{from + 1, from + 40, end} {
			want, err := l.Aborted(from, min(to, end))
			w.must(err)
			var got []index.AbortedTxn
			waiter := segment.NewWaiter()
			for {
				if got, err = r.Aborted(from, min(to, end), waiter); !errors.Is(err, tiering.ErrNotReady) {
					break
				}
				<-waiter.C()
			}
			w.must(err)
			if !slices.Equal(got, want) {
				t.Fatalf("I33: aborted in [%d, %d): %v, local %v", from, to, got, want)
			}
		}
	}
}

func TestI34LookupsBeginAtTheLogStart(t *testing.T) {
	w := newWorld(t)
	l := timeStory(w)
	r := w.leader()
	w.copyAll(r, l)
	ctx := t.Context()
	all := map[int64]segment.Timestamped{}
	for at := int64(0); at < r.Offsets().End; {
		records, err := l.Read(at, r.Offsets().End, 1<<20, true)
		w.must(err)
		b, err := records.Bytes()
		w.must(err)
		records.Release()
		for len(b) > 0 {
			var x batch.Batch
			x, b, err = batch.Next(b)
			w.must(err)
			w.must(batch.Records(x, 1<<20, func(e *batch.Record) bool {
				all[e.Offset] = segment.Timestamped{Offset: e.Offset, Timestamp: e.Timestamp, LeaderEpoch: x.LeaderEpoch()}
				return true
			}))
			at = x.NextOffset()
		}
	}
	for start := int64(3); start < r.Offsets().End; start += 29 {
		w.must(r.Expire(ctx, start))
		var best, first segment.Timestamped
		found := false
		best.Timestamp = -1
		const ts = 1300
		for at := start; at < r.Offsets().End; at++ {
			if all[at].Timestamp > best.Timestamp {
				best = all[at]
			}
			if !found && all[at].Timestamp >= ts {
				first, found = all[at], true
			}
		}
		if got, ok, err := r.MaxTimestamp(ctx, r.Offsets().End); err != nil || !ok || got != best {
			t.Fatalf("largest from %d: %+v %v %v, a scan says %+v", start, got, ok, err, best)
		}
		if got, ok, err := r.FirstAtOrAfter(ctx, ts, r.Offsets().End); err != nil || ok != found || got != first {
			t.Fatalf("first from %d: %+v %v %v, a scan says %+v", start, got, ok, err, first)
		}
	}
}

func TestSnapshotIsThatOfTheLastTieredSegment(t *testing.T) {
	w := newWorld(t)
	l := w.filled(60)
	want := []segment.ProducerState{{ProducerID: 9, ProducerEpoch: 1, LastSequence: 5, LastOffset: 3, Timestamp: 10, CoordinatorEpoch: -1, CurrentTxnFirst: -1}}
	end := l.Offsets().End
	w.must(l.WriteSnapshot(end, want))
	r := w.leader()
	if p, e, err := r.Snapshot(t.Context()); p != nil || e != nil || err != nil {
		t.Fatalf("of an empty log: %v, %v, %v", p, e, err)
	}
	w.copyAll(r, l)
	p, epochs, err := r.Snapshot(t.Context())
	w.must(err)
	got, err := segment.ParseSnapshot(p)
	w.must(err)
	if !slices.Equal(got, want) || !slices.Equal(epochs, []segment.EpochStart{{Epoch: 1, Start: 0}}) {
		t.Fatalf("I42: %+v, %+v", got, epochs)
	}
}
