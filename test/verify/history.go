package verify

import "fmt"

// Outcome is how an operation ended.
type Outcome uint8

// The outcomes. An operation that never ended is Info.
const (
	Info Outcome = iota // unknown: it may have happened, once
	OK                  // acknowledged
	Fail                // refused: it has not happened
)

// String implements fmt.Stringer.
func (o Outcome) String() string { return [...]string{"info", "ok", "fail"}[o] }

// Send is one record that a producer tried to append. Sends of one producer are logged
// in the order of sending.
type Send struct {
	Value uint64 // unique in the history
	From  uint64 // the value that was consumed to produce this one; 0 for none
	// Offset is that of the acknowledgement; it counts for OK only.
	Offset int64
	// Begun and Ended are moments of one clock, in nanoseconds: see Recorder. Ended
	// counts for OK only.
	Begun, Ended int64
	Partition    int32
	Producer     int32
	Txn          uint32 // the transaction it belongs to; 0 for none
	Key          uint32 // of compacted topics; 0 for none
	Outcome      Outcome
	Tombstone    bool // the record has no value; Value is carried in a header
}

// Read is one record as a reader was given it. Reads of one session are logged in the
// order in which they came.
type Read struct {
	Value     uint64
	Offset    int64
	At        int64 // when the poll returned; 0 where nobody looked
	Session   int32 // one reader from one assignment on, without a seek
	Partition int32
	Txn       uint32 // the transaction that the reader was in; 0 for none
}

// Session is what is known of a reader besides its reads. One that is not listed reads
// uncommitted.
type Session struct {
	ID        int32
	Committed bool // isolation.level=read_committed
	Final     bool // it has read to the end, after everything else was over
}

// Assignment says where a session began in a partition. Without one, it began at the
// first record it read.
type Assignment struct {
	Session, Partition int32
	From, At           int64
}

// Ending is what the producer of a transaction asked for last.
type Ending uint8

// The endings. What is open is aborted by the broker in the end.
const (
	Open Ending = iota
	Commit
	Abort
)

// String implements fmt.Stringer.
func (e Ending) String() string { return [...]string{"open", "commit", "abort"}[e] }

// Txn is one transaction; Begun and Ended are those of the request that ended it.
type Txn struct {
	ID           uint32
	Producer     int32
	End          Ending
	Outcome      Outcome
	Begun, Ended int64
}

// OffsetCommit is a group's offset as a client tried to commit it.
type OffsetCommit struct {
	Group, Partition int32
	Offset           int64
	Begun, Ended     int64
	Outcome          Outcome
}

// Committed is a group's offset as it was answered; -1 is none.
type Committed struct {
	Group, Partition int32
	Offset           int64
	Begun, Ended     int64
}

// Owner is a partition that a member of a group was given. Used is when the last commit of
// it began that was acknowledged: the member had it then, whatever it did not know later;
// 0 is none.
type Owner struct {
	Member, Partition int32
	Generation        int32 // of the classic protocol; 0 in the consumer protocol, where members differ
	From, Used        int64
}

// Mark is a number that never goes back, as one observer saw it. Marks of one observer
// are logged in the order in which they were seen.
type Mark struct {
	Kind                MarkKind
	Observer, Partition int32
	Value               int64
}

// MarkKind is which number it is.
type MarkKind uint8

// The kinds of marks.
const (
	HighWatermark MarkKind = iota
	LastStableOffset
	LogStartOffset
	LeaderEpoch
	ISREpoch // the version of a partition's in-sync replicas
	Revision // of the metadata
)

var markNames = [...]string{"high-watermark", "last-stable-offset", "log-start-offset", "leader-epoch", "isr-epoch", "revision"}

// String implements fmt.Stringer.
func (k MarkKind) String() string { return markNames[k] }

// Balance is one account in a snapshot that a read-committed reader took while no
// transfer was under way.
type Balance struct {
	Snapshot, Account int32
	Amount            int64
}

// Batch is a record batch as a replica, or the bucket, holds it at rest. Batches of one
// replica and partition are logged in the order in which they lie there.
type Batch struct {
	Replica, Partition int32
	Base, Next         int64
	CRC                uint32
}

// Object is one line of a bucket's listing.
type Object struct {
	Key    string
	Size   int64
	Digest string // SHA-256 in hexadecimal digits; "" where nobody looked
	Age    int64  // nanoseconds
}

// Disturbance is a fault that was injected.
type Disturbance struct {
	Kind         string
	Begun, Ended int64 // Ended: when the broker could serve again
	Restart      bool  // all brokers had to start again: C16 grants more time
	Progress     bool  // operations go on meanwhile: C20 wants to see them
}

// Resources is what a broker's process holds.
type Resources struct {
	Goroutines, Files int
	Resident          int64 // bytes
}

// HeapSample is the live heap at a moment.
type HeapSample struct{ At, Bytes int64 }

// Incident is what a process should not have done: panic, race, exit, fatal.
type Incident struct{ Process, Kind string }

// Expect is what makes a run worth judging (C20).
type Expect struct {
	Faults int // planned
	Before int // sends acknowledged before the first fault
	During int // operations while a fault with Progress lasted
}

// History is everything that clients did and saw, and what was found at rest.
type History struct {
	Sends       []Send
	Reads       []Read
	Sessions    []Session
	Assignments []Assignment
	Txns        []Txn
	Commits     []OffsetCommit
	Committed   []Committed
	Owners      []Owner
	Marks       []Mark
	Balances    []Balance
	Batches     []Batch
	Manifests   []Partition
	Objects     []Object
	Faults      []Disturbance
	Incidents   []Incident
	Allowed     []string // kinds of incidents that the scenario brings about
	Heap        []HeapSample
	// Before and After are one broker's resources at rest; nil where nobody looked.
	Before, After *Resources
	Expect        *Expect
	// Inputs are partitions whose records are copied to others exactly once.
	Inputs []int32
	// Complete says that some session has read every partition from its beginning to
	// its end after the last send had ended: what it did not see is lost.
	Complete bool
	// Idempotent says that all producers are: a value at two offsets is a fault.
	Idempotent bool
	// Gaps says that offsets without records are legal: retention, markers. What one
	// session has read another may still not pass over.
	Gaps bool
	// Compacted says that all topics are: only the last value of a key has to be there.
	Compacted bool
	// DeleteRetention is that of compacted topics, and Grace is how old an object may
	// become that no manifest names; both in nanoseconds.
	DeleteRetention, Grace int64
}

// Violation is one fault of a history.
type Violation struct {
	Rule   string // of the reliability plan: "C1"
	Detail string
}

// String implements fmt.Stringer.
func (v Violation) String() string { return v.Rule + ": " + v.Detail }

// Operations is how many sends and reads the history has.
func (h *History) Operations() int { return len(h.Sends) + len(h.Reads) }

// rule is one row of the table: what it says and the function that finds what breaks it.
type rule struct {
	id, says string
	broken   func(*view, report)
}

// report takes what breaks a rule.
type report func(format string, args ...any)

// rules are those of the reliability plan, and C21. C15 and C19 are of several brokers' metadata,
// and not of what clients see.
var rules = []rule{
	{"history", "a value is sent once, and what an event refers to is there", wellFormed},
	{"C1", "what was acknowledged is read, and nothing is read that was not sent", lost},
	{"C2", "a value of an idempotent producer is at one offset", duplicated},
	{"C3", "what ended before another began lies below it", disordered},
	{"C4", "an offset holds one value, and the acknowledged one", moved},
	{"C5", "read-committed sessions read committed values only", dirty},
	{"C6", "a transaction is read whole or not at all", torn},
	{"C7", "transactions do not read from each other in a circle", circular},
	{"C8", "within a session offsets rise and skip nothing that others read", skipped},
	{"C9", "marks do not go back, and a group's offset is the one committed last", backwards},
	{"C10", "each input has one output", copiedOnce},
	{"C11", "the sum of all balances stays", money},
	{"C12", "compaction keeps the last value of a key, and tombstones for their time", compacted},
	{"C13", "replicas and the bucket hold the same batches", unequal},
	{"C14", "manifests have no gap and objects are what they say", misplaced},
	{"C16", "nobody is stuck while the broker is well", stuck},
	{"C17", "resources are given back", leaked},
	{"C18", "no process panics, races, or ends by itself", unhealthy},
	{"C20", "the run is worth judging", void},
	{"C21", "a partition has one owner in a group, in each generation and at each moment", shared},
}

// maxPerRule is how many faults of a rule are told: the first ones are what one reads.
const maxPerRule = 20

// Check applies every rule and returns what breaks them, at most 20 of each rule. It
// takes time as sorting does, and beside the history at most 64 bytes an operation.
func Check(h *History) []Violation {
	v := newView(h)
	var found []Violation
	for _, r := range rules {
		n := 0
		r.broken(v, func(format string, args ...any) {
			if n++; n <= maxPerRule {
				found = append(found, Violation{r.id, fmt.Sprintf(format, args...)})
			}
		})
		if n > maxPerRule {
			found = append(found, Violation{r.id, fmt.Sprintf("and %d more", n-maxPerRule)})
		}
	}
	return found
}

// Rules lists the ids of the rules that Check applies.
func Rules() []string {
	ids := make([]string, len(rules))
	for i, r := range rules {
		ids[i] = r.id
	}
	return ids
}
