package segment

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/segment/vfs"
)

// Committer makes the appends of all logs of one directory durable in shared rounds:
// collect, make durable once, advance every flushed end, release every answer; the
// next round collects meanwhile.
//
//	idle --append--> collecting --Run--> syncing --> done
//
// A round that is syncing takes no more appends; they join a new one. A failed sync
// fails every log of the round for good and is not tried again.
type Committer struct {
	fs   vfs.FS
	dir  string
	now  func() time.Time // nil: nothing is measured
	wake chan struct{}

	mu    sync.Mutex
	round *Round // collecting, made by the commit before it so that appends allocate nothing
	logs  []*Log // of the collecting round; none while no append waits
	spare []*Log // the slice of the last round
	costs costs  // of what was synced so far
	// lastAll is when a syncfs last ended, or the first round that might have been one.
	lastAll time.Time
	closed  bool // nobody runs any more: rounds end with ErrClosed

	written atomic.Int64 // bytes of all rounds that ended well
}

// NewCommitter returns the committer of a log directory. Run makes it work. now tells
// how long syncs take; without it their costs are taken to be those measured elsewhere.
func NewCommitter(fsys vfs.FS, dir string, now func() time.Time) *Committer {
	return &Committer{fs: fsys, dir: dir, now: now, wake: make(chan struct{}, 1), round: newRound(), costs: measuredCosts}
}

// Round is one shared flush. A nil round is done, without error.
type Round struct {
	done chan struct{}
	err  error
}

func newRound() *Round { return &Round{done: make(chan struct{})} }

var closedChan = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Done is closed when the round has ended; Err is valid then.
func (r *Round) Done() <-chan struct{} {
	if r == nil {
		return closedChan
	}
	return r.done
}

// Err returns why the round's appends are not durable: an ErrFailed where the sync has
// failed, and with it every log of the round; ErrNoSpace where the disk is full, and a
// later round may make them durable yet; ErrClosed where the committer no longer
// runs.
func (r *Round) Err() error {
	if r == nil {
		return nil
	}
	return r.err
}

// join adds a log to the collecting round and returns it.
func (c *Committer) join(l *Log) *Round {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return &Round{done: closedChan, err: ErrClosed}
	}
	if len(c.logs) == 0 {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
	if !l.joined {
		l.joined = true
		c.logs = append(c.logs, l)
	}
	return c.round
}

// Run is the committer's loop; it ends with ctx after a last round.
func (c *Committer) Run(ctx context.Context) error {
	defer func() {
		c.mu.Lock()
		c.closed = true
		c.mu.Unlock()
		c.Commit()
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
			c.Commit()
		}
	}
}

// Commit ends the collecting round, if there is one: the synchronous step of Run.
func (c *Committer) Commit() {
	next := newRound()
	c.mu.Lock()
	if len(c.logs) == 0 {
		c.mu.Unlock()
		return
	}
	round, logs := c.round, c.logs
	c.round, c.logs, c.spare = next, c.spare[:0], logs
	for _, l := range logs {
		l.joined = false
	}
	c.mu.Unlock()
	round.err = c.commit(logs)
	close(round.done)
	clear(logs)
}

// captured is what a round took of one log.
type captured struct {
	end        int64
	generation int
	files      []*File // with a reference each
	bytes      int64   // appended since the round before
	dir        bool
	epochs     bool
}

// capture takes what has to be synced for all that is appended so far.
func (l *Log) capture() captured {
	l.pub.Lock()
	defer l.pub.Unlock()
	c := captured{end: l.end, generation: l.generation, files: l.dirtyFiles, bytes: l.dirtyBytes, dir: l.dirDirty, epochs: l.epochsDirty}
	if l.activeDirty {
		if f := l.active.Load().log; f != nil && f.Acquire() {
			c.files = append(c.files, f)
		}
	}
	l.dirtyFiles = nil
	l.activeDirty, l.dirDirty, l.dirtyBytes = false, false, 0
	l.unflushed, l.owed = time.Time{}, false
	return c
}

// flushedTo advances the flushed end to what was captured before a sync.
func (l *Log) flushedTo(c captured) {
	l.pub.Lock()
	defer l.pub.Unlock()
	if l.generation != c.generation || c.end <= l.flushed || l.err != nil {
		return
	}
	acked := l.ackEnd()
	l.flushed = c.end
	if l.ackEnd() != acked {
		l.signal()
	}
}

// giveBack undoes a capture.
func (l *Log) giveBack(c captured) {
	l.pub.Lock()
	defer l.pub.Unlock()
	if l.closed {
		for _, f := range c.files {
			f.Release()
		}
		return
	}
	l.dirtyFiles = append(c.files, l.dirtyFiles...)
	l.dirtyBytes += c.bytes
	l.dirDirty = l.dirDirty || c.dir
	l.owed = true
}

// commit makes all appends of the logs durable.
func (c *Committer) commit(logs []*Log) error {
	taken := make([]captured, len(logs))
	for i, l := range logs {
		taken[i] = l.capture()
	}
	var err error
	if !mutant("acknowledge without a sync") {
		err = c.sync(logs, taken)
	}
	if mutant("ignore a failed sync") {
		err = nil
	}
	if vfs.Full(err) {
		// Nothing has been synced: the next round takes it all again.
		for i, l := range logs {
			l.giveBack(taken[i])
		}
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	for i, l := range logs {
		for _, f := range taken[i].files {
			f.Release()
		}
		if err != nil {
			_ = l.fail(err) // commit returns the cause
		} else {
			l.flushedTo(taken[i])
			c.written.Add(taken[i].bytes)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFailed, err)
	}
	return nil
}

func (c *Committer) sync(logs []*Log, taken []captured) error {
	// Leader epochs first, so that no record is acknowledged whose epoch is unknown.
	renamed := 0
	for i := range taken {
		if taken[i].epochs {
			renamed++
		}
	}
	if renamed > 0 && !mutant("leave leader epochs to the stop") {
		if err := c.syncEpochs(logs, taken, renamed); err != nil {
			return err
		}
	}
	return c.syncTargets(targetsOf(logs, taken))
}

// syncNames makes the names of the log's files, and its own, durable.
func (l *Log) syncNames() error {
	if mutant("do not sync names") {
		return nil
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return err
	}
	return l.fs.SyncDir(filepath.Dir(l.dir))
}

// syncEpochs writes the leader epochs of the logs that have new ones. After a start
// that is every log of the directory, so the new files are made durable together,
// renamed, and the names made durable together.
func (c *Committer) syncEpochs(logs []*Log, taken []captured, n int) error {
	if n <= syncFiles {
		for i, l := range logs {
			if taken[i].epochs {
				if err := l.writeEpochs(); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return settleEpochs(c.fs, c.dir, logs)
}

// settleEpochs writes the leader epochs of all logs that have new ones, with two syncs
// of the file system for all. It holds the epochFile of each of them meanwhile, taken in
// the order of the logs' paths: a round and a checkpoint may both be at it.
func settleEpochs(fsys vfs.FS, dir string, logs []*Log) error {
	logs = slices.SortedFunc(slices.Values(logs), func(a, b *Log) int { return strings.Compare(a.dir, b.dir) })
	var written []*Log
	unlock := func() {
		for _, l := range written {
			l.epochFile.Unlock()
		}
	}
	defer unlock()
	for _, l := range logs {
		l.epochFile.Lock()
		l.pub.Lock()
		dirty, e := l.epochsDirty && l.err == nil && !l.closed, l.epochs
		if dirty {
			l.epochsDirty = false
		}
		l.pub.Unlock()
		if !dirty {
			l.epochFile.Unlock()
			continue
		}
		written = append(written, l)
		if err := writeTemporary(fsys, l.dir, epochsName, e.encode()); err != nil {
			for _, l := range written {
				l.oweEpochs()
			}
			return l.refuse(fmt.Errorf("write leader epochs: %w", err))
		}
	}
	if len(written) == 0 {
		return nil
	}
	if err := fsys.SyncAll(dir); err != nil {
		return err
	}
	for _, l := range written {
		path := filepath.Join(l.dir, epochsName)
		if err := fsys.Rename(path+tmpSuffix, path); err != nil {
			return l.fail(fmt.Errorf("write leader epochs: %w", err))
		}
	}
	return fsys.SyncAll(dir)
}

// FlushIfDue joins a round where the oldest unflushed append is older than flush.ms;
// nil where there is nothing to flush yet. What a round could not flush because the disk
// was full is always due. It is one step of a caller's loop.
func (l *Log) FlushIfDue(now time.Time) *Round {
	l.pub.Lock()
	defer l.pub.Unlock()
	age := l.config.Load().FlushAge
	if l.owed && l.refusal() == nil {
		return l.committer.join(l)
	}
	if l.refusal() != nil || l.unflushed.IsZero() || age <= 0 || now.Sub(l.unflushed) < age {
		return nil
	}
	return l.committer.join(l)
}

// Flush joins a round that makes everything appended so far durable; nil where it is.
func (l *Log) Flush() *Round {
	l.pub.Lock()
	defer l.pub.Unlock()
	if l.flushed == l.end && !l.epochsDirty && len(l.dirtyFiles) == 0 {
		return nil
	}
	return l.committer.join(l)
}
