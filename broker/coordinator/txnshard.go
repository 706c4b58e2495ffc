package coordinator

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varvelog/varve/broker/coordinator/txn"
	"github.com/varvelog/varve/segment/batch"
)

// txnShard is the transactional ids of one partition, led in one epoch. The core's lock
// guards it. Each transaction whose end is decided has a goroutine in running until it is
// complete.
type txnShard struct {
	core
	c                       *Transactions
	ids                     map[string]*txnEntry
	abortCheck, expiryCheck int64 // when to look for what is due, ms
}

// txnEntry is a transactional id with those who wait for it.
type txnEntry struct {
	*txn.Transaction
	changed chan struct{} // closed when the id has settled, nil: nobody waits
}

// settled reports whether nothing of the id is under way.
func (e *txnEntry) settled() bool { return !e.Pending() && !e.Metadata().State.Preparing() }

// watch returns a channel that is closed when the id has settled.
func (e *txnEntry) watch() <-chan struct{} {
	if e.changed == nil {
		e.changed = make(chan struct{})
	}
	return e.changed
}

func (e *txnEntry) notify() {
	if e.changed != nil && e.settled() {
		close(e.changed)
		e.changed = nil
	}
}

func newTxnShard(c *Transactions, epoch int32, l Log) *txnShard {
	s := &txnShard{c: c, ids: map[string]*txnEntry{}}
	s.init(epoch, l, c.now)
	return s
}

// unload implements shardOf. Who waits for an answer sees that the shard's life has ended.
func (s *txnShard) unload() { s.retire(func() { s.ids = nil }) }

// load implements shardOf.
func (s *txnShard) load(ctx context.Context) error {
	replay := txn.Replay{}
	err := s.log.Scan(ctx, func(b batch.Batch) error {
		return eachRecord(b, func(r *batch.Record) error {
			if b.Control() {
				return nil
			}
			return replay.Record(r.Key, r.Value)
		})
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(err); err != nil {
		return err
	}
	now := s.now()
	s.abortCheck, s.expiryCheck = now, now+s.c.o.ExpiryCheck.Milliseconds()
	s.c.alarm.moved(now)
	for id, t := range replay {
		e := &txnEntry{Transaction: t}
		s.ids[id] = e
		if t.Metadata().State.Preparing() {
			s.finish(e)
		}
	}
	return nil
}

// outcome is what became of a step: the code to answer, and what the log holds.
type outcome struct {
	m    txn.Metadata
	code int16
}

// ask lets a transactional id decide, and waits until what it decided is stored. create
// makes the id where there is none. fresh is None at first; a step that needs a producer
// id is asked again with one.
func (c *Transactions) ask(ctx context.Context, id string, create bool, decide func(now int64, e *txnEntry, fresh int64) txn.Step) (txn.Metadata, int16) {
	fresh := int64(txn.None)
	for {
		reply, s, code := c.step(id, create, fresh, decide)
		switch {
		case code != 0:
			return txn.Metadata{}, code
		case reply != nil:
			return s.await(ctx, reply)
		}
		var err error
		if fresh, err = c.o.ProducerID(ctx); err != nil {
			return txn.Metadata{}, kerr.CoordinatorNotAvailable.Code
		}
	}
}

// step is one turn of ask. Where it returns neither an answer nor a code, the id needs a
// producer id.
func (c *Transactions) step(id string, create bool, fresh int64, decide func(int64, *txnEntry, int64) txn.Step) (<-chan outcome, *txnShard, int16) {
	now := c.now()
	s, code := c.table.enter(c.PartitionFor(id))
	if code != 0 {
		return nil, nil, code
	}
	defer s.mu.Unlock()
	e := s.ids[id]
	switch {
	case e == nil && !create:
		return nil, nil, kerr.InvalidProducerIDMapping.Code
	case e == nil && fresh == txn.None:
		return nil, nil, 0
	case e == nil:
		id = strings.Clone(id) // it may be a view of a request
		e = &txnEntry{Transaction: txn.New(id, fresh, now)}
		s.ids[id] = e
	}
	step := decide(now, e, fresh)
	if step.NeedsProducerID {
		return nil, nil, 0
	}
	reply := make(chan outcome, 1)
	s.carryOut(now, e, step, func(code int16) { reply <- outcome{*e.Metadata(), code} })
	return reply, s, 0
}

// await returns what became of a step. Where ctx ends first, nobody knows.
func (s *txnShard) await(ctx context.Context, reply <-chan outcome) (txn.Metadata, int16) {
	select {
	case o := <-reply:
		return o.m, o.code
	default:
	}
	select {
	case o := <-reply:
		return o.m, o.code
	case <-s.life.Done():
		return txn.Metadata{}, kerr.NotCoordinator.Code
	case <-ctx.Done():
		return txn.Metadata{}, kerr.CoordinatorNotAvailable.Code
	}
}

// carryOut writes what a step decided; told hears the code to answer, under the lock.
func (s *txnShard) carryOut(now int64, e *txnEntry, step txn.Step, told func(code int16)) {
	if step.Write == nil {
		told(step.Code)
		return
	}
	s.append(now, s.share(now, e, step.Write, told))
}

// share is the record of a step.
func (s *txnShard) share(now int64, e *txnEntry, m *txn.Metadata, told func(code int16)) *share {
	return &share{
		Write: plain([]batch.Record{txn.Record(now, e.ID(), m)}),
		told: func(_ int64, code int16) {
			s.written(e, m, code)
			told(code)
		},
	}
}

// written tells an id the fate of its record, and does what follows from it.
func (s *txnShard) written(e *txnEntry, m *txn.Metadata, code int16) {
	e.Written(code == 0)
	switch {
	case code != 0 && !e.Stored():
		delete(s.ids, e.ID())
	case code != 0:
	case m.State == txn.Dead:
		delete(s.ids, e.ID())
		s.c.stats.expired.Add(1)
	case m.State.Preparing():
		s.finish(e)
	case m.State == txn.CompleteCommit:
		s.c.stats.committed.Add(1)
	case m.State == txn.CompleteAbort:
		s.c.stats.aborted.Add(1)
	}
	e.notify()
}

// tick aborts and forgets what is due, and returns when to look again.
func (s *txnShard) tick(now int64) int64 {
	if s.enter() != 0 {
		return now + s.c.o.AbortCheck.Milliseconds()
	}
	defer s.mu.Unlock()
	if s.abortCheck <= now {
		s.abortTimedOut(now)
		s.abortCheck = now + s.c.o.AbortCheck.Milliseconds()
	}
	if s.expiryCheck <= now {
		s.expire(now)
		s.expiryCheck = now + s.c.o.ExpiryCheck.Milliseconds()
	}
	return min(s.abortCheck, s.expiryCheck)
}

// sorted lists the ids in order, so that the log does not depend on a map's.
func (s *txnShard) sorted() []string { return slices.Sorted(maps.Keys(s.ids)) }

func (s *txnShard) abortTimedOut(now int64) {
	var shares []*share
	for _, id := range s.sorted() {
		e := s.ids[id]
		if !e.TimedOut(now) {
			continue
		}
		step := e.Abort(now, txn.None)
		if step.NeedsProducerID {
			s.running.Go(func() { s.abortWithFresh(id) })
			continue
		}
		s.c.stats.timedOut.Add(1)
		shares = append(shares, s.share(now, e, step.Write, func(int16) {}))
	}
	s.append(now, shares...)
}

// abortWithFresh aborts a timed out transaction whose producer has no epochs left. Where
// there is no producer id to be had the next check tries again.
func (s *txnShard) abortWithFresh(id string) {
	fresh, err := s.c.o.ProducerID(s.life)
	if err != nil || s.enter() != 0 {
		return
	}
	defer s.mu.Unlock()
	now := s.now()
	if e := s.ids[id]; e != nil && e.TimedOut(now) {
		s.c.stats.timedOut.Add(1)
		s.carryOut(now, e, e.Abort(now, fresh), func(int16) {})
	}
}

// expire writes the tombstones of ids that were not used for long.
func (s *txnShard) expire(now int64) {
	var shares []*share
	for _, id := range s.sorted() {
		e := s.ids[id]
		if step := e.Expire(now, s.c.o.Expiration.Milliseconds()); step.Write != nil {
			shares = append(shares, s.share(now, e, step.Write, func(int16) {}))
		}
	}
	s.append(now, shares...)
}

// Pauses before what failed is tried again. The first is about a flush; the last is how
// late a marker comes at most once its partition is back.
const (
	firstRetry = 10 * time.Millisecond
	lastRetry  = time.Second
)

// finish writes the markers of a prepared transaction and completes it, in a goroutine of
// its own that ends with the shard. The caller holds the lock.
func (s *txnShard) finish(e *txnEntry) {
	m := *e.Metadata()
	s.running.Go(func() {
		left := m.Sorted()
		marker := Marker{
			Producer: txn.Producer{ID: m.ProducerID, Epoch: m.ProducerEpoch},
			Commit:   m.State == txn.PrepareCommit, CoordinatorEpoch: s.epoch, Version: m.ClientVersion,
		}
		s.retry(func() bool {
			left = s.writeMarkers(left, marker)
			return len(left) == 0
		})
		s.retry(func() bool { return s.complete(e) })
	})
}

// retry calls do until it succeeds or the shard is unloaded.
func (s *txnShard) retry(do func() bool) {
	for pause := firstRetry; s.life.Err() == nil && !do(); pause = min(2*pause, lastRetry) {
		s.c.stats.retries.Add(1)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.life.Done():
		}
		timer.Stop()
	}
}

// writeMarkers writes a marker to each partition, all of them before it waits for one, and
// returns those that have to be tried again.
func (s *txnShard) writeMarkers(partitions []txn.Partition, m Marker) (left []txn.Partition) {
	waits := make([]func(context.Context) error, len(partitions))
	for i, tp := range partitions {
		wait, err := s.c.o.Markers.WriteMarker(tp, m)
		if err != nil {
			wait = func(context.Context) error { return err }
		}
		waits[i] = wait
	}
	for i, tp := range partitions {
		switch err := waits[i](s.life); {
		case err == nil:
			s.c.stats.markers.Add(1)
		case !errors.Is(err, ErrMarkerNeedless):
			left = append(left, tp)
		}
	}
	return left
}

// complete stores that all markers are written. It returns false where it has to be tried
// again.
//
// It counts as soon as it is appended, so that the next transaction does not wait for one
// more flush: whatever follows from it comes after it in the log. Where it is lost its
// successors are, too, and the next coordinator writes the same markers again, which then
// end nothing.
func (s *txnShard) complete(e *txnEntry) bool {
	if s.enter() != 0 {
		return true // it is for the next coordinator
	}
	defer s.mu.Unlock()
	now := s.now()
	m := e.Complete(now).Write
	refused := false
	s.append(now, &share{
		Write: plain([]batch.Record{txn.Record(now, e.ID(), m)}),
		told:  func(_ int64, code int16) { refused = code != 0 },
	})
	if refused {
		e.Written(false)
		return false
	}
	s.written(e, m, 0)
	return true
}
