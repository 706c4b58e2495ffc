package partition

import (
	"context"
	"fmt"

	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
)

const (
	// walkBytes is how much of the log is looked up at a time; it is not read.
	walkBytes = 16 << 20
	// windowBytes is read at a time by a walk over headers: several small batches, or
	// the head of a large one.
	windowBytes = 4 << 10
	// scanBytes is how many bytes of batches a Scan holds, or one batch.
	scanBytes = 1 << 20
)

// walk calls yield with the batches of the local log from the one that holds from up
// to to, in order. A control batch is whole, of others there is the header only. The
// batch is valid during the call.
func (p *Partition) walk(from, to int64, yield func(batch.Batch) error) error {
	window := make([]byte, windowBytes)
	for from < to {
		records, err := p.log.Read(from, to, walkBytes, true)
		if err != nil {
			return logError(err)
		}
		next := from
		err = walkRecords(records, window, func(b batch.Batch) error {
			next = b.NextOffset()
			return yield(b)
		})
		records.Release()
		if err != nil {
			return err
		}
		if next <= from {
			return nil // nothing above from is left
		}
		from = next
	}
	return nil
}

// walkRecords is walk over what a read has found.
func walkRecords(records segment.Records, window []byte, yield func(batch.Batch) error) error {
	for _, r := range records.Regions {
		if err := walkRegion(r, window, yield); err != nil {
			return err
		}
	}
	return nil
}

func walkRegion(r segment.Region, window []byte, yield func(batch.Batch) error) error {
	have := window[:0] // what is known of the bytes from position on
	position, end := r.Position, r.Position+r.Size
	for position < end {
		if len(have) < batch.HeaderSize {
			have = window[:min(int64(len(window)), end-position)]
			if _, err := r.File.ReadAt(have, position); err != nil {
				return fmt.Errorf("%w: read batch header: %w", ErrStorage, err)
			}
		}
		size, err := batch.PeekSize(have)
		if err != nil {
			return fmt.Errorf("%w: batch at position %d: %w", ErrStorage, position, err)
		}
		if size < batch.HeaderSize || size > end-position {
			return fmt.Errorf("%w: batch at position %d: %d bytes of %d", ErrStorage, position, size, end-position)
		}
		b := batch.Batch(have)
		if b.Control() {
			whole := make([]byte, size)
			if _, err := r.File.ReadAt(whole, position); err != nil {
				return fmt.Errorf("%w: read control batch: %w", ErrStorage, err)
			}
			b = whole
		}
		if err := yield(b); err != nil {
			return err
		}
		position += size
		have = have[min(size, int64(len(have))):]
	}
	return nil
}

// Scan calls yield with each batch of [from, high watermark) in order, local log
// only: how coordinators load their state. The batch is valid during the call; its
// CRC has been checked. The first batch may begin below from.
func (p *Partition) Scan(ctx context.Context, from int64, yield func(batch.Batch) error) error {
	o := p.Offsets()
	for from = max(from, o.LocalStart); from < o.HighWatermark; {
		if err := ctx.Err(); err != nil {
			return err
		}
		records, err := p.log.Read(from, o.HighWatermark, scanBytes, true)
		if err != nil {
			return logError(err)
		}
		content, err := records.Bytes()
		records.Release()
		if err != nil {
			return logError(err)
		}
		next, err := scanBatches(content, yield)
		if err != nil || next <= from {
			return err
		}
		from = next
	}
	return nil
}

// scanBatches yields the batches of content and returns the offset after the last.
func scanBatches(content []byte, yield func(batch.Batch) error) (next int64, err error) {
	for len(content) > 0 {
		b, rest, err := batch.Next(content)
		if err == nil {
			err = b.CheckCRC()
		}
		if err != nil {
			return 0, fmt.Errorf("%w: %w", ErrStorage, err)
		}
		if err := yield(b); err != nil {
			return 0, err
		}
		next, content = b.NextOffset(), rest
	}
	return next, nil
}
