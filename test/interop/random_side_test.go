//go:build interop

package interop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// side is one broker in a random stream: what the stream has learned of it so far, under
// the names that both sides share.
type side struct {
	testing.TB
	broker string // what a difference calls it
	*rawConn
	address string
	prefix  string // of all names of this telling
	base    int64  // time of the stream's records
	ids     map[topicName][16]byte
	number  map[string]int64                                     // producers, epochs, sequences, sessions, generations, by slot
	text    map[string]string                                    // ids of members of classic groups, by slot
	owned   map[string][]kmsg.ConsumerGroupHeartbeatRequestTopic // by member id
	seen    map[string]string                                    // values that a broker chose: their symbols
	symbols map[string]int                                       // how many there are of a kind
}

// topicName is a topic's name without the prefix of the telling.
type topicName string

func newSide(t testing.TB, broker, address, prefix string, base int64) *side {
	return &side{
		TB: t, broker: broker, rawConn: dial(t, address), address: address, prefix: prefix, base: base,
		ids: make(map[topicName][16]byte), number: make(map[string]int64),
		text: make(map[string]string), owned: make(map[string][]kmsg.ConsumerGroupHeartbeatRequestTopic),
		seen: make(map[string]string), symbols: make(map[string]int),
	}
}

// told is a step as one side has it: what was asked and what came back.
type told struct{ asked, answered string }

// step sends what it is about to one side and is over when all its effects are there.
type step func(s *side) told

// request is the step of one request. learn takes from the answer what later steps refer to.
func request[Q kmsg.Request](version int16, fill func(*side) Q, learn ...func(*side, Q, kmsg.Response)) step {
	return func(s *side) told {
		s.Helper()
		q := fill(s)
		p, err := s.ask(version, q)
		if err != nil {
			return told{s.show(q), strings.Split(err.Error(), " ")[0] + " no answer"}
		}
		out := told{asked: s.show(q)}
		for _, f := range learn {
			f(s, q, p)
		}
		out.answered = s.show(p)
		return out
	}
}

// ask sends a request until its answer is none that a client asks again for. A closed
// connection is an answer, and made anew.
func (s *side) ask(version int16, q kmsg.Request) (p kmsg.Response, err error) {
	s.Helper()
	q.SetVersion(version)
	harness.Until(s, testLimit, kmsg.NameForKey(q.Key())+" to "+s.broker, func() error {
		p, err = s.exchange(q)
		if err != nil && (strings.Contains(err.Error(), "EOF") || strings.Contains(err.Error(), "reset") || strings.Contains(err.Error(), "broken pipe")) {
			s.Close()
			if s.rawConn, err = dialFor(s.address); err != nil {
				return err
			}
			err = errors.New("connection closed")
		}
		if err != nil {
			return nil //nolint:nilerr // it is the answer
		}
		for _, code := range codesIn(reflect.ValueOf(p)) {
			if slices.Contains(passing, code) {
				return fmt.Errorf("%s: %s", codeName(code), s.show(q))
			}
		}
		return nil
	})
	return p, err
}

// must is ask for what cannot be refused on the way.
func must[P kmsg.Response](s *side, version int16, q kmsg.Request) P {
	s.Helper()
	p, err := s.ask(version, q)
	if err != nil {
		s.Fatalf("%s to %s: %v", kmsg.NameForKey(q.Key()), s.broker, err)
	}
	return p.(P)
}

// codesIn are the error codes anywhere in an answer.
func codesIn(v reflect.Value) (codes []int16) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return codesIn(v.Elem())
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Struct {
			for i := range v.Len() {
				codes = append(codes, codesIn(v.Index(i))...)
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name == "ErrorCode" {
				codes = append(codes, int16(v.Field(i).Int()))
				continue
			}
			codes = append(codes, codesIn(v.Field(i))...)
		}
	}
	return codes
}

// name is the topic's name at both brokers.
func (s *side) name(topic topicName) string {
	if strings.HasPrefix(string(topic), "=") { // as it stands
		return string(topic[1:])
	}
	return s.prefix + string(topic)
}

// id is the topic's id; one that no broker knows until it is learned.
func (s *side) id(topic topicName) [16]byte {
	if id, ok := s.ids[topic]; ok {
		return id
	}
	var id [16]byte
	copy(id[:], "no such "+topic)
	return id
}

// creates makes a topic and waits until both its leaders and its coordinator know it.
func (s *side) creates(topic topicName, partitions int32, configs ...string) {
	s.Helper()
	to := newTopicRequest(s.name(topic), partitions)
	for _, set := range configs {
		key, value, _ := strings.Cut(set, "=")
		with(key, value)(&to)
	}
	p := must[*kmsg.CreateTopicsResponse](s, 7, createRequest(to))
	refusedWith(s, "create "+s.name(topic), p.Topics[0].ErrorCode, nil)
	s.ids[topic] = p.Topics[0].TopicID
	s.awaitLeaders(topic)
}

// coordinates waits until there is a coordinator of the group.
func (s *side) coordinates(group topicName) {
	s.Helper()
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.CoordinatorKey = s.name(group)
	refusedWith(s, "find "+s.name(group), must[*kmsg.FindCoordinatorResponse](s, 0, find).ErrorCode, nil)
	describe := kmsg.NewPtrDescribeGroupsRequest()
	describe.Groups = []string{s.name(group)}
	refusedWith(s, "describe "+s.name(group), must[*kmsg.DescribeGroupsResponse](s, 0, describe).Groups[0].ErrorCode, nil)
}

// anchors commits an offset that nobody deletes: the group exists at both brokers.
func (s *side) anchors(group topicName) {
	s.Helper()
	commit := must[*kmsg.OffsetCommitResponse](s, 9, commitRequest(s.name(group), s.name("one"), s.id("one"), 0, 1, ""))
	refusedWith(s, "commit", commit.Topics[0].Partitions[0].ErrorCode, nil)
}

func (s *side) awaitLeaders(topic topicName) {
	s.Helper()
	harness.Until(s, testLimit, "leaders of "+s.name(topic), func() error { return s.led(topic) })
}

// led is nil once each partition of a topic answers as its leader does.
func (s *side) led(topic topicName) error {
	name := s.name(topic)
	q := kmsg.NewPtrMetadataRequest()
	to := kmsg.NewMetadataRequestTopic()
	to.Topic = &name
	q.Topics = append(q.Topics, to)
	p := must[*kmsg.MetadataResponse](s, 12, q).Topics[0]
	if p.ErrorCode != 0 {
		return errors.New(codeName(p.ErrorCode))
	}
	for _, partition := range p.Partitions {
		l := must[*kmsg.ListOffsetsResponse](s, 7, listRequest(name, partition.Partition, -1)).Topics[0].Partitions[0]
		if l.ErrorCode != 0 {
			return errors.New(codeName(l.ErrorCode))
		}
	}
	return nil
}

// chosen are the fields whose values a broker chooses, and the kind of such a value: both
// brokers' are numbered as they are met, so that equal numbers are the same thing.
var chosen = map[string]string{
	"MemberID": "member", "LeaderID": "member", "TopicID": "topic", "ProducerID": "producer", "ProducerIDFilters": "producer",
	"SessionID": "session", "ReplicaDirectoryID": "directory",
}

// unsaid are the fields that may always differ: sentences, times and places.
var unsaid = []string{
	"Version", "ErrorMessage", "ThrottleMillis", "UnknownTags", "ClientHost", "Host", "Port", "Rack", "ClusterID", "Brokers",
	"StartTimestamp", "TimeoutMillis", "Documentation", "ReplicaID", "ReplicaState",
}

// show writes a request or an answer without what may differ.
func (s *side) show(p interface{ GetVersion() int16 }) string {
	name := strings.TrimPrefix(reflect.TypeOf(p).String(), "*kmsg.")
	return fmt.Sprintf("%s v%d %s", name, p.GetVersion(), s.render("", reflect.ValueOf(p), false))
}

// render writes a value without what may differ: lists of structs are sorted, and what a
// broker has chosen has its symbol, or only its kind if it is hidden.
func (s *side) render(field string, v reflect.Value, hidden bool) string {
	if kind := chosen[field]; kind != "" && v.Kind() != reflect.Pointer && (v.Kind() != reflect.Slice) {
		return s.symbol(kind, v, hidden)
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return "null"
		}
		return s.render(field, v.Elem(), hidden)
	case reflect.Struct:
		var parts []string
		_, produced := v.Interface().(kmsg.ProduceResponseTopicPartition)
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if produced && (name == "LogAppendTime" || name == "LogStartOffset" && v.FieldByName("ErrorCode").Int() != 0) {
				continue // Apache Kafka gives duplicates a time, and some errors a log start
			}
			if slices.Contains(unsaid, name) || name != "ErrorCode" && name != "ProducerID" && empty(v.Field(i)) {
				continue
			}
			parts = append(parts, name+":"+s.render(name, v.Field(i), hidden))
		}
		return "{" + strings.Join(parts, " ") + "}"
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			if field == "RecordBatches" || field == "Records" {
				return s.batches(v.Bytes(), hidden)
			}
			return brief(v.Bytes())
		}
		return s.list(field, v, hidden)
	case reflect.String:
		return brief([]byte(strings.ReplaceAll(v.String(), s.prefix, "")))
	case reflect.Int64:
		if field == "Timestamp" || field == "LastTimestamp" {
			return s.since(v.Int())
		}
	case reflect.Int16:
		if field == "ErrorCode" {
			return codeName(int16(v.Int()))
		}
	}
	return fmt.Sprint(v.Interface())
}

// empty is true of what says nothing: zero, lists without elements, and positions in the
// log that are all left out.
func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice:
		return v.Len() == 0
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanInt() && f.Int() != -1 || !f.CanInt() && !f.IsZero() {
				return false
			}
		}
		return v.NumField() > 0
	}
	return v.IsZero()
}

// list sorts by what is shown of each element while symbols are hidden: they are given in
// the order of the list, which is then the same on both sides. What is said of one topic
// in two places is put together, and what is said twice counts once.
func (s *side) list(field string, v reflect.Value, hidden bool) string {
	if v.Type().Elem().Kind() == reflect.Struct {
		v = together(v)
	}
	order := make([]int, v.Len())
	for i := range order {
		order[i] = i
	}
	key := func(i int) string { return s.render(field, v.Index(i), true) }
	slices.SortStableFunc(order, func(a, b int) int { return strings.Compare(key(a), key(b)) })
	var parts []string
	for _, i := range order {
		parts = append(parts, s.render(field, v.Index(i), hidden))
	}
	slices.Sort(parts)
	return "[" + strings.Join(slices.Compact(parts), " ") + "]"
}

// together puts the partitions of equal topics into one list.
func together(v reflect.Value) reflect.Value {
	topics := reflect.MakeSlice(v.Type(), 0, v.Len())
next:
	for i := range v.Len() {
		if !v.Index(i).FieldByName("Partitions").IsValid() {
			return v
		}
		for j := range topics.Len() {
			bare := reflect.New(v.Type().Elem()).Elem()
			bare.Set(topics.Index(j))
			all := topics.Index(j).FieldByName("Partitions")
			bare.FieldByName("Partitions").Set(v.Index(i).FieldByName("Partitions"))
			if all.Kind() == reflect.Slice && reflect.DeepEqual(bare.Interface(), v.Index(i).Interface()) {
				all.Set(reflect.AppendSlice(reflect.AppendSlice(reflect.MakeSlice(all.Type(), 0, 0), all), v.Index(i).FieldByName("Partitions")))
				continue next
			}
		}
		topics = reflect.Append(topics, v.Index(i))
	}
	return topics
}

// symbol stands for a value that the broker chose. Values that say nothing stand for themselves.
func (s *side) symbol(kind string, v reflect.Value, hidden bool) string {
	value := fmt.Sprint(v.Interface())
	known, ok := s.seen[kind+value]
	switch {
	case v.IsZero() && kind != "producer", value == "-1", strings.HasPrefix(value, "@"), strings.HasPrefix(value, "!"): // an id that a client chose
		return value
	case ok:
		return known
	case hidden:
		return kind
	}
	s.symbols[kind]++
	known = fmt.Sprintf("%s#%d", kind, s.symbols[kind])
	s.seen[kind+value] = known
	return known
}

// batches writes whole record batches; the last one may be cut short, where a fetch ends.
func (s *side) batches(raw []byte, hidden bool) string {
	var parts []string
	for len(raw) >= 61 {
		size := 12 + int(binary.BigEndian.Uint32(raw[8:]))
		if size > len(raw) || size < 61 {
			break
		}
		var b kmsg.RecordBatch
		if b.ReadFrom(raw[:size]) != nil {
			break
		}
		producer := s.render("ProducerID", reflect.ValueOf(b.ProducerID), hidden)
		parts = append(parts, fmt.Sprintf("%d+%d epoch %d attributes %x times %s %s producer %s %d %d: %d %s", b.FirstOffset, b.LastOffsetDelta,
			b.PartitionLeaderEpoch, b.Attributes, s.since(b.FirstTimestamp), s.since(b.MaxTimestamp), producer, b.ProducerEpoch, b.FirstSequence, b.NumRecords, brief(s.records(&b))))
		raw = raw[size:]
	}
	return "<" + strings.Join(parts, "; ") + ">"
}

// since is a time of records by its distance from the stream's, which lies in the past:
// what is much later, a broker's clock has said.
func (s *side) since(ms int64) string {
	switch {
	case ms < 0:
		return fmt.Sprint(ms)
	case ms > s.base+5_000:
		return "now"
	}
	return fmt.Sprintf("+%d", ms-s.base)
}

// brief is b itself, or what tells it from others if it is long.
func brief(b []byte) string {
	if len(b) > 40 {
		return fmt.Sprintf("%d bytes %08x", len(b), crc32.ChecksumIEEE(b))
	}
	return fmt.Sprintf("%q", b)
}

// records are a batch's records, but for markers, whose coordinator has an epoch of its own.
func (s *side) records(b *kmsg.RecordBatch) []byte {
	if b.Attributes&0x20 != 0 && len(b.Records) > 10 {
		return b.Records[:min(len(b.Records), 9)] // up to the type of the marker
	}
	return b.Records
}

// pick draws one of some values.
func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// versionOf draws a served version of a key, from some version on.
func versionOf(r *rand.Rand, key kmsg.Key, from int16) int16 {
	i := slices.IndexFunc(served, func(s servedKey) bool { return s.key == key })
	lowest := max(served[i].min, from)
	return lowest + int16(r.IntN(int(served[i].max-lowest)+1))
}

// some calls add once, or now and then up to most times or not at all.
func some(r *rand.Rand, most int, add func()) {
	n := 1
	if r.IntN(4) == 0 {
		n = r.IntN(most + 1)
	}
	for range n {
		add()
	}
}
