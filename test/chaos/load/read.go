package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/test/verify"
)

// reader is one session: a client with an assignment that it reads from there on.
type reader struct {
	l       *Load
	session int32
	client  *kgo.Client
	next    map[int32]int64 // one past what was read, by partition's number
	marks   map[verify.Mark]int64
}

// beginnings is an assignment of every partition from offset 0 on.
func (l *Load) beginnings() map[int32]int64 {
	from := map[int32]int64{}
	for p := range int32(l.partitions()) {
		from[p] = 0
	}
	return from
}

// newReader starts a session; final says that nothing is written any more.
func (l *Load) newReader(final bool, from map[int32]int64) *reader {
	r := &reader{l: l, session: l.Recorder.Number(), next: map[int32]int64{}, marks: map[verify.Mark]int64{}}
	assigned := map[string]map[int32]kgo.Offset{}
	for p, offset := range from {
		topic, partition := l.place(p)
		if assigned[topic] == nil {
			assigned[topic] = map[int32]kgo.Offset{}
		}
		assigned[topic][partition] = kgo.NewOffset().At(offset)
	}
	l.Recorder.Session(verify.Session{ID: r.session, Final: final, Committed: l.shape.transactional()}, from)
	options := []kgo.Opt{kgo.ConsumePartitions(assigned), kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchMaxWait(100 * time.Millisecond)}
	if l.shape.transactional() {
		options = append(options, kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	}
	r.client = l.client(options...)
	return r
}

// follow reads until ctx ends.
func (r *reader) follow(ctx context.Context) {
	defer r.client.Close()
	for ctx.Err() == nil {
		r.poll(ctx)
	}
}

// poll logs what one poll returns. Errors that pass are the client's to retry; those that
// say a record is gone are faults.
func (r *reader) poll(ctx context.Context) { r.pollIn(ctx, 0) }

// pollIn is poll within a transaction.
func (r *reader) pollIn(ctx context.Context, txn uint32) {
	f := r.client.PollFetches(ctx)
	// Errors first: they are about what was given before.
	f.EachError(func(topic string, partition int32, err error) {
		if ctx.Err() == nil && lasting(err, r.next[r.l.partition(topic, partition)]) {
			r.l.wrong("session %d, %s-%d: %w", r.session, topic, partition, err)
		}
	})
	var reads []verify.Read
	f.EachRecord(func(k *kgo.Record) {
		p := r.l.partition(k.Topic, k.Partition)
		if k.Attrs.IsControl() {
			r.next[p] = k.Offset + 1
			return
		}
		value, err := number(k)
		if err != nil {
			r.l.wrong("session %d, partition %d, offset %d: %w", r.session, p, k.Offset, err)
			return
		}
		r.next[p] = k.Offset + 1
		reads = append(reads, verify.Read{Value: value, Session: r.session, Partition: p, Offset: k.Offset, Txn: txn})
	})
	r.l.Recorder.Read(reads...)
	f.EachPartition(func(p kgo.FetchTopicPartition) {
		if p.Err != nil {
			return // there are no marks in an error, and the client makes some of its own
		}
		at := r.l.partition(p.Topic, p.Partition)
		r.mark(verify.HighWatermark, at, p.HighWatermark)
		r.mark(verify.LastStableOffset, at, p.LastStableOffset)
		r.mark(verify.LogStartOffset, at, p.LogStartOffset)
	})
}

// mark logs a number that never goes back (C9) when it has changed; below 0 is none.
func (r *reader) mark(kind verify.MarkKind, partition int32, value int64) {
	m := verify.Mark{Kind: kind, Observer: r.session, Partition: partition}
	if before, seen := r.marks[m]; value < 0 || seen && before == value {
		return
	}
	r.marks[m] = value
	m.Value = value
	r.l.Recorder.Mark(m)
}

// lasting tells whether an error of a fetch does not pass while a broker is mistreated;
// next is one past what the partition's reader was given.
//
// A client that was sent back over what it had given to nobody has lost nothing: kgo's
// position passes aborted records, the epoch it remembers beside it does not. Where an
// epoch begins with them, the position lies above the end of the epoch, as if the log
// had been truncated; the client goes back to that end and reads them again.
func lasting(err error, next int64) bool {
	var lost *kgo.ErrDataLoss
	if errors.As(err, &lost) {
		return lost.ResetTo < next
	}
	var e *kerr.Error
	return errors.As(err, &e) && !e.Retriable
}

// jumpPolls is how many polls a random reader stays where it is.
const jumpPolls = 20

// jump reads from random offsets on, a session each.
func (l *Load) jump(ctx context.Context) {
	c := l.client()
	defer c.Close()
	for ctx.Err() == nil {
		p := rand.Int32N(int32(l.partitions()))
		topic, partition := l.place(p)
		ends, err := kadm.NewClient(c).ListEndOffsets(ctx, topic)
		end, _ := ends.Lookup(topic, partition)
		if err != nil || end.Err != nil || end.Offset < 1 {
			continue // the broker is away, or nothing is there yet
		}
		r := l.newReader(false, map[int32]int64{p: rand.Int64N(end.Offset)})
		for range jumpPolls {
			short, cancel := context.WithTimeout(ctx, time.Second)
			r.poll(short)
			cancel()
		}
		r.client.Close()
	}
}

// readAll reads everything to its end in a session of its own. It is not complete if it
// meets what no client may see: such a read does not end.
func (l *Load) readAll(ctx context.Context, final bool) (r *reader, complete bool, err error) {
	c := l.client()
	defer c.Close()
	ends := map[int32]int64{}
	for topic := range l.topics {
		list, err := kadm.NewClient(c).ListEndOffsets(ctx, topic)
		if err = errors.Join(err, list.Error()); err != nil {
			return nil, false, err
		}
		list.Each(func(o kadm.ListedOffset) { ends[l.partition(topic, o.Partition)] = o.Offset })
	}
	r = l.newReader(final, l.beginnings())
	defer r.client.Close()
	before := l.strangeness()
	for p := int32(0); p < int32(l.partitions()); {
		if r.next[p] >= ends[p] {
			p++
			continue
		}
		if r.poll(ctx); ctx.Err() != nil {
			return r, false, fmt.Errorf("partition %d was read to %d of %d: %w", p, r.next[p], ends[p], ctx.Err())
		}
		if l.strangeness() > before {
			return r, false, nil
		}
	}
	return r, true, nil
}

// strangeness is how much clients have seen that they may not see.
func (l *Load) strangeness() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.strange
}

// ReadRange reads a partition from an offset to its end and returns how many records
// there were, in the order of offsets and as a load wrote them, before the first error.
func ReadRange(ctx context.Context, address, topic string, partition int32, from int64) (n int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(from)}}))
	if err != nil {
		return 0, err
	}
	defer c.Close()
	ends, err := kadm.NewClient(c).ListEndOffsets(ctx, topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		return 0, err
	}
	end, _ := ends.Lookup(topic, partition)
	for from+n < end.Offset && err == nil {
		f := c.PollFetches(ctx)
		f.EachRecord(func(k *kgo.Record) {
			if err != nil {
				return
			}
			if _, err = number(k); err == nil && k.Offset != from+n {
				err = fmt.Errorf("offset %d after %d", k.Offset, from+n-1)
			}
			if err == nil {
				n++
			}
		})
		err = errors.Join(err, f.Err())
	}
	return n, err
}
