package main

import (
	"cmp"
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
	"github.com/varvelog/varve/test/harness"
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
	loadBefore metric = "load average before"
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
	// recoverSegment is the size of segments for what is sealed to roll: below a
	// partition's share, above that of two tails.
	recoverSegment = 2 << 20
	// fillers is how many connections produce; each request holds fillShare batches for as
	// many partitions.
	fillers, fillShare = 4, 8
	// recoverLimit bounds the start of a broker that may have to read everything.
	recoverLimit = 20 * time.Minute
	// recoverFull is the log's size unless another is asked for, and recoverSpare is what
	// stays free of the disk.
	recoverFull  = 100 * gigabyte
	recoverSpare = 10 * gigabyte
	// recoverBusy is what is produced at full speed before a kill without warning: several
	// times what Varve lets come between two checkpoints.
	recoverBusy = 8 * gigabyte
)

// recovering is one way to leave a log behind.
type recovering struct {
	size   int64 // of the log, in bytes
	cloned bool  // most of it is reflinks
	// sealed: the tail begins new segments, and what was before lies in sealed ones. Else
	// all lies in active segments, of 1 GiB by default.
	sealed bool
	// busy: killed while the log is filled, with no regard to checkpoints.
	busy bool
}

// on returns what is to be recovered where so much of the disk is free. The brokers' data
// lies there one after the other, not side by side.
func (r recovering) on(z sizes, free int64) recovering {
	r.size = cmp.Or(z.recover, recoverFull)
	if r.busy {
		r.size = min(r.size, recoverBusy)
	}
	r.cloned = !r.busy && (z.clone || r.size > free-recoverSpare)
	return r
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
func recovery(r recovering) func(*bench) []contestant {
	return func(b *bench) []contestant {
		free := freeBytes(b.env, b.root)
		r := r.on(b.sizes, free)
		if r.cloned {
			size := cloneDisk(r.size)
			if size > free {
				b.env.Fatalf("%d bytes of disk are free, and even a log that is cloned takes up to %d", free, size)
			}
			disk := harness.NewDisk(b.env, "xfs", size, cloneMount)
			disk.Bypass()
			b.env.root, b.remark = disk.Dir, r.cloneNote()
		}
		say("  %.1f GB in %d partitions, cloned: %v; settings of recovery are the defaults of both (Kafka: num.recovery.threads.per.data.dir=2); caches can be dropped: %v",
			float64(r.size)/gigabyte, recoverPartitions, r.cloned, dropCaches() == nil)
		return b.fresh(func(s system) figures { return b.recover(s.(crashed), r) }, "varve.tiering.default=false")
	}
}

func (b *bench) recover(s crashed, r recovering) figures {
	f := figures{loadBefore: loadAverage(b.env)}
	s.Start()
	t := topic{name: "recover", partitions: recoverPartitions}
	createTopic(b.env, s, t)
	load := &filling{topic: t, ends: make([]atomic.Int64, t.partitions)}
	if r.busy {
		b.crash(s, load, fillRows, r.size)
	} else {
		b.fillToRecover(s, load, r)
		b.tail(s, load)
	}
	f[logGiB] = float64(load.written.Load()) / (1 << 30)
	f[unsettled] = float64(aboveCheckpoint(checkpoint(b.env, s), load)) / (1 << 20)
	ready := b.restarted(s, load, f, readyTime)
	read, write := startIO(b.env, s)
	f[startRead], f[startWrite] = read.requested, write
	if ready && !r.busy && dropCaches() == nil {
		say("  %-10s %s", s.Name(), f.line([]metric{readyTime, startRead}))
		b.tail(s, load)
		b.env.check(dropCaches())
		b.restarted(s, load, f, coldReady)
		read, _ := startIO(b.env, s)
		f[coldRead] = read.fromDisk
	}
	s.Process().Kill()
	return f
}

// fillToRecover fills the topic up to r's size.
func (b *bench) fillToRecover(s crashed, load *filling, r recovering) {
	seal := func() {
		if r.sealed {
			alterTopic(b.env, s, load.topic.name, map[string]string{"segment.bytes": strconv.Itoa(recoverSegment)})
		}
	}
	if r.cloned {
		b.fillByCloning(s, load, r.size, seal)
		return
	}
	b.env.check(load.run(b.env.ctx, s.Address(), fillRows, func(written int64) bool { return written >= r.size }, nil))
	seal()
}

// tail lets a checkpoint be written, produces the tail and kills the broker.
func (b *bench) tail(s crashed, load *filling) {
	awaitCheckpoint(b.env, s, load)
	b.crash(s, load, tailRows, recoverTail)
}

// crash produces at least so many bytes and kills the broker while producers run.
// Everything is on disk then.
func (b *bench) crash(s crashed, load *filling, rows int, size int64) {
	begin := load.written.Load()
	full := make(chan struct{}) // closed when it is enough
	var once atomic.Bool
	var kill errgroup.Group
	kill.Go(func() error {
		<-full
		s.Process().Kill()
		return nil
	})
	err := load.run(b.env.ctx, s.Address(), rows, func(written int64) bool {
		if written-begin >= size && once.CompareAndSwap(false, true) {
			close(full)
		}
		return false
	}, full)
	if once.CompareAndSwap(false, true) { // it failed before
		close(full)
	}
	b.env.check(errors.Join(err, kill.Wait()))
	syscall.Sync()
}

// restarted starts the broker, waits until all partitions answer and enters how long
// that took, in seconds, and how many cores others used meanwhile. Whatever was
// acknowledged has to be there. It returns false where the broker was not ready within
// recoverLimit, which is then what is entered.
func (b *bench) restarted(s crashed, load *filling, f figures, took metric) (ready bool) {
	m := startMeter(b.env, 0)
	s.launch()
	m.pids = []int{s.Process().Pid()}
	ends, err := b.awaitOffsets(s, load.topic)
	f[took] = time.Since(m.begin).Seconds()
	f[foreignCores] = max(f[foreignCores], m.stop(0, 0)[foreignCores])
	if errors.Is(err, context.DeadlineExceeded) && b.env.ctx.Err() == nil {
		b.remark += fmt.Sprintf("; %s was not ready within %v, its figures of that start are what it had come to", s.Name(), recoverLimit)
		say("  %v", err)
		return false
	}
	b.env.check(err)
	b.env.check(load.lost(ends))
	return true
}

// awaitOffsets waits until every partition answers, and returns the end offsets. It
// returns context.DeadlineExceeded where they do not within recoverLimit.
func (b *bench) awaitOffsets(s crashed, t topic) ([]int64, error) {
	ctx, cancel := context.WithTimeout(b.env.ctx, recoverLimit)
	defer cancel()
	for {
		ends, err := listOffsets(ctx, s.Address(), t, endOffset)
		if err == nil {
			return ends, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s does not serve all partitions: %w, %w\n%s", s.Name(), ctx.Err(), err, lastBytes(s.Process().Output(), 4<<10))
		case <-time.After(poll):
		}
		if !s.Process().Running() {
			return nil, fmt.Errorf("%s ended\n%s", s.Name(), lastBytes(s.Process().Output(), 4<<10))
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
	if text, err := os.ReadFile(path); err == nil && aboveCheckpoint(string(text), load) == 0 {
		return
	}
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

// freeBytes is how much of the disk of a directory is free.
func freeBytes(e *env, dir string) int64 {
	var disk unix.Statfs_t
	e.check(unix.Statfs(dir, &disk))
	return int64(disk.Bavail) * disk.Bsize
}

// loadAverage is the machine's, of one minute.
func loadAverage(e *env) float64 {
	var info unix.Sysinfo_t
	e.check(unix.Sysinfo(&info))
	const one = 1 << 16 // SI_LOAD_SHIFT
	return float64(info.Loads[0]) / one
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
