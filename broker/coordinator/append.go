package coordinator

import (
	"context"

	"github.com/varvelog/varve/segment/batch"
)

// maxBatchBytes is where a batch of records is cut in two. A quarter of Kafka's default
// max.message.bytes of 1 MiB leaves room for a large record at the end and for topics
// that are set lower.
const maxBatchBytes = 256 << 10

// recordOverhead is more than the fields of a record beside key and value take.
const recordOverhead = 32

// share is what one step of a machine writes, until the fate of the batches that its
// records are in is known.
type share struct {
	Write
	// told hears once, under the shard's lock, what became of the records: 0, or the code
	// to answer.
	told func(now int64, code int16)

	left int   // batches that are not decided yet
	code int16 // of the first batch that failed
}

// flight is a batch in the log that is not known to be committed. Only wait may be
// called without the shard's lock.
type flight struct {
	wait   func(context.Context) error
	shares []*share
}

// append writes the records of the shares, in order, in as few batches as their size and
// their producers allow. Shares whose records cannot be written are told at once. The
// caller holds the lock.
func (c *core) append(now int64, shares ...*share) {
	var (
		w      Write
		size   int
		f      = &flight{}
		failed []*share
	)
	flush := func() {
		if len(w.Records) == 0 {
			return
		}
		wait, err := c.log.Append(c.epoch, w)
		if err == nil {
			f.wait = wait
			c.queue = append(c.queue, f)
		} else {
			failed = append(failed, f.decided(errorCode(err))...)
		}
		w.Records, size, f = nil, 0, &flight{}
	}
	for _, sh := range shares {
		sh.left++ // until all of its batches are there to be decided
		for _, r := range sh.Records {
			n := len(r.Key) + len(r.Value) + recordOverhead
			if size+n > maxBatchBytes || !w.joins(sh.Write) {
				flush()
			}
			if sh.code != 0 {
				break // the rest of a step that has failed already
			}
			if len(w.Records) == 0 {
				w = Write{Builder: sh.Builder, TransactionVersion: sh.TransactionVersion, Guard: sh.Guard}
			}
			size += n
			w.Records = append(w.Records, r)
			f.add(sh)
		}
		if sh.left--; sh.left == 0 && sh.code != 0 {
			failed = append(failed, sh)
		}
	}
	flush()
	if len(c.queue) > 0 && !c.draining {
		c.draining = true
		c.running.Go(c.drain)
	}
	for _, sh := range failed {
		sh.told(now, sh.code)
	}
}

// joins tells whether the records of other may share a batch with those of w.
func (w Write) joins(other Write) bool {
	return w.Builder == other.Builder && w.Guard == other.Guard && !w.Control
}

// plain is records of no producer.
func plain(records []batch.Record) Write { return Write{Builder: batch.NoProducer, Records: records} }

// add notes that the batch has records of sh.
func (f *flight) add(sh *share) {
	if len(f.shares) == 0 || f.shares[len(f.shares)-1] != sh {
		f.shares = append(f.shares, sh)
		sh.left++
	}
}

// decided returns the shares whose fate is known with this batch's.
func (f *flight) decided(code int16) (known []*share) {
	for _, sh := range f.shares {
		if sh.code == 0 {
			sh.code = code
		}
		if sh.left--; sh.left == 0 {
			known = append(known, sh)
		}
	}
	return known
}

// drain tells the shares their fate, in the order of the log, until there are none.
func (c *core) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.status == active && len(c.queue) > 0 {
		f := c.queue[0]
		c.mu.Unlock()
		err := f.wait(c.life)
		c.mu.Lock()
		if c.status != active {
			return
		}
		c.queue[0] = nil
		c.queue = c.queue[1:]
		now := c.now()
		for _, sh := range f.decided(errorCode(err)) {
			sh.told(now, sh.code)
		}
	}
	c.draining = false
}
