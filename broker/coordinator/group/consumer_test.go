package group

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/segment/batch"
)

// consumer is a member of the consumer protocol as clients are, driven by chance.
type consumer struct {
	name, id string
	instance *string
	topics   []string
	regex    *string
	assignor *string
	epoch    int32
	alive    bool
	joined   bool       // has had an answer since it joined
	owned    assignment // what it reads from; Invariant: nobody else who is alive does
	revoke   assignment // what it was told to own; nil: as owned
	asked    Ticket     // of the heartbeat it waits for, 0: none
	sent     int64      // when it asked, ms
	heard    int64      // when it last asked and had an answer, ms
	since    int64      // when it first asked of what it has had no answer to, ms
	told     int64      // since when it may have been told to revoke, ms; 0: it has, or was not
}

// consumerWorld is a group with consumers, a log that fails, and a coordinator that
// crashes.
type consumerWorld struct {
	t        *testing.T
	rnd      *rand.Rand
	now      int64
	limits   Limits
	metadata *testMetadata
	g        *Group
	queue    []Append // not decided
	matches  []*Match // not carried out
	log      []batch.Record
	last     Ticket
	fresh    int
	clients  []*consumer
	epoch    int32 // highest of the group seen since the last crash
}

func newConsumerWorld(t *testing.T, seed uint64) *consumerWorld {
	w := &consumerWorld{
		t: t, rnd: rand.New(rand.NewPCG(seed, 7)), now: 1_000_000,
		metadata: metadataOf(map[string]int32{"a": 3, "b": 4, "ab": 2}),
	}
	settings := DefaultSettings
	settings.MaxSize = 5
	settings.RegexRefresh = 20_000
	w.limits = Limits{
		OffsetMetadataMax: 10, OffsetsRetention: 1 << 40,
		Metadata: func() Metadata { return w.metadata },
		Consumer: func(string) Settings { return settings },
	}
	w.g = New("g", &w.limits, w.now)
	for i := range 6 {
		c := &consumer{name: fmt.Sprintf("c%d", i)}
		if i%3 == 0 {
			c.instance = &c.name
		}
		w.clients = append(w.clients, c)
	}
	return w
}

// TestRandomConsumersNeverShareAPartition lets members join, leave, crash and change
// their minds, topics come, grow and go, appends fail and the coordinator crash between
// any two records, and checks what KIP-848 promises: no partition is read by two at one
// time, epochs never go back, and once there is peace every partition is read.
func TestRandomConsumersNeverShareAPartition(t *testing.T) {
	for seed := range uint64(150) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newConsumerWorld(t, seed)
			for range 400 {
				w.step()
				w.check()
			}
			w.settle()
		})
	}
}

func (w *consumerWorld) step() {
	c := w.clients[w.rnd.IntN(len(w.clients))]
	switch w.rnd.IntN(24) {
	case 0:
		w.start(c)
	case 1:
		w.leave(c)
	case 2: // its process dies
		*c = consumer{name: c.name, instance: c.instance}
	case 3:
		if c.alive {
			w.subscribe(c)
		}
	case 4:
		name := []string{"a", "b", "ab", "new"}[w.rnd.IntN(4)]
		w.metadata = w.metadata.set(name, w.metadata.topics[name].Partitions+w.rnd.Int32N(2))
	case 5:
		if w.rnd.IntN(6) == 0 {
			w.metadata = w.metadata.set("ab", 0)
		}
	case 6:
		w.match()
	case 7:
		w.pass(w.rnd.Int64N(6000))
	case 8:
		if w.rnd.IntN(5) == 0 {
			w.crash()
		}
	case 9:
		if w.rnd.IntN(4) == 0 { // gives up waiting and asks again: the answer is lost
			c.asked = 0
		}
	case 10, 11, 12, 13, 14:
		w.decide(w.rnd.IntN(10) == 0)
	default:
		w.heartbeat(c)
	}
}

// rebalanceLimit is the clients' max.poll.interval.ms.
const rebalanceLimit = 10_000

// pass lets time go on. Clients who have had no answer for a session, or have not
// revoked in time, give up what they have: that is what the timeouts mean to them.
func (w *consumerWorld) pass(ms int64) {
	w.now += ms
	for _, c := range w.clients {
		if c.alive && (w.now-c.heard >= 40_000 || w.late(c.told) || w.late(c.since)) {
			c.restart()
		}
	}
	for at := w.g.Next(); at != 0 && at <= w.now; at = w.g.Next() {
		w.take(w.g.Expire(w.now))
	}
}

// late reports whether a rebalance may have run out that began at since, 0: none.
func (w *consumerWorld) late(since int64) bool { return since != 0 && w.now-since >= rebalanceLimit }

// restart begins anew under the same member id, with nothing.
func (c *consumer) restart() {
	c.epoch, c.joined, c.owned, c.revoke, c.asked, c.told, c.since = 0, false, assignment{}, nil, 0, 0, 0
}

func (w *consumerWorld) start(c *consumer) {
	if c.alive {
		return
	}
	w.fresh++
	*c = consumer{name: c.name, instance: c.instance, id: fmt.Sprintf("%s-%d", c.name, w.fresh), alive: true, heard: w.now, owned: assignment{}}
	w.subscribe(c)
}

func (w *consumerWorld) subscribe(c *consumer) {
	c.topics = [][]string{{"a"}, {"a", "b"}, {"b", "new"}, {"a", "b", "ab"}, {}}[w.rnd.IntN(5)]
	c.regex = sptr("")
	if w.rnd.IntN(4) == 0 {
		c.regex = sptr([]string{"a.*", "(a|n).*", "b"}[w.rnd.IntN(3)])
	}
	c.assignor = nil
	if w.rnd.IntN(4) == 0 {
		c.assignor = sptr([]string{"uniform", "range"}[w.rnd.IntN(2)])
	}
}

func (w *consumerWorld) heartbeat(c *consumer) {
	if !c.alive || c.asked != 0 {
		return
	}
	if c.revoke != nil && w.rnd.IntN(3) > 0 { // its callbacks have run
		c.owned, c.revoke, c.told = c.revoke, nil, 0
	}
	if c.since == 0 {
		c.since = w.now
	}
	r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	r.Version, r.Group, r.MemberID, r.MemberEpoch = 1, "g", c.id, c.epoch
	r.InstanceID, r.RebalanceTimeoutMillis = c.instance, rebalanceLimit
	r.SubscribedTopicNames, r.SubscribedTopicRegex, r.ServerAssignor = c.topics, c.regex, c.assignor
	r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	for id, partitions := range c.owned {
		r.Topics = append(r.Topics, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: id, Partitions: partitions})
	}
	w.last++
	c.asked, c.sent = w.last, w.now
	if refused := ValidateConsumerHeartbeat(r, []string{"uniform", "range"}); refused != nil {
		w.t.Fatalf("%s: %s", c.name, refused.Message)
	}
	w.take(w.g.ConsumerHeartbeat(w.now, c.asked, Client{ID: c.name, Host: "/h"}, "unused", r))
}

func (w *consumerWorld) leave(c *consumer) {
	if !c.alive || !c.joined {
		return
	}
	r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	r.Version, r.Group, r.MemberID, r.MemberEpoch, r.InstanceID = 1, "g", c.id, epochLeave, c.instance
	if c.instance != nil && w.rnd.IntN(2) == 0 {
		r.MemberEpoch = epochStaticLeave
	}
	*c = consumer{name: c.name, instance: c.instance}
	w.take(w.g.ConsumerHeartbeat(w.now, 0, Client{}, "", r))
}

// decide settles the fate of the oldest append. Where it fails so do those after it,
// and the first of them may be in the log all the same.
func (w *consumerWorld) decide(fail bool) {
	if len(w.queue) == 0 {
		return
	}
	if !fail {
		a := w.queue[0]
		w.queue = w.queue[1:]
		w.log = append(w.log, a.Records...)
		w.take(w.g.Appended(w.now, a, 0))
		return
	}
	failed := w.queue
	w.queue = nil
	for _, a := range failed[:w.rnd.IntN(len(failed)+1)] {
		w.log = append(w.log, a.Records...)
	}
	for _, a := range failed {
		w.take(w.g.Appended(w.now, a, coordinatorNotAvailable))
	}
}

// crash forgets all but a part of the log that ends between any two records of what is
// on its way.
func (w *consumerWorld) crash() {
	for _, a := range w.queue {
		n := w.rnd.IntN(len(a.Records) + 1)
		w.log = append(w.log, a.Records[:n]...)
		if n < len(a.Records) {
			break
		}
	}
	w.queue, w.matches = nil, nil
	w.g = w.replay(w.log)
	w.epoch = 0
	for _, c := range w.clients {
		c.asked = 0
	}
}

func (w *consumerWorld) replay(log []batch.Record) *Group {
	p := NewReplay(&w.limits)
	for i, r := range log {
		if err := p.Record(int64(i), -1, r.Key, r.Value); err != nil {
			w.t.Fatal(err)
		}
	}
	g := p.Groups(w.now)["g"]
	if g == nil {
		g = New("g", &w.limits, w.now)
	}
	return g
}

// match ends the matching that is under way longest.
func (w *consumerWorld) match() {
	if len(w.matches) == 0 {
		return
	}
	m := w.matches[0]
	w.matches = w.matches[1:]
	if err := m.Find(atOnce); err != nil {
		w.t.Fatal(err)
	}
	w.take(w.g.Matched(w.now, m))
}

// atOnce is a turn that everybody gets.
func atOnce(part func()) error {
	part()
	return nil
}

func (w *consumerWorld) take(out Output) {
	w.queue = append(w.queue, out.Appends...)
	w.matches = append(w.matches, out.Matches...)
	for _, r := range out.Replies {
		for _, c := range w.clients {
			if c.asked == r.Ticket {
				c.asked = 0
				w.answered(c, r.Response.(*kmsg.ConsumerGroupHeartbeatResponse))
			}
		}
	}
}

func (w *consumerWorld) answered(c *consumer, r *kmsg.ConsumerGroupHeartbeatResponse) {
	c.heard = c.sent
	switch r.ErrorCode {
	case 0:
	case coordinatorNotAvailable, groupMaxSizeReached, unreleasedInstanceID:
		if r.ErrorCode != coordinatorNotAvailable { // it cannot join, and says so
			*c = consumer{name: c.name, instance: c.instance}
		}
		return
	case unknownMemberID, fencedMemberEpoch, groupIDNotFound:
		c.restart()
		return
	case fencedInstanceID:
		*c = consumer{name: c.name, instance: c.instance}
		return
	default:
		w.t.Fatalf("%s is answered code %d", c.name, r.ErrorCode)
	}
	if c.joined && r.MemberEpoch < c.epoch {
		w.t.Fatalf("%s is in epoch %d after %d", c.name, r.MemberEpoch, c.epoch)
	}
	c.epoch, c.joined = r.MemberEpoch, true
	since := c.since
	c.since = 0
	if r.Assignment == nil {
		return
	}
	told := assignment{}
	for _, t := range r.Assignment.Topics {
		told[t.TopicID] = slices.Sorted(slices.Values(t.Partitions))
	}
	// What is new may be read at once; what is missing once its callback has run.
	both := assignment{}
	for _, part := range []assignment{told, c.owned} {
		for id, partitions := range part {
			both[id] = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(both[id]), partitions...))))
		}
	}
	c.owned, c.revoke = both, told
	if c.told == 0 && !both.equal(told) {
		c.told = since
	}
}

func (w *consumerWorld) check() {
	readers := map[topicIDPartition]string{}
	for _, c := range w.clients {
		for id, partitions := range c.owned {
			for _, partition := range partitions {
				p := topicIDPartition{id, partition}
				if other := readers[p]; c.alive && other != "" {
					w.t.Fatalf("partition %s-%d is read by %s and %s", id[:2], partition, other, c.name)
				} else if c.alive {
					readers[p] = c.name
				}
			}
		}
	}
	if w.g.consumer == nil {
		return
	}
	s := w.g.consumer.state
	if want := ownersOf(s); !mapsEqual(want, w.g.consumer.owners) {
		w.t.Fatalf("owners are %v, the members say %v", w.g.consumer.owners, want)
	}
	if s.targetEpoch > s.epoch {
		w.t.Fatalf("target of epoch %d in a group of epoch %d", s.targetEpoch, s.epoch)
	}
	for id, m := range s.members {
		if m.epoch > s.targetEpoch {
			w.t.Fatalf("%s is in epoch %d, the target in %d", id, m.epoch, s.targetEpoch)
		}
		if _, ok := w.g.consumer.timers.due[timerKey{sessionTimer, id}]; !ok {
			w.t.Fatalf("%s has no session", id)
		}
	}
}

func mapsEqual(a, b owners) bool {
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return len(a) == len(b)
}

// settle lets everybody be fine for some time, and checks that all partitions are read
// and that the log says the same as the group.
func (w *consumerWorld) settle() {
	for range 60 {
		w.pass(2000)
		for _, c := range w.clients[:3] { // whoever was refused tries again
			if w.start(c); !slices.Equal(c.topics, []string{"a", "b"}) || *c.regex != "" {
				c.topics, c.regex = []string{"a", "b"}, sptr("")
			}
		}
		for _, c := range w.clients {
			c.asked = 0
			if !c.alive {
				continue
			}
			w.heartbeat(c)
			for len(w.queue)+len(w.matches) > 0 {
				w.decide(false)
				w.match()
			}
		}
		w.check()
	}
	s := w.g.consumer.state
	if s.state() != "Stable" {
		w.t.Fatalf("the group is %s", s.state())
	}
	read := map[topicIDPartition]int{}
	for _, c := range w.clients {
		for id, partitions := range c.owned {
			for _, partition := range partitions {
				read[topicIDPartition{id, partition}]++
			}
		}
	}
	for _, name := range []string{"a", "b"} {
		for partition := range w.metadata.topics[name].Partitions {
			if n := read[topicIDPartition{idOf(name), partition}]; n != 1 {
				w.t.Errorf("partition %s-%d is read by %d", name, partition, n)
			}
		}
	}
	again := w.replay(w.log)
	if again.consumer == nil {
		w.t.Fatal("the log has no group")
	}
	if diff := changes(s, again.consumer.state); len(diff) > 0 {
		w.t.Errorf("the log says otherwise under %v", diff)
	}
}

// TestAssignorsDealEveryPartitionOnce checks both assignors with random subscriptions,
// and that uniform is balanced and moves little.
func TestAssignorsDealEveryPartitionOnce(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		partitions := map[TopicID]int32{}
		var topics []TopicID
		for i := range 1 + rnd.IntN(4) {
			id := TopicID{byte(i + 1)}
			topics = append(topics, id)
			partitions[id] = rnd.Int32N(7)
		}
		same := rnd.IntN(2) == 0
		members := func(n int) (all []subscriber) {
			for i := range n {
				s := subscriber{id: fmt.Sprintf("m%02d", i), topics: topics}
				if !same {
					s.topics = topics[:1+i%len(topics)]
				}
				all = append(all, s)
			}
			return all
		}
		for name, assign := range assignors {
			before := assign(members(1+rnd.IntN(5)), partitions, nil)
			dealt(t, name, members(len(before)), partitions, before)
			grown := members(1 + rnd.IntN(6))
			after := assign(grown, partitions, before)
			dealt(t, name, grown, partitions, after)
			if again := assign(grown, partitions, after); name == "uniform" && !equalDeals(after, again) {
				t.Fatalf("uniform deals %v after %v", again, after)
			}
			if name == "uniform" && same {
				balanced(t, before, after, len(grown))
			}
		}
	}
}

func equalDeals(a, b map[string]assignment) bool {
	for id := range a {
		if !a[id].equal(b[id]) {
			return false
		}
	}
	return len(a) == len(b)
}

func dealt(t *testing.T, name string, members []subscriber, partitions map[TopicID]int32, all map[string]assignment) {
	t.Helper()
	owner := map[topicIDPartition]string{}
	for _, m := range members {
		for id, mine := range all[m.id] {
			for _, partition := range mine {
				p := topicIDPartition{id, partition}
				if owner[p] != "" || !slices.Contains(m.topics, id) || partition >= partitions[id] {
					t.Fatalf("%s gives %v to %s, subscribed to %v, and to %q", name, p, m.id, m.topics, owner[p])
				}
				owner[p] = m.id
			}
		}
	}
	for id, n := range partitions {
		read := slices.ContainsFunc(members, func(m subscriber) bool { return slices.Contains(m.topics, id) })
		for partition := range n {
			if read && owner[topicIDPartition{id, partition}] == "" {
				t.Fatalf("%s leaves %v-%d out: %v", name, id, partition, all)
			}
		}
	}
}

// balanced: no two differ by more than one, and nobody lost what it could have kept.
func balanced(t *testing.T, before, after map[string]assignment, members int) {
	t.Helper()
	total, least, most := 0, 1<<30, 0
	count := func(a assignment) (n int) {
		for _, partitions := range a {
			n += len(partitions)
		}
		return n
	}
	for _, a := range after {
		n := count(a)
		total, least, most = total+n, min(least, n), max(most, n)
	}
	if most-least > 1 {
		t.Fatalf("between %d and %d partitions: %v", least, most, after)
	}
	for id, a := range after {
		kept := 0
		for topic, partitions := range a {
			for _, partition := range partitions {
				if before[id].has(topic, partition) {
					kept++
				}
			}
		}
		if had := count(before[id]); kept < min(had, total/members) {
			t.Fatalf("%s kept %d of %d: %v after %v", id, kept, had, after, before)
		}
	}
}
