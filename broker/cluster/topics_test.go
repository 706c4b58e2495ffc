package cluster

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/tiering"
)

func TestCreatedTopicIsInTheImage(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		n := launch(t, o)
		n.register()
		for _, partitions := range []int{1, partitionsPerTxn, partitionsPerTxn + 1, 3*partitionsPerTxn + 5} {
			name := fmt.Sprintf("t-%d", partitions)
			configs := map[string]string{"segment.bytes": "1048576"}
			topic, err := n.CreateTopic(t.Context(), NewTopic{Name: name, Replicas: single(1, partitions), Configs: configs})
			if err != nil {
				t.Fatal(err)
			}
			got, ok := n.Image().Topic(name)
			if byID, _ := n.Image().TopicByID(topic.ID); !ok || got != topic || byID != topic {
				t.Fatalf("%s: the image has not the topic that was returned", name)
			}
			if len(topic.Partitions) != partitions || topic.Configs["segment.bytes"] != "1048576" {
				t.Fatalf("%s: %d partitions, configs %v", name, len(topic.Partitions), topic.Configs)
			}
			for i, p := range topic.Partitions {
				if p.Leader != 1 || p.LeaderEpoch != 0 || p.LeaderRevision == 0 || len(p.ISR) != 1 || p.ISR[0] != 1 || len(p.Replicas) != 1 {
					t.Fatalf("%s-%d: %+v", name, i, p)
				}
			}
		}
		if left := n.keys(creatingRoot); left != 0 {
			t.Errorf("%d creating keys are left", left)
		}
		if _, err := n.CreateTopic(t.Context(), NewTopic{Name: "t-1", Replicas: single(1, 1)}); !errors.Is(err, ErrTopicExists) {
			t.Errorf("create again: %v, want ErrTopicExists", err)
		}
		if _, err := n.CreateTopic(t.Context(), NewTopic{Name: "t-1", Replicas: single(1, 100)}); !errors.Is(err, ErrTopicExists) {
			t.Errorf("create again in steps: %v, want ErrTopicExists", err)
		}
	})
}

func TestBadTopicsAreRefused(t *testing.T) {
	n := launch(t, Options{NodeID: 1, Dir: t.TempDir()})
	many := single(1, MaxPartitions+1)
	for _, c := range []NewTopic{
		{Name: "", Replicas: single(1, 1)},
		{Name: ".", Replicas: single(1, 1)},
		{Name: "..", Replicas: single(1, 1)},
		{Name: "a/b", Replicas: single(1, 1)},
		{Name: "a b", Replicas: single(1, 1)},
		{Name: "é", Replicas: single(1, 1)},
		{Name: strings.Repeat("x", 250), Replicas: single(1, 1)},
		{Name: "none"},
		{Name: "many", Replicas: many},
		{Name: "noreplica", Replicas: [][]int32{{}}},
		{Name: "twice", Replicas: [][]int32{{1, 1}}},
		{Name: "negative", Replicas: [][]int32{{-1}}},
	} {
		if _, err := n.CreateTopic(t.Context(), c); !errors.Is(err, ErrInvalid) {
			t.Errorf("%.20q: %v, want ErrInvalid", c.Name, err)
		}
	}
	if left := n.keys(partitionsRoot); left != 0 {
		t.Errorf("%d partition keys are left", left)
	}
}

// Of concurrent creators of a name, at several brokers, one wins; the others see its
// topic when they are told that it exists.
func TestOneOfConcurrentCreatorsWins(t *testing.T) {
	endpoints := externalEtcd(t)
	var nodes []*node
	for id := range int32(2) {
		n := launch(t, Options{NodeID: id, Dir: t.TempDir(), Endpoints: endpoints})
		n.register()
		nodes = append(nodes, n)
	}
	for _, partitions := range []int{1, 3 * partitionsPerTxn} {
		name := fmt.Sprintf("contested-%d", partitions)
		var won atomic.Int32
		var wg sync.WaitGroup
		for i := range 6 {
			n := nodes[i%2]
			wg.Go(func() {
				_, err := n.CreateTopic(t.Context(), NewTopic{Name: name, Replicas: single(n.o.NodeID, partitions)})
				if err == nil {
					won.Add(1)
					return
				}
				if !errors.Is(err, ErrTopicExists) {
					t.Errorf("%s: %v, want ErrTopicExists", name, err)
				}
				if _, ok := n.Image().Topic(name); !ok {
					t.Errorf("%s exists, but the image does not show it", name)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("%s: %d creators won", name, won.Load())
		}
	}
	if got, want := nodes[0].keys(partitionsRoot), int64(3*(1+3*partitionsPerTxn)); got != want {
		t.Errorf("%d partition keys, want %d: the losers left some", got, want)
	}
}

// growSteps is how many transactions a creation of stepPartitions takes: begin, three to
// fill, commit.
const (
	stepPartitions = 2*partitionsPerTxn + 1
	growSteps      = 5
)

// A creator that dies before or after any of its transactions leaves a whole topic or
// none; what else it leaves is gone after the next start and one Reconcile.
func TestCrashInCreationLeavesATopicOrNothing(t *testing.T) {
	for _, kind := range []fault{failBefore, failAfter} {
		for at := range growSteps {
			t.Run(fmt.Sprintf("fault %d at %d", kind, at), func(t *testing.T) {
				dir := t.TempDir()
				n := launch(t, Options{NodeID: 1, Dir: dir})
				n.register()
				steps := n.inject(func(i int) fault {
					switch {
					case i < at:
						return pass
					case i == at:
						return kind
					}
					return failAndStop
				})
				_, err := n.CreateTopic(t.Context(), NewTopic{Name: "a", Replicas: single(1, stepPartitions)})
				if err == nil && (at != growSteps-1 || kind != failAfter) {
					t.Fatal("created without its transactions")
				}
				if steps.n <= at {
					t.Fatalf("only %d transactions", steps.n)
				}
				n.stop()

				n = launch(t, Options{NodeID: 1, Dir: dir})
				n.register()
				if err := n.Reconcile(t.Context()); err != nil {
					t.Fatal(err)
				}
				want := int64(0)
				if topic, ok := n.Image().Topic("a"); ok {
					if at != growSteps-1 || kind != failAfter {
						t.Fatal("the topic exists")
					}
					want = 3 * int64(len(topic.Partitions))
				} else if at == growSteps-1 && kind == failAfter {
					t.Fatal("the committed topic is gone")
				}
				if got := n.keys(partitionsRoot) + n.keys(creatingRoot); got != want {
					t.Errorf("%d keys, want %d", got, want)
				}
				if _, ok := n.Image().Topic("a"); !ok {
					n.create("a", stepPartitions)
				}
			})
		}
	}
}

// Where only the answer is lost, the caller learns the true outcome.
func TestCreationSurvivesLostAnswers(t *testing.T) {
	for _, partitions := range []int{1, stepPartitions} {
		for at := range growSteps {
			n := launch(t, Options{NodeID: 1, Dir: t.TempDir()})
			n.register()
			n.inject(func(i int) fault {
				if i == at {
					return failAfter
				}
				return pass
			})
			_, err := n.CreateTopic(t.Context(), NewTopic{Name: "a", Replicas: single(1, partitions)})
			n.heal()
			_, exists := n.Image().Topic("a")
			if exists != (err == nil) {
				t.Errorf("%d partitions, answer %d lost: exists %v, error %v", partitions, at, exists, err)
			}
			if err != nil && !errors.Is(err, ErrUnavailable) {
				t.Errorf("%v, want ErrUnavailable", err)
			}
			if !exists && n.keys(partitionsRoot)+n.keys(creatingRoot) != 0 {
				t.Errorf("%d partitions, answer %d lost: keys are left", partitions, at)
			}
			n.stop()
		}
	}
}

// A creation whose abort failed, too, is taken back by the broker itself, without a restart.
func TestReconcileTakesBackOwnFailedCreations(t *testing.T) {
	n := launch(t, Options{NodeID: 1, Dir: t.TempDir()})
	n.register()
	topic := n.create("grown", 2)
	n.inject(func(i int) fault {
		if i == 2 {
			return failAndStop
		}
		return pass
	})
	if _, err := n.CreateTopic(t.Context(), NewTopic{Name: "a", Replicas: single(1, stepPartitions)}); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("create: %v, want ErrUnavailable", err)
	}
	n.inject(func(i int) fault {
		if i == 2 {
			return failAndStop
		}
		return pass
	})
	if err := n.AddPartitions(t.Context(), "grown", 2, single(1, stepPartitions)); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("add: %v, want ErrUnavailable", err)
	}
	n.heal()
	if got := n.keys(creatingRoot); got != 2 {
		t.Fatalf("%d creating keys, want 2: the test shows nothing", got)
	}
	if err := n.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	// A deletion in between must not cost the topic its own partitions' keys.
	if err := n.DeleteTopic(t.Context(), topic.ID); err != nil {
		t.Fatal(err)
	}
	if err := n.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := n.keys(creatingRoot) + n.keys(partitionsRoot); got != 3*2 {
		t.Errorf("%d keys, want those of two partitions", got)
	}
	if got := n.Image().Deleting(); len(got) != 1 || len(got[0].Partitions) != 2 {
		t.Errorf("deleting: %v", got)
	}
}

// Reconcile at another broker leaves a creation alone that is under way.
func TestReconcileSparesCreationsUnderWay(t *testing.T) {
	endpoints := externalEtcd(t)
	a := launch(t, Options{NodeID: 1, Dir: t.TempDir(), Endpoints: endpoints})
	a.register() // the controller
	b := launch(t, Options{NodeID: 2, Dir: t.TempDir(), Endpoints: endpoints})
	b.register()
	f := b.inject(func(int) fault { return pass })
	f.after = func(int) {
		if err := errors.Join(a.Sync(t.Context()), a.Reconcile(t.Context())); err != nil {
			t.Error(err)
		}
	}
	b.create("a", stepPartitions)
	if a.Image().Controller() != 1 {
		t.Fatal("broker 1 is not the controller: the test shows nothing")
	}
	if got := b.keys(partitionsRoot); got != 3*stepPartitions {
		t.Errorf("%d keys, want %d", got, 3*stepPartitions)
	}
}

func TestAddPartitions(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		n := launch(t, o)
		n.register()
		ctx := t.Context()
		n.create("a", 2)
		have := 2
		for _, more := range []int{1, 2*partitionsPerTxn + 7, 1} {
			if err := n.AddPartitions(ctx, "a", have, single(1, more)); err != nil {
				t.Fatal(err)
			}
			have += more
			if topic, _ := n.Image().Topic("a"); len(topic.Partitions) != have {
				t.Fatalf("%d partitions, want %d", len(topic.Partitions), have)
			}
		}
		if err := n.AddPartitions(ctx, "a", 2, single(1, 1)); !errors.Is(err, ErrConflict) {
			t.Errorf("from a wrong count: %v, want ErrConflict", err)
		}
		if err := n.AddPartitions(ctx, "none", 0, single(1, 1)); !errors.Is(err, ErrUnknownTopic) {
			t.Errorf("to no topic: %v, want ErrUnknownTopic", err)
		}
		if err := n.AddPartitions(ctx, "a", have, single(1, MaxPartitions)); !errors.Is(err, ErrInvalid) {
			t.Errorf("too many: %v, want ErrInvalid", err)
		}
	})
}

// Two brokers that add partitions at once never mix their assignments.
func TestConcurrentAddersDoNotMix(t *testing.T) {
	endpoints := externalEtcd(t)
	a := launch(t, Options{NodeID: 1, Dir: t.TempDir(), Endpoints: endpoints})
	b := launch(t, Options{NodeID: 2, Dir: t.TempDir(), Endpoints: endpoints})
	a.register()
	b.register()
	a.create("a", 1)
	f := a.inject(func(int) fault { return pass })
	f.after = func(int) {
		for _, more := range []int{1, stepPartitions} {
			err := b.AddPartitions(t.Context(), "a", 1, single(2, more))
			if !errors.Is(err, ErrConflict) {
				t.Errorf("the second adder of %d: %v, want ErrConflict", more, err)
			}
		}
	}
	if err := a.AddPartitions(t.Context(), "a", 1, single(1, stepPartitions)); err != nil {
		t.Fatal(err)
	}
	topic, _ := a.Image().Topic("a")
	for i, p := range topic.Partitions {
		if p.Replicas[0] != 1 {
			t.Fatalf("partition %d is the other adder's", i)
		}
	}
}

// Configs may change while partitions are added; neither change is lost.
func TestAddPartitionsKeepsConfigsSetMeanwhile(t *testing.T) {
	n := launch(t, Options{NodeID: 1, Dir: t.TempDir()})
	n.register()
	n.create("a", 1)
	want := map[string]string{"retention.ms": "5"}
	f := n.inject(func(int) fault { return pass })
	var once sync.Once
	f.after = func(int) {
		once.Do(func() {
			if _, err := n.client.Txn(t.Context()).Then(
				clientv3.OpPut(topicKey("a"), encode(topicRecord{ID: n.topicID("a"), Partitions: 1, Configs: want})),
				clientv3.OpPut(tallyKey, "")).Commit(); err != nil {
				t.Error(err)
			}
		})
	}
	if err := n.AddPartitions(t.Context(), "a", 1, single(1, stepPartitions)); err != nil {
		t.Fatal(err)
	}
	topic, _ := n.Image().Topic("a")
	if len(topic.Partitions) != 1+stepPartitions || topic.Configs["retention.ms"] != "5" {
		t.Errorf("%d partitions, configs %v", len(topic.Partitions), topic.Configs)
	}
}

func (n *node) topicID(name string) string {
	topic, _ := n.Image().Topic(name)
	return topicName(topic.ID)
}

func TestSetTopicConfigsOnlyIfUnchanged(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		n := launch(t, o)
		n.register()
		ctx := t.Context()
		n.create("a", 1)
		one, two := map[string]string{"x": "1"}, map[string]string{"x": "2"}
		if err := n.SetTopicConfigs(ctx, "a", map[string]string{}, one); err != nil {
			t.Fatal(err)
		}
		if err := n.SetTopicConfigs(ctx, "a", nil, two); !errors.Is(err, ErrConflict) {
			t.Errorf("from what it was before: %v, want ErrConflict", err)
		}
		if topic, _ := n.Image().Topic("a"); topic.Configs["x"] != "1" {
			t.Errorf("configs %v, want x=1", topic.Configs)
		}
		if err := n.SetTopicConfigs(ctx, "b", nil, two); !errors.Is(err, ErrUnknownTopic) {
			t.Errorf("of no topic: %v, want ErrUnknownTopic", err)
		}
	})
}

func TestDeletedTopicIsUnknownAtOnceAndForgottenAtTheEnd(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		n := launch(t, o)
		n.register()
		ctx := t.Context()
		topic := n.create("a", 100)
		if err := n.FinishDelete(ctx, topic.ID); !errors.Is(err, ErrInvalid) {
			t.Errorf("finish a deletion of a live topic: %v, want ErrInvalid", err)
		}
		if err := n.DeleteTopic(ctx, topic.ID); err != nil {
			t.Fatal(err)
		}
		image := n.Image()
		if _, ok := image.Topic("a"); ok {
			t.Error("the deleted topic is known by name")
		}
		if _, ok := image.TopicByID(topic.ID); ok {
			t.Error("the deleted topic is known by id")
		}
		if d := image.Deleting(); len(d) != 1 || d[0].ID != topic.ID || d[0].Name != "a" || len(d[0].Partitions) != 100 {
			t.Fatalf("deleting: %v", d)
		}
		if err := n.DeleteTopic(ctx, topic.ID); !errors.Is(err, ErrUnknownTopic) {
			t.Errorf("delete again: %v, want ErrUnknownTopic", err)
		}
		again := n.create("a", 1)
		if again.ID == topic.ID {
			t.Fatal("the id was used again")
		}
		if err := n.Reconcile(ctx); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second finds nothing to do
			if err := n.FinishDelete(ctx, topic.ID); err != nil {
				t.Fatal(err)
			}
		}
		if d := n.Image().Deleting(); len(d) != 0 {
			t.Errorf("deleting: %v", d)
		}
		if got := n.keys(partitionsRoot); got != 3 {
			t.Errorf("%d partition keys, want the 3 of the new topic", got)
		}
	})
}

func TestFinishDeleteKeepsTopicsWithTierState(t *testing.T) {
	n := launch(t, Options{NodeID: 1, Dir: t.TempDir()})
	n.register()
	ctx := t.Context()
	topic := n.create("a", 1)
	p := tiering.PartitionID{Topic: topic.ID}
	fence := tiering.Fence{LeaderRevision: topic.Partitions[0].LeaderRevision}
	if err := n.Tier().PutIntent(ctx, p, fence, intent("k")); err != nil {
		t.Fatal(err)
	}
	if err := n.Tier().Forget(ctx, p); !errors.Is(err, ErrConflict) {
		t.Errorf("forget a live topic: %v, want ErrConflict", err)
	}
	if err := n.DeleteTopic(ctx, topic.ID); err != nil {
		t.Fatal(err)
	}
	if err := n.FinishDelete(ctx, topic.ID); !errors.Is(err, ErrConflict) {
		t.Errorf("with an intent left: %v, want ErrConflict", err)
	}
	if err := n.Tier().Forget(ctx, p); err != nil {
		t.Fatal(err)
	}
	if err := n.FinishDelete(ctx, topic.ID); err != nil {
		t.Fatal(err)
	}
	if err := n.Tier().Forget(ctx, p); err != nil {
		t.Errorf("forget again: %v", err)
	}
}

// Prints, asserts nothing about time: the machine is shared.
func TestThousandPartitionsTiming(t *testing.T) {
	dir := t.TempDir()
	o := Options{NodeID: 1, Dir: dir}
	measure := func(what string, f func()) {
		begin := time.Now()
		f()
		t.Logf("%-46s %v", what, time.Since(begin).Round(time.Microsecond))
	}
	var n *node
	measure("open, empty directory", func() { n = launch(t, o) })
	measure("register", func() { n.register() })
	measure("create topic, 1 partition", func() { n.create("one", 1) })
	measure("create topic, 1,000 partitions", func() { n.create("thousand", 1000) })
	var ids []segment.TopicID
	measure("create 200 topics, 5 partitions each", func() {
		for i := range 200 {
			ids = append(ids, n.create(fmt.Sprint("t", i), 5).ID)
		}
	})
	n.stop()
	measure("open, 2,001 partitions", func() { n = launch(t, o) })
	measure("read the image", func() {
		if err := n.reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	measure("register after kill, 2,001 leader epochs", func() { n.register() })
	if p, _ := n.Image().Topic("thousand"); p.Partitions[999].LeaderEpoch != 1 {
		t.Errorf("leader epoch %d, want 1", p.Partitions[999].LeaderEpoch)
	}
	measure("deregister", func() {
		if err := n.Deregister(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	n.stop()
	measure("open again", func() { n = launch(t, o) })
	measure("register after a clean stop", func() { n.register() })
	measure("delete 200 topics", func() {
		for _, id := range ids {
			if err := errors.Join(n.DeleteTopic(t.Context(), id), n.FinishDelete(t.Context(), id)); err != nil {
				t.Fatal(err)
			}
		}
	})
	if testing.Short() {
		return
	}
	measure("create topic, 10,000 partitions", func() { n.create("most", MaxPartitions) })
	n.stop()
	measure("open, 11,001 partitions", func() { n = launch(t, o) })
	measure("register after kill, 11,001 leader epochs", func() { n.register() })
	most, _ := n.Image().Topic("most")
	measure("delete topic, 10,000 partitions", func() {
		if err := errors.Join(n.DeleteTopic(t.Context(), most.ID), n.FinishDelete(t.Context(), most.ID)); err != nil {
			t.Fatal(err)
		}
	})
}
