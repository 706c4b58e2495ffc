package group

import (
	"encoding/hex"
	"errors"
	"testing"
)

// kafkaStreamsRecords are records as Apache Kafka 4.3.0 writes them (KIP-1071), made by
// its own serializers.
var kafkaStreamsRecords = []struct {
	name       string
	key        stateKey
	state      *streamsState
	wire, body string
}{
	{
		"epoch", stateKey{kind: keyStreamsEpoch},
		&streamsState{streamsRoster: streamsRoster{epoch: 7, hash: 0x1122334455667788}, validated: 3, configs: []keyValue{{"num.standby.replicas", "1"}}},
		"0011000167", "000000000007112233445566778802000400000003011902156e756d2e7374616e6462792e7265706c69636173023100",
	},
	{"bare epoch", stateKey{kind: keyStreamsEpoch}, &streamsState{streamsRoster: streamsRoster{epoch: 7, hash: 5}, validated: -1}, "0011000167", "000000000007000000000000000500"},
	{
		"member", stateKey{keyStreamsMember, "m"}, &streamsState{streamsRoster: streamsRoster{members: map[string]*streamsMember{"m": {
			id: "m", instance: sptr("i"), rack: sptr("r"), clientID: "c", clientHost: "/h", rebalanceTimeout: 300,
			topologyEpoch: 2, process: "p", endpoint: &endpoint{"e", 65000}, tags: []keyValue{{"k", "v"}},
		}}}},
		"001300016700016d", "0000026902720263032f680000012c000000020270010265fde80002026b02760000",
	},
	{
		"plain member", stateKey{keyStreamsMember, "m"}, &streamsState{streamsRoster: streamsRoster{members: map[string]*streamsMember{"m": {
			id: "m", clientID: "c", clientHost: "/h", rebalanceTimeout: -1, process: "p",
		}}}},
		"001300016700016d", "000000000263032f68ffffffff000000000270ff0100",
	},
	{"target epoch", stateKey{kind: keyStreamsTargetEpoch}, &streamsState{streamsRoster: streamsRoster{targetEpoch: 7, targetTime: 1234567890123}}, "0014000167", "0000000000070100080000011f71fb04cb"},
	{
		"target", stateKey{keyStreamsTarget, "m"}, &streamsState{streamsRoster: streamsRoster{target: map[string]taskSet{"m": {active: tasks{"0": {0, 3}}, standby: tasks{"1": {1}}}}}},
		"001500016700016d", "0000020230030000000000000003000202310200000001000100",
	},
	{
		"current", stateKey{keyStreamsCurrent, "m"}, &streamsState{streamsRoster: streamsRoster{members: map[string]*streamsMember{"m": {
			id: "m", epoch: 7, previous: 6, state: streamsUnrevokedTasks,
			assigned: holding{taskSet{active: tasks{"0": {0, 3}}, standby: tasks{"1": {1}}}, map[task]int32{{"0", 0}: 7, {"0", 3}: 6}},
			revoking: holding{taskSet{active: tasks{"0": {1}}}, map[task]int32{{"0", 1}: 5}},
		}}}},
		"001600016700016d",
		"00000000000700000006020202300300000000000000030100090300000007000000060202310200000001000102023002000000010100050200000005010100",
	},
	{
		"topology", stateKey{kind: keyStreamsTopology}, &streamsState{topology: &topology{epoch: 2, subtopologies: []subtopology{{
			id: "0", sources: []string{"in", "other"}, sinks: []string{"out"},
			changelogs:         []internalTopic{{name: "log", replicationFactor: 3, configs: []keyValue{{"cleanup.policy", "compact"}}}},
			repartitionSources: []internalTopic{{name: "re", partitions: 4}},
			copartitionGroups:  []copartitionGroup{{sources: []int16{0, 1}, repartitionSources: []int16{0}}},
		}}}},
		"0017000167",
		"0000000000020202300303696e066f746865720102046c6f67000000000003020f636c65616e75702e706f6c69637908636f6d70616374000002046f757402037265000000040000010002030000000101020000000000",
	},
}

func TestStreamsRecordsAreKafkasByteForByte(t *testing.T) {
	for _, c := range kafkaStreamsRecords {
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
		read := newStreamsState()
		if err := read.replay(c.key, unhex(t, c.body)); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := hex.EncodeToString(read.value(c.key)); got != c.body {
			t.Errorf("%s: read and written again: %s", c.name, got)
		}
	}
}

func TestDamagedStreamsRecordsAreRefused(t *testing.T) {
	for _, c := range kafkaStreamsRecords {
		body := unhex(t, c.body)
		for n := range len(body) {
			if err := newStreamsState().replay(c.key, body[:n]); n > 0 && !errors.Is(err, ErrRecord) {
				t.Errorf("%s cut at %d: %v", c.name, n, err)
			}
		}
	}
	twice := (&topology{subtopologies: []subtopology{{id: "0", sources: []string{"t"}}, {id: "0", sources: []string{"t"}}}}).value()
	if err := newStreamsState().replay(stateKey{kind: keyStreamsTopology}, twice); !errors.Is(err, ErrRecord) {
		t.Errorf("a subtopology that is there twice: %v", err)
	}
}

// FuzzStreamsRecord reads values of every type: whatever is read can be written and read
// again.
func FuzzStreamsRecord(f *testing.F) {
	for _, c := range kafkaStreamsRecords {
		f.Add(c.key.kind, unhex(f, c.body))
	}
	f.Fuzz(func(t *testing.T, kind int16, value []byte) {
		k := stateKey{kind, "x"}
		s := newStreamsState()
		if value == nil || s.replay(k, value) != nil {
			return
		}
		written := s.value(k)
		if written == nil {
			return
		}
		again := newStreamsState()
		if err := again.replay(k, written); err != nil {
			t.Fatalf("%x is written as %x: %v", value, written, err)
		}
		if got := again.value(k); hex.EncodeToString(got) != hex.EncodeToString(written) {
			t.Fatalf("%x is written as %x, then as %x", value, written, got)
		}
	})
}
