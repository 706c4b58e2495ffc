//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/test/harness"
	"github.com/varvelog/varve/test/stores"
)

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression().WithLevel(1), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression().WithLevel(1),
}

// replayPartitions is how many partitions each topic has: two, so that keys decide something.
const replayPartitions = 2

// TestReplayFromBucket writes a real data set, keyed and unkeyed, with every codec,
// waits until nearly all of it has left the disk, and reads it back from offset 0 with
// three independent clients.
func TestReplayFromBucket(t *testing.T) {
	size := envBytes(t, "VARVE_E2E_BYTES", 1<<30)
	t.Run("minio", func(t *testing.T) { replay(t, minioAt(stores.MinIO(t).Endpoint), size) })
	t.Run("s3", func(t *testing.T) { replay(t, remote{"s3", stores.VersityGW(t).Endpoint}, size/8) })
}

func replay(t *testing.T, store remote, size int64) {
	b := harness.StartBroker(t, store.sets()...)
	begin := time.Now()
	segments := tiered("local.retention.bytes", "65536") // most leaves the disk, however well it compresses
	var topics []string
	written := map[string]*digests{}
	var mu sync.Mutex
	t.Run("produce", func(t *testing.T) {
		for codec := range codecs {
			for _, keyed := range []bool{true, false} {
				topic := fmt.Sprintf("text-%s-keyed-%v", codec, keyed)
				createTopic(t, b, topic, replayPartitions, segments)
				topics = append(topics, topic)
				t.Run(topic, func(t *testing.T) {
					t.Parallel()
					d := writeText(t, b, topic, codec, keyed, size/int64(2*len(codecs)))
					mu.Lock()
					written[topic] = d
					mu.Unlock()
				})
			}
		}
	})
	if t.Failed() {
		return
	}
	report := func(what string) {
		resident, own := b.Memory(t)
		t.Logf("%-30s %6.1f s, broker resident %d MiB, own %d MiB", what, time.Since(begin).Seconds(), resident>>20, own>>20)
		begin = time.Now()
	}
	report(fmt.Sprintf("wrote %d MiB", size>>20))

	const keep = 2 << 20 // the active segment, and one that is held by local.retention.bytes
	b.WaitTiered(t, 2*time.Minute, keep, topics...)
	checkLocal(t, b, topics)
	report("settled")

	readers := []struct {
		name string
		read func(*testing.T, *harness.Broker, string, *digests) *digests
	}{{"kgo", readKgo}, {"kcat", readKcat}, {"console consumer", readConsole}}
	for _, r := range readers {
		for _, topic := range topics {
			r.read(t, b, topic, written[topic]).compare(t, r.name+" "+topic, written[topic])
		}
		report("read with " + r.name)
	}
	b.WaitTiered(t, time.Minute, keep, topics...)
	bucket := store.open(t)
	walk := auditWalk(t, b, bucket)
	report("walked the bucket")
	if err := b.Stop(30 * time.Second); err != nil {
		t.Fatalf("stop: %v", err)
	}
	audit := auditMetadata(t, b, bucket)
	t.Logf("audited the bucket in %.1f s", time.Since(begin).Seconds())
	t.Logf("bucket: %d objects, %d segments, %d batches, %d MiB; audit: %d segments, %d MiB",
		walk.Objects, walk.Segments, walk.Batches, walk.Bytes>>20, audit.Segments, audit.Bytes>>20)
	if least := int(size >> 20 / 16); walk.Segments < least || audit.Segments != walk.Segments {
		t.Errorf("%d segments walked, %d audited; a data set of %d MiB makes %d at least", walk.Segments, audit.Segments, size>>20, least)
	}
}

// checkLocal holds the disk against the promise: at most three segments a partition.
func checkLocal(t *testing.T, b *harness.Broker, topics []string) {
	t.Helper()
	for _, topic := range topics {
		for p := range int32(replayPartitions) {
			harness.Until(t, time.Minute, "trimming of "+topic, func() error {
				if sizes := logFiles(t, b, topic, p); len(sizes) == 0 || len(sizes) > 3 {
					return fmt.Errorf("partition %d has segments of %d bytes on disk", p, sizes)
				}
				return nil
			})
		}
	}
}

// digests are SHA-256 sums over the values of each partition, in offset order.
type digests struct {
	sum   [replayPartitions]hash.Hash
	count [replayPartitions]int64 // also the next offset
	errs  []error
}

func newDigests() *digests {
	d := &digests{}
	for i := range d.sum {
		d.sum[i] = sha256.New()
	}
	return d
}

// add takes the next record of a partition; offsets have to be dense.
func (d *digests) add(partition int32, offset int64, value []byte) {
	if offset != d.count[partition] && len(d.errs) < 10 {
		d.errs = append(d.errs, fmt.Errorf("partition %d: offset %d where %d was due", partition, offset, d.count[partition]))
	}
	d.count[partition]++
	d.sum[partition].Write(value)
}

func (d *digests) records() (n int64) {
	for _, c := range d.count {
		n += c
	}
	return n
}

func (d *digests) compare(t *testing.T, what string, want *digests) {
	t.Helper()
	if err := errors.Join(d.errs...); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	for p := range d.sum {
		got, expected := hex.EncodeToString(d.sum[p].Sum(nil)), hex.EncodeToString(want.sum[p].Sum(nil))
		if d.count[p] != want.count[p] || got != expected {
			t.Errorf("%s, partition %d: %d records with SHA-256 %s; %d with %s were written", what, p, d.count[p], got, want.count[p], expected)
		}
	}
}

// writeText produces text of so many bytes with one idempotent producer.
func writeText(t *testing.T, b *harness.Broker, topic, codec string, keyed bool, size int64) *digests {
	c := client(t, b, kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(codecs[codec]),
		kgo.ProducerLinger(20*time.Millisecond), kgo.MaxBufferedBytes(16<<20))
	ctx := within(t, 10*time.Minute)
	d := newDigests()
	text := &textRecords{text: corpusText(t), position: len(topic) * 1009}
	for size > 0 {
		key, value := text.next()
		size -= int64(len(value))
		r := &kgo.Record{Value: value}
		if keyed {
			r.Key = key
		}
		c.Produce(ctx, r, func(r *kgo.Record, err error) { // one at a time, in order
			if err != nil {
				d.errs = append(d.errs, err)
				return
			}
			d.add(r.Partition, r.Offset, r.Value)
		})
	}
	if err := c.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.errs...); err != nil {
		t.Fatal(err)
	}
	return d
}

// readKgo reads a topic from its beginning until as many records came as were written.
func readKgo(t *testing.T, b *harness.Broker, topic string, want *digests) *digests {
	c := client(t, b, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer c.Close()
	ctx := within(t, 5*time.Minute)
	d := newDigests()
	for d.records() < want.records() {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatalf("kgo %s: %v after %d of %d records", topic, err, d.records(), want.records())
		}
		f.EachRecord(func(r *kgo.Record) { d.add(r.Partition, r.Offset, r.Value) })
	}
	return d
}

// readKcat reads with kcat: partition, offset and length stand before each value.
func readKcat(t *testing.T, b *harness.Broker, topic string, _ *digests) *digests {
	d := newDigests()
	lines(t, exec.CommandContext(within(t, 5*time.Minute), harness.NeedCommand(t, "kcat"),
		"-C", "-b", b.Address, "-t", topic, "-o", "beginning", "-e", "-q", "-X", "check.crcs=true", "-f", "%p %o %s\n"), d, " ")
	return d
}

// readConsole reads with Apache Kafka's console consumer.
func readConsole(t *testing.T, b *harness.Broker, topic string, want *digests) *digests {
	d := newDigests()
	lines(t, harness.KafkaCommand(within(t, 5*time.Minute), t, harness.ConsoleConsumer,
		"--bootstrap-server", b.Address, "--topic", topic, "--from-beginning", "--timeout-ms", "60000",
		"--max-messages", strconv.FormatInt(want.records(), 10),
		"--formatter-property", "print.partition=true", "--formatter-property", "print.offset=true",
		"--formatter-property", "key.separator= "), d, "Partition:")
	return d
}

// lines runs a consumer that prints partition, offset and value of a record in one
// line. The console consumer writes "Partition:0 Offset:7 value", kcat "0 7 value".
func lines(t *testing.T, cmd *exec.Cmd, d *digests, style string) {
	t.Helper()
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReaderSize(out, 1<<20)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			break
		}
		if err := d.line(line, style); err != nil {
			d.errs = append(d.errs, err)
			break
		}
	}
	_, _ = io.Copy(io.Discard, in)
	if err := cmd.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("%v: %v\n%s", cmd.Args[:1], err, errs.String())
	}
}

func (d *digests) line(line []byte, style string) error {
	first, rest, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
	second, value, ok := bytes.Cut(rest, []byte(" "))
	if style != " " {
		// The order of the two is the formatter's affair.
		first, second = bytes.TrimPrefix(first, []byte("Partition:")), bytes.TrimPrefix(second, []byte("Offset:"))
	}
	partition, err1 := strconv.ParseInt(string(first), 10, 32)
	offset, err2 := strconv.ParseInt(string(second), 10, 64)
	if err := errors.Join(err1, err2); err != nil || !ok || partition < 0 || partition >= replayPartitions {
		return fmt.Errorf("unexpected line %.200q: %w", line, err)
	}
	d.add(int32(partition), offset, value)
	return nil
}
