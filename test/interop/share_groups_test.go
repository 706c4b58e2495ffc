//go:build interop

package interop

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// The coordinators of share groups (KIP-932), request by request, beside Apache Kafka 4.3.

// shareStory is a life of a share group on one broker, told by its answers.
type shareStory struct {
	t            *testing.T
	address      string
	c            *rawConn
	group, topic string
	id           [16]byte
	told         []string
	epoch        map[string]int32
}

// newShareStory makes a topic of two partitions with three records each, and a group that
// assigns at once and forgives silence.
func newShareStory(t *testing.T, address, name string) *shareStory {
	t.Helper()
	s := &shareStory{t: t, address: address, group: name, topic: name + "-in", epoch: map[string]int32{}}
	createOn(t, address, s.topic, 2)
	harness.Until(t, testLimit, "leaders of "+s.topic, func() error { return led(t, address, s.topic) })
	producer := clientOf(t, address, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for i := range 6 {
		produce(t, producer, &kgo.Record{Topic: s.topic, Partition: int32(i % 2), Value: []byte("value")})
	}
	coordinate(t, address, name)
	s.c = dial(t, address)
	q := kmsg.NewPtrMetadataRequest()
	to := kmsg.NewMetadataRequestTopic()
	to.Topic = &s.topic
	q.Topics = append(q.Topics, to)
	s.id = ask[*kmsg.MetadataResponse](t, s.c, 12, q).Topics[0].TopicID
	for _, set := range []string{"share.assignment.interval.ms=0", "share.session.timeout.ms=60000"} {
		key, value, _ := strings.Cut(set, "=")
		q := alterRequest(name, kmsg.IncrementalAlterConfigOpSet, key, value)
		q.Resources[0].ResourceType = kmsg.ConfigResourceTypeGroupConfig
		refusedWith(t, key, ask[*kmsg.IncrementalAlterConfigsResponse](t, s.c, 1, q).Resources[0].ErrorCode, nil)
	}
	s.stored()
	return s
}

// stored waits until the share coordinator serves the group's partitions.
func (s *shareStory) stored() {
	s.t.Helper()
	harness.Until(s.t, testLimit, "the share coordinator", func() error {
		for partition := range int32(2) {
			find := kmsg.NewPtrFindCoordinatorRequest()
			find.CoordinatorType, find.CoordinatorKeys = 2, []string{fmt.Sprintf("%s:%s:%d", s.group, uuidText(s.id), partition)}
			if p := ask[*kmsg.FindCoordinatorResponse](s.t, s.c, 6, find); p.Coordinators[0].ErrorCode != 0 {
				return errors.New(codeName(p.Coordinators[0].ErrorCode))
			}
		}
		p := ask[*kmsg.ReadShareGroupStateSummaryResponse](s.t, s.c, 1, s.summary())
		for _, r := range p.Topics[0].Partitions {
			if r.ErrorCode != 0 {
				return errors.New(codeName(r.ErrorCode))
			}
		}
		return nil
	})
}

func (s *shareStory) summary() *kmsg.ReadShareGroupStateSummaryRequest {
	q := kmsg.NewPtrReadShareGroupStateSummaryRequest()
	q.GroupID = s.group
	q.Topics = []kmsg.ReadShareGroupStateSummaryRequestTopic{{TopicID: s.id, Partitions: []kmsg.ReadShareGroupStateSummaryRequestTopicPartition{{Partition: 0}, {Partition: 1}}}}
	return q
}

// topicIDs are those that are not zero, which two brokers never share.
var topicIDs = regexp.MustCompile(`TopicID:\[(\d+ ){15}[1-9]\d*\]`)

// tell notes an answer.
func (s *shareStory) tell(what string, p kmsg.Response) {
	s.told = append(s.told, what+": "+topicIDs.ReplaceAllString(canonical(p), "TopicID:ID"))
}

// other asks and notes the answer.
func (s *shareStory) other(what string, version int16, q kmsg.Request) {
	s.t.Helper()
	s.tell(what, ask[kmsg.Response](s.t, s.c, version, q))
}

func (s *shareStory) heartbeat(member string, change ...func(*kmsg.ShareGroupHeartbeatRequest)) *kmsg.ShareGroupHeartbeatResponse {
	s.t.Helper()
	q := kmsg.NewPtrShareGroupHeartbeatRequest()
	q.GroupID, q.MemberID, q.MemberEpoch = s.group, member, s.epoch[member]
	if q.MemberEpoch == 0 {
		q.SubscribedTopicNames = []string{s.topic}
	}
	for _, f := range change {
		f(q)
	}
	p := ask[*kmsg.ShareGroupHeartbeatResponse](s.t, s.c, 1, q)
	if p.ErrorCode == 0 {
		s.epoch[member] = max(p.MemberEpoch, 0)
	}
	return p
}

func (s *shareStory) beat(what, member string, change ...func(*kmsg.ShareGroupHeartbeatRequest)) {
	s.t.Helper()
	p := s.heartbeat(member, change...)
	s.tell(what, p)
	if p.ErrorMessage != nil {
		s.told = append(s.told, *p.ErrorMessage)
	}
}

// assigned has a member send heartbeats until it is given partitions, and notes that answer.
func (s *shareStory) assigned(what, member string) {
	s.t.Helper()
	harness.Until(s.t, testLimit, "an assignment", func() error {
		p := s.heartbeat(member)
		if p.Assignment == nil || len(p.Assignment.TopicPartitions) == 0 {
			return errors.New("no assignment yet")
		}
		s.tell(what, p)
		return nil
	})
}

func (s *shareStory) leave(member string) {
	s.t.Helper()
	s.beat(member+" leaves", member, func(q *kmsg.ShareGroupHeartbeatRequest) { q.MemberEpoch, q.SubscribedTopicNames = -1, nil })
}

func (s *shareStory) describe(what string) {
	s.t.Helper()
	q := kmsg.NewPtrShareGroupDescribeRequest()
	q.GroupIDs, q.IncludeAuthorizedOperations = []string{s.group}, true
	s.other(what, 1, q)
	for version := range int16(2) {
		s.other(fmt.Sprint(what, ", offsets version ", version), version, &kmsg.DescribeShareGroupOffsetsRequest{Groups: []kmsg.DescribeShareGroupOffsetsRequestGroup{{GroupID: s.group}}})
		s.other(fmt.Sprint(what, ", some offsets version ", version), version, &kmsg.DescribeShareGroupOffsetsRequest{Groups: []kmsg.DescribeShareGroupOffsetsRequestGroup{
			{GroupID: s.group, Topics: []kmsg.DescribeShareGroupOffsetsRequestGroupTopic{{Topic: s.topic, Partitions: []int32{1}}, {Topic: "no-such-topic", Partitions: []int32{0}}}},
		}})
	}
}

// change asks for what only an empty group allows.
func (s *shareStory) change(what string) {
	s.t.Helper()
	s.other(what+", altered", 0, &kmsg.AlterShareGroupOffsetsRequest{GroupID: s.group, Topics: []kmsg.AlterShareGroupOffsetsRequestTopic{
		{Topic: s.topic, Partitions: []kmsg.AlterShareGroupOffsetsRequestTopicPartition{{Partition: 1, StartOffset: 2}, {Partition: 9}}},
	}})
	s.describe(what + ", altered")
	s.other(what+", offsets deleted", 0, &kmsg.DeleteShareGroupOffsetsRequest{GroupID: s.group, Topics: []kmsg.DeleteShareGroupOffsetsRequestTopic{{Topic: s.topic}}})
	s.other(what+", offsets deleted of no topic", 0, &kmsg.DeleteShareGroupOffsetsRequest{GroupID: s.group, Topics: []kmsg.DeleteShareGroupOffsetsRequestTopic{{Topic: "no-such-topic"}}})
	q := kmsg.NewPtrDeleteGroupsRequest()
	q.Groups = []string{s.group}
	s.other(what+", deleted", 2, q)
}

// refusals are heartbeats that the group takes nothing from.
func (s *shareStory) refusals() {
	s.t.Helper()
	type request = kmsg.ShareGroupHeartbeatRequest
	str := kmsg.StringPtr
	for _, c := range []struct {
		what, member string
		change       func(*request)
	}{
		{"no member id", "a", func(q *request) { q.MemberID = "" }},
		{"blank member id", "a", func(q *request) { q.MemberID = "  " }},
		{"long member id", "a", func(q *request) { q.MemberID = strings.Repeat("m", 37) }},
		{"no group", "a", func(q *request) { q.GroupID = "" }},
		{"another group", "a", func(q *request) { q.GroupID = "no-such-group" }},
		{"blank rack", "a", func(q *request) { q.RackID = str("") }},
		{"unknown member", "z", func(q *request) { q.MemberEpoch = 4 }},
		{"unknown member leaves", "z", func(q *request) { q.MemberEpoch = -1 }},
		{"joins without topics", "z", func(q *request) { q.SubscribedTopicNames = nil }},
		{"epoch -2", "a", func(q *request) { q.MemberEpoch = -2 }},
		{"epoch of the future", "a", func(q *request) { q.MemberEpoch += 7 }},
		{"epoch of the past", "a", func(q *request) { q.MemberEpoch -= 2 }},
	} {
		s.beat(c.what, c.member, c.change)
	}
}

// state tells of the share coordinator's own requests, for a group of their own.
func (s *shareStory) state() {
	s.t.Helper()
	group := s.group + "-state"
	partitions := func(of ...int32) (all []kmsg.ReadShareGroupStateRequestTopicPartition) {
		for _, partition := range of {
			all = append(all, kmsg.ReadShareGroupStateRequestTopicPartition{Partition: partition, LeaderEpoch: 3})
		}
		return all
	}
	read := func(what string, epoch int32, of ...int32) {
		all := partitions(of...)
		for i := range all {
			all[i].LeaderEpoch = epoch
		}
		q := &kmsg.ReadShareGroupStateRequest{GroupID: group, Topics: []kmsg.ReadShareGroupStateRequestTopic{{TopicID: s.id, Partitions: all}}}
		s.other(what, 0, q)
	}
	write := func(what string, version int16, w kmsg.WriteShareGroupStateRequestTopicPartition) {
		s.other(what, version, &kmsg.WriteShareGroupStateRequest{GroupID: group, Topics: []kmsg.WriteShareGroupStateRequestTopic{{TopicID: s.id, Partitions: []kmsg.WriteShareGroupStateRequestTopicPartition{w}}}})
	}
	initialize := func(what string, epoch int32, start int64) {
		s.other(what, 0, &kmsg.InitializeShareGroupStateRequest{GroupID: group, Topics: []kmsg.InitializeShareGroupStateRequestTopic{{TopicID: s.id, Partitions: []kmsg.InitializeShareGroupStateRequestTopicPartition{{Partition: 0, StateEpoch: epoch, StartOffset: start}}}}})
	}
	summarize := func(what string) {
		q := s.summary()
		q.GroupID = group
		for version := range int16(2) {
			q.Topics[0].Partitions = q.Topics[0].Partitions[:1]
			s.other(fmt.Sprint(what, ", version ", version), version, q)
		}
	}
	batch := func(first, last int64, state int8, count int16) kmsg.WriteShareGroupStateRequestTopicPartitionStateBatch {
		return kmsg.WriteShareGroupStateRequestTopicPartitionStateBatch{FirstOffset: first, LastOffset: last, DeliveryState: state, DeliveryCount: count}
	}
	type update = kmsg.WriteShareGroupStateRequestTopicPartition
	// The coordinator of a group that nobody has asked for may have to be waited for.
	harness.Until(s.t, testLimit, "the share coordinator of "+group, func() error {
		q := s.summary()
		q.GroupID = group
		for _, r := range ask[*kmsg.ReadShareGroupStateSummaryResponse](s.t, s.c, 1, q).Topics[0].Partitions {
			if r.ErrorCode != 0 {
				return errors.New(codeName(r.ErrorCode))
			}
		}
		return nil
	})
	read("read before it begins", 1, 0)
	write("written before it begins", 1, update{StateEpoch: 1, LeaderEpoch: 1})
	summarize("summary before it begins")
	initialize("begun", 5, 0)
	initialize("begun again", 5, 1)
	initialize("begun by an older group", 4, 0)
	read("read by a leader", 3, 0)
	read("read by an older leader", 2, 0)
	read("read by nobody", -1, 0)
	write("written by an older leader", 1, update{StateEpoch: 5, LeaderEpoch: 2})
	write("written of an older state", 1, update{StateEpoch: 4, LeaderEpoch: 3})
	write("written", 1, update{StateEpoch: 5, LeaderEpoch: 3, StartOffset: -1, DeliveryCompleteCount: 2, StateBatches: []kmsg.WriteShareGroupStateRequestTopicPartitionStateBatch{batch(2, 9, 0, 1), batch(4, 5, 2, 1)}})
	read("read back", 3, 0)
	summarize("summary")
	write("written to", 0, update{StateEpoch: 5, LeaderEpoch: 3, StartOffset: 4, DeliveryCompleteCount: -1, StateBatches: []kmsg.WriteShareGroupStateRequestTopicPartitionStateBatch{batch(6, 7, 4, 2)}})
	read("read back again", 4, 0)
	summarize("summary again")
	read("a partition that there is not", 1, 7)
	read("a negative partition", 1, -1)
	initialize("begun anew", 6, 8)
	read("read anew", 5, 0)
	s.other("deleted", 0, &kmsg.DeleteShareGroupStateRequest{GroupID: group, Topics: []kmsg.DeleteShareGroupStateRequestTopic{{TopicID: s.id, Partitions: []kmsg.DeleteShareGroupStateRequestTopicPartition{{Partition: 0}}}}})
	s.other("deleted twice", 0, &kmsg.DeleteShareGroupStateRequest{GroupID: group, Topics: []kmsg.DeleteShareGroupStateRequestTopic{{TopicID: s.id, Partitions: []kmsg.DeleteShareGroupStateRequestTopicPartition{{Partition: 0}}}}})
	s.other("no topics", 0, &kmsg.ReadShareGroupStateRequest{GroupID: group})
	s.other("no group", 0, &kmsg.ReadShareGroupStateRequest{Topics: []kmsg.ReadShareGroupStateRequestTopic{{TopicID: s.id, Partitions: partitions(0)}}})
	s.other("no topic of that id", 0, &kmsg.DeleteShareGroupStateRequest{GroupID: group, Topics: []kmsg.DeleteShareGroupStateRequestTopic{{TopicID: [16]byte{1}, Partitions: []kmsg.DeleteShareGroupStateRequestTopicPartition{{Partition: 0}}}}})
	for _, key := range []string{"", "g", "g:t", "g:notauuid:0", ":" + uuidText(s.id) + ":0", "g:" + uuidText(s.id) + ":x"} {
		find := kmsg.NewPtrFindCoordinatorRequest()
		find.CoordinatorType, find.CoordinatorKeys = 2, []string{key}
		s.told = append(s.told, "coordinator of "+strings.ReplaceAll(key, uuidText(s.id), "ID")+": "+codeName(ask[*kmsg.FindCoordinatorResponse](s.t, s.c, 6, find).Coordinators[0].ErrorCode))
	}
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.CoordinatorType, find.CoordinatorKeys = 2, []string{"g:" + uuidText(s.id) + ":0"}
	s.told = append(s.told, "coordinator, for an older client: "+codeName(ask[*kmsg.FindCoordinatorResponse](s.t, s.c, 5, find).Coordinators[0].ErrorCode))
}

// live is the story.
func (s *shareStory) live() {
	s.t.Helper()
	s.state()
	s.describe("before anybody joins")
	s.beat("the first joins", "a")
	s.assigned("the first is given all", "a")
	s.beat("the first again", "a")
	s.describe("one member")
	s.refusals()
	s.change("in use")
	s.other("listed", 5, &kmsg.ListGroupsRequest{TypesFilter: []string{"Share"}})
	for _, q := range []kmsg.Request{
		&kmsg.DescribeGroupsRequest{Groups: []string{s.group}}, &kmsg.ConsumerGroupDescribeRequest{Groups: []string{s.group}},
	} {
		s.other("described as another group", min(q.MaxVersion(), 6), q)
	}
	p := ask[*kmsg.JoinGroupResponse](s.t, s.c, 9, joinRequest(s.group))
	s.told = append(s.told, "a consumer joins: "+codeName(p.ErrorCode))
	q := commitRequest(s.group, s.topic, [16]byte{}, 0, 5, "m")
	s.told = append(s.told, "an offset is committed: "+codeName(ask[*kmsg.OffsetCommitResponse](s.t, s.c, 9, q).Topics[0].Partitions[0].ErrorCode))
	s.leave("a")
	s.describe("empty")
	s.change("empty")
	s.describe("deleted")
	s.change("not there")
}

// TestShareGroupAnswersEqualApacheKafkas tells the same story to both brokers and compares
// every answer.
func TestShareGroupAnswersEqualApacheKafkas(t *testing.T) {
	var told [2][]string
	for i, address := range []string{broker(t).Address, apache(t).Address} {
		s := newShareStory(t, address, "share-story")
		s.live()
		told[i] = s.told
	}
	sameStory(t, told)
}

// sameStory compares what was told of varve and of Apache Kafka, answer by answer.
func sameStory(t *testing.T, told [2][]string) {
	t.Helper()
	equal(t, "answers", len(told[0]), len(told[1]))
	for i := range min(len(told[0]), len(told[1])) {
		if got, want := told[0][i], told[1][i]; got != want {
			t.Errorf("varve: %s\nKafka: %s", got, want)
		}
	}
}

// shareTools are runs of kafka-share-groups; GROUP stands for the group, IN for its topic.
var shareTools = []string{
	"--list",
	"--list --state",
	"--list --state Stable",
	"--describe --group GROUP",
	"--describe --group GROUP --members",
	"--describe --group GROUP --members --verbose",
	"--describe --group GROUP --state",
	"--describe --group GROUP --state --verbose",
	"--describe --group GROUP --offsets --verbose",
	"--describe --group no-such-group",
	"--describe --all-groups --state",
	"--reset-offsets --group GROUP --topic IN --to-latest --dry-run",
	"--reset-offsets --group GROUP --topic IN --to-earliest --execute",
	"--describe --group GROUP --offsets",
	"--describe --group GROUP --offsets --verbose",
	"--reset-offsets --group GROUP --topic IN --to-latest --execute",
	"--describe --group GROUP --offsets",
	"--delete-offsets --group GROUP --topic IN",
	"--delete-offsets --group GROUP --topic no-such-topic",
	"--describe --group GROUP --offsets",
	"--delete --group GROUP",
	"--delete --group no-such-group",
	"--list",
}

// TestShareGroupsToolPrintsWhatItPrintsOfApacheKafka compares what kafka-share-groups prints
// of a group on both brokers, line by line: with a member, and without.
func TestShareGroupsToolPrintsWhatItPrintsOfApacheKafka(t *testing.T) {
	var printed [2][]string
	for i, address := range []string{broker(t).Address, apache(t).Address} {
		s := newShareStory(t, address, "share-tool")
		s.beat("joins", "a")
		s.assigned("is given all", "a")
		printed[i] = s.tools()
		s.leave("a")
		printed[i] = append(printed[i], s.tools()...)
	}
	for i := range printed[0] {
		equal(t, shareTools[i%len(shareTools)], printed[0][i], printed[1][i])
	}
}

// tools runs kafka-share-groups, in one virtual machine, and returns what each run printed,
// its lines in order.
func (s *shareStory) tools() (all []string) {
	s.t.Helper()
	var input strings.Builder
	for _, args := range shareTools {
		args = strings.NewReplacer("GROUP", s.group, "IN", s.topic).Replace(args)
		fmt.Fprintln(&input, strings.Join(slices.Concat([]string{shareCommand, "--bootstrap-server", s.address}, strings.Fields(args)), "\t"))
	}
	out := harness.Kafka(s.t, input.String(), "testdata/Tools.java")
	for range shareTools {
		text, rest, _ := strings.Cut(strings.ReplaceAll(out, s.address, "ADDRESS"), "=== exit ")
		status, rest, found := strings.Cut(rest, "\n")
		if !found {
			s.t.Fatalf("%d of %d tools ran:\n%s", len(all), len(shareTools), out)
		}
		lines := strings.Split(masked(text), "\n")
		slices.Sort(lines) // the tool's own order is that of hash maps
		all = append(all, strings.TrimSpace(strings.Join(lines, "\n"))+"\nexit "+status)
		out = rest
	}
	return all
}

// TestShareRecordsAreReadByDumpLog: Kafka's own tool decodes every kind of record of share
// groups in our __consumer_offsets and __share_group_state, and all is there after a kill.
func TestShareRecordsAreReadByDumpLog(t *testing.T) {
	b := harness.StartBroker(t, "offsets.topic.num.partitions=1", "share.coordinator.state.topic.num.partitions=1", "share.coordinator.snapshot.update.records.per.snapshot=2")
	s := newShareStory(t, b.Address, "share-records")
	s.beat("joins", "a")
	s.assigned("is given all", "a")
	for epoch := range int32(4) {
		q := &kmsg.ReadShareGroupStateRequest{GroupID: s.group, Topics: []kmsg.ReadShareGroupStateRequestTopic{{TopicID: s.id, Partitions: []kmsg.ReadShareGroupStateRequestTopicPartition{{Partition: 0, LeaderEpoch: epoch}}}}}
		s.other("read", 0, q)
	}
	b.Kill()
	b.Start()
	s.c = dial(t, b.Address)
	coordinate(t, b.Address, s.group)
	s.stored()
	told := len(s.told)
	s.other("read by an older leader", 0, &kmsg.ReadShareGroupStateRequest{GroupID: s.group, Topics: []kmsg.ReadShareGroupStateRequestTopic{{TopicID: s.id, Partitions: []kmsg.ReadShareGroupStateRequestTopicPartition{{Partition: 0, LeaderEpoch: 2}}}}})
	if !strings.Contains(s.told[told], "FENCED_LEADER_EPOCH") {
		t.Errorf("after a kill: %s", s.told[told])
	}
	if p := s.heartbeat("a"); p.ErrorCode != 0 {
		t.Errorf("heartbeat after a kill: %s", codeName(p.ErrorCode))
	}
	s.leave("a")
	if err := b.Stop(testLimit); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		decoder, topic string
		kinds          []string
	}{
		{"--offsets-decoder", "__consumer_offsets", []string{`"type":"10"`, `"type":"11"`, `"type":"12"`, `"type":"13"`, `"type":"14"`, `"type":"15"`}},
		{"--share-group-state-decoder", "__share_group_state", []string{`"type":"0"`, `"type":"1"`, `"startOffset":-1`, `"snapshotEpoch":1`}},
	} {
		out := harness.Kafka(t, "", harness.DumpLogSegments, c.decoder, "--files", b.Dir+"/"+c.topic+"-0/00000000000000000000.log")
		for _, kind := range c.kinds {
			if !strings.Contains(out, kind) {
				t.Errorf("%s has no %s:\n%s", c.topic, kind, out)
			}
		}
		if strings.Contains(out, "Could not") || strings.Contains(out, "unreadable") {
			t.Errorf("%s is not readable:\n%s", c.topic, out)
		}
	}
}

// uuidText is an id as Apache Kafka writes it.
func uuidText(id [16]byte) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// shareHeartbeatCode asks for a share group that is not there.
func shareHeartbeatCode(t *testing.T, address string) string {
	t.Helper()
	coordinate(t, address, "no-share-group")
	q := kmsg.NewPtrShareGroupHeartbeatRequest()
	q.GroupID, q.MemberID, q.MemberEpoch = "no-share-group", "m", 1
	return codeName(ask[*kmsg.ShareGroupHeartbeatResponse](t, dial(t, address), 1, q).ErrorCode)
}
