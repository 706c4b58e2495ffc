package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/varvelog/varve/segment"
)

// While a broker was away etcd compacted what it missed: the state is read anew, and
// Next tells all that changed meanwhile and nothing else.
func TestWatchSurvivesCompaction(t *testing.T) {
	endpoints := externalEtcd(t)
	a := launch(t, Options{NodeID: 1, Endpoints: endpoints})
	a.register()
	b := launch(t, Options{NodeID: 2, Endpoints: endpoints})
	gone := a.create("gone", 2)
	a.create("kept", 2)
	if err := b.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := b.Image()
	kept, _ := before.Topic("kept")

	b.pause()
	a.create("new", 2)
	if err := a.DeleteTopic(t.Context(), gone.ID); err != nil {
		t.Fatal(err)
	}
	if err := a.SetQuota(t.Context(), QuotaEntity{"user": nil}, nil, map[string]float64{"request_percentage": 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.client.Compact(t.Context(), a.Image().Revision()); err != nil {
		t.Fatal(err)
	}
	b.run()

	if err := b.WaitFor(t.Context(), a.Image().Revision()); err != nil {
		t.Fatal(err)
	}
	_, d, err := b.Next(t.Context(), before)
	if err != nil {
		t.Fatal(err)
	}
	if got := describe(d); got != "changed [new] deleted [gone] quotas" {
		t.Errorf("after compaction: %s", got)
	}
	if now, _ := b.Image().Topic("kept"); now != kept {
		t.Error("a topic that did not change is another value")
	}
	// The watch goes on.
	a.create("later", 1)
	if err := b.WaitFor(t.Context(), a.Image().Revision()); err != nil {
		t.Fatal(err)
	}
	if _, ok := b.Image().Topic("later"); !ok {
		t.Error("the watch did not go on after compaction")
	}
}

// event is the event of a put.
func event(key, value string, revision, version int64) *clientv3.Event {
	return &clientv3.Event{Type: mvccpb.PUT, Kv: &mvccpb.KeyValue{
		Key: []byte(key), Value: []byte(value), CreateRevision: revision, ModRevision: revision, Version: version,
	}}
}

// created returns the events of a topic's creation at a revision.
func creationEvents(id segment.TopicID, name string, revision, tally int64) []*clientv3.Event {
	return []*clientv3.Event{
		event(partitionKey(id, 0, partISR), `[1]`, revision, 1),
		event(partitionKey(id, 0, partLeader), `{"id":1,"epoch":0}`, revision, 1),
		event(partitionKey(id, 0, partReplicas), `[1]`, revision, 1),
		event(tallyKey, "", revision, tally),
		event(topicKey(name), encode(topicRecord{ID: topicName(id), Partitions: 1}), revision, 1),
	}
}

// etcd#17529: a watch that lost events is noticed by the tally.
func TestLostEventsAreNoticed(t *testing.T) {
	s := newState("c")
	if err := s.apply(creationEvents(segment.TopicID{1}, "a", 5, 1)); err != nil {
		t.Fatal(err)
	}
	if err := s.apply(creationEvents(segment.TopicID{2}, "c", 7, 3)); !errors.Is(err, errGap) {
		t.Errorf("after a lost revision: %v, want errGap", err)
	}
}

// etcd#15271: a watch that goes back in time changes nothing.
func TestEventsOfThePastAreDropped(t *testing.T) {
	s := newState("c")
	first := creationEvents(segment.TopicID{1}, "a", 5, 1)
	if err := s.apply(first); err != nil {
		t.Fatal(err)
	}
	newer := []*clientv3.Event{
		event(partitionKey(segment.TopicID{1}, 0, partLeader), `{"id":1,"epoch":7}`, 6, 2),
		event(tallyKey, "", 6, 2),
	}
	if err := s.apply(newer); err != nil {
		t.Fatal(err)
	}
	if err := s.apply(append(first, newer...)); err != nil {
		t.Fatal(err)
	}
	image, err := s.image(emptyImage("c"))
	if err != nil {
		t.Fatal(err)
	}
	if topic, _ := image.Topic("a"); topic.Partitions[0].LeaderEpoch != 7 || image.Revision() != 6 {
		t.Errorf("epoch %d at revision %d, want 7 at 6", topic.Partitions[0].LeaderEpoch, image.Revision())
	}
}

// shiftedKV is a store whose revision went back, as after a restore from a backup.
type shiftedKV struct {
	clientv3.KV
	by int64
}

func (k shiftedKV) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	resp, err := k.KV.Get(ctx, key, opts...)
	if err == nil {
		resp.Header.Revision -= k.by
	}
	return resp, err
}

// etcd#17780, and restored backups: a store that is behind the image ends Run.
func TestStoreThatWentBackIsRefused(t *testing.T) {
	n := launch(t, Options{NodeID: 1, Dir: t.TempDir(), LeaseSeconds: 600})
	n.register()
	n.create("a", 1)
	n.kv = shiftedKV{n.client.KV, 3}
	if _, err := n.audit(t.Context(), 0); !errors.Is(err, ErrRegressed) {
		t.Errorf("audit: %v, want ErrRegressed", err)
	}
	n.reread <- struct{}{}
	if err := <-n.done; !errors.Is(err, ErrRegressed) {
		t.Errorf("Run: %v, want ErrRegressed", err)
	}
	n.cancel()
	n.cancel = nil
	if _, ok := n.Image().Topic("a"); !ok {
		t.Error("the last good image is gone")
	}
}

// A watch that went silent is noticed by the second audit, and the state read anew.
func TestSilentWatchIsNoticed(t *testing.T) {
	n := launch(t, Options{NodeID: 1, Dir: t.TempDir(), LeaseSeconds: 600})
	n.register()
	n.pause() // the watch no longer brings anything
	if _, err := n.client.Txn(t.Context()).Then(clientv3.OpPut(configsKey(DefaultConfigs), `{"a":"1"}`), clientv3.OpPut(tallyKey, "")).Commit(); err != nil {
		t.Fatal(err)
	}
	confirmed, err := n.audit(t.Context(), 0)
	if err != nil || len(n.reread) != 0 {
		t.Fatalf("the first audit: %v, %d reads asked for", err, len(n.reread))
	}
	if _, err := n.audit(t.Context(), confirmed); err != nil || len(n.reread) != 1 {
		t.Fatalf("the second audit: %v, %d reads asked for, want 1", err, len(n.reread))
	}
	n.run()
	if err := n.WaitFor(t.Context(), confirmed); err != nil {
		t.Fatal(err)
	}
	if got := n.Image().BrokerConfigs(DefaultConfigs)["a"]; got != "1" {
		t.Errorf("config %q, want 1", got)
	}
}

// A key that cannot be understood ends Run and keeps the last image: to drop the key would
// be to delete a topic.
func TestCorruptKeyEndsRunAndOpen(t *testing.T) {
	for key, value := range map[string]string{
		topicKey("a"):                  `{"id":"short","partitions":1}`,
		topicKey("b"):                  `{`,
		topicKey("c"):                  `{"id":"AAAAAAAAAAAAAAAAAAAAAQ","partitions":1}`,
		topicKey("d"):                  `{"id":"AAAAAAAAAAAAAAAAAAAAAQ","partitions":10001}`,
		topicKey("e"):                  `{"id":"AAAAAAAAAAAAAAAAAAAAAg"}`,
		partitionsRoot + "x/00000/isr": `[1]`,
		brokersRoot + "1":              `{}`,
		controllerKey:                  `x`,
		configsRoot + "0000000001":     `[]`,
		deletingRoot + "x":             `{}`,
		creatingRoot + "x":             `t`,
	} {
		dir := t.TempDir()
		n := launch(t, Options{NodeID: 1, Dir: dir})
		topic := n.create("ok", 1)
		if _, err := n.client.Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-n.done:
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: Run: %v, want ErrCorrupt", key, err)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%s: Run goes on", key)
		}
		n.cancel()
		n.cancel = nil
		if now, _ := n.Image().Topic("ok"); now != topic {
			t.Errorf("%s: the last good image is gone", key)
		}
		n.stop()
		if s, err := Open(t.Context(), Options{NodeID: 1, Dir: dir}, ""); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: Open: %v, want ErrCorrupt", key, err)
			if err == nil {
				_ = s.Close()
			}
		}
	}
}

func TestUnknownKeysAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	n := launch(t, Options{NodeID: 1, Dir: dir})
	if _, err := n.client.Put(t.Context(), imageRoot+"acls/1", "?"); err != nil {
		t.Fatal(err)
	}
	n.create("a", 1)
	n.stop()
	launch(t, Options{NodeID: 1, Dir: dir})
}

// Readers go through images while writers change everything; -race finds any write to
// what an image holds.
func TestImagesNeverChange(t *testing.T) {
	n := launch(t, Options{NodeID: 1, Dir: t.TempDir()})
	n.register()
	ctx, cancel := context.WithCancel(t.Context())
	var readers, writers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for ctx.Err() == nil {
				image := n.Image()
				sum := digest(image)
				if again := digest(image); again != sum {
					t.Error("an image changed")
					return
				}
			}
		})
	}
	readers.Go(func() {
		for last := n.Image(); ; {
			image, _, err := n.Next(ctx, last)
			if err != nil {
				return
			}
			if image.Revision() <= last.Revision() {
				t.Errorf("revision %d after %d", image.Revision(), last.Revision())
			}
			last = image
		}
	})
	for w := range 3 {
		writers.Go(func() {
			for i := range 10 {
				name := fmt.Sprintf("t-%d-%d", w, i)
				topic, err := n.CreateTopic(ctx, NewTopic{Name: name, Replicas: single(1, 1+i)})
				if err == nil {
					err = n.AddPartitions(ctx, name, 1+i, single(1, 50))
				}
				if err == nil {
					err = n.SetTopicConfigs(ctx, name, nil, map[string]string{"a": "b"})
				}
				if err == nil && i%2 == 0 {
					err = errors.Join(n.DeleteTopic(ctx, topic.ID), n.FinishDelete(ctx, topic.ID))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	cancel()
	readers.Wait()
	if got := len(n.Image().Topics()); got != 15 {
		t.Errorf("%d topics, want 15", got)
	}
}

// digest reads everything that an image holds.
func digest(i *Image) string {
	sum := fmt.Sprint(i.Revision(), i.Controller(), i.Brokers(), i.BrokerConfigs(DefaultConfigs))
	for _, t := range i.Topics() {
		if byID, ok := i.TopicByID(t.ID); !ok || byID != t {
			return "names and ids differ"
		}
		sum += fmt.Sprint(t.Name, t.ID, t.Configs, len(t.Partitions), t.Partitions[len(t.Partitions)-1])
	}
	for _, t := range i.Deleting() {
		sum += t.Name
	}
	return sum
}

// Bytes from etcd can only cause errors, whatever key they stand under and in whatever
// order they come.
func FuzzState(f *testing.F) {
	id := segment.TopicID{1}
	for _, e := range creationEvents(id, "a", 1, 1) {
		f.Add(string(e.Kv.Key), e.Kv.Value, string(e.Kv.Key), []byte("[]"), false)
	}
	f.Add(topicKey("a"), []byte(`{"id":"AQAAAAAAAAAAAAAAAAAAAA","partitions":1}`), topicKey("a"), []byte(nil), true)
	f.Add(deletingKey(id), []byte(`{"name":"a","partitions":1}`), deletingKey(id), []byte(nil), true)
	f.Add(creatingKey(id), []byte(`t`), partitionKey(id, 9999, partISR), []byte(`[1]`), true)
	f.Add(brokerKey(1), []byte(`{"id":7,"endpoints":[{"port":1}]}`), brokerKey(1), []byte(nil), true)
	f.Add(configsKey(-1), []byte(`{"a":"b"}`), configsKey(1), []byte(`{}`), false)
	f.Add(controllerKey, []byte(`{"id":1}`), controllerKey, []byte(nil), true)
	f.Fuzz(func(t *testing.T, key1 string, value1 []byte, key2 string, value2 []byte, remove bool) {
		s := newState("c")
		if err := s.apply(creationEvents(id, "a", 1, 1)); err != nil {
			t.Fatal(err)
		}
		before, err := s.image(emptyImage("c"))
		if err != nil {
			t.Fatal(err)
		}
		events := []*clientv3.Event{event(key1, string(value1), 2, 1), event(key2, string(value2), 3, 1)}
		if remove {
			events[1].Type = mvccpb.DELETE
		}
		for _, e := range events {
			if err := s.apply([]*clientv3.Event{e}); err != nil {
				return
			}
			image, err := s.image(before)
			if err != nil {
				return
			}
			s.garbage()
			image.since(before)
			digestOf := digest(image)
			if digestOf == "names and ids differ" {
				t.Fatal(digestOf)
			}
			before = image
		}
	})
}
