package group

import "github.com/twmb/franz-go/pkg/kmsg"

// Type is what ListGroups calls a group of this protocol (KIP-848).
const Type = "classic"

// Describe answers DescribeGroups for the group. Subscriptions are shown once the
// group is stable: before that its protocol may not be chosen.
func (g *Group) Describe() kmsg.DescribeGroupsResponseGroup {
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
	l.GroupType = Type
	return l
}
