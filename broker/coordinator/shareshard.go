package coordinator

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varvelog/varve/broker/coordinator/group"
	sharestate "github.com/varvelog/varve/broker/coordinator/share"
	"github.com/varvelog/varve/segment/batch"
)

// shareShard is the share partitions of one partition of __share_group_state, led in one
// epoch. The core's lock guards it.
//
// A step counts as soon as it is appended, so that the next one need not wait for the
// flush; whoever asked is answered when it is committed. Where an append is lost the steps
// that build on it are lost with it.
type shareShard struct {
	core
	c           *Shares
	partitions  map[sharestate.Key]*shareEntry
	cold, prune int64 // when to look for what is due, ms
	end         int64 // no record of a share partition lies at or above it
	pruned      int64 // the log begins here, as far as this broker knows
	pruning     bool
}

// shareEntry is a share partition with its steps that are not committed.
type shareEntry struct {
	key      sharestate.Key
	state    *sharestate.State // with the steps below, nil: deleted
	stored   *sharestate.State // what is committed, nil: nothing
	snapshot int64             // the committed snapshot does not lie below this offset
	steps    []*shareStep
}

// shareStep is a step that is not committed.
type shareStep struct {
	next     *sharestate.State
	at       int64 // its record does not lie below this offset
	snapshot bool
	then     []func(code int16)
}

func newShareShard(c *Shares, epoch int32, l Log) *shareShard {
	s := &shareShard{c: c, partitions: map[sharestate.Key]*shareEntry{}}
	s.init(epoch, l, c.now)
	return s
}

// unload implements shardOf, and answers whoever waits.
func (s *shareShard) unload() {
	s.retire(func() {
		for _, e := range s.partitions {
			for _, step := range e.steps {
				step.tell(kerr.NotCoordinator.Code)
			}
		}
		s.partitions = nil
	})
}

func (p *shareStep) tell(code int16) {
	for _, then := range p.then {
		then(code)
	}
}

// load implements shardOf.
func (s *shareShard) load(ctx context.Context) error {
	replay, snapshots, end := sharestate.Replay{}, map[sharestate.Key]int64{}, int64(0)
	err := s.log.Scan(ctx, func(b batch.Batch) error {
		end = b.NextOffset()
		return eachRecord(b, func(r *batch.Record) error {
			if b.Control() {
				return nil
			}
			k, snapshot, ours, err := replay.Record(r.Key, r.Value)
			if ours && snapshot {
				snapshots[k] = r.Offset
			}
			return err
		})
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(err); err != nil {
		return err
	}
	for k, state := range replay {
		s.partitions[k] = &shareEntry{key: k, state: state, stored: state, snapshot: snapshots[k]}
	}
	now := s.now()
	s.end, s.cold, s.prune = end, now+s.c.o.Cold.Milliseconds(), now+s.c.o.Prune.Milliseconds()
	s.c.alarm.moved(min(s.cold, s.prune))
	return nil
}

// state is what a share partition builds its next step on.
func (s *shareShard) state(k sharestate.Key) *sharestate.State {
	if e := s.partitions[k]; e != nil {
		return e.state
	}
	return nil
}

// settled calls then when the steps of a share partition that are under way now are
// committed.
func (s *shareShard) settled(k sharestate.Key, then func(code int16)) {
	if e := s.partitions[k]; e != nil && len(e.steps) > 0 {
		last := e.steps[len(e.steps)-1]
		last.then = append(last.then, then)
		return
	}
	then(0)
}

// carryOut writes what a step decided. then is called when that is committed, with the
// code of what has kept it from being.
func (s *shareShard) carryOut(now int64, k sharestate.Key, step sharestate.Step, then func(code int16)) {
	if len(step.Records) == 0 {
		s.settled(k, then)
		return
	}
	s.append(now, s.share(k, step, then))
}

// share is the records of a step. It counts from now on.
func (s *shareShard) share(k sharestate.Key, step sharestate.Step, then func(code int16)) *share {
	e := s.partitions[k]
	if e == nil {
		k.Group = strings.Clone(k.Group) // it may be a view of a request
		e = &shareEntry{key: k}
		s.partitions[k] = e
	}
	p := &shareStep{next: step.Next, at: s.end, then: []func(int16){then}, snapshot: sharestate.IsSnapshot(step.Records[0].Key)}
	if l, ok := s.log.(PrunableLog); ok {
		p.at = l.End()
	}
	e.state, e.steps = step.Next, append(e.steps, p)
	return &share{Write: plain(step.Records), told: func(_ int64, code int16) { s.written(e, p, code) }}
}

// written tells a share partition the fate of a step.
func (s *shareShard) written(e *shareEntry, p *shareStep, code int16) {
	e.steps = slices.DeleteFunc(e.steps, func(o *shareStep) bool { return o == p })
	if code == 0 {
		e.stored, s.end = p.next, max(s.end, p.at+1)
		if p.snapshot {
			e.snapshot = p.at
		}
	}
	if n := len(e.steps); n > 0 {
		e.state = e.steps[n-1].next // a step that was never appended is none to build on
	} else if e.state = e.stored; e.state == nil && s.partitions[e.key] == e {
		delete(s.partitions, e.key)
	}
	p.tell(code)
}

// tick does what is due and returns when to look again.
func (s *shareShard) tick(now int64) int64 {
	if s.enter() != 0 {
		return now + s.c.o.Cold.Milliseconds()
	}
	defer s.mu.Unlock()
	if s.cold <= now {
		s.tidy(now, s.c.o.Metadata())
		s.cold = now + s.c.o.Cold.Milliseconds()
	}
	if s.prune <= now {
		s.pruneLog()
		s.prune = now + s.c.o.Prune.Milliseconds()
	}
	return min(s.cold, s.prune)
}

// tidy deletes what is stored of topics that are gone. Where the log has become long it
// writes the snapshots of share partitions again that have not been written for long: they
// alone keep it from being pruned.
//
// A topic that is not known may be one of which this broker has not heard yet, so there is
// no tidying right after a load.
func (s *shareShard) tidy(now int64, topics group.Metadata) {
	long := s.end-s.needed() > int64(2*len(s.partitions)+s.c.o.UpdatesPerSnapshot)
	var shares []*share
	for _, k := range s.sorted() {
		e := s.partitions[k]
		if e.state == nil || len(e.steps) > 0 {
			continue
		}
		var step sharestate.Step
		if _, ok := topics.TopicByID(k.Topic); !ok {
			step = e.state.Delete(now, k)
		} else if long && now-e.state.Written >= s.c.o.Cold.Milliseconds() {
			step = e.state.Again(now, k)
		}
		if len(step.Records) > 0 {
			shares = append(shares, s.share(k, step, func(int16) {}))
		}
	}
	s.append(now, shares...)
}

// DropTopic deletes the state of a topic that is gone. Where that cannot be written the
// next tidying does it.
func (c *Shares) DropTopic(id group.TopicID) {
	for _, s := range c.table.all() {
		if s.enter() != 0 {
			continue
		}
		now := s.now()
		var shares []*share
		for _, k := range s.sorted() {
			if step := s.state(k).Delete(now, k); k.Topic == id && len(step.Records) > 0 {
				shares = append(shares, s.share(k, step, func(int16) {}))
			}
		}
		s.append(now, shares...)
		s.mu.Unlock()
	}
}

// sorted lists the share partitions in order, so that the log does not depend on a map's.
func (s *shareShard) sorted() []sharestate.Key {
	keys := make([]sharestate.Key, 0, len(s.partitions))
	for k := range s.partitions {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b sharestate.Key) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), slices.Compare(a.Topic[:], b.Topic[:]), cmp.Compare(a.Partition, b.Partition))
	})
	return keys
}

// pruneLog deletes the records below the oldest snapshot that is still needed, in a
// goroutine of its own that ends with the shard. A deletion that fails is tried again the
// next time.
func (s *shareShard) pruneLog() {
	l, ok := s.log.(PrunableLog)
	needed := s.needed()
	if !ok || s.pruning || needed <= s.pruned {
		return
	}
	s.pruning = true
	s.running.Go(func() {
		err := l.DeleteBefore(s.life, needed)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pruning = false
		if err == nil {
			s.pruned = needed
		}
	})
}

// needed is the offset of the first record that a load has to see.
func (s *shareShard) needed() int64 {
	needed := s.end
	for _, e := range s.partitions {
		if e.stored != nil {
			needed = min(needed, e.snapshot)
		}
		for _, p := range e.steps {
			needed = min(needed, p.at)
		}
	}
	return needed
}
