package coordinator

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator/txn"
)

// TransactionOptions of the transaction coordinator; durations under Kafka's names.
type TransactionOptions struct {
	Partitions  int32 // transaction.state.log.num.partitions
	Now         func() time.Time
	ProducerID  func(context.Context) (int64, error) // one that nobody has
	Markers     MarkerWriter
	MaxTimeout  time.Duration // transaction.max.timeout.ms
	AbortCheck  time.Duration // transaction.abort.timed.out.transaction.cleanup.interval.ms
	Expiration  time.Duration // transactional.id.expiration.ms
	ExpiryCheck time.Duration // transaction.remove.expired.transaction.cleanup.interval.ms
}

// Marker ends a transaction in one partition.
type Marker struct {
	Producer         txn.Producer
	Commit           bool // false: abort
	CoordinatorEpoch int32
	Version          txn.Version
}

// MarkerWriter writes markers to the partitions of transactions, wherever they are led.
type MarkerWriter interface {
	// WriteMarker appends a marker and returns at once; wait returns when it is committed,
	// or the error that keeps it from being known to be, or when its ctx ends.
	//
	// Errors that wrap ErrMarkerNeedless say that nothing of the transaction is open there;
	// after any other one the marker is written again later.
	WriteMarker(tp txn.Partition, m Marker) (wait func(context.Context) error, err error)
}

// ErrMarkerNeedless says that a partition needs no marker: its topic was deleted, or a
// later epoch of the producer has been there.
var ErrMarkerNeedless = errors.New("partition has nothing of this transaction")

// Transactions is the transaction coordinator of this broker.
type Transactions struct {
	o     TransactionOptions
	alarm *alarm
	table table[*txnShard]
	stats struct{ committed, aborted, timedOut, expired, markers, retries atomic.Int64 }
}

// NewTransactions makes a coordinator of no partitions.
func NewTransactions(o TransactionOptions) *Transactions {
	return &Transactions{o: o, alarm: newAlarm()}
}

// PartitionFor returns the partition of __transaction_state that a transactional id lives
// in.
func (c *Transactions) PartitionFor(id string) int32 { return partitionFor(id, c.o.Partitions) }

// Load makes this broker the coordinator of a partition's transactional ids, and goes on
// with what was prepared and not completed. Unload forgets them. Errors and answers
// meanwhile are those of Groups.Load.
func (c *Transactions) Load(ctx context.Context, partition, leaderEpoch int32, l Log) error {
	return c.table.load(ctx, partition, newTxnShard(c, leaderEpoch, l))
}

// Unload ends the coordination of a partition's transactional ids. It returns when
// nothing of it runs any more.
func (c *Transactions) Unload(partition int32) { c.table.unload(partition) }

// Tick aborts what has timed out and forgets what has expired. It returns when it wants
// to be called next; Changed is signalled when that moment has moved closer.
func (c *Transactions) Tick(now time.Time) (next time.Time) {
	return c.alarm.tick(now.Add(min(c.o.AbortCheck, c.o.ExpiryCheck)), func() {
		for _, s := range c.table.all() {
			c.alarm.moved(s.tick(now.UnixMilli()))
		}
	})
}

// Changed is signalled when Tick is wanted earlier than it last said.
func (c *Transactions) Changed() <-chan struct{} { return c.alarm.changed }

// TransactionStats are counters since the coordinator was made, and what it has now.
type TransactionStats struct {
	IDs, Open, Completing               int64 // now
	Committed, Aborted                  int64 // completed
	TimedOut, Expired                   int64 // aborts in the producer's place; forgotten ids
	MarkersWritten, MarkersTriedAgain   int64
	Partitions, LoadingOrLeftPartitions int64
}

// Stats counts.
func (c *Transactions) Stats() TransactionStats {
	stats := TransactionStats{
		Committed: c.stats.committed.Load(), Aborted: c.stats.aborted.Load(), TimedOut: c.stats.timedOut.Load(),
		Expired: c.stats.expired.Load(), MarkersWritten: c.stats.markers.Load(), MarkersTriedAgain: c.stats.retries.Load(),
	}
	for _, s := range c.table.all() {
		if s.enter() != 0 {
			stats.LoadingOrLeftPartitions++
			continue
		}
		stats.Partitions++
		stats.IDs += int64(len(s.ids))
		for _, e := range s.ids {
			switch state := e.Metadata().State; {
			case state == txn.Ongoing:
				stats.Open++
			case state.Preparing():
				stats.Completing++
			}
		}
		s.mu.Unlock()
	}
	return stats
}

func (c *Transactions) now() int64 { return c.o.Now().UnixMilli() }

// Init handles InitProducerId v0-v5 with a transactional id.
func (c *Transactions) Init(ctx context.Context, q *kmsg.InitProducerIDRequest) *kmsg.InitProducerIDResponse {
	p := q.ResponseKind().(*kmsg.InitProducerIDResponse)
	p.ProducerID, p.ProducerEpoch = txn.None, txn.None
	timeout := time.Duration(q.TransactionTimeoutMillis) * time.Millisecond
	expected := txn.Producer{ID: q.ProducerID, Epoch: q.ProducerEpoch}
	switch {
	case *q.TransactionalID == "", (expected.ID == txn.None) != (expected.Epoch == txn.None):
		p.ErrorCode = kerr.InvalidRequest.Code
		return p
	case timeout <= 0 || timeout > c.o.MaxTimeout:
		p.ErrorCode = kerr.InvalidTransactionTimeout.Code
		return p
	}
	m, code := c.ask(ctx, *q.TransactionalID, true, func(now int64, e *txnEntry, fresh int64) txn.Step {
		return e.Init(now, q.TransactionTimeoutMillis, expected, fresh)
	})
	switch {
	case code == kerr.ProducerFenced.Code && q.Version < 4:
		code = kerr.InvalidProducerEpoch.Code
	case code == 0 && m.State == txn.PrepareAbort:
		code = kerr.ConcurrentTransactions.Code // the open transaction comes first
	case code == 0:
		p.ProducerID, p.ProducerEpoch = m.ProducerID, m.ProducerEpoch
	}
	p.ErrorCode = code
	return p
}

// Add makes partitions part of a producer's transaction. While another step of the
// transactional id is under way it waits, for patience, before it answers
// CONCURRENT_TRANSACTIONS.
func (c *Transactions) Add(ctx context.Context, id string, p txn.Producer, partitions []txn.Partition, version txn.Version, patience time.Duration) int16 {
	if id == "" {
		return kerr.InvalidRequest.Code
	}
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		_, code := c.ask(ctx, id, false, func(now int64, e *txnEntry, _ int64) txn.Step {
			return e.AddPartitions(now, p, partitions, version)
		})
		if code != kerr.ConcurrentTransactions.Code || patience <= 0 || !c.settled(patient, id) {
			return code
		}
	}
}

// settled waits until nothing of an id is under way. It returns false where ctx ends first.
func (c *Transactions) settled(ctx context.Context, id string) bool {
	s, code := c.table.enter(c.PartitionFor(id))
	if code != 0 {
		return true // asking again tells
	}
	e := s.ids[id]
	if e == nil || e.settled() {
		s.mu.Unlock()
		return true
	}
	changed := e.watch()
	s.mu.Unlock()
	select {
	case <-changed:
		return true
	case <-s.life.Done():
		return true
	case <-ctx.Done():
		return false
	}
}

// Verify tells of each partition whether it is part of a producer's transaction: 0, or
// the code. Nothing is changed and nothing is waited for.
func (c *Transactions) Verify(id string, p txn.Producer, partitions []txn.Partition) []int16 {
	codes := make([]int16, len(partitions))
	all := func(code int16) []int16 {
		for i := range codes {
			codes[i] = code
		}
		return codes
	}
	if id == "" {
		return all(kerr.InvalidRequest.Code)
	}
	s, code := c.table.enter(c.PartitionFor(id))
	if code != 0 {
		return all(code)
	}
	defer s.mu.Unlock()
	e := s.ids[id]
	if e == nil {
		return all(kerr.InvalidProducerIDMapping.Code)
	}
	for i, tp := range partitions {
		codes[i] = e.Verify(p, tp)
	}
	return codes
}

// End handles EndTxn v0-v5. The answer comes when the decision is stored; the markers
// follow.
func (c *Transactions) End(ctx context.Context, q *kmsg.EndTxnRequest) *kmsg.EndTxnResponse {
	p := q.ResponseKind().(*kmsg.EndTxnResponse)
	p.ProducerID, p.ProducerEpoch = txn.None, txn.None
	if q.TransactionalID == "" {
		p.ErrorCode = kerr.InvalidRequest.Code
		return p
	}
	version := txn.V0
	if q.Version >= 5 {
		version = txn.V2
	}
	m, code := c.ask(ctx, q.TransactionalID, false, func(now int64, e *txnEntry, fresh int64) txn.Step {
		return e.End(now, txn.Producer{ID: q.ProducerID, Epoch: q.ProducerEpoch}, q.Commit, version, fresh)
	})
	if code == kerr.ProducerFenced.Code && q.Version < 2 {
		code = kerr.InvalidProducerEpoch.Code
	}
	if p.ErrorCode = code; code == 0 {
		p.ProducerID, p.ProducerEpoch = m.Holder()
	}
	return p
}

// Describe handles DescribeTransactions v0 (KIP-664).
func (c *Transactions) Describe(q *kmsg.DescribeTransactionsRequest) *kmsg.DescribeTransactionsResponse {
	p := q.ResponseKind().(*kmsg.DescribeTransactionsResponse)
	for _, id := range q.TransactionalIDs {
		p.TransactionStates = append(p.TransactionStates, c.describe(id))
	}
	return p
}

func (c *Transactions) describe(id string) kmsg.DescribeTransactionsResponseTransactionState {
	d := kmsg.NewDescribeTransactionsResponseTransactionState()
	d.TransactionalID = id
	if id == "" {
		d.ErrorCode = kerr.InvalidRequest.Code
		return d
	}
	s, code := c.table.enter(c.PartitionFor(id))
	if d.ErrorCode = code; code != 0 {
		return d
	}
	defer s.mu.Unlock()
	e := s.ids[id]
	if e == nil {
		d.ErrorCode = kerr.TransactionalIDNotFound.Code
		return d
	}
	m := e.Metadata()
	d.State, d.TimeoutMillis, d.StartTimestamp = m.State.String(), m.Timeout, m.Started
	d.ProducerID, d.ProducerEpoch = m.ProducerID, m.ProducerEpoch
	for _, tp := range m.Sorted() {
		if n := len(d.Topics); n == 0 || d.Topics[n-1].Topic != tp.Topic {
			t := kmsg.NewDescribeTransactionsResponseTransactionStateTopic()
			t.Topic = tp.Topic
			d.Topics = append(d.Topics, t)
		}
		t := &d.Topics[len(d.Topics)-1]
		t.Partitions = append(t.Partitions, tp.Partition)
	}
	return d
}

// List handles ListTransactions v0-v2: by state, producer id, duration (KIP-994) and
// pattern of the transactional id (KIP-1152).
func (c *Transactions) List(q *kmsg.ListTransactionsRequest) *kmsg.ListTransactionsResponse {
	p := q.ResponseKind().(*kmsg.ListTransactionsResponse)
	f := listFilter{producers: q.ProducerIDFilters, longer: q.DurationFilterMillis, now: c.now(), states: make([]txn.State, 0, len(q.StateFilters)), all: len(q.StateFilters) == 0}
	for _, name := range q.StateFilters {
		if state, ok := txn.ParseState(name); ok {
			f.states = append(f.states, state)
		} else {
			p.UnknownStateFilters = append(p.UnknownStateFilters, name)
		}
	}
	if q.TransactionalIDPattern != nil && *q.TransactionalIDPattern != "" {
		pattern, err := compilePattern(*q.TransactionalIDPattern)
		if err != nil {
			p.ErrorCode = kerr.InvalidRegularExpression.Code
			return p
		}
		f.pattern = pattern
	}
	code := c.table.visit(func(s *txnShard) {
		for _, id := range s.sorted() {
			if m := s.ids[id].Metadata(); f.takes(id, m) {
				l := kmsg.NewListTransactionsResponseTransactionState()
				l.TransactionalID, l.ProducerID, l.TransactionState = id, m.ProducerID, m.State.String()
				p.TransactionStates = append(p.TransactionStates, l)
			}
		}
	})
	if code != 0 {
		p.ErrorCode, p.TransactionStates = code, nil
	}
	return p
}

// maxPattern is the longest pattern of transactional ids, in bytes: as long as an id may be.
// One of a megabyte takes seconds and hundreds of megabytes to compile.
const maxPattern = 1<<15 - 1

// compilePattern makes a pattern that matches whole ids.
func compilePattern(pattern string) (*regexp.Regexp, error) {
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("a pattern of %d bytes, of %d at most", len(pattern), maxPattern)
	}
	if _, err := regexp.Compile(pattern); err != nil { // alone: a ")" might close our group
		return nil, err
	}
	return regexp.Compile(`\A(?:` + pattern + `)\z`)
}

// listFilter is what a ListTransactions asks for.
type listFilter struct {
	producers []int64 // empty: any
	states    []txn.State
	all       bool // of any state
	longer    int64
	now       int64
	pattern   *regexp.Regexp // nil: any
}

func (f *listFilter) takes(id string, m *txn.Metadata) bool {
	return (len(f.producers) == 0 || slices.Contains(f.producers, m.ProducerID)) &&
		(f.all || slices.Contains(f.states, m.State)) &&
		(f.longer < 0 || f.now-m.Started > f.longer) &&
		(f.pattern == nil || f.pattern.MatchString(id))
}
