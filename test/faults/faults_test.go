//go:build faults

package faults

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/time/rate"

	"github.com/varvelog/varve/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	partitions = 4
	loadRate   = 4000 // records a second of each producer
	diskBytes  = 320 << 20
)

// place is where a record was acknowledged.
type place struct {
	partition int32
	offset    int64
}

// ack is what a producer was told of a record, and when.
type ack struct {
	value uint64
	at    time.Time
}

// load is producers of one topic.
type load struct {
	topic   string
	cancel  context.CancelFunc
	done    sync.WaitGroup
	clients []*kgo.Client
	mu      sync.Mutex
	acks    map[place]ack
}

func client(t testing.TB, b *harness.Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.Address), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MetadataMinAge(50 * time.Millisecond), kgo.ProducerLinger(0),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond })}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func createTopic(t testing.TB, b *harness.Broker, topic string, configs map[string]string) {
	t.Helper()
	values := map[string]*string{}
	for k, v := range configs {
		values[k] = &v
	}
	r, err := kadm.NewClient(client(t, b)).CreateTopic(within(t, 30*time.Second), partitions, 1, values, topic)
	if err = errors.Join(err, r.Err); err != nil {
		t.Fatal(err)
	}
}

// value is a record's number, and text that follows from it.
func value(n uint64) []byte {
	v := binary.BigEndian.AppendUint64(nil, n)
	return append(v, strings.Repeat(fmt.Sprint(n, " "), 1+int(n%90))...)
}

// startLoad lets two producers send to every partition until the load is stopped.
func startLoad(t testing.TB, b *harness.Broker, topic string) *load {
	l := &load{topic: topic, acks: map[place]ack{}}
	ctx, cancel := context.WithCancel(t.Context())
	l.cancel = cancel
	t.Cleanup(func() { cancel(); l.done.Wait() })
	for producer := range uint64(2) {
		c := client(t, b, kgo.DefaultProduceTopic(topic), kgo.MaxBufferedRecords(200))
		l.clients = append(l.clients, c)
		l.done.Go(func() {
			limit := rate.NewLimiter(loadRate, 100)
			for n := producer; limit.Wait(ctx) == nil; n += 2 {
				c.Produce(ctx, &kgo.Record{Partition: int32(n/2) % partitions, Value: value(n)}, func(r *kgo.Record, err error) {
					if err == nil {
						l.mu.Lock()
						l.acks[place{r.Partition, r.Offset}] = ack{n, time.Now()}
						l.mu.Unlock()
					}
				})
			}
		})
	}
	return l
}

// stop ends the load: what is not acknowledged by now never will be.
func (l *load) stop() {
	l.cancel()
	l.done.Wait()
	for _, c := range l.clients {
		c.Close()
	}
}

func (l *load) acked() int { l.mu.Lock(); defer l.mu.Unlock(); return len(l.acks) }

// reach waits until n more records are acknowledged.
func (l *load) reach(t testing.TB, n int) {
	t.Helper()
	n += l.acked()
	harness.Until(t, time.Minute, "acknowledged records", func() error {
		if got := l.acked(); got < n {
			return fmt.Errorf("%d of %d", got, n)
		}
		return nil
	})
}

// mustHoldAll fails the test where something that was acknowledged is not there.
func (l *load) mustHoldAll(t testing.TB, b *harness.Broker) {
	t.Helper()
	lost := l.lost(t, b)
	t.Logf("%d acknowledged records, %d lost", l.acked(), len(lost))
	if len(lost) > 0 {
		t.Errorf("%d acknowledged records are lost", len(lost))
	}
}

// lost reads everything and returns what was acknowledged and is not there, the latest
// first. What was acknowledged at an offset has to be what is there.
func (l *load) lost(t testing.TB, b *harness.Broker) []ack {
	t.Helper()
	ctx := within(t, 2*time.Minute)
	ends, err := kadm.NewClient(client(t, b)).ListEndOffsets(ctx, l.topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		t.Fatal(err)
	}
	from, next := map[int32]kgo.Offset{}, map[int32]int64{}
	for p := range int32(partitions) {
		from[p] = kgo.NewOffset().At(0)
	}
	c := client(t, b, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.topic: from}), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	read := map[place]bool{}
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := int32(0); p < partitions; {
		if end, _ := ends.Lookup(l.topic, p); next[p] >= end.Offset {
			p++
			continue
		}
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatalf("read at %v: %v", next, err)
		}
		f.EachRecord(func(r *kgo.Record) {
			at := place{r.Partition, r.Offset}
			if a, ok := l.acks[at]; ok && !bytes.Equal(r.Value, value(a.value)) {
				t.Errorf("%v was acknowledged for record %d and holds another", at, a.value)
			}
			if r.Offset != next[r.Partition] {
				t.Errorf("partition %d: offset %d after %d", r.Partition, r.Offset, next[r.Partition])
			}
			read[at], next[r.Partition] = true, r.Offset+1
		})
	}
	var lost []ack
	for at, a := range l.acks {
		if !read[at] {
			lost = append(lost, a)
		}
	}
	slices.SortFunc(lost, func(a, b ack) int { return b.at.Compare(a.at) })
	return lost
}

// freeze stops every thread of the broker, and returns when they stand still.
func freeze(t testing.TB, b *harness.Broker) {
	t.Helper()
	if err := b.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	harness.Until(t, time.Minute, "stopped threads", func() error {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", b.Pid()))
		if err != nil || len(threads) == 0 {
			return fmt.Errorf("no threads: %w", err)
		}
		for _, name := range threads {
			if stat, err := os.ReadFile(name); err == nil && !strings.Contains(string(stat), ") T ") {
				return fmt.Errorf("%s: %.40s", name, stat)
			}
		}
		return nil
	})
}

// TestPowerCut (R4): a broker under load loses its power, five times on one disk. With
// every append flushed before it is acknowledged nothing acknowledged is lost. With
// Kafka's relaxed flushing some is, which shows that the power really was cut, and
// nothing older than flush.ms.
func TestPowerCut(t *testing.T) {
	const (
		flushMs = 1000
		slack   = time.Second           // the look at flush.ms every 100 ms, and the sync itself on a busy machine
		relaxed = "9223372036854775807" // flush.messages, Kafka's default
	)
	for _, kind := range []string{"ext4", "xfs"} {
		for mode, configs := range map[string]map[string]string{
			"flushed": {"segment.bytes": "1048576"},
			"relaxed": {"segment.bytes": "1048576", "flush.messages": relaxed, "flush.ms": fmt.Sprint(flushMs)},
		} {
			t.Run(kind+"-"+mode, func(t *testing.T) {
				d := harness.NewDisk(t, kind, diskBytes)
				b := harness.StartBroker(t, "log.dirs="+filepath.Join(d.Dir, "logs"), "varve.tiering.default=false")
				total, acked := 0, 0
				for i := range 5 {
					topic := fmt.Sprint("cut-", i)
					createTopic(t, b, topic, configs)
					l := startLoad(t, b, topic)
					begin := time.Now()
					l.reach(t, 1500)
					if mode == "relaxed" {
						harness.Until(t, time.Minute, "a load that is older than the window", func() error {
							if age := time.Since(begin); age < 2500*time.Millisecond {
								return fmt.Errorf("%v", age)
							}
							return nil
						})
					}
					// Nothing gets to see the other end of a power cut.
					freeze(t, b)
					cut := time.Now()
					d.Cut()
					b.Kill()
					l.stop()
					d.Unmount()
					d.Mount()
					b.Start()
					lost := l.lost(t, b)
					total, acked = total+len(lost), acked+l.acked()
					if mode == "flushed" && len(lost) > 0 {
						t.Errorf("cut %d: %d of %d acknowledged records are lost", i, len(lost), l.acked())
					}
					if n := len(lost); n > 0 && cut.Sub(lost[n-1].at) > flushMs*time.Millisecond+slack {
						t.Errorf("cut %d: a record is lost %v after it was acknowledged", i, cut.Sub(lost[n-1].at))
					}
				}
				t.Logf("%s: 5 power cuts, %d acknowledged records, %d lost", t.Name(), acked, total)
				if mode == "relaxed" && (total == 0 || total == acked) {
					t.Error("without flushing some records have to be lost, or the power was not cut, and the older ones kept")
				}
				if err := b.Stop(time.Minute); err != nil {
					t.Errorf("stop: %v", err)
				}
			})
		}
	}
}

// send produces one record and returns the error, without trying again for long.
func send(t testing.TB, b *harness.Broker, topic string, partition int32, size int) error {
	t.Helper()
	c := client(t, b, kgo.DefaultProduceTopic(topic), kgo.RecordRetries(0), kgo.DisableIdempotentWrite(), kgo.ProducerBatchCompression(kgo.NoCompression()))
	return c.ProduceSync(within(t, 20*time.Second), &kgo.Record{Partition: partition, Value: make([]byte, size)}).FirstErr()
}

// dirOf says which log directory each partition of a topic lies in, by DescribeLogDirs;
// failed are the directories it has an error for.
func dirOf(t testing.TB, b *harness.Broker, topic string) (dirs map[int32]string, failed map[string]error) {
	t.Helper()
	all, err := kadm.NewClient(client(t, b)).DescribeAllLogDirs(within(t, 20*time.Second), nil)
	if err != nil {
		t.Fatal(err)
	}
	dirs, failed = map[int32]string{}, map[string]error{}
	all.Each(func(d kadm.DescribedLogDir) {
		if d.Err != nil {
			failed[d.Dir] = d.Err
		}
		for p := range d.Topics[topic] {
			dirs[p] = d.Dir
		}
	})
	return dirs, failed
}

// TestFullDisk (R31): one log directory is full, then both. What has no room is refused
// with KAFKA_STORAGE_ERROR, the rest is served, and so is everything again within a
// minute of space being freed, by the same process. Nothing acknowledged is lost.
func TestFullDisk(t *testing.T) {
	a, z := harness.NewDisk(t, "ext4", diskBytes), harness.NewDisk(t, "ext4", diskBytes)
	b := harness.StartBroker(t, "log.dirs="+filepath.Join(a.Dir, "logs")+","+filepath.Join(z.Dir, "logs"),
		"varve.metadata.dir="+t.TempDir(), "varve.tiering.default=false", "log.flush.offset.checkpoint.interval.ms=500")
	createTopic(t, b, "full", map[string]string{"segment.bytes": "1048576"})
	l := startLoad(t, b, "full")
	l.reach(t, 500)
	dirs, _ := dirOf(t, b, "full")
	pid := b.Pid()
	for round, disks := range [][]*harness.Disk{{a}, {a, z}} {
		var free []func()
		for _, d := range disks {
			free = append(free, d.Fill(2<<20))
		}
		full := func(p int32) bool {
			return slices.ContainsFunc(disks, func(d *harness.Disk) bool { return strings.HasPrefix(dirs[p], d.Dir+"/") })
		}
		for p := range int32(partitions) {
			if !full(p) {
				continue
			}
			harness.Until(t, time.Minute, "a full disk", func() error {
				if err := send(t, b, "full", p, 500_000); !errors.Is(err, kerr.KafkaStorageError) {
					return fmt.Errorf("partition %d: %w, want KAFKA_STORAGE_ERROR", p, err)
				}
				return nil
			})
		}
		for p := range int32(partitions) {
			if !full(p) {
				if err := send(t, b, "full", p, 500_000); err != nil {
					t.Errorf("round %d: partition %d, whose disk has room: %v", round, p, err)
				}
			}
		}
		c := client(t, b, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"full": {0: kgo.NewOffset().At(0), 1: kgo.NewOffset().At(0), 2: kgo.NewOffset().At(0), 3: kgo.NewOffset().At(0)}}))
		seen := map[int32]bool{}
		for ctx := within(t, 30*time.Second); len(seen) < partitions; {
			f := c.PollFetches(ctx)
			if err := f.Err(); err != nil {
				t.Fatalf("read beside full disks, %d partitions seen: %v", len(seen), err)
			}
			f.EachRecord(func(r *kgo.Record) { seen[r.Partition] = true })
		}
		begin := time.Now()
		for _, f := range free {
			f()
		}
		for p := range int32(partitions) {
			harness.Until(t, time.Minute, "room", func() error { return send(t, b, "full", p, 1000) })
		}
		t.Logf("%d full: everything is served %v after there was room", len(disks), time.Since(begin))
		l.reach(t, 500)
	}
	if !b.Running() || b.Pid() != pid {
		t.Fatal("the broker was restarted")
	}
	if _, failed := dirOf(t, b, "full"); len(failed) > 0 {
		t.Errorf("a full directory counts as a failed one: %v", failed)
	}
	l.stop()
	b.Kill()
	b.Start()
	l.mustHoldAll(t, b)
}

// metric reads one number off the broker's /metrics.
func metric(t testing.TB, b *harness.Broker, name string) string {
	t.Helper()
	q, err := http.NewRequestWithContext(within(t, 10*time.Second), http.MethodGet, "http://"+b.HTTP+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(v)
		}
	}
	return "missing"
}

// TestBrokenDisk (R32): every write to one of two disks fails with EIO, then to the
// other too. Partitions of the first answer KAFKA_STORAGE_ERROR, DescribeLogDirs and the
// metrics tell of it, and the others are served; with both gone the broker ends by
// itself within 5 s. Mended, it has everything that was acknowledged.
func TestBrokenDisk(t *testing.T) {
	a, z := harness.NewDisk(t, "ext4", diskBytes), harness.NewDisk(t, "ext4", diskBytes)
	b := harness.StartBroker(t, "log.dirs="+filepath.Join(a.Dir, "logs")+","+filepath.Join(z.Dir, "logs"),
		"varve.metadata.dir="+t.TempDir(), "varve.cache.dir="+t.TempDir(), "varve.tiering.default=false")
	createTopic(t, b, "broken", nil)
	l := startLoad(t, b, "broken")
	l.reach(t, 1500)
	dirs, _ := dirOf(t, b, "broken")
	a.Cut()
	for p := range int32(partitions) {
		err := send(t, b, "broken", p, 100)
		if broken := strings.HasPrefix(dirs[p], a.Dir+"/"); broken != errors.Is(err, kerr.KafkaStorageError) || !broken && err != nil {
			t.Errorf("partition %d in %s: %v", p, dirs[p], err)
		}
	}
	if _, failed := dirOf(t, b, "broken"); len(failed) != 1 || !errors.Is(failed[filepath.Join(a.Dir, "logs")], kerr.KafkaStorageError) {
		t.Errorf("DescribeLogDirs tells of %v", failed)
	}
	if n := metric(t, b, "varve_log_directories_offline"); n != "1" {
		t.Errorf("varve_log_directories_offline is %s, want 1", n)
	}
	z.Cut()
	begin := time.Now()
	for p := range int32(partitions) {
		if err := send(t, b, "broken", p, 100); err == nil {
			t.Errorf("partition %d acknowledges on a broken disk", p)
		}
	}
	if err := b.Wait(5 * time.Second); err == nil || b.Running() {
		t.Errorf("a broker without a disk: running %v, %v", b.Running(), err)
	}
	t.Logf("ended %v after its last disk", time.Since(begin))
	l.stop()
	for _, d := range []*harness.Disk{a, z} {
		d.Unmount()
		d.Mount()
	}
	b.Start()
	l.mustHoldAll(t, b)
}
