package txn

import (
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
)

// TestAProducerAloneIsNeverFenced: whatever gets lost, of records or of answers, and wherever
// its epochs end, a producer that asks again until it is answered goes on, and what it is
// told is true; also one that changes its version between transactions, as clients do when
// transaction.version changes. Seeds are fixed.
func TestAProducerAloneIsNeverFenced(t *testing.T) {
	for seed := range uint64(600) {
		a := &alone{t: t, seed: seed, r: rand.New(rand.NewPCG(seed, 0)), fresh: 1000, x: New("x", 1000, 0), version: V2, mixed: seed%2 == 1}
		a.ask("init", func(fresh int64) Step { return a.x.Init(0, 60_000, Producer{None, None}, fresh) })
		a.p = a.told()
		a.x.m.ProducerEpoch, a.p.Epoch = lastEpoch-5, lastEpoch-5
		for range 80 {
			a.act()
		}
		if a.p.ID == 1000 {
			t.Errorf("seed %d: producer %v has not come to its last epoch", seed, a.p)
		}
	}
}

type alone struct {
	t     *testing.T
	seed  uint64
	r     *rand.Rand
	x     *Transaction
	p     Producer // as it knows itself
	open  bool     // as it knows its transaction
	fresh int64
	// version is the client's, mixed lets it change.
	version Version
	mixed   bool
}

func (a *alone) chance(percent int) bool { return a.r.IntN(100) < percent }

func (a *alone) told() Producer {
	id, epoch := a.x.m.Holder()
	return Producer{id, epoch}
}

// act is one request, until it is answered.
func (a *alone) act() {
	if a.mixed && !a.open {
		a.version = []Version{V0, V2}[a.r.IntN(2)]
	}
	p, version, commit := a.p, a.version, a.open && a.chance(60)
	switch a.r.IntN(5) {
	case 0, 1:
		tp := Partition{"a", a.r.Int32N(3)}
		a.ask("add", func(int64) Step { return a.x.AddPartitions(0, p, []Partition{tp}, version) })
		a.open = true
		if a.told() != p || a.x.Verify(p, tp) != 0 {
			a.t.Fatalf("seed %d: %v is added, and the id is %+v", a.seed, tp, a.x.m)
		}
	case 2, 3:
		if version < V2 && !a.open {
			return // older clients end nothing that has not begun
		}
		a.ask("end", func(fresh int64) Step { return a.x.End(0, p, commit, version, fresh) })
		a.p, a.open = a.told(), false
		if prepared, completed := ends(commit); a.x.m.State != prepared && a.x.m.State != completed {
			a.t.Fatalf("seed %d: the end (commit: %v) is answered, and the id is %+v", a.seed, commit, a.x.m)
		}
		if raised := version >= V2; raised && a.p.ID == p.ID && a.p.Epoch != p.Epoch+1 || !raised && a.p != p {
			a.t.Fatalf("seed %d: %v is followed by %v", a.seed, p, a.p)
		}
	default:
		a.ask("init", func(fresh int64) Step { return a.x.Init(0, 60_000, p, fresh) })
		a.p, a.open = a.told(), false
	}
}

// ask asks until the answer has arrived.
func (a *alone) ask(what string, do func(fresh int64) Step) {
	for {
		if a.x.m.State.Preparing() && a.chance(30) {
			a.x.Complete(0)
			a.x.Written(a.chance(80))
		}
		if what != "init" && a.chance(20) { // LastEpoch is not stored, as in Kafka
			a.reload()
		}
		step := do(None)
		if step.NeedsProducerID {
			a.fresh++
			step = do(a.fresh)
		}
		code := step.Code
		if step.Write != nil {
			stored := a.chance(80)
			a.x.Written(stored)
			if code = concurrentTransactions; stored && (what != "init" || a.x.m.State == Empty) {
				code = 0
			}
		}
		if code != 0 && code != concurrentTransactions {
			a.t.Fatalf("seed %d: %s by %v: %v, the id is %+v", a.seed, what, a.p, kerr.ErrorForCode(code), a.x.m)
		}
		if code == 0 && a.chance(70) {
			return
		}
	}
}

// reload lets the next coordinator read what is stored.
func (a *alone) reload() {
	replay := Replay{}
	r := Record(0, "x", &a.x.m)
	if err := replay.Record(r.Key, r.Value); err != nil {
		a.t.Fatal(err)
	}
	a.x = replay["x"]
}
