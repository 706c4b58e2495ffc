package group

import "github.com/twmb/franz-go/pkg/kmsg"

// shareAssignorName is the only assignor of share groups.
const shareAssignorName = "simple"

// ShareDescribe answers ShareGroupDescribe for the group.
func (g *Group) ShareDescribe() kmsg.ShareGroupDescribeResponseGroup {
	if g.share == nil || g.state == Dead {
		return ShareDescribeError(g.id, groupIDNotFound, "Group "+g.id+" is not a share group.")
	}
	s, metadata := g.share.state, g.limits.metadata()
	d := kmsg.NewShareGroupDescribeResponseGroup()
	d.GroupID, d.GroupState, d.Assignor = g.id, s.state(), shareAssignorName
	d.GroupEpoch, d.AssignmentEpoch = s.epoch, s.targetEpoch
	for _, id := range s.ids() {
		from := s.members[id]
		m := kmsg.NewShareGroupDescribeResponseGroupMember()
		m.MemberID, m.RackID, m.MemberEpoch = from.id, from.rack, from.epoch
		m.ClientID, m.ClientHost, m.SubscribedTopicNames = from.clientID, from.clientHost, from.topics
		for _, topic := range from.assigned.topics() {
			if t, ok := metadata.TopicByID(topic); ok {
				p := kmsg.NewShareGroupDescribeResponseGroupMemberAssignmentTopicPartition()
				p.TopicID, p.Topic, p.Partitions = topic, t.Name, from.assigned[topic]
				m.Assignment.TopicPartitions = append(m.Assignment.TopicPartitions, p)
			}
		}
		d.Members = append(d.Members, m)
	}
	return d
}

// ShareDescribeError describes a group that cannot be.
func ShareDescribeError(id string, code int16, message string) kmsg.ShareGroupDescribeResponseGroup {
	d := kmsg.NewShareGroupDescribeResponseGroup()
	d.GroupID, d.ErrorCode = id, code
	if message != "" {
		d.ErrorMessage = &message
	}
	return d
}
