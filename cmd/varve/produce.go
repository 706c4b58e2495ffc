package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func produceCommand(f *flags) *cobra.Command {
	var o produceFlags
	c := &cobra.Command{
		Use:   "produce TOPIC",
		Short: "Write the lines of standard input, a record each",
		Long: `Write the lines of standard input to a topic, a record each, exactly once (the producer
is idempotent unless --acks asks for less than all). Lines that are not acknowledged are
named on standard error, and the exit code is then 1.`,
		Example: `  echo 'hello' | varve produce greetings
  printf 'k1|first\nk2|second\n' | varve produce orders --key-separator '|' --compression zstd`,
		Args: oneArg("topic"),
		RunE: func(c *cobra.Command, args []string) error { return produce(c, f, args[0], o) },
	}
	s := c.Flags()
	s.StringVar(&o.keySeparator, "key-separator", "", "what ends the key on a line; \\t is a tab. Without it records have no key")
	s.StringVar(&o.null, "null", "", "`text` that stands for a null key or value")
	s.StringArrayVar(&o.headers, "header", nil, "a header of every record, as `key=value`; may be repeated")
	s.Int32Var(&o.partition, "partition", -1, "partition of every record; by default the key chooses")
	s.StringVar(&o.acks, "acks", "all", "who has the record before it counts as written: all, 1 (the leader) or 0 (nobody)")
	s.StringVar(&o.compression, "compression", "none", "none, gzip, snappy, lz4 or zstd")
	s.StringVar(&o.timestamp, "timestamp", "", "`time` of every record, in ms since 1970 or like 2006-01-02T15:04:05Z; by default now")
	return c
}

// produceFlags are the flags as they were written.
type produceFlags struct {
	keySeparator, null, acks, compression, timestamp string
	headers                                          []string
	partition                                        int32
}

// template is what a line becomes.
type template struct {
	topic     string
	separator []byte // nil: no keys
	null      []byte // nil: nothing stands for null
	headers   []kgo.RecordHeader
	partition int32     // -1: the key chooses
	timestamp time.Time // zero: when it is sent
}

// record makes the record of a line; it keeps the line.
func (t *template) record(line []byte) (*kgo.Record, error) {
	r := &kgo.Record{Topic: t.topic, Headers: t.headers, Partition: t.partition, Timestamp: t.timestamp, Value: line}
	if t.separator != nil {
		key, value, ok := bytes.Cut(line, t.separator)
		if !ok {
			return nil, fmt.Errorf("no key separator %q in %.40q", t.separator, line)
		}
		r.Key, r.Value = t.nullable(key), value
	}
	r.Value = t.nullable(r.Value)
	return r, nil
}

func (t *template) nullable(p []byte) []byte {
	if t.null != nil && bytes.Equal(p, t.null) {
		return nil
	}
	return p
}

// parse reads the flags.
func (o *produceFlags) parse(c *cobra.Command, topic string) (*template, []kgo.Opt, error) {
	t := &template{topic: topic, partition: o.partition}
	acks, err1 := parseAcks(o.acks)
	codec, err2 := parseCodec(o.compression)
	headers, err3 := parseHeaders(o.headers)
	separator, err4 := unescape("key-separator", o.keySeparator)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, nil, usageError{err}
	}
	t.headers = headers
	if c.Flags().Changed("key-separator") {
		if separator == "" {
			return nil, nil, usagef("--key-separator is empty")
		}
		t.separator = []byte(separator)
	}
	if c.Flags().Changed("null") {
		t.null = []byte(o.null)
	}
	if o.timestamp != "" {
		ms, err := parseTime(o.timestamp)
		if err != nil {
			return nil, nil, err
		}
		t.timestamp = time.UnixMilli(ms)
	}
	opts := []kgo.Opt{kgo.RequiredAcks(acks), kgo.ProducerBatchCompression(codec), kgo.AllowAutoTopicCreation()}
	// What is given up is reported and not sent again: no duplicates come of it, and
	// without this a broker that dies at the wrong moment is waited for without end.
	opts = append(opts, kgo.AllowIdempotentProduceCancellation())
	if acks != kgo.AllISRAcks() {
		opts = append(opts, kgo.DisableIdempotentWrite())
	}
	if c.Flags().Changed("partition") {
		if o.partition < 0 {
			return nil, nil, usagef("--partition %d is not a partition", o.partition)
		}
		opts = append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	return t, opts, nil
}

// maxLine bounds a line: more than any broker takes as a record.
const maxLine = 128 << 20

// shownRefusals is how many refused lines are named; the rest is counted.
const shownRefusals = 10

func produce(c *cobra.Command, f *flags, topic string, o produceFlags) error {
	t, opts, err := o.parse(c, topic)
	if err != nil {
		return err
	}
	limit, err := maxRecord(c, f, topic)
	if err != nil {
		return err
	}
	client, err := f.connect(c.Context(), append(opts, kgo.ProducerBatchMaxBytes(limit))...)
	if err != nil {
		return err
	}
	defer client.Close()
	p := f.printer(c)
	w := &written{p: p, progress: p.progress("records written", p.json && terminal(p.out))}
	// Lines that were read are written, even if the user has had enough of typing.
	work, giveUp := context.WithCancelCause(context.WithoutCancel(c.Context()))
	var watching sync.WaitGroup
	watching.Go(func() { w.watch(work, client, f.timeout, giveUp) })
	readErr := produceLines(c.Context(), work, client, c.InOrStdin(), t, w)
	flushErr := client.Flush(work)
	if flushErr != nil {
		flushErr = context.Cause(work)
	}
	giveUp(nil)
	watching.Wait()
	client.Close() // whatever is left is answered with an error
	w.outstanding.Wait()
	w.progress.end()
	if w.refused > shownRefusals {
		p.note("… and %d more", w.refused-shownRefusals)
	}
	err = errors.Join(readErr, flushErr, w.err)
	if w.refused > 0 {
		err = errors.Join(err, fmt.Errorf("%d of %d records were not acknowledged", w.refused, w.refused+w.count))
	}
	return err
}

// errSilent ends the wait for a broker that answers nothing any more.
var errSilent = errors.New("the broker has gone silent")

// watch calls giveUp when records were under way and none was answered for a whole
// timeout. franz-go's own limits do not hold here: it measures them from a record's
// timestamp, and never gives up what may have been written. watch ends with ctx.
func (w *written) watch(ctx context.Context, client *kgo.Client, timeout time.Duration, giveUp context.CancelCauseFunc) {
	tick := time.NewTicker(timeout)
	defer tick.Stop()
	for last, busy := int64(0), false; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := w.answered.Load()
		if busy && now == last && client.BufferedProduceRecords() > 0 {
			giveUp(errSilent)
			return
		}
		last, busy = now, client.BufferedProduceRecords() > 0
	}
}

// Batches are at most as large as the topic takes, since a broker refuses them as a
// whole: a line that is too long must not take others with it.
const (
	defaultMaxRecord = 1000012   // franz-go's, just below Kafka's message.max.bytes
	mostMaxRecord    = 100 << 20 // franz-go's limit of a request
	leastMaxRecord   = 512       // and of a batch
)

// maxRecord returns max.message.bytes of a topic, or a default where the topic is yet
// to be made.
func maxRecord(c *cobra.Command, f *flags, topic string) (int32, error) {
	limit := int32(defaultMaxRecord)
	err := f.admin(c, func(ctx context.Context, a *kadm.Client) error {
		answers, err := a.DescribeTopicConfigs(ctx, topic)
		r, err := describedOne("topic "+topic, answers, err)
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			return nil
		}
		for _, config := range r.Configs {
			n, perr := strconv.ParseInt(config.MaybeValue(), 10, 32)
			if config.Key == "max.message.bytes" && perr == nil && n > 0 {
				limit = int32(min(max(n, leastMaxRecord), mostMaxRecord))
			}
		}
		return err
	})
	return limit, err
}

// written keeps the answers. The client calls answer one at a time.
type written struct {
	p           *printer
	progress    *progress
	outstanding sync.WaitGroup
	answered    atomic.Int64 // count and refused together, for watch
	count       int64
	refused     int64
	err         error // of standard output
}

// writtenRecord is what JSON shows of a record that was written.
type writtenRecord struct {
	Line      int64  `json:"line"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"` // -1 with acks=0
	Timestamp int64  `json:"timestamp"`
}

func (w *written) answer(line int64, r *kgo.Record, err error) {
	defer w.outstanding.Done()
	w.answered.Add(1)
	if err != nil {
		if w.refused++; w.refused <= shownRefusals {
			w.p.note("varve: line %d was not acknowledged: %v", line, deliveryError(err))
		}
		return
	}
	w.count++
	w.progress.add(1)
	if w.p.json && w.err == nil {
		w.err = w.p.value(writtenRecord{line, r.Topic, r.Partition, r.Offset, r.Timestamp.UnixMilli()})
	}
}

// deliveryError words why a record was given up.
func deliveryError(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, kgo.ErrClientClosed) {
		return errors.New("the broker did not answer in time (--timeout), it may have been written or not")
	}
	return err
}

// produceLines hands each line to the client, until ctx or work ends; it waits while too
// much is under way.
func produceLines(ctx, work context.Context, client *kgo.Client, in io.Reader, t *template, w *written) error {
	next := lines(ctx, in)
	for n := int64(1); work.Err() == nil; n++ {
		line, err := next()
		if line == nil && err == nil {
			return nil
		}
		var r *kgo.Record
		if err == nil {
			r, err = t.record(line)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		w.outstanding.Add(1)
		client.Produce(work, r, func(r *kgo.Record, err error) { w.answer(n, r, err) })
	}
	return nil
}

// linesAhead is how many lines are read before they are asked for.
const linesAhead = 256

// lines returns a function that returns the next line, the caller's own, without its
// line end, and nil when there are no more or ctx has ended: it then gives up waiting,
// and a read of a terminal that is under way ends with the process.
func lines(ctx context.Context, in io.Reader) func() ([]byte, error) {
	ahead, end := make(chan []byte, linesAhead), make(chan error, 1)
	go func() {
		s := bufio.NewScanner(in)
		s.Buffer(make([]byte, 64<<10), maxLine)
		for s.Scan() {
			select {
			case ahead <- append([]byte{}, s.Bytes()...):
			case <-ctx.Done():
				return
			}
		}
		end <- s.Err()
		close(ahead)
	}()
	return func() ([]byte, error) {
		select {
		case line, ok := <-ahead:
			if ok {
				return line, nil
			}
			return nil, <-end
		case <-ctx.Done():
			return nil, nil
		}
	}
}
