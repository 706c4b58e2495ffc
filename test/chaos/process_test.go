//go:build e2e || chaos

package chaos

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/test/chaos/load"
	"github.com/varvelog/varve/test/harness"
	"github.com/varvelog/varve/test/verify"
)

// startLimit is how long a broker may take to be ready again after a kill (R2).
const startLimit = 30 * time.Second

// TestR2KillNineLosesNothing kills the broker at random moments, also while it starts,
// and again and again at once.
func TestR2KillNineLosesNothing(t *testing.T) {
	rng := harness.Seeded(t)
	b := harness.StartBroker(t, quick()...)
	l := load.Start(t, b.Address, "r2", load.W1())
	l.Wait(ackLimit, acksBefore)
	const rounds = 4
	for more := until(t, 4*time.Second, rounds); more(); {
		l.Fault(verify.Disturbance{Kind: "kill", Restart: true}, func() { killAndStart(t, b, rng) })
		l.Wait(ackLimit, acksAfter)
		pause(time.Duration(rng.Int64N(int64(500 * time.Millisecond))))
	}
	finish(t, b, l, rounds)
}

// killAndStart kills the broker, up to three times while it starts.
func killAndStart(t *testing.T, b *harness.Broker, rng *rand.Rand) {
	b.Kill()
	for range rng.IntN(4) {
		b.Launch()
		pause(time.Duration(rng.Int64N(int64(200 * time.Millisecond))))
		b.Kill()
	}
	b.Start()
	if b.Started > startLimit {
		t.Errorf("the broker was ready after %v", b.Started)
	}
}

// TestR7PausedBrokerGoesOn stops the broker where it stands (SIGSTOP) and lets it go on,
// as a machine does that was suspended.
func TestR7PausedBrokerGoesOn(t *testing.T) {
	rng := harness.Seeded(t)
	b := harness.StartBroker(t, quick()...)
	l := load.Start(t, b.Address, "r7", load.W1())
	l.Wait(ackLimit, acksBefore)
	const rounds = 3
	for more := until(t, 3*time.Second, rounds); more(); {
		l.Fault(verify.Disturbance{Kind: "pause"}, func() {
			b.Pause(t)
			pause(time.Second/2 + time.Duration(rng.Int64N(int64(time.Second))))
			b.Resume(t)
		})
		l.Wait(ackLimit, acksAfter)
	}
	finish(t, b, l, rounds)
}

// TestR20CleanerIsKilledAtAnyMoment kills the broker while the cleaner works without a
// rest: the last value of each key is there, at its offset, and what was deleted does not
// come back (C12).
func TestR20CleanerIsKilledAtAnyMoment(t *testing.T) {
	rng := harness.Seeded(t)
	b := harness.StartBroker(t, quick("log.cleaner.backoff.ms=100")...)
	l := load.Start(t, b.Address, "r20", load.W6())
	l.Wait(ackLimit, 8*acksBefore) // a sealed segment in each partition
	const rounds = 6
	for more := until(t, 3*time.Second, rounds); more(); {
		l.Fault(verify.Disturbance{Kind: "kill", Restart: true}, func() { killAndStart(t, b, rng) })
		l.Wait(ackLimit, acksBefore)
		pause(time.Duration(rng.Int64N(int64(300 * time.Millisecond))))
	}
	l.StopProducing()
	harness.Until(t, ackLimit, "a compacted log", func() error {
		i, err := os.Stat(logs(t, filepath.Join(b.Dir, "r20-0-0"))[0])
		if err == nil && i.Size() > 1<<19 { // half of what it had when it was sealed
			err = fmt.Errorf("the first segment has %d bytes", i.Size())
		}
		return err
	})
	h := l.Finish()
	h.Expect = &verify.Expect{Faults: rounds, Before: acksBefore}
	h.DeleteRetention = (24 * time.Hour).Nanoseconds() // the default
	judge(t, h)
	b.Kill()
	b.Start()
	for _, left := range []string{".cleaned", ".swap"} {
		if names, err := filepath.Glob(filepath.Join(b.Dir, "r20-0-*", "*"+left)); err != nil || len(names) > 0 {
			t.Errorf("left over: %v (%v)", names, err)
		}
	}
}

// damages are what may have happened to a closed broker's files without a byte of its
// logs being lost (R34): whatever can be made anew from the log is, and what was never
// acknowledged behind its end is cut.
var damages = []struct {
	name   string
	change func(t *testing.T, partition string)
}{
	{"an offset index deleted", eachFile(".index", func(string, []byte) []byte { return nil })},
	{"a time index deleted", eachFile(".timeindex", func(string, []byte) []byte { return nil })},
	{"an offset index full of garbage", eachFile(".index", garbage)},
	{"a time index full of garbage", eachFile(".timeindex", garbage)},
	{"a producer snapshot full of garbage", eachFile(".snapshot", garbage)},
	{"half an offset index", eachFile(".index", func(_ string, b []byte) []byte { return b[:len(b)/2] })},
	{"zeros behind the end", lastLog(func(b []byte) []byte { return append(b, make([]byte, 4096)...) })},
	{"garbage behind the end", lastLog(func(b []byte) []byte { return append(b, garbage("", make([]byte, 4096))...) })},
	{"half a batch behind the end", lastLog(func(b []byte) []byte { return append(b, b[:min(len(b), 50)]...) })},
}

func garbage(_ string, b []byte) []byte {
	for i := range b {
		b[i] = byte(i*131 + 7)
	}
	return b
}

// eachFile changes all files of a kind; nil deletes them.
func eachFile(suffix string, change func(name string, content []byte) []byte) func(*testing.T, string) {
	return func(t *testing.T, partition string) {
		t.Helper()
		names, err := filepath.Glob(filepath.Join(partition, "*"+suffix))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			rewrite(t, name, change)
		}
	}
}

// lastLog changes the active segment.
func lastLog(change func([]byte) []byte) func(*testing.T, string) {
	return func(t *testing.T, partition string) {
		t.Helper()
		names := logs(t, partition)
		rewrite(t, names[len(names)-1], func(_ string, b []byte) []byte { return change(b) })
	}
}

func logs(t *testing.T, partition string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(partition, "*.log"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s has no log (%v)", partition, err)
	}
	slices.Sort(names)
	return names
}

func rewrite(t *testing.T, name string, change func(string, []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if b = change(name, b); b == nil {
		err = os.Remove(name)
	} else {
		err = os.WriteFile(name, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// small is a load of several segments in each partition, none of which is tiered.
func small() load.Shape {
	s := load.W1()
	s.Topics, s.Partitions, s.Rate = 1, 2, 4000
	s.Configs = map[string]string{"segment.bytes": "1048576", "remote.storage.enable": "false"}
	return s
}

// TestR34DamagedFilesAreMadeAnew kills a broker, damages files of every partition, and
// starts it again, one damage after the other under one load.
func TestR34DamagedFilesAreMadeAnew(t *testing.T) {
	b := harness.StartBroker(t, quick()...)
	l := load.Start(t, b.Address, "r34", small())
	l.Wait(ackLimit, 3*acksBefore)
	for _, d := range damages {
		l.Fault(verify.Disturbance{Kind: strings.ReplaceAll(d.name, " ", "-"), Restart: true}, func() {
			b.Kill()
			for p := range 2 {
				d.change(t, filepath.Join(b.Dir, fmt.Sprintf("r34-0-%d", p)))
			}
			b.Start()
		})
		l.Wait(ackLimit, acksAfter)
	}
	finish(t, b, l, len(damages))
}

// TestR35CorruptSegmentFailsItsOffsetsOnly flips a bit in a segment that was flushed long
// ago, where no other replica can help: its batch is an error to readers and never other
// data, and everything else is served.
func TestR35CorruptSegmentFailsItsOffsetsOnly(t *testing.T) {
	b := harness.StartBroker(t, quick()...)
	l := load.Start(t, b.Address, "r35", small())
	hurt, whole := filepath.Join(b.Dir, "r35-0-0"), filepath.Join(b.Dir, "r35-0-1")
	harness.Until(t, ackLimit, "three segments", func() error {
		if n := min(len(logs(t, hurt)), len(logs(t, whole))); n < 3 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	judge(t, l.Finish())
	if err := b.Stop(startLimit); err != nil {
		t.Fatal(err)
	}
	rewrite(t, logs(t, hurt)[0], func(_ string, content []byte) []byte {
		content[len(content)/2] ^= 0x10
		return content
	})
	second := strings.TrimSuffix(filepath.Base(logs(t, hurt)[1]), ".log")
	b.Start()
	if _, err := load.ReadRange(t.Context(), b.Address, "r35-0", 1, 0); err != nil {
		t.Errorf("the partition without a fault: %v", err)
	}
	var next int64
	if _, err := fmt.Sscanf(second, "%d", &next); err != nil {
		t.Fatal(err)
	}
	if _, err := load.ReadRange(t.Context(), b.Address, "r35-0", 0, next); err != nil {
		t.Errorf("behind the fault: %v", err)
	}
	n, err := load.ReadRange(t.Context(), b.Address, "r35-0", 0, 0)
	t.Logf("%d records before the fault, then: %v", n, err)
	if err == nil || n == 0 || n >= next || errors.Is(err, load.ErrForeign) {
		t.Errorf("%d of %d records were read, then: %v", n, next, err)
	}
}

// TestR39ManyConnectionsComeAndGo opens and closes connections, some in the middle of a
// request, beside a load; when they have gone the broker holds what it held before (C17).
func TestR39ManyConnectionsComeAndGo(t *testing.T) {
	b := harness.StartBroker(t, quick("max.connection.creation.rate=5000")...)
	shape := load.W1()
	shape.Rate = 1000
	l := load.Start(t, b.Address, "r39", shape)
	l.Wait(ackLimit, acksBefore)
	var before, after verify.Resources
	harness.Until(t, startLimit, "resources", func() (err error) { before, err = resources(t, b); return err })
	for more := until(t, time.Second, 1); more(); {
		l.Fault(verify.Disturbance{Kind: "connections", Progress: true}, func() {
			churn(t, b, 1500)
			l.Wait(ackLimit, acksAfter)
		})
	}
	harness.Until(t, startLimit, "connections given back", func() (err error) {
		if after, err = resources(t, b); err == nil && (after.Files > before.Files+5 || after.Goroutines > before.Goroutines+5) {
			err = fmt.Errorf("%+v, before %+v", after, before)
		}
		return err
	})
	t.Logf("before %+v, after %+v", before, after)
	h := l.Finish()
	h.Before, h.After = &before, &after
	h.Expect = &verify.Expect{Faults: 1, Before: acksBefore, During: 100}
	judge(t, h)
}

// churn opens n connections, a hundred at a time, and closes them: after nothing, after
// half a frame, or after a frame that is none.
func churn(t *testing.T, b *harness.Broker, n int) {
	t.Helper()
	sent := [][]byte{nil, {0, 0}, {0, 0, 1, 0, 0, 18, 0, 3}, []byte("GET / HTTP/1.1\r\n\r\n")}
	var open []net.Conn
	for i := range n {
		c, err := net.DialTimeout("tcp", b.Address, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(sent[i%len(sent)]) // the broker may have hung up
		if open = append(open, c); len(open) == 100 || i == n-1 {
			for _, c := range open {
				c.Close()
			}
			open = open[:0]
		}
	}
}

// resources asks the broker what it holds.
func resources(t *testing.T, b *harness.Broker) (verify.Resources, error) {
	page, err := b.HTTPGet("/debug/pprof/goroutine?debug=1")
	if err != nil {
		return verify.Resources{}, err
	}
	r := verify.Resources{Files: b.OpenFiles(t)} // memory needs a soak to say anything
	_, err = fmt.Sscanf(string(page), "goroutine profile: total %d", &r.Goroutines)
	return r, err
}
