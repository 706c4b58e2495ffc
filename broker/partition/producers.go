package partition

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
)

// retained is how many batches are remembered of each producer. An idempotent
// producer has at most 5 requests in flight (max.in.flight.requests.per.connection),
// so a batch that it sends again is one of its last 5 (KIP-98).
const retained = 5

// none is an offset, epoch or sequence that there is not.
const none = -1

// written is a batch as far as a duplicate of it can be told.
type written struct {
	lastOffset   int64
	timestamp    int64 // ms: max timestamp of the batch
	offsetDelta  int32 // last offset - base offset
	lastSequence int32
}

func (w written) baseOffset() int64 { return w.lastOffset - int64(w.offsetDelta) }

// firstSequence counts back from the last; 0 follows 2^31-1.
func (w written) firstSequence() int32 {
	return int32((int64(w.lastSequence) - int64(w.offsetDelta)) & math.MaxInt32)
}

// producer is the state of one producer id in one partition.
type producer struct {
	epoch            int16
	count            int8  // of batches
	coordinatorEpoch int32 // of the last marker, -1: none yet
	txnFirst         int64 // first offset of the open transaction, -1: none
	timestamp        int64 // ms: of the last batch or marker, what snapshots and DescribeProducers show
	seen             int64 // ms by our clock: when it last wrote here, what expiry goes by
	batches          [retained]written
}

// last returns the newest batch of the current epoch, nil where there is none.
func (p *producer) last() *written {
	if p.count == 0 {
		return nil
	}
	return &p.batches[p.count-1]
}

func (p *producer) add(w written) {
	if p.count == retained {
		copy(p.batches[:], p.batches[1:])
		p.count--
	}
	p.batches[p.count] = w
	p.count++
}

func (p *producer) setEpoch(epoch int16) {
	if p.epoch != epoch {
		p.epoch, p.count = epoch, 0
	}
}

// producers is the state of all producer ids that wrote to a partition (KIP-98),
// one map entry each until it expires. The checks change nothing; what changes is
// called after the append, so that a failed append leaves no trace.
type producers map[int64]*producer

// duplicate finds the batch that b repeats: one of the producer's last 5 with the
// same epoch and the same range of sequences.
func (s producers) duplicate(b batch.Batch) (written, bool) {
	p := s[b.ProducerID()]
	if p == nil || p.epoch != b.ProducerEpoch() {
		return written{}, false
	}
	first, last := b.BaseSequence(), b.LastSequence()
	for i := range p.batches[:p.count] {
		if w := p.batches[i]; w.lastSequence == last && w.firstSequence() == first {
			return w, true
		}
	}
	return written{}, false
}

// check decides whether a batch that is no duplicate may be appended. The rules are
// those of ProducerAppendInfo in Kafka 4.3:
//
//   - An epoch older than the producer's is fenced: ErrInvalidProducerEpoch.
//   - A new epoch begins at sequence 0.
//   - Within an epoch the sequences follow one another, 0 after 2^31-1.
//   - A producer of which nothing is known begins at any sequence (KIP-360: "If there is
//     no current producer epoch (possibly because all producer records have been
//     deleted due to retention or the DeleteRecords API) accept writes with any
//     sequence number"). The same holds where all that is known of the epoch is a
//     marker and the batch begins at 0.
//   - While a transaction is open, the producer writes nothing outside of it.
//
// internal batches, those of coordinators, carry no sequences: only epoch and
// transaction are checked.
func (s producers) check(b batch.Batch, internal bool) error {
	p := s[b.ProducerID()]
	if p == nil {
		return nil
	}
	if err := p.checkEpoch(b); err != nil {
		return err
	}
	if !internal {
		if err := p.checkSequence(b); err != nil {
			return err
		}
	}
	if p.txnFirst != none && !b.Transactional() {
		return fmt.Errorf("%w: producer %d has a transaction open since offset %d", ErrInvalidTxnState, b.ProducerID(), p.txnFirst)
	}
	return nil
}

func (p *producer) checkEpoch(b batch.Batch) error {
	if b.ProducerEpoch() < p.epoch {
		return fmt.Errorf("%w: producer %d sent epoch %d, the current one is %d", ErrInvalidProducerEpoch, b.ProducerID(), b.ProducerEpoch(), p.epoch)
	}
	return nil
}

func (p *producer) checkSequence(b batch.Batch) error {
	first := b.BaseSequence()
	if b.ProducerEpoch() != p.epoch {
		if first != 0 && p.epoch != none {
			return fmt.Errorf("%w: producer %d begins epoch %d with sequence %d", ErrOutOfOrderSequence, b.ProducerID(), b.ProducerEpoch(), first)
		}
		return nil
	}
	lastSequence := int32(none)
	if w := p.last(); w != nil {
		lastSequence = w.lastSequence
	}
	follows := int64(first) == int64(lastSequence)+1 || first == 0 && lastSequence == math.MaxInt32
	if !follows && p.epoch != none {
		return fmt.Errorf("%w: producer %d sent sequence %d after %d", ErrOutOfOrderSequence, b.ProducerID(), first, lastSequence)
	}
	return nil
}

// checkMarker decides whether the marker of a transaction may be appended. From version 2
// on every end raises the epoch (KIP-890), so that a marker is late where the producer has
// its epoch already: it could end a later transaction (KIP-1228). One that repeats what is
// done ends nothing and is let through, and so is one of the last epoch that there is.
func (s producers) checkMarker(b batch.Batch, m batch.Marker, version int16) error {
	p := s[b.ProducerID()]
	if p == nil {
		return nil
	}
	if err := p.checkEpoch(b); err != nil {
		return err
	}
	if version >= 2 && b.ProducerEpoch() == p.epoch && p.txnFirst != none && p.epoch != math.MaxInt16 {
		return fmt.Errorf("%w: marker of epoch %d, in which producer %d has a transaction open", ErrInvalidProducerEpoch, p.epoch, b.ProducerID())
	}
	if m.CoordinatorEpoch < p.coordinatorEpoch {
		return fmt.Errorf("%w: producer %d, coordinator epoch %d, the current one is %d", ErrCoordinatorFenced, b.ProducerID(), m.CoordinatorEpoch, p.coordinatorEpoch)
	}
	return nil
}

// begins reports whether b is the first batch of a transaction.
func (s producers) begins(b batch.Batch) bool {
	if !b.Transactional() || b.Control() {
		return false
	}
	p := s[b.ProducerID()]
	return p == nil || p.txnFirst == none
}

// update applies an appended data batch. seen is the time in ms.
func (s producers) update(b batch.Batch, seen int64) {
	begins := s.begins(b)
	p := s.get(b.ProducerID())
	p.setEpoch(b.ProducerEpoch())
	p.add(written{
		lastOffset:   b.LastOffset(),
		timestamp:    b.MaxTimestamp(),
		offsetDelta:  b.LastOffsetDelta(),
		lastSequence: b.LastSequence(),
	})
	p.timestamp, p.seen = b.MaxTimestamp(), seen
	if begins {
		p.txnFirst = b.BaseOffset()
	}
}

// end applies an appended marker and returns the first offset of the transaction
// that it ends, -1 where the producer wrote nothing here.
func (s producers) end(b batch.Batch, m batch.Marker, seen int64) (first int64) {
	p := s.get(b.ProducerID())
	first = p.txnFirst
	p.setEpoch(b.ProducerEpoch())
	p.coordinatorEpoch, p.txnFirst = m.CoordinatorEpoch, none
	p.timestamp, p.seen = b.MaxTimestamp(), seen
	return first
}

func (s producers) get(id int64) *producer {
	p := s[id]
	if p == nil {
		p = &producer{epoch: none, coordinatorEpoch: none, txnFirst: none}
		s[id] = p
	}
	return p
}

// expire forgets producers that have written nothing since the given time (ms) and
// have no transaction open (producer.id.expiration.ms).
func (s producers) expire(since int64) {
	for id, p := range s {
		if p.txnFirst == none && p.seen <= since {
			delete(s, id)
		}
	}
}

// load takes the state from a snapshot, which holds each producer's last batch only.
// What the snapshot calls the time of a producer is the producer's own; seen is ours.
func (s producers) load(states []segment.ProducerState, seen int64) {
	for _, st := range states {
		p := s.get(st.ProducerID)
		p.epoch, p.coordinatorEpoch, p.txnFirst = st.ProducerEpoch, st.CoordinatorEpoch, st.CurrentTxnFirst
		p.timestamp, p.seen, p.count = st.Timestamp, seen, 0
		if st.LastOffset >= 0 {
			p.add(written{lastOffset: st.LastOffset, timestamp: st.Timestamp, offsetDelta: st.OffsetDelta, lastSequence: st.LastSequence})
		}
	}
}

// replay applies a batch of the log as far as producers go: a control batch is whole, of
// others the header suffices.
func (s producers) replay(b batch.Batch, seen int64) {
	if b.ProducerID() < 0 {
		return
	}
	if !b.Control() {
		s.update(b, seen)
		return
	}
	if marker, err := batch.ReadMarker(b); err == nil { // others are of KRaft, or emptied by compaction
		s.end(b, marker, seen)
	}
}

// complete takes from an older snapshot the producers that are not known, and of the
// others the epoch of the coordinator, where no marker has been seen since.
func (s producers) complete(older []segment.ProducerState, seen int64) {
	var missing []segment.ProducerState
	for _, st := range older {
		p := s[st.ProducerID]
		if p == nil {
			missing = append(missing, st)
		} else if p.coordinatorEpoch == none {
			p.coordinatorEpoch = st.CoordinatorEpoch
		}
	}
	s.load(missing, seen)
}

// remember completes the last batch of each producer by the ones before it, where
// older, a scan of the log below, ends at the very same batch.
func (s producers) remember(older producers) {
	for id, p := range s {
		o := older[id]
		if o == nil || p.count != 1 || o.count == 0 || o.epoch != p.epoch {
			continue
		}
		if a, b := o.last(), p.last(); a.lastOffset == b.lastOffset && a.lastSequence == b.lastSequence {
			p.batches, p.count = o.batches, o.count
		}
	}
}

// states is what a snapshot stores, by producer id.
func (s producers) states() []segment.ProducerState {
	states := make([]segment.ProducerState, 0, len(s))
	for id, p := range s {
		st := segment.ProducerState{
			ProducerID: id, ProducerEpoch: p.epoch, LastSequence: none, LastOffset: none,
			Timestamp: p.timestamp, CoordinatorEpoch: p.coordinatorEpoch, CurrentTxnFirst: p.txnFirst,
		}
		if w := p.last(); w != nil {
			st.LastSequence, st.LastOffset, st.OffsetDelta = w.lastSequence, w.lastOffset, w.offsetDelta
		}
		states = append(states, st)
	}
	slices.SortFunc(states, func(a, b segment.ProducerState) int { return cmp.Compare(a.ProducerID, b.ProducerID) })
	return states
}

// ProducerInfo is an active producer (DescribeProducers, KIP-664).
type ProducerInfo struct {
	ProducerID       int64
	ProducerEpoch    int16
	LastSequence     int32 // -1: none
	LastTimestamp    int64 // ms
	CoordinatorEpoch int32 // -1: none
	CurrentTxnFirst  int64 // -1: none
}

// Producers returns the producers known here, by id.
func (p *Partition) Producers() []ProducerInfo {
	p.writing.Lock()
	states := p.producers.states()
	p.writing.Unlock()
	infos := make([]ProducerInfo, len(states))
	for i, st := range states {
		infos[i] = ProducerInfo{st.ProducerID, st.ProducerEpoch, st.LastSequence, st.Timestamp, st.CoordinatorEpoch, st.CurrentTxnFirst}
	}
	return infos
}
