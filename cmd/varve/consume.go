package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func consumeCommand(f *flags) *cobra.Command {
	var o consumeFlags
	c := &cobra.Command{
		Use:   "consume TOPIC",
		Short: "Read records, a line each, until interrupted",
		Long: `Read the records of a topic, a line each, until interrupted. By default reading begins at
the end; partitions that are added later are read only by a --group.

--print adds fields before the value, as kafka-console-consumer.sh does; --format has
those of kcl and rpk: %t topic, %p partition, %o offset, %k key, %v value, %h headers,
%d timestamp in ms, \n and \t; %V is the size of the value, %v{hex} its bytes in hex.`,
		Example: `  varve consume orders --from-beginning
  varve consume orders --offset -10 --until-end --print key,offset
  varve consume orders --offset @2026-01-31T12:00:00Z --partition 0 -n 5
  varve consume orders --group billing --from-beginning`,
		Args: oneArg("topic"),
		RunE: func(c *cobra.Command, args []string) error { return consume(c, f, args[0], o) },
	}
	s := c.Flags()
	s.BoolVar(&o.fromBeginning, "from-beginning", false, "begin with the first record; a group does so where it has no offset yet")
	s.StringVar(&o.offset, "offset", "latest", "where to begin: earliest, latest, an offset, -N for the last N records of each partition, @`time`")
	s.Int32SliceVar(&o.partitions, "partition", nil, "read this partition only; may be repeated")
	s.StringVar(&o.group, "group", "", "read as a member of a group, and commit what was printed")
	s.Int64VarP(&o.max, "max-messages", "n", 0, "stop after this many records")
	s.BoolVar(&o.untilEnd, "until-end", false, "stop at what is the end now")
	s.StringVar(&o.print, "print", "", "`fields` to print: key, headers, timestamp, partition, offset, value, separated by commas")
	s.StringVar(&o.format, "format", "", "`layout` of a record; no line end is added")
	s.StringVar(&o.isolation, "isolation-level", "read_uncommitted", "read_uncommitted, or read_committed to leave out aborted and open transactions")
	c.MarkFlagsMutuallyExclusive("from-beginning", "offset")
	c.MarkFlagsMutuallyExclusive("group", "partition")
	c.MarkFlagsMutuallyExclusive("group", "offset")
	c.MarkFlagsMutuallyExclusive("print", "format")
	return c
}

// consumeFlags are the flags as they were written.
type consumeFlags struct {
	fromBeginning, untilEnd                 bool
	offset, group, print, format, isolation string
	partitions                              []int32
	max                                     int64 // 0: no end
}

// consumption is what the flags ask for.
type consumption struct {
	topic      string
	start      place
	partitions []int32 // empty: all
	group      string
	max        int64
	untilEnd   bool
	isolation  kgo.IsolationLevel
	write      recordWriter
}

func (o *consumeFlags) parse(c *cobra.Command, topic string, json bool) (*consumption, error) {
	start, err1 := parsePlace(o.offset)
	if o.fromBeginning {
		start = place{kind: atEarliest}
	}
	isolation, err2 := parseIsolation(o.isolation)
	write, err3 := newRecordWriter(o.print, o.format, json)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, usageError{err}
	}
	if o.max < 0 || o.max == 0 && c.Flags().Changed("max-messages") {
		return nil, usagef("--max-messages %d is not a number of records", o.max)
	}
	for _, p := range o.partitions {
		if p < 0 {
			return nil, usagef("--partition %d is not a partition", p)
		}
	}
	return &consumption{
		topic: topic, start: start, partitions: o.partitions, group: o.group, max: o.max,
		untilEnd: o.untilEnd, isolation: isolation, write: write,
	}, nil
}

func consume(c *cobra.Command, f *flags, topic string, o consumeFlags) error {
	p := f.printer(c)
	q, err := o.parse(c, topic, p.json)
	if err != nil {
		return err
	}
	var plan *readPlan
	err = f.admin(c, func(ctx context.Context, a *kadm.Client) error {
		plan, err = q.plan(ctx, a)
		return err
	})
	if err != nil {
		return err
	}
	for _, m := range plan.moved {
		p.note("%s: offset %d is not there, reading from %d", partitionName(topic, m.partition), m.asked, m.at)
	}
	if plan.done() {
		return nil
	}
	life, end := context.WithCancel(context.WithoutCancel(c.Context()))
	defer end()
	client, err := f.connect(c.Context(), append(q.options(plan), kgo.WithContext(life))...)
	if err != nil {
		return err
	}
	defer client.CloseAllowingRebalance()
	err = q.read(c.Context(), client, p, plan)
	time.AfterFunc(leaveTimeout, end) // a broker that does not answer would hold up what follows, and closing
	if q.group != "" && err == nil {
		// What was printed counts as read, also when the reader was interrupted.
		if err = client.CommitMarkedOffsets(life); err != nil {
			err = fmt.Errorf("commit offsets of group %s: %w", q.group, err)
		}
	}
	return err
}

// readPlan is where reading begins and ends, by partition.
type readPlan struct {
	from  map[int32]int64
	until map[int32]int64 // with --until-end: what is not read yet
	limit bool            // until counts
	moved []moved
}

// moved is a start that was asked for and is not in the partition.
type moved struct {
	partition int32
	asked, at int64
}

// done tells whether there is nothing (more) to read.
func (r *readPlan) done() bool { return r.limit && len(r.until) == 0 }

// reached notes that everything below next was read.
func (r *readPlan) reached(partition int32, next int64) {
	if end, ok := r.until[partition]; ok && next >= end {
		delete(r.until, partition)
	}
}

// newReadPlan decides from the bounds of the partitions.
func newReadPlan(start place, untilEnd bool, partitions map[int32]bounds) *readPlan {
	r := &readPlan{from: map[int32]int64{}, until: map[int32]int64{}, limit: untilEnd}
	for _, p := range slices.Sorted(maps.Keys(partitions)) {
		b := partitions[p]
		at, ok := start.in(b)
		if b.present >= 0 { // a group goes on where it was
			at, ok = place{atOffset, b.present}.in(b)
		}
		if !ok && b.present < 0 {
			r.moved = append(r.moved, moved{p, start.n, at})
		}
		r.from[p] = at
		if at < b.latest {
			r.until[p] = b.latest
		}
	}
	return r
}

// plan asks for the bounds of the topic's partitions.
func (q *consumption) plan(ctx context.Context, a *kadm.Client) (*readPlan, error) {
	found, err := findTopics(ctx, a, []string{q.topic})
	if err != nil {
		return nil, err
	}
	partitions, err := chosen(found[0], q.partitions)
	if err != nil {
		return nil, err
	}
	latest := a.ListEndOffsets
	if q.isolation == kgo.ReadCommitted() {
		latest = a.ListCommittedOffsets
	}
	all, err := boundsOf(ctx, q.topic, partitions, listsFor(a, q.start, latest))
	if err != nil {
		return nil, err
	}
	if q.group != "" {
		committed, err := committedOffsets(ctx, a, q.group)
		if err != nil {
			return nil, err
		}
		for p, b := range all {
			if o, ok := committed.Lookup(q.topic, p); ok && o.Err == nil {
				b.present = o.At
				all[p] = b
			}
		}
	}
	return newReadPlan(q.start, q.untilEnd, all), nil
}

// options configure a client for a plan.
func (q *consumption) options(plan *readPlan) []kgo.Opt {
	opts := []kgo.Opt{kgo.FetchIsolationLevel(q.isolation), kgo.KeepControlRecords()}
	if q.untilEnd {
		opts = append(opts, kgo.FetchMaxWait(tailPause)) // a look at a tail queues behind the fetch that waits
	}
	if q.group != "" {
		reset := kgo.NewOffset().AtEnd()
		if q.start.kind == atEarliest {
			reset = kgo.NewOffset().AtStart()
		}
		return append(opts, kgo.ConsumerGroup(q.group), kgo.ConsumeTopics(q.topic), kgo.ConsumeResetOffset(reset),
			kgo.AutoCommitMarks(), kgo.AutoCommitInterval(time.Second), kgo.BlockRebalanceOnPoll())
	}
	from := make(map[int32]kgo.Offset, len(plan.from))
	for p, at := range plan.from {
		if end, ok := plan.until[p]; plan.limit && (!ok || at >= end) {
			continue
		}
		from[p] = kgo.NewOffset().At(at)
	}
	return append(opts, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{q.topic: from}))
}

// read prints records until ctx ends, the plan is done or enough were printed.
func (q *consumption) read(ctx context.Context, client *kgo.Client, p *printer, plan *readPlan) error {
	out := bufio.NewWriterSize(p.out, 256<<10)
	show := p.progress("records read", terminal(p.out))
	defer show.end()
	var count int64
	next := map[int32]int64{} // what was handed out, by partition
	err := func() error {
		for ctx.Err() == nil {
			fetches := q.poll(ctx, client)
			if fetches.NumRecords() == 0 && plan.limit && ctx.Err() == nil {
				if err := skipTails(ctx, client, q.topic, plan, next); err != nil || plan.done() {
					return err
				}
			}
			for _, e := range fetches.Errors() {
				if ctx.Err() == nil && !errors.Is(e.Err, context.DeadlineExceeded) {
					return fmt.Errorf("read %s: %w", partitionName(e.Topic, e.Partition), e.Err)
				}
			}
			for i := fetches.RecordIter(); !i.Done(); {
				r := i.Next()
				end, bounded := plan.until[r.Partition]
				beyond := plan.limit && (!bounded || r.Offset >= end)
				if !beyond && !r.Attrs.IsControl() {
					if err := q.write(out, r); err != nil {
						return err
					}
					count++
					show.add(1)
				}
				if !beyond {
					client.MarkCommitRecords(r)
				}
				next[r.Partition] = r.Offset + 1
				plan.reached(r.Partition, r.Offset+1)
				if plan.done() || q.max > 0 && count == q.max {
					return nil
				}
			}
			if err := out.Flush(); err != nil {
				return err
			}
			client.AllowRebalance()
		}
		return nil
	}()
	return errors.Join(err, out.Flush())
}

// poll waits for records; where the end is known only for a while.
func (q *consumption) poll(ctx context.Context, client *kgo.Client) kgo.Fetches {
	if !q.untilEnd {
		return client.PollFetches(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, tailPause)
	defer cancel()
	return client.PollFetches(ctx)
}

// leaveTimeout bounds what a consumer that stops has to say to its group.
const leaveTimeout = 10 * time.Second
