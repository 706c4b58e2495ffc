package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/tiering"
)

func logCommand(f *flags) *cobra.Command {
	return family("log", "Look into the files of a log directory, verify them, adopt Kafka's", logDumpCommand(f), logVerifyCommand(f), logAdoptCommand(f))
}

func logDumpCommand(f *flags) *cobra.Command {
	var records bool
	c := &cobra.Command{
		Use:   "dump FILE…",
		Short: "Print log files, indexes, snapshots, checkpoints and objects as text",
		Long: `Print the files of a partition, of a log directory, of a bucket in a directory or of the
chunk cache, without a broker: .log, .index, .timeindex, .txnindex, .snapshot,
leader-epoch-checkpoint, partition.metadata, meta.properties, the recovery point, log
start, replication and cleaner checkpoints, segment objects with footer and log, roots
and leaves. The files may be Apache Kafka's. As JSON each entry is a line. What is corrupt
ends the file's dump and makes the exit code 1.`,
		Example: `  varve log dump data/orders-0/00000000000000000000.log --records
  varve log dump data/bucket/*/*/00000/root/* --json`,
		Args: someArgs("file"),
		RunE: func(c *cobra.Command, args []string) error {
			p := f.printer(c)
			var errs []error
			for _, path := range args {
				if err := dump(p, path, records); err != nil {
					errs = append(errs, fmt.Errorf("dump %s: %w", path, err))
				}
			}
			return errors.Join(errs...)
		},
	}
	c.Flags().BoolVar(&records, "records", false, "print records, not batches alone")
	return c
}

// dump prints a file by what its name says it is.
func dump(p *printer, path string, records bool) error {
	name := filepath.Base(path)
	if !p.json {
		fmt.Fprintln(p.out, "Dumping", path)
	}
	file, size, err := openDumped(path)
	if err != nil {
		return err
	}
	defer file.Close()
	suffix := filepath.Ext(strings.TrimSuffix(strings.TrimSuffix(name, ".deleted"), ".swap"))
	if suffix == ".log" || chunkName.MatchString(name) {
		return dumpLog(p, file, size, records)
	}
	do, ok := dumpers[suffix]
	if suffix == "" || !ok {
		do, ok = dumpers[name]
	}
	if !ok {
		return dumpObject(p, path, file, size, records)
	}
	return do(file, size, name, p.entry)
}

// chunkName is the name of a file of the chunk cache: whole batches of a segment.
var chunkName = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-[0-9]{6}-[0-9]+$`)

func openDumped(path string) (*os.File, int64, error) {
	// A FIFO would be waited for.
	if i, err := os.Stat(path); err != nil {
		return nil, 0, cause(err)
	} else if !i.Mode().IsRegular() {
		return nil, 0, errors.New("not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, cause(err)
	}
	i, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(cause(err), f.Close())
	}
	return f, i.Size(), nil
}

// entry prints one entry.
func (p *printer) entry(e entry) error {
	if p.json {
		return p.value(e)
	}
	_, err := fmt.Fprintln(p.out, e)
	return err
}

// maxSmall bounds the files that are read as a whole: 100,000 partitions with the longest
// names make a checkpoint of 28 MB.
const maxSmall = 64 << 20

// small makes a dumper of a function that takes the whole of a small file. What it could
// parse comes with its error.
func small(parse func(p []byte, name string) ([]entry, error)) dumper {
	return func(r io.ReaderAt, size int64, name string, yield func(entry) error) error {
		if size > maxSmall {
			return fmt.Errorf("%s are too many for such a file", commas(size))
		}
		p := make([]byte, size)
		if n, err := r.ReadAt(p, 0); int64(n) < size {
			return fmt.Errorf("read: %w", cause(err))
		}
		entries, faults := parse(p, name)
		for _, e := range entries {
			if err := yield(e); err != nil {
				return err
			}
		}
		return faults
	}
}

// cause drops the path of an error of package os, where the caller names it.
func cause(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// baseOffset is the offset in the name of a segment's file; 0 for other names.
func baseOffset(name string) int64 {
	digits, _, _ := strings.Cut(name, ".")
	base, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || base < 0 {
		return 0
	}
	return base
}

// entry is a line of a dump: JSON by its fields, text by its String.
type entry interface{ String() string }

// dumper yields the entries of a file, a line each.
type dumper func(r io.ReaderAt, size int64, name string, yield func(entry) error) error

// dumpers is the table of what is told by its name, or by the end of it.
var dumpers = map[string]dumper{
	".index":                           dumpOffsets,
	".timeindex":                       dumpTimes,
	".txnindex":                        small(dumpAborted),
	".snapshot":                        small(dumpSnapshot),
	"leader-epoch-checkpoint":          small(dumpEpochs),
	"recovery-point-offset-checkpoint": small(dumpCheckpoint),
	"log-start-offset-checkpoint":      small(dumpCheckpoint),
	"replication-offset-checkpoint":    small(dumpCheckpoint),
	"cleaner-offset-checkpoint":        small(dumpCheckpoint),
	"meta.properties":                  small(dumpProperties),
	"partition.metadata":               small(dumpMetadata),
}

type offsetEntry struct {
	Offset   int64 `json:"offset"`
	Position int64 `json:"position"`
}

func (e offsetEntry) String() string {
	return fmt.Sprintf("offset: %d position: %d", e.Offset, e.Position)
}

func dumpOffsets(r io.ReaderAt, size int64, name string, yield func(entry) error) error {
	o := index.Offsets{Base: baseOffset(name), R: r, Size: size}
	last := index.Position{Offset: o.Base - 1, Position: -1}
	for i := range o.Len() {
		e, err := o.Entry(i)
		if err != nil {
			return err
		}
		if e.Offset <= last.Offset || e.Position <= last.Position {
			return disorder(i, r, int64(i)*index.OffsetEntry, size)
		}
		last = e
		if err := yield(offsetEntry(e)); err != nil {
			return err
		}
	}
	return tail(size, index.OffsetEntry)
}

type timeEntry struct {
	Timestamp int64 `json:"timestamp"`
	Offset    int64 `json:"offset"`
}

func (e timeEntry) String() string {
	return fmt.Sprintf("timestamp: %d offset: %d time: %s", e.Timestamp, e.Offset, millis(e.Timestamp))
}

func dumpTimes(r io.ReaderAt, size int64, name string, yield func(entry) error) error {
	t := index.Times{Base: baseOffset(name), R: r, Size: size}
	last := index.Time{Timestamp: -1 << 63, Offset: t.Base - 1}
	for i := range t.Len() {
		e, err := t.Entry(i)
		if err != nil {
			return err
		}
		if e.Timestamp <= last.Timestamp || e.Offset < last.Offset {
			return disorder(i, r, int64(i)*index.TimeEntry, size)
		}
		last = e
		if err := yield(timeEntry(e)); err != nil {
			return err
		}
	}
	return tail(size, index.TimeEntry)
}

// disorder words an entry that does not follow the one before it. Where all that
// follows is zero, it is no fault: Kafka makes the indexes of an active segment as
// large as they may become.
func disorder(i int, r io.ReaderAt, position, size int64) error {
	if unwritten(r, position, size) {
		return nil
	}
	return fmt.Errorf("entry %d does not follow the one before it", i)
}

// tail words bytes behind the last whole entry.
func tail(size, entry int64) error {
	if n := size % entry; n > 0 {
		return fmt.Errorf("%d bytes at the end are no entry", n)
	}
	return nil
}

type abortedEntry struct {
	ProducerID       int64 `json:"producer_id"`
	FirstOffset      int64 `json:"first_offset"`
	LastOffset       int64 `json:"last_offset"`
	LastStableOffset int64 `json:"last_stable_offset"`
}

func (e abortedEntry) String() string {
	return fmt.Sprintf("producerId: %d firstOffset: %d lastOffset: %d lastStableOffset: %d", e.ProducerID, e.FirstOffset, e.LastOffset, e.LastStableOffset)
}

func dumpAborted(p []byte, _ string) ([]entry, error) {
	txns, err := index.ParseAborted(p)
	var entries []entry
	for _, t := range txns {
		entries = append(entries, abortedEntry(t))
	}
	return entries, err
}

type producerEntry struct {
	ProducerID       int64 `json:"producer_id"`
	ProducerEpoch    int16 `json:"producer_epoch"`
	LastSequence     int32 `json:"last_sequence"`
	LastOffset       int64 `json:"last_offset"`
	OffsetDelta      int32 `json:"offset_delta"`
	Timestamp        int64 `json:"timestamp"`
	CoordinatorEpoch int32 `json:"coordinator_epoch"`
	CurrentTxnFirst  int64 `json:"current_txn_first_offset"` // -1: no open transaction
}

func (e producerEntry) String() string {
	return fmt.Sprintf("producerId: %d producerEpoch: %d lastSequence: %d lastOffset: %d offsetDelta: %d lastTimestamp: %d coordinatorEpoch: %d currentTxnFirstOffset: %d",
		e.ProducerID, e.ProducerEpoch, e.LastSequence, e.LastOffset, e.OffsetDelta, e.Timestamp, e.CoordinatorEpoch, e.CurrentTxnFirst)
}

func dumpSnapshot(p []byte, _ string) ([]entry, error) {
	producers, err := segment.ParseSnapshot(p)
	var entries []entry
	for _, s := range producers {
		entries = append(entries, producerEntry(s))
	}
	return entries, err
}

type epochEntry struct {
	Epoch int32 `json:"epoch"`
	Start int64 `json:"start_offset"`
}

func (e epochEntry) String() string {
	return fmt.Sprintf("epoch: %d startOffset: %d", e.Epoch, e.Start)
}

func dumpEpochs(p []byte, _ string) ([]entry, error) {
	epochs, err := segment.ParseEpochs(p)
	var entries []entry
	for _, e := range epochs {
		entries = append(entries, epochEntry(e))
	}
	return entries, err
}

type checkpointEntry struct {
	Partition string `json:"partition"` // topic-partition
	Offset    int64  `json:"offset"`
}

func (e checkpointEntry) String() string {
	return fmt.Sprintf("partition: %s offset: %d", e.Partition, e.Offset)
}

func dumpCheckpoint(p []byte, _ string) ([]entry, error) {
	offsets, err := segment.ParseOffsets(p)
	var entries []entry
	for partition, offset := range offsets {
		entries = append(entries, checkpointEntry{partition, offset})
	}
	slices.SortFunc(entries, func(x, y entry) int {
		return strings.Compare(x.(checkpointEntry).Partition, y.(checkpointEntry).Partition)
	})
	return entries, err
}

type propertyEntry struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

func (e propertyEntry) String() string { return e.Key + "=" + e.Value }

func dumpProperties(p []byte, _ string) ([]entry, error) {
	m, err := segment.ParseProperties(p)
	var entries []entry
	for _, key := range slices.Sorted(maps.Keys(m)) {
		entries = append(entries, propertyEntry{key, m[key]})
	}
	if err == nil && m["cluster.id"] == "" {
		err = errors.New("it names no cluster")
	}
	return entries, err
}

type metadataEntry struct {
	TopicID string `json:"topic_id"`
}

func (e metadataEntry) String() string { return "topicId: " + e.TopicID }

func dumpMetadata(p []byte, _ string) ([]entry, error) {
	id, err := segment.ParseMetadata(p)
	if err != nil {
		return nil, err
	}
	return []entry{metadataEntry{id.String()}}, nil
}

// documentEntry is a part of an object of the bucket.
type documentEntry tiering.Document

func (e documentEntry) String() string {
	// The field names of JSON are those of the documentation.
	b, err := json.Marshal(e.Value)
	if err != nil {
		return fmt.Sprintf("%s: %v", e.Kind, err)
	}
	return e.Kind + ": " + string(b)
}

// dumpObject prints an object of a bucket in a directory: its path ends with its key. Of a
// segment the log follows the footer.
func dumpObject(p *printer, path string, file io.ReaderAt, size int64, records bool) error {
	full, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	logSize, err := tiering.Describe(filepath.ToSlash(full), file, size, func(d tiering.Document) error { return p.entry(documentEntry(d)) })
	if errors.Is(err, tiering.ErrNoObject) {
		return errors.New("not the name of a .log, .index, .timeindex, .txnindex, .snapshot, checkpoint or metadata file, nor an object's")
	}
	if err != nil || logSize == 0 {
		return err
	}
	return dumpLog(p, file, logSize, records)
}
