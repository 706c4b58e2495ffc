package group

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// What ListGroups calls groups of the protocols (KIP-848, KIP-1071).
const (
	typeClassic  = "classic"
	typeConsumer = "consumer"
	typeStreams  = "streams"
	typeShare    = "share"
)

// Describe answers DescribeGroups for the group. Subscriptions are shown once the
// group is stable: before that its protocol may not be chosen.
//
// A group of a later protocol is described by that protocol's own request.
func (g *Group) Describe(version int16) kmsg.DescribeGroupsResponseGroup {
	if g.modern() {
		d := DescribeUnknown(version, g.id)
		if version >= 6 {
			message := "Group " + g.id + " is not a classic group."
			d.ErrorMessage = &message
		}
		return d
	}
	d := kmsg.NewDescribeGroupsResponseGroup()
	d.Group = g.id
	d.State = g.state.String()
	d.ProtocolType = g.protocolType
	stable := g.state == Stable && g.protocolName != nil
	if stable {
		d.Protocol = *g.protocolName
	}
	for _, m := range g.inOrder() {
		dm := kmsg.NewDescribeGroupsResponseGroupMember()
		dm.MemberID, dm.InstanceID = m.id, m.instance
		dm.ClientID, dm.ClientHost = m.clientID, m.clientHost
		dm.MemberAssignment = m.assignment
		dm.ProtocolMetadata = []byte{}
		if stable {
			dm.ProtocolMetadata = m.metadata(d.Protocol)
		}
		d.Members = append(d.Members, dm)
	}
	return d
}

// DescribeUnknown describes a group that does not exist: Dead, and an error from v6 on
// (KIP-1043).
func DescribeUnknown(version int16, id string) kmsg.DescribeGroupsResponseGroup {
	d := kmsg.NewDescribeGroupsResponseGroup()
	d.Group = id
	d.State = Dead.String()
	if version >= 6 {
		d.ErrorCode = groupIDNotFound
		message := "Group " + id + " not found."
		d.ErrorMessage = &message
	}
	return d
}

// Listed is the group's line in ListGroups.
func (g *Group) Listed() kmsg.ListGroupsResponseGroup {
	l := kmsg.NewListGroupsResponseGroup()
	l.Group = g.id
	l.ProtocolType = g.protocolType
	l.GroupState = g.state.String()
	l.GroupType = typeClassic
	if g.consumer != nil {
		l.ProtocolType, l.GroupType = consumerProtocol, typeConsumer
		if g.state != Dead {
			l.GroupState = g.consumer.state.state()
		}
	}
	if g.streams != nil {
		l.ProtocolType, l.GroupType = streamsProtocol, typeStreams
		if g.state != Dead {
			l.GroupState = g.streams.state.state()
		}
	}
	if g.share != nil {
		l.ProtocolType, l.GroupType = typeShare, typeShare
		if g.state != Dead {
			l.GroupState = g.share.state.state()
		}
	}
	return l
}

// ConsumerDescribe answers ConsumerGroupDescribe for the group. fallback is the default
// assignor's name.
func (g *Group) ConsumerDescribe(fallback string) kmsg.ConsumerGroupDescribeResponseGroup {
	if g.consumer == nil || g.state == Dead {
		return ConsumerDescribeError(g.id, groupIDNotFound, "Group "+g.id+" is not a consumer group.")
	}
	s, metadata := g.consumer.state, g.limits.metadata()
	d := kmsg.NewConsumerGroupDescribeResponseGroup()
	d.Group = g.id
	d.State = s.state()
	d.Epoch, d.AssignmentEpoch = s.epoch, s.targetEpoch
	d.AssignorName = s.preferred(fallback)
	for _, id := range s.ids() {
		d.Members = append(d.Members, s.describe(s.members[id], metadata))
	}
	return d
}

// Types of members in ConsumerGroupDescribe v1.
const (
	memberClassic  = 0
	memberConsumer = 1
)

func (s *consumerState) describe(m *consumerMember, metadata Metadata) kmsg.ConsumerGroupDescribeResponseGroupMember {
	d := kmsg.NewConsumerGroupDescribeResponseGroupMember()
	d.MemberID, d.InstanceID, d.RackID = m.id, m.instance, m.rack
	d.MemberEpoch = m.epoch
	d.ClientID, d.ClientHost = m.clientID, m.clientHost
	d.SubscribedTopics = m.topics
	d.SubscribedTopicRegex = &m.regex
	owned := m.assigned.partitions()
	for id, partitions := range m.revoking.partitions() {
		owned[id] = append(owned[id], partitions...)
		slices.Sort(owned[id])
	}
	d.Assignment.TopicPartitions = describeAssignment(owned, metadata)
	d.TargetAssignment.TopicPartitions = describeAssignment(s.target[m.id], metadata)
	d.MemberType = memberConsumer
	if m.classic != nil {
		d.MemberType = memberClassic
	}
	return d
}

// describeAssignment leaves out topics that are gone.
func describeAssignment(a assignment, metadata Metadata) []kmsg.AssignmentTopicPartition {
	all := []kmsg.AssignmentTopicPartition{}
	for _, id := range a.topics() {
		if t, ok := metadata.TopicByID(id); ok {
			all = append(all, kmsg.AssignmentTopicPartition{TopicID: id, Topic: t.Name, Partitions: a[id]})
		}
	}
	return all
}

// ConsumerDescribeError describes a group that cannot be.
func ConsumerDescribeError(id string, code int16, message string) kmsg.ConsumerGroupDescribeResponseGroup {
	d := kmsg.NewConsumerGroupDescribeResponseGroup()
	d.Group, d.ErrorCode = id, code
	if message != "" {
		d.ErrorMessage = &message
	}
	return d
}
