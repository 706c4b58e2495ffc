package segment

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/segment/vfs"
)

// syncFiles is up to how many dirty files are always synced one by one: syncfs is no
// faster, and it also writes what others have made dirty.
const syncFiles = 2

// syncWidth is how many fdatasync run beside each other. Their journal commits fall
// together: with 256 files 13 ms instead of 32 one by one. More gain nothing.
const syncWidth = 16

// load is what a round has to make durable, and what a syncfs would write beside it.
type load struct {
	files   int
	own     int64         // bytes of the round
	foreign int64         // bytes that others have made dirty, or that no round waits for
	known   bool          // foreign is
	idle    time.Duration // since the last syncfs
}

// costs is what syncs have been seen to take, as multiples of what was measured on ext4,
// on a quiet machine, with 400 B appended to each file (2, 4, 16, 64, 256 files):
//
//	syncfs                0.11  0.16  0.33  0.59   2.6 ms
//	16 fdatasync at once  0.18  0.37  1.24   3.8    13 ms
//
// Starting write-back of all files first (sync_file_range) won nothing.
type costs struct {
	all  float64 // of a syncfs
	each float64 // of fdatasyncs
	byte float64 // nanoseconds for each byte that is written
}

// measuredCosts are those of the table, and of a disk that writes 500 MB/s.
var measuredCosts = costs{all: 1, each: 1, byte: 2}

// ofAll is what a syncfs takes, bytes apart, in nanoseconds at a factor of one.
func ofAll(files int) float64 {
	return float64(150*time.Microsecond + time.Duration(files)*9*time.Microsecond)
}

// ofEach is the same of fdatasyncs.
func ofEach(files int) float64 {
	return float64(100*time.Microsecond + time.Duration(files)*60*time.Microsecond)
}

const (
	// worthwhile is how long a syncfs may be expected to write what others have made
	// dirty, in nanoseconds. What it writes need not be written by the next one, and
	// fdatasync suffers, too: its journal commits wait for others' data. Measured beside
	// a process that wrote 200 MB/s, each way by itself, as the mean of a round:
	//
	//	             rounds back to back       20 ms between rounds
	//	             16 files    256 files     16 files    256 files
	//	syncfs         6.8 ms       18 ms        37 ms        29 ms
	//	fdatasync      7.0          36           12           64
	//	by this rule   8.0          25           21           23
	//
	// It is there for what has piled up while nobody synced: beside 600 MB just written a
	// round of 16 files took 320 ms with syncfs and 2 ms with fdatasync.
	worthwhile = float64(100 * time.Millisecond)
	// patience is how much longer than fdatasyncs that take longer than that it may take.
	patience = 2
	// retryShare bounds the time spent on syncfs against better knowledge, to find out
	// whether that still holds: one part in so many.
	retryShare = 200
)

// preferAll decides whether a round is made durable with one syncfs rather than with an
// fdatasync of each file.
func (c costs) preferAll(l load) bool {
	if l.files <= syncFiles {
		return false
	}
	own := float64(l.own) * c.byte
	all := c.all*ofAll(l.files) + float64(l.foreign)*c.byte + own
	each := c.each*ofEach(l.files) + own
	return all <= max(own+worthwhile, patience*each) || float64(l.idle) >= retryShare*all
}

// small is up to how many bytes a sync tells what it costs apart from them, and large
// from how many on it tells what a byte costs.
const (
	small = 1 << 20
	large = 16 << 20
)

// learn returns the costs after a sync of l that took so long.
func (c costs) learn(l load, all bool, took time.Duration) costs {
	t, bytes := float64(took), l.own
	if all {
		bytes += l.foreign
	}
	switch {
	case l.files <= syncFiles || took <= 0:
	case all && !l.known:
		// What others had made dirty is in it: the next one may be as slow.
		c.all = bound(t/ofAll(l.files), 1.0/16, math.MaxFloat64)
	case bytes >= large:
		c.byte = drift(c.byte, bound(t/float64(bytes), 0.1, 50), 2)
	case bytes > small:
	case all:
		c.all = drift(c.all, bound(t/ofAll(l.files), 1.0/16, 8*c.all), 8)
	default:
		c.each = drift(c.each, bound(t/ofEach(l.files), 1.0/16, 8*c.each), 8)
	}
	return c
}

// drift moves v towards a sample by one part in n.
func drift(v, sample float64, n int) float64 { return v + (sample-v)/float64(n) }

func bound(v, least, most float64) float64 { return min(max(v, least), most) }

// syncTargets makes files and names durable, in the way that seems quickest, and learns
// from the time it took.
func (c *Committer) syncTargets(targets []target, own int64) error {
	if len(targets) <= syncFiles {
		return syncEach(targets)
	}
	l := load{files: len(targets), own: own}
	if g, ok := c.fs.(vfs.DirtyGauge); ok {
		if dirty, known := g.Dirty(); known {
			l.foreign, l.known = max(0, dirty-own), true
		}
	}
	begin := c.clock()
	c.mu.Lock()
	costs := c.costs
	if c.lastAll.IsZero() {
		c.lastAll = begin
	}
	l.idle = begin.Sub(c.lastAll)
	c.mu.Unlock()

	all := costs.preferAll(l)
	var err error
	if all {
		err = c.fs.SyncAll(c.dir)
	} else {
		err = syncEach(targets)
	}

	end := c.clock()
	c.mu.Lock()
	c.costs = costs.learn(l, all, end.Sub(begin))
	if all {
		c.lastAll = end
	}
	c.mu.Unlock()
	return err
}

func (c *Committer) clock() time.Time {
	if c.now == nil {
		return time.Time{}
	}
	return c.now()
}

// target is a file to be synced, or the names of a log's files.
type target struct {
	file  *File
	names *Log // of a target without a file
}

func (t target) sync() error {
	if t.file == nil {
		return t.names.syncNames()
	}
	return t.file.f.Sync()
}

// targetsOf lists what was captured of the logs, and its size in bytes.
func targetsOf(logs []*Log, taken []captured) (targets []target, bytes int64) {
	for i, l := range logs {
		bytes += taken[i].bytes
		for _, f := range taken[i].files {
			targets = append(targets, target{file: f})
		}
		if taken[i].dir {
			targets = append(targets, target{names: l})
		}
	}
	return targets, bytes
}

// syncEach syncs the targets, several at once, and returns the first error. After an
// error those that are left may stay unsynced: all of them have failed.
func syncEach(targets []target) error {
	if len(targets) <= syncFiles {
		for _, t := range targets {
			if err := t.sync(); err != nil {
				return err
			}
		}
		return nil
	}
	var (
		working sync.WaitGroup
		next    atomic.Int64
		failed  atomic.Pointer[error]
	)
	for range min(syncWidth, len(targets)) {
		working.Go(func() {
			for failed.Load() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(targets) {
					return
				}
				if err := targets[i].sync(); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	working.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}
