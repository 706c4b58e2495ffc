package group

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// streamsLife is a streams group under test whose appends are committed at once.
type streamsLife struct {
	t        *testing.T
	now      int64
	g        *Group
	limits   Limits
	setting  StreamsSettings
	metadata *testMetadata
	topology *kmsg.StreamsGroupHeartbeatRequestTopology
	answers  map[Ticket]Reply
	last     Ticket
	stored   []Append
	fail     int16    // appends fail with this code
	hold     bool     // appends wait in held
	held     []Append // in order; some may be written already, none is committed
}

// aTopology is one that groups by a new key and counts.
func aTopology() *kmsg.StreamsGroupHeartbeatRequestTopology {
	return &kmsg.StreamsGroupHeartbeatRequestTopology{Epoch: 0, Subtopologies: []kmsg.StreamsGroupHeartbeatRequestTopologySubtopology{
		{SubtopologyID: "0", SourceTopics: []string{"in"}, RepartitionSinkTopics: []string{"re"}},
		{
			SubtopologyID: "1", RepartitionSourceTopics: []kmsg.TopicInfo{{Topic: "re"}},
			StateChangelogTopics: []kmsg.TopicInfo{{Topic: "log", Configs: []kmsg.TopicInfoConfig{{Key: "cleanup.policy", Value: "compact"}}}},
		},
	}}
}

func newStreamsLife(t *testing.T) *streamsLife {
	l := &streamsLife{t: t, now: 1_000_000, setting: DefaultStreamsSettings, answers: map[Ticket]Reply{}, topology: aTopology()}
	l.metadata = metadataOf(map[string]int32{"in": 4, "re": 4, "log": 4})
	l.setting.AssignmentInterval, l.setting.InitialRebalanceDelay = 0, 0
	l.limits = Limits{
		OffsetMetadataMax: 100, OffsetsRetention: 1 << 40,
		Metadata: func() Metadata { return l.metadata }, Streams: func(string) StreamsSettings { return l.setting },
	}
	l.g = New("g", &l.limits, l.now)
	return l
}

func (l *streamsLife) take(out Output) {
	for len(out.Appends) > 0 || len(out.Replies) > 0 {
		for _, r := range out.Replies {
			l.answers[r.Ticket] = r
		}
		var next Output
		for _, a := range out.Appends {
			if l.hold {
				l.held = append(l.held, a)
				continue
			}
			more := l.decide(a)
			next.Replies, next.Appends = append(next.Replies, more.Replies...), append(next.Appends, more.Appends...)
		}
		out = next
	}
}

// decide lets an append succeed, or fail.
func (l *streamsLife) decide(a Append) Output {
	if l.fail == 0 {
		l.stored = append(l.stored, a)
	}
	return l.g.Appended(l.now, a, l.fail)
}

// release decides all that is held.
func (l *streamsLife) release() {
	l.hold = false
	for len(l.held) > 0 {
		a := l.held[0]
		l.held = l.held[1:]
		l.take(l.decide(a))
	}
}

// crash loses all that is held, but for the first n, and reads the group back.
func (l *streamsLife) crash(n int) {
	l.stored = append(l.stored, l.held[:n]...)
	l.hold, l.held = false, nil
	l.restart()
}

// at lets time go on.
func (l *streamsLife) at(ms int64) {
	l.now += ms
	for at := l.g.Next(); at != 0 && at <= l.now; at = l.g.Next() {
		l.take(l.g.Expire(l.now))
	}
}

// restart reads the group back from what is stored.
func (l *streamsLife) restart() {
	p := NewReplay(&l.limits)
	for i, a := range l.stored {
		for _, r := range a.Records {
			if err := p.Record(int64(i), -1, r.Key, r.Value); err != nil {
				l.t.Fatal(err)
			}
		}
	}
	if l.g = p.Groups(l.now)["g"]; l.g == nil {
		l.g = New("g", &l.limits, l.now)
	}
}

func taskList(t tasks) []kmsg.TaskIDs {
	if t == nil {
		return []kmsg.TaskIDs{}
	}
	return taskIDs(t)
}

// beat sends a heartbeat of a member of a process of its own that owns tasks; nil: it does not say.
func (l *streamsLife) beat(id string, epoch int32, owned *taskSet, change ...func(*kmsg.StreamsGroupHeartbeatRequest)) *kmsg.StreamsGroupHeartbeatResponse {
	l.t.Helper()
	return l.reply(id, epoch, owned, change...).Response.(*kmsg.StreamsGroupHeartbeatResponse)
}

func (l *streamsLife) reply(id string, epoch int32, owned *taskSet, change ...func(*kmsg.StreamsGroupHeartbeatRequest)) Reply {
	l.t.Helper()
	reply, ok := l.answers[l.send(id, epoch, owned, change...)]
	if !ok {
		l.t.Fatalf("heartbeat of %s is not answered", id)
	}
	return reply
}

// send sends a heartbeat, which may be answered later.
func (l *streamsLife) send(id string, epoch int32, owned *taskSet, change ...func(*kmsg.StreamsGroupHeartbeatRequest)) Ticket {
	r := kmsg.NewPtrStreamsGroupHeartbeatRequest()
	process := "p" + id
	r.Group, r.MemberID, r.MemberEpoch, r.RebalanceTimeoutMillis, r.ProcessID = "g", id, epoch, -1, &process
	if epoch == 0 {
		r.RebalanceTimeoutMillis, r.Topology = 5000, l.topology
		owned = &taskSet{}
	}
	if owned != nil {
		r.ActiveTasks, r.StandbyTasks, r.WarmupTasks = taskList(owned.active), taskList(owned.standby), []kmsg.TaskIDs{}
	}
	for _, f := range change {
		f(r)
	}
	l.last++
	ticket := l.last
	if refused := ValidateStreamsHeartbeat(r); refused != nil {
		l.answers[ticket] = Reply{Response: StreamsHeartbeatError(0, refused)}
	} else {
		l.take(l.g.StreamsHeartbeat(l.now, ticket, Client{ID: "c", Host: "/h"}, r))
	}
	return ticket
}

// given is the tasks of an answer; nil: it tells none.
func given(r *kmsg.StreamsGroupHeartbeatResponse) *taskSet {
	if r.ActiveTasks == nil {
		return nil
	}
	return &taskSet{active: tasksFrom(r.ActiveTasks), standby: tasksFrom(r.StandbyTasks), warmup: tasks{}}
}

func statuses(r *kmsg.StreamsGroupHeartbeatResponse) (codes []int8) {
	for _, s := range r.Status {
		codes = append(codes, s.StatusCode)
	}
	return codes
}

// TestTasksMoveOnceTheyAreRevoked is the reconciliation of KIP-1071 step by step.
func TestTasksMoveOnceTheyAreRevoked(t *testing.T) {
	l := newStreamsLife(t)
	a := l.beat("a", 0, nil)
	if a.ErrorCode != 0 || a.MemberEpoch != 2 || len(given(a).active.all()) != 8 {
		t.Fatalf("a alone: %+v", a)
	}
	b := l.beat("b", 0, nil)
	if b.MemberEpoch != 3 || !given(b).empty() {
		t.Fatalf("b before a has revoked: %+v", b)
	}
	told := l.beat("a", 2, given(a))
	kept := given(told)
	if told.MemberEpoch != 2 || kept == nil || len(kept.active.all()) != 4 {
		t.Fatalf("a is told to revoke: %+v", told)
	}
	if b = l.beat("b", 3, nil); given(b) != nil {
		t.Fatalf("b before a has revoked: %+v", b)
	}
	if a = l.beat("a", 2, kept); a.MemberEpoch != 3 {
		t.Fatalf("a has revoked: %+v", a)
	}
	if b = l.beat("b", 3, &taskSet{}); given(b) == nil || len(given(b).active.all()) != 4 || given(b).active.meets(kept.active) {
		t.Fatalf("b after that: %+v", b)
	}
	if got := l.g.Listed(); got.GroupState != "Stable" || got.GroupType != "streams" || got.ProtocolType != "streams" {
		t.Fatalf("listed as %+v", got)
	}
	before := *given(b)
	l.restart()
	if got := l.beat("b", 3, &before); got.ErrorCode != 0 || got.MemberEpoch != 3 {
		t.Fatalf("b after a restart: %+v", got)
	}
	l.at(l.setting.SessionTimeout - 1)
	l.beat("b", 3, &before)
	l.at(2) // a is silent
	if b = l.beat("b", 3, &before); given(b) == nil || len(given(b).active.all()) != 8 || b.MemberEpoch != 4 {
		t.Fatalf("b alone: %+v", b)
	}
	if got := l.beat("a", 3, kept); got.ErrorCode != unknownMemberID {
		t.Fatalf("a comes back: %+v", got)
	}
	if got := l.beat("b", -1, nil); got.ErrorCode != 0 || got.MemberEpoch != -1 {
		t.Fatalf("b leaves: %+v", got)
	}
	if got := l.g.Listed(); got.GroupState != "Empty" {
		t.Fatalf("listed as %+v", got)
	}
}

// TestTasksAreToldAgainWhenTheAnswerIsLost: a member that asks again learns what it has.
func TestTasksAreToldAgainWhenTheAnswerIsLost(t *testing.T) {
	l := newStreamsLife(t)
	a := l.beat("a", 0, nil)
	l.beat("b", 0, nil)
	all := given(a)
	l.beat("a", 2, all) // told to revoke: lost
	again := l.beat("a", 2, all)
	told := given(again)
	if again.MemberEpoch != 2 || told == nil || len(told.active.all()) != 4 {
		t.Fatalf("what to revoke is told again as %+v", again)
	}
	for _, silent := range []*taskSet{nil, all} { // that it is quiet, or has all still, is no revocation
		l.beat("a", 2, silent)
		if b := l.beat("b", 3, nil); given(b) != nil && !given(b).empty() {
			t.Fatalf("b is given what a may still have: %+v", b)
		}
	}
	l.beat("a", 2, told) // in epoch 3: lost
	if again := l.beat("a", 2, told); again.MemberEpoch != 3 || given(again) == nil || !given(again).equal(*told) {
		t.Fatalf("the epoch is told again as %+v", again)
	}
	if quiet := l.beat("a", 3, told); given(quiet) != nil {
		t.Fatalf("a knows: %+v", quiet)
	}
}

// TestMemberThatDoesNotRevokeIsFenced guards the rebalance timeout, which begins anew with
// the broker.
func TestMemberThatDoesNotRevokeIsFenced(t *testing.T) {
	for _, restart := range []bool{false, true} {
		l := newStreamsLife(t)
		a := l.beat("a", 0, nil)
		l.beat("b", 0, nil)
		l.beat("a", 2, given(a))
		if restart {
			l.at(4000)
			l.restart()
		}
		l.at(4999)
		if got := l.beat("a", 2, given(a)); got.ErrorCode != 0 {
			t.Fatalf("a in time, restart %v: %+v", restart, got)
		}
		l.at(1)
		if got := l.beat("a", 2, given(a)); got.ErrorCode != unknownMemberID {
			t.Fatalf("a, restart %v: %+v", restart, got)
		}
	}
}

// TestTopologyWaitsForItsTopics follows a topology from nothing to its first task.
func TestTopologyWaitsForItsTopics(t *testing.T) {
	l := newStreamsLife(t)
	l.metadata = metadataOf(nil)
	a := l.beat("a", 0, nil)
	if !slices.Equal(statuses(a), []int8{statusMissingSources}) || a.Status[0].StatusDetail != "Source topics in are missing." || !given(a).empty() {
		t.Fatalf("no topic: %+v", a)
	}
	if got := l.g.Listed().GroupState; got != "NotReady" {
		t.Fatalf("state %s", got)
	}
	l.metadata = l.metadata.set("in", 3)
	reply := l.reply("a", a.MemberEpoch, nil)
	a = reply.Response.(*kmsg.StreamsGroupHeartbeatResponse)
	want := []NewTopic{
		{Name: "log", Partitions: 3, ReplicationFactor: -1, Configs: map[string]string{"cleanup.policy": "compact"}},
		{Name: "re", Partitions: 3, ReplicationFactor: -1, Configs: map[string]string{}},
	}
	if !slices.Equal(statuses(a), []int8{statusMissingInternal}) || fmt.Sprint(reply.Missing) != fmt.Sprint(want) {
		t.Fatalf("no internal topics: %+v, to make %v", a, reply.Missing)
	}
	l.metadata = l.metadata.set("re", 3).set("log", 2)
	if a = l.beat("a", a.MemberEpoch, nil); !slices.Equal(statuses(a), []int8{statusIncorrectPartitions}) ||
		a.Status[0].StatusDetail != "Existing topic log has different number of partitions: expected 3, found 2" {
		t.Fatalf("too few partitions: %+v", a)
	}
	l.metadata = l.metadata.set("log", 3)
	if a = l.beat("a", a.MemberEpoch, nil); len(a.Status) != 0 || len(given(a).active.all()) != 6 {
		t.Fatalf("all is there: %+v", a)
	}
	for _, s := range l.g.StreamsDescribe().Topology.Subtopologies {
		for _, x := range append(s.RepartitionSourceTopics, s.StateChangelogTopics...) {
			if x.NumPartitions != 3 {
				t.Errorf("%s is described with %d partitions", x.Topic, x.NumPartitions)
			}
		}
	}
	l.metadata = l.metadata.set("re", 0)
	if a = l.beat("a", a.MemberEpoch, nil); !slices.Equal(statuses(a), []int8{statusMissingInternal}) {
		t.Fatalf("a topic is deleted: %+v", a)
	}
}

// TestPartitionsOfInternalTopicsAreDecided has the decisions one by one.
func TestPartitionsOfInternalTopicsAreDecided(t *testing.T) {
	source := func(id string, topics ...string) subtopology { return subtopology{id: id, sources: topics} }
	fixed := func(name string, n int32) internalTopic { return internalTopic{name: name, partitions: n} }
	for _, c := range []struct {
		name   string
		parts  []subtopology
		topics map[string]int32
		want   map[string]int32 // of internal topics
		status int8
		fault  bool
	}{
		{name: "changelog has the most of its sources", parts: []subtopology{{id: "0", sources: []string{"a", "b"}, changelogs: []internalTopic{{name: "log"}}}},
			topics: map[string]int32{"a": 2, "b": 5}, want: map[string]int32{"log": 5}, status: statusMissingInternal},
		{name: "repartition topics follow each other", parts: []subtopology{
			{id: "2", repartitionSources: []internalTopic{fixed("y", 0)}},
			{id: "1", repartitionSources: []internalTopic{fixed("x", 0)}, sinks: []string{"y"}},
			{id: "0", sources: []string{"a"}, sinks: []string{"x"}},
		}, topics: map[string]int32{"a": 3}, want: map[string]int32{"x": 3, "y": 3}, status: statusMissingInternal},
		{name: "a number that is asked for stands", parts: []subtopology{
			{id: "0", sources: []string{"a"}, sinks: []string{"x"}}, {id: "1", repartitionSources: []internalTopic{fixed("x", 7)}},
		}, topics: map[string]int32{"a": 3}, want: map[string]int32{"x": 7}, status: statusMissingInternal},
		{name: "a loop", parts: []subtopology{
			source("0", "a"), {id: "1", repartitionSources: []internalTopic{fixed("x", 0)}, sinks: []string{"x"}},
		}, topics: map[string]int32{"a": 3}, fault: true},
		{name: "nobody writes it", parts: []subtopology{source("0", "a"), {id: "1", repartitionSources: []internalTopic{fixed("x", 0)}}},
			topics: map[string]int32{"a": 3}, fault: true},
		{name: "a repartition topic is as wide as the topic it is joined with", parts: []subtopology{
			{id: "0", sources: []string{"a"}, sinks: []string{"x"}},
			{id: "1", sources: []string{"b"}, repartitionSources: []internalTopic{fixed("x", 0)}, copartitionGroups: []copartitionGroup{{sources: []int16{0}, repartitionSources: []int16{0}}}},
		}, topics: map[string]int32{"a": 2, "b": 6}, want: map[string]int32{"x": 6}, status: statusMissingInternal},
		{name: "joined topics differ", parts: []subtopology{{id: "0", sources: []string{"a", "b"}, copartitionGroups: []copartitionGroup{{sources: []int16{0, 1}}}}},
			topics: map[string]int32{"a": 2, "b": 6}, status: statusIncorrectPartitions},
		{name: "a joined topic asks for another number", parts: []subtopology{
			{id: "0", sources: []string{"a"}, sinks: []string{"x"}},
			{id: "1", sources: []string{"b"}, repartitionSources: []internalTopic{fixed("x", 4)}, copartitionGroups: []copartitionGroup{{sources: []int16{0}, repartitionSources: []int16{0}}}},
		}, topics: map[string]int32{"a": 2, "b": 6}, status: statusIncorrectPartitions},
		{name: "two repartition topics that are joined", parts: []subtopology{
			{id: "0", sources: []string{"a"}, sinks: []string{"x"}}, {id: "1", sources: []string{"b"}, sinks: []string{"y"}},
			{id: "2", repartitionSources: []internalTopic{fixed("x", 0), fixed("y", 0)}, copartitionGroups: []copartitionGroup{{repartitionSources: []int16{0, 1}}}},
		}, topics: map[string]int32{"a": 2, "b": 6}, want: map[string]int32{"x": 6, "y": 6}, status: statusMissingInternal},
		{name: "nothing that is joined, beside topics that ask for different numbers", parts: []subtopology{
			{id: "0", sources: []string{"a"}, sinks: []string{"x", "y"}},
			{id: "1", repartitionSources: []internalTopic{fixed("x", 4), fixed("y", 5)}, copartitionGroups: []copartitionGroup{{}}},
		}, topics: map[string]int32{"a": 2}, want: map[string]int32{"x": 4, "y": 5}, status: statusMissingInternal},
		{name: "more tasks than there is room for", parts: []subtopology{source("0", "a"), source("1", "b")},
			topics: map[string]int32{"a": maxStreamsTasks, "b": 1}, fault: true},
	} {
		top := &topology{subtopologies: c.parts}
		if err := top.settle(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		got, err := top.configure(metadataOf(c.topics))
		switch {
		case (err != nil) != c.fault:
			t.Errorf("%s: error %v", c.name, err)
		case err != nil:
		case got.ready() || got.problem.status != c.status:
			t.Errorf("%s: %+v", c.name, got.problem)
		case c.want != nil && !maps.Equal(got.topics, c.want):
			t.Errorf("%s: %v, want %v", c.name, got.topics, c.want)
		}
	}
}

// byRounds decides as Kafka's RepartitionTopics does: round by round over all.
func (c *configuration) byRounds() bool {
	for {
		open, progress := false, false
		for i := range c.topology.subtopologies {
			s := &c.topology.subtopologies[i]
			for _, sink := range s.sinks {
				if c.decided[sink] != 0 {
					continue
				}
				if n := c.widest(s); n != 0 {
					c.decided[sink], progress = n, true
				} else {
					open = true
				}
			}
		}
		if !open || !progress {
			return !open
		}
	}
}

func TestSinksAreDecidedAsRoundByRound(t *testing.T) {
	for seed := range uint64(2000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		top, topics := &topology{}, map[string]int32{}
		for i := range 1 + rnd.IntN(8) {
			s := subtopology{id: fmt.Sprint(i)}
			for range rnd.IntN(3) {
				name := fmt.Sprint("r", rnd.IntN(6))
				s.repartitionSources = append(s.repartitionSources, internalTopic{name: name})
			}
			if len(s.repartitionSources) == 0 || rnd.IntN(4) == 0 {
				name := fmt.Sprint("in", rnd.IntN(4))
				s.sources, topics[name] = []string{name}, int32(1+len(topics)*3)
			}
			for range rnd.IntN(3) {
				s.sinks = append(s.sinks, fmt.Sprint("r", rnd.IntN(6)))
			}
			top.subtopologies = append(top.subtopologies, s)
		}
		if err := top.settle(); err != nil {
			t.Fatal(err)
		}
		got := configuration{topology: top, metadata: metadataOf(topics), decided: map[string]int32{}}
		want := configuration{topology: top, metadata: metadataOf(topics), decided: map[string]int32{}}
		if all := want.byRounds(); got.decideSinks() != all || all && !maps.Equal(got.decided, want.decided) {
			t.Fatalf("seed %d: %v, want %v", seed, got.decided, want.decided)
		}
	}
}

// TestAnAbsurdTopologyKeepsNobodyWaiting: a chain of subtopologies against their order
// took a round for each, minutes under the lock of its shard, and one with more names than
// any record can have is not looked at.
func TestAnAbsurdTopologyKeepsNobodyWaiting(t *testing.T) {
	chain := &kmsg.StreamsGroupHeartbeatRequestTopology{}
	const n = maxTopologyNames / 3
	name := func(i int) string { return fmt.Sprintf("r%06d", i) }
	for i := range n {
		s := kmsg.StreamsGroupHeartbeatRequestTopologySubtopology{SubtopologyID: fmt.Sprintf("%06d", i), SourceTopics: []string{"in"}}
		if i < n-1 {
			s.SourceTopics, s.RepartitionSourceTopics = nil, []kmsg.TopicInfo{{Topic: name(i + 1)}}
		}
		if i > 0 {
			s.RepartitionSinkTopics = []string{name(i)}
		}
		chain.Subtopologies = append(chain.Subtopologies, s)
	}
	top, err := topologyOf(chain)
	if err != nil {
		t.Fatal(err)
	}
	c, err := top.configure(metadataOf(map[string]int32{"in": 3}))
	if err != nil || len(c.missing) != n-1 || c.topics[name(1)] != 3 {
		t.Fatalf("%d missing, %d partitions at the end: %v", len(c.missing), c.topics[name(1)], err)
	}
	chain.Subtopologies[0].SourceTopics = slices.Repeat([]string{"in"}, 10)
	if _, err := topologyOf(chain); err == nil {
		t.Error("a topology of more names than a record has is taken")
	}
}

// TestATopicThatIsNamedAgainIsReadOnce: what a member is told of endpoints would grow with
// every time that a topology names a topic, and a record has room for 100,000.
func TestATopicThatIsNamedAgainIsReadOnce(t *testing.T) {
	l := newStreamsLife(t)
	l.topology = &kmsg.StreamsGroupHeartbeatRequestTopology{Subtopologies: []kmsg.StreamsGroupHeartbeatRequestTopologySubtopology{
		{SubtopologyID: "0", SourceTopics: slices.Repeat([]string{"in"}, 1000)},
	}}
	a := l.beat("a", 0, nil, func(r *kmsg.StreamsGroupHeartbeatRequest) {
		r.UserEndpoint, r.EndpointInformationEpoch = &kmsg.StreamsGroupHeartbeatRequestUserEndpoint{Host: "h", Port: 1}, -1
	})
	if all := a.PartitionsByUserEndpoint; len(all) != 1 || len(all[0].ActivePartitions) != 1 {
		t.Fatalf("code %d, %d endpoints", a.ErrorCode, len(all))
	}
}

// TestStatusesTellWhatIsInTheWay has the statuses beside those of topics.
func TestStatusesTellWhatIsInTheWay(t *testing.T) {
	l := newStreamsLife(t)
	l.setting.InitialRebalanceDelay, l.setting.AssignmentInterval = 3000, 1000
	a := l.beat("a", 0, nil)
	if !slices.Equal(statuses(a), []int8{statusAssignmentDelayed}) || !given(a).empty() || a.MemberEpoch != 1 {
		t.Fatalf("the first member: %+v", a)
	}
	b := l.beat("b", 0, nil)
	l.at(3000)
	if a = l.beat("a", a.MemberEpoch, &taskSet{}); len(a.Status) != 0 || len(given(a).active.all()) != 4 {
		t.Fatalf("a after the delay: %+v", a)
	}
	if b = l.beat("b", b.MemberEpoch, &taskSet{}); len(given(b).active.all()) != 4 {
		t.Fatalf("b after the delay: %+v", b)
	}
	if c := l.beat("c", 0, nil); !slices.Equal(statuses(c), []int8{statusAssignmentDelayed}) {
		t.Fatalf("c within the interval: %+v", c)
	}
	newer := aTopology()
	newer.Epoch = 1
	if got := l.beat("d", 0, nil, func(r *kmsg.StreamsGroupHeartbeatRequest) { r.Topology = newer }); got.ErrorCode != invalidRequest {
		t.Fatalf("another topology: %+v", got)
	}
	l.at(1000)
	ask := func(r *kmsg.StreamsGroupHeartbeatRequest) { r.ShutdownApplication = true }
	l.beat("a", a.MemberEpoch, given(a), ask)
	if b = l.beat("b", b.MemberEpoch, given(b)); !slices.Contains(statuses(b), statusShutdownApplication) {
		t.Fatalf("b after a has asked for the end: %+v", b)
	}
}

// TestOlderTopologyIsStale guards STALE_TOPOLOGY.
func TestOlderTopologyIsStale(t *testing.T) {
	l := newStreamsLife(t)
	l.topology.Epoch = 2
	l.beat("a", 0, nil)
	l.topology = aTopology()
	if b := l.beat("b", 0, nil); b.ErrorCode != 0 || !slices.Equal(statuses(b), []int8{statusStaleTopology}) {
		t.Fatalf("b: %+v", b)
	}
}

// TestEndpointsAreTold guards interactive queries.
func TestEndpointsAreTold(t *testing.T) {
	l := newStreamsLife(t)
	at := func(host string) func(*kmsg.StreamsGroupHeartbeatRequest) {
		return func(r *kmsg.StreamsGroupHeartbeatRequest) {
			r.UserEndpoint = &kmsg.StreamsGroupHeartbeatRequestUserEndpoint{Host: host, Port: 80}
		}
	}
	a := l.beat("a", 0, nil, at("ha"))
	a = l.beat("a", a.MemberEpoch, given(a))
	if len(a.PartitionsByUserEndpoint) != 1 || len(a.PartitionsByUserEndpoint[0].ActivePartitions) != 2 || a.EndpointInformationEpoch == 0 {
		t.Fatalf("a: %+v", a)
	}
	known := func(r *kmsg.StreamsGroupHeartbeatRequest) { r.EndpointInformationEpoch = a.EndpointInformationEpoch }
	if again := l.beat("a", a.MemberEpoch, nil, known); again.PartitionsByUserEndpoint != nil {
		t.Fatalf("a knows it: %+v", again)
	}
}

// TestCommitsAreFencedByMemberEpoch guards OffsetCommit, TxnOffsetCommit and OffsetFetch.
func TestStreamsCommitsAreFencedByMemberEpoch(t *testing.T) {
	l := newStreamsLife(t)
	a := l.beat("a", 0, nil)
	owned := given(a)
	l.beat("b", 0, nil)
	kept := given(l.beat("a", a.MemberEpoch, owned))
	a = l.beat("a", a.MemberEpoch, kept)
	mine := kept.active["0"][0]
	lost := int32(-1)
	for _, p := range owned.active["0"] {
		if !kept.active.has(task{"0", p}) {
			lost = p
		}
	}
	if lost < 0 || a.MemberEpoch != 3 {
		t.Fatalf("a keeps %v of %v in epoch %d", kept, owned, a.MemberEpoch)
	}
	for _, c := range []struct {
		name, member string
		epoch        int32
		topic        string
		partition    int32
		version      int16
		want         int16
	}{
		{"member", "a", 3, "in", mine, 9, 0},
		{"member one epoch behind, of a task it has had since", "a", 2, "in", mine, 9, 0},
		{"member one epoch behind, of a task it has lost", "a", 2, "in", lost, 9, staleMemberEpoch},
		{"member one epoch behind, of a topic that is not read", "a", 2, "log", 0, 9, staleMemberEpoch},
		{"member ahead", "a", 4, "in", mine, 9, staleMemberEpoch},
		{"unknown member", "x", 3, "in", mine, 9, unknownMemberID},
		{"nobody", "", -1, "in", mine, 9, unknownMemberID},
		{"old version", "a", 3, "in", mine, 8, unsupportedVersion},
	} {
		r := kmsg.NewPtrOffsetCommitRequest()
		r.Version, r.Group, r.MemberID, r.Generation = c.version, "g", c.member, c.epoch
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset = c.partition, 5
		r.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: c.topic, Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}}}
		l.last++
		l.take(l.g.Commit(l.now, l.last, r))
		if got := l.answers[l.last].Response.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode; got != c.want {
			t.Errorf("commit of a %s: code %d, want %d", c.name, got, c.want)
		}
		if c.version < 9 {
			continue // a commit in a transaction has no such rule
		}
		x := kmsg.NewPtrTxnOffsetCommitRequest()
		x.Version, x.Group, x.MemberID, x.Generation, x.ProducerID = 3, "g", c.member, c.epoch, 1
		x.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: c.topic, Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{Partition: c.partition, Offset: 5}}}}
		want := c.want
		if c.member == "" {
			want = 0 // a producer that says nothing of a group
		}
		l.last++
		l.take(l.g.CommitTransaction(l.now, l.last, x))
		if got := l.answers[l.last].Response.(*kmsg.TxnOffsetCommitResponse).Topics[0].Partitions[0].ErrorCode; got != want {
			t.Errorf("commit in a transaction of a %s: code %d, want %d", c.name, got, want)
		}
	}
	for _, c := range []struct {
		member *string
		epoch  int32
		want   int16
	}{{nil, -1, 0}, {sptr("a"), 3, 0}, {sptr("a"), 2, staleMemberEpoch}, {sptr("x"), 3, unknownMemberID}} {
		if got := l.g.ValidateFetch(c.member, c.epoch); got != c.want {
			t.Errorf("fetch: code %d, want %d", got, c.want)
		}
	}
	d := kmsg.NewPtrOffsetDeleteRequest()
	d.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: "in", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}}}
	l.last++
	l.take(l.g.DeleteOffsets(l.now, l.last, d))
	if got := l.answers[l.last].Response.(*kmsg.OffsetDeleteResponse); got.ErrorCode != 0 || got.Topics[0].Partitions[0].ErrorCode != groupSubscribedToTopic {
		t.Errorf("deletion of a member's offsets: %+v", got)
	}
}

// TestEmptyGroupsChangeProtocol: of streams and classic either becomes the other.
func TestEmptyGroupsChangeProtocol(t *testing.T) {
	l := newStreamsLife(t)
	a := l.beat("a", 0, nil)
	join := func() *kmsg.JoinGroupResponse {
		r := kmsg.NewPtrJoinGroupRequest()
		r.Version, r.Group, r.ProtocolType, r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = 3, "g", "consumer", 10_000, 5000
		r.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: subscriptionBytes("in")}}
		l.last++
		ticket := l.last
		l.take(l.g.Join(l.now, ticket, Client{}, "fresh", r))
		l.at(1)
		response, _ := l.answers[ticket].Response.(*kmsg.JoinGroupResponse)
		return response
	}
	if got := join(); got == nil || got.ErrorCode != inconsistentGroupProtocol {
		t.Fatalf("a consumer joins streams: %+v", got)
	}
	c := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	c.Group, c.MemberID, c.RebalanceTimeoutMillis, c.SubscribedTopicNames = "g", "m", 5000, []string{"in"}
	l.last++
	l.take(l.g.ConsumerHeartbeat(l.now, l.last, Client{}, "fresh", c))
	if got := l.answers[l.last].Response.(*kmsg.ConsumerGroupHeartbeatResponse); got.ErrorCode != groupIDNotFound {
		t.Fatalf("a member of the consumer protocol joins streams: %+v", got)
	}
	l.last++
	l.take(l.g.Delete(l.now, l.last))
	if got := l.answers[l.last].Code; got != nonEmptyGroup {
		t.Fatalf("deletion: code %d", got)
	}
	l.beat("a", -1, nil)
	_ = a
	member := join()
	if member == nil || member.ErrorCode != 0 || l.g.Listed().GroupType != "classic" {
		t.Fatalf("a consumer joins what was a streams group: %+v", member)
	}
	if got := l.beat("b", 0, nil); got.ErrorCode != groupIDNotFound {
		t.Fatalf("streams joins consumers: %+v", got)
	}
	q := kmsg.NewPtrLeaveGroupRequest()
	q.Version, q.Group, q.MemberID = 1, "g", member.MemberID
	_, out := l.g.Leave(l.now, q)
	l.take(out)
	if got := l.beat("b", 0, nil); got.ErrorCode != 0 || l.g.Listed().GroupType != "streams" {
		t.Fatalf("streams joins what was a group of consumers: %+v", got)
	}
	l.restart()
	if got := l.g.Listed(); got.GroupType != "streams" || len(l.g.streams.state.members) != 1 {
		t.Fatalf("after a restart: %+v", got)
	}
	l.beat("b", -1, nil)
	l.last++
	l.take(l.g.Delete(l.now, l.last))
	if l.restart(); !l.g.Gone() {
		t.Fatal("a deleted group is there after a restart")
	}
}

// TestFailedAppendUndoesTheStep: what is not stored has not been.
func TestFailedAppendUndoesTheStreamsStep(t *testing.T) {
	l := newStreamsLife(t)
	l.fail = coordinatorNotAvailable
	if got := l.beat("a", 0, nil); got.ErrorCode != coordinatorNotAvailable || l.g.streams != nil {
		t.Fatalf("join: %+v", got)
	}
	l.fail = 0
	a := l.beat("a", 0, nil)
	l.fail = coordinatorNotAvailable
	l.beat("b", 0, nil)
	l.fail = 0
	if got := l.g.streams.state.ids(); !slices.Equal(got, []string{"a"}) {
		t.Fatalf("members %v", got)
	}
	if got := l.beat("a", a.MemberEpoch, given(a)); got.ErrorCode != 0 {
		t.Fatalf("a: %+v", got)
	}
	l.beat("c", 0, nil) // its append brings the log to what is, b's tombstones included
	l.restart()
	if got := l.g.streams.state.ids(); !slices.Equal(got, []string{"a", "c"}) {
		t.Fatalf("members after a restart %v", got)
	}
}

// TestARevocationOfTasksThatWasNotStoredIsStillDue: a member that must revoke is fenced
// after its rebalance timeout, also where a step that went on from there was undone, be it
// that it had revoked or that it left.
func TestARevocationOfTasksThatWasNotStoredIsStillDue(t *testing.T) {
	for name, goOn := range map[string]func(l *streamsLife, kept *taskSet) *kmsg.StreamsGroupHeartbeatResponse{
		"revoked": func(l *streamsLife, kept *taskSet) *kmsg.StreamsGroupHeartbeatResponse { return l.beat("a", 2, kept) },
		"left":    func(l *streamsLife, _ *taskSet) *kmsg.StreamsGroupHeartbeatResponse { return l.beat("a", -1, nil) },
	} {
		l := newStreamsLife(t)
		a := l.beat("a", 0, nil)
		l.beat("b", 0, nil)
		kept := given(l.beat("a", 2, given(a)))
		l.fail = coordinatorNotAvailable
		if got := goOn(l, kept).ErrorCode; got != coordinatorNotAvailable {
			t.Fatalf("%s: code %d", name, got)
		}
		l.fail = 0
		if got := l.beat("a", 2, nil).ErrorCode; got != 0 { // it does not say what it has
			t.Fatalf("%s: code %d", name, got)
		}
		l.at(5001)
		if got := l.beat("a", 2, nil).ErrorCode; got != unknownMemberID {
			t.Errorf("%s: code %d after the rebalance timeout", name, got)
		}
	}
}

// streamsClient is a member as Kafka Streams has it, driven by chance.
type streamsClient struct {
	id, process string
	epoch       int32
	owned       taskSet  // what it runs
	told        *taskSet // what it is to run once it has closed other tasks; nil: as owned
	waits       Ticket   // for an answer, 0: it does not
	rnd         *rand.Rand
}

// TestRandomStreamsLivesKeepTheInvariants lets members come, go, die and restart while
// topics change, appends fail and the coordinator crashes: no active task is ever run by
// two, no process runs a task in two roles, and in the end every task is run.
func TestRandomStreamsLivesKeepTheInvariants(t *testing.T) {
	for seed := range uint64(50) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { liveStreams(t, rand.New(rand.NewPCG(seed, 7))) })
	}
}

func liveStreams(t *testing.T, rnd *rand.Rand) {
	l := newStreamsLife(t)
	l.setting.StandbyReplicas = rnd.IntN(3)
	clients := make([]*streamsClient, 5)
	for i := range clients {
		clients[i] = &streamsClient{id: fmt.Sprintf("m%d", i), process: fmt.Sprintf("p%d", i/2), rnd: rnd}
	}
	fresh := len(clients)
	die := func(c *streamsClient) { // and another starts in its place
		fresh++
		*c = streamsClient{id: fmt.Sprintf("m%d", fresh), process: c.process, rnd: rnd}
	}
	for range 300 {
		c := clients[rnd.IntN(len(clients))]
		switch rnd.IntN(28) {
		case 0:
			die(c)
			l.at(l.setting.SessionTimeout / 3)
		case 1:
			if c.epoch > 0 {
				l.beatOf(c, -1)
				die(c)
			}
		case 2:
			l.at(int64(rnd.IntN(3000)))
		case 3:
			l.crash(rnd.IntN(len(l.held) + 1))
			for _, c := range clients {
				c.waits = 0 // the connection is gone: it asks again
			}
		case 4:
			l.fail = coordinatorNotAvailable
			l.beatOf(c, c.epoch)
			l.release()
			l.fail = 0
		case 7, 8:
			l.hold = true
		case 10, 11:
			c.waits = 0 // its connection breaks: it asks again
		case 9:
			l.release()
		case 5:
			n := int32(2 + rnd.IntN(4))
			l.metadata = l.metadata.set("in", n).set("re", n).set("log", n)
		case 6:
			l.setting.StandbyReplicas = rnd.IntN(3)
		default:
			l.beatOf(c, c.epoch)
		}
		l.check(clients)
	}
	l.release()
	for range 200 {
		for _, c := range clients {
			l.beatOf(c, c.epoch)
			l.check(clients)
		}
		l.at(3000)
	}
	if got := l.g.Listed().GroupState; got != "Stable" {
		t.Fatalf("state %s in the end", got)
	}
	run := map[task]int{}
	for _, c := range clients {
		for _, x := range c.owned.active.all() {
			run[x]++
		}
	}
	in, _ := l.metadata.Topic("in")
	if len(run) != int(2*in.Partitions) {
		t.Fatalf("%d of %d tasks are run in the end", len(run), 2*in.Partitions)
	}
}

// beatOf sends a heartbeat, unless the client still waits for an answer, and has it do
// what it is told.
func (l *streamsLife) beatOf(c *streamsClient, epoch int32) {
	l.t.Helper()
	if c.told != nil && c.rnd.IntN(3) > 0 { // its tasks are closed
		c.owned, c.told = *c.told, nil
	}
	if c.waits == 0 {
		owned := c.owned
		c.waits = l.send(c.id, epoch, &owned, func(r *kmsg.StreamsGroupHeartbeatRequest) { r.ProcessID = &c.process })
	}
	reply, answered := l.answers[c.waits]
	if !answered {
		return
	}
	c.waits = 0
	switch r := reply.Response.(*kmsg.StreamsGroupHeartbeatResponse); r.ErrorCode {
	case 0:
		c.epoch = r.MemberEpoch
		switch told := given(r); {
		case told == nil:
		case told.contains(c.owned):
			c.owned, c.told = *told, nil
		default:
			c.told = told
		}
	case unknownMemberID, fencedMemberEpoch, groupIDNotFound, invalidRequest:
		c.epoch, c.owned, c.told = 0, taskSet{}, nil
	case coordinatorNotAvailable: // asks again
	default:
		l.t.Fatalf("heartbeat of %s: code %d", c.id, r.ErrorCode)
	}
}

// check looks for tasks that two members of the group run.
func (l *streamsLife) check(clients []*streamsClient) {
	l.t.Helper()
	active, roles := map[task]string{}, map[task]map[string]string{}
	for _, c := range clients {
		if l.g.streams == nil || l.g.streams.state.members[c.id] == nil || c.epoch == 0 {
			continue // fenced: it finds out with its next heartbeat
		}
		for _, x := range c.owned.active.all() {
			if other, ok := active[x]; ok {
				l.t.Fatalf("task %v is run by %s and %s", x, other, c.id)
			}
			active[x] = c.id
		}
		for _, part := range [...]tasks{c.owned.active, c.owned.standby} {
			for _, x := range part.all() {
				if roles[x] == nil {
					roles[x] = map[string]string{}
				}
				if other, ok := roles[x][c.process]; ok {
					l.t.Fatalf("task %v is in process %s twice, at %s and %s", x, c.process, other, c.id)
				}
				roles[x][c.process] = c.id
			}
		}
	}
}

// TestStickyAssignor has the rules of the assignor one by one.
func TestStickyAssignor(t *testing.T) {
	top := &topology{subtopologies: []subtopology{{id: "0", sources: []string{"t"}}, {id: "1", sources: []string{"t"}, changelogs: []internalTopic{{name: "log"}}}}}
	c := &configuredTopology{tasks: map[string]int32{"0": 6, "1": 6}}
	members := func(n int, before map[string]taskSet) (all []worker) {
		for i := range n {
			id := fmt.Sprintf("m%d", i)
			all = append(all, worker{id: id, process: fmt.Sprintf("p%d", i), before: before[id]})
		}
		return all
	}
	for _, replicas := range []int{0, 1, 2} {
		var before map[string]taskSet
		for _, n := range []int{1, 2, 3, 4, 3, 2, 5, 1, 0} {
			got := assignSticky(members(n, before), top, c, replicas)
			dealtTasks(t, got, n, 12, 6*min(replicas, max(n-1, 0)))
			if again := assignSticky(members(n, got), top, c, replicas); !maps.EqualFunc(got, again, taskSet.equal) {
				t.Errorf("%d members, %d replicas: the same again moves tasks\n%v\n%v", n, replicas, got, again)
			}
			before = got
		}
	}
	// Who has a copy of the state takes over.
	two := assignSticky(members(2, nil), top, c, 1)
	one := assignSticky(members(1, map[string]taskSet{"m0": two["m0"]}), top, c, 1)
	if !one["m0"].active.contains(two["m0"].standby) {
		t.Errorf("copies %v are not taken over: %v", two["m0"].standby, one["m0"].active)
	}
	three := assignSticky(members(3, two), top, c, 1)
	kept := 0
	for id := range two {
		for _, x := range three[id].active.all() {
			if two[id].active.has(x) {
				kept++
			}
		}
	}
	if kept != 8 {
		t.Errorf("a third member moves %d of 12 tasks, want 4", 12-kept)
	}
}

// dealtTasks checks that each active task is dealt once, copies go to other members, and all
// get about equally many.
func dealtTasks(t *testing.T, got map[string]taskSet, members, active, standby int) {
	t.Helper()
	if members == 0 {
		return
	}
	seen, copies := map[task]struct{}{}, 0
	least, most := 1<<30, 0
	for _, s := range got {
		for _, x := range s.active.all() {
			seen[x] = struct{}{}
		}
		if s.active.meets(s.standby) {
			t.Errorf("a member has %v and copies of them %v", s.active, s.standby)
		}
		copies += len(s.standby.all())
		least, most = min(least, len(s.active.all())), max(most, len(s.active.all()))
	}
	total := 0
	for _, s := range got {
		total += len(s.active.all())
	}
	if len(seen) != active || total != active || copies != standby {
		t.Errorf("%d members: %d tasks dealt to %d, %d copies; want %d tasks, %d copies", members, len(seen), total, copies, active, standby)
	}
	if most-least > 1 {
		t.Errorf("%d members have between %d and %d tasks", members, least, most)
	}
}
