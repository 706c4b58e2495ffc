package partition

import (
	"fmt"

	"github.com/varvelog/varve/segment/batch"
)

// Guard lets a transactional batch in (KIP-890). A batch that comes after its transaction
// has ended would begin one that nobody ends, and readers of committed records would wait
// for it for ever. So who appends one takes a guard first, then asks the transaction
// coordinator whether the partition is part of the transaction, and shows the guard with
// the batch: a marker that has come in between has taken the guard away.
type Guard int64

// Unguarded batches are let in as they come: those of an earlier leader, and with
// transaction.partition.verification.enable=false those of clients that add the partition
// to the transaction themselves.
const Unguarded Guard = 0

// guardOpen is the guard of a batch whose transaction was open: it has to be open still.
const guardOpen Guard = -1

// Needed tells whether the coordinator is to be asked.
func (g Guard) Needed() bool { return g > 0 }

// guards are the verifications under way by producer id, of transactions that have no
// record here yet. An entry goes with the first one, with a marker, or by expiry.
type guards map[int64]*verification

type verification struct {
	guard Guard
	epoch int16
	// lowest sequence of the batches that asked: no other may be first, or what a client
	// has sent before would come after.
	lowest int32
	bumped bool  // the epoch is raised at each end (KIP-890, version 2), and sequences begin at 0
	seen   int64 // ms, what expiry goes by
}

// Verify begins the verification of a transactional batch, sequence is its first, -1 of a
// coordinator's, and returns its guard. bumped tells of a client whose epoch is raised at the
// end of each transaction: what it sends to where nothing is known of it has sequence 0.
func (p *Partition) Verify(producerID int64, epoch int16, sequence int32, bumped bool) Guard {
	p.writing.Lock()
	defer p.writing.Unlock()
	if p.producers[producerID].inTransaction(epoch) {
		return guardOpen
	}
	v := p.guards[producerID]
	if v == nil {
		p.lastGuard++
		v = &verification{guard: p.lastGuard, epoch: epoch, lowest: sequence, bumped: bumped}
		p.guards[producerID] = v
	}
	v.seen = p.now().UnixMilli()
	if epoch > v.epoch {
		v.epoch, v.lowest = epoch, sequence
	} else if epoch == v.epoch {
		v.lowest = min(v.lowest, sequence)
	}
	return v.guard
}

// inTransaction reports whether a transaction of this epoch is open. p may be nil.
func (p *producer) inTransaction(epoch int16) bool {
	return p != nil && p.txnFirst != none && p.epoch == epoch
}

// check decides whether a batch is let in; known is what is known of its producer.
func (s guards) check(b batch.Batch, g Guard, known *producer) error {
	if g == Unguarded || !b.Transactional() || known.inTransaction(b.ProducerEpoch()) {
		return nil
	}
	v := s[b.ProducerID()]
	if v == nil || v.guard != g {
		return fmt.Errorf("%w: producer %d, epoch %d, has none open here", ErrInvalidTxnState, b.ProducerID(), b.ProducerEpoch())
	}
	if v.bumped && known == nil && b.BaseSequence() > 0 {
		return fmt.Errorf("%w: producer %d begins with sequence %d", ErrOutOfOrderSequence, b.ProducerID(), b.BaseSequence())
	}
	if b.ProducerEpoch() == v.epoch && b.BaseSequence() > v.lowest {
		return fmt.Errorf("%w: producer %d sent sequence %d, and %d before it", ErrOutOfOrderSequence, b.ProducerID(), b.BaseSequence(), v.lowest)
	}
	return nil
}

// spend takes away the guard that an appended batch makes pointless: its transaction has
// begun here, or is over. A marker of version 2 has a later epoch than the transaction that
// it ends; a guard of that epoch is the next one's already.
func (s guards) spend(b batch.Batch, version int16) {
	v := s[b.ProducerID()]
	if v == nil || v.epoch > b.ProducerEpoch() || b.Control() && version >= 2 && v.epoch == b.ProducerEpoch() {
		return
	}
	delete(s, b.ProducerID())
}

// expire forgets verifications that began before since (ms) and led to nothing.
func (s guards) expire(since int64) {
	for id, v := range s {
		if v.seen <= since {
			delete(s, id)
		}
	}
}
