package segment

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/segment/vfs"
)

// Names in a log directory.
const (
	lockName       = ".lock"
	propertiesName = "meta.properties"
	cleanName      = ".kafka_cleanshutdown"
	recoveryName   = "recovery-point-offset-checkpoint"
	startName      = "log-start-offset-checkpoint"
	cleanedName    = "cleaner-offset-checkpoint"
	deleteSuffix   = "-delete"
)

// cleanMark is what Kafka writes where the broker epoch is not known (KIP-966).
const cleanMark = `{"version":0,"brokerEpoch":-1}`

// DirOptions say which.
type DirOptions struct {
	FS        vfs.FS
	Path      string
	NodeID    int32
	ClusterID string    // "": take the stored one; ErrForeign where the stored one differs
	Random    io.Reader // of a new directory's id; nil: the operating system's
	// Now tells the committer how long syncs take; nil: it does not measure.
	Now func() time.Time
}

// Found is a log directory entry: topic name, partition, topic id of partition.metadata
// (zero where there is none).
type Found struct {
	Topic     string
	Partition int32
	ID        TopicID
	Path      string
}

// Dir is one log directory (log.dirs): its lock, meta.properties, checkpoints, committer.
type Dir struct {
	o         DirOptions
	committer *Committer
	lock      io.Closer
	found     []Found
	topics    map[string]TopicID // of the logs in states, zero where not known. Guarded by mu.
	faults    []error
	clean     bool // how the last stop was
	offline   chan struct{}

	checkpoint sync.Mutex   // serialises Checkpoint and Close; before mu
	noted      atomic.Int64 // of committer.written, at the last checkpoint

	mu        sync.Mutex // guards what follows
	clusterID string
	states    map[string]state // of every log found or opened, by partitionKey
	expected  map[string]bool  // logs that Expect was told of, by partitionKey
	closed    bool
	condemned []condemned // deleted logs, by age
	err       error       // why the directory is offline; nil while it is not

	files    sync.Mutex       // serialises writers of the checkpoint files; after mu
	recovery map[string]int64 // what the files hold. Guarded by files.
	starts   map[string]int64
	cleaned  map[string]int64
}

// state is what the directory knows of one log.
type state struct {
	recovery, start int64
	clean           bool // trusted when it is opened next
	log             *Log // nil while not open
}

// OpenDir locks the directory (.lock), checks or writes meta.properties, reads the
// checkpoints and the clean-shutdown mark, which it removes, finishes interrupted
// deletes (*-delete) and lists the logs. A checkpoint that cannot be read counts as
// missing and is told by Faults: the logs are scanned as a whole.
//
// It returns vfs.ErrLocked where another process has the directory, ErrForeign where
// it belongs to another broker or cluster, and a *CorruptError for a log directory
// that is a symbolic link.
func OpenDir(o DirOptions) (_ *Dir, err error) {
	o.Path = filepath.Clean(o.Path)
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if err := o.FS.MkdirAll(o.Path); err != nil {
		return nil, err
	}
	d := &Dir{o: o, committer: NewCommitter(o.FS, o.Path, o.Now), states: map[string]state{}, topics: map[string]TopicID{}, expected: map[string]bool{}, offline: make(chan struct{})}
	if d.lock, err = o.FS.Lock(filepath.Join(o.Path, lockName)); errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("%s is in use by another broker; stop it, or choose another directory in log.dirs: %w", o.Path, err)
	} else if err != nil {
		return nil, fmt.Errorf("lock log directory %s: %w", o.Path, err)
	}
	if err := d.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open log directory %s: %w", o.Path, err), d.lock.Close())
	}
	return d, nil
}

func (d *Dir) open() error {
	if err := d.identify(); err != nil {
		return err
	}
	_, err := d.o.FS.Stat(d.path(cleanName))
	clean := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	recovery, err := d.readOffsets(recoveryName)
	if err != nil {
		return err
	}
	starts, err := d.readOffsets(startName)
	if err != nil {
		return err
	}
	if d.cleaned, err = d.readOffsets(cleanedName); err != nil {
		return err
	}
	if err := d.list(); err != nil {
		return err
	}
	d.recovery, d.starts, d.clean = recovery, starts, clean || len(d.found) == 0
	for _, f := range d.found {
		key := partitionKey(f.Topic, f.Partition)
		d.topics[key] = f.ID
		d.states[key] = state{recovery: recovery[key], start: starts[key], clean: clean}
	}
	if clean {
		if err := d.o.FS.Remove(d.path(cleanName)); err != nil {
			return err
		}
		if err := d.o.FS.SyncDir(d.o.Path); err != nil {
			return err
		}
		// From here on write-back errors are told by SyncAll; nothing is dirty yet.
	}
	// After a kill the system's cache holds what the disk may not: with this, what the
	// logs read is durable.
	return d.o.FS.SyncAll(d.o.Path)
}

func (d *Dir) path(name string) string { return filepath.Join(d.o.Path, name) }

// identify checks meta.properties, or writes it when missing and the cluster is known.
func (d *Dir) identify() error {
	p, err := ReadFile(d.o.FS, d.path(propertiesName))
	if errors.Is(err, fs.ErrNotExist) {
		if d.o.ClusterID == "" {
			return nil
		}
		return d.writeProperties(d.o.ClusterID)
	}
	if err != nil {
		return err
	}
	m, err := parseProperties(p)
	if err != nil {
		return &CorruptError{d.path(propertiesName), -1, err.Error()}
	}
	node := m["node.id"]
	if node == "" {
		node = m["broker.id"] // version 0, before KRaft
	}
	if node != strconv.Itoa(int(d.o.NodeID)) {
		return fmt.Errorf("%w: it is of node %s, this is node %d", ErrForeign, node, d.o.NodeID)
	}
	if d.o.ClusterID != "" && m["cluster.id"] != d.o.ClusterID {
		return fmt.Errorf("%w: it is of cluster %s, this is cluster %s", ErrForeign, m["cluster.id"], d.o.ClusterID)
	}
	d.clusterID = m["cluster.id"]
	return nil
}

func (d *Dir) writeProperties(cluster string) error {
	id, err := directoryID(d.o.Random)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("#\ncluster.id=%s\ndirectory.id=%s\nnode.id=%d\nversion=1\n", cluster, id, d.o.NodeID)
	if err := WriteFile(d.o.FS, d.o.Path, propertiesName, []byte(text)); err != nil {
		return err
	}
	d.clusterID = cluster
	return nil
}

// SetClusterID names the cluster of a directory that was opened without, as when the
// cluster's id is learnt later. It returns ErrForeign where the stored one differs.
func (d *Dir) SetClusterID(id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch d.clusterID {
	case id:
		return nil
	case "":
		return d.writeProperties(id)
	}
	return fmt.Errorf("%w: it is of cluster %s, this is cluster %s", ErrForeign, d.clusterID, id)
}

func (d *Dir) readOffsets(name string) (map[string]int64, error) {
	p, err := ReadFile(d.o.FS, d.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	offsets, err := parseOffsets(p)
	if err != nil {
		d.faults = append(d.faults, &CorruptError{d.path(name), -1, err.Error()})
		return nil, nil //nolint:nilerr // it is a fault of the directory, and the logs do without
	}
	return offsets, nil
}

// list finds the logs. Other names than <topic>-<partition> are not ours to judge.
func (d *Dir) list() error {
	entries, err := d.o.FS.List(d.o.Path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := d.path(e.Name())
		if e.IsDir() && strings.HasSuffix(e.Name(), deleteSuffix) && strings.Contains(e.Name(), ".") {
			if err := d.o.FS.RemoveAll(path); err != nil {
				return err
			}
			continue
		}
		topic, partition, ok := parsePartitionKey(e.Name())
		if !ok || e.Type().IsRegular() {
			continue
		}
		if !e.IsDir() {
			return &CorruptError{path, -1, "is not a directory"}
		}
		f := Found{Topic: topic, Partition: partition, Path: path}
		p, err := ReadFile(d.o.FS, filepath.Join(path, metadataName))
		if err == nil {
			if f.ID, err = parseMetadata(p); err != nil {
				d.faults = append(d.faults, &CorruptError{filepath.Join(path, metadataName), -1, err.Error()})
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		d.found = append(d.found, f)
	}
	return nil
}

// Found returns the logs that were there when the directory was opened.
func (d *Dir) Found() []Found { return slices.Clone(d.found) }

// Has tells whether the directory holds the log of a partition, or one of its name
// whose topic is not known.
func (d *Dir) Has(topic string, partition int32, id TopicID) bool {
	key := partitionKey(topic, partition)
	d.mu.Lock()
	defer d.mu.Unlock()
	st, known := d.states[key]
	return known && !st.gone() && (d.topics[key] == id || d.topics[key] == TopicID{})
}

// Expect makes Logs count a log that is about to be opened, once before and after it is,
// until done is called.
func (d *Dir) Expect(topic string, partition int32) (done func()) {
	key := partitionKey(topic, partition)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expected[key] = true
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.expected, key)
	}
}

// Logs returns how many logs the directory holds and expects; it may count some that have
// just been deleted.
func (d *Dir) Logs() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := len(d.states)
	for key := range d.expected {
		if _, open := d.states[key]; !open {
			n++
		}
	}
	return n
}

// Clean tells whether the last stop was clean, or there was nothing to stop: no log of
// the directory has to be recovered.
func (d *Dir) Clean() bool { return d.clean }

// Path returns the directory's path.
func (d *Dir) Path() string { return d.o.Path }

// Faults returns what was found wrong with the directory's own files and is done
// without: *CorruptError.
func (d *Dir) Faults() []error { return slices.Clone(d.faults) }

// ClusterID returns the stored cluster id, "" while there is none.
func (d *Dir) ClusterID() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.clusterID
}

// Committer returns the directory's committer, for its Run.
func (d *Dir) Committer() *Committer { return d.committer }

// OpenLog opens a partition's log with this directory's recovery point, log start and
// committer filled in; it creates directory and partition.metadata when missing, and
// fails with ErrForeign when the stored topic id differs, with ErrNoSpace where it has to
// write and the disk is full, and with ErrFailed where the directory is offline. It may be
// called from many goroutines for different partitions; a log that is open has to be
// closed before.
func (d *Dir) OpenLog(topic string, partition int32, id TopicID, o Options) (*Log, Recovered, error) {
	l, r, err := d.openLog(topic, partition, id, o)
	switch {
	case errors.Is(err, vfs.ErrSync): // other errors may be of one file only
		d.breakDown(err)
	case vfs.Full(err):
		err = fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return l, r, err
}

func (d *Dir) openLog(topic string, partition int32, id TopicID, o Options) (*Log, Recovered, error) {
	key := partitionKey(topic, partition)
	path := d.path(key)
	d.mu.Lock()
	st, known := d.states[key]
	if known && st.gone() { // its name is free again
		delete(d.states, key)
		st, known = state{}, false
	}
	closed, failed := d.closed, d.err
	d.mu.Unlock()
	st = st.settle()
	if closed {
		return nil, Recovered{}, ErrClosed
	}
	if failed != nil {
		return nil, Recovered{}, failed
	}
	if st.log != nil {
		return nil, Recovered{}, fmt.Errorf("open log %s: it is open", path)
	}
	if known {
		if err := d.checkTopic(path, id); err != nil {
			return nil, Recovered{}, err
		}
	} else if err := errors.Join(d.forget(key), d.o.FS.MkdirAll(path)); err != nil {
		return nil, Recovered{}, err
	}
	if _, err := d.o.FS.Stat(filepath.Join(path, metadataName)); errors.Is(err, fs.ErrNotExist) {
		// Not synced: the log's first round makes its names durable, and a log without
		// records loses nothing with this file.
		if err := replaceFile(d.o.FS, path, metadataName, encodeMetadata(id), false); err != nil {
			return nil, Recovered{}, err
		}
	} else if err != nil {
		return nil, Recovered{}, err
	}
	o.FS, o.Dir, o.Topic, o.Committer = d.o.FS, path, id, d.committer
	o.RecoveryPoint, o.LogStart, o.Clean, o.settled, o.home = st.recovery, st.start, st.clean, true, d
	l, r, err := Open(o)
	if err != nil {
		return nil, r, err
	}
	d.mu.Lock()
	st.log = l
	d.states[key], d.topics[key] = st, id
	d.mu.Unlock()
	return l, r, nil
}

// settle turns the state of a log that has been closed into that of one to be opened:
// what it had flushed is known, and it is trusted where it closed well.
func (st state) settle() state {
	if l := st.log; l != nil {
		l.pub.Lock()
		defer l.pub.Unlock()
		if l.closed {
			st = state{recovery: l.flushed, start: l.logStart, clean: l.err == nil && l.flushed == l.end}
		}
	}
	return st
}

// gone tells whether the log was deleted.
func (st state) gone() bool {
	if st.log == nil {
		return false
	}
	_, _, deleted := st.log.points()
	return deleted
}

func (d *Dir) checkTopic(path string, id TopicID) error {
	p, err := ReadFile(d.o.FS, filepath.Join(path, metadataName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	stored, err := parseMetadata(p)
	if err != nil {
		// Torn by a crash before the log's first round: it is written anew.
		return d.o.FS.Remove(filepath.Join(path, metadataName))
	}
	if stored != id && stored != (TopicID{}) {
		return fmt.Errorf("open log %s: %w: it is of topic id %s, not %s", path, ErrForeign, stored, id)
	}
	return nil
}

// logs returns the open logs.
func (d *Dir) logs() []*Log {
	d.mu.Lock()
	defer d.mu.Unlock()
	var logs []*Log
	for _, st := range d.states {
		if st.log != nil {
			logs = append(logs, st.log)
		}
	}
	return logs
}

// FlushDue lets every log whose oldest unflushed append is older than flush.ms join a
// round. It is one step of a loop above.
func (d *Dir) FlushDue(now time.Time) {
	for _, l := range d.logs() {
		l.FlushIfDue(now)
	}
}

// Checkpoint writes both checkpoint files from the open logs, after what they rest on
// (index tails, leader epochs, producer snapshots) has been made durable. Where nothing
// has moved since the last one it does nothing. It is one step of a loop above
// (log.flush.offset.checkpoint.interval.ms).
//
// It returns ErrNoSpace where the disk is full: the last checkpoint holds. Of an offline
// directory it returns why.
func (d *Dir) Checkpoint() error {
	d.checkpoint.Lock()
	defer d.checkpoint.Unlock()
	if err := d.Err(); err != nil {
		return err
	}
	written := d.committer.written.Load()
	err := d.writeCheckpoints(false)
	if vfs.Full(err) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	if err == nil {
		d.noted.Store(written)
	}
	return d.blame(err)
}

// Unnoted returns how many bytes were flushed since the last checkpoint. A start after a
// crash reads and writes them again.
func (d *Dir) Unnoted() int64 { return d.committer.written.Load() - d.noted.Load() }

// writeCheckpoints collects and writes. Caller holds checkpoint.
func (d *Dir) writeCheckpoints(synced bool) error {
	recovery, starts := map[string]int64{}, map[string]int64{}
	logs := map[string]*Log{}
	d.mu.Lock()
	for key, st := range d.states {
		if st.log != nil {
			var deleted bool
			if st.recovery, st.start, deleted = st.log.points(); deleted {
				delete(d.states, key)
				continue
			}
			logs[key] = st.log
		}
		recovery[key] = st.recovery
		if st.start > 0 {
			starts[key] = st.start
		}
	}
	d.mu.Unlock()
	d.files.Lock()
	same := maps.Equal(recovery, d.recovery) && maps.Equal(starts, d.starts)
	d.files.Unlock()
	if same {
		return nil
	}
	if !synced {
		all := slices.Collect(maps.Values(logs))
		for _, l := range all {
			if err := l.spill(); err != nil {
				return err
			}
		}
		if mutant("leave leader epochs to the stop") {
			all = nil
		}
		if err := settleEpochs(d.o.FS, d.o.Path, all); vfs.Full(err) {
			return err
		} else if err != nil {
			return d.failAll(all, err)
		}
		if err := d.o.FS.SyncAll(d.o.Path); err != nil {
			return d.failAll(all, err)
		}
	}
	d.files.Lock()
	defer d.files.Unlock()
	for key, l := range logs {
		// A log may have been truncated or deleted since.
		now, _, deleted := l.points()
		if deleted {
			delete(recovery, key)
			delete(starts, key)
			continue
		}
		recovery[key] = min(recovery[key], now)
	}
	if err := replaceFile(d.o.FS, d.o.Path, recoveryName, encodeOffsets(recovery), true); err != nil {
		return fmt.Errorf("write recovery points: %w", err)
	}
	if err := replaceFile(d.o.FS, d.o.Path, startName, encodeOffsets(starts), true); err != nil {
		return fmt.Errorf("write log starts: %w", err)
	}
	if err := d.o.FS.SyncDir(d.o.Path); err != nil {
		return fmt.Errorf("write checkpoints: %w", err)
	}
	d.recovery, d.starts = recovery, starts
	return nil
}

// points returns what a checkpoint says of the log.
func (l *Log) points() (recovery, start int64, deleted bool) {
	l.pub.Lock()
	defer l.pub.Unlock()
	return min(l.flushed, l.ceiling), l.logStart, l.deleted
}

// lower makes a log's checkpointed recovery point at most offset, durably.
func (d *Dir) lower(key string, offset int64) error {
	d.files.Lock()
	defer d.files.Unlock()
	if d.recovery[key] <= offset {
		return nil
	}
	recovery := maps.Clone(d.recovery)
	recovery[key] = offset
	if err := WriteFile(d.o.FS, d.o.Path, recoveryName, encodeOffsets(recovery)); err != nil {
		return fmt.Errorf("lower recovery point: %w", err)
	}
	d.recovery = recovery
	return nil
}

// forget takes a name out of the checkpoints, durably: what they say is of an older log.
func (d *Dir) forget(key string) error {
	if mutant("believe the checkpoint of a deleted log") {
		return nil
	}
	d.files.Lock()
	defer d.files.Unlock()
	if _, ok := d.recovery[key]; ok {
		recovery := maps.Clone(d.recovery)
		delete(recovery, key)
		if err := WriteFile(d.o.FS, d.o.Path, recoveryName, encodeOffsets(recovery)); err != nil {
			return fmt.Errorf("forget recovery point: %w", err)
		}
		d.recovery = recovery
	}
	if _, ok := d.starts[key]; ok {
		starts := maps.Clone(d.starts)
		delete(starts, key)
		if err := WriteFile(d.o.FS, d.o.Path, startName, encodeOffsets(starts)); err != nil {
			return fmt.Errorf("forget log start: %w", err)
		}
		d.starts = starts
	}
	return d.forgetCleaned(key)
}

// failAll: after a failed sync of the file system nothing is known of any log on it.
func (d *Dir) failAll(logs []*Log, err error) error {
	err = fmt.Errorf("sync log directory %s: %w", d.o.Path, err)
	for _, l := range logs {
		_ = l.fail(err) // each says its own later
	}
	return err
}

// spill writes the active segment's index tails.
func (l *Log) spill() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.usable() != nil {
		return nil // its recovery point stays where it was
	}
	if err := l.active.Load().flushTail(); err != nil {
		return l.refuse(fmt.Errorf("write indexes: %w", err))
	}
	return nil
}

// Close closes every log, writes checkpoints and the clean-shutdown mark, unlocks.
// Everything is made durable with one sync of the file system. The mark is not written
// where a log has failed: the next start then recovers from the checkpoints. Of an
// offline directory nothing is written any more.
func (d *Dir) Close() (err error) {
	d.checkpoint.Lock()
	defer d.checkpoint.Unlock()
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return ErrClosed
	}
	d.closed = true
	failed := d.err
	d.mu.Unlock()
	defer func() { err = errors.Join(err, d.lock.Close()) }()

	open := slices.DeleteFunc(d.logs(), func(l *Log) bool { return errors.Is(l.usable(), ErrClosed) })
	for _, l := range open {
		l.removing.Lock()
		defer l.removing.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
	}
	defer func() {
		for _, l := range open {
			l.shut()
		}
	}()
	if failed != nil {
		return failed
	}
	taken := make([]captured, len(open))
	var errs []error
	for i, l := range open {
		errs = append(errs, l.prepareClose())
		taken[i] = l.capture()
		defer func(files []*File) {
			for _, f := range files {
				f.Release()
			}
		}(taken[i].files)
	}
	if err := settleEpochs(d.o.FS, d.o.Path, open); err != nil {
		return d.failAll(open, err)
	}
	if err := d.o.FS.SyncAll(d.o.Path); err != nil {
		return d.failAll(open, err)
	}
	for i, l := range open {
		l.flushedTo(taken[i])
	}
	for _, l := range d.logs() {
		errs = append(errs, l.Err())
	}
	if err := d.writeCheckpoints(true); err != nil {
		return d.blame(err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	d.mu.Lock()
	for _, st := range d.states {
		if st.log == nil && !st.clean {
			// Never opened since an unclean stop: the mark would vouch for it.
			d.mu.Unlock()
			return nil
		}
	}
	d.mu.Unlock()
	return WriteFile(d.o.FS, d.o.Path, cleanName, []byte(cleanMark))
}
