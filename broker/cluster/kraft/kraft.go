// Package kraft reads what Apache Kafka's KRaft keeps of topics in __cluster_metadata-0:
// names, ids, configs, partitions with replicas and leader epochs, the next producer id, and
// what administrators have set: configs of groups, subscriptions to metrics, quotas, SCRAM
// credentials. It reads a directory of a broker that has stopped; it takes no part in a quorum.
//
// The directory is a log of record batches with a snapshot (<offset>-<epoch>.checkpoint,
// the same batches) in place of what lies before it. A record's value is a frame version,
// an API key and a version, unsigned varints each, and a message of that version in the
// flexible encoding of Kafka's protocol. Records of other kinds than those needed are
// passed over; a newer version of one that is needed is an error, not a guess.
package kraft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/varvelog/varve/segment"
)

// Metadata is what the records say, all of them applied.
type Metadata struct {
	Topics         map[string]*Topic
	NextProducerID int64 // every smaller one may have been handed out
	Settings       Settings

	ids     map[segment.TopicID]*Topic
	pending []pending // records of an open metadata transaction (KIP-868)
	open    bool
}

// Topic is a topic.
type Topic struct {
	Name       string
	ID         segment.TopicID
	Configs    map[string]string // overrides only
	Partitions map[int32]*Partition
}

// Partition is a partition's assignment.
type Partition struct {
	Replicas, ISR []int32
	// ELR are replicas out of sync that have every committed record nevertheless (KIP-966): the
	// only broker of a cluster is one after its stop.
	ELR         []int32
	Leader      int32 // -1: none
	LeaderEpoch int32
}

// ErrMetadata is what every error about the records' content wraps.
var ErrMetadata = errors.New("KRaft metadata cannot be read")

// The record types that are read (common/metadata of Kafka), and the newest version.
const (
	topicRecord            = 2
	partitionRecord        = 3
	configRecord           = 4
	partitionChangeRecord  = 5
	removeTopicRecord      = 9
	credentialRecord       = 11
	quotaRecord            = 14
	producerIDsRecord      = 15
	aclRecord              = 18
	removeACLRecord        = 19
	removeCredentialRecord = 22
	beginTransactionRecord = 23
	endTransactionRecord   = 24
	abortTransactionRecord = 25
)

var newest = map[uint64]uint64{
	topicRecord: 0, partitionRecord: 2, configRecord: 0, partitionChangeRecord: 2, removeTopicRecord: 0, producerIDsRecord: 0,
	credentialRecord: 0, removeCredentialRecord: 0, quotaRecord: 0, aclRecord: 0, removeACLRecord: 0,
	beginTransactionRecord: 0, endTransactionRecord: 0, abortTransactionRecord: 0,
}

type pending struct {
	kind, version uint64
	body          []byte
}

// New returns what a cluster has before its first record.
func New() *Metadata {
	return &Metadata{Topics: map[string]*Topic{}, Settings: newSettings(), ids: map[segment.TopicID]*Topic{}}
}

// Apply takes in the value of one data record.
func (m *Metadata) Apply(value []byte) error {
	r := &reader{p: value}
	frame, kind, version := r.uvarint(), r.uvarint(), r.uvarint()
	if r.bad || frame != 1 {
		return fmt.Errorf("%w: frame version %d of a record", ErrMetadata, frame)
	}
	last, known := newest[kind]
	if !known {
		return nil
	}
	if version > last {
		return fmt.Errorf("%w: record type %d of version %d, this version of varve reads up to %d", ErrMetadata, kind, version, last)
	}
	switch kind {
	case beginTransactionRecord:
		m.open, m.pending = true, nil
		return nil
	case abortTransactionRecord:
		m.open, m.pending = false, nil
		return nil
	case endTransactionRecord:
		all := m.pending
		m.open, m.pending = false, nil
		for _, p := range all {
			if err := m.apply(p.kind, p.version, p.body); err != nil {
				return err
			}
		}
		return nil
	}
	if m.open {
		m.pending = append(m.pending, pending{kind, version, append([]byte(nil), r.p...)})
		return nil
	}
	return m.apply(kind, version, r.p)
}

func (m *Metadata) apply(kind, version uint64, body []byte) error {
	r := &reader{p: body}
	var err error
	switch kind {
	case topicRecord:
		t := &Topic{Name: r.string(), ID: r.uuid(), Configs: map[string]string{}, Partitions: map[int32]*Partition{}}
		if !r.bad {
			m.Topics[t.Name], m.ids[t.ID] = t, t
		}
	case partitionRecord:
		err = m.partition(r, version)
	case partitionChangeRecord:
		err = m.change(r)
	case configRecord:
		m.config(r)
	case quotaRecord:
		m.Settings.quota(r)
	case credentialRecord:
		m.Settings.credential(r)
	case removeCredentialRecord:
		m.Settings.removeCredential(r)
	case aclRecord:
		if id := r.uuid(); !r.bad {
			m.Settings.ACLs[id] = struct{}{}
		}
	case removeACLRecord:
		delete(m.Settings.ACLs, r.uuid())
	case removeTopicRecord:
		if t := m.ids[r.uuid()]; t != nil && !r.bad {
			delete(m.ids, t.ID)
			delete(m.Topics, t.Name)
		}
	case producerIDsRecord:
		r.int32()
		r.int64()
		if next := r.int64(); !r.bad {
			m.NextProducerID = max(m.NextProducerID, next)
		}
	}
	if r.bad {
		return fmt.Errorf("%w: record type %d is cut short", ErrMetadata, kind)
	}
	return err
}

func (m *Metadata) partition(r *reader, version uint64) error {
	id, topic := r.int32(), r.uuid()
	p := &Partition{Replicas: r.int32s(), ISR: r.int32s()}
	r.int32s() // removing
	r.int32s() // adding
	p.Leader, p.LeaderEpoch = r.int32(), r.int32()
	r.int32() // partition epoch
	if version >= 1 {
		r.uuids() // directories
	}
	r.tags(func(tag uint64, f *reader) {
		if tag == 1 {
			p.ELR = f.int32s()
		}
	})
	t := m.ids[topic]
	switch {
	case r.bad:
		return nil // apply says so
	case t == nil:
		return fmt.Errorf("%w: partition %d of topic %s, which there is not", ErrMetadata, id, topic)
	case id < 0:
		return fmt.Errorf("%w: partition %d of topic %s", ErrMetadata, id, t.Name)
	}
	t.Partitions[id] = p
	return nil
}

// change applies a PartitionChangeRecord: all but the names are tagged fields, and a new
// leader, or none, begins a new epoch.
func (m *Metadata) change(r *reader) error {
	id, topic := r.int32(), r.uuid()
	var p *Partition
	if t := m.ids[topic]; t != nil {
		p = t.Partitions[id]
	}
	if p == nil && !r.bad {
		return fmt.Errorf("%w: a change of partition %d of topic %s, which there is not", ErrMetadata, id, topic)
	}
	r.tags(func(tag uint64, f *reader) {
		switch tag {
		case 0:
			p.ISR = f.int32s()
		case 1:
			const unchanged = -2
			if leader := f.int32(); leader != unchanged {
				p.Leader = leader
				p.LeaderEpoch++
			}
		case 2:
			p.Replicas = f.int32s()
		case 6:
			p.ELR = f.int32s()
		}
	})
	return nil
}

// reader takes fields off a message. What does not fit makes it bad; every later field
// is then zero, and nothing is allocated by a length that is only claimed.
type reader struct {
	p   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.p) {
		r.bad, r.p = true, nil
		return nil
	}
	v := r.p[:n:n]
	r.p = r.p[n:]
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.p)
	if n <= 0 || n > binary.MaxVarintLen32 {
		r.bad, r.p = true, nil
		return 0
	}
	r.p = r.p[n:]
	return v
}

func (r *reader) int32() int32 {
	if p := r.take(4); p != nil {
		return int32(binary.BigEndian.Uint32(p))
	}
	return 0
}

func (r *reader) byte() byte {
	if p := r.take(1); p != nil {
		return p[0]
	}
	return 0
}

// bytes copies: a record is a view of what was read.
func (r *reader) bytes() []byte { return slices.Clone(r.take(r.length())) }

func (r *reader) int64() int64 {
	if p := r.take(8); p != nil {
		return int64(binary.BigEndian.Uint64(p))
	}
	return 0
}

func (r *reader) uuid() (id segment.TopicID) {
	copy(id[:], r.take(len(id)))
	return id
}

// length reads a compact length; null is -1.
func (r *reader) length() int { return int(r.uvarint()) - 1 }

func (r *reader) nullable() (s string, null bool) {
	n := r.length()
	if n < 0 {
		return "", true
	}
	return string(r.take(n)), false
}

func (r *reader) string() string {
	s, null := r.nullable()
	r.bad = r.bad || null
	return s
}

func (r *reader) int32s() []int32 {
	n := r.length()
	if n <= 0 {
		return nil
	}
	p := r.take(4 * n)
	all := make([]int32, 0, len(p)/4)
	for ; len(p) > 0; p = p[4:] {
		all = append(all, int32(binary.BigEndian.Uint32(p)))
	}
	return all
}

func (r *reader) uuids() {
	if n := r.length(); n > 0 {
		r.take(16 * n)
	}
}

// tags reads the tagged fields that end a message.
func (r *reader) tags(field func(tag uint64, f *reader)) {
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		tag, size := r.uvarint(), r.uvarint()
		f := &reader{p: r.take(int(size))}
		if r.bad {
			return
		}
		field(tag, f)
		r.bad = r.bad || f.bad
	}
}
