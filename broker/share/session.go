package share

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varvelog/varve/segment"
)

// TopicPartition is a partition as the protocol of share groups names it.
type TopicPartition struct {
	Topic segment.TopicID
	Index int32
}

// Epochs of a request that are no count.
const (
	FinalEpoch   int32 = -1 // close the session
	InitialEpoch int32 = 0  // open one
)

// evictAfter is how long a session must have been idle before a new one may take its
// slot where all are taken. Locks of its member have expired long before: an hour is the
// longest they can be set to, a minute what they are by default.
const evictAfter = 2 * time.Minute

// Sessions is the bounded cache of share sessions: which partitions each member fetches
// from this broker, so that its requests name only what changes.
type Sessions struct {
	slots func() int
	now   func() time.Time

	mu   sync.Mutex
	all  map[Member]*session
	size map[string]int // sessions of each group
	lost []Member       // whose connection was closed
}

// Member names a session: a member has one at each broker.
type Member struct{ Group, ID string }

// Peer is the connection that a request came by.
type Peer struct {
	ID   string
	Open context.Context // ends with the connection
}

type session struct {
	epoch int32 // of the next request
	parts []TopicPartition
	has   map[TopicPartition]struct{} // parts
	used  time.Time
	peer  string      // connection of the last request
	leave func() bool // stops watching it
	lost  bool        // that connection was closed
}

// NewSessions makes a cache of at most slots() sessions (group.share.max.share.sessions).
func NewSessions(slots func() int, now func() time.Time) *Sessions {
	return &Sessions{slots: slots, now: now, all: map[Member]*session{}, size: map[string]int{}}
}

// Fetch settles the session of a ShareFetch: it opens it, or finds it at the epoch the
// request names, and adds and removes partitions. It returns all partitions of the
// session, beginning with another one each time, and the members whose sessions have ended
// with that: the one that had to make room, and m itself where it comes back by another
// connection. A request that closes the session has none, and the session stays until Close.
//
// It returns SHARE_SESSION_NOT_FOUND, INVALID_SHARE_SESSION_EPOCH, and
// SHARE_SESSION_LIMIT_REACHED where no slot is free.
func (s *Sessions) Fetch(from Peer, m Member, epoch int32, add, forget []TopicPartition) (parts []TopicPartition, ended []Member, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var own *session
	switch epoch {
	case FinalEpoch:
		if s.all[m] == nil {
			return nil, nil, kerr.ShareSessionNotFound
		}
		return nil, nil, nil
	case InitialEpoch:
		if before := s.all[m]; before != nil && before.peer != from.ID {
			ended = append(ended, m)
		}
		s.remove(m)
		evicted, err := s.makeRoom()
		if err != nil {
			return nil, ended, err
		}
		ended = append(ended, evicted...)
		own = &session{has: map[TopicPartition]struct{}{}}
		s.all[m] = own
		s.size[m.Group]++
		s.advance(own)
	default:
		if own, err = s.at(m, epoch); err != nil {
			return nil, nil, err
		}
	}
	s.follow(own, m, from)
	own.add(add)
	own.forget(forget)
	return rotated(own.parts, own.epoch), ended, nil
}

func (own *session) add(parts []TopicPartition) {
	for _, p := range parts {
		if _, has := own.has[p]; !has {
			own.has[p] = struct{}{}
			own.parts = append(own.parts, p)
		}
	}
}

func (own *session) forget(parts []TopicPartition) {
	if len(parts) == 0 {
		return
	}
	for _, p := range parts {
		delete(own.has, p)
	}
	own.parts = slices.DeleteFunc(own.parts, func(p TopicPartition) bool { _, has := own.has[p]; return !has })
}

// Acknowledge settles the session of a ShareAcknowledge, which cannot open one.
func (s *Sessions) Acknowledge(m Member, epoch int32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch epoch {
	case InitialEpoch:
		return kerr.InvalidShareSessionEpoch
	case FinalEpoch:
		if s.all[m] == nil {
			return kerr.ShareSessionNotFound
		}
		return nil
	}
	_, err := s.at(m, epoch)
	return err
}

// Close removes a session.
func (s *Sessions) Close(m Member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(m)
}

// serves tells whether a group has a session here.
func (s *Sessions) serves(group string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size[group] > 0
}

// Count is how many sessions there are.
func (s *Sessions) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// at finds a session at an epoch and moves it to the next.
func (s *Sessions) at(m Member, epoch int32) (*session, error) {
	own := s.all[m]
	switch {
	case own == nil:
		return nil, kerr.ShareSessionNotFound
	case own.epoch != epoch:
		return nil, kerr.InvalidShareSessionEpoch
	}
	s.advance(own)
	return own, nil
}

func (s *Sessions) advance(own *session) {
	own.used = s.now()
	if own.epoch++; own.epoch < 0 { // wraps to 1: 0 asks for a new session
		own.epoch = 1
	}
}

// follow watches the connection of a session: its end is the session's.
func (s *Sessions) follow(own *session, m Member, from Peer) {
	if own.peer == from.ID {
		return
	}
	if own.leave != nil {
		own.leave()
	}
	own.peer, own.lost = from.ID, false
	own.leave = context.AfterFunc(from.Open, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.all[m] == own && own.peer == from.ID {
			own.lost = true
			s.lost = append(s.lost, m)
		}
	})
}

// closeLost removes the sessions whose connection was closed, unless their member is back
// by another one, and returns the members.
func (s *Sessions) closeLost() []Member {
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := slices.DeleteFunc(s.lost, func(m Member) bool { return s.all[m] == nil || !s.all[m].lost })
	for _, m := range lost {
		s.remove(m)
	}
	s.lost = nil
	return lost
}

func (s *Sessions) remove(m Member) {
	if s.all[m] == nil {
		return
	}
	s.all[m].leave()
	delete(s.all, m)
	if s.size[m.Group]--; s.size[m.Group] == 0 {
		delete(s.size, m.Group)
	}
}

// makeRoom removes the session that was idle longest, if no slot is free and it was idle
// for long enough.
func (s *Sessions) makeRoom() ([]Member, error) {
	if len(s.all) < s.slots() {
		return nil, nil
	}
	var oldest Member
	var used time.Time
	for m, own := range s.all {
		if used.IsZero() || own.used.Before(used) {
			oldest, used = m, own.used
		}
	}
	if used.IsZero() || s.now().Sub(used) < evictAfter {
		return nil, kerr.ShareSessionLimitReached
	}
	s.remove(oldest)
	return []Member{oldest}, nil
}

// rotated is parts from another one on each time, so that a request that is full before it
// has come to the last of them does not leave that out for ever.
func rotated(parts []TopicPartition, epoch int32) []TopicPartition {
	if len(parts) == 0 {
		return nil
	}
	n := int(epoch) % len(parts)
	return slices.Concat(parts[n:], parts[:n])
}
