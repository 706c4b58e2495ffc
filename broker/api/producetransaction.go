package api

import (
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator/txn"
	"github.com/varvelog/varve/broker/partition"
	"github.com/varvelog/varve/broker/wire"
	"github.com/varvelog/varve/segment/batch"
)

// addingProduce is the version of Produce from which on the broker adds partitions to the
// transaction by itself (KIP-890); those of older clients are verified only.
const addingProduce = 12

// abortableProduce is the version of Produce from which on clients know that they can go
// on after an abort (TRANSACTION_ABORTABLE, KIP-890).
const abortableProduce = 11

// production is a Produce request before its batches are appended.
type production struct {
	s   *Server
	c   *call
	q   *kmsg.ProduceRequest
	all []pending

	producer txn.Producer // of the request's transaction
	known    bool         // producer is
	added    []int        // of all: those that have to be added to the transaction first
}

// verify takes a guard for the batch of a transaction. Where the partition has to be added
// first, that is left to add; i is the batch's place.
func (p *production) verify(to *pending, i int) error {
	b, _, err := batch.Next(to.records)
	if err != nil || !b.Transactional() || b.Control() || b.ProducerID() < 0 {
		return nil //nolint:nilerr // the append says what is wrong
	}
	producer := txn.Producer{ID: b.ProducerID(), Epoch: b.ProducerEpoch()}
	switch {
	case p.known && producer != p.producer:
		return refuse(kerr.InvalidProducerIDMapping, "a request has records of one transaction only")
	case !p.s.Config().Transactions.Verify && p.c.Version < addingProduce: // newer ones rely on being added
		return nil
	}
	p.producer, p.known = producer, true
	to.guard = to.partition.Verify(producer.ID, producer.Epoch, b.BaseSequence(), p.c.Version >= addingProduce)
	switch {
	case !to.guard.Needed():
		return nil
	case p.c.Version >= addingProduce:
		p.added = append(p.added, i)
		return nil
	}
	return p.verified(p.s.Transactions.Verify(*p.q.TransactionID, producer, []txn.Partition{to.name})[0])
}

// add makes the partitions part of the transaction, all of them in one step.
func (p *production) add(ctx context.Context) {
	if len(p.added) == 0 {
		return // only the order had to be kept
	}
	names := make([]txn.Partition, len(p.added))
	for i, at := range p.added {
		names[i] = p.all[at].name
	}
	ctx, cancel := withTimeout(ctx, p.q.TimeoutMillis)
	defer cancel()
	err := p.verified(p.s.Transactions.Add(ctx, *p.q.TransactionID, p.producer, names, txn.V2, p.s.Config().Transactions.Patience))
	for _, at := range p.added {
		p.all[at].err = err
	}
}

// verified is what a producer is told of the transaction coordinator's code.
func (p *production) verified(code int16) error {
	switch k := kerr.TypedErrorForCode(code); k {
	case nil:
		return nil
	case kerr.ConcurrentTransactions, kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.NotCoordinator:
		// Clients try again after this one, without asking for metadata first.
		return refuse(kerr.NotEnoughReplicas, "the partition could not be made part of the transaction yet: "+k.Message)
	case kerr.TransactionAbortable:
		if p.c.Version < abortableProduce {
			return refuse(kerr.InvalidTxnState, "the partition is not part of the transaction")
		}
	case kerr.ProducerFenced:
		return kerr.InvalidProducerEpoch
	}
	return kerr.ErrorForCode(code)
}

// append appends the batches that nothing is wrong with.
func (p *production) append() []produced {
	results := make([]produced, len(p.all))
	for i := range p.all {
		from, to := &p.all[i], &results[i]
		to.partition, to.err = from.partition, from.err
		if to.err == nil {
			to.appended, to.err = from.partition.AppendAsLeader(partition.Append{Records: from.records, Acks: p.q.Acks, LeaderEpoch: -1, Guard: from.guard})
		}
	}
	return results
}

// deferred counts the Produce requests of each connection that are appended when their
// answer is due.
type deferred struct {
	mu    sync.Mutex
	count map[*wire.Conn]int
}

// needed tells whether a request's batches are to be appended when its answer is due: as
// they wait for something, or as those before them do. Where it is, done follows.
func (d *deferred) needed(c *wire.Conn, waits bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !waits && d.count[c] == 0 {
		return false
	}
	if d.count == nil {
		d.count = map[*wire.Conn]int{}
	}
	d.count[c]++
	return true
}

func (d *deferred) done(c *wire.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.count[c]--; d.count[c] == 0 {
		delete(d.count, c)
	}
}
