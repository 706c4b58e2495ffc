package txn

import "math"

// End ends the transaction of a producer (EndTxn). fresh is a producer id that nobody has,
// or None. Where the step writes nothing and its code is 0, the end was asked for before
// and is done: the answer is the producer of Metadata.
//
// From version 2 on (KIP-890) an end raises the epoch; so the producer's own epoch asks for
// the end of its present transaction, and the one before asks again for the last one's.
func (t *Transaction) End(now int64, p Producer, commit bool, version Version, fresh int64) Step {
	if version < V2 {
		return t.endV1(now, p, commit)
	}
	if t.pending != nil || t.succeeds(p) {
		return answer(concurrentTransactions)
	}
	again := t.asksAgain(p)
	switch {
	case p.ID != t.m.ProducerID && !again:
		return answer(invalidProducerIDMapping)
	case t.m.State.Preparing() && p.Epoch == t.m.ProducerEpoch:
		// The producer was told its epoch when the last end was decided, and asks for the
		// next one before the markers are written. Kafka says that it is fenced.
		return answer(concurrentTransactions)
	case !t.validEpoch(p, again):
		return answer(producerFenced)
	}
	prepared, completed := ends(commit)
	switch t.m.State {
	case Ongoing:
		if commit {
			return t.prepare(now, PrepareCommit, V2, t.m.Started, fresh)
		}
		return t.abort(now, t.m.Started, fresh)
	case prepared:
		return answer(concurrentTransactions)
	case completed:
		if again {
			return answer(0)
		}
	}
	if !commit && !again && t.m.State.atRest() {
		return t.abort(now, now, fresh) // a transaction that has added nothing, as far as we know
	}
	return answer(invalidTxnState)
}

// ends are the states of a prepared and of a completed end.
func ends(commit bool) (prepared, completed State) {
	if commit {
		return PrepareCommit, CompleteCommit
	}
	return PrepareAbort, CompleteAbort
}

// asksAgain reports whether the request repeats one that raised the epoch, or that gave
// the id to a new producer since no epochs were left.
func (t *Transaction) asksAgain(p Producer) bool {
	raised := p.ID == t.m.ProducerID && int32(t.m.ProducerEpoch) == int32(p.Epoch)+1
	replaced := p.ID == t.m.PrevProducerID && p.Epoch == lastEpoch && t.m.ProducerEpoch == 0
	return raised || replaced
}

func (t *Transaction) validEpoch(p Producer, again bool) bool {
	switch {
	case t.m.State.Preparing():
		return again
	case t.m.State == CompleteCommit || t.m.State == CompleteAbort:
		return again || p.Epoch == t.m.ProducerEpoch
	}
	return p.Epoch == t.m.ProducerEpoch
}

// endV1 is End for clients before version 2.
func (t *Transaction) endV1(now int64, p Producer, commit bool) Step {
	switch {
	case t.pending != nil || t.succeeds(p):
		return answer(concurrentTransactions)
	case p.ID != t.m.ProducerID:
		return answer(invalidProducerIDMapping)
	case p.Epoch != t.m.ProducerEpoch:
		return answer(producerFenced)
	}
	prepared, completed := ends(commit)
	switch t.m.State {
	case Ongoing:
		return t.prepare(now, prepared, V0, t.m.Started, None)
	case prepared:
		return answer(concurrentTransactions)
	case completed:
		return answer(0)
	}
	return answer(invalidTxnState)
}

// Abort aborts a transaction in its producer's place, as it has timed out. The raised
// epoch fences the producer, whatever its version.
func (t *Transaction) Abort(now int64, fresh int64) Step {
	if t.pending != nil || t.m.State != Ongoing {
		return answer(concurrentTransactions)
	}
	return t.abort(now, t.m.Started, fresh)
}

func (t *Transaction) abort(now, started, fresh int64) Step {
	return t.prepare(now, PrepareAbort, V2, started, fresh)
}

// prepare decides the end.
func (t *Transaction) prepare(now int64, to State, version Version, started, fresh int64) Step {
	n := t.m.next(now, to)
	n.ClientVersion, n.Started, n.NextProducerID = version, started, None
	if version >= V2 {
		if t.m.exhausted() {
			if fresh == None {
				return Step{NeedsProducerID: true}
			}
			n.NextProducerID = fresh
		}
		n.LastEpoch = t.m.ProducerEpoch
		if t.m.ProducerEpoch < math.MaxInt16 { // else it was fenced before, by the last epoch there is
			n.ProducerEpoch++
		}
	}
	return t.write(n)
}

// Complete ends a prepared transaction whose markers are all written.
func (t *Transaction) Complete(now int64) Step {
	if t.pending != nil || !t.m.State.Preparing() {
		return answer(concurrentTransactions)
	}
	n := t.m.next(now, CompleteAbort)
	if t.m.State == PrepareCommit {
		n.State = CompleteCommit
	}
	n.ProducerID, n.ProducerEpoch = t.m.Holder()
	n.NextProducerID, n.Partitions = None, nil
	return t.write(n)
}
