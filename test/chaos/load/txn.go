package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"
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

	copierSession = 3 * time.Second // of the group: what a killed copier holds up the others
)

// transact is one worker: one transaction after the other under one transactional id.
// After an outcome that it does not know it begins anew, which fences what went before.
func (l *Load) transact(ctx context.Context, worker int) {
	each := float64(l.shape.Rate) / float64(l.shape.Transactors)
	limit := rate.NewLimiter(rate.Limit(each), 1)
	r := l.newReader(false, l.beginnings())
	defer r.client.Close()
	for ctx.Err() == nil {
		c := l.client(l.transactional(l.TransactionalID(worker))...)
		producer := l.Recorder.Number()
		if _, _, err := c.ProducerID(ctx); err == nil {
			l.starts(worker, producer)
			for err == nil && limit.Wait(ctx) == nil {
				err = l.transaction(c, r, producer)
			}
		}
		c.Close()
	}
}

// TransactionalID is that of a worker, and its client's id as well.
func (l *Load) TransactionalID(worker int) string { return fmt.Sprintf("%s-%d", l.workers, worker) }

// transactional are the options of a transactional producer.
func (l *Load) transactional(id string) []kgo.Opt {
	options := []kgo.Opt{
		kgo.TransactionalID(id), kgo.ClientID(id), kgo.TransactionTimeout(l.shape.timeout()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
	}
	if l.shape.V1 {
		options = append(options, kgo.MaxVersions(kversion.V3_7_0()))
	}
	if l.shape.Once {
		options = append(options, kgo.RequestRetries(0))
	}
	return options
}

// starts notes under which number a worker produces from now on.
func (l *Load) starts(worker int, producer int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current[worker] = producer
}

// Hijack takes a worker's transactional id over, as a second instance of it does, and
// returns the producer that is fenced from the moment on that Hijack returns; 0 is none.
func (l *Load) Hijack(ctx context.Context, worker int) (fenced int32, err error) {
	l.mu.Lock()
	fenced = l.current[worker]
	l.mu.Unlock()
	c := l.client(l.transactional(l.TransactionalID(worker))...)
	defer c.Close()
	_, _, err = c.ProducerID(ctx)
	return fenced, err
}

// transaction is one of them; an error says that its outcome is not known.
func (l *Load) transaction(c *kgo.Client, r *reader, producer int32) error {
	l.calm.RLock() // a snapshot waits for what is under way
	defer l.calm.RUnlock()
	if err := c.BeginTransaction(); err != nil {
		return err
	}
	txn, ticket := l.begin(producer)
	if l.shape.Money {
		l.transfer(c, producer, txn)
	} else {
		l.readAndWrite(c, r, producer, txn)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*txnTimeout)
	defer cancel()
	end := verify.Commit
	if err := c.Flush(ctx); err != nil || l.failed(txn) || rand.Float64() < cmp.Or(l.shape.Aborts, abortShare) {
		end = verify.Abort
	}
	l.Recorder.Ending(ticket, end)
	err := c.EndTransaction(ctx, kgo.TransactionEndTry(end == verify.Commit))
	if err == nil {
		l.Recorder.Ended(ticket, end)
	}
	return err
}

// begin logs a transaction that nobody has ended yet.
func (l *Load) begin(producer int32) (txn uint32, ticket int) {
	txn = uint32(l.Recorder.Number())
	return txn, l.Recorder.Txn(verify.Txn{ID: txn, Producer: producer})
}

// readAndWrite is a few sends and polls.
func (l *Load) readAndWrite(c *kgo.Client, r *reader, producer int32, txn uint32) {
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

// produce is what clients and group sessions have in common.
type produce func(context.Context, *kgo.Record, func(*kgo.Record, error))

// sendIn sends one record of a transaction; a value of 0 is to be the next one.
func (l *Load) sendIn(s verify.Send, produce produce) {
	if s.Value == 0 {
		s.Value = l.nextValue()
	}
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
}

// failed tells whether a send of a transaction has failed: it cannot be committed.
func (l *Load) failed(txn uint32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken[txn]
}

// Values of W5 say what an account changes by: a number that is used once, then a bit for
// less, then the amount.
const (
	amountBits = 4
	lessBit    = 1 << amountBits
)

func money(number uint64, change int64) uint64 {
	if change < 0 {
		return number<<(amountBits+1) | lessBit | uint64(-change)
	}
	return number<<(amountBits+1) | uint64(change)
}

func change(value uint64) int64 {
	amount := int64(value % lessBit)
	if value&lessBit != 0 {
		return -amount
	}
	return amount
}

// transfer moves money between two accounts, which are the partitions.
func (l *Load) transfer(c *kgo.Client, producer int32, txn uint32) {
	from := rand.Int32N(int32(l.partitions()))
	to := (from + 1 + rand.Int32N(int32(l.partitions())-1)) % int32(l.partitions())
	amount := 1 + rand.Int64N(10)
	for account, change := range map[int32]int64{from: -amount, to: amount} {
		l.sendIn(verify.Send{Value: money(l.nextValue(), change), Producer: producer, Txn: txn, Partition: account}, c.Produce)
	}
}

// Snapshot reads all accounts of W5 while no transfer is under way and logs their
// balances; each began with a hundred. Of transfers in other processes what is open has
// to end by itself.
func (l *Load) Snapshot(ctx context.Context) error {
	l.calm.Lock()
	defer l.calm.Unlock()
	r, complete, err := l.readAll(ctx, false)
	if err != nil || !complete {
		return errors.Join(errors.New("the accounts could not be read"), err)
	}
	balances := make([]int64, l.partitions())
	for i := range balances {
		balances[i] = 100
	}
	l.Recorder.Log(func(h *verify.History, _ int64) {
		for _, read := range h.Reads {
			if read.Session == r.session {
				balances[read.Partition] += change(read.Value)
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
		s, err := kgo.NewGroupTransactSession(l.options(append(l.transactional(l.TransactionalID(worker)),
			kgo.ConsumerGroup(l.group()), kgo.ConsumeTopics(l.name+"-0"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond),
			kgo.SessionTimeout(copierSession), kgo.HeartbeatInterval(copierSession/6), kgo.RebalanceTimeout(2*copierSession))...)...)
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
	txn, ticket := l.begin(producer)
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
	if err := s.Client().Flush(end); err != nil { // only then is it known whether a send has failed
		return err
	}
	l.Recorder.Ending(ticket, verify.Commit)
	committed, err := s.End(end, kgo.TransactionEndTry(!l.failed(txn)))
	switch {
	case err != nil:
		return err
	case committed:
		l.Recorder.Ended(ticket, verify.Commit)
	default: // it was aborted, for instance because of a rebalance
		l.Recorder.Ended(ticket, verify.Abort)
	}
	return nil
}

// copyPoll is the pause between two looks of WaitCopied.
const copyPoll = 250 * time.Millisecond

// WaitCopied waits until the copiers' group has committed every input.
func (l *Load) WaitCopied(limit time.Duration) {
	l.t.Helper()
	c := l.client()
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	tick := time.NewTicker(copyPoll)
	defer tick.Stop()
	for left := int64(-1); ; { // not known
		n, err := l.uncopied(ctx, kadm.NewClient(c))
		if err == nil {
			left = n
		}
		if left == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			l.t.Fatalf("not within %v: %d inputs are not copied (%v)", limit, left, err)
		}
	}
}

// uncopied is how many inputs the group has not committed.
func (l *Load) uncopied(ctx context.Context, a *kadm.Client) (left int64, err error) {
	ends, err := a.ListEndOffsets(ctx, l.name+"-0")
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return 0, err
	}
	committed, err := a.FetchOffsets(ctx, l.group())
	if err != nil {
		return 0, err
	}
	ends.Each(func(o kadm.ListedOffset) {
		at, _ := committed.Lookup(o.Topic, o.Partition)
		left += o.Offset - max(at.At, 0)
	})
	return left, nil
}

// Settled waits until no transaction holds up readers: until the last stable offset of
// each partition is at its end, as it was when that was looked at.
func (l *Load) Settled(limit time.Duration) {
	l.t.Helper()
	c := l.client()
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var ends kadm.ListedOffsets
	if err := l.await(limit, func() (err error) {
		if ends, err = kadm.NewClient(c).ListEndOffsets(ctx, l.topicNames()...); err == nil {
			err = ends.Error()
		}
		return err
	}); err != nil {
		l.t.Fatal(err)
	}
	if err := l.await(limit, func() error {
		stable, err := kadm.NewClient(c).ListCommittedOffsets(ctx, l.topicNames()...)
		if err != nil {
			return err
		}
		ends.Each(func(end kadm.ListedOffset) {
			s, _ := stable.Lookup(end.Topic, end.Partition)
			switch {
			case err != nil:
			case s.Err != nil:
				err = fmt.Errorf("last stable offset of %s-%d: %w", end.Topic, end.Partition, s.Err)
			case s.Offset < end.Offset:
				err = fmt.Errorf("%s-%d: last stable offset %d, end %d", end.Topic, end.Partition, s.Offset, end.Offset)
			}
		})
		return err
	}); err != nil {
		l.t.Fatal(err)
	}
}
