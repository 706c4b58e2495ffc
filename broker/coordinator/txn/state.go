package txn

// State is where a transactional id stands, numbered as in the log.
//
//	          add                end: commit          markers written
//	┌───────┐ ──► ┌─────────┐ ──────────────► ┌───────────────┐ ──► ┌────────────────┐
//	│ Empty │     │ Ongoing │                 │ PrepareCommit │     │ CompleteCommit │
//	└───────┘ ◄─┐ └─────────┘ ──┐             └───────────────┘     └────────────────┘
//	    │  init │      ▲        │ end: abort, init, timeout                  │
//	    │       │      │ add    └───────────► ┌───────────────┐ ──► ┌────────────────┐
//	    │       │      │           ┌────────► │ PrepareAbort  │     │ CompleteAbort  │
//	    │       │      │           │ abort    └───────────────┘     └────────────────┘
//	    └───────┴──────┴───────────┴── from Empty, CompleteCommit and CompleteAbort
//	    Empty, CompleteCommit, CompleteAbort ──► Dead: unused for transactional.id.expiration.ms
//
// An abort of what has not begun (KIP-890) makes sure that batches which are still under
// way find a later epoch. PrepareEpochFence is Kafka's name for the moment between the
// decision to abort in the producer's place and PrepareAbort; it is never stored, and here
// the two are one step.
//
//	               Init                     AddPartitions            End
//	Empty          epoch + 1                accept                   abort only, of version 2
//	Ongoing        abort, then CONCURRENT   accept                   accept
//	Prepare*       CONCURRENT               CONCURRENT               CONCURRENT, INVALID_TXN_STATE for the other end
//	Complete*      epoch + 1                accept                   the same end again: its answer again
//	Dead           not found
type State int8

// The states of a transactional id.
const (
	Empty State = iota
	Ongoing
	PrepareCommit
	PrepareAbort
	CompleteCommit
	CompleteAbort
	Dead
	PrepareEpochFence
)

var stateNames = [...]string{
	"Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "Dead", "PrepareEpochFence",
}

// String is the name of the state in DescribeTransactions and ListTransactions.
func (s State) String() string { return stateNames[s] }

// ParseState finds a state by its name.
func ParseState(name string) (State, bool) {
	for i, n := range stateNames {
		if n == name {
			return State(i), true
		}
	}
	return 0, false
}

// Preparing reports whether the end is decided and markers are being written.
func (s State) Preparing() bool { return s == PrepareCommit || s == PrepareAbort }

// atRest reports whether no transaction is open.
func (s State) atRest() bool { return s == Empty || s == CompleteCommit || s == CompleteAbort }
