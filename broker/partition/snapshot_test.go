package partition

import (
	"errors"
	"testing"

	"github.com/varvelog/varve/segment/batch"
)

// large is a batch of an idempotent producer that snapshotBytes holds few of.
func large(t testing.TB, sequence int32) batch.Batch {
	t.Helper()
	b, err := batch.Builder{ProducerID: 7, BaseSequence: sequence}.Build(0, 0, []batch.Record{{Timestamp: 1000, Value: make([]byte, snapshotBytes/4)}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A start after a crash reads the headers above the newest snapshot that it may trust:
// that of the last checkpoint, or of the one before if the last was not finished.
func TestSnapshotBoundsWhatAStartLooksAt(t *testing.T) {
	for name, c := range map[string]struct {
		checkpoint bool  // after the second snapshot
		above      int64 // batches above the snapshot that is trusted
	}{
		"checkpoint finished":     {true, 1},
		"checkpoint not finished": {false, 6},
	} {
		t.Run(name, func(t *testing.T) {
			config := defaults()
			config.SegmentBytes = 1 << 30
			h := newHouse(t, config)
			next := int32(0)
			produce := func(n int) (size int64) {
				for range n {
					b := large(t, next)
					h.produce(b)
					size = int64(len(b))
					next++
				}
				return size
			}
			produce(5)
			h.must(h.p.Snapshot())
			h.must(h.dir.Checkpoint())
			produce(5)
			h.must(h.p.Snapshot())
			if c.checkpoint {
				h.must(h.dir.Checkpoint())
			}
			size := produce(1)
			h.crash(nil)
			if got := h.p.unsnapped; got != c.above*size {
				t.Errorf("a start looked at %d bytes, want %d", got, c.above*size)
			}
			if a, err := h.append(large(t, next-1)); err != nil || !a.Duplicate {
				t.Errorf("the last batch came again: %+v, %v", a, err)
			}
			if _, err := h.append(large(t, next+1)); !errors.Is(err, ErrOutOfOrderSequence) {
				t.Errorf("a gap in the sequence: %v", err)
			}
			produce(1)
		})
	}
}

func TestSnapshotIsNotWorthAFileForAFewBatches(t *testing.T) {
	h := newHouse(t, defaults())
	h.produce(large(t, 0))
	h.must(h.p.Snapshot())
	if at, _, found, err := h.p.log.LoadSnapshot(h.p.log.Offsets().End); err != nil || found && at > 0 {
		t.Errorf("there is a snapshot at %d (%v, %v)", at, found, err)
	}
}
