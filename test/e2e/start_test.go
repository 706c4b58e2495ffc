//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/varvelog/varve/test/harness"
)

// TestStartAndMemory prints how long starts take and what an idle broker holds, empty
// and with 1,000 partitions, and bounds the memory.
func TestStartAndMemory(t *testing.T) {
	var empty []time.Duration
	for range 5 {
		b := harness.StartBroker(t)
		empty = append(empty, b.Started)
		checkMemory(t, b, "empty", 100<<20)
		b.Kill()
	}
	slices.Sort(empty)
	t.Logf("start with an empty directory: median %v, all %v", empty[2], empty)

	b := harness.StartBroker(t, quick()...)
	for i := range 10 {
		createTopic(t, b, fmt.Sprintf("wide-%d", i), 100, nil)
	}
	for i := range 10 {
		fill(t, b, fmt.Sprintf("wide-%d", i), 10_000, nil)
	}
	checkMemory(t, b, "1,000 partitions, just created", 250<<20)
	if err := b.Stop(stopLimit); err != nil {
		t.Fatal(err)
	}
	b.Start()
	t.Logf("start with 1,000 partitions after a stop: %v", b.Started)
	checkMemory(t, b, "1,000 partitions, after a stop", 250<<20)
	b.Kill()
	b.Start()
	t.Logf("start with 1,000 partitions after a kill: %v", b.Started)
	checkMemory(t, b, "1,000 partitions, after a kill", 250<<20)
}

func checkMemory(t *testing.T, b *harness.Broker, what string, limit int64) {
	t.Helper()
	resident, own := b.Memory(t)
	t.Logf("%s: resident %d MiB, own %d MiB, %d descriptors", what, resident>>20, own>>20, b.OpenFiles(t))
	if resident > limit {
		t.Errorf("%s: resident %d bytes, limit %d", what, resident, limit)
	}
}
