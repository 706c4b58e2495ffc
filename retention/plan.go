package retention

import "math"

// Plan decides. It never asks for more than needed (I24) nor for what is not safe.
func Plan(p Policy, s State) Decision {
	d := Decision{LogStart: s.LogStart, LocalStart: s.LocalStart, Reasons: make([]Reason, len(s.Segments))}
	for i, x := range s.Segments {
		d.Reasons[i] = Reason{Base: x.Base, Action: Keep}
	}
	if (p.Tiered || p.Withdraw) && !s.RemoteKnown {
		for i := range d.Reasons {
			d.Reasons[i].Expiry.Held = HeldRemote
		}
		return d
	}
	first := p.expire(&d, s)
	if p.Withdraw {
		withdraw(&d, s, first)
	}
	d.LocalStart = max(d.LocalStart, d.LogStart)
	if p.Tiered {
		p.trim(&d, s, first)
	}
	return d
}

// withdraw lets go of what is in the bucket, and so of the records from first on that are
// nowhere else (KIP-950).
func withdraw(d *Decision, s State, first int) {
	for i := first; i < len(s.Segments); i++ {
		x, r := s.Segments[i], &d.Reasons[i]
		if !x.Tiered {
			continue
		}
		d.Withdraw, d.LogStart = true, max(d.LogStart, s.LocalStart)
		r.Action, r.Expiry = Withdraw, Verdict{Due: true, By: keyWithdraw, Room: Unlimited}
		if !x.Local {
			r.Action = Expire
		}
	}
}

// limit is a pair of limits with the keys that set them.
type limit struct {
	ms, bytes       int64
	msKey, bytesKey string
}

// whole is the limit of both tiers together.
func (p Policy) whole() limit {
	if !p.Delete {
		return limit{Unlimited, Unlimited, keyMs, keyBytes}
	}
	return limit{p.Ms, p.Bytes, keyMs, keyBytes}
}

// local is the limit of this disk. What inherits, inherits the setting: a compacted topic
// that deletes nothing is still trimmed.
func (p Policy) local() limit {
	l := limit{p.LocalMs, p.LocalBytes, keyLocalMs, keyLocalBytes}
	if l.ms == Inherit {
		l.ms, l.msKey = p.Ms, keyMs
	}
	if l.bytes == Inherit {
		l.bytes, l.bytesKey = p.Bytes, keyBytes
	}
	return l
}

// expire raises the log start over the oldest segments that a limit of the whole lets go.
// It returns the index of the first that stays.
func (p Policy) expire(d *Decision, s State) int {
	l := p.whole()
	behind := int64(0)
	for i := len(s.Segments) - 1; i >= 0; i-- {
		d.Reasons[i].Expiry = l.judge(s.Segments[i], behind, s.Now)
		behind += s.Segments[i].Size
	}
	first := 0
	for ; first < len(s.Segments); first++ {
		x, r := s.Segments[first], &d.Reasons[first]
		if x.Next <= s.LogStart && x.Sealed {
			r.Action, r.Expiry = Expire, Verdict{Due: true, By: ByLogStart, Room: Unlimited}
			continue
		}
		if !r.Expiry.Due {
			break
		}
		if x.Next > s.HighWatermark {
			r.Expiry.Held = HeldHighWatermark
			break
		}
		if !x.Sealed {
			r.Expiry.Held = HeldActive
			if x.Size > 0 {
				d.Roll, r.Action = true, Roll
			}
			break
		}
		r.Action = Expire
		d.LogStart = max(d.LogStart, x.Next)
	}
	for i := first + 1; i < len(s.Segments); i++ {
		if v := &d.Reasons[i].Expiry; v.Due {
			v.Held = HeldOrder
		}
	}
	return first
}

// trim raises the local start over the oldest segments from first on that are in the
// bucket and that a local limit lets go.
func (p Policy) trim(d *Decision, s State, first int) {
	l := p.local()
	behind := int64(0)
	for i := len(s.Segments) - 1; i >= first; i-- {
		if x := s.Segments[i]; x.Local {
			d.Reasons[i].Trim = l.judge(x, behind, s.Now)
			behind += x.Size
		}
	}
	stays := false // a segment that stays on the disk: what follows stays, too
	for i := first; i < len(s.Segments); i++ {
		x, r := s.Segments[i], &d.Reasons[i]
		switch {
		case !x.Local:
			continue
		case !r.Trim.Due:
			stays = true
			continue
		case stays:
			r.Trim.Held = HeldOrder
		case !x.Sealed:
			r.Trim.Held = HeldActive
		case !x.Tiered || x.Next > s.TieredEnd:
			r.Trim.Held = HeldCopy
		default:
			r.Action = Trim
			d.LocalStart = max(d.LocalStart, x.Next)
			continue
		}
		stays = true
	}
}

// judge says whether the limit lets a segment go that has so many bytes behind it, and
// if not yet, when.
func (l limit) judge(x Segment, behind, now int64) Verdict {
	v := Verdict{Room: Unlimited}
	if l.bytes >= 0 {
		v.Room, v.RoomBy = max(0, l.bytes-behind), l.bytesKey
	}
	at, timed := l.expiry(x)
	if timed {
		v.By, v.At = l.msKey, at
	}
	switch {
	case timed && at <= now:
		v.Due = true
	case v.Room == 0:
		v.Due, v.By, v.At = true, l.bytesKey, 0
	case !timed && v.Room > 0:
		v.By = l.bytesKey
	}
	return v
}

// expiry returns the first moment (ms) at which a segment is older than the limit: its
// newest record, though not newer than its last append (B19).
func (l limit) expiry(x Segment) (int64, bool) {
	if l.ms < 0 {
		return 0, false
	}
	newest := min(x.MaxTimestamp, x.Modified)
	if x.MaxTimestamp < 0 {
		newest = x.Modified
	}
	if newest > math.MaxInt64-l.ms-1 {
		return 0, false
	}
	return newest + l.ms + 1, true
}
