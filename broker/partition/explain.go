package partition

import (
	"context"
	"time"

	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/retention"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/tiering"
)

// Explanation is what the background work of a partition decides at one moment, segment
// by segment: the plans themselves, not an account of them.
type Explanation struct {
	Offsets
	Tiered   bool // by the settings
	Segments []Explained
}

// Explained is one segment. The last one is active.
type Explained struct {
	retention.Segment
	retention.Reason
	Copy  tiering.Standing // "": the topic is not tiered, or the remote log is not known yet
	Bound Bound            // of WaitBound: which offset it is that holds the copy up
	Rolls time.Time        // of the active segment: when its age seals it; zero: no age does
	Room  int64            // of the active segment: bytes until its size seals it
}

// Bound names the offset up to which segments may be copied.
type Bound string

// The bounds, the smallest of which counts.
const (
	BoundHighWatermark Bound = "high watermark"
	BoundLastStable    Bound = "last stable offset"
	BoundSnapshot      Bound = "producer snapshot" // the last segment border with one
	// BoundCompaction is the log start while the log was compacted above it: the offsets
	// of what is in the bucket have no gaps. It was another policy's, and retention ends it.
	BoundCompaction Bound = "compaction"
	// BoundDisabled is the tiered end while remote.log.copy.disable is set.
	BoundDisabled Bound = "end of what was copied before remote.log.copy.disable"
)

// Explain evaluates the plans of retention and of the copier as they stand now.
func (p *Partition) Explain(now time.Time) Explanation {
	o, c := p.Offsets(), p.config.Load()
	s := p.retentionState(o, now)
	d := retention.Plan(p.policy(), s)
	e := Explanation{Offsets: o, Tiered: c.RemoteStorage, Segments: make([]Explained, len(s.Segments))}
	for i, x := range s.Segments {
		e.Segments[i] = Explained{Segment: x, Reason: d.Reasons[i]}
	}
	if n := len(e.Segments); n > 0 && !e.Segments[n-1].Sealed {
		last := &e.Segments[n-1]
		last.Rolls, last.Room = p.log.RollsAt(), max(0, c.SegmentBytes-last.Size)
	}
	p.explainCopies(&e, s, c)
	return e
}

// explainCopies adds how each segment stands to the copier.
func (p *Partition) explainCopies(e *Explanation, s retention.State, c *config.Topic) {
	if !e.Tiered || p.remote == nil {
		return
	}
	bound, by := p.copyBound(e.Offsets, c)
	in, ok := p.remote.NextInput(bound, localSegments(s))
	if !ok {
		return
	}
	standing := map[int64]tiering.Standing{}
	for _, v := range tiering.Judge(in) {
		standing[v.Base] = v.Standing
	}
	for i := range e.Segments {
		x := &e.Segments[i]
		switch {
		case x.Tiered:
			x.Copy = tiering.Copied
		case x.Action != retention.Expire: // see Copy
			x.Copy = standing[x.Segment.Base]
		}
		if x.Copy == tiering.WaitBound {
			x.Bound = by
		}
	}
}

// copyBound returns the offset up to which segments may be copied, and what sets it.
func (p *Partition) copyBound(o Offsets, c *config.Topic) (int64, Bound) {
	if c.RemoteCopyDisable {
		return o.TieredEnd, BoundDisabled
	}
	p.mu.Lock()
	border := p.snapshotEnd
	p.mu.Unlock()
	if o.LogStart < p.cleaned() {
		return o.LogStart, BoundCompaction
	}
	switch bound := min(o.HighWatermark, o.LastStable, border); bound {
	case o.HighWatermark:
		return bound, BoundHighWatermark
	case o.LastStable:
		return bound, BoundLastStable
	default:
		return bound, BoundSnapshot
	}
}

// localSegments are the segments of a state that the copier looks at.
func localSegments(s retention.State) []segment.Info {
	var infos []segment.Info
	for _, x := range s.Segments {
		if x.Local {
			infos = append(infos, segment.Info{
				Base: x.Base, Next: x.Next, Size: x.Size, MaxTimestamp: x.MaxTimestamp, Modified: time.UnixMilli(x.Modified), Sealed: x.Sealed,
			})
		}
	}
	return infos
}

// Copy is the action of an Effect that puts a segment into the bucket; the others are
// retention's.
const Copy retention.Action = "copy"

// Rehearsal is what background work will do to a partition under some settings, until
// nothing is left to do at this moment.
type Rehearsal struct {
	Effects  []retention.Effect // in the order in which they happen
	Requests tiering.Requests
}

// Rehearse says what background work would do to the partition under settings c. It runs
// the plans that the work runs, on values, and changes nothing. It reads the remote log
// first where that is not known yet: ErrRemote where it cannot.
func (p *Partition) Rehearse(ctx context.Context, c config.Topic, now time.Time) (Rehearsal, error) {
	if !p.leads() {
		return Rehearsal{}, ErrNotLeader
	}
	if p.remote != nil {
		if ready, err := p.readyRemote(ctx); err != nil {
			return Rehearsal{}, err
		} else if !ready {
			return Rehearsal{}, ErrNotLeader
		}
	}
	o := p.Offsets()
	s := p.retentionState(o, now)
	r := rehearsal{policy: p.policyOf(&c), state: s, stable: min(o.HighWatermark, o.LastStable)}
	r.bound, r.by = p.copyBound(o, &c)
	if r.policy.Tiered {
		r.in, _ = p.remote.NextInput(r.bound, nil)
	}
	if p.remote != nil {
		r.forecast, _ = p.remote.Forecast()
	}
	if err := r.run(); err != nil {
		return Rehearsal{}, remoteError(err)
	}
	out := Rehearsal{Effects: r.effects}
	if r.forecast != nil && r.remote {
		out.Requests = r.forecast.Requests()
	}
	return out, nil
}

// rehearsal is a Rehearse under way; values only.
type rehearsal struct {
	policy   retention.Policy
	state    retention.State
	in       tiering.NextInput // of the copier, but for segments and bound
	bound    int64
	by       Bound
	stable   int64 // min of high watermark and last stable offset: the bound once the active segment is rolled
	forecast *tiering.Forecast
	remote   bool // the bucket is touched
	effects  []retention.Effect
}

// run alternates retention and copies, as the workers do, until both rest.
func (r *rehearsal) run() error {
	for {
		start := r.state.LogStart
		var effects []retention.Effect
		withdrawn := false
		effects, r.state = retention.Settle(r.policy, r.state)
		r.effects = append(r.effects, effects...)
		for _, e := range effects {
			switch {
			case e.Action == retention.Withdraw:
				withdrawn = true
			case e.Action == retention.Roll && r.by != BoundCompaction && r.by != BoundDisabled:
				r.bound = r.stable
			}
		}
		if r.forecast != nil && r.state.LogStart > start {
			if err := r.forecast.Expire(r.state.LogStart); err != nil {
				return err
			}
			r.remote, r.in.Exists = true, true
			r.in.End = max(r.in.End, r.state.LogStart)
			r.state.TieredEnd = max(r.state.TieredEnd, r.state.LogStart)
		}
		if r.forecast != nil && withdrawn {
			r.remote = true
			if err := r.forecast.Withdraw(r.state.LogStart); err != nil {
				return err
			}
		}
		copied, err := r.copy()
		if err != nil || !copied {
			return err
		}
	}
}

// copy makes one commit of what the copier would pick.
func (r *rehearsal) copy() (bool, error) {
	if !r.policy.Tiered || r.forecast == nil {
		return false, nil
	}
	r.in.Bound, r.in.Segments = r.bound, localSegments(r.state)
	r.in.End = max(r.in.End, r.state.TieredEnd)
	picks, err := tiering.Next(r.in)
	if err != nil || len(picks) == 0 {
		return false, err
	}
	r.remote = true
	if err := r.forecast.Copy(picks, r.in.Segments); err != nil {
		return false, err
	}
	picked := map[int64]bool{}
	for _, p := range picks {
		picked[p.Base] = true
	}
	for i := range r.state.Segments {
		x := &r.state.Segments[i]
		if !picked[x.Base] || x.Tiered {
			continue
		}
		x.Tiered, x.Modified = true, r.state.Now
		r.state.TieredEnd = x.Next
		r.effects = append(r.effects, retention.Effect{Base: x.Base, Next: x.Next, Size: x.Size, Action: Copy, By: "remote.storage.enable"})
	}
	r.in.Exists, r.in.End = true, r.state.TieredEnd
	return true, nil
}
