//go:build interop

package interop

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// stream is a family of random requests: what there is before them, and how one is drawn.
type stream struct {
	name  string
	seeds []uint64 // those of continuous integration
	steps int
	ready func(*side)
	draw  func(*rand.Rand) step
	// within is how long a telling may take, 0: as long as it does. Members whose sessions
	// end on the way are another story, at one broker before the other.
	within time.Duration
}

func randomStreams() []stream {
	return []stream{
		{name: "data", seeds: []uint64{1, 2, 3, 4}, steps: 120, ready: readyForData, draw: drawData},
		{name: "txn", seeds: []uint64{1, 2, 3, 4}, steps: 120, ready: readyForTxn, draw: drawTxn},
		{name: "classic", seeds: []uint64{1, 2, 3, 4, 5, 6, 7, 8}, steps: 80, ready: readyForClassic, draw: drawClassic, within: 4 * time.Minute},
		{name: "consumer", seeds: []uint64{1, 2, 3, 4, 5, 6, 7, 8}, steps: 80, ready: readyForConsumers, draw: drawConsumer, within: 45 * time.Second},
		{name: "topics", seeds: []uint64{1, 2}, steps: 40, ready: readyForTopics, draw: drawTopics},
	}
}

// TestRandomStreamsEqualApacheKafkas sends random requests, odd ones among them, to varve
// and to Apache Kafka 4.3, one after the other. Every whole answer must be the same but for
// what a broker chooses itself, or explained says why not.
//
// VARVE_RANDOM_DURATION=10m draws new seeds for that long in each family instead of the
// listed ones; VARVE_RANDOM_SEED=5 tells the stream of one seed.
func TestRandomStreamsEqualApacheKafkas(t *testing.T) {
	for _, f := range randomStreams() {
		t.Run(f.name, func(t *testing.T) {
			told, steps := 0, 0
			for seed := range seedsOf(t, f.seeds) {
				told, steps = told+1, steps+f.steps
				if d := f.tell(t, f.drawn(seed)); d != nil {
					t.Errorf("seed %d: %s", seed, f.shrink(t, f.drawn(seed), d))
				}
			}
			t.Logf("%d streams, %d steps", told, steps)
		})
	}
}

// seedsOf are the fixed seeds, or what the environment asks for.
func seedsOf(t *testing.T, fixed []uint64) func(func(uint64) bool) {
	if one := os.Getenv("VARVE_RANDOM_SEED"); one != "" {
		seed, err := strconv.ParseUint(one, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		fixed = []uint64{seed}
	}
	var lasting time.Duration
	if d := os.Getenv("VARVE_RANDOM_DURATION"); d != "" {
		var err error
		if lasting, err = time.ParseDuration(d); err != nil {
			t.Fatal(err)
		}
	}
	return func(yield func(uint64) bool) {
		end := time.Now().Add(lasting)
		for lasting > 0 && time.Now().Before(end) {
			if !yield(rand.Uint64N(1 << 32)) {
				return
			}
		}
		for _, seed := range fixed {
			if lasting == 0 && !yield(seed) {
				return
			}
		}
	}
}

// drawn are the steps of a seed. They refer to what brokers answer by names, so that the
// same steps can be told to any broker, and any of them left out.
func (f *stream) drawn(seed uint64) []step {
	r := rand.New(rand.NewPCG(seed, 0))
	steps := make([]step, f.steps)
	for i := range steps {
		steps[i] = f.draw(r)
	}
	return steps
}

// difference is where two tellings part.
type difference struct {
	at         int
	asked      []string // so far
	ours, want string
}

func (d *difference) String() string {
	return fmt.Sprintf("after %d steps\n  %s\nvarve: %s\nKafka: %s", d.at, strings.Join(d.asked, "\n  "), d.ours, d.want)
}

// telling numbers the tellings: each has names of its own.
var telling atomic.Int64

// tell sends the steps to both brokers until their answers differ, and again where that took
// too long to say anything.
func (f *stream) tell(t *testing.T, steps []step) *difference {
	t.Helper()
	for range tooLong {
		began := time.Now()
		d := f.tellOnce(t, steps)
		took := time.Since(began)
		if f.within == 0 || took < f.within {
			return d
		}
		t.Logf("told again: it took %v, and is to be told within %v", took, f.within)
	}
	t.Fatalf("%d tellings took longer than %v", tooLong, f.within)
	return nil
}

// tooLong is how often a telling may take too long.
const tooLong = 20

func (f *stream) tellOnce(t *testing.T, steps []step) *difference {
	t.Helper()
	prefix := fmt.Sprintf("random-%s-%06d-", f.name, telling.Add(1))
	base := time.Now().UnixMilli() - 10_000
	ours, theirs := newSide(t, "varve", broker(t).Address, prefix, base), newSide(t, "Apache Kafka", apache(t).Address, prefix, base)
	defer func() { ours.Close(); theirs.Close() }()
	f.ready(ours)
	f.ready(theirs)
	var asked []string
	for i, next := range steps {
		got, want := next(ours), next(theirs)
		asked = append(asked, got.asked)
		if got.answered != want.answered && !isExplained(got, want) {
			if got.asked != want.asked {
				want.answered += " when asked " + want.asked
			}
			return &difference{at: i, asked: asked, ours: got.answered, want: want.answered}
		}
	}
	return nil
}

// shrinkTellings bounds what shrink costs.
const shrinkTellings = 40

// shrink leaves out what the difference does not need: halves first, then less.
func (f *stream) shrink(t *testing.T, steps []step, d *difference) *difference {
	t.Helper()
	steps = steps[:d.at+1]
	tellings := 0
	for size := len(steps) / 2; size >= 1; size /= 2 {
		for from := 0; from+size < len(steps) && tellings < shrinkTellings; tellings++ {
			less := append(append([]step(nil), steps[:from]...), steps[from+size:]...)
			if again := f.tell(t, less); again != nil {
				steps, d = less[:again.at+1], again
				continue
			}
			from += size
		}
	}
	return d
}

// explanation is a difference that stays.
type explanation struct {
	why         string
	asked       string // what the request says
	ours, their string // what the answers say
}

var explained = []explanation{
	{"both refuse: an unknown topic that is named twice", "DeleteTopicsRequest", "UNKNOWN_TOPIC_OR_PARTITION", "INVALID_REQUEST"},
	{"both refuse: of several faults each tells of another first", "CreateTopicsRequest", "INVALID_", "INVALID_"},
	{"both refuse: ours for the topic, Apache Kafka for the value first", "IncrementalAlterConfigsRequest", "UNKNOWN_TOPIC_OR_PARTITION", "INVALID_CONFIG"},
	{"both refuse: ours for the name, Apache Kafka for the value first", "IncrementalAlterConfigsRequest", "INVALID_TOPIC_EXCEPTION", "INVALID_CONFIG"},
}

func isExplained(got, want told) bool {
	for _, e := range explained {
		if strings.Contains(got.asked, e.asked) && strings.Contains(got.answered, e.ours) && strings.Contains(want.answered, e.their) {
			return true
		}
	}
	return false
}
