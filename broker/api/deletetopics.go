package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/segment"
)

// deleteTopics makes topics unknown; files and objects go in the background.
func (s *Server) deleteTopics(ctx context.Context, c *call, q *kmsg.DeleteTopicsRequest) *kmsg.DeleteTopicsResponse {
	p := q.ResponseKind().(*kmsg.DeleteTopicsResponse)
	ctx, cancel := withTimeout(ctx, q.TimeoutMillis)
	defer cancel()
	asked := q.Topics
	if c.Version < 6 {
		for _, name := range q.TopicNames {
			t := kmsg.NewDeleteTopicsRequestTopic()
			t.Topic = kmsg.StringPtr(name)
			asked = append(asked, t)
		}
	}
	grant := s.mutations(c, strictDeleteTopics)
	named := s.namedTopics(asked)
	for i := range asked {
		r := kmsg.NewDeleteTopicsResponseTopic()
		r.Topic, r.TopicID = asked[i].Topic, asked[i].TopicID
		t, err := s.deletable(&asked[i])
		if err == nil {
			switch named[t.ID] {
			case 0:
				continue // answered already
			case 1:
				err = grant(len(t.Partitions))
			default:
				err = refuse(kerr.InvalidRequest, "topic is named more than once in the request")
				named[t.ID] = 0
			}
			r.Topic, r.TopicID = &t.Name, t.ID
		}
		if err == nil {
			err = s.deleteTopic(ctx, t)
		}
		r.ErrorCode, r.ErrorMessage = code(err), text(err)
		p.Topics = append(p.Topics, r)
	}
	return p
}

// namedTopics counts how often a request names each topic that there is, by name and by id.
func (s *Server) namedTopics(asked []kmsg.DeleteTopicsRequestTopic) map[segment.TopicID]int {
	named := make(map[segment.TopicID]int)
	for i := range asked {
		if t, err := s.deletable(&asked[i]); err == nil {
			named[t.ID]++
		}
	}
	return named
}

// deletable finds the topic of a request, which names it by name or by id.
func (s *Server) deletable(q *kmsg.DeleteTopicsRequestTopic) (*cluster.Topic, error) {
	if !s.Config().DeleteTopicEnable {
		return nil, kerr.TopicDeletionDisabled
	}
	none := segment.TopicID{}
	switch {
	case q.Topic != nil && q.TopicID != none:
		return nil, refuse(kerr.InvalidRequest, "topic is named by name and by id")
	case q.Topic == nil && q.TopicID == none:
		return nil, refuse(kerr.InvalidRequest, "topic is named by neither name nor id")
	case q.Topic == nil:
		return s.find("", q.TopicID, true)
	default:
		return s.find(*q.Topic, none, false)
	}
}

func (s *Server) deleteTopic(ctx context.Context, t *cluster.Topic) error {
	if err := s.Store.DeleteTopic(ctx, t.ID); err != nil {
		return err
	}
	// The topic is gone whether or not its committed offsets could be removed: what is
	// left of them is removed by whoever next loads it, and nobody is told of it.
	_, _ = s.Groups.DropTopic(t.Name, t.ID)(ctx)
	s.Shares.DropTopic(t.ID)
	return s.Partitions.Await(ctx, s.Store.Image().Revision())
}
