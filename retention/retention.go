// Package retention decides what may go: a pure function from a partition's segments
// and its settings to two offsets. It deletes nothing itself.
//
// The rules are Kafka's (retention.ms, retention.bytes, KIP-405 for the local limits): a
// segment goes as a whole, the oldest first, up to the first that must stay. What is
// counted is what is committed, each offset once in both tiers; where the remote tier is
// not known yet, nothing goes.
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
	Withdraw   bool  // remote.log.delete.on.disable of a topic that is not tiered any more
}

// Values of a limit that are none.
const (
	Unlimited = -1
	Inherit   = -2 // of a local limit: that of the whole
)

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
//
// Invariant: State.LogStart <= LogStart <= HighWatermark, or LogStart unchanged;
// State.LocalStart <= LocalStart; what LocalStart passes is in the bucket or below LogStart.
type Decision struct {
	LogStart   int64
	LocalStart int64
	Roll       bool // the active segment has expired with all before it: seal it, then ask again
	Withdraw   bool // delete all of the bucket, once the log start has been raised
	Reasons    []Reason
}

// Action is what happens to a segment.
type Action = string

// The actions.
const (
	Keep     Action = "keep"
	Expire   Action = "expire"   // from both tiers
	Trim     Action = "trim"     // from this disk
	Roll     Action = "roll"     // sealed, so that it can expire
	Withdraw Action = "withdraw" // from the bucket
)

// The keys that Plan decides by.
const (
	keyMs         = "retention.ms"
	keyBytes      = "retention.bytes"
	keyLocalMs    = "local.retention.ms"
	keyLocalBytes = "local.retention.bytes"
	keyWithdraw   = "remote.log.delete.on.disable"
)
