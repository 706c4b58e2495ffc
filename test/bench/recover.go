package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/varvelog/varve/segment/batch"
)

// Figures of a start after SIGKILL. Ready is when every partition of the topic answers
// ListOffsets; both brokers answer anything only after they have opened their logs.
const (
	coldReady  metric = "ready s, caches dropped"
	logGiB     metric = "log GiB"
	unsettled  metric = "above recovery-point-offset-checkpoint MiB"
	startRead  metric = "read at start MiB"
	coldRead   metric = "read from disk at start MiB, caches dropped"
	startWrite metric = "written at start MiB"
)

const (
	recoverPartitions = 1000
	// recoverTail is produced after the last checkpoint, until the kill: several times
	// what a broker could scan in no time, a small part of the whole.
	recoverTail = 512 << 20
	// recoverRow is the size of a record's value in bytes.
	recoverRow = 8 << 10
	// Records of a batch while the topic is filled, 1 MB as brokers take them at most, and
	// in the tail, 64 KB.
	fillRows, tailRows = 126, 8
	// fillers is how many connections produce; each request holds fillShare batches for as
	// many partitions.
	fillers, fillShare = 4, 8
	// recoverLimit bounds the start of a broker that may have to read everything.
	recoverLimit = 20 * time.Minute
	// recoverFull is the log's size where there is room for it, and recoverSpare is
	// what stays free where there is not.
	recoverFull  = 100 * gigabyte
	recoverSpare = 10 * gigabyte
)

// recoverBytes is the size of the log to recover: what was asked for, or what the disk
// has room for. The brokers' data lies there one after the other, not side by side.
func recoverBytes(asked, free int64) int64 {
	switch {
	case asked > 0:
		return asked
	case free >= 5*recoverFull/2:
		return recoverFull
	default:
		return max(0, min(free-recoverSpare, recoverFull))
	}
}

// crashed is a system that can be started without waiting for it.
type crashed interface {
	onDisk
	launch()
}

func (v *varve) launch() { v.broker.Launch() }

// recovery fills a topic of many partitions, kills the broker while producers run, and
// measures the next start: once with the page cache as the last run left it, once
// without any, as after a reboot. What is dirty is written back before either.
func recovery(b *bench) []contestant {
	var disk unix.Statfs_t
	b.env.check(unix.Statfs(b.root, &disk))
	size := recoverBytes(b.sizes.recover, int64(disk.Bavail)*disk.Bsize)
	if size < recoverTail {
		b.env.Fatalf("%d bytes of disk are free: too few for a log worth recovering", int64(disk.Bavail)*disk.Bsize)
	}
	say("  %.1f GB in %d partitions; settings of recovery are the defaults of both (Kafka: num.recovery.threads.per.data.dir=2); caches can be dropped: %v",
		float64(size)/gigabyte, recoverPartitions, dropCaches() == nil)
	return b.fresh(func(s system) figures { return b.recover(s.(crashed), size) })
}

func (b *bench) recover(s crashed, size int64) figures {
	s.Start()
	t := topic{name: "recover", partitions: recoverPartitions}
	createTopic(b.env, s, t)
	load := &filling{topic: t, ends: make([]atomic.Int64, t.partitions)}
	b.env.check(load.run(b.env.ctx, s.Address(), fillRows, func(written int64) bool { return written >= size }, nil))
	f := figures{logGiB: float64(load.written.Load()) / (1 << 30)}
	b.killed(s, load, f)
	f[readyTime] = b.restarted(s, load)
	read, write := startIO(b.env, s)
	f[startRead], f[startWrite] = read.requested, write
	if dropCaches() == nil {
		b.killed(s, load, nil)
		b.env.check(dropCaches())
		f[coldReady] = b.restarted(s, load)
		read, _ := startIO(b.env, s)
		f[coldRead] = read.fromDisk
	}
	s.Process().Kill()
	return f
}

// killed lets a checkpoint be written, produces the tail and kills the broker while
// producers run. Everything is on disk then.
func (b *bench) killed(s crashed, load *filling, f figures) {
	awaitCheckpoint(b.env, s, load)
	begin := load.written.Load()
	full := make(chan struct{}) // closed when the tail is long enough
	var once atomic.Bool
	var kill errgroup.Group
	kill.Go(func() error {
		<-full
		s.Process().Kill()
		return nil
	})
	err := load.run(b.env.ctx, s.Address(), tailRows, func(written int64) bool {
		if written-begin >= recoverTail && once.CompareAndSwap(false, true) {
			close(full)
		}
		return false
	}, full)
	if once.CompareAndSwap(false, true) { // it failed before
		close(full)
	}
	b.env.check(errors.Join(err, kill.Wait()))
	if f != nil {
		f[unsettled] = float64(aboveCheckpoint(checkpoint(b.env, s), load)) / (1 << 20)
	}
	syscall.Sync()
}

// restarted starts the broker, waits until all partitions answer and returns how long
// that took. Whatever was acknowledged has to be there.
func (b *bench) restarted(s crashed, load *filling) float64 {
	ctx, cancel := context.WithTimeout(b.env.ctx, recoverLimit)
	defer cancel()
	begin := time.Now()
	s.launch()
	for {
		ends, err := listOffsets(ctx, s.Address(), load.topic, endOffset)
		if err == nil {
			took := time.Since(begin).Seconds()
			b.env.check(load.lost(ends))
			return took
		}
		select {
		case <-ctx.Done():
			b.env.Fatalf("%s does not serve all partitions %v after its start: %v\n%s", s.Name(), recoverLimit, err, lastBytes(s.Process().Output(), 4<<10))
		case <-time.After(poll):
		}
		if !s.Process().Running() {
			b.env.Fatalf("%s ended\n%s", s.Name(), lastBytes(s.Process().Output(), 4<<10))
		}
	}
}

// filling is load by producers without an id: prebuilt batches, acks=all.
type filling struct {
	topic   topic
	written atomic.Int64   // bytes of values that were acknowledged
	ends    []atomic.Int64 // acknowledged end offset by partition
}

// lost returns an error if a partition ends below what was acknowledged.
func (l *filling) lost(ends []int64) error {
	for p, end := range ends {
		if acknowledged := l.ends[p].Load(); end < acknowledged {
			return fmt.Errorf("partition %d ends at offset %d, acknowledged was up to %d", p, end, acknowledged)
		}
	}
	return nil
}

// run produces batches of so many records until done says so of the bytes written, or, if
// killed is closed, until the broker has gone.
func (l *filling) run(ctx context.Context, address string, rows int, done func(written int64) bool, killed <-chan struct{}) error {
	var g errgroup.Group
	for i := range fillers {
		g.Go(func() error {
			err := l.produce(ctx, address, rows, i, done)
			select {
			case <-killed:
				return nil
			default:
				return err
			}
		})
	}
	return g.Wait()
}

// produce is one producer, to the partitions whose number modulo fillers is its own.
func (l *filling) produce(ctx context.Context, address string, rows, own int, done func(int64) bool) error {
	records, err := fillBatch(rows)
	if err != nil {
		return err
	}
	c, err := dial(ctx, address)
	if err != nil {
		return err
	}
	defer c.Close()
	next := own
	for !done(l.written.Load()) && ctx.Err() == nil {
		t := kmsg.NewProduceRequestTopic()
		t.Topic = l.topic.name
		for range fillShare {
			p := kmsg.NewProduceRequestTopicPartition()
			p.Partition, p.Records = int32(next), records
			t.Partitions = append(t.Partitions, p)
			if next += fillers; next >= l.topic.partitions {
				next = own
			}
		}
		req := kmsg.NewPtrProduceRequest()
		req.SetVersion(9)
		req.Acks, req.TimeoutMillis, req.Topics = -1, 30_000, append(req.Topics, t)
		answer, err := c.request(req)
		if err != nil {
			return err
		}
		if err := l.acknowledge(answer.(*kmsg.ProduceResponse), rows); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (l *filling) acknowledge(resp *kmsg.ProduceResponse, rows int) error {
	for _, p := range resp.Topics[0].Partitions {
		err := kerr.ErrorForCode(p.ErrorCode)
		if kerr.IsRetriable(err) { // a new topic's leaders are known before they lead
			continue
		}
		if err != nil {
			return fmt.Errorf("produce to partition %d: %w", p.Partition, err)
		}
		l.ends[p.Partition].Store(p.BaseOffset + int64(rows))
		l.written.Add(int64(rows) * recoverRow)
	}
	return nil
}

func fillBatch(rows int) (batch.Batch, error) {
	records := make([]batch.Record, rows)
	for i := range records {
		records[i] = batch.Record{Timestamp: time.Now().UnixMilli(), Value: slices.Clone(value(i, recoverRow))}
	}
	return batch.Builder{ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1}.Build(0, -1, records)
}

// checkpointName is the file of the recovery points, which both systems have.
const checkpointName = "recovery-point-offset-checkpoint"

// awaitCheckpoint waits until the recovery points are at the ends of all partitions, or,
// where they do not follow what was produced, until they have been written down twice:
// the first time may have begun before what was produced last.
func awaitCheckpoint(e *env, s onDisk, load *filling) {
	const interval = time.Minute // log.flush.offset.checkpoint.interval.ms
	path := filepath.Join(s.LogDir(), checkpointName)
	begin := time.Now()
	var last time.Time
	for written := 0; written < 2; {
		if time.Since(begin) > 3*interval {
			e.Fatalf("%s has written recovery points %d times in %v", s.Name(), written, 3*interval)
		}
		select {
		case <-e.ctx.Done():
			e.check(e.ctx.Err())
		case <-time.After(50 * poll):
		}
		info, err := os.Stat(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		e.check(err)
		if t := info.ModTime(); t.After(begin) && t.After(last) {
			last = t
			written++
			if aboveCheckpoint(checkpoint(e, s), load) == 0 {
				return
			}
		}
	}
}

// checkpoint reads the recovery points.
func checkpoint(e *env, s onDisk) string {
	text, err := os.ReadFile(filepath.Join(s.LogDir(), checkpointName))
	e.check(err)
	return string(text)
}

// aboveCheckpoint returns how many bytes of values were acknowledged above the recovery
// points, which is what a start has to look at. A partition without one has 0.
func aboveCheckpoint(checkpoint string, l *filling) (size int64) {
	points := make([]int64, len(l.ends))
	for line := range strings.Lines(checkpoint) {
		f := strings.Fields(line) // topic partition offset
		if len(f) != 3 || f[0] != l.topic.name {
			continue
		}
		partition, err := strconv.Atoi(f[1])
		point, err2 := strconv.ParseInt(f[2], 10, 64)
		if errors.Join(err, err2) == nil && partition >= 0 && partition < len(points) {
			points[partition] = point
		}
	}
	for p := range l.ends {
		size += max(0, l.ends[p].Load()-points[p]) * recoverRow
	}
	return size
}

// dropCaches empties the system's page cache of what is clean. It takes root.
func dropCaches() error {
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3\n"), 0)
}

// readMiB is what a process has read, in MiB: by system calls, from the disk.
type readMiB struct{ requested, fromDisk float64 }

// startIO returns what a broker has read and written by system calls since it was
// started, in MiB. What lies in mapped files is only in what came from the disk.
func startIO(e *env, s system) (read readMiB, written float64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", s.Process().Pid()))
	e.check(err)
	io := ioCounts(string(text))
	const mib = 1 << 20
	return readMiB{float64(io["rchar"]) / mib, float64(io["read_bytes"]) / mib}, float64(io["wchar"]) / mib
}

// ioCounts reads /proc/<pid>/io, which the kernel wrote.
func ioCounts(text string) map[string]int64 {
	counts := map[string]int64{}
	for line := range strings.Lines(text) {
		if name, count, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			counts[name], _ = strconv.ParseInt(count, 10, 64)
		}
	}
	return counts
}
