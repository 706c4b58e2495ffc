package tiering

import (
	"fmt"

	"github.com/varvelog/varve/segment"
)

// NextInput is what the decision which segments to copy depends on.
type NextInput struct {
	Exists   bool           // there is a committed root
	End      int64          // its tiered end
	Bound    int64          // min(high watermark, last stable offset)
	Segments []segment.Info // of the local log, in offset order, the active one last

	MaxSegments int   // of one commit
	MaxBytes    int64 // of one commit, though always one segment
	MinSegments int   // that may exceed MaxBytes together: what is copied at the same time
}

// Pick is a segment to copy, from the batch on that holds offset From.
type Pick struct {
	Base int64 // of the local segment
	From int64 // Base, or the tiered end where the segment straddles it
}

// Standing is how a local segment stands to the copier.
type Standing string

// The standings. Of those that wait, the first in offset order says why; what follows it
// waits for it.
const (
	Copied     Standing = "copied"   // in the bucket, or without records
	CopyNow    Standing = "copy now" // part of the next commit
	WaitTurn   Standing = "its turn" // the next commit is full
	WaitSealed Standing = "being sealed"
	WaitBound  Standing = "the bound" // it ends above NextInput.Bound
	WaitOrder  Standing = "the segment before it"
	WaitGap    Standing = "nothing" // it begins above the tiered end: ErrGap
)

// Verdict says of one segment whether it is copied now.
type Verdict struct {
	Pick
	Standing Standing
}

// Judge says of each of in.Segments how it stands to the copier.
//
// A segment straddles the tiered end where another replica, which rolled elsewhere, led
// before, or where DeleteRecords passed the tiered end (I29). One that begins above it
// leaves a gap, and nothing is copied.
func Judge(in NextInput) []Verdict {
	all := make([]Verdict, len(in.Segments))
	picks, end, bytes := 0, in.End, int64(0)
	first := !in.Exists
	waits := false
	for i, s := range in.Segments {
		v := &all[i]
		v.Base, v.From = s.Base, s.Base
		if !first {
			v.From = max(s.Base, end)
		}
		switch {
		case s.Next <= end && !first || s.Next <= s.Base && s.Sealed:
			v.Standing = Copied
			continue
		case waits:
			v.Standing = WaitOrder
		case !s.Sealed:
			v.Standing = WaitSealed
		case s.Next > in.Bound:
			v.Standing = WaitBound
		case s.Base > end && !first:
			v.Standing = WaitGap
		case picks >= in.MaxSegments, picks >= max(1, in.MinSegments) && bytes+s.Size > in.MaxBytes:
			v.Standing = WaitTurn
		default:
			v.Standing = CopyNow
			picks++
			end, first, bytes = s.Next, false, bytes+s.Size
			continue
		}
		waits = true
	}
	return all
}

// Next decides which segments to copy now, in offset order: sealed, ending at or below
// the bound, and continuing the remote log without gap (ErrGap).
func Next(in NextInput) ([]Pick, error) {
	var picks []Pick
	for _, v := range Judge(in) {
		switch v.Standing {
		case CopyNow:
			picks = append(picks, v.Pick)
		case WaitGap:
			return nil, fmt.Errorf("copy segment %020d after %d: %w", v.Base, in.End, ErrGap)
		}
	}
	return picks, nil
}
