package verify_test

import (
	"runtime"
	"sync"
	"testing"

	"github.com/varvelog/varve/test/verify"
)

// long is a good history of about n operations: 8 producers, 64 partitions, sends that
// overlap, two readers, a tenth of it in transactions.
func long(n int) *verify.History {
	const producers, partitions = 8, 64
	h := &verify.History{Idempotent: true, Gaps: true, Sessions: []verify.Session{{ID: 1, Committed: true}, {ID: 2}}}
	h.Sends, h.Reads = make([]verify.Send, 0, n/3+1), make([]verify.Read, 0, n*2/3+2)
	for i := range n / 3 {
		s := verify.Send{
			Value: uint64(i + 1), Producer: int32(i % producers), Partition: int32(i % partitions), Offset: int64(i / partitions),
			Begun: int64(i*10 + 1), Ended: int64(i*10 + 200), Outcome: verify.OK,
		}
		if i%10 == 0 {
			s.Txn = uint32(i/100 + 1)
			if i%100 == 0 {
				h.Txns = append(h.Txns, verify.Txn{ID: s.Txn, End: verify.Commit, Outcome: verify.OK, Begun: s.Ended + 1000, Ended: s.Ended + 2000})
			}
		}
		h.Sends = append(h.Sends, s)
		for session := range int32(2) {
			h.Reads = append(h.Reads, verify.Read{Value: s.Value, Session: session + 1, Partition: s.Partition, Offset: s.Offset, At: s.Ended + 5000})
		}
	}
	return h
}

// TestCheckTakesAFixedNumberOfBytesForAnOperation bounds what Check holds at a time
// beside the history: ten million operations are to be judged on a small machine.
func TestCheckTakesAFixedNumberOfBytesForAnOperation(t *testing.T) {
	for _, n := range []int{30_000, 300_000} {
		h := long(n)
		if found := verify.Check(h); len(found) > 0 {
			t.Fatal(found)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		verify.Check(h)
		runtime.ReadMemStats(&after)
		if each := (after.TotalAlloc - before.TotalAlloc) / uint64(h.Operations()); each > 64 {
			t.Errorf("%d operations take %d bytes each", n, each)
		}
	}
}

// BenchmarkCheck judges ten million operations.
func BenchmarkCheck(b *testing.B) {
	h := long(verify.DefaultLimit)
	b.ReportAllocs()
	for b.Loop() {
		if found := verify.Check(h); len(found) > 0 {
			b.Fatal(found)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(h.Operations()), "ns/operation")
}

// TestRecorderOrdersEventsAndKeepsUnknownOutcomes logs from several goroutines: moments
// never repeat, and what did not end stays unknown.
func TestRecorderOrdersEventsAndKeepsUnknownOutcomes(t *testing.T) {
	const each = 100
	r := verify.NewRecorder(0)
	var all sync.WaitGroup
	for p := range int32(4) {
		all.Go(func() {
			for i := range int64(each) {
				ticket := r.Send(verify.Send{Value: uint64(p)*each + uint64(i) + 1, Producer: p, Partition: p})
				switch i % 3 {
				case 0:
					r.Sent(ticket, verify.OK, i)
				case 1:
					r.Sent(ticket, verify.Fail, -1)
				}
			}
		})
	}
	all.Wait()
	h, err := r.History()
	if err != nil {
		t.Fatal(err)
	}
	moments, outcomes := map[int64]bool{}, map[verify.Outcome]int{}
	for _, s := range h.Sends {
		outcomes[s.Outcome]++
		for _, at := range []int64{s.Begun, s.Ended} {
			if at != 0 && moments[at] {
				t.Errorf("moment %d twice", at)
			}
			moments[at] = true
		}
		if s.Outcome != verify.Info && s.Ended <= s.Begun {
			t.Errorf("%+v", s)
		}
	}
	if outcomes[verify.OK] != 4*34 || outcomes[verify.Fail] != 4*33 || outcomes[verify.Info] != 4*33 || r.Acked() != 4*34 {
		t.Errorf("%v, %d acknowledged", outcomes, r.Acked())
	}
}

// TestRecorderRefusesAHistoryThatWasCutOff: half a history would convict the innocent.
func TestRecorderRefusesAHistoryThatWasCutOff(t *testing.T) {
	r := verify.NewRecorder(3)
	r.Sent(r.Send(verify.Send{Value: 1}), verify.OK, 0)
	r.Read(verify.Read{Value: 1}, verify.Read{Value: 1})
	if _, err := r.History(); err != nil {
		t.Error(err)
	}
	r.Sent(r.Send(verify.Send{Value: 2}), verify.OK, 1)
	if _, err := r.History(); err == nil {
		t.Error("a history without room was handed out")
	}
}
