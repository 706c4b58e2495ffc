package coordinator

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varvelog/varve/segment/batch"
)

// refusingLog has no room for one of its batches.
type refusingLog struct {
	*memoryLog
	appends, refused int // the one that is refused, counted from 1
}

func (l *refusingLog) Append(epoch int32, w Write) (func(context.Context) error, error) {
	if l.appends++; l.appends == l.refused {
		return nil, kerr.NotCoordinator
	}
	return l.memoryLog.Append(epoch, w)
}

// TestAStepOfManyBatchesIsToldItsFateOnce: whichever of its batches finds no room, a step
// hears of it once, when all that was written of it is decided; what would have followed is
// not written, and other steps have fates of their own.
func TestAStepOfManyBatchesIsToldItsFateOnce(t *testing.T) {
	const batches = 3
	for refused := range batches + 2 {
		t.Run(fmt.Sprintf("batch %d refused", refused), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := &refusingLog{memoryLog: newMemoryLog(), refused: refused}
				var c core
				c.init(1, log, func() int64 { return time.Now().UnixMilli() })
				c.status = active

				told := map[string][]int16{}
				step := func(name string, records int) *share {
					w := plain(nil)
					for range records {
						w.Records = append(w.Records, batch.Record{Key: []byte(name), Value: make([]byte, maxBatchBytes*3/4)})
					}
					return &share{Write: w, told: func(_ int64, code int16) { told[name] = append(told[name], code) }}
				}
				c.mu.Lock()
				c.append(0, step("large", batches), step("small", 1))
				c.mu.Unlock()
				synctest.Wait()
				c.retire(func() {})

				want := map[string]int16{}
				written := batches + 1
				switch {
				case refused == batches+1:
					want["small"], written = kerr.NotCoordinator.Code, batches
				case refused > 0:
					want["large"], written = kerr.NotCoordinator.Code, refused
				}
				for _, name := range []string{"large", "small"} {
					if !slices.Equal(told[name], []int16{want[name]}) {
						t.Errorf("%s was told %v, want %d once", name, told[name], want[name])
					}
				}
				if len(log.batches) != written {
					t.Errorf("%d batches are written, want %d", len(log.batches), written)
				}
			})
		})
	}
}
