package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// node is a store with its Run, as a broker has it.
type node struct {
	*Store
	t      *testing.T
	cancel context.CancelFunc
	done   chan error
	once   sync.Once
}

// launch opens a store and runs it.
func launch(t *testing.T, o Options) *node {
	t.Helper()
	s, err := Open(t.Context(), o, "")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Store: s, t: t, done: make(chan error, 1)}
	n.run()
	t.Cleanup(n.stop)
	return n
}

func (n *node) run() {
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	go func() { n.done <- n.Run(ctx) }()
}

// pause stops Run, as a starved process would.
func (n *node) pause() {
	if n.cancel == nil {
		return
	}
	n.cancel()
	n.cancel = nil
	if err := <-n.done; err != nil {
		n.t.Errorf("Run: %v", err)
	}
}

// stop ends the process without a clean stop: as kill -9 does, its lease lives on.
func (n *node) stop() {
	n.once.Do(func() {
		n.pause()
		if err := n.Close(); err != nil {
			n.t.Errorf("Close: %v", err)
		}
	})
}

func (n *node) register() Broker {
	n.t.Helper()
	if err := n.Register(n.t.Context(), Broker{ID: n.o.NodeID, Endpoints: []Endpoint{{Name: "PLAINTEXT", Port: 9092}}}); err != nil {
		n.t.Fatal(err)
	}
	b, ok := n.Image().broker(n.o.NodeID)
	if !ok {
		n.t.Fatal("the image does not show the broker that registered")
	}
	return b
}

func (n *node) create(name string, partitions int) *Topic {
	n.t.Helper()
	topic, err := n.CreateTopic(n.t.Context(), NewTopic{Name: name, Replicas: single(n.o.NodeID, partitions)})
	if err != nil {
		n.t.Fatal(err)
	}
	return topic
}

// single is the assignment of partitions to one broker.
func single(id int32, partitions int) [][]int32 {
	list := make([][]int32, partitions)
	for n := range list {
		list[n] = []int32{id}
	}
	return list
}

// keys counts the keys with a prefix in etcd.
func (n *node) keys(prefix string) int64 {
	n.t.Helper()
	resp, err := n.client.Get(n.t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		n.t.Fatal(err)
	}
	return resp.Count
}

// externalEtcd is an etcd of its own, reached over a socket.
func externalEtcd(t *testing.T) (endpoints []string) {
	t.Helper()
	c := embed.NewConfig()
	c.Name, c.Dir = "external", t.TempDir()
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	local := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	c.ListenPeerUrls, c.AdvertisePeerUrls = nil, []url.URL{local}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{local}, []url.URL{local}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.TickMs, c.ElectionMs = tickMs, electionMs
	e, err := embed.StartEtcd(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	<-e.Server.ReadyNotify()
	return []string{e.Clients[0].Addr().String()}
}

// longLease is longer than a test: none runs out while the machine is slow, and
// heartbeats are the test's own.
const longLease = 600

// onBoth runs a test on the embedded and on an external etcd.
func onBoth(t *testing.T, f func(t *testing.T, o Options)) {
	t.Run("embedded", func(t *testing.T) { f(t, Options{NodeID: 1, Dir: t.TempDir(), LeaseSeconds: longLease}) })
	t.Run("external", func(t *testing.T) {
		f(t, Options{NodeID: 1, Dir: t.TempDir(), Endpoints: externalEtcd(t), LeaseSeconds: longLease})
	})
}

// fault is what happens to one transaction.
type fault int

const (
	pass        fault = iota
	failBefore        // the request is lost
	failAfter         // applied, but the answer is lost
	failAndStop       // the request is lost, and so is every later one
)

var errLost = errors.New("connection lost")

// faultyKV injects faults into the transactions of a KV.
type faultyKV struct {
	clientv3.KV
	mu    sync.Mutex
	n     int // transactions so far
	plan  func(n int) fault
	stop  bool
	after func(n int) // called after the n-th was applied
}

// inject puts faults between a store and its etcd. The store must be at rest.
func (n *node) inject(plan func(n int) fault) *faultyKV {
	f := &faultyKV{KV: n.client.KV, plan: plan}
	n.kv = f
	return f
}

func (n *node) heal() { n.kv = n.client.KV }

func (f *faultyKV) Txn(ctx context.Context) clientv3.Txn {
	return &faultyTxn{Txn: f.KV.Txn(ctx), f: f}
}

func (f *faultyKV) next() (int, fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.n
	f.n++
	if f.stop {
		return n, failBefore
	}
	kind := f.plan(n)
	f.stop = kind == failAndStop
	return n, kind
}

type faultyTxn struct {
	clientv3.Txn
	f *faultyKV
}

func (t *faultyTxn) If(c ...clientv3.Cmp) clientv3.Txn  { t.Txn = t.Txn.If(c...); return t }
func (t *faultyTxn) Then(o ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Then(o...); return t }
func (t *faultyTxn) Else(o ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Else(o...); return t }

func (t *faultyTxn) Commit() (*clientv3.TxnResponse, error) {
	n, kind := t.f.next()
	if kind == failBefore || kind == failAndStop {
		return nil, errLost
	}
	resp, err := t.Txn.Commit()
	if t.f.after != nil {
		t.f.after(n)
	}
	if kind == failAfter {
		return nil, errLost
	}
	return resp, err
}

func TestClusterIDIsMadeOnceAndChecked(t *testing.T) {
	dir := t.TempDir()
	n := launch(t, Options{Dir: dir})
	id := n.Image().ClusterID()
	if _, ok := parseTopic(id); !ok {
		t.Fatalf("cluster id %q is not 22 characters of base64url", id)
	}
	n.stop()

	s, err := Open(t.Context(), Options{Dir: dir}, id)
	if err != nil {
		t.Fatalf("open with the right id: %v", err)
	}
	if s.Image().ClusterID() != id {
		t.Errorf("cluster id %q, it was %q", s.Image().ClusterID(), id)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{Dir: dir}, "AAAAAAAAAAAAAAAAAAAAAQ"); !errors.Is(err, ErrWrongCluster) {
		t.Errorf("open with another id: %v, want ErrWrongCluster", err)
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	dir := t.TempDir()
	n := launch(t, Options{Dir: dir})
	if _, err := n.client.Put(t.Context(), clusterKey, encode(clusterRecord{ID: n.clusterID, Format: formatVersion + 1})); err != nil {
		t.Fatal(err)
	}
	n.stop()
	if _, err := Open(t.Context(), Options{Dir: dir}, ""); !errors.Is(err, ErrWrongCluster) {
		t.Errorf("open: %v, want ErrWrongCluster", err)
	}
}

func TestSecondProcessOnADirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	launch(t, Options{Dir: dir})
	if _, err := Open(t.Context(), Options{Dir: dir}, ""); !errors.Is(err, ErrLocked) {
		t.Fatalf("open: %v, want ErrLocked", err)
	}
}

func TestDamagedDirectoryIDStopsTheStart(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "id"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{Dir: dir}, ""); err == nil {
		t.Fatal("opened with a damaged directory id")
	}
	// The failed start has left no lock.
	if err := os.Remove(filepath.Join(dir, "id")); err != nil {
		t.Fatal(err)
	}
	launch(t, Options{Dir: dir})
}

func TestOpenWithoutEtcdFailsInTime(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := Open(ctx, Options{Endpoints: []string{"127.0.0.1:1"}}, "")
	if !errors.Is(err, ErrUnavailable) {
		t.Fatalf("open: %v, want ErrUnavailable", err)
	}
}

func TestNextSaysWhatChanged(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		n := launch(t, o)
		n.register()
		ctx := t.Context()
		before := n.Image()
		created := n.create("orders", 3)
		after, d, err := n.Next(ctx, before)
		if err != nil {
			t.Fatal(err)
		}
		if got := describe(d); got != "changed [orders] deleted []" {
			t.Errorf("after creation: %s", got)
		}
		if err := n.DeleteTopic(ctx, created.ID); err != nil {
			t.Fatal(err)
		}
		again := n.create("orders", 1)
		_, d, err = n.Next(ctx, after)
		if err != nil {
			t.Fatal(err)
		}
		if got := describe(d); got != "changed [orders] deleted [orders]" {
			t.Errorf("after deletion and creation under the same name: %s", got)
		}
		if d.Deleted[0].ID != created.ID || d.Changed[0].ID != again.ID {
			t.Error("the delta mixes the incarnations up")
		}
		if err := n.SetBrokerConfigs(ctx, DefaultConfigs, nil, map[string]string{"log.retention.ms": "1"}); err != nil {
			t.Fatal(err)
		}
		all, d, err := n.Next(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := describe(d); got != "changed [orders] deleted [] brokers configs" {
			t.Errorf("everything: %s", got)
		}
		short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		if _, _, err := n.Next(short, all); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without a change: %v, want to wait until the deadline", err)
		}
	})
}

func describe(d Delta) string {
	names := func(topics []*Topic) []string {
		list := []string{}
		for _, t := range topics {
			list = append(list, t.Name)
		}
		return list
	}
	s := fmt.Sprintf("changed %v deleted %v", names(d.Changed), names(d.Deleted))
	if d.Brokers {
		s += " brokers"
	}
	if d.Configs {
		s += " configs"
	}
	if d.Quotas {
		s += " quotas"
	}
	if d.Metrics {
		s += " metrics"
	}
	return s
}

func TestWritesWorkWithoutRun(t *testing.T) {
	s, err := Open(t.Context(), Options{NodeID: 1, Dir: t.TempDir()}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Register(t.Context(), Broker{ID: 1}); err != nil {
		t.Fatal(err)
	}
	topic, err := s.CreateTopic(t.Context(), NewTopic{Name: "a", Replicas: single(1, 100)})
	if err != nil {
		t.Fatal(err)
	}
	if len(topic.Partitions) != 100 {
		t.Fatalf("%d partitions, want 100", len(topic.Partitions))
	}
}

func TestProducerIDsAreNeverHandedOutTwice(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		n := launch(t, o)
		var mu sync.Mutex
		taken := map[int64]bool{}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 5 {
					first, err := n.ProducerIDs(t.Context(), 10)
					if errors.Is(err, ErrConflict) {
						continue
					}
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					for id := first; id < first+10; id++ {
						if taken[id] {
							t.Errorf("producer id %d twice", id)
						}
						taken[id] = true
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		for _, bad := range []int64{0, -1} {
			if _, err := n.ProducerIDs(t.Context(), bad); !errors.Is(err, ErrInvalid) {
				t.Errorf("block of %d: %v, want ErrInvalid", bad, err)
			}
		}
	})
}

func TestBrokerConfigsAreReplacedOnlyIfUnchanged(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		n := launch(t, o)
		ctx := t.Context()
		one, two := map[string]string{"a": "1"}, map[string]string{"a": "2"}
		for _, id := range []int32{DefaultConfigs, 7} {
			if err := n.SetBrokerConfigs(ctx, id, nil, one); err != nil {
				t.Fatal(err)
			}
			if err := n.SetBrokerConfigs(ctx, id, nil, two); !errors.Is(err, ErrConflict) {
				t.Errorf("from what is not there: %v, want ErrConflict", err)
			}
			if got := n.Image().BrokerConfigs(id)["a"]; got != "1" {
				t.Errorf("image of %d has %q, want 1", id, got)
			}
			if err := n.SetBrokerConfigs(ctx, id, one, nil); err != nil {
				t.Fatal(err)
			}
			if got := n.Image().BrokerConfigs(id); len(got) != 0 {
				t.Errorf("image of %d has %v after removal", id, got)
			}
		}
	})
}

// Whoever waits until an image's revision has been applied waits for Next to return it,
// whatever has changed.
func TestNextReturnsEveryRevision(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		n := launch(t, o)
		ctx := t.Context()
		changes := map[string]func() error{
			"group configs": func() error { return n.SetGroupConfigs(ctx, "g", nil, map[string]string{"a": "1"}) },
			"features":      func() error { return n.SetFeatures(ctx, nil, map[string]int16{"f": 1}) },
			"metrics":       func() error { return n.SetMetricsConfigs(ctx, "m", nil, map[string]string{"a": "1"}) },
			"credentials":   func() error { return n.SetCredentials(ctx, "u", nil, Credentials{"SCRAM-SHA-256": {Iterations: 4096}}) },
		}
		for name, change := range changes {
			before := n.Image()
			if err := change(); err != nil {
				t.Fatal(err)
			}
			short, cancel := context.WithTimeout(ctx, 30*time.Second)
			after, d, err := n.Next(short, before)
			cancel()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			want := "changed [] deleted []"
			if name == "metrics" {
				want += " metrics"
			}
			if after.Revision() <= before.Revision() || describe(d) != want {
				t.Errorf("%s: revision %d after %d: %s", name, after.Revision(), before.Revision(), describe(d))
			}
		}
	})
}

func TestFeaturesAreReplacedOnlyIfUnchanged(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		n := launch(t, o)
		ctx := t.Context()
		one, two := map[string]int16{"a": 1}, map[string]int16{"a": 0, "b": 2}
		if err := n.SetFeatures(ctx, nil, one); err != nil {
			t.Fatal(err)
		}
		first := n.Image()
		if err := n.SetFeatures(ctx, nil, two); !errors.Is(err, ErrConflict) {
			t.Errorf("from what is not there: %v, want ErrConflict", err)
		}
		if err := n.SetFeatures(ctx, one, two); err != nil {
			t.Fatal(err)
		}
		if got := n.Image().Features(); !maps.Equal(got, two) {
			t.Errorf("image has %v, want %v", got, two)
		}
		if got := first.Features(); !maps.Equal(got, one) {
			t.Errorf("the image before has %v now, want %v", got, one)
		}
		if err := n.SetFeatures(ctx, two, nil); err != nil {
			t.Fatal(err)
		}
		if got := n.Image().Features(); len(got) != 0 {
			t.Errorf("image has %v after removal", got)
		}
	})
}

func TestMetricsConfigsAreReplacedOnlyIfUnchanged(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		n := launch(t, o)
		ctx := t.Context()
		one, two := map[string]string{"a": "1"}, map[string]string{"a": "2"}
		const name = "a/subscription with/any name"
		before := n.Image()
		if err := n.SetMetricsConfigs(ctx, name, nil, one); err != nil {
			t.Fatal(err)
		}
		if d := n.Image().since(before); describe(d) != "changed [] deleted [] metrics" {
			t.Errorf("changed: %s", describe(d))
		}
		before = n.Image()
		if err := n.reload(ctx); err != nil {
			t.Fatal(err)
		}
		if d := n.Image().since(before); d.Metrics {
			t.Error("subscriptions that were read again count as changed")
		}
		if err := n.SetMetricsConfigs(ctx, name, nil, two); !errors.Is(err, ErrConflict) {
			t.Errorf("from what is not there: %v, want ErrConflict", err)
		}
		if got := n.Image(); got.MetricsConfigs(name)["a"] != "1" || len(got.MetricsSubscriptions()) != 1 {
			t.Errorf("image has %v of %v", got.MetricsConfigs(name), got.MetricsSubscriptions())
		}
		if err := n.SetMetricsConfigs(ctx, name, one, nil); err != nil {
			t.Fatal(err)
		}
		if got := n.Image().MetricsSubscriptions(); len(got) != 0 {
			t.Errorf("image has %v after removal", got)
		}
	})
}

func TestGroupConfigsAreReplacedOnlyIfUnchanged(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		n := launch(t, o)
		ctx := t.Context()
		one, two := map[string]string{"a": "1"}, map[string]string{"a": "2"}
		const group = "a/group with/any name"
		if err := n.SetGroupConfigs(ctx, group, nil, one); err != nil {
			t.Fatal(err)
		}
		if err := n.SetGroupConfigs(ctx, group, nil, two); !errors.Is(err, ErrConflict) {
			t.Errorf("from what is not there: %v, want ErrConflict", err)
		}
		if got := n.Image().GroupConfigs(group)["a"]; got != "1" {
			t.Errorf("image has %q, want 1", got)
		}
		if err := n.SetGroupConfigs(ctx, group, one, nil); err != nil {
			t.Fatal(err)
		}
		if got := n.Image().GroupConfigs(group); len(got) != 0 {
			t.Errorf("image has %v after removal", got)
		}
	})
}
