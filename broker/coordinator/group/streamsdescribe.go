package group

import (
	"cmp"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// StreamsDescribe answers StreamsGroupDescribe v0 for the group.
func (g *Group) StreamsDescribe() kmsg.StreamsGroupDescribeResponseGroup {
	if g.streams == nil || g.state == Dead {
		return StreamsDescribeError(g.id, groupIDNotFound, "Group "+g.id+" is not a streams group.")
	}
	s := g.streams.state
	d := kmsg.NewStreamsGroupDescribeResponseGroup()
	d.Group, d.State = g.id, s.state()
	d.Epoch, d.AssignmentEpoch = s.epoch, s.targetEpoch
	d.Members = []kmsg.StreamsGroupDescribeResponseGroupMember{}
	if s.topology != nil {
		d.Topology = s.topology.describe(g.streams.configured)
	}
	for _, id := range s.ids() {
		d.Members = append(d.Members, s.describe(s.members[id]))
	}
	return d
}

func (s *streamsState) describe(m *streamsMember) kmsg.StreamsGroupDescribeResponseGroupMember {
	d := kmsg.NewStreamsGroupDescribeResponseGroupMember()
	d.MemberID, d.MemberEpoch, d.InstanceID, d.RackID = m.id, m.epoch, m.instance, m.rack
	d.ClientID, d.ClientHost = m.clientID, m.clientHost
	d.TopologyEpoch, d.ProcessID = m.topologyEpoch, m.process
	if m.endpoint != nil {
		d.UserEndpoint = &kmsg.StreamsGroupDescribeResponseGroupMemberUserEndpoint{Host: m.endpoint.host, Port: m.endpoint.port}
	}
	for _, t := range m.tags {
		d.ClientTags = append(d.ClientTags, kmsg.StreamsGroupDescribeResponseGroupMemberClientTag{Key: t.key, Value: t.value})
	}
	d.Assignment, d.TargetAssignment = m.assigned.describe(), s.target[m.id].describe()
	return d
}

func (t taskSet) describe() kmsg.StreamsAssignment {
	return kmsg.StreamsAssignment{ActiveTasks: taskIDs(t.active), StandbyTasks: taskIDs(t.standby), WarmupTasks: taskIDs(t.warmup)}
}

// describe shows internal topics with the partitions that were decided, once all is there.
func (t *topology) describe(c *configuredTopology) *kmsg.StreamsGroupDescribeResponseGroupTopology {
	d := kmsg.NewStreamsGroupDescribeResponseGroupTopology()
	d.Epoch = t.epoch
	topics := func(all []internalTopic) []kmsg.TopicInfo {
		out := []kmsg.TopicInfo{}
		for i := range all {
			info := kmsg.TopicInfo{Topic: all[i].name, NumPartitions: all[i].partitions, ReplicationFactor: all[i].replicationFactor}
			if c != nil && c.ready() {
				info.NumPartitions = c.topics[all[i].name]
			}
			for _, x := range all[i].configs {
				info.Configs = append(info.Configs, kmsg.TopicInfoConfig{Key: x.key, Value: x.value})
			}
			out = append(out, info)
		}
		slices.SortFunc(out, func(a, b kmsg.TopicInfo) int { return cmp.Compare(a.Topic, b.Topic) })
		return out
	}
	for i := range t.subtopologies {
		s := &t.subtopologies[i]
		sub := kmsg.NewStreamsGroupDescribeResponseGroupTopologySubtopology()
		sub.SubtopologyID = s.id
		sub.SourceTopics, sub.RepartitionSinkTopics = slices.Sorted(slices.Values(s.sources)), slices.Sorted(slices.Values(s.sinks))
		sub.StateChangelogTopics, sub.RepartitionSourceTopics = topics(s.changelogs), topics(s.repartitionSources)
		d.Subtopologies = append(d.Subtopologies, sub)
	}
	return &d
}

// StreamsDescribeError describes a group that cannot be.
func StreamsDescribeError(id string, code int16, message string) kmsg.StreamsGroupDescribeResponseGroup {
	d := kmsg.NewStreamsGroupDescribeResponseGroup()
	d.Group, d.ErrorCode = id, code
	if message != "" {
		d.ErrorMessage = &message
	}
	return d
}
