package group

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// client is a consumer as the protocol has it, driven by chance.
type client struct {
	name       string
	instance   *string
	id         string
	generation int32
	leads      bool
	members    []string
	parked     Ticket
	topic      string
}

// TestRandomLivesKeepTheInvariants lets members come, go, die, change their minds and
// restart while appends fail and the coordinator crashes, and checks after each step
// what the package promises.
func TestRandomLivesKeepTheInvariants(t *testing.T) {
	for seed := range uint64(200) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { newWorld(t, seed).live(400) })
	}
}

type world struct {
	t       *testing.T
	rnd     *rand.Rand
	now     int64
	limits  Limits
	g       *Group
	queue   []Append
	stored  []Append
	last    Ticket
	fresh   int
	clients []*client
	waiting map[Ticket]*client

	highest      int32                        // generation ever answered
	leaders      map[int32]string             // generation → who was told that it leads
	sent         map[int32]map[string]string  // generation → member → what a leader sent for it
	acknowledged map[int32]int64              // partition → last acknowledged offset
	unknown      map[int32]map[int64]struct{} // partition → offsets of failed commits since
	commits      map[Ticket]commit
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, rnd: rand.New(rand.NewPCG(seed, 1)), now: 1_000_000,
		limits:  Limits{InitialRebalanceDelay: 500, MaxSize: 4, OffsetMetadataMax: 10, OffsetsRetention: 1 << 40},
		waiting: map[Ticket]*client{}, leaders: map[int32]string{}, sent: map[int32]map[string]string{},
		acknowledged: map[int32]int64{}, unknown: map[int32]map[int64]struct{}{}, commits: map[Ticket]commit{},
	}
	w.g = New("g", &w.limits, w.now)
	for i := range 6 {
		c := &client{name: fmt.Sprintf("c%d", i), topic: "t"}
		if i%3 == 0 {
			c.instance = &c.name
		}
		w.clients = append(w.clients, c)
	}
	return w
}

func (w *world) live(steps int) {
	for range steps {
		c := w.clients[w.rnd.IntN(len(w.clients))]
		switch w.rnd.IntN(20) {
		case 0, 1, 2, 3, 4:
			w.join(c)
		case 5, 6, 7, 8:
			w.sync(c)
		case 9:
			if c.id != "" {
				r := kmsg.NewPtrLeaveGroupRequest()
				r.Version = 5
				r.Members = []kmsg.LeaveGroupRequestMember{{MemberID: c.id, InstanceID: c.instance}}
				_, out := w.g.Leave(w.now, r)
				w.take(out)
			}
		case 10: // restart: a new process that knows nothing
			c.id, c.leads = "", false
		case 11:
			c.topic = "u" + c.topic[:1]
		case 12:
			r := kmsg.NewPtrHeartbeatRequest()
			r.MemberID, r.InstanceID, r.Generation = c.id, c.instance, c.generation
			w.g.Heartbeat(w.now, r)
		case 13, 14:
			w.commit(c)
		case 15:
			w.now += w.rnd.Int64N(4000)
			w.take(w.g.Expire(w.now))
		case 16:
			if w.rnd.IntN(4) == 0 {
				w.crash()
			}
		default:
			w.decide()
		}
		w.check()
	}
}

func (w *world) ticket(c *client) Ticket {
	w.last++
	w.waiting[w.last] = c
	return w.last
}

func (w *world) join(c *client) {
	r := kmsg.NewPtrJoinGroupRequest()
	r.Version = int16(w.rnd.IntN(10))
	if c.instance != nil {
		r.Version = max(r.Version, 5)
	}
	r.MemberID, r.InstanceID, r.ProtocolType = c.id, c.instance, "consumer"
	r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = 6000, 3000
	r.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: subscriptionBytes(c.topic)}}
	w.fresh++
	c.parked = w.ticket(c)
	w.take(w.g.Join(w.now, c.parked, Client{ID: c.name}, fmt.Sprint(w.fresh), r))
}

func (w *world) sync(c *client) {
	r := kmsg.NewPtrSyncGroupRequest()
	r.Version = 3
	r.MemberID, r.InstanceID, r.Generation = c.id, c.instance, c.generation
	if c.leads {
		sent := w.sent[c.generation]
		if sent == nil {
			sent = map[string]string{}
			w.sent[c.generation] = sent
		}
		for _, id := range c.members {
			if sent[id] == "" { // a leader that asks again says the same
				sent[id] = fmt.Sprintf("%d:%s", c.generation, id)
			}
			r.GroupAssignment = append(r.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: id, MemberAssignment: []byte(sent[id])})
		}
	}
	w.take(w.g.Sync(w.now, w.ticket(c), r))
}

func (w *world) commit(c *client) {
	r := kmsg.NewPtrOffsetCommitRequest()
	r.Version = 9
	r.MemberID, r.InstanceID, r.Generation = c.id, c.instance, c.generation
	if w.g.State() == Empty {
		r.MemberID, r.InstanceID, r.Generation = "", nil, -1
	}
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = int32(w.rnd.IntN(3)), w.rnd.Int64N(1000)
	r.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}}}
	ticket := w.ticket(c)
	w.commits[ticket] = commit{topicPartition{"t", p.Partition}, Offset{Offset: p.Offset}}
	w.take(w.g.Commit(w.now, ticket, r))
}

// decide settles the fate of the oldest append. A failed one may be in the log all the
// same: the answer was lost.
func (w *world) decide() {
	if len(w.queue) == 0 {
		return
	}
	a := w.queue[0]
	w.queue = w.queue[1:]
	code := int16(0)
	if w.rnd.IntN(8) == 0 {
		code = coordinatorNotAvailable
	}
	if code == 0 || w.rnd.IntN(2) == 0 {
		w.stored = append(w.stored, a)
	}
	w.take(w.g.Appended(w.now, a, code))
}

// crash forgets everything but the log. Appends on their way may have made it there.
func (w *world) crash() {
	for _, a := range w.queue[:w.rnd.IntN(len(w.queue)+1)] {
		w.stored = append(w.stored, a)
		if after, ok := a.after.(afterCommit); ok {
			w.lost(after.commits[0])
		}
	}
	w.queue = nil
	w.waiting = map[Ticket]*client{}
	p := NewReplay(&w.limits)
	for i, a := range w.stored {
		for _, r := range a.Records {
			if err := p.Record(int64(i), -1, r.Key, r.Value); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	before := w.g
	if w.g = p.Groups(w.now)["g"]; w.g == nil {
		w.g = New("g", &w.limits, w.now)
	}
	if w.g.generation > before.generation {
		w.t.Fatalf("generation %d is read back where %d was reached", w.g.generation, before.generation)
	}
	// Generations of rebalances that were never stored are given out again.
	w.highest = w.g.generation
	for generation := range w.leaders {
		if generation > w.highest {
			delete(w.leaders, generation)
			delete(w.sent, generation)
		}
	}
	w.take(w.g.Loaded(w.now))
}

func (w *world) lost(c commit) {
	if w.unknown[c.tp.partition] == nil {
		w.unknown[c.tp.partition] = map[int64]struct{}{}
	}
	w.unknown[c.tp.partition][c.offset.Offset] = struct{}{}
}

func (w *world) take(out Output) {
	w.queue = append(w.queue, out.Appends...)
	for _, r := range out.Replies {
		c := w.waiting[r.Ticket]
		if c == nil {
			w.t.Fatalf("ticket %d answered twice, or never given", r.Ticket)
		}
		delete(w.waiting, r.Ticket)
		switch response := r.Response.(type) {
		case *kmsg.JoinGroupResponse:
			w.joined(c, r.Ticket, response)
		case *kmsg.SyncGroupResponse:
			if response.ErrorCode != 0 {
				continue
			}
			if got := string(response.MemberAssignment); got != "" {
				var generation int32
				var id string
				fmt.Sscanf(got, "%d:%s", &generation, &id)
				if w.sent[generation][id] != got {
					w.t.Fatalf("%s got %q, which no leader sent", c.name, got)
				}
			}
		case *kmsg.OffsetCommitResponse:
			made := w.commits[r.Ticket]
			switch response.Topics[0].Partitions[0].ErrorCode {
			case 0:
				w.acknowledged[made.tp.partition] = made.offset.Offset
				delete(w.unknown, made.tp.partition)
			case coordinatorNotAvailable:
				w.lost(made)
			}
		}
	}
}

func (w *world) joined(c *client, t Ticket, r *kmsg.JoinGroupResponse) {
	switch r.ErrorCode {
	case 0:
	case memberIDRequired:
		c.id = r.MemberID
		return
	case unknownMemberID, fencedInstanceID:
		if c.parked == t {
			c.id, c.leads = "", false
		}
		return
	default:
		return
	}
	if r.Generation < w.highest {
		w.t.Fatalf("generation %d after %d", r.Generation, w.highest)
	}
	w.highest = r.Generation
	if c.parked != t {
		return // the process that asked has gone
	}
	c.id, c.generation = r.MemberID, r.Generation
	c.leads = r.LeaderID == r.MemberID
	c.members = nil
	for _, m := range r.Members {
		c.members = append(c.members, m.MemberID)
	}
	if c.leads {
		if other := w.leaders[r.Generation]; other != "" && other != c.name {
			w.t.Fatalf("%s and %s both lead generation %d", other, c.name, r.Generation)
		}
		w.leaders[r.Generation] = c.name
	}
}

// check verifies the group from the inside.
func (w *world) check() {
	g := w.g
	joined := 0
	for id, m := range g.members {
		if m.id != id || (m.instance != nil && g.static[*m.instance] != id) {
			w.t.Fatalf("member %s is listed as %s", m.id, id)
		}
		if m.awaitJoin != nil {
			joined++
		}
		if m.deadline != 0 && (m.scheduled == 0 || m.scheduled > m.deadline) {
			w.t.Fatalf("member %s: deadline %d, scheduled %d", id, m.deadline, m.scheduled)
		}
		if m.deadline == 0 && !m.satisfied() {
			w.t.Fatalf("member %s has no deadline and does not wait", id)
		}
	}
	switch {
	case joined != g.joined:
		w.t.Fatalf("%d members have joined, counted %d", joined, g.joined)
	case len(g.members) > 0 && g.members[g.leader] == nil:
		w.t.Fatalf("leader %q is not a member", g.leader)
	case (g.state == Empty) != (len(g.members) == 0) && g.state != PreparingRebalance:
		w.t.Fatalf("%s with %d members", g.state, len(g.members))
	case g.state == PreparingRebalance && g.joinAt == 0:
		w.t.Fatal("a rebalance is prepared without end")
	case g.state == CompletingRebalance && g.syncAt == 0 && len(g.unsynced) > 0:
		w.t.Fatal("syncs are awaited without end")
	case g.generation < w.highest:
		w.t.Fatalf("generation %d after %d", g.generation, w.highest)
	}
	for partition, want := range w.acknowledged {
		got, ok := g.offsets["t"][partition]
		if _, lost := w.unknown[partition][got.Offset]; !ok || got.Offset != want && !lost {
			w.t.Fatalf("partition %d: offset %d (%v), acknowledged was %d", partition, got.Offset, ok, want)
		}
	}
}
