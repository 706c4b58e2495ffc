package partition

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/tiering/mem"
)

// gap is a house whose power was cut while the bucket was away: a producer wrote below
// the local log start only, and the local snapshots are gone.
type gap struct {
	*house
	old sent // the producer's last batch
}

func newGap(t *testing.T) gap {
	t.Helper()
	g := gap{newHouse(t, tiered()), sent{id: 5, n: 3}}
	g.produce(g.old.batch(t, 0))
	g.fill(20)
	g.tier()
	if o := g.p.Offsets(); o.LocalStart < 4 {
		t.Fatalf("the old producer's batch is still on the disk: %+v", o)
	}
	g.away(true)
	g.forget()
	if err := g.p.Roll(g.now()); !errors.Is(err, ErrRemote) {
		t.Errorf("what the bucket was asked for in vain is not told: %v", err)
	}
	return g
}

// forget cuts the power, and with it go the producer snapshots.
func (g gap) forget() {
	g.t.Helper()
	paths := g.snapshots()
	g.cut()
	for _, path := range paths {
		if err := g.disk.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			g.t.Fatal(err)
		}
	}
	g.open()
}

// cut is crash without the start.
func (g gap) cut() {
	g.t.Helper()
	g.flush()
	g.must(g.dir.Checkpoint())
	after := g.disk.Crash(nil)
	g.stop()
	g.house.disk = after
}

// snapshots lists the producer snapshots on the disk.
func (g gap) snapshots() (paths []string) {
	g.t.Helper()
	dir := diskPath + "/t-0"
	entries, err := g.disk.List(dir)
	g.must(err)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".snapshot") {
			paths = append(paths, dir+"/"+e.Name())
		}
	}
	return paths
}

func (g gap) away(away bool) {
	if !away {
		g.bucket.SetHook(nil)
		return
	}
	down := errors.New("store is down")
	g.bucket.SetHook(func(mem.Op, string) mem.Fault { return mem.Fault{Before: down} })
}

// known checks that the old producer's state is the one of its last batch.
func (g gap) known() {
	g.t.Helper()
	if a, err := g.append(g.old.batch(g.t, 0)); err != nil || !a.Duplicate || a.BaseOffset != 0 {
		g.t.Errorf("the old producer's batch came again: %+v, %v", a, err)
	}
	next := g.old
	next.sequence = 7
	if _, err := g.append(next.batch(g.t, 0)); !errors.Is(err, ErrOutOfOrderSequence) {
		g.t.Errorf("a gap in its sequence: %v", err)
	}
}

// TestIncompleteProducersAreNotSnapshotted: a snapshot would hide from the next start that
// the bucket knows more.
func TestIncompleteProducersAreNotSnapshotted(t *testing.T) {
	for name, again := range map[string]func(gap){
		"clean stop":             func(g gap) { g.close() },
		"power cut":              func(g gap) { g.cut() },
		"power cut, two of them": func(g gap) { g.cut(); g.open(); g.fillTail(8); g.cut() },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGap(t)
			g.fillTail(12) // rolls
			g.must(g.p.roll(g.p.log.Roll))
			g.flush()
			g.must(g.dir.Checkpoint())
			if got := g.snapshots(); len(got) > 0 {
				t.Errorf("snapshots of what is known in part: %v", got)
			}
			again(g)
			g.away(false)
			g.open()
			g.known()
		})
	}
}

// TestCopyCompletesProducersOnceTheBucketIsBack: without a restart; what was rolled
// meanwhile goes to the bucket with whole snapshots, and not before.
func TestCopyCompletesProducersOnceTheBucketIsBack(t *testing.T) {
	g := newGap(t)
	young := sent{id: 6, n: 2}
	g.produce(young.batch(t, 0))
	g.fillTail(12)
	before := g.p.Offsets()
	if _, err := g.p.Copy(t.Context()); !errors.Is(err, ErrRemote) {
		t.Errorf("copy while the bucket is away: %v", err)
	}
	g.away(false)
	g.tier()
	if o := g.p.Offsets(); o.TieredEnd != o.End || o.TieredEnd <= before.TieredEnd {
		t.Errorf("copied: %+v, before %+v", o, before)
	}
	g.known()
	if a, err := g.append(young.batch(t, 0)); err != nil || !a.Duplicate {
		t.Errorf("the young producer's batch came again: %+v, %v", a, err)
	}
	raw, _, err := g.p.remote.Snapshot(t.Context())
	g.must(err)
	states, err := segment.ParseSnapshot(raw)
	if err != nil || len(states) != 2 || states[0].ProducerID != 5 || states[0].LastSequence != 2 || states[1].ProducerID != 6 {
		t.Errorf("producers in the bucket: %+v, %v", states, err)
	}
	g.restart()
	g.known()
}

// TestCompletedBordersHaveTheProducersOfTheirOffset: what a power cut leaves after the
// bucket came back is no less than the whole.
func TestCompletedBordersHaveTheProducersOfTheirOffset(t *testing.T) {
	g := newGap(t)
	g.fillTail(6)
	g.produce(sent{id: 6, n: 2}.batch(t, 0))
	g.must(g.p.roll(g.p.log.Roll))
	border := g.p.log.ActiveBase()
	g.produce(sent{id: 6, n: 2, sequence: 2}.batch(t, 0))
	g.away(false)
	g.must(g.p.remote.Ready(t.Context()))
	g.must(g.p.complete(t.Context()))
	at, states, found, err := g.p.log.LoadSnapshot(g.p.log.Offsets().End)
	if err != nil || !found || at != border || len(states) != 2 || states[0].LastSequence != 2 || states[1].LastSequence != 1 {
		t.Errorf("snapshot at %d, border %d (%v, %v): %+v", at, border, found, err, states)
	}
	g.crash(nil)
	g.known()
}

// TestCompletingBringsNobodyBackWhoHasExpired: the bucket's state is the older one.
func TestCompletingBringsNobodyBackWhoHasExpired(t *testing.T) {
	g := newGap(t)
	g.pass(g.expiry + time.Minute)
	g.p.ExpireProducers(g.now())
	g.away(false)
	g.tier()
	if got := g.p.Producers(); len(got) > 0 {
		t.Errorf("%+v", got)
	}
}

// TestTheExpiryOfProducersIsAltered: producer.id.expiration.ms of a partition that is open.
func TestTheExpiryOfProducersIsAltered(t *testing.T) {
	h := newHouse(t, defaults())
	h.produce(sent{id: 1, n: 1}.batch(t, 0))
	h.pass(time.Minute)
	h.p.ExpireProducers(h.now())
	if n := len(h.p.Producers()); n != 1 {
		t.Fatalf("%d producers before", n)
	}
	h.p.SetProducerExpiry(time.Second)
	h.p.ExpireProducers(h.now())
	if n := len(h.p.Producers()); n != 0 {
		t.Errorf("%d producers after", n)
	}
}
