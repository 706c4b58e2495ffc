package coordinator

import (
	"context"

	"github.com/varvelog/varve/broker/coordinator/group"
	"github.com/varvelog/varve/segment/batch"
)

// maxBatchBytes is where a batch of records is cut in two. A quarter of Kafka's default
// max.message.bytes of 1 MiB leaves room for a large record at the end and for topics
// that are set lower.
const maxBatchBytes = 256 << 10

// recordOverhead is more than the fields of a record beside key and value take.
const recordOverhead = 32

// decision is what a group decided.
type decision struct {
	e   *entry
	out group.Output
}

// share is an append of a group that waits for the batches its records are in.
type share struct {
	e    *entry
	a    group.Append
	left int   // batches that are not decided yet
	code int16 // of the first batch that failed
}

// flight is a batch in the log that is not known to be committed. Only wait may be
// called without the shard's lock.
type flight struct {
	wait   func(context.Context) error
	shares []*share
}

func (s *shard) carryOut(now int64, e *entry, out group.Output) {
	for _, r := range out.Replies {
		if w := s.waiters[r.Ticket]; w != nil { // else its connection has gone
			delete(s.waiters, r.Ticket)
			w.answer(r)
		}
	}
	if len(out.Appends) > 0 {
		s.append(now, []decision{{e: e, out: out}})
	}
}

// carryOutAll carries out the decisions of several groups; their records share
// batches.
func (s *shard) carryOutAll(now int64, all []decision) {
	for _, d := range all {
		s.carryOut(now, d.e, group.Output{Replies: d.out.Replies})
	}
	s.append(now, all)
	for _, d := range all {
		s.settle(now, d.e)
	}
}

// append writes the records of the decisions, in order, in as few batches as their
// size allows. Groups whose records cannot be written learn it at once.
func (s *shard) append(now int64, all []decision) {
	var (
		records []batch.Record
		size    int
		f       = &flight{}
		failed  []*share
	)
	flush := func() {
		if len(records) == 0 {
			return
		}
		wait, err := s.log.Append(s.epoch, records)
		if err == nil {
			f.wait = wait
			s.queue = append(s.queue, f)
		} else {
			failed = append(failed, f.decided(errorCode(err))...)
		}
		records, size, f = nil, 0, &flight{}
	}
	for _, d := range all {
		for _, a := range d.out.Appends {
			sh := &share{e: d.e, a: a}
			for _, r := range a.Records {
				n := len(r.Key) + len(r.Value) + recordOverhead
				if size+n > maxBatchBytes {
					flush()
				}
				size += n
				records = append(records, r)
				f.add(sh)
			}
		}
	}
	flush()
	if len(s.queue) > 0 && s.drained == nil {
		s.startDraining()
	}
	for _, sh := range failed {
		s.step(now, sh.e, sh.e.Appended(now, sh.a, sh.code))
	}
}

// add notes that the batch has records of sh.
func (f *flight) add(sh *share) {
	if len(f.shares) == 0 || f.shares[len(f.shares)-1] != sh {
		f.shares = append(f.shares, sh)
		sh.left++
	}
}

// decided returns the appends whose fate is known with this batch's.
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

// startDraining starts the goroutine that waits for appends. unload waits for it.
func (s *shard) startDraining() {
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.drained = make(chan struct{})
	go s.drain(ctx, cancel, s.drained)
}

// drain tells the groups the fate of their appends, in the order of the log, until
// there are none.
func (s *shard) drain(ctx context.Context, cancel context.CancelFunc, drained chan struct{}) {
	defer close(drained)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.status == active && len(s.queue) > 0 {
		f := s.queue[0]
		s.mu.Unlock()
		err := f.wait(ctx)
		s.mu.Lock()
		if s.status != active {
			return
		}
		s.queue[0] = nil
		s.queue = s.queue[1:]
		now := s.g.now()
		for _, sh := range f.decided(errorCode(err)) {
			s.step(now, sh.e, sh.e.Appended(now, sh.a, sh.code))
		}
	}
	s.drained = nil
}
