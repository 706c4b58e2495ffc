package verify

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"github.com/varvelog/varve/tiering/objstore"
)

// Partition is what a manifest promises of one partition.
type Partition struct {
	Name     string
	LogStart int64
	End      int64 // one past the last offset in the bucket
	// LocalStart is where the broker's own disk begins; 0 if it has everything.
	LocalStart int64
	Segments   []Segment
}

// Segment is an object that holds the batches of [Base, Next) in its first Size bytes.
type Segment struct {
	Key        string
	Base, Next int64
	Size       int64
	Digest     string // of the whole object, SHA-256 in hexadecimal digits; "" if nothing is said
}

// segmentPart is in the key of every object that holds batches.
const segmentPart = "/seg/"

// BucketReport is what the walk of a bucket has found.
type BucketReport struct {
	Objects, Segments, Batches int
	Bytes                      int64 // of batches
	Faults                     []string
}

// Bucket walks every object that the manifests name, batch by batch: ranges that leave
// no gap, lengths, CRCs, dense offsets (C14). Segments that the listing has and no
// manifest are faults too: call it when nothing is in motion.
func Bucket(ctx context.Context, b objstore.Bucket, partitions []Partition) (BucketReport, error) {
	var r BucketReport
	for _, p := range partitions {
		p.contiguous(r.fault)
		for _, s := range p.Segments {
			r.Segments++
			if err := r.segment(ctx, b, s); err != nil {
				r.fault("%s: %s: %v", p.Name, s.Key, err)
			}
		}
	}
	return r, r.listing(ctx, b, partitions)
}

// Named is the cheapest part of Bucket: an error if the listing has a segment that no
// manifest names.
func Named(ctx context.Context, b objstore.Bucket, partitions []Partition) error {
	var r BucketReport
	if err := r.listing(ctx, b, partitions); err != nil {
		return err
	}
	if len(r.Faults) > 0 {
		return fmt.Errorf("%d of them; %s", len(r.Faults), r.Faults[0])
	}
	return nil
}

func (r *BucketReport) listing(ctx context.Context, b objstore.Bucket, partitions []Partition) error {
	named := map[string]bool{}
	for _, p := range partitions {
		for _, s := range p.Segments {
			named[s.Key] = true
		}
	}
	return b.List(ctx, "", func(o objstore.Object) bool {
		r.Objects++
		if strings.Contains(o.Key, segmentPart) && !named[o.Key] {
			r.fault("%s: %d bytes that no manifest names", o.Key, o.Size)
		}
		return true
	})
}

func (r *BucketReport) fault(format string, args ...any) {
	r.Faults = append(r.Faults, fmt.Sprintf(format, args...))
}

// contiguous checks that segments cover [LogStart, End) without a gap or an overlap, and
// that nothing has left the disk that is not among them.
func (p *Partition) contiguous(add report) {
	next := p.LogStart
	for i, s := range p.Segments {
		if i == 0 && s.Base <= next && s.Next > next {
			next = s.Base // retention may end within a segment
		}
		if s.Base != next || s.Next <= s.Base {
			add("%s: segment [%d, %d) follows %d", p.Name, s.Base, s.Next, next)
		}
		next = s.Next
	}
	if next != max(p.End, p.LogStart) {
		add("%s: segments end at %d, the manifest at %d", p.Name, next, p.End)
	}
	if p.LocalStart > max(p.End, p.LogStart) {
		add("%s: the disk begins at %d, the bucket ends at %d", p.Name, p.LocalStart, p.End)
	}
}

// segment reads one object's batches.
func (r *BucketReport) segment(ctx context.Context, b objstore.Bucket, s Segment) error {
	o, err := b.Head(ctx, s.Key)
	if err != nil {
		return err
	}
	if o.Size <= s.Size {
		return fmt.Errorf("the object has %d bytes, its batches alone %d", o.Size, s.Size)
	}
	stream, err := b.Get(ctx, s.Key, 0, s.Size)
	if err != nil {
		return err
	}
	log, err := io.ReadAll(stream)
	if err := errors.Join(err, stream.Close()); err != nil {
		return err
	}
	if int64(len(log)) != s.Size {
		return fmt.Errorf("%d bytes came, the manifest says %d", len(log), s.Size)
	}
	n, err := Batches(log, s.Base, s.Next)
	r.Batches += n
	r.Bytes += s.Size
	return err
}

// The record batch of Kafka (magic 2), as far as it is checked here: base offset 0, length
// 8, leader epoch 12, magic 16, CRC32C of all from 21 on 17, last offset delta 23, count 57.
const (
	batchHeader   = 61
	batchOverhead = 12
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Batches walks the batches of a log and returns how many there are. They have to hold
// every offset of [base, next), once and in order, with their CRCs right.
func Batches(log []byte, base, next int64) (n int, err error) {
	for position := 0; position < len(log); n++ {
		b := log[position:]
		if len(b) < batchHeader {
			return n, fmt.Errorf("position %d: %d bytes are no batch", position, len(b))
		}
		size := int(binary.BigEndian.Uint32(b[8:])) + batchOverhead
		if size < batchHeader || size > len(b) {
			return n, fmt.Errorf("position %d: a batch of %d bytes with %d left", position, size, len(b))
		}
		b = b[:size]
		if b[16] != 2 {
			return n, fmt.Errorf("position %d: magic %d", position, b[16])
		}
		if got, want := crc32.Checksum(b[21:], castagnoli), binary.BigEndian.Uint32(b[17:]); got != want {
			return n, fmt.Errorf("position %d: CRC %08x, the batch says %08x", position, got, want)
		}
		delta, count := int32(binary.BigEndian.Uint32(b[23:])), int32(binary.BigEndian.Uint32(b[57:]))
		if offset := int64(binary.BigEndian.Uint64(b)); offset != base || delta < 0 || count != delta+1 {
			return n, fmt.Errorf("position %d: base offset %d, %d records, last delta %d; expected offset %d", position, offset, count, delta, base)
		}
		base += int64(delta) + 1
		position += size
	}
	if base != next {
		return n, fmt.Errorf("the log ends at offset %d, not at %d", base, next)
	}
	return n, nil
}

// LogBatches lists the batches of a log as they lie there, for C13; it ends at the first
// that is none.
func LogBatches(log []byte, replica, partition int32) []Batch {
	var list []Batch
	for len(log) >= batchHeader {
		size := int64(binary.BigEndian.Uint32(log[8:])) + batchOverhead
		if size < batchHeader || size > int64(len(log)) {
			break
		}
		base := int64(binary.BigEndian.Uint64(log))
		list = append(list, Batch{
			Replica: replica, Partition: partition, Base: base, Next: base + int64(int32(binary.BigEndian.Uint32(log[23:]))) + 1,
			CRC: binary.BigEndian.Uint32(log[17:]),
		})
		log = log[size:]
	}
	return list
}
