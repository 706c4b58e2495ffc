package api

import (
	"context"
	"net"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator"
	"github.com/varvelog/varve/broker/wire"
	"github.com/varvelog/varve/segment"
)

// The group APIs are answered by the coordinator; here topic ids become names and
// back (KIP-848's OffsetCommit and OffsetFetch version 10), and topics that do not
// exist are refused.

func client(c *call) coordinator.Client {
	return coordinator.Client{ID: clone(c.ClientID), Host: clientHost(c.Conn)}
}

// clientHost is a client's address as Kafka shows it: "/127.0.0.1".
func clientHost(c *wire.Conn) string {
	if t, ok := c.Remote.(*net.TCPAddr); ok {
		return "/" + t.IP.String()
	}
	return "/" + c.Remote.String()
}

func (s *Server) joinGroup(c *call, q *kmsg.JoinGroupRequest) func(context.Context) (*kmsg.JoinGroupResponse, error) {
	return s.Groups.Join(client(c), q)
}

func (s *Server) syncGroup(c *call, q *kmsg.SyncGroupRequest) func(context.Context) (*kmsg.SyncGroupResponse, error) {
	return s.Groups.Sync(client(c), q)
}

func (s *Server) heartbeat(_ *call, q *kmsg.HeartbeatRequest) *kmsg.HeartbeatResponse {
	return s.Groups.Heartbeat(q)
}

func (s *Server) leaveGroup(_ *call, q *kmsg.LeaveGroupRequest) *kmsg.LeaveGroupResponse {
	return s.Groups.Leave(q)
}

func (s *Server) describeGroups(_ *call, q *kmsg.DescribeGroupsRequest) *kmsg.DescribeGroupsResponse {
	p := s.Groups.Describe(q)
	for i := range p.Groups {
		p.Groups[i].AuthorizedOperations = operations(q.IncludeAuthorizedOperations, groupOperations)
	}
	return p
}

func (s *Server) listGroups(_ *call, q *kmsg.ListGroupsRequest) *kmsg.ListGroupsResponse {
	return s.Groups.List(q)
}

func (s *Server) deleteGroups(_ *call, q *kmsg.DeleteGroupsRequest) func(context.Context) (*kmsg.DeleteGroupsResponse, error) {
	return s.Groups.Delete(q)
}

// offsetDelete removes committed offsets of partitions that exist.
func (s *Server) offsetDelete(_ *call, q *kmsg.OffsetDeleteRequest) func(context.Context) (*kmsg.OffsetDeleteResponse, error) {
	var unknown []kmsg.OffsetDeleteResponseTopic
	asked := q.Topics
	q.Topics = nil
	for _, from := range asked {
		t, err := s.find(from.Topic, segment.TopicID{}, false)
		if err != nil {
			unknown = append(unknown, undeleted(from, code(err)))
			continue
		}
		known, absent := splitByPresence(from, len(t.Partitions))
		if len(absent.Partitions) > 0 {
			unknown = append(unknown, undeleted(absent, kerr.UnknownTopicOrPartition.Code))
		}
		if len(known.Partitions) > 0 {
			q.Topics = append(q.Topics, known)
		}
	}
	wait := s.Groups.DeleteOffsets(q)
	return func(ctx context.Context) (*kmsg.OffsetDeleteResponse, error) {
		p, err := wait(ctx)
		if err == nil && p.ErrorCode == 0 {
			p.Topics = append(p.Topics, unknown...)
		}
		return p, err
	}
}

// splitByPresence parts the partitions that a topic has from those that it has not.
func splitByPresence(asked kmsg.OffsetDeleteRequestTopic, partitions int) (known, absent kmsg.OffsetDeleteRequestTopic) {
	known.Topic, absent.Topic = asked.Topic, asked.Topic
	for _, p := range asked.Partitions {
		if p.Partition >= 0 && int(p.Partition) < partitions {
			known.Partitions = append(known.Partitions, p)
		} else {
			absent.Partitions = append(absent.Partitions, p)
		}
	}
	return known, absent
}

func undeleted(asked kmsg.OffsetDeleteRequestTopic, errorCode int16) kmsg.OffsetDeleteResponseTopic {
	to := kmsg.NewOffsetDeleteResponseTopic()
	to.Topic = asked.Topic
	for _, from := range asked.Partitions {
		r := kmsg.NewOffsetDeleteResponseTopicPartition()
		r.Partition, r.ErrorCode = from.Partition, errorCode
		to.Partitions = append(to.Partitions, r)
	}
	return to
}

// offsetCommit splits off the partitions that do not exist, commits the rest, and
// answers in the order of the request.
func (s *Server) offsetCommit(c *call, q *kmsg.OffsetCommitRequest) func(context.Context) (*kmsg.OffsetCommitResponse, error) {
	asked := q.Topics
	q.Topics = make([]kmsg.OffsetCommitRequestTopic, 0, len(asked))
	refused := make([][]int16, len(asked)) // the code of each partition, 0: committed
	for i := range asked {
		var kept []kmsg.OffsetCommitRequestTopicPartition
		kept, refused[i] = s.committable(&asked[i], c.Version >= 10)
		if len(kept) > 0 {
			known := asked[i]
			known.Partitions = kept
			q.Topics = append(q.Topics, known)
		}
	}
	wait := s.Groups.Commit(q)
	return func(ctx context.Context) (*kmsg.OffsetCommitResponse, error) {
		ctx, cancel := context.WithTimeout(ctx, s.Config().OffsetsCommitTimeout)
		defer cancel()
		p, err := wait(ctx)
		if err != nil {
			return nil, err
		}
		p.Topics = committed(asked, refused, p.Topics)
		return p, nil
	}
}

// committable returns the partitions of a topic that exist, and a code for each that
// was asked for. It puts the topic's name in where the request has its id.
func (s *Server) committable(asked *kmsg.OffsetCommitRequestTopic, byID bool) (kept []kmsg.OffsetCommitRequestTopicPartition, refused []int16) {
	refused = make([]int16, len(asked.Partitions))
	t, err := s.find(asked.Topic, asked.TopicID, byID)
	if err == nil {
		asked.Topic = t.Name
	}
	for i, p := range asked.Partitions {
		switch {
		case err != nil:
			refused[i] = code(err)
		case p.Partition < 0 || int(p.Partition) >= len(t.Partitions):
			refused[i] = kerr.UnknownTopicOrPartition.Code
		default:
			kept = append(kept, p)
		}
	}
	return kept, refused
}

// committed puts the answers of the coordinator, which come in the order of the
// request, and the refusals together.
func committed(asked []kmsg.OffsetCommitRequestTopic, refused [][]int16, answered []kmsg.OffsetCommitResponseTopic) []kmsg.OffsetCommitResponseTopic {
	all := make([]kmsg.OffsetCommitResponseTopic, 0, len(asked))
	for i := range asked {
		to := kmsg.NewOffsetCommitResponseTopic()
		to.Topic, to.TopicID = asked[i].Topic, asked[i].TopicID
		var kept []kmsg.OffsetCommitResponseTopicPartition
		if slices.Contains(refused[i], 0) {
			kept, answered = answered[0].Partitions, answered[1:]
		}
		for j, from := range asked[i].Partitions {
			r := kmsg.NewOffsetCommitResponseTopicPartition()
			r.Partition, r.ErrorCode = from.Partition, refused[i][j]
			if r.ErrorCode == 0 {
				r, kept = kept[0], kept[1:]
			}
			to.Partitions = append(to.Partitions, r)
		}
		all = append(all, to)
	}
	return all
}

// offsetFetch answers committed offsets; version 10 names topics by id.
func (s *Server) offsetFetch(c *call, q *kmsg.OffsetFetchRequest) *kmsg.OffsetFetchResponse {
	if c.Version < 10 {
		return s.Groups.Fetch(q)
	}
	unknown := make([][]kmsg.OffsetFetchRequestGroupTopic, len(q.Groups))
	for i := range q.Groups {
		var known []kmsg.OffsetFetchRequestGroupTopic
		if q.Groups[i].Topics != nil {
			known = make([]kmsg.OffsetFetchRequestGroupTopic, 0, len(q.Groups[i].Topics))
		}
		for _, t := range q.Groups[i].Topics {
			if topic, err := s.find("", t.TopicID, true); err == nil {
				t.Topic = topic.Name
				known = append(known, t)
			} else {
				unknown[i] = append(unknown[i], t)
			}
		}
		q.Groups[i].Topics = known
	}
	p := s.Groups.Fetch(q)
	for i := range p.Groups {
		s.nameByID(&p.Groups[i])
		if i < len(unknown) && p.Groups[i].ErrorCode == 0 {
			p.Groups[i].Topics = append(p.Groups[i].Topics, unknownOffsets(unknown[i])...)
		}
	}
	return p
}

// nameByID puts ids in the place of names; topics that are gone are left out.
func (s *Server) nameByID(g *kmsg.OffsetFetchResponseGroup) {
	kept := g.Topics[:0]
	for _, t := range g.Topics {
		if topic, ok := s.Store.Image().Topic(t.Topic); ok {
			t.TopicID = topic.ID
			kept = append(kept, t)
		}
	}
	g.Topics = kept
}

func unknownOffsets(topics []kmsg.OffsetFetchRequestGroupTopic) []kmsg.OffsetFetchResponseGroupTopic {
	var out []kmsg.OffsetFetchResponseGroupTopic
	for _, t := range topics {
		to := kmsg.NewOffsetFetchResponseGroupTopic()
		to.TopicID = t.TopicID
		for _, index := range t.Partitions {
			r := kmsg.NewOffsetFetchResponseGroupTopicPartition()
			r.Partition, r.Offset, r.LeaderEpoch, r.ErrorCode = index, -1, -1, kerr.UnknownTopicID.Code
			r.Metadata = new(string) // as of any partition without an offset
			to.Partitions = append(to.Partitions, r)
		}
		out = append(out, to)
	}
	return out
}
