package group

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestOffsetValueIsReadInEveryVersion(t *testing.T) {
	id := [16]byte{1, 2, 3}
	for version := int16(0); version <= 4; version++ {
		v := kmsg.OffsetCommitValue{
			Version: version, Offset: 7, LeaderEpoch: 3, Metadata: "m", CommitTimestamp: 8, ExpireTimestamp: 9, TopicID: id,
		}
		want := Offset{Offset: 7, LeaderEpoch: -1, Metadata: "m", CommitTime: 8, ExpireTime: -1, record: -1}
		if version >= 3 {
			want.LeaderEpoch = 3
		}
		if version == 1 {
			want.ExpireTime = 9
		}
		if version == 4 {
			want.TopicID = id
		}
		got, err := decodeOffset(v.AppendTo(nil))
		if err != nil || got != want {
			t.Errorf("version %d: %+v, %v, want %+v", version, got, err, want)
		}
	}
}

func TestOffsetValueKeepsExpiryAndTopicID(t *testing.T) {
	for _, want := range []Offset{
		{Offset: 1, LeaderEpoch: 2, Metadata: "x", CommitTime: 3, ExpireTime: -1, record: -1},
		{Offset: 1, LeaderEpoch: -1, CommitTime: 3, ExpireTime: 4, record: -1},
		{Offset: 1, LeaderEpoch: 2, CommitTime: 3, ExpireTime: -1, TopicID: [16]byte{9}, record: -1},
	} {
		if got, err := decodeOffset(offsetValue(want)); err != nil || got != want {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
}

func TestMetadataValueIsReadInEveryVersion(t *testing.T) {
	instance, protocolName, leader := "i", "range", "a"
	for version := int16(0); version <= 4; version++ {
		v := kmsg.GroupMetadataValue{
			Version: version, ProtocolType: "consumer", Generation: 5, Protocol: &protocolName, Leader: &leader, CurrentStateTimestamp: 6,
			Members: []kmsg.GroupMetadataValueMember{{
				MemberID: "a", InstanceID: &instance, ClientID: "c", ClientHost: "/h",
				RebalanceTimeoutMillis: 10, SessionTimeoutMillis: 20, Subscription: []byte("s"), Assignment: []byte("p"),
			}},
		}
		got, err := decodeMetadata(v.AppendTo(nil))
		if err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		m := &member{
			id: "a", clientID: "c", clientHost: "/h", rebalanceTimeout: 20, sessionTimeout: 20,
			protocols: []protocol{{"range", []byte("s")}}, assignment: []byte("p"),
		}
		want := &membership{protocolType: "consumer", generation: 5, protocol: &protocolName, leader: &leader, since: -1, members: []*member{m}}
		if version >= 1 {
			m.rebalanceTimeout = 10
		}
		if version >= 2 {
			want.since = 6
		}
		if version >= 3 {
			m.instance = &instance
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("version %d: %+v, want %+v", version, got, want)
		}
	}
}

func TestReplaySkipsUnknownKeysAndRefusesDamagedValues(t *testing.T) {
	g := New("g", &Limits{}, 1)
	offset := g.offsetKey(topicPartition{"t", 0})
	for _, c := range []struct {
		name       string
		key, value []byte
		want       error
	}{
		{"a key of KIP-848", []byte{0, 3, 0, 1, 'g'}, []byte{0, 0, 0, 0, 0, 1, 0}, nil},
		{"a short value of KIP-848", []byte{0, 3, 0, 1, 'g'}, []byte{0, 0}, ErrRecord},
		{"partition metadata of Kafka 4.0", []byte{0, 4, 0, 1, 'g'}, []byte{0, 0}, nil},
		{"a key of the future", []byte{0x7f, 0xff}, nil, nil},
		{"a null key", nil, nil, ErrRecord},
		{"a short offset key", []byte{0, 1, 0, 9}, nil, ErrRecord},
		{"a short group key", []byte{0, 2, 0, 9}, nil, ErrRecord},
		{"an offset tombstone", offset, nil, nil},
		{"a group tombstone", g.metadataKey(), nil, nil},
		{"an empty value", offset, []byte{}, ErrRecord},
		{"a short value", offset, []byte{0, 3, 0}, ErrRecord},
		{"a value of the future", offset, append([]byte{0, 5}, make([]byte, 40)...), ErrRecord},
		{"a negative version", offset, append([]byte{0xff, 0xff}, make([]byte, 40)...), ErrRecord},
		{"a short group value", g.metadataKey(), []byte{0, 3, 0, 0}, ErrRecord},
	} {
		if err := NewReplay(&Limits{}).Record(0, -1, c.key, c.value); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestReplayCountsTransactionalOffsetsOnceCommitted guards KIP-98 for adopted logs.
func TestReplayCountsTransactionalOffsetsOnceCommitted(t *testing.T) {
	p := NewReplay(&Limits{})
	g := New("g", &Limits{}, 1)
	put := func(at, producer, offset int64, partition int32) {
		err := p.Record(at, producer, g.offsetKey(topicPartition{"t", partition}), offsetValue(Offset{Offset: offset, ExpireTime: -1}))
		if err != nil {
			t.Fatal(err)
		}
	}
	put(1, 10, 100, 0) // committed below
	put(2, 11, 200, 1) // aborted below
	put(3, 12, 300, 2) // stays open
	put(4, 10, 400, 3)
	put(5, -1, 401, 3) // the later of the two stands
	p.EndTransaction(10, true)
	p.EndTransaction(11, false)
	got := p.Groups(1)["g"]
	want := map[int32]int64{0: 100, 1: -1, 2: -1, 3: 401}
	for partition, offset := range want {
		a := got.Fetch([]kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", Partitions: []int32{partition}}}, true)[0].Partitions[0]
		if a.Offset != offset || (a.ErrorCode == unstableOffsetCommit) != (partition == 2) {
			t.Errorf("partition %d: offset %d code %d, want %d", partition, a.Offset, a.ErrorCode, offset)
		}
	}
}

func FuzzReplay(f *testing.F) {
	g := New("g", &Limits{}, 1)
	f.Add(g.offsetKey(topicPartition{"t", 1}), offsetValue(Offset{Offset: 1, Metadata: "m", ExpireTime: -1}))
	f.Add(g.offsetKey(topicPartition{"t", 1}), offsetValue(Offset{Offset: 1, ExpireTime: -1, TopicID: [16]byte{1}}))
	f.Add(g.metadataKey(), g.metadataValue(nil))
	g.protocolName = new(string)
	g.members["a"] = &member{id: "a", protocols: []protocol{{"", subscriptionBytes("t")}}}
	f.Add(g.metadataKey(), g.metadataValue(nil))
	f.Add([]byte{0, 9}, []byte{})
	for _, c := range kafkaStreamsRecords {
		f.Add(unhex(f, c.wire), unhex(f, c.body))
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		limits := &Limits{MaxSize: 1, OffsetsRetention: 1}
		p := NewReplay(limits)
		if err := p.Record(0, -1, bytes.Clone(key), bytes.Clone(value)); err != nil {
			if !errors.Is(err, ErrRecord) {
				t.Fatalf("not ErrRecord: %v", err)
			}
			return
		}
		for _, g := range p.Groups(1000) { // whatever was read can be used
			g.Loaded(1000)
			g.Describe(6)
			g.StreamsDescribe()
			g.Listed()
			g.Fetch(nil, true)
			g.ExpireOffsets(1 << 40)
			for range 3 {
				if at := g.Next(); at != 0 {
					g.Expire(at)
				}
			}
		}
	})
}

// TestWhatNoRecordCanHoldIsRefused: a string whose length does not fit would make a
// record that cannot be read, and with it the load of the whole partition fail.
func TestWhatNoRecordCanHoldIsRefused(t *testing.T) {
	long := strings.Repeat("x", maxString+1)
	ok := func() *kmsg.JoinGroupRequest {
		r := kmsg.NewPtrJoinGroupRequest()
		r.Version, r.ProtocolType, r.SessionTimeoutMillis = 9, "consumer", 6000
		r.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
		return r
	}
	for _, c := range []struct {
		name   string
		client Client
		change func(*kmsg.JoinGroupRequest)
	}{
		{"client id", Client{ID: long[2:]}, func(*kmsg.JoinGroupRequest) {}},
		{"instance id", Client{}, func(r *kmsg.JoinGroupRequest) { r.InstanceID = &long }},
		{"protocol type", Client{}, func(r *kmsg.JoinGroupRequest) { r.ProtocolType = long }},
		{"protocol name", Client{}, func(r *kmsg.JoinGroupRequest) { r.Protocols[0].Name = long }},
	} {
		r := ok()
		c.change(r)
		out := New("g", &Limits{}, 1).Join(1, 1, c.client, "fresh", r)
		if got := out.Replies[0].Response.(*kmsg.JoinGroupResponse).ErrorCode; got != invalidRequest {
			t.Errorf("%s: code %d", c.name, got)
		}
	}
	if !tooLong(long, 1<<20) || ValidID(long) {
		t.Error("metadata or a group id that is too long passes")
	}
}
