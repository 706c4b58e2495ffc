package group

import (
	"bytes"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Client is who asks.
type Client struct {
	ID   string // client.id
	Host string // "/127.0.0.1", as Kafka shows it
}

// protocol is an assignor a member offers, with its subscription.
type protocol struct {
	name     string
	metadata []byte
}

// parked is a request that waits for an answer.
type parked struct {
	ticket  Ticket
	version int16
}

// member is a consumer that has joined. Its strings and slices are the group's own
// and are never changed in place.
type member struct {
	id                   string
	instance             *string // group.instance.id (KIP-345), nil: dynamic
	clientID             string
	clientHost           string
	rebalanceTimeout     int32 // ms
	sessionTimeout       int32 // ms
	protocols            []protocol
	assignment           []byte
	seq                  uint64 // order of joining
	isNew                bool   // has not been in a generation yet
	awaitJoin, awaitSync *parked

	// deadline is when the member is expired, ms; 0: not before it is answered.
	// scheduled is the moment of its entry in sessions, 0: none.
	// Invariant: deadline == 0 || 0 < scheduled <= deadline, while it is in the group.
	deadline, scheduled int64
}

// satisfied reports whether the member needs no heartbeat because it waits for us. A
// new member does, for it may be gone and nobody would notice.
func (m *member) satisfied() bool {
	return !m.isNew && (m.awaitJoin != nil || m.awaitSync != nil)
}

// metadata returns what the member said with the protocol.
func (m *member) metadata(name string) []byte {
	for i := range m.protocols {
		if m.protocols[i].name == name {
			return m.protocols[i].metadata
		}
	}
	return nil
}

// offers reports whether the member offers exactly these protocols in this order.
func (m *member) offers(protocols []kmsg.JoinGroupRequestProtocol) bool {
	if len(protocols) != len(m.protocols) {
		return false
	}
	for i := range protocols {
		if protocols[i].Name != m.protocols[i].name || !bytes.Equal(protocols[i].Metadata, m.protocols[i].metadata) {
			return false
		}
	}
	return true
}

// cloneProtocols copies what may be a view of a request's frame.
func cloneProtocols(in []kmsg.JoinGroupRequestProtocol) []protocol {
	out := make([]protocol, len(in))
	for i := range in {
		out[i] = protocol{name: strings.Clone(in[i].Name), metadata: cloneBytes(in[i].Metadata)}
	}
	return out
}

func cloneString(s *string) *string {
	if s == nil {
		return nil
	}
	c := strings.Clone(*s)
	return &c
}

// cloneBytes never returns nil: an absent assignment is an empty one on the wire.
func cloneBytes(p []byte) []byte { return append([]byte{}, p...) }
