package group

// State is where a group stands in a rebalance.
//
//	                join                    all joined, or time is up
//	  ┌─────────┐  ───►  ┌────────────────────┐  ───►  ┌─────────────────────┐
//	  │  Empty  │        │ PreparingRebalance │        │ CompletingRebalance │
//	  └─────────┘  ◄───  └────────────────────┘  ◄───  └─────────────────────┘
//	       │   nobody joined    ▲           new member, changed        │
//	       │                    │           member, leave, expiry,     │ leader's sync
//	       │                    │           sync not sent in time      │ is committed
//	       │                    │      ┌────────┐                      │
//	       │                    └───── │ Stable │ ◄────────────────────┘
//	       │ deleted or expired        └────────┘
//	       ▼              leader or changed member joins, new member, leave, expiry
//	  ┌─────────┐
//	  │  Dead   │  until the tombstones are committed; back to Empty if they are not
//	  └─────────┘
//
//	                    Join     Sync                    Heartbeat               Commit
//	Empty               accept   UNKNOWN_MEMBER_ID       UNKNOWN_MEMBER_ID       generation -1 only
//	PreparingRebalance  parked   REBALANCE_IN_PROGRESS   REBALANCE_IN_PROGRESS   accept
//	CompletingRebalance answer   parked                  accept                  REBALANCE_IN_PROGRESS
//	Stable              answer   the assignment          accept                  accept
//	Dead                COORDINATOR_NOT_AVAILABLE to all of them
type State int8

// The states of a classic group.
const (
	Empty State = iota
	PreparingRebalance
	CompletingRebalance
	Stable
	Dead
)

// String is the name of the state in DescribeGroups and ListGroups.
func (s State) String() string {
	return [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"}[s]
}
