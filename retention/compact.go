package retention

import (
	"cmp"
	"math"

	"github.com/varvelog/varve/segment"
)

// Compaction keeps of each key the last record. The part of a log that has been
// compacted is its clean head; behind it lies the dirty tail:
//
//	log start ---- clean head ---- first dirty ---- dirty tail ---- bound ---- log end
//
// The bound is the base of the segment that must not be touched yet: the active one, one
// that holds the last stable offset, or one with records younger than
// min.compaction.lag.ms. What is decided here is values; Cleaner does it.

// Compaction is a topic's compaction settings.
type Compaction struct {
	MinLagMs      int64   // min.compaction.lag.ms
	MaxLagMs      int64   // max.compaction.lag.ms
	MinDirtyRatio float64 // min.cleanable.dirty.ratio
}

// Tail is a log as Dirtiness sees it: local segments in offset order, the active last.
type Tail struct {
	Segments   []Segment
	FirstDirty int64 // as checkpointed
	Stable     int64 // nothing at or above it is compacted
	// Horizon is the first delete horizon (ms) that the last pass left in the log, 0:
	// none, or none known.
	Horizon int64
	Now     int64 // ms
	// FirstTimestamp returns the timestamp (ms) of the first batch of the segment that
	// begins at base; asked only where max.compaction.lag.ms is set.
	FirstTimestamp func(base int64) int64
}

// Dirt says how much of a log is to be compacted, and whether it is due.
//
// Invariant: FirstDirty <= Bound.
type Dirt struct {
	FirstDirty, Bound      int64
	CleanBytes, DirtyBytes int64
	Due                    bool
	By                     string // the setting that makes it due
	DelayMs                int64  // by how much max.compaction.lag.ms is exceeded
}

// Ratio is the dirty share of what can be compacted, 0 to 1.
func (d Dirt) Ratio() float64 {
	if d.DirtyBytes == 0 {
		return 0
	}
	return float64(d.DirtyBytes) / float64(d.CleanBytes+d.DirtyBytes)
}

// Reasons why a log is compacted.
const (
	keyMinRatio        = "min.cleanable.dirty.ratio"
	keyMaxLag          = "max.compaction.lag.ms"
	keyDeleteRetention = "delete.retention.ms"
)

// Dirtiness decides whether a log is to be compacted now, by Kafka's rules, and by one
// more: a log whose tombstones may go is due for that, though nothing has been appended.
func Dirtiness(c Compaction, t Tail) Dirt {
	d := Dirt{FirstDirty: t.firstDirty()}
	d.Bound = max(t.bound(c.MinLagMs, d.FirstDirty), d.FirstDirty)
	for _, s := range t.Segments {
		switch {
		case s.Next <= d.FirstDirty:
			d.CleanBytes += s.Size
		case s.Next <= d.Bound:
			d.DirtyBytes += s.Size
		}
	}
	d.DelayMs = t.delay(c.MaxLagMs, d)
	switch {
	case d.DirtyBytes > 0 && d.DelayMs > 0:
		d.Due, d.By = true, keyMaxLag
	case d.DirtyBytes > 0 && d.Ratio() > c.MinDirtyRatio:
		d.Due, d.By = true, keyMinRatio
	case d.CleanBytes > 0 && t.Horizon > 0 && t.Horizon <= t.Now:
		d.Due, d.By = true, keyDeleteRetention
	}
	return d
}

// firstDirty is the checkpointed offset, or the first offset there is where that is not
// of this log.
func (t Tail) firstDirty() int64 {
	if len(t.Segments) == 0 {
		return t.FirstDirty
	}
	first, active := t.Segments[0].Base, t.Segments[len(t.Segments)-1].Base
	if t.FirstDirty < first || t.FirstDirty > active {
		return first
	}
	return t.FirstDirty
}

func (t Tail) bound(minLag, firstDirty int64) int64 {
	for _, s := range t.Segments {
		young := minLag > 0 && s.Next > firstDirty && newest(s) > t.Now-minLag
		if !s.Sealed || s.Next > t.Stable || young {
			return s.Base
		}
	}
	return firstDirty
}

// newest is the time of a segment's newest record, though not later than its last
// append: a timestamp in the future does not keep a log from being compacted (B19).
func newest(s Segment) int64 {
	if s.MaxTimestamp < 0 {
		return s.Modified
	}
	return min(s.MaxTimestamp, s.Modified)
}

// delay is by how much (ms) the first batch of a dirty segment is older than maxLag.
func (t Tail) delay(maxLag int64, d Dirt) int64 {
	if maxLag >= t.Now || t.FirstTimestamp == nil {
		return 0
	}
	oldest := int64(math.MaxInt64)
	for _, s := range t.Segments {
		if s.Next > d.FirstDirty && s.Next <= d.Bound {
			if ts := t.FirstTimestamp(s.Base); ts > 0 {
				oldest = min(oldest, ts)
			}
		}
	}
	return max(0, t.Now-maxLag-oldest)
}

// Filthiest orders logs by what has to be compacted first: those that wait for longer
// than they may, then the dirtiest.
func Filthiest(a, b Dirt) int {
	return cmp.Or(cmp.Compare(b.DelayMs, a.DelayMs), cmp.Compare(b.Ratio(), a.Ratio()))
}

// Limits bound what is made of several segments.
type Limits struct {
	SegmentBytes int64 // segment.bytes
}

// Group joins neighbouring sealed segments that end at or below end, or hold it, into
// groups of which each becomes one segment: as many as fit by the sizes they have now.
func Group(l Limits, segments []segment.Info, end int64) (groups [][]segment.Info) {
	size := int64(0)
	for _, s := range segments {
		if !s.Sealed || s.Base >= end {
			break
		}
		n := len(groups)
		fits := n > 0 && size+s.Size <= l.SegmentBytes && s.Next-1-groups[n-1][0].Base <= math.MaxInt32
		if !fits {
			groups, size = append(groups, nil), 0
			n++
		}
		groups[n-1] = append(groups[n-1], s)
		size += s.Size
	}
	return groups
}
