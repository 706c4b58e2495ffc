package group

import "github.com/twmb/franz-go/pkg/kmsg"

// Heartbeat handles Heartbeat v0-v4 and returns the code to answer.
func (g *Group) Heartbeat(now int64, r *kmsg.HeartbeatRequest) int16 {
	if g.state == Dead {
		return coordinatorNotAvailable
	}
	if g.consumer != nil {
		return g.heartbeatConsumer(now, r)
	}
	if code := g.validate(r.MemberID, r.InstanceID); code != 0 {
		return code
	}
	if r.Generation != g.generation {
		return illegalGeneration
	}
	g.touch(now, g.members[r.MemberID])
	if g.state == PreparingRebalance {
		return rebalanceInProgress
	}
	return 0
}

// touch starts the member's session anew.
func (g *Group) touch(now int64, m *member) { g.extend(m, now+int64(m.sessionTimeout)) }
