package group

import (
	"encoding/binary"
	"maps"
	"slices"
	"unicode/utf16"

	"github.com/zeebo/xxh3"
)

// Metadata is the cluster's topics as groups see them: one snapshot, which never
// changes.
type Metadata interface {
	Topic(name string) (Topic, bool)
	TopicByID(id TopicID) (Topic, bool)
	// Names lists all topics in order. Not to be written to.
	Names() []string
	// Version grows with every change of any topic, and is 0 for none at all.
	Version() int64
}

// Topic is what a group needs to know of a topic.
type Topic struct {
	Name       string
	ID         TopicID
	Partitions int32
	// Racks are those of each partition's replicas, sorted; nil: no broker has one.
	Racks [][]string
}

// hash is Kafka's hash of a topic (KIP-1101): XXH3 over
//
//	magic      byte   0
//	id         2 × int64
//	name       UTF-16 units, and their number as an int32
//	partitions int32 count, each: its index int32, and of each rack the length as an
//	           int32 and the name as above
//
// Integers of the hash are little endian.
func (t Topic) hash() uint64 {
	p := []byte{0}
	p = binary.LittleEndian.AppendUint64(p, binary.BigEndian.Uint64(t.ID[:8]))
	p = binary.LittleEndian.AppendUint64(p, binary.BigEndian.Uint64(t.ID[8:]))
	p, _ = appendUTF16(p, t.Name)
	p = binary.LittleEndian.AppendUint32(p, uint32(t.Partitions))
	for i := range t.Partitions {
		p = binary.LittleEndian.AppendUint32(p, uint32(i))
		if int(i) >= len(t.Racks) {
			continue
		}
		for _, rack := range t.Racks[i] {
			named, units := appendUTF16(nil, rack)
			p = binary.LittleEndian.AppendUint32(p, uint32(units))
			p = append(p, named...)
		}
	}
	return xxh3.Hash(p)
}

// appendUTF16 appends a string's units and their number, as hash4j's putString does.
func appendUTF16(p []byte, s string) ([]byte, int) {
	units := utf16.Encode([]rune(s))
	for _, unit := range units {
		p = binary.LittleEndian.AppendUint16(p, unit)
	}
	return binary.LittleEndian.AppendUint32(p, uint32(len(units))), len(units)
}

// metadataHash is the hash of the topics that exist among those named, 0 for none: a
// group whose hash has changed needs another assignment.
func metadataHash(names map[string]struct{}, metadata Metadata) int64 {
	var p []byte
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if t, ok := metadata.Topic(name); ok {
			p = binary.LittleEndian.AppendUint64(p, t.hash())
		}
	}
	if p == nil {
		return 0
	}
	return int64(xxh3.Hash(p))
}

// maxString is the longest string, in bytes, that a key of a record can hold, and a
// value of the classic protocol.
const maxString = 1<<15 - 1

// ValidID reports whether a group of that id can be stored.
func ValidID(id string) bool { return len(id) <= maxString }

// noMetadata is a cluster without topics.
type noMetadata struct{}

func (noMetadata) Topic(string) (Topic, bool)      { return Topic{}, false }
func (noMetadata) TopicByID(TopicID) (Topic, bool) { return Topic{}, false }
func (noMetadata) Names() []string                 { return nil }
func (noMetadata) Version() int64                  { return 0 }

func (l *Limits) metadata() Metadata {
	if l.Metadata == nil {
		return noMetadata{}
	}
	return l.Metadata()
}

// DefaultSettings are Kafka's.
var DefaultSettings = Settings{
	SessionTimeout: 45_000, HeartbeatInterval: 5000, AssignmentInterval: 1000, RegexRefresh: 600_000,
	Assignors: []string{"uniform", "range"}, Upgrade: true, Downgrade: true,
}

func (l *Limits) settings(groupID string) Settings {
	if l.Consumer == nil {
		return DefaultSettings
	}
	return l.Consumer(groupID)
}
