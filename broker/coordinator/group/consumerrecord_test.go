package group

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	p, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var someTopic = TopicID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

func sptr(s string) *string { return &s }

// kafkaRecords are records as Apache Kafka 4.3.0 writes them (KIP-848, KIP-1101,
// KIP-1251), made by its own serializers.
var kafkaRecords = []struct {
	name       string
	key        stateKey
	state      *consumerState
	wire, body string
}{
	{"epoch", stateKey{kind: keyEpoch}, &consumerState{consumerRoster: consumerRoster{epoch: 7, hash: 0x1122334455667788}}, "0003000167", "0000000000070100081122334455667788"},
	{"epoch without hash", stateKey{kind: keyEpoch}, &consumerState{consumerRoster: consumerRoster{epoch: 7}}, "0003000167", "00000000000700"},
	{
		"member", stateKey{keyMember, "m"}, &consumerState{consumerRoster: consumerRoster{members: map[string]*consumerMember{"m": {
			id: "m", instance: sptr("i"), rack: sptr("r"), clientID: "c", clientHost: "/h", topics: []string{"a", "b"}, regex: "x.*",
			rebalanceTimeout: 300, assignor: sptr("range"),
			classic: &classicPart{sessionTimeout: 45, protocols: []protocol{{"range", []byte{1, 2}}}},
		}}}},
		"000500016700016d", "0000026902720263032f68030261026204782e2a0000012c0672616e6765010011010000002d020672616e67650301020000",
	},
	{
		"plain member", stateKey{keyMember, "m"}, &consumerState{consumerRoster: consumerRoster{members: map[string]*consumerMember{"m": {
			id: "m", clientID: "c", clientHost: "/h", topics: []string{}, rebalanceTimeout: -1,
		}}}},
		"000500016700016d", "000000000263032f680101ffffffff0000",
	},
	{"target epoch", stateKey{kind: keyTargetEpoch}, &consumerState{consumerRoster: consumerRoster{targetEpoch: 7, targetTime: 1234567890123}}, "0006000167", "0000000000070100080000011f71fb04cb"},
	{
		"target", stateKey{keyTarget, "m"}, &consumerState{consumerRoster: consumerRoster{target: map[string]assignment{"m": {someTopic: {0, 3}}}}},
		"000700016700016d", "0000020102030405060708090a0b0c0d0e0f100300000000000000030000",
	},
	{
		"current", stateKey{keyCurrent, "m"}, &consumerState{consumerRoster: consumerRoster{members: map[string]*consumerMember{"m": {
			id: "m", epoch: 7, previous: 6, state: unrevokedPartitions,
			assigned: ownership{someTopic: {{0, 7}, {3, 6}}}, revoking: ownership{someTopic: {{1, 5}}},
		}}}},
		"000800016700016d", "0000000000070000000601020102030405060708090a0b0c0d0e0f10030000000000000003010009030000000700000006020102030405060708090a0b0c0d0e0f100200000001010005020000000500",
	},
	{
		"regex", stateKey{keyRegex, "x.*"}, &consumerState{regexes: map[string]*resolvedRegex{"x.*": {topics: []string{"x1", "x2"}, version: 5, time: 99}}},
		"00100001670003782e2a", "0000030378310378320000000000000005000000000000006300",
	},
}

func TestConsumerRecordsAreKafkasByteForByte(t *testing.T) {
	for _, c := range kafkaRecords {
		if got := hex.EncodeToString(c.key.append("g")); got != c.wire {
			t.Errorf("%s: key %s, Kafka's is %s", c.name, got, c.wire)
		}
		if got := hex.EncodeToString(c.state.value(c.key)); got != c.body {
			t.Errorf("%s: value\n%s, Kafka's is\n%s", c.name, got, c.body)
		}
		k, ok, err := decodeKey(unhex(t, c.wire))
		if err != nil || !ok || k.group != "g" || k.state != c.key {
			t.Errorf("%s: key reads as %+v, %v, %v", c.name, k, ok, err)
		}
		read := newConsumerState()
		if err := read.replay(c.key, unhex(t, c.body)); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := hex.EncodeToString(read.value(c.key)); got != c.body {
			t.Errorf("%s: read and written again: %s", c.name, got)
		}
	}
}

// TestCurrentAssignmentWithoutEpochsHasItsMembers guards records of a Kafka before KIP-1251.
func TestCurrentAssignmentWithoutEpochsHasItsMembers(t *testing.T) {
	s := newConsumerState()
	if err := s.replay(stateKey{keyCurrent, "m"}, unhex(t, "0000000000070000000600020102030405060708090a0b0c0d0e0f10030000000000000003000100")); err != nil {
		t.Fatal(err)
	}
	if got, want := s.members["m"].assigned, (ownership{someTopic: {{0, 7}, {3, 7}}}); !got.equal(want) {
		t.Errorf("assigned %v, want %v", got, want)
	}
}

func TestDamagedConsumerRecordsAreRefused(t *testing.T) {
	for _, c := range kafkaRecords {
		body := unhex(t, c.body)
		for n := range len(body) {
			if err := newConsumerState().replay(c.key, body[:n]); n > 0 && !errors.Is(err, ErrRecord) {
				t.Errorf("%s cut at %d: %v", c.name, n, err)
			}
		}
		key := unhex(t, c.wire)
		for n := range len(key) {
			if _, _, err := decodeKey(key[:n]); !errors.Is(err, ErrRecord) {
				t.Errorf("key of %s cut at %d: %v", c.name, n, err)
			}
		}
	}
}

// TestMetadataHashIsKafkas: the values are those of Apache Kafka 4.3.0 (KIP-1101).
func TestMetadataHashIsKafkas(t *testing.T) {
	topic := Topic{Name: "tö😀", ID: someTopic, Partitions: 2, Racks: [][]string{nil, {"r"}}}
	if got := fmt.Sprintf("%x", topic.hash()); got != "360d9efaed767edd" {
		t.Errorf("hash of a topic is %s", got)
	}
}

// testMetadata is a cluster of topics that a test changes.
type testMetadata struct {
	topics  map[string]Topic
	names   []string
	version int64
}

func metadataOf(partitions map[string]int32) *testMetadata {
	m := &testMetadata{topics: map[string]Topic{}, version: 1}
	for name, n := range partitions {
		m.topics[name] = Topic{Name: name, ID: idOf(name), Partitions: n}
	}
	m.names = sortedNames(keysOf(m.topics))
	return m
}

func keysOf[V any](m map[string]V) []string {
	var names []string
	for name := range maps.Keys(m) {
		names = append(names, name)
	}
	return names
}

func idOf(name string) (id TopicID) {
	copy(id[:], name)
	return id
}

func (m *testMetadata) Topic(name string) (Topic, bool) {
	t, ok := m.topics[name]
	return t, ok
}

func (m *testMetadata) TopicByID(id TopicID) (Topic, bool) {
	for _, t := range m.topics {
		if t.ID == id {
			return t, true
		}
	}
	return Topic{}, false
}

func (m *testMetadata) Names() []string { return m.names }
func (m *testMetadata) Version() int64  { return m.version }

// set gives a topic partitions, 0: removes it.
func (m *testMetadata) set(name string, partitions int32) *testMetadata {
	next := metadataOf(nil)
	maps.Copy(next.topics, m.topics)
	next.topics[name] = Topic{Name: name, ID: idOf(name), Partitions: partitions}
	if partitions == 0 {
		delete(next.topics, name)
	}
	next.names, next.version = sortedNames(keysOf(next.topics)), m.version+1
	return next
}

// FuzzConsumerRecord reads values of every type: whatever is read can be written and
// read again.
func FuzzConsumerRecord(f *testing.F) {
	for _, c := range kafkaRecords {
		f.Add(c.key.kind, unhex(f, c.body))
	}
	f.Fuzz(func(t *testing.T, kind int16, value []byte) {
		k := stateKey{kind, "x"}
		s := newConsumerState()
		if value == nil || s.replay(k, value) != nil {
			return
		}
		written := s.value(k)
		if written == nil {
			return
		}
		again := newConsumerState()
		if err := again.replay(k, written); err != nil {
			t.Fatalf("%x is written as %x: %v", value, written, err)
		}
		if got := again.value(k); !reflect.DeepEqual(got, written) {
			t.Fatalf("%x is written as %x, then as %x", value, written, got)
		}
	})
}

// TestAClassicMemberWithoutProtocolsIsDamaged: what the group tells such a member is said in
// the name of its first protocol.
func TestAClassicMemberWithoutProtocolsIsDamaged(t *testing.T) {
	l := newLife(t)
	l.beat("a", 0, nil)
	m := consumerMember{clientID: "c", clientHost: "/h", topics: []string{"t"}, classic: &classicPart{sessionTimeout: 10_000}}
	p := NewReplay(&l.limits)
	if err := p.Record(0, -1, stateKey{keyMember, "c"}.append("g"), m.subscriptionValue()); !errors.Is(err, ErrRecord) {
		t.Errorf("%v, want ErrRecord", err)
	}
}
