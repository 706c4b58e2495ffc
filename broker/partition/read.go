package partition

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/tiering"
)

// Isolation of reads.
const (
	ReadUncommitted int8 = 0
	ReadCommitted   int8 = 1
)

// ReadSpec says what to read.
type ReadSpec struct {
	Offset             int64
	MaxBytes           int64
	OneBatch           bool // at least one whole batch
	Isolation          int8
	CurrentLeaderEpoch int32 // -1: unknown
	LastFetchedEpoch   int32 // -1: unknown (KIP-320)
}

// ReadResult is what was found. Records has to be released.
type ReadResult struct {
	Records segment.Records
	Offsets Offsets
	// Aborted are the transactions that overlap Records, by their first offsets; ReadCommitted only.
	Aborted []index.AbortedTxn
	// Diverging is set where LastFetchedEpoch's lineage is not ours: epoch and end offset.
	Diverging *segment.EpochStart
	// Pending: the bytes are in the bucket and on their way; the waiter is signalled.
	Pending bool
}

// Read reads whole batches from the one that holds s.Offset up to the high watermark,
// or the last stable offset where the isolation is ReadCommitted, from disk or bucket;
// it never waits. At or above that bound there are no records and no error.
//
// It returns ErrOffsetOutOfRange below the log start and above the log end, the
// errors of leader epochs (KIP-320), ErrNotLeader, ErrStorage and ErrRemote. On an
// error the result has the offsets, as far as they are known.
func (p *Partition) Read(s ReadSpec, w *segment.Waiter) (ReadResult, error) {
	for {
		r := ReadResult{Offsets: p.Offsets()}
		if err := p.mayRead(s, &r); err != nil || r.Diverging != nil {
			return r, err
		}
		bound := r.Offsets.bound(s.Isolation)
		if s.Offset >= bound {
			return r, nil
		}
		if s.Offset < r.Offsets.LocalStart {
			return p.readRemote(s, r, bound, w)
		}
		if r, ok, err := p.readLocal(s, r, bound); ok {
			return r, err
		}
		// The local log start has passed the offset meanwhile: again, from the bucket or
		// to be told that it is out of range. As the start never goes back, this ends.
	}
}

// bound is the offset that a reader may not reach.
func (o Offsets) bound(isolation int8) int64 {
	if isolation == ReadCommitted {
		return o.LastStable
	}
	return o.HighWatermark
}

// mayRead checks epochs and range, and sets Diverging where the client has records of
// a lineage that is not ours.
func (p *Partition) mayRead(s ReadSpec, r *ReadResult) error {
	o := r.Offsets
	if err := checkEpoch(o, s.CurrentLeaderEpoch); err != nil {
		return err
	}
	if s.Offset < o.LogStart {
		return fmt.Errorf("%w: %d is below the log start %d", ErrOffsetOutOfRange, s.Offset, o.LogStart)
	}
	if s.LastFetchedEpoch >= 0 {
		epoch, end := p.log.EpochEnd(s.LastFetchedEpoch)
		if epoch < 0 || end < 0 {
			return fmt.Errorf("%w: the end of epoch %d is not known", ErrOffsetOutOfRange, s.LastFetchedEpoch)
		}
		if epoch < s.LastFetchedEpoch || end < s.Offset {
			r.Diverging = &segment.EpochStart{Epoch: epoch, Start: end}
			return nil
		}
	}
	if s.Offset > o.End {
		return fmt.Errorf("%w: %d is above the log end %d", ErrOffsetOutOfRange, s.Offset, o.End)
	}
	return nil
}

// readLocal reads from disk. It returns false where the offset has left the disk
// since the snapshot of offsets.
func (p *Partition) readLocal(s ReadSpec, r ReadResult, bound int64) (ReadResult, bool, error) {
	records, err := p.log.Read(s.Offset, bound, s.MaxBytes, s.OneBatch)
	if err != nil {
		if errors.Is(err, segment.ErrOutOfRange) && p.log.Offsets().LocalStart > s.Offset {
			return r, false, nil
		}
		return r, true, logError(err)
	}
	r.Records = records
	if s.Isolation != ReadCommitted {
		return r, true, nil
	}
	r.Aborted, err = p.log.Aborted(s.Offset, bound)
	if err == nil && p.log.Offsets().LocalStart > s.Offset {
		r.Records.Release() // the entry may have left the disk with its segment (I32)
		return r, false, nil
	}
	if err == nil && len(r.Aborted) > 0 {
		var end int64
		if end, err = endOf(records); err == nil {
			r.Aborted, _ = index.Overlapping(r.Aborted[:0], r.Aborted, s.Offset, end)
		}
	}
	if err != nil {
		r.Records.Release()
		return r, true, logError(err)
	}
	slices.SortFunc(r.Aborted, byFirstOffset)
	return r, true, nil
}

// byFirstOffset is the order in which a reader steps into transactions. Logs keep them by
// their markers, and Apache Kafka sends them so, by which kafkajs, which takes the list as it
// comes, passes on records of aborted transactions that others ran beside.
func byFirstOffset(a, b index.AbortedTxn) int { return cmp.Compare(a.FirstOffset, b.FirstOffset) }

// readRemote reads from the bucket, aborted transactions too (I32): a segment is copied
// when each transaction in it has ended, and its object names all that were aborted,
// wherever their markers lie (I33).
func (p *Partition) readRemote(s ReadSpec, r ReadResult, bound int64, w *segment.Waiter) (ReadResult, error) {
	if p.remote == nil {
		return r, fmt.Errorf("%w: %d is below the local log start %d", ErrStorage, s.Offset, r.Offsets.LocalStart)
	}
	records, err := p.remote.Read(s.Offset, bound, s.MaxBytes, s.OneBatch, w)
	if err != nil {
		return r.unlessPending(err)
	}
	r.Records = records
	if s.Isolation != ReadCommitted {
		return r, nil
	}
	end, err := endOf(records)
	if err == nil {
		r.Aborted, err = p.remote.Aborted(s.Offset, end, w)
	}
	if err != nil {
		r.Records.Release()
		return r.unlessPending(err)
	}
	slices.SortFunc(r.Aborted, byFirstOffset)
	return r, nil
}

// unlessPending tells bytes that are on their way from bytes that cannot be had.
func (r ReadResult) unlessPending(err error) (ReadResult, error) {
	if errors.Is(err, tiering.ErrNotReady) || errors.Is(err, tiering.ErrBusy) || errors.Is(err, tiering.ErrUnknown) {
		r.Pending = true
		return r, nil
	}
	return r, remoteError(err)
}

// endOf returns the offset after the last record read, by a walk over the headers.
func endOf(records segment.Records) (int64, error) {
	var end int64
	err := walkRecords(records, make([]byte, windowBytes), func(b batch.Batch) error {
		end = b.NextOffset()
		return nil
	})
	return end, err
}
