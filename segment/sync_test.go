package segment

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
)

func TestSyncIsChosenByWhatItCosts(t *testing.T) {
	const mb = int64(1 << 20)
	slow := func(all float64) costs { c := measuredCosts; c.all = all; return c }
	for _, c := range []struct {
		name  string
		costs costs
		load  load
		all   bool
	}{
		{"one file", measuredCosts, load{files: 1, known: true}, false},
		{"two files, whatever they cost", costs{all: 0.01, each: 100, byte: 2}, load{files: 2, known: true, idle: time.Hour}, false},
		{"three files", measuredCosts, load{files: 3, known: true}, true},
		{"many files", measuredCosts, load{files: 1000, known: true}, true},
		{"little of others", measuredCosts, load{files: 16, known: true, foreign: mb / 2}, true},
		{"tens of megabytes of others", measuredCosts, load{files: 16, known: true, foreign: 40 * mb}, true},
		{"a hundred megabytes of others", measuredCosts, load{files: 16, known: true, foreign: 100 * mb}, false},
		{"hundreds of megabytes of others", measuredCosts, load{files: 1000, known: true, foreign: 500 * mb}, false},
		{"much of ours is the same either way", measuredCosts, load{files: 16, known: true, own: 100 * mb, foreign: 20 * mb}, true},
		{"the last one was slow, and nobody says why", slow(1000), load{files: 16}, false},
		{"and is not tried again soon", slow(1000), load{files: 16, idle: 58 * time.Second}, false},
		{"but seldom", slow(1000), load{files: 16, idle: 60 * time.Second}, true},
		{"others' bytes delay that", measuredCosts, load{files: 16, known: true, foreign: 500 * mb, idle: 200 * time.Second}, false},
		{"and do not prevent it", measuredCosts, load{files: 16, known: true, foreign: 500 * mb, idle: 220 * time.Second}, true},
		{"where fdatasync is slow, too", costs{all: 1000, each: 1000, byte: 2}, load{files: 16, known: true}, true},
		{"a quick disk", costs{all: 1, each: 1, byte: 0.1}, load{files: 16, known: true, foreign: 500 * mb}, true},
	} {
		if got := c.costs.preferAll(c.load); got != c.all {
			t.Errorf("%s: syncfs %v", c.name, got)
		}
	}
}

func TestSyncCostsFollowWhatWasMeasured(t *testing.T) {
	all, each := time.Duration(ofAll(16)), time.Duration(ofEach(16))
	after := func(change func(*costs)) costs { c := measuredCosts; change(&c); return c }
	for _, c := range []struct {
		name string
		load load
		all  bool
		took time.Duration
		want costs
	}{
		{"as expected", load{files: 16, known: true}, true, all, measuredCosts},
		{"as expected, one by one", load{files: 16, known: true}, false, each, measuredCosts},
		{"slower, by an eighth", load{files: 16, known: true}, true, 3 * all, after(func(c *costs) { c.all = 1.25 })},
		{"one slow one says little", load{files: 16, known: true}, true, 1000 * all, after(func(c *costs) { c.all = 1.875 })},
		{"unless it may be others", load{files: 16}, true, 1000 * all, after(func(c *costs) { c.all = 1000 })},
		{"fdatasync, slower", load{files: 16}, false, 3 * each, after(func(c *costs) { c.each = 1.25 })},
		{"two files say nothing", load{files: 2, known: true}, false, time.Hour, measuredCosts},
		{"nor does a clock that stands", load{files: 16}, true, 0, measuredCosts},
		{"many bytes are the bytes' cost", load{files: 16, known: true, foreign: 50e6}, true, 200 * time.Millisecond, after(func(c *costs) { c.byte = 3 })},
		{"also of our own", load{files: 16, known: true, own: 50e6}, false, 200 * time.Millisecond, after(func(c *costs) { c.byte = 3 })},
		{"those of others are not written by fdatasync", load{files: 16, known: true, foreign: 50e6}, false, each, measuredCosts},
		{"neither few nor many", load{files: 16, known: true, foreign: 4e6}, true, time.Second, measuredCosts},
	} {
		if got := measuredCosts.learn(c.load, c.all, c.took); fmt.Sprintf("%.3f", got) != fmt.Sprintf("%.3f", c.want) {
			t.Errorf("%s: %.3f, want %.3f", c.name, got, c.want)
		}
	}
}

// slowDisk is a file system in memory with costs and other writers.
type slowDisk struct {
	*vfs.Mem
	now    time.Time
	blind  bool // it does not tell what is dirty
	dirty  int64
	all    time.Duration // of a syncfs, beside 2 ns for each dirty byte
	synced []time.Duration
}

func (d *slowDisk) Dirty() (int64, bool) { return d.dirty, !d.blind }

func (d *slowDisk) SyncAll(dir string) error {
	took := d.all + time.Duration(2*d.dirty)
	d.now, d.dirty, d.synced = d.now.Add(took), 0, append(d.synced, took)
	return d.Mem.SyncAll(dir)
}

// TestRoundsDoNotWaitForOtherWriters lets every round, one a second, find 500 MB that
// another process has written since: a second of syncfs.
func TestRoundsDoNotWaitForOtherWriters(t *testing.T) {
	const rounds = 2000
	for _, blind := range []bool{false, true} {
		d := &slowDisk{Mem: vfs.NewMem(), now: start, all: 300 * time.Microsecond, blind: blind}
		c := NewCommitter(d, "/data", func() time.Time { return d.now })
		logs := openLogs(t, d, c, 4)
		run := func(foreign int64) (all time.Duration) {
			d.synced = nil
			for range rounds {
				d.dirty = foreign
				appendTo(t, logs)
				c.Commit()
				d.now = d.now.Add(time.Second)
			}
			for _, took := range d.synced {
				all += took
			}
			return all
		}
		if all := run(500e6); all > rounds*time.Second/100 {
			t.Errorf("blind %v: %v of %d s spent in %d syncfs", blind, all, rounds, len(d.synced))
		}
		// Once it has stopped, syncfs is used again.
		run(0)
		if len(d.synced) < rounds/2 {
			t.Errorf("blind %v: %d syncfs in %d rounds on a quiet machine", blind, len(d.synced), rounds)
		}
		// A writer that leaves little to a round does not change that.
		run(10e6)
		if len(d.synced) < rounds {
			t.Errorf("blind %v: %d syncfs in %d rounds beside a modest writer", blind, len(d.synced), rounds)
		}
	}
}

func openLogs(t testing.TB, fsys vfs.FS, c *Committer, n int) (logs []*Log) {
	for i := range n {
		o := testOptions(fsys)
		o.Committer, o.Dir, o.Config.SegmentBytes = c, fmt.Sprintf("/data/t-%d", i), 1<<30
		l, _ := mustOpen(t, o)
		logs = append(logs, l)
	}
	appendTo(t, logs)
	c.Commit()
	return logs
}

func appendTo(t testing.TB, logs []*Log) {
	for _, l := range logs {
		b := makeBatch(t, l.Offsets().End, 0, 1, 8, 1)
		if _, err := l.Append([]batch.Batch{b}); err != nil {
			t.Fatal(err)
		}
	}
}

// never makes a committer sync every file by itself.
var never = costs{all: 1e12, each: 1, byte: 2}

func TestRoundOfFdatasyncsSurvivesPowerCut(t *testing.T) {
	for seed := range uint64(20) {
		mem := vfs.NewMem()
		c := NewCommitter(mem, "/data", nil)
		c.costs = never
		r := seeded(seed)
		logs := make([]*Log, 6)
		written := make([][]batch.Batch, len(logs))
		options := make([]Options, len(logs))
		for i := range logs {
			options[i] = testOptions(mem) // small segments: rounds hold sealed files and new names
			options[i].Committer, options[i].Dir = c, fmt.Sprintf("/data/t-%d", i)
			logs[i], _ = mustOpen(t, options[i])
		}
		for range 4 {
			for i, l := range logs {
				written[i] = append(written[i], appendN(t, l, r.IntN(30), r)...)
			}
			c.Commit()
		}
		crashed := mem.Crash(r)
		for i := range logs {
			o := options[i]
			o.FS, o.RecoveryPoint = crashed, logs[i].Offsets().FlushedEnd
			l, _ := mustOpen(t, o)
			if got, want := readAll(t, l), join(written[i]); string(got) != string(want) {
				t.Fatalf("seed %d, log %d: %d bytes after the power cut, %d were acknowledged", seed, i, len(got), len(want))
			}
		}
	}
}

func TestOneFailedFdatasyncFailsTheRound(t *testing.T) {
	mem := vfs.NewMem()
	c := NewCommitter(mem, "/data", nil)
	logs := openLogs(t, mem, c, 40)
	c.costs = never
	var syncs atomic.Int64
	mem.SetFault(func(op vfs.Op, path string, _ int) error {
		if op == vfs.OpSync {
			syncs.Add(1)
			if filepath.Base(filepath.Dir(path)) == "t-33" {
				return syscall.EIO
			}
		}
		return nil
	})
	appendTo(t, logs)
	round := logs[0].Flush()
	c.Commit()
	<-round.Done()
	if err := round.Err(); !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("round: %v", err)
	}
	if n := syncs.Load(); n < 34 || n > 40 {
		t.Errorf("%d syncs", n)
	}
	for i, l := range logs {
		if !errors.Is(l.Err(), ErrFailed) || l.Offsets().FlushedEnd != 1 {
			t.Errorf("log %d: %v, %+v", i, l.Err(), l.Offsets())
		}
	}
}
