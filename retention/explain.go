package retention

import "slices"

// ByLogStart stands where a key would: the segment lies below the log start offset,
// which DeleteRecords or an earlier pass has raised.
const ByLogStart = "log start offset"

// Hold is what keeps a segment though a limit lets it go.
type Hold string

// The holds.
const (
	HeldOrder         Hold = "an older segment is kept"
	HeldHighWatermark Hold = "not all of it is below the high watermark"
	HeldActive        Hold = "it is still written to"
	HeldCopy          Hold = "it is not in the bucket yet"
	HeldRemote        Hold = "what is in the bucket is not known yet"
)

// Verdict is what a pair of limits, one of age and one of size, says of a segment.
type Verdict struct {
	Due    bool
	By     string // key of the limit by which it is due, or will be; "": nothing limits it
	At     int64  // ms: when the limit of age lets it go; 0: By is no limit of age
	Room   int64  // bytes that may be appended before the limit of size lets it go; -1: no such limit
	RoomBy string // its key
	Held   Hold   // why it stays though it is due; "": it is not due, or it goes
}

// Reason says for one segment what Plan does with it now, and what its limits say.
//
// Invariant: Action is Keep if and only if each verdict that is due is held.
type Reason struct {
	Base   int64
	Action Action
	Expiry Verdict // of the limits of both tiers together
	Trim   Verdict // of the limits of this disk; zero where it is not on it, or goes from both
}

// Next returns what happens to the segment first: what Plan does now, or else what its
// limits will do. Keep: nothing ever does, or what would is held.
func (r Reason) Next() (Action, Verdict) {
	switch e, t := r.Expiry, r.Trim; {
	case r.Action == Trim:
		return Trim, t
	case r.Action != Keep:
		return r.Action, e
	case e.Held != "":
		return Keep, e
	case t.Held != "":
		return Keep, t
	case t.At > 0 && (e.At == 0 || t.At < e.At), e.By == "" && t.By != "":
		return Trim, t
	case e.By != "":
		return Expire, e
	default:
		return Keep, e
	}
}

// Effect is something that background work does to a segment.
type Effect struct {
	Base, Next int64
	Size       int64 // bytes
	Tiered     bool  // it is in the bucket: expiring it deletes an object
	Action     Action
	By         string // key of the setting, or ByLogStart
}

// Settle returns what retention does to a partition at one moment, and the state that is
// left then: the active segment is rolled first where Plan asks for it, then one plan is
// carried out. It changes no argument.
func Settle(p Policy, s State) ([]Effect, State) {
	var effects []Effect
	d := Plan(p, s)
	if n := len(d.Reasons) - 1; d.Roll {
		x := s.Segments[n]
		effects = append(effects, Effect{x.Base, x.Next, x.Size, x.Tiered, Roll, d.Reasons[n].Expiry.By})
		s = s.rolled()
		d = Plan(p, s)
	}
	for i, r := range d.Reasons {
		if r.Action == Expire || r.Action == Trim || r.Action == Withdraw {
			_, v := r.Next()
			x := s.Segments[i]
			effects = append(effects, Effect{x.Base, x.Next, x.Size, x.Tiered, r.Action, v.By})
		}
	}
	return effects, s.after(d)
}

// rolled is the state when the active segment has been sealed and another begun.
func (s State) rolled() State {
	s.Segments = slices.Clone(s.Segments)
	n := len(s.Segments) - 1
	s.Segments[n].Sealed = true
	end := s.Segments[n].Next
	s.Segments = append(s.Segments, Segment{Base: end, Next: end, MaxTimestamp: -1, Modified: s.Now, Local: true})
	return s
}

// after is the state when a decision has been carried out.
func (s State) after(d Decision) State {
	var kept []Segment
	for _, x := range s.Segments {
		switch {
		case x.Sealed && x.Next <= d.LogStart:
			continue
		case x.Sealed && x.Next <= d.LocalStart:
			x.Local = false
		}
		x.Tiered = x.Tiered && !d.Withdraw
		kept = append(kept, x)
	}
	s.Segments, s.LogStart, s.LocalStart = kept, d.LogStart, d.LocalStart
	if d.Withdraw {
		s.TieredEnd = d.LogStart
	}
	return s
}
