package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"
)

// rawReplay reads topic from offset 0 up to the given end of each partition over several
// connections, and throws records away after a look at the headers of their batches: as
// little work as a consumer can do, so that the broker is what is measured. It returns
// the bytes of record batches that came.
func rawReplay(ctx context.Context, address, topic string, ends []int64) (int64, error) {
	const connections = 4
	bytes := make([]int64, connections)
	g, ctx := errgroup.WithContext(ctx)
	for i := range connections {
		g.Go(func() (err error) {
			bytes[i], err = rawReplayShare(ctx, address, topic, ends, i, connections)
			return err
		})
	}
	err := g.Wait()
	var sum int64
	for _, n := range bytes {
		sum += n
	}
	return sum, err
}

// rawReplayShare reads the partitions whose number modulo of is share.
func rawReplayShare(ctx context.Context, address, topic string, ends []int64, share, of int) (int64, error) {
	next := map[int32]int64{}
	for p := share; p < len(ends); p += of {
		if ends[p] > 0 {
			next[int32(p)] = 0
		}
	}
	c, err := dial(ctx, address)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	var bytes int64
	for len(next) > 0 && ctx.Err() == nil {
		n, err := c.fetch(topic, next)
		if err != nil {
			return bytes, err
		}
		bytes += n
		for p, offset := range next {
			if offset >= ends[p] {
				delete(next, p)
			}
		}
	}
	return bytes, ctx.Err()
}

// Limits of a raw fetch: the range that the plain GET reads at once, per partition.
const (
	rawFetchBytes = 16 << 20
	rawRangeBytes = 8 << 20
)

// fetch asks for the partitions in next, each from its offset, and moves the offsets on.
// It returns the bytes of record batches that came.
func (c *rawConn) fetch(topic string, next map[int32]int64) (int64, error) {
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(11) // the last one without tags, which keeps parse simple
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 500, 1, rawFetchBytes
	req.SessionEpoch = -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic = topic
	for partition, offset := range next {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, offset, rawRangeBytes
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	size, err := c.send(req)
	if err != nil {
		return 0, err
	}
	r := fetchReader{in: c.in, left: size}
	bytes := r.response(next)
	if r.err == nil && r.left != 0 {
		r.err = fmt.Errorf("%d bytes left over in a fetch response", r.left)
	}
	return bytes, r.err
}

// fetchReader walks a Fetch response of version 11 as it comes in.
type fetchReader struct {
	in interface {
		io.Reader
		Discard(int) (int, error)
	}
	left int // bytes of the response not read yet
	err  error
}

func (r *fetchReader) read(n int) []byte {
	b := make([]byte, n)
	if r.err == nil {
		r.left -= n
		_, r.err = io.ReadFull(r.in, b)
	}
	return b
}

func (r *fetchReader) discard(n int) {
	if r.err == nil {
		r.left -= n
		_, r.err = r.in.Discard(n)
	}
}

func (r *fetchReader) int16() int16 { return int16(binary.BigEndian.Uint16(r.read(2))) }
func (r *fetchReader) int32() int32 { return int32(binary.BigEndian.Uint32(r.read(4))) }
func (r *fetchReader) int64() int64 { return int64(binary.BigEndian.Uint64(r.read(8))) }

func (r *fetchReader) code(what string) {
	if code := r.int16(); code != 0 && r.err == nil {
		r.err = fmt.Errorf("%s: error code %d", what, code)
	}
}

func (r *fetchReader) response(next map[int32]int64) (bytes int64) {
	r.int32() // throttle time
	r.code("fetch")
	r.int32() // session
	for range max(0, r.int32()) {
		r.discard(int(r.int16())) // topic
		for range max(0, r.int32()) {
			bytes += r.partition(next)
			if r.err != nil {
				return bytes
			}
		}
	}
	return bytes
}

func (r *fetchReader) partition(next map[int32]int64) int64 {
	partition := r.int32()
	r.code(fmt.Sprintf("fetch partition %d", partition))
	r.discard(3 * 8)                       // high watermark, last stable offset, log start offset
	r.discard(16 * int(max(0, r.int32()))) // aborted transactions
	r.int32()                              // preferred read replica
	records := int(max(0, r.int32()))
	r.batches(records, func(end int64) { next[partition] = max(next[partition], end) })
	return int64(records)
}

// batches walks size bytes of record batches; the last one may be cut off.
func (r *fetchReader) batches(size int, each func(nextOffset int64)) {
	const prefix, lastDeltaAt = 12, 23 // up to the batch's length; from its begin to lastOffsetDelta
	for size >= lastDeltaAt+4 && r.err == nil {
		base, length := r.int64(), int(r.int32())
		r.discard(lastDeltaAt - prefix)
		last := r.int32()
		rest := prefix + length - (lastDeltaAt + 4)
		size -= lastDeltaAt + 4
		if rest > size || rest < 0 {
			break // cut off
		}
		r.discard(rest)
		size -= rest
		each(base + int64(last) + 1)
	}
	r.discard(size)
}
