package partition

import (
	"context"
	"fmt"

	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
)

// Append says what to append.
type Append struct {
	Records []byte // exactly one batch; modified in place
	Acks    int16  // -1, 0, 1
	// LeaderEpoch fences internal writers; -1: any.
	LeaderEpoch int32
	// Internal allows control batches and internal topics (coordinators).
	Internal bool
	// Guard is what a transactional batch has to show: see Verify.
	Guard Guard
	// TransactionVersion is that of a marker: from 2 on its epoch is later than any that
	// wrote records of the transaction (KIP-1228).
	TransactionVersion int16
}

// Appended is an append that was written and is not yet durable.
type Appended struct {
	BaseOffset    int64
	NextOffset    int64
	LogAppendTime int64 // ms, -1: CreateTime
	LogStart      int64
	Duplicate     bool // the batch was already there (KIP-98); BaseOffset is the first one's

	round *segment.Round // makes it durable here, nil: done
	epoch int32
}

// Flushed is closed when the append is durable on this replica, or never will be; nil
// where there is nothing to wait for.
func (a Appended) Flushed() <-chan struct{} {
	if a.round == nil {
		return nil
	}
	return a.round.Done()
}

// AppendAsLeader validates one batch, checks its producer, assigns offsets and writes
// it. It does not wait: Wait does. Records belong to the caller again when it
// returns; base offset and leader epoch have been overwritten, and timestamp and CRC
// where the topic stamps its own (LogAppendTime) or the batch's max timestamp was wrong.
// A topic with a compression.type of its own is given another batch of the same records.
//
// Beside the errors of batch.Validate it returns ErrMessageTooLarge, ErrNotLeader,
// ErrFencedEpoch, ErrUnknownEpoch, ErrNotEnoughReplicas (acks -1 only), those of the
// producer (KIP-98), ErrClosed, and ErrStorage once the log has failed. On an error
// nothing has been appended, save for ErrStorage: then nobody knows.
func (p *Partition) AppendAsLeader(a Append) (Appended, error) {
	c := p.config.Load()
	b, marker, err := p.admit(a, c)
	if err != nil {
		return Appended{}, err
	}
	p.writing.Lock()
	done, err := p.append(b, marker, a, c)
	border := p.takeSnapshot()
	if err == nil {
		err = p.apply(b, marker, a.TransactionVersion, done)
	}
	p.writing.Unlock()
	p.writeSnapshot(border)
	if err != nil {
		return Appended{}, err
	}
	return done, nil
}

// admit checks everything about a batch that needs no lock, CRC and records above
// all. The marker is that of a control batch.
func (p *Partition) admit(a Append, c *config.Topic) (batch.Batch, batch.Marker, error) {
	b, rest, err := batch.Next(a.Records)
	switch {
	case err != nil:
		return nil, batch.Marker{}, err
	case len(rest) > 0:
		return nil, batch.Marker{}, fmt.Errorf("%w: more than one batch for one partition", batch.ErrInvalid)
	case b.Control() && a.Internal: // of any size: the transaction has to end
		marker, err := batch.ReadMarker(b)
		return b, marker, err
	case b.Size() > int(c.MaxMessageBytes):
		return nil, batch.Marker{}, fmt.Errorf("%w: %d bytes, at most %d", ErrMessageTooLarge, b.Size(), c.MaxMessageBytes)
	case b.BaseOffset() != 0 && !a.Internal:
		return nil, batch.Marker{}, fmt.Errorf("%w: base offset %d instead of 0", batch.ErrInvalid, b.BaseOffset())
	case a.Internal:
		return b, batch.Marker{}, nil // made by ourselves
	}
	limit := min(p.maxDecompressed, 16*int64(c.MaxMessageBytes))
	rules := batch.Rules{
		Compacted:          c.CleanupCompact,
		LogAppendTime:      c.LogAppendTime,
		Now:                p.now().UnixMilli(),
		TimestampBeforeMax: c.TimestampBeforeMaxMs,
		TimestampAfterMax:  c.TimestampAfterMaxMs,
		MaxDecompressed:    limit,
	}
	if err := batch.Validate(b, &rules); err != nil {
		return nil, batch.Marker{}, err
	}
	b, err = recompressed(b, c, limit)
	return b, batch.Marker{}, err
}

// recompressed is a batch as the topic's compression.type wants it, which may be larger
// than the one that came.
func recompressed(b batch.Batch, c *config.Topic, limit int64) (batch.Batch, error) {
	codec, ok := batch.CodecOf(c.Compression)
	if !ok { // the producer's
		return b, nil
	}
	b, err := batch.Recompress(b, codec, c.CompressionLevel(codec.String()), limit)
	if err == nil && b.Size() > int(c.MaxMessageBytes) {
		err = fmt.Errorf("%w: %d bytes as %s, at most %d", ErrMessageTooLarge, b.Size(), codec, c.MaxMessageBytes)
	}
	return b, err
}

// append decides under the lock, assigns and writes. The caller holds writing.
func (p *Partition) append(b batch.Batch, marker batch.Marker, a Append, c *config.Topic) (Appended, error) {
	if p.closed {
		return Appended{}, ErrClosed
	}
	done, err := p.mayAppend(a, c)
	if err != nil {
		return Appended{}, err
	}
	if b.ProducerID() >= 0 {
		if !a.Internal {
			if w, ok := p.producers.duplicate(b); ok {
				return done.duplicate(w, c), nil
			}
		}
		if err := p.checkProducer(b, marker, a); err != nil {
			return Appended{}, err
		}
	}

	done.BaseOffset = p.log.Offsets().End
	if c.LogAppendTime {
		done.LogAppendTime = p.now().UnixMilli()
		b.SetLogAppendTime(done.LogAppendTime)
	}
	b.Assign(done.BaseOffset, done.epoch)
	done.NextOffset = b.NextOffset()

	begins := b.ProducerID() >= 0 && p.producers.begins(b)
	if begins {
		p.mu.Lock()
		p.transactions.begin(b.ProducerID(), done.BaseOffset)
		p.mu.Unlock()
	}
	p.one[0] = b
	done.round, err = p.log.Append(p.one[:])
	p.one[0] = nil
	if err == nil {
		p.unsnapped += int64(b.Size())
		return done, nil
	}
	if begins {
		p.mu.Lock()
		p.transactions.forget(b.ProducerID(), done.BaseOffset)
		p.mu.Unlock()
	}
	return Appended{}, logError(err)
}

// mayAppend checks leadership and replicas, and returns what is known of the append
// beforehand. The caller holds writing.
func (p *Partition) mayAppend(a Append, c *config.Topic) (Appended, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.offsets()
	if err := checkEpoch(o, a.LeaderEpoch); err != nil {
		return Appended{}, err
	}
	if a.Acks == -1 {
		if err := p.enoughReplicas(int(c.MinInsyncReplicas)); err != nil {
			return Appended{}, err
		}
	}
	if err := p.log.Err(); err != nil {
		return Appended{}, logError(err)
	}
	return Appended{LogAppendTime: none, LogStart: o.LogStart, epoch: o.LeaderEpoch}, nil
}

func (p *Partition) checkProducer(b batch.Batch, marker batch.Marker, a Append) error {
	if b.Control() {
		return p.producers.checkMarker(b, marker, a.TransactionVersion)
	}
	if err := p.guards.check(b, a.Guard, p.producers[b.ProducerID()]); err != nil {
		return err
	}
	return p.producers.check(b, a.Internal)
}

// duplicate is the answer to a batch that is in the log already.
func (a Appended) duplicate(w written, c *config.Topic) Appended {
	a.Duplicate, a.BaseOffset, a.NextOffset = true, w.baseOffset(), w.lastOffset+1
	if c.LogAppendTime {
		a.LogAppendTime = w.timestamp
	}
	return a
}

// apply changes the state of producers and transactions by an appended batch. The
// caller holds writing.
func (p *Partition) apply(b batch.Batch, marker batch.Marker, version int16, done Appended) error {
	if done.Duplicate || b.ProducerID() < 0 {
		return nil
	}
	seen := p.now().UnixMilli()
	p.guards.spend(b, version)
	if !b.Control() {
		p.producers.update(b, seen)
		return nil
	}
	return p.endTransaction(b, marker, seen)
}

// endTransaction applies a marker. The aborted index comes before the last stable
// offset may pass the transaction; an entry that it has already, as in recovery, stays
// one. The caller holds writing.
func (p *Partition) endTransaction(b batch.Batch, marker batch.Marker, seen int64) error {
	first := p.producers.end(b, marker, seen)
	if first == none {
		return nil
	}
	id, at := b.ProducerID(), b.BaseOffset()
	if !marker.Commit {
		p.mu.Lock()
		stable := p.transactions.stableAfter(id, at)
		p.mu.Unlock()
		t := index.AbortedTxn{ProducerID: id, FirstOffset: first, LastOffset: at, LastStableOffset: stable}
		if err := p.log.AppendAborted(t); err != nil {
			return logError(err)
		}
	}
	p.mu.Lock()
	p.transactions.end(id, first, at)
	p.mu.Unlock()
	p.log.Notify()
	return nil
}

// Wait waits until everything below a.NextOffset is acknowledged by all in-sync
// replicas (high watermark), the partition fails or loses leadership, or ctx ends. It
// returns ErrNotEnoughReplicas where by then too few were in sync for
// min.insync.replicas, and ErrNotLeader where the epoch of the append is over: the
// records may be there nevertheless.
func (p *Partition) Wait(ctx context.Context, a Appended) error {
	if a.round != nil {
		select {
		case <-a.round.Done():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if done, err := p.acknowledged(a); done {
		return err
	}
	// The committer has stopped, or the disk is full: this round has not flushed the
	// append, and whether a later one will nobody waits for.
	if err := a.round.Err(); err != nil {
		return logError(err)
	}
	// Followers, a duplicate whose first round is not over, or a topic that does not
	// flush every append: rare enough for a waiter of its own.
	w := segment.NewWaiter()
	p.Watch(w)
	defer p.Unwatch(w)
	for {
		if done, err := p.acknowledged(a); done {
			return err
		}
		select {
		case <-w.C():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// WaitCommitted waits until the high watermark has reached offset, as Wait does for an
// append of the epoch that is led now.
func (p *Partition) WaitCommitted(ctx context.Context, offset int64) error {
	return p.Wait(ctx, Appended{NextOffset: offset, epoch: p.Offsets().LeaderEpoch})
}

// acknowledged says whether the outcome of an append is known, and which it is.
func (p *Partition) acknowledged(a Appended) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.offsets()
	switch {
	case !o.Leader || o.LeaderEpoch != a.epoch:
		return true, ErrNotLeader
	case o.HighWatermark >= a.NextOffset:
		return true, p.enoughReplicas(int(p.config.Load().MinInsyncReplicas))
	}
	if err := p.log.Err(); err != nil {
		return true, logError(err)
	}
	return false, nil
}
