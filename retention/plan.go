package retention

import "math"

// Plan decides. It never asks for more than needed (I24) nor for what is not safe.
func Plan(p Policy, s State) Decision {
	d := Decision{LogStart: s.LogStart, LocalStart: s.LocalStart}
	reasons := make([]Reason, len(s.Segments))
	for i, x := range s.Segments {
		reasons[i] = Reason{Base: x.Base, Action: Keep, Setting: becauseNoLimit}
	}
	d.Reasons = reasons
	if p.Tiered && !s.RemoteKnown {
		for i := range reasons {
			reasons[i].Setting = becauseRemote
		}
		return d
	}
	first := p.expire(&d, s)
	d.LocalStart = max(d.LocalStart, d.LogStart)
	if p.Tiered {
		p.trim(&d, s, first)
	}
	return d
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
	size := int64(0)
	for _, x := range s.Segments {
		if x.Next > s.LogStart {
			size += x.Size
		}
	}
	i := 0
	for ; i < len(s.Segments); i++ {
		x := s.Segments[i]
		r := &d.Reasons[i]
		if x.Next <= s.LogStart && x.Sealed {
			r.Action, r.Setting = Expire, becauseLogStart
			continue
		}
		by, at := l.due(x, size, s.Now)
		if by == "" {
			r.Setting, r.At = l.next(x)
			break
		}
		if x.Next > s.HighWatermark {
			r.Setting = becauseHighWatermark
			break
		}
		if !x.Sealed {
			if x.Size > 0 {
				d.Roll = true
				r.Action, r.Setting, r.At = Roll, by, at
			}
			break
		}
		r.Action, r.Setting, r.At = Expire, by, at
		d.LogStart = max(d.LogStart, x.Next)
		size -= x.Size
	}
	for k := i + 1; k < len(s.Segments); k++ {
		d.Reasons[k].Setting, d.Reasons[k].At = l.next(s.Segments[k])
		if by, _ := l.due(s.Segments[k], 0, s.Now); by != "" {
			d.Reasons[k].Setting, d.Reasons[k].At = becauseOrder, 0
		}
	}
	return i
}

// trim raises the local start over the oldest segments from first on that are in the
// bucket and that a local limit lets go.
func (p Policy) trim(d *Decision, s State, first int) {
	l := p.local()
	size := int64(0)
	for _, x := range s.Segments[first:] {
		if x.Local {
			size += x.Size
		}
	}
	for i := first; i < len(s.Segments); i++ {
		x := s.Segments[i]
		r := &d.Reasons[i]
		if !x.Local {
			continue
		}
		by, at := l.due(x, size, s.Now)
		switch {
		case by == "":
			if setting, when := l.next(x); when > 0 && (r.At == 0 || when < r.At) {
				r.Setting, r.At = setting, when
			}
			return
		case !x.Sealed || r.Action == Roll:
			return
		case !x.Tiered || x.Next > s.TieredEnd:
			r.Action, r.Setting, r.At = Keep, becauseNotTiered, 0
			return
		}
		r.Action, r.Setting, r.At = Trim, by, at
		d.LocalStart = max(d.LocalStart, x.Next)
		size -= x.Size
	}
}

// due returns the key by which a segment has to go now, "" where none does, and since
// when. size is what there is with it.
func (l limit) due(x Segment, size, now int64) (key string, at int64) {
	if at, ok := l.expiry(x); ok && at <= now {
		return l.msKey, at
	}
	if l.bytes >= 0 && size-x.Size >= l.bytes {
		return l.bytesKey, 0
	}
	return "", 0
}

// next returns what will let a segment go that stays now, and when if that is known.
func (l limit) next(x Segment) (key string, at int64) {
	if at, ok := l.expiry(x); ok {
		return l.msKey, at
	}
	if l.bytes >= 0 {
		return l.bytesKey, 0
	}
	return becauseNoLimit, 0
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
