package group

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/segment/batch"
)

// shareWorld is a share group with a log, a share coordinator and a clock.
type shareWorld struct {
	t       *testing.T
	g       *Group
	limits  *Limits
	log     []batch.Record
	now     int64
	topics  shareTopics
	ticket  Ticket
	replies map[Ticket]Reply
	persist []Persist
	lose    bool // appends fail
}

type shareTopics struct {
	all     map[string]Topic
	version int64
}

func (s shareTopics) Topic(name string) (Topic, bool) { t, ok := s.all[name]; return t, ok }
func (s shareTopics) TopicByID(id TopicID) (Topic, bool) {
	for _, t := range s.all {
		if t.ID == id {
			return t, true
		}
	}
	return Topic{}, false
}
func (s shareTopics) Names() []string { return slices.Sorted(maps.Keys(s.all)) }
func (s shareTopics) Version() int64  { return s.version }

func newShareWorld(t *testing.T) *shareWorld {
	w := &shareWorld{t: t, now: 1_000_000, replies: map[Ticket]Reply{}, topics: shareTopics{all: map[string]Topic{}}}
	w.limits = &Limits{Metadata: func() Metadata { return w.topics }}
	w.g = New("g", w.limits, w.now)
	return w
}

func (w *shareWorld) topic(name string, partitions int32) TopicID {
	id := TopicID{0: name[0], 15: 1}
	w.topics.all[name] = Topic{Name: name, ID: id, Partitions: partitions}
	w.topics.version++
	return id
}

// carry does what an output says: appends are committed, or lost.
func (w *shareWorld) carry(out Output) {
	for _, r := range out.Replies {
		w.replies[r.Ticket] = r
	}
	w.persist = append(w.persist, out.Persist...)
	for _, a := range out.Appends {
		code := int16(0)
		if w.lose {
			code = kerr.CoordinatorNotAvailable.Code
		} else {
			w.log = append(w.log, a.Records...)
		}
		w.carry(w.g.Appended(w.now, a, code))
	}
}

// coordinate lets the share coordinator do all it was asked for.
func (w *shareWorld) coordinate(failed *Refusal) (asked []string) {
	for len(w.persist) > 0 {
		p := w.persist[0]
		w.persist = w.persist[1:]
		if p.Initialize != nil {
			for _, t := range p.Initialize.Topics {
				for _, x := range t.Partitions {
					asked = append(asked, fmt.Sprintf("+%c%d@%d/%d", t.TopicID[0], x.Partition, x.StartOffset, x.StateEpoch))
				}
			}
		} else {
			for _, t := range p.Delete.Topics {
				for _, x := range t.Partitions {
					asked = append(asked, fmt.Sprintf("-%c%d", t.TopicID[0], x.Partition))
				}
			}
		}
		w.carry(p.Done(w.g, w.now, failed))
	}
	return asked
}

func (w *shareWorld) heartbeat(member string, epoch int32, topics ...string) *kmsg.ShareGroupHeartbeatResponse {
	w.t.Helper()
	r := kmsg.NewPtrShareGroupHeartbeatRequest()
	r.Version, r.GroupID, r.MemberID, r.MemberEpoch, r.SubscribedTopicNames = 1, "g", member, epoch, topics
	if f := ValidateShareHeartbeat(r); f != nil {
		w.t.Fatal(f)
	}
	w.ticket++
	w.carry(w.g.ShareHeartbeat(w.now, w.ticket, Client{ID: "c", Host: "/h"}, r))
	reply, ok := w.replies[w.ticket]
	if !ok {
		w.t.Fatal("no answer")
	}
	return reply.Response.(*kmsg.ShareGroupHeartbeatResponse)
}

// tell is the whole answer in one line.
func tell(p *kmsg.ShareGroupHeartbeatResponse) string {
	if p.ErrorCode != 0 {
		return kerr.TypedErrorForCode(p.ErrorCode).Message
	}
	s := fmt.Sprintf("epoch %d", p.MemberEpoch)
	if p.Assignment != nil {
		s += ":"
		for _, t := range p.Assignment.TopicPartitions {
			s += fmt.Sprintf(" %c%v", t.TopicID[0], t.Partitions)
		}
	}
	return s
}

func (w *shareWorld) expect(got *kmsg.ShareGroupHeartbeatResponse, want string) {
	w.t.Helper()
	if s := tell(got); s != want {
		w.t.Fatalf("got %q, want %q (%v)", s, want, got.ErrorMessage)
	}
}

// restart makes the group of its log.
func (w *shareWorld) restart() {
	w.t.Helper()
	replay := NewReplay(w.limits)
	for i, r := range w.log {
		if err := replay.Record(int64(i), -1, r.Key, r.Value); err != nil {
			w.t.Fatal(err)
		}
	}
	w.g = replay.Groups(w.now)["g"]
	w.persist = nil
}

func TestShareMembersGetPartitionsOnceTheirStateIsInitialized(t *testing.T) {
	w := newShareWorld(t)
	w.topic("a", 2)
	w.expect(w.heartbeat("m", 0, "a"), "epoch 2:")
	if asked := w.coordinate(nil); !slices.Equal(asked, []string{"+a0@-1/2", "+a1@-1/2"}) {
		t.Fatal(asked)
	}
	w.now += 1000
	w.expect(w.heartbeat("m", 2), "epoch 3: a[0 1]")
	w.expect(w.heartbeat("m", 3), "epoch 3")

	// A second member shares: there are as many hands as members need.
	w.now += 1000
	w.expect(w.heartbeat("n", 0, "a"), "epoch 4: a[1]")
	w.expect(w.heartbeat("m", 3), "epoch 4: a[0]")

	// More partitions are initialized before they are given to anybody.
	w.topic("a", 4)
	w.now += 1000
	w.expect(w.heartbeat("m", 4), "epoch 5")
	if asked := w.coordinate(nil); !slices.Equal(asked, []string{"+a2@-1/5", "+a3@-1/5"}) {
		t.Fatal(asked)
	}
	w.now += 1000
	w.expect(w.heartbeat("m", 5), "epoch 6: a[0 2]")
	w.expect(w.heartbeat("n", 4), "epoch 6: a[1 3]")

	// All of it is in the log.
	before := w.g.share.state
	w.restart()
	if !reflect.DeepEqual(w.g.share.state.members, before.members) || !reflect.DeepEqual(w.g.share.state.target, before.target) || !w.g.share.state.partitions.equal(before.partitions) {
		t.Fatalf("restarted: %+v, was %+v", w.g.share.state, before)
	}
	w.expect(w.heartbeat("n", 6), "epoch 6")
}

func TestAnInitializationThatFailsIsAskedForAgain(t *testing.T) {
	w := newShareWorld(t)
	w.topic("a", 1)
	w.heartbeat("m", 0, "a")
	w.coordinate(&Refusal{Code: kerr.NotCoordinator.Code})
	w.now += 1000
	w.expect(w.heartbeat("m", 2), "epoch 2")
	if asked := w.coordinate(nil); !slices.Equal(asked, []string{"+a0@-1/2"}) {
		t.Fatal(asked)
	}
	w.now += 1000
	w.expect(w.heartbeat("m", 2), "epoch 3: a[0]")

	// One of which nothing is heard is asked for again in time; after a restart, at once.
	w.topic("b", 1)
	w.heartbeat("m", 0, "a", "b")
	w.persist = nil
	w.now += 10_000
	w.expect(w.heartbeat("m", 3), "epoch 4")
	if len(w.persist) != 0 {
		t.Error("asked again too early")
	}
	w.now += 25_000
	w.expect(w.heartbeat("m", 4), "epoch 4")
	if len(w.persist) != 1 {
		t.Error("not asked again")
	}
	w.restart()
	w.expect(w.heartbeat("m", 4), "epoch 4")
	if len(w.persist) != 1 {
		t.Error("not asked again after a restart")
	}
}

func TestAShareMemberIsFencedByEpochAndSession(t *testing.T) {
	w := newShareWorld(t)
	w.topic("a", 1)
	w.heartbeat("m", 0, "a")
	w.coordinate(nil)
	w.now += 1000
	w.expect(w.heartbeat("m", 2), "epoch 3: a[0]")
	w.expect(w.heartbeat("m", 2), "epoch 3") // the answer was lost
	w.expect(w.heartbeat("m", 4), "FENCED_MEMBER_EPOCH")
	w.expect(w.heartbeat("x", 3), "UNKNOWN_MEMBER_ID")
	w.now += DefaultShareSettings.SessionTimeout
	w.carry(w.g.Expire(w.now))
	w.expect(w.heartbeat("m", 3), "UNKNOWN_MEMBER_ID")
	if s := w.g.Listed(); s.GroupState != "Empty" || s.GroupType != "share" {
		t.Errorf("%+v", s)
	}
	w.expect(w.heartbeat("m", 0, "a"), "epoch 5: a[0]")
	w.expect(w.heartbeat("m", -1), "epoch -1")
	if w.g.Gone() {
		t.Error("an empty share group has gone")
	}
}

func TestAShareGroupIsDeletedAfterItsState(t *testing.T) {
	w := newShareWorld(t)
	w.topic("a", 2)
	w.heartbeat("m", 0, "a")
	w.coordinate(nil)
	deleted := func() int16 {
		w.ticket++
		w.carry(w.g.Delete(w.now, w.ticket))
		return w.replies[w.ticket].Code
	}
	if code := deleted(); code != kerr.NonEmptyGroup.Code {
		t.Fatal(kerr.ErrorForCode(code))
	}
	w.heartbeat("m", -1)
	deleted()
	w.coordinate(&Refusal{Code: kerr.CoordinatorLoadInProgress.Code})
	if code := w.replies[w.ticket].Code; code != kerr.CoordinatorLoadInProgress.Code || w.g.Gone() {
		t.Fatal(kerr.ErrorForCode(code))
	}
	deleted()
	if asked := w.coordinate(nil); !slices.Equal(asked, []string{"-a0", "-a1"}) {
		t.Fatal(asked)
	}
	if r := w.replies[w.ticket]; r.Code != 0 || !w.g.Gone() {
		t.Fatalf("%+v", r)
	}
	w.restart()
	if w.g != nil {
		t.Fatalf("the log still has %+v", w.g)
	}
}

func TestShareOffsetsAreAlteredAndDeletedInAnEmptyGroup(t *testing.T) {
	w := newShareWorld(t)
	a := w.topic("a", 2)
	alter := kmsg.NewPtrAlterShareGroupOffsetsRequest()
	alter.GroupID = "g"
	alter.Topics = []kmsg.AlterShareGroupOffsetsRequestTopic{{Topic: "a", Partitions: []kmsg.AlterShareGroupOffsetsRequestTopicPartition{{Partition: 1, StartOffset: 7}, {Partition: 2}}}}
	ask := func(out Output) kmsg.Response {
		w.carry(out)
		return w.replies[w.ticket].Response
	}
	w.ticket++
	w.carry(w.g.AlterShareOffsets(w.now, w.ticket, alter))
	if asked := w.coordinate(nil); !slices.Equal(asked, []string{"+a1@7/1"}) {
		t.Fatal(asked)
	}
	altered := w.replies[w.ticket].Response.(*kmsg.AlterShareGroupOffsetsResponse)
	if p := altered.Topics[0].Partitions; p[0].ErrorCode != 0 || p[1].ErrorCode != kerr.UnknownTopicOrPartition.Code {
		t.Fatalf("%+v", altered)
	}
	w.restart()
	if got := w.g.SharePartitions(); !reflect.DeepEqual(got, map[TopicID][]int32{a: {1}}) {
		t.Fatal(got)
	}
	remove := kmsg.NewPtrDeleteShareGroupOffsetsRequest()
	remove.GroupID, remove.Topics = "g", []kmsg.DeleteShareGroupOffsetsRequestTopic{{Topic: "a"}, {Topic: "zz"}}
	w.ticket++
	w.carry(w.g.DeleteShareOffsets(w.now, w.ticket, remove))
	if asked := w.coordinate(nil); !slices.Equal(asked, []string{"-a1"}) {
		t.Fatal(asked)
	}
	removed := w.replies[w.ticket].Response.(*kmsg.DeleteShareGroupOffsetsResponse)
	if len(removed.Topics) != 2 || removed.Topics[0].ErrorCode != 0 || removed.Topics[1].ErrorCode != kerr.UnknownTopicOrPartition.Code {
		t.Fatalf("%+v", removed)
	}
	w.heartbeat("m", 0, "a")
	w.ticket++
	if p := ask(w.g.DeleteShareOffsets(w.now, w.ticket, remove)).(*kmsg.DeleteShareGroupOffsetsResponse); p.ErrorCode != kerr.NonEmptyGroup.Code {
		t.Fatalf("%+v", p)
	}
}

func TestALostAppendOfAShareGroupIsUndone(t *testing.T) {
	w := newShareWorld(t)
	w.topic("a", 1)
	w.lose = true
	w.expect(w.heartbeat("m", 0, "a"), "COORDINATOR_NOT_AVAILABLE")
	w.coordinate(nil)
	w.lose = false
	w.expect(w.heartbeat("m", 0, "a"), "epoch 2:")
	w.coordinate(nil)
	w.lose = true
	w.now += 1000
	w.expect(w.heartbeat("m", 2), "COORDINATOR_NOT_AVAILABLE")
	w.lose = false
	w.expect(w.heartbeat("m", 2), "epoch 3: a[0]")
	before := w.g.share.state
	w.restart()
	if !reflect.DeepEqual(w.g.share.state.members, before.members) {
		t.Fatal("the log has something else")
	}
}

func TestAssignSharesGivesEachPartitionToSomebodyEvenly(t *testing.T) {
	for seed := range uint64(1000) {
		r := rand.New(rand.NewPCG(seed, 7))
		topics := map[string][]topicIDPartition{}
		for i := range 1 + r.IntN(3) {
			name := string(rune('a' + i))
			for p := range r.Int32N(6) {
				topics[name] = append(topics[name], topicIDPartition{TopicID{byte(i + 1)}, p})
			}
		}
		subscriptions, before := map[string][]string{}, map[string]assignment{}
		same := r.IntN(2) == 0
		for i := range 1 + r.IntN(8) {
			id := fmt.Sprint("m", i)
			for _, name := range []string{"a", "b", "c"} {
				if same || r.IntN(2) == 0 {
					subscriptions[id] = append(subscriptions[id], name)
				}
			}
			if len(subscriptions[id]) == 0 {
				subscriptions[id] = []string{"a"}
			}
		}
		for round := range 3 {
			got := assignShares(subscriptions, topics, before)
			checkShares(t, seed, subscriptions, topics, got)
			if again := assignShares(subscriptions, topics, got); round > 0 && !reflect.DeepEqual(again, got) {
				t.Fatalf("seed %d: %v, then %v", seed, got, again)
			}
			before = got
			if ids := slices.Sorted(maps.Keys(subscriptions)); round == 0 && len(ids) > 1 {
				delete(subscriptions, ids[r.IntN(len(ids))])
			}
		}
	}
}

func checkShares(t *testing.T, seed uint64, subscriptions map[string][]string, topics map[string][]topicIDPartition, got map[string]assignment) {
	t.Helper()
	for name, partitions := range topics {
		readers := 0
		for _, names := range subscriptions {
			if slices.Contains(names, name) {
				readers++
			}
		}
		for _, p := range partitions {
			sharers := 0
			for id, a := range got {
				if !a.has(p.topic, p.partition) {
					continue
				}
				if sharers++; !slices.Contains(subscriptions[id], name) {
					t.Fatalf("seed %d: %s has %v and does not read it", seed, id, p)
				}
			}
			if readers > 0 && sharers == 0 {
				t.Fatalf("seed %d: nobody has %v: %v of %v", seed, p, got, subscriptions)
			}
			if sharers > (readers+len(partitions)-1)/max(len(partitions), 1) {
				t.Fatalf("seed %d: %d have %v", seed, sharers, p)
			}
		}
	}
}

// TestAnEmptyShareGroupDoesNotExpire: it has no offsets here, and what it has read is known by
// it alone; a group made anew would have its partitions begin anew.
func TestAnEmptyShareGroupDoesNotExpire(t *testing.T) {
	w := newShareWorld(t)
	w.topic("t", 1)
	w.heartbeat("a", 0, "t")
	w.coordinate(nil)
	w.heartbeat("a", -1)
	w.now += 1 << 40
	w.carry(w.g.ExpireOffsets(w.now))
	w.restart()
	w.heartbeat("b", 0, "t")
	if asked := w.coordinate(nil); len(asked) > 0 {
		t.Fatalf("what was known of partitions is forgotten: %v", asked)
	}
}

// TestAShareGroupThatIsJoinedWhileItIsDeletedKnowsWhatIsStored: the share coordinator may be
// asked to begin partitions anew before it forgets them. Nobody is given partitions whose
// state it does not have.
func TestAShareGroupThatIsJoinedWhileItIsDeletedKnowsWhatIsStored(t *testing.T) {
	for name, initializedFirst := range map[string]bool{"initialized, then deleted": true, "deleted, then initialized": false} {
		w := newShareWorld(t)
		w.topic("t", 1)
		w.heartbeat("a", 0, "t")
		w.coordinate(nil)
		w.heartbeat("a", -1)
		w.ticket++
		w.carry(w.g.Delete(w.now, w.ticket))
		w.heartbeat("b", 0, "t")
		if len(w.persist) != 2 || w.persist[0].Delete == nil || w.persist[1].Initialize == nil {
			t.Fatalf("%s: asked for %+v", name, w.persist)
		}
		if initializedFirst {
			slices.Reverse(w.persist)
		}
		w.coordinate(nil)
		w.now += 1000
		w.heartbeat("b", 0, "t")
		if asked := w.coordinate(nil); initializedFirst && len(asked) == 0 {
			t.Errorf("%s: the state is gone, and not asked for", name)
		}
		w.now += 1000
		if p := w.heartbeat("b", 0, "t"); len(p.Assignment.TopicPartitions) != 1 {
			t.Errorf("%s: assigned %v", name, tell(p))
		}
	}
}
