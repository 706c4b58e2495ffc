package share

import (
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varvelog/varve/segment/batch"
)

// None stands for a start offset, an epoch or a count that is not known or not given.
const None = -1

// Key names a share partition.
type Key struct {
	Group     string
	Topic     [16]byte
	Partition int32
}

// State is what is stored of a share partition. It is immutable.
type State struct {
	SnapshotEpoch, StateEpoch, LeaderEpoch int32
	// StartOffset is the first offset that is still to be delivered; None: the share
	// partition's leader has not decided yet where it begins.
	StartOffset int64
	// DeliveryComplete counts the offsets at or above StartOffset whose delivery is
	// complete (KIP-1226); None: not told.
	DeliveryComplete int32
	Batches          []Batch
	Created, Written int64 // of the snapshot, ms; Written is later where it was written again

	// Updates are written since the snapshot.
	Updates int
	// Leaders and Groups are the highest leader and state epoch ever seen: an initialization
	// sets LeaderEpoch back, and older leaders stay fenced.
	Leaders, Groups int32
}

// Step is what a share partition decided. Where Next differs from the state before,
// Records say so, and it counts once they are committed; a nil Next is a share partition
// that is not initialized.
type Step struct {
	Refusal *Refusal // nil: done as asked
	Next    *State
	Records []batch.Record
}

// Refusal is a code and a sentence.
type Refusal struct {
	Code    int16
	Message string
}

func refuse(s *State, err *kerr.Error, message string) Step {
	return Step{Refusal: &Refusal{err.Code, message}, Next: s}
}

// Sentences of Apache Kafka, which its tools show.
const (
	writeUninitialized = "Write operation on uninitialized share partition not allowed."
	readUninitialized  = "Read operation on uninitialized share partition not allowed."
	fencedLeader       = "The leader epoch in the request is older than the epoch on the broker."
	fencedState        = "The share coordinator rejected the request because the share-group state epoch did not match."
)

// Initialization sets where a share group begins in a partition.
type Initialization struct {
	StateEpoch  int32 // None: not checked
	StartOffset int64 // None: the leader decides
}

// Initialize begins a share partition, or begins it anew with what was known forgotten;
// s is nil where there is none. It is refused with FENCED_STATE_EPOCH where a later state
// epoch was seen.
func (s *State) Initialize(now int64, k Key, q Initialization) Step {
	next := &State{StateEpoch: q.StateEpoch, StartOffset: q.StartOffset, Created: now, Written: now, Groups: q.StateEpoch}
	if q.StartOffset == None {
		next.DeliveryComplete = None
	}
	if s != nil {
		if q.StateEpoch != None && q.StateEpoch < s.Groups {
			return refuse(s, kerr.FencedStateEpoch, fencedState)
		}
		next.SnapshotEpoch = s.SnapshotEpoch + 1
		next.Leaders, next.Groups = s.Leaders, max(s.Groups, q.StateEpoch)
	}
	return Step{Next: next, Records: snapshot(now, k, next)}
}

// Update is what the leader of a share partition has to say.
type Update struct {
	StateEpoch, LeaderEpoch int32 // None: not checked
	StartOffset             int64 // None: as it was
	DeliveryComplete        int32 // None: not known
	Batches                 []Batch
}

// Write stores an update. After limit updates it writes a snapshot. It is refused with
// INVALID_REQUEST where nothing was initialized or a batch ends before it begins,
// FENCED_LEADER_EPOCH or FENCED_STATE_EPOCH where a later epoch was seen.
func (s *State) Write(now int64, k Key, limit int, u Update) Step {
	switch {
	case s == nil:
		return refuse(s, kerr.InvalidRequest, writeUninitialized)
	case u.LeaderEpoch != None && u.LeaderEpoch < s.Leaders:
		return refuse(s, kerr.FencedLeaderEpoch, fencedLeader)
	case u.StateEpoch != None && u.StateEpoch < s.Groups:
		return refuse(s, kerr.FencedStateEpoch, fencedState)
	}
	for _, b := range u.Batches {
		if b.First < 0 || b.Last < b.First {
			return refuse(s, kerr.InvalidRequest, "A state batch must begin at or above 0 and not after its end.")
		}
	}
	u.LeaderEpoch = s.LeaderEpoch // only who reads as a leader becomes it
	return s.update(now, k, limit, u)
}

// update is Write without its checks.
func (s *State) update(now int64, k Key, limit int, u Update) Step {
	u.Batches = Combine(u.StartOffset, u.Batches)
	next := s.apply(u)
	if s.Updates < limit {
		return Step{Next: next, Records: update(now, k, s.SnapshotEpoch, u)}
	}
	next.SnapshotEpoch++
	next.Created, next.Written, next.Updates = now, now, 0
	return Step{Next: next, Records: snapshot(now, k, next)}
}

// apply is the state after an update.
func (s *State) apply(u Update) *State {
	next := *s
	if u.StartOffset != None {
		next.StartOffset = u.StartOffset
	}
	if u.LeaderEpoch != None {
		next.LeaderEpoch, next.Leaders = u.LeaderEpoch, max(s.Leaders, u.LeaderEpoch)
	}
	next.DeliveryComplete = u.DeliveryComplete
	next.Batches = Combine(next.StartOffset, s.Batches, u.Batches)
	next.Updates++
	return &next
}

// Read answers the leader of a share partition, in whose epoch it is stored from now on:
// earlier leaders are fenced. It is refused with INVALID_REQUEST where nothing was
// initialized, and FENCED_LEADER_EPOCH where a later epoch was seen.
func (s *State) Read(now int64, k Key, limit int, leaderEpoch int32) Step {
	switch {
	case s == nil:
		return refuse(s, kerr.InvalidRequest, readUninitialized)
	case leaderEpoch < s.Leaders:
		return refuse(s, kerr.FencedLeaderEpoch, fencedLeader)
	case leaderEpoch == None, leaderEpoch == s.Leaders:
		return Step{Next: s}
	}
	return s.update(now, k, limit, Update{
		LeaderEpoch: leaderEpoch, StartOffset: s.StartOffset, DeliveryComplete: s.DeliveryComplete,
	})
}

// Delete forgets a share partition. What is not there is deleted already.
func (s *State) Delete(now int64, k Key) Step {
	if s == nil {
		return Step{}
	}
	return Step{Records: []batch.Record{{Timestamp: now, Key: key(snapshotType, k)}}}
}

// Again writes the snapshot once more, so that what lies before it in the log can go.
func (s *State) Again(now int64, k Key) Step {
	next := *s
	next.SnapshotEpoch++
	next.Written, next.Updates = now, 0
	return Step{Next: &next, Records: snapshot(now, k, &next)}
}
