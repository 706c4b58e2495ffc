package segment

import (
	"fmt"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
)

// busyLogs are logs on a real file system whose batches are stamped and appended again
// and again.
type busyLogs struct {
	tb        testing.TB
	committer *Committer
	logs      []*Log
	one       [1]batch.Batch
	next      []int64
}

func newBusyLogs(tb testing.TB, n, size int) *busyLogs {
	dir := tb.TempDir()
	w := &busyLogs{tb: tb, committer: NewCommitter(new(vfs.OS), dir, nil), next: make([]int64, n)}
	for i := range n {
		o := testOptions(new(vfs.OS))
		o.Dir, o.Committer = filepath.Join(dir, fmt.Sprintf("t-%d", i)), w.committer
		o.Config.SegmentBytes, o.Config.IndexInterval, o.Config.IndexBytes = 1<<30, 4096, 10<<20
		l, _ := mustOpen(tb, o)
		tb.Cleanup(func() { l.Close() })
		w.logs = append(w.logs, l)
	}
	w.one[0] = makeBatch(tb, 0, 0, 1, size, 1)
	w.round()
	return w
}

// append appends one batch to log i.
func (w *busyLogs) append(i int) {
	w.one[0].Assign(w.next[i], 0)
	w.next[i]++
	if _, err := w.logs[i].Append(w.one[:]); err != nil {
		w.tb.Fatal(err)
	}
}

// round appends a batch to every log and makes them durable.
func (w *busyLogs) round() {
	for i := range w.logs {
		w.append(i)
	}
	w.committer.Commit()
}

func TestAppendAllocatesNothingInAnyRound(t *testing.T) {
	w := newBusyLogs(t, 1, 400)
	for range 100 { // what grows with the first appends: scratch, index tails
		w.append(0)
	}
	if n := testing.AllocsPerRun(500, func() { w.append(0) }); n != 0 {
		t.Errorf("%v allocations an append within a round", n)
	}
	// A round costs itself, its channel and what it captured, for all appends together.
	commit := testing.AllocsPerRun(100, func() { w.append(0); w.committer.Commit() })
	if commit > 5 {
		t.Errorf("%v allocations an append with its round", commit)
	}
	// The append that begins a round finds it made. The runtime's own goroutines may
	// allocate beside a few of them.
	allocated := 0
	for range 100 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		w.append(0)
		runtime.ReadMemStats(&after)
		if after.Mallocs != before.Mallocs {
			allocated++
		}
		w.committer.Commit()
	}
	if allocated > 10 {
		t.Errorf("%d of 100 first appends of a round allocate", allocated)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{100, 1000, 16_000, 1_000_000} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			w := newBusyLogs(b, 1, size)
			for range 10 {
				w.append(0)
			}
			b.SetBytes(int64(len(w.one[0])))
			b.ReportAllocs()
			for b.Loop() {
				w.append(0)
			}
		})
	}
}

// BenchmarkRound appends 400 B to each log and makes all durable.
func BenchmarkRound(b *testing.B) {
	for _, logs := range []int{1, 16, 256, 1000} {
		for _, way := range []struct {
			name  string
			costs costs
		}{{"chosen", measuredCosts}, {"fdatasync", never}} {
			b.Run(fmt.Sprintf("%d_logs/%s", logs, way.name), func(b *testing.B) {
				w := newBusyLogs(b, logs, 400)
				w.committer.costs = way.costs
				b.ReportAllocs()
				for b.Loop() {
					w.round()
				}
				b.ReportMetric(float64(logs)*float64(b.N)/b.Elapsed().Seconds(), "appends/s")
			})
		}
	}
}
