package retention

import (
	"cmp"
	"math/rand/v2"
	"testing"
)

const (
	now  = int64(1_000_000)
	none = Unlimited
)

// segments are four of 100 bytes and 10 offsets, 400 ms apart; the last is active.
func segments(tiered int) []Segment {
	var all []Segment
	for i := range 4 {
		ts := now - int64(4-i)*400
		all = append(all, Segment{
			Base: int64(i) * 10, Next: int64(i+1) * 10, Size: 100, MaxTimestamp: ts, Modified: ts,
			Local: true, Tiered: i < tiered, Sealed: i < 3,
		})
	}
	return all
}

// why is what decides of a segment, in one word.
func why(r Reason) string {
	_, v := r.Next()
	return cmp.Or(string(v.Held), v.By, "no limit")
}

func TestPlan(t *testing.T) {
	cases := []struct {
		name             string
		policy           Policy
		edit             func(*State)
		logStart         int64
		localStart       int64
		roll             bool
		firstAction      Action
		firstSetting     string
		tiered           int
		remoteUnknown    bool
		beforeTieredEnds bool
	}{
		{name: "keeps all without limits", policy: Policy{Delete: true, Ms: none, Bytes: none}, firstAction: Keep, firstSetting: "no limit"},
		{name: "expires by time what is older, not what is exactly as old",
			policy: Policy{Delete: true, Ms: 1200, Bytes: none}, logStart: 10, localStart: 10, firstAction: Expire, firstSetting: keyMs},
		{name: "I24 expires by size only while what is left reaches the limit",
			policy: Policy{Delete: true, Ms: none, Bytes: 250}, logStart: 10, localStart: 10, firstAction: Expire, firstSetting: keyBytes},
		{name: "a limit of exactly the size of what is left lets the segment go",
			policy: Policy{Delete: true, Ms: none, Bytes: 300}, logStart: 10, localStart: 10, firstAction: Expire, firstSetting: keyBytes},
		{name: "does not delete a compacted topic's segments", policy: Policy{Ms: 0, Bytes: 0}, firstAction: Keep, firstSetting: "no limit"},
		{name: "rolls the active segment when all has expired, as Kafka does",
			policy: Policy{Delete: true, Ms: 100, Bytes: none}, logStart: 30, localStart: 30, roll: true, firstAction: Expire, firstSetting: keyMs},
		{name: "does not roll an empty active segment", policy: Policy{Delete: true, Ms: 100, Bytes: none},
			edit:     func(s *State) { s.Segments[3].Size, s.Segments[3].Next = 0, 30 },
			logStart: 30, localStart: 30, firstAction: Expire, firstSetting: keyMs},
		{name: "does not pass the high watermark", policy: Policy{Delete: true, Ms: 100, Bytes: none},
			edit: func(s *State) { s.HighWatermark = 25 }, logStart: 20, localStart: 20, firstAction: Expire, firstSetting: keyMs},
		{name: "B19 a stamp in the future counts as the time of the append",
			policy: Policy{Delete: true, Ms: 1200, Bytes: none},
			edit:   func(s *State) { s.Segments[0].MaxTimestamp = now * 1000 }, logStart: 10, localStart: 10, firstAction: Expire, firstSetting: keyMs},
		{name: "no timestamp counts as the time of the append", policy: Policy{Delete: true, Ms: 1200, Bytes: none},
			edit: func(s *State) { s.Segments[0].MaxTimestamp = -1 }, logStart: 10, localStart: 10, firstAction: Expire, firstSetting: keyMs},
		{name: "stops at the first that is not old enough", policy: Policy{Delete: true, Ms: 500, Bytes: none},
			edit: func(s *State) { s.Segments[0].MaxTimestamp, s.Segments[0].Modified = now, now }, firstAction: Keep, firstSetting: keyMs},
		{name: "I16 trims only what is in the bucket", policy: Policy{Delete: true, Ms: none, Bytes: none, LocalMs: 0, LocalBytes: none, Tiered: true},
			tiered: 2, localStart: 20, firstAction: Trim, firstSetting: keyLocalMs},
		{name: "I16 I20 trims nothing where nothing is in the bucket", policy: Policy{Delete: true, Ms: none, Bytes: none, LocalMs: 0, LocalBytes: 0, Tiered: true},
			firstAction: Keep, firstSetting: string(HeldCopy)},
		{name: "trims by size", policy: Policy{Delete: true, Ms: none, Bytes: none, LocalMs: none, LocalBytes: 150, Tiered: true},
			tiered: 3, localStart: 20, firstAction: Trim, firstSetting: keyLocalBytes},
		{name: "inherits the limits of the whole", policy: Policy{Delete: true, Ms: none, Bytes: 250, LocalMs: Inherit, LocalBytes: Inherit, Tiered: true},
			tiered: 3, logStart: 10, localStart: 10, firstAction: Expire, firstSetting: keyBytes},
		{name: "never trims the active segment", policy: Policy{Delete: true, Ms: none, Bytes: none, LocalMs: 0, LocalBytes: 0, Tiered: true},
			tiered: 3, localStart: 30, firstAction: Trim, firstSetting: keyLocalMs},
		{name: "KIP-950 withdraws what is on the disk, too, and keeps it there", policy: Policy{Delete: true, Ms: none, Bytes: none, Withdraw: true},
			tiered: 2, firstAction: Withdraw, firstSetting: keyWithdraw},
		{name: "KIP-950 lets go of what is in the bucket only", policy: Policy{Delete: true, Ms: none, Bytes: none, Withdraw: true},
			tiered: 2, edit: func(s *State) { s.Segments[0].Local, s.LocalStart = false, 10 },
			logStart: 10, localStart: 10, firstAction: Expire, firstSetting: keyWithdraw},
		{name: "KIP-950 withdraws nothing where nothing is in the bucket", policy: Policy{Delete: true, Ms: none, Bytes: none, Withdraw: true},
			firstAction: Keep, firstSetting: "no limit"},
		{name: "I23 withdraws nothing before the bucket is known", policy: Policy{Delete: true, Ms: none, Bytes: none, Withdraw: true},
			tiered: 2, remoteUnknown: true, firstAction: Keep, firstSetting: string(HeldRemote)},
		{name: "trims a compacted tiered topic", policy: Policy{Ms: none, Bytes: none, LocalMs: 0, LocalBytes: none, Tiered: true},
			tiered: 3, localStart: 30, firstAction: Trim, firstSetting: keyLocalMs},
		{name: "I23 I25 I26 nothing goes while the remote log is not known",
			policy: Policy{Delete: true, Ms: 0, Bytes: 0, LocalMs: 0, LocalBytes: 0, Tiered: true}, remoteUnknown: true,
			tiered: 3, firstAction: Keep, firstSetting: string(HeldRemote)},
		{name: "I17 trims no further than the tiered end",
			policy: Policy{Delete: true, Ms: none, Bytes: none, LocalMs: 0, LocalBytes: none, Tiered: true}, tiered: 3, beforeTieredEnds: true,
			localStart: 20, firstAction: Trim, firstSetting: keyLocalMs},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := State{Segments: segments(c.tiered), HighWatermark: 40, TieredEnd: int64(c.tiered) * 10, RemoteKnown: !c.remoteUnknown, Now: now}
			if c.beforeTieredEnds {
				s.TieredEnd -= 5
			}
			if c.edit != nil {
				c.edit(&s)
			}
			d := Plan(c.policy, s)
			if d.LogStart != c.logStart || d.LocalStart != c.localStart || d.Roll != c.roll {
				t.Errorf("got start %d, local %d, roll %v; want %d, %d, %v", d.LogStart, d.LocalStart, d.Roll, c.logStart, c.localStart, c.roll)
			}
			if r := d.Reasons[0]; r.Action != c.firstAction || why(r) != c.firstSetting {
				t.Errorf("first segment: %+v, want %s by %s", r, c.firstAction, c.firstSetting)
			}
			if len(d.Reasons) != len(s.Segments) {
				t.Errorf("%d reasons for %d segments", len(d.Reasons), len(s.Segments))
			}
		})
	}
}

func TestPlanSaysWhenAKeptSegmentWillExpire(t *testing.T) {
	s := State{Segments: segments(0), HighWatermark: 40, RemoteKnown: true, Now: now}
	d := Plan(Policy{Delete: true, Ms: 5000, Bytes: none}, s)
	for i, r := range d.Reasons {
		at := s.Segments[i].MaxTimestamp + 5001
		if next, v := r.Next(); r.Action != Keep || next != Expire || v.By != keyMs || v.At != at || v.Due || v.Held != "" {
			t.Errorf("segment %d: %+v, want at %d", i, r, at)
		}
		s.Now = at - 1
		if Plan(Policy{Delete: true, Ms: 5000, Bytes: none}, s).LogStart > s.Segments[i].Base {
			t.Errorf("segment %d went a moment early", i)
		}
		s.Now = at
		if got := Plan(Policy{Delete: true, Ms: 5000, Bytes: none}, s); got.LogStart < s.Segments[i].Next && s.Segments[i].Sealed {
			t.Errorf("segment %d did not go at %d", i, at)
		}
	}
}

// TestI24PlanAsksForNoMoreThanNeeded holds the rules against random partitions.
func TestI24PlanAsksForNoMoreThanNeeded(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		s := State{Now: now, RemoteKnown: true}
		tiered := r.IntN(8)
		trimmed := r.IntN(tiered + 1)
		n := 1 + max(tiered, r.IntN(10))
		for i := range n {
			base := int64(i) * 10
			s.Segments = append(s.Segments, Segment{
				Base: base, Next: base + 10, Size: 1 + r.Int64N(200), MaxTimestamp: now - r.Int64N(1000), Modified: now - r.Int64N(1000),
				Local: i >= trimmed, Tiered: i < tiered, Sealed: i < n-1,
			})
		}
		s.TieredEnd, s.LocalStart = int64(tiered)*10, int64(trimmed)*10
		s.HighWatermark = max(0, int64(n)*10-r.Int64N(15))
		limit := func() int64 { return r.Int64N(1200) - 1 }
		p := Policy{Delete: r.IntN(4) > 0, Ms: limit(), Bytes: limit(), LocalMs: limit() - 1, LocalBytes: limit() - 1, Tiered: tiered > 0}
		if r.IntN(4) == 0 {
			p.Tiered, p.Withdraw = false, true
			s.HighWatermark = max(s.HighWatermark, s.TieredEnd)
		}
		d := Plan(p, s)
		for i, r := range d.Reasons {
			held := (!r.Expiry.Due || r.Expiry.Held != "") && (!r.Trim.Due || r.Trim.Held != "")
			if (r.Action == Keep) != held && r.Action != Roll {
				t.Fatalf("segment %d: %+v", i, r)
			}
		}

		if d.LogStart > s.HighWatermark || d.LogStart < s.LogStart || d.LocalStart < s.LocalStart {
			t.Fatalf("%+v of %+v, %+v", d, p, s)
		}
		if d.LocalStart > max(s.TieredEnd, d.LogStart, s.LocalStart) {
			t.Fatalf("I17: local start %d above tiered end %d and log start %d", d.LocalStart, s.TieredEnd, d.LogStart)
		}
		left, copied := int64(0), false
		for i, x := range s.Segments {
			left += x.Size
			copied = copied || x.Tiered && x.Next > d.LogStart
			if a := d.Reasons[i].Action; a == Withdraw && (!x.Tiered || !x.Local) {
				t.Fatalf("withdrawn: %+v", x)
			}
		}
		if d.Withdraw && !p.Withdraw || p.Withdraw && copied && !d.Withdraw || d.Withdraw && d.LogStart < s.LocalStart {
			t.Fatalf("withdraw %v, with segments in the bucket: %v; log start %d, local start %d", d.Withdraw, copied, d.LogStart, s.LocalStart)
		}
		if p.Withdraw { // what it lets go besides, it does by the same limits
			if settled, _ := Settle(p, s); len(settled) > 0 {
				_, rest := Settle(p, s)
				if again := Plan(p, rest); again.Withdraw {
					t.Fatalf("withdrawn twice: %+v", again)
				}
			}
			continue
		}
		for i, x := range s.Segments {
			left -= x.Size
			if x.Next > d.LogStart {
				break
			}
			old := p.Ms >= 0 && min(x.MaxTimestamp, x.Modified) < now-p.Ms
			if !p.Delete || !old && (p.Bytes < 0 || left < p.Bytes) {
				t.Fatalf("I24: segment %d of %d bytes went, %d are behind it: %+v", i, x.Size, left, p)
			}
			if !x.Sealed {
				t.Fatalf("the active segment went: %+v", d)
			}
		}
	}
}
