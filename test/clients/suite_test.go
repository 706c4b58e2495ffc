//go:build clients

package clients

import (
	"bytes"
	"context"
	"flag"
	"os"
	"sync"
	"testing"

	"github.com/varvelog/varve/test/harness"
)

// page takes the comparisons of all suites, where it is named.
var page = flag.String("page", "", "file that takes the comparisons, in Markdown")

// sections are the comparisons that were made.
var sections bytes.Buffer

func TestMain(m *testing.M) {
	harness.Main(m, func() {
		if *page != "" && sections.Len() > 0 {
			if err := os.WriteFile(*page, append([]byte(Title), sections.Bytes()...), 0o644); err != nil {
				panic(err)
			}
		}
	})
}

// settings are common to both brokers, beside what a suite asks for.
var settings = []string{"group.initial.rebalance.delay.ms=0", "num.partitions=4"}

// both starts a broker of each kind and runs a suite against both at once.
func both(t *testing.T, run func(ctx context.Context, t *testing.T, address string) Run, sets ...string) (kafka, varve Run) {
	t.Helper()
	sets = append(settings[:len(settings):len(settings)], sets...)
	k, v := harness.StartKafka(t, sets...), harness.StartBroker(t, sets...)
	var wait sync.WaitGroup
	wait.Go(func() { kafka = run(t.Context(), t, k.Address) })
	wait.Go(func() { varve = run(t.Context(), t, v.Address) })
	wait.Wait()
	return kafka, varve
}

// judge prints a comparison, keeps it for the page and fails the test where varve falls
// short of Kafka, or of what the known list says.
func judge(t *testing.T, c Comparison) {
	t.Helper()
	var text bytes.Buffer
	c.Write(&text)
	sections.Write(text.Bytes())
	t.Logf("%s", text.Bytes())
	if c.Both == 0 {
		t.Error("no test passes on both brokers: the suite did not run")
	}
	for _, r := range c.Broken {
		t.Errorf("%s passes on Kafka and not on varve: %s", r.Name, r.Reason)
	}
	for _, r := range c.Stale {
		t.Errorf("the known list names %s (%s), and it does not hold any more", r.Name, r.Reason)
	}
}
