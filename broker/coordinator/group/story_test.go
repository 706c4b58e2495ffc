package group

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestStories runs the scripts of testdata/stories against a group. A line is a
// command; the lines after it that begin with ">" are its whole outcome.
//
//	at 5s                                 time goes on, deadlines are served
//	join a [instance=x] [v=9] [session=10s] [rebalance=60s] [protocols=range,rr] [type=consumer] [new]
//	sync a [gen=1] [a=p0 b=p1] [v=5] [instance=x] [as=ID]
//	heartbeat a [gen=1] [instance=x]
//	leave a,b | leave instance=x
//	commit [a] [gen=1] t/0=5[,meta] [v=9] [retention=1h]
//	fetch t/0 [stable]  |  fetch all
//	delete | delete-offsets t/0 | drop-topic t | expire-offsets
//	committed | failed CODE               the fate of the oldest append
//	reload                                the group as a new process reads it
//	show                                  the group's state
//
// Members are named by the script: "a" is whoever joined under that name; its member id
// is shown as the name with the number of its incarnation.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/stories/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runStory(t, file) })
	}
}

func runStory(t *testing.T, file string) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := newStory()
	var got []string
	pending, at := "", 0
	lines := bufio.NewScanner(f)
	check := func() {
		if len(got) > 0 {
			t.Errorf("%s:%d: %s: also got\n> %s", file, at, pending, strings.Join(got, "\n> "))
		}
	}
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, ">"):
			want := strings.TrimSpace(line[1:])
			if len(got) == 0 || got[0] != want {
				t.Fatalf("%s:%d: %s:\n got %q\nwant %q", file, n, pending, got, want)
			}
			got = got[1:]
		default:
			check()
			pending, at = line, n
			got = s.run(line)
		}
	}
	check()
}

// story is a group under a script.
type story struct {
	now     int64
	limits  Limits
	g       *Group
	log     []Append // committed and not, in order
	done    int      // of log
	ids     map[string]string
	names   map[string]string // member id → name.incarnation
	count   map[string]int
	tickets map[Ticket]string
	last    Ticket
	stored  []Append // committed ones
}

func newStory() *story {
	s := &story{
		now:    1_000_000,
		limits: Limits{InitialRebalanceDelay: 3000, MaxSize: 3, OffsetMetadataMax: 16, OffsetsRetention: 3600_000},
		ids:    map[string]string{}, names: map[string]string{"": "-"}, count: map[string]int{}, tickets: map[Ticket]string{},
	}
	s.g = New("g", &s.limits, s.now)
	return s
}

func (s *story) ticket(who string) Ticket {
	s.last++
	s.tickets[s.last] = who
	return s.last
}

func code(c int16) string {
	if c == 0 {
		return "ok"
	}
	return kerr.TypedErrorForCode(c).Message
}

// name shows a member id.
func (s *story) name(id string) string {
	if n, ok := s.names[id]; ok {
		return n
	}
	return id
}

func deref(p *string) string {
	if p == nil {
		return "null"
	}
	return *p
}

func millis(text string) int64 {
	unit := int64(1000)
	if strings.HasSuffix(text, "h") {
		unit = 3600_000
	}
	n, err := strconv.ParseFloat(strings.TrimRight(text, "sh"), 64)
	if err != nil {
		panic(err)
	}
	return int64(n * float64(unit))
}

func (s *story) run(line string) (lines []string) {
	words := strings.Fields(line)
	opts, args := map[string]string{}, []string{}
	for _, w := range words[1:] {
		k, v, ok := strings.Cut(w, "=")
		if ok && !strings.Contains(k, "/") {
			opts[k] = v
		} else {
			args = append(args, w)
		}
	}
	version := func(highest int16) int16 {
		if v, ok := opts["v"]; ok {
			n, _ := strconv.Atoi(v)
			return int16(n)
		}
		return highest
	}
	generation := func() int32 {
		if v, ok := opts["gen"]; ok {
			n, _ := strconv.Atoi(v)
			return int32(n)
		}
		return s.g.generation
	}
	instance := func() *string {
		if v, ok := opts["instance"]; ok {
			return &v
		}
		return nil
	}
	who := ""
	if len(args) > 0 {
		who = args[0]
	}
	switch words[0] {
	case "at":
		until := 1_000_000 + millis(args[0])
		for {
			next := s.g.Next()
			if next == 0 || next > until {
				break
			}
			s.now = max(s.now, next)
			lines = append(lines, s.show(s.g.Expire(s.now))...)
		}
		s.now = until
		return lines
	case "join":
		r := kmsg.NewPtrJoinGroupRequest()
		r.Version = version(9)
		r.MemberID = s.ids[who]
		if slices.Contains(args, "new") {
			r.MemberID = ""
		}
		if as, ok := opts["as"]; ok {
			r.MemberID = as
		}
		r.InstanceID = instance()
		r.ProtocolType = "consumer"
		if v, ok := opts["type"]; ok {
			r.ProtocolType = v
		}
		r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = 10_000, 60_000
		if v, ok := opts["session"]; ok {
			r.SessionTimeoutMillis = int32(millis(v))
		}
		if v, ok := opts["rebalance"]; ok {
			r.RebalanceTimeoutMillis = int32(millis(v))
		}
		protocols := "range"
		if v, ok := opts["protocols"]; ok {
			protocols = v
		}
		topic := "t"
		if v, ok := opts["topic"]; ok {
			topic = v
		}
		for _, p := range strings.Split(protocols, ",") {
			r.Protocols = append(r.Protocols, kmsg.JoinGroupRequestProtocol{Name: p, Metadata: subscriptionBytes(topic)})
		}
		s.count[who]++
		fresh := fmt.Sprintf("%d", s.count[who])
		prefix := who
		if r.InstanceID != nil {
			prefix = *r.InstanceID
		}
		s.names[prefix+"-"+fresh] = who + "." + fresh
		if r.MemberID != "" {
			s.count[who]--
		}
		return s.show(s.g.Join(s.now, s.ticket(who), Client{ID: who, Host: "/h"}, fresh, r))
	case "sync":
		r := kmsg.NewPtrSyncGroupRequest()
		r.Version = version(5)
		r.MemberID, r.InstanceID, r.Generation = s.ids[who], instance(), generation()
		protocolType, protocolName := "consumer", "range"
		if v, ok := opts["protocol"]; ok {
			protocolName = v
		}
		if r.Version >= 5 {
			r.ProtocolType, r.Protocol = &protocolType, &protocolName
		}
		for name, id := range s.ids {
			if v, ok := opts[name]; ok {
				r.GroupAssignment = append(r.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: id, MemberAssignment: []byte(v)})
			}
		}
		return s.show(s.g.Sync(s.now, s.ticket(who), r))
	case "heartbeat":
		r := kmsg.NewPtrHeartbeatRequest()
		r.MemberID, r.InstanceID, r.Generation = s.ids[who], instance(), generation()
		return []string{who + " " + code(s.g.Heartbeat(s.now, r))}
	case "leave":
		r := kmsg.NewPtrLeaveGroupRequest()
		r.Version = version(5)
		if r.Version < 3 {
			r.MemberID = s.ids[who]
		} else if i := instance(); i != nil {
			r.Members = append(r.Members, kmsg.LeaveGroupRequestMember{InstanceID: i})
		} else {
			for _, name := range strings.Split(who, ",") {
				r.Members = append(r.Members, kmsg.LeaveGroupRequestMember{MemberID: s.ids[name]})
			}
		}
		response, out := s.g.Leave(s.now, r)
		var each []string
		for _, m := range response.Members {
			each = append(each, s.name(m.MemberID)+" "+code(m.ErrorCode))
		}
		return append([]string{strings.TrimSpace("leave " + code(response.ErrorCode) + ": " + strings.Join(each, ", "))}, s.show(out)...)
	case "commit":
		r := kmsg.NewPtrOffsetCommitRequest()
		r.Version = version(9)
		r.Generation = -1
		if !strings.Contains(who, "/") {
			r.MemberID, r.Generation, r.InstanceID = s.ids[who], generation(), instance()
			args = args[1:]
		} else {
			who = "-"
		}
		if v, ok := opts["retention"]; ok {
			r.RetentionTimeMillis = millis(v)
		}
		for _, a := range args {
			tp, rest, _ := strings.Cut(a, "=")
			topic, partition, _ := strings.Cut(tp, "/")
			value, meta, _ := strings.Cut(rest, ",")
			n, _ := strconv.ParseInt(partition, 10, 32)
			offset, _ := strconv.ParseInt(value, 10, 64)
			p := kmsg.NewOffsetCommitRequestTopicPartition()
			p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = int32(n), offset, 7, &meta
			r.Topics = append(r.Topics, kmsg.OffsetCommitRequestTopic{Topic: topic, Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}})
		}
		return s.show(s.g.Commit(s.now, s.ticket(who), r))
	case "fetch":
		var topics []kmsg.OffsetFetchRequestGroupTopic
		if who != "all" {
			topic, partition, _ := strings.Cut(who, "/")
			n, _ := strconv.ParseInt(partition, 10, 32)
			topics = []kmsg.OffsetFetchRequestGroupTopic{{Topic: topic, Partitions: []int32{int32(n)}}}
		}
		for _, a := range s.g.Fetch(topics, slices.Contains(args, "stable")) {
			for _, p := range a.Partitions {
				lines = append(lines, fmt.Sprintf("%s/%d=%d %q epoch %d %s", a.Topic, p.Partition, p.Offset, deref(p.Metadata), p.LeaderEpoch, code(p.ErrorCode)))
			}
		}
		return lines
	case "delete":
		return s.show(s.g.Delete(s.now, s.ticket("delete")))
	case "delete-offsets":
		topic, partition, _ := strings.Cut(who, "/")
		n, _ := strconv.ParseInt(partition, 10, 32)
		r := kmsg.NewPtrOffsetDeleteRequest()
		r.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: int32(n)}}}}
		return s.show(s.g.DeleteOffsets(s.now, s.ticket("delete-offsets"), r))
	case "drop-topic":
		return s.show(s.g.DropTopic(s.now, s.ticket("drop-topic"), who, TopicID{}))
	case "expire-offsets":
		return s.show(s.g.ExpireOffsets(s.now))
	case "committed", "failed":
		c := int16(0)
		if words[0] == "failed" {
			c = kerr.CoordinatorNotAvailable.Code
		}
		a := s.log[s.done]
		s.done++
		if c == 0 {
			s.stored = append(s.stored, a)
		}
		return s.show(s.g.Appended(s.now, a, c))
	case "reload":
		s.g = s.reload()
		s.log, s.done = nil, 0
		return s.show(s.g.Loaded(s.now))
	case "show":
		return []string{s.state()}
	}
	return []string{"unknown command"}
}

// reload is the group that the committed records make.
func (s *story) reload() *Group {
	p := NewReplay(&s.limits)
	offset := int64(0)
	for _, a := range s.stored {
		for _, r := range a.Records {
			if err := p.Record(offset, -1, r.Key, r.Value); err != nil {
				panic(err)
			}
			offset++
		}
	}
	if g := p.Groups(s.now)["g"]; g != nil {
		return g
	}
	return New("g", &s.limits, s.now)
}

func (s *story) state() string {
	var members []string
	for _, m := range s.g.inOrder() {
		text := s.name(m.id) + "=" + string(m.assignment)
		if m.id == s.g.leader {
			text = "*" + text
		}
		members = append(members, text)
	}
	text := fmt.Sprintf("%s generation %d", s.g.state, s.g.generation)
	if s.g.protocolName != nil {
		text += " " + *s.g.protocolName
	}
	if len(members) > 0 {
		text += ": " + strings.Join(members, " ")
	}
	if s.g.Gone() {
		text += " gone"
	}
	return text
}

// show writes an output as lines.
func (s *story) show(out Output) (lines []string) {
	for _, r := range out.Replies {
		who := s.tickets[r.Ticket]
		if who == "" {
			panic("answered twice, or nobody")
		}
		delete(s.tickets, r.Ticket)
		switch response := r.Response.(type) {
		case nil:
			lines = append(lines, who+" "+code(r.Code))
		case *kmsg.JoinGroupResponse:
			if response.ErrorCode == 0 || response.ErrorCode == memberIDRequired {
				s.ids[who] = response.MemberID
			}
			if response.ErrorCode != 0 {
				lines = append(lines, fmt.Sprintf("%s join %s %s", who, code(response.ErrorCode), s.name(response.MemberID)))
				continue
			}
			text := fmt.Sprintf("%s join ok %s generation %d %s leader %s", who, s.name(response.MemberID), response.Generation, deref(response.Protocol), s.name(response.LeaderID))
			var members []string
			for _, m := range response.Members {
				members = append(members, s.name(m.MemberID))
			}
			if len(members) > 0 {
				text += " members " + strings.Join(members, " ")
			}
			if response.SkipAssignment {
				text += " skip"
			}
			lines = append(lines, text)
		case *kmsg.SyncGroupResponse:
			lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s sync %s %s", who, code(response.ErrorCode), response.MemberAssignment)))
		case *kmsg.OffsetCommitResponse:
			for _, t := range response.Topics {
				for _, p := range t.Partitions {
					lines = append(lines, fmt.Sprintf("%s commit %s/%d %s", who, t.Topic, p.Partition, code(p.ErrorCode)))
				}
			}
		case *kmsg.OffsetDeleteResponse:
			text := who + " " + code(response.ErrorCode)
			for _, t := range response.Topics {
				for _, p := range t.Partitions {
					text += fmt.Sprintf(" %s/%d %s", t.Topic, p.Partition, code(p.ErrorCode))
				}
			}
			lines = append(lines, text)
		}
	}
	for _, a := range out.Appends {
		s.log = append(s.log, a)
		var records []string
		for _, r := range a.Records {
			k, _, err := decodeKey(r.Key)
			if err != nil {
				panic(err)
			}
			text := fmt.Sprintf("%s/%d", k.tp.topic, k.tp.partition)
			if k.metadata {
				text = "group"
			}
			if r.Value == nil {
				text = "-" + text
			}
			records = append(records, text)
		}
		lines = append(lines, "append "+strings.Join(records, " "))
	}
	return lines
}

// subscriptionBytes is a subscription to one topic in Kafka's consumer protocol v0.
func subscriptionBytes(topic string) []byte {
	m := kmsg.NewConsumerMemberMetadata()
	m.Topics = []string{topic}
	return m.AppendTo(nil)
}
