package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/time/rate"

	"github.com/varvelog/varve/test/verify"
)

// The numbers of W3 to W5.
const (
	microOps   = 4   // most sends and polls of a transaction
	abortShare = 0.1 // of all transactions
	txnTimeout = 10 * time.Second
	pollInTxn  = 20 * time.Millisecond
	copyBatch  = 750 // most records of a transaction of W4
)

// transact is one worker: one transaction after the other under one transactional id.
// After an outcome that it does not know it begins anew, which fences what went before.
func (l *Load) transact(ctx context.Context, worker int) {
	each := float64(l.shape.Rate) / float64(l.shape.Transactors)
	limit := rate.NewLimiter(rate.Limit(each), 1)
	for ctx.Err() == nil {
		c := l.client(kgo.TransactionalID(fmt.Sprintf("%s-worker-%d", l.name, worker)), kgo.TransactionTimeout(txnTimeout),
			kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
		r := l.newReader(false, l.beginnings())
		id := l.Recorder.Number()
		for err := error(nil); err == nil && limit.Wait(ctx) == nil; {
			err = l.transaction(c, r, id)
		}
		r.client.Close()
		c.Close()
	}
}

// transaction is one of them; an error says that its outcome is not known.
func (l *Load) transaction(c *kgo.Client, r *reader, producer int32) error {
	l.calm.RLock() // a snapshot waits for what is under way
	defer l.calm.RUnlock()
	if err := c.BeginTransaction(); err != nil {
		return err
	}
	txn := l.begin(producer)
	if l.shape.Money {
		l.transfer(c, producer, txn)
	} else {
		for range 1 + rand.N(microOps) {
			if rand.N(3) > 0 {
				l.sendIn(verify.Send{Producer: producer, Txn: txn, Partition: rand.Int32N(int32(l.partitions()))}, c.Produce)
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), pollInTxn)
			r.pollIn(ctx, txn)
			cancel()
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*txnTimeout)
	defer cancel()
	end := verify.Commit
	if err := c.Flush(ctx); err != nil || l.failed(txn) || rand.Float64() < abortShare {
		end = verify.Abort
	}
	l.ending(txn, end)
	err := c.EndTransaction(ctx, kgo.TransactionEndTry(end == verify.Commit))
	if err == nil {
		l.ended(txn, end)
	}
	return err
}

// begin logs a transaction that nobody has ended yet.
func (l *Load) begin(producer int32) uint32 {
	txn := uint32(l.Recorder.Number())
	l.Recorder.Log(func(h *verify.History, _ int64) {
		l.txns[txn] = len(h.Txns)
		h.Txns = append(h.Txns, verify.Txn{ID: txn, Producer: producer})
	})
	return txn
}

// ending logs that the end of a transaction is asked for, ended that it was answered.
func (l *Load) ending(txn uint32, end verify.Ending) {
	l.Recorder.Log(func(h *verify.History, at int64) {
		t := &h.Txns[l.txns[txn]]
		t.End, t.Begun = end, at
	})
}

func (l *Load) ended(txn uint32, end verify.Ending) {
	l.Recorder.Log(func(h *verify.History, at int64) {
		t := &h.Txns[l.txns[txn]]
		t.End, t.Outcome, t.Ended = end, verify.OK, at
	})
}

// produce is what clients and group sessions have in common.
type produce func(context.Context, *kgo.Record, func(*kgo.Record, error))

// sendIn sends one record of a transaction and returns its value.
func (l *Load) sendIn(s verify.Send, produce produce) uint64 {
	s.Value = l.nextValue()
	r := record(s, l.shape.MinSize, l.shape.MaxSize)
	r.Topic, r.Partition = l.place(s.Partition)
	ticket := l.Recorder.Send(s)
	produce(context.Background(), r, func(r *kgo.Record, err error) {
		if err == nil {
			l.Recorder.Sent(ticket, verify.OK, r.Offset)
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.broken[s.Txn] = true
	})
	return s.Value
}

// failed tells whether a send of a transaction has failed: it cannot be committed.
func (l *Load) failed(txn uint32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken[txn]
}

// transfer moves money between two accounts, which are the partitions.
func (l *Load) transfer(c *kgo.Client, producer int32, txn uint32) {
	from := rand.Int32N(int32(l.partitions()))
	to := (from + 1 + rand.Int32N(int32(l.partitions())-1)) % int32(l.partitions())
	amount := 1 + rand.Int64N(10)
	for account, change := range map[int32]int64{from: -amount, to: amount} {
		value := l.sendIn(verify.Send{Producer: producer, Txn: txn, Partition: account}, c.Produce)
		l.mu.Lock()
		l.amounts[value] = change
		l.mu.Unlock()
	}
}

// Snapshot reads all accounts of W5 while no transfer is under way and logs their
// balances; each began with a hundred.
func (l *Load) Snapshot(ctx context.Context) error {
	l.calm.Lock()
	defer l.calm.Unlock()
	r, complete, err := l.readAll(ctx, false)
	if err != nil || !complete {
		return errors.Join(err, errors.New("the accounts could not be read"))
	}
	balances := make([]int64, l.partitions())
	for i := range balances {
		balances[i] = 100
	}
	l.Recorder.Log(func(h *verify.History, _ int64) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, read := range h.Reads {
			if read.Session == r.session {
				balances[read.Partition] += l.amounts[read.Value]
			}
		}
		for account, amount := range balances {
			h.Balances = append(h.Balances, verify.Balance{Snapshot: r.session, Account: int32(account), Amount: amount})
		}
	})
	return nil
}

// copier is one copier of W4 after the other: it reads topic 0 in a group and writes
// topic 1 in transactions that commit its offsets as well.
func (l *Load) copier(ctx context.Context, worker int) {
	for ctx.Err() == nil {
		s, err := kgo.NewGroupTransactSession(l.options(
			kgo.TransactionalID(fmt.Sprintf("%s-copier-%d", l.name, worker)), kgo.TransactionTimeout(txnTimeout),
			kgo.ConsumerGroup(l.group()), kgo.ConsumeTopics(l.name+"-0"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond),
			kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))...)
		if err != nil {
			panic(fmt.Sprintf("options of a copier: %v", err)) // they are ours
		}
		producer := l.Recorder.Number()
		for err == nil && ctx.Err() == nil {
			err = l.copySome(ctx, s, producer)
		}
		s.Close()
	}
}

func (l *Load) copySome(ctx context.Context, s *kgo.GroupTransactSession, producer int32) error {
	f := s.PollRecords(ctx, copyBatch)
	if f.NumRecords() == 0 {
		return nil // errors of fetches pass
	}
	if err := s.Begin(); err != nil {
		return err
	}
	txn := l.begin(producer)
	f.EachRecord(func(k *kgo.Record) {
		value, err := number(k)
		if err != nil {
			l.wrong("copier, partition %d, offset %d: %w", k.Partition, k.Offset, err)
			return
		}
		output := int32(l.shape.Partitions) + k.Partition
		l.sendIn(verify.Send{Producer: producer, Txn: txn, Partition: output, From: value}, s.Produce)
	})
	end, cancel := context.WithTimeout(context.Background(), 3*txnTimeout)
	defer cancel()
	l.ending(txn, verify.Commit)
	committed, err := s.End(end, kgo.TransactionEndTry(!l.failed(txn)))
	switch {
	case err != nil:
		return err
	case committed:
		l.ended(txn, verify.Commit)
	default: // it was aborted, for instance because of a rebalance
		l.ended(txn, verify.Abort)
	}
	return nil
}

// WaitCopied waits until every acknowledged input has a committed copy.
func (l *Load) WaitCopied(limit time.Duration) {
	l.t.Helper()
	if err := l.await(limit, func() error {
		inputs, outputs := 0, 0
		l.Recorder.Log(func(h *verify.History, _ int64) {
			for _, s := range h.Sends {
				if s.Outcome == verify.OK && s.From == 0 {
					inputs++
				} else if t := l.txns[s.Txn]; s.From != 0 && s.Outcome == verify.OK && h.Txns[t].End == verify.Commit && h.Txns[t].Outcome == verify.OK {
					outputs++
				}
			}
		})
		if outputs < inputs {
			return fmt.Errorf("%d of %d inputs are copied", outputs, inputs)
		}
		return nil
	}); err != nil {
		l.t.Fatal(err)
	}
}
