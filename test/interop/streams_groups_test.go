//go:build interop

package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// The streams protocol of KIP-1071, request by request, beside Apache Kafka 4.3.

// streamsStory is a life of a streams group on one broker, told by its answers. Each
// request goes out in the same order with the same members on both brokers.
type streamsStory struct {
	t             *testing.T
	c             *rawConn
	group         string
	in, re, log   string // topics: the input, and two internal ones
	topology      *kmsg.StreamsGroupHeartbeatRequestTopology
	told          []string
	epoch         map[string]int32
	active, ready map[string][]kmsg.TaskIDs // active and standby tasks that a member was told
}

// newStreamsStory makes the input, with two partitions, and a group that assigns at once
// and forgives silence.
func newStreamsStory(t *testing.T, address, name string) *streamsStory {
	t.Helper()
	s := &streamsStory{
		t: t, group: name, in: name + "-in", re: name + "-x-repartition", log: name + "-x-changelog",
		epoch: map[string]int32{}, active: map[string][]kmsg.TaskIDs{}, ready: map[string][]kmsg.TaskIDs{},
	}
	s.topology = &kmsg.StreamsGroupHeartbeatRequestTopology{Subtopologies: []kmsg.StreamsGroupHeartbeatRequestTopologySubtopology{
		{SubtopologyID: "0", SourceTopics: []string{s.in}, RepartitionSinkTopics: []string{s.re}},
		{
			SubtopologyID: "1", RepartitionSourceTopics: []kmsg.TopicInfo{{Topic: s.re}},
			StateChangelogTopics: []kmsg.TopicInfo{{Topic: s.log, Configs: []kmsg.TopicInfoConfig{{Key: "cleanup.policy", Value: "compact"}}}},
		},
	}}
	createOn(t, address, s.in, 2)
	coordinate(t, address, name)
	s.c = dial(t, address)
	for _, set := range []string{
		"streams.assignment.interval.ms=0", "streams.session.timeout.ms=60000",
		"streams.num.standby.replicas=1", "streams.initial.rebalance.delay.ms=0",
	} {
		key, value, _ := strings.Cut(set, "=")
		q := alterRequest(name, kmsg.IncrementalAlterConfigOpSet, key, value)
		q.Resources[0].ResourceType = kmsg.ConfigResourceTypeGroupConfig
		refusedWith(t, key, ask[*kmsg.IncrementalAlterConfigsResponse](t, s.c, 1, q).Resources[0].ErrorCode, nil)
	}
	s.known(s.changed(func(*subtopology) {}).Subtopologies[:1])
	return s
}

// known waits until the group's coordinator has heard of the group's settings and of the
// topics of subtopologies, which Apache Kafka tells it some time after they are made: then
// the first member of a group gets its tasks at once.
func (s *streamsStory) known(parts []subtopology) {
	s.t.Helper()
	remove := kmsg.NewPtrDeleteGroupsRequest()
	remove.Groups = []string{s.group}
	harness.Until(s.t, testLimit, "the coordinator's view of "+s.group, func() error {
		p := ask[*kmsg.StreamsGroupHeartbeatResponse](s.t, s.c, 0, s.heartbeat("probe", func(q *kmsg.StreamsGroupHeartbeatRequest) {
			q.Topology = &kmsg.StreamsGroupHeartbeatRequestTopology{Subtopologies: parts}
		}))
		refusedWith(s.t, "probe", p.ErrorCode, nil)
		leave := s.heartbeat("probe", func(q *kmsg.StreamsGroupHeartbeatRequest) { q.MemberEpoch, q.Topology = -1, nil })
		refusedWith(s.t, "probe leaves", ask[*kmsg.StreamsGroupHeartbeatResponse](s.t, s.c, 0, leave).ErrorCode, nil)
		refusedWith(s.t, "probe's group is deleted", ask[*kmsg.DeleteGroupsResponse](s.t, s.c, 2, remove).Groups[0].ErrorCode, nil)
		if len(p.Status) > 0 || len(p.ActiveTasks) != len(parts) {
			return fmt.Errorf("%d subtopologies, %v", len(p.ActiveTasks), p.Status)
		}
		return nil
	})
}

// made makes the internal topics, so that nobody has to wait for them.
func (s *streamsStory) made(address string) {
	s.t.Helper()
	createOn(s.t, address, s.re, 2)
	createOn(s.t, address, s.log, 2, "cleanup.policy=compact")
	s.known(s.topology.Subtopologies)
}

// heartbeat makes one of a member with a process of its own that runs what it was told.
func (s *streamsStory) heartbeat(member string, change ...func(*kmsg.StreamsGroupHeartbeatRequest)) *kmsg.StreamsGroupHeartbeatRequest {
	q := kmsg.NewPtrStreamsGroupHeartbeatRequest()
	process := "process-" + member
	q.Group, q.MemberID, q.MemberEpoch, q.ProcessID, q.RebalanceTimeoutMillis = s.group, member, s.epoch[member], &process, -1
	q.ActiveTasks, q.StandbyTasks, q.WarmupTasks = []kmsg.TaskIDs{}, []kmsg.TaskIDs{}, []kmsg.TaskIDs{}
	if q.MemberEpoch == 0 {
		q.Topology, q.RebalanceTimeoutMillis = s.topology, 300_000
	} else {
		q.ActiveTasks, q.StandbyTasks = append(q.ActiveTasks, s.active[member]...), append(q.StandbyTasks, s.ready[member]...)
	}
	for _, f := range change {
		f(q)
	}
	return q
}

// beat sends a heartbeat and has the member do what it is told.
func (s *streamsStory) beat(what, member string, change ...func(*kmsg.StreamsGroupHeartbeatRequest)) *kmsg.StreamsGroupHeartbeatResponse {
	s.t.Helper()
	q := s.heartbeat(member, change...)
	p := ask[*kmsg.StreamsGroupHeartbeatResponse](s.t, s.c, 0, q)
	s.told = append(s.told, what+": "+canonical(p))
	if p.ErrorCode == 0 {
		s.epoch[member] = max(p.MemberEpoch, 0)
		if p.ActiveTasks != nil {
			s.active[member], s.ready[member] = p.ActiveTasks, p.StandbyTasks
		}
		if p.MemberEpoch < 0 {
			delete(s.active, member)
			delete(s.ready, member)
		}
	}
	return p
}

// await sends heartbeats until the topics that the broker makes are there.
func (s *streamsStory) await(member string) {
	s.t.Helper()
	harness.Until(s.t, testLimit, "internal topics", func() error {
		p := ask[*kmsg.StreamsGroupHeartbeatResponse](s.t, s.c, 0, s.heartbeat(member))
		refusedWith(s.t, "heartbeat", p.ErrorCode, nil)
		s.epoch[member] = p.MemberEpoch
		if p.ActiveTasks != nil {
			s.active[member], s.ready[member] = p.ActiveTasks, p.StandbyTasks
		}
		if len(p.Status) > 0 {
			return errors.New(p.Status[0].StatusDetail)
		}
		if len(s.active[member]) == 0 {
			return errors.New("no task is assigned")
		}
		return nil
	})
}

// settle sends heartbeats until nobody has anything to do any more.
func (s *streamsStory) settle(members ...string) {
	for range 3 {
		for _, m := range members {
			s.beat("settle "+m, m)
		}
	}
}

func (s *streamsStory) describe(what string) {
	s.t.Helper()
	q := kmsg.NewPtrStreamsGroupDescribeRequest()
	q.Groups, q.IncludeAuthorizedOperations = []string{s.group, "no-such-group", ""}, true
	s.told = append(s.told, what+": "+canonical(ask[*kmsg.StreamsGroupDescribeResponse](s.t, s.c, 0, q)))
}

// commit commits an offset of the input as a member in an epoch, and fetches it.
func (s *streamsStory) commit(what, member string, epoch int32) {
	s.t.Helper()
	for partition := range int32(2) {
		q := commitRequest(s.group, s.in, [16]byte{}, partition, 5, "m")
		q.MemberID, q.Generation = member, epoch
		p := ask[*kmsg.OffsetCommitResponse](s.t, s.c, 9, q)
		s.told = append(s.told, fmt.Sprintf("%s, partition %d: commit %s", what, partition, codeName(p.Topics[0].Partitions[0].ErrorCode)))
	}
	f := kmsg.NewPtrOffsetFetchRequest()
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group, g.MemberID, g.MemberEpoch = s.group, &member, epoch
	g.Topics = []kmsg.OffsetFetchRequestGroupTopic{{Topic: s.in, Partitions: []int32{0, 1}}}
	f.Groups = append(f.Groups, g)
	s.told = append(s.told, what+": fetch "+canonical(ask[*kmsg.OffsetFetchResponse](s.t, s.c, 9, f)))
}

// other notes the answer to a request of another kind.
func (s *streamsStory) other(what string, version int16, q kmsg.Request) {
	s.t.Helper()
	s.told = append(s.told, what+": "+canonical(ask[kmsg.Response](s.t, s.c, version, q)))
}

// delete asks for the end of the group.
func (s *streamsStory) delete(what string) {
	s.t.Helper()
	q := kmsg.NewPtrDeleteGroupsRequest()
	q.Groups = []string{s.group}
	s.other(what, 2, q)
}

// joinAsConsumer asks a group for a member id of the classic protocol.
func (s *streamsStory) joinAsConsumer(what string) {
	s.t.Helper()
	p := ask[*kmsg.JoinGroupResponse](s.t, s.c, 9, joinRequest(s.group))
	s.told = append(s.told, what+": "+codeName(p.ErrorCode))
}

// configs are settings of the group that are fine, or not; none is made.
func (s *streamsStory) configs() {
	s.t.Helper()
	for _, set := range []string{
		"streams.session.timeout.ms=45000", "streams.session.timeout.ms=44999", "streams.session.timeout.ms=60001",
		"streams.heartbeat.interval.ms=5000", "streams.heartbeat.interval.ms=4999", "streams.heartbeat.interval.ms=15001",
		"streams.num.standby.replicas=2", "streams.num.standby.replicas=3", "streams.num.standby.replicas=-1",
		"streams.initial.rebalance.delay.ms=0", "streams.initial.rebalance.delay.ms=-1",
		"streams.assignment.interval.ms=15000", "streams.assignment.interval.ms=15001", "streams.assignment.interval.ms=x",
		"streams.no.such=1",
	} {
		key, value, _ := strings.Cut(set, "=")
		q := alterRequest(s.group, kmsg.IncrementalAlterConfigOpSet, key, value)
		q.Resources[0].ResourceType, q.ValidateOnly = kmsg.ConfigResourceTypeGroupConfig, true
		s.told = append(s.told, set+": "+codeName(ask[*kmsg.IncrementalAlterConfigsResponse](s.t, s.c, 1, q).Resources[0].ErrorCode))
	}
}

// refusals are requests that the group takes nothing from.
func (s *streamsStory) refusals() {
	s.t.Helper()
	type request = kmsg.StreamsGroupHeartbeatRequest
	str := kmsg.StringPtr
	for _, c := range []struct {
		what, member string
		change       func(*request)
	}{
		{"no member id", "a", func(q *request) { q.MemberID = "" }},
		{"blank member id", "a", func(q *request) { q.MemberID = "  " }},
		{"no group", "a", func(q *request) { q.Group = "" }},
		{"another group", "a", func(q *request) { q.Group = "no-such-group" }},
		{"unknown member", "z", func(q *request) { q.MemberEpoch, q.Topology = 4, nil }},
		{"unknown member leaves", "z", func(q *request) { q.MemberEpoch, q.Topology = -1, nil }},
		{"a group that is not there is left", "z", func(q *request) { q.Group, q.MemberEpoch, q.Topology = "no-such-group", -1, nil }},
		{"static member", "a", func(q *request) { q.InstanceID = str("i") }},
		{"static member leaves for a while", "a", func(q *request) { q.MemberEpoch = -2 }},
		{"epoch -3", "a", func(q *request) { q.MemberEpoch = -3 }},
		{"epoch of the future", "a", func(q *request) { q.MemberEpoch += 7 }},
		{"epoch of the past", "a", func(q *request) { q.MemberEpoch -= 2 }},
		{"blank rack", "a", func(q *request) { q.RackID = str("") }},
		{"no rebalance timeout", "z", func(q *request) { q.RebalanceTimeoutMillis = -1 }},
		{"no topology", "z", func(q *request) { q.Topology = nil }},
		{"joins with a task", "z", func(q *request) { q.ActiveTasks = []kmsg.TaskIDs{{SubtopologyID: "0", Partitions: []int32{0}}} }},
		{"joins with a copy", "z", func(q *request) { q.StandbyTasks = []kmsg.TaskIDs{{SubtopologyID: "0", Partitions: []int32{0}}} }},
		{"warm-up task", "a", func(q *request) { q.WarmupTasks = []kmsg.TaskIDs{{SubtopologyID: "0", Partitions: []int32{0}}} }},
		{"task offsets", "a", func(q *request) { q.TaskOffsets = []kmsg.TaskOffset{} }},
		{"task end offsets", "a", func(q *request) { q.TaskEndOffsets = []kmsg.TaskOffset{} }},
		{"some kinds of tasks", "a", func(q *request) { q.StandbyTasks = nil }},
		{"topology of a member", "a", func(q *request) { q.Topology = s.topology }},
		{"unknown subtopology", "a", func(q *request) { q.ActiveTasks = []kmsg.TaskIDs{{SubtopologyID: "9", Partitions: []int32{0}}} }},
		{"unknown task", "a", func(q *request) { q.ActiveTasks = []kmsg.TaskIDs{{SubtopologyID: "0", Partitions: []int32{2}}} }},
		{"negative task", "a", func(q *request) { q.StandbyTasks = []kmsg.TaskIDs{{SubtopologyID: "0", Partitions: []int32{-1}}} }},
		{"newer topology", "z", func(q *request) { q.Topology = &kmsg.StreamsGroupHeartbeatRequestTopology{Epoch: 1} }},
		{"other topology", "z", func(q *request) {
			q.Topology = s.changed(func(sub *subtopology) { sub.SourceTopics = []string{s.in, s.log} })
		}},
		{"source pattern", "z", func(q *request) {
			q.Topology = s.changed(func(sub *subtopology) { sub.SourceTopicRegex = []string{".*"} })
		}},
		{"changelog with partitions", "z", func(q *request) {
			q.Topology = s.changed(func(sub *subtopology) { sub.StateChangelogTopics = []kmsg.TopicInfo{{Topic: s.log, NumPartitions: 3}} })
		}},
		{"internal topic of Kafka", "z", func(q *request) {
			q.Topology = s.changed(func(sub *subtopology) { sub.SourceTopics = []string{"__consumer_offsets"} })
		}},
		{"name that is none", "z", func(q *request) {
			q.Topology = s.changed(func(sub *subtopology) { sub.SourceTopics = []string{"a b"} })
		}},
	} {
		p := ask[*kmsg.StreamsGroupHeartbeatResponse](s.t, s.c, 0, s.heartbeat(c.member, c.change))
		sentence := ""
		if p.ErrorMessage != nil && p.ErrorCode != 0 {
			sentence = " " + *p.ErrorMessage
		}
		s.told = append(s.told, c.what+": "+canonical(p)+sentence)
	}
}

type subtopology = kmsg.StreamsGroupHeartbeatRequestTopologySubtopology

// changed is the topology with another first part.
func (s *streamsStory) changed(change func(*subtopology)) *kmsg.StreamsGroupHeartbeatRequestTopology {
	t := *s.topology
	t.Subtopologies = slices.Clone(t.Subtopologies)
	change(&t.Subtopologies[0])
	return &t
}

// live is the story.
func (s *streamsStory) live(address string) {
	s.t.Helper()
	s.made(address)
	s.describe("described before anybody joins")
	endpoint := func(q *kmsg.StreamsGroupHeartbeatRequest) {
		q.UserEndpoint = &kmsg.StreamsGroupHeartbeatRequestUserEndpoint{Host: "h", Port: 4711}
		q.ClientTags = []kmsg.StreamsGroupHeartbeatRequestClientTag{{Key: "zone", Value: "z1"}}
		q.RackID = kmsg.StringPtr("r1")
	}
	// What Kafka knows of a group beside its records it forgets once, when the first
	// member has joined: so that one has no endpoint here, and is not described yet.
	s.beat("the first joins", "a")
	s.beat("the first again", "a")
	s.beat("the second joins", "b", endpoint)
	s.beat("the first is told to revoke", "a")
	s.describe("reconciling")
	s.beat("the first has revoked", "a")
	s.settle("b", "a")
	s.describe("two members")
	s.refusals()
	for _, m := range []string{"a", "b", "z"} {
		s.commit("commit of "+m, m, s.epoch["a"])
		s.commit("commit of "+m+" in an older epoch", m, s.epoch["a"]-1)
		s.commit("commit of "+m+" in a newer epoch", m, s.epoch["a"]+1)
	}
	s.commit("commit of an administrator", "", -1)
	s.other("offsets are deleted in use", 0, offsetDeleteRequest(s.group, s.in, 1))
	s.configs()
	s.joinAsConsumer("a consumer joins")
	s.delete("deleted in use")
	describe := kmsg.NewPtrDescribeGroupsRequest()
	describe.Groups = []string{s.group}
	s.other("described as a classic group", 6, describe)
	modern := kmsg.NewPtrConsumerGroupDescribeRequest()
	modern.Groups = []string{s.group}
	s.other("described as a consumer group", 1, modern)
	list := kmsg.NewPtrListGroupsRequest()
	list.TypesFilter = []string{"Streams"}
	s.other("listed", 5, list)
	s.beat("the first asks for the end of all", "a", func(q *kmsg.StreamsGroupHeartbeatRequest) { q.ShutdownApplication = true })
	s.beat("the second hears of it", "b")
	s.beat("the first leaves", "a", func(q *kmsg.StreamsGroupHeartbeatRequest) { q.MemberEpoch = -1 })
	s.settle("b")
	s.describe("one member is left")
	s.beat("the second leaves", "b", func(q *kmsg.StreamsGroupHeartbeatRequest) { q.MemberEpoch = -1 })
	s.describe("empty")
	s.commit("commit to an empty group", "", -1)
	s.other("offsets are deleted", 0, offsetDeleteRequest(s.group, s.in, 1))
	s.delete("deleted")
	s.describe("deleted")
	s.delete("deleted twice")
}

// TestStreamsGroupAnswersEqualApacheKafkas tells the same story to both brokers and
// compares every answer.
func TestStreamsGroupAnswersEqualApacheKafkas(t *testing.T) {
	var told [2][]string
	for i, address := range []string{broker(t).Address, apache(t).Address} {
		s := newStreamsStory(t, address, "streams-story")
		s.live(address)
		told[i] = s.told
	}
	sameStory(t, told)
}

// TestStreamsGroupsGetTheirInternalTopics: both brokers make the topics that a topology
// lacks, with the partitions and configs that it asks for.
func TestStreamsGroupsGetTheirInternalTopics(t *testing.T) {
	var made [2]string
	for i, address := range []string{broker(t).Address, apache(t).Address} {
		s := newStreamsStory(t, address, "streams-topics")
		s.topology.Subtopologies[0].SourceTopics = []string{"streams-topics-nowhere"}
		first := s.beat("no input", "a")
		createOn(t, address, "streams-topics-nowhere", 3)
		s.await("a")
		s.told = append(s.told[:1:1], fmt.Sprint(first.Status))
		for _, topic := range []string{s.re, s.log} {
			q := kmsg.NewPtrMetadataRequest()
			to := kmsg.NewMetadataRequestTopic()
			to.Topic = &topic
			q.Topics = append(q.Topics, to)
			s.told = append(s.told, fmt.Sprintf("%s has %d partitions", topic, len(ask[*kmsg.MetadataResponse](t, s.c, 9, q).Topics[0].Partitions)))
		}
		s.told = append(s.told, "cleanup.policy of the changelog: "+deref(describeTopic(t, address, s.log)["cleanup.policy"].Value))
		s.beat("leaves", "a", func(q *kmsg.StreamsGroupHeartbeatRequest) { q.MemberEpoch = -1 })
		s.delete("deleted")
		made[i] = strings.Join(s.told, "\n")
	}
	equal(t, "story", made[0], made[1])
}

// streamsTools are runs of kafka-streams-groups; GROUP stands for the group, IN for its
// input. Those of an empty group come after all members have left.
var streamsTools = []struct {
	args  string
	empty bool
}{
	{args: "--list"},
	{args: "--list --state"},
	{args: "--list --state Stable"},
	{args: "--list --state Empty,NotReady"},
	{args: "--describe --group GROUP"},
	{args: "--describe --group GROUP --verbose"},
	{args: "--describe --group GROUP --offsets"},
	{args: "--describe --group GROUP --offsets --verbose"},
	{args: "--describe --group GROUP --members"},
	{args: "--describe --group GROUP --members --verbose"},
	{args: "--describe --group GROUP --state"},
	{args: "--describe --group GROUP --state --verbose"},
	{args: "--describe --group no-such-group"},
	{args: "--describe --all-groups --state"},
	{args: "--reset-offsets --group GROUP --input-topic IN --to-earliest --dry-run"},
	{args: "--delete-offsets --group GROUP --input-topic IN"},
	{args: "--delete --group GROUP"},

	{args: "--list --state", empty: true},
	{args: "--describe --group GROUP --members", empty: true},
	{args: "--describe --group GROUP --state --verbose", empty: true},
	{args: "--describe --group GROUP --offsets", empty: true},
	{args: "--reset-offsets --group GROUP --input-topic IN --to-offset 1 --dry-run", empty: true},
	{args: "--reset-offsets --group GROUP --input-topic IN --to-earliest --execute", empty: true},
	{args: "--reset-offsets --group GROUP --all-input-topics --to-latest --dry-run", empty: true},
	{args: "--describe --group GROUP --offsets", empty: true},
	{args: "--delete-offsets --group GROUP --input-topic IN:1", empty: true},
	{args: "--describe --group GROUP --offsets", empty: true},
	{args: "--delete --group GROUP", empty: true},
	{args: "--delete --group no-such-group", empty: true},
	{args: "--list", empty: true},
}

// TestStreamsGroupsToolPrintsWhatItPrintsOfApacheKafka compares what kafka-streams-groups
// prints of a group on both brokers, line by line. No other streams group is on either.
func TestStreamsGroupsToolPrintsWhatItPrintsOfApacheKafka(t *testing.T) {
	var printed [2][]string
	for i, address := range []string{harness.StartBroker(t).Address, apache(t).Address} {
		s := newStreamsStory(t, address, "streams-tool")
		s.made(address)
		s.beat("joins", "a")
		s.beat("joins", "b")
		s.settle("a", "b")
		c := clientOf(t, address, kgo.RecordPartitioner(kgo.ManualPartitioner()))
		for i := range 20 {
			produce(t, c, &kgo.Record{Topic: s.in, Partition: int32(i % 2), Value: []byte("value")})
		}
		equal(t, "state on "+address, s.state(), "Stable")
		for _, m := range []string{"a", "b"} {
			s.commit("commit", m, s.epoch[m])
		}
		printed[i] = s.tools(address, false)
		for _, m := range []string{"a", "b"} {
			s.beat("leaves", m, func(q *kmsg.StreamsGroupHeartbeatRequest) { q.MemberEpoch = -1 })
		}
		printed[i] = append(printed[i], s.tools(address, true)...)
	}
	for i, c := range streamsTools {
		equal(t, c.args, printed[0][i], printed[1][i])
	}
}

func (s *streamsStory) state() string {
	q := kmsg.NewPtrStreamsGroupDescribeRequest()
	q.Groups = []string{s.group}
	return ask[*kmsg.StreamsGroupDescribeResponse](s.t, s.c, 0, q).Groups[0].State
}

// tools runs kafka-streams-groups, in one virtual machine, and returns what each run
// printed, its lines in order.
func (s *streamsStory) tools(address string, empty bool) (all []string) {
	s.t.Helper()
	var input strings.Builder
	runs := 0
	for _, c := range streamsTools {
		if c.empty == empty {
			args := strings.NewReplacer("GROUP", s.group, "IN", s.in).Replace(c.args)
			fmt.Fprintln(&input, strings.Join(slices.Concat([]string{streamsCommand, "--bootstrap-server", address}, strings.Fields(args)), "\t"))
			runs++
		}
	}
	out := harness.Kafka(s.t, input.String(), "testdata/Tools.java")
	for range runs {
		text, rest, _ := strings.Cut(strings.ReplaceAll(out, address, "ADDRESS"), "=== exit ")
		status, rest, found := strings.Cut(rest, "\n")
		if !found {
			s.t.Fatalf("%d of %d tools ran:\n%s", len(all), runs, out)
		}
		lines := strings.Split(masked(text), "\n")
		slices.Sort(lines) // the tool's own order is that of hash maps
		all = append(all, strings.TrimSpace(strings.Join(lines, "\n"))+"\nexit "+status)
		out = rest
	}
	return all
}

// TestStreamsRecordsAreReadByDumpLog: Kafka's own tool decodes every kind of record of a
// streams group in our __consumer_offsets, and the group is there after a restart.
func TestStreamsRecordsAreReadByDumpLog(t *testing.T) {
	b := harness.StartBroker(t, "offsets.topic.num.partitions=1")
	s := newStreamsStory(t, b.Address, "streams-records")
	s.beat("joins", "a")
	s.await("a")
	s.beat("joins", "b")
	s.settle("a", "b")
	before := s.state()
	b.Kill()
	b.Start()
	coordinate(t, b.Address, s.group)
	s.c = dial(t, b.Address)
	if p := s.beat("after a restart", "a"); p.ErrorCode != 0 || before != "Stable" || s.state() != "Stable" {
		t.Errorf("state %s, then %s, heartbeat %s", before, s.state(), codeName(p.ErrorCode))
	}
	s.beat("leaves", "b", func(q *kmsg.StreamsGroupHeartbeatRequest) { q.MemberEpoch = -1 })
	if err := b.Stop(testLimit); err != nil {
		t.Fatal(err)
	}
	out := harness.Kafka(t, "", harness.DumpLogSegments, "--offsets-decoder", "--files", b.Dir+"/__consumer_offsets-0/00000000000000000000.log")
	kinds := map[float64]int{}
	for _, line := range strings.Split(out, "\n") {
		_, text, found := strings.Cut(line, " key: ")
		if !found {
			continue
		}
		text, _, _ = strings.Cut(text, " payload: ")
		var key struct {
			Type any             `json:"type"`
			Data json.RawMessage `json:"data"`
		}
		if err := json.Unmarshal([]byte(text), &key); err != nil {
			continue
		}
		if kind, ok := key.Type.(float64); ok {
			kinds[kind]++
		} else if name, ok := key.Type.(string); ok {
			var n float64
			if _, err := fmt.Sscan(name, &n); err == nil {
				kinds[n]++
			}
		}
	}
	for _, kind := range []float64{17, 19, 20, 21, 22, 23} {
		if kinds[kind] == 0 {
			t.Errorf("no record of type %v is decoded in\n%s", kind, out)
		}
	}
	for _, want := range []string{`"validatedTopologyEpoch":0`, `"key":"num.standby.replicas","value":"1"`, `"processId":"process-a"`, `"name":"` + s.log + `"`, `"assignmentEpochs":[`} {
		if !strings.Contains(out, want) {
			t.Errorf("%s is missing in\n%s", want, out)
		}
	}
}

// TestStreamsVersionIsHonoured: with streams.version 0 the protocol is refused.
func TestStreamsVersionIsHonoured(t *testing.T) {
	b := harness.StartBroker(t)
	s := newStreamsStory(t, b.Address, "streams-version")
	describe := kmsg.NewPtrStreamsGroupDescribeRequest()
	describe.Groups = []string{s.group}
	for _, c := range []struct {
		level             int16
		change            int8
		joined, described string
	}{{1, 1, "NONE", "NONE"}, {0, 2, "UNSUPPORTED_VERSION", "UNSUPPORTED_VERSION"}, {1, 1, "NONE", "NONE"}} {
		set := featureChange(false, featureUpdate("streams.version", c.level, c.change))()
		refusedWith(t, "set streams.version", ask[*kmsg.UpdateFeaturesResponse](t, s.c, 2, set).ErrorCode, nil)
		harness.Until(t, testLimit, fmt.Sprintf("level %d", c.level), func() error {
			joined := codeName(ask[*kmsg.StreamsGroupHeartbeatResponse](t, s.c, 0, s.heartbeat("a")).ErrorCode)
			described := codeName(ask[*kmsg.StreamsGroupDescribeResponse](t, s.c, 0, describe).Groups[0].ErrorCode)
			if joined != c.joined || described != c.described {
				return fmt.Errorf("heartbeat %s, describe %s", joined, described)
			}
			return nil
		})
	}
}
