package cluster

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/varvelog/varve/segment"
)

func TestRegistrationIsInTheImage(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		n := launch(t, o)
		if n.Image().Controller() != -1 || len(n.Image().Brokers()) != 0 {
			t.Fatal("somebody is registered at the start")
		}
		want := Broker{ID: 1, Incarnation: "i", Rack: "r", Endpoints: []Endpoint{{Name: "PLAINTEXT", Host: "h", Port: 9092}}}
		if err := n.Register(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		list := n.Image().Brokers()
		if len(list) != 1 || list[0].Epoch == 0 {
			t.Fatalf("brokers %+v", list)
		}
		want.Epoch = list[0].Epoch
		if !list[0].equal(want) {
			t.Errorf("broker %+v, want %+v", list[0], want)
		}
		if got := n.Image().Controller(); got != 1 {
			t.Errorf("controller %d, want 1", got)
		}
		if err := n.Register(t.Context(), want); !errors.Is(err, ErrInvalid) {
			t.Errorf("register again: %v, want ErrInvalid", err)
		}
		for range 2 { // the second has nothing to do
			if err := n.Deregister(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := n.Register(t.Context(), Broker{ID: 2}); !errors.Is(err, ErrInvalid) {
			t.Errorf("register another id: %v, want ErrInvalid", err)
		}
		if err := n.Register(t.Context(), want); err != nil {
			t.Errorf("register after Deregister: %v", err)
		}
	})
}

// KIP-101, KIP-320: a log that may have lost a readable tail goes on under a new leader
// epoch; one that ended cleanly keeps its epoch.
func TestLeaderEpochAfterRestart(t *testing.T) {
	for _, c := range []struct {
		name  string
		clean bool
		next  Broker
		epoch int32
	}{
		{"clean stop", true, Broker{ID: 1}, 0},
		{"kill", false, Broker{ID: 1}, 1},
		{"clean stop, but logs had to be recovered", true, Broker{ID: 1, Unclean: true}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, o Options) {
				n := launch(t, o)
				n.register()
				old := n.create("a", 200)
				if c.clean {
					if err := n.Deregister(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				n.stop()
				n = launch(t, o)
				begin := time.Now()
				if err := n.Register(t.Context(), c.next); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begin); took > time.Duration(o.LeaseSeconds)*time.Second {
					t.Errorf("took %v: it waited for the dead predecessor's lease", took)
				}
				topic, _ := n.Image().Topic("a")
				for i, p := range topic.Partitions {
					if p.Leader != 1 || p.LeaderEpoch != c.epoch {
						t.Fatalf("partition %d: leader %d, epoch %d; want 1, %d", i, p.Leader, p.LeaderEpoch, c.epoch)
					}
					if moved := p.LeaderRevision != old.Partitions[i].LeaderRevision; moved != (c.epoch > 0) {
						t.Fatalf("partition %d: leader revision %d, it was %d", i, p.LeaderRevision, old.Partitions[i].LeaderRevision)
					}
				}
				// The mark of the clean stop counts once.
				n.stop()
				n = launch(t, o)
				n.register()
				topic, _ = n.Image().Topic("a")
				if got := topic.Partitions[0].LeaderEpoch; got != c.epoch+1 {
					t.Errorf("epoch %d after a kill, want %d", got, c.epoch+1)
				}
			})
		})
	}
}

func TestCleanStopOfAnotherDirectoryProvesNothing(t *testing.T) {
	o := Options{NodeID: 1, Endpoints: externalEtcd(t), Dir: t.TempDir()}
	n := launch(t, o)
	n.register()
	n.create("a", 1)
	if err := n.Deregister(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.stop()
	o.Dir = t.TempDir()
	n = launch(t, o)
	n.register()
	if topic, _ := n.Image().Topic("a"); topic.Partitions[0].LeaderEpoch != 1 {
		t.Errorf("epoch %d, want 1", topic.Partitions[0].LeaderEpoch)
	}
}

// A registration that fails on the way is repeated, and misses no partition.
func TestRegisterIsRepeatable(t *testing.T) {
	for _, kind := range []fault{failBefore, failAfter} {
		for at := range 5 {
			dir := t.TempDir()
			n := launch(t, Options{NodeID: 1, Dir: dir})
			n.register()
			n.create("a", 2*leadershipsPerTxn)
			n.stop()
			n = launch(t, Options{NodeID: 1, Dir: dir})
			n.inject(func(i int) fault {
				if i == at {
					return kind
				}
				return pass
			})
			if err := n.Register(t.Context(), Broker{ID: 1}); err == nil {
				t.Fatalf("fault %d at %d: registered without all transactions", kind, at)
			}
			n.heal()
			n.register()
			topic, _ := n.Image().Topic("a")
			for i, p := range topic.Partitions {
				if p.Leader != 1 || p.LeaderEpoch < 1 || p.LeaderRevision < n.session.broker.Load().Epoch {
					t.Fatalf("fault %d at %d: partition %d: %+v", kind, at, i, p)
				}
			}
			n.stop()
		}
	}
}

func TestLiveBrokerKeepsItsID(t *testing.T) {
	endpoints := externalEtcd(t)
	a := launch(t, Options{NodeID: 1, Endpoints: endpoints, Dir: t.TempDir(), LeaseSeconds: 5})
	a.register()
	b := launch(t, Options{NodeID: 1, Endpoints: endpoints, Dir: t.TempDir(), LeaseSeconds: 5})
	if err := b.Register(t.Context(), Broker{ID: 1}); !errors.Is(err, ErrNodeIDTaken) {
		t.Fatalf("register: %v, want ErrNodeIDTaken", err)
	}
	if err := a.Deregister(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.register()
}

// Without the directory, a dead broker's id is free when its lease has run out.
func TestDeadBrokersIDIsFreeAfterItsLease(t *testing.T) {
	endpoints := externalEtcd(t)
	a := launch(t, Options{NodeID: 1, Endpoints: endpoints, Dir: t.TempDir(), LeaseSeconds: 1})
	a.register()
	a.create("a", 1)
	a.stop()
	b := launch(t, Options{NodeID: 1, Endpoints: endpoints, LeaseSeconds: 1})
	b.register()
	if topic, _ := b.Image().Topic("a"); topic.Partitions[0].LeaderEpoch != 1 {
		t.Errorf("epoch %d, want 1", topic.Partitions[0].LeaderEpoch)
	}
}

// A broker whose lease is lost, say after a long pause, registers again by itself; its
// tier commits carry the new broker epoch.
func TestLostLeaseIsReplaced(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		n, p, fence := tiered(t, o)
		before, _ := n.Image().broker(1)
		if _, err := n.client.Revoke(t.Context(), clientv3.LeaseID(n.session.lease.Load())); err != nil {
			t.Fatal(err)
		}
		if err := n.Tier().PutIntent(t.Context(), p, fence, intent("k")); err == nil {
			t.Error("an unregistered broker announced an object")
		}
		if err := n.heartbeat(t.Context()); err != nil {
			t.Fatal(err)
		}
		after, ok := n.Image().broker(1)
		if !ok || after.Epoch <= before.Epoch || after.Incarnation != before.Incarnation {
			t.Errorf("broker %+v, it was %+v", after, before)
		}
		if err := n.Tier().PutIntent(t.Context(), p, fence, intent("k")); err != nil {
			t.Error(err)
		}
		// The controller key went with the lease; now or at the next heartbeat it is back.
		if err := errors.Join(n.Sync(t.Context()), n.heartbeat(t.Context())); err != nil {
			t.Fatal(err)
		}
		if got := n.Image().Controller(); got != 1 {
			t.Errorf("controller %d, want 1", got)
		}
	})
}

func TestRunEndsWhenAnotherBrokerTookTheID(t *testing.T) {
	endpoints := externalEtcd(t)
	a := launch(t, Options{NodeID: 1, Endpoints: endpoints, LeaseSeconds: 1})
	a.register()
	a.pause() // longer than its lease
	b := launch(t, Options{NodeID: 1, Endpoints: endpoints, LeaseSeconds: longLease})
	b.register()
	if err := a.Run(t.Context()); !errors.Is(err, ErrNodeIDTaken) {
		t.Errorf("Run: %v, want ErrNodeIDTaken", err)
	}
}

func TestControllerIsReplaced(t *testing.T) {
	endpoints := externalEtcd(t)
	a := launch(t, Options{NodeID: 1, Endpoints: endpoints, LeaseSeconds: 600})
	a.register()
	b := launch(t, Options{NodeID: 2, Endpoints: endpoints, LeaseSeconds: 600})
	b.register()
	if got := b.Image().Controller(); got != 1 {
		t.Fatalf("controller %d, want 1", got)
	}
	if err := errors.Join(a.Deregister(t.Context()), b.Sync(t.Context())); err != nil {
		t.Fatal(err)
	}
	for b.Image().Controller() == 1 { // the key goes with the lease, after the tally
		if err := b.reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.heartbeat(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := b.Image().Controller(); got != 2 {
		t.Errorf("controller %d, want 2", got)
	}
}

func TestTakeovers(t *testing.T) {
	const id, epoch = 1, 100
	for _, c := range []struct {
		name  string
		p     Partition
		clean bool
		take  bool
	}{
		{"no leader, in sync", Partition{Leader: -1, ISR: []int32{2, 1}, LeaderRevision: 5}, true, true},
		{"no leader, not in sync", Partition{Leader: -1, ISR: []int32{2}, Replicas: []int32{1, 2}}, false, false},
		{"another leader", Partition{Leader: 2, ISR: []int32{1, 2}, LeaderRevision: 5}, false, false},
		{"led before a kill", Partition{Leader: 1, ISR: []int32{1}, LeaderRevision: 99}, false, true},
		{"led before a clean stop", Partition{Leader: 1, ISR: []int32{1}, LeaderRevision: 99}, true, false},
		{"led since it registered", Partition{Leader: 1, ISR: []int32{1}, LeaderRevision: 101}, false, false},
		{"led before, no longer in sync", Partition{Leader: 1, ISR: []int32{2}, LeaderRevision: 5}, false, false},
	} {
		image := emptyImage("")
		image.ids = map[segment.TopicID]*Topic{{}: {Name: "a", Partitions: []Partition{c.p}}}
		if got := len(takeovers(image, Broker{ID: id, Epoch: epoch}, c.clean)) == 1; got != c.take {
			t.Errorf("%s: take %v, want %v", c.name, got, c.take)
		}
	}
}

// The NOSPACE alarm is named with what to do, and a restart of the embedded etcd does it.
func TestNoSpaceIsNamedAndClearedByARestart(t *testing.T) {
	o := Options{NodeID: 1, Dir: t.TempDir()}
	n := launch(t, o)
	n.register()
	n.create("a", 1)
	if _, err := n.etcd.Server.Alarm(t.Context(), &pb.AlarmRequest{
		Action: pb.AlarmRequest_ACTIVATE, MemberID: uint64(n.etcd.Server.MemberID()), Alarm: pb.AlarmType_NOSPACE,
	}); err != nil {
		t.Fatal(err)
	}
	_, err := n.CreateTopic(t.Context(), NewTopic{Name: "b", Replicas: single(1, 1)})
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "restart the broker to compact") {
		t.Fatalf("create: %v, want ErrUnavailable and advice", err)
	}
	n.stop()
	n = launch(t, o)
	n.register()
	n.create("b", 1)
	if _, ok := n.Image().Topic("a"); !ok {
		t.Error("a topic was lost")
	}
}

func TestRunEndsWhenTheEmbeddedEtcdStops(t *testing.T) {
	n := launch(t, Options{NodeID: 1, Dir: t.TempDir()})
	n.etcd.Server.Stop()
	if err := <-n.done; !errors.Is(err, ErrUnavailable) {
		t.Errorf("Run: %v, want ErrUnavailable", err)
	}
	n.cancel()
	n.cancel = nil
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := n.CreateTopic(ctx, NewTopic{Name: "b", Replicas: single(1, 1)}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("create: %v, want ErrUnavailable", err)
	}
}
