package api

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/coordinator/group"
	"github.com/varvelog/varve/segment"
)

// Share groups (KIP-932): their members, and how far they have come.

// shareGroups tells whether they are switched on, by feature.
func (s *Server) shareGroups() bool {
	return featureLevel(shareVersion, s.Store.Image().Features()) > 0
}

func (s *Server) shareGroupHeartbeat(c *call, q *kmsg.ShareGroupHeartbeatRequest) func(context.Context) (*kmsg.ShareGroupHeartbeatResponse, error) {
	if !s.shareGroups() {
		p := group.ShareHeartbeatError(q.Version, &group.Refusal{Code: kerr.UnsupportedVersion.Code})
		return func(context.Context) (*kmsg.ShareGroupHeartbeatResponse, error) { return p, nil }
	}
	return withShareTopic(s, func() func(context.Context) (*kmsg.ShareGroupHeartbeatResponse, error) {
		return s.Groups.ShareHeartbeat(client(c), q)
	})
}

// withShareTopic does what may need the topic of the share coordinator, which is made when
// it is first needed. Where it cannot be, groups wait for it, and their next heartbeats try
// again.
func withShareTopic[P kmsg.Response](s *Server, do func() func(context.Context) (P, error)) func(context.Context) (P, error) {
	if _, err := s.find(ShareTopic, segment.TopicID{}, false); err == nil {
		return do()
	}
	return func(ctx context.Context) (P, error) {
		_, _ = s.autoCreate(ctx, ShareTopic, freely)
		return do()(ctx)
	}
}

func (s *Server) shareGroupDescribe(_ *call, q *kmsg.ShareGroupDescribeRequest) *kmsg.ShareGroupDescribeResponse {
	if !s.shareGroups() {
		p := q.ResponseKind().(*kmsg.ShareGroupDescribeResponse)
		for _, id := range q.GroupIDs {
			p.Groups = append(p.Groups, group.ShareDescribeError(id, kerr.UnsupportedVersion.Code, ""))
		}
		return p
	}
	p := s.Groups.ShareDescribe(q)
	for i := range p.Groups {
		if p.Groups[i].ErrorCode == 0 {
			p.Groups[i].AuthorizedOperations = operations(q.IncludeAuthorizedOperations, groupOperations)
		}
	}
	return p
}

// describeShareGroupOffsets tells where share groups begin in partitions and, from version
// 1 on, how many records are left to them (KIP-1226).
func (s *Server) describeShareGroupOffsets(ctx context.Context, _ *call, q *kmsg.DescribeShareGroupOffsetsRequest) *kmsg.DescribeShareGroupOffsetsResponse {
	p := q.ResponseKind().(*kmsg.DescribeShareGroupOffsetsResponse)
	for i := range q.Groups {
		r := kmsg.NewDescribeShareGroupOffsetsResponseGroup()
		r.GroupID = q.Groups[i].GroupID
		topics, err := s.shareGroupOffsets(ctx, &q.Groups[i])
		if r.Topics = topics; err != nil {
			r.ErrorCode, r.ErrorMessage = code(err), text(err)
		}
		p.Groups = append(p.Groups, r)
	}
	return p
}

func (s *Server) shareGroupOffsets(ctx context.Context, q *kmsg.DescribeShareGroupOffsetsRequestGroup) ([]kmsg.DescribeShareGroupOffsetsResponseGroupTopic, error) {
	if !s.shareGroups() {
		return nil, kerr.UnsupportedVersion
	}
	summary := kmsg.NewPtrReadShareGroupStateSummaryRequest()
	summary.Version, summary.GroupID = 1, q.GroupID
	names := map[segment.TopicID]*cluster.Topic{}
	add := func(t *cluster.Topic, partitions []int32) {
		names[t.ID] = t
		asked := kmsg.NewReadShareGroupStateSummaryRequestTopic()
		asked.TopicID = t.ID
		for _, partition := range partitions {
			asked.Partitions = append(asked.Partitions, kmsg.ReadShareGroupStateSummaryRequestTopicPartition{Partition: partition})
		}
		summary.Topics = append(summary.Topics, asked)
	}
	var unknown []kmsg.DescribeShareGroupOffsetsResponseGroupTopic
	if q.Topics == nil {
		all, errorCode := s.Groups.SharePartitions(q.GroupID)
		if errorCode != 0 {
			return nil, kerr.ErrorForCode(errorCode)
		}
		for _, t := range s.Store.Image().Topics() {
			if partitions := all[t.ID]; len(partitions) > 0 {
				add(t, partitions)
			}
		}
	}
	for _, asked := range q.Topics {
		if t, err := s.find(asked.Topic, segment.TopicID{}, false); err == nil {
			add(t, asked.Partitions)
		} else {
			unknown = append(unknown, noShareOffsets(asked))
		}
	}
	if len(summary.Topics) == 0 {
		return unknown, nil
	}
	read, err := inTime(s, s.Shares.ReadSummary(summary))(ctx)
	if err != nil {
		return nil, err
	}
	topics := make([]kmsg.DescribeShareGroupOffsetsResponseGroupTopic, 0, len(read.Topics))
	for i := range read.Topics {
		topics = append(topics, s.shareTopicOffsets(names[read.Topics[i].TopicID], &read.Topics[i]))
	}
	return append(topics, unknown...), nil
}

// noShareOffsets answers for a topic that does not exist, as Kafka does.
func noShareOffsets(asked kmsg.DescribeShareGroupOffsetsRequestGroupTopic) kmsg.DescribeShareGroupOffsetsResponseGroupTopic {
	to := kmsg.NewDescribeShareGroupOffsetsResponseGroupTopic()
	to.Topic = asked.Topic
	for _, partition := range asked.Partitions {
		r := kmsg.NewDescribeShareGroupOffsetsResponseGroupTopicPartition()
		r.Partition, r.StartOffset = partition, -1
		to.Partitions = append(to.Partitions, r)
	}
	return to
}

func (s *Server) shareTopicOffsets(t *cluster.Topic, read *kmsg.ReadShareGroupStateSummaryResponseTopic) kmsg.DescribeShareGroupOffsetsResponseGroupTopic {
	to := kmsg.NewDescribeShareGroupOffsetsResponseGroupTopic()
	to.Topic, to.TopicID = t.Name, t.ID
	for i := range read.Partitions {
		from := &read.Partitions[i]
		r := kmsg.NewDescribeShareGroupOffsetsResponseGroupTopicPartition()
		r.Partition, r.StartOffset, r.LeaderEpoch, r.Lag = from.Partition, from.StartOffset, from.LeaderEpoch, -1
		switch {
		case from.ErrorCode != 0:
			r.StartOffset, r.LeaderEpoch = -1, 0
		case from.StartOffset != -1 && from.DeliveryCompleteCount != -1:
			if replica, err := s.replica(t, from.Partition); err == nil {
				r.Lag = replica.Offsets().HighWatermark - from.StartOffset - int64(from.DeliveryCompleteCount)
			} else {
				r.StartOffset, r.LeaderEpoch, r.ErrorCode, r.ErrorMessage = 0, 0, code(err), text(err)
			}
		}
		to.Partitions = append(to.Partitions, r)
	}
	return to
}

// alterShareGroupOffsets lets an empty share group begin elsewhere. Topics that do not
// exist are answered here.
func (s *Server) alterShareGroupOffsets(_ *call, q *kmsg.AlterShareGroupOffsetsRequest) func(context.Context) (*kmsg.AlterShareGroupOffsetsResponse, error) {
	if !s.shareGroups() {
		p := group.AlterShareOffsetsError(q.Version, &group.Refusal{Code: kerr.UnsupportedVersion.Code})
		return func(context.Context) (*kmsg.AlterShareGroupOffsetsResponse, error) { return p, nil }
	}
	return withShareTopic(s, func() func(context.Context) (*kmsg.AlterShareGroupOffsetsResponse, error) {
		return s.Groups.AlterShareOffsets(q)
	})
}

// deleteShareGroupOffsets forgets how far an empty share group has come in topics.
func (s *Server) deleteShareGroupOffsets(_ *call, q *kmsg.DeleteShareGroupOffsetsRequest) func(context.Context) (*kmsg.DeleteShareGroupOffsetsResponse, error) {
	if !s.shareGroups() {
		p := group.DeleteShareOffsetsError(q.Version, &group.Refusal{Code: kerr.UnsupportedVersion.Code})
		return func(context.Context) (*kmsg.DeleteShareGroupOffsetsResponse, error) { return p, nil }
	}
	named := map[string]bool{}
	q.Topics = slices.DeleteFunc(q.Topics, func(t kmsg.DeleteShareGroupOffsetsRequestTopic) bool {
		again := named[t.Topic]
		named[t.Topic] = true
		return again
	})
	return s.Groups.DeleteShareOffsets(q)
}
