// Package segment is the log of one replica on one disk: Kafka's directory layout
// and file formats, byte for byte. It appends, reads, rolls, seals, flushes and
// recovers; it knows nothing of leaders, groups or buckets.
package segment

import (
	"context"
	"errors"
	"time"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
)

// TopicID is a topic's unique id (KIP-516).
type TopicID [16]byte

// Errors that callers choose by.
var (
	// ErrOutOfRange: the offset lies below the local log start or above the bound.
	ErrOutOfRange = errors.New("offset out of range")
	// ErrFailed: an earlier write or sync failed; reopen the log.
	ErrFailed = errors.New("log has failed")
	// ErrClosed: the log was closed or deleted.
	ErrClosed = errors.New("log is closed")
)

// CorruptError tells what is wrong with which file.
type CorruptError struct {
	Path     string
	Position int64
	Reason   string
}

func (e *CorruptError) Error() string { panic("unbuilt") }

// Config is what can be changed while a log is open (SetConfig).
type Config struct {
	SegmentBytes  int64         // segment.bytes
	SegmentAge    time.Duration // segment.ms, already less its jitter
	IndexInterval int64         // index.interval.bytes
	IndexBytes    int64         // segment.index.bytes: roll when an index would exceed it
	FlushMessages int64         // flush.messages; 1: every append waits for its flush
	FlushAge      time.Duration // flush.ms
	Preallocate   bool          // preallocate
}

// Options say where a log lies.
type Options struct {
	FS        vfs.FS
	Dir       string // <log dir>/<topic>-<partition>
	Topic     TopicID
	Config    Config
	Now       func() time.Time
	Committer *Committer // of the log directory
	// RecoveryPoint is the offset up to which the log is known to be flushed
	// (recovery-point-offset-checkpoint); Clean says that the last stop was clean.
	RecoveryPoint int64
	Clean         bool
	// LogStart is log-start-offset-checkpoint's value, 0 when there is none.
	LogStart int64
	// StartAt is the first offset of a log that is made new in an empty directory
	// (a replica that starts from the tier); 0 for a new partition.
	StartAt int64
}

// Recovered tells what Open had to do.
type Recovered struct {
	ScannedBytes   int64
	TruncatedBytes int64
	RebuiltIndexes int
	Faults         []error // what was found wrong and mended: *CorruptError
}

// Log is an append-only sequence of record batches in segment files. One goroutine
// appends at a time; any number read.
type Log struct{}

// Open opens or creates the log of a directory and recovers it: segments that end at
// or below the recovery point are trusted, what lies above is scanned batch by batch
// (CRC, order) and cut at the first fault. All of what is recovered is flushed.
func Open(o Options) (*Log, Recovered, error) { panic("unbuilt") }

// Offsets is one consistent snapshot.
//
// Invariant: LogStart <= LocalStart <= FlushedEnd <= End (after a first flush).
type Offsets struct {
	LogStart   int64 // first readable offset in any tier
	LocalStart int64 // first offset on this disk
	FlushedEnd int64 // everything below survives a power cut
	AckEnd     int64 // everything below is as durable as flush.messages asks
	End        int64 // next offset to be written
}

func (l *Log) Offsets() Offsets { panic("unbuilt") }

// Append writes batches, whose offsets and leader epoch are assigned and follow End,
// with one write, rolling first where the active segment is full or too old. It
// returns the commit round that will make them durable. Steady state allocates
// nothing. On a failed write the log fails (ErrFailed from then on).
func (l *Log) Append(batches []batch.Batch) (*Round, error) { panic("unbuilt") }

// Region is a run of whole batches in one file, kept open by a reference.
type Region struct {
	File     *File
	Position int64 // bytes
	Size     int64 // bytes
}

// File is an open file shared by readers: it is closed when its last reference goes,
// so a file may be unlinked while it is being sent.
type File struct{}

func NewFile(f vfs.File) *File                               { panic("unbuilt") }
func (f *File) Acquire() bool                                { panic("unbuilt") } // false once closed
func (f *File) Release()                                     { panic("unbuilt") }
func (f *File) Fd() (fd int, ok bool)                        { panic("unbuilt") }
func (f *File) ReadAt(p []byte, position int64) (int, error) { panic("unbuilt") }

// Records is what a read found: whole batches in offset order. The first may begin
// below the offset asked for. Release it exactly once.
type Records struct {
	Regions []Region
	Size    int64 // bytes
}

func (r *Records) Release() { panic("unbuilt") }

// Bytes copies the records out: the fallback for connections without sendfile, and
// for readers inside the broker.
func (r *Records) Bytes() ([]byte, error) { panic("unbuilt") }

// Read finds the batches from the one that holds offset up to bound (exclusive, at a
// batch border), at most maxBytes, but at least one whole batch where oneBatch. It
// returns no records at offset == bound, and ErrOutOfRange outside [LocalStart, End].
func (l *Log) Read(offset, bound, maxBytes int64, oneBatch bool) (Records, error) { panic("unbuilt") }

// Timestamped is a record found by its timestamp.
type Timestamped struct {
	Offset      int64
	Timestamp   int64 // ms
	LeaderEpoch int32
}

// FirstAtOrAfter finds the first record in [LocalStart, bound) whose timestamp is >= ts.
func (l *Log) FirstAtOrAfter(ts, bound int64) (Timestamped, bool, error) { panic("unbuilt") }

// MaxTimestamp finds the first record with the largest timestamp below bound (KIP-734).
func (l *Log) MaxTimestamp(bound int64) (Timestamped, bool, error) { panic("unbuilt") }

// Aborted returns the aborted transactions that overlap [from, to).
func (l *Log) Aborted(from, to int64) ([]index.AbortedTxn, error) { panic("unbuilt") }

// AppendAborted adds an aborted transaction to the index of the segment that holds its marker.
func (l *Log) AppendAborted(t index.AbortedTxn) error { panic("unbuilt") }

// Info describes one segment.
type Info struct {
	Base         int64
	Next         int64     // one past the last offset
	Size         int64     // bytes of the log file
	MaxTimestamp int64     // ms, -1: no record
	Modified     time.Time // last append, for segments whose timestamps cannot be used
	Sealed       bool
}

// Segments returns the segments in offset order, the active one last.
func (l *Log) Segments() []Info { panic("unbuilt") }

// Sealed opens a sealed segment for copying: its log file and its indexes as bytes.
// The caller releases it.
func (l *Log) Sealed(base int64) (*Sealed, error) { panic("unbuilt") }

// Sealed is a segment that does not change any more.
type Sealed struct {
	Info
	Log      *File
	Offsets  []byte // offset index, Kafka's format
	Times    []byte
	Aborted  []byte
	Snapshot []byte       // producer snapshot at Next (Kafka's .snapshot), nil when there is none
	Epochs   []EpochStart // leader epochs that have records in [Base, Next)
}

func (s *Sealed) Release() { panic("unbuilt") }

// RollIfDue seals the active segment if it is older than segment.ms, and begins a new one.
func (l *Log) RollIfDue(now time.Time) error { panic("unbuilt") }

// Roll seals the active segment unless it is empty.
func (l *Log) Roll() error { panic("unbuilt") }

// SetLogStart raises the log start offset; local segments wholly below it are removed.
func (l *Log) SetLogStart(offset int64) error { panic("unbuilt") }

// SetLocalStart raises the local log start offset to a segment border at or below
// offset and unlinks the segments before it. The caller has made sure that they are
// in the bucket or below the log start.
func (l *Log) SetLocalStart(offset int64) error { panic("unbuilt") }

// TruncateTo removes every record at or above offset (a follower to its leader's epoch).
func (l *Log) TruncateTo(offset int64) error { panic("unbuilt") }

// StartAt removes everything and begins again at offset (a replica that starts from the tier).
func (l *Log) StartAt(offset int64) error { panic("unbuilt") }

// SetConfig changes what can be changed live.
func (l *Log) SetConfig(c Config) { panic("unbuilt") }

// WriteSnapshot stores a producer snapshot for the state at offset (<offset>.snapshot).
func (l *Log) WriteSnapshot(offset int64, producers []ProducerState) error { panic("unbuilt") }

// Snapshots: LoadSnapshot returns the newest snapshot at or below offset; found false
// where there is none. A corrupt snapshot is removed and the one before it is tried.
func (l *Log) LoadSnapshot(atOrBelow int64) (offset int64, producers []ProducerState, found bool, err error) {
	panic("unbuilt")
}

// ProducerState is one producer's entry in a .snapshot file (KIP-98).
type ProducerState struct {
	ProducerID       int64
	ProducerEpoch    int16
	LastSequence     int32
	LastOffset       int64
	OffsetDelta      int32
	Timestamp        int64 // ms
	CoordinatorEpoch int32
	CurrentTxnFirst  int64 // -1: no open transaction
}

// EpochStart is an entry of leader-epoch-checkpoint: the first offset of an epoch (KIP-101).
type EpochStart struct {
	Epoch int32
	Start int64
}

// Epochs returns the leader epochs in order.
func (l *Log) Epochs() []EpochStart { panic("unbuilt") }

// AssignEpoch records that epoch begins at the log end; a no-op when it is already known.
func (l *Log) AssignEpoch(epoch int32) error { panic("unbuilt") }

// SetEpochs replaces the lineage (a replica that starts from the tier).
func (l *Log) SetEpochs(e []EpochStart) error { panic("unbuilt") }

// EpochEnd answers OffsetForLeaderEpoch (KIP-101): the largest epoch <= epoch and where
// it ends; -1, -1 where unknown.
func (l *Log) EpochEnd(epoch int32) (int32, int64) { panic("unbuilt") }

// Watch registers a waiter that is signalled whenever AckEnd or LogStart moves or the
// log fails; Unwatch removes it. Notify signals by hand (the high watermark moved for
// another reason).
func (l *Log) Watch(w *Waiter)   { panic("unbuilt") }
func (l *Log) Unwatch(w *Waiter) { panic("unbuilt") }
func (l *Log) Notify()           { panic("unbuilt") }

// Waiter waits for news of several logs at once.
type Waiter struct{ c chan struct{} }

func NewWaiter() *Waiter             { return &Waiter{make(chan struct{}, 1)} }
func (w *Waiter) C() <-chan struct{} { return w.c }

// Signal wakes the waiter; it never blocks.
func (w *Waiter) Signal() {
	select {
	case w.c <- struct{}{}:
	default:
	}
}

// Err returns why the log has failed, nil while it has not.
func (l *Log) Err() error { panic("unbuilt") }

// Size returns the bytes of all log files.
func (l *Log) Size() int64 { panic("unbuilt") }

// Close flushes and closes; Delete renames the directory to <name>.<uuid>-delete and
// unlinks it. Readers that hold Records keep their files.
func (l *Log) Close() error  { panic("unbuilt") }
func (l *Log) Delete() error { panic("unbuilt") }

// Dir is one log directory (log.dirs): its lock, meta.properties, checkpoints, committer.
type Dir struct{}

// DirOptions say which.
type DirOptions struct {
	FS        vfs.FS
	Path      string
	NodeID    int32
	ClusterID string // "": take the stored one; ErrForeign where the stored one differs
}

// ErrForeign: the directory belongs to another cluster or broker.
var ErrForeign = errors.New("log directory belongs to another broker or cluster")

// OpenDir locks the directory (.lock), checks or writes meta.properties, reads the
// checkpoints (recovery-point-offset-checkpoint, log-start-offset-checkpoint) and the
// clean-shutdown mark (.kafka_cleanshutdown), which it removes, finishes interrupted deletes (*-delete) and lists the logs.
func OpenDir(o DirOptions) (*Dir, error) { panic("unbuilt") }

// Found is a log directory entry: topic name, partition, topic id of partition.metadata.
type Found struct {
	Topic     string
	Partition int32
	ID        TopicID
	Path      string
}

func (d *Dir) Found() []Found        { panic("unbuilt") }
func (d *Dir) Path() string          { panic("unbuilt") }
func (d *Dir) ClusterID() string     { panic("unbuilt") }
func (d *Dir) Committer() *Committer { panic("unbuilt") }

// OpenLog opens a partition's log with this directory's recovery point, log start and
// committer filled in; it creates directory and partition.metadata when missing, and
// fails with ErrForeign when the stored topic id differs.
func (d *Dir) OpenLog(topic string, partition int32, id TopicID, o Options) (*Log, Recovered, error) {
	panic("unbuilt")
}

// Checkpoint writes both checkpoint files from the open logs. It is one step of a
// loop above (log.flush.offset.checkpoint.interval.ms).
func (d *Dir) Checkpoint() error { panic("unbuilt") }

// Close closes every log, writes checkpoints and the clean-shutdown mark, unlocks.
func (d *Dir) Close() error { panic("unbuilt") }

// Committer makes the appends of all logs of one directory durable in shared rounds:
// collect, make durable once, advance every flushed end, release every answer; the
// next round collects meanwhile.
type Committer struct{}

// Run is the committer's loop; it ends with ctx after a last round.
func (c *Committer) Run(ctx context.Context) error { panic("unbuilt") }

// Round is one shared flush.
type Round struct{}

// Done is closed when the round has ended; Err is valid then. nil rounds are done.
func (r *Round) Done() <-chan struct{} { panic("unbuilt") }
func (r *Round) Err() error            { panic("unbuilt") }
