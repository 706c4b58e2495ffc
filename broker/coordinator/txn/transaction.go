package txn

import "math"

// Transaction is one transactional id.
type Transaction struct {
	id string
	m  Metadata
	// pending is the step whose record is on its way to the log; a tombstone's is Dead.
	pending *Metadata
}

// Producer is a producer as it names itself: None where it does not.
type Producer struct {
	ID    int64
	Epoch int16
}

// Step is what was decided.
type Step struct {
	// Write is what to write; its fate goes to Written. nil: Code is the answer.
	Write *Metadata
	Code  int16
	// NeedsProducerID: nothing was decided; ask again with a producer id that nobody has.
	NeedsProducerID bool
}

func answer(code int16) Step { return Step{Code: code} }

// New makes a transactional id that nothing is stored of; Init follows. producerID is one
// that nobody has.
func New(id string, producerID int64, now int64) *Transaction {
	return &Transaction{id: id, m: Metadata{
		ProducerID: producerID, PrevProducerID: None, NextProducerID: None,
		ProducerEpoch: None, LastEpoch: None, State: Empty, Started: None, Updated: now,
	}}
}

// ID is the transactional.id.
func (t *Transaction) ID() string { return t.id }

// Metadata is what the log holds.
func (t *Transaction) Metadata() *Metadata { return &t.m }

// Pending reports whether a record is on its way to the log.
func (t *Transaction) Pending() bool { return t.pending != nil }

// Stored reports whether the log holds anything of the id.
func (t *Transaction) Stored() bool { return t.m.ProducerEpoch != None }

// write begins a step.
func (t *Transaction) write(m *Metadata) Step {
	t.pending = m
	return Step{Write: m}
}

// Written tells the fate of the pending record: whether it is committed. Where it is not,
// nothing has happened.
func (t *Transaction) Written(committed bool) {
	if committed {
		t.m = *t.pending
	}
	t.pending = nil
}

// Init gives the id to a producer (InitProducerId). expected is the producer that goes on
// after an error (KIP-360), or None. timeout is in ms. fresh is a producer id that nobody
// has, or None.
//
// Where a transaction is open the step aborts it: its answer is CONCURRENT_TRANSACTIONS,
// and the producer asks again.
func (t *Transaction) Init(now int64, timeout int32, expected Producer, fresh int64) Step {
	expects := expected.ID != None
	switch {
	case t.pending != nil:
		return answer(concurrentTransactions)
	case expects && !t.mayGoOn(expected):
		return answer(producerFenced)
	case t.m.State.Preparing():
		return answer(concurrentTransactions)
	case t.m.State == Ongoing:
		return t.abort(now, t.m.Started, fresh)
	}
	n := t.m.next(now, Empty)
	n.Timeout, n.Partitions, n.Started, n.NextProducerID = timeout, nil, None, None
	switch {
	case t.m.exhausted() && (!expects || expected.Epoch == t.m.ProducerEpoch):
		if fresh == None {
			return Step{NeedsProducerID: true}
		}
		n.ProducerID, n.ProducerEpoch, n.LastEpoch = fresh, 0, None
		if expects {
			n.LastEpoch = t.m.ProducerEpoch
		}
	case !expects:
		n.ProducerEpoch, n.LastEpoch = t.m.ProducerEpoch+1, None
	case t.m.ProducerEpoch == None || expected.Epoch == t.m.ProducerEpoch:
		n.ProducerEpoch, n.LastEpoch = t.m.ProducerEpoch+1, t.m.ProducerEpoch
	case expected.Epoch == t.m.LastEpoch:
		// It asks again for what it was given. Another producer would have taken LastEpoch away.
		n.PrevProducerID = t.m.PrevProducerID // and it may ask once more
	default:
		return answer(producerFenced)
	}
	return t.write(n)
}

// mayGoOn reports whether a producer that names itself may be the one that holds the id:
// the id is new, the producer holds it, or will when the markers are written, or it held
// it until its epochs were exhausted and has not heard of its successor.
func (t *Transaction) mayGoOn(p Producer) bool {
	return t.m.ProducerEpoch == None || p.ID == t.m.ProducerID || t.succeeds(p) ||
		p.ID == t.m.PrevProducerID && p.Epoch >= lastEpoch
}

// succeeds reports whether a producer is the new one that the id was given when the end
// was decided, since no epochs were left. It was told at once, and may begin its next
// transaction before the markers are written. Kafka knows nothing of it until then.
func (t *Transaction) succeeds(p Producer) bool {
	id, epoch := t.m.Holder()
	return p.ID != t.m.ProducerID && p == Producer{id, epoch}
}

// AddPartitions makes partitions part of the producer's transaction, and begins one where
// none is open (AddPartitionsToTxn, AddOffsetsToTxn, and from version 2 on Produce and
// TxnOffsetCommit). A step without a record and with code 0 says that they are already.
func (t *Transaction) AddPartitions(now int64, p Producer, partitions []Partition, version Version) Step {
	if code := t.admit(p); code != 0 {
		return answer(code)
	}
	if t.m.State == Ongoing && t.has(partitions) {
		return answer(0)
	}
	n := t.m.next(now, Ongoing)
	n.ClientVersion = version
	n.Partitions = make(map[Partition]struct{}, len(t.m.Partitions)+len(partitions))
	if t.m.State == Ongoing {
		for tp := range t.m.Partitions {
			n.Partitions[tp] = struct{}{}
		}
	} else {
		n.Started = now
	}
	for _, tp := range partitions {
		n.Partitions[tp] = struct{}{}
	}
	return t.write(n)
}

// admit checks that a producer holds the id and that nothing is under way.
func (t *Transaction) admit(p Producer) int16 {
	if t.pending != nil {
		return concurrentTransactions
	}
	return t.held(p)
}

// held is admit by what the log says, whatever is on its way there.
func (t *Transaction) held(p Producer) int16 {
	switch {
	case t.succeeds(p):
		return concurrentTransactions
	case p.ID != t.m.ProducerID:
		return invalidProducerIDMapping
	case p.Epoch != t.m.ProducerEpoch:
		return producerFenced
	case t.m.State.Preparing():
		return concurrentTransactions
	}
	return 0
}

func (t *Transaction) has(partitions []Partition) bool {
	for _, tp := range partitions {
		if _, ok := t.m.Partitions[tp]; !ok {
			return false
		}
	}
	return true
}

// Verify reports whether a partition is part of the producer's transaction, as leaders of
// partitions ask before they append what older clients send (KIP-890): 0, or the code.
// What is on its way to the log does not count.
func (t *Transaction) Verify(p Producer, tp Partition) int16 {
	if code := t.held(p); code != 0 {
		return code
	}
	if t.m.State != Ongoing || !t.has([]Partition{tp}) {
		return transactionAbortable
	}
	return 0
}

// TimedOut reports whether the transaction has been open for longer than its producer
// allows (transaction.timeout.ms). One without end is of two-phase commit (KIP-939), in a
// log that Kafka has written: whether it commits is for others to decide.
func (t *Transaction) TimedOut(now int64) bool {
	return t.pending == nil && t.m.State == Ongoing && t.m.Timeout != math.MaxInt32 && t.m.Started+int64(t.m.Timeout) < now
}

// Expire removes an id that has not been used for age ms (transactional.id.expiration.ms).
// A step that writes is one of state Dead: a tombstone. When that is committed the id is
// to be forgotten.
func (t *Transaction) Expire(now, age int64) Step {
	if t.pending != nil || !t.m.State.atRest() || t.m.Updated > now-age {
		return Step{}
	}
	n := t.m
	n.State, n.Partitions = Dead, nil
	return t.write(&n)
}
