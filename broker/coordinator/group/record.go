package group

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/segment/batch"
)

// The records of __consumer_offsets. A key begins with its type as an int16, a value
// with its version; a null value removes what the key names. Strings are an int16
// length and bytes, byte arrays an int32 length and bytes, -1 for null; from value
// version 4 on lengths are varints of length + 1, and tagged fields follow.
//
//	key 0, 1  group string, topic string, partition int32
//	value     version      int16   0-4, we write 3; 1 with an expiry, 4 with a topic id
//	          offset       int64
//	          leader epoch int32   v3+
//	          metadata     string
//	          committed at int64   ms
//	          expires at   int64   v1 only, ms
//	          topic id     uuid    v4+, tag 0
//
//	key 2     group string
//	value     version       int16  0-4, we write 3
//	          protocol type string
//	          generation    int32
//	          protocol      nullable string
//	          leader        nullable string
//	          state since   int64  v2+, ms
//	          members       int32 count, each:
//	            member id         string
//	            instance id       nullable string  v3+
//	            client id         string
//	            client host       string
//	            rebalance timeout int32            v1+, ms
//	            session timeout   int32            ms
//	            subscription      bytes
//	            assignment        bytes
const (
	keyOffsetV0 = 0
	keyOffset   = 1
	keyMetadata = 2

	valueOffsetExpiring = 1
	valueOffset         = 3
	valueOffsetTopicID  = 4
	valueMetadata       = 3
	valueMax            = 4
)

// ErrRecord is returned for a record that has one of our keys and cannot be read.
var ErrRecord = errors.New("malformed group record")

func record(now int64, key, value []byte) batch.Record {
	return batch.Record{Timestamp: now, Key: key, Value: value}
}

func one(now int64, key, value []byte) []batch.Record {
	return []batch.Record{record(now, key, value)}
}

func (g *Group) offsetKey(tp topicPartition) []byte {
	k := kmsg.OffsetCommitKey{Version: keyOffset, Group: g.id, Topic: tp.topic, Partition: tp.partition}
	return k.AppendTo(nil)
}

func (g *Group) metadataKey() []byte {
	k := kmsg.GroupMetadataKey{Version: keyMetadata, Group: g.id}
	return k.AppendTo(nil)
}

func offsetValue(o Offset) []byte {
	v := kmsg.OffsetCommitValue{
		Version: valueOffset,
		Offset:  o.Offset, LeaderEpoch: o.LeaderEpoch, Metadata: o.Metadata,
		CommitTimestamp: o.CommitTime, ExpireTimestamp: o.ExpireTime,
	}
	switch {
	case o.ExpireTime != -1:
		v.Version = valueOffsetExpiring
	case o.TopicID != [16]byte{}:
		v.Version, v.TopicID = valueOffsetTopicID, o.TopicID
	}
	return v.AppendTo(nil)
}

// metadataValue is the group's membership as it is now. assignments replace the
// members' own where they are not nil.
func (g *Group) metadataValue(assignments map[string][]byte) []byte {
	v := kmsg.GroupMetadataValue{
		Version: valueMetadata, ProtocolType: g.protocolType, Generation: g.generation,
		Protocol: g.protocolName, CurrentStateTimestamp: g.since,
	}
	if g.leader != "" {
		v.Leader = &g.leader
	}
	for _, m := range g.inOrder() {
		vm := kmsg.GroupMetadataValueMember{
			MemberID: m.id, InstanceID: m.instance, ClientID: m.clientID, ClientHost: m.clientHost,
			RebalanceTimeoutMillis: m.rebalanceTimeout, SessionTimeoutMillis: m.sessionTimeout,
			Subscription: m.metadata(*g.protocolName), Assignment: m.assignment,
		}
		if assignments != nil {
			vm.Assignment = assignments[m.id]
		}
		v.Members = append(v.Members, vm)
	}
	return v.AppendTo(nil)
}

// key is a key of ours: of an offset, of a group of the classic protocol where metadata
// is set, or of one of a later protocol where state has a kind.
type key struct {
	group    string
	metadata bool
	state    stateKey
	tp       topicPartition
}

// decodeKey reads a key. ok is false for the keys of other record types, which are
// not ours to read: later brokers have more of them.
func decodeKey(p []byte) (k key, ok bool, err error) {
	if len(p) < 2 {
		return key{}, false, fmt.Errorf("%w: key of %d bytes", ErrRecord, len(p))
	}
	switch kind := int16(binary.BigEndian.Uint16(p)); kind {
	case keyOffsetV0, keyOffset:
		var v kmsg.OffsetCommitKey
		if err := v.ReadFrom(p); err != nil {
			return key{}, false, fmt.Errorf("%w: offset key: %w", ErrRecord, err)
		}
		return key{group: v.Group, tp: topicPartition{v.Topic, v.Partition}}, true, nil
	case keyMetadata:
		var v kmsg.GroupMetadataKey
		if err := v.ReadFrom(p); err != nil {
			return key{}, false, fmt.Errorf("%w: group key: %w", ErrRecord, err)
		}
		return key{group: v.Group, metadata: true}, true, nil
	case keyEpoch, keyMember, keyTargetEpoch, keyTarget, keyCurrent, keyRegex,
		keyShareMember, keyShareEpoch, keyShareTargetEpoch, keyShareTarget, keyShareCurrent, keySharePartitions,
		keyStreamsEpoch, keyStreamsMember, keyStreamsTargetEpoch, keyStreamsTarget, keyStreamsCurrent, keyStreamsTopology:
		k, err := decodeStateKey(kind, p[2:])
		return k, err == nil, err
	}
	return key{}, false, nil
}

func decodeStateKey(kind int16, p []byte) (key, error) {
	r := &reader{p: p}
	k := key{group: r.string(), state: stateKey{kind: kind}}
	if k.state.named() {
		k.state.name = r.string()
	}
	if r.bad {
		return key{}, fmt.Errorf("%w: key of type %d and %d bytes is cut short", ErrRecord, kind, len(p))
	}
	return k, nil
}

func decodeOffset(p []byte) (Offset, error) {
	r, version, err := readValue(p)
	if err != nil {
		return Offset{}, fmt.Errorf("offset value: %w", err)
	}
	o := Offset{LeaderEpoch: -1, ExpireTime: -1, record: -1}
	o.Offset = r.int64()
	if version >= 3 {
		o.LeaderEpoch = max(r.int32(), -1)
	}
	o.Metadata = r.string()
	o.CommitTime = r.int64()
	if version == valueOffsetExpiring {
		o.ExpireTime = r.int64()
	}
	r.tags(func(tag int, p []byte) {
		if tag == 0 && len(p) == len(o.TopicID) {
			copy(o.TopicID[:], p)
		}
	})
	if r.bad {
		return Offset{}, fmt.Errorf("%w: offset value of %d bytes is cut short", ErrRecord, len(p))
	}
	return o, nil
}

// membership is the value of a group's record.
type membership struct {
	protocolType string
	generation   int32
	protocol     *string
	leader       *string
	since        int64 // ms, -1: not known
	members      []*member
}

func decodeMetadata(p []byte) (*membership, error) {
	r, version, err := readValue(p)
	if err != nil {
		return nil, fmt.Errorf("group value: %w", err)
	}
	v := &membership{since: -1}
	v.protocolType = r.string()
	v.generation = r.int32()
	v.protocol = r.nullableString()
	v.leader = r.nullableString()
	if version >= 2 {
		v.since = r.int64()
	}
	for n := r.length(false); n > 0 && !r.bad; n-- {
		m := &member{id: r.string()}
		if version >= 3 {
			m.instance = r.nullableString()
		}
		m.clientID = r.string()
		m.clientHost = r.string()
		m.rebalanceTimeout = -1
		if version >= 1 {
			m.rebalanceTimeout = r.int32()
		}
		m.sessionTimeout = r.int32()
		if m.rebalanceTimeout == -1 {
			m.rebalanceTimeout = m.sessionTimeout
		}
		if subscription := r.bytes(); v.protocol != nil {
			m.protocols = []protocol{{name: *v.protocol, metadata: subscription}}
		}
		m.assignment = r.bytes()
		r.tags(func(int, []byte) {})
		v.members = append(v.members, m)
	}
	r.tags(func(int, []byte) {})
	if r.bad {
		return nil, fmt.Errorf("%w: group value of %d bytes is cut short", ErrRecord, len(p))
	}
	return v, nil
}

// readValue reads the version of a value and refuses those we do not know.
func readValue(p []byte) (*reader, int16, error) {
	r := &reader{p: p}
	version := r.int16()
	if r.bad || version < 0 || version > valueMax {
		return nil, 0, fmt.Errorf("%w: version %d, known are 0 to %d", ErrRecord, version, valueMax)
	}
	r.flexible = version >= 4
	return r, version, nil
}
