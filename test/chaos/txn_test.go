//go:build e2e || chaos

package chaos

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/test/chaos/load"
	"github.com/varvelog/varve/test/harness"
	"github.com/varvelog/varve/test/verify"
)

// childVariable makes this binary a load of its own: a load.Spec as JSON.
const childVariable = "VARVE_CHAOS_CHILD"

// TestChildLoad is no test of its own: it is what startChild starts.
func TestChildLoad(t *testing.T) {
	text := os.Getenv(childVariable)
	if text == "" {
		return
	}
	var spec load.Spec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		t.Fatal(err)
	}
	if err := load.Child(t.Context(), os.Stdout, spec); err != nil {
		t.Fatal(err)
	}
}

// startChild starts clients in a process that can be killed, and waits until the broker
// has acknowledged something to them. Copiers may have nothing to do: they are not waited for.
func startChild(t *testing.T, spec load.Spec) *harness.Process {
	t.Helper()
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestChildLoad$", "-test.timeout", "0")
	cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	p := harness.StartProcess(t, "child", cmd)
	if spec.Shape.Copiers > 0 {
		return p
	}
	harness.Until(t, ackLimit, "a first answer to the child", func() error {
		if !strings.Contains(p.Output(), " ok") {
			return errors.New("nothing was acknowledged")
		}
		return nil
	})
	return p
}

// txnTimeout is that of transactions whose clients are killed: what they leave holds up
// readers for so long, and one check.
const (
	txnTimeout = 2 * time.Second
	txnCheck   = 200 * time.Millisecond
	// sessionTimeout is that of groups' members; those that stand or are cut off are thrown
	// out, or not.
	sessionTimeout = 2 * time.Second
)

// promised is what a row allows for, in runs that have the machine for themselves: a short
// run may share it with others.
func promised(limit time.Duration) time.Duration {
	if os.Getenv(durationVariable) == "" {
		return time.Minute
	}
	return limit
}

// settleLimit is how long transactions without a client may hold up readers (R16): their
// timeout and ten seconds.
func settleLimit() time.Duration { return promised(txnTimeout + 10*time.Second) }

// rebalanceLimit is how long a group may take to settle after a fault (R21).
const rebalanceLimit = 15 * time.Second

// transactions, and what else coordinators do: a broker that is data leader, transaction coordinator and group
// coordinator in one, with clients in this process and in another one, all by a proxy.
type transactions struct {
	t      *testing.T
	rng    *rand.Rand
	broker *harness.Broker
	net    *harness.KafkaProxy
	load   *load.Load

	shape load.Shape // of children
	child *harness.Process
	spec  load.Spec
	done  map[string]int // faults by kind

	planned int // faults
}

// newTransactions starts a load, and a part of it, child, in a process of its own.
func newTransactions(t *testing.T, name string, shape, child load.Shape) *transactions {
	t.Helper()
	w := &transactions{t: t, rng: harness.Seeded(t), done: map[string]int{}}
	w.broker, w.net = behindProxy(t, func(sets ...string) *harness.Broker {
		return harness.StartBroker(t, append(sets,
			fmt.Sprintf("transaction.abort.timed.out.transaction.cleanup.interval.ms=%d", txnCheck.Milliseconds()),
			"group.min.session.timeout.ms=1000", "group.consumer.min.session.timeout.ms=1000",
			fmt.Sprintf("group.consumer.session.timeout.ms=%d", sessionTimeout.Milliseconds()),
			"group.consumer.min.heartbeat.interval.ms=100", "group.consumer.heartbeat.interval.ms=300")...)
	})
	shape.Timeout, child.Timeout = txnTimeout, txnTimeout
	child.V1 = shape.V1
	w.shape = child
	w.load = load.Start(t, w.net.Address, name, shape)
	w.startChild()
	return w
}

// startChild starts the other process. It has the transactional ids of the one before and
// fences it, or others, so that what that one left open has to wait for its timeout.
func (w *transactions) startChild() {
	w.t.Helper()
	workers := w.spec.Workers
	if w.rng.IntN(2) == 0 || workers == "" {
		workers = fmt.Sprintf("child-%d", w.spec.Number+1)
	}
	w.spec = w.load.Spec(w.spec.Number+1, workers, w.shape)
	w.child = startChild(w.t, w.spec)
}

// killChild kills the other process and takes what it has done into the history.
func (w *transactions) killChild() {
	w.t.Helper()
	w.child.Kill()
	if err := w.load.Adopt(w.child.Output()); err != nil {
		w.t.Fatal(err)
	}
}

// isolate takes clients from the network for a while.
func (w *transactions) isolate(who func(client string) bool) {
	heal := w.net.Isolate(who)
	defer heal()
	pause(w.moment())
}

func (w *transactions) moment() time.Duration {
	return 300*time.Millisecond + time.Duration(w.rng.Int64N(int64(time.Second)))
}

// txnFaults are what may happen to either side.
var txnFaults = []struct {
	verify.Disturbance
	do func(w *transactions)
}{
	{verify.Disturbance{Kind: "kill-broker", Restart: true}, func(w *transactions) { killAndStart(w.t, w.broker, w.rng) }},
	{verify.Disturbance{Kind: "stop-broker", Restart: true}, func(w *transactions) {
		if err := w.broker.Stop(startLimit); err != nil {
			w.t.Fatal(err)
		}
		w.broker.Start()
	}},
	{verify.Disturbance{Kind: "pause-broker"}, func(w *transactions) {
		w.broker.Pause(w.t)
		pause(w.moment())
		w.broker.Resume(w.t)
	}},
	{verify.Disturbance{Kind: "isolate-broker"}, func(w *transactions) {
		w.isolate(func(string) bool { return true })
	}},
	{verify.Disturbance{Kind: "kill-client", Progress: true}, func(w *transactions) {
		w.killChild()
		w.startChild()
	}},
	{verify.Disturbance{Kind: "pause-client", Progress: true}, func(w *transactions) {
		w.child.Pause(w.t)
		pause(w.moment() + time.Duration(w.rng.IntN(2))*txnTimeout) // its transaction ends without it, or not
		w.child.Resume(w.t)
	}},
	{verify.Disturbance{Kind: "isolate-client", Progress: true}, func(w *transactions) {
		w.isolate(func(client string) bool { return strings.HasPrefix(client, w.spec.Workers) })
	}},
}

// someFaults are what the short run of a row takes from all: R14 takes each of them.
const someFaults = 4

// hurt goes through the faults in random order, at least n of them, and calls after for
// each.
func (w *transactions) hurt(short time.Duration, n int, after func()) {
	w.t.Helper()
	w.planned = n
	var order []int
	for more := until(w.t, short, n); more(); {
		if len(order) == 0 {
			order = w.rng.Perm(len(txnFaults))
		}
		f := txnFaults[order[0]]
		order = order[1:]
		w.done[f.Kind]++
		w.load.Fault(f.Disturbance, func() { f.do(w) })
		after()
	}
}

// finish kills the other process, waits until nothing of it holds up readers, and judges.
func (w *transactions) finish() *verify.History {
	w.t.Helper()
	if w.child.Running() {
		w.killChild()
	}
	w.load.Settled(settleLimit())
	h := w.load.Finish()
	h.Expect = &verify.Expect{Faults: w.planned, Before: acksBefore}
	h.Incidents = append(h.Incidents, verify.Health("varve", w.broker.Output())...)
	w.t.Logf("faults %v, %d sends, %d reads, %d transactions, %d ownerships, %d commits of offsets",
		w.done, len(h.Sends), len(h.Reads), len(h.Txns), len(h.Owners), len(h.Commits))
	judge(w.t, h)
	return h
}

// protocols are the two of transactions: before and with KIP-890's second part.
var protocols = []struct {
	name string
	v1   bool
}{{"v1", true}, {"v2", false}}

// TestR14TransactionsUnderEveryFault kills, pauses and isolates the broker and clients in
// the middle of transactions: no reader sees what was aborted (C5), a part of a
// transaction (C6), or a circle of them (C7), and nothing holds up readers in the end.
func TestR14TransactionsUnderEveryFault(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			shape := load.W3()
			shape.V1 = p.v1
			child := shape
			child.Transactors, child.Rate, child.Readers = 2, 50, 0
			w := newTransactions(t, "r14", shape, child)
			w.load.Wait(ackLimit, acksBefore)
			w.hurt(time.Second, len(txnFaults), func() { w.load.Wait(ackLimit, acksAfter) })
			w.finish()
		})
	}
}

// TestR19MoneyUnderEveryFault is R14 with transfers between accounts: there is as much
// money as before whenever somebody counts it (C11).
func TestR19MoneyUnderEveryFault(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			shape := load.W5()
			shape.V1, shape.Rate = p.v1, 200
			child := shape
			child.Transactors, child.Rate, child.Readers = 2, 50, 0
			w := newTransactions(t, "r19", shape, child)
			w.load.Wait(ackLimit, acksBefore)
			w.hurt(time.Second, someFaults, func() {
				w.load.Wait(ackLimit, acksAfter)
				w.killChild() // what it has open ends by its timeout: a snapshot waits
				if err := w.load.Snapshot(t.Context()); err != nil {
					t.Fatal(err)
				}
				w.startChild()
			})
			w.finish()
		})
	}
}

// copiesVariable is how many records TestR18CopiesAreExact copies.
const copiesVariable = "VARVE_E2E_COPY"

// TestR18CopiesAreExact copies a topic to another in transactions that commit the offsets
// of a group of three, while the broker and copiers are killed, paused and isolated, and
// the group's generation changes with each of them: the copy is exact (C10).
func TestR18CopiesAreExact(t *testing.T) {
	records, err := strconv.Atoi(cmp.Or(os.Getenv(copiesVariable), "20000"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			shape := load.W4()
			shape.Records, shape.Rate, shape.Copiers, shape.V1 = records, 2000, 1, p.v1
			child := shape
			child.Producers, child.Copiers, child.Readers = 0, 2, 0
			w := newTransactions(t, "r18", shape, child)
			begun := time.Now()
			w.load.Wait(ackLimit, acksBefore)
			lasts := time.Duration(records/shape.Rate) * time.Second
			w.hurt(lasts, someFaults, func() { pause(w.moment()) })
			w.load.Produced()
			w.load.WaitCopied(time.Duration(records)*time.Millisecond + 3*time.Minute)
			t.Logf("%d records were copied within %v", records, time.Since(begun).Round(time.Second))
			w.finish()
		})
	}
}

// TestR21GroupsUnderEveryFault puts members that come and go, some of them static, and
// the coordinator under every fault: a group's offset is the one committed last (C9), a
// partition has one owner in each generation and at each moment (C21), as members and as
// the coordinator see it, and rebalances settle.
func TestR21GroupsUnderEveryFault(t *testing.T) {
	for _, c := range []struct {
		name            string
		eager, consumer bool
	}{{"classic eager", true, false}, {"classic cooperative", false, false}, {"consumer", false, true}} {
		t.Run(c.name, func(t *testing.T) {
			shape := load.W8()
			shape.Eager, shape.Consumer, shape.Session = c.eager, c.consumer, sessionTimeout
			child := shape
			child.Producers, child.Members, child.Static, child.Stay = 0, 2, 1, 20*time.Second
			w := newTransactions(t, "r21", shape, child)
			w.load.Wait(ackLimit, acksBefore)
			longest := time.Duration(0)
			w.hurt(time.Second, someFaults, func() {
				w.load.Wait(ackLimit, acksAfter)
				longest = max(longest, w.load.Rebalanced(promised(rebalanceLimit)))
			})
			t.Logf("the longest rebalance took %v", longest)
			h := w.finish()
			if len(h.Owners) == 0 || len(h.Commits) == 0 {
				t.Errorf("%d partitions were given to members, %d offsets committed: the run proves nothing", len(h.Owners), len(h.Commits))
			}
		})
	}
}

// within bounds what a test asks of a broker.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
