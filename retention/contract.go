// Package retention decides what may go: a pure function from a partition's segments
// and its settings to two offsets. It deletes nothing itself.
package retention

// Segment is what retention needs to know of one segment, wherever it is.
type Segment struct {
	Base, Next   int64
	Size         int64 // bytes
	MaxTimestamp int64 // ms; -1: none
	Modified     int64 // ms: last append or copy, bounds a timestamp in the future (B19)
	Local        bool  // on this disk
	Tiered       bool  // in the bucket, committed
	Sealed       bool
}

// Policy is a topic's retention; -1 is without limit. Local limits of -2 are those of the whole.
type Policy struct {
	Delete     bool  // cleanup.policy contains delete
	Ms         int64 // retention.ms
	Bytes      int64 // retention.bytes
	LocalMs    int64 // local.retention.ms
	LocalBytes int64 // local.retention.bytes
	Tiered     bool  // remote.storage.enable
}

// State is a partition as Plan sees it: segments in offset order, each offset once
// (a segment both local and tiered is one entry).
type State struct {
	Segments      []Segment
	LogStart      int64
	LocalStart    int64
	HighWatermark int64
	TieredEnd     int64
	RemoteKnown   bool  // false: nothing is reclaimable yet (I23, I26)
	Now           int64 // ms
}

// Decision is what retention asks for: the two offsets to raise to, and why.
type Decision struct {
	LogStart   int64
	LocalStart int64
	Reasons    []Reason
}

// Reason says for one segment what happens to it, when and by which setting.
type Reason struct {
	Base    int64
	Action  string // "keep", "expire", "trim"
	Setting string // "retention.ms" …
	At      int64  // ms: when it will happen; 0: unknown
}

// Plan decides. It never asks for more than needed (I24) nor for what is not safe.
func Plan(p Policy, s State) Decision { panic("unbuilt") }
