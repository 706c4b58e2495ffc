//go:build e2e || chaos

package chaos

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/test/chaos/load"
	"github.com/varvelog/varve/test/harness"
	"github.com/varvelog/varve/test/stores"
	"github.com/varvelog/varve/test/verify"
	"github.com/varvelog/varve/tiering/minio"
	"github.com/varvelog/varve/tiering/objstore"
	"github.com/varvelog/varve/tiering/objstore/s3api"
)

const bucketName = "varve"

// world is a broker with everything around it that may be hurt.
type world struct {
	t      *testing.T
	rng    *rand.Rand // of the test's own goroutine
	broker *clockedBroker
	net    *harness.KafkaProxy
	store  *stores.Proxy
	bucket objstore.Bucket
}

// newWorld starts a broker with a clock that can be set, behind a proxy that cuts
// connections, over MinIO behind a proxy that misbehaves.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, rng: harness.Seeded(t), store: stores.NewProxy(t, stores.MinIO(t).Endpoint)}
	u, err := url.Parse(w.store.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	w.bucket, err = minio.New(s3api.Options{
		Bucket: bucketName, Endpoint: w.store.Endpoint, Region: stores.Region, PathStyle: true,
		AccessKeyID: stores.AccessKeyID, SecretAccessKey: stores.SecretAccessKey,
	})
	if err != nil {
		t.Fatal(err)
	}
	_, w.net = behindProxy(t, func(sets ...string) *harness.Broker {
		w.broker = startClocked(t, append(sets,
			"varve.bucket=minio://"+u.Host+"/"+bucketName, "varve.bucket.access.key="+stores.AccessKeyID,
			"varve.bucket.secret.key="+stores.SecretAccessKey, "varve.bucket.create=true", "varve.bucket.timeout.ms=2000",
			"varve.bucket.delete.delay.ms=1000", "varve.bucket.sweep.interval.ms=500")...)
		return w.broker.Broker
	})
	return w
}

// maxJump is how far a clock is set at most.
const maxJump = 50 * time.Minute

// fault is one way to hurt a world, for a while; afterwards it is whole again.
type fault struct {
	kind string
	// restart says that the broker starts again, stands that nobody is answered meanwhile.
	restart, stands bool
	do              func(w *world, d time.Duration)
}

// faults is everything that TestR40 chooses from.
var faults = []fault{
	{"kill", true, true, func(w *world, _ time.Duration) { killAndStart(w.t, w.broker.Broker, w.rng) }},
	{"stop", true, true, func(w *world, _ time.Duration) {
		if err := w.broker.Stop(startLimit); err != nil {
			w.t.Fatal(err)
		}
		w.broker.Start()
	}},
	{"pause", false, true, func(w *world, d time.Duration) {
		w.broker.Pause(w.t)
		pause(d)
		w.broker.Resume(w.t)
	}},
	{"clock", false, false, func(w *world, d time.Duration) {
		w.broker.set(time.Duration(w.rng.Int64N(int64(2*maxJump))) - maxJump)
		pause(d)
		w.broker.set(0)
	}},
	{"network", false, false, func(w *world, d time.Duration) {
		seed := w.rng.Uint64()
		var mu sync.Mutex
		random := rand.New(rand.NewPCG(seed, 2))
		w.net.Inject(func(harness.Request) harness.Action {
			mu.Lock()
			defer mu.Unlock()
			return [...]harness.Action{harness.CutAnswer, harness.CutBefore, harness.Pass}[min(2, random.IntN(20))]
		})
		pause(d)
		w.net.Inject(nil)
	}},
	{"bucket-slow", false, false, hurtBucket(stores.Fault{Slow: 50 * time.Millisecond})},
	{"bucket-hangs", false, false, hurtBucket(stores.Fault{Hang: true})},
	{"bucket-refuses", false, false, hurtBucket(stores.Fault{Status: http.StatusServiceUnavailable, Code: "SlowDown"})},
	{"bucket-forgets-to-answer", false, false, hurtBucket(stores.Fault{AfterEffect: true})},
}

// hurtBucket does the same to all requests to the bucket.
func hurtBucket(f stores.Fault) func(*world, time.Duration) {
	return func(w *world, d time.Duration) {
		w.store.Inject(func(*http.Request) stores.Fault { return f })
		pause(d)
		w.store.Inject(nil)
	}
}

// TestR40EverythingAtRandom hurts a broker in one way after the other, each at least
// once, under a tiered load with readers across the seam and a group. In the end
// everything is there, in the bucket and on the disk.
func TestR40EverythingAtRandom(t *testing.T) {
	w := newWorld(t)
	shape := load.W7()
	shape.Members = 2
	l := load.Start(t, w.net.Address, "r40", shape)
	l.Wait(ackLimit, acksBefore)
	order := w.rng.Perm(len(faults))
	for round, more := 0, until(t, time.Second, len(faults)); more(); round++ {
		f := faults[w.rng.IntN(len(faults))]
		if round < len(order) {
			f = faults[order[round]]
		}
		d := 300*time.Millisecond + time.Duration(w.rng.Int64N(int64(time.Second)))
		l.Fault(verify.Disturbance{Kind: f.kind, Restart: f.restart, Progress: !f.stands}, func() {
			f.do(w, d)
			if !f.stands {
				l.Wait(ackLimit, acksAfter)
			}
		})
		l.Wait(ackLimit, acksAfter)
	}
	h := l.Finish()
	h.Expect = &verify.Expect{Faults: len(faults), Before: acksBefore, During: 100}
	h.Incidents = append(h.Incidents, verify.Health("varve", w.broker.Output())...)
	t.Logf("%d faults, %d sends, %d reads, %d commits", len(h.Faults), len(h.Sends), len(h.Reads), len(h.Commits))
	w.broker.WaitTiered(t, time.Minute, 3<<20, "r40-0")
	w.rest(h, "r40-0")
	judge(t, h)
	if len(h.Objects) == 0 {
		t.Error("nothing was tiered: the run proves nothing of the bucket")
	}
}

// TestR29AbortedTransactionsAcrossTheSeam reads from the beginning and from random offsets
// while segments with aborted transactions leave the disk, over kills: no reader sees what
// was aborted, wherever it is read from (C5), and none passes over the rest.
func TestR29AbortedTransactionsAcrossTheSeam(t *testing.T) {
	w := newWorld(t)
	l := load.Start(t, w.net.Address, "r29", load.W7Transactions())
	l.Wait(ackLimit, acksBefore)
	const rounds = 2
	for more := until(t, 5*time.Second, rounds); more(); {
		l.Fault(verify.Disturbance{Kind: "kill", Restart: true}, func() { killAndStart(w.t, w.broker.Broker, w.rng) })
		l.Wait(ackLimit, acksBefore)
	}
	l.StopProducing()
	w.broker.WaitTiered(t, time.Minute, 3<<20, "r29-0")
	l.Settled(time.Minute)
	h := l.Finish() // reads everything again, most of it from the bucket
	h.Expect = &verify.Expect{Faults: rounds, Before: acksBefore}
	h.Incidents = append(h.Incidents, verify.Health("varve", w.broker.Output())...)
	w.rest(h, "r29-0")
	t.Logf("%d sends, %d reads, %d transactions, %d objects", len(h.Sends), len(h.Reads), len(h.Txns), len(h.Objects))
	judge(t, h)
	if len(h.Objects) == 0 {
		t.Error("nothing was tiered: the run proves nothing of the seam")
	}
}

// rest takes down what the bucket holds and what the broker says of it (C14), and the
// batches of the bucket and of the disk (C13).
func (w *world) rest(h *verify.History, topic string) {
	w.t.Helper()
	w.broker.set(2 * maxJump) // what died while the clock was ahead is kept until then, and a while
	harness.Until(w.t, time.Minute, "sweep of what no manifest names", func() error {
		h.Manifests, h.Objects = nil, nil
		for _, p := range w.broker.Tiers(w.t, topic) {
			v := verify.Partition{Name: fmt.Sprint(p.Partition), LogStart: p.LogStart, LocalStart: p.LocalStart, End: p.TieredEnd}
			for _, s := range p.Segments {
				v.Segments = append(v.Segments, verify.Segment{Key: s.Key, Base: s.Base, Next: s.Next, Size: s.Size})
			}
			h.Manifests = append(h.Manifests, v)
		}
		if err := verify.Named(w.t.Context(), w.bucket, h.Manifests); err != nil {
			return err
		}
		return w.bucket.List(w.t.Context(), "", func(o objstore.Object) bool {
			h.Objects = append(h.Objects, verify.Object{Key: o.Key, Size: o.Size})
			return true
		})
	})
	for i, p := range h.Manifests {
		for _, s := range p.Segments {
			h.Batches = append(h.Batches, w.batches(s, int32(i))...)
		}
		for _, name := range logs(w.t, filepath.Join(w.broker.Dir, topic+"-"+p.Name)) {
			h.Batches = append(h.Batches, w.local(name, int32(i))...)
		}
	}
}

// bucketReplica is the bucket's number among replicas.
const bucketReplica = 100

// batches reads a segment of the bucket.
func (w *world) batches(s verify.Segment, partition int32) []verify.Batch {
	w.t.Helper()
	body, err := w.bucket.Get(w.t.Context(), s.Key, 0, s.Size)
	if err != nil {
		w.t.Fatal(err)
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		w.t.Fatal(err)
	}
	return verify.LogBatches(b, bucketReplica, partition)
}

// local reads a segment of the disk.
func (w *world) local(name string, partition int32) []verify.Batch {
	w.t.Helper()
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) { // it has left the disk since it was listed
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return verify.LogBatches(b, 0, partition)
}
