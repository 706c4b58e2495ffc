package auth

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// epoch lies within a sample.
var epoch = time.UnixMilli(1_700_000_000_250)

var kafkas = Options{Windows: 11, Window: time.Second, MutationWindows: 11, MutationWindow: time.Second}

// limited returns a Limiter with one quota, of all users.
func limited(k Kind, rate float64) *Limiter {
	l := NewLimiter(kafkas)
	l.SetQuotas(NewQuotas(map[Entity]map[string]float64{{User: Default}: {k.String(): rate}, {IP: Default}: {k.String(): rate}}))
	return l
}

func wantWait(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if got != want {
		t.Errorf("%s: wait %s, want %s", what, got, want)
	}
}

// What was used in the windows is divided by their time, of which the last is under way.
func TestWaitIsUntilTheQuotaGrantsWhatWasUsed(t *testing.T) { // KIP-13, KIP-219
	l := limited(ProducerBytes, 1000)
	record := func(bytes float64, at time.Duration) time.Duration {
		return l.Record(ProducerBytes, "u", "c", bytes, epoch.Add(at))
	}
	wantWait(t, "below", record(10_000, 0), 0)
	wantWait(t, "above: 11,250 bytes in 10.25 s", record(1_250, 0), time.Second)
	wantWait(t, "after that time: the same in 10.25 s, the clock is in the next window", record(0, time.Second), time.Second)
	wantWait(t, "in the last window", record(0, 10*time.Second), time.Second)
	wantWait(t, "when the window is over", record(0, 11*time.Second), 0)
	wantWait(t, "another user", l.Record(ProducerBytes, "v", "c", 10_000, epoch), 0)
	wantWait(t, "the same user's other client", l.Record(ProducerBytes, "v", "d", 10_000, epoch), 9_750*time.Millisecond)
	wantWait(t, "another kind", l.Record(ConsumerBytes, "u", "c", 1e9, epoch), 0)
	wantWait(t, "more than ever", l.Record(ProducerBytes, "w", "c", math.MaxFloat64, epoch), forever)
	if got := l.Waits(ProducerBytes); got.Count != 5 {
		t.Errorf("%d waits are counted, want 5", got.Count)
	}
}

func TestTimeIsPaidForByOneWindowAtMost(t *testing.T) { // KIP-124
	l := limited(RequestPercentage, 1)
	wantWait(t, "1 s of processor at 1 %", l.Record(RequestPercentage, "u", "c", 100, epoch), time.Second)
}

func TestWhatIsNotAdmittedIsNotCounted(t *testing.T) {
	l := limited(ConsumerBytes, 1000)
	admit := func(bytes float64, at time.Duration) time.Duration {
		return l.Admit(ConsumerBytes, "u", "c", bytes, epoch.Add(at))
	}
	wantWait(t, "below", admit(10_000, 0), 0)
	for range 3 {
		wantWait(t, "above", admit(1_250, 0), time.Second)
	}
	wantWait(t, "less", admit(250, 0), 0)
	if got := l.Grant(ConsumerBytes, "u", "c"); got != 10_000 {
		t.Errorf("%v at once, want 10 windows of the quota", got)
	}
	if got := l.Grant(ProducerBytes, "u", "c"); !math.IsInf(got, 1) {
		t.Errorf("%v at once of what has no quota", got)
	}
}

// A batch that is larger than all windows grant would otherwise never be read.
func TestTooMuchIsAdmittedByItself(t *testing.T) {
	l := limited(ConsumerBytes, 10)
	wantWait(t, "alone", l.Admit(ConsumerBytes, "u", "c", 1000, epoch), 0)
	wantWait(t, "beside another", l.Admit(ConsumerBytes, "u", "c", 1000, epoch), 200*time.Second-10_250*time.Millisecond)
}

func TestConnectionsOfAnAddressWaitForOneWindowAtMost(t *testing.T) { // KIP-612
	l := limited(ConnectionCreation, 1)
	for i := range 10 {
		wantWait(t, fmt.Sprintf("connection %d", i), l.AdmitConnection("10.0.0.1", epoch), 0)
	}
	wantWait(t, "one more", l.AdmitConnection("10.0.0.1", epoch), 750*time.Millisecond)
	wantWait(t, "of another address", l.AdmitConnection("10.0.0.2", epoch), 0)
	l.SetQuotas(new(Quotas))
	wantWait(t, "without a quota", l.AdmitConnection("10.0.0.1", epoch), 0)
}

// Tokens of all windows are there at first; whoever owes is refused, or let through and
// told to wait where they could not read the refusal.
func TestMutationsTakeTokens(t *testing.T) { // KIP-599
	for _, strict := range []bool{true, false} {
		l := limited(ControllerMutations, 2)
		mutate := func(n int, at time.Duration, wait time.Duration, refused bool) {
			t.Helper()
			got, no := l.Mutate("u", "c", n, strict, epoch.Add(at))
			if got != wait || no != refused {
				t.Errorf("strict %v, %d at %s: wait %s, refused %v; want %s, %v", strict, n, at, got, no, wait, refused)
			}
		}
		mutate(20, 0, 0, false) // of 22
		if strict {
			mutate(6, 0, 0, false) // the last that is let through may owe
			mutate(1, 0, 2*time.Second, true)
			mutate(1, time.Second, time.Second, true)
			mutate(1, 2*time.Second, 0, false)
			mutate(1, time.Hour, 0, false)
			continue
		}
		mutate(6, 0, 2*time.Second, false)
		mutate(1, 0, 2500*time.Millisecond, false)
		mutate(1, time.Hour, 0, false)
	}
}

// What is admitted only within the quota (Fetch) stays within it for any eleven samples. What
// is let in and then waited for (Produce) may exceed it by one request of each connection,
// and by another whenever a sample ends during a wait.
func TestAdmittedBytesStayWithinTheQuota(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		run := quotaRun{fetching: seed%2 == 0, rate: math.Exp(r.Float64() * 14), connections: 1 + r.IntN(4)}
		run.largest = run.rate * math.Exp(r.Float64()*6-3)
		used := run.do(r)
		beyond := 0.0
		if !run.fetching {
			beyond = float64(run.connections) * run.largest
		}
		all := time.Duration(kafkas.Windows) * kafkas.Window
		span := all - kafkas.Window // lies within all samples
		sum, total, from := 0.0, 0.0, 0
		for i, u := range used {
			for ; used[from].at <= u.at-span; from++ {
				sum -= used[from].bytes
			}
			sum, total = sum+u.bytes, total+u.bytes
			if most := run.rate*all.Seconds() + float64(kafkas.Windows+1)*beyond; sum > most*1.001 {
				t.Fatalf("seed %d, %+v: %.0f bytes in the %s before %s, want at most %.0f", seed, run, sum, span, used[i].at, most)
			}
		}
		// Who always has something to send gets what is granted.
		if least := run.rate * (used[len(used)-1].at - all).Seconds() * 0.9; run.largest < run.rate && total < least {
			t.Errorf("seed %d, %+v: %.0f bytes, want at least %.0f", seed, run, total, least)
		}
	}
}

// quotaRun is connections of one client that send whenever they may.
type quotaRun struct {
	fetching      bool
	rate, largest float64
	connections   int
}

// use is what was admitted, and when.
type use struct {
	at    time.Duration
	bytes float64
}

func (q quotaRun) do(r *rand.Rand) []use {
	k := ProducerBytes
	if q.fetching {
		k = ConsumerBytes
	}
	l := limited(k, q.rate)
	var used []use
	free := make([]time.Duration, q.connections) // when each may send again
	for range 2000 {
		c := 0
		for i := range free {
			if free[i] < free[c] {
				c = i
			}
		}
		at, bytes := free[c], q.largest*r.Float64()
		var wait time.Duration
		if q.fetching {
			bytes = min(bytes, l.Grant(k, "u", "c"))
			wait = l.Admit(k, "u", "c", bytes, epoch.Add(at))
		} else {
			wait = l.Record(k, "u", "c", bytes, epoch.Add(at))
		}
		if wait == 0 || !q.fetching {
			used = append(used, use{at, bytes})
		}
		free[c] += max(wait, time.Duration(1+r.IntN(10))*time.Millisecond)
	}
	return used
}

func TestIdleClientsAreForgotten(t *testing.T) {
	l := NewLimiter(kafkas)
	l.SetQuotas(NewQuotas(map[Entity]map[string]float64{{ClientID: Default}: {"producer_byte_rate": 1, "controller_mutation_rate": 1}}))
	now := epoch
	for i := range 100 {
		l.Record(ProducerBytes, "u", fmt.Sprint(i), 1e6, now)
		l.Mutate("u", fmt.Sprint(i), 1, true, now)
	}
	now = now.Add(time.Duration(kafkas.Windows) * kafkas.Window)
	l.Record(ProducerBytes, "u", "new", 1, now)
	if got := len(l.sensors); got != 1 {
		t.Errorf("%d clients are remembered, want 1", got)
	}
}

func TestClientsBeyondTheLimitShareOneSensor(t *testing.T) {
	l := NewLimiter(kafkas)
	l.most = 10
	l.SetQuotas(NewQuotas(map[Entity]map[string]float64{{ClientID: Default}: {"producer_byte_rate": 1000}}))
	for i := range 10 {
		wantWait(t, "one of the first", l.Record(ProducerBytes, "u", fmt.Sprint(i), 10_000, epoch), 0)
	}
	wantWait(t, "the first beyond", l.Record(ProducerBytes, "u", "a", 10_000, epoch), 0)
	wantWait(t, "the next", l.Record(ProducerBytes, "u", "b", 10_000, epoch), 9_750*time.Millisecond)
	for i := range 1000 {
		l.Record(ProducerBytes, "u", fmt.Sprint("c", i), 1, epoch)
	}
	if got := len(l.sensors); got != 11 {
		t.Errorf("%d sensors, want 10 and the one that is shared", got)
	}
}

// TestLongNamesAreNotKept: clients call themselves what they like, and each sensor would
// keep up to 32 KiB of it.
func TestLongNamesAreNotKept(t *testing.T) {
	l := NewLimiter(kafkas)
	l.SetQuotas(NewQuotas(map[Entity]map[string]float64{{ClientID: Default}: {"producer_byte_rate": 1000}}))
	name := func(last string) string { return strings.Repeat("n", 1<<15-2) + last }
	wantWait(t, "a long name", l.Record(ProducerBytes, "u", name("a"), 10_000, epoch), 0)
	wantWait(t, "another", l.Record(ProducerBytes, "u", name("b"), 10_000, epoch), 0)
	wantWait(t, "the first again", l.Record(ProducerBytes, "u", name("a"), 10_000, epoch), 9_750*time.Millisecond)
	for key := range l.sensors {
		if n := len(key.entity.ClientID.name); n > maxSensorName {
			t.Errorf("a name of %d bytes is kept", n)
		}
	}
}

func TestQuotaMayChangeAtAnyTime(t *testing.T) {
	l := limited(ProducerBytes, 1000)
	l.Record(ProducerBytes, "u", "c", 10_000, epoch)
	l.SetQuotas(NewQuotas(map[Entity]map[string]float64{{User: Default}: {"producer_byte_rate": 500}}))
	wantWait(t, "half of it", l.Record(ProducerBytes, "u", "c", 0, epoch), 9_750*time.Millisecond)
	l.SetQuotas(new(Quotas))
	wantWait(t, "none", l.Record(ProducerBytes, "u", "c", 1e9, epoch), 0)
	if l.Limits(ProducerBytes) {
		t.Error("there is a quota though none is set")
	}
}

func TestConcurrentUseIsCountedWhole(t *testing.T) {
	l := limited(ProducerBytes, 1)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				l.Record(ProducerBytes, "u", "c", 1, epoch)
			}
		})
	}
	all.Wait()
	wantWait(t, "800 bytes", l.Record(ProducerBytes, "u", "c", 0, epoch), 800*time.Second-10_250*time.Millisecond)
}

// A clock that is set back neither frees anybody nor holds anybody up for long.
func TestClockMayGoBack(t *testing.T) {
	l := limited(ProducerBytes, 1000)
	l.Record(ProducerBytes, "u", "c", 10_000, epoch)
	wantWait(t, "an hour before", l.Record(ProducerBytes, "u", "c", 1_000, epoch.Add(-time.Hour)), time.Second)
}

func BenchmarkNoQuotaIsSet(b *testing.B) {
	l := NewLimiter(kafkas)
	b.ReportAllocs()
	for b.Loop() {
		if l.Limits(ProducerBytes) {
			b.Fatal("there is none")
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	l := limited(ProducerBytes, 1e12)
	b.ReportAllocs()
	now := epoch
	for b.Loop() {
		now = now.Add(time.Microsecond)
		l.Record(ProducerBytes, "ANONYMOUS", "client", 1000, now)
	}
}
