package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment"
)

func logCommand(f *flags) *cobra.Command {
	return family("log", "Look into the files of a log directory", logDumpCommand(f))
}

func logDumpCommand(f *flags) *cobra.Command {
	var records bool
	c := &cobra.Command{
		Use:   "dump FILE…",
		Short: "Print log files, indexes, snapshots and checkpoints as text",
		Long: `Print the files of a partition, or the checkpoints of a log directory, without a broker:
.log, .index, .timeindex, .txnindex, .snapshot, leader-epoch-checkpoint, and the
recovery point and log start checkpoints. The files may be Apache Kafka's. What is
corrupt ends the file's dump and makes the exit code 1.`,
		Example: `  varve log dump data/orders-0/00000000000000000000.log --records`,
		Args:    someArgs("file"),
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

// dump prints a file by what its name says it is. As JSON each entry is a line.
func dump(p *printer, path string, records bool) error {
	name := filepath.Base(path)
	if !p.json {
		fmt.Fprintln(p.out, "Dumping", path)
	}
	suffix := filepath.Ext(strings.TrimSuffix(strings.TrimSuffix(name, ".deleted"), ".swap"))
	if suffix == ".log" {
		return dumpLog(p, path, records)
	}
	parse, ok := dumpers[suffix]
	if suffix == "" {
		parse, ok = dumpers[name]
	}
	if !ok {
		return errors.New("not the name of a .log, .index, .timeindex, .txnindex, .snapshot or checkpoint file")
	}
	bytes, err := readSmall(path)
	if err != nil {
		return err
	}
	entries, faults := parse(bytes, name)
	for _, e := range entries {
		if !p.json {
			fmt.Fprintln(p.out, e)
		} else if err := p.value(e); err != nil {
			return err
		}
	}
	return faults
}

// maxSmall bounds the files that are read as a whole; indexes have 10 MiB by default.
const maxSmall = 1 << 30

func readSmall(path string) ([]byte, error) {
	i, err := os.Stat(path)
	if err != nil {
		return nil, cause(err)
	}
	if !i.Mode().IsRegular() || i.Size() > maxSmall {
		return nil, fmt.Errorf("not a regular file of at most %s", size(maxSmall))
	}
	p, err := os.ReadFile(path)
	return p, cause(err)
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

// dumpers parse a file's bytes into entries; what could be read comes with the error.
var dumpers = map[string]func(p []byte, name string) ([]entry, error){
	".index":                           dumpOffsets,
	".timeindex":                       dumpTimes,
	".txnindex":                        dumpAborted,
	".snapshot":                        dumpSnapshot,
	"leader-epoch-checkpoint":          dumpEpochs,
	"recovery-point-offset-checkpoint": dumpCheckpoint,
	"log-start-offset-checkpoint":      dumpCheckpoint,
	"replication-offset-checkpoint":    dumpCheckpoint,
	"cleaner-offset-checkpoint":        dumpCheckpoint,
}

type offsetEntry struct {
	Offset   int64 `json:"offset"`
	Position int64 `json:"position"`
}

func (e offsetEntry) String() string {
	return fmt.Sprintf("offset: %d position: %d", e.Offset, e.Position)
}

func dumpOffsets(p []byte, name string) ([]entry, error) {
	o := index.Offsets{Base: baseOffset(name), R: index.Bytes(p), Size: int64(len(p))}
	var entries []entry
	last := index.Position{Offset: o.Base - 1, Position: -1}
	for i := range o.Len() {
		e, err := o.Entry(i)
		if err != nil {
			return entries, err
		}
		if e.Offset <= last.Offset || e.Position <= last.Position {
			return entries, disorder(i, p[i*index.OffsetEntry:])
		}
		last = e
		entries = append(entries, offsetEntry(e))
	}
	return entries, tail(p, index.OffsetEntry)
}

type timeEntry struct {
	Timestamp int64 `json:"timestamp"`
	Offset    int64 `json:"offset"`
}

func (e timeEntry) String() string {
	return fmt.Sprintf("timestamp: %d offset: %d time: %s", e.Timestamp, e.Offset, millis(e.Timestamp))
}

func dumpTimes(p []byte, name string) ([]entry, error) {
	t := index.Times{Base: baseOffset(name), R: index.Bytes(p), Size: int64(len(p))}
	var entries []entry
	last := index.Time{Timestamp: -1 << 63, Offset: t.Base - 1}
	for i := range t.Len() {
		e, err := t.Entry(i)
		if err != nil {
			return entries, err
		}
		if e.Timestamp <= last.Timestamp || e.Offset < last.Offset {
			return entries, disorder(i, p[i*index.TimeEntry:])
		}
		last = e
		entries = append(entries, timeEntry(e))
	}
	return entries, tail(p, index.TimeEntry)
}

// disorder words an entry that does not follow the one before it. Where all that
// follows is zero, it is no fault: Kafka makes the indexes of an active segment as
// large as they may become.
func disorder(i int, rest []byte) error {
	if !slices.ContainsFunc(rest, func(b byte) bool { return b != 0 }) {
		return nil
	}
	return fmt.Errorf("entry %d does not follow the one before it", i)
}

// tail words bytes behind the last whole entry.
func tail(p []byte, entry int) error {
	if n := len(p) % entry; n > 0 {
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
