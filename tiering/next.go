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

// Next decides which segments to copy now, in offset order: sealed, ending at or below
// the bound, and continuing the remote log without gap.
//
// A segment straddles the tiered end where another replica, which rolled elsewhere, led
// before, or where DeleteRecords passed the tiered end (I29). One that begins above it
// is ErrGap.
func Next(in NextInput) ([]Pick, error) {
	var picks []Pick
	end, bytes := in.End, int64(0)
	first := !in.Exists
	for _, s := range in.Segments {
		if s.Next <= end && !first || s.Next <= s.Base {
			continue
		}
		if !s.Sealed || s.Next > in.Bound || len(picks) >= in.MaxSegments {
			break
		}
		if s.Base > end && !first {
			return nil, fmt.Errorf("copy segment %020d after %d: %w", s.Base, end, ErrGap)
		}
		if len(picks) >= max(1, in.MinSegments) && bytes+s.Size > in.MaxBytes {
			break
		}
		pick := Pick{Base: s.Base, From: s.Base}
		if !first {
			pick.From = end
		}
		picks = append(picks, pick)
		end, first, bytes = s.Next, false, bytes+s.Size
	}
	return picks, nil
}
