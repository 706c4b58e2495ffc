package auth

import "time"

// window sums what was used in the last n samples, each of the length size: the one under
// way and n-1 before it.
//
//	┌────┬────┬────┬────┬──┄┄┐
//	│    │    │    │    │ now│      n = 5
//	└────┴────┴────┴────┴──┄┄┘
//	◄────── elapsed ───────►
type window struct {
	size    time.Duration
	samples []float64 // by number of the sample, modulo n
	newest  int64     // number of the newest sample
	total   float64   // of samples
}

func newWindow(n int, size time.Duration) *window {
	return &window{size: size, samples: make([]float64, n)}
}

// advance forgets what is too old at now.
func (w *window) advance(now time.Time) {
	at := now.UnixNano() / int64(w.size)
	if at <= w.newest {
		return // also where the clock was set back
	}
	if at-w.newest >= int64(len(w.samples)) {
		clear(w.samples)
		w.newest, w.total = at, 0
		return
	}
	for w.newest < at {
		w.newest++
		w.samples[w.newest%int64(len(w.samples))] = 0
	}
	w.total = 0
	for _, s := range w.samples { // summed anew, lest rounding add up
		w.total += s
	}
}

// add counts value.
func (w *window) add(value float64) {
	w.samples[w.newest%int64(len(w.samples))] += value
	w.total += value
}

// elapsed is the time that total covers at now, to which advance has come.
func (w *window) elapsed(now time.Time) time.Duration {
	into := time.Duration(now.UnixNano() - w.newest*int64(w.size))
	return time.Duration(len(w.samples)-1)*w.size + min(max(into, 0), w.size)
}

// wait is how long to wait until total, and more beside it, is no more than rate allows for
// the time since the window's begin. Kafka's rule: that the window moves on meanwhile, and
// forgets, is left for the next time.
func (w *window) wait(more, rate float64, now time.Time) time.Duration {
	return seconds((w.total+more)/rate - w.elapsed(now).Seconds())
}

func (w *window) idle() bool { return w.total == 0 }

// bucket holds tokens, which come back at the rate of the quota (KIP-599). It may owe some.
type bucket struct {
	tokens float64
	filled time.Time
}

// fill lets tokens come back, most of them at most.
func (b *bucket) fill(rate, most float64, now time.Time) {
	if b.filled.IsZero() {
		b.tokens = most
	} else if d := now.Sub(b.filled); d > 0 {
		b.tokens += rate * d.Seconds()
	}
	b.tokens, b.filled = min(b.tokens, most), now
}

// wait is how long it takes until nothing is owed.
func (b *bucket) wait(rate float64) time.Duration { return seconds(-b.tokens / rate) }

// forever bounds a wait: a response counts milliseconds in 32 bits.
const forever = 24 * time.Hour

// seconds is s as a time to wait, rounded to milliseconds as in Kafka: from 0 to forever.
func seconds(s float64) time.Duration {
	switch {
	case !(s > 0):
		return 0
	case s >= forever.Seconds():
		return forever
	}
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond)
}
