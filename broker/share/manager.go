package share

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator"
	"github.com/varvelog/varve/broker/partition"
	"github.com/varvelog/varve/segment"
)

// Persister stores the states of share partitions: the share coordinator. What is asked
// is under way when the call returns, in the order of calls.
type Persister interface {
	Read(*kmsg.ReadShareGroupStateRequest) coordinator.Pending[*kmsg.ReadShareGroupStateResponse]
	Write(*kmsg.WriteShareGroupStateRequest) coordinator.Pending[*kmsg.WriteShareGroupStateResponse]
}

// Settings of a share group, under the names of its configs.
type Settings struct {
	LockDuration  time.Duration // share.record.lock.duration.ms
	DeliveryLimit int16         // share.delivery.count.limit
	MaxLocks      int64         // share.partition.max.record.locks
	Isolation     int8          // share.isolation.level
	Renew         bool          // share.renew.acknowledge.enable
	Reset         Reset         // share.auto.offset.reset
}

// Reset says where a group begins in a partition it has never read.
type Reset struct {
	Earliest bool
	By       time.Duration // so long before now; 0: at the end, unless Earliest
}

// Options make a Manager.
type Options struct {
	Persister Persister
	Settings  func(group string) Settings
	Now       func() time.Time // measures locks: a clock that nobody sets
	Wall      func() time.Time // for Reset.By
	Sessions  func() int       // group.share.max.share.sessions
}

// storeTimeout bounds how long a request waits for the coordinator. What is not known to
// be written by then counts as not written: its records stay acquired.
const storeTimeout = 15 * time.Second

// staleCheck is how often partitions are looked for that this broker leads no more.
const staleCheck = 10 * time.Second

// ErrNotReady is returned while the state of a share partition cannot be had: its
// coordinator is loading, or moving.
var ErrNotReady = errors.New("the share coordinator is not available")

// ErrFenced is returned where somebody else has taken over, or the group is gone.
var ErrFenced = errors.New("the share partition is fenced")

// Manager has the share partitions that this broker leads and somebody has fetched from.
// They are loaded when they are first fetched from, and forgotten when the broker leads
// their partition no more, a write is fenced, or their group has no session here.
//
// Of its locks mu comes before Partition.mu, and that before those of the coordinator.
type Manager struct {
	Options
	*Sessions

	mu      sync.Mutex
	groups  map[string]map[TopicPartition]*Partition
	checked time.Time // last look for stale partitions
}

// NewManager makes a manager of nothing.
func NewManager(o Options) *Manager {
	return &Manager{Options: o, Sessions: NewSessions(o.Sessions, o.Now), groups: map[string]map[TopicPartition]*Partition{}}
}

// Open returns the share partitions of replicas, loading those that are not here. errs
// are in the order of replicas: ErrNotReady, ErrFenced, or what reading the log said. A
// nil replica is passed over.
func (m *Manager) Open(ctx context.Context, group string, replicas []*partition.Partition) (parts []*Partition, errs []error) {
	parts, errs = make([]*Partition, len(replicas)), make([]error, len(replicas))
	loads := make([]func(), len(replicas))
	for i, r := range replicas {
		if r != nil {
			parts[i], loads[i] = m.find(group, r)
		}
	}
	for _, load := range loads { // all have been asked for by now
		if load != nil {
			load()
		}
	}
	for i, p := range parts {
		if p == nil {
			continue
		}
		select {
		case <-p.loaded:
			errs[i] = p.failed
		case <-ctx.Done():
			errs[i] = ctx.Err()
		}
	}
	return parts, errs
}

// find returns the share partition of a replica; load, where it is not nil, has to be
// called to load it.
func (m *Manager) find(group string, r *partition.Partition) (p *Partition, load func()) {
	o := r.Offsets()
	id := TopicPartition{Topic: r.ID().Topic, Index: r.ID().Partition}
	m.mu.Lock()
	defer m.mu.Unlock()
	p = m.groups[group][id]
	if p != nil && (p.replica != r || p.epoch != o.LeaderEpoch) {
		if !p.drop() {
			return p, nil // it answers ErrFenced until its last write is done
		}
		m.forget(p)
		p = nil
	}
	if p != nil {
		return p, nil
	}
	p = &Partition{m: m, group: group, id: id, replica: r, epoch: o.LeaderEpoch, loaded: make(chan struct{})}
	if m.groups[group] == nil {
		m.groups[group] = map[TopicPartition]*Partition{}
	}
	m.groups[group][id] = p
	answer := m.Persister.Read(p.readRequest())
	bound, cancel := context.WithTimeout(context.Background(), storeTimeout)
	return p, func() {
		defer close(p.loaded)
		defer cancel()
		if p.failed = p.load(bound, answer); p.failed != nil {
			m.Drop(p)
		}
	}
}

// Loaded returns the share partition of a group if it is here.
func (m *Manager) Loaded(group string, id TopicPartition) *Partition {
	m.mu.Lock()
	p := m.groups[group][id]
	m.mu.Unlock()
	if p == nil {
		return nil
	}
	select {
	case <-p.loaded:
		return p
	default:
		return nil
	}
}

// Drop forgets a share partition: whoever fetches from it loads it again. Where writes are
// under way it goes with the last of them, lest what is loaded is older than they are.
func (m *Manager) Drop(p *Partition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.drop() {
		m.forget(p)
	}
}

// forget removes p from the table. The caller holds mu.
func (m *Manager) forget(p *Partition) {
	if m.groups[p.group][p.id] != p {
		return
	}
	delete(m.groups[p.group], p.id)
	if len(m.groups[p.group]) == 0 {
		delete(m.groups, p.group)
	}
}

// of returns the share partitions of a group.
func (m *Manager) of(group string) []*Partition {
	m.mu.Lock()
	defer m.mu.Unlock()
	return ready(nil, m.groups[group])
}

// ready adds those that are loaded to all.
func ready(all []*Partition, parts map[TopicPartition]*Partition) []*Partition {
	for _, p := range parts {
		select {
		case <-p.loaded:
			all = append(all, p)
		default:
		}
	}
	return all
}

// Leave closes the session of a member and gives back what it holds. uncounted tells that
// it says itself that the records were never handed on; where it has vanished they count
// as delivered, or what kills its readers would be delivered for ever. The state of a
// group without sessions is forgotten.
func (m *Manager) Leave(who Member, uncounted bool) error {
	m.Close(who)
	return m.giveBack(who, uncounted)
}

// GiveBack gives back what members hold whose sessions have ended without their say.
func (m *Manager) GiveBack(ended []Member) error {
	var errs []error
	for _, who := range ended {
		errs = append(errs, m.giveBack(who, false))
	}
	return errors.Join(errs...)
}

// giveBack gives back what a member without a session holds.
func (m *Manager) giveBack(who Member, uncounted bool) error {
	parts := m.of(who.Group)
	waits := make([]func() error, len(parts))
	for i, p := range parts {
		waits[i] = p.release(who.ID, uncounted)
	}
	var errs []error
	for _, wait := range waits {
		if wait != nil {
			errs = append(errs, wait())
		}
	}
	if !m.serves(who.Group) {
		for _, p := range parts {
			m.Drop(p)
		}
	}
	return errors.Join(errs...)
}

// Expire gives back what is locked for too long and forgets what is not led any more: one
// step of a loop. Members whose connection was closed hold nothing any more. The error says
// what could not be written; the records are given back all the same, for nobody was
// promised anything.
func (m *Manager) Expire() error {
	errs := []error{m.GiveBack(m.closeLost())}
	now := m.Now()
	m.mu.Lock()
	var parts []*Partition
	for _, of := range m.groups {
		parts = ready(parts, of)
	}
	check := now.Sub(m.checked) >= staleCheck
	if check {
		m.checked = now
	}
	m.mu.Unlock()
	var waits []func() error
	for _, p := range parts {
		if check && p.stale() {
			m.Drop(p)
			continue
		}
		if wait := p.expire(now); wait != nil {
			waits = append(waits, wait)
		}
	}
	for _, wait := range waits {
		errs = append(errs, wait())
	}
	return errors.Join(errs...)
}

// PartitionCount is how many share partitions are held here.
func (m *Manager) PartitionCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, of := range m.groups {
		n += len(of)
	}
	return n
}

// stored turns a code of the coordinator into an error of ours.
func stored(code int16, what string) error {
	switch err := kerr.ErrorForCode(code); {
	case err == nil:
		return nil
	case errors.Is(err, kerr.FencedStateEpoch), errors.Is(err, kerr.FencedLeaderEpoch),
		errors.Is(err, kerr.GroupIDNotFound), errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.InvalidRequest):
		return fmt.Errorf("%w: %s: %s", ErrFenced, what, err.Error())
	default:
		return fmt.Errorf("%w: %s: %s", ErrNotReady, what, err.Error())
	}
}

// wake signals each waiter.
func wake(waiters []*segment.Waiter) {
	for _, w := range waiters {
		w.Signal()
	}
}
