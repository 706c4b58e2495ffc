package share

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varvelog/varve/segment"
)

func TestAcknowledgedIsNeverDeliveredAgainAfterARestart(t *testing.T) {
	h := newHouse(t, usual())
	h.produce(10)
	if got := h.acquire("a", 6); got != "0-5×1 " {
		t.Fatalf("acquired %s", got)
	}
	h.must(h.ack("a", 0, 2, Accept))
	h.must(h.ack("a", 4, 4, Release))
	h.start()
	if got := h.acquire("b", 100); got != "3-3×1 4-4×2 5-9×1 " {
		t.Fatalf("after a restart: %s", got)
	}
}

func TestAnAcknowledgementIsAnsweredWhenItIsWritten(t *testing.T) {
	h := newHouse(t, usual())
	h.produce(4)
	h.acquire("a", 4)
	p, _ := h.open()
	h.store.hold = make(chan struct{})
	wait, err := p.Acknowledge("a", []Ack{{0, 4, []AckType{Release}}})
	h.must(err)
	if next, ok := p.state.Next(100); next != 4 || !ok {
		t.Fatalf("next is %d while the release is being written", next)
	}
	answered := make(chan error)
	go func() { answered <- wait() }()
	close(h.store.hold)
	h.must(<-answered)
	h.store.hold = nil
	if got := h.acquire("b", 10); got != "0-3×2 " {
		t.Fatalf("acquired %s", got)
	}
}

func TestWhatCouldNotBeWrittenIsHeldAsBefore(t *testing.T) {
	h := newHouse(t, usual())
	h.produce(4)
	h.acquire("a", 4)
	h.store.refuse(kerr.NotCoordinator)
	if err := h.ack("a", 0, 3, Accept); !errors.Is(err, ErrNotReady) {
		t.Fatalf("acknowledging: %v", err)
	}
	h.store.refuse(nil)
	h.must(h.ack("a", 0, 3, Accept))
	if got := h.acquire("b", 4); got != "" {
		t.Fatalf("acquired %s", got)
	}
}

func TestAFencedWriteDropsTheState(t *testing.T) {
	h := newHouse(t, usual())
	h.produce(4)
	h.acquire("a", 4)
	h.store.initialize(1) // the group was deleted and made again, or its offsets altered
	if err := h.ack("a", 0, 3, Accept); !errors.Is(err, ErrFenced) {
		t.Fatalf("acknowledging: %v", err)
	}
	if got := h.acquire("a", 4); got != "0-3×1 " || h.store.readings != 2 {
		t.Fatalf("acquired %s after %d readings", got, h.store.readings)
	}
}

func TestALaterLeaderEpochLoadsAnew(t *testing.T) {
	h := newHouse(t, usual())
	h.produce(4)
	h.acquire("a", 4)
	h.lead(2)
	if err := h.ack("a", 0, 3, Accept); !errors.Is(err, ErrRecordState) && !errors.Is(err, ErrRequest) {
		t.Fatalf("acknowledging in another epoch: %v", err)
	}
	h.replica.Resign()
	h.clock.Add(staleCheck.Milliseconds())
	h.must(h.m.Expire())
	if n := h.m.PartitionCount(); n != 0 {
		t.Fatalf("%d share partitions of what is not led", n)
	}
}

func TestTheBeginningIsStoredBeforeAnythingIsDelivered(t *testing.T) {
	for name, c := range map[string]struct {
		reset Reset
		want  string
	}{
		"latest":      {Reset{}, "5-9×1 "},
		"earliest":    {Reset{Earliest: true}, "0-9×1 "},
		"by duration": {Reset{By: time.Second}, "3-9×1 "},
	} {
		t.Run(name, func(t *testing.T) {
			s := usual()
			s.Reset = c.reset
			h := newHouse(t, s)
			h.produce(3)
			h.clock.Add(2000)
			h.produce(2)
			_, err := h.open()
			h.must(err)
			h.produce(5)
			h.start() // what was produced since is not lost to a group that begins at the end
			if got := h.acquire("a", 100); got != c.want {
				t.Fatalf("acquired %s, want %s", got, c.want)
			}
		})
	}
}

func TestLocksExpireAndWakeWhoWaits(t *testing.T) {
	h := newHouse(t, usual())
	h.produce(4)
	h.acquire("a", 4)
	p, _ := h.open()
	w := segment.NewWaiter()
	p.Watch(w)
	defer p.Unwatch(w)
	h.clock.Add(29_999)
	h.must(h.m.Expire())
	if len(w.C()) != 0 {
		t.Fatal("woken before the lock has expired")
	}
	h.must(h.ack("a", 0, 0, Renew)) // KIP-1222
	h.clock.Add(1)
	h.must(h.m.Expire())
	if len(w.C()) != 1 {
		t.Fatal("nobody was woken")
	}
	if got := h.acquire("b", 10); got != "1-3×2 " {
		t.Fatalf("acquired %s", got)
	}
	if err := h.ack("a", 1, 3, Accept); !errors.Is(err, ErrRecordState) {
		t.Fatalf("acknowledging another member's: %v", err)
	}
	h.must(h.ack("a", 0, 0, Accept))
}

func TestAMemberThatLeavesGivesBackWhatItHolds(t *testing.T) {
	for name, uncounted := range map[string]bool{"0-3×1 ": true, "0-3×2 ": false} {
		h := newHouse(t, usual())
		h.produce(4)
		h.session("a")
		h.session("b")
		h.acquire("a", 4)
		h.must(h.m.Leave(Member{"g", "a"}, uncounted))
		if got := h.acquire("b", 10); got != name {
			t.Errorf("acquired %s, want %s", got, name)
		}
		h.must(h.m.Leave(Member{"g", "b"}, true))
		if n := h.m.PartitionCount(); n != 0 {
			t.Errorf("%d share partitions of a group without sessions", n)
		}
	}
}

func (h *house) session(member string) context.CancelFunc {
	h.t.Helper()
	ctx, cancel := context.WithCancel(h.t.Context())
	_, _, err := h.m.Fetch(Peer{member, ctx}, Member{"g", member}, InitialEpoch, []TopicPartition{{Topic: theKey.Topic}}, nil)
	h.must(err)
	return cancel
}

func TestAClosedConnectionEndsItsSession(t *testing.T) {
	h := newHouse(t, usual())
	h.produce(4)
	closed := h.session("a")
	h.session("b")
	h.acquire("a", 4)
	closed()
	for h.m.Count() == 2 { // the news come by another goroutine
		h.must(h.m.Expire())
	}
	if got := h.acquire("b", 10); got != "0-3×2 " {
		t.Fatalf("acquired %s", got)
	}
}

func TestTheLogStartIsFollowed(t *testing.T) {
	h := newHouse(t, usual())
	h.produce(4)
	h.produce(4)
	h.acquire("a", 2)
	_, err := h.replica.DeleteRecords(t.Context(), 4)
	h.must(err)
	if got := h.acquire("b", 10); got != "4-7×1 " {
		t.Fatalf("acquired %s", got)
	}
	h.must(h.ack("a", 0, 1, Accept)) // gone, and nothing to complain about
}

// Several members read, accept, release and lose records at once, while locks expire and
// the log grows: each record is accepted exactly once.
func TestMembersAtOnceAcceptEachRecordOnce(t *testing.T) {
	s := usual()
	s.DeliveryLimit = 1000
	h := newHouse(t, s)
	const total = 400
	var mu sync.Mutex
	accepted := map[int64]string{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var running sync.WaitGroup
	for i := range 4 {
		member := fmt.Sprint("m", i)
		running.Go(func() {
			for turn := 0; ctx.Err() == nil; turn++ {
				p, err := h.open()
				if err != nil {
					continue
				}
				found, err := p.Look(1<<20, true, segment.NewWaiter())
				if err != nil {
					t.Errorf("look: %v", err)
					return
				}
				taken, err := p.Take(&found, Wanted{Member: member, Records: 7, Strict: turn%2 == 0})
				if err != nil {
					t.Errorf("take: %v", err)
					return
				}
				taken.Records.Release()
				for n, r := range taken.Acquired {
					kind := []AckType{Accept, Release, Accept, Renew}[(turn+n)%4]
					wait, err := p.Acknowledge(member, []Ack{{r.First, r.Next, []AckType{kind}}})
					if err == nil && wait != nil {
						err = wait()
					}
					if errors.Is(err, ErrRecordState) {
						continue // its lock has expired
					}
					if err != nil {
						t.Errorf("acknowledge: %v", err)
						return
					}
					if kind != Accept {
						continue
					}
					mu.Lock()
					for o := r.First; o < r.Next; o++ {
						if by := accepted[o]; by != "" {
							t.Errorf("offset %d was accepted by %s and by %s", o, by, member)
						}
						accepted[o] = member
					}
					if len(accepted) == total {
						cancel()
					}
					mu.Unlock()
				}
			}
		})
	}
	running.Go(func() {
		for ctx.Err() == nil {
			h.clock.Add(10_000)
			if err := h.m.Expire(); err != nil {
				t.Errorf("expire: %v", err)
				return
			}
		}
	})
	for range total / 10 {
		h.produce(10)
	}
	running.Wait()
	if len(accepted) != total {
		t.Errorf("%d of %d records were accepted", len(accepted), total)
	}
}

// TestWritesAtOnceLeaveNothingBehind: of two acknowledgements that are written at once the
// later one knows nothing of the other's fate. What is stored when both are says so of both.
func TestWritesAtOnceLeaveNothingBehind(t *testing.T) {
	h := newHouse(t, usual())
	h.produce(10)
	h.acquire("a", 5)
	h.acquire("b", 5)
	p, err := h.open()
	h.must(err)
	h.store.hold = make(chan struct{})
	first, err := p.Acknowledge("a", []Ack{{0, 5, []AckType{Accept}}})
	h.must(err)
	second, err := p.Acknowledge("b", []Ack{{5, 10, []AckType{Accept}}})
	h.must(err)
	close(h.store.hold)
	h.must(first())
	h.must(second())
	h.store.hold = nil
	h.start()
	if got := h.acquire("c", 10); got != "" {
		t.Fatalf("delivered again after a restart: %s", got)
	}
}

// TestAWriteOfUnknownFateTakesNothingFromOthers: an acknowledgement that was written, but
// not answered in time, is held as before. What another member has acknowledged above it
// stays so, whatever becomes of it.
func TestAWriteOfUnknownFateTakesNothingFromOthers(t *testing.T) {
	h := newHouse(t, usual())
	h.produce(10)
	h.acquire("a", 5)
	h.acquire("b", 5)
	h.must(h.ack("b", 5, 9, Accept))
	h.store.lose(true)
	if err := h.ack("a", 0, 4, Accept); !errors.Is(err, ErrNotReady) {
		t.Fatalf("acknowledging: %v", err)
	}
	h.store.lose(false)
	h.clock.Add(60_000)
	h.must(h.m.Expire())
	h.start()
	if got := h.acquire("c", 10); got != "" {
		t.Fatalf("delivered again after a restart: %s", got)
	}
}

// TestTheEndOfAConnectionEndsNoLaterSession: a member that is back, on another connection,
// before its old one was found to be closed keeps its new session and what it acquires.
// What the old session held is given back.
func TestTheEndOfAConnectionEndsNoLaterSession(t *testing.T) {
	h := newHouse(t, usual())
	h.produce(4)
	closed := h.session("a")
	h.session("b")
	h.acquire("a", 2)
	closed()
	for lost := 0; lost == 0; { // the news come by another goroutine
		h.m.Sessions.mu.Lock()
		lost = len(h.m.lost)
		h.m.Sessions.mu.Unlock()
	}
	_, ended, err := h.m.Fetch(Peer{"another", t.Context()}, Member{"g", "a"}, InitialEpoch, []TopicPartition{{Topic: theKey.Topic}}, nil)
	h.must(err)
	h.must(h.m.GiveBack(ended))
	if got := h.acquire("a", 4); got != "0-1×2 2-3×1 " {
		t.Fatalf("acquired %s", got)
	}
	h.must(h.m.Expire())
	if n := h.m.Count(); n != 2 {
		t.Fatalf("%d sessions are left of 2", n)
	}
	h.must(h.ack("a", 0, 3, Accept))
}

// TestARecordThatIsHeldForLongLetsNoMoreBeStoredThanLocksAllow: what is done above it is told
// apart in what is stored, by its fate and its count of deliveries, so members that accept one
// record and reject the next would have that grow for as long as it is held (KIP-1222).
func TestARecordThatIsHeldForLongLetsNoMoreBeStoredThanLocksAllow(t *testing.T) {
	s := usual()
	h := newHouse(t, s)
	h.produce(1)
	h.acquire("holds", 1)
	most := 0
	for range 60 {
		h.produce(20)
		p, err := h.open()
		h.must(err)
		found, err := p.Look(1<<20, true, segment.NewWaiter())
		h.must(err)
		taken, err := p.Take(&found, Wanted{Member: "a", Records: 20})
		h.must(err)
		taken.Records.Release()
		for _, r := range taken.Acquired {
			for o := r.First; o < r.Next; o++ {
				h.must(h.ack("a", o, o, []AckType{Accept, Reject}[o%2]))
			}
		}
		most = max(most, len(h.store.state.Batches))
	}
	if limit := 3 * int(s.MaxLocks); most > limit {
		t.Fatalf("%d ranges are stored of a share partition with %d locks", most, s.MaxLocks)
	}
	h.must(h.ack("holds", 0, 0, Accept))
	if got := h.acquire("a", 20); got == "" {
		t.Fatal("nothing is delivered when the record is done")
	}
}

// TestAStartAboveTheLogEndIsWaitedFor: offsets can be altered to lie above it, and a log may
// have lost what was acknowledged. That is no error of the member's, which would give up.
func TestAStartAboveTheLogEndIsWaitedFor(t *testing.T) {
	h := newHouse(t, usual())
	h.store.begin(50)
	h.produce(40)
	if got := h.acquire("a", 10); got != "" {
		t.Fatalf("acquired %s below the start", got)
	}
	h.produce(20)
	if got := h.acquire("a", 10); got != "50-59×1 " {
		t.Fatalf("acquired %s", got)
	}
}

// TestWritesThatAreNotAnsweredAreWaitedForOnce: a request that acknowledges records of many
// partitions, or the loop that expires locks, waits no longer than for one of them.
func TestWritesThatAreNotAnsweredAreWaitedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, usual())
		h.produce(2)
		h.acquire("a", 1)
		h.acquire("b", 1)
		p, err := h.open()
		h.must(err)
		h.store.hold = make(chan struct{})
		began := time.Now()
		first, err := p.Acknowledge("a", []Ack{{0, 1, []AckType{Accept}}})
		h.must(err)
		second, err := p.Acknowledge("b", []Ack{{1, 2, []AckType{Accept}}})
		h.must(err)
		for _, wait := range []func() error{first, second} {
			if err := wait(); !errors.Is(err, ErrNotReady) {
				t.Errorf("not answered: %v", err)
			}
		}
		if took := time.Since(began); took > storeTimeout {
			t.Errorf("two writes were waited for %v", took)
		}
	})
}
