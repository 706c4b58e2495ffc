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

// suite is how tests run against the broker at an address.
type suite struct {
	whole   func(ctx context.Context, t *testing.T, address string) Run
	process func(name string) string // that runs a test, "" for none
	again   func(ctx context.Context, t *testing.T, address, process string) Run
}

// both starts a broker of each kind and runs a suite against both at once. What passes on
// one only is run again on the other.
func both(t *testing.T, s suite, sets ...string) (kafka, varve Run) {
	t.Helper()
	sets = append(settings[:len(settings):len(settings)], sets...)
	k, v := harness.StartKafka(t, sets...), harness.StartBroker(t, sets...)
	var wait sync.WaitGroup
	wait.Go(func() { kafka = s.whole(t.Context(), t, k.Address) })
	wait.Go(func() { varve = s.whole(t.Context(), t, v.Address) })
	wait.Wait()
	for range attempts - 1 {
		ofKafka, ofVarve := kafka.Doubtful(varve, s.process), varve.Doubtful(kafka, s.process)
		wait.Go(func() { s.retry(t, k.Address, kafka, ofKafka) })
		wait.Go(func() { s.retry(t, v.Address, varve, ofVarve) })
		wait.Wait()
	}
	return kafka, varve
}

func (s suite) retry(t *testing.T, address string, run Run, processes []string) {
	for _, p := range processes {
		run.Steady(s.again(t.Context(), t, address, p))
	}
}

// judge prints a comparison, keeps it for the page and fails the test where varve falls
// short of Kafka.
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
}
