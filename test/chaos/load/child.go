package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/time/rate"

	"github.com/varvelog/varve/test/verify"
)

// A child is a producer in a process of its own, that can be killed. It writes a line
// before each send and one after each answer:
//
//	send VALUE partition N begun UNIX_NANOSECONDS
//	sent VALUE offset N ended UNIX_NANOSECONDS
//
// What it may have done is in its output however it ended.

// childStride keeps the values of children apart from each other and from the load's.
const childStride = 1 << 32

// Child produces to a topic, at a rate for each second, until ctx ends. n tells children
// apart, from 1 on.
func Child(ctx context.Context, out io.Writer, address, topic string, partitions int32, n uint64, perSecond int) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0), kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }))
	if err != nil {
		return err
	}
	defer c.Close()
	var mu sync.Mutex // lines are whole
	var failed error
	line := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		if _, err := fmt.Fprintf(out, format+"\n", args...); err != nil {
			failed = err
		}
	}
	limit := rate.NewLimiter(rate.Limit(perSecond), 10)
	for value := n * childStride; limit.Wait(ctx) == nil; value++ {
		s := verify.Send{Value: value, Partition: int32(value % uint64(partitions))}
		r := record(s, 100, 1000)
		r.Partition = s.Partition
		line("send %d partition %d begun %d", value, s.Partition, time.Now().UnixNano())
		c.Produce(context.Background(), r, func(r *kgo.Record, err error) {
			if err == nil {
				line("sent %d offset %d ended %d", value, r.Offset, time.Now().UnixNano())
			}
		})
	}
	err = c.Flush(context.Background())
	mu.Lock()
	defer mu.Unlock()
	return errors.Join(err, failed)
}

// Adopt takes what a child has written into the history of a load, as sends of one
// producer to the load's first topic. A last line that the child did not finish is left
// out: nothing was sent before its line was whole.
func (l *Load) Adopt(output string) error {
	id := l.Recorder.Number()
	tickets := map[uint64]int{}
	var sends []verify.Send
	lines := bufio.NewScanner(strings.NewReader(output[:strings.LastIndexByte(output, '\n')+1]))
	for lines.Scan() {
		var value uint64
		var a, b int64
		if n, _ := fmt.Sscanf(lines.Text(), "send %d partition %d begun %d", &value, &a, &b); n == 3 {
			tickets[value] = len(sends)
			sends = append(sends, verify.Send{Value: value, Producer: id, Partition: int32(a), Begun: l.Recorder.Moment(time.Unix(0, b))})
		} else if n, _ := fmt.Sscanf(lines.Text(), "sent %d offset %d ended %d", &value, &a, &b); n == 3 {
			ticket, sent := tickets[value]
			if !sent {
				return fmt.Errorf("%q without a send", lines.Text())
			}
			s := &sends[ticket]
			s.Outcome, s.Offset, s.Ended = verify.OK, a, l.Recorder.Moment(time.Unix(0, b))
		}
	}
	l.Recorder.Log(func(h *verify.History, _ int64) { h.Sends = append(h.Sends, sends...) })
	return lines.Err()
}
